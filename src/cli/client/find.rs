//! Where the running sidecar has its admin API, and with which token one may use it.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use tokio::time::Instant;

use crate::app::admin_address;
use crate::cli::client::call::{Client, Sidecar};
use crate::cli::client::error::CallError;
use crate::cli::client::running::{Need, Survey, instance};
use crate::cli::config_arg::ConfigArg;
use crate::cli::service;
use crate::cli::target::Target;
use crate::config::{Environment, Operator, OperatorToken, load_operator};
use crate::domain::Secret;

/// The sidecar has this long to identify itself before it is asked for anything.
const FIRST_PATIENCE: Duration = Duration::from_secs(5);
/// The variable that has the token.
const TOKEN_VARIABLE: &str = "SIDEHOOK_TOKEN";
/// In the folder of the store: the token that is made when none is configured.
const TOKEN_FILE: &str = "admin.token";
/// The most bytes of a token.
const TOKEN_BYTES_MAX: u64 = 64 * 1024;

/// How to reach the running sidecar
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct SidecarArgs {
    /// Where the sidecar's admin API is: http://host:port or unix:/path; the token is then in $SIDEHOOK_TOKEN.
    /// Default: the socket of the running sidecar in /run/sidehook or $XDG_RUNTIME_DIR/sidehook, else as the
    /// configuration says
    #[arg(long, value_name = "URL", value_parser = Target::parse_admin)]
    admin: Option<Target>,
    #[command(flatten)]
    config: ConfigArg,
}

impl SidecarArgs {
    /// Those of a command that has `--config` alone.
    pub(crate) fn of_config(config: &ConfigArg) -> Self {
        Self {
            admin: None,
            config: config.clone(),
        }
    }

    /// A client of the sidecar. Candidates are asked to identify themselves, so that one that is stopped is reported at
    /// once. An address that was given is taken as it is.
    ///
    /// # Errors
    /// It or its token cannot be found; it gives no answer within [`FIRST_PATIENCE`].
    pub(crate) async fn client(
        &self,
        environment: &Environment,
        need: Need,
    ) -> anyhow::Result<Client> {
        let until = Instant::now() + FIRST_PATIENCE;
        let (sidecar, survey) = self.find(environment, need).await?;
        let origin = sidecar.origin.clone();
        let client = Client::of(sidecar);
        if self.admin.is_some() {
            return Ok(client);
        }
        let left = until.saturating_duration_since(Instant::now());
        let asked = client.clone().patient(left.max(Duration::from_secs(1)));
        let Err(error) = instance(&asked).await else {
            return Ok(client);
        };
        match error.downcast_ref() {
            Some(CallError::NotRunning { .. } | CallError::Timeout { .. }) => {
                let tried =
                    origin.map_or_else(String::new, |origin| format!("\n  tried: {origin}"));
                Err(survey.explained(anyhow!("{error:#}{tried}"), false))
            }
            // It may carry out the call all the same, or explain better why not.
            _ => Ok(client),
        }
    }

    /// Finds it: by `--admin`, else by its socket in the runtime folder, else by the configuration.
    ///
    /// # Errors
    /// As [`SidecarArgs::find_by_files`]; several run, and nothing determines which one is meant.
    async fn find(
        &self,
        environment: &Environment,
        need: Need,
    ) -> anyhow::Result<(Sidecar, Survey)> {
        if self.admin.is_some() {
            let found = self.find_by_files(environment, need)?;
            return Ok((found, Survey::default()));
        }
        let survey = Survey::take(environment).await;
        if let Some(running) = survey.meant(&self.config, environment, need)? {
            let found = Sidecar {
                target: Target::Unix(running.socket.clone()),
                token: None,
                origin: None,
                store: None,
            };
            return Ok((found, survey));
        }
        match self.find_by_files(environment, need) {
            Ok(found) => Ok((found, survey)),
            Err(error) => Err(survey.explained(error, self.config.is_given(environment))),
        }
    }

    /// Finds it by `--admin` and the environment alone, or by the configuration.
    ///
    /// # Errors
    /// The configuration is wrong or gives no address, or its token cannot be read.
    pub(crate) fn find_by_files(
        &self,
        environment: &Environment,
        need: Need,
    ) -> anyhow::Result<Sidecar> {
        let given = environment.variables.get(TOKEN_VARIABLE);
        let given = given
            .map(|token| token.trim_end())
            .filter(|token| !token.is_empty())
            .map(|token| Secret::new(token.as_bytes().to_vec()));
        // A token of the configuration is not sent to an address that is not known to be of the same sidecar.
        if let (Some(target), None) = (&self.admin, &self.config.config) {
            return Ok(Sidecar {
                target: target.clone(),
                token: given,
                origin: None,
                store: None,
            });
        }
        let path = self.config.path(environment);
        let environment = service::with_variables(&path, environment.clone());
        let operator = load_operator(&path, &environment);
        let operator = operator.map_err(|error| self.config.explained(error, &environment))?;
        let (target, origin) = match &self.admin {
            Some(target) => (target.clone(), None),
            None => located(&operator, &path)?,
        };
        // A user who may use the socket needs no token.
        let token = match (&given, &target) {
            (None, Target::Unix(_)) => None,
            (None, Target::Tcp(_)) => Some(token(&operator, need)?),
            (Some(_), _) => given,
        };
        let store = self.admin.is_none().then_some(operator.store);
        Ok(Sidecar {
            target,
            token,
            origin,
            store,
        })
    }
}

/// The address of a configuration's sidecar: as it recorded itself when it started, else as the file gives it now.
fn located(operator: &Operator, path: &Path) -> anyhow::Result<(Target, Option<String>)> {
    let noted = admin_address(&operator.store);
    if let Some(target) = noted.and_then(|address| Target::of_bound(&address)) {
        let origin = format!(
            "as the sidecar said when it started, in {}",
            operator.store.display()
        );
        return Ok((target, Some(origin)));
    }
    let path = path.display();
    let target = Target::of_listener(&operator.admin)
        .with_context(|| format!("{path} does not say where the admin API is: use --admin URL"))?;
    Ok((target, Some(format!("as listen.admin says in {path}"))))
}

/// The first token of the configuration that can be read and allows what is needed; without any, the one that the sidecar
/// made.
fn token(operator: &Operator, need: Need) -> anyhow::Result<Secret> {
    if operator.tokens.is_empty() {
        return made_token(&operator.store.join(TOKEN_FILE));
    }
    let allows = |token: &&OperatorToken| match need {
        Need::Read => token.scopes.read,
        Need::Manage => token.scopes.manage,
    };
    let mut unreadable = Vec::new();
    for token in operator.tokens.iter().filter(allows) {
        match &token.token {
            Ok(secret) => return Ok(secret.clone()),
            Err(why) => unreadable.push(format!("\n  {}: {why}", token.name)),
        }
    }
    let scope = match need {
        Need::Read => "read",
        Need::Manage => "manage",
    };
    ensure!(
        !unreadable.is_empty(),
        "none of admin.tokens has the scope {scope}: set ${TOKEN_VARIABLE}"
    );
    let reasons = unreadable.concat();
    bail!(
        "no token of admin.tokens with the scope {scope} can be read here: set ${TOKEN_VARIABLE}{reasons}"
    )
}

fn made_token(path: &Path) -> anyhow::Result<Secret> {
    let shown = path.display();
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let file = File::open(path)?;
        file.take(TOKEN_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::NotFound => {
                "; the sidecar makes it when it first starts: has it run with this configuration, in this folder?"
            }
            io::ErrorKind::PermissionDenied => {
                "; run this as root or as the user of the sidecar, or set $SIDEHOOK_TOKEN"
            }
            _ => "",
        };
        anyhow!("cannot read the token in {shown}: {error}{hint}")
    })?;
    let token = bytes.trim_ascii().to_vec();
    ensure!(!token.is_empty(), "the token in {shown} is empty");
    Ok(Secret::new(token))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ListenAddress;
    use crate::config::Scopes;

    fn environment(token: Option<&str>) -> Environment {
        let variable = token.map(|token| (TOKEN_VARIABLE.to_owned(), token.to_owned()));
        Environment {
            variables: variable.into_iter().collect(),
        }
    }

    fn operator(tokens: Vec<OperatorToken>) -> Operator {
        Operator {
            admin: ListenAddress::Tcp("127.0.0.1:1".to_owned()),
            store: "/nowhere".into(),
            tokens,
        }
    }

    fn configured(
        name: &str,
        token: Result<&str, &str>,
        read: bool,
        manage: bool,
    ) -> OperatorToken {
        OperatorToken {
            name: name.to_owned(),
            token: token
                .map(|token| Secret::new(token.as_bytes().to_vec()))
                .map_err(str::to_owned),
            scopes: Scopes { read, manage },
        }
    }

    /// A folder with a configuration and a token that the sidecar made.
    fn folder(admin: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let text =
            format!("listen: {{admin: '{admin}'}}\nstore: {{path: .}}\nsubscriptions: {{}}\n");
        std::fs::write(folder.path().join("config.yaml"), text).unwrap();
        std::fs::write(folder.path().join(TOKEN_FILE), "made\n").unwrap();
        folder
    }

    fn args(admin: Option<&str>, folder: Option<&Path>) -> SidecarArgs {
        SidecarArgs {
            admin: admin.map(|text| Target::parse_admin(text).unwrap()),
            config: ConfigArg {
                config: folder.map(|folder| folder.join("config.yaml")),
            },
        }
    }

    #[test]
    fn an_address_alone_gets_only_the_token_of_the_environment() {
        let args = args(Some("http://a:1"), None);
        let found = args.find_by_files(&environment(None), Need::Read).unwrap();
        assert_eq!(found.target, Target::Tcp("a:1".to_owned()));
        assert_eq!((found.token, found.store), (None, None));
        let found = args
            .find_by_files(&environment(Some("given\n")), Need::Read)
            .unwrap();
        assert_eq!(found.token.unwrap().expose(), b"given");
    }

    #[test]
    fn the_configuration_says_where_and_the_store_has_the_token() {
        let folder = folder("127.0.0.1:8781");
        let args = args(None, Some(folder.path()));
        let found = args
            .find_by_files(&environment(None), Need::Manage)
            .unwrap();
        assert_eq!(found.target, Target::Tcp("127.0.0.1:8781".to_owned()));
        assert_eq!(found.token.unwrap().expose(), b"made");
        let found = args
            .find_by_files(&environment(Some("given")), Need::Manage)
            .unwrap();
        assert_eq!(found.token.unwrap().expose(), b"given");
        // A token that was given goes there only if the listener may have it, too.
        assert_eq!(found.store, Some(folder.path().join(".")));
        std::fs::remove_file(folder.path().join(TOKEN_FILE)).unwrap();
        let error = args
            .find_by_files(&environment(None), Need::Read)
            .unwrap_err();
        assert!(
            error.to_string().contains("when it first starts"),
            "{error}"
        );
    }

    #[test]
    fn a_unix_socket_needs_no_token() {
        let folder = folder("unix:admin.sock");
        let args = args(None, Some(folder.path()));
        let found = args.find_by_files(&environment(None), Need::Read).unwrap();
        assert_eq!(found.target, Target::Unix(folder.path().join("admin.sock")));
        assert_eq!(found.token, None);
    }

    #[test]
    fn the_note_of_the_running_sidecar_comes_before_what_the_file_says_now() {
        let folder = folder("127.0.0.1:8781");
        let args = args(None, Some(folder.path()));
        let find = || args.find_by_files(&environment(None), Need::Read).unwrap();
        let origin = find().origin.unwrap();
        assert!(origin.starts_with("as listen.admin says in /"), "{origin}");
        let note = folder.path().join("admin.address");
        std::fs::write(&note, "127.0.0.1:7\n").unwrap();
        assert_eq!(find().target, Target::Tcp("127.0.0.1:7".to_owned()));
        assert!(find().origin.unwrap().contains("when it started"));
        std::fs::write(&note, "nonsense").unwrap();
        assert_eq!(find().target, Target::Tcp("127.0.0.1:8781".to_owned()));
    }

    #[test]
    fn a_port_that_the_system_chooses_has_to_be_given() {
        let folder = folder("127.0.0.1:0");
        let found = args(None, Some(folder.path())).find_by_files(&environment(None), Need::Read);
        assert!(found.unwrap_err().to_string().ends_with("use --admin URL"));
        let found = args(Some("http://127.0.0.1:7"), Some(folder.path()))
            .find_by_files(&environment(None), Need::Read)
            .unwrap();
        assert_eq!(found.token.unwrap().expose(), b"made");
    }

    #[test]
    fn the_first_readable_token_with_the_scope_is_used() {
        let operator = operator(vec![
            configured("a", Err("the variable A is not set"), true, true),
            configured("b", Ok("bb"), true, false),
            configured("c", Ok("cc"), true, true),
        ]);
        assert_eq!(token(&operator, Need::Read).unwrap().expose(), b"bb");
        assert_eq!(token(&operator, Need::Manage).unwrap().expose(), b"cc");
    }

    #[test]
    fn why_there_is_no_token_is_said() {
        let none = operator(vec![configured("b", Ok("bb"), true, false)]);
        let error = token(&none, Need::Manage).unwrap_err().to_string();
        assert_eq!(
            error,
            "none of admin.tokens has the scope manage: set $SIDEHOOK_TOKEN"
        );
        let hidden = operator(vec![configured("a", Err("A is not set"), true, true)]);
        let error = token(&hidden, Need::Read).unwrap_err().to_string();
        assert!(error.ends_with("\n  a: A is not set"), "{error}");
    }
}
