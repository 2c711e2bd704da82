//! `sidehook explain`: which subscriptions an event is for, which it is not for and why, and the request that each endpoint
//! would get. It needs the configuration and not the running sidecar; how subscriptions stand there is `status`.

mod example;
mod verdict;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::cli::config_arg::ConfigArg;
use crate::cli::explain::example::{Example, example};
use crate::cli::explain::verdict::{Verdict, judge};
use crate::cli::send::{Data, is_json};
use crate::cli::show::Screen;
use crate::cli::show::text::plain;
use crate::config::{Config, Environment, Subscription};
use crate::domain::{Clock, Event, SystemClock, Timestamp};
use crate::ingest::preview;
use crate::matching::Facts;

/// The text below the help.
const EXAMPLES: &str = "\
Examples:
  sidehook explain invoice.paid --data '{\"tenant_id\": \"acme\", \"amount\": 150}'
  sidehook explain invoice.paid --data @invoice.json --header 'X-Region: eu' --json

Nothing is posted, stored or sent: the configuration file alone is asked.
Exit codes: 0 explained; 1 the event would be refused; 2 usage or configuration error.";

/// Explain which subscriptions an event is for, which not and why, and what each endpoint would get
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The event's type, such as invoice.paid
    #[arg(value_name = "TYPE")]
    event_type: String,
    /// The body: JSON, @FILE for the bytes of a file, or - for standard input
    #[arg(long, value_name = "JSON|@FILE|-", default_value = "{}", value_parser = Data::parse)]
    data: Data,
    /// The given id
    #[arg(long)]
    id: Option<HeaderValue>,
    /// The key
    #[arg(long)]
    key: Option<HeaderValue>,
    /// A header of the application's request, 'Name: value'; can be repeated
    #[arg(long, value_name = "NAME: VALUE", value_parser = header)]
    header: Vec<(HeaderName, HeaderValue)>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArg,
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("expected 'Name: value'")?;
    let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|error| error.to_string())?;
    let value = HeaderValue::from_str(value.trim()).map_err(|error| error.to_string())?;
    Ok((name, value))
}

/// Explains the event.
///
/// # Errors
/// The configuration or the data cannot be read, or the output not written.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let environment = Environment::of_process();
    let body = args.data.read()?;
    let loaded = args.config.load(&environment)?;
    let config = Arc::new(loaded.config);
    let clock = Arc::new(SystemClock::new());
    let now = clock.wall();
    let request = request(args, &config, body)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let events = runtime.block_on(preview(Arc::clone(&config), clock, request));
    let events = match events {
        Ok(events) => events,
        Err(refused) => return Err(runtime.block_on(refusal(refused))),
    };
    let [event] = events.as_slice() else {
        bail!("expected one event, found a batch: explain its events one by one");
    };
    let explained = config
        .subscriptions
        .values()
        .map(|of| Explained::new(of, event, now))
        .collect::<Result<Vec<_>, _>>()?;
    let mut screen = Screen::of_stdout(&environment);
    if args.json {
        screen.json(&as_json(event, &explained, now))?;
    } else {
        for line in lines(event, &explained, now) {
            screen.line(&plain(&line))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The post that is explained, as `send` would make it.
fn request(args: &Args, config: &Config, body: Bytes) -> anyhow::Result<Request<Full<Bytes>>> {
    let path = utf8_percent_encode(&args.event_type, NON_ALPHANUMERIC);
    let mut request = Request::post(format!("/events/{path}")).header(HOST, "localhost");
    let has = |name: &HeaderName| args.header.iter().any(|(given, _)| given == name);
    if !has(&CONTENT_TYPE) {
        let media_type = if is_json(&body) {
            "application/json"
        } else {
            "application/octet-stream"
        };
        request = request.header(CONTENT_TYPE, media_type);
    }
    if let Some(id) = &args.id {
        request = request.header("idempotency-key", id);
    }
    if let Some(key) = &args.key {
        request = request.header("sidehook-key", key);
    }
    for (name, value) in &args.header {
        request = request.header(name, value);
    }
    if let (Some(token), false) = (config.ingest.tokens.first(), has(&AUTHORIZATION)) {
        let bearer = HeaderValue::from_bytes(&[b"Bearer ", token.expose()].concat());
        request = request.header(AUTHORIZATION, bearer?);
    }
    Ok(request.body(Full::new(body))?)
}

/// Why the event would be refused.
async fn refusal(response: Response<Full<Bytes>>) -> anyhow::Error {
    let status = response.status();
    let body = response.into_body().collect().await;
    let body = body.map(http_body_util::Collected::to_bytes);
    let problem: Value = body
        .ok()
        .and_then(|body| serde_json::from_slice(&body).ok())
        .unwrap_or_default();
    let detail = problem.get("detail").and_then(Value::as_str);
    let mut said = plain(detail.unwrap_or_default());
    for (field, messages) in problem
        .get("errors")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        for message in messages
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
        {
            said.push_str(&format!("\n  {}: {}", plain(field), plain(message)));
        }
    }
    anyhow::anyhow!("the event would be refused with {status}: {said}")
}

/// One subscription.
struct Explained<'c> {
    of: &'c Subscription,
    verdict: Verdict,
    note: Option<String>,
    request: Option<Example>,
}

impl<'c> Explained<'c> {
    fn new(of: &'c Subscription, event: &Event, now: Timestamp) -> anyhow::Result<Self> {
        let facts = Facts::of(&event.head, &event.body);
        let (verdict, note) = judge(of, &facts);
        let request = if verdict.is_match() {
            example(of, event, now).with_context(|| of.name.to_string())?
        } else {
            None
        };
        Ok(Self {
            of,
            verdict,
            note,
            request,
        })
    }
}

fn as_json(event: &Event, explained: &[Explained<'_>], now: Timestamp) -> Value {
    let subscription = |it: &Explained<'_>| {
        json!({
            "name": it.of.name.as_str(),
            "matches": it.verdict.is_match(),
            "outcome": it.verdict.code(),
            "detail": it.verdict.words(it.of),
            "note": it.note,
            "request": it.request.as_ref().map(|request| request.json(now)),
        })
    };
    let head = &event.head;
    json!({
        "event": {
            "type": head.event_type.as_str(),
            "given_id": head.given_id.as_ref().map(|it| it.as_str()),
            "key": head.key.as_ref().map(|it| it.as_str()),
            "source": head.source,
            "subject": head.subject,
            "content_type": head.content_type,
            "kept_headers": head.headers.iter().map(|it| &*it.name).collect::<Vec<_>>(),
            "body_bytes": event.body.len(),
        },
        "subscriptions": explained.iter().map(subscription).collect::<Vec<_>>(),
    })
}

fn lines(event: &Event, explained: &[Explained<'_>], now: Timestamp) -> Vec<String> {
    let head = &event.head;
    let mut first = format!(
        "{}: {} bytes of {}",
        head.event_type,
        event.body.len(),
        head.content_type
    );
    if let Some(id) = &head.given_id {
        first.push_str(&format!(", id {id}"));
    }
    if let Some(key) = &head.key {
        first.push_str(&format!(", key {key}"));
    }
    let mut lines = vec![first];
    if explained.is_empty() {
        lines.push("there are no subscriptions".to_owned());
    }
    for it in explained {
        let mark = if it.verdict.is_match() { "+" } else { "-" };
        lines.push(format!(
            "{mark} {}: {}",
            it.of.name,
            it.verdict.words(it.of)
        ));
        lines.extend(it.note.iter().map(|note| format!("    {note}")));
        let request = it.request.iter().flat_map(|request| request.lines(now));
        lines.extend(request.map(|line| format!("    {line}")));
    }
    lines
}
