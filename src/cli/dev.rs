//! `sidehook dev`: a relay in a temporary folder with one subscription to an endpoint under development, each attempt
//! shown as it happens. One terminal, one command, no file.

use std::io::Write;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use crate::app::Running;
use crate::cli::client::{Need, SidecarArgs};
use crate::cli::config_arg::ConfigArg;
use crate::cli::operate;
use crate::cli::runtime::block_on;
use crate::cli::sandbox::{self, Folder, new_secret};
use crate::cli::show::gate;
use crate::cli::show::text::plain;
use crate::cli::usage::Usage;
use crate::config::{ConfigError, Environment, overlap};
use crate::domain::conceal;

/// The text below the help.
const EXAMPLES: &str = "\
Examples:
  sidehook dev --forward-to http://localhost:3000/webhooks
  sidehook dev --forward-to http://localhost:3000/ --events 'invoice.*' --events '!invoice.draft'
  sidehook dev --forward-to https://localhost:8443/ --ca-file ca.pem

It uses a temporary folder, which is removed at the end. A failed attempt is repeated after 1 s, 5 s, 15 s, and then each
minute, ten times in all. Ctrl-C ends it.";

/// Deliver to an endpoint under development and show each attempt, without a file
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The endpoint: http or https, also on this machine or in a private network
    #[arg(long, value_name = "URL", value_parser = url)]
    forward_to: String,
    /// Only events of types that this pattern matches; may be repeated. Default: all
    #[arg(long, value_name = "PATTERN")]
    events: Vec<String>,
    /// Where events are posted
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8780")]
    listen: String,
    /// Sign with this secret; default: one is made and printed
    #[arg(
        long,
        value_name = "SECRET",
        env = "SIDEHOOK_DEV_SECRET",
        hide_env_values = true
    )]
    secret: Option<String>,
    /// Trust the certificates of this PEM file instead of those of the system
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

/// Takes what has a scheme: `localhost:3000` is most likely meant to be http.
fn url(text: &str) -> Result<String, String> {
    match text.split_once("://") {
        Some(_) => Ok(text.to_owned()),
        None => Err(format!(
            "expected a URL, such as http://{}",
            text.trim_start_matches('/')
        )),
    }
}

/// Runs until Ctrl-C.
///
/// # Errors
/// The relay cannot start, or ends by itself.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    block_on(dev(args))?;
    Ok(ExitCode::SUCCESS)
}

async fn dev(args: &Args) -> anyhow::Result<()> {
    check_loop(&args.forward_to, &args.listen)?;
    let mut signals = sandbox::signals()?;
    let folder = Folder::new()?;
    let secret = match &args.secret {
        Some(secret) => secret.clone(),
        None => new_secret()?,
    };
    let configuration = configuration(args, &secret)?;
    let relay = folder.start(&configuration).await.map_err(explained)?;
    introduce(args, &secret, &folder, &relay)?;
    sandbox::run_beside(relay, &mut signals, show(&folder)).await
}

/// The configuration: JSON texts are YAML texts.
fn configuration(args: &Args, secret: &str) -> anyhow::Result<String> {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let all = ["*".to_owned()];
    let patterns = if args.events.is_empty() {
        all.as_slice()
    } else {
        &args.events
    };
    let patterns: Vec<_> = patterns.iter().map(|pattern| quoted(pattern)).collect();
    let ca_file = match &args.ca_file {
        Some(path) => {
            let path = std::path::absolute(path).context("--ca-file")?;
            format!(
                "\n    tls: {{ca_file: {}}}",
                quoted(&path.to_string_lossy())
            )
        }
        None => String::new(),
    };
    let port = port(&args.forward_to).map_or_else(String::new, |port| format!(", {port}"));
    Ok(format!(
        "\
# What sidehook dev runs with: a beginning for a file of your own.
listen: {{events: {}, admin: '127.0.0.1:0'}}
store: {{path: store}}
network:
  allow_private: [127.0.0.0/8, '::1/128', 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 'fc00::/7']
  ports: [443, 8443{port}]
subscriptions:
  dev:
    url: {}
    events: [{}]
    secret: {}
    retry: {{schedule: [1s, 5s, 15s, 1m, 1m, 1m, 1m, 1m, 1m]}}{ca_file}
",
        quoted(&args.listen),
        quoted(&args.forward_to),
        patterns.join(", "),
        quoted(secret),
    ))
}

/// Refuses to forward to where events are posted: each delivery would be the next event.
fn check_loop(forward_to: &str, listen: &str) -> Result<(), Usage> {
    let uri = forward_to.parse::<http::Uri>().unwrap_or_default();
    let port = match (uri.port_u16(), uri.scheme_str()) {
        (Some(port), _) => port,
        (None, Some("https")) => 443,
        (None, _) => 80,
    };
    let addresses = |text: &str| -> Vec<SocketAddr> {
        // A name that cannot be resolved is reported by the start, or by the first attempt.
        text.to_socket_addrs()
            .map(Iterator::collect)
            .unwrap_or_default()
    };
    let own = addresses(listen);
    let to = addresses(&format!("{}:{port}", uri.host().unwrap_or_default()));
    if to.iter().any(|to| own.iter().any(|own| overlap(*own, *to))) {
        let message = format!(
            "--forward-to: {} is where this sidecar takes events itself: expected your endpoint, or another --listen",
            plain(&conceal(forward_to))
        );
        return Err(Usage(message));
    }
    Ok(())
}

/// The port of a url, where it names one that is not among the usual ones.
fn port(url: &str) -> Option<u16> {
    let port = url.parse::<http::Uri>().ok()?.port_u16()?;
    Some(port).filter(|port| ![443, 8443].contains(port))
}

fn introduce(args: &Args, secret: &str, folder: &Folder, relay: &Running) -> anyhow::Result<()> {
    let events = relay.addresses().events.first().context("no listener")?;
    let url = plain(&conceal(&args.forward_to));
    let config = folder.config();
    let config = config.display();
    let mut stdout = gate::stdout();
    // The secret has to be seen: it is what the endpoint verifies with.
    writeln!(
        stdout,
        "\
events posted to http://{events}/events/TYPE are delivered to {url}
  secret  {secret}
  signed  as Standard Webhooks: webhook-id, webhook-timestamp, webhook-signature

  curl -d '{{\"total\": 7}}' http://{events}/events/invoice.paid
  sidehook status -c {config}
"
    )?;
    Ok(stdout.flush()?)
}

/// Shows each attempt; ends only with an error.
async fn show(folder: &Folder) -> anyhow::Result<()> {
    let sidecar = SidecarArgs::of_config(&ConfigArg {
        config: Some(folder.config()),
    });
    let client = sidecar.client(&Environment::default(), Need::Read).await?;
    operate::follow_all(&client).await
}

/// Reports an error in terms of the arguments: the file is ours, and gone.
fn explained(error: anyhow::Error) -> anyhow::Error {
    let Some(ConfigError(problems)) = error.downcast_ref() else {
        return error;
    };
    let said = problems.iter().map(|problem| {
        let argument = match problem.path.as_str() {
            "subscriptions.dev.url" => "--forward-to",
            "subscriptions.dev.secret" => "--secret",
            path if path.starts_with("subscriptions.dev.events") => "--events",
            path if path.starts_with("subscriptions.dev.tls") => "--ca-file",
            path if path.starts_with("listen.events") => "--listen",
            path => path,
        };
        format!("{argument}: {}", problem.message)
    });
    Usage(said.collect::<Vec<_>>().join("\nerror: ")).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn args(url: &str, events: &[&str]) -> Args {
        Args {
            forward_to: url.to_owned(),
            events: events.iter().map(|text| (*text).to_owned()).collect(),
            listen: "127.0.0.1:0".to_owned(),
            secret: None,
            ca_file: None,
        }
    }

    #[test]
    fn an_endpoint_that_is_the_relay_itself_is_refused() {
        let loops = |url: &str, listen: &str| check_loop(url, listen).is_err();
        for url in [
            "http://127.0.0.1:8780/events",
            "http://localhost:8780/",
            "http://0.0.0.0:8780",
            "http://[::ffff:127.0.0.1]:8780/x",
        ] {
            assert!(loops(url, "127.0.0.1:8780"), "{url}");
        }
        assert!(
            loops("http://[::1]:8780", "[::1]:8780") && loops("http://127.0.0.1", "127.0.0.1:80")
        );
        assert!(loops("https://127.0.0.1/", "localhost:443"));
        for url in [
            "http://127.0.0.1:8781/",
            "http://127.0.0.2:8780/",
            "http://[::1]:8780/",
            "nonsense",
            "http://",
        ] {
            assert!(!loops(url, "127.0.0.1:8780"), "{url}");
        }
        assert!(!loops("http://127.0.0.1:8780", "127.0.0.1:0"));
    }

    #[test]
    fn what_it_runs_with_is_a_valid_file_without_warnings_but_for_the_secret() {
        for (url, events) in [
            ("http://localhost:3000/webhooks?a='b\"", &[][..]),
            ("http://192.168.0.7/", &["invoice.*", "!invoice.draft"][..]),
            ("https://partner.example.com:9443/x", &["*"][..]),
        ] {
            let folder = Folder::new().unwrap();
            let secret = new_secret().unwrap();
            let text = configuration(&args(url, events), &secret).unwrap();
            std::fs::write(folder.config(), text).unwrap();
            let loaded = config::load(&folder.config(), &Environment::default()).unwrap();
            let (_, subscription) = loaded.config.subscriptions.first_key_value().unwrap();
            let warnings: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
            assert!(subscription.secret.is_some());
            assert!(
                warnings.iter().all(|warning| warning.contains("secret")),
                "{warnings:?}"
            );
        }
    }
}
