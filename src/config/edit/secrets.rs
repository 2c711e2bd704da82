//! The secrets of a subscription in an edit: a new one gets its own file, and the configuration names the path.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value as Json};
use zeroize::Zeroizing;

use crate::config::document::Node;
use crate::config::edit::error::EditError;
use crate::config::edit::plan::{Before, ONLY_IN_FILE, is_redacted};
use crate::config::edit::steps::Alter;
use crate::config::edit::want::{Reading, Want};
use crate::domain::{Secret, Timestamp};

/// Bytes of the key of a generated secret.
const KEY_BYTES: usize = 32;

/// The most previous secrets after a rotation: each makes signature headers longer, and receivers limit these.
const PREVIOUS_MAX: usize = 8;

/// The default time for which the advice lets an old secret sign along.
const GRACE: Duration = Duration::from_secs(24 * 60 * 60);

/// A file to be written before the configuration names it.
#[derive(Debug)]
pub(super) struct NewFile {
    pub(super) path: PathBuf,
    pub(super) secret: Secret,
}

/// Where the secrets of one subscription go.
#[derive(Debug)]
pub(super) struct Vault<'e> {
    name: &'e str,
    /// Absolute.
    folder: PathBuf,
    /// The configuration file, as it is named.
    config: &'e Path,
    now: Timestamp,
    /// The files to write.
    pub(super) files: Vec<NewFile>,
    /// The secret that the subscription must have afterwards.
    pub(super) expected: Option<Secret>,
}

impl<'e> Vault<'e> {
    /// For a subscription in the file `config`.
    pub(super) fn new(name: &'e str, folder: &Path, config: &'e Path, now: Timestamp) -> Self {
        Self {
            name,
            folder: absolute(folder),
            config,
            now,
            files: Vec::new(),
            expected: None,
        }
    }

    /// The new values of `secret` and `previous_secrets` in a patch or a whole definition.
    pub(super) fn fields(
        &mut self,
        given: &Map<String, Json>,
        before: Before<'_>,
        current: Option<&Secret>,
    ) -> Result<Vec<(String, Alter)>, EditError> {
        let mut alters = Vec::new();
        if let Some(json) = given.get("secret")
            && let Some(alter) = self.secret(json, before.field("secret"), current)?
        {
            alters.push(("secret".to_owned(), alter));
        }
        if let Some(json) = given.get("previous_secrets")
            && let Some(alter) = previous(json, before)?
        {
            alters.push(("previous_secrets".to_owned(), alter));
        }
        let in_force = before.definition.and_then(|all| all.get("auth"));
        if let Some(Json::Object(auth)) = given.get("auth")
            && (in_force != given.get("auth") || before.insisted.iter().any(|key| key == "auth"))
        {
            let want = self.auth("auth", auth, before.field("auth"))?;
            alters.push(("auth".to_owned(), Alter::Set(want)));
        }
        Ok(alters)
    }

    /// The new value of `auth`, or of a mapping in it: a text that is secret gets a file.
    fn auth(
        &mut self,
        path: &str,
        given: &Map<String, Json>,
        node: Option<&Node>,
    ) -> Result<Want, EditError> {
        let mut wants = Vec::with_capacity(given.len());
        for (key, json) in given.iter().filter(|(_, json)| !json.is_null()) {
            let path = format!("{path}.{key}");
            let old = node.and_then(|node| node.child(key));
            let want = match json {
                Json::Object(fields) if key == "basic" => self.auth(&path, fields, old)?,
                Json::Object(fields) => {
                    let is_same = |old: &&Node| {
                        is_redacted(fields) || Want::from_json(json).is_said_by(old, Reading::Texts)
                    };
                    let kept = old.filter(is_same).map(Want::from_node);
                    kept.ok_or_else(|| wrong(&path, ONLY_IN_FILE))?
                }
                Json::String(text) if ["bearer", "value", "password"].contains(&key.as_str()) => {
                    let source = |source| old.and_then(|old| old.child(source));
                    if source("env").or(source("credential")).is_some() {
                        let message = format!(
                            "{path} is from the environment or a credential, which the API cannot change: change it there, and restart sidehook"
                        );
                        return Err(EditError::Refused(message));
                    }
                    self.keep(Secret::new(text.as_bytes().to_vec()))?
                }
                other => Want::from_json(other),
            };
            wants.push((key.clone(), want));
        }
        Ok(Want::Map(wants))
    }

    fn secret(
        &mut self,
        json: &Json,
        node: Option<&Node>,
        current: Option<&Secret>,
    ) -> Result<Option<Alter>, EditError> {
        let alter = match json {
            Json::Object(fields) if is_redacted(fields) => return Ok(None),
            Json::Object(_) => {
                let is_same = |node: &Node| Want::from_json(json).is_said_by(node, Reading::Texts);
                return if node.is_some_and(is_same) {
                    Ok(None)
                } else {
                    Err(wrong("secret", ONLY_IN_FILE))
                };
            }
            Json::String(text)
                if current.is_some_and(|secret| secret.expose() == text.as_bytes()) =>
            {
                return Ok(None);
            }
            Json::Null => Alter::Remove,
            Json::String(text) if text.is_empty() => Alter::Remove,
            Json::String(text) => {
                self.refuse_managed(node, GRACE)?;
                let secret = Secret::new(text.as_bytes().to_vec());
                self.expected = Some(secret.clone());
                Alter::Set(self.keep(secret)?)
            }
            Json::Bool(_) | Json::Number(_) | Json::Array(_) => {
                return Err(wrong("secret", "expected text"));
            }
        };
        self.refuse_managed(node, GRACE)?;
        Ok(Some(alter))
    }

    /// A new random secret.
    pub(super) fn generate(&mut self) -> Result<(Secret, Want), EditError> {
        let mut key = Zeroizing::new(vec![0; KEY_BYTES]);
        random(&mut key)?;
        let encoded = Zeroizing::new(STANDARD.encode(&key));
        let secret = Secret::new(format!("whsec_{}", *encoded).into_bytes());
        self.expected = Some(secret.clone());
        let want = self.keep(secret.clone())?;
        Ok((secret, want))
    }

    /// The new values of both fields when a secret replaces another.
    pub(super) fn rotate(
        &mut self,
        secret: &Secret,
        grace: Duration,
        before: Before<'_>,
    ) -> Result<Vec<(String, Alter)>, EditError> {
        let node = before.field("secret").filter(|node| !is_none(node));
        self.refuse_managed(node, grace)?;
        let (now, until) = (self.now, self.now.plus(grace));
        let old = match node {
            Some(node) if until > now => Some(self.old(node)?),
            Some(_) | None => None,
        };
        let previous = before.field("previous_secrets").map(Node::items);
        let previous = previous.unwrap_or_default().iter();
        let previous = previous.filter(|item| !is_over(item, now));
        let mut previous: Vec<Want> = previous.map(Want::from_node).collect();
        if old.is_some() && previous.len() >= PREVIOUS_MAX {
            let message = format!(
                "{PREVIOUS_MAX} previous secrets sign along already: wait until one is over, or cut previous_secrets down"
            );
            return Err(EditError::Refused(message));
        }
        previous.extend(old.map(|old| {
            Want::Map(vec![
                ("secret".to_owned(), old),
                ("until".to_owned(), Want::Text(written(until))),
            ])
        }));
        self.expected = Some(secret.clone());
        let new = self.keep(secret.clone())?;
        let previous = if previous.is_empty() {
            Alter::Remove
        } else {
            Alter::Set(Want::List(previous))
        };
        Ok(vec![
            ("secret".to_owned(), Alter::Set(new)),
            ("previous_secrets".to_owned(), previous),
        ])
    }

    /// The reference of a secret that stays valid for a while; a literal one gets a file, too.
    fn old(&mut self, node: &Node) -> Result<Want, EditError> {
        match node.text() {
            Some(text) => self.keep(Secret::new(text.as_bytes().to_vec())),
            None => Ok(Want::from_node(node)),
        }
    }

    /// Refuses to replace a secret that is not in a file of ours, and explains how to do it by hand.
    fn refuse_managed(&self, node: Option<&Node>, grace: Duration) -> Result<(), EditError> {
        let named = |key: &'static str| Some((key, node?.child(key)?.text()?));
        let Some((key, name)) = ["env", "credential"].into_iter().find_map(named) else {
            return Ok(());
        };
        let (what, old, end) = match key {
            "env" => (
                "variable",
                format!("{name}_OLD"),
                "the environment is read at a start",
            ),
            _ => (
                "credential",
                format!("{name}_old"),
                "credentials are handed over at a start",
            ),
        };
        let (config, subscription) = (self.config.display(), self.name);
        let until = written(self.now.plus(grace));
        Err(EditError::Refused(format!(
            "the secret is the {what} {name}, which the API cannot change. By hand: 1. keep the old secret as the {what} {old}, and put the \
             new one into {name}; 2. in {config}, give subscriptions.{subscription} previous_secrets: [{{secret: {{{key}: {old}}}, \
             until: {until}}}]; 3. restart sidehook: {end}"
        )))
    }

    /// Names a new file for a secret.
    fn keep(&mut self, secret: Secret) -> Result<Want, EditError> {
        let mut id = [0; 8];
        random(&mut id)?;
        let id = u64::from_be_bytes(id);
        let path = self.folder.join(format!("{}-{id:016x}", self.name));
        let config_folder = self.config.parent().unwrap_or(Path::new(""));
        let shown = path
            .strip_prefix(absolute(config_folder))
            .unwrap_or(&path)
            .to_path_buf();
        let Some(text) = shown.to_str() else {
            let message = "admin.secrets_dir is not UTF-8: secrets cannot be named in the file";
            return Err(EditError::Refused(message.to_owned()));
        };
        let want = Want::Map(vec![("file".to_owned(), Want::Text(text.to_owned()))]);
        // As the readers name it.
        let path = config_folder.join(&shown);
        self.files.push(NewFile { path, secret });
        Ok(want)
    }
}

/// Whether a file in the folder of secrets is named as [`Vault`] names them.
pub(super) fn is_of_ours(file_name: &str) -> bool {
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    file_name
        .rsplit_once('-')
        .is_some_and(|(_, id)| id.len() == 16 && id.bytes().all(is_hex))
}

fn absolute(path: &Path) -> PathBuf {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

fn is_none(node: &Node) -> bool {
    node.is_null() || node.text() == Some("")
}

/// A list of previous secrets can be cut down to some of those that are shown; others come by rotation.
fn previous(json: &Json, before: Before<'_>) -> Result<Option<Alter>, EditError> {
    let message = "can be cut down to some of those that are set; rotate-secret adds one";
    let shown = before
        .definition
        .and_then(|definition| definition.get("previous_secrets"));
    let kept = match json {
        Json::Null => return Ok(Some(Alter::Remove)),
        Json::Array(items) if items.is_empty() => return Ok(Some(Alter::Remove)),
        _ if shown == Some(json) => return Ok(None),
        Json::Array(kept) => kept,
        Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Object(_) => {
            return Err(wrong("previous_secrets", message));
        }
    };
    let nodes = before.field("previous_secrets").map(Node::items);
    let nodes = nodes.unwrap_or_default();
    let shown = shown
        .and_then(Json::as_array)
        .map_or(&[][..], Vec::as_slice);
    if shown.len() != nodes.len() || !kept.iter().all(|item| shown.contains(item)) {
        return Err(wrong("previous_secrets", message));
    }
    let wants = shown
        .iter()
        .zip(nodes)
        .filter(|(shown, _)| kept.contains(shown))
        .map(|(_, node)| Want::from_node(node))
        .collect();
    Ok(Some(Alter::Set(Want::List(wants))))
}

fn is_over(previous: &Node, now: Timestamp) -> bool {
    let until = previous.child("until").and_then(Node::text);
    let until = until.and_then(|until| until.parse::<jiff::Timestamp>().ok());
    until.is_some_and(|until| until.as_millisecond() <= now.as_millis())
}

/// RFC 3339 in UTC, whole seconds.
fn written(time: Timestamp) -> String {
    match jiff::Timestamp::from_second(time.as_secs()) {
        Ok(time) => time.to_string(),
        Err(_) => jiff::Timestamp::MAX.to_string(),
    }
}

fn random(bytes: &mut [u8]) -> Result<(), EditError> {
    getrandom::fill(bytes)
        .map_err(|error| EditError::Refused(format!("the system gives no random bytes: {error}")))
}

pub(super) fn wrong(path: &str, message: &str) -> EditError {
    EditError::Invalid(vec![(path.to_owned(), message.to_owned())])
}
