//! Deliveries of wide events, which a round keeps in 12 bytes each instead of an entry of a map.

use crate::domain::{EventSeq, SubscriptionNumber};
use crate::store::entry::Entry;

/// Pending deliveries of events with very many deliveries.
#[derive(Debug, Default)]
pub(super) struct Wide {
    /// Entries without and with their keys.
    pub(super) events: Vec<(Entry, Entry)>,
    /// The subscription, the index in `events`, and whether with its key.
    pub(super) deliveries: Vec<(SubscriptionNumber, u32, bool)>,
}

impl Wide {
    /// Whether it has, or may have, deliveries of this event.
    pub(super) fn spans(&self, seq: EventSeq) -> bool {
        let seq_of = |event: Option<&(Entry, Entry)>| event.map(|(entry, _)| entry.seq);
        let (first, last) = (seq_of(self.events.first()), seq_of(self.events.last()));
        first.is_some_and(|first| first <= seq) && last.is_some_and(|last| seq <= last)
    }
}
