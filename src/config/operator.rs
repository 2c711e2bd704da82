//! Settings for operating the running sidecar: where it listens, where its store is, and the tokens of its admin API.
//!
//! Only the sections concerned are read, so that an operator does not need the secrets of subscriptions. A token that
//! cannot be read here is no error: another may be readable.

use std::path::{Path, PathBuf};

use crate::config::address::ListenAddress;
use crate::config::admin::Scopes;
use crate::config::document::{Document, Node, Value};
use crate::config::environment::Environment;
use crate::config::load::{given_document, intake, root};
use crate::config::model::sections;
use crate::config::problem::ConfigError;
use crate::config::reader::Context;
use crate::config::secrets;
use crate::config::store::store;
use crate::domain::Secret;

/// The settings for operating the running sidecar.
#[derive(Debug, Clone)]
pub(crate) struct Operator {
    /// Where the admin API is.
    pub(crate) admin: ListenAddress,
    /// The folder of the store, which has the token that was made when none is configured.
    pub(crate) store: PathBuf,
    /// `admin.tokens`
    pub(crate) tokens: Vec<OperatorToken>,
}

/// One of `admin.tokens`, as far as it can be read here.
#[derive(Debug, Clone)]
pub(crate) struct OperatorToken {
    /// Its name.
    pub(crate) name: String,
    /// The token, or why it cannot be read.
    pub(crate) token: Result<Secret, String>,
    /// Its scopes.
    pub(crate) scopes: Scopes,
}

/// Reads the sections `listen`, `store` and `admin.tokens` of `path`.
///
/// # Errors
/// The problems in `listen`, `ingest` or `store`, or with the syntax of the file.
pub(crate) fn load_operator(
    path: &Path,
    environment: &Environment,
) -> Result<Operator, ConfigError> {
    let mut context = Context::new(environment);
    let main = given_document(path, &mut context)?;
    let operator = root(0, &main, &sections(), &mut context).map(|fields| {
        let admin = fields.node("admin");
        let tokens = admin.map(|admin| tokens(admin, &main, &mut context));
        Operator {
            admin: intake(fields, &mut context).0.admin,
            store: store(fields, &mut context).path,
            tokens: tokens.unwrap_or_default(),
        }
    });
    let (errors, _) = context.report.into_problems(&[main]);
    match operator {
        Some(operator) if errors.is_empty() => Ok(operator),
        _ => Err(ConfigError(errors)),
    }
}

/// The tokens of the section; malformed ones are skipped, as `check` reports them.
fn tokens(admin: &Node, main: &Document, context: &mut Context<'_>) -> Vec<OperatorToken> {
    let items = admin.child("tokens").map(Node::items).unwrap_or_default();
    let read = |item| token(item, main, context);
    items.iter().filter_map(read).collect()
}

fn token(item: &Node, main: &Document, context: &mut Context<'_>) -> Option<OperatorToken> {
    let name = item.child("name")?.text()?;
    let written = item.child("token")?;
    // The problems of this secret are collected separately.
    let others = std::mem::take(&mut context.report);
    let secret = secrets::secret(written, context);
    let own = std::mem::replace(&mut context.report, others);
    let token = secret.ok_or_else(|| {
        let messages = own.into_problems(std::slice::from_ref(main)).0;
        let messages: Vec<String> = messages.iter().map(ToString::to_string).collect();
        messages.join("; ")
    });
    Some(OperatorToken {
        name: name.to_owned(),
        token,
        scopes: scopes(item.child("scopes")),
    })
}

fn scopes(written: Option<&Node>) -> Scopes {
    let has = |scope: &str| match written.map(|node| &node.value) {
        Some(Value::Sequence(items)) => items.iter().any(|item| item.text() == Some(scope)),
        Some(Value::Scalar(_) | Value::Mapping(_)) | None => true,
    };
    Scopes {
        read: has("read"),
        manage: has("manage"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operator(text: &str) -> Result<Operator, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yaml");
        std::fs::write(&path, text).unwrap();
        let environment = Environment {
            variables: [("TOKEN".to_owned(), "b".repeat(32))].into(),
        };
        load_operator(&path, &environment)
    }

    #[test]
    fn secrets_of_others_are_not_needed() {
        let found = operator(
            "listen: {admin: 'unix:/run/a.sock'}\nstore: {path: /var/a}\nsubscriptions: {a: {secret: {env: NOT_SET}}}\n",
        )
        .unwrap();
        assert_eq!(found.admin, ListenAddress::Unix("/run/a.sock".into()));
        assert_eq!(found.store, Path::new("/var/a"));
        assert!(found.tokens.is_empty());
    }

    #[test]
    fn what_is_wrong_where_we_look_is_said() {
        let error = operator("listen: {admin: here}\nsubscriptions: {}\n").unwrap_err();
        assert_eq!(error.0[0].path, "listen.admin");
        let error = operator("a: [\n").unwrap_err();
        assert_eq!(error.0.len(), 1);
    }

    #[test]
    fn tokens_have_their_scopes_and_one_that_cannot_be_read_says_why() {
        let found = operator(
            "admin:\n  tokens:\n    - {name: a, token: {env: NOT_SET}, scopes: [read, manage]}\n    - {name: b, token: {env: TOKEN}, scopes: [read]}\nsubscriptions: {}\n",
        )
        .unwrap();
        let [first, second] = &found.tokens[..] else {
            panic!("{found:?}")
        };
        assert_eq!(first.name, "a");
        assert!(
            first
                .token
                .as_ref()
                .is_err_and(|why| why.contains("NOT_SET"))
        );
        assert!(first.scopes.manage);
        assert_eq!(
            second.token.as_ref().unwrap().expose(),
            "b".repeat(32).as_bytes()
        );
        assert!(second.scopes.read && !second.scopes.manage);
    }
}
