//! Values that many answers have: times, and words of the contract.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::domain::{
    AttemptStatus, Condition, DeadReason, DeliveryState, DisabledReason, FailureReason, Timestamp,
};

/// Words for what a pending delivery waits for, beside its schedule.
pub(crate) const WAITS: [&str; 5] = ["enabling", "probing", "retry_after", "rate_limit", "order"];
pub(super) const WAITS_OR_NULL: [Option<&str>; 6] = {
    let [enabling, probing, retry_after, rate_limit, order] = WAITS;
    [
        Some(enabling),
        Some(probing),
        Some(retry_after),
        Some(rate_limit),
        Some(order),
        None,
    ]
};

/// A point in time: RFC 3339 UTC with milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Time(pub(crate) Timestamp);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(de::Error::custom)
    }
}

impl JsonSchema for Time {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": "date-time"})
    }
}

/// A word of the contract as its text. A word of a newer relay, unknown here, is kept as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Word<T> {
    /// One of ours.
    Known(T),
    /// Another.
    Other(String),
}

/// Words of the contract.
pub(crate) trait Vocabulary: Copy + PartialEq + 'static {
    /// The name of their schema.
    const NAME: &'static str;
    /// All of them.
    const ALL: &'static [Self];

    /// The text of one.
    fn text(self) -> &'static str;
}

macro_rules! words {
    ($($name:ident)*) => { $(
        impl Vocabulary for $name {
            const NAME: &'static str = stringify!($name);
            const ALL: &'static [Self] = $name::ALL;

            fn text(self) -> &'static str {
                self.as_str()
            }
        }
    )* };
}

words! { AttemptStatus FailureReason DeadReason DeliveryState Condition DisabledReason }

impl<T: Vocabulary> Word<T> {
    /// Its text.
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Known(word) => word.text(),
            Self::Other(text) => text,
        }
    }

    /// Whether it is this one.
    pub(crate) fn is(&self, word: T) -> bool {
        matches!(self, Self::Known(known) if *known == word)
    }
}

impl<T> From<T> for Word<T> {
    fn from(word: T) -> Self {
        Self::Known(word)
    }
}

impl<T: Vocabulary> Serialize for Word<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de, T: Vocabulary> Deserialize<'de> for Word<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let known = T::ALL.iter().find(|word| word.text() == text);
        Ok(known.map_or_else(|| Self::Other(text), |word| Self::Known(*word)))
    }
}

impl<T: Vocabulary> JsonSchema for Word<T> {
    fn schema_name() -> Cow<'static, str> {
        T::NAME.into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let all: Vec<_> = T::ALL.iter().map(|word| word.text()).collect();
        json_schema!({"type": "string", "enum": all})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_milliseconds() {
        let time = Time(Timestamp::from_millis(1000));
        let json = serde_json::to_string(&time).unwrap();
        assert_eq!(json, "\"1970-01-01T00:00:01.000Z\"");
        assert_eq!(serde_json::from_str::<Time>(&json).unwrap(), time);
    }

    #[test]
    fn a_word_of_another_version_is_kept() {
        for text in ["\"dead\"", "\"undecided\""] {
            let word: Word<DeliveryState> = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&word).unwrap(), text);
            assert_eq!(word.is(DeliveryState::Dead), text == "\"dead\"");
        }
    }
}
