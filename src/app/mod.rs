//! The whole relay in one process: builds every room in order, owns every task, applies reloads, orders the shutdown.
//!
//! - `start`: configuration → store → sockets → lanes → listeners
//! - `listeners`: binds the addresses of `listen` and serves them; `runtime_folder`: one more, where commands look;
//!   `signpost`: a note that tells them the address
//! - `preflight`: what a start would refuse, for `check` and for reloads
//! - `loading`: the configuration that is being loaded; `reload`: a new one, whole or not at all
//! - `commands`: commands of the API, edits of the file among them
//! - `announcing`: the task that notifies operators
//! - `running`: the loop that watches over the parts; `stop`: the phases of a shutdown
//! - `handle`: how others ask for a reload or a stop
//!
//! What an event, an attempt or a request means is the concern of the rooms below; signals, logging and exit codes are
//! that of `cli`. Invariants: every task belongs to [`Running`], none ends silently: one that ends by itself ends the
//! relay with an error; what can be wrong with a new configuration is found before anything of it is in force.

mod announcing;
mod commands;
mod error;
mod handle;
mod listeners;
mod loading;
mod preflight;
mod reload;
mod running;
mod runtime_folder;
mod signpost;
mod start;
mod stop;

pub use crate::config::Reloaded;
pub use error::AppError;
pub use handle::Handle;
pub use listeners::{Address, Addresses};
pub use preflight::{Preflight, preflight};
pub use running::{Options, Running};
pub use runtime_folder::{RuntimeFolder, RuntimeSockets};
pub use signpost::admin_address;
pub use start::start;
