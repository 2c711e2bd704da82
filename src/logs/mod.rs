//! Log lines on their way out of the process.
//!
//! - `limit`: which lines are written, and which are only counted
//! - `queue`: lines that wait to be written
//!
//! A separate thread writes the lines: code that logs never waits for the reader. Leaves the format of lines to `cli`.
//! Invariants: waiting lines are bounded in bytes; lines that do not fit are dropped and counted, errors last; at an
//! orderly end, waiting lines are written within a time limit, even if the reader is slow.

mod limit;
mod queue;

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use crate::domain::Clock;

pub(crate) use limit::Limit;

use limit::{LeftOut, OWN_TARGET};
use queue::{Next, Queue};

/// Lines of this process that were lost.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// How many log lines of this process were lost: they were not read in time, or could not be written.
pub(crate) fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

fn count_dropped(lines: u64) {
    DROPPED.fetch_add(lines, Ordering::Relaxed);
}

/// Takes lines and has them written. A cheap handle.
#[derive(Debug, Clone)]
pub(crate) struct Logs(Arc<Queue>);

impl Logs {
    /// Writes to `out` from a separate thread, which also reports what `limit` left out.
    ///
    /// # Errors
    /// The system cannot start a thread.
    pub(crate) fn start(
        out: impl AsFd + Send + 'static,
        limit: Limit,
        clock: Arc<dyn Clock>,
    ) -> io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let writer = Writer {
            queue: Arc::clone(&queue),
            out,
            limit,
            clock,
            is_heard: false,
            is_torn: false,
            told_dropped: dropped(),
        };
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || writer.run())?;
        Ok(Self(queue))
    }

    /// Writes everything that waits, for at most `bound`. Lines that come later may be lost.
    pub(crate) fn finish(&self, bound: Duration) {
        self.0.close(bound);
    }
}

impl<'a> MakeWriter<'a> for Logs {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        LineWriter {
            queue: &self.0,
            is_error: false,
        }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Self::Writer {
        LineWriter {
            queue: &self.0,
            is_error: *metadata.level() == Level::ERROR,
        }
    }
}

/// Takes one line: all that is written in one call.
#[derive(Debug)]
pub(crate) struct LineWriter<'a> {
    queue: &'a Queue,
    is_error: bool,
}

impl io::Write for LineWriter<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        count_dropped(self.queue.push(self.is_error, line));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes to standard error without a queue, for at most `bound`: for messages before there is a log, or without one.
pub(crate) fn say(text: String, bound: Duration) {
    let (done, is_done) = sync_channel::<()>(1);
    let say = move || {
        write_all(&io::stderr(), text.as_bytes()).unwrap_or_default();
        drop(done);
    };
    if thread::Builder::new().spawn(say).is_ok() {
        // It ends by the sender being dropped, or is left behind.
        is_done.recv_timeout(bound).unwrap_or_default();
    }
}

struct Writer<T> {
    queue: Arc<Queue>,
    out: T,
    limit: Limit,
    clock: Arc<dyn Clock>,
    /// The last line was written whole.
    is_heard: bool,
    /// Part of a line was written, and not its end.
    is_torn: bool,
    /// How many lost lines were reported.
    told_dropped: u64,
}

impl<T: AsFd> Writer<T> {
    /// Runs until `close` was called and everything is written.
    fn run(mut self) {
        loop {
            let due_in = self.limit.due_in(self.clock.steady());
            match self.queue.next(due_in) {
                Next::Line(line) => {
                    self.write(&line);
                }
                Next::Nothing { is_closing } => {
                    let has_more = self.tell(is_closing);
                    if is_closing && !has_more {
                        return self.queue.drained();
                    }
                }
            }
        }
    }

    /// Logs what was lost or left out; returns whether there was anything.
    fn tell(&mut self, is_closing: bool) -> bool {
        let dropped = dropped();
        let lost = dropped - self.told_dropped;
        let tells_lost = lost > 0 && self.is_heard;
        if tells_lost {
            self.told_dropped = dropped;
            tracing::warn!(
                target: OWN_TARGET,
                count = lost,
                "log lines were dropped: they were not read in time"
            );
        }
        let left_out = self.limit.take(self.clock.steady(), is_closing);
        let has_more = tells_lost || !left_out.is_empty();
        for LeftOut {
            text,
            subscription,
            count,
        } in left_out
        {
            let subscription = subscription.as_deref();
            tracing::warn!(
                target: OWN_TARGET,
                line = text,
                subscription,
                count,
                "more log lines like this were left out"
            );
        }
        has_more
    }

    fn write(&mut self, line: &[u8]) {
        if self.is_torn && write_all(&self.out, b"\n").is_ok() {
            self.is_torn = false;
        }
        let written = write_all(&self.out, line);
        self.is_heard = written.is_ok();
        if let Err(written) = written {
            self.is_torn |= written > 0;
            count_dropped(1);
        }
    }
}

/// Writes all of it, however long that takes.
///
/// # Errors
/// It cannot be written: how much was.
fn write_all(out: &impl AsFd, bytes: &[u8]) -> Result<(), usize> {
    let mut rest = bytes;
    while !rest.is_empty() {
        match rustix::io::write(out, rest) {
            Ok(count) if count > 0 => rest = rest.get(count..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            // The process that opened it made it non-blocking; this writer must block.
            Err(Errno::AGAIN) => {
                let mut wait = [PollFd::new(out, PollFlags::OUT)];
                poll(&mut wait, None).unwrap_or_default();
            }
            Ok(_) | Err(_) => return Err(bytes.len() - rest.len()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
