//! A letter: the content of an e-mail, as JSON in the body of an event, and as text with headers when it is sent.

use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use lettre::Message;
use lettre::message::Mailbox;
use lettre::message::header::{ContentType, HeaderName, HeaderValue, MIME_VERSION_1_0};
use serde::{Deserialize, Serialize};

use crate::domain::Event;

/// The content of an e-mail. The recipients are looked up when it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// The name of the subscription concerned.
    pub subscription: String,
    /// The subject, one line.
    pub subject: String,
    /// The text.
    pub text: String,
    /// The recipient of this copy; `None`, as in letters of earlier versions, if it goes to all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<Recipient>,
}

/// One of the recipients that were configured when a letter was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    /// All recipients at that time.
    pub of: Vec<String>,
    /// The place among them.
    pub place: usize,
}

impl Letter {
    /// The configured recipients of this copy. One that was removed is replaced by one that was added since, so that no
    /// recipient gets the letter twice.
    pub(super) fn recipients<'a>(&self, configured: &'a [String]) -> Vec<&'a str> {
        let Some(Recipient { of, place }) = &self.recipient else {
            return configured.iter().map(String::as_str).collect();
        };
        let Some(named) = of.get(*place) else {
            return Vec::new();
        };
        let known = configured.iter().find(|address| *address == named);
        let replacement = || {
            let before = of.iter().take(*place);
            let gone = before.filter(|address| !configured.contains(address));
            let mut new = configured.iter().filter(|address| !of.contains(address));
            new.nth(gone.count())
        };
        let address = known.or_else(replacement);
        address.map(String::as_str).into_iter().collect()
    }

    /// Reads the body of an event; `None` if it is not a letter.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }

    /// The body of its event; `None` if it cannot be written, which does not happen.
    #[must_use]
    pub fn body(&self) -> Option<Bytes> {
        serde_json::to_vec(self).ok().map(Bytes::from)
    }

    /// The letter as it is sent: dated when its event was accepted, and with the event's id, so that the copies of several
    /// attempts are one letter.
    ///
    /// Source: RFC 5322, RFC 3834 (`Auto-Submitted`).
    pub(super) fn compose(&self, event: &Event, from: &Mailbox, to: &[Mailbox]) -> Option<Vec<u8>> {
        let id = &event.head.id;
        let millis = u64::try_from(event.head.accepted_at.as_millis()).unwrap_or(0);
        let automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
        let mut builder = Message::builder()
            .from(from.clone())
            .subject(&self.subject)
            .date(UNIX_EPOCH + Duration::from_millis(millis))
            .message_id(Some(format!("<{id}@{}>", from.email.domain())))
            .raw_header(HeaderValue::new(automatic, "auto-generated".to_owned()))
            .header(MIME_VERSION_1_0)
            .header(ContentType::TEXT_PLAIN);
        for recipient in to {
            builder = builder.to(recipient.clone());
        }
        let message = builder.body(self.text.clone()).ok()?;
        Some(message.formatted())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{EventHead, EventId, Timestamp};

    fn event(body: Bytes) -> Event {
        let at = Timestamp::from_millis(1_700_000_000_000);
        Event {
            head: EventHead {
                id: EventId::new(at, [7; 10]),
                given_id: None,
                event_type: "sidehook.subscription.failing".parse().unwrap(),
                key: None,
                source: None,
                subject: None,
                content_type: "application/json".into(),
                headers: Vec::new(),
                accepted_at: at,
            },
            body,
        }
    }

    fn letter() -> Letter {
        Letter {
            subscription: "billing".to_owned(),
            subject: "[sidehook] billing is failing".to_owned(),
            text: "first line\nsecond: grün\n".to_owned(),
            recipient: None,
        }
    }

    fn composed(letter: &Letter) -> String {
        let event = event(letter.body().unwrap());
        let from = "Relay <relay@example.com>".parse().unwrap();
        let to = ["a@example.org", "b@example.org"].map(|to| to.parse().unwrap());
        String::from_utf8(letter.compose(&event, &from, &to).unwrap()).unwrap()
    }

    #[test]
    fn a_letter_survives_writing_and_reading() {
        let letter = letter();
        assert_eq!(Letter::read(&letter.body().unwrap()), Some(letter));
        assert_eq!(Letter::read(b"{}"), None);
    }

    #[test]
    fn a_letter_has_the_headers_of_an_automatic_mail() {
        let text = composed(&letter());
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let lines: Vec<_> = head.lines().collect();
        let id = EventId::new(Timestamp::from_millis(1_700_000_000_000), [7; 10]);
        for line in [
            "From: Relay <relay@example.com>",
            "To: a@example.org, b@example.org",
            "Subject: [sidehook] billing is failing",
            "Date: Tue, 14 Nov 2023 22:13:20 +0000",
            "Auto-Submitted: auto-generated",
            "MIME-Version: 1.0",
            "Content-Type: text/plain; charset=utf-8",
            &format!("Message-ID: <{id}@example.com>"),
        ] {
            assert!(lines.contains(&line), "{line} is not in\n{head}");
        }
        assert!(
            body.starts_with("first line\r\nsecond: gr=C3=BCn"),
            "{body}"
        );
        assert!(text.is_ascii());
    }

    #[test]
    fn a_name_of_the_sender_is_encoded_where_it_has_to_be() {
        let event = event(letter().body().unwrap());
        let to = ["a@example.org".parse().unwrap()];
        for (name, shown) in [
            ("Relay", "From: Relay <relay@example.com>"),
            ("The Relay", "From: \"The Relay\" <relay@example.com>"),
            (
                "Doe, John",
                "From: =?utf-8?b?RG9lLCBKb2hu?= <relay@example.com>",
            ),
            ("Büro", "From: =?utf-8?b?QsO8cm8=?= <relay@example.com>"),
            (
                "a \"b\" <c@d>",
                "From: =?utf-8?b?YSAiYiIgPGNAZD4=?= <relay@example.com>",
            ),
        ] {
            let from = Mailbox::new(Some(name.into()), "relay@example.com".parse().unwrap());
            let text = letter().compose(&event, &from, &to).unwrap();
            let text = String::from_utf8(text).unwrap();
            assert!(text.lines().any(|line| line == shown), "{name}: {text}");
        }
    }

    #[test]
    fn a_copy_is_for_one_recipient_and_for_who_takes_its_place() {
        let who = |place, configured: &[&str]| {
            let of = ["a", "b", "c"].map(str::to_owned).to_vec();
            let letter = Letter {
                recipient: Some(Recipient { of, place }),
                ..letter()
            };
            let configured: Vec<_> = configured.iter().map(|it| (*it).to_owned()).collect();
            letter.recipients(&configured).concat()
        };
        let all = |configured: &[&str]| [0, 1, 2].map(|place| who(place, configured));
        assert_eq!(all(&["a", "b", "c"]), ["a", "b", "c"]);
        assert_eq!(all(&["c", "b", "a"]), ["a", "b", "c"]);
        assert_eq!(all(&["c"]), ["", "", "c"]);
        assert_eq!(all(&["x", "c"]), ["x", "", "c"]);
        assert_eq!(all(&["x", "c", "y", "z"]), ["x", "y", "c"]);
        assert_eq!(all(&[]), ["", "", ""]);
        assert_eq!(who(7, &["a"]), "");
    }

    #[test]
    fn a_letter_of_an_earlier_version_is_for_all() {
        let old = br#"{"subscription":"billing","subject":"s","text":"t"}"#;
        let configured = ["a".to_owned(), "b".to_owned()];
        assert_eq!(
            Letter::read(old).unwrap().recipients(&configured),
            ["a", "b"]
        );
    }

    #[test]
    fn a_subject_adds_no_header() {
        let letter = Letter {
            subject: "a\r\nBcc: c@example.org".to_owned(),
            ..letter()
        };
        let text = composed(&letter);
        assert!(!text.contains("\nBcc:"), "{text}");
    }
}
