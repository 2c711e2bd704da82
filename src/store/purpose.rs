//! The purpose of an acceptance: notifications of operators are not refused for lack of room.

use crate::store::journal::Durability;

/// The purpose for which a batch is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To be delivered.
    Posted,
    /// To be delivered, and a request waits for the first attempts.
    Watched,
    /// To notify operators, for example that there is no room for events.
    Alert,
}

impl Purpose {
    /// How a batch for this purpose is written.
    pub(super) const fn durability(self) -> Durability {
        match self {
            Self::Posted | Self::Watched => Durability::Sync,
            Self::Alert => Durability::SyncOutcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use tempfile::tempdir;

    use super::*;
    use crate::domain::SubscriptionName;
    use crate::store::AcceptError;
    use crate::store::harness::{Setup, event};

    #[tokio::test]
    async fn alerts_need_no_room_and_their_subscriptions_are_known_after_a_restart() {
        let folder = tempdir().unwrap();
        let setup = Setup {
            max_pending: 1,
            ..Setup::default()
        };
        let running = setup.open(folder.path());
        let store = &running.store;
        let number = store.subscription(&"a".parse().unwrap());
        let own = store.subscription(&SubscriptionName::notifications());
        running.accept(vec![event("full", &[number])]).await;
        assert_eq!(store.refused(), 0);
        let refused = store.accept(vec![event("more", &[number])]).await;
        assert!(matches!(refused, Err(AcceptError::Pending)));
        assert_eq!(store.refused(), 1);
        let alert = vec![event("alert", &[own])];
        assert_eq!(store.accept_alerts(alert).await.unwrap().len(), 1);
        assert_eq!(store.refused(), 1);
        running.close().await;

        let running = setup.open(folder.path());
        let found = running
            .store
            .subscription(&SubscriptionName::notifications());
        assert_eq!(found, own);
        assert_eq!(running.drain(own).await, ["alert"]);
        running.close().await;
        // Also from the journal alone.
        std::fs::remove_file(folder.path().join("index.sqlite3")).unwrap();
        let running = setup.open(folder.path());
        let names = running.store.subscriptions();
        assert!(names.contains(&(SubscriptionName::notifications(), own)));
        running.close().await;
    }

    #[test]
    fn alerts_are_written_as_what_a_full_disk_does_not_refuse() {
        assert_eq!(Purpose::Alert.durability(), Durability::SyncOutcome);
        assert_eq!(Purpose::Posted.durability(), Durability::Sync);
    }
}
