//! Batches of JSON lines.

use super::*;

const NDJSON: (&str, &str) = ("content-type", "application/x-ndjson");

#[tokio::test]
async fn each_line_of_a_batch_is_an_event_with_its_own_bytes() {
    let routes = routes("id_pointer: /id");
    let batch = Post {
        headers: &[NDJSON, ("ce-source", "/s")],
        body: "{\"type\":\"a\", \"id\":1}\n\n  \r\n {\"type\":\"b\"} \r\n{\"type\":\"c\",\"id\":\"3\"}",
        ..Post::default()
    };
    let (heads, bodies) = batch.take(&routes).await.unwrap();
    let names: Vec<_> = heads
        .iter()
        .map(|head| {
            (
                head.event_type.as_str(),
                head.given_id.as_ref().map(|id| id.as_str()),
            )
        })
        .collect();
    assert_eq!(names, [("a", Some("1")), ("b", None), ("c", Some("3"))]);
    assert_eq!(
        bodies,
        [
            "{\"type\":\"a\", \"id\":1}",
            " {\"type\":\"b\"} ",
            "{\"type\":\"c\",\"id\":\"3\"}"
        ]
    );
    for head in &heads {
        assert_eq!(&*head.content_type, "application/json");
        assert_eq!(head.source.as_deref(), Some("/s"));
    }
}

#[tokio::test]
async fn lines_of_json_are_a_batch_by_whatever_name() {
    for name in [
        "Application/NDJSON; charset=utf-8",
        "application/jsonl",
        "application/jsonlines",
        "application/x-jsonlines",
        "application/json-lines",
        "application/stream+json",
        "text/jsonl",
        "text/x-jsonlines",
        "text/x-ndjson",
        "text/ndjson",
        "application/x-jsonl",
        "TEXT/JsonLines",
    ] {
        let batch = Post {
            target: "/events/all",
            headers: &[("content-type", name)],
            body: "1\n2\n",
        };
        let (heads, _) = batch.take(&routes("")).await.unwrap();
        assert_eq!(heads.len(), 2, "{name}");
    }
}

#[tokio::test]
async fn the_path_or_a_header_says_the_type_of_a_whole_batch() {
    let routes = routes("");
    let body = "{\"type\":\"a\"}\n1\n";
    let by_path = Post {
        target: "/events/all",
        headers: &[NDJSON],
        body,
    };
    let by_header = Post {
        headers: &[NDJSON, ("ce-type", "all")],
        body,
        ..Post::default()
    };
    for batch in [by_path, by_header] {
        let (heads, _) = batch.take(&routes).await.unwrap();
        assert!(heads.len() == 2 && heads.iter().all(|head| head.event_type.as_str() == "all"));
    }
}

#[tokio::test]
async fn one_bad_line_refuses_the_whole_batch_by_its_position() {
    let routes = routes("");
    let batch = |body| Post {
        headers: &[NDJSON],
        body,
        ..Post::default()
    };
    let (status, code, errors) = batch("{\"type\":\"a\"}\n{}\n{\"type\":\"\"}")
        .refused(&routes)
        .await;
    assert_eq!((status, code.as_str()), (422, "invalid_event"));
    assert_eq!(
        errors.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["events.1.type", "events.2.type"]
    );
    let (status, code, errors) = batch("{\"type\":\"a\"}\n\n{\"type\":\n{}")
        .refused(&routes)
        .await;
    assert_eq!((status, code.as_str()), (400, "malformed_batch"));
    assert_eq!(
        errors.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["events.1"]
    );
}

#[tokio::test]
async fn a_batch_takes_no_id_or_key_from_headers() {
    for header in [
        "ce-id",
        "idempotency-key",
        "webhook-id",
        "sidehook-key",
        "ce-partitionkey",
    ] {
        let headers = [NDJSON, (header, "1")];
        let batch = Post {
            target: "/events/a",
            headers: &headers,
            body: "{}",
        };
        let (status, code, _) = batch.refused(&routes("")).await;
        assert_eq!((status, code.as_str()), (422, "named_batch"), "{header}");
    }
}

#[tokio::test]
async fn a_batch_has_its_own_bounds() {
    let routes = routes("max_body: 1KiB");
    fn batch(body: &str) -> Post<'_> {
        Post {
            target: "/events/a",
            headers: &[NDJSON],
            body,
        }
    }
    assert_eq!(
        batch("").take(&routes).await.unwrap().0.len(),
        0,
        "nothing is fine"
    );
    let (full, over) = ("{}\n".repeat(1000), "{}\n".repeat(1001));
    assert_eq!(batch(&full).take(&routes).await.unwrap().0.len(), 1000);
    let (status, code, _) = batch(&over).refused(&routes).await;
    assert_eq!((status, code.as_str()), (413, "too_many_events"));
    let line = format!("\"{}\"\n", "x".repeat(1022));
    assert_eq!(batch(&line).take(&routes).await.unwrap().0.len(), 1);
    let longer = format!("\"{}\"\n", "x".repeat(1023));
    assert_eq!(batch(&longer).refused(&routes).await.0, 413);
    let whole = " ".repeat((16 << 20) + 1);
    assert_eq!(batch(&whole).refused(&routes).await.0, 413);
}
