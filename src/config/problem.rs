//! What is wrong in a configuration, as people and programs see it.

use std::fmt;
use std::path::PathBuf;

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
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            line,
            column,
            path,
            message,
        } = self;
        write!(f, "{}:{line}:{column}: ", file.display())?;
        if !path.is_empty() {
            write!(f, "{path}: ")?;
        }
        f.write_str(message)
    }
}

/// All the errors of a configuration, in the order of its files and lines. Display is one problem per line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(pub Vec<Problem>);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
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
        };
        let error = ConfigError(vec![problem("log.level"), problem("")]);
        assert_eq!(
            error.to_string(),
            "a.yaml:3:7: log.level: wrong\na.yaml:3:7: wrong"
        );
    }
}
