//! Files that are JSON: they stay JSON, whatever is edited.

use std::time::Duration;

use serde_json::{Value as Json, json};
use sidehook::config::Change;
use sidehook::domain::Secret;

use super::{Place, SECRET, fields, patch};

const PRETTY: &str = r#"{
  "admin": {"secrets_dir": "secrets"},
  "subscriptions": {
    "a": {
      "url": "https://a.example/\ud83d\ude00",
      "events": ["*"],
      "secret": {"file": "old"}
    }
  }
}
"#;

fn json_of(place: &Place) -> Json {
    serde_json::from_str(&place.text()).unwrap()
}

/// A secret is set, rotated twice and removed; what was there before signs along meanwhile.
#[test]
fn secrets_are_rotated_in_json() {
    let place = Place::new(PRETTY);
    std::fs::write(place.path("old"), SECRET).unwrap();
    let rotate = |letter: &str| Change::RotateSecret {
        secret: Secret::new(SECRET.replace('A', letter).into_bytes()),
        grace: Duration::from_secs(3600),
    };
    place.edit("a", rotate("I")).unwrap();
    place.edit("a", rotate("Q")).unwrap();
    let a = &json_of(&place)["subscriptions"]["a"];
    assert!(
        a["secret"]["file"]
            .as_str()
            .unwrap()
            .starts_with("secrets/a-")
    );
    assert_eq!(a["previous_secrets"].as_array().unwrap().len(), 2, "{a}");
    assert_eq!(a["previous_secrets"][0]["secret"]["file"], "old");
    let keep = a["previous_secrets"][1].clone();
    let shown = place
        .load()
        .config
        .subscriptions
        .values()
        .next()
        .unwrap()
        .definition
        .fields();
    let second = shown["previous_secrets"][1].clone();
    let cut = json!({"previous_secrets": [second]});
    place.edit("a", patch(cut)).unwrap();
    let a = &json_of(&place)["subscriptions"]["a"];
    assert_eq!(a["previous_secrets"], json!([keep]));
    place
        .edit(
            "a",
            patch(json!({"secret": null, "previous_secrets": null})),
        )
        .unwrap();
    let a = &json_of(&place)["subscriptions"]["a"];
    assert_eq!(a.as_object().unwrap().len(), 2, "{a}");
    // What no edit has touched is as it was written.
    assert!(place.text().contains(r#""https://a.example/\ud83d\ude00""#));
}

#[test]
fn subscriptions_come_and_go_in_json() {
    for text in [
        r#"{"subscriptions":{}}"#,
        "{\"subscriptions\": {}}\n",
        "{\n\t\"subscriptions\": {\n\t}\n}\n",
        "\u{feff}{\r\n  \"subscriptions\": {}\r\n}\r\n",
    ] {
        let place = Place::new(text);
        let new = json!({"url": "https://a.example/h", "events": ["*"], "signature": "none"});
        for name in ["a", "b"] {
            place
                .edit(name, Change::Create(fields(new.clone())))
                .unwrap();
        }
        let replaced =
            json!({"url": "https://b.example/h", "events": ["x", "y"], "signature": "none"});
        place.edit("a", Change::Replace(fields(replaced))).unwrap();
        let whole = place.text();
        let read: Json = serde_json::from_str(whole.trim_start_matches('\u{feff}')).unwrap();
        assert_eq!(read["subscriptions"]["b"], new);
        assert_eq!(read["subscriptions"]["a"]["events"], json!(["x", "y"]));
        assert_eq!(whole.starts_with('\u{feff}'), text.starts_with('\u{feff}'));
        assert_eq!(whole.contains("\r\n"), text.contains("\r\n"));
        for name in ["b", "a"] {
            place.edit(name, Change::Delete).unwrap();
        }
        let whole = place.text();
        let read: Json = serde_json::from_str(whole.trim_start_matches('\u{feff}')).unwrap();
        assert_eq!(read, json!({"subscriptions": {}}));
    }
}

/// Also one that is made, and one of many.
#[test]
fn an_included_file_of_json_stays_json() {
    let place = Place::new("include: ['*.json']\nadmin: {write_to: new.json}\nsubscriptions: {}\n");
    let old = place.path("old.json");
    std::fs::write(&old, r#"{"subscriptions": {"a": {"active": false}}}"#).unwrap();
    let new = json!({"url": "https://a.example/h", "events": ["*"], "signature": "none"});
    place
        .edit("b", Change::Create(fields(new.clone())))
        .unwrap();
    place
        .edit("a", patch(json!({"title": "it's \"A\""})))
        .unwrap();
    let read = |name: &str| -> Json {
        serde_json::from_str(&std::fs::read_to_string(place.path(name)).unwrap()).unwrap()
    };
    assert_eq!(read("new.json"), json!({"subscriptions": {"b": new}}));
    assert_eq!(
        std::fs::read_to_string(old).unwrap(),
        r#"{"subscriptions": {"a": {"active": false, "title": "it's \"A\""}}}"#
    );
    place.edit("b", Change::Delete).unwrap();
    assert_eq!(read("new.json"), json!({"subscriptions": {}}));
}
