//! JSON pointers (RFC 6901) into a body, looked up in one pass and without building the document.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::value::RawValue;

/// A parsed pointer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pointer(Box<[Token]>);

/// One step of a pointer.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Token {
    key: Box<str>,
    /// The token as the index of an array, if it can be one.
    index: Option<usize>,
}

impl Pointer {
    /// Whether a text is a pointer: RFC 6901, section 3, without the empty one, which is the whole body.
    pub(crate) fn is_valid(text: &str) -> bool {
        let mut escapes = text.split('~').skip(1);
        text.starts_with('/') && escapes.all(|rest| rest.starts_with(['0', '1']))
    }

    /// Takes a pointer whose syntax the configuration has checked: empty, or begun with `/`.
    pub(crate) fn new(text: &str) -> Self {
        Self(text.split('/').skip(1).map(Token::new).collect())
    }
}

impl Token {
    fn new(text: &str) -> Self {
        let key = text.replace("~1", "/").replace("~0", "~");
        let has_leading_zero = key.len() > 1 && key.starts_with('0');
        let is_number = key.bytes().all(|byte| byte.is_ascii_digit()) && !has_leading_zero;
        Self {
            index: if is_number { key.parse().ok() } else { None },
            key: key.into(),
        }
    }
}

/// The texts that the pointers lead to: a string's text, or a number as it is written. Nothing for a pointer that is
/// absent, leads nowhere, or leads to anything else. Of repeated keys the last one counts, as it does for nearly all
/// that will read the body later.
///
/// # Errors
/// Why the body is not one JSON value.
pub(crate) fn find<'j, const N: usize>(
    json: &'j [u8],
    pointers: [Option<&Pointer>; N],
) -> Result<[Option<Cow<'j, str>>; N], serde_json::Error> {
    let mut found = [None; N];
    let pointers = pointers.iter().enumerate();
    locate(
        json,
        pointers.filter_map(|(slot, pointer)| Some((slot, (*pointer)?))),
        &mut found,
    )?;
    Ok(found.map(|value| value.and_then(text)))
}

/// The values that the pointers lead to, each put into its slot of `found`.
///
/// # Errors
/// As [`find`].
pub(super) fn locate<'j, 'p>(
    json: &'j [u8],
    pointers: impl Iterator<Item = (usize, &'p Pointer)>,
    found: &mut [Option<&'j RawValue>],
) -> Result<(), serde_json::Error> {
    let wanted: Vec<_> = pointers
        .map(|(slot, pointer)| Wanted {
            slot,
            rest: &pointer.0,
        })
        .collect();
    let json = without_mark(json);
    if wanted.iter().any(|wanted| wanted.rest.is_empty()) {
        take(&wanted, serde_json::from_slice(json)?, found)
    } else {
        seek(&wanted, json, found)
    }
}

/// A body without the byte order mark that some programs write before JSON, which a reader may pass over (RFC 8259,
/// section 8.1).
pub(super) fn without_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body)
}

/// As text, and `true` and `false` as they are written.
pub(super) fn scalar(value: &RawValue) -> Option<Cow<'_, str>> {
    match value.get() {
        raw @ ("true" | "false") => Some(Cow::Borrowed(raw)),
        _ => text(value),
    }
}

/// The text of a string, or a number as it is written.
pub(super) fn text(value: &RawValue) -> Option<Cow<'_, str>> {
    let raw = value.get();
    match raw.bytes().next()? {
        b'"' => {
            let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
            if inner.contains('\\') {
                serde_json::from_str(raw).ok().map(Cow::Owned)
            } else {
                Some(Cow::Borrowed(inner))
            }
        }
        b'-' | b'0'..=b'9' => Some(Cow::Borrowed(raw)),
        _ => None,
    }
}

/// The rest of a pointer at some depth, and the slot for its value.
#[derive(Debug, Clone, Copy)]
struct Wanted<'p> {
    slot: usize,
    rest: &'p [Token],
}

/// The pointers that go on by a step that `leads` accepts.
fn steps<'p>(wanted: &[Wanted<'p>], leads: impl Fn(&Token) -> bool) -> Vec<Wanted<'p>> {
    let step = |wanted: &Wanted<'p>| {
        let (first, rest) = wanted.rest.split_first()?;
        let slot = wanted.slot;
        leads(first).then_some(Wanted { slot, rest })
    };
    wanted.iter().filter_map(step).collect()
}

type Found<'j> = [Option<&'j RawValue>];

/// Reads one JSON value to its end and notes the wanted values inside it.
fn seek<'j>(
    wanted: &[Wanted<'_>],
    json: &'j [u8],
    found: &mut Found<'j>,
) -> Result<(), serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let inside = Inside { wanted, found };
    match json.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{') => deserializer.deserialize_map(inside)?,
        Some(b'[') => deserializer.deserialize_seq(inside)?,
        _ => {
            IgnoredAny::deserialize(&mut deserializer)?;
        }
    }
    deserializer.end()
}

/// Notes a value that pointers lead to or through.
fn take<'j>(
    wanted: &[Wanted<'_>],
    value: &'j RawValue,
    found: &mut Found<'j>,
) -> Result<(), serde_json::Error> {
    let mut goes_on = false;
    for Wanted { slot, rest } in wanted {
        goes_on |= !rest.is_empty();
        if let Some(place) = found.get_mut(*slot) {
            *place = rest.is_empty().then_some(value);
        }
    }
    if goes_on {
        seek(wanted, value.get().as_bytes(), found)?;
    }
    Ok(())
}

/// The inside of an object or array that pointers lead through.
struct Inside<'w, 'p, 'f, 'j> {
    wanted: &'w [Wanted<'p>],
    found: &'f mut Found<'j>,
}

impl<'j> Visitor<'j> for Inside<'_, '_, '_, 'j> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object or array")
    }

    fn visit_map<A: MapAccess<'j>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(steps) = map.next_key_seed(Key(self.wanted))? {
            if steps.is_empty() {
                map.next_value::<IgnoredAny>()?;
            } else {
                take(&steps, map.next_value()?, self.found).map_err(A::Error::custom)?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'j>>(self, mut elements: A) -> Result<(), A::Error> {
        let mut index = 0;
        while let Some(value) = elements.next_element::<&'j RawValue>()? {
            let steps = steps(self.wanted, |token| token.index == Some(index));
            take(&steps, value, self.found).map_err(A::Error::custom)?;
            index += 1;
        }
        Ok(())
    }
}

/// Compares a key with the wanted ones, without keeping it. One that is not valid text, such as a lone surrogate,
/// matches none and is not an error.
struct Key<'w, 'p>(&'w [Wanted<'p>]);

impl<'p, 'j> DeserializeSeed<'j> for Key<'_, 'p> {
    type Value = Vec<Wanted<'p>>;

    fn deserialize<D: Deserializer<'j>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let key = text(<&RawValue>::deserialize(deserializer)?);
        let is_asked = |token: &Token| key.as_deref() == Some(&*token.key);
        Ok(steps(self.0, is_asked))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn look(json: &str, pointer: &str) -> Option<String> {
        let pointer = Pointer::new(pointer);
        let [found] = find(json.as_bytes(), [Some(&pointer)]).unwrap();
        found.map(Cow::into_owned)
    }

    #[test]
    fn a_pointer_begins_with_a_slash_and_escapes_tildes() {
        for good in ["/type", "/a/b/0", "/", "/a~0b~1c"] {
            assert!(Pointer::is_valid(good), "{good}");
        }
        for wrong in ["type", "", "$.type", "/a~2", "/a~"] {
            assert!(!Pointer::is_valid(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_pointer_leads_through_objects_and_arrays() {
        let json = r#" {"type":"a.b","data":{"list":[1,{"id":"x"}]},"n":-1.50e3} "#;
        assert_eq!(look(json, "/type").as_deref(), Some("a.b"));
        assert_eq!(look(json, "/data/list/1/id").as_deref(), Some("x"));
        assert_eq!(look(json, "/data/list/0").as_deref(), Some("1"));
        assert_eq!(look(json, "/n").as_deref(), Some("-1.50e3"), "as written");
    }

    #[test]
    fn the_examples_of_rfc_6901_are_found() {
        let json = r#"{"foo":["bar","baz"],"":0,"a/b":1,"c%d":2,"e^f":3,"g|h":4,"i\\j":5,"k\"l":6," ":7,"m~n":8}"#;
        let expected = [
            ("/foo/0", "bar"),
            ("/", "0"),
            ("/a~1b", "1"),
            ("/c%d", "2"),
            ("/e^f", "3"),
            ("/g|h", "4"),
            ("/i\\j", "5"),
            ("/k\"l", "6"),
            ("/ ", "7"),
            ("/m~0n", "8"),
        ];
        for (pointer, text) in expected {
            assert_eq!(look(json, pointer).as_deref(), Some(text), "{pointer}");
        }
        assert_eq!(look(r#""whole""#, "").as_deref(), Some("whole"));
    }

    #[test]
    fn what_is_neither_text_nor_number_is_not_found() {
        let json = r#"{"a":null,"b":true,"c":{},"d":[],"e":"x"}"#;
        for pointer in ["/a", "/b", "/c", "/d", "/none", "/e/0", "/d/0", ""] {
            assert_eq!(look(json, pointer), None, "{pointer}");
        }
        let array = "[10,11]";
        assert_eq!(look(array, "/1").as_deref(), Some("11"));
        for pointer in ["/01", "/-", "/2", "/1x"] {
            assert_eq!(look(array, pointer), None, "{pointer}");
        }
    }

    #[test]
    fn escapes_in_keys_and_texts_are_resolved() {
        assert_eq!(
            look(r#"{"\u0061":"b\n\u00e9"}"#, "/a").as_deref(),
            Some("b\né")
        );
    }

    #[test]
    fn a_byte_order_mark_and_keys_that_are_no_text_are_passed_over() {
        assert_eq!(look("\u{feff}{\"a\":1}", "/a").as_deref(), Some("1"));
        assert_eq!(look("\u{feff}7", "").as_deref(), Some("7"));
        let json = r#"{"\ud800":1,"a":{"\udc00x":2,"b":"3"}}"#;
        assert_eq!(look(json, "/a/b").as_deref(), Some("3"));
    }

    #[test]
    fn of_repeated_keys_the_last_one_counts() {
        assert_eq!(look(r#"{"a":1,"a":2}"#, "/a").as_deref(), Some("2"));
        assert_eq!(look(r#"{"a":{"b":1},"a":{}}"#, "/a/b"), None);
        assert_eq!(look(r#"{"a":{"b":1},"a":7}"#, "/a/b"), None);
    }

    #[test]
    fn one_pass_finds_several_pointers_of_which_one_leads_through_another() {
        let pointers = ["/a", "/a/b", "/c"].map(Pointer::new);
        let wanted = [
            Some(&pointers[0]),
            Some(&pointers[1]),
            None,
            Some(&pointers[2]),
        ];
        let found = find(br#"{"c":"3","a":{"b":"2"}}"#, wanted).unwrap();
        let found = found.each_ref().map(Option::as_deref);
        assert_eq!(found, [None, Some("2"), None, Some("3")]);
    }

    #[test]
    fn what_is_not_one_json_value_is_an_error() {
        let pointer = Pointer::new("/a");
        for json in [
            "",
            "{",
            "{\"a\tb\":1}",
            r#"{"a":1} x"#,
            r#"{"a":1}{}"#,
            "{'a':1}",
            "[1,]",
            "nul",
            r#"{"a":"#,
        ] {
            assert!(find(json.as_bytes(), [Some(&pointer)]).is_err(), "{json}");
            assert!(find(json.as_bytes(), [None]).is_err(), "{json}");
        }
        assert!(find(b"{\"a\":\"\xff\"}", [Some(&pointer)]).is_err());
    }

    #[test]
    fn deep_nesting_is_read_without_recursion() {
        let deep = format!("{}{}", "[".repeat(500_000), "]".repeat(500_000));
        assert_eq!(
            look(&format!(r#"{{"x":{deep},"a":"b"}}"#), "/a").as_deref(),
            Some("b")
        );
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<i32>().prop_map(Value::from),
            "[a-c\"\\\\]{0,3}".prop_map(Value::from),
            Just(Value::Null),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            let object = prop::collection::btree_map("[ab/~]{0,2}", inner.clone(), 0..4);
            prop_oneof![
                prop::collection::vec(inner, 0..4).prop_map(Value::from),
                object.prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_lookup_agrees_with_that_of_the_whole_document(
            json in json(),
            tokens in prop::collection::vec("[ab]|~0|~1|[0-2]|", 0..4),
        ) {
            let pointer: String = tokens.iter().map(|token| format!("/{token}")).collect();
            let expected = match json.pointer(&pointer) {
                Some(Value::String(text)) => Some(text.clone()),
                Some(Value::Number(number)) => Some(number.to_string()),
                _ => None,
            };
            prop_assert_eq!(look(&json.to_string(), &pointer), expected);
        }
    }
}
