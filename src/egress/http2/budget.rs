//! How many frames and bytes an endpoint may send on one connection.
//!
//! A stream needs few: its head, its body as far as it is read, and updates of windows for what we send. More than
//! that only takes our time. After the last stream a connection may only be idle.

use std::time::Duration;

use tokio::time::Instant;

/// Frames at the beginning.
const FRAMES: u32 = 1024;
/// Bytes at the beginning.
const BYTES: u32 = 256 * 1024;
/// Frames for each stream: tiny pieces of 16 KiB of body, and whatever its head comes in.
const FRAMES_PER_STREAM: u32 = 512;
/// Bytes for each stream: its window, 16 KiB read beyond it, and its head.
const BYTES_PER_STREAM: u32 = 96 * 1024;
/// Bytes that we send for one more frame: most endpoints update two windows for each 4 to 32 KiB.
const SENT_PER_FRAME: u32 = 1024;
/// The most frames for what we sent, however much it was.
const FRAMES_FOR_SENT: u32 = 16 * 1024;
/// Frames left when no stream is open: late updates, pings, the farewell.
const FRAMES_IDLE: u32 = 256;
/// Bytes left when no stream is open.
const BYTES_IDLE: u32 = 64 * 1024;
/// Frames for each second: pings.
const FRAMES_PER_SECOND: u32 = 16;

/// The remaining budget.
#[derive(Debug)]
pub(super) struct Budget {
    frames: u32,
    bytes: u32,
    open_streams: u32,
    /// Bytes sent for which there was no frame yet.
    sent: u32,
    refilled: Instant,
}

impl Budget {
    pub(super) fn new() -> Self {
        Self {
            frames: FRAMES,
            bytes: BYTES,
            open_streams: 0,
            sent: 0,
            refilled: Instant::now(),
        }
    }

    /// A stream is opened.
    pub(super) fn open(&mut self) {
        self.open_streams = self.open_streams.saturating_add(1);
        let most = |base: u32, each| base.saturating_add(self.open_streams.saturating_mul(each));
        let frames_most = most(FRAMES, FRAMES_PER_STREAM).max(self.frames);
        self.frames = self
            .frames
            .saturating_add(FRAMES_PER_STREAM)
            .min(frames_most);
        self.bytes = self
            .bytes
            .saturating_add(BYTES_PER_STREAM)
            .min(most(BYTES, BYTES_PER_STREAM));
    }

    /// A stream is over.
    pub(super) fn close(&mut self) {
        self.open_streams = self.open_streams.saturating_sub(1);
        if self.open_streams == 0 {
            self.frames = self.frames.min(FRAMES_IDLE);
            self.bytes = self.bytes.min(BYTES_IDLE);
        }
    }

    /// So many bytes were sent.
    pub(super) fn send(&mut self, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.sent = self.sent.saturating_add(bytes);
        let frames = self.sent / SENT_PER_FRAME;
        self.sent %= SENT_PER_FRAME;
        let room = FRAMES_FOR_SENT.saturating_sub(self.frames);
        self.frames += frames.min(room);
        // Thirteen bytes of an update for each.
        self.bytes = self
            .bytes
            .saturating_add(frames.saturating_mul(16))
            .min(BYTES.max(self.bytes));
    }

    /// Pays for a frame that came. False if nothing is left for it.
    pub(super) fn receive(&mut self, bytes: usize) -> bool {
        if self.frames == 0 {
            self.refill();
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let (Some(frames), Some(bytes)) =
            (self.frames.checked_sub(1), self.bytes.checked_sub(bytes))
        else {
            return false;
        };
        self.frames = frames;
        self.bytes = bytes;
        true
    }

    /// Only when nothing is left, so that a plain exchange asks no clock.
    fn refill(&mut self) {
        let seconds = u32::try_from(self.refilled.elapsed().as_secs()).unwrap_or(u32::MAX);
        if seconds > 0 {
            self.frames = seconds.saturating_mul(FRAMES_PER_SECOND).min(FRAMES_IDLE);
            self.bytes = self.bytes.max(BYTES_IDLE / 4);
            self.refilled += Duration::from_secs(seconds.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames_until_empty(budget: &mut Budget) -> u32 {
        (0..)
            .take_while(|_| budget.receive(0))
            .fold(0, |count, _| count + 1)
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_over_budget_however_long_the_connection_was_used() {
        let mut budget = Budget::new();
        for _ in 0..100_000 {
            budget.open();
            budget.send(1_000_000);
            assert!((0..4).all(|_| budget.receive(100)));
            budget.close();
        }
        assert_eq!(frames_until_empty(&mut budget), FRAMES_IDLE);
        let mut budget = Budget::new();
        for _ in 0..100_000 {
            budget.open();
        }
        for _ in 0..100_000 {
            budget.close();
        }
        assert_eq!(frames_until_empty(&mut budget), FRAMES_IDLE);
    }

    #[tokio::test(start_paused = true)]
    async fn streams_and_large_bodies_have_the_frames_they_need() {
        let mut budget = Budget::new();
        for _ in 0..200 {
            budget.open();
        }
        assert!(
            (0..200 * 48).all(|_| budget.receive(1024)),
            "bodies of 48 KiB"
        );
        let mut budget = Budget::new();
        budget.open();
        for _ in 0..1024 {
            budget.send(16 * 1024);
            assert!(
                (0..8).all(|_| budget.receive(13)),
                "two updates for each 4 KiB"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn pings_for_days_are_no_flood() {
        let mut budget = Budget::new();
        budget.open();
        for _ in 0..200_000 {
            tokio::time::advance(Duration::from_secs(1)).await;
            assert!(budget.receive(17));
        }
    }
}
