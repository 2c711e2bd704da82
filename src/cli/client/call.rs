//! Calls of an admin API, within bounds of time and memory.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response};
use http_body_util::Full;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;

use crate::cli::client::error::{CallError, Refusal};
use crate::cli::client::trust::check_listener;
use crate::cli::client::wire::{Body, begin};
use crate::cli::target::Target;
use crate::domain::Secret;

/// Connecting and the whole answer have this long, unless a call is known to take longer.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// The most that is read of an answer: the largest is an event with its body.
const ANSWER_MIB_MAX: usize = 64;
/// The most that is read of a refusal.
const REFUSAL_MIB_MAX: usize = 1;
/// The characters of a path or query that need no escape. Source: RFC 3986, section 2.3.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Escapes a segment of a path, or a value of a query.
pub(crate) fn escaped(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).to_string()
}

/// The parameters of a query; those without a value are left out.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query(Vec<(&'static str, String)>);

impl Query {
    /// Adds a parameter unless it has no value.
    pub(crate) fn with(mut self, name: &'static str, value: Option<impl ToString>) -> Self {
        self.set(name, value);
        self
    }

    pub(super) fn set(&mut self, name: &'static str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.0.retain(|(known, _)| *known != name);
            self.0.push((name, value.to_string()));
        }
    }

    /// The path with the query behind it.
    fn behind(&self, path: &str) -> String {
        let mut uri = path.to_owned();
        for (index, (name, value)) in self.0.iter().enumerate() {
            uri.push(if index == 0 { '?' } else { '&' });
            uri.push_str(&format!("{name}={}", escaped(value)));
        }
        uri
    }
}

/// A sidecar, and what opens it.
#[derive(Debug, Clone)]
pub(crate) struct Sidecar {
    /// Where.
    pub(crate) target: Target,
    /// With which token; `None` if without.
    pub(crate) token: Option<Secret>,
    /// The origin of the target; `None` if it was given, or if it answered.
    pub(crate) origin: Option<String>,
    /// The store of the sidecar that the token is for: only its user may get it. `None`: any listener may, as the user
    /// named the target.
    pub(crate) store: Option<PathBuf>,
}

/// The admin API of one sidecar.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    sidecar: Sidecar,
    patience: Duration,
}

impl Client {
    /// That of a sidecar.
    pub(crate) fn of(sidecar: Sidecar) -> Self {
        Self {
            sidecar,
            patience: PATIENCE,
        }
    }

    /// The same, for calls that take longer than usual.
    pub(crate) fn patient(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Asks for something.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub(crate) async fn get(&self, path: &str, query: &Query) -> anyhow::Result<Value> {
        self.call(Method::GET, &query.behind(path), None).await
    }

    /// Has something done.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub(crate) async fn post(&self, path: &str, body: &impl Serialize) -> anyhow::Result<Value> {
        let body = serde_json::to_value(body)?;
        self.call(Method::POST, path, Some(&body)).await
    }

    /// Changes something.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub(crate) async fn patch(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.call(Method::PATCH, path, Some(body)).await
    }

    /// Ends something.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub(crate) async fn delete(&self, path: &str) -> anyhow::Result<Value> {
        self.call(Method::DELETE, path, None).await
    }

    async fn call(&self, method: Method, uri: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let request = self.request(method, uri, body)?;
        let answer = async {
            let response = self.begun(request).await?;
            let body = whole(response.into_body(), ANSWER_MIB_MAX).await?;
            let body = if body.is_empty() { b"null" } else { &body[..] };
            serde_json::from_slice(body).map_err(|error| CallError::Foreign(Some(error)))
        };
        let seconds = self.patience.as_secs();
        let answer = timeout(self.patience, answer).await;
        let late = |_| CallError::Timeout {
            target: self.sidecar.target.clone(),
            seconds,
        };
        Ok(answer.map_err(late)??)
    }

    /// Sends a request by a connection of its own, unless a token would go to a stranger; and refuses an answer that is no success.
    pub(super) async fn begun(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Body>, CallError> {
        if let (Some(_), Some(store)) = (&self.sidecar.token, &self.sidecar.store) {
            check_listener(&self.sidecar.target, store).await?;
        }
        let response = begin(&self.sidecar.target, request).await?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = whole(response.into_body(), REFUSAL_MIB_MAX).await?;
        Err(CallError::Refused(Refusal::read(status, &body)))
    }

    pub(super) fn request(
        &self,
        method: Method,
        uri: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Request<Full<Bytes>>> {
        let bytes = body.map_or_else(Bytes::new, |body| body.to_string().into());
        let mut request = Request::new(Full::new(bytes));
        *request.method_mut() = method;
        *request.uri_mut() = uri.parse().context("not an address of the admin API")?;
        let json = HeaderValue::from_static("application/json");
        let headers = request.headers_mut();
        headers.insert(ACCEPT, json.clone());
        if body.is_some() {
            headers.insert(CONTENT_TYPE, json);
        }
        if let Some(token) = &self.sidecar.token {
            let bearer = [b"Bearer ", token.expose()].concat();
            let mut bearer = HeaderValue::from_bytes(&bearer)
                .context("the token is not one: it has characters that no header may have")?;
            bearer.set_sensitive(true);
            headers.insert(AUTHORIZATION, bearer);
        }
        Ok(request)
    }
}

/// Reads an answer as what it should be.
///
/// # Errors
/// It is something else.
pub(crate) fn read<T: DeserializeOwned>(value: &Value) -> Result<T, CallError> {
    T::deserialize(value).map_err(|error| CallError::Foreign(Some(error)))
}

async fn whole(mut body: Body, mib: usize) -> Result<Vec<u8>, CallError> {
    let mut bytes = Vec::new();
    while let Some(piece) = body.next().await? {
        if bytes.len() + piece.len() > mib * 1024 * 1024 {
            return Err(CallError::TooLarge { mib });
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::chown;

    use tokio::io::AsyncWriteExt as _;
    use tokio::net::UnixListener;

    use super::*;

    /// Also of a client that was let in before: the sidecar may have stopped, and another have taken its place. Only root
    /// can make files of others.
    #[tokio::test]
    async fn no_connection_takes_a_token_to_a_stranger() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let client = Client::of(Sidecar {
            target: Target::Unix(path.clone()),
            token: Some(Secret::new(b"token".to_vec())),
            origin: None,
            store: Some(folder.path().to_owned()),
        });
        let nothing = Query::default();
        let answered = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nnull";
            stream.write_all(answer).await.unwrap();
            stream
        };
        let (answer, _stream) = tokio::join!(client.get("/v1/status", &nothing), answered);
        assert_eq!(answer.unwrap(), Value::Null);
        chown(&path, Some(4711), None).unwrap();
        for error in [
            client.get("/v1/status", &nothing).await.unwrap_err(),
            client.stream().await.unwrap_err(),
        ] {
            assert!(
                matches!(error.downcast_ref(), Some(CallError::Stranger(_))),
                "{error}"
            );
        }
        let called = timeout(Duration::from_millis(100), listener.accept());
        assert!(called.await.is_err());
    }

    #[test]
    fn queries_are_escaped_and_have_only_what_is_given() {
        let query = Query::default()
            .with("type", Some("a b&c"))
            .with("since", None::<String>)
            .with("limit", Some(7));
        assert_eq!(
            query.behind("/v1/events"),
            "/v1/events?type=a%20b%26c&limit=7"
        );
        assert_eq!(Query::default().behind("/v1/events"), "/v1/events");
    }
}
