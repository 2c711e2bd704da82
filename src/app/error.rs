//! Why the relay did not start, or ended without a request to stop.

use std::io;

use crate::admin::TokenError;
use crate::delivery::{LaneError, SettingsError};
use crate::http_server::BindError;
use crate::store::StoreError;

/// Why the relay could not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The store could not be opened, or has failed: what was accepted is on disk, and the next start recovers it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no token for the admin API.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// A subscription cannot be delivered to as configured.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// An address of `listen` cannot be listened on.
    #[error("{name}")]
    Listen {
        /// Where it stands, such as `listen.events`.
        name: &'static str,
        /// Why not.
        source: BindError,
    },
    /// A socket that systemd was to hand over is not there.
    #[error(
        "systemd handed over no socket named {0}: expected a .socket unit with FileDescriptorName={0}"
    )]
    NoSocket(String),
    /// Anybody could post events from outside.
    #[error(
        "other machines can reach the events listener {0}: set ingest.tokens, or listen on 127.0.0.1 or a unix socket"
    )]
    OpenListener(String),
    /// Anybody could use the API from outside.
    #[error(
        "other machines can reach the admin listener {0}: set admin.tokens, or listen on 127.0.0.1 or a unix socket"
    )]
    OpenAdmin(String),
    /// A socket that systemd handed over does not listen for connections.
    #[error("what systemd handed over is not a listening TCP or unix socket")]
    Socket(#[source] io::Error),
    /// The system gave no thread.
    #[error("the system refused a thread")]
    Thread(#[source] io::Error),
    /// A bug: the store ended without being closed.
    #[error("the store ended by itself")]
    StoreEnded,
    /// A bug: a listener ended by itself.
    #[error("a listener ended by itself")]
    ListenerEnded,
    /// A bug: the task that notifies operators ended by itself.
    #[error("the task that tells operators ended by itself")]
    AnnouncerEnded,
    /// A bug: a task panicked.
    #[error("a task panicked")]
    Panicked(#[source] tokio::task::JoinError),
    /// Delivering ended by itself.
    #[error("delivering ended by itself")]
    Lanes(#[from] LaneError),
}
