//! How commands show what they found: tables and lines for people, JSON Lines for programs.
//!
//! Invariants: text from outside reaches a terminal only through [`text::plain`] or a table, which uses it; colour is used
//! only on a terminal and without `NO_COLOR`; lines are cut or wrapped only for a terminal.

mod screen;
mod table;
pub(crate) mod text;

pub(crate) use screen::{Screen, Style};
pub(crate) use table::{Cell, Table};
