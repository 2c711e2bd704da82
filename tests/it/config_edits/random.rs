//! Random edits of files that are written in many ways: comments stay, and what is loaded is what was meant.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value as Json, json};
use serde_yaml::Value as Yaml;
use sidehook::config::{Change, EditError, load};
use sidehook::domain::{Secret, SubscriptionName};

use super::{Place, environment, fields};

const EDITS_PER_FILE: usize = 10;

/// Numbers that are the same in each run (xorshift64*).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(number).unwrap() % end
    }

    fn one_of<'v, T>(&mut self, values: &'v [T]) -> &'v T {
        &values[self.below(values.len())]
    }
}

/// Values of fields, valid by themselves; most of them written in ways that YAML could take for something else.
fn values() -> Vec<(&'static str, Vec<Json>)> {
    vec![
        (
            "url",
            vec![
                json!("https://new.example.com/a?b=c"),
                json!("https://x.example.com:8443/"),
            ],
        ),
        (
            "events",
            vec![
                json!(["*"]),
                json!(["a.b", "!a.b.c", "x"]),
                json!(["invoice.*", "!invoice.draft", "quote"]),
                json!([
                    "b.c",
                    "c.*",
                    "e.f.g",
                    "y",
                    "z/1",
                    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.1",
                    "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb.*"
                ]),
            ],
        ),
        (
            "title",
            vec![
                json!("t"),
                json!("no"),
                json!("12"),
                json!("a: b # c"),
                json!(" x\ty "),
                json!("ü 😀 'q' \"d\""),
                json!("- x"),
                json!("{a}"),
                json!("null"),
                json!("2026-01-01"),
                Json::Null,
            ],
        ),
        (
            "description",
            vec![
                json!("one\ntwo\n\nthree\n"),
                json!("&a *b !c %d @e `f"),
                json!("short"),
                json!("x".repeat(300)),
                Json::Null,
            ],
        ),
        ("active", vec![json!(true), json!(false)]),
        (
            "when_disabled",
            vec![json!("skip"), json!("hold"), Json::Null],
        ),
        (
            "headers",
            vec![
                json!({}),
                json!({"X-New": "1"}),
                json!({"X-Team": "billing", "X-Env": "prod: eu", "X-More": "#1"}),
                json!(["X-Team: a: b", "X-New:2"]),
                Json::Null,
            ],
        ),
        (
            "forward_headers",
            vec![
                json!([]),
                json!(["traceparent", "b3"]),
                json!(["baggage"]),
                Json::Null,
            ],
        ),
        ("method", vec![json!("PATCH"), json!("POST"), Json::Null]),
        ("timeout", vec![json!("1m"), json!("2500ms"), Json::Null]),
        (
            "retry",
            vec![
                json!("standard"),
                json!("none"),
                json!({"schedule": ["1m", "2m"]}),
                json!({"schedule": ["1m", "5m", "30m"], "jitter": 0.25}),
                json!({"initial": "2s", "factor": 1.5, "max_interval": "1h", "max_attempts": 9}),
                Json::Null,
            ],
        ),
        (
            "give_up_on",
            vec![json!([]), json!([404]), json!([400, 410, 422]), Json::Null],
        ),
        ("order", vec![json!("key"), json!("none"), Json::Null]),
        (
            "concurrency",
            vec![json!(1), json!(64), json!("7"), Json::Null],
        ),
        ("rate_limit", vec![json!("3/s"), json!("100/m"), Json::Null]),
        (
            "auto_disable",
            vec![
                json!("never"),
                json!({"dead": 3}),
                json!({"failures": 5, "for": "2d"}),
                Json::Null,
            ],
        ),
        (
            "signature",
            vec![
                json!("none"),
                json!("github"),
                json!(["stripe", "standard"]),
                json!([{"hookshot": {"algorithm": "sha1"}}]),
                Json::Null,
            ],
        ),
        (
            "tls",
            vec![
                json!({"min_version": "1.3"}),
                json!({"min_version": "1.2"}),
                Json::Null,
            ],
        ),
        (
            "http2",
            vec![json!("never"), json!("sometimes"), Json::Null],
        ),
        (
            "secret",
            vec![
                json!(super::SECRET.replace('A', "Q")),
                json!("too short"),
                json!(""),
                Json::Null,
            ],
        ),
    ]
}

fn some_values(numbers: &mut Numbers, most: usize) -> Map<String, Json> {
    let values = values();
    let count = 1 + numbers.below(most);
    (0..count)
        .map(|_| {
            let (key, values) = numbers.one_of(&values);
            ((*key).to_owned(), numbers.one_of(values).clone())
        })
        .collect()
}

fn change(numbers: &mut Numbers, names: &[String]) -> (String, Change) {
    let name = numbers.one_of(names).clone();
    let whole = |numbers: &mut Numbers| {
        let mut given = fields(json!({"url": "https://whole.example.com/", "events": ["whole.*"]}));
        given.extend(some_values(numbers, 5));
        given
    };
    match numbers.below(20) {
        0..=11 => (name, Change::Patch(some_values(numbers, 3))),
        12..=14 => (name, Change::Replace(whole(numbers))),
        15..=16 => {
            let number = numbers.below(1000);
            (format!("new-{number}"), Change::Create(whole(numbers)))
        }
        17 => (name, Change::Delete),
        _ => {
            let letter = char::from(b'A' + 4 * u8::try_from(numbers.below(6)).unwrap());
            let secret = super::SECRET.replace('A', &letter.to_string());
            let secret = Secret::new(secret.into_bytes());
            let grace = Duration::from_secs(86_400);
            (name, Change::RotateSecret { secret, grace })
        }
    }
}

/// What the file should say, made without a look at how it is written.
fn intended(before: &str, name: &str, change: &Change, generated: Option<&Secret>) -> String {
    let mut root: Yaml = serde_yaml::from_str(before.trim_start_matches('\u{feff}')).unwrap();
    let subscriptions = root["subscriptions"].as_mapping_mut().unwrap();
    let yaml = |json: &Json| serde_yaml::to_value(json).unwrap();
    let literal =
        |secret: &Secret| Yaml::String(String::from_utf8(secret.expose().to_vec()).unwrap());
    match change {
        Change::Delete => drop(subscriptions.remove(name)),
        Change::Create(given) => {
            let mut entry: serde_yaml::Mapping = given
                .iter()
                .map(|(key, value)| (Yaml::String(key.clone()), yaml(value)))
                .collect();
            entry.extend(
                generated.map(|secret| (Yaml::String("secret".to_owned()), literal(secret))),
            );
            subscriptions.insert(Yaml::String(name.to_owned()), Yaml::Mapping(entry));
        }
        Change::Patch(given) => {
            let entry = subscriptions[name].as_mapping_mut().unwrap();
            for (key, value) in given {
                if value.is_null() {
                    entry.remove(key.as_str());
                } else {
                    entry.insert(Yaml::String(key.clone()), yaml(value));
                }
            }
        }
        Change::Replace(given) => {
            let entry = subscriptions[name].as_mapping_mut().unwrap();
            entry.retain(|key, _| {
                let key = key.as_str().unwrap();
                given.contains_key(key) || key == "secret" || key == "previous_secrets"
            });
            for (key, value) in given {
                entry.insert(Yaml::String(key.clone()), yaml(value));
            }
        }
        Change::RotateSecret { secret, .. } => {
            let entry = subscriptions[name].as_mapping_mut().unwrap();
            let old = entry.insert(Yaml::String("secret".to_owned()), literal(secret));
            let mut previous: Vec<Yaml> = match entry.get("previous_secrets") {
                Some(Yaml::Sequence(items)) => items.clone(),
                _ => Vec::new(),
            };
            previous.retain(|item| item["until"].as_str().unwrap() > "2026-11-24");
            if let Some(old) = old.filter(|old| !old.is_null() && old.as_str() != Some("")) {
                let until = Yaml::String("2026-11-25T20:00:00Z".to_owned());
                let item = [("secret", old), ("until", until)];
                let item = item.map(|(key, value)| (Yaml::String(key.to_owned()), value));
                previous.push(Yaml::Mapping(item.into_iter().collect()));
            }
            entry.insert(
                Yaml::String("previous_secrets".to_owned()),
                Yaml::Sequence(previous),
            );
        }
    }
    serde_yaml::to_string(&root).unwrap()
}

/// The comments of the fixtures, `# c7@billing.url@in@`: what they are about, and whether they are `in` it.
fn comments(text: &str) -> BTreeSet<(String, String, String)> {
    let comment = |part: &str| {
        let mut parts = part.splitn(4, '@');
        let mut next = || parts.next().map(str::to_owned);
        Some((next()?, next()?, next()?)).filter(|_| parts.next().is_some())
    };
    text.split("# c").skip(1).filter_map(comment).collect()
}

fn may_go(comment: &(String, String, String), name: &str, change: &Change) -> bool {
    let (_, about, place) = comment;
    let Some((subscription, field)) = about.split_once('.') else {
        return false;
    };
    if subscription != name {
        return false;
    }
    match change {
        Change::Delete => !(field.is_empty() && place == "above"),
        Change::Patch(given) => place == "in" && given.contains_key(field),
        Change::Replace(_) => place == "in" && !field.is_empty(),
        Change::RotateSecret { .. } => place == "in" && field.contains("secret"),
        Change::Create(_) => false,
    }
}

#[derive(Default, Debug)]
struct Count {
    made: usize,
    invalid: usize,
    refused: usize,
}

fn edit_one_file(fixture: &Path, seed: u64, count: &mut Count) {
    let place = Place::new(&std::fs::read_to_string(fixture).unwrap());
    let other = place.path("intended.yaml");
    let mut numbers = Numbers(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    for round in 0..EDITS_PER_FILE {
        let before = place.text();
        let names: Vec<String> = place
            .load()
            .config
            .subscriptions
            .keys()
            .map(ToString::to_string)
            .collect();
        if names.is_empty() {
            return;
        }
        let (name, change) = change(&mut numbers, &names);
        let what = format!(
            "{} round {round}: {name} {change:?}\n--- before\n{before}",
            fixture.display()
        );
        let edited = place.prepare(&name, change.clone());
        let generated = edited
            .as_ref()
            .ok()
            .and_then(|edited| edited.generated_secret.clone());
        std::fs::write(
            &other,
            intended(&before, &name, &change, generated.as_ref()),
        )
        .unwrap();
        let meant = load(&other, &environment(&other));
        match edited {
            Ok(edited) => {
                let loaded = edited
                    .commit()
                    .unwrap_or_else(|error| panic!("{error}: {what}"));
                let after = place.text();
                let meant = meant.unwrap_or_else(|error| {
                    panic!("wrong, but done: {error}: {what}\n--- after\n{after}")
                });
                for config in [loaded.config, place.load().config] {
                    let differs = |name: &&SubscriptionName| {
                        config.subscriptions.get(name) != meant.config.subscriptions.get(name)
                    };
                    let names = config.subscriptions.keys();
                    let different: Vec<_> = names.filter(differs).collect();
                    let is_meant = config == meant.config;
                    assert!(is_meant, "{different:?} differ: {what}\n--- after\n{after}");
                }
                let gone: Vec<_> = comments(&before)
                    .difference(&comments(&after))
                    .cloned()
                    .filter(|comment| !may_go(comment, &name, &change))
                    .collect();
                assert_eq!(gone, [], "{what}\n--- after\n{after}");
                count.made += 1;
            }
            Err(EditError::Invalid(problems)) => {
                assert!(meant.is_err(), "refused {problems:?}: {what}");
                assert_eq!(place.text(), before);
                count.invalid += 1;
            }
            Err(EditError::Refused(reason)) => {
                assert!(reason.contains("environment"), "{reason}: {what}");
                count.refused += 1;
            }
            Err(error) => panic!("{error}: {what}"),
        }
    }
}

#[test]
fn random_edits_leave_comments_and_load_to_what_was_meant() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/edits");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= 50, "{} files", files.len());
    let rounds: u64 =
        std::env::var("SIDEHOOK_TEST_EDIT_ROUNDS").map_or(1, |rounds| rounds.parse().unwrap());
    let mut count = Count::default();
    for round in 0..rounds {
        for (seed, file) in (1_u64..).zip(&files) {
            edit_one_file(file, seed + round * 1000, &mut count);
        }
    }
    assert!(count.made >= 500, "{count:?}");
    assert!(count.invalid >= 20, "{count:?}");
    assert!(count.refused * 5 < count.made, "{count:?}");
}
