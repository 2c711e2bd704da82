//! The process's file descriptors as a budget: the limit of the system, and how much of it each part may use.
//!
//! Some are reserved for what must never fail, such as the next segment of the journal: `RESERVE`. Clients of the
//! listeners have half of the rest for certain, split by [`client_places`]; deliveries have the other half for certain,
//! and what clients do not use. A new descriptor gets the lowest free number, so a number says how many are in use at
//! least.
//!
//! The count of clients is one for the process, as the limit is.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that neither clients nor deliveries get: the journal, the index, configuration, names, logs.
const RESERVE: usize = 96;

/// Client connections that are open.
static CLIENTS: AtomicUsize = AtomicUsize::new(0);

/// The limit of open files after a start.
#[derive(Debug)]
pub(crate) struct Limit {
    /// Files that may be open.
    pub files: usize,
    /// Why the limit is lower than it could be.
    pub refused: Option<io::Error>,
}

/// Raises the soft limit of open files to the hard one. Where the system refuses, as under some units, it stays.
pub(crate) fn raise_limit() -> Limit {
    let before = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: before.maximum,
        ..before
    };
    let refused = (wanted.current != before.current)
        .then(|| setrlimit(Resource::Nofile, wanted).err())
        .flatten();
    Limit {
        files: limit(),
        refused: refused.map(io::Error::from),
    }
}

/// Places for clients on `listeners` for events and on those for operators, each, within a limit of open files.
#[must_use]
pub(crate) fn client_places(files: usize, listeners: usize) -> (usize, usize) {
    let all = clients_share(files);
    // A quarter is for the two listeners of operators.
    let events = all / 4 * 3 / listeners.max(1);
    (events.max(1), (all / 8).max(1))
}

/// A client's connection, counted while this lives.
#[derive(Debug)]
pub(crate) struct Client(());

impl Client {
    pub(crate) fn new() -> Self {
        CLIENTS.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        CLIENTS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether a new connection to an endpoint may be kept.
///
/// # Errors
/// The error of the system when no descriptor is left, if the rest belongs to others.
pub(crate) fn admit_delivery(connection: &impl AsFd) -> io::Result<()> {
    let number = usize::try_from(connection.as_fd().as_raw_fd()).unwrap_or_default();
    match number < delivery_bound(limit(), CLIENTS.load(Ordering::Relaxed)) {
        true => Ok(()),
        false => Err(rustix::io::Errno::MFILE.into()),
    }
}

/// How many of the connections to endpoints may be idle: half of those that deliveries have for certain.
pub(crate) fn idle_deliveries() -> usize {
    clients_share(limit()) / 2
}

/// Descriptors of deliveries have numbers below this.
fn delivery_bound(files: usize, clients: usize) -> usize {
    let unused = clients_share(files).saturating_sub(clients);
    files.saturating_sub(reserve(files) + unused)
}

fn clients_share(files: usize) -> usize {
    files.saturating_sub(2 * reserve(files)) / 2
}

/// The reserve; less where there is little.
fn reserve(files: usize) -> usize {
    RESERVE.min(files / 4)
}

fn limit() -> usize {
    let files = getrlimit(Resource::Nofile).current;
    files.map_or(usize::MAX, |files| {
        usize::try_from(files).unwrap_or(usize::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_and_deliveries_together_leave_the_reserve() {
        for files in [16, 64, 256, 1024, 4096, 65_536] {
            let (events, operators) = client_places(files, 1);
            let clients = events + 2 * operators;
            for open in [0, clients / 2, clients] {
                let bound = delivery_bound(files, open);
                assert!(
                    bound + clients - open <= files - reserve(files) + 3,
                    "{files} {open}"
                );
            }
            // Deliveries have numbers left when all clients are there.
            assert!(
                delivery_bound(files, clients) >= clients + reserve(files),
                "{files}"
            );
        }
    }

    #[test]
    fn the_soft_limit_is_the_hard_one_after_a_start() {
        let limit = raise_limit();
        assert!(limit.refused.is_none());
        let now = getrlimit(Resource::Nofile);
        assert_eq!(now.current, now.maximum);
        assert!(admit_delivery(&io::stderr()).is_ok());
    }
}
