//! A configuration that was read, with what it was read from and what is questionable about it.

use std::path::{Path, PathBuf};

use crate::config::identity::Snapshot;
use crate::config::model::Config;
use crate::config::problem::{Problem, Problems};

/// A configuration that loaded, with what is to be said about it.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What is allowed and most likely not meant; `check --strict` makes errors of it.
    pub warnings: Problems,
    /// What it was read from, as it was just before: every file (configuration, includes, secrets, CA files) and the globs
    /// of `include`. What an edit was about to write is as it was before that.
    pub snapshot: Snapshot,
    /// The main file is a pipe, which cannot be read again.
    pub is_from_pipe: bool,
    /// Where the values stand that only this machine can judge, by their names.
    pub(super) places: Vec<(String, Problem)>,
}

impl Loaded {
    /// Every file it was read from, as a [`Watcher`](crate::config::Watcher) watches them.
    #[must_use]
    pub fn files(&self) -> &[PathBuf] {
        &self.snapshot.sources().files
    }

    /// A problem with a value that the file cannot be blamed for, at its place: of what `name` says in
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
