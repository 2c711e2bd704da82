//! The operations that are open to everybody, and the description of all others.

use crate::admin::openapi;
use crate::admin::operation::{Operation, Scope, Success};
use crate::admin::probes::{self, METRICS_TYPE};

const PLAIN: &str = "text/plain; charset=utf-8";

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation {
            scope: Scope::Open,
            answers: vec![
                Success::text(200, "It works", PLAIN),
                Success::text(503, "The store has failed", PLAIN),
            ],
            ..Operation::reading(
                "/healthz",
                "healthz",
                "Whether the process lives and its store works",
                |call| Box::pin(probes::healthz(call)),
            )
        },
        Operation {
            scope: Scope::Open,
            answers: vec![
                Success::text(200, "Events are accepted, or the store is full", PLAIN),
                Success::text(503, "Starting, stopping, or the store has failed", PLAIN),
            ],
            ..Operation::reading("/readyz", "readyz", "Whether events are accepted", |call| {
                Box::pin(probes::readyz(call))
            })
        },
        Operation {
            scope: Scope::Open,
            answers: vec![Success::text(200, "Prometheus text format", METRICS_TYPE)],
            refusals: &[503],
            ..Operation::reading("/metrics", "metrics", "All metrics", |call| {
                Box::pin(probes::metrics(call))
            })
        },
        Operation {
            answers: vec![Success::json(200, "This document", openapi::any_object)],
            ..Operation::reading(
                "/v1/openapi.json",
                "openapi",
                "The description of this API: OpenAPI 3.1",
                |call| Box::pin(openapi::show(call)),
            )
        },
    ]
}
