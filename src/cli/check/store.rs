//! The report of `check --store` on a store: the first problem of each kind, and how many more there are.

use std::io::{self, Write};
use std::path::Path;

use crate::domain::{Timestamp, with_commas};
use crate::store::{self, IndexState, StoreReport, SubscriptionReport};

/// Nothing is wrong.
pub(super) const VALID: u8 = 0;
/// Something in the store is damaged.
const DAMAGED: u8 = 1;
/// The exit code of usage and configuration errors.
pub(super) const INVALID: u8 = 2;

/// Reasons, and subscriptions, that are shown one by one.
const SHOWN_MAX: usize = 10;

/// Checks the store in a folder, and sums up what is wrong with it. Returns the exit code.
///
/// # Errors
/// `out` cannot be written.
pub(super) fn check(path: &Path, now: Timestamp, out: &mut dyn Write) -> io::Result<u8> {
    let report = match store::check(path, now) {
        Ok(report) => report,
        Err(error) => {
            writeln!(out, "error: {:#}", anyhow::Error::new(error))?;
            writeln!(out, "{}: not checked", path.display())?;
            return Ok(INVALID);
        }
    };
    write_journal(&report, out)?;
    write_index(&report.index, out)?;
    write_subscriptions(&report.subscriptions, out)?;
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
    let more: Vec<String> = report
        .damaged_more
        .iter()
        .map(|(kind, count)| format!("{} of {kind}", with_commas(*count)))
        .collect();
    if !more.is_empty() {
        writeln!(out, "error: journal: more places: {}", more.join(", "))?;
    }
    if report.damaged_places == 0 && report.lost_events > 0 {
        writeln!(
            out,
            "error: journal: events that the index knows are missing"
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
    if report.only_in_index > 0 {
        let pending = counted_pending(report.only_in_index);
        writeln!(
            out,
            "outcomes of {pending} are only in the index, as after a power cut; they stay"
        )?;
    }
    Ok(())
}

/// Those that have the most to deliver, by name, and what the others have.
fn write_subscriptions(all: &[SubscriptionReport], out: &mut dyn Write) -> io::Result<()> {
    let mut all: Vec<&SubscriptionReport> = all.iter().collect();
    if all.len() > SHOWN_MAX {
        all.sort_by_key(|it| std::cmp::Reverse((it.pending.saturating_add(it.dead), it.number.0)));
    }
    let (shown, others) = all.split_at(all.len().min(SHOWN_MAX));
    for subscription in shown {
        let number = subscription.number.0;
        let name = match &subscription.name {
            Some(name) => name.to_string(),
            None => format!("subscription {number}, whose name is lost"),
        };
        let (pending, dead) = (subscription.pending, subscription.dead);
        writeln!(out, "  {name}: {pending} pending, {dead} dead")?;
    }
    if !others.is_empty() {
        let pending: u64 = others.iter().map(|it| it.pending).sum();
        let dead: u64 = others.iter().map(|it| it.dead).sum();
        let more = counted(others.len(), "more subscription");
        writeln!(out, "  {more}: {pending} pending, {dead} dead")?;
    }
    Ok(())
}

fn write_index(index: &IndexState, out: &mut dyn Write) -> io::Result<()> {
    let why = match index {
        IndexState::Agrees => return Ok(()),
        IndexState::Absent => "was missing",
        IndexState::Outdated => "was of another version of sidehook, is kept as index.sqlite3.old",
        IndexState::Damaged(reasons) => {
            for reason in reasons.iter().take(SHOWN_MAX) {
                writeln!(out, "error: index: {}", reason.escape_debug())?;
            }
            let more = reasons.len().saturating_sub(SHOWN_MAX);
            if more > 0 {
                writeln!(out, "error: index: {}", counted(more, "more reason"))?;
            }
            "was damaged, is kept as index.sqlite3.old"
        }
    };
    writeln!(out, "the index {why} and was written anew from the journal")
}

pub(super) fn counted<N: TryInto<u64>>(count: N, what: &str) -> String {
    let count = count.try_into().unwrap_or(u64::MAX);
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

fn counted_pending(count: u64) -> String {
    match count {
        1 => "1 pending delivery".to_owned(),
        count => format!("{count} pending deliveries"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::SubscriptionNumber;

    fn written(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn of_many_subscriptions_those_with_the_most_are_shown() {
        let report = |count: u32| -> Vec<SubscriptionReport> {
            let one = |number| SubscriptionReport {
                number: SubscriptionNumber(number),
                name: format!("s{number}").parse().ok(),
                pending: u64::from(number),
                dead: 1,
            };
            (1..=count).map(one).collect()
        };
        let few = written(|out| write_subscriptions(&report(10), out));
        assert_eq!(few.lines().count(), 10);
        assert!(few.starts_with("  s1: 1 pending, 1 dead\n"), "{few}");
        let many = written(|out| write_subscriptions(&report(1000), out));
        assert_eq!(many.lines().count(), 11);
        assert!(
            many.starts_with("  s1000: 1000 pending, 1 dead\n"),
            "{many}"
        );
        let rest = "\n  990 more subscriptions: 490545 pending, 990 dead\n";
        assert!(many.ends_with(rest), "{many}");
    }

    #[test]
    fn of_many_reasons_the_first_are_shown() {
        let reasons = |count: usize| (0..count).map(|number| format!("reason {number}"));
        let said = |count| {
            let index = IndexState::Damaged(reasons(count).collect());
            written(|out| write_index(&index, out))
        };
        assert_eq!(said(10).lines().count(), 11);
        let many = said(99);
        assert_eq!(many.lines().count(), 12);
        assert!(many.contains("\nerror: index: 89 more reasons\n"), "{many}");
    }
}
