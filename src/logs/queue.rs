//! Lines that wait to be written, in order, bounded in bytes; errors are dropped last.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

/// The most bytes that may wait.
pub(super) const BYTES_MAX: usize = 1024 * 1024;
/// Bytes of a line beside its text.
const LINE_OVERHEAD: usize = 64;

/// The next task of the writer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Write this, then report it as written.
    Line(Box<[u8]>),
    /// Nothing waits.
    Nothing {
        /// Nothing is to be waited for any more.
        is_closing: bool,
    },
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// There is something to do for the writer.
    filled: Condvar,
    /// Everything is written.
    emptied: Condvar,
}

#[derive(Debug, Default)]
struct State {
    errors: VecDeque<Line>,
    others: VecDeque<Line>,
    /// Of `errors` and `others`.
    bytes: usize,
    next_number: u64,
    is_closing: bool,
    is_drained: bool,
}

#[derive(Debug)]
struct Line {
    number: u64,
    text: Box<[u8]>,
}

impl Line {
    fn bytes(&self) -> usize {
        self.text.len() + LINE_OVERHEAD
    }
}

impl Queue {
    /// Adds a line; returns how many were dropped, this one or others for it.
    pub(super) fn push(&self, is_error: bool, text: &[u8]) -> u64 {
        let mut state = self.state();
        let dropped = state.push(is_error, text);
        drop(state);
        self.filled.notify_one();
        dropped
    }

    /// Waits for a line, for at most `bound`; without a limit if it is `None`.
    pub(super) fn next(&self, bound: Option<Duration>) -> Next {
        let mut state = self.state();
        let is_idle = |state: &mut State| state.is_empty() && !state.is_closing;
        match bound {
            Some(bound) => drop(self.filled.wait_while_for(&mut state, is_idle, bound)),
            None => self.filled.wait_while(&mut state, is_idle),
        }
        match state.pop() {
            Some(text) => Next::Line(text),
            None => Next::Nothing {
                is_closing: state.is_closing,
            },
        }
    }

    /// Notes that everything is written, and nothing will be any more.
    pub(super) fn drained(&self) {
        self.state().is_drained = true;
        self.emptied.notify_all();
    }

    /// Has the writer end when nothing waits, and waits for that.
    pub(super) fn close(&self, bound: Duration) {
        let mut state = self.state();
        state.is_closing = true;
        self.filled.notify_one();
        let is_busy = |state: &mut State| !state.is_drained;
        self.emptied.wait_while_for(&mut state, is_busy, bound);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl State {
    fn is_empty(&self) -> bool {
        self.errors.is_empty() && self.others.is_empty()
    }

    fn push(&mut self, is_error: bool, text: &[u8]) -> u64 {
        let needed = text.len() + LINE_OVERHEAD;
        let mut dropped = 0;
        while self.bytes + needed > BYTES_MAX {
            let victim = match is_error && needed <= BYTES_MAX {
                true => self.others.pop_front(),
                false => None,
            };
            let Some(victim) = victim else {
                return dropped + 1;
            };
            self.bytes -= victim.bytes();
            dropped += 1;
        }
        self.bytes += needed;
        let line = Line {
            number: self.next_number,
            text: text.into(),
        };
        self.next_number += 1;
        match is_error {
            true => self.errors.push_back(line),
            false => self.others.push_back(line),
        }
        dropped
    }

    /// The oldest.
    fn pop(&mut self) -> Option<Box<[u8]>> {
        let number = |lines: &VecDeque<Line>| lines.front().map_or(u64::MAX, |line| line.number);
        let line = match number(&self.errors) < number(&self.others) {
            true => self.errors.pop_front(),
            false => self.others.pop_front(),
        }?;
        self.bytes -= line.bytes();
        Some(line.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(queue: &Queue) -> Vec<String> {
        let next = || match queue.next(Some(Duration::ZERO)) {
            Next::Line(text) => Some(String::from_utf8(text.into()).unwrap()),
            Next::Nothing { .. } => None,
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn lines_keep_their_order_whatever_they_are() {
        let queue = Queue::default();
        for (is_error, text) in [(false, "a"), (true, "b"), (false, "c"), (true, "d")] {
            assert_eq!(queue.push(is_error, text.as_bytes()), 0);
        }
        assert_eq!(all(&queue), ["a", "b", "c", "d"]);
    }

    #[test]
    fn what_waits_is_bounded_and_errors_are_dropped_last() {
        let queue = Queue::default();
        let line = [b'x'; 1000];
        let push =
            |is_error, count| -> u64 { (0..count).map(|_| queue.push(is_error, &line)).sum() };
        let mut dropped = push(false, 5_000);
        assert!((4_000..4_100).contains(&dropped), "{dropped}");
        dropped += queue.push(true, b"error");
        assert_eq!(queue.push(false, &line), 1);
        dropped += push(true, 2_000);
        let lines = all(&queue);
        let kept = u64::try_from(lines.len()).unwrap();
        assert_eq!(kept, 5_000 + 1 + 2_000 - dropped);
        assert_eq!(lines.first().unwrap(), "error");
        assert_eq!(queue.state().bytes, 0);
    }

    #[test]
    fn a_line_that_never_fits_drops_no_other() {
        let queue = Queue::default();
        queue.push(false, b"a");
        assert_eq!(queue.push(true, &vec![b'x'; BYTES_MAX]), 1);
        assert_eq!(all(&queue), ["a"]);
    }

    #[test]
    fn closing_waits_no_longer_than_its_bound() {
        let queue = Queue::default();
        queue.push(false, b"a");
        queue.close(Duration::ZERO);
        assert_eq!(all(&queue), ["a"]);
        let last = queue.next(None);
        assert_eq!(last, Next::Nothing { is_closing: true });
    }
}
