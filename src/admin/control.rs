//! Requests of the API to the owner of the relay, which alone can carry them out.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use crate::config::{Change, Config, ConfigError, EditError, Reloaded};
use crate::domain::{Outcome, Secret, StatusError, SubscriptionName};

/// Commands that may wait for their turn; more wait before they are sent.
const COMMANDS_WAITING_MAX: usize = 16;

/// Something that only the owner of the relay can do. If the caller goes away, the answer is dropped.
pub enum Command {
    /// Bring the gauges of all lanes up to date.
    Refresh(oneshot::Sender<()>),
    /// Change a subscription: its definition in the file, whether it is enabled, or both.
    Edit(
        Box<EditRequest>,
        oneshot::Sender<Result<EditDone, EditRefusal>>,
    ),
    /// Prepare to send a `sidehook.test` event that is not recorded; `None` if no subscription of this name has a url.
    Test(SubscriptionName, oneshot::Sender<Option<TestAttempt>>),
    /// End a pause and the probing of a subscription.
    Hurry(SubscriptionName, oneshot::Sender<Result<(), StatusError>>),
    /// Read the configuration again.
    Reload(oneshot::Sender<Result<Reloaded, ConfigError>>),
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refresh(_) => "Refresh",
            Self::Edit(..) => "Edit",
            Self::Test(..) => "Test",
            Self::Hurry(..) => "Hurry",
            Self::Reload(_) => "Reload",
        })
    }
}

/// An attempt that begins when it is polled, and is given up when it is dropped.
pub type TestAttempt = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// A change of a subscription.
#[derive(Debug, Clone)]
pub struct EditRequest {
    /// Of which.
    pub name: SubscriptionName,
    /// The change in the file; `None` if nothing changes there.
    pub change: Option<Change>,
    /// To enable (true) or disable it, judged against the definition after the change.
    pub enable: Option<bool>,
    /// Tags of which the definition must have one before the change (RFC 9110, section 13.1.1), in
    /// their quotes as [`etag`](crate::config::etag) gives them; `None` if any will do.
    pub if_match: Option<Vec<String>>,
}

/// A change that is in force.
#[derive(Debug, Default)]
pub struct EditDone {
    /// The secret that was made for it, to be shown this once.
    pub generated_secret: Option<Secret>,
}

/// Why a subscription was not changed.
#[derive(Debug, thiserror::Error)]
pub enum EditRefusal {
    /// The definition is not one of those named in `if_match`.
    #[error("the subscription is not what If-Match says")]
    Precondition,
    /// The definition cannot be changed so.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// It cannot be enabled or disabled.
    #[error(transparent)]
    Status(#[from] StatusError),
    /// The relay could not put it in force; the file has it.
    #[error("the configuration is written, but not in force")]
    NotInForce(#[source] ConfigError),
    /// The relay is stopping.
    #[error("the relay is stopping")]
    Stopping,
}

/// Asks the owner of the relay. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Control {
    commands: mpsc::Sender<Command>,
    config: watch::Receiver<Arc<Config>>,
}

impl Control {
    /// This end, and the one where the owner of the relay finds what is asked; `config` is what is in force.
    #[must_use]
    pub fn new(config: watch::Receiver<Arc<Config>>) -> (Self, mpsc::Receiver<Command>) {
        let (commands, asked) = mpsc::channel(COMMANDS_WAITING_MAX);
        (Self { commands, config }, asked)
    }

    /// The configuration in force.
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.borrow())
    }

    /// Waits until the gauges are up to date, or for nothing when they have no owner any more.
    pub(super) async fn refreshed(&self) {
        // An owner that goes away meanwhile leaves the gauges as they are.
        self.ask(Command::Refresh).await.unwrap_or_default();
    }

    /// Asks and waits for the answer; `None` when the relay is stopping.
    ///
    /// # Cancel safety
    /// Dropping the future does not take the question back.
    pub(super) async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(command(answer)).await.ok()?;
        answered.await.ok()
    }
}
