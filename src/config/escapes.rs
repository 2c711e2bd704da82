//! Surrogate pairs in double-quoted scalars: JSON writes a character beyond U+FFFF as two escapes (`"\ud83d\ude00"`), which
//! YAML's parsers refuse.
//!
//! Source: RFC 8259 section 7; YAML 1.2.2 section 5.7 has only escapes of whole characters.

use std::ops::Range;

/// An escape of half a character, or of one in two halves, with its place.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Surrogate {
    Pair(Range<usize>, char),
    Half(Range<usize>),
}

/// The bytes of a pair as JSON writes it: `\ud83d\ude00`.
const PAIR: usize = 12;

/// Finds the surrogates in a double-quoted scalar that begins at `start` of a text.
pub(super) fn surrogates(quoted: &str, start: usize) -> Vec<Surrogate> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(next) = quoted.get(at..).and_then(|rest| rest.find('\\')) {
        at += next;
        let here = start + at;
        let (step, surrogate) = match (escaped(quoted, at), escaped(quoted, at + PAIR / 2)) {
            (Some((high @ 0xd800..=0xdbff, 6)), Some((low @ 0xdc00..=0xdfff, 6))) => {
                let code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                let pair = char::from_u32(code).map(|it| Surrogate::Pair(here..here + PAIR, it));
                (PAIR, pair)
            }
            (Some((0xd800..=0xdfff, length)), _) => {
                (length, Some(Surrogate::Half(here..here + length)))
            }
            // Any escaped character, a backslash among them, begins no escape.
            _ => (2, None),
        };
        found.extend(surrogate);
        at += step;
    }
    found
}

/// The number behind `\u` or `\U` at a place, and the length of the whole.
fn escaped(text: &str, at: usize) -> Option<(u32, usize)> {
    let length = match text.get(at..at + 2)? {
        "\\u" => 6,
        "\\U" => 10,
        _ => return None,
    };
    let digits = text.get(at + 2..at + length)?;
    let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let code = u32::from_str_radix(digits, 16).ok().filter(|_| is_hex)?;
    Some((code, length))
}

/// A text in which pairs are written as YAML does, two bytes shorter.
#[derive(Debug)]
pub(super) struct Rewritten {
    pub(super) text: String,
    /// Where each of them ends in `text`.
    ends: Vec<usize>,
}

impl Rewritten {
    /// Puts these pairs, in their order, into a text.
    pub(super) fn new(text: &str, pairs: &[(Range<usize>, char)]) -> Self {
        let mut rewritten = String::with_capacity(text.len());
        let mut ends = Vec::with_capacity(pairs.len());
        let mut copied = 0;
        for (range, character) in pairs {
            rewritten.push_str(text.get(copied..range.start).unwrap_or_default());
            rewritten.push_str(&format!("\\U{:08X}", u32::from(*character)));
            ends.push(rewritten.len());
            copied = range.end;
        }
        rewritten.push_str(text.get(copied..).unwrap_or_default());
        Self {
            text: rewritten,
            ends,
        }
    }

    /// The byte of the text as it was that stands at a line and column, both from 1.
    pub(super) fn original(&self, line: usize, column: usize) -> usize {
        let (_, at) = self.bytes(line, column);
        at + 2 * self.pairs_before(at)
    }

    /// The column in the text as it was.
    pub(super) fn original_column(&self, line: usize, column: usize) -> usize {
        let (begin, at) = self.bytes(line, column);
        column + 2 * (self.pairs_before(at) - self.pairs_before(begin))
    }

    /// The byte where a line begins, and that of a column in it.
    fn bytes(&self, line: usize, column: usize) -> (usize, usize) {
        let mut lines = self.text.split_inclusive('\n');
        let before = lines.by_ref().take(line.saturating_sub(1));
        let begin: usize = before.map(str::len).sum();
        let rest = lines.next().unwrap_or_default();
        let within = rest.char_indices().nth(column.saturating_sub(1));
        (begin, begin + within.map_or(rest.len(), |(at, _)| at))
    }

    fn pairs_before(&self, at: usize) -> usize {
        self.ends.partition_point(|end| *end <= at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_and_halves_are_told_apart() {
        let pair = |start| Surrogate::Pair(start..start + PAIR, '\u{1f600}');
        let half = |start| Surrogate::Half(start..start + 6);
        for (quoted, expected) in [
            (r#""\ud83d\ude00""#, vec![pair(1)]),
            (r#""\uD83D\uDE00\uD83D\uDE00""#, vec![pair(1), pair(13)]),
            (r#""x\ud83d""#, vec![half(2)]),
            (r#""\ude00\ud83d""#, vec![half(1), half(7)]),
            (r#""\ud83d\ud83d\ude00""#, vec![half(1), pair(7)]),
            (r#""\ud83d \ude00""#, vec![half(1), half(8)]),
            (r#""\ud83d\n""#, vec![half(1)]),
            (r#""\U0000d83d""#, vec![Surrogate::Half(1..11)]),
            // No escapes of surrogates.
            (r#""\\ud83d\\ude00""#, vec![]),
            (r#""\u00e9\"\t\/\U0001F600""#, vec![]),
            (r#""\ud83""#, vec![]),
            (r#""\ud83"#, vec![]),
            (r#""\"#, vec![]),
            (r#""\u+83d\ude0é""#, vec![]),
        ] {
            assert_eq!(surrogates(quoted, 0), expected, "{quoted}");
        }
        assert_eq!(surrogates(r#""\ud83d\ude00""#, 100), [pair(101)]);
    }

    #[test]
    fn places_are_those_of_the_text_as_it_was() {
        let text = "é\n\"\\ud83d\\ude00a\\ud83d\\ude00\" b\nc";
        let found = surrogates(text, 0);
        let pairs: Vec<_> = found
            .into_iter()
            .filter_map(|it| match it {
                Surrogate::Pair(range, character) => Some((range, character)),
                Surrogate::Half(_) => None,
            })
            .collect();
        let rewritten = Rewritten::new(text, &pairs);
        let expected = "é\n\"\\U0001F600a\\U0001F600\" b\nc";
        assert_eq!(rewritten.text, expected);
        for (line, column, there) in [(1, 1, 'é'), (2, 1, '"'), (2, 2, '\\'), (2, 12, 'a')] {
            let at = rewritten.original(line, column);
            assert!(text.split_at(at).1.starts_with(there), "{line}:{column}");
        }
        assert_eq!(text.split_at(rewritten.original(2, 25)).1, "b\nc");
        assert_eq!(rewritten.original_column(2, 25), 29);
        assert_eq!(rewritten.original_column(3, 1), 1);
        assert_eq!(rewritten.original(3, 1), text.len() - 1);
        assert_eq!(rewritten.original(3, 9), text.len());
        assert_eq!(rewritten.original(9, 9), text.len());
    }
}
