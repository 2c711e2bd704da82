//! The course of the demonstration: who takes part, what is posted, what arrives, where to go on.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{bail, ensure};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::app::{Address, Addresses};
use crate::cli::demo::receiver::{FAILS_ONCE, Received};
use crate::cli::logging::colour_wanted;
use crate::cli::post::{Posting, Receipt, post};
use crate::cli::target::Target;

/// The events that are posted: type, body, and how many deliveries they have.
const EVENTS: [(&str, &str, usize); 3] = [
    ("invoice.paid", r#"{"type":"invoice.paid","total":7}"#, 2),
    ("invoice.draft", r#"{"type":"invoice.draft","total":9}"#, 1),
    ("customer.created", r#"{"type":"customer.created"}"#, 1),
];
/// Everything has to arrive within this.
const DEADLINE: Duration = Duration::from_secs(30);

/// The story of the demonstration.
pub(super) struct Story<'a> {
    pub(super) folder: &'a Path,
    pub(super) addresses: &'a Addresses,
    pub(super) receiver: SocketAddr,
    pub(super) arrivals: mpsc::Receiver<Received>,
}

impl Story<'_> {
    /// Posts the events, shows what arrives, and goes on showing forever unless it is to `end`.
    ///
    /// # Errors
    /// When an event is not accepted, a delivery does not arrive in time, or a signature does not verify.
    pub(super) async fn tell(mut self, end: bool) -> anyhow::Result<()> {
        let paint = Paint::of_stdout();
        self.introduce(&paint)?;
        self.post_events(&paint).await?;
        say(format_args!("\n{}", paint.bold("what arrives")))?;
        let attempts = self.show_arrivals(&paint).await?;
        let deliveries: usize = EVENTS.iter().map(|(_, _, deliveries)| deliveries).sum();
        say(format_args!(
            "\n{attempts} attempts, {deliveries} deliveries, every signature verified"
        ))?;
        if end {
            return Ok(());
        }
        self.invite(&paint)?;
        while let Some(received) = self.arrivals.recv().await {
            show(&received, &paint)?;
        }
        Ok(())
    }

    fn introduce(&self, paint: &Paint) -> io::Result<()> {
        let version = env!("CARGO_PKG_VERSION");
        let title = format!("sidehook {version}: a relay and a receiver in this process");
        say(paint.bold(&title))?;
        say(format_args!(
            "  store     {}, removed at the end",
            self.folder.display()
        ))?;
        let receiver = self.receiver;
        say(format_args!(
            "  receiver  https://{receiver}, with a certificate made just now"
        ))?;
        say("  billing   gets invoice.* but not invoice.draft, signed as standard")?;
        say("  audit     gets everything, signed as standard and github")
    }

    async fn post_events(&self, paint: &Paint) -> anyhow::Result<()> {
        say(format_args!("\n{}", paint.bold("what is posted")))?;
        let target = self.target()?;
        for (event_type, body, expected) in EVENTS {
            let (status, answer) = post(&target, Posting::json(event_type, body)).await?;
            ensure!(
                status.is_success(),
                "{event_type} was answered {status}: {}",
                String::from_utf8_lossy(&answer)
            );
            let Receipt { id, deliveries, .. } = serde_json::from_slice(&answer)?;
            ensure!(
                deliveries == expected,
                "{event_type} should have {expected} deliveries, it has {deliveries}"
            );
            let status = status.as_u16();
            say(format_args!(
                "  {event_type:<17} {status}  {id}  deliveries: {deliveries}"
            ))?;
        }
        Ok(())
    }

    /// Shows what arrives until every delivery was answered with success; returns the number of attempts.
    async fn show_arrivals(&mut self, paint: &Paint) -> anyhow::Result<usize> {
        let deadline = Instant::now() + DEADLINE;
        let mut missing: usize = EVENTS.iter().map(|(_, _, deliveries)| deliveries).sum();
        let mut attempts = 0;
        while missing > 0 {
            let Ok(Some(received)) = timeout_at(deadline, self.arrivals.recv()).await else {
                bail!(
                    "{missing} deliveries did not arrive within {} s",
                    DEADLINE.as_secs()
                );
            };
            attempts += 1;
            missing -= usize::from(received.status.is_success());
            show(&received, paint)?;
            ensure!(received.is_verified(), "a signature did not verify");
        }
        Ok(attempts)
    }

    fn invite(&self, paint: &Paint) -> anyhow::Result<()> {
        let Addresses { events, admin, .. } = self.addresses;
        say(format_args!("\n{}", paint.bold("try it, Ctrl-C ends it")))?;
        for events in events {
            say(format_args!(
                "  curl -d 7 http://{events}/events/invoice.paid"
            ))?;
        }
        say(format_args!("  curl http://{admin}/metrics"))?;
        let config = self.folder.join("config.yaml");
        for command in [
            "status",
            "attempts audit",
            "explain invoice.paid",
            "send customer.created",
        ] {
            say(format_args!("  sidehook {command} -c {}", config.display()))?;
        }
        say(format_args!(
            "\n{}\n  sidehook dev --forward-to http://localhost:3000/   events to your own endpoint, without a file\n  \
             sidehook run -c config.yaml                        with a file of your own\n",
            paint.bold("what next")
        ))?;
        Ok(())
    }

    /// Where events are posted.
    fn target(&self) -> anyhow::Result<Target> {
        match self.addresses.events.first() {
            Some(Address::Tcp(address)) => Ok(Target::Tcp(address.to_string())),
            Some(Address::Unix(path)) => Ok(Target::Unix(path.clone())),
            Some(Address::Systemd(_)) | None => bail!("nobody accepts events"),
        }
    }
}

/// One line about an attempt that arrived.
fn show(received: &Received, paint: &Paint) -> io::Result<()> {
    let Received {
        subscription,
        event,
        attempt,
        verdicts,
        status,
    } = received;
    let verdicts: Vec<_> = verdicts.iter().map(ToString::to_string).collect();
    let verdicts = paint.judged(&verdicts.join(", "), received.is_verified());
    let on_purpose = if *attempt == 1 && (event.as_str(), *subscription) == FAILS_ONCE {
        ", on purpose: it is retried in 1 s"
    } else {
        ""
    };
    let (event, status) = (event.escape_debug().to_string(), status.as_u16());
    say(format_args!(
        "  {event:<17} {subscription:<8} attempt {attempt}  {verdicts}, answered {status}{on_purpose}"
    ))
}

fn say(line: impl Display) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

/// Colours, on a terminal that supports them and unless they are turned off.
struct Paint {
    is_on: bool,
}

impl Paint {
    fn of_stdout() -> Self {
        Self {
            is_on: io::stdout().is_terminal() && colour_wanted(),
        }
    }

    fn bold(&self, text: &str) -> String {
        self.with("1", text)
    }

    /// Green for what is right, red for what is not.
    fn judged(&self, text: &str, is_right: bool) -> String {
        self.with(if is_right { "32" } else { "31" }, text)
    }

    fn with(&self, code: &str, text: &str) -> String {
        if self.is_on {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}
