//! Everything that is printed passes here: control, bidirectional and invisible characters become escapes.
//!
//! Commands open standard output and error only here and as a `Screen`, so that none can forget it. Where output goes
//! makes no difference: it may be shown later.

use std::fmt::Write as _;
use std::io::{self, Stderr, Stdout, Write};

use serde_json::Value;

use crate::cli::show::text::plain;
use crate::domain::is_format;

/// Writes text with line breaks, and everything else of its kind as escapes; what is no text as `\xNN`.
#[derive(Debug)]
pub(crate) struct Gate<W: Write> {
    out: W,
    /// The beginning of a character whose end is not written yet.
    begun: Vec<u8>,
}

impl<W: Write> Gate<W> {
    /// Everything goes to `out`.
    pub(crate) fn new(out: W) -> Self {
        Self {
            out,
            begun: Vec::new(),
        }
    }
}

/// Standard output.
pub(crate) fn stdout() -> Gate<Stdout> {
    Gate::new(io::stdout())
}

/// Standard error.
pub(crate) fn stderr() -> Gate<Stderr> {
    Gate::new(io::stderr())
}

impl<W: Write> Write for Gate<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut all = std::mem::take(&mut self.begun);
        all.extend_from_slice(bytes);
        let mut shown = String::with_capacity(all.len());
        for chunk in all.utf8_chunks() {
            push_lines(chunk.valid(), &mut shown);
            let invalid = chunk.invalid();
            let is_at_end = all.ends_with(invalid) && !invalid.is_empty();
            // Three bytes at most may be the beginning of a character.
            let may_go_on = str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none());
            if is_at_end && may_go_on {
                self.begun = invalid.to_vec();
            } else {
                push_bytes(invalid, &mut shown);
            }
        }
        self.out.write_all(shown.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let begun = std::mem::take(&mut self.begun);
        let mut shown = String::new();
        push_bytes(&begun, &mut shown);
        self.out.write_all(shown.as_bytes())?;
        self.out.flush()
    }
}

impl<W: Write> Drop for Gate<W> {
    fn drop(&mut self) {
        if !self.begun.is_empty() {
            // An error could not be reported any more.
            self.flush().unwrap_or_default();
        }
    }
}

/// The text in lines.
pub(crate) fn lines(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    push_lines(text, &mut shown);
    shown
}

fn push_lines(text: &str, shown: &mut String) {
    for (index, line) in text.split('\n').enumerate() {
        if index > 0 {
            shown.push('\n');
        }
        shown.push_str(&plain(line));
    }
}

fn push_bytes(bytes: &[u8], shown: &mut String) {
    for byte in bytes {
        // A String takes everything.
        write!(shown, "\\x{byte:02x}").unwrap_or_default();
    }
}

/// The value as JSON on one line, in which everything of that kind is an escape of JSON: it means the same.
pub(crate) fn json(value: &Value) -> String {
    escaped_json(&value.to_string())
}

/// The same of JSON that is written already.
pub(crate) fn escaped_json(written: &str) -> String {
    let mut shown = String::with_capacity(written.len());
    for character in written.chars() {
        // Outside of texts JSON has none of these but line breaks and tabs.
        let is_space = matches!(character, '\n' | '\r' | '\t');
        if !is_space && (character.is_control() || is_format(character)) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(shown, "\\u{unit:04x}").unwrap_or_default();
            }
        } else {
            shown.push(character);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(parts: &[&[u8]]) -> String {
        let mut out = Vec::new();
        let mut gate = Gate::new(&mut out);
        for part in parts {
            gate.write_all(part).unwrap();
        }
        drop(gate);
        String::from_utf8(out).unwrap()
    }

    /// All that must not reach a terminal.
    pub(crate) fn dangerous() -> impl Iterator<Item = char> {
        let ranges = [
            '\0'..='\u{9}',
            '\u{b}'..='\u{1f}',
            '\u{7f}'..='\u{9f}',
            '\u{61c}'..='\u{61c}',
            '\u{200b}'..='\u{200f}',
            '\u{2028}'..='\u{202e}',
            '\u{2060}'..='\u{2069}',
            '\u{feff}'..='\u{feff}',
            '\u{e0001}'..='\u{e007f}',
        ];
        ranges.into_iter().flatten()
    }

    #[test]
    fn nothing_that_steers_a_terminal_goes_through() {
        for character in dangerous() {
            let shown = written(&[format!("a{character}\n").as_bytes()]);
            assert!(
                shown.starts_with("a\\") && shown.ends_with('\n'),
                "{shown:?}"
            );
            assert!(!shown.contains(character));
            let shown = json(&Value::from(format!("a{character}")));
            assert!(!shown.contains(character), "{shown:?}");
            let back: Value = serde_json::from_str(&shown).unwrap();
            assert_eq!(back, Value::from(format!("a{character}")));
        }
    }

    #[test]
    fn text_goes_through_as_it_is_however_it_is_cut() {
        let text = "é日𝄞\nx\\n \"ü\"\n";
        assert_eq!(written(&[text.as_bytes()]), text);
        let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        assert_eq!(written(&bytes), text);
        assert_eq!(written(&[b"\xff a \xc3"]), "\\xff a \\xc3");
        assert_eq!(written(&[b"\xc2", b"\x9b31m"]), "\\u{9b}31m");
    }
}
