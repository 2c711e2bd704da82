//! Turns of lanes: however many have something to do, between a few of them the runtime's other tasks run.
//!
//! A runtime polls what is ready one after the other, so that with thousands of busy lanes whoever posts an event would
//! wait for all of them, several times. Here a turn costs a permit, and [`Turns::keep`] gives new ones each time it comes
//! round itself. Lanes that wait get theirs in the order in which they came.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::sync::{AcquireError, Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::yield_now;

/// Turns between which other tasks run. In each a lane begins 64 attempts at most.
const TURNS: usize = 16;

/// The state shared by all lanes.
#[derive(Debug)]
pub(super) struct Turns {
    permits: Arc<Semaphore>,
    used_up: Notify,
}

type Permit = Result<OwnedSemaphorePermit, AcquireError>;

/// A lane that waits for its turn. Boxed: most never do.
type Waiting = Pin<Box<dyn Future<Output = Permit> + Send>>;

impl Default for Turns {
    fn default() -> Self {
        Self {
            permits: Arc::new(Semaphore::new(TURNS)),
            used_up: Notify::new(),
        }
    }
}

impl Turns {
    /// Polls the work of a lane, each time in a turn.
    ///
    /// # Cancel safety
    /// As the work.
    pub(super) async fn take<W: Future>(&self, mut work: Pin<&mut W>) -> W::Output {
        let mut waiting = None;
        poll_fn(|context| {
            ready!(self.poll_turn(&mut waiting, context));
            work.as_mut().poll(context)
        })
        .await
    }

    /// Gives new turns, for as long as there are lanes. To be polled as a task of its own.
    pub(super) async fn keep(&self) {
        loop {
            self.used_up.notified().await;
            while self.permits.available_permits() == 0 {
                self.permits.add_permits(TURNS);
                yield_now().await;
            }
        }
    }

    fn poll_turn(&self, waiting: &mut Option<Waiting>, context: &mut Context<'_>) -> Poll<()> {
        let permit = match waiting {
            Some(waiting) => ready!(waiting.as_mut().poll(context)),
            None => match Arc::clone(&self.permits).try_acquire_owned() {
                Ok(permit) => Ok(permit),
                Err(_) => {
                    let new = Box::pin(Arc::clone(&self.permits).acquire_owned());
                    let polled = waiting.insert(new).as_mut().poll(context);
                    // Not before it is in the queue: permits given earlier may all go to others.
                    self.used_up.notify_one();
                    ready!(polled)
                }
            },
        };
        *waiting = None;
        // It is never closed, so there is one; it is used up.
        permit.into_iter().for_each(OwnedSemaphorePermit::forget);
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::FutureExt;

    use super::*;

    /// A lane that is always ready for so many turns.
    async fn busy(turns: &Turns, count: usize, done: &AtomicUsize) {
        let mut left = count;
        let work = poll_fn(|context| {
            done.fetch_add(1, Ordering::Relaxed);
            left -= 1;
            if left == 0 {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        });
        turns.take(std::pin::pin!(work)).await;
    }

    #[tokio::test]
    async fn others_run_between_a_few_turns_and_every_lane_gets_all_of_its() {
        let turns = Arc::new(Turns::default());
        let done = Arc::new(AtomicUsize::new(0));
        let keeper = Arc::clone(&turns);
        let keeper = tokio::spawn(async move { keeper.keep().await });
        let lanes = (0..1000).map(|_| {
            let (turns, done) = (Arc::clone(&turns), Arc::clone(&done));
            tokio::spawn(async move { busy(&turns, 5, &done).await })
        });
        let lanes: Vec<_> = lanes.collect();
        let (mut most, mut before) = (0, 0);
        while before < 5000 {
            yield_now().await;
            let now = done.load(Ordering::Relaxed);
            most = most.max(now - before);
            before = now;
        }
        assert!(
            most <= 2 * TURNS,
            "{most} turns while this task waited for its own"
        );
        for lane in lanes {
            lane.await.unwrap();
        }
        keeper.abort();
    }

    #[tokio::test]
    async fn a_lane_that_ends_while_it_waits_takes_no_turn_with_it() {
        let turns = Turns::default();
        let done = AtomicUsize::new(0);
        for _ in 0..TURNS {
            busy(&turns, 1, &done).await;
        }
        {
            let mut gone = std::pin::pin!(busy(&turns, 1, &done));
            assert!((&mut gone).now_or_never().is_none());
            assert_eq!(done.load(Ordering::Relaxed), TURNS);
        }
        tokio::select! {
            () = turns.keep() => {}
            () = busy(&turns, 1, &done) => {}
        }
        assert_eq!(done.load(Ordering::Relaxed), TURNS + 1);
    }
}
