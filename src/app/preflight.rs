//! What a start would refuse of this machine, told before it: addresses that are taken, folders that cannot be used.
//!
//! The file alone is judged by `config`. Here the same functions say so that bind, open and prepare at a start; nothing is
//! made, locked or listened on. What the running sidecar of the same store holds is no fault: it will have ended by then.

use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;

use crate::admin::Tokens;
use crate::app::AppError;
use crate::config::{Config, ListenAddress, Loaded, Problem, overlap, taken_by};
use crate::delivery;
use crate::http_server::{BindError, check_tcp, check_unix, resolve};
use crate::store::{self, FolderState};

/// What was found, in the order of the file.
#[derive(Debug, Default)]
pub struct Preflight {
    /// A start would be refused.
    pub errors: Vec<Problem>,
    /// A start may be refused.
    pub warnings: Vec<Problem>,
}

/// Says what a start on this machine would refuse of the configuration in `file`. Blocks: who holds an address is asked,
/// for a second at most.
#[must_use]
pub fn preflight(file: &Path, loaded: &Loaded) -> Preflight {
    let mut examination = Examination::new(file, loaded);
    for (name, address) in loaded.config.listen.addresses() {
        examination.address(&name, address);
    }
    examination.store();
    if let Err(error) = delivery::check(&loaded.config) {
        examination.error("subscriptions", told(&error));
    }
    examination.finish()
}

/// The same of what is new since the start: the rest is held by this process.
pub(super) fn of_changes(file: &Path, loaded: &Loaded, started_with: &Config) -> Vec<Problem> {
    let mut examination = Examination::new(file, loaded);
    let (config, before) = (&loaded.config, &started_with.listen);
    examination.instance = store::instance(&started_with.store.path);
    let known = before.addresses();
    let is_known = |address| known.iter().any(|(_, known)| *known == address);
    for (name, address) in config.listen.addresses() {
        if !is_known(address) {
            examination.address(&name, address);
        }
    }
    if config.store.path != started_with.store.path {
        examination.store();
    }
    examination.finish().errors
}

struct Examination<'a> {
    file: &'a Path,
    loaded: &'a Loaded,
    /// Of the store that is configured, if it is there.
    instance: Option<String>,
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

    /// Refuses an address that others reach without a token, which a name in the file does not tell.
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
                if instance.is_some_and(|instance| holder.is_instance(instance)) =>
            {
                self.is_running = true;
            }
            Err(error) => self.error(name, told(&error)),
        }
    }

    fn store(&mut self) {
        let config = &self.loaded.config;
        let (path, name) = (&config.store.path, "store.path");
        let shown = path.display();
        match store::examine(path) {
            Err(error) => self.error(name, told(&error)),
            Ok(FolderState::OfUser(user)) => {
                let message = format!(
                    "the store folder {shown} belongs to user {user}, who alone can start with it: check as that user"
                );
                self.warning(name, message);
            }
            Ok(FolderState::Held { process }) if !self.is_running => {
                let message = format!(
                    "the store folder {shown} is in use by process {process}, which has to end before a start"
                );
                self.warning(name, message);
            }
            Ok(FolderState::Held { .. } | FolderState::Free) => {
                if let Err(error) = Tokens::check(path, &config.admin.tokens) {
                    self.error(name, told(&error));
                }
            }
        }
    }

    fn finish(mut self) -> Preflight {
        for list in [&mut self.found.errors, &mut self.found.warnings] {
            list.sort_by_key(|problem| (problem.line, problem.column));
        }
        self.found
    }
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
