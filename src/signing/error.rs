//! The errors of schemes, and of requests that are verified.

use http::HeaderName;

/// Why a scheme or its secret cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SigningError {
    /// The scheme, named here, signs with a secret and there is none.
    #[error("signature scheme {0} needs a secret")]
    NoSecret(&'static str),
    /// The secret of `standard` has another form.
    #[error(
        "the secret of scheme standard must be whsec_ followed by base64 (`sidehook secret` makes one); `key: text` takes any other as written"
    )]
    NotWhsec,
    /// The secret of `standard` decodes to this many bytes.
    #[error(
        "the secret of scheme standard must be whsec_ followed by the base64 of 24 to 64 bytes, found {0} bytes (`sidehook secret` makes one)"
    )]
    WhsecLength(usize),
    /// The prefix of `standard`, carried here, cannot begin a header name.
    #[error("prefix must be 1 to 32 of a-z 0-9 -, such as webhook or svix, found {0:?}")]
    Prefix(String),
    /// The same header would be written twice: by two schemes of one subscription, or by the two headers of `hmac`.
    #[error("the header {0} is written by more than one signature scheme or option")]
    SameHeader(HeaderName),
    /// No such digest.
    #[error("expected algorithm sha1, sha256 or sha512, found {0:?}")]
    Algorithm(String),
    /// No such text form.
    #[error("expected encoding hex or base64, found {0:?}")]
    Encoding(String),
    /// A header of `hmac` is no header name.
    #[error("{field} must be a header name (letters, digits and !#$%&'*+-.^_`|~), found {name:?}")]
    HeaderName {
        /// `header` or `timestamp_header`.
        field: &'static str,
        /// The name as written.
        name: String,
    },
    /// A header of `hmac` belongs to HTTP itself or to credentials.
    #[error("{field} cannot be {name:?}, which is not a header for signatures")]
    ReservedHeader {
        /// `header` or `timestamp_header`.
        field: &'static str,
        /// The name as written.
        name: String,
    },
    /// `{` without `}`.
    #[error("{field} has a {{ that is never closed")]
    UnclosedPlaceholder {
        /// `signed` or `value`.
        field: &'static str,
    },
    /// A placeholder that is not known in this field.
    #[error("{field} has the unknown placeholder {{{name}}}, expected one of {expected}")]
    UnknownPlaceholder {
        /// `signed` or `value`.
        field: &'static str,
        /// The text between the braces.
        name: String,
        /// Those that are known.
        expected: &'static str,
    },
    /// A placeholder without which the field is useless.
    #[error("{field} must contain {placeholder}")]
    MissingPlaceholder {
        /// `signed` or `value`.
        field: &'static str,
        /// The placeholder, braces included.
        placeholder: &'static str,
    },
    /// `value` has one placeholder twice.
    #[error("value may contain {0} only once")]
    RepeatedPlaceholder(&'static str),
    /// `value` has two placeholders without text between them, so it could not be taken apart.
    #[error("value needs text between {0} and {1}")]
    AdjacentPlaceholders(&'static str, &'static str),
    /// `value` has text that a header cannot carry as it is.
    #[error("value must be visible ASCII characters, with spaces only in between")]
    ValueText,
    /// The timestamp is signed but not sent.
    #[error(
        "signed contains {{timestamp}}, so value must contain it too or timestamp_header must name a header for it"
    )]
    UnsentTimestamp,
}

/// Why a request does not verify.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// There is nothing to verify with.
    #[error("verifying needs at least one secret")]
    NoSecret,
    /// A secret or an option of the scheme does not fit.
    #[error(transparent)]
    Scheme(#[from] SigningError),
    /// A header of the scheme is not there.
    #[error("missing header {0}")]
    MissingHeader(HeaderName),
    /// A header of the scheme is there more than once, so that receivers could differ in which they take.
    #[error("header {0} is there more than once")]
    RepeatedHeader(HeaderName),
    /// A header of the scheme has another form.
    #[error("header {name} is malformed: expected {expected}")]
    MalformedHeader {
        /// The header.
        name: HeaderName,
        /// Its form.
        expected: String,
    },
    /// No signature is one of these secrets over this body.
    #[error("no signature matches: the secret or the body is not the one that was signed")]
    NoMatch,
    /// The signature is right, but its timestamp lies further back than the tolerance, by this many seconds.
    #[error("timestamp too old by {0} s")]
    TooOld(u64),
    /// The signature is right, but its timestamp lies further ahead than the tolerance, by this many seconds.
    #[error("timestamp too far ahead by {0} s")]
    TooNew(u64),
}
