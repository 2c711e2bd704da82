//! Edits of subscriptions that are edits of the file.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json};
use sidehook::config::{Change, Edit, EditError, Edited, Environment, Loaded, load, prepare};
use sidehook::domain::Timestamp;

mod answers;
mod json;
mod random;
mod secrets;
mod writing;

/// 2026-11-24T20:00:00Z.
const NOW: Timestamp = Timestamp::from_millis(1_795_550_400_000);

const SECRET: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// The environment for a configuration; its store is beside it.
fn environment(config: &Path) -> Environment {
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let state = config.parent().unwrap().join("state");
    let variables = [
        ("SECRET", SECRET),
        ("OLD", "whsec_IIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIII="),
        ("URL", "https://partner.example.com/capability"),
        ("STATE_DIRECTORY", state.to_str().unwrap()),
    ];
    Environment {
        variables: variables.into_iter().map(owned).collect(),
    }
}

/// A configuration in a folder of its own, with its secrets in the folder beside it.
struct Place {
    folder: tempfile::TempDir,
    path: PathBuf,
}

impl Place {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yaml");
        std::fs::write(&path, text).unwrap();
        Self { folder, path }
    }

    /// With `admin.secrets_dir` beside the file.
    fn with_secrets(subscriptions: &str) -> Self {
        Self::new(&format!(
            "admin: {{secrets_dir: secrets}}\nsubscriptions:\n{subscriptions}"
        ))
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.path).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn prepare(&self, name: &str, change: Change) -> Result<Edited, EditError> {
        prepared(&self.path, name, change)
    }

    fn edit(&self, name: &str, change: Change) -> Result<Loaded, EditError> {
        self.prepare(name, change)?.commit()
    }

    fn load(&self) -> Loaded {
        load(&self.path, &environment(&self.path)).unwrap()
    }

    /// The names of all files below, but for the configuration.
    fn others(&self) -> Vec<String> {
        let mut names = Vec::new();
        for folder in [self.folder.path().to_path_buf(), self.path("secrets")] {
            let entries = std::fs::read_dir(folder).into_iter().flatten();
            let files = entries.map(|entry| entry.unwrap().path());
            let names_here = files.filter(|path| path.is_file() && *path != self.path);
            names.extend(names_here.map(|path| file_name(&path)));
        }
        names.sort();
        names
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

fn prepared(path: &Path, name: &str, change: Change) -> Result<Edited, EditError> {
    let name = name.parse().unwrap();
    prepare(path, &environment(path), &Edit { name, change }, NOW)
}

fn fields(json: Json) -> Map<String, Json> {
    match json {
        Json::Object(fields) => fields,
        other => panic!("no object: {other}"),
    }
}

fn patch(json: Json) -> Change {
    Change::Patch(fields(json))
}

/// The problems of an edit, as the API tells them.
#[track_caller]
fn problems(result: Result<Edited, EditError>) -> Vec<String> {
    match result {
        Err(EditError::Invalid(problems)) => problems
            .into_iter()
            .map(|(path, message)| format!("{path}: {message}"))
            .collect(),
        other => panic!("expected invalid values, found {other:?}"),
    }
}

/// Why an edit is refused.
#[track_caller]
fn refusal<T: std::fmt::Debug>(result: Result<T, EditError>) -> String {
    match result {
        Err(EditError::Refused(reason) | EditError::NotWritable(reason)) => reason,
        other => panic!("expected a refusal, found {other:?}"),
    }
}
