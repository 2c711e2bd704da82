//! Who reads the log of `run` cannot hold it up, and what happens in the relay cannot flood who reads it.

use std::io::{BufRead, BufReader, PipeReader, Write, pipe};
use std::path::Path;
use std::process::{Child, Stdio};

use rustix::io::ioctl_fionbio;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::cli::{OFF, folder, write_config};
use crate::support::http::{get, request};
use crate::support::program::{Program, sidehook};
use crate::support::receiver::{Receiver, Reply};
use crate::support::until;

const RUN: [&str; 3] = ["run", "--config", "config.yaml"];

/// A folder with a subscription whose endpoint ends every delivery at once.
async fn ending(log: &str) -> (TempDir, Receiver) {
    let receiver = Receiver::start(|_| Reply::status(404)).await;
    let folder = folder(&format!(
        "  a: {{url: '{}', events: ['*'], give_up_on: [404], auto_disable: never, concurrency: 32}}\n{log}",
        receiver.url("/")
    ));
    (folder, receiver)
}

/// A relay whose log is read up to the line that says where it listens, and no further.
struct Unread {
    child: Child,
    log: Option<BufReader<PipeReader>>,
    events: String,
    admin: String,
}

impl Unread {
    fn start(folder: &Path) -> Self {
        let (log, to) = pipe().unwrap();
        let mut command = sidehook(folder, &RUN);
        let child = command.stderr(to).stdout(Stdio::null()).spawn().unwrap();
        drop(command);
        let mut log = BufReader::new(log);
        let line = loop {
            let mut line = String::new();
            assert!(log.read_line(&mut line).unwrap() > 0, "it ended");
            let line: Value = serde_json::from_str(&line).unwrap();
            if line["message"] == "accepting events" {
                break line;
            }
        };
        let address = |name: &str| line[name].as_str().unwrap().to_owned();
        Self {
            child,
            log: Some(log),
            events: address("events"),
            admin: address("admin"),
        }
    }

    async fn post(&self, events: usize) {
        post(&self.events, events).await;
    }

    async fn metric(&self, series: &str) -> f64 {
        let metrics = get(&self.admin, "/metrics").await.body;
        let mut values = metrics.lines().filter_map(|line| line.strip_prefix(series));
        values.next().unwrap().trim().parse().unwrap()
    }

    async fn all_are_dead(&self, count: f64) {
        let series = r#"sidehook_dead_deliveries{subscription="a"}"#;
        until("all are dead", async || self.metric(series).await == count).await;
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

async fn post(address: &str, events: usize) {
    let headers = "Content-Type: application/x-ndjson\r\n";
    let body = "{\"type\":\"order.placed.with.a.long.type\"}\n".repeat(events);
    let answer = request(address, "POST", "/events", headers, &body).await;
    assert_eq!(answer.unwrap().status, 202);
}

async fn code(child: &mut Child) -> Option<i32> {
    let mut code = None;
    until("it has ended", async || {
        code = child.try_wait().unwrap();
        code.is_some()
    })
    .await;
    code.unwrap().code()
}

#[tokio::test]
async fn a_reader_of_the_log_that_stops_holds_up_nothing() {
    let (folder, _receiver) = ending("log: {level: debug}\n").await;
    let mut relay = Unread::start(folder.path());
    let dropped = "sidehook_log_lines_dropped_total";
    let mut count = 0.0;
    // More than the pipe and what waits can hold.
    while relay.metric(dropped).await == 0.0 {
        relay.post(1_000).await;
        count += 1_000.0;
        relay.all_are_dead(count).await;
        assert!(count < 50_000.0, "nothing was dropped");
    }
    relay.post(1).await;
    relay.all_are_dead(count + 1.0).await;
    kill_process(Pid::from_child(&relay.child), Signal::TERM).unwrap();
    assert_eq!(code(&mut relay.child).await, Some(0));
}

#[tokio::test]
async fn a_reader_of_the_log_that_goes_away_stops_nothing() {
    let (folder, _receiver) = ending("").await;
    let mut relay = Unread::start(folder.path());
    relay.log = None;
    relay.post(1_000).await;
    relay.all_are_dead(1_000.0).await;
    assert!(relay.metric("sidehook_log_lines_dropped_total").await > 0.0);
    kill_process(Pid::from_child(&relay.child), Signal::TERM).unwrap();
    assert_eq!(code(&mut relay.child).await, Some(0));
}

#[tokio::test]
async fn a_start_that_fails_ends_though_nobody_reads_why() {
    let (_unread, mut full) = pipe().unwrap();
    ioctl_fionbio(&full, true).unwrap();
    while full.write(&[b'x'; 4096]).is_ok() {}
    ioctl_fionbio(&full, false).unwrap();
    let folder = folder(OFF);
    let _first = Program::relay(folder.path());
    for (expected, subscriptions) in [(1, OFF), (2, "  a: {url: 7}\n")] {
        write_config(folder.path(), subscriptions);
        let mut command = sidehook(folder.path(), &RUN);
        let mut child = command.stderr(full.try_clone().unwrap()).spawn().unwrap();
        assert_eq!(code(&mut child).await, Some(expected));
    }
}

/// The lines with this text, and the sum of what is told as left out of them.
fn counted(lines: &[String], text: &str) -> (u64, u64) {
    let lines: Vec<Value> = lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let written = lines.iter().filter(|line| line["message"] == text);
    let written = written.map(|_| 1).sum();
    let left_out = lines.iter().filter(|line| line["line"] == text);
    let left_out = left_out.map(|line| line["count"].as_u64().unwrap());
    (written, left_out.sum())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_ends_thousands_of_deliveries_makes_a_few_lines() {
    let (folder, receiver) = ending("").await;
    let (relay, line) = Program::relay(folder.path());
    for _ in 0..3 {
        post(line["events"].as_str().unwrap(), 1_000).await;
    }
    until("all were attempted", async || receiver.count() == 3_000).await;
    relay.signal(Signal::TERM);
    let (code, lines) = tokio::task::block_in_place(|| relay.end());
    assert_eq!(code, Some(0));
    let (written, left_out) = counted(&lines, "delivery is dead");
    assert_eq!(written + left_out, 3_000, "{lines:?}");
    assert!(lines.len() <= 20, "{} lines", lines.len());
}

#[test]
fn a_file_with_a_thousand_questionable_lines_makes_a_few_lines() {
    let subscriptions: String = (0..1_000)
        .map(|number| {
            format!(
                "  s{number}: {{url: 'https://example.com/', events: ['*'], secret: whsec_{}}}\n",
                "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
            )
        })
        .collect();
    let folder = folder(&subscriptions);
    let (relay, _) = Program::relay(folder.path());
    for _ in 0..3 {
        relay.signal(Signal::HUP);
        relay.log_line("configuration reloaded");
    }
    relay.signal(Signal::TERM);
    let (_, lines) = relay.end();
    assert!(lines.len() <= 20, "{} lines", lines.len());
}
