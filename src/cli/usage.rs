//! Usage errors: those that a command itself finds, and additions to those of clap, which suggest the most likely
//! intention of an argument that a command does not have.

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, Error};

/// How the names of configurations end.
const OF_CONFIGURATIONS: [&str; 3] = [".yaml", ".yml", ".json"];

/// An error in the arguments, found out only by using them.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Usage(pub(super) String);

/// The error with a tip, if there is one; `command` is the one that was named.
pub(super) fn hinted(mut error: Error, command: Option<&Command>) -> Error {
    let tip = match error.kind() {
        ErrorKind::UnknownArgument => text(&error, ContextKind::InvalidArg)
            .zip(command)
            .and_then(|(argument, command)| of_argument(argument, command)),
        ErrorKind::InvalidSubcommand => text(&error, ContextKind::InvalidSubcommand)
            .filter(|name| is_configuration(name))
            .map(|name| format!("to deliver as a configuration says: sidehook run -c {name}")),
        _ => None,
    };
    if let Some(tip) = tip {
        let tips = vec![StyledStr::from(tip)];
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(tips));
    }
    error
}

fn text(error: &Error, kind: ContextKind) -> Option<&str> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text),
        Some(_) | None => None,
    }
}

fn of_argument(argument: &str, command: &Command) -> Option<String> {
    let mut flags = command
        .get_arguments()
        .filter_map(|known| known.get_long())
        .filter(|flag| *flag != "help");
    let Some(short) = argument.strip_prefix('-') else {
        let takes_one = flags.any(|flag| flag == "config");
        let is_meant = takes_one && is_configuration(argument);
        return is_meant.then(|| format!("a configuration is named with -c: -c {argument}"));
    };
    let is_letter = short.chars().count() == 1;
    let meant = flags.filter(|flag| is_letter && flag.starts_with(short));
    let meant: Vec<String> = meant.map(|flag| format!("--{flag}")).collect();
    (!meant.is_empty()).then(|| format!("did you mean {}?", meant.join(" or ")))
}

fn is_configuration(name: &str) -> bool {
    OF_CONFIGURATIONS.iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use crate::cli::{Cli, help};

    use super::*;

    fn told(arguments: &[&str]) -> String {
        let command = help::command(Cli::command());
        let all = [&["sidehook"], arguments].concat();
        let error = command.clone().try_get_matches_from(all).unwrap_err();
        let named = command.find_subcommand(arguments[0]);
        hinted(error, named).render().to_string()
    }

    #[test]
    fn an_unknown_argument_is_told_what_it_most_likely_is() {
        for (arguments, tip) in [
            (
                &["check", "f.yaml"][..],
                "tip: a configuration is named with -c: -c f.yaml\n",
            ),
            (&["run", "/etc/f.yml"], "-c: -c /etc/f.yml\n"),
            (&["f.yaml"], "sidehook run -c f.yaml\n"),
            (&["send", "a.b", "-d", "{}"], "tip: did you mean --data?\n"),
            (&["send", "a.b", "-u", "x"], "tip: did you mean --url?\n"),
            (
                &["listen", "-s", "x"],
                "--secret-env or --secret-file or --secret or --scheme?\n",
            ),
        ] {
            let told = told(arguments);
            assert!(told.contains(tip), "{arguments:?}: {told}");
        }
        for arguments in [
            &["check", "f"][..],
            &["secret", "f.yaml"],
            &["send", "a.b", "-z"],
        ] {
            let told = told(arguments);
            assert!(!told.contains("-c "), "{told}");
            assert!(!told.contains("did you mean"), "{told}");
        }
    }
}
