//! `sidehook replay`: one delivery, or many of a subscription at a pace.

use std::io::Write;
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::api::{Begun, DeliveryWithAttempts, List, Matched, NewReplay, Replay, Time};
use crate::cli::client::{Client, Need, Query, read};
use crate::cli::operate::ask::{can_ask, confirmed};
use crate::cli::operate::deliveries::{self, state_cell};
use crate::cli::operate::progress::wait;
use crate::cli::operate::when::When;
use crate::cli::operate::{Common, with_sidecar};
use crate::cli::show::gate;
use crate::cli::show::text::{counted, plain};
use crate::cli::show::{Cell, Column, Screen, Table};
use crate::domain::{DeliveryState, Timestamp};

/// The text below the help.
const EXAMPLES: &str = "\
Examples:
  sidehook replay evt_0199….billing                        this delivery, now
  sidehook replay --subscription billing --dry-run         how many dead letters are there?
  sidehook replay --subscription billing --rate 100/s      all of them, at this pace
  sidehook replay --subscription billing --state delivered --since 2h --type invoice.paid
  sidehook replay --list                                   bulk replays, how far they are

Many are replayed by the sidecar itself: it goes on when this command ends, and after a restart. To stop it:
sidehook cancel with its number.";

/// Make deliveries pending again: one, or many of a subscription
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// This delivery (EVENT_ID.SUBSCRIPTION). A pending one is attempted now
    // Checked here, too: what an option requires does not count when it conflicts with what is there.
    #[arg(
        required_unless_present_any = ["subscription", "list"],
        conflicts_with_all = [
            "subscription", "list", "state", "since", "until", "event_type", "rate", "dry_run", "yes", "no_wait", "wait",
        ],
    )]
    id: Option<String>,
    /// Many deliveries of this subscription
    #[arg(long, value_name = "NAME")]
    subscription: Option<String>,
    #[command(flatten)]
    which: Which,
    /// At most so many a second, minute or hour, such as 100/s. Default: as fast as it goes
    #[arg(long, value_name = "RATE", requires = "subscription")]
    rate: Option<String>,
    /// Only say how many there are
    #[arg(long, requires = "subscription")]
    dry_run: bool,
    /// Do not ask
    #[arg(long, requires = "subscription")]
    yes: bool,
    /// Do not wait until it is done
    #[arg(long, requires = "subscription")]
    no_wait: bool,
    /// Wait until it is done, which is the default
    #[arg(long, requires = "subscription", conflicts_with = "no_wait")]
    wait: bool,
    /// Show the bulk replays of late
    #[arg(
        long,
        conflicts_with_all = [
            "subscription", "state", "since", "until", "event_type", "rate", "dry_run", "yes", "no_wait", "wait",
        ],
    )]
    list: bool,
    #[command(flatten)]
    common: Common,
}

/// Which deliveries of a subscription.
#[derive(Debug, clap::Args)]
struct Which {
    /// Those in this state. Default: dead. Of pending ones those that wait for a retry, which are attempted now
    #[arg(long, requires = "subscription")]
    state: Option<DeliveryState>,
    /// Of events accepted since then: how long ago (90s, 1h, 3d), or a time (RFC 3339)
    #[arg(long, value_name = "TIME", requires = "subscription")]
    since: Option<When>,
    /// Of events accepted until then, likewise
    #[arg(long, value_name = "TIME", requires = "subscription")]
    until: Option<When>,
    /// Of events of this type
    #[arg(long = "type", value_name = "TYPE", requires = "subscription")]
    event_type: Option<String>,
}

/// Replays.
///
/// # Errors
/// The sidecar is not found, or refuses.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let need = if args.list { Need::Read } else { Need::Manage };
    with_sidecar(&args.common, need, async |client, screen| {
        match (&args.id, &args.subscription) {
            (Some(id), _) => one(client, screen, id, args.common.json).await,
            (None, Some(name)) => many(client, screen, name, args).await,
            (None, None) => list(client, screen, args.common.json).await,
        }
    })
}

/// The bulk replays of late, which are few: their list has one page.
async fn list(client: &Client, screen: &mut Screen<'_>, json: bool) -> anyhow::Result<ExitCode> {
    let page = client.get("/v1/replays", &Query::default()).await?;
    if json {
        let List::<Value> { data, .. } = read(&page)?;
        for replay in &data {
            screen.json(replay)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let List { data: replays, .. } = read(&page)?;
    if replays.is_empty() {
        screen.line("nothing found")?;
    } else {
        screen.table(&table(&replays, screen.now))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn one(
    client: &Client,
    screen: &mut Screen<'_>,
    id: &str,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let path = format!("{}/replay", deliveries::path(id));
    let delivery = client.post(&path, &json!({})).await?;
    if json {
        screen.json(&delivery)?;
    } else {
        let DeliveryWithAttempts { delivery, .. } = read(&delivery)?;
        let state = state_cell(&delivery).marked(screen.style);
        screen.line(&format!("{}: {state}, it is attempted now", plain(id)))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn many(
    client: &Client,
    screen: &mut Screen<'_>,
    name: &str,
    args: &Args,
) -> anyhow::Result<ExitCode> {
    let state = args.which.state.unwrap_or(DeliveryState::Dead).as_str();
    let mut request = request(args, name, state, screen.now);
    if args.dry_run || (!args.yes && can_ask()) {
        let sent = client.post("/v1/replays", &request).await?;
        let Matched { matched } = read(&sent)?;
        let found = format!(
            "{} of {}",
            counted(
                matched,
                &format!("{state} delivery"),
                &format!("{state} deliveries")
            ),
            plain(name)
        );
        if args.dry_run {
            match args.common.json {
                true => screen.json(&sent)?,
                false => screen.line(&found)?,
            }
            return Ok(ExitCode::SUCCESS);
        }
        if matched == 0 {
            screen.line(&found)?;
            return Ok(ExitCode::SUCCESS);
        }
        let pace = args
            .rate
            .as_ref()
            .map(|rate| format!(" at {}", plain(rate)));
        let question = format!("Replay {found}{}?", pace.unwrap_or_default());
        if !confirmed(&question)? {
            writeln!(gate::stderr(), "nothing is replayed")?;
            return Ok(ExitCode::FAILURE);
        }
    }
    request.dry_run = Some(false);
    let sent = client.post("/v1/replays", &request).await?;
    let Begun { id, matched } = read(&sent)?;
    if args.no_wait {
        if args.common.json {
            screen.json(&sent)?;
        } else {
            let matched = counted(matched, "delivery", "deliveries");
            let id = plain(&id);
            screen.line(&format!(
                "replay {id}: {matched}; to stop it: sidehook cancel {id}"
            ))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    wait(client, screen, &id, args.common.json).await
}

fn request(args: &Args, name: &str, state: &str, now: Timestamp) -> NewReplay {
    let at = |when: Option<When>| when.map(|when| Time(when.at(now)));
    NewReplay {
        subscription: name.to_owned(),
        state: Some(state.to_owned()),
        since: at(args.which.since),
        until: at(args.which.until),
        event_type: args.which.event_type.clone(),
        rate_limit: args.rate.clone(),
        dry_run: Some(true),
    }
}

const COLUMNS: [Column; 9] = [
    Column::whole("begun"),
    Column::whole("id"),
    Column::whole("status"),
    Column::text("subscription"),
    Column::whole("state").ranked(2),
    Column::number("matched"),
    Column::number("replayed"),
    Column::number("skipped").ranked(1),
    Column::whole("rate").ranked(3),
];

fn table(replays: &[Replay], now: Timestamp) -> Table {
    let mut table = Table::new(&COLUMNS);
    for replay in replays {
        table.row(vec![
            Cell::moment(replay.created_at.0, now),
            replay.id.as_str().into(),
            Cell::status(&replay.status),
            replay.subscription.as_str().into(),
            replay.state.as_str().into(),
            replay.matched.into(),
            replay.replayed.into(),
            replay.skipped.into(),
            replay.rate_limit.as_deref().into(),
        ]);
    }
    table
}
