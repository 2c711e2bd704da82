//! What is said of events that are durable.

use std::fmt::Write;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;

use crate::domain::EventId;
use crate::store::Receipt;

/// Bytes of one event's answer beside its id, with room for the number of deliveries.
const RECEIPT_BYTES: usize = 64;

/// The answer to one event: `{"id":"evt_…","deliveries":2,"duplicate":false}`.
pub(super) fn event(receipts: &[Receipt]) -> Response<Full<Bytes>> {
    let mut json = String::with_capacity(EventId::TEXT_LEN + RECEIPT_BYTES);
    if let Some(receipt) = receipts.first() {
        write_receipt(&mut json, receipt);
    }
    accepted(json)
}

/// The answer to a batch: `{"events":[…]}`, in its order.
pub(super) fn batch(receipts: &[Receipt]) -> Response<Full<Bytes>> {
    let mut json = String::with_capacity((EventId::TEXT_LEN + RECEIPT_BYTES) * receipts.len() + 16);
    json.push_str("{\"events\":[");
    for (position, receipt) in receipts.iter().enumerate() {
        if position > 0 {
            json.push(',');
        }
        write_receipt(&mut json, receipt);
    }
    json.push_str("]}");
    accepted(json)
}

/// Nothing in it needs escaping.
fn write_receipt(json: &mut String, receipt: &Receipt) {
    let Receipt {
        id,
        deliveries,
        duplicate,
        ..
    } = receipt;
    let written = write!(
        json,
        r#"{{"id":"{id}","deliveries":{deliveries},"duplicate":{duplicate}}}"#
    );
    debug_assert!(written.is_ok(), "a String takes whatever is written");
}

fn accepted(json: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(json)));
    *response.status_mut() = StatusCode::ACCEPTED;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    fn receipt(duplicate: bool) -> Receipt {
        Receipt {
            id: EventId::from_bytes([0x11; 16]),
            deliveries: 2,
            duplicate,
            overflowed: Vec::new(),
        }
    }

    async fn text(response: Response<Full<Bytes>>) -> String {
        assert_eq!(response.status(), 202);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(body.to_vec()).unwrap()
    }

    const ID: &str = "evt_11111111-1111-1111-1111-111111111111";

    #[tokio::test]
    async fn an_event_is_answered_with_exactly_its_receipt() {
        assert_eq!(
            text(event(&[receipt(false)])).await,
            format!(r#"{{"id":"{ID}","deliveries":2,"duplicate":false}}"#)
        );
    }

    #[tokio::test]
    async fn a_batch_is_answered_in_its_order() {
        assert_eq!(text(batch(&[])).await, r#"{"events":[]}"#);
        assert_eq!(
            text(batch(&[receipt(true), receipt(false)])).await,
            format!(
                r#"{{"events":[{{"id":"{ID}","deliveries":2,"duplicate":true}},{{"id":"{ID}","deliveries":2,"duplicate":false}}]}}"#
            )
        );
    }
}
