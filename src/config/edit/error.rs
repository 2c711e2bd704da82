//! Why an edit is refused.

use std::io;
use std::path::Path;

use crate::config::problem::ConfigError;
use crate::domain::SubscriptionName;

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
        let problems: Vec<_> = error
            .0
            .iter()
            .filter_map(|problem| Some((own(&problem.path)?, problem.message.clone())))
            .collect();
        if problems.is_empty() {
            Self::Broken(error)
        } else {
            Self::Invalid(problems)
        }
    }

    /// With advice if the file cannot be written.
    pub(super) fn advised(self, advice: &str) -> Self {
        match self {
            Self::NotWritable(why) if !advice.is_empty() => {
                Self::NotWritable(format!("{why}. {advice}"))
            }
            other => other,
        }
    }
}

/// Why a file is not written.
pub(super) fn refused(path: &Path, error: &io::Error) -> EditError {
    let path = path.display();
    let reason = match error.kind() {
        // Our own message.
        _ if error.get_ref().is_some() => error.to_string(),
        io::ErrorKind::ReadOnlyFilesystem => "it is read-only for the relay".to_owned(),
        io::ErrorKind::PermissionDenied => "the relay may not write there".to_owned(),
        io::ErrorKind::ResourceBusy => {
            "it is in use, such as a bind mount of the file alone".to_owned()
        }
        io::ErrorKind::CrossesDevices => "it is a mount of its own".to_owned(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "there is no room for it".to_owned()
        }
        _ => error.to_string(),
    };
    let message = format!("{path} cannot be written: {reason}");
    match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem
        | io::ErrorKind::PermissionDenied
        | io::ErrorKind::ResourceBusy
        | io::ErrorKind::CrossesDevices => EditError::NotWritable(message),
        _ => EditError::Refused(message),
    }
}
