//! The differences between two configurations: subscription by subscription and field by field, and key by key of the
//! other sections.
//!
//! Invariant: every difference is reported, but no secret. If only a secret differs and nothing of it is shown,
//! the change is marked as hidden.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::config::etag::hidden;
use crate::config::keyed::Keyed as _;
use crate::config::model::Config;
use crate::config::subscription::{Draft, Subscription};
use crate::domain::{Secret, SubscriptionName};

/// The sections and keys that take effect at the next start, sections first.
static AT_START: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut found = Vec::new();
    Config::at_start("", &mut found);
    found.sort_by_key(|key| key.contains('.'));
    found
});

/// The changes of a reload, in numbers of subscriptions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reloaded {
    /// New in the file.
    pub added: usize,
    /// Defined differently than before.
    pub changed: usize,
    /// Gone from the file.
    pub removed: usize,
    /// Keys whose change takes effect at the next start.
    pub at_next_start: Vec<&'static str>,
}

impl Reloaded {
    /// How many subscriptions differ between two configurations.
    #[must_use]
    pub fn between(old: &Config, new: &Config) -> Self {
        let mut reloaded = Self::default();
        for (_, change, _) in subscriptions(old, new) {
            match change {
                DiffKind::Added => reloaded.added += 1,
                DiffKind::Changed => reloaded.changed += 1,
                DiffKind::Removed => reloaded.removed += 1,
            }
        }
        reloaded
    }
}

/// The differences between two configurations. The lists are empty if there are none.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Diff {
    /// Those that differ, by name.
    pub subscriptions: Vec<SubscriptionDiff>,
    /// The keys of other sections that differ, in the order of the file.
    pub settings: Vec<SettingDiff>,
}

/// How a subscription differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SubscriptionDiff {
    /// Its name.
    pub name: String,
    /// Whether it is new, gone, or another than before.
    pub change: DiffKind,
    /// What differs: of a new one what is not the built-in default, of one that is gone nothing.
    pub fields: Vec<FieldDiff>,
}

/// The kind of change of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DiffKind {
    /// It is only in the new one.
    Added,
    /// It is in both.
    Changed,
    /// It is only in the old one.
    Removed,
}

/// A field that differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FieldDiff {
    /// Its name; `secret` has fingerprints as its values.
    pub field: String,
    /// As it is in the old one.
    pub from: Value,
    /// As it is in the new one.
    pub to: Value,
    /// What differs is secret, or the content of a file, and not shown.
    pub hidden: bool,
}

/// A key of another section that differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SettingDiff {
    /// Such as `ingest.max_body`.
    pub key: String,
    /// As it is in the old one.
    pub from: Value,
    /// As it is in the new one.
    pub to: Value,
    /// What differs is secret and not shown.
    pub hidden: bool,
    /// It takes effect at the next start.
    pub needs_restart: bool,
}

impl Diff {
    /// The changes that a reload from `old` to `new` would make.
    #[must_use]
    pub fn between(old: &Config, new: &Config) -> Self {
        let subscriptions = subscriptions(old, new).into_iter();
        Self {
            subscriptions: subscriptions
                .map(|(name, change, fields)| SubscriptionDiff {
                    name: name.to_string(),
                    change,
                    fields: fields(),
                })
                .collect(),
            settings: settings(old, new),
        }
    }

    /// Whether nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.subscriptions.is_empty() && self.settings.is_empty()
    }
}

/// The sections and keys that differ and take effect at the next start only.
#[must_use]
pub fn at_next_start(old: &Config, new: &Config) -> Vec<&'static str> {
    let settings = settings(old, new);
    let differs = |known: &&str| settings.iter().any(|changed| is_under(&changed.key, known));
    let at_start = AT_START.iter().map(String::as_str);
    at_start.filter(differs).collect()
}

fn is_under(key: &str, known: &str) -> bool {
    key.strip_prefix(known)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// A subscription that differs; its fields are compared only when needed.
type Differing<'c> = (
    &'c SubscriptionName,
    DiffKind,
    Box<dyn FnOnce() -> Vec<FieldDiff> + 'c>,
);

fn subscriptions<'c>(old: &'c Config, new: &'c Config) -> Vec<Differing<'c>> {
    let names: BTreeSet<_> = old
        .subscriptions
        .keys()
        .chain(new.subscriptions.keys())
        .collect();
    let differing = names
        .into_iter()
        .filter_map(|name| -> Option<Differing<'c>> {
            match (old.subscriptions.get(name), new.subscriptions.get(name)) {
                (None, Some(added)) => Some((
                    name,
                    DiffKind::Added,
                    Box::new(|| fields(&built_in(name), added)),
                )),
                (Some(_), None) => Some((name, DiffKind::Removed, Box::new(Vec::new))),
                (Some(before), Some(after)) if before != after => {
                    Some((name, DiffKind::Changed, Box::new(|| fields(before, after))))
                }
                (Some(_), Some(_)) | (None, None) => None,
            }
        });
    differing.collect()
}

/// A subscription with only built-in values.
fn built_in(name: &SubscriptionName) -> Subscription {
    let draft = Draft::named(name.clone());
    Subscription {
        definition: draft.definition(),
        ..draft.subscription
    }
}

fn fields(old: &Subscription, new: &Subscription) -> Vec<FieldDiff> {
    let mut found = Vec::new();
    let before = old.definition.fields();
    let (hidden_before, hidden_after) = (hidden(old), hidden(new));
    for (key, to) in &new.definition.fields() {
        let from = before.get(key).unwrap_or(&Value::Null);
        let field = match key.as_str() {
            // Shown by the keys they belong to.
            "url_is_secret" | "secret_set" => continue,
            "secret_fingerprint" => "secret",
            other => other,
        };
        let of_field = |(_, of, _): &&(u8, &str, Secret)| *of == field;
        let before = hidden_before.iter().filter(of_field);
        let is_hidden = match field {
            // In their order, each value with its name.
            "headers" => old.headers != new.headers,
            _ => !before.eq(hidden_after.iter().filter(of_field)),
        };
        if from != to || is_hidden {
            found.push(FieldDiff {
                field: field.to_owned(),
                from: from.clone(),
                to: to.clone(),
                hidden: from == to,
            });
        }
    }
    found
}

fn settings(old: &Config, new: &Config) -> Vec<SettingDiff> {
    let mut found = Vec::new();
    compare("", &old.show(), &new.show(), &mut found);
    let url = |config: &Config| {
        let webhook = config.notifications.webhook.as_ref();
        webhook.map(|webhook| webhook.url.clone())
    };
    let key = "notifications.webhook.url";
    let is_told = found.iter().any(|change| is_under(key, &change.key));
    if url(old) != url(new) && !is_told {
        found.push(SettingDiff {
            key: key.to_owned(),
            from: Value::Null,
            to: Value::Null,
            hidden: true,
            needs_restart: false,
        });
    }
    found
}

/// Walks down two mappings to what differs.
fn compare(
    path: &str,
    old: &Map<String, Value>,
    new: &Map<String, Value>,
    found: &mut Vec<SettingDiff>,
) {
    for (key, to) in new {
        let from = old.get(key).unwrap_or(&Value::Null);
        let key = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        match (from, to) {
            (Value::Object(from), Value::Object(to)) => compare(&key, from, to, found),
            _ if from == to => {}
            _ => found.push(SettingDiff {
                needs_restart: AT_START.iter().any(|known| is_under(&key, known)),
                key,
                from: from.clone(),
                to: to.clone(),
                hidden: false,
            }),
        }
    }
}
