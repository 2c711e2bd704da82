//! `sidehook check`: says what is wrong in a configuration, and with `--store` in its store, without starting anything.

use std::io::{self, Write};
use std::path::Path;

use crate::cli::ConfigArg;
use crate::config::{Config, Environment, Problems, load_given};
use crate::domain::Timestamp;
use crate::store::{self, BookState, StoreReport};

/// What stands below the help.
const NOTE: &str = "\
Examples:
  sidehook check --config config.yaml --strict
  sidehook check --config config.yaml --store

--store reads every record of the journal and compares the book with it. The relay must be stopped. It changes what a
start changes: an unfinished write at the end of the journal is cut, and a book that is missing, damaged or wrong is
written anew. It needs room for a second book.

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
    /// Check the store too: every record of the journal, and the book
    #[arg(long)]
    pub(crate) store: bool,
}

/// Nothing is wrong.
const VALID: u8 = 0;
/// The exit code of usage and configuration errors.
const INVALID: u8 = 2;

/// Something in the store is damaged.
const DAMAGED: u8 = 1;

/// Checks the configuration in `path`, and with `--store` its store if it is valid. Writes one line per problem, and what
/// sums up. Returns the exit code. `now` is of the steady clock.
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
    match check(path, args.strict, environment, out)? {
        Some(config) if args.store => check_store(&config.store.path, now, out),
        Some(_) => Ok(VALID),
        None => Ok(INVALID),
    }
}

/// Checks the configuration; gives it if it is valid. `strict` makes warnings errors.
fn check(
    path: &Path,
    strict: bool,
    environment: &Environment,
    out: &mut dyn Write,
) -> io::Result<Option<Config>> {
    let shown = path.display();
    match load_given(path, environment) {
        Ok(loaded) => {
            let label = if strict { "error" } else { "warning" };
            write_problems(label, &loaded.warnings, out)?;
            if strict && !loaded.warnings.is_empty() {
                writeln!(
                    out,
                    "{shown}: {}",
                    counted(loaded.warnings.total(), "error")
                )?;
                return Ok(None);
            }
            let subscriptions = counted(loaded.config.subscriptions.len(), "subscription");
            writeln!(out, "{shown}: valid, {subscriptions}")?;
            Ok(Some(loaded.config))
        }
        Err(error) => {
            write_problems("error", &error.0, out)?;
            writeln!(out, "{shown}: {}", counted(error.0.total(), "error"))?;
            Ok(None)
        }
    }
}

fn check_store(path: &Path, now: Timestamp, out: &mut dyn Write) -> io::Result<u8> {
    let report = match store::check(path, now) {
        Ok(report) => report,
        Err(error) => {
            writeln!(out, "error: {:#}", anyhow::Error::new(error))?;
            writeln!(out, "{}: not checked", path.display())?;
            return Ok(INVALID);
        }
    };
    write_journal(&report, out)?;
    write_book(&report.book, out)?;
    for subscription in &report.subscriptions {
        let number = subscription.number.0;
        let name = match &subscription.name {
            Some(name) => name.to_string(),
            None => format!("subscription {number}, whose name is lost"),
        };
        let (pending, dead) = (subscription.pending, subscription.dead);
        writeln!(out, "  {name}: {pending} pending, {dead} dead")?;
    }
    let verdict = if report.is_clean() {
        "valid"
    } else {
        "damaged"
    };
    let (events, records) = (
        counted(report.events, "event"),
        counted(report.records, "record"),
    );
    let shown = path.display();
    writeln!(
        out,
        "{shown}: {verdict}, {events} in {records} of the journal"
    )?;
    Ok(if report.is_clean() { VALID } else { DAMAGED })
}

fn write_journal(report: &StoreReport, out: &mut dyn Write) -> io::Result<()> {
    for damage in &report.damaged {
        writeln!(out, "error: journal: {damage}")?;
    }
    let listed = u64::try_from(report.damaged.len()).unwrap_or(u64::MAX);
    if report.damaged_places > listed {
        let more = counted(report.damaged_places - listed, "place");
        writeln!(out, "error: journal: {more} more")?;
    }
    if report.damaged_places == 0 && report.lost_events > 0 {
        writeln!(
            out,
            "error: journal: events that the book knows are missing"
        )?;
    }
    let lost = [
        (report.damaged_records, "record"),
        (report.lost_events, "event"),
    ];
    let lost = lost.into_iter().filter(|(count, _)| *count > 0);
    let mut lost: Vec<String> = lost.map(|(count, what)| counted(count, what)).collect();
    if report.lost_pending > 0 {
        lost.push(counted_pending(report.lost_pending));
    }
    if !lost.is_empty() {
        let lost = lost.join(", ");
        writeln!(
            out,
            "lost, as far as is known: {lost}; everything else was kept"
        )?;
    }
    if report.torn_bytes > 0 {
        let bytes = report.torn_bytes;
        writeln!(
            out,
            "an unfinished write of {bytes} bytes was cut from the end of the journal"
        )?;
    }
    if report.only_in_book > 0 {
        let pending = counted_pending(report.only_in_book);
        writeln!(
            out,
            "outcomes of {pending} are only in the book, as after a power cut; they stay"
        )?;
    }
    Ok(())
}

fn write_book(book: &BookState, out: &mut dyn Write) -> io::Result<()> {
    let why = match book {
        BookState::Agrees => return Ok(()),
        BookState::Absent => "was missing",
        BookState::Outdated => "was of another version of sidehook, is kept as book.sqlite3.old",
        BookState::Damaged(reasons) => {
            for reason in reasons {
                writeln!(out, "error: book: {}", reason.escape_debug())?;
            }
            "was damaged, is kept as book.sqlite3.old"
        }
    };
    writeln!(out, "the book {why} and was written anew from the journal")
}

fn counted_pending(count: u64) -> String {
    match count {
        1 => "1 pending delivery".to_owned(),
        count => format!("{count} pending deliveries"),
    }
}

fn write_problems(label: &str, problems: &Problems, out: &mut dyn Write) -> io::Result<()> {
    for problem in problems.iter() {
        writeln!(out, "{label}: {problem}")?;
    }
    if let Some(rest) = problems.rest() {
        writeln!(out, "{label}: {rest}")?;
    }
    Ok(())
}

fn counted<N: TryInto<u64>>(count: N, what: &str) -> String {
    let count = count.try_into().unwrap_or(u64::MAX);
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
        let args = CheckArgs {
            config: ConfigArg::default(),
            strict,
            store: false,
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
