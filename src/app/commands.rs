//! Commands of the API: gauges, test attempts, reloads, and changes of subscriptions.
//!
//! A change of a definition is a change of the file: checked, written and put in force before it is answered, in one go
//! with whether the subscription is enabled. Nothing of a change that is refused is done.

use std::sync::Arc;

use crate::admin::{Command, EditDone, EditRefusal, EditRequest, TestAttempt};
use crate::app::loading::{EditAnswer, Prepared, Written};
use crate::app::running::Running;
use crate::config::{self, Change, Config, ConfigError, Edit, EditError, Subscription, Watcher};
use crate::domain::StatusError;

/// Why no edit is made.
const FROM_PIPE: &str = "the configuration came through a pipe: there is no file to change";

impl Running {
    /// Carries out a command of the API. If the caller has gone away, the answer is dropped.
    pub(super) fn handle_command(&mut self, command: Command) {
        let loads = matches!(command, Command::Reload(_) | Command::Edit(..));
        if loads && !self.loading.is_idle() {
            self.waiting.push_back(command);
            return;
        }
        match command {
            Command::Refresh(done) => {
                self.lanes.publish();
                done.send(()).unwrap_or_default();
            }
            Command::Reload(answer) => self.begin_reload(Some(answer)),
            Command::Edit(request, answer) => self.edit(request, answer),
            Command::Hurry(name, answer) => drop(answer.send(self.lanes.hurry(&name))),
            Command::Test(name, answer) => {
                let attempt = self.lanes.test(&name);
                let attempt = attempt.map(|attempt| -> TestAttempt { Box::pin(attempt) });
                drop(answer.send(attempt));
            }
        }
    }

    /// Makes a change of a subscription: at once if the file stays as it is.
    fn edit(&mut self, request: Box<EditRequest>, answer: EditAnswer) {
        if let Err(refusal) = check_precondition(&request, &self.config) {
            drop(answer.send(Err(refusal)));
            return;
        }
        let Some(change) = request.change.clone() else {
            let result = self.set_status(&request);
            drop(answer.send(result.map(|()| EditDone::default())));
            return;
        };
        if self.options.is_from_pipe {
            drop(answer.send(Err(EditRefusal::Edit(EditError::Refused(
                FROM_PIPE.to_owned(),
            )))));
            return;
        }
        let edit = Edit {
            name: request.name.clone(),
            change,
        };
        let enable = request.enable;
        let path = self.options.config_path.clone();
        let environment = self.options.environment.clone();
        let now = self.options.clock.wall();
        let (store, metrics) = (self.store.clone(), self.metrics.clone());
        let looker = self.watcher.as_ref().map(Watcher::looker);
        let judge = self.judge.clone();
        let write = move || {
            let mut edited = config::prepare(&path, &environment, &edit, now)?;
            let after = edited.loaded.config.subscriptions.get(&edit.name);
            check_status(enable, after.map(Arc::as_ref))?;
            let judged = judge.judge(&edited.loaded);
            judged.map_err(|error| EditError::of_problems(&edit.name, error))?;
            let generated_secret = edited.generated_secret.take();
            let loaded = edited.commit()?;
            Ok(Written {
                prepared: Prepared::new(loaded, looker.as_ref(), &store, &metrics),
                generated_secret,
            })
        };
        self.loading.edit(request, answer, write);
    }

    /// Puts an edit in force that was written.
    pub(super) fn finish_edit(
        &mut self,
        written: Option<Result<Written, EditRefusal>>,
        request: &EditRequest,
        answer: EditAnswer,
    ) {
        let result = match written {
            Some(written) => written.and_then(|written| self.put_edit_in_force(written, request)),
            None => Err(EditRefusal::Edit(EditError::Refused(
                "could not be made: the thread for it ended by itself".to_owned(),
            ))),
        };
        let subscription = &request.name;
        match &result {
            Ok(_) => tracing::info!(%subscription, "subscription changed by the API"),
            Err(refusal) => {
                tracing::info!(%subscription, %refusal, "change of a subscription refused");
            }
        }
        drop(answer.send(result));
    }

    fn put_edit_in_force(
        &mut self,
        written: Written,
        request: &EditRequest,
    ) -> Result<EditDone, EditRefusal> {
        let result = self.put_in_force(written.prepared);
        self.metrics
            .config_reloaded(result.is_ok(), self.options.clock.wall());
        if let Err(ConfigError(problems)) = &result {
            self.announcer.alerts().reload_failed(problems);
        }
        result.map_err(EditRefusal::NotInForce)?;
        match (&request.change, request.enable) {
            // A subscription of this name that was disabled before it was removed does not concern a new one.
            (Some(Change::Create(_)), None) => match self.lanes.enable(&request.name) {
                Ok(()) | Err(StatusError::Inactive) => {}
                Err(error) => return Err(error.into()),
            },
            _ => self.set_status(request)?,
        }
        Ok(EditDone {
            generated_secret: written.generated_secret,
        })
    }

    fn set_status(&self, request: &EditRequest) -> Result<(), EditRefusal> {
        match request.enable {
            Some(true) => self.lanes.enable(&request.name)?,
            Some(false) => self.lanes.disable(&request.name)?,
            None => {}
        }
        Ok(())
    }
}

/// Whether the definition in force is one of those that the change is meant for.
fn check_precondition(request: &EditRequest, config: &Config) -> Result<(), EditRefusal> {
    let Some(tags) = &request.if_match else {
        return Ok(());
    };
    let subscription = config.subscriptions.get(&request.name);
    let tag = subscription.map(|subscription| config::etag(subscription));
    let is_meant = tag.is_some_and(|tag| tags.iter().any(|meant| meant == "*" || *meant == tag));
    if is_meant {
        Ok(())
    } else {
        Err(EditRefusal::Precondition)
    }
}

/// Whether a subscription with this definition can be enabled or disabled; asked before anything is written.
fn check_status(enable: Option<bool>, after: Option<&Subscription>) -> Result<(), StatusError> {
    let Some(enable) = enable else { return Ok(()) };
    let definition = after.ok_or(StatusError::Unknown)?;
    match enable {
        true if !definition.active => Err(StatusError::Inactive),
        false if definition.locked => Err(StatusError::Locked),
        true | false => Ok(()),
    }
}
