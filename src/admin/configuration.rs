//! `/v1/config`: what is in force, what is on the disk, and how the two differ.

use http::StatusCode;
use std::collections::BTreeMap;

use crate::admin::answer::{Answer, json};
use crate::admin::body::{Fields, nothing};
use crate::admin::control::Command;
use crate::admin::operation::Call;
use crate::admin::refusal::Refusal;
use crate::admin::state::Admin;
use crate::admin::views::texts;
use crate::api::{
    self, Checked, DiffView, FieldDiff, Finding, GoneSubscription, Reload, ReloadRequest,
    SettingDiff,
};
use crate::config::{Config, ConfigError, Diff, DiffKind, Problem, Problems, SubscriptionDiff};
use crate::domain::{SubscriptionName, SubscriptionNumber};
use crate::store::OperationError;

/// `GET /v1/config`
pub(super) async fn show(call: Call) -> Result<Answer, Refusal> {
    Ok(json(&call.admin.control.config().redacted()))
}

impl Finding {
    fn new(problem: &Problem) -> Self {
        Self {
            file: problem.file.display().to_string(),
            line: problem.line,
            column: problem.column,
            path: problem.path.clone(),
            message: problem.message.clone(),
        }
    }
}

/// `POST /v1/config/check`
pub(super) async fn check(call: Call) -> Result<Answer, Refusal> {
    nothing(&call.body)?;
    let read = call.admin.source.read().await?;
    let none = Problems::default();
    let (errors, warnings) = match &read {
        Ok(loaded) => (&none, &loaded.warnings),
        Err(ConfigError(problems)) => (problems, &none),
    };
    Ok(json(&Checked {
        valid: read.is_ok(),
        errors: errors.iter().map(Finding::new).collect(),
        warnings: warnings.iter().map(Finding::new).collect(),
        more_errors: errors.more(),
        more_warnings: warnings.more(),
    }))
}

/// `GET /v1/config/diff`
pub(super) async fn diff(call: Call) -> Result<Answer, Refusal> {
    let loaded = call.admin.source.read().await?.map_err(invalid)?;
    let config = call.admin.control.config();
    let Diff {
        subscriptions,
        settings,
    } = Diff::between(&config, &loaded.config);
    let subscriptions = subscriptions.into_iter();
    let settings = settings.into_iter().map(|setting| SettingDiff {
        key: setting.key,
        from: setting.from,
        to: setting.to,
        hidden: setting.hidden,
        needs_restart: setting.needs_restart,
    });
    let gone = gone(&call.admin, &config).into_iter();
    Ok(json(&DiffView {
        subscriptions: subscriptions
            .map(|it| api::SubscriptionDiff::new(&call.admin, it))
            .collect(),
        settings: settings.collect(),
        gone: gone
            .filter(|(name, _)| !loaded.config.subscriptions.contains_key(name))
            .map(|(name, (_, held))| GoneSubscription {
                name: name.to_string(),
                held,
            })
            .collect(),
    }))
}

impl api::SubscriptionDiff {
    fn new(admin: &Admin, diff: SubscriptionDiff) -> Self {
        let pending = || {
            let name = diff.name.parse().ok()?;
            let number = admin.store.known(&name)?;
            Some(admin.store.queue(number).counts().pending)
        };
        let (change, pending) = match diff.change {
            DiffKind::Added => ("added", None),
            DiffKind::Changed => ("changed", None),
            DiffKind::Removed => ("removed", Some(pending().unwrap_or(0))),
        };
        let fields = diff.fields.into_iter().map(|field| FieldDiff {
            field: field.field,
            from: field.from,
            to: field.to,
            hidden: field.hidden,
        });
        Self {
            fields: fields.collect(),
            name: diff.name,
            change: change.to_owned(),
            pending,
        }
    }
}

/// Subscriptions that this configuration does not have and that have deliveries waiting, with how many.
fn gone(admin: &Admin, config: &Config) -> BTreeMap<SubscriptionName, (SubscriptionNumber, u64)> {
    let all = admin.store.subscriptions().into_iter();
    let gone =
        all.filter(|(name, _)| !name.is_internal() && !config.subscriptions.contains_key(name));
    let waiting = gone.filter_map(|(name, number)| {
        let pending = admin.store.queue(number).counts().pending;
        (pending > 0).then_some((name, (number, pending)))
    });
    waiting.collect()
}

/// `POST /v1/config/reload`
pub(super) async fn reload(call: Call) -> Result<Answer, Refusal> {
    let mut fields = Fields::of::<ReloadRequest>(&call.body);
    let cancel_removed = Some(fields.flag("cancel_removed"));
    let cancel_removed = fields.end(cancel_removed)?;
    let asked = call.admin.control.ask(Command::Reload).await;
    let reloaded = asked.ok_or_else(Refusal::stopping)?.map_err(invalid)?;
    let mut view = Reload {
        added: reloaded.added,
        changed: reloaded.changed,
        removed: reloaded.removed,
        at_next_start: texts(reloaded.at_next_start),
        cancelled_deliveries: 0,
        in_flight: Vec::new(),
    };
    if cancel_removed {
        let config = call.admin.control.config();
        for (name, (number, _)) in gone(&call.admin, &config) {
            match call.admin.store.cancel_all(number).await {
                Ok(cancelled) => view.cancelled_deliveries += cancelled,
                Err(OperationError::InFlight) => view.in_flight.push(name.to_string()),
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(json(&view))
}

/// The files are wrong: what is in force stays.
fn invalid(ConfigError(problems): ConfigError) -> Refusal {
    let mut errors: Vec<_> = problems
        .iter()
        .map(|problem| {
            let (file, line, column) = (problem.file.display(), problem.line, problem.column);
            let message = format!("{} ({file}:{line}:{column})", problem.message);
            (problem.path.clone(), message)
        })
        .collect();
    errors.sort_by(|(one, _), (other, _)| one.cmp(other));
    // Of the configuration as a whole.
    errors.extend(problems.rest().map(|rest| (String::new(), rest)));
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    let detail = "the configuration on the disk is not valid: the one in force stays";
    Refusal::new(status, "invalid_config", detail).with_errors(errors)
}
