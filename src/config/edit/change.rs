//! The types of an edit.

use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::domain::{Secret, SubscriptionName};

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
