//! A delivery in memory.

use crate::store::budget::Body;
use crate::store::entry::Entry;

/// An entry, with its event if that is in memory.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) entry: Entry,
    pub(super) body: Option<Body>,
}

impl Slot {
    pub(super) fn unloaded(entry: Entry) -> Self {
        Self { entry, body: None }
    }
}
