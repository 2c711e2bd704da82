//! Reading a request's body: never more than its bound, never longer than its time, and large ones only as many at a
//! time as there is memory for.

use std::error::Error;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

use crate::ingest::refusal::Refusal;

/// From the end of the head to the end of the body.
pub(super) const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Bodies up to this many bytes are read without asking for memory.
const SMALL_BYTES: u64 = 64 << 10;

/// Memory for larger bodies, in units of [`SMALL_BYTES`]: 64 MiB.
const LARGE_UNITS: u32 = 1024;

/// Reads bodies; holds the memory that large ones may take together.
#[derive(Debug)]
pub(super) struct BodyReader {
    large: Semaphore,
}

/// Memory that a body takes; to be kept until the store has the event.
pub(super) type Budget<'a> = Option<SemaphorePermit<'a>>;

impl Default for BodyReader {
    fn default() -> Self {
        Self {
            large: Semaphore::new(usize::try_from(LARGE_UNITS).unwrap_or(usize::MAX)),
        }
    }
}

impl BodyReader {
    /// Reads a body to its end into memory of its own, of just its size: it may be kept for long, and the buffer that
    /// the connection reads into is larger and needed again.
    ///
    /// # Errors
    /// [`Refusal::TooLarge`] as soon as it is announced or read, [`Refusal::Slow`], [`Refusal::Cut`],
    /// [`Refusal::NoMemory`] when none became free in time.
    ///
    /// # Cancel safety
    /// The bytes read so far are lost.
    pub(super) async fn read<B>(&self, body: B, bound: u64) -> Result<(Bytes, Budget<'_>), Refusal>
    where
        B: Body<Data = Bytes>,
        B::Error: Error + 'static,
    {
        let size = body.size_hint();
        if size.lower() > bound {
            return Err(Refusal::TooLarge(bound));
        }
        let deadline = Instant::now() + BODY_TIMEOUT;
        let budget = self.budget(size.upper().unwrap_or(bound), deadline).await?;
        let expected = usize::try_from(size.lower()).unwrap_or(usize::MAX);
        let mut read = Vec::with_capacity(expected);
        let mut body = pin!(body);
        loop {
            // The timer is only set when the frame is not there yet: most bodies come together with their head.
            let frame = timeout_at(deadline, body.frame()).await;
            let frame = frame.map_err(|_| Refusal::Slow)?;
            let Some(frame) = frame else { break };
            let Ok(data) = frame.map_err(|_| Refusal::Cut)?.into_data() else {
                continue;
            };
            let length = u64::try_from(read.len() + data.len()).unwrap_or(u64::MAX);
            if length > bound {
                return Err(Refusal::TooLarge(bound));
            }
            read.extend_from_slice(&data);
        }
        Ok((Bytes::from(read.into_boxed_slice()), budget))
    }

    async fn budget(&self, bytes: u64, deadline: Instant) -> Result<Budget<'_>, Refusal> {
        if bytes <= SMALL_BYTES {
            return Ok(None);
        }
        let units = u32::try_from(bytes.div_ceil(SMALL_BYTES)).unwrap_or(LARGE_UNITS);
        let permit = self.large.acquire_many(units.min(LARGE_UNITS));
        match timeout_at(deadline, permit).await {
            Ok(Ok(permit)) => Ok(Some(permit)),
            Ok(Err(_)) | Err(_) => Err(Refusal::NoMemory),
        }
    }
}
