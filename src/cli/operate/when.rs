//! Points in time on the command line: RFC 3339, or how long ago.

use std::str::FromStr;
use std::time::Duration;

use crate::config::parse_duration;
use crate::domain::Timestamp;

/// A point in time, as it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// So long before now.
    Ago(Duration),
    /// Then.
    At(Timestamp),
}

impl When {
    /// The point in time, as of `now`.
    pub(crate) fn at(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::Ago(duration) => {
                let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
                Timestamp::from_millis(now.as_millis().saturating_sub(millis))
            }
        }
    }
}

impl FromStr for When {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(duration) = parse_duration(text) {
            return Ok(Self::Ago(duration));
        }
        text.parse()
            .map(Self::At)
            .map_err(|_| "expected how long ago, such as 90s, 1h or 3d, or a time such as 2026-11-22T10:00:00Z")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_in_time_is_absolute_or_before_now() {
        let now = Timestamp::from_millis(10_000_000);
        let at = |text: &str| text.parse::<When>().map(|when| when.at(now).as_millis());
        assert_eq!(at("1h"), Ok(6_400_000));
        assert_eq!(at("1970-01-01T01:00:00+01:00"), Ok(0));
        for wrong in ["yesterday", "1", "", "-1h", "2026-11-22"] {
            assert!(at(wrong).is_err(), "{wrong}");
        }
    }
}
