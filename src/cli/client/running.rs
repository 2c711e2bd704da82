//! The sidecars that run on this machine, found by the sockets in their runtime folders, and which of them is meant.
//!
//! A file name proves nothing: each is asked to identify itself. One that answers in time is running; one that refuses
//! the connection is a file that a killed process left.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{anyhow, bail, ensure};

use crate::api::Instance;
use crate::app::RuntimeSockets;
use crate::cli::client::call::{Client, Query, Sidecar, read};
use crate::cli::client::error::CallError;
use crate::cli::client::wire::WireError;
use crate::cli::config_arg::ConfigArg;
use crate::cli::show::gate;
use crate::cli::show::text::plain;
use crate::cli::target::Target;
use crate::config::{ConfigError, Environment};

/// How long one may take to identify itself.
const PATIENCE: Duration = Duration::from_secs(2);
/// Sockets without a sidecar that are named at most.
const LEFT_MAX: usize = 3;

impl Instance {
    /// The first address for events that can be reached from here.
    pub(crate) fn events_target(&self) -> Option<Target> {
        self.events
            .iter()
            .find_map(|address| Target::of_bound(address))
    }
}

/// The permission that a command needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// To look.
    Read,
    /// To change, or to see bodies and headers of events.
    Manage,
}

/// A sidecar that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Running {
    /// Its socket.
    pub(crate) socket: PathBuf,
    /// Its own description; `None` if it gives no answer in time.
    pub(crate) instance: Option<Instance>,
}

impl Running {
    /// How to name it on the command line.
    fn line(&self) -> String {
        match &self.instance {
            Some(instance) => format!("\n  --config {}", plain(&instance.config)),
            None => format!(
                "\n  --admin unix:{} (gives no answer)",
                plain(&self.socket.display().to_string())
            ),
        }
    }
}

/// All that run, as far as this user can see.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// Those that run.
    running: Vec<Running>,
    /// Folders and sockets that this user may not use.
    closed: Vec<PathBuf>,
    /// Sockets without a listener.
    left: Vec<PathBuf>,
}

impl Survey {
    /// Asks all that have a socket here.
    pub(crate) async fn take(environment: &Environment) -> Self {
        let RuntimeSockets { sockets, closed } = RuntimeSockets::find(environment);
        let mut survey = Self {
            running: Vec::new(),
            closed,
            left: Vec::new(),
        };
        for socket in sockets {
            match ask(&socket).await {
                Ok(instance) => survey.running.push(Running {
                    socket,
                    instance: Some(instance),
                }),
                Err(error) => match Absence::of(&error) {
                    Absence::Closed => survey.closed.push(socket),
                    Absence::Nobody => {}
                    Absence::Left => survey.left.push(socket),
                    Absence::Silent => survey.running.push(Running {
                        socket,
                        instance: None,
                    }),
                },
            }
        }
        survey
    }

    /// The one that is meant: with a configuration that is given the one that runs with it; else that of the configuration
    /// which would be read by default, else the only one. None if none is.
    ///
    /// # Errors
    /// Several may be meant; something would be changed at one that does not run with the configuration which is here.
    pub(crate) fn meant(
        &self,
        config: &ConfigArg,
        environment: &Environment,
        need: Need,
    ) -> anyhow::Result<Option<&Running>> {
        let path = config.path(environment);
        let own = self.of_config(&path);
        if own.is_some() || config.is_given(environment) {
            return Ok(own);
        }
        if self.running.len() > 1 {
            let all: String = self.running.iter().map(Running::line).collect();
            bail!("several sidecars run here, say which one is meant:{all}");
        }
        let only = self.running.first();
        if let Some(instance) = only.and_then(|it| it.instance.as_ref())
            && path.exists()
        {
            let shown = plain(&instance.config);
            ensure!(
                need == Need::Read,
                "the sidecar of {} does not run, that of {shown} does: if it is meant, say --config {shown}",
                plain(&path.display().to_string())
            );
            writeln!(
                gate::stderr(),
                "note: the sidecar of {shown} is asked, the only one that runs here"
            )?;
        }
        Ok(only)
    }

    /// The one whose configuration this is.
    fn of_config(&self, config: &Path) -> Option<&Running> {
        let real = |path: &Path| path.canonicalize().ok();
        let (absolute, own) = (std::path::absolute(config).ok(), real(config));
        let is_own = |running: &&Running| {
            let other = running.instance.as_ref().map(|it| Path::new(&it.config));
            other.is_some_and(|other| {
                absolute.as_deref() == Some(other) || (own.is_some() && own == real(other))
            })
        };
        self.running.iter().find(is_own)
    }

    /// Adds to the reason why none was found, or none answers, what else is here: one that this user may not ask, and what
    /// one left that was killed.
    pub(crate) fn explained(&self, error: anyhow::Error, config_is_given: bool) -> anyhow::Error {
        // An error in a file that the user named is for the user to fix.
        if config_is_given && error.is::<ConfigError>() {
            return error;
        }
        let shown = |path: &PathBuf| plain(&path.display().to_string());
        let closed = self.closed.first().map(|closed| {
            let closed = shown(closed);
            format!("\n  a sidecar seems to run here, but only root and its own user and group may use {closed}: try sudo")
        });
        let left = self.left.iter().take(LEFT_MAX).map(|left| {
            format!(
                "\n  no sidecar answers at unix:{} any more: was it killed?",
                shown(left)
            )
        });
        let more: String = closed.into_iter().chain(left).collect();
        if more.is_empty() {
            return error;
        }
        anyhow!("{error:#}{more}")
    }
}

async fn ask(socket: &Path) -> anyhow::Result<Instance> {
    let sidecar = Sidecar {
        target: Target::Unix(socket.to_owned()),
        token: None,
        origin: None,
        store: None,
    };
    let client = Client::of(sidecar).patient(PATIENCE);
    instance(&client).await
}

/// Asks a sidecar for its description.
///
/// # Errors
/// No answer, or a refusal.
pub(crate) async fn instance(client: &Client) -> anyhow::Result<Instance> {
    let answer = client.get("/v1/instance", &Query::default()).await?;
    Ok(read(&answer)?)
}

/// The meaning of a missing answer.
enum Absence {
    /// This user may not ask.
    Closed,
    /// No sidecar is there.
    Nobody,
    /// One was there, and was killed.
    Left,
    /// One that does not answer now.
    Silent,
}

impl Absence {
    fn of(error: &anyhow::Error) -> Self {
        match error.downcast_ref() {
            Some(CallError::NotRunning {
                source: WireError::Unreachable { source, .. },
                ..
            }) => match source.kind() {
                io::ErrorKind::PermissionDenied => Self::Closed,
                io::ErrorKind::ConnectionRefused => Self::Left,
                io::ErrorKind::NotFound => Self::Nobody,
                _ => Self::Silent,
            },
            Some(
                CallError::Refused(_)
                | CallError::Foreign(_)
                | CallError::TooLarge { .. }
                | CallError::Stranger(_),
            ) => Self::Nobody,
            Some(CallError::NotRunning { .. } | CallError::Wire(_) | CallError::Timeout { .. })
            | None => Self::Silent,
        }
    }
}
