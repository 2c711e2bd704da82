//! The section `store`: where events are kept, how durably, how many and for how long.

use std::time::Duration;

use crate::config::document::Node;
use crate::config::model::{Durability, Retention, StoreConfig};
use crate::config::reader::{Context, Fields, choice, mapping, parsed, text};
use crate::config::retry::positive;
use crate::config::units;

/// The keys of the section.
pub(super) const KNOWN: [&str; 5] = [
    "path",
    "durability",
    "max_pending",
    "retention",
    "removed_after",
];

/// The keys of `retention`.
pub(super) const RETENTION: [&str; 3] = ["delivered", "dead", "max_size"];

/// Reads the section; its folder is `path`, else `$STATE_DIRECTORY`, else a folder in the working folder.
pub(super) fn store(fields: Fields<'_>, context: &mut Context<'_>) -> StoreConfig {
    let mut store = StoreConfig::default();
    if let Some(folder) = context.environment.state_directory() {
        store.path = folder;
    }
    fields.read("store", context, |node, context| {
        read_into(&mut store, node, context)
    });
    store
}

fn read_into(store: &mut StoreConfig, node: &Node, context: &mut Context<'_>) -> Option<()> {
    let fields = mapping(node, &KNOWN, context)?;
    let path = fields.read("path", context, |node, context| {
        let path = text(node, context)?;
        context.note("store.path", node);
        Some(context.resolve(node.mark, path))
    });
    put(&mut store.path, path);
    let words = [
        ("fsync", Durability::Fsync),
        ("relaxed", Durability::Relaxed),
    ];
    put(
        &mut store.durability,
        fields.read("durability", context, choice(&words)),
    );
    put(
        &mut store.max_pending,
        fields.read("max_pending", context, positive_size),
    );
    put(
        &mut store.removed_after,
        fields.read("removed_after", context, positive),
    );
    fields.read("retention", context, |node, context| {
        retention_into(&mut store.retention, node, context)
    })
}

fn retention_into(retention: &mut Retention, node: &Node, context: &mut Context<'_>) -> Option<()> {
    let fields = mapping(node, &RETENTION, context)?;
    let mut duration = |key| -> Option<Duration> { fields.read(key, context, positive) };
    let (delivered, dead) = (duration("delivered"), duration("dead"));
    put(&mut retention.delivered, delivered);
    put(&mut retention.dead, dead);
    put(
        &mut retention.max_size,
        fields.read("max_size", context, positive_size),
    );
    Some(())
}

fn put<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

/// A size larger than nothing, for other fields too.
pub(super) fn positive_size(node: &Node, context: &mut Context<'_>) -> Option<u64> {
    let bytes = parsed(units::size)(node, context)?;
    if bytes == 0 {
        context.error(node, "expected a size larger than 0");
        return None;
    }
    Some(bytes)
}
