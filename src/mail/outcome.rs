//! The outcome of sending an e-mail.

use crate::domain::FailureReason;

/// How an e-mail was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mailed {
    /// The server's reply code; `None` if no recipient is left, so that no server was asked.
    pub code: Option<u16>,
    /// The server's reply, cut and printable.
    pub reply: String,
}

/// Why an e-mail was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailFailure {
    /// The class.
    pub reason: FailureReason,
    /// The server's reply code, if it refused.
    pub code: Option<u16>,
    /// For people; at most 256 bytes, no secrets.
    pub message: String,
}

impl MailFailure {
    pub(super) fn new(reason: FailureReason, message: impl AsRef<str>) -> Self {
        let message = printable(message.as_ref());
        let code = None;
        Self {
            reason,
            code,
            message,
        }
    }
}

/// Longest text of a failure or a reply, bytes.
const TEXT_MAX: usize = 256;

/// A text that may come from the server, for logs and answers: one line, no control characters, bounded in length.
pub(super) fn printable(text: &str) -> String {
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    let mut text: String = text.chars().take(TEXT_MAX).map(shown).collect();
    text.truncate(text.floor_char_boundary(TEXT_MAX));
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_is_cut_and_printable() {
        assert_eq!(
            printable("busy\r\ntry \x1b[31mlater\n"),
            "busy  try  [31mlater"
        );
        assert_eq!(printable(&"é".repeat(500)).len(), TEXT_MAX);
    }
}
