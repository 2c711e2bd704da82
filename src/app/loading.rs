//! The configuration that is being loaded, on a thread of its own so that reading files delays no delivery. One at a
//! time, reloads and edits alike: so an edit sees what the one before it wrote.

use std::future::pending;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use crate::admin::{EditDone, EditRefusal, EditRequest};
use crate::app::handle::ReloadRequest;
use crate::config::{Config, ConfigError, Loaded, Looker, Problems, Snapshot, Survey};
use crate::domain::Secret;
use crate::ingest::Routes;
use crate::metrics::Metrics;
use crate::store::Store;

/// A configuration with everything made of it that can be made beside the running one.
pub(super) struct Prepared {
    pub(super) config: Arc<Config>,
    pub(super) routes: Routes,
    pub(super) warnings: Problems,
    /// The files that it was read from.
    pub(super) files: Snapshot,
    /// Where a watcher looks from now on.
    pub(super) survey: Option<Survey>,
}

impl Prepared {
    /// Makes of a configuration what can be made without touching the running one.
    pub(super) fn new(
        loaded: Loaded,
        looker: Option<&Looker>,
        store: &Store,
        metrics: &Metrics,
    ) -> Self {
        let files = loaded.snapshot.clone();
        let survey = looker.map(|looker| looker.survey(&loaded));
        let config = Arc::new(loaded.config);
        Self {
            routes: Routes::new(Arc::clone(&config), store, metrics),
            config,
            warnings: loaded.warnings,
            files,
            survey,
        }
    }
}

/// An edit that is written.
pub(super) struct Written {
    pub(super) prepared: Prepared,
    pub(super) generated_secret: Option<Secret>,
}

/// Where to send the result of an edit.
pub(super) type EditAnswer = oneshot::Sender<Result<EditDone, EditRefusal>>;

/// A load that is over; the result is missing where its thread ended without one.
pub(super) enum Ended {
    Reload(Option<Result<Prepared, ConfigError>>, ReloadRequest),
    Edit(
        Option<Result<Written, EditRefusal>>,
        Box<EditRequest>,
        EditAnswer,
    ),
}

/// The load under way, if any.
#[derive(Default)]
pub(super) struct Loading {
    under_way: Option<UnderWay>,
    /// Of the last load.
    thread: Option<JoinHandle<()>>,
}

enum UnderWay {
    Reload(
        oneshot::Receiver<Result<Prepared, ConfigError>>,
        ReloadRequest,
    ),
    Edit(
        oneshot::Receiver<Result<Written, EditRefusal>>,
        Box<EditRequest>,
        EditAnswer,
    ),
}

impl Loading {
    pub(super) fn is_idle(&self) -> bool {
        self.under_way.is_none()
    }

    /// Begins to load for a reload.
    pub(super) fn reload(
        &mut self,
        answer: ReloadRequest,
        load: impl FnOnce() -> Result<Prepared, ConfigError> + Send + 'static,
    ) {
        self.under_way = Some(UnderWay::Reload(self.on_a_thread(load), answer));
    }

    /// Begins to load for an edit.
    pub(super) fn edit(
        &mut self,
        request: Box<EditRequest>,
        answer: EditAnswer,
        write: impl FnOnce() -> Result<Written, EditRefusal> + Send + 'static,
    ) {
        self.under_way = Some(UnderWay::Edit(self.on_a_thread(write), request, answer));
    }

    /// Waits for the end of the load under way; forever when there is none.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn ended(&mut self) -> Ended {
        match &mut self.under_way {
            None => pending().await,
            Some(UnderWay::Reload(result, answer)) => {
                let result = result.await.ok();
                let answer = answer.take();
                self.under_way = None;
                Ended::Reload(result, answer)
            }
            Some(UnderWay::Edit(result, ..)) => {
                let result = result.await.ok();
                match self.under_way.take() {
                    Some(UnderWay::Edit(_, request, answer)) => {
                        Ended::Edit(result, request, answer)
                    }
                    Some(UnderWay::Reload(..)) | None => pending().await,
                }
            }
        }
    }

    /// Runs it on a thread that ends with it. Without a thread the sender goes with the closure, and there is no result.
    fn on_a_thread<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (done, result) = oneshot::channel();
        let run = move || {
            // There is no receiver any more when the relay has ended meanwhile.
            drop(done.send(work()));
        };
        // It has done its work and is about to end. Only then does the next one get its memory: the allocator has some for each
        // thread, and a large file may take a hundred MiB of it.
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!("the thread that loads the configuration panicked");
        }
        let thread = std::thread::Builder::new().name("load-config".to_owned());
        match thread.spawn(run) {
            Ok(thread) => self.thread = Some(thread),
            Err(error) => tracing::error!(%error, "no thread to load the configuration"),
        }
        result
    }
}
