//! Watches the files of a configuration and reports when one of them changed, after a while of quiet.
//!
//! Signals of the system start a check. Folders are watched, as editors and Kubernetes replace a file by renaming or by
//! swapping a symbolic link: all folders on the way through links, and of a folder that is missing the nearest one above
//! it. In each only some names matter: changes of other files neither start a check nor extend the time of quiet.
//! The files themselves are watched too, as their folder does not report writes through another mount.
//!
//! Not everything is signalled (network file systems, folders above that are renamed, limits of the system), so that
//! everything is checked every 5 s as well. A separate thread decides whether something changed by comparing
//! the states of the files.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::config::identity::{Occasion, Snapshot, Sources, State, States};
use crate::config::loaded::Loaded;
use crate::config::signals::{Open, Signals, WatchHealth, inotify};
use crate::config::survey::Survey;

/// How long nothing may happen before a change is reported: writers often take several steps.
const QUIET: Duration = Duration::from_millis(500);

/// How long after the first step a change is reported although steps go on.
const LONGEST: Duration = Duration::from_secs(5);

/// How long after one look the next one begins although no signal came.
const ROUTINE: Duration = Duration::from_secs(5);

/// Looks without a signal between two attempts to watch what could not be watched: a minute.
const RETRY: u32 = 12;

/// Watches configuration files.
#[derive(Debug)]
pub struct Watcher {
    signals: Signals,
    looker: Looker,
    /// A signal came and the time of quiet is not over.
    stirred: Option<Stirred>,
    /// When files are looked at without a signal, and how long after one look the next one is.
    routine: Instant,
    every: Duration,
    /// The result of a check without a signal, and when it was found first: reported once the next check finds the
    /// same, as a writer may be at work.
    suspect: Option<(States, Instant)>,
    /// Looks without a signal since the last attempt to watch what could not be watched.
    since_retry: u32,
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

#[derive(Debug, Clone, Default)]
struct Seen {
    sources: Arc<Sources>,
    states: States,
}

impl Looker {
    /// Checks the files that are about to be read again: only later changes are reported.
    pub fn look(&self) {
        let Seen { sources, states } = self.seen();
        let states = sources.look(&states, Occasion::Signal);
        self.lock().states = states;
    }

    /// Checks the files that a configuration was read from, to be watched from now on. Later changes are measured
    /// against their state when they were read, and for those that are watched already, at the last check.
    #[must_use]
    pub fn survey(&self, loaded: &Loaded) -> Survey {
        self.survey_of(&loaded.snapshot)
    }

    fn survey_of(&self, read: &Snapshot) -> Survey {
        let seen = self.seen();
        let known: HashMap<&Path, &State> = seen.known().collect();
        let mut survey = Survey::since(read);
        let sources = Arc::clone(&survey.sources);
        for (path, state) in sources.paths().zip(survey.states.iter_mut()) {
            if let Some(before) = known.get(path.as_path()) {
                *state = **before;
            }
        }
        survey
    }

    fn seen(&self) -> Seen {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock()
    }
}

impl Seen {
    fn known(&self) -> impl Iterator<Item = (&Path, &State)> {
        let paths = self.sources.paths().map(AsRef::as_ref);
        paths.zip(self.states.iter())
    }
}

impl Watcher {
    /// Watches the files that a configuration was read from. Files that do not exist yet are waited for. Those that the
    /// system does not watch are checked every 5 s, which is logged.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O.
    #[must_use]
    pub fn new(loaded: &Loaded) -> Self {
        Self::of(&loaded.snapshot, inotify)
    }

    fn of(read: &Snapshot, open: Open) -> Self {
        let mut watcher = Self {
            signals: Signals::new(open),
            looker: Looker::default(),
            stirred: None,
            routine: Instant::now() + ROUTINE,
            every: ROUTINE,
            suspect: None,
            since_retry: 0,
            survey: None,
        };
        watcher.watch(Survey::since(read));
        watcher
    }

    /// Watches the files of a [`Looker::survey`] from now on, instead of those before.
    pub fn watch(&mut self, survey: Survey) {
        self.survey = None;
        *self.looker.lock() = Seen {
            sources: Arc::clone(&survey.sources),
            states: survey.states.clone(),
        };
        self.follow(survey);
        // Something may have changed before it was watched.
        self.stir();
    }

    /// A handle for checking the files, for another thread.
    #[must_use]
    pub fn looker(&self) -> Looker {
        self.looker.clone()
    }

    /// Whether changes are noticed late.
    #[must_use]
    pub fn health(&self) -> WatchHealth {
        self.signals.health().clone()
    }

    /// Waits until a file changed and nothing more happened for 500 ms, or changes went on for 5 s.
    ///
    /// # Cancel safety
    /// Cancel safe: a change that was noticed is reported by the next call.
    pub async fn changed(&mut self) {
        loop {
            let survey = match &mut self.survey {
                Some(survey) => survey,
                None => {
                    let occasion = self.quiet().await;
                    self.stirred = None;
                    let survey = self.begin_survey(occasion);
                    self.survey.insert(survey)
                }
            };
            let survey = survey.await;
            self.survey = None;
            self.routine = Instant::now() + self.every;
            if survey.is_ok_and(|survey| self.is_another(survey)) {
                return;
            }
        }
    }

    /// Waits until the time of quiet after a signal is over, or it is time to look without one.
    async fn quiet(&mut self) -> Occasion {
        loop {
            let (until, occasion) = match self.stirred {
                None => (self.routine, Occasion::Routine),
                Some(Stirred { first, last }) => {
                    ((last + QUIET).min(first + LONGEST), Occasion::Signal)
                }
            };
            if timeout_at(until, self.signals.next()).await.is_err() {
                return occasion;
            }
            self.stir();
        }
    }

    fn stir(&mut self) {
        let last = Instant::now();
        let first = self.stirred.map_or(last, |stirred| stirred.first);
        self.stirred = Some(Stirred { first, last });
    }

    /// Looks at everything, on a thread that ends with it.
    fn begin_survey(&mut self, occasion: Occasion) -> oneshot::Receiver<Survey> {
        let (done, survey) = oneshot::channel();
        let looker = self.looker();
        let retries = self.is_time_to_retry();
        let look = move || {
            let Seen { sources, states } = looker.seen();
            drop(done.send(match occasion {
                Occasion::Signal => Survey::of(sources, &states, occasion),
                Occasion::Routine => Survey::routine(sources, &states, retries),
            }));
        };
        let thread = std::thread::Builder::new().name("watch-config".to_owned());
        if let Err(error) = thread.spawn(look) {
            tracing::error!(%error, "no thread to look at the configuration");
        }
        survey
    }

    /// Counts looks while something cannot be watched.
    fn is_time_to_retry(&mut self) -> bool {
        self.since_retry = match self.signals.health().trouble() {
            Some(_) if self.since_retry < RETRY => self.since_retry + 1,
            Some(_) | None => 0,
        };
        self.since_retry == RETRY
    }

    /// Whether a file is another than before, and is not being written.
    fn is_another(&mut self, survey: Survey) -> bool {
        let is_another = survey
            .states
            .differ(&self.looker.lock().states, survey.occasion);
        let suspect = self.suspect.take();
        if is_another && survey.occasion == Occasion::Routine {
            let now = Instant::now();
            let is_known = |(states, since): &(States, Instant)| {
                *states == survey.states || now.duration_since(*since) >= LONGEST
            };
            if !suspect.as_ref().is_some_and(is_known) {
                let since = suspect.map_or(now, |(_, since)| since);
                self.suspect = Some((survey.states, since));
                self.routine = now + QUIET;
                return false;
            }
        }
        self.looker.lock().states = survey.states.clone();
        // Files may lie elsewhere now, where something may have changed before it was watched.
        if self.follow(survey) {
            self.stir();
        }
        is_another
    }

    /// Watches the places of a survey, if they may have changed; returns whether one of them is new.
    fn follow(&mut self, survey: Survey) -> bool {
        let Survey {
            sources, places, ..
        } = survey;
        places.is_some_and(|places| self.signals.follow(places, &sources.files))
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
