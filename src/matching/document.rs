//! The part of a JSON body that expressions look at, as a tree that borrows from the body.
//!
//! The parts that no expression looks at are skipped without being built, so that `data.amount > 100` costs one walk
//! over the body however large it is. The rest is bounded: a part with too many values or too deep nesting becomes
//! [`Json::TooLarge`], which is an error only for expressions that look into it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize as _;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::matching::pointer::{text, without_mark};

/// Values of one part at most.
pub(super) const VALUES_MAX: usize = 50_000;

/// The deepest nesting that is looked into. Less than the 128 of serde_json, beyond which a body is no JSON for it.
pub(super) const DEPTH_MAX: usize = 100;

/// A value of a body.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Json<'b> {
    Null,
    Bool(bool),
    /// A whole number that fits.
    Int(i64),
    /// A larger one.
    Uint(u64),
    Double(f64),
    String(Cow<'b, str>),
    List(Vec<Json<'b>>),
    /// By name, in order; of repeated names the last one counts.
    Map(Vec<(Cow<'b, str>, Json<'b>)>),
    /// More than may be looked into.
    TooLarge,
}

/// The parts of a body that are looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All of it.
    All,
    /// Its type, and of an object these keys; of a list nothing.
    Keys(BTreeMap<Box<str>, Wanted>),
}

impl Default for Wanted {
    fn default() -> Self {
        Self::Keys(BTreeMap::new())
    }
}

impl Wanted {
    /// Adds the value at the end of a path; `of_end` is the part of it that is needed.
    pub(super) fn add<'p>(&mut self, mut path: impl Iterator<Item = &'p str>, of_end: Self) {
        match (self, path.next()) {
            (Self::All, _) => {}
            (place @ Self::Keys(_), None) => place.merge(of_end),
            (Self::Keys(keys), Some(key)) => keys.entry(key.into()).or_default().add(path, of_end),
        }
    }

    /// Adds all parts of `other`.
    pub(super) fn merge(&mut self, other: Self) {
        match (&mut *self, other) {
            (Self::All, _) => {}
            (_, Self::All) => *self = Self::All,
            (Self::Keys(keys), Self::Keys(others)) => {
                for (key, wanted) in others {
                    keys.entry(key).or_default().merge(wanted);
                }
            }
        }
    }
}

/// Reads the `wanted` parts of a body; `None` if the body is not JSON.
pub(super) fn read<'b>(body: &'b [u8], wanted: &Wanted) -> Option<Json<'b>> {
    let mut deserializer = serde_json::Deserializer::from_slice(without_mark(body));
    let mut values = 0;
    let json = Part {
        wanted,
        depth: 0,
        values: &mut values,
    }
    .deserialize(&mut deserializer)
    .ok()?;
    deserializer.end().ok()?;
    Some(json)
}

/// The value at one place.
struct Part<'w> {
    wanted: &'w Wanted,
    depth: usize,
    /// How many were built of the part that it belongs to.
    values: &'w mut usize,
}

impl Part<'_> {
    fn is_beyond(&self) -> bool {
        self.depth > DEPTH_MAX || *self.values > VALUES_MAX
    }
}

impl<'b> DeserializeSeed<'b> for Part<'_> {
    type Value = Json<'b>;

    fn deserialize<D: Deserializer<'b>>(self, deserializer: D) -> Result<Json<'b>, D::Error> {
        *self.values += 1;
        if self.is_beyond() {
            deserializer.deserialize_ignored_any(IgnoredAny)?;
            return Ok(Json::TooLarge);
        }
        deserializer.deserialize_any(self)
    }
}

impl<'b> Visitor<'b> for Part<'_> {
    type Value = Json<'b>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json<'b>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json<'b>, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json<'b>, E> {
        Ok(Json::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json<'b>, E> {
        Ok(i64::try_from(value).map_or(Json::Uint(value), Json::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json<'b>, E> {
        Ok(Json::Double(value))
    }

    fn visit_borrowed_str<E>(self, text: &'b str) -> Result<Json<'b>, E> {
        Ok(Json::String(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json<'b>, E> {
        Ok(Json::String(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'b>>(self, mut elements: A) -> Result<Json<'b>, A::Error> {
        let mut items = Vec::new();
        let mut is_whole = true;
        if *self.wanted == Wanted::All {
            while let Some(item) = elements.next_element_seed(Part {
                wanted: self.wanted,
                depth: self.depth + 1,
                values: self.values,
            })? {
                is_whole = item != Json::TooLarge;
                if !is_whole {
                    break;
                }
                items.push(item);
            }
        }
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(if is_whole {
            Json::List(items)
        } else {
            Json::TooLarge
        })
    }

    fn visit_map<A: MapAccess<'b>>(self, map: A) -> Result<Json<'b>, A::Error> {
        match self.wanted {
            Wanted::All => self.whole_map(map),
            Wanted::Keys(keys) => self.some_keys(keys, map),
        }
    }
}

impl Part<'_> {
    fn whole_map<'b, A: MapAccess<'b>>(self, mut map: A) -> Result<Json<'b>, A::Error> {
        let mut entries = Vec::new();
        while let Some(name) = map.next_key_seed(Name)? {
            let value = map.next_value_seed(Part {
                wanted: self.wanted,
                depth: self.depth + 1,
                values: self.values,
            })?;
            if value == Json::TooLarge {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                return Ok(Json::TooLarge);
            }
            entries.push((name, value));
        }
        Ok(Json::Map(in_order(entries)))
    }

    fn some_keys<'b, A: MapAccess<'b>>(
        self,
        keys: &BTreeMap<Box<str>, Wanted>,
        mut map: A,
    ) -> Result<Json<'b>, A::Error> {
        let mut entries = BTreeMap::new();
        while let Some(name) = map.next_key_seed(Name)? {
            let Some(wanted) = keys.get(&*name) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            // Each part has its own limit, so that a large one does not affect another.
            let value = map.next_value_seed(Part {
                wanted,
                depth: self.depth + 1,
                values: &mut 0,
            })?;
            entries.insert(name, value);
        }
        Ok(Json::Map(entries.into_iter().collect()))
    }
}

/// By name, the last one of each.
fn in_order<'b>(mut entries: Vec<(Cow<'b, str>, Json<'b>)>) -> Vec<(Cow<'b, str>, Json<'b>)> {
    entries.reverse();
    entries.sort_by(|(one, _), (other, _)| one.cmp(other));
    entries.dedup_by(|(later, _), (kept, _)| later == kept);
    entries
}

/// A key, borrowed if it has no escapes. One that is not valid text, such as a lone surrogate, stays as it is written.
struct Name;

impl<'b> DeserializeSeed<'b> for Name {
    type Value = Cow<'b, str>;

    fn deserialize<D: Deserializer<'b>>(self, deserializer: D) -> Result<Cow<'b, str>, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        Ok(text(raw).unwrap_or(Cow::Borrowed(raw.get())))
    }
}
