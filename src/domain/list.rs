//! Lists in header fields. Source: RFC 9110, sections 5.3 and 5.6.1.

/// The elements of a list header's value, without the white space around them; empty ones are left out. Commas in quoted
/// strings separate nothing. The list of a header that came several times is that of each value in turn.
pub(crate) fn list_elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    split_unquoted(value, b',')
        .map(<[u8]>::trim_ascii)
        .filter(|element| !element.is_empty())
}

/// Splits at separators that do not stand in a quoted string.
pub(crate) fn split_unquoted(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.split(move |byte| {
        if is_escaped {
            is_escaped = false;
        } else if *byte == b'"' {
            is_quoted = !is_quoted;
        } else if is_quoted {
            is_escaped = *byte == b'\\';
        } else {
            return *byte == separator;
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_separated_by_commas_outside_of_quotes() {
        let elements: Vec<_> = list_elements(b" ,a , \"b, \\\"c\" ,, d;e=\"f,g\",").collect();
        let expected: [&[u8]; 3] = [b"a", b"\"b, \\\"c\"", b"d;e=\"f,g\""];
        assert_eq!(elements, expected);
        assert_eq!(list_elements(b"").count(), 0);
    }
}
