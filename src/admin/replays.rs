//! `/v1/replays`: many deliveries at once, at a pace.

use http::header::LOCATION;
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::admin::answer::{self, Answer, json_with};
use crate::admin::body::{Fields, TEXT_EXPECTED};
use crate::admin::operation::Call;
use crate::admin::query::{TIME_EXPECTED, time};
use crate::admin::refusal::Refusal;
use crate::api::{Begun, List, Matched, NewReplay, Replay};
use crate::config::{RATE_EXPECTED, parse_rate};
use crate::domain::{DeliveryState, SubscriptionName, Timestamp};
use crate::store::{ReplayId, ReplayRequest};

const NO_REPLAY: &str = "there is no such bulk replay, or it is no longer kept";

/// The answer that a replay has begun, which contains where to see its progress.
pub(super) fn begun(id: ReplayId, body: &impl Serialize) -> Answer {
    let mut answer = json_with(StatusCode::ACCEPTED, body);
    if let Ok(place) = HeaderValue::from_str(&format!("/v1/replays/{}", id.0)) {
        answer.headers_mut().insert(LOCATION, place);
    }
    answer
}

/// The list, newest first: 16 at most.
pub(super) async fn all(call: Call) -> Result<Answer, Refusal> {
    let found = call.admin.store.replays().all();
    Ok(answer::json(&List {
        data: found.into_iter().map(Replay::new).collect(),
        next_cursor: None,
    }))
}

/// One.
pub(super) async fn one(call: Call) -> Result<Answer, Refusal> {
    let id = id(&call)?;
    match call.admin.store.replays().progress(id) {
        Some(progress) => Ok(answer::json(&Replay::new(progress))),
        None => Err(Refusal::not_found(NO_REPLAY)),
    }
}

/// Stops it.
pub(super) async fn stop(call: Call) -> Result<Answer, Refusal> {
    let id = id(&call)?;
    if call.admin.store.replays().progress(id).is_none() {
        return Err(Refusal::not_found(NO_REPLAY));
    }
    let progress = call.admin.store.replays().stop(id).await?;
    Ok(answer::json(&Replay::new(progress)))
}

/// Begins one, or counts what it would find.
pub(super) async fn begin(call: Call) -> Result<Answer, Refusal> {
    let (request, dry_run) = asked(&call.body)?;
    if !call.admin.knows(&request.subscription) {
        let message = call.admin.unknown_name(&request.subscription);
        return Err(Refusal::invalid_at("subscription", message));
    }
    if dry_run {
        let matched = call.admin.store.replays().count(&request).await?;
        return Ok(answer::json(&Matched { matched }));
    }
    let (id, matched) = call.admin.store.replays().begin(request).await?;
    let body = Begun {
        id: id.0.to_string(),
        matched,
    };
    Ok(begun(id, &body))
}

fn id(call: &Call) -> Result<ReplayId, Refusal> {
    call.named(NO_REPLAY).map(ReplayId)
}

/// Returns the requested replay, and whether it is only to be counted.
fn asked(body: &Map<String, Value>) -> Result<(ReplayRequest, bool), Refusal> {
    let mut fields = Fields::of::<NewReplay>(body);
    let subscription = fields.text("subscription", TEXT_EXPECTED, |text| {
        SubscriptionName::known(text).map_err(|error| error.to_string())
    });
    if subscription.is_none() && !fields.has_error("subscription") {
        fields.error("subscription", "expected the name of a subscription");
    }
    let state = fields.text("state", TEXT_EXPECTED, |text| {
        let mut states = DeliveryState::ALL.iter();
        let found = states.find(|it| it.as_str() == text);
        let expected = "expected one of dead, pending, cancelled, delivered";
        found.copied().ok_or_else(|| expected.to_owned())
    });
    let point = |text: &str| time(text).ok_or_else(|| TIME_EXPECTED.to_owned());
    let since: Option<Timestamp> = fields.text("since", TEXT_EXPECTED, point);
    let until: Option<Timestamp> = fields.text("until", TEXT_EXPECTED, point);
    let event_type = fields.text("event_type", TEXT_EXPECTED, |text| {
        text.parse()
            .map_err(|error: crate::domain::PatternError| error.to_string())
    });
    let rate_limit = fields.text("rate_limit", TEXT_EXPECTED, |text| {
        parse_rate(text).ok_or_else(|| RATE_EXPECTED.to_owned())
    });
    let dry_run = fields.flag("dry_run");
    let subscription = fields.end(subscription)?;
    Ok((
        ReplayRequest {
            subscription,
            state: state.unwrap_or(DeliveryState::Dead),
            since,
            until,
            event_type,
            rate_limit,
        },
        dry_run,
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::written_rate;

    fn asked_for(body: Value) -> Result<(ReplayRequest, bool), String> {
        let Value::Object(body) = body else {
            panic!("not an object")
        };
        asked(&body).map_err(|refusal| format!("{refusal:?}"))
    }

    #[test]
    fn dead_deliveries_of_a_subscription_are_replayed_unless_it_says_else() {
        let (request, dry_run) = asked_for(json!({"subscription": "a"})).unwrap();
        assert_eq!(
            (request.state, request.rate_limit, dry_run),
            (DeliveryState::Dead, None, false)
        );
        let body = json!({"subscription": "a", "state": "cancelled", "since": "1970-01-01T00:00:01Z",
            "until": null, "event_type": "x.y", "rate_limit": "90/m", "dry_run": true});
        let (request, dry_run) = asked_for(body).unwrap();
        assert_eq!(request.state, DeliveryState::Cancelled);
        assert_eq!(
            (request.since, request.until),
            (Some(Timestamp::from_millis(1000)), None)
        );
        assert_eq!(
            request.rate_limit.map(written_rate).as_deref(),
            Some("90/m")
        );
        assert!(dry_run);
    }

    #[test]
    fn every_value_that_is_wrong_is_named() {
        for (field, value) in [
            ("state", json!("held")),
            ("state", json!(1)),
            ("since", json!("today")),
            ("until", json!({})),
            ("event_type", json!("")),
            ("rate_limit", json!("0/s")),
            ("rate_limit", json!("100")),
            ("dry_run", json!("yes")),
            ("other", json!(1)),
        ] {
            let mut body = json!({"subscription": "a"});
            body[field] = value;
            let error = asked_for(body).unwrap_err();
            assert!(error.contains(&format!("(\"{field}\"")), "{error}");
        }
        for body in [
            json!({}),
            json!({"subscription": "_a"}),
            json!({"subscription": 1}),
        ] {
            let error = asked_for(body).unwrap_err();
            assert!(error.contains("(\"subscription\""), "{error}");
        }
    }
}
