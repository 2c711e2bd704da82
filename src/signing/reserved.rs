//! Header names that belong to HTTP itself, to credentials or to proxies: neither a signature nor a configured header
//! may take one.

use http::HeaderName;

const NAMES: [&str; 18] = [
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "date",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-csrf-token",
    "x-real-ip",
];

const PREFIXES: [&str; 2] = ["proxy-", "x-forwarded-"];

/// Whether only sidehook may set this header.
pub(crate) fn is_reserved(name: &HeaderName) -> bool {
    let name = name.as_str();
    NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}
