//! All operations of the API, in one table: calls are dispatched by it, and the OpenAPI document is made of it.

mod configuration;
mod history;
mod probes;
mod relay;
mod subscriptions;

use std::sync::LazyLock;

use crate::admin::operation::Operation;
use crate::admin::query::{Kind, Parameter};

/// All of them.
pub(super) fn all() -> &'static [Operation] {
    static ALL: LazyLock<Vec<Operation>> = LazyLock::new(|| {
        let mut all = probes::operations();
        all.extend(relay::operations());
        all.extend(subscriptions::operations());
        all.extend(history::operations());
        all.extend(configuration::operations());
        all
    });
    &ALL
}

const LIMIT: Parameter = Parameter {
    name: "limit",
    kind: Kind::Limit,
    about: "How many at most",
};

const CURSOR: Parameter = Parameter {
    name: "cursor",
    kind: Kind::Cursor,
    about: "Where the page before ended: its next_cursor",
};

const SINCE: Parameter = Parameter {
    name: "since",
    kind: Kind::Time,
    about: "At this time or later",
};

const UNTIL: Parameter = Parameter {
    name: "until",
    kind: Kind::Time,
    about: "Before this time",
};

/// An operation that reads, with what most of them have.
fn reading(
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    handler: crate::admin::operation::Handler,
) -> Operation {
    Operation {
        method: http::Method::GET,
        path,
        id,
        summary,
        scope: crate::admin::operation::Scope::Read,
        query: &[],
        headers: &[],
        body: None,
        answers: vec![],
        refusals: &[],
        patience: crate::admin::operation::PATIENCE,
        handler,
    }
}

/// An operation that changes something, with what most of them have.
fn changing(
    method: http::Method,
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    handler: crate::admin::operation::Handler,
) -> Operation {
    Operation {
        method,
        scope: crate::admin::operation::Scope::Manage,
        ..reading(path, id, summary, handler)
    }
}
