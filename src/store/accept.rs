//! Accepting events: detects duplicates, refuses what exceeds a bound, gives the order, and appends to the journal.
//!
//! One mutex makes the order: under it, duplicates are decided, sequences given out and records appended. So the order
//! of sequences is the order of the journal. Nothing blocks on a disk while it is held. A given id that may be a
//! duplicate is compared with the earlier event without holding it. If that event's commit is under way, it is waited
//! for, otherwise the event is read from the disk; then the batch is decided again.

use std::collections::{HashMap, VecDeque};
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, oneshot};

use crate::domain::{Clock, Event, EventId, EventSeq, SubscriptionNumber, Timestamp};
use crate::store::completions::{Batch, Token};
use crate::store::dedup::{Dedup, DedupKey};
use crate::store::draft::{Draft, undo};
use crate::store::error::AcceptError;
use crate::store::index::{Inbox as IndexInbox, find};
use crate::store::journal::AppendError;
use crate::store::names::Names;
use crate::store::purpose::Purpose;
use crate::store::reader::Inbox as Reader;
use crate::store::subscriptions::Subscriptions;
use crate::store::watch::{Watch, Watchers};
use crate::store::{NewEvent, Receipt};

/// Intake stops while the index is further behind the journal than this: after a crash, a start reads that many bytes
/// again before it is ready.
const LAG_BYTES_MAX: u64 = 32 << 20;

/// Intake stops while more deliveries than this are on their way to the queues.
const COMING_MAX: usize = 8_000_000;

/// The state that decides the order of acceptance; under one mutex.
#[derive(Debug)]
pub(super) struct Intake {
    pub(super) next_seq: EventSeq,
    pub(super) key: DedupKey,
    pub(super) dedup: Dedup,
    /// Events with a given id whose commit is under way, in order.
    uncommitted: VecDeque<Uncommitted>,
}

#[derive(Debug)]
struct Uncommitted {
    seq: EventSeq,
    event: Arc<Event>,
    deliveries: usize,
    /// Acceptances that wait to learn whether it was committed.
    waiting: Vec<oneshot::Sender<bool>>,
}

/// How an event compares with an earlier one whose given id has the same hash.
#[derive(Debug, Clone, Copy)]
enum Verdict {
    /// It is that event.
    Same { id: EventId, deliveries: usize },
    /// It has the given id of that event, but another type or body.
    Conflict,
    /// It has another given id.
    Other,
}

/// Verdicts that took time, by position in the batch and the sequence compared with.
type Verdicts = HashMap<(usize, EventSeq), Verdict>;

/// The decision on an event of a batch.
enum Decision {
    New { hash: Option<u64> },
    Duplicate(Receipt),
}

/// The result of going through a batch once.
enum Step {
    /// It is on its way.
    Appended(Reply, Option<Watch>),
    /// Everything in it was accepted before.
    Known(Vec<Receipt>),
    /// This must be found out first.
    Doubt(Doubt),
}

/// An open question that the decision on a batch waits for.
#[derive(Debug)]
enum Doubt {
    /// The event at this position must be compared with a committed one.
    Committed(usize, EventSeq),
    /// The event at this position has this verdict, if the earlier event, whose commit is under way, is committed.
    UnderWay(usize, EventSeq, Verdict, oneshot::Receiver<bool>),
}

/// Where receipts arrive once a batch is committed or refused.
type Reply = oneshot::Receiver<Result<Vec<Receipt>, AcceptError>>;

impl Intake {
    pub(super) fn new(next_seq: EventSeq, key: DedupKey, dedup: Dedup) -> Self {
        Self {
            next_seq,
            key,
            dedup,
            uncommitted: VecDeque::new(),
        }
    }

    /// Notifies those waiting for events up to `seq` that they are committed.
    pub(super) fn committed(&mut self, seq: EventSeq) {
        let count = self.uncommitted.partition_point(|event| event.seq <= seq);
        for event in self.uncommitted.drain(..count) {
            tell(event.waiting, true);
        }
    }

    /// Notifies those waiting for this event that it was not stored.
    pub(super) fn refused(&mut self, seq: EventSeq) {
        let position = self.uncommitted.partition_point(|event| event.seq < seq);
        let refused = self.uncommitted.get(position);
        if refused.is_some_and(|event| event.seq == seq)
            && let Some(event) = self.uncommitted.remove(position)
        {
            tell(event.waiting, false);
        }
    }

    /// Drops everything that waits: no commit will come.
    pub(super) fn abandon(&mut self) {
        self.uncommitted.clear();
    }

    /// The open question about an event whose given id has the same hash as that of event `seq`.
    fn doubt(&mut self, position: usize, event: &Event, seq: EventSeq) -> Doubt {
        let under_way = self.uncommitted.partition_point(|event| event.seq < seq);
        match self.uncommitted.get_mut(under_way) {
            Some(earlier) if earlier.seq == seq => {
                let verdict = compare(event, &earlier.event, earlier.deliveries);
                let (sender, committed) = oneshot::channel();
                earlier.waiting.push(sender);
                Doubt::UnderWay(position, seq, verdict, committed)
            }
            _ => Doubt::Committed(position, seq),
        }
    }
}

/// Accepts events.
pub(super) struct Accepting {
    pub(super) intake: Mutex<Intake>,
    pub(super) subscriptions: Arc<Subscriptions>,
    pub(super) index: Arc<IndexInbox>,
    pub(super) reader: Arc<Reader>,
    pub(super) watchers: Arc<Watchers>,
    pub(super) clock: Arc<dyn Clock>,
    /// The secret with which hashes of given ids and of keys are made.
    pub(super) key: DedupKey,
    /// Bytes of bodies that may be pending.
    pub(super) max_pending: u64,
    /// How often events were refused for lack of room.
    pub(super) refused: AtomicU64,
    /// An event was refused because the disk is full.
    pub(super) space_wanted: Arc<Notify>,
    /// Deliveries that are committed and not yet handed to the queues.
    pub(super) coming: AtomicUsize,
}

impl Accepting {
    /// See [`Store::accept`](crate::store::Store::accept) and, for `watched`,
    /// [`Store::accept_watched`](crate::store::Store::accept_watched).
    pub(super) async fn accept(
        &self,
        mut events: Vec<NewEvent>,
        purpose: Purpose,
    ) -> Result<(Vec<Receipt>, Option<Watch>), AcceptError> {
        let mut verdicts = Verdicts::new();
        let failed = || AcceptError::Failed(self.subscriptions.appender.failure.reason());
        loop {
            match self.accept_step(&mut events, &verdicts, purpose)? {
                Step::Known(receipts) => return Ok((receipts, None)),
                Step::Appended(reply, watch) => {
                    let receipts = reply.await.unwrap_or_else(|_| Err(failed()))?;
                    return Ok((receipts, watch));
                }
                Step::Doubt(Doubt::Committed(position, seq)) => {
                    let verdict = match events.get(position) {
                        Some(new) => self.verdict(&new.event, seq).await,
                        None => Verdict::Other,
                    };
                    verdicts.insert((position, seq), verdict);
                }
                Step::Doubt(Doubt::UnderWay(position, seq, verdict, committed)) => {
                    let committed = committed.await.map_err(|_| failed())?;
                    let verdict = if committed { verdict } else { Verdict::Other };
                    verdicts.insert((position, seq), verdict);
                }
            }
        }
    }

    pub(super) fn intake(&self) -> MutexGuard<'_, Intake> {
        self.intake.lock()
    }

    fn accept_step(
        &self,
        events: &mut Vec<NewEvent>,
        verdicts: &Verdicts,
        purpose: Purpose,
    ) -> Result<Step, AcceptError> {
        if events.is_empty() {
            return Ok(Step::Known(Vec::new()));
        }
        let now = self.clock.steady();
        let mut intake = self.intake();
        if let Some(error) = self.subscriptions.appender.failure.get() {
            return Err(AcceptError::Failed(error));
        }
        let coming = self.coming.load(Ordering::Relaxed);
        if self.index.lag_bytes() > LAG_BYTES_MAX || coming > COMING_MAX {
            return Err(AcceptError::Overloaded);
        }
        if purpose != Purpose::Alert && self.subscriptions.pending_bytes() >= self.max_pending {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(AcceptError::Pending);
        }
        let decisions = match decide(&mut intake, events, verdicts, now)? {
            Ok(decisions) => decisions,
            Err(doubt) => return Ok(Step::Doubt(doubt)),
        };
        if let Some(receipts) = all_known(&decisions) {
            return Ok(Step::Known(receipts));
        }
        let draft = self.draft(&intake, mem::take(events), decisions)?;
        self.append(&mut intake, draft, purpose, now)
    }

    /// Makes records of the new events of a batch.
    fn draft(
        &self,
        intake: &Intake,
        events: Vec<NewEvent>,
        decisions: Vec<Decision>,
    ) -> Result<Draft, AcceptError> {
        self.name(&events)?;
        let names = self.subscriptions.read();
        let mut draft = Draft::new(intake.next_seq, events.len());
        for (new, decision) in events.into_iter().zip(decisions) {
            match decision {
                Decision::New { hash } => {
                    let key = self.key.order(&new.event.head);
                    draft.add(&names, new, hash, key);
                }
                Decision::Duplicate(receipt) => draft.receipts.push(receipt),
            }
        }
        Ok(draft)
    }

    /// Names the subscriptions of a batch whose names are not in the journal yet. Each name is a batch of its own, not
    /// refused where events would be. It comes before the batch of the events, so it is on the disk when that is.
    fn name(&self, events: &[NewEvent]) -> Result<(), AcceptError> {
        for new in events {
            let unnamed = unnamed(&self.subscriptions.read(), new);
            if !unnamed.is_empty() {
                let named = self.subscriptions.name(&unnamed);
                named.map_err(|error| AcceptError::of_append(&error))?;
            }
        }
        Ok(())
    }

    /// Appends the new events of a batch and remembers their given ids.
    fn append(
        &self,
        intake: &mut Intake,
        draft: Draft,
        purpose: Purpose,
        now: Timestamp,
    ) -> Result<Step, AcceptError> {
        let names = self.subscriptions.read();
        let register = || {
            let is_stalled = |number| names.get(number).is_none_or(|it| it.queue.is_stalled());
            Watch::register(&self.watchers, is_stalled, &draft.records, &draft.receipts)
        };
        let watch = (purpose == Purpose::Watched).then(register).flatten();
        let (reply, receiver) = oneshot::channel();
        let records = Arc::new(draft.records);
        let token = Token::Accepted(Box::new(Batch {
            records: Arc::clone(&records),
            receipts: draft.receipts,
            reply,
        }));
        let appender = &self.subscriptions.appender;
        if let Err(error) = appender.append(&records, purpose.durability(), token) {
            if matches!(error, AppendError::Full) {
                self.refused.fetch_add(1, Ordering::Relaxed);
                self.space_wanted.notify_one();
            }
            undo(&names, &records);
            return Err(AcceptError::of_append(&error));
        }
        for (seq, hash, event, deliveries) in draft.given {
            intake.dedup.insert(hash, seq, now);
            intake.uncommitted.push_back(Uncommitted {
                seq,
                event,
                deliveries,
                waiting: Vec::new(),
            });
        }
        intake.next_seq = draft.next_seq;
        Ok(Step::Appended(receiver, watch))
    }

    /// Compares an event with the committed one of this sequence, read from the disk. If that cannot be read back, the
    /// given id counts as new: better delivered twice than never.
    async fn verdict(&self, event: &Event, seq: EventSeq) -> Verdict {
        let place = self.index.ask(move |index| find::place(index, seq));
        let Ok(Some(place)) = place.await else {
            return Verdict::Other;
        };
        match self.reader.read(place).await {
            Some(Ok(accepted)) => compare(event, &accepted.event, accepted.deliveries.len()),
            Some(Err(_)) | None => Verdict::Other,
        }
    }
}

/// How `event` compares with an `earlier` one, which has this number of `deliveries`.
fn compare(event: &Event, earlier: &Event, deliveries: usize) -> Verdict {
    if event.head.given_id != earlier.head.given_id || event.head.source != earlier.head.source {
        Verdict::Other
    } else if event.head.event_type != earlier.head.event_type || event.body != earlier.body {
        Verdict::Conflict
    } else {
        Verdict::Same {
            id: earlier.head.id,
            deliveries,
        }
    }
}

/// Decides on each event of a batch, or says what must be known first.
fn decide(
    intake: &mut Intake,
    events: &[NewEvent],
    verdicts: &Verdicts,
    now: Timestamp,
) -> Result<Result<Vec<Decision>, Doubt>, AcceptError> {
    let mut decisions = Vec::with_capacity(events.len());
    // Positions of the new events of this batch by the hash of their given id.
    let mut own: HashMap<u64, Vec<usize>> = HashMap::new();
    for (position, new) in events.iter().enumerate() {
        let Some(hash) = intake.key.hash(&new.event.head) else {
            decisions.push(Decision::New { hash: None });
            continue;
        };
        let mut found = Vec::new();
        for seq in intake.dedup.candidates(hash, now) {
            match verdicts.get(&(position, seq)) {
                Some(verdict) => found.push(*verdict),
                None => return Ok(Err(intake.doubt(position, &new.event, seq))),
            }
        }
        let twins = own.entry(hash).or_default();
        for twin in twins.iter().filter_map(|twin| events.get(*twin)) {
            found.push(compare(&new.event, &twin.event, twin.deliveries.len()));
        }
        decisions.push(match receipt(&found, position)? {
            Some(receipt) => Decision::Duplicate(receipt),
            None => {
                twins.push(position);
                Decision::New { hash: Some(hash) }
            }
        });
    }
    Ok(Ok(decisions))
}

/// The receipts of a batch of duplicates only; `None` if any event is new.
fn all_known(decisions: &[Decision]) -> Option<Vec<Receipt>> {
    let receipts = decisions.iter().map(|decision| match decision {
        Decision::Duplicate(receipt) => Some(receipt.clone()),
        Decision::New { .. } => None,
    });
    receipts.collect()
}

/// The receipt of a duplicate, given how an event compares with those of the same hash; `None` if it is new.
fn receipt(found: &[Verdict], position: usize) -> Result<Option<Receipt>, AcceptError> {
    for verdict in found {
        match verdict {
            Verdict::Other => {}
            Verdict::Conflict => return Err(AcceptError::Conflict(position)),
            Verdict::Same { id, deliveries } => {
                return Ok(Some(Receipt {
                    id: *id,
                    deliveries: *deliveries,
                    duplicate: true,
                    overflowed: Vec::new(),
                }));
            }
        }
    }
    Ok(None)
}

/// The subscriptions of an event whose names are not in the journal.
fn unnamed(names: &Names, new: &NewEvent) -> Vec<SubscriptionNumber> {
    let numbers = new.deliveries.iter().map(|delivery| delivery.subscription);
    numbers
        .filter(|number| names.get(*number).is_some_and(|known| !known.named))
        .collect()
}

/// Sends those waiting for an event whether it was committed.
fn tell(waiting: Vec<oneshot::Sender<bool>>, committed: bool) {
    for sender in waiting {
        // The receiver may be gone.
        sender.send(committed).ok();
    }
}
