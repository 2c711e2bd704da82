//! Removes old data from the store: whole segments of the journal, the oldest first.
//!
//! A segment is removed when nothing in it is pending, its dead letters are older than `dead`, and one of these holds:
//! the rest ended `delivered` ago, the retained data is more than `max_size`, or the disk is full. The retained data is
//! the journal without its pending events, each counted once however many of its deliveries are pending. An event with
//! a given id is not removed for size while the id is remembered. Pending events, and dead ones not old enough, are
//! never removed. If they keep a segment that is otherwise done, they are copied to the end of the journal ([`Moved`]).
//! This is done if they are small, or if much of the journal is not needed ([`Cleaner::rotates`]). Only when dead
//! letters alone are more than `max_size`, the oldest of them are removed before their time.
//!
//! The order, so that a crash leaves nothing half done: the copies reach the disk and the index; names and states are
//! written to the disk after the segment; the index forgets the segment; its file is removed. Segments are removed in
//! ascending order, each durably before the next. So the rest is always the end of the journal, and no outcome is
//! removed before its event.
//!
//! Age counts from the final state, by the steady clock; a clock that was set at start removes nothing by age in the
//! first ten minutes.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use std::{io, thread};

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::{Notify, oneshot};
use tracing::{info, warn};

use crate::domain::{EventSeq, SubscriptionNumber, Timestamp};
use crate::store::appender::Health;
use crate::store::changes::{Change, Claim};
use crate::store::completions::Token;
use crate::store::give_up::Unreadable;
use crate::store::index::segments::{self, Live, Needed, SegmentState};
use crate::store::journal::{SegmentInfo, WriteJournal};
use crate::store::operations::Operations;
use crate::store::options::Retention;
use crate::store::record::{Moved, Record};
use crate::store::replays::Replays;
use crate::store::{OperationError, StoreError};

/// The pause between two searches for removable segments …
const PAUSE: Duration = Duration::from_secs(15);
/// … and while the disk is full.
const FULL_PAUSE: Duration = Duration::from_secs(1);
/// Nothing is removed for age so soon after the start: the clock may have been wrong.
const SETTLING: Duration = Duration::from_secs(600);
/// How long the needed bytes of a segment with unchanged counts are remembered: dead letters age meanwhile.
const RECOUNT: Duration = Duration::from_secs(3600);
/// How many deliveries are copied at a time, plus the rest of those of the last event.
const MOVE_MAX: usize = if cfg!(test) { 64 } else { 32_768 };

/// Bytes of all segments, and the share of them taken by events that are still needed. The active segment counts as
/// needed.
#[derive(Debug, Clone, Copy, Default)]
struct Kept {
    size: u64,
    /// The share of events with a pending delivery.
    pending: u64,
    /// The share of these, and of events with a dead letter.
    live: u64,
}

/// The needed bytes of each segment.
#[derive(Debug, Default)]
pub(super) struct Counted {
    /// When the counting began.
    at: Option<Timestamp>,
    segments: HashMap<u32, Needed>,
}

/// Removes data that is not kept.
pub(super) struct Cleaner {
    pub(super) retention: Retention,
    pub(super) operations: Arc<Operations>,
    pub(super) replays: Arc<Replays>,
    pub(super) unreadable: Unreadable,
    /// Notified when an event was refused because the disk is full.
    pub(super) space_wanted: Arc<Notify>,
    pub(super) opened_at: Timestamp,
    pub(super) memory: Memory,
}

/// The state that is kept from one search to the next.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// The segments from this one on contain the names and states of all subscriptions.
    standing_from: AtomicU32,
    counted: Mutex<Counted>,
    /// The last segment that takes part in the rotation under way: see [`Cleaner::rotates`].
    rotation_upto: AtomicU32,
}

impl Cleaner {
    fn journal(&self) -> &Arc<dyn WriteJournal<Token>> {
        &self.operations.subscriptions.appender.journal
    }

    fn health(&self) -> Health {
        self.operations.subscriptions.appender.health()
    }

    fn now(&self) -> Timestamp {
        self.operations.clock.steady()
    }

    /// Removes data that is not kept, for as long as the store is used.
    pub(super) async fn retain(&self) -> Infallible {
        loop {
            match self.clean().await {
                Ok(0) | Err(OperationError::InFlight) => {}
                Ok(removed) => info!(
                    segments = removed,
                    "old segments of the journal were removed"
                ),
                Err(error) => warn!(%error, "old data cannot be removed now"),
            }
            let pause = match self.health() {
                Health::Full => FULL_PAUSE,
                Health::Healthy | Health::Failed => PAUSE,
            };
            tokio::select! {
                () = self.space_wanted.notified() => tokio::time::sleep(FULL_PAUSE).await,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Removes data that is no longer kept; returns the number of segments removed.
    pub(super) async fn clean(&self) -> Result<usize, OperationError> {
        if self.is_settled() {
            self.cancel_removed().await?;
        }
        // A failure of this must not keep segments that can be removed.
        let given_up = self.unreadable.give_up().await;
        let mut removed = 0;
        if self.health() == Health::Full {
            self.seal_if_done().await?;
        }
        while self.remove_oldest().await? {
            removed += 1;
        }
        given_up?;
        Ok(removed)
    }

    /// Whether the start is long enough ago to trust the clock.
    fn is_settled(&self) -> bool {
        self.now().since(self.opened_at) >= SETTLING
    }

    /// Seals the active segment if everything in it is done, so that it can be removed.
    async fn seal_if_done(&self) -> Result<(), OperationError> {
        let active = self.journal().end().segment;
        let all = Timestamp::from_millis(i64::MIN);
        let state = self
            .operations
            .ask(move |index| segments::state(index, active, all))
            .await?;
        if state.accepted_at.is_some() && state.pending + state.dead == 0 {
            self.journal().seal();
        }
        Ok(())
    }

    /// Cancels the deliveries of subscriptions that have been gone from the file for too long.
    async fn cancel_removed(&self) -> Result<(), OperationError> {
        let now = self.now();
        let gone: Vec<_> = {
            let names = self.operations.subscriptions.read();
            let removed_after = self.retention.removed_after;
            let is_due = |since: Timestamp| now.since(since) >= removed_after;
            let known = names
                .iter()
                .filter(|known| known.state.removed_at.is_some_and(is_due));
            let known = known.filter(|known| known.queue.pending() > 0);
            known
                .map(|known| (known.name.clone(), known.queue.number))
                .collect()
        };
        for (subscription, number) in gone {
            match self.operations.cancel_all(number).await {
                Ok(count) => {
                    warn!(%subscription, count, "deliveries of a removed subscription are cancelled")
                }
                // The attempt must end first.
                Err(OperationError::InFlight) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Removes the oldest segment, if allowed; returns whether it was removed.
    async fn remove_oldest(&self) -> Result<bool, OperationError> {
        let segments = self.journal().segments();
        let Some(oldest) = segments.first().copied().filter(|oldest| oldest.sealed) else {
            return Ok(false);
        };
        let now = self.now();
        let number = oldest.number;
        let state_since = |since| {
            self.operations
                .ask(move |index| segments::state(index, number, since))
        };
        let mut kept_since = before(now, self.retention.dead);
        let mut state = state_since(kept_since).await?;
        let is_full = self.health() == Health::Full;
        let is_aged = self.is_aged(&state, now);
        let max_size = self.retention.max_size;
        // Counting all segments takes long: only where it matters.
        let kept = if is_aged || self.journal().size_bytes() > max_size {
            self.kept(kept_since).await?
        } else {
            Kept::default()
        };
        let is_too_large =
            kept.size.saturating_sub(kept.pending) > max_size && !self.is_remembered(&state, now);
        if !(is_full || is_aged || is_too_large) {
            return Ok(false);
        }
        let mut needed = kept.live;
        // If dead letters alone are too large, they are removed with their segment.
        if is_too_large && kept.live.saturating_sub(kept.pending) > max_size {
            (kept_since, needed) = (now, kept.pending);
            state = state_since(kept_since).await?;
        }
        let live = state.pending + state.dead > 0;
        // A full disk has little room for copies.
        let live_max = oldest.bytes / if is_full { 16 } else { 4 };
        let is_worth_moving = state.live_bytes <= live_max
            || (!is_full && self.rotates(number, &kept, needed, is_too_large));
        if live && !(is_worth_moving && self.move_live(number, kept_since).await?) {
            return Ok(false);
        }
        self.keep_standing(number).await?;
        self.forget(number, kept_since).await
    }

    /// Counts all segments; dead letters from before `dead_since` are not needed.
    async fn kept(&self, dead_since: Timestamp) -> Result<Kept, OperationError> {
        let now = self.now();
        let known = {
            let mut counted = self.memory.counted.lock();
            if counted.at.is_none_or(|at| now.since(at) >= RECOUNT) {
                *counted = Counted {
                    at: Some(now),
                    segments: HashMap::new(),
                };
            }
            counted.segments.clone()
        };
        let active = self.journal().end().segment;
        let mut found = self
            .operations
            .ask(move |index| segments::needed(index, &known, dead_since))
            .await?;
        let mut kept = Kept::default();
        for segment in self.journal().segments() {
            let SegmentInfo { number, bytes, .. } = segment;
            kept.size += bytes;
            if !segment.sealed {
                // It cannot be removed, whatever is in it.
                kept.pending += bytes;
                kept.live += bytes;
                continue;
            }
            let events = found.get(&number).map(|needed| needed.bytes);
            let events = events.unwrap_or_default();
            kept.pending += share(bytes, events.pending, events.all);
            kept.live += share(bytes, events.live, events.all);
        }
        // The active segment will soon contain other events.
        found.retain(|number, _| *number < active);
        self.memory.counted.lock().segments = found;
        Ok(kept)
    }

    /// Whether the oldest segment is copied however much of it is needed, so that the segments behind it can follow:
    /// when half of all bytes are not needed, or a quarter if too much is retained. Then all segments are copied once,
    /// which frees exactly those bytes. So the rotation ends, and needed events are not copied over and over.
    fn rotates(&self, oldest: u32, kept: &Kept, needed: u64, is_too_large: bool) -> bool {
        let rotation = &self.memory.rotation_upto;
        if oldest <= rotation.load(Ordering::Relaxed) {
            return true;
        }
        let free = kept.size.saturating_sub(needed);
        let parts = if is_too_large { 4 } else { 2 };
        let begins = free > 0 && free >= kept.size / parts;
        if begins {
            let last_sealed = self.journal().end().segment.saturating_sub(1);
            rotation.store(last_sealed, Ordering::Relaxed);
        }
        begins
    }

    /// Whether everything that has ended in a segment ended long enough ago.
    fn is_aged(&self, state: &SegmentState, now: Timestamp) -> bool {
        let ended = state.ended_at.or(state.accepted_at);
        let aged = ended.is_none_or(|at| now.since(at) >= self.retention.delivered);
        aged && self.is_settled()
    }

    /// Whether a given id of its events is remembered.
    fn is_remembered(&self, state: &SegmentState, now: Timestamp) -> bool {
        let last = state.given_at;
        last.is_some_and(|at| now.since(at) < self.retention.dedup_window)
    }

    /// Copies the needed events of a segment to the end of the journal; returns whether all were copied.
    async fn move_live(&self, segment: u32, dead_since: Timestamp) -> Result<bool, OperationError> {
        let (mut after, mut all_moved) = (EventSeq(0), true);
        loop {
            let turn = self.operations.turn().await;
            let find = move |index: &Connection| {
                segments::live(index, segment, dead_since, after, MOVE_MAX)
            };
            let mut events = by_event(self.operations.ask(find).await?);
            cut(&mut events, self.journal().group_max() / 6);
            let Some(last) = events.keys().next_back().copied() else {
                return Ok(all_moved);
            };
            let claims = self.claim(&events);
            // A delivery that was attempted before it was claimed may have another state now.
            let mut now = by_event(self.operations.ask(find).await?);
            now.retain(|seq, _| events.contains_key(seq));
            let before = now.len();
            now.retain(|_, live| live.iter().all(|live| is_claimed(&claims, live)));
            all_moved &= now.len() == before;
            after = last;
            let records = self.copies(now).await;
            if records.is_empty() {
                continue;
            }
            let changes = claims.iter().map(|claim| {
                let places = HashMap::new();
                (Arc::clone(claim.queue()), Change::Relocated(places))
            });
            let changes = changes.collect();
            let operations = &self.operations;
            operations.carry_out(turn, records, changes, claims).await?;
        }
    }

    /// Claims the deliveries of these events that are not in flight.
    fn claim(&self, events: &Events) -> Vec<Claim> {
        let mut seqs: BTreeMap<SubscriptionNumber, Vec<EventSeq>> = BTreeMap::new();
        for live in events.values().flatten() {
            seqs.entry(live.number).or_default().push(live.seq);
        }
        let names = self.operations.subscriptions.read();
        let known = seqs.into_iter().filter_map(|(number, seqs)| {
            let queue = &names.get(number)?.queue;
            Some(Claim::those_free(queue, seqs))
        });
        known.collect()
    }

    /// The records that copy these events. Damaged ones are given up later.
    async fn copies(&self, events: Events) -> Vec<Record> {
        let mut records = Vec::with_capacity(events.len());
        for live in events.into_values() {
            let Some(place) = live.first().map(|live| live.place) else {
                continue;
            };
            let mut accepted = match self.unreadable.reader.read(place).await {
                Some(Ok(accepted)) => accepted,
                Some(Err(error)) if error.is_damage() => {
                    let now = self.now();
                    for live in live.iter().filter(|live| live.death.is_none()) {
                        self.unreadable.damaged.found((live.number, live.seq), now);
                    }
                    continue;
                }
                Some(Err(_)) | None => continue,
            };
            accepted.deliveries = live.iter().map(|live| (live.number, live.death)).collect();
            let keyed = live.iter().filter(|live| live.is_keyed);
            accepted.keyed = keyed.map(|live| live.number).collect();
            records.push(Record::Moved(Moved {
                accepted,
                progress: live.iter().map(|live| live.progress).collect(),
            }));
        }
        records
    }

    /// Writes the names and states of all subscriptions, and the bulk replays, behind a segment, if they are not there
    /// yet: their only records may be in the segment that is to be removed.
    async fn keep_standing(&self, segment: u32) -> Result<(), OperationError> {
        if self.memory.standing_from.load(Ordering::Relaxed) > segment {
            return Ok(());
        }
        let operations = &self.operations;
        let turn = operations.turn().await;
        let from = self.journal().end().segment;
        let launch = |mut records: Vec<Record>| {
            records.extend(self.replays.records());
            operations.launch(turn, &records, Vec::new(), Vec::new())
        };
        let done = operations.subscriptions.tell_all(launch)?;
        operations.landed(done).await?;
        self.memory.standing_from.store(from, Ordering::Relaxed);
        Ok(())
    }

    /// Forgets a segment of which nothing is needed, and removes its file; returns whether it did.
    async fn forget(&self, segment: u32, dead_since: Timestamp) -> Result<bool, OperationError> {
        let _turn = self.operations.turn().await;
        let forgotten = self
            .operations
            .ask(move |index| segments::forget(index, segment, dead_since))
            .await?;
        let Some(forgotten) = forgotten else {
            return Ok(false);
        };
        if !forgotten.is_empty() {
            warn!(count = forgotten.len(), "dead letters are no longer kept");
        }
        let now = self.now();
        for dead in forgotten {
            if let Some(queue) = self.operations.subscriptions.known_queue(dead.number) {
                queue.counters.bury(1);
                queue.step(|state| state.revived(dead.key, dead.seq, now));
            }
        }
        let (reply, removed) = oneshot::channel();
        let journal = Arc::clone(self.journal());
        let remove = move || drop(reply.send(journal.drop_first(segment)));
        let thread = thread::Builder::new().name("store-remove".to_owned());
        thread.spawn(remove).map_err(system)?;
        match removed.await {
            Ok(Ok(())) => Ok(true),
            Ok(Err(error)) => Err(OperationError::Failed(StoreError::of_journal(&error))),
            Err(_) => Err(OperationError::Failed(
                self.operations.subscriptions.appender.failure.reason(),
            )),
        }
    }
}

/// Deliveries that are still needed, by event.
type Events = BTreeMap<EventSeq, Vec<Live>>;

fn by_event(live: Vec<Live>) -> Events {
    let mut events = Events::new();
    for live in live {
        events.entry(live.seq).or_default().push(live);
    }
    events
}

/// Keeps as many events as are copied at a time, at least one.
fn cut(events: &mut Events, bytes_max: u64) {
    let mut bytes = 0;
    let end = events.iter().skip(1).find(|(_, live)| {
        let length = live.first().map_or(0, |live| live.place.length);
        bytes += u64::from(length);
        bytes > bytes_max
    });
    if let Some(end) = end.map(|(seq, _)| *seq) {
        events.split_off(&end);
    }
}

/// Whether only the copy can change a delivery: a dead one changes only by operations, which have their turn later.
fn is_claimed(claims: &[Claim], live: &Live) -> bool {
    let of_queue = claims
        .iter()
        .find(|claim| claim.queue().number == live.number);
    live.death.is_some() || of_queue.is_none_or(|claim| claim.seqs().contains(&live.seq))
}

/// The share of a segment's bytes that some of its events take.
fn share(bytes: u64, some: u64, all: u64) -> u64 {
    let share = u128::from(bytes) * u128::from(some) / u128::from(all.max(1));
    u64::try_from(share).unwrap_or(bytes)
}

/// The time that lies `age` before `time`.
fn before(time: Timestamp, age: Duration) -> Timestamp {
    let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(time.as_millis().saturating_sub(age))
}

fn system(error: io::Error) -> OperationError {
    OperationError::Failed(StoreError::System(Arc::new(error)))
}

#[cfg(test)]
#[path = "retention_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "retention_size_tests.rs"]
mod size_tests;
