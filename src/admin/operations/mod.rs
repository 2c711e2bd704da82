//! All operations of the API, in one table: calls are dispatched by it, and the OpenAPI document is made of it.

mod configuration;
mod history;
mod probes;
mod relay;
mod subscriptions;

use std::sync::LazyLock;

use crate::admin::operation::Operation;

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
