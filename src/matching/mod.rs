//! Which subscriptions an event is for.
//!
//! A subscription selects events by patterns over the type (`events`), by conditions of equality (`match`) and by an
//! expression (`when`). The [`FilterIndex`] over all of them is built when a configuration is loaded and never changed.
//! Its result is the same as that of asking each subscription in turn. With 10,000 subscriptions that differ only in
//! the values of their conditions, such as one for each tenant, it costs no more than with one. The caller maps the
//! positions to subscriptions and handles the matches.
//!
//! In the order of an event: `index` asks `patterns` for those with no conditions, and for each set of
//! selectors whether its patterns match at all; only then `pointer` looks into the body, once for all sets, and the values
//! lead to the subscriptions. Expressions (`cel`) of what is left are evaluated, each text once, over the part of the body
//! that any of them looks at (`document`).

mod cel;
mod condition;
mod document;
mod facts;
mod index;
mod patterns;
pub(crate) mod pointer;

pub use cel::{EXPRESSION_BYTES_MAX, Expression, ExpressionError};
pub use condition::{Condition, Selector, SelectorError};
pub use facts::{Facts, Headers, NEVER_KEPT};
pub use index::{Failure, Filter, FilterIndex, Found, WhenError};
