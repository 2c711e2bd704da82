//! One HTTP/2 connection, shared by the requests of a client.
//!
//! h2 speaks the protocol; its driver is a task, because many requests use it at once, and the task ends with the last
//! handle. `transport` is between h2 and the socket, and records in `wire` what h2 does not report. The endpoint limits
//! how many streams are open: further requests wait. Invariants: a request goes to a second connection only if
//! the endpoint cannot have processed it, or reports that (RFC 9113 section 8.7); a request that is dropped resets its
//! stream, and nothing more of it is written.

mod budget;
mod frame;
mod status;
mod transport;
mod wire;

#[cfg(test)]
mod endpoint;
#[cfg(test)]
mod resending_tests;
#[cfg(test)]
mod violation_tests;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use h2::client::{Builder, SendRequest};
use http::header::HOST;
use http::{Request, Response, Uri, uri};
use http_body::Frame;
use http_body_util::{BodyExt, Full};
use tokio_util::task::AbortOnDropHandle;

use crate::egress::dial::Stream;
use crate::egress::failure::SendError;
use crate::egress::origin::Origin;

use transport::Transport;
use wire::{Verdict, Wire};

/// Bytes of one response that may come before they are read.
const STREAM_WINDOW: u32 = 32 * 1024;
/// Bytes of all responses that may come before they are read.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Bytes of a response head, at most, as HTTP/2 counts them.
const HEADER_LIST_MAX: u32 = 32 * 1024;

/// An open connection.
pub(super) struct Connection {
    sender: SendRequest<Bytes>,
    wire: Arc<Wire>,
    /// Reads and writes until the connection is dropped.
    driver: AbortOnDropHandle<()>,
}

/// Why there is no response.
pub(super) enum Unanswered {
    /// The endpoint did not process the request: it may be sent again.
    NotProcessed(SendError),
    /// The endpoint may have processed it.
    Failed(SendError),
}

impl Connection {
    /// Exchanges the prefaces and starts the driver.
    pub(super) async fn open(stream: Stream) -> Result<Self, SendError> {
        let wire = Arc::new(Wire::new());
        let transport = Transport::new(stream, Arc::clone(&wire));
        let mut builder = Builder::new();
        builder
            .enable_push(false)
            // `status` reads header blocks one by one.
            .header_table_size(0)
            // Until the endpoint's own limit is known, so that it need not refuse any.
            .initial_max_send_streams(1)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(HEADER_LIST_MAX);
        let (sender, connection) = builder
            .handshake(transport)
            .await
            .map_err(|error| wire.unsent(&error))?;
        let ended = Arc::clone(&wire);
        let driver = tokio::spawn(async move {
            // Its error has gone to the requests that it failed.
            let _error = connection.await;
            ended.retire();
        });
        Ok(Self {
            sender,
            wire,
            driver: AbortOnDropHandle::new(driver),
        })
    }

    /// Sends a request and reads the response head.
    ///
    /// # Cancel safety
    /// Dropping the future resets the stream.
    pub(super) async fn send(
        &self,
        request: &Request<Full<Bytes>>,
        origin: &Origin,
    ) -> Result<Response<Body>, Unanswered> {
        let body = whole(request.body()).await;
        let mut sender = self.sender.clone();
        let (response, mut upload) = sender
            .send_request(head(request, origin), body.is_empty())
            .map_err(|error| Unanswered::NotProcessed(self.wire.unsent(&error)))?;
        let id = response.stream_id().as_u32();
        let mut stream = OpenStream::new(&self.wire, id);
        if !body.is_empty() {
            // An error here fails the response, too. The body is not copied: h2 sends from it as windows allow.
            let _told_by_the_response = upload.send_data(body, true);
        }
        drop(upload);
        let response = response.await;
        stream.is_over = true;
        match response {
            Ok(response) => Ok(response.map(|body| Body(Some((body, stream))))),
            Err(error) => match self.wire.judge(id, &error) {
                Verdict::Answered(status) => {
                    let mut response = Response::new(Body(None));
                    *response.status_mut() = status;
                    Ok(response)
                }
                Verdict::NotProcessed(error) => Err(Unanswered::NotProcessed(error)),
                Verdict::Failed(error) => Err(Unanswered::Failed(error)),
            },
        }
    }

    /// Whether another request may be sent: neither has it ended, nor did the endpoint announce its end.
    pub(super) fn is_reusable(&self) -> bool {
        !self.wire.is_retired() && !self.driver.is_finished()
    }
}

/// A stream that is open; its end is reported to the budget of its connection.
struct OpenStream {
    wire: Arc<Wire>,
    id: u32,
    /// Given up before that, what was sent for it is not worth sending any more.
    is_over: bool,
}

impl OpenStream {
    fn new(wire: &Arc<Wire>, id: u32) -> Self {
        wire.open(id);
        Self {
            wire: Arc::clone(wire),
            id,
            is_over: false,
        }
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.wire.close(self.id, !self.is_over);
    }
}

/// The body of a response. Dropped before its end, its stream is reset.
pub(super) struct Body(Option<(RecvStream, OpenStream)>);

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        let Some((stream, _)) = &mut self.0 else {
            return Poll::Ready(None);
        };
        let data = ready!(stream.poll_data(context));
        match &data {
            Some(Ok(data)) => {
                // It fails only for more than came.
                let _never_fails = stream.flow_control().release_capacity(data.len());
            }
            // Trailers mean nothing here.
            Some(Err(_)) | None => self.0 = None,
        }
        Poll::Ready(data.map(|data| data.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.0
            .as_ref()
            .is_none_or(|(stream, _)| stream.is_end_stream())
    }
}

/// The head of a request as HTTP/2 has it.
fn head(request: &Request<Full<Bytes>>, origin: &Origin) -> Request<()> {
    let mut head = Request::new(());
    *head.method_mut() = request.method().clone();
    let mut parts = uri::Parts::default();
    parts.scheme = Some(origin.scheme.clone());
    parts.authority = Some(origin.authority.clone());
    parts.path_and_query = request.uri().path_and_query().cloned();
    if let Ok(uri) = Uri::from_parts(parts) {
        *head.uri_mut() = uri;
    }
    let headers = head.headers_mut();
    headers.clone_from(request.headers());
    // `:authority` takes the place of Host (RFC 9113 section 8.3.1).
    headers.remove(HOST);
    head
}

/// The bytes of a body, which has one piece at most.
async fn whole(body: &Full<Bytes>) -> Bytes {
    let frame = body.clone().frame().await;
    frame
        .and_then(|Ok(frame)| frame.into_data().ok())
        .unwrap_or_default()
}
