//! Files that are unreadable, huge, broken or random.

use std::time::Duration;

use proptest::prelude::*;
use sidehook::config::load;
use sidehook::domain::{Clock, SystemClock};

use super::{environment, load_text};

#[test]
fn a_file_that_cannot_be_read_is_one_error() {
    let folder = tempfile::tempdir().unwrap();
    for path in [
        folder.path().join("missing.yaml"),
        folder.path().to_path_buf(),
    ] {
        let error = load(&path, &environment()).unwrap_err();
        let expected = format!("{}:1:1: the file cannot be read: ", path.display());
        assert!(error.to_string().starts_with(&expected), "{error}");
    }
}

#[test]
fn a_file_above_16_mib_is_refused() {
    let comment = format!("subscriptions: {{}}\n#{}\n", "x".repeat(16 << 20));
    let error = load_text(&comment).unwrap_err();
    assert_eq!(
        error.0[0].message,
        "the file is too large, expected at most 16MiB"
    );
    let just = comment.get(..16 << 20).unwrap();
    assert!(load_text(just).is_ok());
}

#[test]
fn no_problem_shows_a_secret() {
    let text = "ingest: {tokens: [\"hunter 2\"]}\nsubscriptions:\n  a:\n    url: https://hunter2@a.example.com/\n    events: [x]\n    secret: hunter2\n    headers: {X-A: \"hunter2 {{x}}\", X-B: \"hunter2\\n\"}\n    previous_secrets: [{secret: hunter2, until: hunter2}]\n  b:\n    url: hunter2://hunter2\n    secret: !hunter2 x\n    headers: [hunter2]\n  c:\n    url: [hunter2]\n    secret: [hunter2]\n";
    let error = load_text(text).unwrap_err();
    assert!(error.0.len() >= 10, "{error}");
    assert!(!error.to_string().contains("hunter"), "{error}");
    let broken = load_text("subscriptions:\n  a: {secret: \"hunter2}\n").unwrap_err();
    assert!(!broken.to_string().contains("hunter"), "{broken}");
}

#[test]
fn ten_thousand_subscriptions_load_in_seconds() {
    let mut text = String::from("subscriptions:\n");
    for number in 0..10_000 {
        text.push_str(&format!(
            "  sub-{number}:\n    title: Number {number}\n    url: https://example.com/{number}\n    events: [\"a.*\", \"!b\"]\n    secret: {{env: SECRET}}\n    headers:\n      X-A: b\n      X-C: d\n"
        ));
    }
    let clock = SystemClock::new();
    let started = clock.steady();
    let loaded = load_text(&text).unwrap();
    let taken = clock.steady().since(started);
    assert_eq!(loaded.config.subscriptions.len(), 10_000);
    assert!(
        taken < Duration::from_secs(20),
        "{taken:?} in an unoptimized build on a busy machine"
    );
    let wrong = text.replace("https:", "ftp:");
    let problems = load_text(&wrong).unwrap_err().0;
    assert_eq!((problems.len(), problems.total()), (100, 10_000));
    assert!(problems.is_sorted_by_key(|problem| problem.line));
    assert_eq!(problems.rest().unwrap(), "and 9,900 more");
}

#[test]
fn yaml_that_has_two_readings_is_not_called_invalid() {
    let text = "? ? \n    \n---: ";
    serde_yaml::from_str::<serde_yaml::Value>(text).unwrap();
    let said = load_text(text).unwrap_err().to_string();
    assert!(said.contains("the layout is ambiguous"), "{said}");
    assert!(!said.contains("not valid YAML"), "{said}");
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,200}") {
        drop(load_text(&text));
    }

    #[test]
    fn no_yaml_like_text_panics_or_is_called_broken_without_reason(
        parts in prop::collection::vec(
            prop::sample::select(vec![
                "subscriptions", "a", "url", "events", "secret", "defaults", ": ", ":", "\n", "\n  ", "\n    ", "- ", "[", "]", "{", "}",
                ", ", "\"", "'", "*", "&x", "!t", "*x", "|", ">", "? ", "<<", "# ", "---", "...", "~", "\t", "é", "1", "\\", "%", "@",
            ]),
            0..60,
        ),
    ) {
        let text = parts.concat();
        let problems = load_text(&text).map_err(|error| error.to_string()).err().unwrap_or_default();
        let is_yaml = serde_yaml::from_str::<serde_yaml::Value>(&text).is_ok();
        let is_called_broken = problems.contains("not valid YAML") && !problems.contains("must be quoted");
        prop_assert!(!(is_yaml && is_called_broken), "{}", problems);
    }

    /// A node's text is what `serde_yaml` alone reads, however it is written.
    #[test]
    fn titles_are_read_as_serde_yaml_reads_them(title in "[ -~éü\n]{1,40}", style in 0..4) {
        let written = match style {
            0 => format!("{title:?}"),
            1 => format!("'{}'", title.replace('\'', "''").replace('\n', " ")),
            2 => format!("|-\n      x{}", title.replace('\n', "\n      ")),
            _ => title.replace('\n', " "),
        };
        let text = format!("subscriptions:\n  a:\n    active: false\n    title: {written}\n    locked: true\n");
        let alone = serde_yaml::from_str::<serde_yaml::Value>(&text).ok();
        let alone = alone.as_ref().and_then(|value| value["subscriptions"]["a"]["title"].as_str());
        let loaded = load_text(&text).ok();
        let subscription = loaded.as_ref().and_then(|loaded| loaded.config.subscriptions.values().next().cloned());
        if let (Some(alone), Some(subscription)) = (alone, subscription)
            && let Some(title) = &subscription.title
        {
            prop_assert_eq!(alone, title);
        }
    }
}
