//! Short ids: the beginning of each, as long as they stay different. The sidecar takes them for the whole.

use std::collections::BTreeSet;

/// Characters of an event id that are shown at least: `evt_`, the time and twelve bits that are random.
const LEAST: usize = 22;

/// The beginnings of ids of events or deliveries, all of one length but for what follows the dot.
pub(crate) fn ids<'i>(ids: impl Iterator<Item = &'i str>) -> Vec<String> {
    let parts: Vec<_> = ids
        .map(|id| {
            id.split_once('.')
                .map_or((id, None), |(event, name)| (event, Some(name)))
        })
        .collect();
    let events: BTreeSet<&str> = parts.iter().map(|(event, _)| *event).collect();
    let mut pairs = events.iter().zip(events.iter().skip(1));
    // In order, those with the longest common beginning stand beside each other.
    let common = |(one, other): (&&str, &&str)| {
        let same = one.chars().zip(other.chars());
        same.take_while(|(one, other)| one == other).count()
    };
    let mut length = LEAST;
    for pair in pairs.by_ref() {
        length = length.max(common(pair) + 1);
    }
    let shown = parts.iter().map(|(event, name)| {
        let mut id: String = event.chars().take(length).collect();
        if id.len() > 1 && id.ends_with('-') {
            id.pop();
        }
        match name {
            Some(name) => format!("{id}.{name}"),
            None => id,
        }
    });
    shown.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_as_short_as_they_stay_different() {
        let one = "evt_01932b4c-7d5e-7a3f-8abc-0123456789ab";
        let other = "evt_01932b4c-7d5e-7a3f-8abd-0123456789ab";
        let far = "evt_01932b4c-9999-7a3f-8abc-0123456789ab.billing";
        assert_eq!(
            ids([one, far].into_iter()),
            ["evt_01932b4c-7d5e-7a3f", "evt_01932b4c-9999-7a3f.billing"]
        );
        assert_eq!(
            ids([one, other, one].into_iter()),
            [
                "evt_01932b4c-7d5e-7a3f-8abc",
                "evt_01932b4c-7d5e-7a3f-8abd",
                "evt_01932b4c-7d5e-7a3f-8abc"
            ]
        );
        assert_eq!(ids(["-"].into_iter()), ["-"]);
    }
}
