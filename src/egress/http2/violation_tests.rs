//! Endpoints that break HTTP/2: the status decides where there is one, else the frame and the error are named.

use std::sync::Arc;

use tokio::sync::Notify;

use super::endpoint::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Endpoint, GOAWAY, HEADERS, LONG, PING, PRIORITY,
    PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE, field, frame, go_away, ok, reset, response,
    setting,
};
use crate::domain::FailureReason;
use crate::egress::{Answer, SendError};

/// Sends one request to an endpoint that reads it, sends `said` and then waits.
async fn answered(said: Vec<u8>) -> Result<Answer, SendError> {
    let endpoint = Endpoint::start(move |mut peer, _| {
        let said = said.clone();
        async move {
            peer.greet(&frame(SETTINGS, 0, 0, &[])).await;
            peer.request().await.unwrap();
            peer.write(&said).await;
            peer.hold().await;
        }
    })
    .await;
    endpoint.send(LONG).await
}

#[tokio::test]
async fn the_status_decides_whatever_the_rest_of_the_head_is() {
    let many = |count| {
        (0..count)
            .flat_map(|n| field(format!("x-{n}").as_bytes(), b"y"))
            .collect()
    };
    let rests: [(&str, Vec<u8>); 14] = [
        ("space in a name", field(b"x bad", b"1")),
        ("upper case", field(b"X-Bad", b"1")),
        ("control byte", field(b"x", b"a\x01b")),
        ("line break", field(b"x", b"a\r\nb")),
        ("empty name", field(b"", b"1")),
        ("connection", field(b"connection", b"close")),
        ("transfer-encoding", field(b"transfer-encoding", b"chunked")),
        ("no number", field(b"content-length", b"ten")),
        (
            "two lengths",
            [
                field(b"content-length", b"1"),
                field(b"content-length", b"2"),
            ]
            .concat(),
        ),
        ("length without body", field(b"content-length", b"7")),
        ("65 headers", many(65)),
        ("1000 headers", many(1000)),
        ("unknown index", b"\xff\x7f".to_vec()),
        ("cut off", b"\x00\x05ab".to_vec()),
    ];
    for code in [b"200", b"410"] {
        for (name, rest) in &rests {
            let status = [b"\x48\x03", &code[..]].concat();
            let block = [status, rest.clone()].concat();
            let answer = answered(response(1, &block)).await;
            let answer = answer.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(answer.status.as_str().as_bytes(), code, "{name}");
        }
    }
}

#[tokio::test]
async fn a_head_of_any_size_leaves_the_status() {
    let piece = |flags| frame(CONTINUATION, flags, 1, &field(b"x", &[b'a'; 16_000]));
    for pieces in [3, 100] {
        let head = frame(HEADERS, END_STREAM, 1, b"\x88");
        let all: Vec<u8> = (0..pieces).flat_map(|_| piece(0)).collect();
        let answer = answered([head, all, piece(END_HEADERS)].concat()).await;
        assert_eq!(answer.unwrap().status, 200, "{pieces}");
    }
}

#[tokio::test]
async fn a_connection_with_an_odd_head_is_not_used_again() {
    let odd = response(1, &[b"\x88", &field(b"x bad", b"1")[..]].concat());
    let endpoint = Endpoint::start(move |mut peer, _| {
        let odd = odd.clone();
        async move {
            peer.greet(&frame(SETTINGS, 0, 0, &[])).await;
            peer.request().await.unwrap();
            peer.write(&odd).await;
            peer.hold().await;
        }
    })
    .await;
    for n in 1..=3 {
        assert_eq!(endpoint.send(LONG).await.unwrap().status, 200);
        assert_eq!(endpoint.connections(), n);
    }
}

/// Violations, each with the frame and the error that are to be named.
fn violations() -> Vec<(Vec<u8>, &'static str, &'static str)> {
    let update = |stream, by: u32| frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes());
    vec![
        (frame(DATA, 0, 0, b"x"), "DATA", "PROTOCOL_ERROR"),
        (frame(DATA, 0, 1, b"x"), "DATA", "PROTOCOL_ERROR"),
        (frame(DATA, 0, 2, b"x"), "DATA", "PROTOCOL_ERROR"),
        (frame(DATA, 0, 9, b"x"), "DATA", "PROTOCOL_ERROR"),
        (frame(DATA, 8, 1, b"\x09ab"), "DATA", "PROTOCOL_ERROR"),
        (frame(HEADERS, 5, 0, b"\x88"), "HEADERS", "PROTOCOL_ERROR"),
        (frame(HEADERS, 5, 2, b"\x88"), "HEADERS", "PROTOCOL_ERROR"),
        (frame(HEADERS, 5, 9, b"\x88"), "HEADERS", "PROTOCOL_ERROR"),
        (frame(HEADERS, 13, 1, b"\x09"), "HEADERS", "PROTOCOL_ERROR"),
        (response(1, b""), "HEADERS", "PROTOCOL_ERROR"),
        (response(1, &field(b"x", b"y")), "HEADERS", "PROTOCOL_ERROR"),
        (response(1, b"\x48\x032x0"), "HEADERS", "PROTOCOL_ERROR"),
        (response(1, b"\x48\x03000"), "HEADERS", "PROTOCOL_ERROR"),
        (response(1, b"\xbf"), "HEADERS", "PROTOCOL_ERROR"),
        (frame(HEADERS, 1, 1, b""), "PING", "PROTOCOL_ERROR"),
        (frame(PRIORITY, 0, 0, &[0; 5]), "PRIORITY", "PROTOCOL_ERROR"),
        (frame(PRIORITY, 0, 1, &[0; 4]), "PRIORITY", "PROTOCOL_ERROR"),
        (reset(0, 0), "RST_STREAM", "PROTOCOL_ERROR"),
        (reset(9, 0), "RST_STREAM", "PROTOCOL_ERROR"),
        (
            frame(RST_STREAM, 0, 1, &[0; 3]),
            "RST_STREAM",
            "PROTOCOL_ERROR",
        ),
        (frame(SETTINGS, 0, 1, &[]), "SETTINGS", "PROTOCOL_ERROR"),
        (frame(SETTINGS, 0, 0, &[0; 5]), "SETTINGS", "PROTOCOL_ERROR"),
        (frame(SETTINGS, 1, 0, &[0; 6]), "SETTINGS", "PROTOCOL_ERROR"),
        (setting(4, 1 << 31), "SETTINGS", "PROTOCOL_ERROR"),
        (setting(5, 1), "SETTINGS", "PROTOCOL_ERROR"),
        (setting(2, 7), "SETTINGS", "PROTOCOL_ERROR"),
        (setting(2, 1), "SETTINGS", "PROTOCOL_ERROR"),
        (
            frame(PUSH_PROMISE, 4, 1, &[0, 0, 0, 2, 0x82]),
            "PUSH_PROMISE",
            "PROTOCOL_ERROR",
        ),
        (frame(PING, 0, 1, &[0; 8]), "PING", "PROTOCOL_ERROR"),
        (frame(PING, 0, 0, &[0; 7]), "PING", "PROTOCOL_ERROR"),
        (frame(GOAWAY, 0, 1, &[0; 8]), "GOAWAY", "PROTOCOL_ERROR"),
        (frame(GOAWAY, 0, 0, &[0; 7]), "GOAWAY", "PROTOCOL_ERROR"),
        (update(0, 0), "WINDOW_UPDATE", "PROTOCOL_ERROR"),
        (update(1, 0), "WINDOW_UPDATE", "PROTOCOL_ERROR"),
        (update(9, 1), "WINDOW_UPDATE", "PROTOCOL_ERROR"),
        (
            update(0, 0x7fff_ffff),
            "WINDOW_UPDATE",
            "FLOW_CONTROL_ERROR",
        ),
        (
            frame(WINDOW_UPDATE, 0, 0, &[0; 3]),
            "WINDOW_UPDATE",
            "PROTOCOL_ERROR",
        ),
        (
            frame(CONTINUATION, 4, 1, b"\x88"),
            "CONTINUATION",
            "PROTOCOL_ERROR",
        ),
        (frame(PING, 0, 0, &[0; 20_000]), "PING", "FRAME_SIZE_ERROR"),
    ]
}

#[tokio::test]
async fn a_violation_names_the_frame_and_the_error() {
    for (said, kind, code) in violations() {
        // Something harmless behind it, which is not to be blamed.
        let then = frame(PING, 1, 0, &[0; 8]);
        let shown = said.get(..said.len().min(24)).unwrap().to_vec();
        let error = answered([said, then].concat())
            .await
            .map(|answer| answer.status);
        let Err(error) = error else {
            panic!("{shown:x?} is answered with {error:?}");
        };
        assert_eq!(error.reason, FailureReason::Protocol, "{shown:x?}: {error}");
        assert!(error.message.contains(kind), "{shown:x?}: {error}");
        assert!(error.message.contains(code), "{shown:x?}: {error}");
    }
}

#[tokio::test]
async fn what_does_not_begin_with_settings_is_no_http2() {
    for said in [
        b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n".to_vec(),
        ok(1),
        go_away(0, 0),
        frame(SETTINGS, 1, 0, &[]),
    ] {
        let endpoint = Endpoint::start(move |mut peer, _| {
            let said = said.clone();
            async move {
                peer.greet(&said).await;
                peer.hold().await;
            }
        })
        .await;
        let error = endpoint.send(LONG).await.unwrap_err();
        assert_eq!(error.reason, FailureReason::Protocol, "{error}");
        assert!(error.message.contains("SETTINGS"), "{error}");
    }
}

/// Floods, each with a name and what is sent again and again.
fn floods() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("PING", frame(PING, 0, 0, &[0; 8])),
        ("PING", frame(PING, 1, 0, &[0; 8])),
        ("unknown", frame(0x55, 0, 0, &[])),
        ("unknown", frame(0x55, 0, 1, &[0; 16_384])),
        ("WINDOW_UPDATE", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("WINDOW_UPDATE", frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])),
        ("PRIORITY", frame(PRIORITY, 0, 1, &[0; 5])),
        ("SETTINGS", frame(SETTINGS, 0, 0, &[])),
        ("SETTINGS", setting(1, 0)),
        ("RST_STREAM", reset(1, 5)),
        ("DATA", frame(DATA, 0, 1, &[])),
        ("HEADERS", frame(HEADERS, END_HEADERS, 1, b"\x48\x03103")),
        ("CONTINUATION", frame(CONTINUATION, 0, 1, &[])),
    ]
}

/// The frames before a flood so that its own frames are allowed.
fn before(kind: &str, part: &[u8]) -> Vec<u8> {
    match kind {
        "DATA" => frame(HEADERS, END_HEADERS, 1, b"\x88"),
        "CONTINUATION" => frame(HEADERS, 0, 1, b""),
        "RST_STREAM" => part.to_vec(),
        _ => Vec::new(),
    }
}

#[tokio::test]
async fn a_flood_ends_the_connection_and_is_named() {
    for (kind, part) in floods() {
        let begin = before(kind, &part);
        let many = part.repeat((16_384 / part.len()).max(1));
        let (frames, mut sent) = tokio::sync::mpsc::channel(8);
        let endpoint = Endpoint::start(move |mut peer, _| {
            let (begin, many, frames) = (begin.clone(), many.clone(), frames.clone());
            async move {
                peer.greet(&frame(SETTINGS, 0, 0, &[])).await;
                peer.request().await.unwrap();
                peer.write(&begin).await;
                let mut written = 0;
                while peer.write(&many).await {
                    written += many.len();
                }
                frames.send(written).await.unwrap();
            }
        })
        .await;
        let result = endpoint.send(LONG).await;
        // The client has left; what was on its way does not count.
        let written = sent.recv().await.unwrap();
        assert!(written < 32 << 20, "{kind}: {written} bytes were read");
        match kind {
            // The status had come.
            "DATA" => assert_eq!(result.unwrap().status, 200),
            // It was answered before the flood.
            "RST_STREAM" => assert_eq!(result.unwrap_err().reason, FailureReason::Reset),
            _ => {
                let error = result.unwrap_err();
                assert_eq!(error.reason, FailureReason::Protocol, "{kind}: {error}");
                assert!(error.message.contains(kind), "{kind}: {error}");
            }
        }
    }
}

#[tokio::test]
async fn a_flood_on_an_idle_connection_ends_it_with_a_farewell() {
    for (kind, part) in floods() {
        if matches!(kind, "DATA" | "HEADERS" | "CONTINUATION" | "PRIORITY") {
            continue;
        }
        let (codes, mut code) = tokio::sync::mpsc::channel(8);
        let idle = Arc::new(Notify::new());
        let is_idle = Arc::clone(&idle);
        let endpoint = Endpoint::start(move |mut peer, number| {
            let (part, codes, is_idle) = (part.clone(), codes.clone(), Arc::clone(&is_idle));
            async move {
                peer.greet(&frame(SETTINGS, 0, 0, &[])).await;
                if number > 0 {
                    return peer.serve().await;
                }
                let stream = peer.request().await.unwrap();
                peer.write(&ok(stream)).await;
                is_idle.notified().await;
                // A little more than an idle connection may send.
                peer.write(&part.repeat(300)).await;
                while let Some(sent) = peer.next().await {
                    if sent.kind == GOAWAY {
                        codes.send(sent.payload.get(7).copied()).await.unwrap();
                    }
                }
            }
        })
        .await;
        assert_eq!(endpoint.send(LONG).await.unwrap().status, 200);
        idle.notify_one();
        let said = tokio::time::timeout(LONG, code.recv()).await;
        assert_eq!(said, Ok(Some(Some(0xb))), "{kind}");
        assert_eq!(endpoint.send(LONG).await.unwrap().status, 200);
        assert_eq!(endpoint.connections(), 2, "{kind}");
    }
}
