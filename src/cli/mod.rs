//! The command line: one file per command, and shared parts. `main` returns the exit code: 0 done, 1 failed, 2 usage or
//! configuration error. Results go to standard output, errors to standard error.

mod arrival;
mod check;
mod client;
mod config_arg;
mod demo;
mod dev;
mod explain;
mod help;
mod input;
mod listen;
mod logging;
mod manual;
mod operate;
mod owner;
mod post;
mod receiver;
mod run;
mod runtime;
mod sandbox;
mod schema;
mod secret;
mod send;
mod service;
mod show;
mod target;
mod usage;
mod verify;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use http::StatusCode;

use crate::cli::client::CallError;
use crate::cli::show::gate;
use crate::cli::usage::Usage;
use crate::config::{ConfigError, Environment};
use crate::domain::{Clock, SystemClock, conceal};
use crate::logs;

/// The version with the commit that it is built from.
const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (",
    env!("SIDEHOOK_REVISION_SHORT"),
    ")"
);

/// The webhook sidecar: accepts events on a local port, stores them durably, and delivers each to its endpoints, signed
/// and retried.
#[derive(Debug, Parser)]
#[command(name = "sidehook", version, long_version = VERSION, after_help = help::EXAMPLES, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    Check(check::CheckArgs),
    Demo(demo::Args),
    Dev(dev::Args),
    Send(send::Args),
    Status(operate::status::Args),
    Attempts(operate::attempts::Args),
    Events(operate::events::Args),
    Deliveries(operate::deliveries::Args),
    Replay(operate::replay::Args),
    Retry(operate::retry::Args),
    Cancel(operate::cancel::Args),
    Explain(explain::Args),
    /// Enable a subscription and deliver what was held
    #[command(after_help = operate::toggle::ENABLE)]
    Enable(operate::toggle::Args),
    /// Disable a subscription: its deliveries are held
    #[command(after_help = operate::toggle::DISABLE)]
    Disable(operate::toggle::Args),
    RotateSecret(operate::rotate::Args),
    Test(operate::test::Args),
    Reload(operate::reload::Args),
    Diff(operate::diff::Args),
    Listen(listen::Args),
    Verify(verify::VerifyArgs),
    Secret(secret::SecretArgs),
    Schema(schema::Args),
    Completions(manual::CompletionsArgs),
    Man(manual::ManArgs),
}

/// Runs the command that the arguments of the process name, and returns its exit code.
#[must_use]
pub fn main() -> ExitCode {
    let command = help::command(Cli::command());
    let matches = command.clone().try_get_matches();
    let cli = match matches.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => {
            let named = std::env::args_os().nth(1);
            let named = named.and_then(|name| command.find_subcommand(name));
            return usage(&usage::hinted(error, named));
        }
    };
    let error = match execute(&cli.command) {
        Ok(code) => return code,
        Err(error) => error,
    };
    let (text, code) = failure(&error);
    match cli.command {
        // It ends whether the text is read or not.
        Command::Run(_) => logs::say(gate::lines(&text), run::LOG_END_LIMIT),
        _ => drop(gate::stderr().write_all(text.as_bytes())),
    }
    code
}

fn execute(command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(args) => run::run(args),
        Command::Demo(args) => demo::run(args),
        Command::Dev(args) => dev::run(args),
        Command::Send(args) => send::run(args),
        Command::Status(args) => operate::status::run(args),
        Command::Attempts(args) => operate::attempts::run(args),
        Command::Events(args) => operate::events::run(args),
        Command::Deliveries(args) => operate::deliveries::run(args),
        Command::Replay(args) => operate::replay::run(args),
        Command::Retry(args) => operate::retry::run(args),
        Command::Cancel(args) => operate::cancel::run(args),
        Command::Explain(args) => explain::run(args),
        Command::Enable(args) => operate::toggle::run(args, true),
        Command::Disable(args) => operate::toggle::run(args, false),
        Command::RotateSecret(args) => operate::rotate::run(args),
        Command::Test(args) => operate::test::run(args),
        Command::Reload(args) => operate::reload::run(args),
        Command::Diff(args) => operate::diff::run(args),
        Command::Listen(args) => listen::run(args),
        Command::Check(args) => {
            let environment = Environment::of_process();
            let path = args.config.path(&environment);
            let (environment, file) = service::with_variables_and_file(&path, environment);
            if let Some(file) = file.filter(|_| args.store_in.is_none()) {
                let file = show::text::plain(&file.display().to_string());
                writeln!(
                    gate::stderr(),
                    "note: what is not set comes from {file}, as in the unit"
                )?;
            }
            let now = SystemClock::new().steady();
            let code = check::run(args, &path, &environment, now, &mut gate::stdout())?;
            Ok(ExitCode::from(code))
        }
        Command::Verify(args) => {
            let environment = Environment::of_process();
            let (input, out, err) = (&mut io::stdin(), &mut gate::stdout(), &mut gate::stderr());
            let now = SystemClock::new().wall();
            let code = verify::run(args, &environment, now, input, out, err)?;
            Ok(ExitCode::from(code))
        }
        Command::Schema(args) => schema::run(args),
        Command::Completions(args) => manual::completions(args, Cli::command()),
        Command::Man(args) => manual::man(args, Cli::command()),
        Command::Secret(args) => Ok(ExitCode::from(secret::run(args, &mut gate::stdout())?)),
    }
}

/// Prints help and version to standard output, usage errors to standard error.
fn usage(error: &clap::Error) -> ExitCode {
    // Without a reader of the stream there is nothing to report.
    if error.exit_code() == 0 {
        drop(error.print());
        return ExitCode::SUCCESS;
    }
    // It quotes arguments, which may be anything.
    let said = error.render().to_string();
    drop(write!(gate::stderr(), "{}", conceal(&said)));
    ExitCode::from(2)
}

/// Returns the lines for standard error and the exit code of a failed command.
fn failure(error: &anyhow::Error) -> (String, ExitCode) {
    if is_broken_pipe(error) {
        return (String::new(), ExitCode::SUCCESS);
    }
    if let Some(ConfigError(problems)) = error.downcast_ref() {
        let lines = problems
            .iter()
            .map(ToString::to_string)
            .chain(problems.rest());
        let lines = lines.map(|line| format!("error: {line}\n"));
        return (lines.collect(), ExitCode::from(2));
    }
    // An error that the sidecar finds in values, or in its configuration.
    let refused: Option<&CallError> = error.downcast_ref();
    let is_wrong = refused.and_then(CallError::status) == Some(StatusCode::UNPROCESSABLE_ENTITY)
        || error.is::<Usage>();
    let code = ExitCode::from(if is_wrong { 2 } else { 1 });
    (format!("error: {error:#}\n"), code)
}

/// Whether the reader of our output went away, as `head` does: no failure of ours.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_output_is_no_failure() {
        let error = anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(is_broken_pipe(&error));
        assert!(!is_broken_pipe(&anyhow::anyhow!("broken")));
    }
}
