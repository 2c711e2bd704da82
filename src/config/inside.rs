//! Finds a place of a scalar's text in the file, where the text is folded, indented, or escaped.

/// How a scalar is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Plain,
    Single,
    Double,
    /// `|`, with this number of spaces before each line.
    Literal(usize),
    /// `>`, the same.
    Folded(usize),
}

/// How many bytes of `written`, which begins with a scalar, stand for `before`, the beginning of its text. `None` if
/// they cannot be matched.
pub(super) fn offset(written: &str, before: &str) -> Option<usize> {
    let (style, mut at) = begin(written)?;
    for character in before.chars() {
        let rest = written.get(at..)?;
        at += one(style, rest, character)?;
    }
    Some(at)
}

/// The style of a scalar, and where its text begins.
fn begin(written: &str) -> Option<(Style, usize)> {
    let first = written.chars().next()?;
    match first {
        '\'' => Some((Style::Single, 1)),
        '"' => Some((Style::Double, 1)),
        '|' | '>' => {
            let header = written.find('\n')? + 1;
            let lines = written.get(header..)?;
            let line = lines.lines().find(|line| !line.trim().is_empty())?;
            let found = line.len() - line.trim_start_matches(' ').len();
            let indent = match written
                .get(1..header)?
                .chars()
                .find_map(|it| it.to_digit(10))
            {
                // A number in the header counts from the indentation of the key, which is not known here.
                Some(_) => return None,
                None => found,
            };
            let style = match first {
                '|' => Style::Literal(indent),
                _ => Style::Folded(indent),
            };
            Some((style, header + spaces(lines, indent)))
        }
        _ => Some((Style::Plain, 0)),
    }
}

/// How many bytes one character of the text takes at the beginning of `rest`.
fn one(style: Style, rest: &str, character: char) -> Option<usize> {
    let first = rest.chars().next()?;
    let is_line_end = first == '\n' || rest.starts_with("\r\n");
    match style {
        Style::Double if first == '\\' => escaped(rest, character),
        Style::Single if character == '\'' => rest.starts_with("''").then_some(2),
        Style::Literal(_) | Style::Folded(_) if is_line_end => {
            let is_break = matches!(character, '\n' | ' ');
            is_break.then(|| line_end(style, rest))
        }
        Style::Plain | Style::Single | Style::Double if first.is_whitespace() => {
            let blank = rest.len() - rest.trim_start().len();
            let is_folded = rest.get(..blank)?.contains('\n');
            match character {
                ' ' | '\n' if is_folded => Some(blank),
                _ => (first == character).then(|| first.len_utf8()),
            }
        }
        _ => (first == character).then(|| first.len_utf8()),
    }
}

/// The bytes of a line end with the indentation of the next line; where lines are folded, with all empty lines.
fn line_end(style: Style, rest: &str) -> usize {
    let (indent, folds) = match style {
        Style::Literal(indent) => (indent, false),
        Style::Folded(indent) => (indent, true),
        Style::Plain | Style::Single | Style::Double => (usize::MAX, true),
    };
    let mut at = rest.find('\n').map_or(rest.len(), |end| end + 1);
    while folds
        && let Some(line) = rest.get(at..)
        && let Some(end) = line.find('\n')
        && line.get(..end).is_some_and(|line| line.trim().is_empty())
    {
        at += end + 1;
    }
    at + spaces(rest.get(at..).unwrap_or_default(), indent)
}

fn spaces(text: &str, most: usize) -> usize {
    text.bytes()
        .take(most)
        .take_while(|byte| *byte == b' ')
        .count()
}

/// The bytes of an escape in double quotes that stands for a character, or for none in front of one.
fn escaped(rest: &str, character: char) -> Option<usize> {
    let of = rest.chars().nth(1)?;
    let meant = match of {
        'n' => '\n',
        't' => '\t',
        '"' | '\\' | '/' | ' ' => of,
        '\n' => {
            let after = rest.get(2..)?;
            let blank = after.len() - after.trim_start().len();
            let first = after.get(blank..)?.chars().next()?;
            return (first == character).then(|| 2 + blank + first.len_utf8());
        }
        _ => return None,
    };
    (meant == character).then_some(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rest of the file's text behind `before`.
    fn rest<'w>(written: &'w str, before: &str) -> Option<&'w str> {
        offset(written, before).and_then(|at| written.get(at..))
    }

    #[test]
    fn a_place_is_found_in_every_style() {
        for (written, before) in [
            ("a é && HERE", "a é && "),
            ("'it''s HERE'", "it's "),
            ("\"a \\\"b\\\" \\\\ HERE\"", "a \"b\" \\ "),
            ("\"a\n   b HERE\"", "a b "),
            ("a\n  && HERE", "a && "),
            ("a\n\n  && HERE", "a\n&& "),
            ("|\n  a\n   b\n  HERE", "a\n b\n"),
            ("|- # c\n  a\n\n  HERE", "a\n\n"),
            ("|\r\n  a\r\n  HERE", "a\n"),
            (">\n  a\n  && HERE", "a && "),
            (">-\n  a\n\n  b\n  HERE", "a\nb "),
            (">\n\n  a HERE", "\na "),
        ] {
            let found = rest(written, before);
            let is_found = found.is_some_and(|rest| rest.starts_with("HERE"));
            assert!(is_found, "{written:?} {found:?}");
        }
    }

    #[test]
    fn what_is_not_the_text_is_not_found() {
        for (written, before) in [
            ("a", "b"),
            ("\"\\u0041b\"", "A"),
            ("|2\n    a b", "a "),
            ("a", "a b"),
            ("", "a"),
        ] {
            assert_eq!(rest(written, before), None, "{written:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_texts_are_read_without_panic(written in "['\"|>]?[a\\\\n \n\r']{0,20}", before in "[a\\\\n \n']{0,20}") {
            let _found = offset(&written, &before);
        }
    }
}
