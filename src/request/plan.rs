//! The request of an attempt: prepared when a configuration is loaded, completed per attempt.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, USER_AGENT};
use http::uri::InvalidUri;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use http_body_util::Full;
use url::Url;

use crate::domain::{DeliveryId, Event, EventHead, SubscriptionName, Timestamp};
use crate::signing::{SignInput, Signer};

const AGENT: &str = concat!("sidehook/", env!("CARGO_PKG_VERSION"));
const JSON: &str = "application/json";
const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// Why a URL cannot be requested although it is one.
#[derive(Debug, thiserror::Error)]
#[error("expected a URL that fits a request: {0}")]
pub struct TargetError(#[from] InvalidUri);

/// The target of requests to a URL.
///
/// # Errors
/// HTTP has stricter rules than URLs, above all about their length: at most 65,534 bytes.
pub(crate) fn target(url: &Url) -> Result<Uri, TargetError> {
    Ok(Uri::try_from(url.as_str())?)
}

/// Everything of a request that is the same for each attempt of a subscription.
#[derive(Clone)]
pub(crate) struct RequestPlan {
    name: SubscriptionName,
    method: Method,
    uri: Uri,
    url: Url,
    /// All headers that every request has: the static ones with their values, those set per attempt still empty, so
    /// that setting them neither grows nor rearranges the map.
    headers: HeaderMap,
    forward: Vec<HeaderName>,
    signer: Signer,
}

impl RequestPlan {
    /// Prepares target and headers. `headers` and `forward` have passed
    /// [`check_header_name`](super::check_header_name). `User-Agent` and `Accept-Encoding` are sidehook's unless one
    /// of them sets it; where both name a header, the static value stands.
    ///
    /// # Errors
    /// The URL cannot be requested.
    pub(crate) fn new(
        name: SubscriptionName,
        method: Method,
        url: &Url,
        headers: Vec<(HeaderName, HeaderValue)>,
        forward: Vec<HeaderName>,
        signer: Signer,
    ) -> Result<Self, TargetError> {
        let mut template = HeaderMap::new();
        for (name, value) in headers {
            template.append(name, value);
        }
        let managed = || {
            let signatures = signer.headers();
            signatures.chain([CONTENT_TYPE, CONTENT_LENGTH])
        };
        for name in managed() {
            template.insert(name, HeaderValue::from_static(""));
        }
        let forward = forward
            .into_iter()
            .filter(|name| !template.contains_key(name))
            .collect();
        template
            .entry(USER_AGENT)
            .or_insert(HeaderValue::from_static(AGENT));
        template
            .entry(ACCEPT_ENCODING)
            .or_insert(HeaderValue::from_static("identity"));
        Ok(Self {
            name,
            method,
            uri: target(url)?,
            url: url.clone(),
            headers: template,
            forward,
            signer,
        })
    }

    /// The request of one attempt, signed at `wall`. Its body is the event's memory, not a copy.
    #[must_use]
    pub(crate) fn build(&self, event: &Event, wall: Timestamp) -> Request<Full<Bytes>> {
        let mut headers = self.headers.clone();
        self.forward_headers(&event.head, &mut headers);
        headers.insert(CONTENT_TYPE, content_type(&event.head));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(event.body.len()));
        self.sign(event, wall, &mut headers);

        let mut request = Request::new(Full::new(event.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = headers;
        request
    }

    /// Passes on the event's headers that the plan names; a header that came several times goes on several times.
    fn forward_headers(&self, head: &EventHead, headers: &mut HeaderMap) {
        for name in &self.forward {
            let kept = head
                .headers
                .iter()
                .filter(|kept| *kept.name == *name.as_str());
            let mut values =
                kept.filter_map(|kept| HeaderValue::from_maybe_shared(kept.value.clone()).ok());
            if let Some(first) = values.next() {
                headers.insert(name, first);
            }
            for value in values {
                headers.append(name, value);
            }
        }
    }

    fn sign(&self, event: &Event, wall: Timestamp, headers: &mut HeaderMap) {
        let id = match &event.head.given_id {
            Some(given) => Cow::Borrowed(given.as_str()),
            None => Cow::Owned(event.head.id.to_string()),
        };
        let delivery_id = DeliveryId {
            event: event.head.id,
            subscription: self.name.clone(),
        };
        let input = SignInput {
            id: &id,
            delivery_id: &delivery_id,
            event_type: event.head.event_type.as_str(),
            url: self.url.as_str(),
            body: &event.body,
            at: wall,
        };
        self.signer.sign(&input, headers);
    }
}

/// Shows neither URL nor headers, which may hold secrets.
impl fmt::Debug for RequestPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestPlan")
            .field("name", &self.name)
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

/// The event's Content-Type, that of bytes if it has none; the usual one without a copy.
fn content_type(head: &EventHead) -> HeaderValue {
    match &*head.content_type {
        JSON => HeaderValue::from_static(JSON),
        "" => OCTETS,
        other => HeaderValue::from_str(other).unwrap_or(OCTETS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{EventId, KeptHeader, Secret};
    use crate::signing::{Scheme, verify};
    use http_body_util::BodyExt as _;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
    const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn event(headers: &[(&str, &'static str)]) -> Event {
        let kept = headers.iter().map(|(name, value)| KeptHeader {
            name: (*name).into(),
            value: Bytes::from_static(value.as_bytes()),
        });
        Event {
            head: EventHead {
                id: EventId::new(NOW, [7; 10]),
                given_id: None,
                event_type: "invoice.paid".parse().unwrap(),
                key: None,
                source: None,
                subject: None,
                content_type: "application/json; charset=utf-8".into(),
                headers: kept.collect(),
                accepted_at: NOW,
            },
            body: Bytes::from_static(br#"{"a":1}"#),
        }
    }

    fn signer(schemes: &[Scheme]) -> Signer {
        let secret = Secret::new(KEY.into());
        Signer::new(schemes, Some(&secret), &[]).unwrap()
    }

    fn plan(headers: &[(&'static str, &'static str)], forward: &[&'static str]) -> RequestPlan {
        RequestPlan::new(
            "billing".parse().unwrap(),
            Method::POST,
            &Url::parse("https://partner.example.com:8443/hooks?a=1").unwrap(),
            headers
                .iter()
                .map(|(name, value)| {
                    (
                        HeaderName::from_static(name),
                        HeaderValue::from_static(value),
                    )
                })
                .collect(),
            forward
                .iter()
                .map(|name| HeaderName::from_static(name))
                .collect(),
            signer(&[Scheme::standard()]),
        )
        .unwrap()
    }

    fn values<'h>(headers: &'h HeaderMap, name: &str) -> Vec<&'h str> {
        let all = headers.get_all(name).iter();
        all.map(|value| value.to_str().unwrap()).collect()
    }

    #[test]
    fn a_request_has_the_managed_headers_once_and_nothing_else() {
        let request = plan(&[], &[]).build(&event(&[("x-other", "1")]), NOW);
        let headers = request.headers();
        assert_eq!(request.method(), Method::POST);
        assert_eq!(request.uri(), "https://partner.example.com:8443/hooks?a=1");
        assert_eq!(headers[CONTENT_TYPE], "application/json; charset=utf-8");
        assert_eq!(headers[CONTENT_LENGTH], "7");
        assert_eq!(headers[USER_AGENT], AGENT);
        assert_eq!(headers[ACCEPT_ENCODING], "identity");
        assert_eq!(headers.len(), 7, "{headers:?}");
    }

    #[tokio::test]
    async fn the_body_is_the_events_own_memory_and_verifies() {
        let event = event(&[]);
        let request = plan(&[], &[]).build(&event, NOW);
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        assert_eq!(body.as_ptr(), event.body.as_ptr());
        let secrets = [Secret::new(KEY.into())];
        assert_eq!(
            verify(
                &Scheme::standard(),
                &secrets,
                &head.headers,
                &body,
                "",
                NOW,
                0
            ),
            Ok(())
        );
    }

    #[test]
    fn the_id_is_the_given_one_else_the_events() {
        let plan = plan(&[], &[]);
        let mut event = event(&[]);
        let id = |event: &Event| plan.build(event, NOW).headers()["webhook-id"].clone();
        assert_eq!(id(&event), event.head.id.to_string());
        event.head.given_id = Some("order.7".parse().unwrap());
        assert_eq!(id(&event), "order%2E7");
    }

    #[test]
    fn schemes_see_the_configured_url_and_the_delivery() {
        let url = Url::parse("https://partner.example.com/hooks").unwrap();
        let plan = RequestPlan::new(
            "billing".parse().unwrap(),
            Method::PUT,
            &url,
            Vec::new(),
            Vec::new(),
            signer(&[Scheme::Opentrain]),
        )
        .unwrap();
        let event = event(&[]);
        let request = plan.build(&event, NOW);
        let delivery = format!("{}.billing", event.head.id);
        assert_eq!(request.method(), Method::PUT);
        assert_eq!(request.headers()["x-opentrain-delivery"], *delivery);
    }

    #[test]
    fn static_headers_are_sent_as_configured_also_twice() {
        let request =
            plan(&[("x-a", "1"), ("x-a", "2"), ("x-b", "3")], &[]).build(&event(&[]), NOW);
        assert_eq!(values(request.headers(), "x-a"), ["1", "2"]);
        assert_eq!(values(request.headers(), "x-b"), ["3"]);
    }

    #[test]
    fn only_named_headers_of_the_application_are_forwarded() {
        let event = event(&[("x-tenant", "a"), ("x-trace", "t"), ("x-tenant", "b")]);
        let request = plan(&[], &["x-tenant", "x-absent"]).build(&event, NOW);
        assert_eq!(values(request.headers(), "x-tenant"), ["a", "b"]);
        assert!(!request.headers().contains_key("x-trace"));
        assert!(!request.headers().contains_key("x-absent"));
    }

    #[test]
    fn a_forwarded_header_replaces_neither_managed_nor_static_ones() {
        let managed = [
            "content-type",
            "content-length",
            "webhook-id",
            "webhook-timestamp",
            "webhook-signature",
        ];
        let evil: Vec<_> = managed.iter().map(|name| (*name, "evil")).collect();
        let kept = [evil.as_slice(), &[("x-a", "evil")]].concat();
        let names = [managed.as_slice(), &["x-a"]].concat();
        let plan = plan(&[("x-a", "1")], &names);
        let with = plan.build(&event(&kept), NOW);
        let without = plan.build(&event(&[]), NOW);
        assert_eq!(with.headers(), without.headers());
        assert_eq!(values(with.headers(), "x-a"), ["1"]);
    }

    #[test]
    fn a_static_header_replaces_no_managed_one() {
        let plan = plan(&[("content-length", "0"), ("webhook-id", "evil")], &[]);
        let request = plan.build(&event(&[]), NOW);
        assert_eq!(values(request.headers(), "content-length"), ["7"]);
        assert_eq!(values(request.headers(), "webhook-id").len(), 1);
        assert_ne!(request.headers()["webhook-id"], "evil");
    }

    #[test]
    fn user_agent_is_sidehooks_unless_configured_or_forwarded() {
        let agent = |plan: RequestPlan, event: &Event| {
            let request = plan.build(event, NOW);
            let agents = values(request.headers(), "user-agent");
            assert_eq!(agents.len(), 1);
            agents[0].to_owned()
        };
        let curl = event(&[("user-agent", "curl/8")]);
        assert_eq!(agent(plan(&[], &[]), &curl), AGENT);
        assert_eq!(
            agent(plan(&[("user-agent", "OpenTrain/1")], &[]), &curl),
            "OpenTrain/1"
        );
        assert_eq!(agent(plan(&[], &["user-agent"]), &curl), "curl/8");
        assert_eq!(agent(plan(&[], &["user-agent"]), &event(&[])), AGENT);
    }

    #[test]
    fn an_empty_content_type_and_one_that_no_header_can_carry_are_sent_as_bytes() {
        for content_type in ["", "text/\nplain"] {
            let mut event = event(&[]);
            event.head.content_type = content_type.into();
            let request = plan(&[], &[]).build(&event, NOW);
            assert_eq!(request.headers()[CONTENT_TYPE], "application/octet-stream");
        }
    }

    #[test]
    fn an_empty_body_has_a_length_too() {
        let mut event = event(&[]);
        event.body = Bytes::new();
        let request = plan(&[], &[]).build(&event, NOW);
        assert_eq!(request.headers()[CONTENT_LENGTH], "0");
    }

    #[test]
    fn a_url_that_is_too_long_for_a_request_is_refused() {
        let url = Url::parse(&format!("https://a.example/{}", "x".repeat(70_000))).unwrap();
        let error = target(&url).unwrap_err().to_string();
        assert!(
            error.starts_with("expected a URL that fits a request: "),
            "{error}"
        );
    }
}
