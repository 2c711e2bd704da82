//! `sidehook send`: posts one event to the running sidecar and prints its answer.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::api::Instance;
use crate::cli::client::{Client, Need, SidecarArgs, Survey, check_listener, instance, is_ours};
use crate::cli::config_arg::ConfigArg;
use crate::cli::input::{read_bounded, read_file};
use crate::cli::post::{FirstAttempt, Posting, Receipt, post};
use crate::cli::service;
use crate::cli::show::gate;
use crate::cli::target::Target;
use crate::config::{ConfigError, Environment, load_intake, load_operator};
use crate::domain::Secret;

/// The text below the help.
const EXAMPLES: &str = "\
Examples:
  sidehook send invoice.paid --data '{\"total\": 7}'
  sidehook send invoice.paid --data @invoice.json --id inv-7
  sidehook send invoice.paid --wait 10
  pg_dump shop | sidehook send backup.made --data - --content-type application/sql

Exit codes: 0 accepted, also when a first attempt failed (it is made again); 1 refused or not reached;
2 usage error.";

/// Post an event to the running sidecar and print its answer
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The event's type, such as invoice.paid
    #[arg(value_name = "TYPE")]
    event_type: String,
    /// The body: JSON, @FILE for the bytes of a file, or - for standard input
    #[arg(long, value_name = "JSON|@FILE|-", default_value = "{}", value_parser = Data::parse)]
    data: Data,
    /// The body's media type. Default: application/json when it is JSON, else application/octet-stream
    #[arg(long, value_name = "TYPE")]
    content_type: Option<HeaderValue>,
    /// The given id: a second event with it is not delivered again
    #[arg(long)]
    id: Option<HeaderValue>,
    /// The key: what the event is about, such as a customer's number; kept with it
    #[arg(long)]
    key: Option<HeaderValue>,
    /// Wait up to N seconds for the first attempt of each delivery and print how they went; one that cannot be attempted
    /// now (held, paused) is pending
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=60))]
    wait: Option<u8>,
    /// Where the sidecar accepts events: http://host:port or unix:/path. Default: as the running sidecar or its
    /// configuration says
    #[arg(long, value_name = "URL", value_parser = Target::parse)]
    url: Option<Target>,
    /// Print the answer as it came
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArg,
}

/// Where the body comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Data {
    Inline(String),
    File(PathBuf),
    Stdin,
}

impl Data {
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        if text == "-" {
            return Ok(Self::Stdin);
        }
        if let Some(path) = text.strip_prefix('@') {
            return Ok(Self::File(PathBuf::from(path)));
        }
        if is_json(text.as_bytes()) {
            return Ok(Self::Inline(text.to_owned()));
        }
        Err("not JSON: use @FILE or - for other bytes")
    }

    pub(super) fn read(&self) -> anyhow::Result<Bytes> {
        match self {
            Self::Inline(text) => Ok(Bytes::copy_from_slice(text.as_bytes())),
            Self::File(path) => Ok(read_file(path)?.into()),
            Self::Stdin => Ok(read_bounded(&mut io::stdin().lock())?.into()),
        }
    }
}

/// Posts the event: exit code 0 when it was accepted.
///
/// # Errors
/// When the arguments or the configuration are wrong, or the sidecar gives no answer.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let body = args.data.read()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (target, token) = runtime.block_on(find(args))?;
    let headers = headers(args, &body, token.as_ref())?;
    let posting = Posting {
        event_type: args.event_type.clone(),
        headers,
        body,
        wait: args.wait,
    };
    let (status, answer) = runtime.block_on(post(&target, posting))?;
    print(args, status, &answer)?;
    Ok(if status.is_success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

pub(super) fn is_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<&RawValue>(bytes).is_ok()
}

/// Where the sidecar takes events, and its token. The running one gives the address; else the configuration; if that
/// names no address (port 0, a socket of systemd), the admin API. With `--url` alone no configuration is read.
///
/// A token goes only where a configuration meant it to go: to the address that is given with it, or to a listener that may
/// be its sidecar ([`check_listener`]). A configuration that the running sidecar alone names is not read if others can
/// write it: they could have any file sent anywhere.
async fn find(args: &Args) -> anyhow::Result<(Target, Option<Secret>)> {
    if let (Some(url), None) = (&args.url, &args.config.config) {
        return Ok((url.clone(), None));
    }
    let environment = Environment::of_process();
    let located = args.config.path(&environment);
    let read = |path: &Path| {
        let environment = service::with_variables(path, environment.clone());
        let (listen, ingest) = load_intake(path, &environment)?;
        let store = load_operator(path, &environment)?.store;
        Ok::<_, ConfigError>((listen, ingest.tokens.first().cloned(), store))
    };
    if let Some(url) = &args.url {
        let read = read(&located);
        let (_, token, _) = read.map_err(|error| args.config.explained(error, &environment))?;
        return Ok((url.clone(), token));
    }
    let survey = Survey::take(&environment).await;
    let running = survey.meant(&args.config, &environment, Need::Manage)?;
    let instance = running.and_then(|running| running.instance.as_ref());
    let path = instance.map_or(located.as_path(), |instance| Path::new(&instance.config));
    let is_given = args.config.is_given(&environment);
    let told = instance.and_then(Instance::events_target);
    let is_named_only_by_it =
        instance.is_some() && path.canonicalize().ok() != located.canonicalize().ok();
    if let (Some(target), true) = (&told, is_named_only_by_it && !is_ours(path)) {
        return Ok((target.clone(), None));
    }
    let read = read(path).map_err(|error| args.config.explained(error, &environment));
    let (listen, token, store) = read.map_err(|error| survey.explained(error.into(), is_given))?;
    let configured = || listen.events.iter().find_map(Target::of_listener);
    let target = match told.or_else(configured) {
        Some(target) => target,
        None => asked(args, &environment)
            .await
            .map_err(|error| survey.explained(error, is_given))
            .with_context(|| {
                let path = path.display();
                format!("{path} does not say where events are accepted, and the sidecar does not either: use --url")
            })?,
    };
    if token.is_some() {
        let socket = running.map(|running| Target::Unix(running.socket.clone()));
        for at in socket.iter().chain([&target]) {
            check_listener(at, &store).await?;
        }
    }
    Ok((target, token))
}

/// Where events are posted, according to the admin API.
async fn asked(args: &Args, environment: &Environment) -> anyhow::Result<Target> {
    let sidecar = SidecarArgs::of_config(&args.config);
    let client = Client::of(sidecar.find_by_files(environment, Need::Read)?);
    let target = instance(&client).await?.events_target();
    target.context("it listens on sockets without a path only")
}

fn headers(args: &Args, body: &[u8], token: Option<&Secret>) -> anyhow::Result<HeaderMap> {
    let media_type = args.content_type.clone().unwrap_or_else(|| {
        HeaderValue::from_static(if is_json(body) {
            "application/json"
        } else {
            "application/octet-stream"
        })
    });
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, media_type);
    if let Some(id) = &args.id {
        headers.insert("idempotency-key", id.clone());
    }
    if let Some(key) = &args.key {
        headers.insert("sidehook-key", key.clone());
    }
    if let Some(token) = token {
        let bearer = [b"Bearer ", token.expose()].concat();
        let mut bearer = HeaderValue::from_bytes(&bearer)
            .context("the first of ingest.tokens cannot be a bearer token")?;
        bearer.set_sensitive(true);
        headers.insert(AUTHORIZATION, bearer);
    }
    Ok(headers)
}

/// Prints an acceptance to standard output, a refusal to standard error; with `--json` either to standard output.
fn print(args: &Args, status: StatusCode, answer: &[u8]) -> anyhow::Result<()> {
    if args.json {
        let mut stdout = gate::stdout();
        match serde_json::from_slice::<&RawValue>(answer) {
            Ok(answer) => stdout.write_all(gate::escaped_json(answer.get()).as_bytes())?,
            Err(_) => stdout.write_all(answer.trim_ascii())?,
        }
        return Ok(writeln!(stdout)?);
    }
    if status.is_success() {
        let receipt =
            serde_json::from_slice(answer).context("the answer is not that of a sidecar")?;
        let said = accepted(&receipt, &args.event_type, args.wait.is_some());
        return Ok(writeln!(gate::stdout(), "{said}")?);
    }
    let problem: Refusal = serde_json::from_slice(answer).unwrap_or_default();
    Ok(writeln!(
        gate::stderr(),
        "refused with {status}: {}",
        refused(&problem)
    )?)
}

/// The parts of a problem document that are for people.
#[derive(Debug, Default, Deserialize)]
struct Refusal {
    detail: String,
    #[serde(default)]
    errors: BTreeMap<String, Vec<String>>,
}

/// Why the event was refused, in words.
fn refused(refusal: &Refusal) -> String {
    let mut said = refusal.detail.escape_debug().to_string();
    for (field, messages) in &refusal.errors {
        for message in messages {
            let (field, message) = (field.escape_debug(), message.escape_debug());
            said.push_str(&format!("\n  {field}: {message}"));
        }
    }
    said
}

/// Describes the result of an event, in words; `waited`: results of first attempts were requested.
fn accepted(receipt: &Receipt, event_type: &str, waited: bool) -> String {
    let id = receipt.id.escape_debug();
    let again = if receipt.duplicate { " before" } else { "" };
    let deliveries = match receipt.deliveries {
        1 => "1 delivery".to_owned(),
        count => format!("{count} deliveries"),
    };
    let mut said = format!("{id}: accepted{again}, {deliveries}");
    match &receipt.results {
        Some(results) => {
            for result in results {
                said.push_str("\n  ");
                said.push_str(&attempted(result));
            }
        }
        None if receipt.deliveries == 0 && !receipt.duplicate => {
            let event_type = event_type.escape_debug();
            said.push_str(&format!(
                "\n  no subscription matches it: sidehook explain {event_type} says why"
            ));
        }
        None if waited && !receipt.duplicate => said.push_str("\n  first attempts are under way"),
        None => {}
    }
    said
}

/// How a first attempt went: `billing: pending, failed, 500, Internal Server Error`.
fn attempted(result: &FirstAttempt) -> String {
    let subscription = result.subscription.escape_debug();
    let mut said = format!("{subscription}: {}", result.state.escape_debug());
    let code = result.response_code.map(|code| code.to_string());
    let parts = [&result.status, &code, &result.error_message];
    for part in parts.into_iter().flatten() {
        said.push_str(&format!(", {}", part.escape_debug()));
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> Args {
        Args {
            event_type: "a".to_owned(),
            data: Data::Inline("{}".to_owned()),
            content_type: None,
            id: Some(HeaderValue::from_static("inv-7")),
            key: Some(HeaderValue::from_static("customer-1")),
            wait: None,
            url: None,
            json: false,
            config: ConfigArg::default(),
        }
    }

    #[test]
    fn id_key_and_token_become_headers() {
        let token = Secret::new(b"a token".to_vec());
        let headers = headers(&args(), b"[1]", Some(&token)).unwrap();
        assert_eq!(headers["idempotency-key"], "inv-7");
        assert_eq!(headers["sidehook-key"], "customer-1");
        assert_eq!(headers["authorization"], "Bearer a token");
        assert!(headers["authorization"].is_sensitive());
        assert_eq!(headers["content-type"], "application/json");
    }

    #[test]
    fn bytes_that_are_not_json_are_an_octet_stream() {
        let headers = headers(&args(), b"\x00\x01", None).unwrap();
        assert_eq!(headers["content-type"], "application/octet-stream");
        assert!(!headers.contains_key("authorization"));
    }

    #[test]
    fn data_is_json_or_says_where_it_is() {
        assert_eq!(Data::parse("[7]"), Ok(Data::Inline("[7]".to_owned())));
        assert_eq!(Data::parse("@a.bin"), Ok(Data::File("a.bin".into())));
        assert_eq!(Data::parse("-"), Ok(Data::Stdin));
        let message = "not JSON: use @FILE or - for other bytes";
        assert_eq!(Data::parse("{total: 7}"), Err(message));
    }

    #[test]
    fn a_refusal_names_what_is_wrong() {
        let document = r#"{"detail":"see errors","errors":{"type":["no\u001b","too long"]}}"#;
        let refusal: Refusal = serde_json::from_str(document).unwrap();
        let expected = "see errors\n  type: no\\u{1b}\n  type: too long";
        assert_eq!(refused(&refusal), expected);
        let short: Refusal = serde_json::from_str(r#"{"detail":"no"}"#).unwrap();
        assert_eq!(refused(&short), "no");
    }

    #[test]
    fn an_answer_is_told_in_words() {
        let receipt = |deliveries, duplicate| Receipt {
            id: "evt_1".to_owned(),
            deliveries,
            duplicate,
            results: None,
        };
        let said = |receipt, waited| accepted(&receipt, "invoice.paid", waited);
        assert_eq!(
            said(receipt(0, false), false),
            "evt_1: accepted, 0 deliveries\n  no subscription matches it: sidehook explain invoice.paid says why"
        );
        assert_eq!(
            said(receipt(1, false), false),
            "evt_1: accepted, 1 delivery"
        );
        assert_eq!(
            said(receipt(2, true), true),
            "evt_1: accepted before, 2 deliveries"
        );
        assert_eq!(
            said(receipt(1, false), true),
            "evt_1: accepted, 1 delivery\n  first attempts are under way"
        );
    }

    #[test]
    fn first_attempts_are_told_in_words() {
        let answer = r#"{"id":"evt_1","deliveries":3,"duplicate":false,"results":[
            {"subscription":"a","state":"delivered","status":"success","response_code":204,"error_message":null},
            {"subscription":"b","state":"pending","status":"failed","response_code":null,"error_message":"no\nway"},
            {"subscription":"c","state":"pending","status":null,"response_code":null,"error_message":null}]}"#;
        let receipt: Receipt = serde_json::from_str(answer).unwrap();
        assert_eq!(
            accepted(&receipt, "invoice.paid", true),
            "evt_1: accepted, 3 deliveries\n  a: delivered, success, 204\n  b: pending, failed, no\\nway\n  c: pending"
        );
    }
}
