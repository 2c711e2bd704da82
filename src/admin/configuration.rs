//! `/v1/config`: what is in force, what is on the disk, and how the two differ.

use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

use crate::admin::Admin;
use crate::admin::answer::{Answer, json};
use crate::admin::body::only;
use crate::admin::control::Command;
use crate::admin::operation::Call;
use crate::admin::refusal::Refusal;
use crate::config::{Config, ConfigError, Diff, DiffKind, Problem, Problems, SubscriptionDiff};
use crate::domain::{SubscriptionName, SubscriptionNumber};
use crate::store::VerbError;

/// `GET /v1/config`
pub(super) async fn show(call: Call) -> Result<Answer, Refusal> {
    Ok(json(&call.admin.control.config().redacted()))
}

/// What is wrong or questionable in the files.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Checked {
    /// Whether a reload would take it
    valid: bool,
    /// Errors, at most 100
    errors: Vec<Finding>,
    /// Warnings, at most 100
    warnings: Vec<Finding>,
    /// Number of errors that are not listed
    more_errors: usize,
    /// Number of warnings that are not listed
    more_warnings: usize,
}

/// Something in a file.
#[derive(Debug, Serialize, JsonSchema)]
struct Finding {
    /// The file
    file: String,
    /// From 1
    line: usize,
    /// From 1, in characters
    column: usize,
    /// Such as `subscriptions.billing.url`; empty for the file as a whole
    path: String,
    /// What is wrong and what would be right
    message: String,
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
    only(&call.body, &[])?;
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

/// What a reload would change.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct DiffView {
    /// Subscriptions that differ, by name
    subscriptions: Vec<SubscriptionDiffView>,
    /// Keys of other sections that differ
    settings: Vec<SettingDiffView>,
    /// Subscriptions that were gone before and have deliveries held, which `cancel_removed` would cancel too
    gone: Vec<Gone>,
}

/// How a subscription differs.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "SubscriptionDiff")]
struct SubscriptionDiffView {
    /// Its name
    name: String,
    /// What becomes of it
    #[schemars(extend("enum" = ["added", "changed", "removed"]))]
    change: &'static str,
    /// What differs: of a new one what is not the built-in default, of one that is removed nothing
    fields: Vec<FieldDiffView>,
    /// Of one that is removed the pending deliveries that would be held; else null
    pending: Option<u64>,
}

/// A field that differs.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "FieldDiff")]
struct FieldDiffView {
    /// Its name; `secret` has fingerprints as its values
    field: String,
    /// As it is in force
    from: Value,
    /// As it is on the disk
    to: Value,
    /// What differs is secret, or the content of a file, and not shown
    hidden: bool,
}

/// A key of another section that differs.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "SettingDiff")]
struct SettingDiffView {
    /// Such as `ingest.max_body`
    key: String,
    /// As it is in force
    from: Value,
    /// As it is on the disk
    to: Value,
    /// What differs is secret and not shown
    hidden: bool,
    /// It takes effect at the next start
    needs_restart: bool,
}

/// A subscription that is gone from the file.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "GoneSubscription")]
struct Gone {
    /// Its name
    name: String,
    /// Deliveries that are held
    held: u64,
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
    let settings = settings.into_iter().map(|setting| SettingDiffView {
        key: setting.key,
        from: setting.from,
        to: setting.to,
        hidden: setting.hidden,
        needs_restart: setting.needs_restart,
    });
    let gone = gone(&call.admin, &config).into_iter();
    Ok(json(&DiffView {
        subscriptions: subscriptions
            .map(|it| SubscriptionDiffView::new(&call.admin, it))
            .collect(),
        settings: settings.collect(),
        gone: gone
            .filter(|(name, _)| !loaded.config.subscriptions.contains_key(name))
            .map(|(name, (_, held))| Gone {
                name: name.to_string(),
                held,
            })
            .collect(),
    }))
}

impl SubscriptionDiffView {
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
        let fields = diff.fields.into_iter().map(|field| FieldDiffView {
            field: field.field,
            from: field.from,
            to: field.to,
            hidden: field.hidden,
        });
        Self {
            fields: fields.collect(),
            name: diff.name,
            change,
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

/// What a reload changed.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Reload")]
pub(super) struct ReloadedView {
    /// Subscriptions that are new
    added: usize,
    /// Those that are defined differently than before
    changed: usize,
    /// Those that are gone
    removed: usize,
    /// Keys whose change since the start takes effect at the next one
    at_next_start: Vec<&'static str>,
    /// Deliveries of those that are gone which were cancelled
    cancelled_deliveries: u64,
    /// Those that are gone whose deliveries are not cancelled because an attempt of them is in flight
    in_flight: Vec<String>,
}

/// What a reload is to do.
#[derive(Debug, JsonSchema)]
#[schemars(rename = "ReloadRequest", deny_unknown_fields)]
#[expect(dead_code, reason = "describes a body, which is read field by field")]
pub(super) struct ReloadBody {
    /// Cancel the deliveries of subscriptions that are not in the file; default false: they are held
    #[schemars(skip_serializing_if = "Option::is_none")]
    cancel_removed: Option<bool>,
}

/// `POST /v1/config/reload`
pub(super) async fn reload(call: Call) -> Result<Answer, Refusal> {
    only(&call.body, &["cancel_removed"])?;
    let cancel_removed = match call.body.get("cancel_removed") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(cancel)) => *cancel,
        Some(_) => {
            let message = "expected true or false";
            return Err(Refusal::invalid_at("cancel_removed", message));
        }
    };
    let asked = call.admin.control.ask(Command::Reload).await;
    let reloaded = asked.ok_or_else(Refusal::stopping)?.map_err(invalid)?;
    let mut view = ReloadedView {
        added: reloaded.added,
        changed: reloaded.changed,
        removed: reloaded.removed,
        at_next_start: reloaded.at_next_start,
        cancelled_deliveries: 0,
        in_flight: Vec::new(),
    };
    if cancel_removed {
        let config = call.admin.control.config();
        for (name, (number, _)) in gone(&call.admin, &config) {
            match call.admin.store.cancel_all(number).await {
                Ok(cancelled) => view.cancelled_deliveries += cancelled,
                Err(VerbError::InFlight) => view.in_flight.push(name.to_string()),
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
