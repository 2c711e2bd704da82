//! Replacing ranges of a text, all of them seen from the text as it was.

use std::ops::Range;

/// Replacements to be made in one go.
#[derive(Debug, Default)]
pub(super) struct Splices(Vec<(Range<usize>, String)>);

impl Splices {
    /// Puts `with` where `range` is. At one place, what is put in first comes first.
    pub(super) fn replace(&mut self, range: Range<usize>, with: impl Into<String>) {
        self.0.push((range, with.into()));
    }

    /// The text after all replacements; `None` if two of them overlap or one is not a range of it.
    pub(super) fn applied_to(mut self, text: &str) -> Option<String> {
        // An insertion at the beginning of a removed range stands before it.
        self.0.sort_by_key(|(range, _)| (range.start, range.end));
        let mut new = String::with_capacity(text.len() + 256);
        let mut at = 0;
        for (range, with) in &self.0 {
            new.push_str(text.get(at..range.start)?);
            new.push_str(with);
            at = range.end.max(range.start);
        }
        new.push_str(text.get(at..)?);
        Some(new)
    }
}
