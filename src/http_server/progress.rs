//! The progress of a connection: shared by its parts.
//!
//! The socket sees bytes, the service sees requests, the connection's timer asks whether something takes too long, and the
//! accept loop asks which connection is waited for longest. Atomics, because it travels with its task between threads.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::http_server::limits::Limits;

/// Bytes that the other side must send or take before it counts as having got on: less is a trickle.
const ADVANCE_BYTES: u64 = 16 << 10;

/// Not stalled, in place of a time.
const NEVER: u64 = u64::MAX;

/// How far the current request of a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// No byte of a request has come.
    Idle,
    /// Part of a request head has come.
    Head,
    /// The service has the request.
    Request,
    /// The service has answered; its body is being taken.
    Answer,
    /// The whole answer waits to be written.
    Sent,
}

impl Phase {
    const ALL: [Self; 5] = [
        Self::Idle,
        Self::Head,
        Self::Request,
        Self::Answer,
        Self::Sent,
    ];

    const fn number(self) -> u8 {
        match self {
            Self::Idle => 0,
            Self::Head => 1,
            Self::Request => 2,
            Self::Answer => 3,
            Self::Sent => 4,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Progress {
    opened: Instant,
    phase: AtomicU8,
    /// When the phase began, in milliseconds since `opened`; kept for phases that have a limit.
    since_ms: AtomicU64,
    /// Since when the other side keeps a body or an answer waiting, in the same milliseconds.
    stalled_ms: AtomicU64,
    /// Bytes that have moved since then.
    moved: AtomicU64,
    closing: AtomicBool,
    unread: AtomicBool,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self {
            opened: Instant::now(),
            phase: AtomicU8::new(Phase::Idle.number()),
            since_ms: AtomicU64::new(0),
            stalled_ms: AtomicU64::new(NEVER),
            moved: AtomicU64::new(0),
            closing: AtomicBool::new(false),
            unread: AtomicBool::new(false),
        }
    }

    pub(super) fn phase(&self) -> Phase {
        let number = self.phase.load(Ordering::Relaxed);
        *Phase::ALL.get(usize::from(number)).unwrap_or(&Phase::Idle)
    }

    /// A phase without limit begins.
    pub(super) fn enter(&self, phase: Phase) {
        self.phase.store(phase.number(), Ordering::Relaxed);
    }

    /// A phase begins whose time is limited.
    pub(super) fn enter_timed(&self, phase: Phase) {
        self.since_ms.store(self.now_ms(), Ordering::Relaxed);
        self.enter(phase);
    }

    /// The other side sends nothing more of a body, or takes nothing more of an answer, for now.
    pub(super) fn stall(&self) {
        if self.stalled_ms.load(Ordering::Relaxed) == NEVER {
            self.moved.store(0, Ordering::Relaxed);
            self.stalled_ms.store(self.now_ms(), Ordering::Relaxed);
        }
    }

    /// So many bytes have come or gone.
    pub(super) fn advance(&self, bytes: usize) {
        if self.stalled_ms.load(Ordering::Relaxed) == NEVER {
            return;
        }
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let moved = self.moved.load(Ordering::Relaxed).saturating_add(bytes);
        self.moved.store(moved, Ordering::Relaxed);
        if moved >= ADVANCE_BYTES {
            self.resume();
        }
    }

    /// Nothing is waited for any more.
    pub(super) fn resume(&self) {
        self.stalled_ms.store(NEVER, Ordering::Relaxed);
    }

    /// From now on the answer to a request is the last of its connection.
    pub(super) fn close_after_answer(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    pub(super) fn closes_after_answer(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// Records whether bytes have arrived unread; known only of a connection that is about to close.
    pub(super) fn set_unread(&self, unread: bool) {
        self.unread.store(unread, Ordering::Relaxed);
    }

    /// Whether no request has begun, not even an unread one.
    pub(super) fn is_idle(&self) -> bool {
        self.phase() == Phase::Idle && !self.unread.load(Ordering::Relaxed)
    }

    /// How long the other side has been waited for: to begin a request, to go on with it, or to take its answer. None
    /// while it waits for us.
    pub(super) fn waited(&self, now: Instant) -> Option<Duration> {
        let since = match self.phase() {
            Phase::Idle | Phase::Head => self.since_ms.load(Ordering::Relaxed),
            Phase::Request | Phase::Answer | Phase::Sent => self.stalled_since()?,
        };
        Some(now.saturating_duration_since(self.opened + Duration::from_millis(since)))
    }

    /// When the phase has taken too long; `None` if it has no limit.
    pub(super) fn deadline(&self, limits: &Limits) -> Option<Instant> {
        let at = |since, limit| self.opened + Duration::from_millis(since) + limit;
        let since = self.since_ms.load(Ordering::Relaxed);
        let stalled = self.stalled_since();
        let unread = stalled.map(|since| at(since, limits.answer_timeout));
        match self.phase() {
            Phase::Idle => Some(at(since, limits.idle_timeout)),
            Phase::Head => Some(at(since, limits.head_timeout)),
            // The time for a body is up to the service.
            Phase::Request => None,
            Phase::Answer => unread,
            Phase::Sent => unread.or(Some(at(since, limits.idle_timeout))),
        }
    }

    fn stalled_since(&self) -> Option<u64> {
        Some(self.stalled_ms.load(Ordering::Relaxed)).filter(|since| *since != NEVER)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
