//! A whole relay in this process, with a folder and ports of its own.

use std::path::Path;
use std::sync::Arc;

use sidehook::app::{self, Address, AppError, Handle, Options};
use sidehook::config::{self, Environment};
use sidehook::domain::SystemClock;
use sidehook::systemd::Notifier;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::support::http::{Answer, get, post};

/// What every configuration of a test begins with.
const PRELUDE: &str = "\
listen: {events: 127.0.0.1:0, admin: 127.0.0.1:0, metrics: 127.0.0.1:0}
store: {path: store}
network: {allow_private: [127.0.0.1/32]}
";

/// A running relay. Dropped, it ends as by a kill.
pub(crate) struct Relay {
    pub(crate) handle: Handle,
    pub(crate) events: String,
    pub(crate) admin: String,
    pub(crate) metrics: String,
    folder: TempDir,
    ended: JoinHandle<Result<(), AppError>>,
}

impl Relay {
    /// Starts one with these subscriptions (the lines below `subscriptions:`) in a new folder.
    pub(crate) async fn start(subscriptions: &str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), subscriptions).await
    }

    /// Starts one on a folder that may have a store from before.
    pub(crate) async fn start_in(folder: TempDir, subscriptions: &str) -> Self {
        write_config(folder.path(), subscriptions);
        Self::start_on(folder).await
    }

    /// Starts one with this configuration, which has neither `listen` nor `store` nor `network`, in a folder of its own.
    pub(crate) async fn start_whole(folder: TempDir, text: &str) -> Self {
        std::fs::write(
            folder.path().join("config.yaml"),
            format!("{PRELUDE}{text}"),
        )
        .unwrap();
        Self::start_on(folder).await
    }

    /// Starts one with this file in a new folder.
    pub(crate) async fn start_with(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.yaml"), text).unwrap();
        Self::start_on(folder).await
    }

    /// Starts one on a folder with its file.
    pub(crate) async fn start_on(folder: TempDir) -> Self {
        let config_path = folder.path().join("config.yaml");
        let environment = Environment::default();
        let loaded = config::load(&config_path, &environment).unwrap();
        let options = Options {
            config_path,
            is_from_pipe: false,
            environment,
            clock: Arc::new(SystemClock::new()),
            watch: false,
            sockets: None,
            notifier: Notifier::default(),
            runtime_folder: None,
        };
        let running = app::start(loaded, options).await.unwrap();
        let addresses = running.addresses();
        let Some(Address::Tcp(events)) = addresses.events.first() else {
            panic!("no events listener")
        };
        Self {
            handle: running.handle(),
            events: events.to_string(),
            admin: addresses.admin.to_string(),
            metrics: addresses.metrics.as_ref().unwrap().to_string(),
            folder,
            ended: tokio::spawn(running.wait()),
        }
    }

    /// Posts a JSON event.
    pub(crate) async fn post(&self, event_type: &str, body: &str) -> Answer {
        post(&self.events, &format!("/events/{event_type}"), body).await
    }

    /// The value of a series in `/metrics`; none if it is not there.
    pub(crate) async fn metric(&self, series: &str) -> Option<f64> {
        let text = get(&self.admin, "/metrics").await.body;
        let mut values = text.lines().filter_map(|line| line.strip_prefix(series));
        values.find_map(|value| value.strip_prefix(' ')?.parse().ok())
    }

    /// Replaces the subscriptions in the file; the relay does not know yet.
    pub(crate) fn rewrite(&self, subscriptions: &str) {
        write_config(self.folder.path(), subscriptions);
    }

    /// The whole file.
    pub(crate) fn text(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("config.yaml")).unwrap()
    }

    /// Replaces the whole file.
    pub(crate) fn rewrite_whole(&self, text: &str) {
        std::fs::write(self.folder.path().join("config.yaml"), text).unwrap();
    }

    /// Its folder, with `config.yaml` and `store`.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Stops it at once and gives its folder back: attempts in flight are given up.
    pub(crate) async fn stop_now(self) -> TempDir {
        self.handle.stop_now();
        self.ended.await.unwrap().unwrap();
        self.folder
    }

    /// Stops it in order and gives its folder back.
    pub(crate) async fn stop(self) -> TempDir {
        self.handle.stop();
        self.ended.await.unwrap().unwrap();
        self.folder
    }
}

fn write_config(folder: &Path, subscriptions: &str) {
    let text = format!("{PRELUDE}subscriptions:\n{subscriptions}");
    std::fs::write(folder.join("config.yaml"), text).unwrap();
}

/// The lines of a subscription to everything, unsigned, with these further fields.
pub(crate) fn subscription(name: &str, url: &str, fields: &str) -> String {
    format!("  {name}: {{url: '{url}', events: ['*']{fields}}}\n")
}
