//! `sidehook demo`: a relay and a receiver in one process, in a temporary folder, over TLS. Shows the main job: events that
//! are stored, matched, signed and delivered, a failure and its retry.

mod certificate;
mod receiver;
mod story;

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::cli::demo::certificate::Certificate;
use crate::cli::demo::receiver::{Endpoint, Endpoints};
use crate::cli::demo::story::Story;
use crate::cli::receiver::serve;
use crate::cli::runtime::block_on;
use crate::cli::sandbox::{self, Folder, new_secret};
use crate::signing::Scheme;

/// Arrivals that may wait to be printed.
const ARRIVALS_WAITING_MAX: usize = 1024;

/// The text below the help.
const NOTE: &str = "\
Examples:
  sidehook demo
  sidehook demo --exit     end after the demonstration

It uses a temporary folder and free ports of 127.0.0.1. Ctrl-C ends it.";

/// See it work: a relay and a receiver in one process, nothing to configure
#[derive(Debug, clap::Args)]
#[command(after_help = NOTE)]
pub(crate) struct Args {
    /// End after the demonstration: exit code 0 if every delivery arrived and verified
    #[arg(long)]
    exit: bool,
}

/// Shows the main job, then runs until Ctrl-C or ends.
///
/// # Errors
/// When the relay cannot start, or a delivery does not arrive or verify.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    block_on(demo(args.exit))?;
    Ok(ExitCode::SUCCESS)
}

async fn demo(exit: bool) -> anyhow::Result<()> {
    let mut signals = sandbox::signals()?;
    let folder = Folder::new()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let certificate = Certificate::new()?;
    let endpoints = endpoints()?;
    std::fs::write(folder.path().join("ca.pem"), certificate.pem())?;
    let relay = folder.start(&configuration(address, &endpoints)).await?;

    let (arrived, arrivals) = mpsc::channel(ARRIVALS_WAITING_MAX);
    let endpoints = Endpoints::new(address, endpoints, arrived);
    let answer = Arc::new(move |head: &_, body: &_| endpoints.answer(head, body));
    let mut receiver = JoinSet::new();
    receiver.spawn(serve(listener, Some(certificate.acceptor()?), answer));

    let addresses = relay.addresses().clone();
    let story = Story {
        folder: folder.path(),
        addresses: &addresses,
        receiver: address,
        arrivals,
    };
    sandbox::run_beside(relay, &mut signals, story.tell(exit)).await
}

/// The endpoints that take part.
fn endpoints() -> anyhow::Result<Vec<Endpoint>> {
    let endpoint = |subscription, events, schemes: &[&str]| {
        anyhow::Ok(Endpoint {
            subscription,
            events,
            schemes: schemes
                .iter()
                .filter_map(|name| Scheme::by_name(name))
                .collect(),
            secret: new_secret()?,
        })
    };
    Ok(vec![
        endpoint("billing", "invoice.*, '!invoice.draft'", &["standard"])?,
        endpoint("audit", "'*'", &["standard", "github"])?,
    ])
}

/// The configuration of the demonstration, a file as anybody would write it.
fn configuration(receiver: SocketAddr, endpoints: &[Endpoint]) -> String {
    let mut text = "\
listen: {events: '127.0.0.1:0', admin: '127.0.0.1:0'}
store: {path: store}
network: {allow_private: [127.0.0.1/32]}
defaults:
  retry: {schedule: [1s, 1s]}
  tls: {ca_file: ca.pem}
subscriptions:
"
    .to_owned();
    for Endpoint {
        subscription,
        events,
        schemes,
        secret,
    } in endpoints
    {
        let schemes: Vec<_> = schemes.iter().map(Scheme::name).collect();
        text += &format!(
            "  {subscription}:
    url: https://{receiver}/{subscription}
    events: [{events}]
    secret: {secret}
    signature: [{}]
",
            schemes.join(", ")
        );
    }
    text
}
