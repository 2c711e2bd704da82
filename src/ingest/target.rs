//! Method and path: which requests are posts of events, and the type in the path.

use std::borrow::Cow;

use http::Method;
use http::request::Parts;
use percent_encoding::percent_decode_str;

use crate::ingest::refusal::Refusal;

/// The type in the path, percent-decoded; `None` for `/events` alone.
///
/// # Errors
/// Another path (404), another method (405), bytes that are not percent-encoded as they should be (400), a type that is
/// not text, or begins or ends with a slash, as a URL does that was put together wrongly (422).
pub(super) fn event_type(parts: &Parts) -> Result<Option<Cow<'_, str>>, Refusal> {
    let rest = match parts.uri.path().strip_prefix("/events") {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => rest,
        _ => return Err(Refusal::NoSuchPath),
    };
    if parts.method != Method::POST {
        return Err(Refusal::Method);
    }
    let Some(rest) = rest.strip_prefix('/') else {
        return Ok(None);
    };
    if rest.starts_with('/') || rest.ends_with('/') {
        let message = "expected a path such as /events/invoice.paid, without / at the beginning or end of the type (%2F if it is meant)";
        return Err(Refusal::invalid("type", message));
    }
    decode(rest).map(Some)
}

fn decode(encoded: &str) -> Result<Cow<'_, str>, Refusal> {
    let mut escapes = encoded.split('%').skip(1);
    let is_escape = |text: &str| {
        let digits = text.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if !escapes.all(is_escape) {
        return Err(Refusal::PercentEncoding);
    }
    percent_decode_str(encoded)
        .decode_utf8()
        .map_err(|_| Refusal::invalid("type", "expected visible ASCII characters only"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(method: Method, target: &str) -> Result<Option<String>, Refusal> {
        let request = http::Request::builder().method(method).uri(target);
        let (parts, ()) = request.body(()).unwrap().into_parts();
        event_type(&parts).map(|found| found.map(Cow::into_owned))
    }

    fn post(target: &str) -> Result<Option<String>, Refusal> {
        read(Method::POST, target)
    }

    #[test]
    fn all_the_rest_of_the_path_is_the_type() {
        assert_eq!(post("/events").unwrap(), None);
        assert_eq!(
            post("/events/invoice.paid").unwrap().as_deref(),
            Some("invoice.paid")
        );
        assert_eq!(post("/events/a/b:c?x=y").unwrap().as_deref(), Some("a/b:c"));
        assert_eq!(
            post("/events/a%2Fb%20c%25").unwrap().as_deref(),
            Some("a/b c%")
        );
        assert_eq!(
            post("/events/").unwrap().as_deref(),
            Some(""),
            "an empty type, said so later"
        );
        assert_eq!(
            post("http://localhost/events/a").unwrap().as_deref(),
            Some("a")
        );
    }

    #[test]
    fn a_slash_before_or_behind_the_type_is_a_mistake() {
        for target in ["/events/a/", "/events//a", "/events//", "/events/a/b/?x=y"] {
            assert!(matches!(post(target), Err(Refusal::Invalid(_))), "{target}");
        }
        assert_eq!(post("/events/a%2F").unwrap().as_deref(), Some("a/"));
    }

    #[test]
    fn other_paths_do_not_exist() {
        for target in [
            "/",
            "/event",
            "/eventsx",
            "/v1/events",
            "/Events",
            "//events",
        ] {
            assert!(matches!(post(target), Err(Refusal::NoSuchPath)), "{target}");
        }
    }

    #[test]
    fn other_methods_are_not_allowed() {
        for method in [Method::GET, Method::PUT, Method::HEAD, Method::OPTIONS] {
            assert!(matches!(read(method, "/events"), Err(Refusal::Method)));
        }
    }

    #[test]
    fn broken_percent_encoding_is_malformed() {
        for target in ["/events/%", "/events/a%2", "/events/%zz", "/events/%2f%"] {
            assert!(
                matches!(post(target), Err(Refusal::PercentEncoding)),
                "{target}"
            );
        }
        assert!(matches!(post("/events/%ff"), Err(Refusal::Invalid(_))));
    }
}
