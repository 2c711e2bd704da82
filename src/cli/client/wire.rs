//! One HTTP/1.1 exchange with a sidecar, by TCP or unix socket. The answer's body is read piece by piece.

use std::fmt;
use std::io;
use std::pin::Pin;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::cli::target::Target;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    /// There is no listener, or connecting is not permitted.
    #[error("cannot reach a sidecar at {target}")]
    Unreachable {
        /// Where.
        target: Target,
        #[source]
        source: io::Error,
    },
    /// The other side does not speak HTTP, or went away.
    #[error("the answer of {target} broke off")]
    Broken {
        /// Where.
        target: Target,
        #[source]
        source: hyper::Error,
    },
}

/// The body of an answer that is on its way, with the connection that it comes by.
pub(crate) struct Body {
    target: Target,
    body: Incoming,
    connection: Option<Connection>,
}

type Connection = Pin<Box<dyn Future<Output = Result<(), hyper::Error>> + Send>>;

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").finish_non_exhaustive()
    }
}

impl Body {
    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// The connection breaks.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, WireError> {
        loop {
            let frame = match &mut self.connection {
                None => self.body.frame().await,
                Some(connection) => tokio::select! {
                    biased;
                    frame = self.body.frame() => frame,
                    // The connection may end with the last byte of the answer; the body reports its error.
                    _ = connection => {
                        self.connection = None;
                        continue;
                    }
                },
            };
            let Some(frame) = frame else { return Ok(None) };
            let frame = frame.map_err(|source| broken(&self.target, source))?;
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
    }
}

/// Sends a request and waits for the head of the answer. `Host` is set here.
///
/// # Errors
/// The sidecar cannot be reached, or what answers does not speak HTTP.
///
/// # Cancel safety
/// Dropped, it closes the connection; the sidecar may have done what was asked.
pub(crate) async fn begin(
    target: &Target,
    request: Request<Full<Bytes>>,
) -> Result<Response<Body>, WireError> {
    let unreachable = |source| WireError::Unreachable {
        target: target.clone(),
        source,
    };
    match target {
        Target::Tcp(address) => {
            let stream = TcpStream::connect(address).await.map_err(unreachable)?;
            exchange(stream, target, request).await
        }
        Target::Unix(path) => {
            let stream = UnixStream::connect(path).await.map_err(unreachable)?;
            exchange(stream, target, request).await
        }
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    target: &Target,
    mut request: Request<Full<Bytes>>,
) -> Result<Response<Body>, WireError> {
    let host = match target {
        Target::Tcp(address) => HeaderValue::try_from(address.as_str()).ok(),
        Target::Unix(_) => None,
    };
    let host = host.unwrap_or_else(|| HeaderValue::from_static("localhost"));
    request.headers_mut().insert(HOST, host);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|source| broken(target, source))?;
    let mut connection: Option<Connection> = Some(Box::pin(connection));
    let answer = sender.send_request(request);
    tokio::pin!(answer);
    let response = loop {
        match &mut connection {
            None => break answer.await,
            Some(open) => tokio::select! {
                biased;
                answer = &mut answer => break answer,
                _ = open => connection = None,
            },
        }
    };
    let response = response.map_err(|source| broken(target, source))?;
    Ok(response.map(|body| Body {
        target: target.clone(),
        body,
        connection,
    }))
}

fn broken(target: &Target, source: hyper::Error) -> WireError {
    WireError::Broken {
        target: target.clone(),
        source,
    }
}
