//! Probes and metrics: `/healthz`, `/readyz`, `/metrics`. They reveal no secret and change nothing.

use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue};
use http_body_util::BodyExt;

use crate::admin::answer::{Answer, text};
use crate::admin::operation::Call;
use crate::admin::refusal::Refusal;
use crate::http_server::identify;
use crate::store::Health;

/// The media type of Prometheus text. Source: Prometheus exposition formats, text format 0.0.4.
pub(super) const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// `GET /healthz`; its headers identify the sidehook that answers.
pub(super) async fn healthz(call: Call) -> Result<Answer, Refusal> {
    let store = &call.admin.store;
    let mut answer = match store.health() {
        Health::Healthy | Health::Full => text(StatusCode::OK, "ok\n"),
        Health::Failed => text(StatusCode::SERVICE_UNAVAILABLE, "the store has failed\n"),
    };
    identify(answer.headers_mut(), store.instance());
    Ok(answer)
}

/// `GET /readyz`
pub(super) async fn readyz(call: Call) -> Result<Answer, Refusal> {
    if !call.admin.readiness.is_ready() {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        return Ok(text(status, "starting or stopping\n"));
    }
    let mut answer = match call.admin.store.health() {
        Health::Healthy => "ok".to_owned(),
        Health::Full => "ok, but the store is full".to_owned(),
        Health::Failed => {
            let status = StatusCode::SERVICE_UNAVAILABLE;
            return Ok(text(status, "the store has failed\n"));
        }
    };
    if let Some(trouble) = call.admin.watching.trouble() {
        answer.push_str(", but changes of the configuration are noticed late: ");
        answer.push_str(trouble);
    }
    answer.push('\n');
    Ok(text(StatusCode::OK, answer))
}

/// `GET /metrics`
pub(super) async fn metrics(call: Call) -> Result<Answer, Refusal> {
    let (exporter, control) = (&call.admin.exporter, &call.admin.control);
    let Some(text) = exporter.text(control.refreshed()).await else {
        return Err(Refusal::unavailable(
            "overloaded",
            "the metrics cannot be rendered now",
            1,
        ));
    };
    let mut answer = Answer::new(text.boxed_unsync());
    let media_type = HeaderValue::from_static(METRICS_TYPE);
    answer.headers_mut().insert(CONTENT_TYPE, media_type);
    Ok(answer)
}
