//! An endpoint that follows a script: it records every request as it arrived and answers as it is told.
//!
//! ```ignore
//! let receiver = Receiver::start(|_| Reply::status(204)).await;
//! // … let something deliver to receiver.url("/hook") …
//! let requests = receiver.wait_for(2, Duration::from_secs(5)).await;
//! ```
//!
//! A request is recorded when its body is complete, before its reply begins. Dropping the receiver closes everything.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

use super::certificates::Authority;

/// One request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    /// Its place among all requests of this receiver, from 1.
    pub(crate) number: usize,
    pub(crate) method: Method,
    /// Path and query as sent.
    pub(crate) path: String,
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
    /// The body, byte for byte.
    pub(crate) body: Bytes,
    /// When the body was complete.
    pub(crate) at: Instant,
    /// Requests under way at that moment, this one included.
    pub(crate) concurrent: usize,
}

impl Received {
    /// The value of a header as text; empty if there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }
}

/// What the receiver does with a request.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    delay: Duration,
    end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Answer,
    Hang,
    Reset,
}

impl Reply {
    /// An empty answer with this status.
    pub(crate) fn status(code: u16) -> Self {
        Self {
            status: StatusCode::from_u16(code).unwrap(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            delay: Duration::ZERO,
            end: End::Answer,
        }
    }

    /// No answer ever; the connection stays open.
    pub(crate) fn hang() -> Self {
        Self {
            end: End::Hang,
            ..Self::status(200)
        }
    }

    /// The connection is reset instead of an answer.
    pub(crate) fn reset() -> Self {
        Self {
            end: End::Reset,
            ..Self::status(200)
        }
    }

    /// Adds a header.
    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        let value = HeaderValue::from_str(value).unwrap();
        self.headers.append(HeaderName::from_static(name), value);
        self
    }

    /// Gives it a body.
    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Waits before anything else happens.
    pub(crate) fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }
}

/// Decides what is done with a request.
type Script = Box<dyn Fn(&Received) -> Reply + Send + Sync>;

/// The running endpoint.
pub(crate) struct Receiver {
    base: String,
    state: Arc<State>,
    count: watch::Receiver<usize>,
    _accepting: AbortOnDropHandle<()>,
}

struct State {
    script: Mutex<Script>,
    received: Mutex<Vec<Received>>,
    count: watch::Sender<usize>,
    in_flight: AtomicUsize,
    connections: AtomicUsize,
}

impl Receiver {
    /// An HTTP/1.1 endpoint on a free port of 127.0.0.1 that replies as `script` says.
    pub(crate) async fn start(script: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Self {
        Self::listen("http://127.0.0.1", None, Box::new(script)).await
    }

    /// The same over TLS, as `localhost`, with a certificate of `authority`; `alpn` may offer `h2` and `http/1.1`.
    pub(crate) async fn start_tls(
        authority: &Authority,
        alpn: &[&str],
        script: impl Fn(&Received) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let config = authority.server(alpn);
        Self::listen("https://localhost", Some(config), Box::new(script)).await
    }

    /// Gives these replies in turn, and the last one for ever after.
    pub(crate) async fn queue(replies: impl IntoIterator<Item = Reply>) -> Self {
        let queue = Mutex::new(replies.into_iter().collect::<VecDeque<_>>());
        Self::start(move |_| {
            let mut queue = queue.lock().unwrap();
            let reply = queue.front().unwrap().clone();
            if queue.len() > 1 {
                queue.pop_front();
            }
            reply
        })
        .await
    }

    async fn listen(scheme: &str, tls: Option<Arc<ServerConfig>>, script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, count) = watch::channel(0);
        let state = Arc::new(State {
            script: Mutex::new(script),
            received: Mutex::default(),
            count: sender,
            in_flight: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
        });
        let accepting = tokio::spawn(accept(listener, tls, Arc::clone(&state)));
        Self {
            base: format!("{scheme}:{}", address.port()),
            state,
            count,
            _accepting: AbortOnDropHandle::new(accepting),
        }
    }

    /// The URL of a path, which begins with `/`.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Replies as this script says from the next request on.
    pub(crate) fn now(&self, script: impl Fn(&Received) -> Reply + Send + Sync + 'static) {
        *self.state.script.lock().unwrap() = Box::new(script);
    }

    /// Everything received so far, in order of arrival.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.state.received.lock().unwrap().clone()
    }

    /// How many requests were received so far.
    pub(crate) fn count(&self) -> usize {
        *self.count.borrow()
    }

    /// How many connections were accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// Waits until `n` requests were received; gives all that were. Fails the test after `deadline`.
    pub(crate) async fn wait_for(&self, n: usize, deadline: Duration) -> Vec<Received> {
        let mut count = self.count.clone();
        let enough = timeout(deadline, count.wait_for(|count| *count >= n))
            .await
            .is_ok();
        assert!(
            enough,
            "{} of {n} requests within {deadline:?}",
            self.count()
        );
        self.received()
    }
}

async fn accept(listener: TcpListener, tls: Option<Arc<ServerConfig>>, state: Arc<State>) {
    let acceptor = tls.map(TlsAcceptor::from);
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        state.connections.fetch_add(1, Ordering::SeqCst);
        connections.spawn(serve(stream, acceptor.clone(), Arc::clone(&state)));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(stream: TcpStream, tls: Option<TlsAcceptor>, state: Arc<State>) {
    let socket = Arc::new(stream.as_fd().try_clone_to_owned().unwrap());
    let service =
        service_fn(move |request| reply(request, Arc::clone(&state), Arc::clone(&socket)));
    // How a connection ends is the client's to judge.
    let Some(acceptor) = tls else {
        let _ended = http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await;
        return;
    };
    let Ok(stream) = acceptor.accept(stream).await else {
        return;
    };
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let stream = TokioIo::new(stream);
    if is_http2 {
        let builder = http2::Builder::new(TokioExecutor::new());
        let _ended = builder.serve_connection(stream, service).await;
    } else {
        let _ended = http1::Builder::new()
            .serve_connection(stream, service)
            .await;
    }
}

async fn reply(
    request: Request<Incoming>,
    state: Arc<State>,
    socket: Arc<OwnedFd>,
) -> io::Result<Response<Full<Bytes>>> {
    let under_way = UnderWay::begin(&state);
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let received = Received {
        number: 0,
        method: head.method,
        path: head
            .uri
            .path_and_query()
            .map(ToString::to_string)
            .unwrap_or_default(),
        version: head.version,
        headers: head.headers,
        body,
        at: Instant::now(),
        concurrent: under_way.concurrent,
    };
    let reply = state.record(received);
    tokio::time::sleep(reply.delay).await;
    match reply.end {
        End::Answer => {}
        End::Hang => std::future::pending().await,
        End::Reset => {
            rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
            return Err(io::Error::other("reset by the script"));
        }
    }
    let mut response = Response::new(Full::new(reply.body));
    *response.status_mut() = reply.status;
    *response.headers_mut() = reply.headers;
    Ok(response)
}

impl State {
    /// Numbers and keeps a request, and asks the script what to do with it.
    fn record(&self, mut received: Received) -> Reply {
        let mut all = self.received.lock().unwrap();
        received.number = all.len() + 1;
        let reply = (self.script.lock().unwrap())(&received);
        self.count.send_replace(received.number);
        all.push(received);
        reply
    }
}

/// Counts a request until its reply is made or its connection is gone.
struct UnderWay<'a> {
    state: &'a State,
    concurrent: usize,
}

impl<'a> UnderWay<'a> {
    fn begin(state: &'a State) -> Self {
        let concurrent = state.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        Self { state, concurrent }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.state.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}
