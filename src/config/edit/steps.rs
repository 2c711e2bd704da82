//! The change of a mapping or list, part by part: which stay, which change, which are new, in their order.

use std::collections::HashMap;

use crate::config::document::{Node, Value};
use crate::config::edit::want::{Reading, Want};

/// The most pairs of items that are compared to find out what a list has kept.
const COMPARED_MAX: usize = 1_000_000;

/// A change of a value and of its parts.
#[derive(Clone)]
pub(super) enum Alter {
    /// It stays.
    Keep,
    /// It goes, with its key.
    Remove,
    /// It becomes this.
    Set(Want),
    /// Of a mapping these fields change.
    Fields(Vec<(String, Alter)>),
}

/// A part of a mapping or list as it will be.
pub(super) enum Step {
    /// The part with this number, perhaps altered.
    Old(usize, Alter),
    /// A new one; with a key in a mapping.
    New(Option<String>, Want),
}

/// The parts of a collection after a change; `None` if it becomes something else.
pub(super) fn steps(node: &Node, alter: &Alter, reading: Reading) -> Option<Vec<Step>> {
    let steps = match (&node.value, alter) {
        (Value::Mapping(entries), Alter::Fields(fields)) => {
            let changes: HashMap<&str, &Alter> = fields
                .iter()
                .map(|(key, alter)| (key.as_str(), alter))
                .collect();
            let old = entries.iter().enumerate().filter_map(|(index, entry)| {
                match changes.get(entry.name()) {
                    None => Some(Step::Old(index, Alter::Keep)),
                    Some(Alter::Remove) => None,
                    Some(alter) => {
                        Some(Step::Old(index, unless_same(&entry.value, alter, reading)))
                    }
                }
            });
            let new = fields.iter().filter_map(|(key, alter)| {
                let is_new = !entries.iter().any(|entry| entry.name() == key);
                let want = if is_new { as_new(alter) } else { None };
                want.map(|want| Step::New(Some(key.clone()), want))
            });
            old.chain(new).collect()
        }
        (Value::Mapping(entries), Alter::Set(Want::Map(wants) | Want::Block(wants))) => {
            let gone = entries
                .iter()
                .filter(|entry| !wants.iter().any(|(key, _)| key == entry.name()))
                .map(|entry| (entry.name().to_owned(), Alter::Remove));
            let set = wants
                .iter()
                .map(|(key, want)| (key.clone(), Alter::Set(want.clone())));
            let fields = Alter::Fields(gone.chain(set).collect());
            return steps(node, &fields, reading);
        }
        (Value::Sequence(items), Alter::Set(Want::List(wants))) => list(items, wants, reading),
        (Value::Mapping(_) | Value::Sequence(_) | Value::Scalar(_), _) => return None,
    };
    Some(steps)
}

/// The value of a new place; `None` if it stays empty.
pub(super) fn as_new(alter: &Alter) -> Option<Want> {
    match alter {
        Alter::Keep | Alter::Remove => None,
        Alter::Set(want) => Some(want.clone()),
        Alter::Fields(fields) => Some(Want::Block(
            fields
                .iter()
                .filter_map(|(key, alter)| Some((key.clone(), as_new(alter)?)))
                .collect(),
        )),
    }
}

fn unless_same(node: &Node, alter: &Alter, reading: Reading) -> Alter {
    match alter {
        Alter::Set(want) if want.is_said_by(node, reading) => Alter::Keep,
        Alter::Keep | Alter::Remove | Alter::Set(_) | Alter::Fields(_) => alter.clone(),
    }
}

/// The items that both have stay; between them the old items are replaced by the wanted ones, one by one.
fn list(items: &[Node], wants: &[Want], reading: Reading) -> Vec<Step> {
    let mut steps = Vec::with_capacity(wants.len());
    let (mut item, mut want) = (0, 0);
    let ends = std::iter::once((items.len(), wants.len()));
    for (same_item, same_want) in common(items, wants, reading).into_iter().chain(ends) {
        while want < same_want {
            if let Some(wanted) = wants.get(want) {
                if item < same_item {
                    steps.push(Step::Old(item, Alter::Set(wanted.clone())));
                    item += 1;
                } else {
                    steps.push(Step::New(None, wanted.clone()));
                }
            }
            want += 1;
        }
        if same_item < items.len() {
            steps.push(Step::Old(same_item, Alter::Keep));
        }
        (item, want) = (same_item + 1, same_want + 1);
    }
    steps
}

/// The longest sequence of pairs of equal items; of very long lists only the beginnings are compared.
fn common(items: &[Node], wants: &[Want], reading: Reading) -> Vec<(usize, usize)> {
    let is_same = |item: usize, want: usize| match (items.get(item), wants.get(want)) {
        (Some(node), Some(want)) => want.is_said_by(node, reading),
        _ => false,
    };
    if items.len().saturating_mul(wants.len()) > COMPARED_MAX {
        return (0..items.len())
            .take_while(|index| is_same(*index, *index))
            .map(|index| (index, index))
            .collect();
    }
    let width = wants.len() + 1;
    let mut lengths = vec![0_usize; (items.len() + 1) * width];
    let at = |lengths: &[usize], item: usize, want: usize| {
        lengths.get(item * width + want).copied().unwrap_or(0)
    };
    for item in (0..items.len()).rev() {
        for want in (0..wants.len()).rev() {
            let length = if is_same(item, want) {
                at(&lengths, item + 1, want + 1) + 1
            } else {
                at(&lengths, item + 1, want).max(at(&lengths, item, want + 1))
            };
            if let Some(place) = lengths.get_mut(item * width + want) {
                *place = length;
            }
        }
    }
    let (mut item, mut want) = (0, 0);
    let mut pairs = Vec::new();
    while item < items.len() && want < wants.len() {
        if is_same(item, want) {
            pairs.push((item, want));
            (item, want) = (item + 1, want + 1);
        } else if at(&lengths, item + 1, want) >= at(&lengths, item, want + 1) {
            item += 1;
        } else {
            want += 1;
        }
    }
    pairs
}
