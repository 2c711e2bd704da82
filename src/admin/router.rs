//! Finds the operation of a call.

use http::Method;
use percent_encoding::percent_decode_str;

use crate::admin::operation::{Operation, Scope};
use crate::admin::operations::all;

/// The result of looking up a method and a path.
pub(super) enum Found {
    /// An operation, with the segments that its path names.
    Operation(&'static Operation, Vec<String>),
    /// The path is known and has these methods, written as in `Allow`.
    Methods {
        allowed: String,
        /// Whether the path is open to everybody.
        is_open: bool,
    },
    /// Nothing.
    Nothing,
}

impl Found {
    /// Whether no token is needed.
    pub(super) fn is_open(&self) -> bool {
        match self {
            Self::Operation(operation, _) => operation.scope == Scope::Open,
            Self::Methods { is_open, .. } => *is_open,
            Self::Nothing => false,
        }
    }
}

/// Finds the operation; HEAD is GET. With `open_only` there are only those that are open to everybody.
pub(super) fn find(method: &Method, path: &str, open_only: bool) -> Found {
    let Some(segments) = decoded(path) else {
        return Found::Nothing;
    };
    let mut allowed = Vec::new();
    let mut is_open = false;
    for operation in all() {
        if open_only && operation.scope != Scope::Open {
            continue;
        }
        let Some(named) = fit(operation.path, &segments) else {
            continue;
        };
        let is_get = operation.method == Method::GET;
        if operation.method == *method || (is_get && method == Method::HEAD) {
            return Found::Operation(operation, named);
        }
        allowed.push(operation.method.as_str());
        if is_get {
            allowed.push("HEAD");
        }
        is_open |= operation.scope == Scope::Open;
    }
    match allowed.is_empty() {
        true => Found::Nothing,
        false => Found::Methods {
            allowed: allowed.join(", "),
            is_open,
        },
    }
}

/// The segments of a path, decoded; `None` if one is not UTF-8.
fn decoded(path: &str) -> Option<Vec<String>> {
    let segments = path.strip_prefix('/')?.split('/');
    let decode = |segment| Some(percent_decode_str(segment).decode_utf8().ok()?.into_owned());
    segments.map(decode).collect()
}

/// The segments that the template names, if the path fits it.
fn fit(template: &str, segments: &[String]) -> Option<Vec<String>> {
    let mut named = Vec::new();
    let mut segments = segments.iter();
    for part in template.strip_prefix('/')?.split('/') {
        let segment = segments.next()?;
        if part.starts_with('{') && !segment.is_empty() {
            named.push(segment.clone());
        } else if part != segment {
            return None;
        }
    }
    segments.next().is_none().then_some(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(method: Method, path: &str) -> String {
        match find(&method, path, false) {
            Found::Operation(operation, named) => format!("{} {}", operation.id, named.join(" ")),
            Found::Methods { allowed, .. } => allowed,
            Found::Nothing => "nothing".to_owned(),
        }
    }

    #[test]
    fn named_segments_are_decoded() {
        assert_eq!(
            found(Method::GET, "/v1/subscriptions/a%2Db"),
            "getSubscription a-b"
        );
        assert_eq!(
            found(Method::GET, "/v1/subscriptions/a%2Fb"),
            "getSubscription a/b"
        );
        assert_eq!(found(Method::HEAD, "/v1/events"), "listEvents ");
        assert_eq!(
            found(Method::GET, "/v1/deliveries/evt_1.a"),
            "getDelivery evt_1.a"
        );
    }

    #[test]
    fn a_path_that_is_not_there_is_nothing() {
        for path in [
            "/",
            "",
            "*",
            "/v1",
            "/v1/events/",
            "/v1/events/a/b",
            "//v1/events",
            "/v1/events/%ff",
            "/v2/events",
        ] {
            assert_eq!(found(Method::GET, path), "nothing", "{path}");
        }
    }

    #[test]
    fn another_method_learns_which_there_are() {
        assert_eq!(found(Method::POST, "/v1/events"), "GET, HEAD");
        assert_eq!(found(Method::OPTIONS, "/metrics"), "GET, HEAD");
    }

    #[test]
    fn only_open_paths_are_there_for_scrapers_from_outside() {
        for path in ["/metrics", "/healthz", "/readyz"] {
            assert!(find(&Method::GET, path, true).is_open(), "{path}");
            assert!(find(&Method::PUT, path, true).is_open(), "{path}");
        }
        for operation in all().iter().filter(|it| it.scope != Scope::Open) {
            let found = find(&operation.method, operation.path, true);
            assert!(matches!(found, Found::Nothing), "{}", operation.path);
        }
    }
}
