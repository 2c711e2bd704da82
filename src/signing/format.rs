//! The common parts of the families of schemes: the content they sign, the writing and the reading of headers.

use std::fmt;

use http::{HeaderMap, HeaderName};

use crate::domain::{DeliveryId, Timestamp};
use crate::signing::error::VerifyError;
use crate::signing::key::{Key, Signature};

/// The values that a signature may cover, and its headers may name. Has no `Debug`: bodies and URLs stay out of logs.
#[derive(Clone, Copy)]
pub struct SignInput<'a> {
    /// Given id, else event id; unescaped.
    pub id: &'a str,
    /// The delivery, for schemes that name it. Written out only for them.
    pub delivery_id: &'a DeliveryId,
    /// The event's type.
    pub event_type: &'a str,
    /// The endpoint's URL as configured.
    pub url: &'a str,
    /// The body as sent.
    pub body: &'a [u8],
    /// The wall clock at the attempt; signatures carry its whole seconds.
    pub at: Timestamp,
}

/// How a scheme signs, writes and reads. Holds no keys.
pub(super) trait Format: fmt::Debug + Send + Sync {
    /// Every header that [`write`](Self::write) sets.
    fn headers(&self) -> Vec<HeaderName>;

    /// The signature of a message under a key.
    fn signature(&self, key: &Key, message: &Message<'_>) -> Signature;

    /// Sets the headers. `signatures` are those of the live keys, the current one's first and always there; a scheme
    /// that carries one only takes that.
    fn write(
        &self,
        input: &SignInput<'_>,
        message: &Message<'_>,
        signatures: &mut dyn Iterator<Item = Signature>,
        headers: &mut HeaderMap,
    );

    /// Takes apart what [`write`](Self::write) set.
    fn read<'h>(&self, headers: &'h HeaderMap) -> Result<Received<'h>, VerifyError>;
}

/// The parts that a signature can cover, each as it is sent.
#[derive(Clone, Copy)]
pub(super) struct Message<'a> {
    /// The id, escaped.
    pub(super) id: &'a str,
    /// Unix seconds in decimal.
    pub(super) timestamp: &'a [u8],
    pub(super) body: &'a [u8],
    pub(super) url: &'a str,
}

/// The signature of a request, with the values beside it.
#[derive(Default)]
pub(super) struct Received<'h> {
    /// The id, in schemes that sign one.
    pub(super) id: Option<&'h str>,
    /// The timestamp, in schemes that have one, with the header it stands in.
    pub(super) timestamp: Option<(HeaderName, &'h str)>,
    /// The signatures as written, without what stands before each.
    pub(super) signatures: Vec<&'h str>,
}

/// The one value of a header, as text.
pub(super) fn single<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
) -> Result<&'h str, VerifyError> {
    let mut values = headers.get_all(name).iter();
    let value = values
        .next()
        .ok_or_else(|| VerifyError::MissingHeader(name.clone()))?;
    if values.next().is_some() {
        return Err(VerifyError::RepeatedHeader(name.clone()));
    }
    value
        .to_str()
        .map_err(|_| malformed(name, "visible ASCII characters"))
}

/// The error for a header that is there but not of this form.
pub(super) fn malformed(name: &HeaderName, expected: &str) -> VerifyError {
    VerifyError::MalformedHeader {
        name: name.clone(),
        expected: expected.to_owned(),
    }
}
