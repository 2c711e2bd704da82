//! When a certificate ends: the one field that is read from X.509 here. Verification is rustls' alone.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::domain::Timestamp;

const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const VERSION: u8 = 0xa0;

/// The `notAfter` of a certificate in DER, none if it cannot be read.
///
/// Source: RFC 5280 section 4.1, `Certificate`, `TBSCertificate` and `Validity`.
pub(super) fn expires_at(der: &[u8]) -> Option<Timestamp> {
    let (_, certificate, _) = element(der)?;
    let (_, mut fields, _) = element(certificate)?;
    if fields.first() == Some(&VERSION) {
        fields = element(fields)?.2;
    }
    // serialNumber, signature and issuer stand before validity.
    for _ in 0..3 {
        fields = element(fields)?.2;
    }
    let (SEQUENCE, validity, _) = element(fields)? else {
        return None;
    };
    let (_, _, after_not_before) = element(validity)?;
    let (kind, text, _) = element(after_not_before)?;
    time(kind, str::from_utf8(text).ok()?)
}

/// Splits off one element: its tag, its content, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
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
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
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

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _read = expires_at(&bytes);
        }
    }
}
