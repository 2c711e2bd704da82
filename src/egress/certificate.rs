//! When a certificate ends and whose it is: the fields that are read from X.509 here. Verification is rustls' alone.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::domain::Timestamp;

const SEQUENCE: u8 = 0x30;
/// The attributes that name a subject best, as tag, length and value of an OID (CN, OU, O).
const NAMES: [(&[u8], &str); 3] = [
    (&[0x55, 0x04, 0x03], "CN"),
    (&[0x55, 0x04, 0x0b], "OU"),
    (&[0x55, 0x04, 0x0a], "O"),
];
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const VERSION: u8 = 0xa0;

/// The `notAfter` of a certificate in DER, `None` if it cannot be read.
///
/// Source: RFC 5280 section 4.1, `Certificate`, `TBSCertificate` and `Validity`.
pub(super) fn expires_at(der: &[u8]) -> Option<Timestamp> {
    let (_, certificate, _) = element(der)?;
    let (_, fields, _) = element(certificate)?;
    let (SEQUENCE, validity, _) = element(from_validity(fields)?)? else {
        return None;
    };
    let (_, _, after_not_before) = element(validity)?;
    let (kind, text, _) = element(after_not_before)?;
    time(kind, str::from_utf8(text).ok()?)
}

/// The subject of a certificate in DER as `CN=name`, `None` if it cannot be read. The certificate may be cut behind it.
pub(super) fn subject(der: &[u8]) -> Option<String> {
    let (_, certificate) = header(der)?;
    let (_, fields) = header(certificate.1)?;
    let (_, _, after_validity) = element(from_validity(fields.1)?)?;
    let (SEQUENCE, mut names, _) = element(after_validity)? else {
        return None;
    };
    let mut found: Vec<(&[u8], &[u8])> = Vec::new();
    while !names.is_empty() {
        let (_, set, rest) = element(names)?;
        let (_, attribute, _) = element(set)?;
        let (_, kind, after_kind) = element(attribute)?;
        let (_, value, _) = element(after_kind)?;
        found.push((kind, value));
        names = rest;
    }
    NAMES.iter().find_map(|(wanted, shown)| {
        let (_, value) = found.iter().find(|(kind, _)| kind == wanted)?;
        Some(format!("{shown}={}", String::from_utf8_lossy(value)))
    })
}

/// The whole length of a certificate in DER according to its first bytes; `None` if it cannot be one.
pub(super) fn length(der: &[u8]) -> Option<usize> {
    let (tag, (length, content)) = header(der)?;
    (tag == SEQUENCE).then(|| der.len() - content.len() + length)
}

/// The rest of a `TBSCertificate` from the validity on.
fn from_validity(mut fields: &[u8]) -> Option<&[u8]> {
    if fields.first() == Some(&VERSION) {
        fields = element(fields)?.2;
    }
    // serialNumber, signature and issuer stand before validity.
    for _ in 0..3 {
        fields = element(fields)?.2;
    }
    Some(fields)
}

/// Splits off one element: its tag, its content, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, (length, rest)) = header(der)?;
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// The tag of an element, how long its content is to be, and what is there of it and behind it.
fn header(der: &[u8]) -> Option<(u8, (usize, &[u8]))> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        // More than four bytes of length would be a certificate beyond 4 GiB.
        let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f).min(4))?;
        let length = bytes
            .iter()
            .fold(0, |sum, &byte| sum << 8 | usize::from(byte));
        (length, rest)
    };
    Some((tag, (length, rest)))
}

/// `YYMMDDHHMMSSZ` (years 1950 to 2049) or `YYYYMMDDHHMMSSZ`.
fn time(kind: u8, text: &str) -> Option<Timestamp> {
    let full = match kind {
        UTC_TIME if text.starts_with(|c| matches!(c, '0'..='4')) => format!("20{text}"),
        UTC_TIME => format!("19{text}"),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let time = DateTime::strptime("%Y%m%d%H%M%SZ", full).ok()?;
    let time = time.to_zoned(TimeZone::UTC).ok()?;
    Some(Timestamp::from_millis(time.timestamp().as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(year: i32) -> Vec<u8> {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 7, 4);
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn the_end_of_a_certificate_is_read_in_both_forms_of_time() {
        let utc = expires_at(&certificate(2031)).unwrap();
        assert_eq!(utc.to_string(), "2031-07-04T00:00:00.000Z");
        let generalized = expires_at(&certificate(2061)).unwrap();
        assert_eq!(generalized.to_string(), "2061-07-04T00:00:00.000Z");
    }

    #[test]
    fn a_certificate_cut_anywhere_before_its_end_date_has_none() {
        let whole = certificate(2031);
        for length in 0..whole.len() {
            assert_eq!(expires_at(whole.get(..length).unwrap()), None);
        }
    }

    #[test]
    fn the_subject_is_read_of_a_certificate_that_is_cut_behind_it() {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let name = &mut params.distinguished_name;
        name.push(rcgen::DnType::OrganizationName, "Partner");
        let key = rcgen::KeyPair::generate().unwrap();
        let der = params.clone().self_signed(&key).unwrap();
        assert_eq!(subject(der.der()).unwrap(), "O=Partner");
        assert_eq!(length(der.der()), Some(der.der().len()));
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "Root");
        let der = params.self_signed(&key).unwrap();
        let cut = der.der().len() - 100;
        assert_eq!(subject(&der.der()[..cut]).unwrap(), "CN=Root");
        assert_eq!(length(&der.der()[..cut]), Some(der.der().len()));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _read = (expires_at(&bytes), subject(&bytes), length(&bytes));
        }
    }
}
