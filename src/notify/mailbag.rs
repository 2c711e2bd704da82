//! Which turns (status changes) of a subscription make one e-mail: those of a second, and then those of a minute. Pure.

use std::collections::BTreeMap;
use std::mem;
use std::time::Duration;

use crate::alerts::StatusAlert;
use crate::domain::{SubscriptionName, Timestamp};

/// How long to wait for a further turn before the first e-mail is sent.
const LINGER: Duration = Duration::from_secs(1);
/// The least time between two e-mails about a subscription.
const PAUSE: Duration = Duration::from_secs(60);
/// The most turns in one e-mail; the oldest are dropped first.
const TURNS_MAX: usize = 16;

/// The content of one e-mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mail {
    /// The subscription.
    pub(super) about: SubscriptionName,
    /// Its turns with their times, in order; at least one.
    pub(super) turns: Vec<(Timestamp, StatusAlert)>,
}

/// Turns that wait for their e-mail, by subscription.
#[derive(Debug, Default)]
pub(super) struct Mailbag(BTreeMap<SubscriptionName, OfSubscription>);

#[derive(Debug, Default)]
struct OfSubscription {
    turns: Vec<(Timestamp, StatusAlert)>,
    due_at: Timestamp,
    taken_at: Option<Timestamp>,
}

impl Mailbag {
    /// Adds a turn at `now`.
    pub(super) fn add(
        &mut self,
        about: SubscriptionName,
        turn: (Timestamp, StatusAlert),
        now: Timestamp,
    ) {
        let gathered = self.0.entry(about).or_default();
        if gathered.turns.is_empty() {
            let soon = now.plus(LINGER);
            let pause_ends = gathered.taken_at.map(|at| at.plus(PAUSE));
            gathered.due_at = pause_ends.map_or(soon, |ends| ends.max(soon));
        }
        if gathered.turns.len() >= TURNS_MAX {
            gathered.turns.remove(0);
        }
        gathered.turns.push(turn);
    }

    /// Takes the e-mails that are due at `now`.
    pub(super) fn take(&mut self, now: Timestamp) -> Vec<Mail> {
        let mut mails = Vec::new();
        for (about, gathered) in &mut self.0 {
            if gathered.turns.is_empty() || gathered.due_at > now {
                continue;
            }
            gathered.taken_at = Some(now);
            mails.push(Mail {
                about: about.clone(),
                turns: mem::take(&mut gathered.turns),
            });
        }
        let holds_back = |at: Timestamp| now.since(at) < PAUSE;
        self.0
            .retain(|_, it| !it.turns.is_empty() || it.taken_at.is_some_and(holds_back));
        mails
    }

    /// Takes all of them, also those that would wait.
    pub(super) fn take_all(&mut self) -> Vec<Mail> {
        let gathered = mem::take(&mut self.0).into_iter();
        let mails = gathered.map(|(about, gathered)| Mail {
            about,
            turns: gathered.turns,
        });
        mails.filter(|mail| !mail.turns.is_empty()).collect()
    }

    /// When the next e-mail is due; `None` if nothing waits.
    pub(super) fn next_at(&self) -> Option<Timestamp> {
        let waiting = self.0.values().filter(|it| !it.turns.is_empty());
        waiting.map(|it| it.due_at).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(secs * 1000)
    }

    fn add(mailbag: &mut Mailbag, name: &str, secs: i64) {
        let turn = StatusAlert::Recovered { disabled: None };
        mailbag.add(name.parse().unwrap(), (at(secs), turn), at(secs));
    }

    /// The times of the turns of each e-mail.
    fn taken(mailbag: &mut Mailbag, secs: i64) -> Vec<Vec<Timestamp>> {
        let mails = mailbag.take(at(secs)).into_iter();
        mails
            .map(|mail| mail.turns.into_iter().map(|turn| turn.0).collect())
            .collect()
    }

    #[test]
    fn turns_of_a_second_are_one_mail_and_then_those_of_a_minute() {
        let mut mailbag = Mailbag::default();
        add(&mut mailbag, "a", 100);
        add(&mut mailbag, "a", 100);
        assert_eq!(mailbag.next_at(), Some(at(101)));
        assert_eq!(taken(&mut mailbag, 100), [[]; 0]);
        assert_eq!(taken(&mut mailbag, 101), [[at(100), at(100)]]);
        add(&mut mailbag, "a", 102);
        add(&mut mailbag, "a", 160);
        assert_eq!(mailbag.next_at(), Some(at(161)));
        assert_eq!(taken(&mut mailbag, 160), [[]; 0]);
        assert_eq!(taken(&mut mailbag, 161), [[at(102), at(160)]]);
        assert_eq!(mailbag.next_at(), None);
    }

    #[test]
    fn a_subscription_does_not_wait_for_another() {
        let mut mailbag = Mailbag::default();
        add(&mut mailbag, "a", 100);
        assert_eq!(taken(&mut mailbag, 101).len(), 1);
        add(&mut mailbag, "b", 102);
        assert_eq!(taken(&mut mailbag, 103).len(), 1);
    }

    #[test]
    fn at_the_end_nothing_waits() {
        let mut mailbag = Mailbag::default();
        add(&mut mailbag, "a", 100);
        assert_eq!(taken(&mut mailbag, 101).len(), 1);
        add(&mut mailbag, "b", 101);
        assert_eq!(mailbag.take_all().len(), 1);
        assert_eq!(mailbag.take_all(), []);
    }

    #[test]
    fn what_waits_is_bounded_and_what_is_over_is_forgotten() {
        let mut mailbag = Mailbag::default();
        for _ in 0..1000 {
            add(&mut mailbag, "a", 100);
        }
        assert_eq!(taken(&mut mailbag, 101)[0].len(), TURNS_MAX);
        assert_eq!(taken(&mut mailbag, 161).len(), 0);
        assert!(mailbag.0.is_empty());
    }
}
