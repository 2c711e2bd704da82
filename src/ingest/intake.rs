//! From a request to the events that the store is asked to take.

use std::error::Error;
use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body::Body;
use tokio::task::yield_now;
use tokio::time::Instant;

use crate::domain::{Clock, Event, EventHead, EventId, Timestamp};
use crate::http_server::Peer;
use crate::ingest::body::{BodyReader, Budget};
use crate::ingest::filtering::{self, Filtering};
use crate::ingest::format::Format;
use crate::ingest::head::{Content, RequestHead};
use crate::ingest::naming::{self, Names, Said};
use crate::ingest::prefer::Wait;
use crate::ingest::random::RandomBytes;
use crate::ingest::refusal::Refusal;
use crate::ingest::routes::{Addressed, Routes};
use crate::ingest::{batch, guard, target};
use crate::matching::Facts;
use crate::store::NewEvent;

/// Deliveries of a batch that are found at one go: some milliseconds.
const PART: usize = 20_000;

/// Makes events of requests.
#[derive(Debug)]
pub(super) struct Intake {
    clock: Arc<dyn Clock>,
    random: RandomBytes,
    bodies: BodyReader,
    filtering: Filtering,
}

/// The events of one request, ready for the store.
#[derive(Debug)]
pub(super) struct Taken<'a> {
    pub(super) format: Format,
    pub(super) wait: Option<Wait>,
    pub(super) events: Vec<NewEvent>,
    /// The results of each event beside deliveries.
    pub(super) addressed: Vec<Addressed>,
    /// Held until the store has the events.
    pub(super) budget: Budget<'a>,
}

impl Intake {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            random: RandomBytes::default(),
            bodies: BodyReader::default(),
            filtering: Filtering::default(),
        }
    }

    /// The time, by the clock that never jumps.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.steady()
    }

    /// Checks and reads a request. All refusals that the head allows come before the body is read.
    ///
    /// # Errors
    /// Every error of the request.
    ///
    /// # Cancel safety
    /// Nothing has happened yet when this returns.
    pub(super) async fn take<B>(
        &self,
        routes: &Arc<Routes>,
        peer: Peer,
        request: Request<B>,
    ) -> Result<Taken<'_>, Refusal>
    where
        B: Body<Data = Bytes>,
        B::Error: Error + 'static,
    {
        let (parts, body) = request.into_parts();
        let mut head = RequestHead::read(&parts.headers, routes)?;
        guard::check(&parts, &head, peer, routes.config())?;
        let path_type = target::event_type(&parts)?;
        let format = head.format()?;
        let wait = head.wait();
        let content = head.take_content(format)?;
        let said = Said::new(&head, path_type.as_deref());
        let bound = match format {
            Format::Event => routes.max_body(),
            Format::Batch => u64::try_from(batch::BYTES_MAX).unwrap_or(u64::MAX),
        };
        let (body, budget) = self.bodies.read(body, bound).await?;
        let posted = match format {
            Format::Event => vec![(naming::single(said, routes, &body)?, body)],
            Format::Batch => batch::split(said, routes, &body)?,
        };
        let (events, addressed) = self.make_events(routes, content, posted).await?;
        Ok(Taken {
            format,
            wait,
            events,
            addressed,
            budget,
        })
    }

    async fn make_events(
        &self,
        routes: &Arc<Routes>,
        content: Content,
        posted: Vec<(Names, Bytes)>,
    ) -> Result<(Vec<NewEvent>, Vec<Addressed>), Refusal> {
        let (wall, steady) = (self.clock.wall(), self.clock.steady());
        let mut events = Vec::with_capacity(posted.len());
        let mut addressed = Vec::with_capacity(posted.len());
        let is_batch = posted.len() > 1;
        let mut deadline = None;
        let mut addressed_to = 0;
        let contents = std::iter::repeat_n(content, posted.len());
        for ((names, body), content) in posted.into_iter().zip(contents) {
            let random = self.random.take().map_err(Refusal::NoRandomness)?;
            let mut head = EventHead {
                id: EventId::new(wall, random),
                given_id: names.given_id,
                event_type: names.event_type,
                key: names.key,
                source: content.source,
                subject: content.subject,
                content_type: content.content_type,
                headers: content.headers,
                accepted_at: steady,
            };
            let at_once = routes.address_at_once(&Facts::of(&head, &body));
            let (to, deliveries) = match at_once {
                Some(found) => found,
                None => {
                    let last =
                        *deadline.get_or_insert_with(|| Instant::now() + filtering::TIME_MAX);
                    let elsewhere = self.filtering.find(routes, head, body.clone(), last);
                    let (same, to, deliveries) = Box::pin(elsewhere).await?;
                    head = same;
                    (to, deliveries)
                }
            };
            addressed.push(to);
            addressed_to += deliveries.len();
            if is_batch && (routes.asks_expressions() || addressed_to >= PART) {
                // A thousand events must not keep the thread from everything else.
                addressed_to = 0;
                yield_now().await;
            }
            events.push(NewEvent {
                event: Event { head, body },
                deliveries,
            });
        }
        Ok((events, addressed))
    }
}
