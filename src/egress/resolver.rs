//! Names to addresses: the system's resolver (getaddrinfo), with a cache and bounds.
//!
//! Which addresses may be dialled is left to `guard`. Invariants: at most [`LOOKUPS`] and [`SILENT`] lookups
//! run at once, one per name; an answer is used while the cache allows it and is what gets dialled, so there is no
//! second lookup between check and dial.
//!
//! A name whose servers are silent must not delay another. So a lookup that has no answer after [`PATIENCE`] leaves its
//! slot to the next and goes on in one of [`SILENT`] others; a name that did not answer is asked again after pauses that
//! double; and an earlier answer is used while a new one is awaited or fails (RFC 8767).

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::domain::{FailureReason, is_localhost};
use crate::egress::failure::{SendError, is_own_lack};

/// Lookups at the same time: each holds a thread.
const LOOKUPS: usize = 32;
/// Lookups beside these that have no answer yet after [`PATIENCE`]. The shipped unit allows 256 threads in all.
const SILENT: usize = 128;
/// How long a lookup keeps others waiting, and how long a new answer is awaited where there is an old one.
const PATIENCE: Duration = Duration::from_millis(250);
/// Names in the cache.
const NAMES: usize = 4_096;
/// Addresses kept of one answer.
const ADDRESSES: usize = 16;
/// How long addresses are used. getaddrinfo does not return the record's own time.
const GOOD_FOR: Duration = Duration::from_secs(30);
/// How long a failure is used; after a lookup that took longer than this, twice as long each time.
const BAD_FOR: Duration = Duration::from_secs(2);
/// The longest time that a failure is used.
const BAD_FOR_MAX: Duration = Duration::from_secs(120);
/// How long addresses are used beyond [`GOOD_FOR`] while there is no new answer.
const STALE_FOR: Duration = Duration::from_secs(600);

/// The function that looks up the addresses of a name.
type Ask = Arc<dyn Fn(Arc<str>) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync>;

/// A lookup that ended.
#[derive(Clone)]
struct Answer {
    addresses: Result<Arc<[IpAddr]>, Failure>,
    good_until: Instant,
    /// Lookups in a row that took longer than [`BAD_FOR`] and found nothing.
    silent: u32,
}

/// Why a lookup found nothing.
#[derive(Debug, Clone)]
struct Failure {
    cause: Arc<str>,
    /// This machine lacked something.
    is_own_lack: bool,
}

/// A lookup, under way or ended; its task is aborted when no caller needs it any more.
type Lookup = Shared<BoxFuture<'static, Option<Answer>>>;

/// The cache entry of a name.
#[derive(Clone)]
struct Known {
    lookup: Lookup,
    /// The result of an earlier lookup, and until when it may be used.
    stale: Option<(Arc<[IpAddr]>, Instant)>,
}

/// The resolver that all clients share.
pub(super) struct Resolver {
    ask: Ask,
    slots: Arc<Semaphore>,
    silent: Arc<Semaphore>,
    cache: Mutex<HashMap<Arc<str>, Known>>,
}

impl Resolver {
    /// The system's resolver. It is not asked for names that mean this machine.
    pub(super) fn system() -> Self {
        Self::asking(Arc::new(|name| {
            async move {
                if is_localhost(&name) {
                    return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
                }
                let found = tokio::net::lookup_host((&*name, 0)).await?;
                Ok(found.map(|address| address.ip()).collect())
            }
            .boxed()
        }))
    }

    /// A resolver that asks `ask`.
    pub(super) fn asking(ask: Ask) -> Self {
        Self {
            ask,
            slots: Arc::new(Semaphore::new(LOOKUPS)),
            silent: Arc::new(Semaphore::new(SILENT)),
            cache: Mutex::default(),
        }
    }

    /// The addresses of `name`, at least one, if they are found within `limit`.
    ///
    /// # Cancel safety
    /// A dropped call loses nothing: the lookup goes on for the next caller.
    pub(super) async fn addresses(
        &self,
        name: &str,
        limit: Duration,
    ) -> Result<Arc<[IpAddr]>, SendError> {
        let Known { lookup, stale } = self.known(name);
        let stale = stale.filter(|(_, until)| Instant::now() < *until);
        let limit = if stale.is_some() {
            limit.min(PATIENCE)
        } else {
            limit
        };
        let failure = match timeout(limit, lookup).await {
            Ok(Some(answer)) => match answer.addresses {
                Ok(addresses) => return Ok(addresses),
                Err(failure) => failure,
            },
            Ok(None) => Failure::of("the lookup was cancelled"),
            Err(_) => Failure::of("no answer in time"),
        };
        if let Some((addresses, _)) = stale {
            return Ok(addresses);
        }
        let message = format!("{name} could not be resolved: {}", failure.cause);
        Err(SendError {
            is_own_lack: failure.is_own_lack,
            ..SendError::new(FailureReason::Dns, message)
        })
    }

    /// The entry of `name`, with a lookup that is under way or whose answer is still good.
    fn known(&self, name: &str) -> Known {
        let mut cache = self.cache.lock();
        let before = cache.get(name).cloned();
        let ended = match &before {
            Some(known) => match ended(&known.lookup) {
                Some(ended) => ended,
                None => return known.clone(),
            },
            None => None,
        };
        if cache.len() >= NAMES {
            cache.retain(|_, known| is_usable(known));
        }
        if cache.len() >= NAMES {
            cache.clear();
        }
        let silent = ended.as_ref().map_or(0, |answer| answer.silent);
        let found = ended.and_then(|answer| {
            let until = answer.good_until + STALE_FOR;
            Some((answer.addresses.ok()?, until))
        });
        let name: Arc<str> = name.into();
        let known = Known {
            lookup: self.start(Arc::clone(&name), silent),
            stale: found.or_else(|| before?.stale),
        };
        cache.insert(name, known.clone());
        known
    }

    /// Asks for a name of which `silent` lookups before had no answer.
    fn start(&self, name: Arc<str>, silent: u32) -> Lookup {
        let (ask, slots) = (Arc::clone(&self.ask), Arc::clone(&self.slots));
        let silent_slots = Arc::clone(&self.silent);
        // A task of its own: a caller that leaves must not stop the lookup half way with its slot taken.
        let task = AbortOnDropHandle::new(tokio::spawn(async move {
            let slot = slots.acquire_owned().await;
            let began = Instant::now();
            let mut asking = ask(name);
            let found = match timeout(PATIENCE, &mut asking).await {
                Ok(found) => found,
                Err(_) => tokio::select! {
                    found = &mut asking => found,
                    _silent_slot = silent_slots.acquire_owned() => {
                        drop(slot);
                        asking.await
                    }
                },
            };
            Answer::of(found, began.elapsed(), silent)
        }));
        task.map(Result::ok).boxed().shared()
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

impl Failure {
    fn of(cause: &str) -> Self {
        Self {
            cause: cause.into(),
            is_own_lack: false,
        }
    }
}

impl Answer {
    /// The answer of a lookup that took so long, after `silent` ones without an answer.
    fn of(found: io::Result<Vec<IpAddr>>, took: Duration, silent: u32) -> Self {
        let mut distinct: Vec<IpAddr> = Vec::new();
        let addresses = match found {
            Err(error) => Err(Failure {
                cause: error.to_string().into(),
                is_own_lack: is_own_lack(&error),
            }),
            Ok(found) => {
                for ip in found {
                    if distinct.len() < ADDRESSES && !distinct.contains(&ip) {
                        distinct.push(ip);
                    }
                }
                if distinct.is_empty() {
                    Err(Failure::of("it has no address"))
                } else {
                    Ok(distinct.into())
                }
            }
        };
        let is_silent = addresses.is_err() && took > BAD_FOR;
        let silent = if is_silent { silent + 1 } else { 0 };
        let good_for = if addresses.is_ok() {
            GOOD_FOR
        } else {
            let doubled = BAD_FOR.saturating_mul(1 << silent.min(8));
            doubled.min(BAD_FOR_MAX)
        };
        Self {
            addresses,
            good_until: Instant::now() + good_for,
            silent,
        }
    }
}

/// None while the lookup is under way or its answer still good; else its answer, if it had one.
fn ended(lookup: &Lookup) -> Option<Option<Answer>> {
    // Polled, not peeked at: a lookup that all its callers left ends without anybody seeing it.
    let answer = lookup.clone().now_or_never()?;
    let is_good = |answer: &Answer| Instant::now() < answer.good_until;
    if answer.as_ref().is_some_and(is_good) {
        return None;
    }
    Some(answer)
}

/// Whether there is something of a name that may still be used.
fn is_usable(known: &Known) -> bool {
    let is_young = |(_, until): &(_, Instant)| Instant::now() < *until;
    ended(&known.lookup).is_none() || known.stale.as_ref().is_some_and(is_young)
}

#[cfg(test)]
#[path = "resolver_tests.rs"]
mod tests;
