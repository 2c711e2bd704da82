//! Hides what looks like a secret in messages: secrets end up in the wrong fields, and messages quote wrong values.
//!
//! The one place that decides this for all quotes of a configuration or an argument. It may hide too much, but never
//! a place: line, column and path are always shown.

use std::borrow::Cow;

/// The text that replaces a secret in a message.
pub const CONCEALED: &str = "(not shown)";

/// The first characters of secrets from well-known issuers.
const PREFIXES: [&str; 32] = [
    "whsec_",
    "whsk_",
    "sk_",
    "sk-",
    "rk_",
    "pk_",
    "ghp_",
    "gho_",
    "ghs_",
    "ghu_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "gldt-",
    "xoxb-",
    "xoxp-",
    "xoxa-",
    "xoxs-",
    "xapp-",
    "akia",
    "asia",
    "aiza",
    "ya29.",
    "eyj",
    "sg.",
    "npm_",
    "hf_",
    "dop_v1_",
    "shpat_",
    "shpss_",
    "sqsp_",
    "pat_",
];

/// How many characters must follow a prefix, so that the prefix alone can be mentioned.
const AFTER_PREFIX: usize = 6;

/// A run of letters and digits of this length is not a word.
const LONG: usize = 24;

/// One of this length is not a word either if it changes between letters and digits.
const MIXED: usize = 12;

/// Replaces everything in a text that looks like a secret.
#[must_use]
pub fn conceal(text: &str) -> Cow<'_, str> {
    if text.contains("-----BEGIN") {
        // The text before it may be part of a secret.
        return Cow::Borrowed(CONCEALED);
    }
    let mut shown = String::new();
    let mut copied = 0;
    for (start, token) in tokens(text) {
        if is_secret(token) {
            shown.push_str(text.get(copied..start).unwrap_or_default());
            shown.push_str(CONCEALED);
            copied = start + token.len();
        }
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    shown.push_str(text.get(copied..).unwrap_or_default());
    Cow::Owned(shown)
}

/// Whether something in a text looks like a secret.
#[must_use]
pub fn looks_secret(text: &str) -> bool {
    text.contains("-----BEGIN") || tokens(text).any(|(_, token)| is_secret(token))
}

/// The stretches of a text that have neither space, quote nor bracket.
fn tokens(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_between = |character: char| {
        character.is_whitespace() || character.is_control() || "\"'`()[]{}<>,;|".contains(character)
    };
    let mut at = 0;
    text.split(is_between).filter_map(move |token| {
        let start = at;
        let rest = text.get(start + token.len()..).unwrap_or_default();
        at = start + token.len() + rest.chars().next().map_or(0, char::len_utf8);
        (!token.is_empty()).then_some((start, token))
    })
}

fn is_secret(token: &str) -> bool {
    has_userinfo(token)
        || is_encoded(token)
        || token
            .split(['/', ':', '=', '@', '&', '?', '#'])
            .any(|part| {
                has_prefix(part) || part.split(['.', '-', '_', '+', '~', '%']).any(is_random)
            })
}

/// `https://user:password@host`
fn has_userinfo(token: &str) -> bool {
    let after = token.split_once("://").map(|(_, after)| after);
    let authority = after.and_then(|after| after.split(['/', '?', '#']).next());
    authority.is_some_and(|authority| authority.contains('@'))
}

fn has_prefix(part: &str) -> bool {
    let part = part
        .trim_start_matches(['!', '*', '$', '\\'])
        .to_ascii_lowercase();
    PREFIXES.iter().any(|prefix| {
        let rest = part.strip_prefix(prefix);
        rest.is_some_and(|rest| {
            rest.chars().filter(char::is_ascii_alphanumeric).count() >= AFTER_PREFIX
        })
    })
}

/// A run of letters and digits that is not a word.
fn is_random(part: &str) -> bool {
    let (changes, cases) = turns(part);
    let length = part.chars().count();
    let is_word = part.chars().all(char::is_alphanumeric);
    let is_number = length >= MIXED && part.chars().all(|it| it.is_ascii_digit());
    let is_mixed = length >= MIXED && (changes >= 2 || cases * 3 > length);
    is_word && (length >= LONG || is_number || is_mixed)
}

/// Base64, padded or with its special characters, whose parts alone may be too short to recognize.
fn is_encoded(token: &str) -> bool {
    let is_path = token.starts_with(['/', '.']) || token.contains("://");
    let mut characters = token.chars().filter(char::is_ascii_alphanumeric);
    let length = characters.clone().count();
    let has_upper = characters.clone().any(|it| it.is_ascii_uppercase());
    let has_lower = characters.clone().any(|it| it.is_ascii_lowercase());
    let has_digit = characters.any(|it| it.is_ascii_digit());
    let is_base64 = token
        .chars()
        .all(|it| it.is_ascii_alphanumeric() || "+/=-_".contains(it));
    let is_marked = token.ends_with('=') || token.contains('+');
    let (changes, cases) = turns(token);
    let is_mixed = has_upper && has_lower && has_digit;
    !is_path
        && is_base64
        && is_mixed
        && ((length >= 16 && is_marked) || (length >= 20 && (changes >= 4 || cases >= 4)))
}

/// How often a text changes between letters and digits, and from small letters to capitals.
fn turns(text: &str) -> (usize, usize) {
    let pairs = || text.chars().zip(text.chars().skip(1));
    let changes = pairs().filter(|(one, next)| {
        one.is_ascii_digit() != next.is_ascii_digit()
            && one.is_alphanumeric()
            && next.is_alphanumeric()
    });
    let cases = pairs().filter(|(one, next)| one.is_lowercase() && next.is_uppercase());
    (changes.count(), cases.count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_secret_is_not_shown() {
        for secret in [
            "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
            "WHSEC_abcdef",
            "whsk_0123456789",
            "sk_live_abcdef",
            "ghp_hunterhunter",
            "github_pat_abcdefgh",
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",
            "AKIAIOSFODNN7EXAMPLE",
            "5f4dcc3b5aa765d61d8327deb882cf99",
            "0123456789abcdef0123456789abcdef",
            "qwrtzxkjhgfdsapoiuymnbvc",
            "k3J/9x+Qa8LmZp0R2s==",
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "aB3_dE-9xYz0_kLm8-pQr7sT",
            "4111111111111111",
            "a8f5f167f44f",
            "https://user:hunter2@a.example/x",
            "https://hunter2@a.example",
            "-----BEGIN PRIVATE KEY-----\nMIIB",
            "Bearer 0a1b2c3d4e5f6a7b",
            "x=0a1b2c3d4e5f6a7b&y",
            "${whsec_abcdefgh}",
        ] {
            assert!(looks_secret(secret), "{secret}");
            let said = conceal(secret).into_owned();
            let longest = secret.split(|it: char| !it.is_alphanumeric());
            let longest = longest.max_by_key(|part| part.len()).unwrap();
            assert!(!said.contains(longest), "{said}");
        }
    }

    #[test]
    fn words_of_people_are_shown() {
        for text in [
            "expected one of whsec, text, found \"raw\"",
            "a key of whsec_ and base64 of 24 to 64 bytes",
            "unknown key, did you mean rate_limit?",
            "the environment variable BILLING_WEBHOOK_SECRET is not set, or empty",
            "/etc/sidehook/conf.d/billing-2024.yaml cannot be read",
            "secrets/missing cannot be read: No such file or directory (os error 2)",
            "expected a URL such as https://partner.example.com/hooks",
            "X-Hub-Signature-256",
            "subscriptions.billing-production-eu-west-1.headers",
            "2026-11-24T10:00:00.123Z",
            "[fd00:1234:5678:9abc::1]:8080",
            "10.0.0.0/8",
            "unix:/run/sidehook/events.sock",
            "data.customer.emailAddress == \"a\"",
            "conf.d/**/*.yaml",
            "user@partner.example.com",
        ] {
            assert_eq!(conceal(text), text);
        }
    }

    #[test]
    fn the_rest_of_a_message_stays() {
        assert_eq!(
            conceal("unknown scheme \"ghp_0123456789\", expected one of standard, github"),
            "unknown scheme \"(not shown)\", expected one of standard, github"
        );
        assert_eq!(conceal("é \"ghp_0123456789\" é"), "é \"(not shown)\" é");
    }
}
