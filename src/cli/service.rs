//! The variables of a service, for commands beside it.
//!
//! The shipped unit reads `EnvironmentFile=-/etc/sidehook/environment`. A shell has none of that, so commands which read the
//! configuration take unset variables from the file `environment` in the folder of the configuration, if this user may
//! read it and it belongs to him or root. Nothing of it is shown.
//!
//! Source: systemd.exec(5), `EnvironmentFile=`; `env-file.c` of systemd for the meaning of escapes.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::OpenOptions;
use std::io::Read as _;
use std::iter::Peekable;
use std::path::{Path, PathBuf};
use std::str::Chars;

use crate::config::Environment;
use crate::private;

/// The name of the file.
const FILE: &str = "environment";
/// The most bytes of it that are read.
const BYTES_MAX: u64 = 256 * 1024;

/// The environment with what the service of this configuration has beside it; what is set already stays.
pub(super) fn with_variables(config: &Path, environment: Environment) -> Environment {
    with_variables_and_file(config, environment).0
}

/// The same, and the file, if anything comes from it.
pub(super) fn with_variables_and_file(
    config: &Path,
    mut environment: Environment,
) -> (Environment, Option<PathBuf>) {
    let path = config.with_file_name(FILE);
    let mut is_used = false;
    for (name, value) in read(&path).unwrap_or_default() {
        if let Entry::Vacant(absent) = environment.variables.entry(name) {
            absent.insert(value);
            is_used = true;
        }
    }
    (environment, is_used.then_some(path))
}

fn read(path: &Path) -> Option<BTreeMap<String, String>> {
    let file = private::open(path, OpenOptions::new().read(true)).ok()?;
    let mut text = String::new();
    file.take(BYTES_MAX).read_to_string(&mut text).ok()?;
    Some(parse(&text))
}

/// Reads assignments; what is none is passed over.
fn parse(text: &str) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    let mut rest = text.chars().peekable();
    while let Some(first) = rest.peek().copied() {
        if first.is_whitespace() {
            rest.next();
            continue;
        }
        if ['#', ';'].contains(&first) {
            rest.by_ref().find(|next| *next == '\n');
            continue;
        }
        let name = name(&mut rest);
        let is_assignment = rest.next_if_eq(&'=').is_some();
        let value = value(&mut rest);
        if is_assignment && is_name(&name) {
            variables.insert(name, value);
        }
    }
    variables
}

/// Reads the name before `=`, on one line.
fn name(rest: &mut Peekable<Chars<'_>>) -> String {
    let mut name = String::new();
    while let Some(next) = rest.next_if(|next| !['=', '\n'].contains(next)) {
        name.push(next);
    }
    name.trim_end().to_owned()
}

fn is_name(name: &str) -> bool {
    let is_valid = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    name.chars().all(is_valid)
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && !name.is_empty()
}

/// Reads the value behind `=`, up to the end of the line that is not escaped or quoted.
fn value(rest: &mut Peekable<Chars<'_>>) -> String {
    let mut value = String::new();
    // So many bytes do not end with a space that may go.
    let mut kept = 0;
    // Quotes within a word are signs like others.
    let mut in_word = false;
    while let Some(next) = rest.next() {
        match next {
            '\n' => break,
            quote @ ('"' | '\'') if !in_word => quoted(quote, rest, &mut value),
            space if space.is_whitespace() => {
                if in_word {
                    value.push(space);
                }
                continue;
            }
            '\\' => {
                value.extend(rest.next().filter(|next| *next != '\n'));
                in_word = true;
            }
            other => {
                value.push(other);
                in_word = true;
            }
        }
        kept = value.len();
    }
    value.truncate(kept);
    value
}

/// Reads the rest of a quoted text, with its end.
fn quoted(quote: char, rest: &mut Peekable<Chars<'_>>, value: &mut String) {
    while let Some(next) = rest.next() {
        match next {
            end if end == quote => return,
            '\\' if quote == '"' => match rest.next() {
                Some('\n') | None => {}
                Some(special @ ('"' | '\\' | '`' | '$')) => value.push(special),
                Some(other) => value.extend(['\\', other]),
            },
            other => value.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn assignments_are_read_as_systemd_does() {
        let text = "# A comment = 'x\n; another=y\n\nA=plain\n  B = spaced  value \t\nC=\"a \\\"b\\\" \\n\"\nD='it\\s $x'\nE=one\\\ntwo\nF=\n1x=no\nexport G=no\nnonsense\nH=a'b\nI=\"a\"'b'c\nJ=x\\ y\r\nA=last";
        let found = parse(text);
        let expected = [
            ("A", "last"),
            ("B", "spaced  value"),
            ("C", "a \"b\" \\n"),
            ("D", "it\\s $x"),
            ("E", "onetwo"),
            ("F", ""),
            ("H", "a'b"),
            ("I", "abc"),
            ("J", "x y"),
        ];
        let found: Vec<_> = found
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(found, expected);
        for odd in ["", "=", "A", "A=\"", "A='", "A=\\", "\\", "=x"] {
            parse(odd);
        }
    }

    #[test]
    fn what_is_set_stays_and_only_a_file_of_ours_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let (config, file) = (folder.path().join("config.yaml"), folder.path().join(FILE));
        let environment = Environment {
            variables: [("A".to_owned(), "set".to_owned())].into(),
        };
        let read = || with_variables_and_file(&config, environment.clone());
        assert_eq!(read().1, None);
        fs::write(&file, "A=other\nB=b\n").unwrap();
        let (found, used) = read();
        assert_eq!(found.variables["A"], "set");
        assert_eq!(found.variables["B"], "b");
        assert_eq!(used.as_ref(), Some(&file));
        fs::write(&file, "A=other\n").unwrap();
        assert_eq!(read().1, None, "nothing of it is used");
        fs::write(&file, "B=b\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
        assert!(!read().0.variables.contains_key("B"));
    }
}
