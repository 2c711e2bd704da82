//! Which subscriptions get an event, by more than its type.

use serde_json::json;

use super::*;

async fn kept(subscription: &str) -> Vec<String> {
    let routes = routes_with("", subscription);
    let headers = [
        ("x-region", "eu"),
        ("x-tenant", "acme"),
        ("x-other", "1"),
        ("content-type", "application/json"),
    ];
    let head = Post {
        target: "/events/a",
        headers: &headers,
        body: "{}",
    }
    .one(&routes)
    .await;
    let mut names: Vec<_> = head.headers.iter().map(|it| it.name.to_string()).collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn headers_that_match_or_when_name_are_kept() {
    let a = |more: &str| format!("a: {{url: 'https://a.example', events: ['*'], {more}}}");
    assert_eq!(
        kept(&a("match: {'header:X-Region': us}")).await,
        ["x-region"]
    );
    let asked = "when: \"headers['x-tenant'] == 'acme' && 'x-region' in headers\"";
    assert_eq!(kept(&a(asked)).await, ["x-region", "x-tenant"]);
    let content_type =
        "match: {'header:Content-Type': application/json}, when: \"headers['content-type'] == ''\"";
    assert!(kept(&a(content_type)).await.is_empty());
}

fn deliveries(routes: &Routes, event_type: &str, body: &str) -> Vec<u32> {
    let (_, deliveries) = routes.address(&facts_with(event_type, body.as_bytes()));
    deliveries.iter().map(|to| to.subscription.0).collect()
}

#[test]
fn an_event_goes_to_those_whose_conditions_and_expression_hold() {
    let routes = routes_with(
        "",
        "a: {url: 'https://a.example', events: ['x'], match: {/tenant_id: 7, /live: true}}, \
         b: {url: 'https://b.example', events: ['x'], when: 'data.amount > 100'}, \
         c: {url: 'https://c.example', events: ['x'], when: 'data.amount > 100', when_error: deliver}",
    );
    let all = r#"{"tenant_id":7,"live":true,"amount":101}"#;
    assert_eq!(deliveries(&routes, "x", all), [100, 101, 102]);
    assert!(deliveries(&routes, "y", all).is_empty());
    assert!(deliveries(&routes, "x", r#"{"amount":1}"#).is_empty());
    assert_eq!(deliveries(&routes, "x", r#"{"tenant_id":7}"#), [102]);
    assert_eq!(deliveries(&routes, "x", "no json"), [102]);
}

#[test]
fn an_expression_that_fails_is_counted_whatever_it_means() {
    let (metrics, routes) = counted_routes(
        "",
        "a: {url: 'https://a.example', events: ['*'], when: data.none}, \
         b: {url: 'https://b.example', events: ['*'], when: data.none, when_error: deliver}, \
         c: {url: 'https://c.example', events: ['*']}",
    );
    let (addressed, to) = routes.address(&facts("x"));
    assert_eq!(to.len(), 2);
    let before = metrics.render();
    routes.count(&addressed, &receipt(&[]), NOW);
    let after = metrics.render();
    for (name, count) in [("a", 1), ("b", 1), ("c", 0)] {
        let series = format!("sidehook_filter_errors_total{{subscription=\"{name}\"}} ");
        assert!(!before.contains(&series), "{before}");
        let line = format!("{series}{count}\n");
        assert_eq!(after.contains(&line), count > 0, "{after}");
    }
}

#[tokio::test]
async fn a_type_that_is_none_of_event_types_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let text = "event_types: [a.b, c]\nsubscriptions: {}\n";
    let (_, routes) = routes_of(&folder.path().join("config.yaml"), text);
    let post = |target: &'static str, body: &'static str| Post {
        target,
        headers: &[],
        body,
    };
    post("/events/a.b", "").one(&routes).await;
    post("/events", r#"{"type":"c"}"#).one(&routes).await;
    for (target, body) in [("/events/a", ""), ("/events", r#"{"type":"a"}"#)] {
        let (status, code, errors) = post(target, body).refused(&routes).await;
        assert_eq!((status, code.as_str()), (422, "invalid_event"), "{target}");
        assert_eq!(errors, json!({"type": ["a is none of event_types"]}));
    }
    let batch = Post {
        target: "/events",
        headers: &[("content-type", "application/x-ndjson")],
        body: "{\"type\":\"c\"}\n{\"type\":\"d\"}\n",
    };
    let (_, _, errors) = batch.refused(&routes).await;
    assert_eq!(
        errors,
        json!({"events.1.type": ["d is none of event_types"]})
    );
}

#[tokio::test]
async fn each_event_of_a_batch_goes_where_it_belongs() {
    let routes = routes_with(
        "",
        "a: {url: 'https://a.example', events: ['*'], match: {/t: 1}}, \
         b: {url: 'https://b.example', events: ['*'], when: 'data.t == 2'}",
    );
    let body: String = (1..=4)
        .map(|t| format!("{{\"type\":\"x\",\"t\":{t}}}\n"))
        .collect();
    let request = Request::post("/events")
        .header("host", "localhost")
        .header("content-type", "application/x-ndjson")
        .body(Full::new(Bytes::from(body)))
        .unwrap();
    let intake = Intake::new(Arc::new(FixedClock));
    let taken = intake.take(&routes, LOOPBACK, request).await.unwrap();
    let to: Vec<Vec<u32>> = taken
        .events
        .iter()
        .map(|event| {
            event
                .deliveries
                .iter()
                .map(|to| to.subscription.0)
                .collect()
        })
        .collect();
    assert_eq!(to, [vec![100], vec![101], vec![], vec![]]);
}

#[tokio::test]
async fn what_takes_long_is_found_on_another_thread_and_decides_nothing_for_others() {
    let routes = routes_with(
        "",
        "a: {url: 'https://a.example', events: ['*'], when: 'data.list.all(x, data.list.all(y, x == y))'}, \
         b: {url: 'https://b.example', events: ['*'], when: 'data.list.all(x, x == 1)'}, \
         c: {url: 'https://c.example', events: ['*'], when: 'size(data.list) > 1'}, \
         d: {url: 'https://d.example', events: ['y'], when: 'size(data.list) == 1'}",
    );
    let body = format!(
        "{{\"type\":\"x\",\"list\":[{}]}}",
        vec!["1"; 2_000].join(",")
    );
    assert!(
        routes
            .address_at_once(&facts_with("x", body.as_bytes()))
            .is_none()
    );
    assert!(
        routes
            .address_at_once(&facts_with("x", br#"{"list":[1]}"#))
            .is_some()
    );
    let request = Request::post("/events")
        .header("host", "localhost")
        .body(Full::new(Bytes::from(body)))
        .unwrap();
    let intake = Intake::new(Arc::new(FixedClock));
    let taken = intake.take(&routes, LOOPBACK, request).await.unwrap();
    let to: Vec<u32> = taken.events[0]
        .deliveries
        .iter()
        .map(|to| to.subscription.0)
        .collect();
    assert_eq!(to, [101, 102], "a is given up alone");
}

#[test]
fn many_expressions_together_are_no_matter_of_the_thread_that_everything_runs_on() {
    let subscriptions: Vec<_> = (0..1_000)
        .map(|number| {
            format!("s{number}: {{url: 'https://a.example', events: ['*'], when: 'data.a < {number} && data.a != -1'}}")
        })
        .collect();
    let routes = routes_with("", &subscriptions.join(", "));
    let event = facts_with("x", br#"{"a":5}"#);
    assert!(routes.address_at_once(&event).is_none());
    assert_eq!(routes.address(&event).1.len(), 994);
}
