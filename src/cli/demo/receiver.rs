//! The endpoints of the demonstration: they verify what arrives, and one of them fails once on purpose.

use std::collections::HashMap;
use std::net::SocketAddr;

use bytes::Bytes;
use http::StatusCode;
use http::request::Parts;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::cli::arrival::Verdict;
use crate::domain::{Clock, Secret, SystemClock};
use crate::signing::Scheme;

/// The type whose first attempt fails on purpose, and where.
pub(super) const FAILS_ONCE: (&str, &str) = ("invoice.paid", "billing");

/// Ids whose attempts are counted at most; counting begins again beyond.
const COUNTED_MAX: usize = 10_000;

/// An endpoint of the demonstration.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    /// The name of its subscription, which is its path too.
    pub(super) subscription: &'static str,
    /// The patterns of its subscription, as YAML.
    pub(super) events: &'static str,
    /// The schemes that sign its deliveries.
    pub(super) schemes: Vec<Scheme>,
    /// And with.
    pub(super) secret: String,
}

/// An attempt that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Received {
    /// At which endpoint.
    pub(super) subscription: &'static str,
    /// The `type` of the body, else the id.
    pub(super) event: String,
    /// Which one of this delivery, from 1.
    pub(super) attempt: usize,
    /// The results of checking its signatures, one for each scheme.
    pub(super) verdicts: Vec<Verdict>,
    /// How it was answered.
    pub(super) status: StatusCode,
}

impl Received {
    /// Whether every signature is right.
    pub(super) fn is_verified(&self) -> bool {
        self.verdicts.iter().all(Verdict::is_verified)
    }
}

/// All endpoints, on one address.
#[derive(Debug)]
pub(super) struct Endpoints {
    origin: String,
    endpoints: Vec<Endpoint>,
    attempts: Mutex<HashMap<(&'static str, String), usize>>,
    arrived: mpsc::Sender<Received>,
}

impl Endpoints {
    /// Endpoints on this address; what arrives goes to `arrived` too.
    pub(super) fn new(
        address: SocketAddr,
        endpoints: Vec<Endpoint>,
        arrived: mpsc::Sender<Received>,
    ) -> Self {
        Self {
            origin: format!("https://{address}"),
            endpoints,
            attempts: Mutex::default(),
            arrived,
        }
    }

    /// Verifies a request, reports it, and returns the status of the answer.
    pub(super) fn answer(&self, head: &Parts, body: &Bytes) -> StatusCode {
        let path = head.uri.path().trim_start_matches('/');
        let Some(endpoint) = self.endpoints.iter().find(|it| it.subscription == path) else {
            return StatusCode::NOT_FOUND;
        };
        let received = self.judge(endpoint, head, body);
        let status = received.status;
        // Without room in the channel it is received all the same, only not printed.
        drop(self.arrived.try_send(received));
        status
    }

    fn judge(&self, endpoint: &Endpoint, head: &Parts, body: &Bytes) -> Received {
        let secrets = [Secret::new(endpoint.secret.clone().into_bytes())];
        let at = SystemClock::new().wall();
        let verdicts: Vec<_> = endpoint
            .schemes
            .iter()
            .map(|scheme| Verdict::of(scheme, &secrets, head, body, &self.origin, at))
            .collect();
        let id = head.headers.get("webhook-id");
        let id = id.and_then(|id| id.to_str().ok()).unwrap_or("?");
        let event = type_of(body).unwrap_or_else(|| id.to_owned());
        let attempt = self.count(endpoint.subscription, id);
        let fails = (event.as_str(), endpoint.subscription) == FAILS_ONCE && attempt == 1;
        let is_verified = verdicts.iter().all(Verdict::is_verified);
        let status = match (is_verified, fails) {
            (false, _) => StatusCode::UNAUTHORIZED,
            (true, true) => StatusCode::SERVICE_UNAVAILABLE,
            (true, false) => StatusCode::OK,
        };
        Received {
            subscription: endpoint.subscription,
            event,
            attempt,
            verdicts,
            status,
        }
    }

    fn count(&self, subscription: &'static str, id: &str) -> usize {
        let mut attempts = self.attempts.lock();
        if attempts.len() >= COUNTED_MAX {
            attempts.clear();
        }
        let attempt = attempts.entry((subscription, id.to_owned())).or_default();
        *attempt += 1;
        *attempt
    }
}

fn type_of(body: &[u8]) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    Some(body.get("type")?.as_str()?.to_owned())
}
