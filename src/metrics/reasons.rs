//! Why attempts failed and deliveries were given up: two families by reason, of one subscription or of all together.

use std::fmt::Display;

use crate::domain::{DeadReason, FailureReason};
use crate::metrics::cells::Count;
use crate::metrics::exposition::{Exposition, Shown};

/// The counts by reason.
pub(super) struct Reasons {
    failures: ByCode,
    dead_letters: ByCode,
}

/// The names of the two families.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names {
    pub(super) failures: &'static str,
    pub(super) dead_letters: &'static str,
}

impl Reasons {
    pub(super) fn new() -> Self {
        Self {
            failures: ByCode::new(FailureReason::ALL.iter().map(|reason| reason.code())),
            dead_letters: ByCode::new(DeadReason::ALL.iter().map(|reason| reason.code())),
        }
    }

    pub(super) fn failures(&self, reason: FailureReason) -> &Count {
        self.failures.get(reason.code())
    }

    pub(super) fn dead_letters(&self, reason: DeadReason) -> &Count {
        self.dead_letters.get(reason.code())
    }

    /// Adds both families; `labels` is empty, or written out with a comma after each.
    pub(super) fn render(
        &self,
        exposition: &mut Exposition,
        names: Names,
        labels: impl Display + Copy,
        shown: Shown,
    ) {
        for reason in FailureReason::ALL {
            let labels = format_args!("{{{labels}reason=\"{}\"}}", reason.as_str());
            exposition.count(names.failures, labels, self.failures(*reason), shown);
        }
        for reason in DeadReason::ALL {
            let labels = format_args!("{{{labels}reason=\"{}\"}}", reason.as_str());
            exposition.count(
                names.dead_letters,
                labels,
                self.dead_letters(*reason),
                shown,
            );
        }
    }
}

/// Counts of one family by the code of their label: an array lookup.
pub(super) struct ByCode(Box<[Count]>);

impl ByCode {
    pub(super) fn new(codes: impl Iterator<Item = u8>) -> Self {
        let length = codes.max().map_or(0, |code| usize::from(code) + 1);
        Self((0..length).map(|_| Count::default()).collect())
    }

    pub(super) fn get(&self, code: u8) -> &Count {
        static NONE: Count = Count::new();
        self.0.get(usize::from(code)).unwrap_or(&NONE)
    }
}
