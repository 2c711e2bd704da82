//! Reports reasons why a start on this machine would fail: addresses in use, folders that cannot be used.
//!
//! The file alone is judged by `config`. Here the functions of bind, open and prepare check the machine; nothing is
//! made, locked or listened on. Resources of the running sidecar of the same store are no fault: it will have ended.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;

use crate::admin::Tokens;
use crate::app::{Addresses, AppError};
use crate::config::{Config, ConfigError, ListenAddress, Loaded, Problem, overlap, taken_by};
use crate::delivery;
use crate::http_server::{BindError, check_tcp, check_unix, resolve};
use crate::store::{self, FolderState};

/// The problems found, in the order of the file.
#[derive(Debug, Default)]
pub struct Preflight {
    /// A start would be refused.
    pub errors: Vec<Problem>,
    /// A start may be refused.
    pub warnings: Vec<Problem>,
}

/// Reports why a start on this machine would refuse the configuration in `file`. Blocks: the holder of an address is
/// asked, for a second at most.
#[must_use]
pub fn preflight(file: &Path, loaded: &Loaded) -> Preflight {
    let mut examination = Examination::new(file, loaded);
    // Another user may be allowed what this one is not.
    examination.is_lenient = !rustix::process::geteuid().is_root();
    // First: addresses of the process that has the store are no fault, also where it is too busy to identify itself.
    examination.store();
    for (name, address) in loaded.config.listen.addresses() {
        examination.address(&name, address);
    }
    examination.judge_holder();
    examination.deliveries();
    examination.finish()
}

/// Judges configurations for the running sidecar as a reload does: what is new since the start is looked at, the rest is held
/// by this process. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Judge {
    file: PathBuf,
    started_with: Arc<Config>,
    in_force: watch::Receiver<Arc<Config>>,
    /// Other machines may post events.
    is_open_for_events: bool,
    /// Other machines may reach the API.
    is_open_for_admin: bool,
}

impl Judge {
    /// Of a sidecar that was started with this configuration, and listens on these addresses.
    pub(super) fn new(
        file: &Path,
        started_with: &Arc<Config>,
        in_force: &watch::Receiver<Arc<Config>>,
        addresses: &Addresses,
    ) -> Self {
        Self {
            file: file.to_owned(),
            started_with: Arc::clone(started_with),
            in_force: in_force.clone(),
            is_open_for_events: addresses.open_for_events().is_some(),
            is_open_for_admin: addresses.open_for_admin().is_some(),
        }
    }

    /// The warnings of a configuration that can be put in force. Blocks, as [`preflight`].
    ///
    /// # Errors
    /// It cannot.
    pub(super) fn judge(&self, loaded: &Loaded) -> Result<Vec<Problem>, ConfigError> {
        let mut examination = Examination::new(&self.file, loaded);
        let (config, before) = (&loaded.config, &self.started_with.listen);
        examination.instance = store::instance(&self.started_with.store.path);
        examination.process = Some(std::process::id());
        let known = before.addresses();
        let is_known = |address| known.iter().any(|(_, known)| *known == address);
        for (name, address) in config.listen.addresses() {
            if !is_known(address) {
                examination.address(&name, address);
            }
        }
        if config.store.path != self.started_with.store.path {
            examination.store();
            examination.judge_holder();
        }
        self.open_listeners(&mut examination);
        examination.deliveries();
        let Preflight { errors, warnings } = examination.finish();
        if errors.is_empty() {
            Ok(warnings)
        } else {
            Err(ConfigError(errors.into()))
        }
    }

    /// The file was checked against the addresses in it; those that are listened on until a restart may be more open.
    fn open_listeners(&self, examination: &mut Examination<'_>) {
        let new = &examination.loaded.config;
        let in_force = self.in_force.borrow().clone();
        let before = &self.started_with.listen;
        let loses_tokens = new.ingest.tokens.is_empty() && !in_force.ingest.tokens.is_empty();
        let is_moved = new.listen.events != before.events;
        let for_events = loses_tokens && (is_moved || self.is_open_for_events);
        let loses_tokens = new.admin.tokens.is_empty() && !in_force.admin.tokens.is_empty();
        let is_moved = new.listen.admin != before.admin;
        let for_admin = loses_tokens && (is_moved || self.is_open_for_admin);
        for (is_needed, name, listener) in [
            (for_events, "ingest.tokens", "listen.events"),
            (for_admin, "admin.tokens", "listen.admin"),
        ] {
            if is_needed {
                let message =
                    format!("needed until a restart, because of what {listener} was at the start");
                examination.error(name, message);
            }
        }
    }
}

struct Examination<'a> {
    file: &'a Path,
    loaded: &'a Loaded,
    /// Of the store that is configured, if it is there.
    instance: Option<String>,
    /// The process that has the store open, whose listeners are no fault.
    process: Option<u32>,
    /// Missing permissions of this user are warnings, not errors.
    is_lenient: bool,
    /// The addresses that were looked at, with their names.
    resolved: Vec<(String, SocketAddr)>,
    /// One of them is listened on by the sidecar of this store.
    is_running: bool,
    found: Preflight,
}

impl<'a> Examination<'a> {
    fn new(file: &'a Path, loaded: &'a Loaded) -> Self {
        Self {
            file,
            loaded,
            instance: store::instance(&loaded.config.store.path),
            process: None,
            is_lenient: false,
            resolved: Vec::new(),
            is_running: false,
            found: Preflight::default(),
        }
    }

    fn error(&mut self, name: &str, message: String) {
        let problem = self.loaded.problem(self.file, name, message);
        self.found.errors.push(problem);
    }

    fn warning(&mut self, name: &str, message: String) {
        let problem = self.loaded.problem(self.file, name, message);
        self.found.warnings.push(problem);
    }

    fn deliveries(&mut self) {
        if let Err(error) = delivery::check(&self.loaded.config) {
            let name = format!("subscriptions.{}", error.subscription);
            self.error(&name, told(&error));
        }
    }

    fn address(&mut self, name: &str, address: &ListenAddress) {
        match address {
            ListenAddress::Tcp(written) => self.tcp(name, written),
            ListenAddress::Unix(path) => self.bound(name, check_unix(path)),
            // Only the unit has it.
            ListenAddress::Systemd(_) => {}
        }
    }

    fn tcp(&mut self, name: &str, written: &str) {
        let mut found = match resolve(written) {
            Ok(found) => found,
            Err(error) => return self.error(name, told(&error)),
        };
        let is_for_events = |name: &str| name.starts_with("listen.events");
        let merges = |other: &str| is_for_events(name) && is_for_events(other);
        let known = &self.resolved;
        found.retain(|at| {
            let is_listened_on = |(other, known): &(String, _)| merges(other) && known == at;
            !known.iter().any(is_listened_on)
        });
        let taken = known
            .iter()
            .find(|(_, known)| found.iter().any(|at| overlap(*known, *at)));
        if let Some((other, _)) = taken {
            return self.error(name, taken_by(other));
        }
        if let Some(refusal) = self.open(name, &found) {
            self.error(name, refusal.to_string());
        }
        self.resolved
            .extend(found.iter().map(|at| (name.to_owned(), *at)));
        if !found.is_empty() {
            self.bound(name, check_tcp(written, &found));
        }
    }

    /// Refuses an address that others reach without a token, which a name in the file does not show.
    fn open(&self, name: &str, found: &[SocketAddr]) -> Option<AppError> {
        let mut found = found.iter();
        let open = found.find(|at| !at.ip().to_canonical().is_loopback())?;
        let (config, shown) = (&self.loaded.config, open.to_string());
        match name {
            "listen.metrics" => None,
            "listen.admin" if config.admin.tokens.is_empty() => Some(AppError::OpenAdmin(shown)),
            "listen.admin" => None,
            _ if config.ingest.tokens.is_empty() => Some(AppError::OpenListener(shown)),
            _ => None,
        }
    }

    /// Judges what came of binding.
    fn bound(&mut self, name: &str, bound: Result<(), BindError>) {
        let instance = self.instance.as_deref();
        match bound {
            Ok(()) => {}
            Err(BindError::InUse { holder, .. })
                if instance.is_some_and(|instance| holder.is_instance(instance))
                    || self.process.is_some_and(|id| holder.is_process(id)) =>
            {
                self.is_running = true;
            }
            Err(error) => self.refused(name, &error),
        }
    }

    /// Records a reason against a start: as an error, or, where only this user lacks permission, as a warning.
    fn refused(&mut self, name: &str, error: &(dyn Error + 'static)) {
        if self.is_lenient && is_denied(error) {
            let message = format!(
                "{}: this user may not, the one of the start has to",
                told(error)
            );
            self.warning(name, message);
        } else {
            self.error(name, told(error));
        }
    }

    fn store(&mut self) {
        let config = &self.loaded.config;
        let (path, name) = (&config.store.path, "store.path");
        let shown = path.display();
        match store::examine(path) {
            Err(error) => self.refused(name, &error),
            // Root starts services as others: that is how it is meant.
            Ok(FolderState::OfUser(_)) if !self.is_lenient => {}
            Ok(FolderState::OfUser(user)) => {
                let message = format!(
                    "the store folder {shown} belongs to user {user}, who alone can start with it: check as that user"
                );
                self.warning(name, message);
            }
            Ok(state) => {
                if let FolderState::Held { process } = state {
                    self.process.get_or_insert(process);
                }
                if let Err(error) = Tokens::check(path, &config.admin.tokens) {
                    self.refused(name, &error);
                }
            }
        }
    }

    /// Warns of a process that has the store open and listens elsewhere.
    fn judge_holder(&mut self) {
        let Some(process) = self.process.filter(|_| !self.is_running) else {
            return;
        };
        let shown = self.loaded.config.store.path.display();
        let message = format!(
            "the store folder {shown} is in use by process {process}, which has to end before a start"
        );
        self.warning("store.path", message);
    }

    fn finish(mut self) -> Preflight {
        for list in [&mut self.found.errors, &mut self.found.warnings] {
            list.sort_by_key(|problem| (problem.line, problem.column));
        }
        self.found
    }
}

/// Whether it is caused by what this user may not do.
fn is_denied(error: &(dyn Error + 'static)) -> bool {
    let own = error.downcast_ref::<io::Error>();
    own.is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
        || error.source().is_some_and(is_denied)
}

/// An error with what caused it, in one line.
fn told(error: &dyn Error) -> String {
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        told.push_str(": ");
        told.push_str(&error.to_string());
        cause = error.source();
    }
    told
}
