//! Hints for texts that are not CEL: words and signs of SQL, of JavaScript and of other languages.
//!
//! The parser reports where it stopped, which helps only users who know CEL. Here the text is read as tokens, and for
//! the first common habit of another language, the hint names the CEL equivalent.

use std::fmt::Write;

use crate::domain::similar;
use crate::matching::cel::names::Variable;

/// Signs that CEL does not have, the longer ones first, each with its replacement.
const SIGNS: [(&str, &str); 16] = [
    ("===", "use =="),
    ("!==", "use !="),
    ("<=>", "use ==, <, or >"),
    ("<>", "use !="),
    (
        "=>",
        "use >= to compare, and list.exists(x, condition) for each of a list",
    ),
    ("=<", "use <="),
    ("=~", "use text.matches('pattern')"),
    ("!~", "use !text.matches('pattern')"),
    (
        "?.",
        "use . alone, after has(data.field) && where a field may be missing",
    ),
    ("??", "use has(data.field) ? data.field : other"),
    ("++", "values cannot be changed"),
    ("**", "there are no powers"),
    ("=", "use == to compare"),
    ("&", "use && between conditions"),
    ("|", "use || between conditions"),
    ("^", "use != between conditions"),
];

/// Signs of more than one character that CEL has: they are skipped whole.
const KNOWN_SIGNS: [&str; 6] = ["==", "!=", "<=", ">=", "&&", "||"];

/// Characters that begin nothing in CEL, each with its replacement.
const CHARACTERS: [(char, &str); 13] = [
    ('“', "use plain quotes: ' or \""),
    ('”', "use plain quotes: ' or \""),
    ('„', "use plain quotes: ' or \""),
    ('‘', "use plain quotes: ' or \""),
    ('’', "use plain quotes: ' or \""),
    ('`', "use plain quotes: ' or \""),
    (';', "an expression has no end mark"),
    ('$', "variables are written without $, such as data.amount"),
    ('@', "variables are written without @, such as data.amount"),
    ('#', "use // for a comment"),
    ('≠', "use !="),
    ('≤', "use <="),
    ('≥', "use >="),
];

/// Words between or before operands, in lower case, each with its replacement.
const WORDS: [(&str, &str); 10] = [
    ("and", "use &&"),
    ("or", "use ||"),
    ("not", "use ! before the condition, such as !(data.test)"),
    (
        "like",
        "use text.startsWith('a'), text.endsWith('a'), text.contains('a') or text.matches('pattern')",
    ),
    ("ilike", "use text.matches('(?i)pattern')"),
    ("between", "use a <= x && x <= b"),
    ("is", "use == or !=, such as data.field == null"),
    (
        "isnull",
        "use == null, or !has(data.field) for one that may be missing",
    ),
    ("if", "use condition ? a : b"),
    ("contains", "use text.contains('part'), or 'item' in list"),
];

/// Variables of other systems, in lower case, each with ours.
const VARIABLES: [(&str, &str); 27] = [
    ("body", "data"),
    ("payload", "data"),
    ("json", "data"),
    ("obj", "data"),
    ("object", "data"),
    ("message", "data"),
    ("content", "data"),
    ("record", "data"),
    ("input", "data"),
    ("this", "data"),
    ("self", "data"),
    ("it", "data"),
    ("root", "data"),
    ("header", "headers"),
    ("meta", "headers"),
    ("metadata", "headers"),
    ("attributes", "headers"),
    ("event_type", "type"),
    ("eventtype", "type"),
    ("topic", "type"),
    ("event_id", "id"),
    ("given_id", "id"),
    ("none", "null"),
    ("nil", "null"),
    ("undefined", "null"),
    ("null", "null"),
    ("event", "data"),
];

/// Functions of other languages, in lower case, each with its replacement.
const FUNCTIONS: [(&str, &str); 40] = [
    ("len", "size(x)"),
    ("length", "size(x)"),
    ("count", "size(x)"),
    ("strlen", "size(x)"),
    ("lower", LOWER),
    ("lowerascii", LOWER),
    ("tolower", LOWER),
    ("tolowercase", LOWER),
    ("upper", LOWER),
    ("upperascii", LOWER),
    ("toupper", LOWER),
    ("touppercase", LOWER),
    ("equalsignorecase", LOWER),
    ("includes", "text.contains(part), or item in list"),
    ("indexof", "text.contains(part)"),
    (
        "substring",
        "text.startsWith(part) or text.matches('pattern')",
    ),
    ("hasprefix", "text.startsWith(part)"),
    ("starts_with", "text.startsWith(part)"),
    ("hassuffix", "text.endsWith(part)"),
    ("ends_with", "text.endsWith(part)"),
    ("match", "text.matches('pattern')"),
    ("regex", "text.matches('pattern')"),
    ("regexp", "text.matches('pattern')"),
    ("test", "text.matches('pattern')"),
    ("like", "text.matches('pattern')"),
    ("not", "!(condition)"),
    ("and", "a && b"),
    ("or", "a || b"),
    ("any", "list.exists(x, condition)"),
    ("some", "list.exists(x, condition)"),
    ("every", "list.all(x, condition)"),
    ("defined", "has(data.field)"),
    ("isset", "has(data.field)"),
    ("exists", "has(data.field), or list.exists(x, condition)"),
    ("isnull", "data.field == null"),
    ("parseint", "int(x)"),
    ("number", "double(x)"),
    ("float", "double(x)"),
    ("str", "string(x)"),
    ("tostring", "string(x)"),
];

const LOWER: &str = "text.matches('(?i)^pattern$'), which takes both cases";

/// A place in an expression, and the problem there.
pub(super) type Hint = (usize, String);

/// The first thing in a text that is written as in another language, or is not closed.
pub(super) fn of(text: &str) -> Option<Hint> {
    let mut scan = Scan::default();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        match scan.next(text, at, rest) {
            Ok(length) => at += length.max(1),
            Err(hint) => return Some(hint),
        }
    }
    let (open, bracket) = scan.open.pop()?;
    Some((open, format!("the {bracket} here is never closed")))
}

/// The state of the scan so far.
#[derive(Default)]
struct Scan {
    /// Brackets that are open, with their places.
    open: Vec<(usize, char)>,
    /// The word just before, if there is one.
    before: String,
}

impl Scan {
    /// Reads one token; returns its length.
    fn next(&mut self, text: &str, at: usize, rest: &str) -> Result<usize, Hint> {
        let Some(first) = rest.chars().next() else {
            return Ok(1);
        };
        if first.is_whitespace() {
            return Ok(first.len_utf8());
        }
        if rest.starts_with("//") {
            return Ok(rest.find('\n').unwrap_or(rest.len()));
        }
        if first.is_alphabetic() || first == '_' {
            return self.word(text, at, rest);
        }
        let before = std::mem::take(&mut self.before);
        match first {
            '\'' | '"' => quoted(at, rest, before == "r"),
            '(' if before.eq_ignore_ascii_case("in") => in_brackets(at, rest).map(|()| {
                self.open.push((at, first));
                1
            }),
            '(' | '[' | '{' => {
                self.open.push((at, first));
                Ok(1)
            }
            ')' | ']' | '}' => self.close(at, first),
            _ if first.is_ascii_digit() => {
                Ok(rest.len() - rest.trim_start_matches(is_of_word).len())
            }
            _ => sign(at, rest, first),
        }
    }

    fn word(&mut self, text: &str, at: usize, rest: &str) -> Result<usize, Hint> {
        let length = rest.len() - rest.trim_start_matches(is_of_word).len();
        let word = rest.get(..length).unwrap_or_default();
        let after = rest.get(length..).unwrap_or_default().trim_start();
        let is_field = text
            .get(..at)
            .is_some_and(|it| it.trim_end().ends_with('.'));
        // `size` of `{size: 1}` or `data.size`, `not` of `not(x)`: judged by the compiler, if at all.
        let is_called =
            after.starts_with(['.', '(', ':', '[']) && !word.eq_ignore_ascii_case("not");
        self.before = word.to_owned();
        if is_field || word == "in" {
            return Ok(length);
        }
        if word.eq_ignore_ascii_case("in") {
            return Err((
                at,
                "use in, in lower case, such as data.plan in ['pro', 'team']".to_owned(),
            ));
        }
        let lower = word.to_ascii_lowercase();
        if is_called && !matches!(lower.as_str(), "and" | "or") {
            return Ok(length);
        }
        match WORDS.iter().find(|(known, _)| *known == lower) {
            Some((_, right)) => Err((at, format!("{word} is no operator of CEL: {right}"))),
            None => Ok(length),
        }
    }

    fn close(&mut self, at: usize, bracket: char) -> Result<usize, Hint> {
        let wanted = match bracket {
            ')' => '(',
            ']' => '[',
            _ => '{',
        };
        match self.open.pop() {
            Some((_, open)) if open == wanted => Ok(1),
            Some((place, open)) => {
                let column = text_column(place);
                Err((
                    at,
                    format!("this {bracket} does not close the {open} at {column}"),
                ))
            }
            None => Err((at, format!("this {bracket} closes nothing"))),
        }
    }
}

/// Where something stands in the expression, for people.
fn text_column(at: usize) -> String {
    format!("its character {}", at + 1)
}

fn is_of_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// The length of a text in quotes, which may be three.
fn quoted(at: usize, rest: &str, is_raw: bool) -> Result<usize, Hint> {
    let quote = rest.get(..1).unwrap_or_default();
    let triple = quote.repeat(3);
    let is_triple = rest.starts_with(&triple);
    let mark = if is_triple { triple.as_str() } else { quote };
    let mut inner = rest.get(mark.len()..).unwrap_or_default();
    while !inner.is_empty() {
        if inner.starts_with(mark) {
            return Ok(rest.len() - inner.len() + mark.len());
        }
        if inner.starts_with('\n') && !is_triple {
            break;
        }
        let mut characters = inner.chars();
        if characters.next() == Some('\\') && !is_raw {
            characters.next();
        }
        inner = characters.as_str();
    }
    Err((at, format!("the quote {quote} here is never closed")))
}

/// Refuses `in ('a', 'b')`, the notation for lists in SQL.
fn in_brackets(at: usize, rest: &str) -> Result<(), Hint> {
    let inner = rest.get(1..).unwrap_or_default().trim_start();
    let is_literal =
        inner.starts_with(|first: char| "'\"-".contains(first) || first.is_ascii_digit());
    if is_literal {
        return Err((
            at,
            "a list is written in square brackets: in ['a', 'b']".to_owned(),
        ));
    }
    Ok(())
}

fn sign(at: usize, rest: &str, first: char) -> Result<usize, Hint> {
    let wrong = |sign: &str, right: &str| (at, format!("{sign} is no operator of CEL: {right}"));
    if let Some((_, right)) = CHARACTERS.iter().find(|(known, _)| *known == first) {
        return Err((at, format!("{first} is no character of CEL: {right}")));
    }
    let long = SIGNS
        .iter()
        .find(|(sign, _)| sign.len() > 1 && rest.starts_with(sign));
    // `a?.5:b` is a condition with a number.
    let is_number = rest.starts_with("?.")
        && rest
            .get(2..)
            .is_some_and(|it| it.starts_with(|c: char| c.is_ascii_digit()));
    if let Some((sign, right)) = long.filter(|_| !is_number) {
        return Err(wrong(sign, right));
    }
    if let Some(known) = KNOWN_SIGNS.iter().find(|known| rest.starts_with(**known)) {
        return Ok(known.len());
    }
    match SIGNS.iter().find(|(sign, _)| rest.starts_with(sign)) {
        Some((sign, right)) => Err(wrong(sign, right)),
        None => Ok(first.len_utf8()),
    }
}

/// A hint for an unknown variable; `field` is the field selected from it.
pub(super) fn variable(name: &str, field: Option<&str>) -> String {
    let lower = name.to_ascii_lowercase();
    let mut hint = String::new();
    let meant = match (lower.as_str(), field) {
        ("true" | "false", _) => Some(lower.clone()),
        // `event.type`, and `event.data.amount`.
        (
            "event" | "evt" | "message" | "request" | "req" | "ctx" | "context" | "cloudevent",
            Some(field),
        ) if Variable::named(field).is_some() => Some(field.to_owned()),
        _ => {
            let known = VARIABLES.iter().find(|(other, _)| *other == lower);
            let known = known.map(|(_, ours)| *ours);
            let near = || similar(name, Variable::NAMES);
            known.or_else(near).map(str::to_owned)
        }
    };
    if let Some(meant) = meant {
        let written = write!(hint, ", did you mean {meant}?");
        debug_assert!(written.is_ok(), "a String takes whatever is written");
    } else {
        let written = write!(hint, ", a field of the body is written data.{name};");
        debug_assert!(written.is_ok(), "a String takes whatever is written");
    }
    hint
}

/// A hint for an unknown function.
pub(super) fn function(name: &str, known: &[&'static str]) -> String {
    let lower = name.to_ascii_lowercase();
    let ours = FUNCTIONS.iter().find(|(other, _)| *other == lower);
    let ours = ours.map(|(_, ours)| *ours);
    match ours.or_else(|| similar(name, known.iter().copied())) {
        Some(meant) => format!(", did you mean {meant}?"),
        None => ",".to_owned(),
    }
}
