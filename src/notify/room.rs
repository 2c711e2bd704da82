//! When to report that events are refused for lack of space: once, until none was refused for a while. Pure.

use std::time::Duration;

use crate::alerts::Shortage;
use crate::domain::Timestamp;

/// No event must be refused for this long before it is reported again.
const QUIET: Duration = Duration::from_secs(60);

/// The refusals seen so far.
#[derive(Debug)]
pub(super) struct Room {
    refused: u64,
    /// When new refusals were seen last.
    refused_at: Option<Timestamp>,
}

impl Room {
    /// `refused` events were refused before.
    pub(super) fn new(refused: u64) -> Self {
        let refused_at = None;
        Self {
            refused,
            refused_at,
        }
    }

    /// Takes the total of `refused` events; returns what to report, if anything.
    pub(super) fn look(
        &mut self,
        refused: u64,
        is_disk_full: bool,
        now: Timestamp,
    ) -> Option<Shortage> {
        if refused == self.refused {
            return None;
        }
        self.refused = refused;
        let before = self.refused_at.replace(now);
        let is_known = before.is_some_and(|before| now.since(before) < QUIET);
        let shortage = match is_disk_full {
            true => Shortage::Disk,
            false => Shortage::Pending,
        };
        (!is_known).then_some(shortage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(secs * 1000)
    }

    #[test]
    fn want_of_room_is_told_once_until_there_was_room_for_a_minute() {
        let mut room = Room::new(3);
        assert_eq!(room.look(3, true, at(0)), None);
        assert_eq!(room.look(4, true, at(2)), Some(Shortage::Disk));
        assert_eq!(room.look(9, true, at(50)), None);
        assert_eq!(room.look(9, false, at(100)), None);
        assert_eq!(room.look(10, false, at(109)), None);
        assert_eq!(room.look(11, false, at(169)), Some(Shortage::Pending));
    }
}
