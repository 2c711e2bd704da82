//! Names to addresses: the system's resolver (getaddrinfo), with a cache and bounds.
//!
//! It knows nothing of which addresses may be dialled: see `guard`. Invariants: at most [`LOOKUPS`] lookups run at
//! once, one per name; an answer is used for as long as the cache says and is what gets dialled, so there is no
//! second lookup between check and dial.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::domain::FailureReason;
use crate::egress::failure::SendError;

/// Lookups at the same time: each holds a thread.
const LOOKUPS: usize = 32;
/// Names in the cache.
const NAMES: usize = 1_024;
/// Addresses kept of one answer.
const ADDRESSES: usize = 16;
/// How long addresses are used. getaddrinfo does not tell the record's own time.
const GOOD_FOR: Duration = Duration::from_secs(30);
/// How long a failure is used.
const BAD_FOR: Duration = Duration::from_secs(2);

/// What asks for the addresses of a name.
type Ask = Arc<dyn Fn(Arc<str>) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync>;

/// A lookup that ended.
#[derive(Clone)]
struct Answer {
    addresses: Result<Arc<[IpAddr]>, Arc<str>>,
    good_until: Instant,
}

/// A lookup, under way or ended; its task is aborted when nobody wants it any more.
type Lookup = Shared<BoxFuture<'static, Option<Answer>>>;

/// The resolver that all clients share.
pub(super) struct Resolver {
    ask: Ask,
    slots: Arc<Semaphore>,
    cache: Mutex<HashMap<Arc<str>, Lookup>>,
}

impl Resolver {
    /// The system's resolver.
    pub(super) fn system() -> Self {
        Self::asking(Arc::new(|name| {
            async move {
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
        let failed = |cause: &str| {
            let message = format!("{name} could not be resolved: {cause}");
            SendError::new(FailureReason::Dns, message)
        };
        match timeout(limit, self.lookup(name)).await {
            Ok(Some(answer)) => answer.addresses.map_err(|cause| failed(&cause)),
            Ok(None) => Err(failed("the lookup was cancelled")),
            Err(_) => Err(failed("no answer in time")),
        }
    }

    /// The lookup of `name` that is under way or still good, else a new one.
    fn lookup(&self, name: &str) -> Lookup {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lookup) = cache.get(name).filter(|lookup| is_usable(lookup)) {
            return lookup.clone();
        }
        if cache.len() >= NAMES {
            cache.retain(|_, lookup| is_usable(lookup));
        }
        if cache.len() >= NAMES {
            cache.clear();
        }
        let name: Arc<str> = name.into();
        let lookup = self.start(Arc::clone(&name));
        cache.insert(name, lookup.clone());
        lookup
    }

    fn start(&self, name: Arc<str>) -> Lookup {
        let (ask, slots) = (Arc::clone(&self.ask), Arc::clone(&self.slots));
        // A task of its own: a caller that leaves must not stop the lookup half way with its slot taken.
        let task = AbortOnDropHandle::new(tokio::spawn(async move {
            let _slot = slots.acquire_owned().await;
            Answer::of(ask(name).await)
        }));
        task.map(Result::ok).boxed().shared()
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

impl Answer {
    fn of(found: io::Result<Vec<IpAddr>>) -> Self {
        let mut distinct: Vec<IpAddr> = Vec::new();
        let addresses = found
            .map_err(|error| error.to_string().into())
            .and_then(|found| {
                for ip in found {
                    if distinct.len() < ADDRESSES && !distinct.contains(&ip) {
                        distinct.push(ip);
                    }
                }
                if distinct.is_empty() {
                    Err("it has no address".into())
                } else {
                    Ok(distinct.into())
                }
            });
        let good_for = if addresses.is_ok() { GOOD_FOR } else { BAD_FOR };
        Self {
            addresses,
            good_until: Instant::now() + good_for,
        }
    }
}

/// Whether a lookup is under way or its answer still good.
fn is_usable(lookup: &Lookup) -> bool {
    // Polled, not peeked at: a lookup that all its callers left ends without anybody seeing it.
    match lookup.clone().now_or_never() {
        None => true,
        Some(None) => false,
        Some(Some(answer)) => Instant::now() < answer.good_until,
    }
}

#[cfg(test)]
#[path = "resolver_tests.rs"]
mod tests;
