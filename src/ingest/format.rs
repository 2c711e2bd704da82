//! The kinds of bodies that are taken.

/// Events of a batch at most.
pub(super) const EVENTS_MAX: usize = 1_000;

/// The kind of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// One event, whatever its bytes are.
    Event,
    /// Lines of JSON, each an event.
    Batch,
}
