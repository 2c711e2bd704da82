//! Changes of subscriptions through the API.

use serde_json::{Value, json};

use crate::admin_api::{call, look, token_line};
use crate::support::http::{Answer, request};
use crate::support::receiver::{Receiver, Reply};
use crate::support::relay::{Relay, subscription};
use crate::support::{DEADLINE, until};

const LINES: &str = "  # who gets it
  one:
    url: https://one.example/hooks # theirs
    events: ['*']
    active: false
  locked: {active: false, locked: true}
";

async fn edit(relay: &Relay, method: &str, path: &str, body: Value) -> Answer {
    call(relay, method, path, &body.to_string()).await
}

fn file(relay: &Relay) -> String {
    std::fs::read_to_string(relay.folder().join("config.yaml")).unwrap()
}

/// The errors of a refusal with 422.
fn errors(answer: &Answer) -> Value {
    assert_eq!(answer.status, 422, "{}", answer.body);
    answer.json()["errors"].clone()
}

#[tokio::test]
async fn a_patch_is_in_the_file_and_in_force_when_it_is_answered() {
    let relay = Relay::start(LINES).await;
    let before = file(&relay);
    let body = json!({"title": "One", "timeout": "3s"});
    let answer = edit(&relay, "PATCH", "/v1/subscriptions/one", body).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(
        (&answer.json()["title"], &answer.json()["timeout"]),
        (&"One".into(), &"3s".into())
    );
    let shown = call(&relay, "GET", "/v1/subscriptions/one", "").await;
    assert_eq!(shown.json()["title"], "One");
    assert_eq!(shown.header("etag"), answer.header("etag"));
    let after = file(&relay);
    assert!(
        after.contains("title: One") && after.contains("# theirs"),
        "{after}"
    );
    let answer = edit(
        &relay,
        "PATCH",
        "/v1/subscriptions/one",
        json!({"title": null, "timeout": null}),
    )
    .await;
    assert_eq!(
        (&answer.json()["title"], &answer.json()["timeout"]),
        (&Value::Null, &"15s".into())
    );
    assert_eq!(file(&relay), before);
}

#[tokio::test]
async fn the_messages_for_senders_are_exact() {
    let relay = Relay::start("  one: {url: 'https://one.example', events: ['*'], secret: whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw}\n").await;
    let patch = async |body: Value| edit(&relay, "PATCH", "/v1/subscriptions/one", body).await;
    let refused = errors(&patch(json!({"secret": "short"})).await);
    assert_eq!(
        refused["secret"][0],
        "The webhook secret must be at least 12 characters."
    );
    let refused = errors(&patch(json!({"url": null})).await);
    assert_eq!(refused["url"][0], "can't be blank");
    let refused = errors(&patch(json!({"headers": ["no colon"]})).await);
    assert!(
        refused
            .to_string()
            .contains("colon separated key value pair"),
        "{refused}"
    );
    let refused = errors(&patch(json!({"headers": {"Host": "x"}})).await);
    let message = "The 'Host' header cannot be customized for security reasons.";
    assert!(refused.to_string().contains(message), "{refused}");
    let refused = errors(&patch(json!({"colour": "red"})).await);
    assert!(refused["colour"].is_array(), "{refused}");
    let refused = errors(&patch(json!({"pending": 0, "secret_set": true})).await);
    assert!(
        refused["pending"].is_array() && refused["secret_set"].is_array(),
        "{refused}"
    );
    for (body, path) in [
        (json!({"status": "off"}), "status"),
        (json!({"name": "two"}), "name"),
    ] {
        assert!(errors(&patch(body).await)[path].is_array());
    }
}

#[tokio::test]
async fn status_is_state_and_is_judged_by_the_definition_after_the_edit() {
    let receiver = Receiver::start(|_| Reply::status(200)).await;
    let lines = format!("{}{LINES}", subscription("a", &receiver.url("/"), ""));
    let relay = Relay::start(&lines).await;
    let before = file(&relay);
    let answer = edit(
        &relay,
        "PATCH",
        "/v1/subscriptions/a",
        json!({"status": "disabled"}),
    )
    .await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let shown = answer.json();
    assert_eq!(
        (&shown["status"], &shown["disabled_reason"]),
        (&"disabled".into(), &"manual".into())
    );
    assert_eq!(file(&relay), before, "no change of the file");
    relay.post("x", "{}").await;
    assert_eq!(look(&relay, "/v1/subscriptions/a").await["held"], 1);
    let answer = edit(
        &relay,
        "PATCH",
        "/v1/subscriptions/a",
        json!({"status": "active"}),
    )
    .await;
    assert_eq!(answer.json()["status"], "active", "{}", answer.body);
    receiver.wait_for(1, DEADLINE).await;
    let path = "/v1/subscriptions/one";
    let refused = edit(&relay, "PATCH", path, json!({"status": "active"})).await;
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (409, &"inactive".into())
    );
    let answer = edit(
        &relay,
        "PATCH",
        path,
        json!({"status": "disabled", "active": true}),
    )
    .await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.json()["disabled_reason"], "manual");
}

#[tokio::test]
async fn an_edit_can_be_bound_to_what_was_seen() {
    let relay = Relay::start(LINES).await;
    let path = "/v1/subscriptions/one";
    let tag = call(&relay, "GET", path, "")
        .await
        .header("etag")
        .to_owned();
    let patch = async |tags: &str, title: &str| {
        let headers = format!(
            "{}Content-Type: application/json\r\nIf-Match: {tags}\r\n",
            token_line(&relay)
        );
        let body = json!({"title": title}).to_string();
        request(&relay.admin, "PATCH", path, &headers, &body)
            .await
            .unwrap()
    };
    let first = patch(&format!("\"other\", {tag}"), "First").await;
    assert_eq!(first.status, 200, "{}", first.body);
    assert_eq!(patch(&tag, "Second").await.status, 412);
    assert_eq!(patch("\"other\"", "Second").await.status, 412);
    assert_eq!(
        patch(&format!("W/{}", first.header("etag")), "Second")
            .await
            .status,
        412
    );
    assert_eq!(look(&relay, path).await["title"], "First");
    assert_eq!(patch("*", "Third").await.status, 200);
}

#[tokio::test]
async fn one_is_created_with_a_secret_that_is_told_once() {
    let relay = Relay::start(LINES).await;
    let body = json!({"name": "new", "url": "https://new.example", "events": ["a.*"]});
    let answer = edit(&relay, "POST", "/v1/subscriptions", body.clone()).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    assert_eq!(answer.header("location"), "/v1/subscriptions/new");
    let secret = answer.json()["secret"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("whsec_"), "{secret}");
    let shown = call(&relay, "GET", "/v1/subscriptions/new", "").await;
    assert_eq!(
        (&shown.json()["secret_set"], &shown.json()["secret"]),
        (&true.into(), &Value::Null)
    );
    assert!(!shown.body.contains(&secret) && !file(&relay).contains(&secret));
    let again = edit(&relay, "POST", "/v1/subscriptions", body).await;
    assert_eq!(
        (again.status, &again.json()["code"]),
        (409, &"exists".into())
    );
    for body in [
        json!({"url": "https://a.example"}),
        json!({"name": "_a"}),
        json!({"name": 1}),
    ] {
        let refused = edit(&relay, "POST", "/v1/subscriptions", body).await;
        assert!(errors(&refused)["name"].is_array());
    }
    let refused = errors(
        &edit(
            &relay,
            "POST",
            "/v1/subscriptions",
            json!({"name": "x", "url": "ftp://x"}),
        )
        .await,
    );
    assert!(refused["url"].is_array(), "{refused}");
}

#[tokio::test]
async fn what_is_shown_can_be_put_back() {
    let relay = Relay::start(LINES).await;
    let path = "/v1/subscriptions/one";
    let mut shown = look(&relay, path).await;
    shown["title"] = "Put".into();
    let answer = edit(&relay, "PUT", path, shown.clone()).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    shown["updated_at"] = answer.json()["updated_at"].clone();
    assert_eq!(answer.json(), shown);
    let bare = json!({"url": "https://other.example", "events": ["*"]});
    let answer = edit(&relay, "PUT", path, bare).await;
    assert_eq!(
        (&answer.json()["title"], &answer.json()["status"]),
        (&Value::Null, &"active".into())
    );
    assert_eq!(
        edit(&relay, "PUT", "/v1/subscriptions/other", json!({}))
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn what_is_deleted_is_gone_from_the_file_and_its_deliveries_are_cancelled() {
    let relay = Relay::start(LINES).await;
    relay.post("x", "{}").await;
    let answer = call(&relay, "DELETE", "/v1/subscriptions/one", "").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let shown = answer.json();
    assert_eq!(
        (
            &shown["name"],
            &shown["held"],
            &shown["cancelled_deliveries"]
        ),
        (&"one".into(), &1.into(), &1.into())
    );
    assert!(!file(&relay).contains("one.example"));
    assert_eq!(
        call(&relay, "GET", "/v1/subscriptions/one", "")
            .await
            .status,
        404
    );
    assert_eq!(
        look(&relay, "/v1/deliveries").await["data"][0]["state"],
        "cancelled"
    );
}

#[tokio::test]
async fn a_locked_one_is_not_changed() {
    let relay = Relay::start(LINES).await;
    let path = "/v1/subscriptions/locked";
    let before = file(&relay);
    for (method, path, body) in [
        ("PATCH", path.to_owned(), "{\"title\": \"x\"}"),
        ("PATCH", path.to_owned(), "{\"status\": \"disabled\"}"),
        ("PUT", path.to_owned(), "{}"),
        ("DELETE", path.to_owned(), ""),
        ("POST", format!("{path}/rotate-secret"), "{}"),
    ] {
        let refused = call(&relay, method, &path, body).await;
        assert_eq!(
            (refused.status, &refused.json()["code"]),
            (409, &"locked".into()),
            "{method} {path} {body}"
        );
    }
    assert_eq!(file(&relay), before);
}

#[tokio::test]
async fn a_rotated_secret_signs_at_once_and_is_told_once() {
    let receiver = Receiver::start(|_| Reply::status(200)).await;
    let fields = ", secret: whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let relay = Relay::start(&subscription("a", &receiver.url("/"), fields)).await;
    let path = "/v1/subscriptions/a/rotate-secret";
    let answer = edit(&relay, "POST", path, json!({"grace": "1h"})).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let secret = answer.json()["secret"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("whsec_"), "{secret}");
    relay.post("x", "{}").await;
    let received = receiver.wait_for(1, DEADLINE).await;
    let signatures = received[0].header("webhook-signature").split(' ').count();
    assert_eq!(signatures, 2, "the old one signs along");
    let shown = look(&relay, "/v1/subscriptions/a").await;
    assert!(shown["secret"].is_null(), "{shown}");
    let given = edit(
        &relay,
        "POST",
        path,
        json!({"secret": "whsec_SGVsbG8gd29ybGQsIHRoaXMgaXMgYSBzZWNyZXQ="}),
    )
    .await;
    assert_eq!(given.status, 200, "{}", given.body);
    assert!(given.json()["secret"].is_null());
    for (body, path_of_error) in [
        (json!({"grace": "soon"}), "grace"),
        (json!({"grace": 1}), "grace"),
        (json!({"secret": 1}), "secret"),
        (json!({"secret": "short"}), "secret"),
        (json!({"x": 1}), "x"),
    ] {
        let refused = errors(&edit(&relay, "POST", path, body).await);
        assert!(refused[path_of_error].is_array(), "{refused}");
    }
}

#[tokio::test]
async fn a_test_event_is_sent_and_not_recorded() {
    let receiver = Receiver::queue([Reply::status(200), Reply::status(500).body("broken")]).await;
    let lines = format!(
        "{}  off: {{active: false}}\n",
        subscription("a", &receiver.url("/"), "")
    );
    let relay = Relay::start(&lines).await;
    let test = async |name: &str| {
        call(
            &relay,
            "POST",
            &format!("/v1/subscriptions/{name}/test"),
            "",
        )
        .await
    };
    let went = test("a").await;
    assert_eq!(
        (went.status, &went.json()["status"]),
        (200, &"success".into()),
        "{}",
        went.body
    );
    assert_eq!(went.json()["event"], "sidehook.test");
    let failed = test("a").await.json();
    assert_eq!(
        (&failed["response_code"], &failed["response_body"]),
        (&500.into(), &"broken".into())
    );
    assert_eq!(look(&relay, "/v1/deliveries").await["data"], json!([]));
    let refused = test("off").await;
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (409, &"no_url".into())
    );
    assert_eq!(test("other").await.status, 404);
}

#[tokio::test]
async fn edits_of_many_at_once_are_all_made() {
    let relay = Relay::start(LINES).await;
    let created = (0..8).map(async |number| {
        let body = json!({"name": format!("n{number}"), "active": false});
        edit(&relay, "POST", "/v1/subscriptions", body).await.status
    });
    let statuses = futures_util::future::join_all(created).await;
    assert_eq!(statuses, [201; 8]);
    until("all are there", async || {
        look(&relay, "/v1/subscriptions").await["data"]
            .as_array()
            .unwrap()
            .len()
            == 10
    })
    .await;
}

#[tokio::test]
async fn one_that_is_made_again_is_new_and_written_in_the_order_given() {
    let relay = Relay::start(LINES).await;
    let made = json!({"name": "again", "url": "https://again.example/", "events": ["a"], "title": "Again", "signature": "none"});
    let posted = edit(&relay, "POST", "/v1/subscriptions", made.clone()).await;
    assert_eq!(posted.status, 201, "{}", posted.body);
    let lines = "  again:\n    url: https://again.example/\n    events: [a]\n    title: Again\n    signature: none\n";
    assert!(file(&relay).contains(lines), "{}", file(&relay));
    let path = "/v1/subscriptions/again";
    let disabled = edit(&relay, "PATCH", path, json!({"status": "disabled"})).await;
    assert_eq!(disabled.json()["status"], "disabled");
    assert_eq!(call(&relay, "DELETE", path, "").await.status, 200);
    let posted = edit(&relay, "POST", "/v1/subscriptions", made).await;
    assert_eq!(posted.json()["status"], "active", "{}", posted.body);
    let blank = errors(&edit(&relay, "PATCH", path, json!({"url": ""})).await);
    assert_eq!(blank, json!({"url": ["can't be blank"]}));
}
