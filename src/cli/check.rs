//! `sidehook check`: says what is wrong in a configuration, without starting anything.

use std::io::{self, Write};
use std::path::Path;

use crate::cli::ConfigArg;
use crate::config::{Environment, Problem, load};

/// What stands below the help.
const NOTE: &str = "Exit codes: 0 valid, 2 not valid.";

/// Say what is wrong in a configuration, without starting anything
#[derive(Debug, clap::Args)]
#[command(after_help = NOTE)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArg,
    /// Take warnings for errors
    #[arg(long)]
    pub(crate) strict: bool,
}

/// Nothing is wrong.
const VALID: u8 = 0;
/// The exit code of usage and configuration errors.
const INVALID: u8 = 2;

/// Checks the configuration in `path` and writes one line per problem and one that sums up. `strict` makes warnings
/// errors. Returns the exit code: 0 or 2.
///
/// # Errors
/// `out` cannot be written.
pub(crate) fn check(
    path: &Path,
    strict: bool,
    environment: &Environment,
    out: &mut dyn Write,
) -> io::Result<u8> {
    let shown = path.display();
    match load(path, environment) {
        Ok(loaded) => {
            let label = if strict { "error" } else { "warning" };
            write_problems(label, &loaded.warnings, out)?;
            if strict && !loaded.warnings.is_empty() {
                writeln!(out, "{shown}: {}", counted(loaded.warnings.len(), "error"))?;
                return Ok(INVALID);
            }
            let subscriptions = counted(loaded.config.subscriptions.len(), "subscription");
            writeln!(out, "{shown}: valid, {subscriptions}")?;
            Ok(VALID)
        }
        Err(error) => {
            write_problems("error", &error.0, out)?;
            writeln!(out, "{shown}: {}", counted(error.0.len(), "error"))?;
            Ok(INVALID)
        }
    }
}

fn write_problems(label: &str, problems: &[Problem], out: &mut dyn Write) -> io::Result<()> {
    for problem in problems {
        writeln!(out, "{label}: {problem}")?;
    }
    Ok(())
}

fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str, strict: bool) -> (u8, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.yaml");
        std::fs::write(&path, text).unwrap();
        let mut out = Vec::new();
        let code = check(&path, strict, &Environment::default(), &mut out).unwrap();
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
    fn every_error_is_a_line_and_the_code_is_2() {
        let (code, out) = checked("lsten: {}\nlog: {level: loud}\n", false);
        assert_eq!(code, 2);
        assert_eq!(out.lines().count(), 4, "{out}");
        assert!(
            out.contains("error: c.yaml:1:1: lsten: unknown key, did you mean listen?\n"),
            "{out}"
        );
        assert!(out.ends_with("c.yaml: 3 errors\n"), "{out}");
    }
}
