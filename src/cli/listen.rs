//! `sidehook listen`: a local receiver that verifies signatures and prints what arrives, until Ctrl-C.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use http::StatusCode;
use tokio::net::TcpListener;

use crate::cli::arrival::{Arrival, Verdict};
use crate::cli::input::SecretSources;
use crate::cli::receiver::{Answer, serve};
use crate::cli::show::gate;
use crate::config::{Environment, refused_secret};
use crate::domain::{Clock, Secret, SystemClock};
use crate::http_server::check_tcp;
use crate::signing::Scheme;

/// The text below the help.
const EXAMPLES: &str = "\
Examples:
  sidehook listen --port 9000 --secret-env BILLING_SECRET
  sidehook listen --secret-file secret.txt --scheme github --fail 0.2

A request whose signature does not verify is answered 401.

The subscription needs `url: http://127.0.0.1:9000` and `network: {allow_private: [127.0.0.1/32]}`.";

/// Receive deliveries on a local port, verify their signatures and print them
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The port on 127.0.0.1; 0 is any free one
    #[arg(long, default_value_t = 0)]
    port: u16,
    #[command(flatten)]
    secrets: SecretSources,
    /// The signature scheme, as the `signature` field names it
    #[arg(long, value_name = "NAME", default_value = "standard", value_parser = scheme)]
    scheme: Scheme,
    /// Answer 500 to this share of requests, 0 to 1
    #[arg(long, value_name = "RATE", default_value_t = 0.0, value_parser = rate)]
    fail: f64,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

fn scheme(name: &str) -> Result<Scheme, &'static str> {
    Scheme::by_name(name)
        .ok_or("expected a scheme that needs no options, such as standard or github")
}

fn rate(text: &str) -> Result<f64, &'static str> {
    let rate = text.parse().ok().filter(|rate| (0.0..=1.0).contains(rate));
    rate.ok_or("expected a number from 0 to 1")
}

/// Receives until Ctrl-C.
///
/// # Errors
/// When a secret cannot be read or does not fit the scheme, or the port cannot be listened on.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    args.secrets.warn(&mut gate::stderr())?;
    let secrets = args.secrets.read(&Environment::of_process())?;
    for secret in &secrets {
        let fits = args.scheme.check_secret(secret);
        fits.map_err(|error| anyhow!(refused_secret(secret.expose(), &error)))?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(listen(args, secrets))?;
    Ok(ExitCode::SUCCESS)
}

async fn listen(args: &Args, secrets: Vec<Secret>) -> anyhow::Result<()> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, args.port));
    // The error names the process that holds the address.
    check_tcp(&address.to_string(), &[address])?;
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}"))?;
    let url = format!("http://{}", listener.local_addr()?);
    writeln!(gate::stderr(), "listening on {url}, until Ctrl-C")?;
    let (failed, mut failure) = tokio::sync::mpsc::channel(1);
    let (scheme, fail, json) = (args.scheme.clone(), args.fail, args.json);
    let answer: Answer = Arc::new(move |head, body| {
        let at = SystemClock::new().wall();
        let verdict = Verdict::of(&scheme, &secrets, head, body, &url, at);
        let status = match verdict {
            Verdict::Refused(_) => StatusCode::UNAUTHORIZED,
            Verdict::Unchecked | Verdict::Verified(_) => status(fail),
        };
        let arrival = Arrival {
            at,
            head,
            body,
            verdict,
            status,
        };
        if let Err(error) = print(&arrival, json) {
            // The first one ends the command, more do not matter.
            drop(failed.try_send(error));
        }
        arrival.status
    });
    tokio::select! {
        () = serve(listener, None, answer) => Ok(()),
        Some(error) = failure.recv() => Err(error.into()),
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
    }
}

/// 500 for a share of `fail` of all requests, else 200.
fn status(fail: f64) -> StatusCode {
    let random = getrandom::u32().unwrap_or(u32::MAX);
    if f64::from(random) < fail * (f64::from(u32::MAX) + 1.0) {
        StatusCode::INTERNAL_SERVER_ERROR
    } else {
        StatusCode::OK
    }
}

fn print(arrival: &Arrival<'_>, json: bool) -> io::Result<()> {
    let shown = if json {
        format!("{}\n", gate::json(&arrival.to_json()))
    } else {
        arrival.to_string()
    };
    let mut stdout = gate::stdout();
    stdout.write_all(shown.as_bytes())?;
    stdout.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_of_failures_is_from_0_to_1() {
        assert_eq!(rate("0.25"), Ok(0.25));
        for wrong in ["-0.1", "1.1", "NaN", "many"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn all_or_none_fail_at_the_ends_of_the_range() {
        assert!((0..100).all(|_| status(0.0) == StatusCode::OK));
        assert!((0..100).all(|_| status(1.0) == StatusCode::INTERNAL_SERVER_ERROR));
    }
}
