//! Orders of a lane: how it delivers, and that it turns or ends. One lane reads them.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::delivery::settings::Settings;

/// The orders in force. Much smaller than a `watch` channel: there may be thousands.
#[derive(Debug)]
pub(super) struct Orders {
    current: Mutex<Current>,
    changed: Notify,
}

#[derive(Debug, Clone)]
pub(super) struct Current {
    /// Settings from the next attempt on; `None` attempts nothing.
    pub(super) settings: Option<Arc<Settings>>,
    /// The number that the lane shows in [`Lane::beat`](super::lane::Lane::beat) when it has turned.
    pub(super) beat: u64,
    /// The lane ends at once.
    pub(super) dismissed: bool,
}

impl Orders {
    pub(super) fn new(settings: Option<Arc<Settings>>, beat: u64) -> Self {
        Self {
            current: Mutex::new(Current {
                settings,
                beat,
                dismissed: false,
            }),
            changed: Notify::new(),
        }
    }

    pub(super) fn current(&self) -> Current {
        self.current.lock().clone()
    }

    /// Sets the settings; the same ones change nothing.
    pub(super) fn set(&self, settings: Option<Arc<Settings>>) {
        let mut current = self.current.lock();
        let same = match (&current.settings, &settings) {
            (Some(old), Some(new)) => Arc::ptr_eq(old, new),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        current.settings = settings;
        drop(current);
        if !same {
            self.wake();
        }
    }

    /// Asks for a turn that shows this beat.
    pub(super) fn ask_for(&self, beat: u64) {
        self.current.lock().beat = beat;
        self.wake();
    }

    /// Ends the lane.
    pub(super) fn dismiss(&self) {
        self.current.lock().dismissed = true;
        self.wake();
    }

    /// Gives the lane a turn.
    pub(super) fn wake(&self) {
        self.changed.notify_one();
    }

    /// Resolves when the lane has been woken since this resolved last.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }
}
