//! Signals of the system (inotify through rustix) about folders and files.
//!
//! They are read at intervals, and the kernel holds a bounded number of them: a storm costs neither memory nor time. If
//! the kernel reports dropped signals, everything is checked. Without inotify, or if it refuses a watch, the
//! [`Watcher`](crate::config::Watcher) still checks by itself, which [`WatchHealth`] reports.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep_until};

use crate::config::survey::{Names, Places};

/// How long signals are left to the kernel, which merges equal ones, after some were read.
const PACE: Duration = Duration::from_millis(50);

/// The most signals that are read at a time; the kernel keeps 16,384 by default.
const MAX_SIGNALS: usize = 20_000;

/// The most files that are watched themselves, beside their folders: watches of all programs of a user are few (8,192 on
/// older systems), and the kernel keeps some memory for each.
const FILES_WATCHED: usize = 1000;

/// Events that may change a file. Reading, as a reload does, is no change.
const CHANGES: WatchFlags = WatchFlags::CLOSE_WRITE
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::CREATE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF);

/// Opens a source of signals; another one in tests.
pub(super) type Open = fn() -> io::Result<OwnedFd>;

/// A source of signals of this system.
pub(super) fn inotify() -> io::Result<OwnedFd> {
    Ok(inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?)
}

/// Why changes of the configuration are noticed late, if they are. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct WatchHealth(Arc<Mutex<Option<&'static str>>>);

impl WatchHealth {
    /// The problem, without data of the configuration; `None` if changes are noticed at once.
    #[must_use]
    pub fn trouble(&self) -> Option<&'static str> {
        *self.0.lock()
    }

    fn replace(&self, trouble: Option<&'static str>) -> Option<&'static str> {
        let mut health = self.0.lock();
        std::mem::replace(&mut *health, trouble)
    }
}

/// Events in watched folders and files.
#[derive(Debug)]
pub(super) struct Signals {
    open: Open,
    source: Option<AsyncFd<OwnedFd>>,
    /// By the number of a watch; of a file without names.
    names: HashMap<i32, Names>,
    /// No signal is read before.
    rests_until: Instant,
    health: WatchHealth,
}

/// The first thing that could not be watched.
struct Refused {
    path: PathBuf,
    error: io::Error,
}

impl Signals {
    /// Watches nothing yet.
    pub(super) fn new(open: Open) -> Self {
        Self {
            open,
            source: None,
            names: HashMap::new(),
            rests_until: Instant::now(),
            health: WatchHealth::default(),
        }
    }

    pub(super) fn health(&self) -> &WatchHealth {
        &self.health
    }

    /// Watches only these from now on; returns whether one of them is new.
    pub(super) fn follow(&mut self, places: Places, files: &[PathBuf]) -> bool {
        let before = std::mem::take(&mut self.names);
        let refused = self.watch(places, files).err();
        for gone in before.keys().filter(|it| !self.names.contains_key(it)) {
            if let Some(source) = &self.source {
                // The watch of a removed path is gone already.
                inotify::remove_watch(source, *gone).unwrap_or_default();
            }
        }
        self.tell(refused);
        self.names.keys().any(|number| !before.contains_key(number))
    }

    fn watch(&mut self, places: Places, files: &[PathBuf]) -> Result<(), Refused> {
        let source = match &mut self.source {
            Some(source) => source,
            none => {
                let opened = (self.open)().and_then(registered);
                let path = PathBuf::new();
                none.insert(opened.map_err(|error| Refused { path, error })?)
            }
        };
        let mut refused = Ok(());
        let mut add = |path: &Path, flags, names| match inotify::add_watch(&*source, path, flags) {
            // All again, also those watched before: the path may have been removed and created again. Two paths may
            // be the same folder.
            Ok(number) => self.names.entry(number).or_default().join(names),
            Err(error) if is_elsewhere(error) => {}
            Err(error) => {
                let path = path.to_path_buf();
                let error = error.into();
                refused = std::mem::replace(&mut refused, Ok(())).and(Err(Refused { path, error }));
            }
        };
        for (folder, names) in places {
            add(&folder, CHANGES | WatchFlags::ONLYDIR, names);
        }
        // A write through another mount of a file is reported for the file, not for our folder.
        for file in files.iter().take(FILES_WATCHED) {
            add(file, CHANGES, Names::default());
        }
        refused
    }

    /// Logs what cannot be watched, once until it can be again.
    fn tell(&self, refused: Option<Refused>) {
        let trouble = refused.as_ref().map(|refused| trouble(&refused.error));
        match (self.health.replace(trouble), refused) {
            (None, Some(Refused { path, error })) => {
                let path = path.display();
                let reason = trouble;
                tracing::warn!(%path, %error, reason, "changes of the configuration are noticed late: files are looked at every 5 s");
            }
            (Some(_), None) => {
                tracing::info!("changes of the configuration are noticed at once again");
            }
            (None, None) | (Some(_), Some(_)) => {}
        }
    }

    /// Waits for a signal that matters; forever without a source.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn next(&mut self) {
        loop {
            sleep_until(self.rests_until).await;
            let Some(source) = &self.source else {
                return std::future::pending().await;
            };
            let Ok(mut ready) = source.readable().await else {
                // The runtime ends.
                return std::future::pending().await;
            };
            self.rests_until = Instant::now() + PACE;
            let (matters, is_empty) = read(ready.get_inner(), &self.names);
            if is_empty {
                ready.clear_ready();
            }
            if matters {
                return;
            }
        }
    }
}

/// Whether nothing exists at a path: the folder above is watched for it.
fn is_elsewhere(error: Errno) -> bool {
    matches!(
        error,
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG
    )
}

/// Advice to an operator about an error.
fn trouble(error: &io::Error) -> &'static str {
    match Errno::from_io_error(error) {
        Some(Errno::NOSPC) => "fs.inotify.max_user_watches is used up",
        Some(Errno::MFILE) => "fs.inotify.max_user_instances is used up",
        Some(Errno::ACCESS) => "a folder cannot be read",
        _ => "the system watches no files",
    }
}

#[expect(
    deprecated,
    reason = "what replaces it is unsafe for types that may change their descriptor, which this one does not"
)]
fn registered(signals: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(signals, Interest::READABLE)
}

/// Reads the available signals: whether one matters, and whether there are no more.
fn read(signals: &OwnedFd, names: &HashMap<i32, Names>) -> (bool, bool) {
    let mut buffer = [MaybeUninit::uninit(); 16 * 1024];
    let mut reader = Reader::new(signals, &mut buffer);
    let mut matters = false;
    for _ in 0..MAX_SIGNALS {
        match reader.next() {
            Ok(event) if event.events().contains(ReadFlags::QUEUE_OVERFLOW) => matters = true,
            Ok(event) => {
                // Of a folder or file itself, unless it is one that is not watched any more.
                let is_meant = names.get(&event.wd()).is_some_and(|names| {
                    let name = event
                        .file_name()
                        .map(|name| OsStr::from_bytes(name.to_bytes()));
                    name.is_none_or(|name| names.has(name))
                });
                matters |= is_meant;
            }
            Err(Errno::INTR) => {}
            Err(_) => return (matters, true),
        }
    }
    // The rest of the buffer is lost, so it may have mattered.
    (true, false)
}
