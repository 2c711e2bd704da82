//! The templates of the scheme `hmac`: text with placeholders, in both directions.

use std::fmt;

use crate::signing::error::SigningError;
use crate::signing::format::Message;

/// The possible names between braces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Placeholder {
    Id,
    Timestamp,
    Body,
    Url,
    Signature,
}

/// The placeholders of one field, with their list for people.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowed {
    field: &'static str,
    placeholders: &'static [Placeholder],
    list: &'static str,
}

impl Allowed {
    /// Those of the field `signed`.
    pub(super) const SIGNED: Self = Self {
        field: "signed",
        placeholders: &[
            Placeholder::Id,
            Placeholder::Timestamp,
            Placeholder::Body,
            Placeholder::Url,
        ],
        list: "{id} {timestamp} {body} {url}",
    };
    /// Those of the field `value`.
    pub(super) const VALUE: Self = Self {
        field: "value",
        placeholders: &[
            Placeholder::Id,
            Placeholder::Timestamp,
            Placeholder::Signature,
        ],
        list: "{id} {timestamp} {signature}",
    };
}

impl Placeholder {
    /// As written, braces included.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Id => "{id}",
            Self::Timestamp => "{timestamp}",
            Self::Body => "{body}",
            Self::Url => "{url}",
            Self::Signature => "{signature}",
        }
    }

    /// The value in its place.
    fn of<'a>(self, message: &Message<'a>, signature: &'a [u8]) -> &'a [u8] {
        match self {
            Self::Id => message.id.as_bytes(),
            Self::Timestamp => message.timestamp,
            Self::Body => message.body,
            Self::Url => message.url.as_bytes(),
            Self::Signature => signature,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Placeholder(Placeholder),
}

/// A template, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template(Vec<Part>);

impl Template {
    /// Takes the text of a field apart.
    pub(super) fn parse(text: &str, allowed: Allowed) -> Result<Self, SigningError> {
        let field = allowed.field;
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after
                .split_once('}')
                .ok_or(SigningError::UnclosedPlaceholder { field })?;
            let mut known = allowed.placeholders.iter();
            let placeholder = known
                .find(|known| known.as_str().trim_matches(['{', '}']) == name)
                .ok_or_else(|| SigningError::UnknownPlaceholder {
                    field,
                    name: name.to_owned(),
                    expected: allowed.list,
                })?;
            push_text(&mut parts, before);
            parts.push(Part::Placeholder(*placeholder));
            rest = after;
        }
        push_text(&mut parts, rest);
        Ok(Self(parts))
    }

    /// The parts of a message (and its signature) that this template lines up.
    pub(super) fn fill<'a>(
        &'a self,
        message: &Message<'a>,
        signature: &'a [u8],
    ) -> impl Iterator<Item = &'a [u8]> {
        self.0.iter().map(move |part| match part {
            Part::Text(text) => text.as_bytes(),
            Part::Placeholder(placeholder) => placeholder.of(message, signature),
        })
    }

    /// Takes a text apart that [`fill`](Self::fill) made; `None` when it has another form. A placeholder ends where the
    /// text behind it begins, an id, the only one that may contain such text, where it begins for the last time.
    pub(super) fn take_apart<'t>(&self, text: &'t str) -> Option<Found<'t>> {
        let mut found = Found::default();
        let mut rest = text;
        let mut open = None;
        for part in &self.0 {
            match (part, open) {
                (Part::Placeholder(placeholder), _) => open = Some(*placeholder),
                (Part::Text(literal), None) => rest = rest.strip_prefix(literal.as_str())?,
                (Part::Text(literal), Some(placeholder)) => {
                    let (value, after) = if placeholder == Placeholder::Id {
                        rest.rsplit_once(literal.as_str())?
                    } else {
                        rest.split_once(literal.as_str())?
                    };
                    found.set(placeholder, value);
                    rest = after;
                    open = None;
                }
            }
        }
        match open {
            Some(placeholder) => found.set(placeholder, rest),
            None if rest.is_empty() => {}
            None => return None,
        }
        Some(found)
    }

    /// Whether it has this placeholder.
    pub(super) fn contains(&self, placeholder: Placeholder) -> bool {
        self.placeholders().any(|found| found == placeholder)
    }

    /// Fails unless it has this placeholder.
    pub(super) fn require(
        &self,
        field: &'static str,
        placeholder: Placeholder,
    ) -> Result<(), SigningError> {
        if self.contains(placeholder) {
            return Ok(());
        }
        Err(SigningError::MissingPlaceholder {
            field,
            placeholder: placeholder.as_str(),
        })
    }

    /// Checks that a header can carry what it makes, and that the receiver can take it apart.
    pub(super) fn check_header_value(&self) -> Result<(), SigningError> {
        let text = self.to_string();
        let is_visible = text
            .bytes()
            .all(|byte| byte == b' ' || byte.is_ascii_graphic());
        if !is_visible || text.trim() != text {
            return Err(SigningError::ValueText);
        }
        let placeholders: Vec<_> = self.placeholders().collect();
        for (index, placeholder) in placeholders.iter().enumerate() {
            if placeholders
                .iter()
                .skip(index + 1)
                .any(|later| later == placeholder)
            {
                return Err(SigningError::RepeatedPlaceholder(placeholder.as_str()));
            }
        }
        for pair in self.0.windows(2) {
            if let [Part::Placeholder(one), Part::Placeholder(other)] = pair {
                return Err(SigningError::AdjacentPlaceholders(
                    one.as_str(),
                    other.as_str(),
                ));
            }
        }
        Ok(())
    }

    fn placeholders(&self) -> impl Iterator<Item = Placeholder> {
        self.0.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Placeholder(placeholder) => Some(*placeholder),
        })
    }
}

/// As it was written.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(text),
            Part::Placeholder(placeholder) => f.write_str(placeholder.as_str()),
        })
    }
}

fn push_text(parts: &mut Vec<Part>, text: &str) {
    if !text.is_empty() {
        parts.push(Part::Text(text.to_owned()));
    }
}

/// The parts of a header's value.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found<'t> {
    pub(super) id: Option<&'t str>,
    pub(super) timestamp: Option<&'t str>,
    pub(super) signature: Option<&'t str>,
}

impl<'t> Found<'t> {
    fn set(&mut self, placeholder: Placeholder, text: &'t str) {
        match placeholder {
            Placeholder::Id => self.id = Some(text),
            Placeholder::Timestamp => self.timestamp = Some(text),
            Placeholder::Signature => self.signature = Some(text),
            // Never in the value of a header.
            Placeholder::Body | Placeholder::Url => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Template {
        Template::parse(text, Allowed::VALUE).unwrap()
    }

    #[test]
    fn a_template_is_shown_as_it_was_written() {
        for text in ["", "plain", "{id}", "t={timestamp},v1={signature}", "a}b"] {
            assert_eq!(value(text).to_string(), text);
        }
    }

    #[test]
    fn a_value_is_taken_apart_as_it_was_put_together() {
        let found = value("t={timestamp},v1={signature}").take_apart("t=12,v1=ab");
        let expected = Found {
            id: None,
            timestamp: Some("12"),
            signature: Some("ab"),
        };
        assert_eq!(found, Some(expected));
    }

    #[test]
    fn an_id_may_contain_the_text_that_follows_it() {
        let template = value("id={id},t={timestamp};{signature}");
        let found = template.take_apart("id=a,t=5,t=12;ab").unwrap();
        assert_eq!(found.id, Some("a,t=5"));
        assert_eq!(found.timestamp, Some("12"));
    }

    #[test]
    fn a_value_of_another_form_is_not_taken_apart() {
        let template = value("v1={signature};");
        for text in ["", "v1=ab", "v0=ab;", "v1=ab;more"] {
            assert_eq!(template.take_apart(text), None, "{text}");
        }
    }

    #[test]
    fn braces_are_for_known_placeholders_of_the_field() {
        let error = |text: &str, allowed| Template::parse(text, allowed).unwrap_err().to_string();
        assert_eq!(
            error("{timestamp", Allowed::SIGNED),
            "signed has a { that is never closed"
        );
        assert_eq!(
            error("{time}.{body}", Allowed::SIGNED),
            "signed has the unknown placeholder {time}, expected one of {id} {timestamp} {body} {url}"
        );
        assert_eq!(
            error("{body}", Allowed::VALUE),
            "value has the unknown placeholder {body}, expected one of {id} {timestamp} {signature}"
        );
        assert_eq!(
            error("{{id}}", Allowed::VALUE),
            "value has the unknown placeholder {{id}, expected one of {id} {timestamp} {signature}"
        );
    }
}
