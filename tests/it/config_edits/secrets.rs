//! Secrets in edits: they go into files of their own, and the configuration gets the path.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use serde_json::json;
use sidehook::config::Change;
use sidehook::domain::Secret;

use super::{NOW, Place, SECRET, fields, patch, problems, refusal};

const DAY: Duration = Duration::from_secs(86_400);

fn new_secret(letter: &str) -> String {
    SECRET.replace('A', letter)
}

fn rotation(letter: &str, grace: Duration) -> Change {
    let secret = Secret::new(new_secret(letter).into_bytes());
    Change::RotateSecret { secret, grace }
}

fn subscription(place: &Place) -> std::sync::Arc<sidehook::config::Subscription> {
    let name = "a".parse().unwrap();
    place.load().config.subscriptions.remove(&name).unwrap()
}

fn secret_of(place: &Place) -> String {
    let subscription = subscription(place);
    String::from_utf8(subscription.secret.as_ref().unwrap().expose().to_vec()).unwrap()
}

fn mode(path: &std::path::Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_literal_goes_into_a_file_of_its_own() {
    let place = Place::with_secrets(
        "  a: {url: https://a.example.com/, events: [x], secret: whsec_UUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUU= } # a\n",
    );
    place
        .edit("a", patch(json!({"secret": new_secret("Q")})))
        .unwrap();
    let [file] = place.others().try_into().unwrap();
    assert_eq!(
        place.text(),
        format!(
            "admin: {{secrets_dir: secrets}}\nsubscriptions:\n  a: {{url: https://a.example.com/, events: [x], secret: {{file: secrets/{file}}} }} # a\n"
        )
    );
    assert!(file.starts_with("a-") && file.len() == 18, "{file}");
    assert_eq!(secret_of(&place), new_secret("Q"));
    assert_eq!(mode(&place.path("secrets")), 0o700);
    assert_eq!(mode(&place.path("secrets").join(&file)), 0o600);
    // The same again changes nothing, another one takes its place.
    let text = place.text();
    place
        .edit("a", patch(json!({"secret": new_secret("Q")})))
        .unwrap();
    assert_eq!((place.text(), place.others()), (text, vec![file.clone()]));
    place
        .edit("a", patch(json!({"secret": new_secret("E")})))
        .unwrap();
    assert_eq!(secret_of(&place), new_secret("E"));
    assert_eq!(place.others().len(), 1);
    assert_ne!(place.others(), [file]);
    place.edit("a", patch(json!({"secret": ""}))).unwrap();
    assert_eq!(
        (place.others(), subscription(&place).secret.clone()),
        (vec![], None)
    );
}

#[test]
fn a_whole_definition_keeps_the_secret_unless_it_is_named() {
    let place = Place::with_secrets(
        "  a:\n    url: https://a.example.com/\n    events: [x]\n    secret: hunter2hunter2 # old\n    signature: github\n",
    );
    let whole = json!({"url": "https://b.example.com/", "events": ["x"], "signature": "github"});
    place
        .edit("a", Change::Replace(fields(whole.clone())))
        .unwrap();
    assert_eq!(secret_of(&place), "hunter2hunter2");
    let mut named = fields(whole);
    named.insert("secret".to_owned(), json!("hunter3hunter3"));
    place.edit("a", Change::Replace(named)).unwrap();
    assert_eq!(secret_of(&place), "hunter3hunter3");
    assert!(!place.text().contains("hunter"), "{}", place.text());
}

#[test]
fn a_new_subscription_gets_a_secret_unless_it_signs_nothing() {
    let place = Place::with_secrets("  b: {active: false}\n");
    let new = |extra: serde_json::Value| {
        let mut given = fields(json!({"url": "https://a.example.com/", "events": ["x"]}));
        given.extend(fields(extra));
        Change::Create(given)
    };
    let edited = place.prepare("a", new(json!({}))).unwrap();
    assert_eq!(place.others(), Vec::<String>::new());
    let generated = edited.generated_secret.clone().unwrap();
    edited.commit().unwrap();
    assert_eq!(secret_of(&place).as_bytes(), generated.expose());
    assert!(secret_of(&place).starts_with("whsec_"));
    place.edit("a", Change::Delete).unwrap();
    assert_eq!(place.others(), Vec::<String>::new());
    for extra in [
        json!({"signature": "none"}),
        json!({"secret": ""}),
        json!({"secret": "hunter2hunter2", "signature": "slack"}),
    ] {
        let edited = place.prepare("a", new(extra)).unwrap();
        assert!(edited.generated_secret.is_none());
    }
    let none = Place::new("defaults: {signature: none}\nsubscriptions: {}\n");
    assert!(
        none.prepare("a", new(json!({})))
            .unwrap()
            .generated_secret
            .is_none()
    );
}

#[test]
fn rotation_keeps_the_old_secret_for_a_while() {
    let place = Place::with_secrets(
        "  a:\n    secret: {file: mine.txt} # ours\n    url: https://a.example.com/\n    events: [x]\n",
    );
    std::fs::write(place.path("mine.txt"), new_secret("I")).unwrap();
    place.edit("a", rotation("Q", DAY)).unwrap();
    let [mine, first] = place
        .others()
        .try_into()
        .map(|[a, b]: [String; 2]| [b, a])
        .unwrap();
    assert_eq!(mine, "mine.txt");
    assert_eq!(
        place.text(),
        format!(
            "admin: {{secrets_dir: secrets}}\nsubscriptions:\n  a:\n    secret: {{file: secrets/{first}}} # ours\n    url: https://a.example.com/\n    events: [x]\n    previous_secrets: [{{secret: {{file: mine.txt}}, until: \"2026-11-25T20:00:00Z\"}}]\n"
        )
    );
    let previous = &subscription(&place).previous_secrets;
    assert_eq!(previous[0].0, Secret::new(new_secret("I").into_bytes()));
    assert_eq!(previous[0].1, NOW.plus(DAY));
    place.edit("a", rotation("E", DAY)).unwrap();
    assert_eq!(subscription(&place).previous_secrets.len(), 2);
    // Without grace the old one is gone, and so is its file; the one of another hand stays.
    place
        .edit("a", patch(json!({"previous_secrets": null})))
        .unwrap();
    assert!(!place.others().contains(&first), "{:?}", place.others());
    place.edit("a", rotation("M", Duration::ZERO)).unwrap();
    assert_eq!(secret_of(&place), new_secret("M"));
    assert!(subscription(&place).previous_secrets.is_empty());
    assert_eq!(place.others().len(), 2);
    assert!(place.others().contains(&"mine.txt".to_owned()));
}

#[test]
fn rotation_moves_a_literal_and_drops_what_is_over() {
    let place = Place::with_secrets(
        "  a:\n    url: https://a.example.com/\n    events: [x]\n    secret: whsec_UUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUU=\n    previous_secrets:\n      # long ago\n      - {secret: {env: SECRET}, until: 2026-11-24T19:00:00Z}\n      # still\n      - {secret: {env: OLD}, until: 2026-11-24T21:00:00Z} # this one\n",
    );
    place.edit("a", rotation("Q", DAY)).unwrap();
    let text = place.text();
    assert!(!text.contains("UUUU"), "{text}");
    assert!(text.contains("      # long ago\n      # still\n      - {secret: {env: OLD}, until: 2026-11-24T21:00:00Z} # this one\n      - {secret: {file: secrets/a-"), "{text}");
    let previous = &subscription(&place).previous_secrets;
    assert_eq!(previous.len(), 2);
    assert_eq!(previous[1].0, Secret::new(new_secret("U").into_bytes()));
}

#[test]
fn secrets_that_are_managed_elsewhere_are_not_touched() {
    let place = Place::with_secrets(
        "  a: {url: https://a.example.com/, events: [x], secret: {env: SECRET}}\n",
    );
    let text = place.text();
    for change in [
        rotation("Q", DAY),
        patch(json!({"secret": new_secret("Q")})),
        patch(json!({"secret": null})),
    ] {
        let said = refusal(place.prepare("a", change));
        let config = place.path.display();
        let steps = format!(
            "the secret is the variable SECRET, which the API cannot change. By hand: 1. keep the old secret as the variable SECRET_OLD, and \
             put the new one into SECRET; 2. in {config}, give subscriptions.a previous_secrets: [{{secret: {{env: SECRET_OLD}}, until: \
             2026-11-25T20:00:00Z}}]; 3. restart sidehook: the environment is read at a start"
        );
        assert_eq!(said, steps);
    }
    place
        .edit("a", patch(json!({"secret": {"env": "SECRET"}})))
        .unwrap();
    place.edit("a", patch(json!({"secret": SECRET}))).unwrap();
    assert_eq!((place.text(), place.others()), (text, vec![]));
}

#[test]
fn previous_secrets_can_only_be_cut_down() {
    let place = Place::with_secrets(
        "  a:\n    url: https://a.example.com/\n    events: [x]\n    secret: {env: SECRET}\n    previous_secrets:\n      - {secret: {env: OLD}, until: 2027-01-01T00:00:00Z}\n      - {secret: {env: SECRET}, until: 2028-01-01T00:00:00Z}\n",
    );
    let shown = subscription(&place).definition.fields()["previous_secrets"].clone();
    let text = place.text();
    place
        .edit("a", patch(json!({"previous_secrets": shown})))
        .unwrap();
    assert_eq!(place.text(), text);
    let found = problems(place.prepare(
        "a",
        patch(json!({"previous_secrets": [{"secret": SECRET, "until": "2029-01-01T00:00:00Z"}]})),
    ));
    assert_eq!(
        found,
        ["previous_secrets: can be cut down to some of those that are set; rotate-secret adds one"]
    );
    place
        .edit("a", patch(json!({"previous_secrets": [shown[1]]})))
        .unwrap();
    assert_eq!(
        place.text(),
        text.replace(
            "      - {secret: {env: OLD}, until: 2027-01-01T00:00:00Z}\n",
            ""
        )
    );
}

#[test]
fn a_secret_with_a_line_break_comes_back_as_it_was() {
    let place = Place::with_secrets(
        "  a: {url: https://a.example.com/, events: [x], signature: github, secret: hunter2hunter2}\n",
    );
    place
        .edit("a", patch(json!({"secret": "line one\nline two\n"})))
        .unwrap();
    assert_eq!(secret_of(&place), "line one\nline two\n");
    let found = problems(place.prepare("a", patch(json!({"secret": "line one and more\r"}))));
    assert_eq!(
        found,
        ["secret: expected a text that does not end with a line break"]
    );
}

/// A new value of `auth` gets a file, one that is given back stays, and references come from the file only.
#[test]
fn values_of_auth_go_into_files_and_stay_if_they_are_given_back() {
    let place = Place::with_secrets(
        "  a:\n    url: https://a.example.com/\n    events: [x]\n    secret: \"\"\n    auth: {bearer: first-token} # theirs\n",
    );
    let before = place.text();
    let shown = json!({"auth": {"bearer": {"redacted": true}}, "title": "A"});
    place.edit("a", patch(shown)).unwrap();
    assert!(
        place
            .text()
            .contains("auth: {bearer: first-token} # theirs\n")
    );
    let kept = json!({"auth": {"basic": null, "bearer": {"redacted": true}}, "title": null});
    place.edit("a", patch(kept)).unwrap();
    assert_eq!(place.text(), before);

    let basic = json!({"auth": {"basic": {"username": "ann", "password": "open sesame"}}});
    place.edit("a", patch(basic)).unwrap();
    let [file] = place.others().try_into().unwrap();
    let written = format!("auth: {{basic: {{username: ann, password: {{file: secrets/{file}}}}}}}");
    assert!(place.text().contains(&written), "{}", place.text());
    let authorization = |place: &Place| {
        let headers = subscription(place).request_headers();
        String::from_utf8(headers[0].1.as_bytes().to_vec()).unwrap()
    };
    assert_eq!(authorization(&place), "Basic YW5uOm9wZW4gc2VzYW1l");
    let other = json!({"auth": {"basic": {"username": "bob", "password": {"redacted": true}}}});
    place.edit("a", patch(other)).unwrap();
    assert_eq!(authorization(&place), "Basic Ym9iOm9wZW4gc2VzYW1l");

    for (auth, path) in [
        (json!({"bearer": {"redacted": true}}), "auth.bearer"),
        (json!({"bearer": {"env": "OLD"}}), "auth.bearer"),
        (
            json!({"basic": {"username": "a", "password": {"file": "/etc/shadow"}}}),
            "auth.basic.password",
        ),
    ] {
        let found = problems(place.prepare("a", patch(json!({"auth": auth}))));
        assert_eq!(found, [format!("{path}: can be set only in the file")]);
    }
    let found = problems(place.prepare("a", patch(json!({"auth": {"bearer": "two words"}}))));
    assert_eq!(
        found,
        ["auth.bearer: expected a token of visible ASCII characters, without spaces"]
    );
    let managed = Place::new(
        "subscriptions:\n  a: {url: https://a.example.com/, events: [x], auth: {bearer: {env: SECRET}}}\n",
    );
    let refused = refusal(managed.prepare("a", patch(json!({"auth": {"bearer": "other"}}))));
    assert!(
        refused.starts_with("auth.bearer is from the environment"),
        "{refused}"
    );

    place.edit("a", patch(json!({"auth": null}))).unwrap();
    assert!(!place.text().contains("auth"), "{}", place.text());
    assert_eq!(place.others(), Vec::<String>::new());
}
