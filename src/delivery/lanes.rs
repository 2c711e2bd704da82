//! All lanes: one per configured subscription.
//!
//! Leaves to `lane` the delivering, and to `app` when to call what. Invariants: there are never two lanes for one
//! queue, so the lane of a subscription that is gone from the file holds, and is dismissed by the next configuration
//! that finds it idle; a configuration is applied whole or not at all; a lane that ends unasked is an error
//! that [`Lanes::joined`] returns.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;

use tokio::task::{JoinError, JoinSet};

use crate::config::{Config, Subscription};
use crate::delivery::lane::Lane;
use crate::delivery::lane_status::{Defined, LaneStatus};
use crate::delivery::orders::Orders;
use crate::delivery::own;
use crate::delivery::reports::Reports;
use crate::delivery::settings::{Settings, SettingsError, digest, digest_of};
use crate::delivery::slots::Slots;
use crate::delivery::trial;
use crate::delivery::turns::Turns;
use crate::domain::{
    Clock, DisabledReason, Outcome, Status, StatusError, SubscriptionName, Timestamp,
};
use crate::egress::{AddressPolicy, Egress};
use crate::mail::Mailer;
use crate::metrics::Metrics;
use crate::shutdown::Shutdown;
use crate::store::{Store, StoreError, SubscriptionState};

/// Why delivering ended without a request to stop. The process must end.
#[derive(Debug, thiserror::Error)]
pub enum LaneError {
    /// The store failed.
    #[error("lane of subscription {subscription} could not record an outcome")]
    Store {
        /// Whose lane it was.
        subscription: SubscriptionName,
        /// The error of the store.
        source: StoreError,
    },
    /// A bug: a lane panicked.
    #[error("a lane panicked")]
    Panicked(#[source] JoinError),
}

/// The lanes of all subscriptions. Owns their tasks: dropping it ends them, and what was in flight is pending again.
pub struct Lanes {
    store: Store,
    egress: Egress,
    metrics: Metrics,
    reports: Reports,
    clock: Arc<dyn Clock>,
    shutdown: Shutdown,
    policy: Arc<AddressPolicy>,
    slots: Arc<Slots>,
    turns: Arc<Turns>,
    lanes: BTreeMap<SubscriptionName, Handle>,
    tasks: JoinSet<(SubscriptionName, Result<(), StoreError>)>,
    /// Keeps `turns`; ends with the lanes.
    _keeper: JoinSet<()>,
    beat: u64,
}

/// A subscription with its settings; `None` while it is inactive.
type Prepared = (Arc<Subscription>, Option<Arc<Settings>>);

/// A lane, with what is needed to steer it.
struct Handle {
    lane: Arc<Lane>,
    /// The definition that it follows; `None` once the subscription is gone from the file.
    definition: Option<Arc<Subscription>>,
}

impl Lanes {
    /// Starts a lane for each subscription of the configuration. Deliveries of subscriptions that are in the store but
    /// not in the configuration are held from now on, unless they were already.
    ///
    /// # Errors
    /// [`SettingsError`]: nothing was started. Does not happen with a configuration that was validated.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(
        config: &Config,
        store: Store,
        egress: Egress,
        metrics: Metrics,
        reports: Reports,
        clock: Arc<dyn Clock>,
        shutdown: Shutdown,
    ) -> Result<Self, SettingsError> {
        let turns = Arc::<Turns>::default();
        let (mut keeper, kept) = (JoinSet::new(), Arc::clone(&turns));
        keeper.spawn(async move { kept.keep().await });
        let mut lanes = Self {
            store,
            egress,
            metrics,
            reports,
            clock,
            shutdown,
            policy: Arc::new(config.network.clone()),
            slots: Arc::default(),
            turns,
            lanes: BTreeMap::new(),
            tasks: JoinSet::new(),
            _keeper: keeper,
            beat: 0,
        };
        lanes.apply(config)?;
        lanes.hold_unconfigured();
        Ok(lanes)
    }

    /// Applies a new configuration, whole: new subscriptions get a lane, changed ones are delivered to by their new
    /// definition from the next attempt on (attempts in flight finish with the old one), inactive and removed ones
    /// are held; sidehook's own lanes follow `notifications`. Recorded, and in force on return. The subscriptions
    /// that the metrics show are set with [`Metrics::set_configured`].
    ///
    /// # Errors
    /// [`SettingsError`]: nothing was changed. Does not happen with a configuration that was validated.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn apply(&mut self, config: &Config) -> Result<(), SettingsError> {
        let policy = if *self.policy == config.network {
            Arc::clone(&self.policy)
        } else {
            Arc::new(config.network.clone())
        };
        let wanted = self.prepare_all(config, &policy)?;
        self.policy = policy;
        self.let_go(&wanted);
        for (subscription, settings) in wanted.into_values() {
            // Also of an inactive one: what is held has an order, too.
            let queue = self
                .store
                .queue(self.store.subscription(&subscription.name));
            queue.set_order(subscription.order, subscription.when_stuck);
            match self.lanes.get_mut(&subscription.name) {
                Some(handle) => {
                    handle.lane.orders.set(settings);
                    handle.lane.tell_failing_after(subscription.notify_after);
                    handle.definition = Some(subscription);
                    handle.follow_file();
                }
                None => self.launch(&subscription, settings),
            }
        }
        Ok(())
    }

    /// Disables a subscription, reason `manual`, until it is enabled with [`Lanes::enable`]: its deliveries are held.
    /// Recorded, and in force on return; attempts in flight finish. Changes nothing if it was disabled manually.
    ///
    /// # Errors
    /// [`StatusError`]: it is unknown or locked.
    pub fn disable(&self, name: &SubscriptionName) -> Result<(), StatusError> {
        let (handle, definition) = self.configured(name).ok_or(StatusError::Unknown)?;
        if definition.locked {
            return Err(StatusError::Locked);
        }
        let lane = &handle.lane;
        let reason = DisabledReason::Manual;
        let now = self.clock.steady();
        if lane.change(now, |lane_status| lane_status.disable(reason, now)) {
            lane.tell_disabled(reason);
        }
        Ok(())
    }

    /// Enables a subscription, whatever disabled it at run time: its failures in a row are forgotten and what was held is
    /// delivered. Recorded, and in force when this returns. Changes nothing if it is enabled.
    ///
    /// # Errors
    /// [`StatusError`]: it is unknown, or inactive in the file.
    pub fn enable(&self, name: &SubscriptionName) -> Result<(), StatusError> {
        let (handle, definition) = self.configured(name).ok_or(StatusError::Unknown)?;
        if !definition.active {
            return Err(StatusError::Inactive);
        }
        let now = self.clock.steady();
        if handle
            .lane
            .change(now, |lane_status| lane_status.enable(now))
        {
            handle.lane.tell_enabled();
            handle.wake();
        }
        Ok(())
    }

    /// Attempts what is due at once: ends a pause that the endpoint asked for, and probing until attempts fail again.
    ///
    /// # Errors
    /// [`StatusError::Unknown`].
    pub fn hurry(&self, name: &SubscriptionName) -> Result<(), StatusError> {
        let (handle, _) = self.configured(name).ok_or(StatusError::Unknown)?;
        let now = self.clock.steady();
        handle
            .lane
            .change(now, |lane_status| lane_status.hurry(now));
        handle.wake();
        Ok(())
    }

    /// One signed attempt of an event of type `sidehook.test`, outside the queue: not recorded, counted or reported.
    /// Also of a subscription that is disabled or inactive: it can be tested before it is enabled. Bounded by its
    /// `timeout`; it begins when polled and is given up when dropped. `None` if no subscription has this name, or
    /// it has no url.
    pub fn test(
        &self,
        name: &SubscriptionName,
    ) -> Option<impl Future<Output = Outcome> + Send + 'static + use<>> {
        let (handle, definition) = self.configured(name)?;
        let in_use = handle.lane.orders.current().settings;
        let settings = match in_use {
            Some(settings) => settings,
            None => Arc::new(Settings::new(definition, &self.egress, &self.policy, None).ok()?),
        };
        let clock = Arc::clone(&self.clock);
        Some(trial::run(settings, trial::event_type()?, clock))
    }

    /// The state of a configured subscription; `None` for other names.
    #[must_use]
    pub fn status(&self, name: &SubscriptionName) -> Option<Status> {
        let (handle, _) = self.configured(name)?;
        Some(handle.status())
    }

    /// The state of each configured subscription, by name.
    pub fn statuses(&self) -> impl Iterator<Item = (&SubscriptionName, Status)> {
        let configured = self.lanes.iter();
        let configured =
            configured.filter(|(name, handle)| handle.definition.is_some() && !name.is_internal());
        configured.map(|(name, handle)| (name, handle.status()))
    }

    /// Refreshes the gauges of every configured subscription.
    pub fn publish(&self) {
        let wall = self.clock.wall();
        for handle in self.lanes.values() {
            handle.publish(wall);
        }
    }

    /// Whether every lane has turned since this was called last, and asks each for another turn: a lane that turns
    /// attempts what it can. For a watchdog, to be called every few seconds; true after `stop_leasing`, when lanes
    /// end one by one.
    pub fn beat(&mut self) -> bool {
        let has_turned = |handle: &Handle| handle.lane.beat() == self.beat;
        let all_turned = self.lanes.values().all(has_turned);
        self.beat += 1;
        for handle in self.lanes.values() {
            handle.lane.orders.ask_for(self.beat);
        }
        all_turned || self.is_stopping()
    }

    /// Waits until every lane has ended after `stop_leasing` or `stop_now`.
    ///
    /// # Errors
    /// [`LaneError`], at any time, when a lane could not go on.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn joined(&mut self) -> Result<(), LaneError> {
        while let Some(ended) = self.tasks.join_next().await {
            let (subscription, ended) = ended.map_err(LaneError::Panicked)?;
            ended.map_err(|source| LaneError::Store {
                subscription,
                source,
            })?;
        }
        // Without any subscription this waits for the end of the relay.
        tokio::select! {
            () = self.shutdown.stop_leasing.cancelled() => Ok(()),
            () = self.shutdown.stop_now.cancelled() => Ok(()),
        }
    }

    fn configured(&self, name: &SubscriptionName) -> Option<(&Handle, &Subscription)> {
        let handle = self.lanes.get(name).filter(|_| !name.is_internal())?;
        Some((handle, handle.definition.as_deref()?))
    }

    fn is_stopping(&self) -> bool {
        self.shutdown.stop_leasing.is_cancelled() || self.shutdown.stop_now.is_cancelled()
    }

    /// All subscriptions that get a lane, sidehook's own among them, with their settings.
    fn prepare_all(
        &self,
        config: &Config,
        policy: &Arc<AddressPolicy>,
    ) -> Result<BTreeMap<SubscriptionName, Prepared>, SettingsError> {
        let failed = |subscription: &SubscriptionName, source| SettingsError {
            subscription: subscription.clone(),
            source,
        };
        let mailer = own::mailer(config);
        let mailer = mailer.map_err(|error| failed(&SubscriptionName::mail(), error.into()))?;
        let mut wanted = BTreeMap::new();
        let own = own::subscriptions(&config.notifications);
        let own = own.into_iter().map(Arc::new);
        for subscription in config.subscriptions.values().cloned().chain(own) {
            let settings = match &mailer {
                Some(mailer) if subscription.name == SubscriptionName::mail() => {
                    Some(self.prepare_mail(&subscription, mailer))
                }
                Some(_) | None => self.prepare(&subscription, policy)?,
            };
            wanted.insert(subscription.name.clone(), (subscription, settings));
        }
        Ok(wanted)
    }

    /// The settings for e-mails; those it has already if nothing changed.
    fn prepare_mail(&self, subscription: &Subscription, mailer: &Mailer) -> Arc<Settings> {
        let handle = self.lanes.get(&subscription.name);
        let previous = handle.and_then(|handle| handle.lane.orders.current().settings);
        let is_same = |previous: &Arc<Settings>| previous.is_mail_by(mailer);
        previous
            .filter(is_same)
            .unwrap_or_else(|| Arc::new(Settings::mail(subscription, mailer.clone())))
    }

    /// The settings for a subscription, `None` if it is inactive; those it has already if nothing changed.
    fn prepare(
        &self,
        subscription: &Arc<Subscription>,
        policy: &Arc<AddressPolicy>,
    ) -> Result<Option<Arc<Settings>>, SettingsError> {
        if !subscription.active {
            return Ok(None);
        }
        let handle = self.lanes.get(&subscription.name);
        let previous = handle.and_then(|handle| handle.lane.orders.current().settings);
        let is_unchanged = Arc::ptr_eq(policy, &self.policy)
            && handle.is_some_and(|handle| handle.definition.as_ref() == Some(subscription));
        if is_unchanged {
            return Ok(previous);
        }
        let settings = Settings::new(subscription, &self.egress, policy, previous.as_deref());
        match settings {
            Ok(settings) => Ok(Some(Arc::new(settings))),
            Err(source) => Err(SettingsError {
                subscription: subscription.name.clone(),
                source,
            }),
        }
    }

    /// Holds the subscriptions that are gone, and dismisses the lanes that have held since an earlier call.
    fn let_go(&mut self, wanted: &BTreeMap<SubscriptionName, Prepared>) {
        let is_gone = |name: &SubscriptionName| !wanted.contains_key(name);
        self.lanes
            .retain(|name, handle| handle.is_needed() || !is_gone(name));
        for (name, handle) in &mut self.lanes {
            if is_gone(name) {
                handle.lane.orders.set(None);
                handle.definition = None;
                handle.follow_file();
            }
        }
    }

    fn launch(&mut self, subscription: &Arc<Subscription>, settings: Option<Arc<Settings>>) {
        let name = &subscription.name;
        let lane = Arc::new(Lane::new(
            name.clone(),
            self.store.clone(),
            Arc::clone(&self.clock),
            self.metrics.subscription(name),
            Arc::clone(&self.slots),
            Orders::new(settings, self.beat),
            self.reports.clone(),
        ));
        // The initial state of a new subscription is no change to report.
        let is_new = self.store.state(lane.number) == SubscriptionState::default();
        let notify_after = subscription.notify_after;
        if !is_new {
            lane.begin_telling(notify_after);
        }
        let running = Arc::clone(&lane);
        let handle = Handle {
            lane,
            definition: Some(Arc::clone(subscription)),
        };
        handle.follow_file();
        if is_new {
            handle.lane.begin_telling(notify_after);
        }
        let shutdown = self.shutdown.clone();
        let turns = Arc::clone(&self.turns);
        self.tasks.spawn(async move {
            let ended = turns.take(pin!(running.run(shutdown))).await;
            (running.name.clone(), ended)
        });
        self.lanes.insert(name.clone(), handle);
    }

    /// Holds the deliveries of subscriptions that are only in the store: they have no lane that could.
    fn hold_unconfigured(&self) {
        let now = self.clock.steady();
        for (name, number) in self.store.subscriptions() {
            if self.lanes.contains_key(&name) {
                continue;
            }
            let mut lane_status = LaneStatus::new(self.store.state(number), now);
            lane_status.follow(None, now);
            if let Some(state) = lane_status.unwritten(now) {
                self.store.set_state(number, state);
            }
        }
    }
}

impl Handle {
    /// Whether the lane follows a definition or still has attempts in flight.
    fn is_needed(&self) -> bool {
        self.definition.is_some() || !self.lane.is_idle()
    }

    fn status(&self) -> Status {
        self.lane.lane_status().state().status()
    }

    /// Holds or resumes according to the definition, and records it.
    fn follow_file(&self) {
        let defined = self.definition.as_ref().map(|definition| Defined {
            active: definition.active,
            endpoint: definition.url.as_ref().map(|url| digest(&url.url)),
            definition: digest_of(definition),
        });
        let now = self.lane.clock.steady();
        if self
            .lane
            .change(now, |lane_status| lane_status.follow(defined, now))
        {
            self.lane.tell_enabled();
        }
        self.wake();
    }

    /// Gives the lane a turn.
    fn wake(&self) {
        self.lane.orders.wake();
    }

    /// Refreshes the gauges; `wall` is the wall clock.
    fn publish(&self, wall: Timestamp) {
        let Some(definition) = &self.definition else {
            return;
        };
        self.lane.publish();
        let ends = definition.previous_secrets.iter().map(|(_, until)| *until);
        let next_end = ends.filter(|until| *until > wall).min();
        self.lane.metrics.set_secret_expiry(next_end);
        let settings = self.lane.orders.current().settings;
        let seen = settings.and_then(|settings| settings.certificate_expires());
        self.lane.metrics.set_certificate_expiry(seen);
    }
}

/// Without its handle a lane cannot be steered, so it ends.
impl Drop for Handle {
    fn drop(&mut self) {
        self.lane.orders.dismiss();
    }
}

impl fmt::Debug for Lanes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lanes")
            .field("subscriptions", &self.lanes.keys())
            .finish_non_exhaustive()
    }
}
