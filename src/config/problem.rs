//! The problems of a configuration, for people and programs.

use std::fmt;
use std::ops::{Deref, Range};
use std::path::PathBuf;

use crate::domain::with_commas;

/// One thing wrong in a file. Display is `file:line:column: path: message`, without `path: ` for the file as a whole.
/// Never holds a secret, nor more of the file than the offending key or scalar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// Such as `subscriptions.billing.url`; empty for the file as a whole.
    pub path: String,
    /// The problem and what would be right.
    pub message: String,
    /// The key, and the value if it is one simple word; `None` unless read by [`load_checked`](crate::config::load_checked),
    /// and where a secret might be shown.
    pub excerpt: Option<Excerpt>,
}

/// The part of a line that a problem is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excerpt {
    /// Its line, counted from 1: that of the key, where the problem is about all that the key has.
    pub line: usize,
    /// The key, the value or both, behind the indentation of their line.
    pub text: String,
    /// The bytes of the text that are meant.
    pub marked: Range<usize>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            line,
            column,
            path,
            message,
            ..
        } = self;
        write!(f, "{}:{line}:{column}: ", file.display())?;
        if !path.is_empty() {
            write!(f, "{path}: ")?;
        }
        f.write_str(message)
    }
}

/// The most problems of one kind that are kept and shown.
pub(super) const MAX_PROBLEMS: usize = 100;

/// Errors or warnings of a configuration: the first `MAX_PROBLEMS` by file and line, and the number of the rest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Problems {
    pub(super) list: Vec<Problem>,
    pub(super) more: usize,
}

impl Problems {
    /// Adds others, behind those that are listed.
    pub fn add(&mut self, others: Vec<Problem>) {
        self.list.extend(others);
        self.more += self.list.len().saturating_sub(MAX_PROBLEMS);
        self.list.truncate(MAX_PROBLEMS);
    }

    /// The number of problems, listed or not.
    #[must_use]
    pub fn total(&self) -> usize {
        self.list.len() + self.more
    }

    /// The number of problems that are not listed.
    #[must_use]
    pub fn more(&self) -> usize {
        self.more
    }

    /// A note that there are more: `and 19,900 more`.
    #[must_use]
    pub fn rest(&self) -> Option<String> {
        let more = u64::try_from(self.more).unwrap_or(u64::MAX);
        (more > 0).then(|| format!("and {} more", with_commas(more)))
    }
}

impl Deref for Problems {
    type Target = [Problem];

    fn deref(&self) -> &[Problem] {
        &self.list
    }
}

impl From<Vec<Problem>> for Problems {
    fn from(list: Vec<Problem>) -> Self {
        Self { list, more: 0 }
    }
}

/// The errors of a configuration. Display is one problem per line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(pub Problems);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        match self.0.rest() {
            Some(rest) => write!(f, "\n{rest}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_shown_one_per_line_with_their_place() {
        let problem = |path: &str| Problem {
            file: PathBuf::from("a.yaml"),
            line: 3,
            column: 7,
            path: path.to_owned(),
            message: "wrong".to_owned(),
            excerpt: None,
        };
        let error = ConfigError(vec![problem("log.level"), problem("")].into());
        assert_eq!(
            error.to_string(),
            "a.yaml:3:7: log.level: wrong\na.yaml:3:7: wrong"
        );
    }

    #[test]
    fn how_many_more_there_are_is_said() {
        let more = |more| {
            Problems {
                list: Vec::new(),
                more,
            }
            .rest()
        };
        assert_eq!(more(0), None);
        assert_eq!(more(1).unwrap(), "and 1 more");
        assert_eq!(more(1_234_567).unwrap(), "and 1,234,567 more");
    }
}
