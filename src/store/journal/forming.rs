//! The group that is forming: appending threads encode records straight into its buffer, until the journal's thread
//! takes all of it.

use std::time::{Duration, Instant};

use crate::store::journal::codec;
use crate::store::journal::error::AppendError;
use crate::store::journal::format::{GROUP_HEADER, RECORD_HEADER, Seed};
use crate::store::journal::place::Place;
use crate::store::journal::types::Durability;
use crate::store::record::Record;

/// How long an outcome waits for others before it is written alone.
const LINGER: Duration = Duration::from_millis(2);
/// Memory that an emptied buffer keeps, bytes: a large batch is rare, so its memory is given back.
const KEPT_BYTES: usize = 1 << 20;

/// Batches that are to be written as one group.
pub(super) struct Forming<T> {
    /// Room for the group's header, then the records.
    pub(super) bytes: Vec<u8>,
    /// Offset in the group and length of each record.
    pub(super) spans: Vec<(u32, u32)>,
    pub(super) batches: Vec<Batch<T>>,
    pub(super) records: u32,
    pub(super) last_seq: u64,
    urgent: bool,
    /// When it is written at the latest, if not urgent; `None` while it is empty or was urgent from the start.
    due: Option<Instant>,
}

/// Records that were appended together.
pub(super) struct Batch<T> {
    token: T,
    records: usize,
    /// Of its events; 0 if it has none.
    last_seq: u64,
    durability: Durability,
}

impl<T> Default for Forming<T> {
    fn default() -> Self {
        Self {
            bytes: vec![0; GROUP_HEADER],
            spans: Vec::new(),
            batches: Vec::new(),
            records: 0,
            last_seq: 0,
            urgent: false,
            due: None,
        }
    }
}

impl<T> Forming<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Whether a batch is to be synced before it is reported.
    pub(super) fn wants_sync(&self, relaxed: bool) -> bool {
        self.batches
            .iter()
            .any(|batch| batch.durability.waits_for_sync(relaxed))
    }

    /// Returns the number of batches of events, which are refused when the disk is full.
    pub(super) fn events(&self) -> usize {
        self.batches
            .iter()
            .filter(|batch| batch.durability.is_refused_when_full())
            .count()
    }

    /// Whether it is to be written now: it is urgent, or has waited long enough, or the journal is closing.
    pub(super) fn is_ready(&self, closing: bool) -> bool {
        let lingered = || self.lingers().is_none_or(|left| left.is_zero());
        !self.is_empty() && (self.urgent || closing || lingered())
    }

    /// Returns how long it may still wait for others, if not urgent; `None` if it has no `due`.
    pub(super) fn lingers(&self) -> Option<Duration> {
        self.due.map(|due| due.saturating_duration_since(now()))
    }

    /// Delays the next try by `pause`.
    pub(super) fn defer(&mut self, pause: Duration) {
        self.due = (!self.is_empty()).then(|| now() + pause);
        self.urgent = false;
    }

    pub(super) fn push(
        &mut self,
        records: &[Record],
        durability: Durability,
        token: T,
        most: usize,
    ) -> Result<(), AppendError> {
        let before = (self.bytes.len(), self.spans.len());
        for record in records {
            self.encode(record);
        }
        let added = self.bytes.len() - before.0;
        let too_large = added > most;
        if too_large || (!self.is_empty() && self.bytes.len() > most) {
            self.bytes.truncate(before.0);
            self.spans.truncate(before.1);
            return Err(if too_large {
                AppendError::TooLarge
            } else {
                AppendError::Overloaded
            });
        }
        let seqs = records.iter().filter_map(|record| match record {
            Record::Accepted(accepted) => Some(accepted.seq.0),
            _ => None,
        });
        let last_seq = seqs.max().unwrap_or(0);
        self.last_seq = self.last_seq.max(last_seq);
        self.records = u32::try_from(self.spans.len()).unwrap_or(u32::MAX);
        self.urgent |= durability.is_urgent();
        if self.due.is_none() && !self.urgent {
            self.due = Some(now() + LINGER);
        }
        self.batches.push(Batch {
            token,
            records: records.len(),
            last_seq,
            durability,
        });
        Ok(())
    }

    fn encode(&mut self, record: &Record) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; RECORD_HEADER]);
        codec::encode(record, &mut self.bytes);
        let length = self.bytes.len() - start;
        let content = u32::try_from(length - RECORD_HEADER).unwrap_or(u32::MAX);
        if let Some(place) = self.bytes.get_mut(start..start + 4) {
            place.copy_from_slice(&content.to_le_bytes());
        }
        self.spans.push((
            u32::try_from(start).unwrap_or(u32::MAX),
            content.saturating_add(8),
        ));
    }

    /// Writes the CRC of each record; the seed is known only now.
    pub(super) fn seal_records(&mut self, seed: Seed) {
        for (start, length) in &self.spans {
            let start = usize::try_from(*start).unwrap_or_default();
            let end = start.saturating_add(usize::try_from(*length).unwrap_or_default());
            let Some(record) = self.bytes.get_mut(start..end) else {
                continue;
            };
            let (header, content) = record.split_at_mut(RECORD_HEADER.min(record.len()));
            if let Some(place) = header.get_mut(4..) {
                place.copy_from_slice(&seed.crc(content).to_le_bytes());
            }
        }
    }

    /// Takes the batches, each with the places of its records, and leaves the buffers empty for reuse.
    pub(super) fn take_batches(&mut self, places: Vec<Place>) -> Vec<(T, Vec<Place>)> {
        let mut places = places.into_iter();
        let with_places =
            |batch: Batch<T>| (batch.token, places.by_ref().take(batch.records).collect());
        let batches = self.batches.drain(..).map(with_places).collect();
        self.clear();
        batches
    }

    pub(super) fn take_tokens(&mut self) -> Vec<T> {
        let tokens = self.batches.drain(..).map(|batch| batch.token).collect();
        self.clear();
        tokens
    }

    /// Takes out the batches of events; the others stay, in order.
    pub(super) fn split_off_events(&mut self) -> Vec<T> {
        let (mut refused, mut kept) = (Vec::new(), Self::default());
        let mut spans = std::mem::take(&mut self.spans).into_iter();
        for batch in self.batches.drain(..) {
            let refuse = batch.durability.is_refused_when_full();
            for (start, length) in spans.by_ref().take(batch.records) {
                let start = usize::try_from(start).unwrap_or_default();
                let record = self
                    .bytes
                    .get(start..start.saturating_add(usize::try_from(length).unwrap_or_default()));
                if let Some(record) = record.filter(|_| !refuse) {
                    kept.spans
                        .push((u32::try_from(kept.bytes.len()).unwrap_or(u32::MAX), length));
                    kept.bytes.extend_from_slice(record);
                }
            }
            if refuse {
                refused.push(batch.token)
            } else {
                kept.batches.push(batch)
            }
        }
        kept.records = u32::try_from(kept.spans.len()).unwrap_or(u32::MAX);
        kept.last_seq = kept
            .batches
            .iter()
            .map(|batch| batch.last_seq)
            .max()
            .unwrap_or(0);
        kept.due = (!kept.is_empty()).then(|| self.due.unwrap_or_else(now));
        *self = kept;
        refused
    }

    /// Appends the batches that formed meanwhile, and empties `later`.
    pub(super) fn join(&mut self, later: &mut Self) {
        let shift = u32::try_from(self.bytes.len() - GROUP_HEADER).unwrap_or(u32::MAX);
        self.bytes
            .extend_from_slice(later.bytes.get(GROUP_HEADER..).unwrap_or_default());
        self.spans.extend(
            later
                .spans
                .iter()
                .map(|(start, length)| (start.saturating_add(shift), *length)),
        );
        self.batches.append(&mut later.batches);
        self.records = self.records.saturating_add(later.records);
        self.last_seq = self.last_seq.max(later.last_seq);
        self.urgent |= later.urgent;
        later.clear();
    }

    fn clear(&mut self) {
        self.bytes.truncate(GROUP_HEADER);
        self.bytes.shrink_to(KEPT_BYTES);
        self.spans.clear();
        self.batches.clear();
        (self.records, self.last_seq, self.urgent, self.due) = (0, 0, false, None);
    }
}

/// The monotonic clock of the journal's timers.
#[expect(
    clippy::disallowed_methods,
    reason = "the journal's thread has no tokio timer; only spans are measured with it"
)]
pub(super) fn now() -> Instant {
    Instant::now()
}
