//! The command line as clap describes it, its commands in groups.

use std::fmt::Write;

use clap::Command;

/// The text below the help of the program.
pub(super) const EXAMPLES: &str = "\
Examples:
  sidehook demo                                     see it work, with nothing to configure
  sidehook check --config config.yaml               is this file valid?
  sidehook run --config config.yaml                 deliver
  sidehook send invoice.paid --data '{\"total\": 7}'  post an event to the running sidecar
  sidehook status                                   how do the subscriptions do?
  sidehook replay --subscription billing            deliver its dead letters again

The commands that operate a sidecar find the running one by its socket in /run/sidehook or $XDG_RUNTIME_DIR/sidehook,
which needs no token; else by the configuration and its token: --config, $SIDEHOOK_CONFIG, /etc/sidehook/config.yaml,
./config.yaml or ./sidehook.yaml; or by --admin URL and $SIDEHOOK_TOKEN.
Exit codes: 0 done, 1 failed, 2 usage or configuration error.";

/// Each command in its group, in the order in which they are shown.
const GROUPS: [(&str, &[&str]); 5] = [
    ("Deliver", &["run", "check", "schema", "demo"]),
    (
        "Develop",
        &["dev", "send", "explain", "listen", "verify", "secret"],
    ),
    (
        "Look at the running sidecar",
        &["status", "attempts", "events", "deliveries", "diff"],
    ),
    (
        "Change the running sidecar",
        &[
            "replay",
            "retry",
            "cancel",
            "enable",
            "disable",
            "rotate-secret",
            "test",
            "reload",
        ],
    ),
    ("Set up", &["completions", "man", "help"]),
];

/// The command line, with the help of the program in groups.
pub(super) fn command(mut command: Command) -> Command {
    // Adds `help`, which is shown as well.
    command.build();
    let groups = groups(&command);
    command.help_template(format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{groups}\nOptions:\n{{options}}{{after-help}}"
    ))
}

fn groups(command: &Command) -> String {
    let width = command
        .get_subcommands()
        .map(|known| known.get_name().len());
    let width = width.max().unwrap_or(0);
    let mut text = String::new();
    for (title, names) in GROUPS {
        // Writing to a text cannot fail.
        let _written = writeln!(text, "{title}:");
        for name in names {
            if let Some(known) = command.find_subcommand(name) {
                let about = known.get_about().map(ToString::to_string);
                let about = about.unwrap_or_default();
                let _written = writeln!(text, "  {name:width$}  {about}");
            }
        }
        text.push('\n');
    }
    text.pop();
    text
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn every_argument_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_is_in_one_group() {
        let command = command(Cli::command());
        let grouped = || GROUPS.iter().flat_map(|(_, names)| *names);
        for known in command.get_subcommands() {
            let name = known.get_name();
            let times = grouped().filter(|grouped| **grouped == name).count();
            assert_eq!(times, 1, "{name}");
        }
    }

    #[test]
    fn every_command_says_what_it_does_and_has_an_example() {
        let mut command = Cli::command();
        assert!(command.get_subcommands().count() > 10);
        for known in command.get_subcommands_mut() {
            let name = known.get_name().to_owned();
            assert!(known.get_about().is_some(), "{name}");
            let help = known.render_long_help().to_string();
            assert!(
                help.contains(&format!("sidehook {name}")),
                "{name} has no example"
            );
            assert!(help.contains("Example"), "{name} has no example");
        }
    }

    #[test]
    fn the_help_shows_every_group_with_what_commands_do() {
        let help = command(Cli::command()).render_help().to_string();
        for (title, names) in GROUPS {
            assert!(
                help.contains(&format!("\n{title}:\n  {}", names[0])),
                "{title}\n{help}"
            );
        }
        assert!(
            help.contains("status         Show how the subscriptions do"),
            "{help}"
        );
        let mut lines = help.lines().skip(1);
        assert!(lines.all(|line| line.chars().count() <= 120), "{help}");
    }
}
