//! `sidehook check`: reports errors in a configuration, and with `--store` in its store, without starting anything.

mod store;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use crate::app::{self, Preflight};
use crate::cli::check::store::{INVALID, VALID, counted};
use crate::cli::config_arg::ConfigArg;
use crate::cli::owner;
use crate::config::{Config, Environment, Excerpt, Problem, Problems, load_checked, load_operator};
use crate::domain::Timestamp;

/// The text below the help.
const NOTE: &str = "\
Examples:
  sidehook check --config config.yaml --strict
  sidehook check --config config.yaml --store

A configuration is valid if a start here would take it: addresses of listen must be free or held by the running sidecar
of the same store, and the store's folder must be usable. Nothing is made, and nobody is connected to but who holds an
address.

--store reads every record of the journal and compares the index with it. The relay must be stopped. It changes what a
start changes: an unfinished write at the end of the journal is cut, and an index that is missing, damaged or wrong is
written anew. It needs room for a second index.

Exit codes: 0 valid; 1 something in the store is damaged, what could be read was kept; 2 the configuration is not valid,
or the store could not be checked.";

/// Say what is wrong in a configuration or a store, without starting anything
#[derive(Debug, clap::Args)]
#[command(after_help = NOTE)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArg,
    /// Take warnings for errors
    #[arg(long)]
    pub(crate) strict: bool,
    /// Check the store too: every record of the journal, and the index
    #[arg(long)]
    pub(crate) store: bool,
    /// Only the store in this folder, as root has it checked by its owner
    #[arg(long, hide = true, value_name = "FOLDER", conflicts_with_all = ["store", "strict"])]
    pub(crate) store_in: Option<PathBuf>,
}

/// Checks the configuration in `path`, and with `--store` its store if it is valid. Writes one line per problem, with a
/// picture of the place where it may be shown, and what sums up. Returns the exit code. `now` is of the steady clock.
///
/// # Errors
/// `out` cannot be written.
pub(crate) fn run(
    args: &CheckArgs,
    path: &Path,
    environment: &Environment,
    now: Timestamp,
    out: &mut dyn Write,
) -> io::Result<u8> {
    if let Some(folder) = &args.store_in {
        return store::check(folder, now, out);
    }
    match check(args, path, environment, out)? {
        Some(config) if args.store => check_store(&config.store.path, now, out),
        Some(_) => Ok(VALID),
        None if args.store => {
            // A variable that only the service has is no reason not to look at the store.
            if let Ok(operator) = load_operator(path, environment) {
                check_store(&operator.store, now, out)?;
            }
            Ok(INVALID)
        }
        None => Ok(INVALID),
    }
}

/// Checks the store in a folder, as the user who owns it.
fn check_store(folder: &Path, now: Timestamp, out: &mut dyn Write) -> io::Result<u8> {
    out.flush()?;
    match owner::check_as_owner(folder)? {
        Some(code) => Ok(code),
        None => store::check(folder, now, out),
    }
}

/// Checks the configuration; returns it if it is valid.
fn check(
    args: &CheckArgs,
    path: &Path,
    environment: &Environment,
    out: &mut dyn Write,
) -> io::Result<Option<Config>> {
    let shown = path.display();
    match load_checked(path, environment) {
        Ok(loaded) => {
            let Preflight { errors, warnings } = app::preflight(path, &loaded);
            let (errors, warnings) = (Problems::from(errors), Problems::from(warnings));
            let label = if args.strict { "error" } else { "warning" };
            for warnings in [&loaded.warnings, &warnings] {
                write_problems(label, warnings, out)?;
            }
            write_problems("error", &errors, out)?;
            let refused = if args.strict {
                errors.total() + loaded.warnings.total() + warnings.total()
            } else {
                errors.total()
            };
            if refused > 0 {
                writeln!(out, "{shown}: {}", counted(refused, "error"))?;
                return Ok(None);
            }
            let subscriptions = counted(loaded.config.subscriptions.len(), "subscription");
            writeln!(out, "{shown}: valid, {subscriptions}")?;
            Ok(Some(loaded.config))
        }
        Err(error) => {
            let error = args.config.explained(error, environment);
            write_problems("error", &error.0, out)?;
            writeln!(out, "{shown}: {}", counted(error.0.total(), "error"))?;
            Ok(None)
        }
    }
}

fn write_problems(label: &str, problems: &Problems, out: &mut dyn Write) -> io::Result<()> {
    for problem in problems.iter() {
        writeln!(out, "{label}: {problem}")?;
        if let Some(excerpt) = &problem.excerpt {
            writeln!(out, "{}", picture(problem, excerpt))?;
        }
    }
    if let Some(rest) = problems.rest() {
        writeln!(out, "{label}: {rest}")?;
    }
    Ok(())
}

/// The line of a problem with what is meant marked, and what would be right, as rustc shows it.
fn picture(problem: &Problem, excerpt: &Excerpt) -> String {
    let message = problem.message.as_str();
    let hint = message.find("did you mean");
    let hint = hint.and_then(|at| message.get(at..)?.split("? ").next());
    let expected = || {
        message
            .split(", found")
            .next()
            .filter(|it| it.starts_with("expected"))
    };
    let marked = AnnotationKind::Primary.span(excerpt.marked.clone());
    let marked = marked.label(hint.or_else(expected));
    let snippet = Snippet::source(excerpt.text.as_str());
    let snippet = snippet.line_start(excerpt.line).annotation(marked);
    let group = Group::with_level(Level::ERROR).element(snippet);
    Renderer::plain().render(&[group])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str, strict: bool) -> (u8, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.yaml");
        // Whatever listens on this machine is of no concern.
        let listen = "listen: {events: '127.0.0.1:0', admin: '127.0.0.1:0'}\n";
        std::fs::write(&path, format!("{text}{listen}")).unwrap();
        let mut out = Vec::new();
        let args = CheckArgs {
            config: ConfigArg::default(),
            strict,
            store: false,
            store_in: None,
        };
        let environment = Environment::default();
        let now = Timestamp::default();
        let code = run(&args, &path, &environment, now, &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        (code, out.replace(&format!("{}", path.display()), "c.yaml"))
    }

    const LITERAL: &str = "subscriptions:\n  a: {url: https://a.example, events: [\"*\"], secret: abcdefghijkl, signature: github}\n";

    #[test]
    fn a_valid_file_is_summed_up_and_exits_0() {
        let (code, out) = checked("subscriptions: {}\n", true);
        assert_eq!(
            (code, out.as_str()),
            (0, "c.yaml: valid, 0 subscriptions\n")
        );
    }

    #[test]
    fn warnings_are_shown_and_fail_only_when_strict() {
        let (code, out) = checked(LITERAL, false);
        assert_eq!(code, 0);
        assert!(
            out.starts_with("warning: c.yaml:2:54: subscriptions.a.secret: "),
            "{out}"
        );
        assert!(out.ends_with("c.yaml: valid, 1 subscription\n"), "{out}");
        let (code, out) = checked(LITERAL, true);
        assert_eq!(code, 2);
        assert!(
            out.starts_with("error: c.yaml:2:54: ") && out.ends_with("c.yaml: 1 error\n"),
            "{out}"
        );
        assert!(!out.contains("abcdefghijkl"), "{out}");
    }

    #[test]
    fn of_a_text_that_is_no_word_the_key_is_marked() {
        let text = "subscriptions:\n  a: {active: false, when: \"type == 'é' && €\"}\n";
        let (code, out) = checked(text, false);
        assert_eq!(code, 2);
        assert!(out.contains("error: c.yaml:2:44: "), "{out}");
        let picture = "\
2 | … when
  |   ^^^^
";
        assert!(out.contains(picture), "{out}");
    }

    #[test]
    fn every_error_is_a_line_and_the_code_is_2() {
        let (code, out) = checked("lsten: {}\nlog: {level: loud}\n", false);
        assert_eq!(code, 2);
        let errors = out.lines().filter(|line| line.starts_with("error: "));
        assert_eq!(errors.count(), 3, "{out}");
        let pictures = "\
error: c.yaml:1:1: lsten: unknown key, did you mean listen?
  |
1 | lsten
  | ^^^^^ did you mean listen?
error: c.yaml:2:14: log.level: expected one of error, warn, info, debug, trace, found \"loud\"
  |
2 | … level: loud
  |          ^^^^ expected one of error, warn, info, debug, trace
";
        assert!(out.contains(pictures), "{out}");
        assert!(
            out.contains("error: c.yaml:1:1: lsten: unknown key, did you mean listen?\n"),
            "{out}"
        );
        assert!(out.ends_with("c.yaml: 3 errors\n"), "{out}");
    }
}
