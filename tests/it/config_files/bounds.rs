//! What a configuration may name and hold: beyond the bounds it is refused with a message, whatever it names.

use std::os::unix::fs::symlink;
use std::path::Path;

use sidehook::config::{Environment, load};

use super::{environment, load_text};

/// What is said of a file beside others.
fn said(folder: &Path, text: &str, environment: &Environment) -> String {
    let path = folder.join("config.yaml");
    std::fs::write(&path, text).unwrap();
    load(&path, environment).map_or_else(|error| error.to_string(), |_| String::new())
}

#[test]
fn an_include_of_everything_is_refused() {
    let error = load_text("include: [\"/**/*\"]\nsubscriptions: {}\n").unwrap_err();
    assert_eq!(error.0.len(), 1, "{error}");
    assert!(
        error.to_string().contains("expected a narrower glob"),
        "{error}"
    );
}

#[test]
fn a_glob_that_matches_more_files_than_a_configuration_has_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("conf.d")).unwrap();
    for number in 0..4097 {
        std::fs::write(folder.path().join(format!("conf.d/{number}.yaml")), "").unwrap();
    }
    let text = "include: [\"conf.d/*.yaml\"]\nsubscriptions: {}\n";
    let error = said(folder.path(), text, &environment());
    assert!(
        error.contains("include[0]: matches more than 4096 files"),
        "{error}"
    );
}

/// Pipes without a writer, endless devices, sockets, folders, files of the kernel, links that lead round.
#[test]
fn nothing_that_a_configuration_names_blocks_or_swells() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let made = std::process::Command::new("mkfifo")
        .arg(path("pipe"))
        .status();
    assert!(made.unwrap().success());
    let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
    symlink("loop", path("loop")).unwrap();
    symlink("/dev/zero", path("link")).unwrap();
    std::fs::File::create(path("sparse"))
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    let mut environment = environment();
    let there = folder.path().display().to_string();
    environment
        .variables
        .insert("CREDENTIALS_DIRECTORY".to_owned(), there.clone());
    for name in [
        "pipe",
        "socket",
        "loop",
        "link",
        "sparse",
        ".",
        "/dev/zero",
        "/dev/tty",
        "/proc/kmsg",
        "/proc/self/environ",
        "/sys/kernel/uevent_seqnum",
    ] {
        let places = [
            format!("include: [\"{name}\"]\nsubscriptions: {{}}\n"),
            format!("subscriptions: {{a: {{active: false, secret: {{file: \"{name}\"}}}}}}\n"),
            format!("subscriptions: {{a: {{active: false, url: {{file: \"{name}\"}}}}}}\n"),
            format!(
                "subscriptions: {{a: {{active: false, headers: {{X-A: {{file: \"{name}\"}}}}}}}}\n"
            ),
            format!("subscriptions: {{a: {{active: false, tls: {{ca_file: \"{name}\"}}}}}}\n"),
            format!("ingest: {{tokens: [{{file: \"{name}\"}}]}}\nsubscriptions: {{}}\n"),
            format!(
                "subscriptions: {{a: {{active: false, secret: {{credential: \"{name}\"}}}}}}\n"
            ),
        ];
        for text in places {
            // A glob that matches a folder matches nothing.
            let is_folder = name == "." && text.starts_with("include");
            let error = said(folder.path(), &text, &environment);
            assert!(is_folder || !error.is_empty(), "{text}");
        }
    }
    for name in ["pipe", "/dev/zero", "/proc/self/environ", "/"] {
        let error = load(&folder.path().join(name), &environment).unwrap_err();
        assert!(
            error.to_string().contains("expected a regular file"),
            "{error}"
        );
    }
}

#[test]
fn what_is_named_again_and_again_counts_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let mut environment = environment();
    environment
        .variables
        .insert("LARGE".to_owned(), "x".repeat(64 << 10));
    std::fs::write(folder.path().join("large"), "x".repeat(64 << 10)).unwrap();
    for source in ["{env: LARGE}", "{file: ./large}"] {
        let one = |number| {
            format!("  s{number}: {{active: false, signature: github, secret: {source}}}\n")
        };
        let text: String = (0..600).map(one).collect();
        let error = said(
            folder.path(),
            &format!("subscriptions:\n{text}"),
            &environment,
        );
        assert!(
            error.contains("is too much, expected at most 32MiB of a configuration"),
            "{error}"
        );
    }
}

#[test]
fn what_all_take_from_defaults_is_bounded() {
    let header = format!("\"{}\"", "x".repeat(1000));
    let headers: Vec<_> = (0..30)
        .map(|number| format!("X-{number}: {header}"))
        .collect();
    let many: String = (0..2000)
        .map(|number| format!("  s{number}: {{active: false}}\n"))
        .collect();
    let text = |many: &str| {
        format!(
            "defaults: {{headers: {{{}}}}}\nsubscriptions:\n{many}",
            headers.join(", ")
        )
    };
    assert!(load_text(&text("  a: {active: false}\n")).is_ok());
    let error = load_text(&text(&many)).unwrap_err().to_string();
    assert!(
        error.contains("defaults: expected at most 16777 bytes for 2000 subscriptions"),
        "{error}"
    );
}

/// Each is refused before trees of it are made, which are a hundred times as large.
#[test]
fn a_text_of_more_pieces_than_a_configuration_has_is_refused() {
    let texts = [
        "\n".repeat(16_000_000),
        format!("subscriptions: [{}]", "a,".repeat(4_000_000)),
        (0..400_000)
            .map(|number| format!("k{number}: 1\n"))
            .collect(),
        "- ".repeat(4_000_000),
        "{".repeat(4_000_000),
        "\"\" ".repeat(2_000_000),
    ];
    for text in texts {
        let error = load_text(&text).unwrap_err();
        let message = &error.0[0].message;
        assert!(
            message.starts_with("the configuration is too large"),
            "{message}"
        );
    }
}

#[test]
fn messages_are_short_whatever_they_quote() {
    let long = "word ".repeat(200_000);
    for text in [
        format!("log: {{level: \"{long}\"}}\nsubscriptions: {{}}\n"),
        format!("\"{long}\": 1\nsubscriptions: {{}}\n"),
        format!(
            "subscriptions: {{a: {{active: false, signature: {{standard: {{prefix: \"{long}\"}}}}}}}}\n"
        ),
        format!("subscriptions: {{a: {{active: false, forward_headers: [\"{long}\"]}}}}\n"),
        format!("subscriptions: {{a: {{active: false, when: \"{long}\"}}}}\n"),
    ] {
        let error = load_text(&text).unwrap_err().to_string();
        assert!(error.len() < 4000, "{}", error.len());
    }
}

#[test]
fn more_subscriptions_than_the_unit_has_memory_for_are_warned_of() {
    for (count, is_much) in [(1_000, false), (33_000, true)] {
        let names = (0..count).map(|number| format!("  s{number}: {{active: false}}\n"));
        let text = format!("subscriptions:\n{}", names.collect::<String>());
        let warnings = load_text(&text).unwrap().warnings;
        let said = warnings
            .iter()
            .any(|warning| warning.message.contains("MemoryMax=512M"));
        assert_eq!(said, is_much, "{count}");
    }
    let unit = std::fs::read_to_string("systemd/sidehook.service").unwrap();
    assert!(unit.contains("MemoryMax=512M"));
}
