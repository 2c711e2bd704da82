//! Lines with slow or absent readers, and many lines of a kind.

use std::io::{PipeReader, Read, Write, pipe};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicI64, Ordering};

use rustix::io::ioctl_fionbio;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{fmt, registry};

use super::*;
use crate::domain::Timestamp;

const SOON: Duration = Duration::from_secs(30);

/// A clock that a test sets.
#[derive(Debug, Default)]
struct Hand(AtomicI64);

impl Clock for Hand {
    fn wall(&self) -> Timestamp {
        self.steady()
    }

    fn steady(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::Relaxed))
    }
}

fn started(out: impl Into<OwnedFd>) -> Logs {
    let out = out.into();
    let clock: Arc<dyn Clock> = Arc::new(Hand::default());
    Logs::start(out, Limit::new(Arc::clone(&clock)), clock).unwrap()
}

fn log(logs: &Logs, line: &str) {
    logs.make_writer().write_all(line.as_bytes()).unwrap();
}

fn read(mut from: PipeReader) -> String {
    let mut text = String::new();
    from.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn lines_arrive_in_order_and_at_the_end_all_have() {
    let (from, to) = pipe().unwrap();
    let logs = started(to);
    for number in 0..100 {
        log(&logs, &format!("{number}\n"));
    }
    logs.finish(SOON);
    let expected: String = (0..100).map(|number| format!("{number}\n")).collect();
    assert_eq!(read(from), expected);
}

#[test]
fn who_logs_waits_for_no_reader_and_the_end_only_within_its_bound() {
    let (from, to) = pipe().unwrap();
    let logs = started(to);
    let before = dropped();
    let line = format!("{}\n", "x".repeat(1_000));
    for _ in 0..5_000 {
        log(&logs, &line);
    }
    assert!(dropped() > before);
    logs.finish(Duration::from_millis(10));
    // The reader is back: what waited arrives, no more than was bounded.
    let text = read(from);
    assert!((900_000..1_400_000).contains(&text.len()), "{}", text.len());
    assert!(text.lines().all(|line| line.len() == 1_000));
}

#[test]
fn a_reader_that_went_away_stops_nothing() {
    let (from, to) = pipe().unwrap();
    drop(from);
    let logs = started(to);
    let before = dropped();
    log(&logs, "a\n");
    logs.finish(SOON);
    assert!(dropped() > before);
}

#[test]
fn a_disk_that_is_full_stops_nothing() {
    let full = std::fs::File::options().write(true).open("/dev/full");
    let logs = started(full.unwrap());
    let before = dropped();
    log(&logs, "a\n");
    logs.finish(SOON);
    assert!(dropped() > before);
}

#[test]
fn an_output_that_does_not_wait_is_waited_for() {
    let (from, to) = pipe().unwrap();
    ioctl_fionbio(&to, true).unwrap();
    let logs = started(to);
    let line = format!("{}\n", "x".repeat(999));
    for _ in 0..500 {
        log(&logs, &line);
    }
    let reader = thread::spawn(|| read(from));
    logs.finish(SOON);
    assert_eq!(reader.join().unwrap().len(), 500_000);
}

/// The lines that come of this under a clock that is moved by `log`.
fn lines(log: impl FnOnce(&Hand)) -> Vec<String> {
    let (from, to) = pipe().unwrap();
    let reader = thread::spawn(|| read(from));
    let clock = Arc::new(Hand::default());
    let limit = Limit::new(clock.clone());
    let logs = Logs::start(to, limit.clone(), clock.clone()).unwrap();
    // The writer logs to the subscriber of the process, which is not this one.
    let told = limit.clone();
    let layer = fmt::layer()
        .with_writer(logs.clone())
        .with_ansi(false)
        .without_time();
    let subscriber = registry().with(layer).with(limit);
    tracing::subscriber::with_default(subscriber, || log(&clock));
    for left_out in told.take(clock.steady(), true) {
        let LeftOut {
            text,
            subscription,
            count,
        } = left_out;
        let subscription = subscription.unwrap_or_default();
        let line = format!("left out {text} {subscription} {count}\n");
        logs.make_writer().write_all(line.as_bytes()).unwrap();
    }
    logs.finish(SOON);
    drop(logs);
    let text = reader.join().unwrap();
    text.lines().map(str::to_owned).collect()
}

fn dead(name: &str) {
    tracing::warn!(subscription = %name, "delivery is dead");
}

#[test]
fn of_many_lines_about_a_subscription_few_are_written_and_all_are_counted() {
    let lines = lines(|_| {
        for _ in 0..2_845 {
            dead("billing");
        }
        dead("crm");
    });
    assert_eq!(lines.len(), 5 + 1 + 1, "{lines:?}");
    let last = lines.last().unwrap();
    assert_eq!(last, "left out delivery is dead billing 2840");
}

#[test]
fn kinds_of_lines_are_bounded_whatever_they_are_about() {
    let lines = lines(|_| {
        for number in 0..5_000 {
            dead(&format!("s{number}"));
        }
        for number in 0..300 {
            tracing::error!(number, "wrong");
        }
    });
    let count = |text: &str| lines.iter().filter(|line| line.contains(text)).count();
    assert_eq!(count("delivery is dead subscription="), 100);
    assert_eq!(count("wrong number="), 100);
    assert_eq!(count("left out delivery is dead s"), 20);
    let dead_in_all = format!("left out delivery is dead  {}", 5_000 - 100 - 20);
    assert_eq!(count(&dead_in_all), 1, "{lines:?}");
    assert_eq!(count("left out wrong  200"), 1);
}

#[test]
fn a_minute_later_lines_are_written_again() {
    let lines = lines(|clock| {
        for _ in 0..3 {
            for _ in 0..10 {
                dead("billing");
            }
            clock.0.fetch_add(60_000, Ordering::Relaxed);
        }
    });
    // The thread's reports go to the subscriber of the process: here there is none.
    let written = lines.iter().filter(|line| line.contains("WARN")).count();
    assert_eq!(written, 15);
}

#[test]
fn what_is_asked_for_with_debug_is_not_limited() {
    let lines = lines(|_| {
        for number in 0..1_000 {
            tracing::debug!(number, "attempt failed");
        }
    });
    assert_eq!(lines.len(), 1_000);
}
