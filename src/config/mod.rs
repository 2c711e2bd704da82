//! From files to a validated [`Config`]: reading, checking, completing, and noticing changes.
//!
//! Each key is declared once: those of sections with `keyed::keys!`, those of subscriptions in `subscription`. A declaration
//! names a form (`form`), which reads a value, shows it and describes it; reader, defaults, what the API shows, schema,
//! example and documentation come from there.
//!
//! `parse` turns a file into nodes with places (`document`), forms turn nodes into values and report what is wrong,
//! `load` puts the sections of all files together. Nothing is checked again later: values in a `Config` are valid, as
//! far as a file can show. Applying a configuration is for `app`.
//!
//! Invariants: all problems of a file are found in one run; no problem contains a secret, or more of the file than the
//! offending key or scalar; unknown keys are errors everywhere.

mod address;
mod admin;
mod auth;
mod diff;
mod document;
mod edit;
mod endpoint;
mod entry;
mod environment;
mod escapes;
mod etag;
mod excerpt;
mod file;
mod filter;
mod form;
mod given;
mod headers;
mod identity;
mod include;
mod ingest;
mod inside;
mod keyed;
mod keys;
mod layout;
mod listen;
mod load;
mod loaded;
mod log;
mod model;
mod network;
mod notifications;
mod operator;
mod overlap;
mod parse;
mod pipe;
mod policy;
mod problem;
mod reader;
mod report;
mod retry;
mod schema;
mod secrets;
mod signals;
mod signature;
mod store;
mod subscription;
mod survey;
mod tls;
mod unexpanded;
mod units;
mod url;
mod values;
mod walk;
mod watch;

pub use address::ListenAddress;
pub use admin::{AdminConfig, AdminToken, Scopes};
pub use diff::{Diff, DiffKind, Reloaded, SubscriptionDiff, at_next_start};
pub use edit::{Change, Edit, EditError, Edited, prepare};
pub use endpoint::Endpoint;
pub(crate) use environment::places;
pub use environment::{Environment, locate};
pub use etag::etag;
pub use identity::Snapshot;
pub use listen::Listen;
pub(crate) use listen::taken_by;
pub(crate) use load::load_intake;
pub use load::{load, load_checked, load_given};
pub use loaded::Loaded;
pub use log::{Log, LogFormat, LogLevel};
pub use model::Config;
pub use notifications::{Notifications, Smtp, SmtpTls};
pub(crate) use operator::{Operator, OperatorToken, load_operator};
pub(crate) use overlap::overlap;
pub(crate) use pipe::is_pipe;
pub use pipe::read_once;
pub(crate) use policy::{RATE as RATE_EXPECTED, rate as parse_rate, written_rate};
pub use problem::{ConfigError, Excerpt, Problem, Problems};
pub use schema::{schema, subscription_properties};
pub(crate) use secrets::refused as refused_secret;
pub use signals::WatchHealth;
pub use store::{Durability, Retention, StoreConfig};
pub use subscription::{READ_ONLY, Subscription, WhenDisabled};
pub use survey::Survey;
pub(crate) use units::duration as parse_duration;
pub use watch::{Looker, Watcher};
