//! Names and numbers of things: events, subscriptions, deliveries.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use uuid::Uuid;

use crate::domain::Timestamp;

/// Why an id could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// An event id is `evt_` followed by a hyphenated UUID.
    #[error("not an event id: expected evt_ followed by a UUID")]
    Event,
    /// A delivery id is an event id, a dot and a subscription name.
    #[error("not a delivery id: expected <event id>.<subscription>")]
    Delivery,
}

/// The id that sidehook gives an event: `evt_` + UUIDv7 (RFC 9562, section 5.7), so ids sort by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(Uuid);

impl EventId {
    /// Length of the written form in bytes.
    pub const TEXT_LEN: usize = 40;

    /// Makes the id of an event accepted at `now`; `random` supplies the 74 random bits of UUIDv7.
    #[must_use]
    pub fn new(now: Timestamp, random: [u8; 10]) -> Self {
        let millis = u64::try_from(now.as_millis()).unwrap_or(0);
        Self(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
    }

    /// The 16 bytes of the UUID, as stored.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// The id whose UUID has these 16 bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut buffer = Uuid::encode_buffer();
        f.write_str("evt_")?;
        f.write_str(self.0.hyphenated().encode_lower(&mut buffer))
    }
}

impl FromStr for EventId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let uuid = text
            .strip_prefix("evt_")
            .filter(|rest| rest.len() == 36)
            .ok_or(IdError::Event)?;
        Uuid::try_parse(uuid).map(Self).map_err(|_| IdError::Event)
    }
}

/// Event ids that begin in the same way, from the first to the last that is possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventIdRange {
    /// The least.
    pub first: EventId,
    /// The greatest.
    pub last: EventId,
}

impl EventIdRange {
    /// Hexadecimal digits that a beginning has at least.
    pub const DIGITS_MIN: usize = 8;
}

impl FromStr for EventIdRange {
    type Err = IdError;

    /// Reads the beginning of an event id: `evt_` and at least 8 hexadecimal digits, with or without hyphens.
    fn from_str(text: &str) -> Result<Self, IdError> {
        let beginning = text.strip_prefix("evt_").ok_or(IdError::Event)?;
        let digits = beginning.chars().filter(|digit| *digit != '-');
        let digits: Option<Vec<u32>> = digits.map(|digit| digit.to_digit(16)).collect();
        let digits = digits.ok_or(IdError::Event)?;
        if !(Self::DIGITS_MIN..=32).contains(&digits.len()) {
            return Err(IdError::Event);
        }
        let filled_with = |filler: u32| {
            let missing = std::iter::repeat_n(&filler, 32 - digits.len());
            let all = digits.iter().chain(missing);
            let value = all.fold(0_u128, |value, digit| value << 4 | u128::from(*digit));
            EventId(Uuid::from_u128(value))
        };
        Ok(Self {
            first: filled_with(0),
            last: filled_with(0xf),
        })
    }
}

/// The place of an event in the order of acceptance: 1 for the first event of a store, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EventSeq(pub u64);

/// The number of a subscription name in the store; a name keeps its number for the life of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionNumber(pub u32);

/// Reports that a text is not a valid subscription name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a subscription name is 1 to 64 of a-z 0-9 _ -, beginning with a letter or digit")]
pub struct NameError;

/// The name of sidehook's own subscription to operational events.
const NOTIFICATIONS: &str = "_notifications";
/// The name of sidehook's own subscription that sends e-mails.
const MAIL: &str = "_mail";

/// A subscription's name: `[a-z0-9][a-z0-9_-]{0,63}`, or one of sidehook's own, which begin with `_` so that no
/// configuration can use them. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionName(Arc<str>);

impl SubscriptionName {
    /// `_notifications`: operational events to `notifications.webhook`.
    #[must_use]
    pub fn notifications() -> Self {
        Self(Arc::from(NOTIFICATIONS))
    }

    /// `_mail`: e-mails through `notifications.smtp`.
    #[must_use]
    pub fn mail() -> Self {
        Self(Arc::from(MAIL))
    }

    /// Reads a name that was checked before, such as one from the store or in an id. Accepts sidehook's own names too.
    ///
    /// # Errors
    /// [`NameError`] for anything else that no subscription can have.
    pub fn known(text: &str) -> Result<Self, NameError> {
        match text {
            NOTIFICATIONS | MAIL => Ok(Self(Arc::from(text))),
            other => other.parse(),
        }
    }

    /// The name of a subscription that has none yet.
    pub(crate) fn unnamed() -> Self {
        Self(Arc::from("unnamed"))
    }

    /// Whether it is one of sidehook's own: hidden where subscriptions of the file are shown.
    #[must_use]
    pub fn is_internal(&self) -> bool {
        self.0.starts_with('_')
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SubscriptionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for SubscriptionName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let lower_or_digit = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let fits = text.len() <= 64
            && text.as_bytes().first().is_some_and(lower_or_digit)
            && text
                .bytes()
                .all(|byte| lower_or_digit(&byte) || byte == b'_' || byte == b'-');
        if fits {
            Ok(Self(Arc::from(text)))
        } else {
            Err(NameError)
        }
    }
}

/// The id of a delivery: `<event id>.<subscription>`, the same over all attempts and replays.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryId {
    /// The event that is delivered.
    pub event: EventId,
    /// The subscription it is delivered for.
    pub subscription: SubscriptionName,
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.event, self.subscription)
    }
}

impl FromStr for DeliveryId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let (event, subscription) = text.split_once('.').ok_or(IdError::Delivery)?;
        Ok(Self {
            event: event.parse().map_err(|_| IdError::Delivery)?,
            subscription: SubscriptionName::known(subscription).map_err(|_| IdError::Delivery)?,
        })
    }
}

/// Why a text cannot be an event type, given id or key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// It is empty or longer than [`Label::MAX_LEN`] bytes; carries the length found.
    #[error("expected 1 to 256 characters, found {0}")]
    Length(usize),
    /// It has a byte that is not visible ASCII (0x21 to 0x7e); carries its position, from 0.
    #[error("expected visible ASCII characters only, found another at position {0}")]
    Character(usize),
}

/// A short text that names something of the application's: an event type, a given id, a key. 1 to 256 visible
/// ASCII characters. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(Arc<str>);

impl Label {
    /// The most bytes a label may have.
    pub const MAX_LEN: usize = 256;

    /// The label as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Label {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, LabelError> {
        if text.is_empty() || text.len() > Self::MAX_LEN {
            return Err(LabelError::Length(text.len()));
        }
        match text.bytes().position(|byte| !byte.is_ascii_graphic()) {
            Some(position) => Err(LabelError::Character(position)),
            None => Ok(Self(Arc::from(text))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_of_an_event_id_is_a_range() {
        let id = EventId::new(Timestamp::from_millis(1_700_000_000_123), [7; 10]);
        let text = id.to_string();
        for length in [12, 13, 18, 22, 40] {
            let range: EventIdRange = text.get(..length).unwrap().parse().unwrap();
            assert!(range.first <= id && id <= range.last, "{length}");
        }
        let whole: EventIdRange = text.parse().unwrap();
        assert_eq!((whole.first, whole.last), (id, id));
        let short: EventIdRange = "evt_018bcfe5".parse().unwrap();
        assert_eq!(
            short.last.to_string(),
            "evt_018bcfe5-ffff-ffff-ffff-ffffffffffff"
        );
        for wrong in [
            "evt_018bcf",
            "018bcfe568",
            "evt_018bcfe5x",
            "evt_",
            &format!("{text}0"),
        ] {
            assert!(wrong.parse::<EventIdRange>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn event_id_survives_writing_and_reading() {
        let id = EventId::new(Timestamp::from_millis(1_700_000_000_000), [7; 10]);
        let text = id.to_string();
        assert_eq!(text.len(), EventId::TEXT_LEN);
        assert_eq!(text.parse(), Ok(id));
        assert_eq!(EventId::from_bytes(*id.as_bytes()), id);
        assert_eq!(text.as_bytes()[18], b'7', "version 7: {text}");
    }

    #[test]
    fn event_ids_sort_by_time() {
        let early = EventId::new(Timestamp::from_millis(1_000), [255; 10]);
        let late = EventId::new(Timestamp::from_millis(1_001), [0; 10]);
        assert!(early < late);
    }

    #[test]
    fn subscription_names_outside_the_rule_are_refused() {
        for good in ["a", "0", "a-b_c", &"x".repeat(64)] {
            assert!(good.parse::<SubscriptionName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "_a", "A", "a.b", "ä", "a b", &"x".repeat(65)] {
            assert!(bad.parse::<SubscriptionName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn names_of_sidehooks_own_are_known_and_cannot_be_given() {
        for own in [SubscriptionName::notifications(), SubscriptionName::mail()] {
            assert!(own.is_internal());
            assert_eq!(SubscriptionName::known(own.as_str()), Ok(own.clone()));
            assert_eq!(own.as_str().parse::<SubscriptionName>(), Err(NameError));
            let event = EventId::new(Timestamp::from_millis(5), [1; 10]);
            let subscription = own;
            let id = DeliveryId {
                event,
                subscription,
            };
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        assert_eq!(SubscriptionName::known("_other"), Err(NameError));
        assert!(!SubscriptionName::known("mail").unwrap().is_internal());
    }

    #[test]
    fn delivery_id_joins_event_and_subscription() {
        let event = EventId::new(Timestamp::from_millis(5), [1; 10]);
        let id = DeliveryId {
            event,
            subscription: "billing".parse().unwrap(),
        };
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(
            "evt_x.billing".parse::<DeliveryId>(),
            Err(IdError::Delivery)
        );
    }

    #[test]
    fn labels_are_visible_ascii() {
        assert!("invoice.paid".parse::<Label>().is_ok());
        assert_eq!("".parse::<Label>(), Err(LabelError::Length(0)));
        assert_eq!(
            "x".repeat(257).parse::<Label>(),
            Err(LabelError::Length(257))
        );
        assert_eq!("a b".parse::<Label>(), Err(LabelError::Character(1)));
        assert_eq!("aé".parse::<Label>(), Err(LabelError::Character(1)));
    }
}
