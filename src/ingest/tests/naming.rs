//! Where the names of an event come from, and what else of a request it keeps.

use super::*;

#[tokio::test]
async fn the_type_comes_from_the_first_place_that_says_it() {
    let routes = routes("");
    let said = [("ce-type", "from.ce"), ("sidehook-type", "from.sidehook")];
    let body = r#"{"type":"from.body"}"#;
    let post = |target, headers| Post {
        target,
        headers,
        body,
    };
    let all = post("/events/from.path", &said).one(&routes).await;
    assert_eq!(all.event_type.as_str(), "from.path");
    let no_path = post("/events", &said).one(&routes).await;
    assert_eq!(no_path.event_type.as_str(), "from.ce");
    let own_header = post("/events", &said[1..]).one(&routes).await;
    assert_eq!(own_header.event_type.as_str(), "from.sidehook");
    let body_only = post("/events", &[]).one(&routes).await;
    assert_eq!(body_only.event_type.as_str(), "from.body");
}

#[tokio::test]
async fn the_given_id_comes_from_the_first_place_that_says_it() {
    let routes = routes("id_pointer: /nested/id");
    let said = [
        ("ce-id", "1"),
        ("idempotency-key", "\"2\""),
        ("webhook-id", "3"),
    ];
    for (skip, expected) in [(0, "1"), (1, "2"), (2, "3"), (3, "4")] {
        let post = Post {
            target: "/events/a",
            headers: &said[skip..],
            body: r#"{"nested":{"id":4}}"#,
        };
        let given_id = post.one(&routes).await.given_id.unwrap();
        assert_eq!(given_id.as_str(), expected);
    }
    let none = Post {
        target: "/events/a",
        body: "{}",
        ..Post::default()
    };
    assert_eq!(none.one(&routes).await.given_id, None);
}

#[tokio::test]
async fn the_key_comes_from_the_first_place_that_says_it() {
    let routes = routes("key_pointer: /tenant");
    let said = [("sidehook-key", "a"), ("ce-partitionkey", "b")];
    for (skip, expected) in [(0, "a"), (1, "b"), (2, "c")] {
        let post = Post {
            target: "/events/a",
            headers: &said[skip..],
            body: r#"{"tenant":"c"}"#,
        };
        assert_eq!(post.one(&routes).await.key.unwrap().as_str(), expected);
    }
}

#[tokio::test]
async fn a_body_is_only_looked_into_for_what_is_not_said_elsewhere() {
    let routes = routes("id_pointer: null");
    let post = Post {
        target: "/events/a",
        body: "{not json",
        ..Post::default()
    };
    let head = post.one(&routes).await;
    assert_eq!((head.given_id, head.key), (None, None));
}

#[tokio::test]
async fn a_name_that_is_missing_or_no_name_is_said_for_its_field() {
    let routes = routes("id_pointer: /id, key_pointer: /key");
    let body = |body| Post {
        body,
        ..Post::default()
    };
    for unusable in ["", "plain", "{\"type\":", "{}", r#"{"type":null}"#, "[]"] {
        let (status, code, errors) = body(unusable).refused(&routes).await;
        assert_eq!(
            (status, code.as_str()),
            (422, "invalid_event"),
            "{unusable}"
        );
        assert_eq!(
            errors.as_object().unwrap().keys().collect::<Vec<_>>(),
            ["type"]
        );
    }
    let long = "x".repeat(257);
    let wrong = format!(r#"{{"type":"a b","id":"{long}","key":""}}"#);
    let (status, _, errors) = body(&wrong).refused(&routes).await;
    assert_eq!(status, 422);
    assert_eq!(
        errors["type"][0],
        "expected visible ASCII characters only, found another at position 1"
    );
    assert_eq!(errors["id"][0], "expected 1 to 256 characters, found 257");
    assert_eq!(errors["key"][0], "expected 1 to 256 characters, found 0");
    let in_path = Post {
        target: "/events/",
        ..Post::default()
    };
    assert_eq!(in_path.refused(&routes).await.0, 422);
    let quotes_only = Post {
        target: "/events/a",
        headers: &[("idempotency-key", "\"\"")],
        body: "",
    };
    assert_eq!(quotes_only.refused(&routes).await.0, 422);
}

#[tokio::test]
async fn an_event_has_its_ids_times_and_content() {
    let routes = routes("");
    let plain = Post {
        target: "/events/a",
        ..Post::default()
    }
    .one(&routes)
    .await;
    assert_eq!(plain.content_type.as_ref(), "application/octet-stream");
    assert_eq!(plain.accepted_at, FixedClock.steady());
    assert!(
        plain.id.to_string().starts_with("evt_018bcfe5-6800-7"),
        "{}",
        plain.id
    );
    let headers = [
        ("content-type", "text/csv; charset=latin1"),
        ("ce-source", "/billing"),
        ("ce-subject", "a b"),
    ];
    let full = Post {
        target: "/events/a",
        headers: &headers,
        body: "",
    }
    .one(&routes)
    .await;
    assert_eq!(full.content_type.as_ref(), "text/csv; charset=latin1");
    assert_eq!(
        (full.source.as_deref(), full.subject.as_deref()),
        (Some("/billing"), Some("a b"))
    );
    assert_ne!(plain.id, full.id);
}

#[tokio::test]
async fn only_cloudevents_headers_and_forwarded_ones_are_kept() {
    let forwarding =
        "a: {url: 'https://a.example', events: ['*'], forward_headers: [X-Region, X-Trace]}";
    let routes = routes_with("", forwarding);
    let headers = [
        ("x-region", "eu"),
        ("x-region", "us"),
        ("x-other", "1"),
        ("authorization", "Bearer x"),
        ("proxy-authorization", "Basic x"),
        ("cookie", "a=b"),
        ("ce-traceparent", "00-1"),
    ];
    let head = Post {
        target: "/events/a",
        headers: &headers,
        body: "",
    }
    .one(&routes)
    .await;
    let mut kept: Vec<_> = head
        .headers
        .iter()
        .map(|kept| (&*kept.name, &*kept.value))
        .collect();
    kept.sort_unstable();
    let expected: [(&str, &[u8]); 3] = [
        ("ce-traceparent", b"00-1"),
        ("x-region", b"eu"),
        ("x-region", b"us"),
    ];
    assert_eq!(kept, expected);
}

#[tokio::test]
async fn an_event_goes_to_those_that_match_and_are_not_skipped() {
    let routes = routes_with(
        "",
        "a: {url: 'https://a.example', events: ['x.*'], max_pending: 1KiB}, \
         b: {url: 'https://b.example', events: ['*'], active: false, when_disabled: skip}, \
         c: {url: 'https://c.example', events: ['y']}",
    );
    let (addressed, deliveries) = routes.address(&facts("x.1"));
    let to: Vec<_> = deliveries
        .iter()
        .map(|to| (to.subscription.0, to.max_pending))
        .collect();
    assert_eq!(to, [(100, 1024)]);
    assert!(!addressed.is_unmatched);
    let (addressed, deliveries) = routes.address(&facts("z"));
    assert!(
        deliveries.is_empty() && !addressed.is_unmatched,
        "matched by one that skips it"
    );
}

#[tokio::test]
async fn what_is_skipped_or_overflows_is_counted_at_its_subscription() {
    let (metrics, routes) = counted_routes(
        "",
        "a: {url: 'https://a.example', events: ['*']}, \
         b: {url: 'https://b.example', events: ['*'], active: false, when_disabled: skip}",
    );
    let (addressed, deliveries) = routes.address(&facts("x"));
    routes.count(&addressed, &receipt(&[deliveries[0].subscription]), NOW);
    let text = metrics.render();
    for line in [
        "sidehook_deliveries_total{subscription=\"b\",outcome=\"skipped\"} 1",
        "sidehook_deliveries_total{subscription=\"a\",outcome=\"dead\"} 1",
        "sidehook_dead_letters_total{subscription=\"a\",reason=\"overflow\"} 1",
    ] {
        assert!(text.contains(line), "{line} is missing in {text}");
    }
}
