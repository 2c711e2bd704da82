//! Patterns over event types.
//!
//! A type is split at `.` `:` `/`; separators must match and case counts. `*` alone matches every type, `*` as a
//! segment one segment, `*` as the last segment one or more. A pattern without wildcard matches the type itself
//! and, as its subject, every type that has it before the first `:`. `!` in front excludes.

use std::fmt;
use std::str::FromStr;

use crate::domain::Label;

/// Why a text is not a valid pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Nothing is left of it, or after its `!`.
    #[error("a pattern cannot be empty: expected a type such as invoice.paid, or * for every type")]
    Empty,
    /// It has more than 256 characters or other than visible ASCII ones.
    #[error("expected 1 to 256 visible ASCII characters")]
    Characters,
    /// `**`, which other systems have.
    #[error("** is not supported: * as the last segment matches one or more segments")]
    DoubleStar,
    /// `*` together with other characters in a segment.
    #[error("* must be a whole segment, such as invoice.*, and not part of one")]
    StarInSegment,
    /// `!` twice.
    #[error("a pattern has one ! at most, at its beginning")]
    DoubleNegation,
    /// A list that only excludes.
    #[error("a list of only ! patterns matches nothing: add what to include, such as \"*\"")]
    OnlyExclusions,
    /// A list without patterns.
    #[error("expected at least one pattern")]
    NoPatterns,
}

/// One pattern, without its `!`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// `*`: every type.
    Any,
    /// No wildcard: the type itself, or its subject.
    Literal(Box<str>),
    /// At least one `*` segment beside others.
    Wildcard(Box<str>),
}

impl Pattern {
    /// Whether the pattern matches an event type. Linear in its length; the index in `matching` is the fast way for
    /// many patterns, and this is what it is checked against.
    #[must_use]
    pub fn matches(&self, event_type: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Literal(text) => {
                event_type == &**text
                    || event_type
                        .split_once(':')
                        .is_some_and(|(subject, _)| subject == &**text)
            }
            Self::Wildcard(text) => wildcard_matches(text, event_type),
        }
    }

    /// The pattern as written, without `!`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Any => "*",
            Self::Literal(text) | Self::Wildcard(text) => text,
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        if text.starts_with('!') {
            return Err(PatternError::DoubleNegation);
        }
        if text.contains("**") {
            return Err(PatternError::DoubleStar);
        }
        text.parse::<Label>()
            .map_err(|_| PatternError::Characters)?;
        if text == "*" {
            return Ok(Self::Any);
        }
        if segments(text).any(|(segment, _)| segment.contains('*') && segment != "*") {
            return Err(PatternError::StarInSegment);
        }
        let is_wildcard = text.contains('*');
        Ok(if is_wildcard {
            Self::Wildcard(text.into())
        } else {
            Self::Literal(text.into())
        })
    }
}

/// The field `events`: what is included, and what is excluded again.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Patterns {
    /// At least one of these must match.
    pub included: Vec<Pattern>,
    /// None of these may match.
    pub excluded: Vec<Pattern>,
}

impl Patterns {
    /// Reads a list of patterns, each with or without `!`.
    ///
    /// # Errors
    /// The position of the pattern in the list, if the error is one's, and what is wrong.
    pub fn parse<'a>(
        texts: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, (Option<usize>, PatternError)> {
        let mut patterns = Self::default();
        for (position, text) in texts.into_iter().enumerate() {
            let (list, text) = match text.strip_prefix('!') {
                Some(rest) => (&mut patterns.excluded, rest),
                None => (&mut patterns.included, text),
            };
            list.push(text.parse().map_err(|error| (Some(position), error))?);
        }
        match (patterns.included.is_empty(), patterns.excluded.is_empty()) {
            (true, true) => Err((None, PatternError::NoPatterns)),
            (true, false) => Err((None, PatternError::OnlyExclusions)),
            (false, _) => Ok(patterns),
        }
    }

    /// Whether an event of this type is included and not excluded.
    #[must_use]
    pub fn matches(&self, event_type: &str) -> bool {
        self.included
            .iter()
            .any(|pattern| pattern.matches(event_type))
            && !self
                .excluded
                .iter()
                .any(|pattern| pattern.matches(event_type))
    }
}

/// Splits a type or pattern into its segments, each with the separator (`.` `:` `/`) that follows it; the last has
/// none. A text that ends with a separator ends with an empty segment.
pub fn segments(text: &str) -> impl Iterator<Item = (&str, Option<char>)> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let current = rest?;
        match current.split_once(['.', ':', '/']) {
            Some((segment, after)) => {
                rest = Some(after);
                Some((segment, current.chars().nth(segment.chars().count())))
            }
            None => {
                rest = None;
                Some((current, None))
            }
        }
    })
}

fn wildcard_matches(pattern: &str, event_type: &str) -> bool {
    let mut typed = segments(event_type);
    for (wanted, wanted_separator) in segments(pattern) {
        let Some((found, found_separator)) = typed.next() else {
            return false;
        };
        if wanted != "*" && wanted != found {
            return false;
        }
        match wanted_separator {
            // `*` at the end takes one segment or more.
            None => return wanted == "*" || found_separator.is_none(),
            Some(separator) if found_separator != Some(separator) => return false,
            Some(_) => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, event_type: &str) -> bool {
        pattern.parse::<Pattern>().unwrap().matches(event_type)
    }

    #[test]
    fn star_alone_matches_every_type() {
        assert!(matches("*", "a") && matches("*", "a.b:c/d"));
    }

    #[test]
    fn star_segment_matches_one_segment_and_the_last_one_or_more() {
        assert!(matches("invoice.*", "invoice.paid"));
        assert!(matches("invoice.*", "invoice.paid.late:again"));
        assert!(!matches("invoice.*", "invoice"));
        assert!(!matches("invoice.*", "invoices.paid"));
        assert!(matches("*.paid", "invoice.paid"));
        assert!(!matches("*.paid", "eu.invoice.paid"));
        assert!(matches("a.*.c", "a.b.c"));
        assert!(!matches("a.*.c", "a.b.b.c"));
        assert!(!matches("a.*.c", "a.b.c.d"));
    }

    #[test]
    fn separators_and_case_must_match() {
        assert!(!matches("invoice.*", "invoice:paid"));
        assert!(!matches("Invoice.*", "invoice.paid"));
        assert!(matches("a:*", "a:b") && matches("a/*", "a/b"));
    }

    #[test]
    fn literal_matches_itself_and_as_a_subject() {
        assert!(matches("quote", "quote") && matches("quote", "quote:created"));
        assert!(matches("quote", "quote:created:twice"));
        assert!(!matches("quote", "quote.created"));
        assert!(!matches("quote:created", "quote:created:twice"));
        assert!(!matches("quote", "quotes:created"));
    }

    #[test]
    fn exclusion_wins_wherever_it_stands() {
        let patterns =
            Patterns::parse(["!invoice.draft", "invoice.*", "quote", "!quote:deleted"]).unwrap();
        assert!(patterns.matches("invoice.paid"));
        assert!(!patterns.matches("invoice.draft"));
        assert!(!patterns.matches("quote:deleted"));
        assert!(
            !Patterns::parse(["*", "!quote"])
                .unwrap()
                .matches("quote:created")
        );
    }

    #[test]
    fn what_is_no_pattern_is_said() {
        let error = |text: &str| text.parse::<Pattern>().unwrap_err();
        assert_eq!(error(""), PatternError::Empty);
        assert_eq!(error("a.**"), PatternError::DoubleStar);
        assert_eq!(error("inv*"), PatternError::StarInSegment);
        assert_eq!(error("a b"), PatternError::Characters);
        assert_eq!(error("!a"), PatternError::DoubleNegation);
        assert_eq!(
            Patterns::parse(["!a"]),
            Err((None, PatternError::OnlyExclusions))
        );
        assert_eq!(Patterns::parse([]), Err((None, PatternError::NoPatterns)));
        assert_eq!(
            Patterns::parse(["a", "!"]),
            Err((Some(1), PatternError::Empty))
        );
        assert_eq!(
            Patterns::parse(["a", "!!b"]),
            Err((Some(1), PatternError::DoubleNegation))
        );
    }

    #[test]
    fn segments_keep_their_separators() {
        let split: Vec<_> = segments("a.b:c/").collect();
        assert_eq!(
            split,
            [
                ("a", Some('.')),
                ("b", Some(':')),
                ("c", Some('/')),
                ("", None)
            ]
        );
    }
}
