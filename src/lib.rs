//! sidehook, the webhook sidecar, as a library: `main.rs` is thin, and tests start the relay in process.

pub mod admin;
pub mod alerts;
mod api;
pub mod app;
pub mod cli;
pub mod config;
pub mod delivery;
mod descriptors;
pub mod domain;
pub mod egress;
pub mod feed;
mod http_server;
mod ingest;
mod logs;
pub mod mail;
pub mod matching;
pub mod metrics;
mod notify;
mod private;
mod request;
pub mod shutdown;
pub mod signing;
pub mod store;
pub mod systemd;
