//! Compares an edited text with the old one, independently of how it was made: only the requested change may differ.

use crate::config::document::{Document, Node, Root, Value};
use crate::config::edit::steps::{Alter, as_new};
use crate::config::edit::want::Reading;

/// Whether the new document is the old one with this change and nothing else.
pub(super) fn is_as_asked(old: &Document, new: &Document, alter: &Alter) -> bool {
    match (&old.root, &new.root) {
        (Root::Node(old), Root::Node(new)) => has_become(old, new, alter),
        (Root::Empty, Root::Node(new)) => {
            as_new(alter).is_some_and(|want| want.is_said_by(new, Reading::Texts))
        }
        (Root::Broken | Root::Empty | Root::Node(_), _) => false,
    }
}

fn has_become(old: &Node, new: &Node, alter: &Alter) -> bool {
    match alter {
        Alter::Remove => false,
        Alter::Keep => is_same(old, new),
        Alter::Set(want) => want.is_said_by(new, Reading::Texts),
        Alter::Fields(fields) => {
            let Value::Mapping(entries) = &new.value else {
                return false;
            };
            let empty = Vec::new();
            let before = match &old.value {
                Value::Mapping(entries) => entries,
                Value::Scalar(_) | Value::Sequence(_) => &empty,
            };
            let find = |name: &str| entries.iter().find(|entry| entry.name() == name);
            let changed = fields.iter().all(|(name, alter)| {
                let had = before.iter().find(|entry| entry.name() == name);
                match (had, find(name), as_new(alter)) {
                    (_, None, _) => {
                        matches!(alter, Alter::Remove) || (had.is_none() && as_new(alter).is_none())
                    }
                    (Some(had), Some(has), _) => has_become(&had.value, &has.value, alter),
                    (None, Some(has), Some(want)) => want.is_said_by(&has.value, Reading::Texts),
                    (None, Some(_), None) => false,
                }
            });
            let is_named = |name: &str| fields.iter().any(|(field, _)| field == name);
            let kept = before
                .iter()
                .filter(|entry| !is_named(entry.name()))
                .all(|entry| {
                    find(entry.name()).is_some_and(|new| is_same(&entry.value, &new.value))
                });
            let none_new = entries.iter().all(|entry| {
                is_named(entry.name()) || before.iter().any(|old| old.name() == entry.name())
            });
            changed && kept && none_new
        }
    }
}

/// Whether two nodes are equal, in the same order and with scalars of the same kind.
fn is_same(old: &Node, new: &Node) -> bool {
    match (&old.value, &new.value) {
        (Value::Scalar(old), Value::Scalar(new)) => old.text == new.text && old.plain == new.plain,
        (Value::Sequence(old), Value::Sequence(new)) => {
            old.len() == new.len() && old.iter().zip(new).all(|(old, new)| is_same(old, new))
        }
        (Value::Mapping(old), Value::Mapping(new)) => {
            old.len() == new.len()
                && old
                    .iter()
                    .zip(new)
                    .all(|(old, new)| old.name() == new.name() && is_same(&old.value, &new.value))
        }
        (Value::Scalar(_) | Value::Sequence(_) | Value::Mapping(_), _) => false,
    }
}
