//! `sidehook attempts -f`: the latest attempts, then each as it ends, also beyond a restart of the sidecar.

use std::collections::VecDeque;
use std::io::Write;
use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;

use crate::api::{Attempt, StreamedAttempt};
use crate::cli::client::{CallError, Client, Query, Stream, StreamEvent, escaped, read};
use crate::cli::operate::fields::took;
use crate::cli::operate::outcome::{then, why_of};
use crate::cli::show::gate;
use crate::cli::show::text::{moment, plain};
use crate::cli::show::{Cell, Screen, Style, short};
use crate::config::Environment;
use crate::domain::{AttemptStatus, Timestamp};

/// Pauses between attempts to connect again, the last one over and over.
const PAUSES_SECS: [u64; 4] = [1, 2, 5, 10];
/// How many attempts are remembered, so that none is shown twice.
const REMEMBERED_MAX: usize = 4096;
/// The most attempts of an interruption that are shown.
const MISSED_MAX: usize = 10_000;

/// Which attempts are shown, and how.
#[derive(Debug, Default)]
pub(super) struct Followed<'a> {
    /// Only those of this subscription; `None`: those to come of all.
    pub(super) subscription: Option<&'a str>,
    /// Only those that ended so.
    pub(super) status: Option<AttemptStatus>,
    /// The parameters of the list of attempts that ended before.
    pub(super) query: Query,
    /// How many of that list.
    pub(super) limit: usize,
    /// Whether as JSON.
    pub(super) json: bool,
}

/// The path of the attempts of a subscription.
pub(super) fn path(subscription: &str) -> String {
    format!("/v1/subscriptions/{}/attempts", escaped(subscription))
}

/// Shows each attempt of all subscriptions as it ends, on standard output; ends only with an error.
///
/// # Errors
/// The sidecar refuses, or standard output takes nothing.
pub(crate) async fn follow_all(client: &Client) -> anyhow::Result<()> {
    let mut screen = Screen::of_stdout(&Environment::of_process());
    follow(client, &mut screen, &Followed::default()).await
}

/// Shows the last attempts and each one to come, oldest first; ends only with an error.
///
/// # Errors
/// The sidecar refuses, or cannot be reached at the very beginning.
pub(super) async fn follow(
    client: &Client,
    screen: &mut Screen<'_>,
    followed: &Followed<'_>,
) -> anyhow::Result<()> {
    let mut shown = Shown::default();
    // The stream first, so that nothing falls between it and the list.
    let mut stream = client.stream().await?;
    let path = followed.subscription.map(path);
    if let Some(path) = &path {
        let latest = client
            .listed(path, followed.query.clone(), followed.limit)
            .await?;
        shown.all(latest, followed, screen)?;
    }
    loop {
        let ended = watch(&mut stream, &mut shown, followed, screen).await?;
        let mut stderr = gate::stderr();
        writeln!(
            stderr,
            "the stream of the sidecar ended{ended}, connecting again"
        )?;
        drop(stderr);
        stream = reconnected(client).await?;
        let Some(path) = &path else { continue };
        let since = shown.last;
        let missed = followed.query.clone().with("since", since);
        match client.listed(path, missed, MISSED_MAX).await {
            Ok(missed) => shown.all(missed, followed, screen)?,
            Err(error) if is_final(&error) => return Err(error),
            // It went away again: the stream has ended too.
            Err(_) => {}
        }
    }
}

/// Shows the attempts of the stream until it ends; returns how it ended.
async fn watch(
    stream: &mut Stream,
    shown: &mut Shown,
    followed: &Followed<'_>,
    screen: &mut Screen<'_>,
) -> anyhow::Result<String> {
    loop {
        match stream.next().await {
            Ok(Some(StreamEvent { kind, data })) => {
                if kind != "attempt" {
                    continue;
                }
                let streamed: StreamedAttempt = read(&data)?;
                let name = streamed.subscription.as_str();
                if followed.subscription.is_none_or(|wanted| wanted == name) {
                    let name = Some(name).filter(|_| followed.subscription.is_none());
                    shown.one(&data, &streamed.attempt, name, followed, screen)?;
                }
            }
            Ok(None) => return Ok(String::new()),
            Err(error) => return Ok(format!(" ({:#})", anyhow::Error::new(error))),
        }
    }
}

async fn reconnected(client: &Client) -> anyhow::Result<Stream> {
    let mut pauses = PAUSES_SECS.into_iter();
    let mut pause = 0;
    loop {
        pause = pauses.next().unwrap_or(pause);
        sleep(Duration::from_secs(pause)).await;
        match client.stream().await {
            Ok(stream) => return Ok(stream),
            Err(error) if is_final(&error) => return Err(error),
            Err(_) => {}
        }
    }
}

/// Whether asking again changes nothing: the sidecar refuses, or another process has taken its place.
fn is_final(error: &anyhow::Error) -> bool {
    match error.downcast_ref() {
        Some(CallError::Stranger(_)) => true,
        Some(error) => error
            .status()
            .is_some_and(|status| status.is_client_error()),
        None => false,
    }
}

/// The attempts that were shown.
#[derive(Debug, Default)]
struct Shown {
    /// Their ids.
    recent: VecDeque<String>,
    /// When the last one began.
    last: Option<Timestamp>,
}

impl Shown {
    /// Shows attempts of a list, which has the newest first.
    fn all(
        &mut self,
        attempts: Vec<Value>,
        followed: &Followed<'_>,
        screen: &mut Screen<'_>,
    ) -> anyhow::Result<()> {
        for attempt in attempts.iter().rev() {
            self.one(attempt, &read(attempt)?, None, followed, screen)?;
        }
        Ok(())
    }

    /// Shows an attempt, as it was sent and read, unless it was shown before or is not wanted; with the subscription if given.
    fn one(
        &mut self,
        sent: &Value,
        attempt: &Attempt,
        subscription: Option<&str>,
        followed: &Followed<'_>,
        screen: &mut Screen<'_>,
    ) -> anyhow::Result<()> {
        let is_wanted = followed
            .status
            .is_none_or(|wanted| attempt.status.is(wanted));
        if !is_wanted || self.recent.contains(&attempt.id) {
            return Ok(());
        }
        if self.recent.len() == REMEMBERED_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(attempt.id.clone());
        self.last = self.last.max(Some(attempt.created_at.0));
        match followed.json {
            true => screen.json(sent)?,
            false => screen.line(&line(attempt, subscription, screen.style))?,
        }
        Ok(())
    }
}

/// One line; with the subscription where attempts of all are shown.
fn line(attempt: &Attempt, subscription: Option<&str>, style: Style) -> String {
    let status = attempt.status.as_str();
    let padding = " ".repeat(7_usize.saturating_sub(status.chars().count()));
    let code = attempt
        .response_code
        .map_or_else(|| "-".to_owned(), |code| code.to_string());
    let line = format!(
        "{}  {}{padding}  {code:>3}  {:>6}  {:<3}  {}{}  {}  {}  {}",
        moment(attempt.created_at.0),
        Cell::status(status).marked(style),
        took(attempt.duration_ms),
        format!("#{}", attempt.attempt),
        subscription.map_or_else(String::new, |name| format!("{}  ", plain(name))),
        shown_id(&attempt.event_id, style),
        plain(&attempt.event),
        then(attempt).marked(style),
        plain(&why_of(attempt)),
    );
    line.trim_end().to_owned()
}

fn shown_id(id: &str, style: Style) -> String {
    match style.width {
        Some(_) => short::ids([id].into_iter()).concat(),
        None => plain(id),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::operate::samples;
    use crate::domain::AttemptStatus;

    #[test]
    fn an_attempt_is_a_line_with_fixed_columns() {
        let fields = json!({"event": "a\u{1b}", "attempt": 12, "status": "timeout", "reason": "timeout", "response_code": null,
            "error_message": null, "duration_ms": 15_000, "delivery_state": "dead", "next_attempt_at": null});
        let mut attempt = samples::attempt(fields);
        assert_eq!(
            line(&attempt, None, Style::default()),
            "2026-11-24T10:00:00Z  timeout    -   15.0s  #12  evt_1  a\\u{1b}  dead  timeout"
        );
        assert_eq!(
            line(&attempt, Some("billing"), Style::default()),
            "2026-11-24T10:00:00Z  timeout    -   15.0s  #12  billing  evt_1  a\\u{1b}  dead  timeout"
        );
        attempt.status = AttemptStatus::Failed.into();
        attempt.response_code = Some(503);
        let colours = Style {
            colour: true,
            width: None,
        };
        assert!(line(&attempt, None, colours).contains("\u{2062}failed\u{2064}   503"));
    }
}
