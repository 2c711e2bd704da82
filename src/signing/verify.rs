//! Verifying a received request: the other direction, for `sidehook verify`, `listen` and `demo`.

use http::HeaderMap;
use subtle::Choice;

use crate::domain::{Secret, Timestamp};
use crate::signing::error::VerifyError;
use crate::signing::format::{Message, malformed};
use crate::signing::scheme::Scheme;

/// Verifies a received request against one scheme: any of its signatures by any of the secrets will do.
///
/// `url` is needed by schemes that sign it. A timestamp, in schemes that sign one, may differ from `now` by
/// `tolerance_secs` (0 or more) in both directions; `i64::MAX` accepts any. The signature is judged first, so that a
/// complaint about the timestamp means that everything else is right.
///
/// # Errors
/// See [`VerifyError`].
pub fn verify(
    scheme: &Scheme,
    secrets: &[Secret],
    headers: &HeaderMap,
    body: &[u8],
    url: &str,
    now: Timestamp,
    tolerance_secs: i64,
) -> Result<(), VerifyError> {
    if secrets.is_empty() {
        return Err(VerifyError::NoSecret);
    }
    let format = scheme.format()?;
    let received = format.read(headers)?;
    let seconds = match &received.timestamp {
        Some((name, text)) => {
            Some(unix_seconds(text).ok_or_else(|| malformed(name, "unix seconds"))?)
        }
        None => None,
    };
    let message = Message {
        id: received.id.unwrap_or_default(),
        timestamp: received
            .timestamp
            .as_ref()
            .map_or(b"", |(_, text)| text.as_bytes()),
        body,
        url,
    };
    let mut matched = Choice::from(0);
    for secret in secrets {
        let expected = format.signature(&scheme.key(secret)?, &message);
        for signature in &received.signatures {
            matched |= expected.is(signature.as_bytes());
        }
    }
    if !bool::from(matched) {
        return Err(VerifyError::NoMatch);
    }
    seconds.map_or(Ok(()), |seconds| {
        check_age(seconds, now.as_secs(), tolerance_secs)
    })
}

/// Reads digits only: no sign, no space, and no more of them than fit.
fn unix_seconds(text: &str) -> Option<i64> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

fn check_age(seconds: i64, now: i64, tolerance: i64) -> Result<(), VerifyError> {
    let tolerance = tolerance.max(0).unsigned_abs();
    let excess = now
        .abs_diff(seconds)
        .checked_sub(tolerance)
        .filter(|excess| *excess > 0);
    match excess {
        None => Ok(()),
        Some(excess) if seconds < now => Err(VerifyError::TooOld(excess)),
        Some(excess) => Err(VerifyError::TooNew(excess)),
    }
}
