//! Whether an event is for a subscription, and why not. One at a time, in the words of the file.

use crate::config::{Subscription, WhenDisabled};
use crate::domain::Pattern;
use crate::matching::{Facts, WhenError};

/// The result for an event at one subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is delivered.
    Delivered,
    /// It matches, and waits because the subscription is not active.
    Held,
    /// It matches, and is counted only, because the subscription is not active.
    Skipped,
    /// No pattern matches.
    NoPattern,
    /// A pattern matches, another excludes; carries that.
    Excluded(String),
    /// A condition of `match` does not hold; carries the selector, what is wanted and what is there.
    Differs(String, String, Option<String>),
    /// `when` is false.
    NotTrue,
    /// `when` could not be evaluated, which means `skip`; carries why.
    Failed(String),
}

/// Returns the result for an event, and a note: of an expression that failed although the event is delivered.
pub(super) fn judge(of: &Subscription, facts: &Facts<'_>) -> (Verdict, Option<String>) {
    if let Some(verdict) = by_patterns(of, facts.event_type) {
        return (verdict, None);
    }
    for condition in &of.matches {
        if !condition.holds(facts) {
            let selector = condition.selector.to_string();
            let found = condition.selector.value(facts).map(String::from);
            return (
                Verdict::Differs(selector, condition.value.to_string(), found),
                None,
            );
        }
    }
    let mut note = None;
    match of.when.as_ref().map(|when| when.evaluate(facts)) {
        None | Some(Ok(true)) => {}
        Some(Ok(false)) => return (Verdict::NotTrue, None),
        Some(Err(error)) => match of.when_error {
            WhenError::Skip => return (Verdict::Failed(error.to_string()), None),
            WhenError::Deliver => {
                note = Some(format!(
                    "when cannot be evaluated ({error}), and when_error is deliver"
                ));
            }
        },
    }
    let verdict = match (of.active, of.when_disabled) {
        (true, _) => Verdict::Delivered,
        (false, WhenDisabled::Hold) => Verdict::Held,
        (false, WhenDisabled::Skip) => Verdict::Skipped,
    };
    (verdict, note)
}

fn by_patterns(of: &Subscription, event_type: &str) -> Option<Verdict> {
    let matches = |pattern: &&Pattern| pattern.matches(event_type);
    if !of.events.included.iter().any(|pattern| matches(&pattern)) {
        return Some(Verdict::NoPattern);
    }
    let excluded = of.events.excluded.iter().find(matches)?;
    Some(Verdict::Excluded(format!("!{excluded}")))
}

impl Verdict {
    /// Whether the event is for the subscription.
    pub(super) fn is_match(&self) -> bool {
        match self {
            Self::Delivered | Self::Held | Self::Skipped => true,
            Self::NoPattern
            | Self::Excluded(_)
            | Self::Differs(..)
            | Self::NotTrue
            | Self::Failed(_) => false,
        }
    }

    /// In one word, for programs.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Held => "held",
            Self::Skipped => "skipped",
            Self::NoPattern => "no_pattern",
            Self::Excluded(_) => "excluded",
            Self::Differs(..) => "match",
            Self::NotTrue => "when",
            Self::Failed(_) => "when_error",
        }
    }

    /// For people.
    pub(super) fn words(&self, of: &Subscription) -> String {
        let when = of.when.as_ref().map_or("", |when| when.text());
        match self {
            Self::Delivered => "gets it".to_owned(),
            Self::Held => "matches, and holds it while it is not active".to_owned(),
            Self::Skipped => "matches, and skips it while it is not active".to_owned(),
            Self::NoPattern => {
                let patterns: Vec<&str> = of.events.included.iter().map(Pattern::as_str).collect();
                format!("no pattern of events matches: {}", patterns.join(", "))
            }
            Self::Excluded(pattern) => format!("excluded by {pattern}"),
            Self::Differs(selector, wanted, Some(found)) => {
                format!("match: {selector} is {found:?}, expected {wanted:?}")
            }
            Self::Differs(selector, wanted, None) => {
                format!("match: {selector} is not there, expected {wanted:?}")
            }
            Self::NotTrue => format!("when is false: {when}"),
            Self::Failed(error) => {
                format!("when cannot be evaluated ({error}), and when_error is skip: {when}")
            }
        }
    }
}
