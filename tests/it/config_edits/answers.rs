//! What an edit changes in a file as people write it, and what it is refused for.

use std::collections::VecDeque;

use serde_json::json;
use sidehook::config::{Change, EditError};

use super::{Place, fields, patch, problems, refusal};

/// A file of about 300 lines, with comments on and above everything.
fn long_file() -> String {
    let mut text = String::from(
        "# The relay of the shop.\n\nlog: {level: info}   # quiet\n\nsubscriptions:\n",
    );
    for number in 0..22 {
        text.push_str(&format!(
            "  # Partner {number}: call them before a change.\n  partner-{number}:\n    title: 'Partner {number}'  # as in the contract\n    url: https://partner-{number}.example.com/hooks\n    # their system is slow at night\n    timeout: 20s   # was 15s\n    events:\n      # what they asked for\n      - \"invoice.*\"   # all invoices\n      - \"!invoice.draft\"\n    headers: {{X-Team: billing, X-Number: \"{number}\"}}  # for their log\n    description: |\n      # not a comment: {number}\n\n"
        ));
    }
    text
}

/// The lines that one text has and the other has not, in order.
fn changed(before: &str, after: &str) -> (String, String) {
    let mut before: VecDeque<&str> = before.split_inclusive('\n').collect();
    let mut after: VecDeque<&str> = after.split_inclusive('\n').collect();
    while before.front().is_some() && before.front() == after.front() {
        before.pop_front();
        after.pop_front();
    }
    while before.back().is_some() && before.back() == after.back() {
        before.pop_back();
        after.pop_back();
    }
    (before.into_iter().collect(), after.into_iter().collect())
}

#[test]
fn a_patch_of_one_field_changes_one_line() {
    let text = long_file();
    assert!(text.lines().count() >= 300, "{}", text.lines().count());
    for (change, old, new) in [
        (
            json!({"timeout": "30s"}),
            "    timeout: 20s   # was 15s\n",
            "    timeout: 30s   # was 15s\n",
        ),
        (
            json!({"title": "It's new"}),
            "    title: 'Partner 7'  # as in the contract\n",
            "    title: 'It''s new'  # as in the contract\n",
        ),
        (
            json!({"events": ["order.*", "!invoice.draft"]}),
            "      - \"invoice.*\"   # all invoices\n",
            "      - \"order.*\"   # all invoices\n",
        ),
        (
            json!({"headers": {"X-Team": "sales", "X-Number": "7"}}),
            "    headers: {X-Team: billing, X-Number: \"7\"}  # for their log\n",
            "    headers: {X-Team: sales, X-Number: \"7\"}  # for their log\n",
        ),
        (json!({"concurrency": 3}), "", "    concurrency: 3\n"),
        (
            json!({"timeout": null}),
            "    timeout: 20s   # was 15s\n",
            "",
        ),
    ] {
        let place = Place::new(&text);
        let loaded = place.edit("partner-7", patch(change)).unwrap();
        assert_eq!(loaded.config, place.load().config);
        let (gone, come) = changed(&text, &place.text());
        assert_eq!((gone.as_str(), come.as_str()), (old, new));
    }
}

#[test]
fn what_the_api_shows_can_be_put_back_and_changes_nothing() {
    let text = "defaults: {timeout: 3s, rate_limit: 5/s}\nsubscriptions:\n  a:\n    title: 123\n    url: {env: URL}\n    rate_limit: ~\n    events: [ 'x' ]\n    method: null # POST\n    headers: {X-A: {env: SECRET}, X-B: 1}\n    secret: {env: SECRET}\n    previous_secrets: [{secret: {env: OLD}, until: 2027-01-31T12:00:00+01:00}]\n    signature: stripe\n    retry: {schedule: [60s, 5m]}\n";
    for is_patch in [false, true] {
        let place = Place::new(text);
        let name = "a".parse().unwrap();
        let mut shown = place.load().config.subscriptions[&name].definition.fields();
        if is_patch {
            // Null restores a default, which is no thing to be put back.
            shown.retain(|_, value| !value.is_null());
        }
        shown.extend(fields(json!({"name": "a"})));
        let change = if is_patch {
            Change::Patch(shown)
        } else {
            Change::Replace(shown)
        };
        place.edit("a", change).unwrap();
        assert_eq!(place.text(), text);
    }
}

#[test]
fn redacted_values_stay_where_they_are() {
    let text = "subscriptions:\n  a:\n    url: {env: URL}\n    events: [x]\n    headers:\n      X-A: {env: SECRET} # theirs\n      X-B: one\n";
    let place = Place::new(text);
    let headers =
        json!({"headers": {"X-A": {"redacted": true}, "X-B": "two"}, "url": {"env": "URL"}});
    place.edit("a", patch(headers)).unwrap();
    assert_eq!(place.text(), text.replace("one", "two"));
}

#[test]
fn no_reference_and_no_path_comes_in_that_is_not_there() {
    let place = Place::new(
        "subscriptions:\n  a:\n    url: {env: URL}\n    events: [x]\n    headers: {X-A: {env: SECRET}}\n    tls: {min_version: \"1.3\"}\n",
    );
    for (change, path) in [
        (json!({"url": {"env": "OLD"}}), "url"),
        (json!({"url": {"file": "/etc/passwd"}}), "url"),
        (json!({"headers": {"X-A": {"env": "OLD"}}}), "headers.X-A"),
        (
            json!({"headers": {"X-B": {"env": "SECRET"}}}),
            "headers.X-B",
        ),
        (
            json!({"headers": {"X-B": {"redacted": true}}}),
            "headers.X-B",
        ),
        (json!({"tls": {"ca_file": "/etc/shadow"}}), "tls.ca_file"),
        (json!({"secret": {"file": "/etc/hostname"}}), "secret"),
        (json!({"secret": {"credential": "x"}}), "secret"),
    ] {
        let found = problems(place.prepare("a", patch(change)));
        assert_eq!(found, [format!("{path}: can be set only in the file")]);
    }
    let new = json!({"url": {"env": "URL"}, "events": ["x"], "secret": {"env": "SECRET"}});
    let found = problems(place.prepare("b", Change::Create(fields(new))));
    assert_eq!(found, ["url: can be set only in the file"]);
}

#[test]
fn wrong_values_are_told_in_the_words_of_the_readers() {
    let place = Place::new("subscriptions:\n  a: {url: https://a.example.com/, events: [x]}\n");
    let text = place.text();
    for (change, expected) in [
        (
            json!({"url": "http://a.example.com/"}),
            "url: expected https, or http for localhost, loopback addresses and those in network.allow_private",
        ),
        (json!({"events": []}), "events: can't be blank"),
        (json!({"url": null}), "url: can't be blank"),
        (
            json!({"secret": "short"}),
            "secret: The webhook secret must be at least 12 characters.",
        ),
        (json!({"secret": 5}), "secret: expected text"),
        (json!({"title": 5}), "title: expected text, found a number"),
        (
            json!({"give_up_on": [404, "410"]}),
            "give_up_on[1]: expected a whole number, found text",
        ),
        (
            json!({"timeout": 5}),
            "timeout: a duration needs a unit, such as 30s",
        ),
        (
            json!({"concurrency": "5"}),
            "concurrency: expected a whole number from 1 to 10000, without quotes",
        ),
        (
            json!({"titel": "x"}),
            "titel: unknown key, did you mean title?",
        ),
        (
            json!({"titel": null}),
            "titel: unknown key, did you mean title?",
        ),
        (
            json!({"name": "b"}),
            "name: cannot be changed: the name is the subscription's identity",
        ),
        (
            json!({"headers": {"Authorization": "x"}}),
            "headers.Authorization: The 'Authorization' header cannot be customized for security reasons. Use auth.",
        ),
        (
            json!({"headers": ["x"]}),
            "headers[0]: colon separated key value pair",
        ),
        (
            json!({"retry": {"schedule": ["1m", "x"]}}),
            "retry.schedule[1]: expected a whole number and one of ms, s, m, h, d, such as 30s",
        ),
    ] {
        let found = problems(place.prepare("a", patch(change)));
        assert!(
            found.iter().any(|found| found == expected),
            "{found:?}, expected {expected}"
        );
        assert_eq!((place.text(), place.others()), (text.clone(), vec![]));
    }
}

#[test]
fn what_speaks_against_an_edit_is_told_apart() {
    let new = || Change::Create(fields(json!({"active": false})));
    let place =
        Place::new("subscriptions:\n  a: {active: false}\n  l: {active: false, locked: true}\n");
    assert!(matches!(
        place.prepare("b", patch(json!({}))),
        Err(EditError::Unknown)
    ));
    assert!(matches!(
        place.prepare("b", Change::Delete),
        Err(EditError::Unknown)
    ));
    assert!(matches!(place.prepare("a", new()), Err(EditError::Exists)));
    assert!(matches!(
        place.prepare("l", Change::Delete),
        Err(EditError::Locked)
    ));
    assert!(matches!(
        place.prepare("l", patch(json!({"locked": false}))),
        Err(EditError::Locked)
    ));
    let closed = Place::new("admin: {edit_config: false}\nsubscriptions: {}\n");
    assert!(refusal(closed.prepare("a", new())).contains("edit_config"));
    let broken = Place::new("subscriptions:\n  b: {titel: x}\n  a: {active: false}\n");
    assert!(matches!(
        broken.prepare("a", patch(json!({"title": "x"}))),
        Err(EditError::Broken(_))
    ));
    // Two edits that clash only with each other: the subscription that is not edited is not to blame.
    let mut text = "subscriptions:\n".to_owned();
    text.push_str("  a: {active: false}\n");
    let place = Place::new(&text);
    place.edit("c", new()).unwrap();
    assert_eq!(place.load().config.subscriptions.len(), 2);
}

#[test]
fn null_in_a_whole_definition_is_said_against_a_default() {
    let text = "defaults: {rate_limit: 5/s}\nsubscriptions:\n  a: {active: false, rate_limit: 9/s, title: t}\n";
    let place = Place::new(text);
    let whole = json!({"active": false, "rate_limit": null, "title": null});
    place.edit("a", Change::Replace(fields(whole))).unwrap();
    assert_eq!(
        place.text(),
        "defaults: {rate_limit: 5/s}\nsubscriptions:\n  a: {active: false, rate_limit: null}\n"
    );
    place.edit("a", patch(json!({"rate_limit": null}))).unwrap();
    assert_eq!(
        place.text(),
        "defaults: {rate_limit: 5/s}\nsubscriptions:\n  a: {active: false}\n"
    );
}

#[test]
fn an_included_file_is_edited_where_it_holds_the_subscription() {
    let place = Place::new(
        "include: [conf.d/*.yaml]\nadmin: {write_to: conf.d/api.yaml}\nsubscriptions:\n  main: {active: false}\n",
    );
    let main = place.text();
    std::fs::create_dir(place.path("conf.d")).unwrap();
    let other = place.path("conf.d/other.yaml");
    std::fs::write(
        &other,
        "# other\nsubscriptions:\n  b: {active: false} # b\n",
    )
    .unwrap();
    place.edit("b", patch(json!({"title": "x"}))).unwrap();
    let text = |name: &str| std::fs::read_to_string(place.path(name)).unwrap();
    assert_eq!(
        text("conf.d/other.yaml"),
        "# other\nsubscriptions:\n  b: {active: false, title: x} # b\n"
    );
    let new = |title: &str| {
        Change::Create(fields(
            json!({"active": false, "signature": "none", "title": title}),
        ))
    };
    for name in ["c", "d"] {
        let loaded = place.edit(name, new(name)).unwrap();
        assert_eq!(loaded.config, place.load().config);
    }
    let entry = |name: &str| {
        format!("  {name}:\n    active: false\n    signature: none\n    title: {name}\n")
    };
    assert_eq!(
        text("conf.d/api.yaml"),
        format!("subscriptions:\n{}{}", entry("c"), entry("d"))
    );
    assert_eq!(place.text(), main);
    place.edit("c", Change::Delete).unwrap();
    place.edit("d", Change::Delete).unwrap();
    assert_eq!(text("conf.d/api.yaml"), "subscriptions: {}\n");
}
