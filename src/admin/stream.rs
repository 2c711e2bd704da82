//! `GET /v1/stream`: live events, as server-sent events (WHATWG HTML, section 9.2).
//!
//! Each is `event: attempt`, `delivery` or `subscription` with one line of JSON. A comment every 15 s keeps the connection
//! open. A client that is too slow gets `event: missed` with the number of missed events. Nothing is kept for clients
//! that connect later: the lists are for that.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::Response;
use http::header::{CONTENT_TYPE, HeaderValue};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde::Serialize;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::admin::answer::Answer;
use crate::admin::control::Control;
use crate::admin::operation::Call;
use crate::admin::refusal::Refusal;
use crate::api::{self, StreamedAttempt, StreamedDelivery, StreamedSubscription, Time};
use crate::config::Config;
use crate::domain::SubscriptionName;
use crate::feed::{AttemptEnded, FeedEvent};

/// The interval of comments on a stream without events.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Begins a stream.
pub(super) async fn listen(call: Call) -> Result<Answer, Refusal> {
    let subscription = call.query.name("subscription")?;
    let Some(place) = call.admin.streams.place() else {
        let detail = "16 streams are open: expected one of them to end first";
        return Err(Refusal::unavailable("too_many_streams", detail, 15));
    };
    let listener = Listener {
        feed_events: call.admin.feed.listen(),
        subscription,
        stop: call.admin.stop.clone(),
        admitted_by: call.admin.control.config(),
        control: call.admin.control.clone(),
        begun: false,
        _place: place,
    };
    let frames = stream::unfold(listener, |mut listener| async move {
        let text = listener.next().await?;
        Some((Ok::<_, Infallible>(Frame::data(text)), listener))
    });
    let mut answer = Response::new(StreamBody::new(frames).boxed_unsync());
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    Ok(answer)
}

/// A client of the stream.
struct Listener {
    feed_events: Receiver<FeedEvent>,
    /// Only what concerns this one.
    subscription: Option<SubscriptionName>,
    stop: CancellationToken,
    control: Control,
    /// The configuration whose tokens let this one in.
    admitted_by: Arc<Config>,
    begun: bool,
    _place: OwnedSemaphorePermit,
}

impl Listener {
    /// The next piece of the stream; `None` at its end.
    async fn next(&mut self) -> Option<Bytes> {
        if !self.begun {
            self.begun = true;
            return Some(Bytes::from_static(b": listening\n\n"));
        }
        let stop = self.stop.clone();
        let text = tokio::select! {
            biased;
            () = stop.cancelled() => None,
            text = timeout(HEARTBEAT, self.heard()) => {
                text.unwrap_or(Some(Bytes::from_static(b": nothing\n\n")))
            }
        };
        text.filter(|_| self.is_let_in())
    }

    /// Other tokens, and everybody has to show theirs again: one that was taken away must not go on listening.
    fn is_let_in(&self) -> bool {
        self.control.config().admin.tokens == self.admitted_by.admin.tokens
    }

    async fn heard(&mut self) -> Option<Bytes> {
        loop {
            match self.feed_events.recv().await {
                Ok(event) if self.wants(&event) => return Some(written(&event)),
                Ok(_) => {}
                Err(RecvError::Lagged(missed)) => {
                    return Some(piece("missed", &json!({"missed": missed})));
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }

    fn wants(&self, event: &FeedEvent) -> bool {
        let Some(wanted) = &self.subscription else {
            return true;
        };
        let concerned = match event {
            FeedEvent::Attempt(attempt) => &attempt.delivery.subscription,
            FeedEvent::Delivery { id, .. } => &id.subscription,
            FeedEvent::Subscription { name, .. } => name,
        };
        concerned == wanted
    }
}

fn written(event: &FeedEvent) -> Bytes {
    match event {
        FeedEvent::Attempt(attempt) => piece("attempt", &StreamedAttempt::new(attempt)),
        FeedEvent::Delivery { id, state } => {
            let told = StreamedDelivery {
                id: id.to_string(),
                event_id: id.event.to_string(),
                subscription: id.subscription.to_string(),
                state: (*state).into(),
            };
            piece("delivery", &told)
        }
        FeedEvent::Subscription { name, status } => {
            let told = StreamedSubscription {
                name: name.to_string(),
                status: status.word().to_owned(),
                disabled_at: status.disabled.map(|(_, since)| Time(since)),
                disabled_reason: status.disabled.map(|(reason, _)| reason.into()),
                consecutive_failures: status.consecutive_failures,
            };
            piece("subscription", &told)
        }
    }
}

/// One server-sent event. JSON as written has no line feed.
fn piece(name: &str, data: &impl Serialize) -> Bytes {
    // Texts and numbers are written to memory: there is nothing that could fail.
    let data = serde_json::to_string(data).unwrap_or_default();
    Bytes::from(format!("event: {name}\ndata: {data}\n\n"))
}

impl StreamedAttempt {
    fn new(told: &AttemptEnded) -> Self {
        Self {
            attempt: api::Attempt::told(told),
            subscription: told.delivery.subscription.to_string(),
            delivery_id: told.delivery.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::watch;

    use crate::admin::state::Streams;
    use crate::config::{AdminToken, Scopes};
    use crate::domain::{DeliveryId, DeliveryState, EventId, Secret, Timestamp};
    use crate::feed::Feed;

    fn cancelled(subscription: &str) -> FeedEvent {
        FeedEvent::Delivery {
            id: DeliveryId {
                event: EventId::new(Timestamp::from_millis(1), [0; 10]),
                subscription: subscription.parse().unwrap(),
            },
            state: DeliveryState::Cancelled,
        }
    }

    fn control(config: Config) -> (watch::Sender<Arc<Config>>, Control) {
        let (in_force, seen) = watch::channel(Arc::new(config));
        let (control, _) = Control::new(seen);
        (in_force, control)
    }

    #[tokio::test]
    async fn a_token_that_was_taken_away_hears_nothing_more() {
        let (feed, stop) = (Feed::default(), CancellationToken::new());
        let mut revoked = listener(&feed, None, &stop);
        let (in_force, control) = control(Config::default());
        revoked.control = control;
        feed.publish(|| cancelled("a"));
        assert!(heard(&mut revoked).await.contains("cancelled"));
        let mut changed = Config::default();
        changed.admin.tokens.push(AdminToken {
            name: "new".to_owned(),
            token: Secret::new(vec![b'x'; 32]),
            scopes: Scopes {
                read: true,
                manage: false,
            },
        });
        in_force.send_replace(Arc::new(changed));
        feed.publish(|| cancelled("a"));
        assert_eq!(revoked.next().await, None);
    }

    fn listener(feed: &Feed, subscription: Option<&str>, stop: &CancellationToken) -> Listener {
        Listener {
            feed_events: feed.listen(),
            subscription: subscription.map(|name| name.parse().unwrap()),
            stop: stop.clone(),
            control: control(Config::default()).1,
            admitted_by: Arc::default(),
            begun: true,
            _place: Streams::default().place().unwrap(),
        }
    }

    async fn heard(listener: &mut Listener) -> String {
        let text = listener.next().await.unwrap();
        String::from_utf8(text.to_vec()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn what_happens_is_told_and_silence_is_too() {
        let (feed, stop) = (Feed::default(), CancellationToken::new());
        let mut all = listener(&feed, None, &stop);
        let mut some = listener(&feed, Some("b"), &stop);
        feed.publish(|| cancelled("a"));
        feed.publish(|| cancelled("b"));
        let first = heard(&mut all).await;
        assert!(
            first.starts_with("event: delivery\ndata: {\"id\":\"evt_"),
            "{first}"
        );
        assert!(
            first.ends_with("\"subscription\":\"a\",\"state\":\"cancelled\"}\n\n"),
            "{first}"
        );
        assert!(heard(&mut some).await.contains("\"b\""));
        let begun = tokio::time::Instant::now();
        assert_eq!(heard(&mut some).await, ": nothing\n\n");
        assert_eq!(begun.elapsed(), HEARTBEAT);
    }

    #[tokio::test]
    async fn a_slow_listener_is_told_how_much_it_missed() {
        let (feed, stop) = (Feed::default(), CancellationToken::new());
        let mut slow = listener(&feed, None, &stop);
        for _ in 0..1024 + 3 {
            feed.publish(|| cancelled("a"));
        }
        assert_eq!(
            heard(&mut slow).await,
            "event: missed\ndata: {\"missed\":3}\n\n"
        );
        assert!(heard(&mut slow).await.starts_with("event: delivery\n"));
    }

    #[tokio::test]
    async fn a_stream_ends_with_the_relay() {
        let (feed, stop) = (Feed::default(), CancellationToken::new());
        let mut all = listener(&feed, None, &stop);
        feed.publish(|| cancelled("a"));
        stop.cancel();
        assert_eq!(all.next().await, None);
    }
}
