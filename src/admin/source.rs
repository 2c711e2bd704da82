//! The configuration on the disk: read again on request, and compared with the configuration in force.
//!
//! Reading all of it takes seconds when there are thousands of subscriptions, so the result is remembered as long as
//! the files are the same.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::Instant;

use crate::admin::refusal::Refusal;
use crate::config::{
    Config, ConfigError, Diff, Environment, Loaded, Problem, Snapshot, at_next_start, load,
    read_once,
};

/// How long is remembered that the files are not what is in force: they may be it again, by a file that was not among them.
const DIFFERENCE_KEPT: Duration = Duration::from_secs(5);

/// Checks whether the owner of the relay would put a configuration in force: returns warnings, else errors. Blocks.
pub(super) type Judge = Arc<dyn Fn(&Loaded) -> Result<Vec<Problem>, ConfigError> + Send + Sync>;

/// Where the configuration is read from again. Cheap to clone.
#[derive(Clone)]
pub struct ConfigSource {
    path: PathBuf,
    environment: Environment,
    is_from_pipe: bool,
    judge: Judge,
    /// The configuration from which listeners and the store were set up.
    started_with: Arc<Config>,
    /// One reading at a time.
    turn: Arc<Semaphore>,
    known: Arc<Mutex<Comparison>>,
}

/// How the files compare with what is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum OnDisk {
    /// They are it.
    InForce,
    /// They differ.
    Differs,
    /// They are not valid; with the first error.
    Invalid(Option<String>),
    /// There is none: it was a pipe.
    Pipe,
}

/// The result of a comparison.
#[derive(Debug, Clone)]
struct Comparison {
    /// With which configuration in force.
    with: Weak<Config>,
    /// The files that were compared.
    files: Snapshot,
    on_disk: OnDisk,
    /// Until when it holds while the files are the same; None: until they are not.
    until: Option<Instant>,
}

impl Comparison {
    fn in_force(config: &Arc<Config>, files: Snapshot) -> Self {
        Self {
            with: Arc::downgrade(config),
            files,
            on_disk: OnDisk::InForce,
            until: None,
        }
    }

    /// Looks at every file.
    fn holds(&self, config: &Arc<Config>) -> bool {
        let is_same = std::ptr::eq(self.with.as_ptr(), Arc::as_ptr(config));
        is_same && self.until.is_none_or(|until| Instant::now() < until) && self.files.is_current()
    }
}

impl ConfigSource {
    /// The file, whether it was a pipe, and where secrets may come from beside files; `config` was read from `files` and is
    /// in force. `judge` judges what is read.
    #[must_use]
    pub fn new(
        (path, is_from_pipe): (PathBuf, bool),
        environment: Environment,
        config: &Arc<Config>,
        files: Snapshot,
        judge: Judge,
    ) -> Self {
        Self {
            judge,
            path,
            environment,
            is_from_pipe,
            started_with: Arc::clone(config),
            turn: Arc::new(Semaphore::new(1)),
            known: Arc::new(Mutex::new(Comparison::in_force(config, files))),
        }
    }

    /// Records that a configuration that was read from `files` is in force now.
    pub fn set_in_force(&self, config: &Arc<Config>, files: Snapshot) {
        *self.known() = Comparison::in_force(config, files);
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The keys of what is in force whose change takes effect at the next start.
    pub(super) fn awaiting_restart(&self, config: &Arc<Config>) -> Vec<&'static str> {
        if Arc::ptr_eq(config, &self.started_with) {
            return Vec::new();
        }
        at_next_start(&self.started_with, config)
    }

    /// Reads it as a reload does, on a thread that ends with it.
    pub(super) async fn read(&self) -> Result<Result<Loaded, ConfigError>, Refusal> {
        if self.is_from_pipe {
            return Ok(Err(read_once(&self.path)));
        }
        self.on_a_thread(Self::load).await
    }

    fn load(&self) -> Result<Loaded, ConfigError> {
        let mut loaded = load(&self.path, &self.environment)?;
        loaded.warnings.add((self.judge)(&loaded)?);
        Ok(loaded)
    }

    /// Compares it with what is in force, reading it only if need be, on a thread that ends with it; does something else
    /// there, too, that may block.
    pub(super) async fn compare<T: Send + 'static>(
        &self,
        config: Arc<Config>,
        also: impl FnOnce() -> T + Send + 'static,
    ) -> Result<(OnDisk, T), Refusal> {
        self.on_a_thread(move |source| (source.compared(&config), also()))
            .await
    }

    fn compared(&self, config: &Arc<Config>) -> OnDisk {
        if self.is_from_pipe {
            return OnDisk::Pipe;
        }
        // A copy: the runtime's thread may need to record what is in force while the files are looked at.
        let last = self.known().clone();
        if last.holds(config) {
            return last.on_disk;
        }
        // Before it is read: what changes meanwhile is seen the next time.
        let before = last.files.again();
        let (files, on_disk) = match self.load() {
            Ok(loaded) if Diff::between(config, &loaded.config).is_empty() => {
                (loaded.snapshot, OnDisk::InForce)
            }
            Ok(loaded) => (loaded.snapshot, OnDisk::Differs),
            Err(ConfigError(problems)) => {
                let first = problems.iter().next().map(ToString::to_string);
                (before, OnDisk::Invalid(first))
            }
        };
        let differs = on_disk != OnDisk::InForce;
        *self.known() = Comparison {
            with: Arc::downgrade(config),
            files,
            on_disk: on_disk.clone(),
            until: differs.then(|| Instant::now() + DIFFERENCE_KEPT),
        };
        on_disk
    }

    fn known(&self) -> MutexGuard<'_, Comparison> {
        self.known.lock()
    }

    /// Does something with it that may take long, one at a time.
    async fn on_a_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let turn = Arc::clone(&self.turn).acquire_owned().await;
        let turn = turn.map_err(|_| Refusal::stopping())?;
        let source = self.clone();
        let (done, result) = oneshot::channel();
        let run = move || {
            let result = work(&source);
            drop(turn);
            // The caller may have gone away.
            drop(done.send(result));
        };
        let thread = thread::Builder::new().name("read-config".to_owned());
        let unavailable = || {
            let detail = "the configuration cannot be read just now";
            Refusal::unavailable("overloaded", detail, 1)
        };
        thread.spawn(run).map_err(|error| {
            tracing::error!(%error, "no thread to read the configuration");
            unavailable()
        })?;
        result.await.map_err(|_| unavailable())
    }
}

impl fmt::Debug for ConfigSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("ConfigSource");
        shown.field("path", &self.path).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) {
        std::fs::write(path, format!("store: {{path: store}}\n{text}")).unwrap();
    }

    #[test]
    fn files_are_read_again_only_when_they_are_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yaml");
        write(&path, "subscriptions: {a: {active: false}}\n");
        let loaded = load(&path, &Environment::default()).unwrap();
        let files = loaded.snapshot;
        let config = Arc::new(loaded.config);
        let source = ConfigSource::new(
            (path.clone(), false),
            Environment::default(),
            &config,
            files,
            Arc::new(|_| Ok(Vec::new())),
        );
        assert_eq!(source.compared(&config), OnDisk::InForce);
        // The remembered state is wrong from here on, so that a reading is seen.
        source.known().on_disk = OnDisk::Differs;
        assert_eq!(source.compared(&config), OnDisk::Differs);
        write(&path, "subscriptions: {a: {active: false}} \n");
        assert_eq!(source.compared(&config), OnDisk::InForce);
        write(&path, "subscriptions: {b: {active: false}}\n");
        assert_eq!(source.compared(&config), OnDisk::Differs);
        write(&path, "subscriptions: {b: {active: what}}\n");
        assert!(matches!(source.compared(&config), OnDisk::Invalid(Some(_))));
        source.known().on_disk = OnDisk::Differs;
        assert_eq!(
            source.compared(&config),
            OnDisk::Differs,
            "it is remembered"
        );
        source.known().until = Some(Instant::now());
        assert!(matches!(source.compared(&config), OnDisk::Invalid(Some(_))));
        // A different configuration in force is compared again.
        write(&path, "subscriptions: {b: {active: false}}\n");
        let loaded = load(&path, &Environment::default()).unwrap();
        assert_eq!(source.compared(&config), OnDisk::Differs);
        assert_eq!(source.compared(&Arc::new(loaded.config)), OnDisk::InForce);
    }

    /// A file that changes while it is judged is read again.
    #[test]
    fn a_file_that_changes_while_it_is_judged_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yaml");
        write(&path, "subscriptions: {a: {active: false}}\n");
        let loaded = load(&path, &Environment::default()).unwrap();
        let (files, config) = (loaded.snapshot, Arc::new(loaded.config));
        let changed = path.clone();
        let source = ConfigSource::new(
            (path.clone(), false),
            Environment::default(),
            &config,
            files,
            Arc::new(move |_| {
                write(&changed, "subscriptions: {b: {active: false}}\n");
                Ok(Vec::new())
            }),
        );
        assert_eq!(source.compared(&config), OnDisk::InForce);
        write(&path, "subscriptions: {a: {active: false}} \n");
        assert_eq!(source.compared(&config), OnDisk::InForce);
        assert_eq!(source.compared(&config), OnDisk::Differs);
    }

    #[test]
    fn keys_that_wait_for_a_restart_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yaml");
        let loaded = |text: &str| {
            write(&path, text);
            load(&path, &Environment::default()).unwrap()
        };
        let first = loaded("subscriptions: {}\n");
        let files = first.snapshot;
        let started = Arc::new(first.config);
        let source = ConfigSource::new(
            (path.clone(), false),
            Environment::default(),
            &started,
            files,
            Arc::new(|_| Ok(Vec::new())),
        );
        assert!(source.awaiting_restart(&started).is_empty());
        let other =
            loaded("listen: {admin: '127.0.0.1:1'}\nlog: {level: debug}\nsubscriptions: {}\n");
        let keys = source.awaiting_restart(&Arc::new(other.config));
        assert_eq!(keys, ["listen", "log"]);
        let same = loaded("subscriptions: {a: {active: false}}\n");
        assert!(source.awaiting_restart(&Arc::new(same.config)).is_empty());
    }
}
