//! Commands that ask the running sidecar through its admin API: one file for each.
//!
//! Invariants: with `--json` the API's own JSON is printed, a list as one object a line; without, nothing that came from
//! outside reaches a terminal but plain; no argument is a secret.

mod ask;
pub(crate) mod attempts;
pub(crate) mod cancel;
pub(crate) mod deliveries;
pub(crate) mod diff;
pub(crate) mod events;
mod fields;
mod follow;
mod outcome;
mod progress;
pub(crate) mod reload;
pub(crate) mod replay;
pub(crate) mod retry;
pub(crate) mod rotate;
#[cfg(test)]
mod samples;
mod sidecar;
pub(crate) mod status;
pub(crate) mod test;
pub(crate) mod toggle;
mod when;
#[cfg(test)]
mod width_tests;

pub(crate) use follow::follow_all;

use sidecar::{Common, print_list, with_sidecar};
