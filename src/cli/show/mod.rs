//! How commands show what they found: tables and lines for people, JSON Lines for programs.
//!
//! Invariants: everything that is printed goes through [`gate`], or is a table, whose cells are made plain; colour is used
//! only on a terminal and without `NO_COLOR`; lines are cut or wrapped only for a terminal.

mod cell;
pub(crate) mod gate;
mod screen;
pub(crate) mod short;
mod style;
mod table;
pub(crate) mod text;

pub(crate) use cell::Cell;
pub(crate) use screen::Screen;
pub(crate) use style::Style;
pub(crate) use table::{Column, Table};
