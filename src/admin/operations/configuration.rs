//! Operations on the configuration as a whole.

use std::time::Duration;

use http::Method;

use crate::admin::configuration;
use crate::admin::openapi;
use crate::admin::operation::{Operation, Scope, Success, schema_of};
use crate::api::{Checked, DiffView, Reload, ReloadRequest};

/// Files with thousands of subscriptions take a while, and a reload may wait for another.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation {
            answers: vec![Success::json(
                200,
                "All sections with the values in force; secrets by their fingerprints",
                openapi::any_object,
            )],
            ..Operation::reading(
                "/v1/config",
                "getConfig",
                "The configuration in force",
                |call| Box::pin(configuration::show(call)),
            )
        },
        Operation {
            answers: vec![Success::json(200, "What differs", schema_of::<DiffView>)],
            patience: PATIENCE,
            ..Operation::reading(
                "/v1/config/diff",
                "diffConfig",
                "What a reload would change",
                |call| Box::pin(configuration::diff(call)),
            )
        },
        Operation {
            scope: Scope::Read,
            body: Some(openapi::empty_object),
            answers: vec![Success::json(200, "What was found", schema_of::<Checked>)],
            patience: PATIENCE,
            ..Operation::changing(
                Method::POST,
                "/v1/config/check",
                "checkConfig",
                "Check the files without loading them",
                |call| Box::pin(configuration::check(call)),
            )
        },
        Operation {
            body: Some(schema_of::<ReloadRequest>),
            answers: vec![Success::json(200, "What it changed", schema_of::<Reload>)],
            patience: PATIENCE,
            ..Operation::changing(
                Method::POST,
                "/v1/config/reload",
                "reloadConfig",
                "Read the files again and put them in force, whole or not at all",
                |call| Box::pin(configuration::reload(call)),
            )
        },
    ]
}
