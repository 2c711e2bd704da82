//! Text, times and counts for people.

use std::time::Duration;

use crate::domain::{Timestamp, is_format, with_commas};

/// The text without what steers a terminal or changes the order of what is read: control and format characters are shown
/// as escapes.
pub(crate) fn plain(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            shown.extend(character.escape_default());
        } else if is_format(character) {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// The text, plain, cut after `max` characters.
pub(crate) fn cut(text: &str, max: usize) -> String {
    let mut shown: String = text.chars().take(max).collect();
    if text.chars().nth(max).is_some() {
        shown.push('…');
    }
    plain(&shown)
}

/// Reads a time of an answer.
pub(crate) fn time(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

/// `2026-11-24T10:00:00Z`, seconds being enough for tables.
pub(crate) fn moment(at: Timestamp) -> String {
    let time = jiff::Timestamp::from_millisecond(at.as_millis());
    time.map_or_else(|_| at.to_string(), |time| format!("{time:.0}"))
}

/// `2026-11-24T10:00:00.123Z (3m ago)`
pub(crate) fn moment_and_age(at: Timestamp, now: Timestamp) -> String {
    match at > now {
        true => format!("{at} (in {})", span(at.since(now))),
        false => format!("{at} ({})", age(at, now)),
    }
}

/// `3m ago`
pub(crate) fn age(at: Timestamp, now: Timestamp) -> String {
    format!("{} ago", span(whole_seconds(now.since(at))))
}

/// An age in milliseconds would reflect our own slowness more than the thing.
fn whole_seconds(age: Duration) -> Duration {
    Duration::from_secs(age.as_secs())
}

/// A duration in its largest unit, as for ages: `850ms`, `12s`, `3m`, `5h`, `2d`.
pub(crate) fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 if !duration.is_zero() => format!("{}ms", duration.as_millis()),
        0 => "0s".to_owned(),
        1..=119 => format!("{seconds}s"),
        120..=7199 => format!("{}m", seconds / 60),
        7200..=172_799 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Bytes in the largest unit that has at least one of it: `512 B`, `4.9 KiB`, `1.2 GiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let fits = |unit: &u32| bytes >> (10 * unit) > 0;
    let Some(unit) = (1..=4_u32).rev().find(fits) else {
        return format!("{bytes} B");
    };
    let tenths = (u128::from(bytes) * 10) >> (10 * unit);
    let name = UNITS.iter().zip(1..).find(|(_, number)| *number == unit);
    let name = name.map_or("", |(name, _)| *name);
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

/// `1 delivery`, `1,234 deliveries`
pub(crate) fn counted(count: u64, one: &str, many: &str) -> String {
    let what = if count == 1 { one } else { many };
    format!("{} {what}", with_commas(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_steers_the_terminal() {
        let nasty = "a\u{1b}[2J\r\n\u{9b}\u{202e}\u{2066}\u{200b}é日";
        assert_eq!(
            plain(nasty),
            "a\\u{1b}[2J\\r\\n\\u{9b}\\u{202e}\\u{2066}\\u{200b}é日"
        );
        assert_eq!(cut("ééé\u{1b}", 3), "ééé…");
        assert_eq!(cut("\u{1b}", 3), "\\u{1b}");
    }

    #[test]
    fn times_are_absolute_and_relative() {
        let [now, at, later, just_now] = [
            "2026-11-24T10:03:00.000Z",
            "2026-11-24T10:00:00.123Z",
            "2026-11-24T13:03:00.000Z",
            "2026-11-24T10:02:59.500Z",
        ]
        .map(|text| time(text).unwrap());
        assert_eq!(moment(at), "2026-11-24T10:00:00Z");
        assert_eq!(moment_and_age(at, now), "2026-11-24T10:00:00.123Z (2m ago)");
        assert_eq!(
            moment_and_age(later, now),
            "2026-11-24T13:03:00.000Z (in 3h)"
        );
        assert_eq!(age(just_now, now), "0s ago");
    }

    #[test]
    fn spans_have_the_unit_that_says_enough() {
        let span = |seconds| span(Duration::from_secs(seconds));
        let spans = [0, 59, 119, 120, 7199, 7200, 172_799, 172_800].map(span);
        assert_eq!(
            spans,
            ["0s", "59s", "119s", "2m", "119m", "2h", "47h", "2d"]
        );
    }

    #[test]
    fn large_numbers_can_be_read() {
        assert_eq!(
            [0, 999, 1000, 1_234_567].map(with_commas),
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!(counted(1, "delivery", "deliveries"), "1 delivery");
        assert_eq!(
            [0, 1023, 1024, 5_000, 1 << 20, 3 << 40].map(bytes),
            ["0 B", "1023 B", "1.0 KiB", "4.8 KiB", "1.0 MiB", "3.0 TiB"]
        );
    }
}
