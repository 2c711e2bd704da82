//! The requests to endpoints: which headers may be configured, and the request of an attempt.
//!
//! `header_policy` judges names and values when a configuration is loaded; `plan` does everything of a request
//! that is the same for each attempt once, and the rest per attempt. Signatures are left to `signing`, connections
//! and `Host` (`:authority` in HTTP/2) to `egress`, which derives it from the URL of the request.
//!
//! Invariant: headers that sidehook manages (length, type, signatures) are set last, so that neither a configured nor a
//! forwarded header can replace or double it.

mod header_policy;
mod plan;

pub(crate) use header_policy::{check_header_name, check_header_value};
pub(crate) use plan::{RequestPlan, TargetError, target};
