//! Watches the files of a configuration and says when one of them changed, after a while of quiet.
//!
//! Folders are watched and not files, as editors and Kubernetes replace a file by renaming or by swapping a symbolic
//! link; all folders on the way through links are watched. In each only some names matter: what happens to other files
//! wakes nobody and does not make the time of quiet longer. Whether something changed is decided by comparing what the
//! files are (inode, size, times), on a thread of its own.
//!
//! Signals of the system are read at a pace, and the kernel holds a bounded number of them: a storm costs neither memory
//! nor time. Where it drops some, it says so, and everything is looked at.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::config::load::Loaded;
use crate::config::survey::{Names, Sources, States, Survey, states};

/// How long nothing may happen before a change is told: writers often take several steps.
const QUIET: Duration = Duration::from_millis(500);

/// How long after the first step a change is told although steps go on.
const LONGEST: Duration = Duration::from_secs(5);

/// How long signals are left to the kernel, which joins those that are the same, after some were read.
const PACE: Duration = Duration::from_millis(50);

/// The most signals that are read at a time; the kernel keeps 16,384 by default.
const MAX_SIGNALS: usize = 20_000;

/// What may make another file of one. Reading, as a reload does, is no change.
const CHANGES: WatchFlags = WatchFlags::CLOSE_WRITE
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::CREATE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR);

/// Watches configuration files.
#[derive(Debug)]
pub struct Watcher {
    signals: AsyncFd<OwnedFd>,
    /// By the number of a watched folder.
    names: HashMap<i32, Names>,
    looker: Looker,
    /// A signal came and the time of quiet is not over.
    stirred: Option<Stirred>,
    /// No signal is read before.
    rests_until: Instant,
    /// The files are being looked at.
    survey: Option<oneshot::Receiver<Survey>>,
}

#[derive(Debug, Clone, Copy)]
struct Stirred {
    first: Instant,
    last: Instant,
}

/// Looks at the files for a [`Watcher`], from another thread.
#[derive(Debug, Clone, Default)]
pub struct Looker(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    sources: Sources,
    states: States,
}

impl Looker {
    /// Looks at the files: what they are now is about to be read, and only what changes from now on is told.
    pub fn look(&self) {
        let sources = self.lock().sources.clone();
        let states = states(&sources);
        self.lock().states = states;
    }

    /// Looks at what a configuration was read from, to be watched from now on.
    #[must_use]
    pub fn survey(&self, loaded: &Loaded) -> Survey {
        Survey::of(sources(loaded))
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watcher {
    /// Watches what a configuration was read from. Files that do not exist yet are watched for.
    ///
    /// # Errors
    /// The system gives none. A folder that cannot be watched alone is passed over.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O.
    pub fn new(loaded: &Loaded) -> Result<Self, io::Error> {
        Self::of(sources(loaded))
    }

    fn of(sources: Sources) -> Result<Self, io::Error> {
        let signals = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let mut watcher = Self {
            signals: registered(signals)?,
            names: HashMap::new(),
            looker: Looker::default(),
            stirred: None,
            rests_until: Instant::now(),
            survey: None,
        };
        let places = Survey::of(sources.clone()).places;
        let is_any_wanted = !places.is_empty();
        watcher.follow(places);
        if is_any_wanted && watcher.names.is_empty() {
            return Err(io::Error::other("no folder can be watched"));
        }
        // Watched first and looked at then, nothing is missed in between.
        let states = states(&sources);
        *watcher.looker.lock() = Seen { sources, states };
        Ok(watcher)
    }

    /// Watches these from now on, instead of those before. What later changes are measured by is what they are in it, and
    /// for those that were watched before, what they were when they were looked at last.
    pub fn watch(&mut self, survey: Survey) {
        let Survey {
            sources,
            places,
            mut states,
        } = survey;
        self.survey = None;
        {
            let mut seen = self.looker.lock();
            for (path, state) in &mut states {
                if let Some(before) = seen.states.get(path) {
                    *state = *before;
                }
            }
            *seen = Seen { sources, states };
        }
        // Something may have changed before the folders were watched.
        self.follow(places);
        self.stir();
    }

    /// What looks at the files, for another thread.
    #[must_use]
    pub fn looker(&self) -> Looker {
        self.looker.clone()
    }

    /// Waits until a file changed and nothing more happened for 500 ms, or 5 s long something did.
    ///
    /// # Cancel safety
    /// Cancel safe: a change that was noticed is told by the next call.
    pub async fn changed(&mut self) {
        loop {
            let survey = match &mut self.survey {
                Some(survey) => survey,
                None => {
                    self.quiet().await;
                    self.stirred = None;
                    self.survey.insert(self.begin_survey())
                }
            };
            let survey = survey.await;
            self.survey = None;
            if survey.is_ok_and(|survey| self.is_another(survey)) {
                return;
            }
        }
    }

    /// Waits until the time of quiet after a signal is over.
    async fn quiet(&mut self) {
        loop {
            match self.stirred {
                None => self.signal().await,
                Some(Stirred { first, last }) => {
                    let until = (last + QUIET).min(first + LONGEST);
                    if timeout_at(until, self.signal()).await.is_err() {
                        return;
                    }
                }
            }
            self.stir();
        }
    }

    fn stir(&mut self) {
        let last = Instant::now();
        let first = self.stirred.map_or(last, |stirred| stirred.first);
        self.stirred = Some(Stirred { first, last });
    }

    /// Waits for a signal of a name that matters.
    async fn signal(&mut self) {
        loop {
            sleep_until(self.rests_until).await;
            let Ok(mut ready) = self.signals.readable().await else {
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

    /// Looks at everything, on a thread that ends with it.
    fn begin_survey(&self) -> oneshot::Receiver<Survey> {
        let (done, survey) = oneshot::channel();
        let sources = self.looker.lock().sources.clone();
        let look = move || drop(done.send(Survey::of(sources)));
        let thread = std::thread::Builder::new().name("watch-config".to_owned());
        if let Err(error) = thread.spawn(look) {
            tracing::error!(%error, "no thread to look at the configuration");
        }
        survey
    }

    /// Whether a file is another than before.
    fn is_another(&mut self, survey: Survey) -> bool {
        // Links may lead elsewhere now, where something may have changed before it was watched.
        if self.follow(survey.places) {
            self.stir();
        }
        let mut seen = self.looker.lock();
        let is_another = seen.states != survey.states;
        seen.states = survey.states;
        is_another
    }

    /// Watches these folders and no others; says whether one of them is new.
    fn follow(&mut self, places: HashMap<PathBuf, Names>) -> bool {
        let before = std::mem::take(&mut self.names);
        for (folder, names) in places {
            // All again, also those watched before: a folder may have been removed and made anew.
            if let Ok(number) = inotify::add_watch(&self.signals, &folder, CHANGES) {
                // Two paths may be the same folder.
                self.names.entry(number).or_default().join(names);
            }
        }
        for gone in before.keys().filter(|it| !self.names.contains_key(it)) {
            // One that was removed is watched no more already.
            inotify::remove_watch(&self.signals, *gone).unwrap_or_default();
        }
        self.names.keys().any(|number| !before.contains_key(number))
    }
}

#[expect(
    deprecated,
    reason = "what replaces it is unsafe for types that may change their descriptor, which this one does not"
)]
fn registered(signals: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(signals, Interest::READABLE)
}

fn sources(loaded: &Loaded) -> Sources {
    Sources {
        files: loaded.files.clone(),
        globs: loaded.globs.clone(),
    }
}

/// Reads the signals that there are: whether one matters, and whether there are no more.
fn read(signals: &OwnedFd, names: &HashMap<i32, Names>) -> (bool, bool) {
    let mut buffer = [MaybeUninit::uninit(); 16 * 1024];
    let mut reader = Reader::new(signals, &mut buffer);
    let mut matters = false;
    for _ in 0..MAX_SIGNALS {
        match reader.next() {
            Ok(event) if event.events().contains(ReadFlags::QUEUE_OVERFLOW) => matters = true,
            Ok(event) => {
                // Of a folder itself, unless it is one that is not watched any more.
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
    // What is left in the buffer is lost, so that it may have mattered.
    (true, false)
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
