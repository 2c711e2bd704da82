//! An edit up to the point where nothing is left but to write it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json};
use zeroize::Zeroizing;

use crate::config::document::{BYTE_ORDER_MARK, Document, Entry, Node, Value};
use crate::config::edit::change::{Change, Edit};
use crate::config::edit::check::is_as_asked;
use crate::config::edit::commit::{Edited, Write};
use crate::config::edit::error::EditError;
use crate::config::edit::json;
use crate::config::edit::plan::{Before, fields};
use crate::config::edit::render::Quotes;
use crate::config::edit::secrets::{Vault, wrong};
use crate::config::edit::steps::Alter;
use crate::config::edit::text::edited;
use crate::config::edit::want::Want;
use crate::config::environment::Environment;
use crate::config::load::{Read, load_with};
use crate::config::loaded::Loaded;
use crate::config::model::Config;
use crate::config::parse::parse;
use crate::config::reader::Overlay;
use crate::config::report::Report;
use crate::config::schema::{subscription_properties, wrong_types};
use crate::domain::{Secret, Timestamp};

const NOT_EDITABLE: &str =
    "the file is written in a way that cannot be edited in this place: change it by hand";

/// Puts an edit into the text of the file that has the subscription, and validates the whole configuration with it.
///
/// # Errors
/// All problems with the edit. Nothing is written in any case.
pub fn prepare(
    path: &Path,
    environment: &Environment,
    edit: &Edit,
    now: Timestamp,
) -> Result<Edited, EditError> {
    let read = load_with(path, environment, Overlay::default()).map_err(EditError::Broken)?;
    let Read { documents, outcome } = read;
    let before = outcome.map_err(EditError::Broken)?;
    if !before.config.admin.edit_config {
        let message = "admin.edit_config is false: only people change the files";
        return Err(EditError::Refused(message.to_owned()));
    }
    let target = Target::find(edit, &before, documents)?;
    let mut draft = target.draft(path, environment, edit, &before, now, &[])?;
    let insisted = draft.not_in_force(edit);
    if !insisted.is_empty() {
        draft = target.draft(path, environment, edit, &before, now, &insisted)?;
    }
    let Draft { plan, new, after } = draft;
    // The problems that the readers report are more precise, so that they come first.
    check_types(&edit.change)?;
    check_outcome(edit, &after, plan.expected.as_ref())?;
    let file = target.document.path.clone();
    let write = Write {
        file: file.clone(),
        old: target.exists.then(|| target.bytes(&target.document.text)),
        new,
        like: path.to_path_buf(),
        store: before.config.store.path.clone(),
        advice: advice(edit, &before.config, &file),
        secrets: plan
            .files
            .into_iter()
            .map(|file| (file.path, with_newline(&file.secret)))
            .collect(),
        secrets_dir: before.config.admin.secrets_dir.clone(),
        named: before.files().to_vec(),
        unnamed: before
            .files()
            .iter()
            .filter(|file| !after.files().contains(file))
            .cloned()
            .collect(),
    };
    Ok(Edited {
        loaded: after,
        file,
        generated_secret: plan.generated,
        write,
    })
}

/// Advice if `file`, which the edit changes, cannot be written.
fn advice(edit: &Edit, config: &Config, file: &Path) -> String {
    let (name, is_new) = (&edit.name, matches!(edit.change, Change::Create(_)));
    let own = config.admin.write_to.as_deref();
    if own.is_some_and(|own| is_same(own, file)) {
        return "It is admin.write_to: let the relay write it".to_owned();
    }
    let shown = match own {
        Some(own) => own.to_path_buf(),
        None => config.store.path.join("subscriptions.yaml"),
    };
    let shown = std::path::absolute(&shown).unwrap_or(shown);
    let shown = shown.display();
    let mut steps =
        "What the API may edit belongs into a file that the relay can write: ".to_owned();
    if own.is_none() {
        steps.push_str(&format!(
            "set admin.write_to: {shown} and add it to include"
        ));
    }
    if !is_new {
        let joint = if own.is_none() { ", then " } else { "" };
        steps.push_str(&format!(
            "{joint}move subscriptions.{name} from {} to {shown}",
            file.display()
        ));
    }
    steps
}

/// As a file: a line break at the end, of which readers take one away.
fn with_newline(secret: &Secret) -> Secret {
    Secret::new([secret.expose(), b"\n"].concat())
}

/// The file that changes.
struct Target {
    document: Document,
    /// The main file, if it is another.
    main: Option<Document>,
    exists: bool,
}

/// An edit as a whole, before anything is written.
struct Draft {
    plan: Plan,
    /// The bytes of the file.
    new: Secret,
    after: Loaded,
}

impl Draft {
    /// Unwritten fields that were given as in force, but no longer follow from the rest: without a secret the signature
    /// is none, with one it has to be written.
    fn not_in_force(&self, edit: &Edit) -> Vec<String> {
        let (Change::Patch(given) | Change::Replace(given)) = &edit.change else {
            return Vec::new();
        };
        let Some(subscription) = self.after.config.subscriptions.get(&edit.name) else {
            return Vec::new();
        };
        let definition = subscription.definition.fields();
        let differs = |(key, json): &(&String, &Json)| {
            !json.is_null()
                && self.plan.in_force.contains(*key)
                && definition.get(*key) != Some(*json)
        };
        let differing = given.iter().filter(differs);
        differing.map(|(key, _)| key.clone()).collect()
    }
}

/// The planned changes.
struct Plan {
    /// Fields that were given as they are in force.
    in_force: Vec<String>,
    alter: Alter,
    files: Vec<crate::config::edit::secrets::NewFile>,
    expected: Option<Secret>,
    generated: Option<Secret>,
}

impl Target {
    fn find(edit: &Edit, before: &Loaded, documents: Vec<Document>) -> Result<Self, EditError> {
        let name = edit.name.as_str();
        let existing = before.config.subscriptions.get(&edit.name);
        let is_new = matches!(edit.change, Change::Create(_));
        match existing {
            Some(_) if is_new => return Err(EditError::Exists),
            None if !is_new => return Err(EditError::Unknown),
            Some(subscription) if subscription.locked => return Err(EditError::Locked),
            Some(_) | None => {}
        }
        let write_to = before.config.admin.write_to.as_deref();
        let position = match (is_new, write_to) {
            (false, _) => documents
                .iter()
                .position(|document| entry(document, name).is_some()),
            (true, None) => Some(0),
            (true, Some(path)) => documents
                .iter()
                .position(|document| is_same(&document.path, path)),
        };
        let mut documents = documents;
        if let Some(position) = position {
            let document = documents.swap_remove(position);
            // The first one becomes the last one, unless it is the one that changes.
            let main = (position > 0)
                .then(|| documents.into_iter().next())
                .flatten();
            return Ok(Self {
                document,
                main,
                exists: true,
            });
        }
        let path = write_to.ok_or(EditError::Unknown)?.to_path_buf();
        Ok(Self {
            document: parse(0, path, Vec::new(), &mut Report::default()),
            main: documents.into_iter().next(),
            exists: false,
        })
    }

    /// The bytes of the file with this text.
    fn bytes(&self, text: &str) -> Secret {
        let mark = if self.document.has_byte_order_mark {
            BYTE_ORDER_MARK
        } else {
            ""
        };
        Secret::new([mark.as_bytes(), text.as_bytes()].concat())
    }

    /// Puts the edit into the text and reads the whole with it.
    fn draft(
        &self,
        path: &Path,
        environment: &Environment,
        edit: &Edit,
        before: &Loaded,
        now: Timestamp,
        insisted: &[String],
    ) -> Result<Draft, EditError> {
        let plan = self.plan(edit, before, now, insisted)?;
        let new = apply(&self.document, &plan.alter)
            .ok_or_else(|| EditError::Refused(NOT_EDITABLE.to_owned()))?;
        let new = self.bytes(&new);
        let mut overlay = BTreeMap::from([(self.document.path.clone(), new.clone())]);
        let secrets = plan.files.iter();
        overlay.extend(secrets.map(|file| (file.path.clone(), with_newline(&file.secret))));
        let after = load_with(path, environment, Overlay(overlay))
            .and_then(|read| read.outcome)
            .map_err(|error| EditError::of_problems(&edit.name, error))?;
        Ok(Draft { plan, new, after })
    }

    fn plan(
        &self,
        edit: &Edit,
        loaded: &Loaded,
        now: Timestamp,
        insisted: &[String],
    ) -> Result<Plan, EditError> {
        let name = edit.name.as_str();
        let main = self.main.as_ref().unwrap_or(&self.document);
        let subscription = loaded.config.subscriptions.get(&edit.name);
        let definition = subscription.map(|subscription| subscription.definition.fields());
        let before = Before {
            entry: entry(&self.document, name),
            definition: definition.as_ref(),
            defaults: main.node().and_then(|root| root.child("defaults")),
            insisted,
        };
        let current = subscription.and_then(|subscription| subscription.secret.as_ref());
        let secrets_dir = &loaded.config.admin.secrets_dir;
        let mut vault = Vault::new(name, secrets_dir, &self.document.path, now);
        let mut generated = None;
        let alter = match &edit.change {
            Change::Delete => Alter::Remove,
            Change::Patch(given) | Change::Replace(given) => {
                let is_whole = matches!(edit.change, Change::Replace(_));
                let mut alters =
                    fields(name, given, is_whole, before).map_err(EditError::Invalid)?;
                alters.extend(vault.fields(given, before, current)?);
                Alter::Fields(alters)
            }
            Change::Create(given) => {
                let mut alters = fields(name, given, true, before).map_err(EditError::Invalid)?;
                alters.extend(vault.fields(given, before, None)?);
                let is_given = given.get("secret").is_some_and(|json| !json.is_null());
                if !is_given && wants_secret(given, before.defaults) {
                    let (secret, want) = vault.generate()?;
                    generated = Some(secret);
                    alters.push(("secret".to_owned(), Alter::Set(want)));
                }
                new_entry(alters)
            }
            Change::RotateSecret { secret, grace } => {
                Alter::Fields(vault.rotate(secret, *grace, before)?)
            }
        };
        let entries = vec![(name.to_owned(), alter)];
        Ok(Plan {
            in_force: in_force(edit, before),
            alter: Alter::Fields(vec![("subscriptions".to_owned(), Alter::Fields(entries))]),
            files: vault.files,
            expected: vault.expected,
            generated,
        })
    }
}

/// The fields that are given as they are in force.
fn in_force(edit: &Edit, before: Before<'_>) -> Vec<String> {
    let (Change::Patch(given) | Change::Replace(given)) = &edit.change else {
        return Vec::new();
    };
    let is_in_force = |(key, json): &(&String, &Json)| {
        let definition = before
            .definition
            .and_then(|definition| definition.get(*key));
        definition == Some(*json)
    };
    let in_force = given.iter().filter(is_in_force);
    in_force.map(|(key, _)| key.clone()).collect()
}

/// Refuses JSON types that the file could not distinguish from valid ones.
fn check_types(change: &Change) -> Result<(), EditError> {
    let fields = match change {
        Change::Patch(fields) | Change::Replace(fields) | Change::Create(fields) => fields,
        Change::Delete | Change::RotateSecret { .. } => return Ok(()),
    };
    let wrong = wrong_types(fields, &subscription_properties());
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(EditError::Invalid(wrong))
    }
}

/// A whole subscription, in the order in which its fields were given.
fn new_entry(alters: Vec<(String, Alter)>) -> Alter {
    let fields = alters.into_iter().filter_map(|(key, alter)| match alter {
        Alter::Set(want) => Some((key, want)),
        Alter::Keep | Alter::Remove | Alter::Fields(_) => None,
    });
    Alter::Set(Want::Block(fields.collect()))
}

/// Whether a new subscription signs: unless it, or the defaults, have `none`.
fn wants_secret(given: &Map<String, Json>, defaults: Option<&Node>) -> bool {
    match given.get("signature") {
        Some(Json::Null) | None => {
            let default = defaults.and_then(|defaults| defaults.child("signature"));
            default.and_then(Node::text) != Some("none")
        }
        Some(scheme) => scheme.as_str() != Some("none"),
    }
}

fn entry<'d>(document: &'d Document, name: &str) -> Option<&'d Entry> {
    let subscriptions = document.node()?.child("subscriptions")?;
    match &subscriptions.value {
        Value::Mapping(entries) => entries.iter().find(|entry| entry.name() == name),
        Value::Scalar(_) | Value::Sequence(_) => None,
    }
}

fn is_same(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| -> Option<PathBuf> { path.canonicalize().ok() };
    one == other || (real(one).is_some() && real(one) == real(other))
}

/// The new text of a document; `None` if it cannot be changed in this way. The result is read back; if it differs from
/// the edit, all new texts are put in quotes. JSON stays JSON.
pub(super) fn apply(document: &Document, alter: &Alter) -> Option<Zeroizing<String>> {
    let checked = |new: String| {
        let new = Zeroizing::new(new);
        let bytes = new.as_bytes().to_vec();
        let read = parse(0, document.path.clone(), bytes, &mut Report::default());
        is_as_asked(document, &read, alter).then_some(new)
    };
    if json::is_for(document) {
        return json::edited(document, alter).and_then(checked);
    }
    [Quotes::None, Quotes::Double]
        .into_iter()
        .find_map(|quotes| checked(edited(document, alter, quotes)?))
}

/// Checks that the configuration contains the edit.
fn check_outcome(edit: &Edit, after: &Loaded, expected: Option<&Secret>) -> Result<(), EditError> {
    let subscription = after.config.subscriptions.get(&edit.name);
    let has_it = !matches!(edit.change, Change::Delete);
    if subscription.is_some() != has_it {
        let message = "the file would not be read: no glob of include matches it";
        return Err(EditError::Refused(message.to_owned()));
    }
    let secret = subscription.and_then(|subscription| subscription.secret.as_ref());
    if expected.is_some() && secret != expected {
        return Err(wrong(
            "secret",
            "expected a text that does not end with a line break",
        ));
    }
    Ok(())
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
