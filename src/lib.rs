//! sidehook, the webhook sidecar, as a library: `main.rs` is thin, and tests start the relay in process.

pub mod admin;
pub mod alerts;
mod api;
pub mod app;
pub mod cli;
pub mod config;
pub mod delivery;
pub mod descriptors;
pub mod domain;
pub mod egress;
pub mod feed;
pub mod http_server;
pub mod ingest;
mod logs;
pub mod mail;
pub mod matching;
pub mod metrics;
pub mod notify;
pub mod private;
pub mod request;
pub mod shutdown;
pub mod signing;
pub mod store;
pub mod systemd;
