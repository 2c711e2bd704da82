//! The answers for events that are durable.

use std::fmt::Write;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, VARY};
use http::{Response, StatusCode};
use http_body_util::Full;

use crate::domain::{EventId, SubscriptionName, SubscriptionNumber};
use crate::ingest::Routes;
use crate::ingest::format::Format;
use crate::ingest::prefer::Wait;
use crate::store::{FirstAttempt, Receipt};

/// Bytes of one event's answer beside its id, with room for the number of deliveries.
const RECEIPT_BYTES: usize = 64;

/// Bytes of one delivery's result, more or less.
const RESULT_BYTES: usize = 128;

/// Source: RFC 7240, section 3.
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// The events of a request, durable.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) format: Format,
    /// In their order.
    pub(super) receipts: Vec<Receipt>,
}

impl Accepted {
    /// The answer as soon as they are durable: `{"id":"evt_…","deliveries":2,"duplicate":false}`, or for a batch
    /// `{"events":[…]}`.
    pub(super) fn into_response(self) -> Response<Full<Bytes>> {
        let json = self.json(EventId::TEXT_LEN + RECEIPT_BYTES, |_, _, _| {});
        response(StatusCode::ACCEPTED, json)
    }

    /// The answer after their first attempts: the same with `"results":[…]` in each event that is no duplicate.
    pub(super) fn into_response_with(
        self,
        results: &[Vec<FirstAttempt>],
        routes: &Routes,
    ) -> Response<Full<Bytes>> {
        let longest = results.iter().map(Vec::len).max().unwrap_or_default();
        let bytes = EventId::TEXT_LEN + RECEIPT_BYTES + longest * RESULT_BYTES;
        let json = self.json(bytes, |json, position, receipt| {
            if let Some(results) = results.get(position)
                && !receipt.duplicate
            {
                write_results(json, results, |number| routes.name(number));
            }
        });
        response(StatusCode::OK, json)
    }

    /// The JSON, with what `more` writes into each event; `bytes` is how long each will be, more or less.
    fn json(&self, bytes: usize, more: impl Fn(&mut String, usize, &Receipt)) -> String {
        let mut json = String::with_capacity(bytes * self.receipts.len() + 16);
        match self.format {
            Format::Event => {
                if let Some(receipt) = self.receipts.first() {
                    write_receipt(&mut json, receipt, |json| more(json, 0, receipt));
                }
            }
            Format::Batch => {
                json.push_str("{\"events\":[");
                for (position, receipt) in self.receipts.iter().enumerate() {
                    separate(&mut json, position);
                    write_receipt(&mut json, receipt, |json| more(json, position, receipt));
                }
                json.push_str("]}");
            }
        }
        json
    }
}

/// Announces that another answer might have come without the Prefer header.
pub(super) fn vary(response: &mut Response<Full<Bytes>>) {
    let prefer = HeaderValue::from_static("prefer");
    response.headers_mut().insert(VARY, prefer);
}

/// Announces that the preference was applied, also where the time passed first.
pub(super) fn applied(response: &mut Response<Full<Bytes>>, wait: Wait) {
    if let Ok(value) = HeaderValue::try_from(format!("wait={}", wait.seconds)) {
        response.headers_mut().insert(PREFERENCE_APPLIED, value);
    }
}

/// Nothing in it needs escaping.
fn write_receipt(json: &mut String, receipt: &Receipt, more: impl FnOnce(&mut String)) {
    let Receipt {
        id,
        deliveries,
        duplicate,
        ..
    } = receipt;
    push(
        json,
        format_args!(r#"{{"id":"{id}","deliveries":{deliveries},"duplicate":{duplicate}"#),
    );
    more(json);
    json.push('}');
}

/// Only messages need escaping.
fn write_results<'a>(
    json: &mut String,
    results: &[FirstAttempt],
    name: impl Fn(SubscriptionNumber) -> Option<&'a SubscriptionName>,
) {
    json.push_str(",\"results\":[");
    for (position, result) in results.iter().enumerate() {
        let name = name(result.subscription).map_or("", SubscriptionName::as_str);
        let state = result.state.as_str();
        separate(json, position);
        push(
            json,
            format_args!(r#"{{"subscription":"{name}","state":"{state}","status":"#),
        );
        match result.status {
            Some(status) => push(json, format_args!("\"{}\"", status.as_str())),
            None => json.push_str("null"),
        }
        json.push_str(",\"response_code\":");
        match result.response_code {
            Some(code) => push(json, format_args!("{code}")),
            None => json.push_str("null"),
        }
        let message = serde_json::Value::from(result.error_message.as_deref());
        push(json, format_args!(",\"error_message\":{message}}}"));
    }
    json.push(']');
}

/// Writes the separator before the element at this position.
fn separate(json: &mut String, position: usize) {
    if position > 0 {
        json.push(',');
    }
}

fn push(json: &mut String, text: std::fmt::Arguments<'_>) {
    let written = json.write_fmt(text);
    debug_assert!(written.is_ok(), "a String takes whatever is written");
}

fn response(status: StatusCode, json: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(json)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::domain::{AttemptStatus, DeliveryState};

    fn receipt(duplicate: bool) -> Receipt {
        Receipt {
            id: EventId::from_bytes([0x11; 16]),
            deliveries: 2,
            duplicate,
            overflowed: Vec::new(),
        }
    }

    async fn text(format: Format, receipts: &[Receipt]) -> String {
        let receipts = receipts.to_vec();
        let response = Accepted { format, receipts }.into_response();
        assert_eq!(response.status(), 202);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(body.to_vec()).unwrap()
    }

    const ID: &str = "evt_11111111-1111-1111-1111-111111111111";

    #[tokio::test]
    async fn an_event_is_answered_with_exactly_its_receipt() {
        assert_eq!(
            text(Format::Event, &[receipt(false)]).await,
            format!(r#"{{"id":"{ID}","deliveries":2,"duplicate":false}}"#)
        );
    }

    #[tokio::test]
    async fn a_batch_is_answered_in_its_order() {
        assert_eq!(text(Format::Batch, &[]).await, r#"{"events":[]}"#);
        assert_eq!(
            text(Format::Batch, &[receipt(true), receipt(false)]).await,
            format!(
                r#"{{"events":[{{"id":"{ID}","deliveries":2,"duplicate":true}},{{"id":"{ID}","deliveries":2,"duplicate":false}}]}}"#
            )
        );
    }

    #[test]
    fn results_are_objects_with_every_field_and_messages_escaped() {
        let attempted = FirstAttempt {
            subscription: SubscriptionNumber(1),
            state: DeliveryState::Pending,
            status: Some(AttemptStatus::Failed),
            response_code: Some(500),
            error_message: Some("a \"quoted\"\nmessage".into()),
        };
        let held = FirstAttempt {
            subscription: SubscriptionNumber(2),
            state: DeliveryState::Pending,
            status: None,
            response_code: None,
            error_message: None,
        };
        let name = "some-name".parse().unwrap();
        let mut json = String::new();
        write_results(&mut json, &[attempted, held], |_| Some(&name));
        assert_eq!(
            json,
            concat!(
                r#","results":["#,
                r#"{"subscription":"some-name","state":"pending","status":"failed","response_code":500,"error_message":"a \"quoted\"\nmessage"},"#,
                r#"{"subscription":"some-name","state":"pending","status":null,"response_code":null,"error_message":null}]"#
            )
        );
        let mut none = String::new();
        write_results(&mut none, &[], |_| Some(&name));
        assert_eq!(none, r#","results":[]"#);
    }
}
