//! `sidehook attempts -f`: the latest attempts, then each as it ends, also beyond a restart of the sidecar.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;

use crate::cli::client::{CallError, Client, Happening, Query, Stream};
use crate::cli::operate::attempts::{Args, then, why};
use crate::cli::operate::fields::{count, text, took};
use crate::cli::show::gate;
use crate::cli::show::text::{moment, plain};
use crate::cli::show::{Cell, Screen, Style, short};

/// Pauses between attempts to connect again, the last one over and over.
const PAUSES_SECS: [u64; 4] = [1, 2, 5, 10];
/// How many attempts are remembered, so that none is shown twice.
const REMEMBERED_MAX: usize = 4096;
/// The most attempts of an interruption that are shown.
const MISSED_MAX: usize = 10_000;

/// Shows the last `limit` attempts and each one to come, oldest first; ends only with an error.
///
/// # Errors
/// The sidecar refuses, or cannot be reached at the very beginning.
pub(crate) async fn follow(
    client: &Client,
    screen: &mut Screen<'_>,
    args: &Args,
    query: Query,
    limit: usize,
) -> anyhow::Result<()> {
    let mut shown = Shown::default();
    // The stream first, so that nothing falls between it and the list.
    let mut stream = client.stream().await?;
    let path = args.path();
    if let Some(path) = &path {
        let latest = client.listed(path, query.clone(), limit).await?;
        shown.all(latest, args, screen)?;
    }
    loop {
        let ended = watch(&mut stream, &mut shown, args, screen).await?;
        let mut stderr = gate::stderr();
        writeln!(
            stderr,
            "the stream of the sidecar ended{ended}, connecting again"
        )?;
        drop(stderr);
        stream = reconnected(client).await?;
        let Some(path) = &path else { continue };
        let since = shown.last.clone();
        let missed = query.clone().with("since", since);
        match client.listed(path, missed, MISSED_MAX).await {
            Ok(missed) => shown.all(missed, args, screen)?,
            Err(error) if is_final(&error) => return Err(error),
            // It went away again: the stream has ended too.
            Err(_) => {}
        }
    }
}

/// Shows what the stream brings, until it ends; says how.
async fn watch(
    stream: &mut Stream,
    shown: &mut Shown,
    args: &Args,
    screen: &mut Screen<'_>,
) -> anyhow::Result<String> {
    loop {
        match stream.next().await {
            Ok(Some(Happening { kind, data })) => {
                let name = args.name.as_deref();
                let is_ours = name.is_none() || text(&data, "subscription") == name;
                if kind == "attempt" && is_ours {
                    shown.one(data, args, screen)?;
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

/// Whether asking again changes nothing: the sidecar is there and says no, or somebody else has taken its place.
fn is_final(error: &anyhow::Error) -> bool {
    match error.downcast_ref() {
        Some(CallError::Stranger(_)) => true,
        Some(error) => error
            .status()
            .is_some_and(|status| status.is_client_error()),
        None => false,
    }
}

/// What was shown.
#[derive(Debug, Default)]
struct Shown {
    recent: VecDeque<(String, u64)>,
    /// When the last one began.
    last: Option<String>,
}

impl Shown {
    /// Shows attempts of a list, which has the newest first.
    fn all(
        &mut self,
        attempts: Vec<Value>,
        args: &Args,
        screen: &mut Screen<'_>,
    ) -> io::Result<()> {
        for attempt in attempts.into_iter().rev() {
            self.one(attempt, args, screen)?;
        }
        Ok(())
    }

    /// Shows an attempt unless it was shown before, or is not wanted.
    fn one(&mut self, attempt: Value, args: &Args, screen: &mut Screen<'_>) -> io::Result<()> {
        let wanted = args.status.map(super::attempts::Status::word);
        if wanted.is_some() && wanted != text(&attempt, "status") {
            return Ok(());
        }
        let event = text(&attempt, "event_id").unwrap_or_default();
        let subscription = text(&attempt, "subscription").filter(|_| args.name.is_none());
        let id = format!("{event}.{}", subscription.unwrap_or_default());
        let key = (id, count(&attempt, "attempt").unwrap_or(0));
        if self.recent.contains(&key) {
            return Ok(());
        }
        if self.recent.len() == REMEMBERED_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(key);
        if let Some(at) = text(&attempt, "created_at")
            && self.last.as_deref().is_none_or(|last| last < at)
        {
            self.last = Some(at.to_owned());
        }
        if args.common.json {
            screen.json(&attempt)
        } else {
            let subscription = text(&attempt, "subscription").filter(|_| args.name.is_none());
            let line = line(&attempt, subscription, screen.style);
            screen.line(&line)
        }
    }
}

/// One line; with the subscription where attempts of all are shown.
pub(crate) fn line(attempt: &Value, subscription: Option<&str>, style: Style) -> String {
    let status = text(attempt, "status").unwrap_or("-");
    let padding = " ".repeat(7_usize.saturating_sub(status.chars().count()));
    let code =
        count(attempt, "response_code").map_or_else(|| "-".to_owned(), |code| code.to_string());
    let number =
        count(attempt, "attempt").map_or_else(|| "-".to_owned(), |number| format!("#{number}"));
    let line = format!(
        "{}  {}{padding}  {code:>3}  {:>6}  {number:<3}  {}{}  {}  {}  {}",
        moment(text(attempt, "created_at").unwrap_or("-")),
        Cell::standing(status).marked(style),
        took(attempt, "duration_ms").unwrap_or_else(|| "-".to_owned()),
        subscription.map_or_else(String::new, |name| format!("{}  ", plain(name))),
        shown_id(text(attempt, "event_id").unwrap_or("-"), style),
        plain(text(attempt, "event").unwrap_or("-")),
        then(attempt).marked(style),
        plain(&why(attempt)),
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

    #[test]
    fn an_attempt_is_a_line_with_fixed_columns() {
        let mut attempt = json!({"event_id": "evt_1", "event": "a\u{1b}", "attempt": 12, "status": "timeout",
            "reason": "timeout", "response_code": null, "error_message": null, "duration_ms": 15_000,
            "created_at": "2026-11-24T10:00:00.250Z", "delivery_state": "dead", "next_attempt_at": null});
        assert_eq!(
            line(&attempt, None, Style::default()),
            "2026-11-24T10:00:00Z  timeout    -   15.0s  #12  evt_1  a\\u{1b}  dead  timeout"
        );
        assert_eq!(
            line(&attempt, Some("billing"), Style::default()),
            "2026-11-24T10:00:00Z  timeout    -   15.0s  #12  billing  evt_1  a\\u{1b}  dead  timeout"
        );
        attempt["status"] = json!("failed");
        attempt["response_code"] = json!(503);
        let colours = Style {
            colour: true,
            width: None,
        };
        assert!(line(&attempt, None, colours).contains("\u{2062}failed\u{2064}   503"));
    }
}
