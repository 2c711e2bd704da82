//! A relay in this process, in a temporary folder that goes with it: for `demo` and `dev`.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;

use anyhow::{Context, bail};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::app::{self, Options, Running, RuntimeFolder};
use crate::cli::runtime::{HangUp, Signals};
use crate::config::{self, Environment};
use crate::domain::SystemClock;
use crate::systemd::Notifier;

/// A folder that only this user may enter; removed with everything in it when dropped.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// Makes one with a name that cannot be guessed, in the system's folder for temporary files.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let random = getrandom::u64().context("no randomness")?;
        let path = std::env::temp_dir().join(format!("sidehook-{random:016x}"));
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("cannot make the folder {}", path.display()))?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The configuration of the relay in it.
    pub(crate) fn config(&self) -> PathBuf {
        self.0.join("config.yaml")
    }

    /// Starts a relay in it.
    ///
    /// # Errors
    /// The configuration is wrong, or the relay does not start.
    pub(crate) async fn start(&self, configuration: &str) -> anyhow::Result<Running> {
        let config_path = self.config();
        std::fs::write(&config_path, configuration)?;
        let environment = Environment::default();
        let loaded = config::load(&config_path, &environment)?;
        let options = Options {
            config_path,
            is_from_pipe: false,
            environment,
            clock: Arc::new(SystemClock::new()),
            watch: true,
            sockets: None,
            notifier: Notifier::default(),
            runtime_folder: RuntimeFolder::of(&Environment::of_process()),
        };
        app::start(loaded, options)
            .await
            .context("the relay did not start")
    }
}

/// The signals that end it. There is nothing to read again: a hang-up ends it, whichever process sent the signal.
///
/// # Errors
/// The system refuses.
///
/// # Panics
/// Outside a tokio runtime with I/O.
pub(crate) fn signals() -> io::Result<Signals> {
    Signals::new(match HangUp::of_process(&Environment::of_process()) {
        HangUp::Reloads | HangUp::Stops => HangUp::Stops,
        HangUp::Ignored => HangUp::Ignored,
    })
}

/// Runs `work` beside a relay until it returns or a signal comes, then stops the relay in order; a second signal stops at
/// once.
///
/// # Errors
/// That of `work`; the relay ends by itself or with an error.
pub(crate) async fn run_beside(
    relay: Running,
    signals: &mut Signals,
    work: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let handle = relay.handle();
    let mut ended = pin!(relay.wait());
    tokio::select! {
        ended = &mut ended => {
            ended?;
            bail!("the relay ended by itself");
        }
        done = work => done?,
        () = signals.stop() => {}
    }
    handle.stop();
    tokio::select! {
        ended = &mut ended => Ok(ended?),
        () = signals.stop() => Ok(()),
    }
}

/// A new secret in the form of Standard Webhooks.
///
/// # Errors
/// The system provides no randomness.
pub(crate) fn new_secret() -> anyhow::Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).context("no randomness")?;
    Ok(format!("whsec_{}", BASE64_STANDARD.encode(bytes)))
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A folder that cannot be removed is left to the system, as everything in this place is.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_is_private_and_gone_at_the_end() {
        use std::os::unix::fs::PermissionsExt;
        let folder = Folder::new().unwrap();
        let path = folder.path().to_owned();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0);
        std::fs::write(path.join("file"), "x").unwrap();
        drop(folder);
        assert!(!path.exists());
    }
}
