//! Requests and the events that are made of them, up to the store.

mod batch;
mod filters;
mod guard;
mod limits;
mod naming;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};

use crate::config::{self, Environment};
use crate::domain::{
    BODY_BYTES_MAX, Clock, EventHead, EventId, SubscriptionName, SubscriptionNumber, Timestamp,
};
use crate::http_server::Peer;
use crate::ingest::Routes;
use crate::ingest::intake::Intake;
use crate::ingest::refusal::Refusal;
use crate::matching::{Facts, Headers};
use crate::metrics::{Histograms, Metrics};
use crate::store::Receipt;

const LOOPBACK: Peer = Peer::Tcp { loopback: true };

#[derive(Debug)]
struct FixedClock;

impl Clock for FixedClock {
    fn wall(&self) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000)
    }

    fn steady(&self) -> Timestamp {
        Timestamp::from_millis(42)
    }
}

/// Routes of a configuration file with this section `ingest` and these subscriptions, numbered from 100, and their metrics.
fn counted_routes(ingest: &str, subscriptions: &str) -> (Metrics, Arc<Routes>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yaml");
    let text = format!("ingest: {{{ingest}}}\nsubscriptions: {{{subscriptions}}}\n");
    routes_of(&path, &text)
}

fn routes_of(path: &Path, text: &str) -> (Metrics, Arc<Routes>) {
    std::fs::write(path, text).unwrap();
    let loaded = config::load(path, &Environment::default()).unwrap();
    let config = Arc::new(loaded.config);
    let metrics = Metrics::new();
    let names: Vec<_> = config.subscriptions.keys().cloned().collect();
    metrics.set_configured(&names, Histograms::Auto);
    let number = |name: &SubscriptionName| {
        let position = names.iter().position(|known| known == name).unwrap();
        SubscriptionNumber(100 + u32::try_from(position).unwrap())
    };
    let routes = Routes::numbered(config, &metrics, number);
    (metrics, Arc::new(routes))
}

fn routes_with(ingest: &str, subscriptions: &str) -> Arc<Routes> {
    counted_routes(ingest, subscriptions).1
}

fn routes(ingest: &str) -> Arc<Routes> {
    routes_with(ingest, "")
}

/// The facts for filters about an event of this type without anything else.
fn facts(event_type: &str) -> Facts<'_> {
    facts_with(event_type, b"")
}

fn facts_with<'e>(event_type: &'e str, body: &'e [u8]) -> Facts<'e> {
    Facts {
        event_type,
        event_id: EventId::new(NOW, [7; 10]),
        given_id: None,
        source: None,
        subject: None,
        key: None,
        headers: Headers {
            content_type: "application/json",
            kept: &[],
        },
        body,
    }
}

fn receipt(overflowed: &[SubscriptionNumber]) -> Receipt {
    Receipt {
        id: EventId::new(NOW, [7; 10]),
        deliveries: 1,
        duplicate: false,
        overflowed: overflowed.to_vec(),
    }
}

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// A post to `/events` with these headers beside Host.
struct Post<'a> {
    target: &'a str,
    headers: &'a [(&'static str, &'a str)],
    body: &'a str,
}

impl Default for Post<'_> {
    fn default() -> Self {
        Self {
            target: "/events",
            headers: &[],
            body: "",
        }
    }
}

impl Post<'_> {
    async fn take(&self, routes: &Arc<Routes>) -> Result<(Vec<EventHead>, Vec<Bytes>), Refusal> {
        let mut request = Request::post(self.target).header("host", "localhost");
        for (name, value) in self.headers {
            request = request.header(*name, *value);
        }
        let body = Full::new(Bytes::copy_from_slice(self.body.as_bytes()));
        let intake = Intake::new(Arc::new(FixedClock));
        let taken = intake
            .take(routes, LOOPBACK, request.body(body).unwrap())
            .await?;
        let events = taken
            .events
            .into_iter()
            .map(|new| (new.event.head, new.event.body));
        Ok(events.unzip())
    }

    async fn one(&self, routes: &Arc<Routes>) -> EventHead {
        let (mut heads, bodies) = self.take(routes).await.unwrap();
        assert_eq!(
            (heads.len(), &bodies[..]),
            (1, &[Bytes::copy_from_slice(self.body.as_bytes())][..])
        );
        heads.remove(0)
    }

    /// Status, code and errors of the refusal.
    async fn refused(&self, routes: &Arc<Routes>) -> (u16, String, serde_json::Value) {
        problem(self.take(routes).await.unwrap_err()).await
    }
}

async fn problem(refusal: Refusal) -> (u16, String, serde_json::Value) {
    let response = refusal.into_response();
    assert_eq!(
        response.headers()["content-type"],
        "application/problem+json"
    );
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(json["status"], status);
    (
        status,
        json["code"].as_str().unwrap().to_owned(),
        json["errors"].clone(),
    )
}
