//! A letter: what an e-mail says, as JSON in the body of an event, and as text with headers when it is sent.

use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use lettre::Message;
use lettre::message::Mailbox;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use crate::domain::Event;

/// What an e-mail says. Who gets it is looked up when it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// The name of the subscription that it is about.
    pub subscription: String,
    /// The subject, one line.
    pub subject: String,
    /// The text.
    pub text: String,
}

impl Letter {
    /// Reads the body of an event.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }

    /// The body of the event that carries it; none if it cannot be written, which does not happen.
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
    fn a_subject_adds_no_header() {
        let letter = Letter {
            subject: "a\r\nBcc: c@example.org".to_owned(),
            ..letter()
        };
        let text = composed(&letter);
        assert!(!text.contains("\nBcc:"), "{text}");
    }
}
