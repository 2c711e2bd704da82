//! The integration tests: one binary, one module per topic.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod admin_api;
mod check_store;
mod cli;
mod config_edits;
mod config_files;
mod delivery;
mod disabling;
mod documentation;
mod explain;
mod feed;
mod filters;
mod ingest;
mod mail;
mod mail_floods;
mod metrics;
mod notifications;
mod order;
mod pacing;
mod piped;
mod prefer;
mod reload;
mod retries;
mod senders;
mod shutdown;
mod support;
mod tidy;
