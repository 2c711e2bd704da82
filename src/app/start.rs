//! Builds a relay in the order of what depends on what: store, sockets, lanes, listeners. Nothing is accepted before everything
//! that an accepted event needs is there.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::admin::{Admin, ConfigSource, Control, Exporter, Readiness, Streams, Tokens};
use crate::alerts::Alerts;
use crate::api::Instance;
use crate::app::announcing::Announcing;
use crate::app::error::AppError;
use crate::app::handle::Handle;
use crate::app::listeners::{Address, Addresses, Bound, raise_limit};
use crate::app::loading::Loading;
use crate::app::preflight::Judge;
use crate::app::reload::{log_warnings, names};
use crate::app::running::{Options, Running};
use crate::app::signpost;
use crate::config::{Config, Durability, Loaded, Snapshot, Watcher};
use crate::delivery::{Lanes, Reports, SettingsError};
use crate::domain::Clock;
use crate::egress::Egress;
use crate::feed::Feed;
use crate::ingest::{Ingest, Routes};
use crate::metrics::Metrics;
use crate::shutdown::Shutdown;
use crate::store::{Retention, Store, StoreError, StoreOptions};

/// Bytes of memory for bodies and windows, all lanes together.
const MEMORY_BUDGET: usize = 32 << 20;

/// Starts a relay. The store is opened and recovered in this call, which blocks the thread meanwhile: nothing else is
/// there yet that could wait.
///
/// # Errors
/// [`AppError`]: nothing is left running.
///
/// # Panics
/// Outside a tokio runtime with time and I/O.
pub async fn start(loaded: Loaded, mut options: Options) -> Result<Running, AppError> {
    let watcher = options.watch.then(|| Watcher::new(&loaded));
    log_warnings(&loaded.warnings);
    let files = loaded.snapshot.clone();
    let config = Arc::new(loaded.config);
    let descriptors = raise_limit(&config);
    let (metrics, clock) = (Metrics::new(), Arc::clone(&options.clock));
    let store = Store::open(store_options(&config), Arc::clone(&clock), metrics.store())?;
    let store_task = run(&store);
    // Before any attempt: a port in use must not cut attempts short at each of many restarts.
    let bound = bind(&config, &mut options).await?;
    let addresses = bound.addresses.clone();
    let (shutdown, feed) = (Shutdown::default(), Feed::default());
    let (in_force, seen) = watch::channel(Arc::clone(&config));
    let announcer = Announcing::start(&store, &clock, seen.clone());
    let parts = Parts {
        config: &config,
        store: &store,
        metrics: &metrics,
        clock: &clock,
        shutdown: &shutdown,
    };
    let lanes = parts.lanes(announcer.reports(&feed))?;
    metrics.set_configured(&names(&config), config.metrics.histograms);
    metrics.config_loaded(clock.wall());
    let ingest = parts.ingest(announcer.alerts());
    let judge = Judge::new(&options.config_path, &config, &seen, &addresses);
    let source = source(&options, &config, files, &judge);
    let (control, commands) = Control::new(seen);
    let stop_admin = CancellationToken::new();
    let admin = admin(
        &config,
        &store,
        &metrics,
        (control, feed, watcher.as_ref(), source.clone()),
        (&options, &addresses),
        &stop_admin,
    )?;
    let stop_events = &shutdown.stop_accepting;
    let (events, operators) = bound.serve(&ingest, &admin, stop_events, &stop_admin, descriptors);
    let (handle, reload_requests) = Handle::new(shutdown.clone());
    admin.readiness.set(true);
    let running = Running {
        watcher,
        options,
        started_with: Arc::clone(&config),
        config,
        store,
        store_task,
        metrics,
        ingest,
        lanes,
        events,
        admin: operators,
        stop_admin,
        addresses,
        readiness: admin.readiness,
        in_force,
        source,
        judge,
        commands,
        announcer,
        waiting: VecDeque::new(),
        handle,
        reload_requests,
        loading: Loading::default(),
        shutdown,
    };
    running.say_that_it_started();
    Ok(running)
}

/// Where the configuration is read from again, by the API.
fn source(options: &Options, config: &Arc<Config>, files: Snapshot, judge: &Judge) -> ConfigSource {
    let judge = judge.clone();
    ConfigSource::new(
        (options.config_path.clone(), options.is_from_pipe),
        options.environment.clone(),
        config,
        files,
        Arc::new(move |loaded| judge.judge(loaded)),
    )
}

/// The admin API.
fn admin(
    config: &Config,
    store: &Store,
    metrics: &Metrics,
    (control, feed, watcher, source): (Control, Feed, Option<&Watcher>, ConfigSource),
    (options, addresses): (&Options, &Addresses),
    stop: &CancellationToken,
) -> Result<Admin, AppError> {
    Ok(Admin {
        exporter: Exporter::start(metrics.clone(), store.clone()).map_err(AppError::Thread)?,
        store: store.clone(),
        readiness: Readiness::default(),
        control,
        feed,
        watching: watcher.map(Watcher::health).unwrap_or_default(),
        tokens: Tokens::open(&config.store.path, &config.admin.tokens)?,
        clock: Arc::clone(&options.clock),
        started_at: options.clock.steady(),
        source,
        instance: Arc::new(instance(config, options, addresses)),
        streams: Streams::default(),
        stop: stop.clone(),
    })
}

/// The description of this process for the API.
fn instance(config: &Config, options: &Options, addresses: &Addresses) -> Instance {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let shown = |path: &Path| absolute(path).display().to_string();
    Instance {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        process_id: std::process::id(),
        config: shown(&options.config_path),
        store: shown(&config.store.path),
        events: addresses.events.iter().map(Address::to_string).collect(),
        admin: addresses.admin.to_string(),
        metrics: addresses.metrics.as_ref().map(Address::to_string),
    }
}

/// Binds what `listen` names, unless others could reach it without a token.
async fn bind(config: &Config, options: &mut Options) -> Result<Bound, AppError> {
    let mut bound = Bound::new(&config.listen, &mut options.sockets).await?;
    check_tokens(&bound.addresses, config)?;
    if let Some(folder) = &options.runtime_folder {
        bound.add_runtime_socket(folder, config).await;
    }
    Ok(bound)
}

/// Refuses addresses that other machines reach without a token: the file alone does not show all of them.
fn check_tokens(addresses: &Addresses, config: &Config) -> Result<(), AppError> {
    let has_none = config.ingest.tokens.is_empty();
    if let Some(open) = addresses.open_for_events().filter(|_| has_none) {
        return Err(AppError::OpenListener(open.to_string()));
    }
    let has_none = config.admin.tokens.is_empty();
    if let Some(open) = addresses.open_for_admin().filter(|_| has_none) {
        return Err(AppError::OpenAdmin(open.to_string()));
    }
    Ok(())
}

/// The shared inputs of ingest and lanes.
struct Parts<'a> {
    config: &'a Arc<Config>,
    store: &'a Store,
    metrics: &'a Metrics,
    clock: &'a Arc<dyn Clock>,
    shutdown: &'a Shutdown,
}

impl Parts<'_> {
    /// Makes the side that accepts events, until it is stopped.
    fn ingest(&self, alerts: &Alerts) -> Ingest {
        Ingest::new(
            Routes::new(Arc::clone(self.config), self.store, self.metrics),
            self.store.clone(),
            Arc::clone(self.clock),
            self.metrics.ingest(),
            alerts.clone(),
            self.shutdown.stop_accepting.clone(),
        )
    }

    /// Makes the lanes that deliver them.
    fn lanes(&self, reports: Reports) -> Result<Lanes, SettingsError> {
        Lanes::start(
            self.config,
            self.store.clone(),
            Egress::new(),
            self.metrics.clone(),
            reports,
            Arc::clone(self.clock),
            self.shutdown.clone(),
        )
    }
}

/// The task that hands on what the store commits.
fn run(store: &Store) -> JoinSet<Result<(), StoreError>> {
    let store = store.clone();
    let mut task = JoinSet::new();
    task.spawn(async move { store.run().await });
    task
}

fn store_options(config: &Config) -> StoreOptions {
    StoreOptions {
        path: config.store.path.clone(),
        dedup_window: config.ingest.dedup_window,
        dedup_max: config.ingest.dedup_max,
        memory_budget: MEMORY_BUDGET,
        relaxed: config.store.durability == Durability::Relaxed,
        max_pending: config.store.max_pending,
        retention: Retention {
            delivered: config.store.retention.delivered,
            dead: config.store.retention.dead,
            max_size: config.store.retention.max_size,
            removed_after: config.store.removed_after,
            dedup_window: config.ingest.dedup_window,
        },
    }
}

impl Running {
    /// Reports the start to commands, to the supervisor, and in the log.
    fn say_that_it_started(&self) {
        signpost::leave(&self.config.store.path, &self.addresses.admin);
        self.options.notifier.ready();
        let events: Vec<_> = self
            .addresses
            .events
            .iter()
            .map(ToString::to_string)
            .collect();
        let metrics = self.addresses.metrics.as_ref().map(ToString::to_string);
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            events = events.join(" "),
            admin = %self.addresses.admin,
            metrics,
            store = %self.config.store.path.display(),
            subscriptions = self.config.subscriptions.len(),
            "accepting events"
        );
    }
}
