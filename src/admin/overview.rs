//! `GET /v1/status`: how the relay does as a whole.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use crate::admin::answer::{Answer, json};
use crate::admin::operation::Call;
use crate::admin::refusal::Refusal;
use crate::admin::source::OnDisk;
use crate::admin::views::Time;
use crate::domain::Condition;
use crate::store::Health;

/// The relay as a whole.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Status")]
pub(super) struct StatusView {
    /// The version of sidehook
    version: &'static str,
    /// When the process started
    started_at: Time,
    /// For how long it has run
    uptime_seconds: u64,
    /// How many subscriptions are in which state
    subscriptions: States,
    /// Deliveries of the subscriptions in the file that are to be attempted, without those held
    pending: u64,
    /// Those that wait because their subscription is disabled
    held: u64,
    /// Dead letters
    dead: u64,
    /// Attempts under way
    in_flight: u64,
    /// The store
    store: StoreView,
    /// The configuration file
    config: ConfigView,
}

/// Subscriptions by their state.
#[derive(Debug, Default, Serialize, JsonSchema)]
#[schemars(rename = "SubscriptionStates")]
struct States {
    active: usize,
    probing: usize,
    paused: usize,
    disabled: usize,
    blocked: usize,
}

/// The store on its disk.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "StoreStatus")]
struct StoreView {
    /// `full`: events are refused until there is room; `failed`: the process is about to end
    #[schemars(extend("enum" = ["healthy", "full", "failed"]))]
    health: &'static str,
    /// Its folder
    path: String,
    /// Size of its files, bytes
    size_bytes: u64,
    /// Size of the bodies of pending events, bytes
    pending_bytes: u64,
    /// Free space on its disk, bytes; null if unknown
    free_bytes: Option<u64>,
}

/// The configuration file, compared with what is in force.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ConfigStatus")]
struct ConfigView {
    /// The file
    file: String,
    /// Whether it is what is in force, differs from it, is not valid, or was a pipe, which cannot be read again
    #[schemars(extend("enum" = ["in_force", "differs", "invalid", "pipe"]))]
    on_disk: &'static str,
    /// The first error of a file that is not valid
    error: Option<String>,
    /// Keys of what is in force whose change since the start takes effect at the next one
    at_next_start: Vec<&'static str>,
}

/// `GET /v1/status`
pub(super) async fn show(call: Call) -> Result<Answer, Refusal> {
    let admin = &call.admin;
    let config = admin.control.config();
    let store = admin.store.clone();
    let disk_use = move || store.disk_use();
    let compared = admin.source.compare(Arc::clone(&config), disk_use);
    let (on_disk, disk) = compared.await?;
    let (on_disk, error) = match on_disk {
        OnDisk::InForce => ("in_force", None),
        OnDisk::Differs => ("differs", None),
        OnDisk::Invalid(error) => ("invalid", error),
        OnDisk::Pipe => ("pipe", None),
    };
    let mut states = States::default();
    let (mut pending, mut held, mut dead, mut in_flight) = (0, 0, 0, 0);
    let names = config.subscriptions.keys();
    for number in names.filter_map(|name| admin.store.known(name)) {
        let counts = admin.store.queue(number).counts();
        let condition = Condition::of(counts.flow, counts.blocked > 0);
        match condition {
            Condition::Active => states.active += 1,
            Condition::Probing => states.probing += 1,
            Condition::Paused => states.paused += 1,
            Condition::Disabled => states.disabled += 1,
            Condition::Blocked => states.blocked += 1,
        }
        match condition {
            Condition::Disabled => held += counts.pending,
            _ => pending += counts.pending,
        }
        dead += counts.dead;
        in_flight += counts.in_flight;
    }
    Ok(json(&StatusView {
        version: env!("CARGO_PKG_VERSION"),
        started_at: Time(admin.started_at),
        uptime_seconds: admin.clock.steady().since(admin.started_at).as_secs(),
        subscriptions: states,
        pending,
        held,
        dead,
        in_flight,
        store: StoreView {
            health: match admin.store.health() {
                Health::Healthy => "healthy",
                Health::Full => "full",
                Health::Failed => "failed",
            },
            path: disk.folder.display().to_string(),
            size_bytes: disk.size_bytes,
            pending_bytes: disk.pending_bytes,
            free_bytes: disk.free_bytes,
        },
        config: ConfigView {
            file: admin.source.path().display().to_string(),
            on_disk,
            error,
            at_next_start: admin.source.awaiting_restart(&config),
        },
    }))
}
