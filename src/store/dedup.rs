//! Given ids that were accepted recently: a bounded table in memory, loaded from the index at start.
//!
//! An entry is an 8-byte keyed hash of given id and source, with the sequence of its event. Whether a hit is the same
//! given id is decided by reading that event, so a collision costs only a read. The hashes are in a ring in order of
//! acceptance, and an open-addressed index leads to them: 17 bytes each, 16 MiB for a million. Both are allocated whole
//! but zeroed, so the system provides their pages only as they are used.
//!
//! The oldest entry is forgotten first: when the ring is full, or when it is older than the window. Times are noted
//! once per 256th of the window, so an id is remembered at most that much longer.

#![expect(
    deprecated,
    reason = "SipHasher is the one hasher of std with a key and an algorithm that stays; hashes are stored"
)]

use std::collections::VecDeque;
use std::hash::{Hasher, SipHasher};
use std::time::Duration;

use crate::domain::{EventHead, EventSeq, Label, Timestamp};

/// The secret key of the hashes of given ids, so that nobody can construct ids that collide. Kept in the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DedupKey(pub(super) [u8; 16]);

impl DedupKey {
    /// The hash of an event's given id and source; `None` if the application gave it no id. The upper half is the hash
    /// of the given id alone, so that it can be searched for without its source.
    pub(super) fn hash(&self, head: &EventHead) -> Option<u64> {
        let given = head.given_id.as_ref()?;
        let mut hasher = self.hasher();
        hasher.write(given.as_str().as_bytes());
        // A byte that neither can contain, so that no two pairs give the same bytes.
        hasher.write_u8(0xff);
        hasher.write(head.source.as_deref().unwrap_or_default().as_bytes());
        hasher.write_u8(u8::from(head.source.is_some()));
        Some(self.given_part(given) | hasher.finish() >> 32)
    }

    /// The smallest and the largest hash that this given id can have.
    pub(super) fn hashes_of(&self, given: &Label) -> (u64, u64) {
        let least = self.given_part(given);
        (least, least | u64::from(u32::MAX))
    }

    /// The upper half of a hash.
    fn given_part(&self, given: &Label) -> u64 {
        let mut hasher = self.hasher();
        hasher.write(given.as_str().as_bytes());
        hasher.finish() >> 32 << 32
    }

    /// The hash of an event's key, by which deliveries are ordered; 0 if it has none. Deliveries of two keys with the
    /// same hash wait for each other, which keeps their order too.
    pub(super) fn order(&self, head: &EventHead) -> u64 {
        let Some(key) = &head.key else { return 0 };
        let mut hasher = self.hasher();
        hasher.write(key.as_str().as_bytes());
        hasher.finish().max(1)
    }

    fn hasher(&self) -> SipHasher {
        let (low, high) = self.0.split_at(8);
        SipHasher::new_with_keys(word(low), word(high))
    }
}

fn word(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// The given ids that are remembered.
#[derive(Debug)]
pub(super) struct Dedup {
    window: Duration,
    ring: Ring,
    /// Ring positions plus one, by hash; 0 is free.
    index: Vec<u32>,
    /// Positions, counted since the start, each with a time: events from there on were accepted then or later.
    marks: VecDeque<(u64, Timestamp)>,
}

/// Hashes and sequences in order of acceptance. Positions count from the start and never wrap.
#[derive(Debug)]
struct Ring {
    hashes: Vec<u64>,
    seqs: Vec<u32>,
    first: u64,
    end: u64,
    /// The last sequence added: the others are at most `u32::MAX` before it.
    last: EventSeq,
}

impl Ring {
    fn slot(&self, position: u64) -> usize {
        let slots = u64::try_from(self.hashes.len()).unwrap_or(u64::MAX).max(1);
        usize::try_from(position % slots).unwrap_or(0)
    }

    fn hash_in(&self, slot: usize) -> u64 {
        self.hashes.get(slot).copied().unwrap_or_default()
    }

    fn seq_in(&self, slot: usize) -> EventSeq {
        let low = self.seqs.get(slot).copied().unwrap_or_default();
        let back = truncated(self.last.0).wrapping_sub(low);
        EventSeq(self.last.0.saturating_sub(u64::from(back)))
    }
}

/// The low 32 bits.
fn truncated(number: u64) -> u32 {
    u32::try_from(number & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}

impl Dedup {
    /// Remembers at most `max` given ids, each for `window`.
    pub(super) fn new(window: Duration, max: usize) -> Self {
        let slots = max.clamp(1, 1 << 31);
        Self {
            window,
            ring: Ring {
                hashes: vec![0; slots],
                seqs: vec![0; slots],
                first: 0,
                end: 0,
                last: EventSeq(0),
            },
            index: vec![0; slots + slots / 3 + 1],
            marks: VecDeque::new(),
        }
    }

    /// The events not older than the window whose given id has this hash: usually none, rarely more than one.
    pub(super) fn candidates(&mut self, hash: u64, now: Timestamp) -> Vec<EventSeq> {
        self.expire(now);
        let mut found = Vec::new();
        let mut bucket = self.home(hash);
        while let Some(slot) = self.slot_at(bucket) {
            if self.ring.hash_in(slot) == hash {
                found.push(self.ring.seq_in(slot));
            }
            bucket = self.after(bucket);
        }
        found
    }

    /// Remembers the given id of an event accepted `now`. Sequences only grow.
    pub(super) fn insert(&mut self, hash: u64, seq: EventSeq, now: Timestamp) {
        self.expire(now);
        let capacity = u64::try_from(self.ring.hashes.len()).unwrap_or(u64::MAX);
        while self.ring.end - self.ring.first >= capacity || self.is_out_of_range(seq) {
            self.forget_oldest();
        }
        let step = self.step();
        if self
            .marks
            .back()
            .is_none_or(|(_, at)| now.since(*at) >= step)
        {
            self.marks.push_back((self.ring.end, now));
        }
        let slot = self.ring.slot(self.ring.end);
        if let (Some(hash_slot), Some(seq_slot)) =
            (self.ring.hashes.get_mut(slot), self.ring.seqs.get_mut(slot))
        {
            *hash_slot = hash;
            *seq_slot = truncated(seq.0);
        }
        self.ring.end += 1;
        self.ring.last = seq;
        let mut bucket = self.home(hash);
        while self.slot_at(bucket).is_some() {
            bucket = self.after(bucket);
        }
        self.set(bucket, u32::try_from(slot + 1).unwrap_or(0));
    }

    /// Forgets what is older than the window.
    fn expire(&mut self, now: Timestamp) {
        while let Some((_, at)) = self.marks.front() {
            // Events between two marks were accepted before the second, those after the last within a step of it.
            let (end, before) = match self.marks.get(1) {
                Some((position, next)) => (*position, *next),
                None => (self.ring.end, at.plus(self.step())),
            };
            if now.since(before) <= self.window {
                break;
            }
            while self.ring.first < end {
                self.forget_oldest();
            }
            self.marks.pop_front();
        }
    }

    fn step(&self) -> Duration {
        self.window / 256
    }

    /// Whether the oldest is too far back for its sequence to be recovered from 32 bits.
    fn is_out_of_range(&self, seq: EventSeq) -> bool {
        let oldest = self.ring.slot(self.ring.first);
        self.ring.first < self.ring.end && seq.0 - self.ring.seq_in(oldest).0 > u64::from(u32::MAX)
    }

    fn forget_oldest(&mut self) {
        let slot = self.ring.slot(self.ring.first);
        let mut bucket = self.home(self.ring.hash_in(slot));
        while let Some(found) = self.slot_at(bucket) {
            if found == slot {
                self.free(bucket);
                break;
            }
            bucket = self.after(bucket);
        }
        self.ring.first += 1;
    }

    /// Frees a bucket and closes the gap, so that no search ends early.
    fn free(&mut self, bucket: usize) {
        let mut gap = bucket;
        let mut bucket = self.after(bucket);
        while let Some(slot) = self.slot_at(bucket) {
            let home = self.home(self.ring.hash_in(slot));
            let buckets = self.index.len();
            let from_home = (bucket + buckets - home) % buckets;
            let from_gap = (bucket + buckets - gap) % buckets;
            if from_home >= from_gap {
                self.set(gap, u32::try_from(slot + 1).unwrap_or(0));
                gap = bucket;
            }
            bucket = self.after(bucket);
        }
        self.set(gap, 0);
    }

    fn home(&self, hash: u64) -> usize {
        let buckets = u64::try_from(self.index.len()).unwrap_or(u64::MAX).max(1);
        usize::try_from(hash % buckets).unwrap_or(0)
    }

    fn after(&self, bucket: usize) -> usize {
        if bucket + 1 == self.index.len() {
            0
        } else {
            bucket + 1
        }
    }

    fn slot_at(&self, bucket: usize) -> Option<usize> {
        let number = self.index.get(bucket).copied().unwrap_or_default();
        usize::try_from(number.checked_sub(1)?).ok()
    }

    fn set(&mut self, bucket: usize, number: u32) {
        if let Some(place) = self.index.get_mut(bucket) {
            *place = number;
        }
    }
}

#[cfg(test)]
#[path = "dedup_tests.rs"]
mod tests;
