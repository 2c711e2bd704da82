//! Questions to people, where there are some.

use std::io::{self, BufRead, IsTerminal, Write};

use crate::cli::show::gate;

/// The most bytes of an answer that are read.
const ANSWER_BYTES_MAX: u64 = 1024;

/// Whether there is a user to ask.
pub(crate) fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks, and returns whether the answer is yes; anything else is no.
///
/// # Errors
/// The terminal is gone.
pub(crate) fn confirmed(question: &str) -> io::Result<bool> {
    confirmed_by(question, &mut io::stdin().lock(), &mut gate::stderr())
}

fn confirmed_by(
    question: &str,
    input: &mut dyn BufRead,
    output: &mut dyn Write,
) -> io::Result<bool> {
    write!(output, "{question} [y/N] ")?;
    output.flush()?;
    let mut answer = String::new();
    io::Read::take(input, ANSWER_BYTES_MAX).read_line(&mut answer)?;
    let answer = answer.trim();
    Ok(["y", "yes"]
        .iter()
        .any(|yes| answer.eq_ignore_ascii_case(yes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_a_yes() {
        let answer = |text: &str| {
            let mut shown = Vec::new();
            let yes = confirmed_by("Really?", &mut text.as_bytes(), &mut shown).unwrap();
            assert_eq!(shown, b"Really? [y/N] ");
            yes
        };
        assert!(answer("y\n"));
        assert!(answer(" YES \n"));
        for no in ["", "\n", "n\n", "ja\n", "yy\n"] {
            assert!(!answer(no), "{no:?}");
        }
    }
}
