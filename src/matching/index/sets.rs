//! The conditions of all subscriptions, by the selectors they use.
//!
//! Most subscriptions of a configuration ask the same question (`/tenant_id`) and differ in the answer. So for each
//! distinct set of selectors the values of an event are looked up once and lead through a hash map to those that
//! require these, whose patterns decide.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};

use http::HeaderName;
use serde_json::value::RawValue;

use crate::domain::Patterns;
use crate::matching::condition::{Condition, Selector};
use crate::matching::facts::Facts;
use crate::matching::index::members::Members;
use crate::matching::patterns::PatternIndex;
use crate::matching::pointer::{self, Pointer};

/// All sets.
#[derive(Debug, Default)]
pub(super) struct Sets {
    sets: Vec<Set>,
    /// Each pointer once.
    pointers: Vec<Pointer>,
}

/// The subscriptions that have conditions on just these selectors.
#[derive(Debug)]
struct Set {
    places: Box<[Place]>,
    /// The distinct patterns of all of them: where these do not match, no value is needed.
    gate: PatternIndex,
    by_values: HashMap<Key, Members>,
    /// Bytes of the longest value that is wanted: a longer one need not be hashed.
    longest: usize,
}

/// Where a value is.
#[derive(Debug)]
enum Place {
    /// A number of a pointer.
    Body(usize),
    Header(HeaderName),
}

/// The values of a set's selectors, in order, each behind its length.
type Key = Box<[u8]>;

impl Sets {
    /// Appends the positions of those whose conditions hold and whose patterns match, in no order.
    pub(super) fn find(&self, facts: &Facts<'_>, found: &mut Vec<usize>) {
        let body = OnceCell::new();
        let mut key = Vec::new();
        let open = |set: &&Set| set.gate.matches_any(facts.event_type);
        for set in self.sets.iter().filter(open) {
            key.clear();
            let read = || Body::read(&self.pointers, facts.body);
            if set.key(facts, || body.get_or_init(read), &mut key)
                && let Some(members) = set.by_values.get(key.as_slice())
            {
                members.find(facts.event_type, found);
            }
        }
    }
}

impl Set {
    /// Joins the values of an event to a key; `false` if one is missing, or no subscription requires it.
    fn key<'b, 'j: 'b>(
        &self,
        facts: &Facts<'_>,
        body: impl Fn() -> &'b Body<'j>,
        key: &mut Vec<u8>,
    ) -> bool {
        self.places.iter().all(|place| {
            let value = match place {
                Place::Body(number) => body().value(*number),
                Place::Header(name) => facts.headers.get(name.as_str()),
            };
            let value = value.filter(|value| value.len() <= self.longest);
            value.inspect(|value| push(value, key)).is_some()
        })
    }
}

fn push(value: &str, key: &mut Vec<u8>) {
    key.extend_from_slice(&value.len().to_le_bytes());
    key.extend_from_slice(value.as_bytes());
}

/// The values that the pointers lead to in one body.
struct Body<'j>(Vec<Option<&'j RawValue>>);

impl<'j> Body<'j> {
    /// In a body that is not JSON they lead nowhere.
    fn read(pointers: &[Pointer], body: &'j [u8]) -> Self {
        let mut found = vec![None; pointers.len()];
        let located = pointer::locate(body, pointers.iter().enumerate(), &mut found);
        Self(located.map(|()| found).unwrap_or_default())
    }

    fn value(&self, number: usize) -> Option<Cow<'j, str>> {
        self.0
            .get(number)
            .copied()
            .flatten()
            .and_then(pointer::scalar)
    }
}

/// Puts the sets together.
#[derive(Default)]
pub(super) struct Builder<'a> {
    sets: HashMap<Vec<&'a Selector>, Growing<'a>>,
    /// In the order in which they came.
    order: Vec<Vec<&'a Selector>>,
}

/// The subscriptions of a set by the values they require.
type Growing<'a> = HashMap<Key, Vec<(usize, &'a Patterns)>>;

impl<'a> Builder<'a> {
    pub(super) fn add(
        &mut self,
        position: usize,
        patterns: &'a Patterns,
        conditions: &'a [Condition],
    ) {
        let mut conditions: Vec<&Condition> = conditions.iter().collect();
        conditions.sort_by_cached_key(|condition| condition.selector.to_string());
        let mut key = Vec::new();
        for condition in &conditions {
            push(&condition.value, &mut key);
        }
        let selectors: Vec<&Selector> = conditions.iter().map(|it| &it.selector).collect();
        if !self.sets.contains_key(&selectors) {
            self.order.push(selectors.clone());
        }
        let set = self.sets.entry(selectors).or_default();
        set.entry(key.into())
            .or_default()
            .push((position, patterns));
    }

    pub(super) fn build(mut self) -> Sets {
        let mut sets = Sets::default();
        let mut numbers: HashMap<&str, usize> = HashMap::new();
        for selectors in self.order {
            let Some(growing) = self.sets.remove(&selectors) else {
                continue;
            };
            let place = |selector: &&'a Selector| match selector {
                Selector::Header(name) => Place::Header(name.clone()),
                Selector::Body(text) => Place::Body(*numbers.entry(text).or_insert_with(|| {
                    sets.pointers.push(Pointer::new(text));
                    sets.pointers.len() - 1
                })),
            };
            let places = selectors.iter().map(place).collect();
            let longest = growing.keys().map(|key| key.len()).max();
            let distinct: HashSet<&Patterns> = growing
                .values()
                .flatten()
                .map(|(_, patterns)| *patterns)
                .collect();
            sets.sets.push(Set {
                places,
                gate: PatternIndex::new(distinct),
                by_values: growing
                    .into_iter()
                    .map(|(key, members)| (key, Members::new(&members)))
                    .collect(),
                longest: longest.unwrap_or_default(),
            });
        }
        sets
    }
}
