//! A client of the running sidecar's admin API: finds it and its token, calls it within bounds of time and memory, and
//! explains to people why a call failed.

mod call;
mod error;
mod find;
mod list;
mod running;
mod stream;
mod trust;
pub(crate) mod wire;

pub(crate) use call::{Client, Query, escaped, read};
pub(crate) use error::CallError;
pub(crate) use find::SidecarArgs;
pub(crate) use running::{Need, Survey, instance};
pub(crate) use stream::{Stream, StreamEvent};
pub(crate) use trust::{check_listener, is_ours};
