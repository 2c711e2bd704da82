//! The section `store`: where events are kept, how durably, how many and for how long.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::config::document::Node;
use crate::config::form::{Choice, Form, POSITIVE, SIZE};
use crate::config::keyed::{Mapping, keys};
use crate::config::reader::{Context, Fields, text};
use crate::config::schema::forms::{self, For};

const GIB: u64 = 1 << 30;
const DAY: Duration = Duration::from_secs(86_400);

const DURABILITY: Choice<Durability> = Choice(&[
    ("fsync", Durability::Fsync),
    ("relaxed", Durability::Relaxed),
]);

keys! {
    /// `store`. Changes need a restart.
    #[derive(Debug, Clone, PartialEq, Eq)]
    section pub struct StoreConfig {
        "The folder of the store; null: $STATE_DIRECTORY, else sidehook-data in the working folder."
        path: PathBuf = PathBuf::from("sidehook-data") => ResolvedPath;
        "fsync: 202 only after the event is on the disk; relaxed: once it is written, on the disk within a second."
        durability: Durability = Durability::Fsync => DURABILITY;
        "Bodies pending, all subscriptions together; above it new events get 503, nothing is dropped."
        max_pending: u64 = 10 * GIB => SIZE;
        "How long deliveries and their attempts are kept after the final state."
        retention: Retention = Retention::default() => Mapping::<Retention>::NEW;
        "Deliveries of a subscription that is gone from the file are held this long, then cancelled."
        removed_after: Duration = 7 * DAY => POSITIVE;
    }
}

keys! {
    /// `store.retention`: when events whose deliveries are all in a final state are removed, with their attempts.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    section pub struct Retention {
        "How long delivered and cancelled deliveries are kept."
        delivered: Duration = 3 * DAY => POSITIVE;
        "How long dead letters are kept."
        dead: Duration = 30 * DAY => POSITIVE;
        "Disk space for all of that, besides pending events; beyond it delivered and cancelled deliveries are removed early, then dead ones."
        max_size: u64 = 4 * GIB => SIZE;
    }
}

/// `store.durability`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// When it is on the disk.
    Fsync,
    /// When it is written; it is on the disk within a second.
    Relaxed,
}

/// Reads the section; its folder is `path`, else `$STATE_DIRECTORY`, else a folder in the working folder.
pub(super) fn store(root: Fields<'_>, context: &mut Context<'_>) -> StoreConfig {
    let section = root.node("store");
    let store = section.and_then(|node| Mapping::<StoreConfig>::NEW.read(node, context));
    let mut store = store.unwrap_or_default();
    let path = section.and_then(|node| node.child("path"));
    match (
        path.filter(|node| !node.is_null()),
        context.environment.state_directory(),
    ) {
        (Some(node), _) => context.note("store.path", node),
        (None, Some(folder)) => store.path = folder,
        (None, None) => {}
    }
    store
}

/// A path relative to the folder of its file. The default depends on the environment or on other keys.
#[derive(Debug)]
pub(super) struct ResolvedPath;

impl Form for ResolvedPath {
    type Value = PathBuf;

    fn read(&self, node: &Node, context: &mut Context<'_>) -> Option<PathBuf> {
        let path = text(node, context)?;
        Some(context.resolve(node.mark, path))
    }

    fn show(&self, value: &PathBuf) -> Value {
        json!(value.to_string_lossy())
    }

    fn schema(&self, _: For) -> Value {
        forms::text()
    }

    fn documented(&self, _: &PathBuf) -> Option<Value> {
        Some(Value::Null)
    }
}
