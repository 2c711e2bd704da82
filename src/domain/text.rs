//! Texts that look like others, and names that mean this machine.

/// Invisible characters, and such as separate lines or change their direction.
/// Source: Unicode 16, general category Cf, and the separators U+2028 and U+2029.
#[must_use]
pub fn is_format(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Whether a name means this machine by definition: `localhost` and all below it (RFC 6761, section 6.3).
#[must_use]
pub fn is_localhost(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_below_localhost_are_this_machine() {
        for name in ["localhost", "LOCALHOST.", "a.localhost", "a.b.LocalHost"] {
            assert!(is_localhost(name), "{name}");
        }
        for name in ["localhost.example", "notlocalhost", "", "local"] {
            assert!(!is_localhost(name), "{name}");
        }
    }
}
