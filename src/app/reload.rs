//! A new configuration, whole or not at all: loaded and prepared beside the running one, then put in force in one go.

use std::sync::Arc;

use crate::app::handle::ReloadRequest;
use crate::app::loading::Prepared;
use crate::app::running::Running;
use crate::config::{
    self, Config, ConfigError, Problem, Problems, Reloaded, Watcher, at_next_start,
};
use crate::domain::SubscriptionName;

/// Warnings of one load that are logged one by one.
const WARNINGS_MAX: usize = 20;

impl Running {
    /// Begins to load the configuration again, on a thread that ends with it.
    pub(super) fn begin_reload(&mut self, answer: ReloadRequest) {
        self.options.notifier.reloading();
        let looker = self.watcher.as_ref().map(Watcher::looker);
        let path = self.options.config_path.clone();
        let environment = self.options.environment.clone();
        let (store, metrics) = (self.store.clone(), self.metrics.clone());
        let judge = self.judge.clone();
        let is_from_pipe = self.options.is_from_pipe;
        self.loading.reload(answer, move || {
            if is_from_pipe {
                return Err(config::read_once(&path));
            }
            if let Some(looker) = &looker {
                looker.look();
            }
            let mut loaded = config::load(&path, &environment)?;
            loaded.warnings.add(judge.judge(&loaded)?);
            Ok(Prepared::new(loaded, looker.as_ref(), &store, &metrics))
        });
    }

    /// Puts a loaded configuration in force, or returns why the running one stays.
    pub(super) fn finish_reload(
        &mut self,
        prepared: Option<Result<Prepared, ConfigError>>,
        answer: ReloadRequest,
    ) {
        let result = match prepared {
            Some(Ok(prepared)) => self.put_in_force(prepared),
            // Copied, so that nothing that stays is among what the loader's thread has allocated: the allocator gives
            // the memory of a thread back from its end only.
            Some(Err(error)) => Err(error.clone()),
            None => Err(self.problem("", "could not be loaded: the loader ended by itself")),
        };
        self.metrics
            .config_reloaded(result.is_ok(), self.options.clock.wall());
        match &result {
            Ok(Reloaded {
                added,
                changed,
                removed,
                at_next_start: _,
            }) => {
                tracing::info!(added, changed, removed, "configuration reloaded");
            }
            Err(ConfigError(problems)) => {
                log_problems(problems);
                self.announcer.alerts().reload_failed(problems);
            }
        }
        self.options.notifier.ready();
        if let Some(answer) = answer {
            // The caller may have gone away.
            drop(answer.send(result));
        }
    }

    pub(super) fn put_in_force(&mut self, prepared: Prepared) -> Result<Reloaded, ConfigError> {
        let config = prepared.config;
        self.lanes
            .apply(&config)
            .map_err(|error| self.problem("subscriptions", &error.to_string()))?;
        self.ingest.replace(prepared.routes);
        self.metrics
            .set_configured(&names(&config), config.metrics.histograms);
        if let (Some(watcher), Some(survey)) = (&mut self.watcher, prepared.survey) {
            watcher.watch(survey);
        }
        log_warnings(&prepared.warnings);
        let reloaded = Reloaded {
            at_next_start: at_next_start(&self.started_with, &config),
            ..Reloaded::between(&self.config, &config)
        };
        for key in &reloaded.at_next_start {
            tracing::warn!(key, "a change of this key takes effect at the next start");
        }
        self.source.set_in_force(&config, prepared.files);
        self.in_force.send_replace(Arc::clone(&config));
        self.config = config;
        Ok(reloaded)
    }

    fn problem(&self, path: &str, message: &str) -> ConfigError {
        let problem = Problem {
            file: self.options.config_path.clone(),
            line: 1,
            column: 1,
            path: path.to_owned(),
            message: message.to_owned(),
            excerpt: None,
        };
        ConfigError(vec![problem].into())
    }
}

/// The names of all configured subscriptions.
pub(super) fn names(config: &Config) -> Vec<SubscriptionName> {
    config.subscriptions.keys().cloned().collect()
}

/// Logs what is questionable in a configuration: the first of it.
pub(super) fn log_warnings(warnings: &Problems) {
    let shown = warnings.iter().take(WARNINGS_MAX);
    let count = warnings.more() + warnings.iter().len() - shown.len();
    for Problem {
        file,
        line,
        column,
        path,
        message,
        ..
    } in shown
    {
        let file = file.display();
        tracing::warn!(%file, line, column, path, problem = message, "the configuration is questionable");
    }
    if count > 0 {
        tracing::warn!(
            count,
            "more of the configuration is questionable: `sidehook check` shows it"
        );
    }
}

fn log_problems(problems: &Problems) {
    for Problem {
        file,
        line,
        column,
        path,
        message,
        ..
    } in problems.iter()
    {
        let file = file.display();
        tracing::error!(%file, line, column, path, problem = message, "the configuration is wrong");
    }
    if problems.more() > 0 {
        let count = problems.more();
        tracing::error!(count, "more of the configuration is wrong");
    }
    tracing::error!("configuration not reloaded: the running one stays in place");
}
