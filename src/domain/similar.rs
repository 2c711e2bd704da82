//! "Did you mean": the known word that a misspelt one is closest to.

/// The known word within one edit for short words and two for longer ones.
pub(crate) fn similar<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let allowed = if word.chars().count() < 5 { 1 } else { 2 };
    known
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(edits, _)| *edits <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions and replacements between two words (Levenshtein). Words of very different length, such as a
/// pasted text, are not compared.
fn distance(from: &str, to: &str) -> usize {
    if from.len().abs_diff(to.len()) > 2 {
        return usize::MAX;
    }
    let to: Vec<char> = to.chars().flat_map(char::to_lowercase).collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (index, left) in from.chars().flat_map(char::to_lowercase).enumerate() {
        let mut next = vec![index + 1];
        for ((right, diagonal), above) in to.iter().zip(&row).zip(row.iter().skip(1)) {
            let beside = next.last().copied().unwrap_or(usize::MAX - 1);
            let replaced = diagonal + usize::from(left != *right);
            next.push(replaced.min(above + 1).min(beside + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_word_finds_the_one_that_was_meant() {
        let known = ["url", "events", "timeout", "title"];
        assert_eq!(similar("evnts", known), Some("events"));
        assert_eq!(similar("Timeout", known), Some("timeout"));
        assert_eq!(similar("timeouts", known), Some("timeout"));
        assert_eq!(similar("uri", known), Some("url"));
        assert_eq!(similar("rate_limit", known), None);
        assert_eq!(similar("", known), None);
    }

    #[test]
    fn distance_counts_edits() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "ab"), 2);
        assert_eq!(distance("same", "same"), 0);
    }
}
