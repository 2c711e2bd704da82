//! `/v1/instance`: which process this is. Commands tell several of one machine apart by it, and learn where events are posted
//! when the configuration alone does not say: port 0, sockets of systemd.

use crate::admin::answer::{Answer, json};
use crate::admin::operation::Call;
use crate::admin::refusal::Refusal;

/// `GET /v1/instance`
pub(super) async fn show(call: Call) -> Result<Answer, Refusal> {
    Ok(json(&*call.admin.instance))
}
