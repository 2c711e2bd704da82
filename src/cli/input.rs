//! The input of commands: files and standard input, within a bound, and secrets from wherever they are.

use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, ensure};

use crate::config::Environment;
use crate::domain::{Secret, conceal};

/// The most that is read of a body, headers or a secret.
const INPUT_MAX_BYTES: u64 = 64 * 1024 * 1024;

/// Where secrets come from; any one that signed will do.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct SecretSources {
    /// Environment variable that holds the secret; can be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) secret_env: Vec<String>,

    /// File that holds the secret, one newline at its end not counted; can be repeated
    #[arg(long, value_name = "FILE")]
    pub(crate) secret_file: Vec<PathBuf>,

    /// The secret itself, which other users of the machine can see; can be repeated
    #[arg(long, value_name = "SECRET", value_parser = literal_secret)]
    pub(crate) secret: Vec<Secret>,
}

impl SecretSources {
    /// Warns of a secret among the arguments.
    ///
    /// # Errors
    /// `err` takes no text.
    pub(crate) fn warn(&self, err: &mut dyn Write) -> io::Result<()> {
        if self.secret.is_empty() {
            return Ok(());
        }
        let keepers = "--secret-env and --secret-file keep it";
        writeln!(
            err,
            "warning: other users can see a secret on the command line; {keepers}"
        )
    }

    /// Reads all of them.
    ///
    /// # Errors
    /// A variable is not set, or a file cannot be read.
    pub(crate) fn read(&self, environment: &Environment) -> anyhow::Result<Vec<Secret>> {
        let mut secrets = self.secret.clone();
        for name in &self.secret_env {
            let value = environment
                .variables
                .get(name)
                .ok_or_else(|| anyhow!("the environment has no variable {}", conceal(name)))?;
            secrets.push(Secret::new(value.as_bytes().to_vec()));
        }
        for path in &self.secret_file {
            let mut bytes = read_file(path)?;
            if bytes.ends_with(b"\n") {
                bytes.pop();
                if bytes.ends_with(b"\r") {
                    bytes.pop();
                }
            }
            secrets.push(Secret::new(bytes));
        }
        Ok(secrets)
    }
}

fn literal_secret(text: &str) -> Result<Secret, Infallible> {
    Ok(Secret::new(text.as_bytes().to_vec()))
}

/// Reads a whole file.
///
/// # Errors
/// It cannot be read, or is longer than 64 MiB.
pub(crate) fn read_file(path: &Path) -> anyhow::Result<Vec<u8>> {
    let read = || read_bounded(&mut File::open(path)?);
    read().with_context(|| conceal(&path.display().to_string()).into_owned())
}

/// Reads a stream to its end.
///
/// # Errors
/// It cannot be read, or is longer than 64 MiB.
pub(crate) fn read_bounded(source: &mut dyn Read) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(INPUT_MAX_BYTES + 1).read_to_end(&mut bytes)?;
    let length = u64::try_from(bytes.len())?;
    ensure!(length <= INPUT_MAX_BYTES, "expected at most 64 MiB");
    Ok(bytes)
}
