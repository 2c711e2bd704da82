//! The certificates that an endpoint's own CA file names: read from PEM once, when the configuration is loaded.
//!
//! PEM is read generously, as people paste it: text around the certificates, indentation, line ends of any kind, all in one
//! line, line ends written as `\n`, a byte order mark. A damaged certificate is an error that says which one it is.
//! Source: RFC 7468.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;

use crate::egress::certificate;

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// The possible labels of a certificate: as usual, as in old files, and as OpenSSL writes one with its trust.
const LABELS: [&str; 3] = ["CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE"];

/// Wrong certificates that are named at most.
const FLAWS_MAX: usize = 3;

/// The most characters of a label or subject in a message.
const SHOWN_MAX: usize = 64;

/// Whether it is padded is no reason to refuse a certificate.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The only roots that an endpoint is trusted by. Cheap to clone; equal to others of the same file content.
#[derive(Clone)]
pub struct Roots(Arc<Inner>);

struct Inner {
    pem: Box<[u8]>,
    store: Arc<RootCertStore>,
}

/// Why the trusted roots cannot be read from a file. Contains nothing of the file but labels and subjects.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RootsError {
    /// There is no certificate in it; carries what is there instead.
    #[error("has no certificates, expected PEM with BEGIN CERTIFICATE{0}")]
    None(String),
    /// Some certificates are wrong; carries which, and why.
    #[error("{0}")]
    Wrong(String),
}

impl Roots {
    /// Reads all certificates of a PEM file.
    ///
    /// # Errors
    /// [`RootsError`]: there is none, or one of them is wrong.
    pub fn read(pem: &[u8]) -> Result<Self, RootsError> {
        let text = String::from_utf8_lossy(pem);
        let found = certificates(&text);
        if found.is_empty() {
            return Err(RootsError::None(instead(pem, &text)));
        }
        let mut store = RootCertStore::empty();
        let mut wrong = Vec::new();
        for (index, found) in found.into_iter().enumerate() {
            let added = found.and_then(|der| add(der, &mut store));
            if let Err(flaw) = added {
                wrong.push(format!("certificate {}{flaw}", index + 1));
            }
        }
        if wrong.is_empty() {
            let (pem, store) = (pem.into(), Arc::new(store));
            return Ok(Self(Arc::new(Inner { pem, store })));
        }
        let more = wrong.len().saturating_sub(FLAWS_MAX);
        wrong.truncate(FLAWS_MAX);
        if more > 0 {
            wrong.push(format!("and {more} more"));
        }
        Err(RootsError::Wrong(wrong.join("; ")))
    }

    /// The file as it was read.
    #[must_use]
    pub fn pem(&self) -> &[u8] {
        &self.0.pem
    }

    pub(super) fn store(&self) -> Arc<RootCertStore> {
        Arc::clone(&self.0.store)
    }
}

impl PartialEq for Roots {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.pem == other.0.pem
    }
}

impl Eq for Roots {}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.store.len();
        f.debug_struct("Roots").field("count", &count).finish()
    }
}

/// An error in a certificate. Display goes on behind its number.
#[derive(Debug, PartialEq, Eq)]
struct Flaw {
    subject: Option<String>,
    what: &'static str,
}

impl Flaw {
    /// Of a certificate of which at least so much is there.
    fn new(what: &'static str, der: &[u8]) -> Self {
        let subject = certificate::subject(der).map(|subject| shown(&subject));
        Self { subject, what }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(subject) = &self.subject {
            write!(f, " ({subject})")?;
        }
        write!(f, " {}", self.what)
    }
}

const NO_END: &str = "is cut: its line END CERTIFICATE is missing";
const NO_BEGIN: &str = "is cut: its line BEGIN CERTIFICATE is missing";
const NOT_BASE64: &str = "is damaged: expected nothing but base64 between BEGIN and END";
const INCOMPLETE: &str = "is incomplete: bytes are missing at its end";
const NO_CERTIFICATE: &str =
    "cannot be read as an X.509 certificate: copy it anew, or have it issued anew";

/// Every certificate that begins or ends in a text, in order.
fn certificates(text: &str) -> Vec<Result<Vec<u8>, Flaw>> {
    let mut found = Vec::new();
    let mut rest = text;
    // The label of a BEGIN that was read, and all that follows it.
    let mut open: Option<(&str, &str)> = None;
    while let Some(at) = rest.find(DASHES) {
        let marker = rest.get(at..).unwrap_or_default();
        let Some((kind, label, after)) = read_marker(marker) else {
            rest = marker.get(DASHES.len()..).unwrap_or_default();
            continue;
        };
        rest = after;
        let is_certificate = LABELS.contains(&label);
        let body = |all: &str| all.len() - marker.len();
        match (kind, open.take()) {
            (BEGIN, unfinished) => {
                if let Some((_, all)) = unfinished {
                    found.push(Err(cut(all.get(..body(all)).unwrap_or_default())));
                }
                open = is_certificate.then_some((label, after));
            }
            (_, Some((opened, all))) => {
                let body = all.get(..body(all)).unwrap_or_default();
                found.push(if opened == label {
                    decoded(body)
                } else {
                    Err(cut(body))
                });
            }
            (_, None) if is_certificate => found.push(Err(Flaw::new(NO_BEGIN, &[]))),
            (_, None) => {}
        }
    }
    if let Some((_, all)) = open {
        found.push(Err(cut(all)));
    }
    found
}

/// Splits a line `-----BEGIN LABEL-----` or `-----END LABEL-----` off: which of both, the label, what follows.
fn read_marker(text: &str) -> Option<(&'static str, &str, &str)> {
    let kind = [BEGIN, END]
        .into_iter()
        .find(|kind| text.starts_with(kind))?;
    let (label, after) = text.get(kind.len()..)?.split_once(DASHES)?;
    let is_label = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b' ';
    let is_label = !label.is_empty() && label.bytes().all(is_label);
    is_label.then_some((kind, label, after))
}

/// A certificate without its END, of which as much is shown as can be read.
fn cut(body: &str) -> Flaw {
    Flaw::new(NO_END, &readable(body))
}

fn decoded(body: &str) -> Result<Vec<u8>, Flaw> {
    let damaged = || Flaw::new(NOT_BASE64, &readable(body));
    BASE64.decode(plain(body)).map_err(|_| damaged())
}

/// The bytes of a text up to what is no base64.
fn readable(body: &str) -> Vec<u8> {
    let plain = plain(body);
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/".contains(byte);
    let count = plain.bytes().take_while(is_base64).count();
    let whole = plain.get(..count / 4 * 4).unwrap_or_default();
    BASE64.decode(whole).unwrap_or_default()
}

/// A text without its line ends, also written as `\n`, and without indentation.
fn plain(body: &str) -> String {
    let body = body.replace("\\r", "").replace("\\n", "");
    let is_kept = |character: &char| !character.is_whitespace();
    body.chars().filter(is_kept).collect()
}

fn add(mut der: Vec<u8>, store: &mut RootCertStore) -> Result<(), Flaw> {
    match certificate::length(&der) {
        Some(length) if length > der.len() => return Err(Flaw::new(INCOMPLETE, &der)),
        // OpenSSL writes behind a certificate what it trusts it for.
        Some(length) => der.truncate(length),
        None => return Err(Flaw::new(NO_CERTIFICATE, &der)),
    }
    let added = store.add(CertificateDer::from(der.as_slice()));
    added.map_err(|_| Flaw::new(NO_CERTIFICATE, &der))
}

/// Describes the content of a file without certificates.
fn instead(pem: &[u8], text: &str) -> String {
    let is_utf16 = pem.starts_with(&[0xff, 0xfe]) || pem.starts_with(&[0xfe, 0xff]);
    let label = text
        .match_indices(BEGIN)
        .find_map(|(at, _)| read_marker(text.get(at..)?));
    match label {
        _ if is_utf16 => ", found UTF-16 text: save it as UTF-8".to_owned(),
        Some((_, label, _)) => format!(", found {}", shown(label)),
        // A sequence with two or three bytes of length, as each certificate is one.
        None if matches!(pem, [0x30, 0x81..=0x83, ..]) => {
            ", found DER: convert it with openssl x509 -inform der".to_owned()
        }
        None => String::new(),
    }
}

/// A text from an untrusted source, escaped and cut.
fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN_MAX).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown.escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::egress::testing::Authority;

    fn pem(name: &str) -> String {
        String::from_utf8(Authority::new(name).pem().to_vec()).unwrap()
    }

    fn count(pem: &str) -> usize {
        let read = Roots::read(pem.as_bytes());
        read.unwrap_or_else(|error| panic!("{error}: {pem}"))
            .store()
            .len()
    }

    fn wrong(pem: impl AsRef<[u8]>) -> String {
        Roots::read(pem.as_ref()).unwrap_err().to_string()
    }

    #[test]
    fn pem_is_read_as_people_paste_it() {
        let (one, two) = (pem("one"), pem("two"));
        let both = format!("{one}{two}");
        let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
        for text in [
            both.clone(),
            both.replace('\n', "\r\n"),
            both.replace('\n', "\r"),
            both.replace('\n', "\\n"),
            both.replace('\n', "\\r\\n"),
            both.replace('\n', " "),
            both.replace('\n', ""),
            both.replace('\n', "\n    "),
            both.replace('\n', "\n\t"),
            both.replace('\n', " \n\n"),
            both.replace("CERTIFICATE", "X509 CERTIFICATE"),
            format!("\u{feff}{both}"),
            format!("{key}{one}{key}{two}"),
            format!("# ours\nsubject=CN = one\n{one}\n-----\nsubject=CN = two\n{two}the end"),
            both.trim_end().to_owned(),
            both.replace('=', ""),
        ] {
            assert_eq!(count(&text), 2, "{text}");
        }
    }

    #[test]
    fn a_trusted_certificate_of_openssl_has_more_behind_it() {
        let authority = Authority::new("one");
        let text = String::from_utf8(authority.pem().to_vec()).unwrap();
        let mut der = certificates(&text).remove(0).unwrap();
        der.extend([0x30, 0x00]);
        let body = BASE64.encode(der);
        let label = "TRUSTED CERTIFICATE";
        assert_eq!(
            count(&format!(
                "-----BEGIN {label}-----\n{body}\n-----END {label}-----"
            )),
            1
        );
    }

    #[test]
    fn a_wrong_certificate_is_named_by_number_and_subject() {
        let (one, two) = (pem("one"), pem("the \"second\""));
        let begin = two.find('\n').unwrap() + 1;
        let end = two.rfind("-----END").unwrap();
        let second = "certificate 2 (CN=the \\\"second\\\")";
        // Cut before its END, or within it.
        for at in [end, end + 4, two.len() - 3] {
            let text = format!("{one}{}", two.get(..at).unwrap());
            assert_eq!(wrong(&text), format!("{second} {NO_END}"));
            let text = format!("{one}{}\n{one}", two.get(..at).unwrap());
            assert!(wrong(&text).starts_with(second), "{}", wrong(&text));
        }
        // A line is missing; a character is wrong.
        let lines: Vec<&str> = two.lines().collect();
        let mut fewer = lines.clone();
        fewer.remove(fewer.len() - 2);
        let text = format!("{one}{}", fewer.join("\n"));
        assert_eq!(wrong(&text), format!("{second} {INCOMPLETE}"));
        let mut damaged = two.clone();
        damaged.replace_range(end - 20..end - 19, "%");
        let text = format!("{one}{damaged}");
        assert_eq!(wrong(&text), format!("{second} {NOT_BASE64}"));
        // So early that it has no subject yet, and cut at its beginning.
        let text = format!("{one}{}", two.get(..begin + 20).unwrap());
        assert_eq!(wrong(&text), format!("certificate 2 {NO_END}"));
        let text = format!("{}{one}", two.get(begin..).unwrap());
        assert_eq!(wrong(&text), format!("certificate 1 {NO_BEGIN}"));
        let junk = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let text = format!("{one}{junk}{two}");
        assert_eq!(wrong(&text), format!("certificate 2 {NO_CERTIFICATE}"));
        assert!(wrong(junk.repeat(9)).ends_with("; and 6 more"));
    }

    /// Whatever is missing at the end of a file, it is not taken for whole.
    #[test]
    fn a_file_that_is_cut_anywhere_is_refused() {
        let whole = pem("one");
        let whole = whole.trim_end();
        for length in 0..whole.len() {
            assert!(
                Roots::read(&whole.as_bytes()[..length]).is_err(),
                "{length}"
            );
        }
    }

    #[test]
    fn what_a_file_has_instead_is_said() {
        let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
        assert!(wrong(&key).ends_with(", found PRIVATE KEY"));
        let text = pem("one");
        let der = certificates(&text).remove(0).unwrap();
        assert!(wrong(der).contains("found DER"));
        let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(wrong([[0xff, 0xfe].as_slice(), &utf16].concat()).contains("UTF-16"));
        assert!(wrong("").ends_with("PEM with BEGIN CERTIFICATE"));
        assert!(wrong("hello").ends_with("PEM with BEGIN CERTIFICATE"));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "(-----BEGIN |CERTIFICATE|-----END |-----|A|B|=|\\\\n|\\n|é){0,40}") {
            let _read = Roots::read(text.as_bytes());
        }
    }
}
