//! `sidehook verify`: reports whether a captured request carries a valid signature, or exactly why not.
//!
//! Exit codes: 0 valid, 1 not valid, 2 the question itself is wrong (an unreadable file, a secret that does not fit).

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail, ensure};
use clap::ArgGroup;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::cli::input::{SecretSources, read_bounded, read_file};
use crate::config::Environment;
use crate::domain::Timestamp;
use crate::signing::{Algorithm, KeyForm, Scheme, VerifyError, verify};

/// The text below the help.
const EXAMPLES: &str = "\
Examples:
  sidehook verify --secret-env BILLING_SECRET --headers-file head.txt --body @body.json
  sidehook verify --scheme github --secret-file secret.txt -H 'X-Hub-Signature-256: sha256=…' --body @body.json

Exit codes: 0 valid, 1 not valid, 2 the question itself is wrong.";

/// Verify a captured request against a secret
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[command(group = ArgGroup::new("secrets")
    .args(["secret", "secret_env", "secret_file"])
    .required(true)
    .multiple(true))]
pub(crate) struct VerifyArgs {
    /// Signature scheme: standard, github, stripe, slack, shopify, opnform, hookshot or opentrain
    #[arg(long, value_name = "NAME", default_value = "standard")]
    scheme: String,

    /// What the headers of scheme standard begin with [default: webhook]
    #[arg(long, value_name = "NAME")]
    prefix: Option<String>,

    /// Take the secret of scheme standard as written instead of as whsec_… in base64
    #[arg(long)]
    text_key: bool,

    /// Digest of scheme hookshot: sha1, sha256 or sha512 [default: sha256]
    #[arg(long, value_name = "NAME")]
    algorithm: Option<Algorithm>,

    #[command(flatten)]
    secrets: SecretSources,

    /// A header of the request, as 'Name: value'; repeat it for several
    #[arg(long = "header", short = 'H', value_name = "HEADER")]
    headers: Vec<String>,

    /// A file with header lines, as curl prints them; what follows an empty line is not read
    #[arg(long, value_name = "FILE")]
    headers_file: Option<PathBuf>,

    /// The body: a text, @FILE, or - for standard input
    #[arg(long, value_name = "BODY", allow_hyphen_values = true)]
    body: String,

    /// The URL it was sent to, for schemes that sign it
    #[arg(long, default_value = "")]
    url: String,

    /// How far the timestamp may lie from now, in seconds and both ways; 0 accepts any
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    tolerance: u32,

    /// Judge as of this time, RFC 3339 or unix seconds, instead of now
    #[arg(long, value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
    at: Option<Timestamp>,

    /// Print JSON: {"valid", "scheme", "reason"}
    #[arg(long)]
    json: bool,
}

/// Judges a request as of `now`, unless `--at` gives another time. The verdict goes to `out`, everything else
/// to `err`. Returns the exit code.
///
/// # Errors
/// `out` or `err` takes no text.
pub(crate) fn run(
    args: &VerifyArgs,
    environment: &Environment,
    now: Timestamp,
    input: &mut dyn Read,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> anyhow::Result<u8> {
    args.secrets.warn(err)?;
    match judge(args, environment, now, input) {
        Ok(verdict) => report(args, &verdict, out),
        Err(error) => {
            writeln!(err, "error: {error:#}")?;
            Ok(2)
        }
    }
}

/// The result: valid, or why not.
type Verdict = Result<(), VerifyError>;

fn judge(
    args: &VerifyArgs,
    environment: &Environment,
    now: Timestamp,
    input: &mut dyn Read,
) -> anyhow::Result<Verdict> {
    let scheme = scheme(args)?;
    let secrets = args.secrets.read(environment)?;
    let headers = headers(args)?;
    let body = body(&args.body, input)?;
    let tolerance = match args.tolerance {
        0 => i64::MAX,
        seconds => i64::from(seconds),
    };
    let at = args.at.unwrap_or(now);
    match verify(&scheme, &secrets, &headers, &body, &args.url, at, tolerance) {
        Err(VerifyError::Scheme(error)) => Err(error.into()),
        verdict => Ok(verdict),
    }
}

fn report(args: &VerifyArgs, verdict: &Verdict, out: &mut dyn Write) -> anyhow::Result<u8> {
    let scheme = &args.scheme;
    let reason = verdict.as_ref().err().map(ToString::to_string);
    if args.json {
        let valid = verdict.is_ok();
        let answer = serde_json::json!({"valid": valid, "scheme": scheme, "reason": reason});
        writeln!(out, "{answer}")?;
    } else if let Some(reason) = reason {
        writeln!(out, "not valid: {reason}")?;
    } else {
        writeln!(out, "ok: {scheme} signature is valid")?;
    }
    Ok(u8::from(verdict.is_err()))
}

fn scheme(args: &VerifyArgs) -> anyhow::Result<Scheme> {
    let mut scheme = Scheme::by_name(&args.scheme)
        .ok_or_else(|| anyhow!("unknown scheme {:?}, see --help", args.scheme))?;
    match &mut scheme {
        Scheme::Standard { prefix, key } => {
            ensure!(
                args.algorithm.is_none(),
                "--algorithm is for scheme hookshot"
            );
            if let Some(given) = &args.prefix {
                prefix.clone_from(given);
            }
            if args.text_key {
                *key = KeyForm::Text;
            }
            return Ok(scheme);
        }
        Scheme::Hookshot { algorithm } => *algorithm = args.algorithm.unwrap_or(*algorithm),
        _ => ensure!(
            args.algorithm.is_none(),
            "--algorithm is for scheme hookshot"
        ),
    }
    ensure!(
        args.prefix.is_none() && !args.text_key,
        "--prefix and --text-key are for scheme standard"
    );
    Ok(scheme)
}

fn headers(args: &VerifyArgs) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    if let Some(path) = &args.headers_file {
        let text = read_file(path)?;
        add_lines(&String::from_utf8_lossy(&text), &mut headers)
            .with_context(|| path.display().to_string())?;
    }
    for line in &args.headers {
        add_header(line, &mut headers)?;
    }
    Ok(headers)
}

/// Adds header lines up to the first empty one. A request or status line before them is passed over, as are the `>`
/// and `<` that `curl -v` puts before each.
fn add_lines(text: &str, headers: &mut HeaderMap) -> anyhow::Result<()> {
    let lines = text
        .lines()
        .map(|line| line.trim_start_matches(['>', '<']).trim());
    for (index, line) in lines.enumerate() {
        if line.is_empty() {
            break;
        }
        if index == 0 && is_start_line(line) {
            continue;
        }
        add_header(line, headers).with_context(|| format!("line {}", index + 1))?;
    }
    Ok(())
}

fn is_start_line(line: &str) -> bool {
    line.starts_with("HTTP/")
        || line
            .rsplit_once(' ')
            .is_some_and(|(_, version)| version.starts_with("HTTP/"))
}

fn add_header(line: &str, headers: &mut HeaderMap) -> anyhow::Result<()> {
    let Some((name, value)) = line.split_once(':') else {
        bail!("expected a header as 'Name: value', found {line:?}");
    };
    let name: HeaderName = name
        .trim()
        .parse()
        .map_err(|_| anyhow!("expected a header name, found {name:?}"))?;
    let value = HeaderValue::from_str(value.trim())
        .map_err(|_| anyhow!("the value of {name} has control characters"))?;
    headers.append(name, value);
    Ok(())
}

fn body(source: &str, input: &mut dyn Read) -> anyhow::Result<Vec<u8>> {
    match source.strip_prefix('@') {
        Some(path) => read_file(Path::new(path)),
        None if source == "-" => read_bounded(input).context("standard input"),
        None => Ok(source.as_bytes().to_vec()),
    }
}

fn parse_time(text: &str) -> Result<Timestamp, String> {
    if let Ok(seconds) = text.parse::<i64>() {
        return Ok(Timestamp::from_millis(seconds.saturating_mul(1000)));
    }
    text.parse()
        .map_err(|_| "expected a time such as 2026-11-22T10:00:00Z, or unix seconds".to_owned())
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
