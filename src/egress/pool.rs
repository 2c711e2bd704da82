//! The open connections of one client: idle HTTP/1.1 ones, and one HTTP/2 one that is shared.
//!
//! The freshest idle connection is used first, so that those not needed grow old and are closed. A sweeper runs only
//! while there is something to sweep. All connections lead to one origin: when the endpoint's changes, the old ones go.
//!
//! All pools together keep so many idle connections at most, as each takes a descriptor and some 15 KiB, with TLS more. When
//! half of these are kept, one that is idle waits less long for its next request.

use std::sync::{Arc, Weak};
use std::time::Duration;

use http::Uri;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;

use crate::descriptors;
use crate::egress::connection::Connection;
use crate::egress::failure::SendError;
use crate::egress::origin::Origin;
use crate::egress::{http1, http2};

/// How long a connection may be idle.
const IDLE_MAX: Duration = Duration::from_secs(90);
/// How long when many are.
const IDLE_MAX_OF_MANY: Duration = Duration::from_secs(10);
/// Idle connections of all pools, where descriptors allow as many.
const KEPT_MAX: usize = 4096;
/// How old a connection may be when it becomes idle: an endpoint that moved must be found again.
const AGE_MAX: Duration = Duration::from_secs(600);
/// How often idle connections are looked at.
const SWEEP: Duration = Duration::from_secs(10);

/// Places for the idle connections of all pools.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) free: Arc<Semaphore>,
    all: usize,
}

impl Places {
    pub(super) fn new() -> Self {
        Self::of(descriptors::idle_deliveries().min(KEPT_MAX))
    }

    pub(super) fn of(all: usize) -> Self {
        let free = Arc::new(Semaphore::new(all));
        Self { free, all }
    }

    /// How long a connection may be idle now.
    fn idle_max(&self) -> Duration {
        if self.free.available_permits() > self.all / 2 {
            IDLE_MAX
        } else {
            IDLE_MAX_OF_MANY
        }
    }
}

/// See the module.
pub(super) struct Pool {
    places: Arc<Places>,
    idle_max: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    origin: Option<Arc<Origin>>,
    /// Oldest first.
    idle: Vec<Idle>,
    shared: Option<Shared>,
    /// The last connection spoke HTTP/2.
    expects_http2: bool,
    sweeper: Option<AbortOnDropHandle<()>>,
}

struct Idle {
    connection: Box<http1::Connection>,
    since: Instant,
    _place: OwnedSemaphorePermit,
}

struct Shared {
    connection: Arc<http2::Connection>,
    opened: Instant,
    used: Instant,
}

impl Pool {
    /// An empty pool that keeps at most `idle_max` connections idle, where there is a place for them.
    pub(super) fn new(idle_max: usize, places: Arc<Places>) -> Self {
        Self {
            places,
            idle_max,
            state: Mutex::default(),
        }
    }

    /// The origin of a URI; closes what leads to another one.
    pub(super) fn origin(&self, uri: &Uri) -> Result<Arc<Origin>, SendError> {
        let mut state = self.lock();
        if let Some(origin) = state.origin.as_ref().filter(|origin| origin.is_of(uri)) {
            return Ok(Arc::clone(origin));
        }
        let origin = Arc::new(Origin::of(uri)?);
        *state = State {
            origin: Some(Arc::clone(&origin)),
            ..State::default()
        };
        Ok(origin)
    }

    /// Takes a connection to `origin`, if there is one.
    pub(super) fn take(&self, origin: &Arc<Origin>) -> Option<Connection> {
        let mut state = self.lock();
        if !state.leads_to(origin) {
            return None;
        }
        if let Some(shared) = &mut state.shared {
            if shared.connection.is_reusable() {
                shared.used = Instant::now();
                return Some(Connection::Http2(Arc::clone(&shared.connection)));
            }
            state.shared = None;
        }
        let idle = state.idle.pop()?;
        Some(Connection::Http1(idle.connection))
    }

    /// Whether a new connection will be one to share, as far as is known.
    pub(super) fn expects_http2(&self, origin: &Arc<Origin>) -> bool {
        let state = self.lock();
        state.leads_to(origin) && state.expects_http2
    }

    /// Takes back a connection after its answer was read whole.
    pub(super) fn give_back(self: &Arc<Self>, origin: &Arc<Origin>, connection: Connection) {
        let Connection::Http1(mut connection) = connection else {
            return;
        };
        let now = Instant::now();
        let young = now.duration_since(connection.opened) < AGE_MAX;
        if !young || !connection.is_reusable() {
            return;
        }
        let mut state = self.lock();
        if !state.leads_to(origin) {
            return;
        }
        state.expects_http2 = false;
        if state.idle.len() >= self.idle_max {
            return;
        }
        if let Ok(place) = Arc::clone(&self.places.free).try_acquire_owned() {
            state.idle.push(Idle {
                connection,
                since: now,
                _place: place,
            });
            self.start_sweeper(&mut state);
        }
    }

    /// Shares a new HTTP/2 connection, unless there is one.
    pub(super) fn share(
        self: &Arc<Self>,
        origin: &Arc<Origin>,
        connection: &Arc<http2::Connection>,
    ) {
        let mut state = self.lock();
        if !state.leads_to(origin) {
            return;
        }
        state.expects_http2 = true;
        let is_taken = state
            .shared
            .as_ref()
            .is_some_and(|shared| shared.connection.is_reusable());
        if !is_taken {
            let now = Instant::now();
            state.shared = Some(Shared {
                connection: Arc::clone(connection),
                opened: now,
                used: now,
            });
            self.start_sweeper(&mut state);
        }
    }

    /// Lets go of every connection: after a timeout none is trusted.
    pub(super) fn clear(&self) {
        let mut state = self.lock();
        state.idle.clear();
        state.shared = None;
    }

    fn start_sweeper(self: &Arc<Self>, state: &mut State) {
        if state.sweeper.is_none() {
            let sweeper = tokio::spawn(sweep_until_empty(Arc::downgrade(self)));
            state.sweeper = Some(AbortOnDropHandle::new(sweeper));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl State {
    fn leads_to(&self, origin: &Arc<Origin>) -> bool {
        self.origin
            .as_ref()
            .is_some_and(|current| Arc::ptr_eq(current, origin))
    }

    /// Closes what is old or was closed by the endpoint. True when nothing is left.
    fn sweep(&mut self, now: Instant, idle_max: Duration) -> bool {
        self.idle.retain_mut(|idle| {
            now.duration_since(idle.since) < idle_max && idle.connection.is_reusable()
        });
        let shared = self.shared.take_if(|shared| {
            !shared.connection.is_reusable()
                || now.duration_since(shared.used) >= IDLE_MAX
                || now.duration_since(shared.opened) >= AGE_MAX
        });
        drop(shared);
        self.idle.is_empty() && self.shared.is_none()
    }
}

/// Owned by the pool, which it does not keep alive.
async fn sweep_until_empty(pool: Weak<Pool>) {
    loop {
        sleep(SWEEP).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut state = pool.lock();
        if state.sweep(Instant::now(), pool.places.idle_max()) {
            state.sweeper = None;
            return;
        }
    }
}
