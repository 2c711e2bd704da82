//! Edits of subscriptions that are edits of the file: only the lines concerned change.
//!
//! [`prepare()`] reads the files, puts the edit into the text, and validates the whole configuration with it; nothing is
//! written yet. [`Edited::commit`] writes. The caller makes sure that only one edit is under way at a time; edits by
//! other programs or people are noticed and never overwritten.

mod check;
mod commit;
mod flow;
mod json;
mod places;
mod plan;
mod prepare;
mod render;
mod secrets;
mod splice;
mod steps;
mod swap;
mod text;
mod want;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::config::loaded::Loaded;
use crate::config::problem::ConfigError;
use crate::domain::{Secret, SubscriptionName};

pub use prepare::prepare;

/// A change to a subscription's definition.
#[derive(Debug, Clone)]
pub struct Edit {
    /// The subscription.
    pub name: SubscriptionName,
    /// The change.
    pub change: Change,
}

/// A change of one subscription. Fields are those of the file, as JSON. `Debug` shows their names, as values may be secret.
#[derive(Clone)]
pub enum Change {
    /// Each field that is named is replaced whole, null removes it.
    Patch(Map<String, Value>),
    /// The definition is replaced; the secret stays unless it is named.
    Replace(Map<String, Value>),
    /// It is new.
    Create(Map<String, Value>),
    /// It goes.
    Delete,
    /// It gets this secret, and the one that it has signs along for `grace`.
    RotateSecret {
        /// The new one.
        secret: Secret,
        /// How long the old one signs along.
        grace: Duration,
    },
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, fields) = match self {
            Self::Patch(fields) => ("Patch", Some(fields)),
            Self::Replace(fields) => ("Replace", Some(fields)),
            Self::Create(fields) => ("Create", Some(fields)),
            Self::Delete => ("Delete", None),
            Self::RotateSecret { .. } => ("RotateSecret", None),
        };
        f.write_str(kind)?;
        match fields {
            Some(fields) => f.debug_set().entries(fields.keys()).finish(),
            None => Ok(()),
        }
    }
}

/// Why an edit is refused. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// The file does not contain it.
    #[error("no subscription has this name")]
    Unknown,
    /// The file already contains it.
    #[error("a subscription of this name exists")]
    Exists,
    /// It is `locked`.
    #[error("the subscription is locked: only the file can change it")]
    Locked,
    /// The file cannot be changed, or not in this way; carries the reason.
    #[error("{0}")]
    Refused(String),
    /// This process may not write a file; carries the file, the reason and advice.
    #[error("{0}")]
    NotWritable(String),
    /// The values are wrong: paths relative to the subscription, with messages.
    #[error("the definition is not valid")]
    Invalid(Vec<(String, String)>),
    /// The current files are wrong, regardless of the edit.
    #[error("the configuration on the disk is not valid: {0}")]
    Broken(ConfigError),
}

impl EditError {
    /// The problems of the subscription with their paths in it; others are of the files, regardless of the edit.
    pub(crate) fn of_problems(name: &SubscriptionName, error: ConfigError) -> Self {
        let prefix = format!("subscriptions.{name}");
        let own = |path: &str| {
            let rest = path.strip_prefix(&prefix)?;
            match rest.strip_prefix('.') {
                Some(rest) => Some(rest.to_owned()),
                None => rest.is_empty().then(String::new),
            }
        };
        let told: Vec<_> = error
            .0
            .iter()
            .filter_map(|problem| Some((own(&problem.path)?, problem.message.clone())))
            .collect();
        if told.is_empty() {
            Self::Broken(error)
        } else {
            Self::Invalid(told)
        }
    }

    /// With advice if the file cannot be written.
    fn advised(self, advice: &str) -> Self {
        match self {
            Self::NotWritable(why) if !advice.is_empty() => {
                Self::NotWritable(format!("{why}. {advice}"))
            }
            other => other,
        }
    }
}

/// An edit that is valid and not written yet.
#[derive(Debug)]
pub struct Edited {
    /// The configuration with it.
    pub loaded: Loaded,
    /// The file that changes.
    pub file: PathBuf,
    /// A secret that was made for a new subscription: to be shown this once.
    pub generated_secret: Option<Secret>,
    /// The files to write.
    write: commit::Write,
}
