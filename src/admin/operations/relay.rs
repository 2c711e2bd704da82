//! Operations on the relay as a whole.

use std::time::Duration;

use crate::admin::instance;
use crate::admin::operation::{Operation, Success, schema_of};
use crate::admin::overview;
use crate::api::{Instance, Status};

/// The configuration files are read, to compare them with what is in force.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation {
            answers: vec![Success::json(200, "How it does", schema_of::<Status>)],
            patience: PATIENCE,
            ..Operation::reading(
                "/v1/status",
                "getStatus",
                "How the relay does as a whole",
                |call| Box::pin(overview::show(call)),
            )
        },
        Operation {
            answers: vec![Success::json(200, "The process", schema_of::<Instance>)],
            ..Operation::reading(
                "/v1/instance",
                "getInstance",
                "The running process: its configuration file, its store, and where it listens",
                |call| Box::pin(instance::show(call)),
            )
        },
    ]
}
