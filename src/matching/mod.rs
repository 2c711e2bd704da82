//! Which subscriptions an event is for.
//!
//! A subscription says it by patterns over the type (`events`), by conditions of equality (`match`) and by an expression
//! (`when`). The [`FilterIndex`] over all of them is built when a configuration is loaded and never changed; it answers what
//! asking each subscription in turn would, and costs with 10,000 subscriptions that say the same of other values, such
//! as one for each tenant, no more than with one. Who the positions stand for, and what is done with a match, is the
//! caller's.
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
