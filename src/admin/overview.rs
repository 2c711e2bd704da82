//! `GET /v1/status`: how the relay does as a whole.

use std::sync::Arc;

use crate::admin::answer::{Answer, json};
use crate::admin::operation::Call;
use crate::admin::refusal::Refusal;
use crate::admin::source::OnDisk;
use crate::admin::views::texts;
use crate::api::{ConfigStatus, Status, StoreStatus, SubscriptionStates, Time};
use crate::domain::Condition;
use crate::store::Health;

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
    let mut states = SubscriptionStates::default();
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
    Ok(json(&Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: Time(admin.started_at),
        uptime_seconds: admin.clock.steady().since(admin.started_at).as_secs(),
        subscriptions: states,
        pending,
        held,
        dead,
        in_flight,
        store: StoreStatus {
            health: match admin.store.health() {
                Health::Healthy => "healthy",
                Health::Full => "full",
                Health::Failed => "failed",
            }
            .to_owned(),
            path: disk.folder.display().to_string(),
            size_bytes: disk.size_bytes,
            pending_bytes: disk.pending_bytes,
            free_bytes: disk.free_bytes,
        },
        config: ConfigStatus {
            file: admin.source.path().display().to_string(),
            on_disk: on_disk.to_owned(),
            error,
            at_next_start: texts(admin.source.awaiting_restart(&config)),
        },
    }))
}
