//! An HTTP/2 endpoint for tests, made of raw frames so that it can do everything wrong.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::egress::testing::{Authority, listen, post};
use crate::egress::{Answer, Client, SendError};

/// For what ends without a timeout: longer than a slow machine takes.
pub(super) const LONG: Duration = Duration::from_secs(20);

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

/// A frame (RFC 9113 section 4.1).
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()[..]].concat();
    [&head[..], payload].concat()
}

/// SETTINGS of one value.
pub(super) fn setting(id: u16, value: u32) -> Vec<u8> {
    let payload = [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
    frame(SETTINGS, 0, 0, &payload)
}

/// A whole response with this header block.
pub(super) fn response(stream: u32, block: &[u8]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, block)
}

pub(super) fn ok(stream: u32) -> Vec<u8> {
    response(stream, b"\x88")
}

pub(super) fn go_away(last: u32, code: u32) -> Vec<u8> {
    let payload = [last.to_be_bytes(), code.to_be_bytes()].concat();
    frame(GOAWAY, 0, 0, &payload)
}

pub(super) fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &code.to_be_bytes())
}

/// A literal field that is in no table.
pub(super) fn field(name: &[u8], value: &[u8]) -> Vec<u8> {
    let length = |text: &[u8]| {
        let extended = text.len().checked_sub(127);
        match extended {
            None => vec![u8::try_from(text.len()).unwrap()],
            Some(mut left) => {
                let mut bytes = vec![127];
                while left >= 128 {
                    bytes.push(u8::try_from(left % 128).unwrap() | 128);
                    left /= 128;
                }
                bytes.push(u8::try_from(left).unwrap());
                bytes
            }
        }
    };
    [&[0][..], &length(name), name, &length(value), value].concat()
}

/// One connection, seen from the endpoint.
pub(super) struct Peer {
    pub(super) stream: TlsStream<TcpStream>,
    /// Streams that a request was read from.
    pub(super) requests: usize,
}

/// A frame that the client sent.
pub(super) struct Sent {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

impl Peer {
    /// Reads the client's preface and sends SETTINGS.
    pub(super) async fn greet(&mut self, settings: &[u8]) {
        let mut preface = [0; 24];
        self.stream.read_exact(&mut preface).await.unwrap();
        self.write(settings).await;
    }

    /// Writes, if the client is still there.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok() && self.stream.flush().await.is_ok()
    }

    /// The next frame; `None` at the end.
    pub(super) async fn next(&mut self) -> Option<Sent> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).await.ok()?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).await.ok()?;
        Some(Sent {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
            payload,
        })
    }

    /// Reads until a request is complete, and returns its stream; `None` at the end.
    pub(super) async fn request(&mut self) -> Option<u32> {
        loop {
            let sent = self.next().await?;
            if sent.kind == SETTINGS && sent.flags == 0 {
                self.write(&frame(SETTINGS, 1, 0, &[])).await;
            }
            let is_of_stream = sent.kind == DATA || sent.kind == HEADERS;
            if is_of_stream && sent.flags & END_STREAM != 0 {
                self.requests += 1;
                return Some(sent.stream);
            }
        }
    }

    /// Reads until the client leaves.
    pub(super) async fn hold(&mut self) {
        while self.next().await.is_some() {}
    }

    /// Answers every request with 200.
    pub(super) async fn serve(&mut self) {
        while let Some(stream) = self.request().await {
            self.write(&ok(stream)).await;
        }
    }
}

/// An endpoint and a client that trusts it.
pub(super) struct Endpoint {
    pub(super) client: Client,
    pub(super) address: SocketAddr,
    pub(super) connections: Arc<AtomicUsize>,
}

impl Endpoint {
    /// Treats each connection with `behaviour`, which also gets its number from 0.
    pub(super) async fn start<F, Fut>(behaviour: F) -> Self
    where
        F: Fn(Peer, usize) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let authority = Authority::new("ours");
        let acceptor = authority.acceptor("localhost", &["h2"], |_| {});
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let behaviour = Arc::new(behaviour);
        let address = listen(move |stream, number| {
            let (acceptor, count) = (acceptor.clone(), Arc::clone(&count));
            let behaviour = Arc::clone(&behaviour);
            async move {
                count.fetch_add(1, Ordering::SeqCst);
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                let requests = 0;
                behaviour(Peer { stream, requests }, number).await;
            }
        })
        .await;
        Self {
            client: authority.client(),
            address,
            connections,
        }
    }

    pub(super) async fn send(&self, timeout: Duration) -> Result<Answer, SendError> {
        let url = format!("https://localhost:{}/hook", self.address.port());
        self.client.send(post(url), timeout).await
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}
