//! Notifies operators: makes events of alerts, which are stored and delivered like all others.
//!
//! - `payload`: the payloads for `notifications.webhook`
//! - `wording`: the text of an e-mail
//! - `mailbag`: which alerts make one e-mail
//! - `room`: when to report that events are refused for lack of space
//!
//! Leaves collecting to [`Alerts`], and to `delivery` the lanes that deliver: signing, retries, dead letters. The two
//! destinations get separate events, so that e-mails can be combined and a webhook need not wait for them.
//!
//! Invariants: deliveries never wait for this; an alert is kept here until the store has it, and meanwhile no other
//! is taken; from then on it is as durable as any event. A crash loses the alerts not stored yet: milliseconds of
//! alerts, a second for dead deliveries and e-mails, up to a minute of those held back to be combined.
//! An orderly stop loses nothing.

mod mailbag;
mod payload;
mod room;
mod wording;

use std::fmt;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{interval, sleep};
use tokio_util::sync::CancellationToken;

use crate::alerts::{Alert, AlertKind, Alerts};
use crate::config::Config;
use crate::domain::{Clock, Event, EventHead, EventId, SubscriptionName, Timestamp};
use crate::mail::{Letter, Recipient};
use crate::store::{AcceptError, Health, NewDelivery, NewEvent, Store};

use mailbag::Mailbag;
use room::Room;

/// How often to check whether events are refused.
const LOOK_PAUSE: Duration = Duration::from_secs(2);
/// How long to wait after the store did not take an alert.
const AGAIN_PAUSE: Duration = Duration::from_secs(1);
/// Bytes of bodies that may be pending for one destination; beyond it they are dead, reason `overflow`.
const PENDING_MAX: u64 = 64 << 20;
/// Events that are accepted at once.
const BATCH_MAX: usize = 64;
/// Events that are accepted while the disk is full, out of the reserve that outcomes need, too.
const FULL_DISK_MAX: usize = 64;
/// The source of these events.
const SOURCE: &str = "sidehook";

/// Makes events of alerts.
pub(crate) struct Announcer {
    store: Store,
    alerts: Alerts,
    clock: Arc<dyn Clock>,
    config: watch::Receiver<Arc<Config>>,
    mailbag: Mailbag,
    room: Room,
    /// Events for the store to accept, in order.
    waiting: Vec<NewEvent>,
    /// How many were accepted since the disk is full.
    accepted_while_full: usize,
}

impl Announcer {
    /// Uses the configuration in force.
    #[must_use]
    pub(crate) fn new(
        store: Store,
        alerts: Alerts,
        clock: Arc<dyn Clock>,
        config: watch::Receiver<Arc<Config>>,
    ) -> Self {
        Self {
            room: Room::new(store.refused()),
            store,
            alerts,
            clock,
            config,
            mailbag: Mailbag::default(),
            waiting: Vec::new(),
            accepted_while_full: 0,
        }
    }

    /// Makes and stores events of alerts until `stop`, then of all that are left. After a failure of the store it
    /// only waits for `stop`: the supervisor of the store handles the failure.
    ///
    /// # Cancel safety
    /// When dropped, what was not stored yet is lost.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut look = interval(LOOK_PAUSE);
        loop {
            let next_at = self.gather();
            let wake_in = match self.accept().await {
                Ok(true) => next_at.map(|at| at.since(self.clock.steady())),
                Ok(false) => Some(AGAIN_PAUSE),
                Err(_) => return stop.cancelled().await,
            };
            let is_told = async {
                // Events that the store refused go first.
                match self.waiting.is_empty() {
                    true => self.alerts.raised().await,
                    false => pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => break,
                () = is_told => {}
                () = wake(wake_in) => {}
                _ = look.tick() => self.look_for_room(),
            }
        }
        self.tell_all().await;
    }

    /// Takes the alerts and e-mails that are due, unless events wait for the store; returns when more are due.
    fn gather(&mut self) -> Option<Timestamp> {
        if !self.waiting.is_empty() {
            return None;
        }
        let taken = self.alerts.take();
        for alert in taken.alerts {
            self.add(alert);
        }
        let mails = self.mailbag.take(self.clock.steady());
        self.add_mails(mails);
        [taken.next_at, self.mailbag.next_at()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Makes events of everything that is left, and has them stored if the store takes them.
    async fn tell_all(&mut self) {
        for alert in self.alerts.take_all() {
            self.add(alert);
        }
        let mails = self.mailbag.take_all();
        self.add_mails(mails);
        let count = self.waiting.len();
        if !matches!(self.accept().await, Ok(true)) {
            tracing::error!(
                count,
                "the store did not take what operators were to be told"
            );
        }
    }

    fn add(&mut self, alert: Alert) {
        let config = Arc::clone(&self.config.borrow());
        if config.notifications.webhook.is_some() {
            let body = payload::of(&alert);
            let to = SubscriptionName::notifications();
            let about = payload::about(&alert.kind);
            let event_type = payload::event_type(&alert.kind);
            self.push(&to, event_type, about, body.to_string().into());
        }
        if config.notifications.smtp.is_none() {
            return;
        }
        if let AlertKind::Status(name, turn) = alert.kind {
            let definition = config.subscriptions.get(&name);
            if definition.is_some_and(|definition| !definition.notify.is_empty()) {
                let now = self.clock.steady();
                self.mailbag.add(name, (alert.at, turn), now);
            }
        }
    }

    fn add_mails(&mut self, mails: Vec<mailbag::Mail>) {
        let config = Arc::clone(&self.config.borrow());
        for mail in mails {
            let definition = config.subscriptions.get(&mail.about);
            let title = definition.and_then(|definition| definition.title.as_deref());
            let letter = wording::letter(&mail, title);
            let of = definition.map_or(&[][..], |definition| &definition.notify);
            let Some((_, last)) = mail.turns.last() else {
                continue;
            };
            // An event with a copy for each recipient: a temporary refusal of one delays no other, and a recipient
            // that has the letter does not get it again.
            for place in 0..of.len() {
                let of = of.to_vec();
                let letter = Letter {
                    recipient: Some(Recipient { of, place }),
                    ..letter.clone()
                };
                if let Some(body) = letter.body() {
                    let (to, event_type) = (SubscriptionName::mail(), payload::turn_type(last));
                    self.push(&to, event_type, Some(&mail.about), body);
                }
            }
        }
    }

    fn push(
        &mut self,
        to: &SubscriptionName,
        event_type: &str,
        about: Option<&SubscriptionName>,
        body: Bytes,
    ) {
        let mut random = [0; 10];
        // Without randomness two ids of one millisecond would be the same: better than no alert.
        getrandom::fill(&mut random).unwrap_or_default();
        let Ok(event_type) = event_type.parse() else {
            return;
        };
        let head = EventHead {
            id: EventId::new(self.clock.wall(), random),
            given_id: None,
            event_type,
            key: None,
            source: Some(SOURCE.into()),
            subject: about.map(|name| name.as_str().into()),
            content_type: "application/json".into(),
            headers: Vec::new(),
            accepted_at: self.clock.steady(),
        };
        self.waiting.push(NewEvent {
            event: Event { head, body },
            deliveries: vec![NewDelivery {
                subscription: self.store.subscription(to),
                max_pending: PENDING_MAX,
            }],
        });
    }

    /// Has the store accept the waiting events; `false` if it cannot now.
    ///
    /// # Errors
    /// The store has failed.
    async fn accept(&mut self) -> Result<bool, AcceptError> {
        while !self.waiting.is_empty() {
            let room = self.may_accept();
            let batch: Vec<_> = self.waiting.iter().take(room).cloned().collect();
            let count = batch.len();
            if count == 0 {
                return Ok(false);
            }
            match self.store.accept_alerts(batch).await {
                Ok(_) => {
                    self.waiting.drain(..count);
                    self.accepted_while_full += count;
                }
                Err(AcceptError::Overloaded | AcceptError::Full | AcceptError::Pending) => {
                    return Ok(false);
                }
                Err(error @ (AcceptError::Conflict(_) | AcceptError::TooLarge)) => {
                    tracing::error!(%error, count, "what operators were to be told cannot be stored");
                    self.waiting.drain(..count);
                }
                Err(error @ AcceptError::Failed(_)) => return Err(error),
            }
        }
        Ok(true)
    }

    /// How many events may be accepted now.
    fn may_accept(&mut self) -> usize {
        match self.store.health() {
            Health::Full => FULL_DISK_MAX
                .saturating_sub(self.accepted_while_full)
                .min(BATCH_MAX),
            Health::Healthy | Health::Failed => {
                self.accepted_while_full = 0;
                BATCH_MAX
            }
        }
    }

    fn look_for_room(&mut self) {
        let is_disk_full = self.store.health() == Health::Full;
        let now = self.clock.steady();
        if let Some(shortage) = self.room.look(self.store.refused(), is_disk_full, now) {
            self.alerts.store_full(shortage);
        }
    }
}

impl fmt::Debug for Announcer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Announcer")
            .field("waiting", &self.waiting.len())
            .finish_non_exhaustive()
    }
}

async fn wake(after: Option<Duration>) {
    match after {
        Some(after) => sleep(after).await,
        None => pending().await,
    }
}
