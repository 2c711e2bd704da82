//! A configuration that was read, with its sources and warnings.

use std::path::{Path, PathBuf};

use crate::config::identity::Snapshot;
use crate::config::model::Config;
use crate::config::problem::{Problem, Problems};

/// A configuration that loaded, with its warnings.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Warnings about allowed but most likely unintended settings; `check --strict` makes errors of them.
    pub warnings: Problems,
    /// Its sources as they were just before reading: every file (configuration, includes, secrets, CA files) and the
    /// globs of `include`. For files that an edit was about to write, the state is that before the edit.
    pub snapshot: Snapshot,
    /// The main file is a pipe, which cannot be read again.
    pub is_from_pipe: bool,
    /// The places of values that only this machine can check, by their names.
    pub(super) places: Vec<(String, Problem)>,
}

impl Loaded {
    /// Every file it was read from, as a [`Watcher`](crate::config::Watcher) watches them.
    #[must_use]
    pub fn files(&self) -> &[PathBuf] {
        &self.snapshot.sources().files
    }

    /// A problem with a value that is not an error of the file, at its place: of `name` from
    /// [`Listen::addresses`](crate::config::Listen::addresses), or of `store.path`. At the beginning of the file if it is left out there.
    #[must_use]
    pub fn problem(&self, file: &Path, name: &str, message: String) -> Problem {
        let place = self.places.iter().find(|(known, _)| known == name);
        match place {
            Some((_, place)) => Problem {
                message,
                ..place.clone()
            },
            None => Problem {
                file: file.to_path_buf(),
                line: 1,
                column: 1,
                path: name.split('[').next().unwrap_or(name).to_owned(),
                message,
                excerpt: None,
            },
        }
    }
}
