//! `/v1/instance`: which process this is. Commands tell several of one machine apart by it, and learn where events are posted
//! when the configuration alone does not say: port 0, sockets of systemd.

use schemars::JsonSchema;
use serde::Serialize;

use crate::admin::answer::{Answer, json};
use crate::admin::operation::Call;
use crate::admin::refusal::Refusal;

/// A running process.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Instance {
    /// The version of sidehook
    pub version: &'static str,
    /// Its process id
    pub process_id: u32,
    /// The configuration file, absolute
    pub config: String,
    /// The folder of the store, absolute
    pub store: String,
    /// Where events are posted: `host:port`, `unix:/path`, or `systemd:NAME` for a socket without a path
    pub events: Vec<String>,
    /// Where this API is: `host:port` or `unix:/path`
    pub admin: String,
    /// Where only probes and metrics are, or null
    pub metrics: Option<String>,
}

/// `GET /v1/instance`
pub(super) async fn show(call: Call) -> Result<Answer, Refusal> {
    Ok(json(&*call.admin.instance))
}
