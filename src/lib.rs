//! sidehook, the webhook sidecar, as a library: `main.rs` is thin, and tests start the relay in process.

pub mod domain;
pub mod egress;
pub mod request;
pub mod signing;
