//! Edits of subscriptions that are edits of the file: only the lines concerned change.
//!
//! [`prepare()`] reads the files, puts the edit into the text, and validates the whole configuration with it; nothing is
//! written yet. [`Edited::commit`] writes. The caller makes sure that only one edit is under way at a time; edits by
//! other programs or people are noticed and never overwritten.

mod change;
mod check;
mod commit;
mod error;
mod flow;
mod json;
mod places;
mod plan;
mod prepare;
mod render;
mod secrets;
mod splice;
mod steps;
mod swap;
mod text;
mod want;

pub use change::{Change, Edit};
pub use commit::Edited;
pub use error::EditError;
pub use prepare::prepare;
