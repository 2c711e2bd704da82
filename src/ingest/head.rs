//! The request head, read once: what names the event, what is kept with it, and what decides whether it may come in.

use bytes::Bytes;
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

use crate::domain::{KeptHeader, list_elements};
use crate::ingest::format::Format;
use crate::ingest::prefer::{self, Wait};
use crate::ingest::refusal::Refusal;
use crate::ingest::routes::Routes;

/// Headers kept with an event at most; how long they are together is bounded by the size of a request head.
pub(super) const KEPT_HEADERS_MAX: usize = 64;

/// Bytes of a source, subject or Content-Type at most.
pub(super) const TEXT_BYTES_MAX: usize = 1024;

const TEXT_EXPECTED: &str = "expected at most 1024 visible ASCII characters";

/// The media type of an event without Content-Type.
const DEFAULT_CONTENT_TYPE: &str = "application/octet-stream";

/// Lines of JSON, in the spellings that are in use, of `application/` and `text/`, also with `x-`: none of them is registered.
const JSON_LINES: [&[u8]; 5] = [
    b"json-lines",
    b"jsonl",
    b"jsonlines",
    b"ndjson",
    b"stream+json",
];
/// Batches of other kinds: taken as one event, they would reach endpoints in one piece.
const OTHER_BATCHES: [&[u8]; 3] = [
    b"application/cloudevents-batch",
    b"application/cloudevents-batch+json",
    b"application/json-seq",
];

/// The headers of a request that ingest uses. Each of these may be there once only, but for Prefer.
#[derive(Debug, Default)]
pub(super) struct RequestHead<'a> {
    pub(super) host: Option<&'a HeaderValue>,
    pub(super) has_origin: bool,
    pub(super) fetch_site: Option<&'a HeaderValue>,
    pub(super) authorization: Option<&'a HeaderValue>,
    content_type: Option<&'a HeaderValue>,
    has_coding: bool,
    ce_type: Option<&'a HeaderValue>,
    sidehook_type: Option<&'a HeaderValue>,
    ce_id: Option<&'a HeaderValue>,
    idempotency_key: Option<&'a HeaderValue>,
    webhook_id: Option<&'a HeaderValue>,
    sidehook_key: Option<&'a HeaderValue>,
    ce_partition_key: Option<&'a HeaderValue>,
    source: Option<&'a HeaderValue>,
    subject: Option<&'a HeaderValue>,
    prefer: Vec<&'a HeaderValue>,
    kept: Vec<KeptHeader>,
}

/// The parts of a request's head that go to each of its events.
#[derive(Debug, Clone)]
pub(super) struct Content {
    pub(super) content_type: Box<str>,
    pub(super) source: Option<Box<str>>,
    pub(super) subject: Option<Box<str>>,
    pub(super) headers: Vec<KeptHeader>,
}

impl<'a> RequestHead<'a> {
    /// Reads the headers in one pass.
    ///
    /// # Errors
    /// A header twice of which only one can be meant (400), too many to keep (431).
    pub(super) fn read(headers: &'a HeaderMap, routes: &Routes) -> Result<Self, Refusal> {
        let mut head = Self::default();
        for (name, value) in headers {
            head.note(name, value)?;
            if routes.keeps(name) {
                head.keep(name, value)?;
            }
        }
        Ok(head)
    }

    fn note(&mut self, name: &HeaderName, value: &'a HeaderValue) -> Result<(), Refusal> {
        let place = match name.as_str() {
            "host" => &mut self.host,
            "origin" => {
                self.has_origin = true;
                return Ok(());
            }
            "content-encoding" => {
                self.has_coding |= has_other_than(value, b"identity");
                return Ok(());
            }
            // Of a transfer coding only the chunks are undone, which have to be its last.
            "transfer-encoding" => {
                self.has_coding |= has_other_than(value, b"chunked");
                return Ok(());
            }
            "prefer" => {
                self.prefer.push(value);
                return Ok(());
            }
            "sec-fetch-site" => &mut self.fetch_site,
            "authorization" => &mut self.authorization,
            // Without a media type it counts as absent.
            "content-type" if media_type(value).is_empty() => return Ok(()),
            "content-type" => &mut self.content_type,
            "ce-type" => &mut self.ce_type,
            "sidehook-type" => &mut self.sidehook_type,
            "ce-id" => &mut self.ce_id,
            "idempotency-key" => &mut self.idempotency_key,
            "webhook-id" => &mut self.webhook_id,
            "sidehook-key" => &mut self.sidehook_key,
            "ce-partitionkey" => &mut self.ce_partition_key,
            "ce-source" => &mut self.source,
            "ce-subject" => &mut self.subject,
            _ => return Ok(()),
        };
        match place.replace(value) {
            None => Ok(()),
            Some(_) => Err(Refusal::RepeatedHeader(name.clone())),
        }
    }

    fn keep(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<(), Refusal> {
        if self.kept.len() == KEPT_HEADERS_MAX {
            return Err(Refusal::TooManyHeaders);
        }
        self.kept.push(KeptHeader {
            name: name.as_str().into(),
            value: Bytes::copy_from_slice(value.as_bytes()),
        });
        Ok(())
    }

    /// The type, if a header gives it.
    pub(super) fn event_type(&self) -> Option<&'a [u8]> {
        let value = self.ce_type.or(self.sidehook_type)?;
        Some(value.as_bytes())
    }

    /// The given id, if a header gives it; that of `Idempotency-Key` without its quotes.
    pub(super) fn given_id(&self) -> Option<&'a [u8]> {
        let quoted = || self.idempotency_key.map(|value| unquoted(value.as_bytes()));
        self.ce_id
            .map(HeaderValue::as_bytes)
            .or_else(quoted)
            .or_else(|| self.webhook_id.map(HeaderValue::as_bytes))
    }

    /// The key, if a header gives it.
    pub(super) fn key(&self) -> Option<&'a [u8]> {
        let value = self.sidehook_key.or(self.ce_partition_key)?;
        Some(value.as_bytes())
    }

    /// How long the answer may wait for first attempts, if that was asked for.
    pub(super) fn wait(&self) -> Option<Wait> {
        prefer::wait(self.prefer.iter().map(|value| value.as_bytes()))
    }

    /// The kind of the body, by its Content-Type.
    ///
    /// # Errors
    /// A kind of batch other than lines of JSON, or a content coding (415): the body would be taken for something it is not.
    pub(super) fn format(&self) -> Result<Format, Refusal> {
        if self.has_coding {
            return Err(Refusal::ContentCoding);
        }
        let Some(value) = self.content_type else {
            return Ok(Format::Event);
        };
        let media_type = media_type(value);
        if is_json_lines(media_type) {
            Ok(Format::Batch)
        } else if is_one_of(media_type, &OTHER_BATCHES) {
            Err(Refusal::BatchType)
        } else {
            Ok(Format::Event)
        }
    }

    /// Takes out what every event of the request has of it.
    ///
    /// # Errors
    /// A Content-Type (400), source or subject (422) that is not text or too long.
    pub(super) fn take_content(&mut self, format: Format) -> Result<Content, Refusal> {
        let content_type = match (format, self.content_type) {
            (Format::Batch, _) => "application/json".into(),
            (Format::Event, None) => DEFAULT_CONTENT_TYPE.into(),
            (Format::Event, Some(value)) => text(value).ok_or(Refusal::ContentType)?,
        };
        let optional = |value: Option<&HeaderValue>, field| match value {
            None => Ok(None),
            Some(value) => match text(value) {
                Some(text) => Ok(Some(text)),
                None => Err(Refusal::invalid(field, TEXT_EXPECTED)),
            },
        };
        Ok(Content {
            content_type,
            source: optional(self.source, "source")?,
            subject: optional(self.subject, "subject")?,
            headers: std::mem::take(&mut self.kept),
        })
    }
}

/// Whether a list of codings has another one than this.
fn has_other_than(value: &HeaderValue, coding: &[u8]) -> bool {
    list_elements(value.as_bytes()).any(|element| !element.eq_ignore_ascii_case(coding))
}

/// The media type of a Content-Type, without its parameters.
fn media_type(value: &HeaderValue) -> &[u8] {
    let media_type = value.as_bytes().split(|byte| *byte == b';').next();
    media_type.unwrap_or_default().trim_ascii()
}

fn is_json_lines(media_type: &[u8]) -> bool {
    let mut parts = media_type.splitn(2, |byte| *byte == b'/');
    let (Some(kind), Some(name)) = (parts.next(), parts.next()) else {
        return false;
    };
    let name = match name.split_at_checked(2) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case(b"x-") => rest,
        _ => name,
    };
    is_one_of(kind, &[b"application", b"text"]) && is_one_of(name, &JSON_LINES)
}

fn is_one_of(media_type: &[u8], types: &[&[u8]]) -> bool {
    let mut types = types.iter();
    types.any(|known| media_type.eq_ignore_ascii_case(known))
}

fn text(value: &HeaderValue) -> Option<Box<str>> {
    let text = value.to_str().ok()?;
    (text.len() <= TEXT_BYTES_MAX).then(|| text.into())
}

fn unquoted(value: &[u8]) -> &[u8] {
    let inner = value
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""));
    inner.unwrap_or(value)
}
