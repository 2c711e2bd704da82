//! The result that a post would have, without a store: for `sidehook explain`.

use std::error::Error;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::Full;

use crate::config::Config;
use crate::domain::{Clock, Event, SubscriptionNumber};
use crate::http_server::Peer;
use crate::ingest::intake::Intake;
use crate::ingest::routes::Routes;
use crate::metrics::Metrics;

/// Makes events of a request just as the events listener does, and keeps none.
///
/// # Errors
/// The answer of a request that is refused.
///
/// # Cancel safety
/// Nothing has happened.
pub(crate) async fn preview<B>(
    config: Arc<Config>,
    clock: Arc<dyn Clock>,
    request: Request<B>,
) -> Result<Vec<Event>, Response<Full<Bytes>>>
where
    B: Body<Data = Bytes>,
    B::Error: Error + 'static,
{
    // The numbers are not used: deliveries are for the store.
    let routes = Routes::numbered(config, &Metrics::new(), |_| SubscriptionNumber(0));
    let routes = Arc::new(routes);
    let intake = Intake::new(clock);
    let peer = Peer::Tcp { loopback: true };
    match intake.take(&routes, peer, request).await {
        Ok(taken) => Ok(taken.events.into_iter().map(|new| new.event).collect()),
        Err(refusal) => Err(refusal.into_response()),
    }
}
