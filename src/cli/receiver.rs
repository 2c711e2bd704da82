//! A small receiver of deliveries on a local port, with or without TLS: what `listen` and `demo` share. It reads each
//! request whole, within bounds, and answers with the status that its owner decides. Judging signatures and printing are
//! its owner's.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::domain::BODY_BYTES_MAX;

/// Connections at the same time; the next one waits.
const CONNECTIONS_MAX: usize = 64;
/// A TLS handshake, the head of a request and its body have this long each.
const READ_TIMEOUT: Duration = Duration::from_secs(15);

/// Decides how a request is answered; called once for each that was read whole. Must be quick.
pub(crate) type Answer = Arc<dyn Fn(&Parts, &Bytes) -> StatusCode + Send + Sync>;

/// Receives until it is dropped, which closes the listener and every connection.
pub(crate) async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, answer: Answer) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, tls.clone(), answer.clone()));
                }
                // Out of descriptors, for example: connections that end give theirs back.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
        }
    }
}

async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, answer: Answer) {
    let Some(tls) = tls else {
        return requests(stream, answer).await;
    };
    if let Ok(Ok(stream)) = tokio::time::timeout(READ_TIMEOUT, tls.accept(stream)).await {
        requests(stream, answer).await;
    }
}

async fn requests(stream: impl AsyncRead + AsyncWrite + Unpin, answer: Answer) {
    let service = service_fn(|request| respond(request, &answer));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(READ_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    // A connection that breaks is the sender's concern: it sees the attempt fail.
    drop(served);
}

async fn respond(
    request: Request<Incoming>,
    answer: &Answer,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, BODY_BYTES_MAX).collect();
    let status = match tokio::time::timeout(READ_TIMEOUT, body).await {
        Ok(Ok(body)) => answer(&head, &body.to_bytes()),
        Ok(Err(_)) => StatusCode::PAYLOAD_TOO_LARGE,
        Err(_) => StatusCode::REQUEST_TIMEOUT,
    };
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    Ok(response)
}
