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
        values.get(self.below(values.len())).unwrap()
    }
}

/// Values of fields; most of them right, some wrong, many written in ways that YAML could take for something else.
const VALUES: &str = r##"{
    "url": ["https://new.example.com/a?b=c", "https://x.example.com:8443/"],
    "events": [["*"], ["a.b", "!a.b.c", "x"], ["invoice.*", "!invoice.draft", "quote"],
        ["b.c", "c.*", "e.f.g", "y", "z/1", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.1", "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb.*"]],
    "title": ["t", "no", "12", "a: b # c", " x\ty ", "ü 😀 'q' \"d\"", "- x", "{a}", "null", "2026-01-01", null],
    "description": ["one\ntwo\n\nthree\n", "&a *b !c %d @e `f", "short",
        "a long one, of more characters than a line should have, and then some more of them, so that it is really long", null],
    "active": [true, false],
    "when_disabled": ["skip", "hold", null],
    "headers": [{}, {"X-New": "1"}, {"X-Team": "billing", "X-Env": "prod: eu", "X-More": "#1"}, ["X-Team: a: b", "X-New:2"], null],
    "forward_headers": [[], ["traceparent", "b3"], ["baggage"], null],
    "method": ["PATCH", "POST", null],
    "timeout": ["1m", "2500ms", null],
    "retry": ["standard", "none", {"schedule": ["1m", "2m"]}, {"schedule": ["1m", "5m", "30m"], "jitter": 0.25},
        {"initial": "2s", "factor": 1.5, "max_interval": "1h", "max_attempts": 9}, null],
    "give_up_on": [[], [404], [400, 410, 422], null],
    "order": ["key", "none", null],
    "concurrency": [1, 64, "7", null],
    "rate_limit": ["3/s", "100/m", null],
    "auto_disable": ["never", {"dead": 3}, {"failures": 5, "for": "2d"}, null],
    "signature": ["none", "github", ["stripe", "standard"], [{"hookshot": {"algorithm": "sha1"}}], null],
    "match": [{"/tenant": "acme"}, {"/tenant": "true", "header:X-Region": "eu: 1"}, {}, null],
    "when": ["data.amount > 100", "type == 'a' && !has(data.b) || id == '#'", null],
    "tls": [{"min_version": "1.3"}, {"min_version": "1.2"}, null],
    "http2": ["never", "sometimes", null],
    "secret": ["whsec_QQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQ=", "too short", "", null]
}"##;

fn values() -> Vec<(String, Vec<Json>)> {
    let values: Map<String, Json> = serde_json::from_str(VALUES).unwrap();
    let list = |value: Json| value.as_array().unwrap().clone();
    values
        .into_iter()
        .map(|(key, value)| (key, list(value)))
        .collect()
}

fn some_values(numbers: &mut Numbers, most: usize) -> Map<String, Json> {
    let values = values();
    let count = 1 + numbers.below(most);
    (0..count)
        .map(|_| {
            let (key, values) = numbers.one_of(&values);
            (key.clone(), numbers.one_of(values).clone())
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

/// The values of a change, for messages.
fn given(change: &Change) -> String {
    match change {
        Change::Patch(given) | Change::Replace(given) | Change::Create(given) => {
            Json::Object(given.clone()).to_string()
        }
        Change::Delete | Change::RotateSecret { .. } => String::new(),
    }
}

/// What the file should say, made without a look at how it is written.
fn intended(before: &str, name: &str, change: &Change, generated: Option<&Secret>) -> String {
    let mut root: Yaml = serde_yaml::from_str(before.trim_start_matches('\u{feff}')).unwrap();
    let subscriptions = root.get_mut("subscriptions").unwrap();
    let subscriptions = subscriptions.as_mapping_mut().unwrap();
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
            "{} round {round}: {name} {change:?} {}\n--- before\n{before}",
            fixture.display(),
            given(&change)
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
                    .filter(|comment| !may_go(comment, &name, &change))
                    .cloned()
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
