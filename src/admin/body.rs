//! Bodies of writes: JSON, within its bounds, without what two readers could read differently.

use std::error::Error;
use std::fmt;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;
use schemars::JsonSchema;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use tokio::time::{Instant, timeout_at};

use crate::admin::refusal::Refusal;
use crate::domain::list_elements;

/// The most bytes of a body.
const BYTES_MAX: usize = 1 << 20;
/// The error for a value that is not a text.
pub(super) const TEXT_EXPECTED: &str = "expected a text";
/// From the end of the head to the end of the body.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Reads the body of a write to its end: a JSON object; an empty body is an empty object.
///
/// # Errors
/// 415 for another media type, 413 beyond 1 MiB, 408 when too slow, 400 if it is not JSON, 422 if it is not an object.
///
/// # Cancel safety
/// The bytes read so far are lost.
pub(super) async fn read<B>(headers: &HeaderMap, body: B) -> Result<Map<String, Value>, Refusal>
where
    B: Body<Data = Bytes>,
    B::Error: Error + 'static,
{
    if !is_json(headers) {
        return Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "media_type",
            "expected Content-Type: application/json",
        ));
    }
    let bytes = collect(body).await?;
    if bytes.trim_ascii().is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_slice(&bytes) {
        Ok(Strict(Value::Object(fields))) => Ok(fields),
        Ok(Strict(_)) => Err(Refusal::invalid_at("", "expected an object")),
        Err(error) => {
            let (line, column) = (error.line(), error.column());
            // The text of the error would repeat what was sent, a secret perhaps.
            let what = match error.is_data() {
                true => "each name once, and numbers that fit into 64 bits",
                false => "JSON",
            };
            Err(Refusal::new(
                StatusCode::BAD_REQUEST,
                "malformed_json",
                format!("expected {what}: line {line}, column {column}"),
            ))
        }
    }
}

/// Refuses a body that has any field.
///
/// # Errors
/// 422, by path.
pub(super) fn nothing(body: &Map<String, Value>) -> Result<(), Refusal> {
    Fields::new(body, Vec::new()).end(Some(()))
}

/// The fields of a body, read one by one so that all errors are reported together.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    body: &'a Map<String, Value>,
    known: Vec<String>,
    errors: Vec<(String, String)>,
}

impl<'a> Fields<'a> {
    /// Those that this type has; others are errors.
    pub(super) fn of<T: JsonSchema>(body: &'a Map<String, Value>) -> Self {
        let schema = schemars::schema_for!(T).to_value();
        let known = schema.get("properties").and_then(Value::as_object);
        Self::new(
            body,
            known.into_iter().flat_map(Map::keys).cloned().collect(),
        )
    }

    fn new(body: &'a Map<String, Value>, known: Vec<String>) -> Self {
        let expected = match known.is_empty() {
            true => "{}".to_owned(),
            false => known.join(", "),
        };
        let unknown = body.keys().filter(|name| !known.contains(name));
        let message = |name: &String| (name.clone(), format!("unknown field: expected {expected}"));
        let errors = unknown.map(message).collect();
        Self {
            body,
            known,
            errors,
        }
    }

    /// The value of a text; null is as if it were not there.
    pub(super) fn text<T>(
        &mut self,
        name: &str,
        otherwise: &str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let read = match self.get(name)? {
            Value::String(text) => read(text),
            _ => Err(otherwise.to_owned()),
        };
        read.map_err(|message| self.error(name, &message)).ok()
    }

    /// Whether the field is true; null counts as absent.
    pub(super) fn flag(&mut self, name: &str) -> bool {
        match self.get(name) {
            None => false,
            Some(Value::Bool(flag)) => *flag,
            Some(_) => {
                self.error(name, "expected true or false");
                false
            }
        }
    }

    fn get(&self, name: &str) -> Option<&'a Value> {
        debug_assert!(self.known.iter().any(|known| known == name), "{name}");
        self.body.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn error(&mut self, name: &str, message: &str) {
        self.errors.push((name.to_owned(), message.to_owned()));
    }

    pub(super) fn has_error(&self, name: &str) -> bool {
        self.errors.iter().any(|(path, _)| path == name)
    }

    /// Returns what was read of the fields, unless a field had an error.
    ///
    /// # Errors
    /// 422, by path.
    pub(super) fn end<T>(self, read: Option<T>) -> Result<T, Refusal> {
        let read = read.filter(|_| self.errors.is_empty());
        read.ok_or_else(|| Refusal::invalid(self.errors))
    }
}

/// `application/json`, with parameters or without. A coding is none that is undone here.
fn is_json(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (types.next(), types.next()) else {
        return false;
    };
    let essence = value.as_bytes().split(|byte| *byte == b';').next();
    let essence = essence.unwrap_or_default().trim_ascii();
    let codings = headers.get_all(http::header::CONTENT_ENCODING).iter();
    let is_plain = codings
        .flat_map(|value| list_elements(value.as_bytes()))
        .all(|coding| coding.eq_ignore_ascii_case(b"identity"));
    is_plain && essence.eq_ignore_ascii_case(b"application/json")
}

async fn collect<B>(body: B) -> Result<Vec<u8>, Refusal>
where
    B: Body<Data = Bytes>,
    B::Error: Error + 'static,
{
    let too_large = || {
        let detail = "expected a body of at most 1 MiB";
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
    };
    let lower = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if lower > BYTES_MAX {
        return Err(too_large());
    }
    let deadline = Instant::now() + TIMEOUT;
    let mut read = Vec::with_capacity(lower);
    let mut body = pin!(body);
    loop {
        let frame = timeout_at(deadline, body.frame()).await.map_err(|_| {
            let detail = "the request body took too long";
            Refusal::new(StatusCode::REQUEST_TIMEOUT, "slow_request", detail)
        })?;
        let Some(frame) = frame else { return Ok(read) };
        let cut = |_| {
            let detail = "the request body came to no end";
            Refusal::new(StatusCode::BAD_REQUEST, "malformed_body", detail)
        };
        let Ok(data) = frame.map_err(cut)?.into_data() else {
            continue;
        };
        if read.len() + data.len() > BYTES_MAX {
            return Err(too_large());
        }
        read.extend_from_slice(&data);
    }
}

/// A JSON value in which no object has a name twice: readers differ in which of them counts.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        let number = Number::from_f64(value).map(Value::Number);
        number.ok_or_else(|| E::custom("a number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Strict(value)) = items.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some((name, Strict(value))) = entries.next_entry::<String, Strict>()? {
            if fields.insert(name, value).is_some() {
                return Err(de::Error::custom("a name twice"));
            }
        }
        Ok(Value::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http_body_util::Full;
    use serde_json::json;

    use super::*;

    async fn with_type(media_type: &str, body: &str) -> Result<Map<String, Value>, u16> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_str(media_type).unwrap());
        let body = Full::new(Bytes::from(body.to_owned()));
        let result = read(&headers, body).await;
        result.map_err(|refusal| refusal.status().as_u16())
    }

    async fn of(body: &str) -> Result<Map<String, Value>, u16> {
        with_type("application/json", body).await
    }

    #[tokio::test]
    async fn a_body_is_one_object() {
        let text = r#"{"b": [1, -2, 3.5, null, true], "a": {"ü": "x"}}"#;
        let read = of(text).await.unwrap();
        assert_eq!(
            Value::Object(read),
            json!({"b": [1, -2, 3.5, null, true], "a": {"ü": "x"}})
        );
        assert_eq!(of(" \n").await, Ok(Map::new()));
        assert_eq!(
            with_type("Application/JSON; charset=utf-8", "{}").await,
            Ok(Map::new())
        );
        for other in ["[]", "1", "null", "\"x\""] {
            assert_eq!(of(other).await, Err(422), "{other}");
        }
    }

    #[tokio::test]
    async fn what_is_no_json_is_malformed() {
        let deep = "[".repeat(200);
        for wrong in [
            "{",
            "{}{}",
            "{'a': 1}",
            "{\"a\": 1, \"a\": 2}",
            "{\"o\": {\"a\": 1, \"a\": 1}}",
            "{\"a\": 1e999}",
            "{\"a\": NaN}",
            "\u{feff}{}",
            &deep,
        ] {
            assert_eq!(of(wrong).await, Err(400), "{wrong}");
        }
    }

    #[tokio::test]
    async fn other_media_types_are_refused() {
        for other in [
            "text/plain",
            "application/jsonx",
            "application/x-www-form-urlencoded",
            "",
        ] {
            assert_eq!(with_type(other, "{}").await, Err(415), "{other}");
        }
        let none = read(&HeaderMap::new(), Full::new(Bytes::new())).await;
        assert_eq!(none.unwrap_err().status(), 415);
    }

    #[tokio::test]
    async fn a_mebibyte_is_the_most() {
        let fits = format!("{{\"a\":\"{}\"}}", "x".repeat(BYTES_MAX - 8));
        assert_eq!(fits.len(), BYTES_MAX);
        assert!(of(&fits).await.is_ok());
        assert_eq!(of(&format!("{fits} ")).await, Err(413));
    }

    #[tokio::test]
    async fn an_error_tells_the_place_and_nothing_of_the_content() {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let body = Full::new(Bytes::from_static(
            b"{\n \"secret\": \"hunter2\", \"secret\": 1}",
        ));
        let refusal = read(&headers, body).await.unwrap_err();
        let shown = format!("{refusal:?}");
        assert!(shown.contains("line 2"), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
