//! Cursors as text: a letter for the list, then its numbers in hexadecimal, joined by `-`.

use super::types::QueryError;

/// Writes a cursor of the list with this letter.
pub(super) fn write(list: char, numbers: &[u64]) -> String {
    let numbers: Vec<_> = numbers.iter().map(|number| format!("{number:x}")).collect();
    format!("{list}{}", numbers.join("-"))
}

/// Reads a cursor of the list with this letter; `None` for the first page.
pub(super) fn read<const N: usize>(
    list: char,
    cursor: Option<&str>,
) -> Result<Option<[u64; N]>, QueryError> {
    cursor
        .map(|text| parse(list, text).ok_or(QueryError::Cursor))
        .transpose()
}

fn parse<const N: usize>(list: char, text: &str) -> Option<[u64; N]> {
    let mut parts = text.strip_prefix(list)?.split('-');
    let mut numbers = [0; N];
    for number in &mut numbers {
        let part = parts.next()?;
        // `from_str_radix` accepts a sign, which no cursor has.
        if !part.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        *number = u64::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written_by_its_list_only() {
        for numbers in [[0, u64::MAX], [17, 3]] {
            let text = write('d', &numbers);
            assert!(
                text.bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            );
            assert_eq!(read('d', Some(&text)).unwrap(), Some(numbers));
            assert!(matches!(
                read::<2>('a', Some(&text)),
                Err(QueryError::Cursor)
            ));
            assert!(matches!(
                read::<1>('d', Some(&text)),
                Err(QueryError::Cursor)
            ));
        }
        for bad in ["", "d", "d-", "d+1-2", "d1-2-3", "dx-1", "dé-1"] {
            assert!(
                matches!(read::<2>('d', Some(bad)), Err(QueryError::Cursor)),
                "{bad}"
            );
        }
        assert!(matches!(read::<2>('d', None), Ok(None)));
    }
}
