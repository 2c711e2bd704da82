//! Texts with what looks like a variable of a shell, of Compose or of a template tool. sidehook expands none, so such a
//! text would be sent as it stands without a warning.
//!
//! One walk over all files finds them. Texts in which such a sign has another meaning or none are skipped:
//! expressions, patterns, pointers, templates of signatures, titles and descriptions.

use crate::config::document::{Document, Mark, Node, Root, Value};
use crate::config::report::{KEYS_OF_SECRETS, Report};
use crate::config::secrets::is_usual;

/// The purpose of a text, which decides the advice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// A literal secret: `{env: NAME}` may stand there, and single signs may be part of it.
    Secret,
    /// A url or the value of a header: `{env: NAME}` may stand there.
    Whole,
    /// A header as `Name: Value`.
    Pair,
    /// The name of a variable, of a file or of a credential.
    Reference,
    /// Anything else.
    Other,
}

/// Keys of subscriptions whose texts are not checked.
const PASSED_OVER: [&str; 6] = [
    "events",
    "match",
    "when",
    "signature",
    "title",
    "description",
];

/// An item of a list, in a path of keys.
const ITEM: &str = "[]";

/// The first words of template expressions, between double braces.
const TEMPLATES: [&str; 7] = ["env", ".", "$", "lookup", "secret", "vault", "vars"];

/// Reports variables in all files: as an error if the text already has a less clear one, else as a warning.
pub(super) fn report(documents: &[Document], report: &mut Report) {
    for document in documents {
        if let Root::Node(root) = &document.root {
            walk(root, &mut Vec::new(), report);
        }
    }
}

fn walk<'n>(node: &'n Node, path: &mut Vec<&'n str>, report: &mut Report) {
    match &node.value {
        _ if node.refused => {}
        Value::Scalar(scalar) => {
            if let Some(purpose) = purpose(path)
                && let Some(name) = variable(&scalar.text, purpose)
            {
                tell(node.mark, purpose, name, report);
            }
        }
        Value::Sequence(items) => {
            path.push(ITEM);
            items.iter().for_each(|item| walk(item, path, report));
            path.pop();
        }
        Value::Mapping(entries) => {
            for entry in entries {
                path.push(entry.name());
                walk(&entry.value, path, report);
                path.pop();
            }
        }
    }
}

/// The purpose of the text at a path of keys; `None` if it is not checked.
fn purpose(path: &[&str]) -> Option<Purpose> {
    let fields = match path {
        ["subscriptions", _, fields @ ..] | ["defaults", fields @ ..] => fields,
        ["ingest", "type_pointer" | "id_pointer" | "key_pointer"] | ["event_types", ..] => {
            return None;
        }
        ["ingest", "tokens", ITEM, rest @ ..]
        | ["admin", "tokens", ITEM, "token", rest @ ..]
        | ["notifications", "smtp", "password", rest @ ..]
        | ["notifications", "webhook", "secret", rest @ ..] => {
            return Some(reference_or(rest, Purpose::Secret));
        }
        ["notifications", "webhook", "url", rest @ ..] => {
            return Some(reference_or(rest, Purpose::Whole));
        }
        _ => return Some(Purpose::Other),
    };
    match fields {
        [first, ..] if PASSED_OVER.contains(first) => None,
        ["secret", rest @ ..] | ["previous_secrets", ITEM, "secret", rest @ ..] => {
            Some(reference_or(rest, Purpose::Secret))
        }
        ["auth", "bearer" | "value", rest @ ..] | ["auth", "basic", "password", rest @ ..] => {
            Some(reference_or(rest, Purpose::Secret))
        }
        ["headers", ITEM] => Some(Purpose::Pair),
        ["url", rest @ ..] | ["headers", _, rest @ ..] => Some(reference_or(rest, Purpose::Whole)),
        _ => Some(Purpose::Other),
    }
}

fn reference_or(rest: &[&str], purpose: Purpose) -> Purpose {
    match rest {
        [source] if KEYS_OF_SECRETS.contains(source) => Purpose::Reference,
        _ => purpose,
    }
}

/// The name if a text is one variable, empty if it only contains some; `None` if it contains none.
fn variable(text: &str, purpose: Purpose) -> Option<&str> {
    let text = match (purpose, text.split_once(':')) {
        (Purpose::Pair, Some((_, value))) => value.trim(),
        (_, _) => text.trim(),
    };
    if let Some(name) = whole(text) {
        return Some(name);
    }
    let has_one = enclosed(text, "${", "}", |inner| {
        inner.starts_with(|first: char| first.is_ascii_alphabetic() || "_{ ".contains(first))
    }) || enclosed(text, "$(", ")", |inner| {
        inner.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
    }) || enclosed(text, "{{", "}}", |inner| {
        let inner = inner.trim_start_matches(['-', ' ']);
        TEMPLATES.iter().any(|begin| inner.starts_with(begin))
    }) || purpose != Purpose::Secret && words(text).any(|word| bare(word).is_some());
    has_one.then_some("")
}

/// The name in a text that is one variable and nothing else: `$NAME`, `${NAME}`, `$(NAME)`, `%NAME%`, `{{ env.NAME }}`.
fn whole(text: &str) -> Option<&str> {
    let within = |open: &str, close: &str| text.strip_prefix(open)?.strip_suffix(close);
    let braced = within("${", "}").or_else(|| within("$(", ")"));
    let braced = braced.map(|inner| inner.trim_start_matches("env:").trim_start_matches("env."));
    let template = within("{{", "}}").and_then(|inner| inner.trim().strip_prefix("env."));
    let percent = within("%", "%").filter(|name| is_upper(name));
    let name = braced.or(template).or(percent).or_else(|| bare(text))?;
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let begins = |byte: &u8| !byte.is_ascii_digit();
    (name.bytes().all(is_name) && name.as_bytes().first().is_some_and(begins)).then_some(name)
}

/// The name in `$NAME`, in capitals: other texts that begin with a dollar sign may be meant literally.
fn bare(word: &str) -> Option<&str> {
    word.strip_prefix('$').filter(|name| is_upper(name))
}

fn is_upper(name: &str) -> bool {
    let is_upper = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    name.len() > 1
        && name.bytes().all(is_upper)
        && name.starts_with(|first: char| first.is_ascii_uppercase() || first == '_')
}

/// The words between the separators of urls, addresses and lists.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|character: char| character.is_whitespace() || "/?&=:.@,;#\\".contains(character))
}

/// Whether a text has something between two signs that is meant.
fn enclosed(text: &str, open: &str, close: &str, is_meant: impl Fn(&str) -> bool) -> bool {
    text.match_indices(open).any(|(at, _)| {
        let inner = text.get(at + open.len()..).unwrap_or_default();
        let end = inner.find(close);
        let inner = end.and_then(|end| inner.get(..end));
        inner.is_some_and(&is_meant)
    })
}

fn tell(mark: Mark, purpose: Purpose, name: &str, report: &mut Report) {
    let is_shown = !name.is_empty() && is_usual(name);
    let name = if is_shown { name } else { "NAME" };
    let instead = match purpose {
        Purpose::Secret | Purpose::Whole if is_shown => format!("write {{env: {name}}}"),
        Purpose::Secret | Purpose::Whole => {
            format!("write {{env: {name}}}, with a variable that has the whole value")
        }
        Purpose::Pair => {
            format!("write headers as a mapping, with {{env: {name}}} as the whole value of one")
        }
        Purpose::Reference => "write the name itself, without signs around it".to_owned(),
        Purpose::Other => {
            "write the value itself, or let a tool such as envsubst write the file".to_owned()
        }
    };
    report.hint(
        mark,
        format!("sidehook does not expand variables: {instead}"),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_found_in_every_spelling() {
        for (text, name) in [
            ("${SECRET}", "SECRET"),
            ("$SECRET", "SECRET"),
            (" $(SECRET)\n", "SECRET"),
            ("%SECRET%", "SECRET"),
            ("{{ env.SECRET }}", "SECRET"),
            ("{{env.SECRET}}", "SECRET"),
            ("${env:SECRET}", "SECRET"),
            ("${secret_1}", "secret_1"),
            ("${SECRET:-x}", ""),
            ("a${SECRET}b", ""),
            ("${{ secrets.TOKEN }}", ""),
            ("{{ .Values.secret }}", ""),
            ("{{- $secret }}", ""),
            ("$(cat /run/secret)", ""),
        ] {
            assert_eq!(variable(text, Purpose::Secret), Some(name), "{text}");
        }
        for (text, purpose, name) in [
            ("https://${HOST}/x", Purpose::Whole, ""),
            ("https://$HOST/x", Purpose::Whole, ""),
            ("https://a.example/$TENANT?x=$KEY", Purpose::Whole, ""),
            ("Token $TOKEN", Purpose::Whole, ""),
            ("X-Key: $KEY", Purpose::Pair, "KEY"),
            ("X-Key: Token ${KEY}", Purpose::Pair, ""),
            ("$HOST:8780", Purpose::Other, ""),
            ("/var/$NAME/store", Purpose::Other, ""),
        ] {
            assert_eq!(variable(text, purpose), Some(name), "{text}");
        }
    }

    #[test]
    fn what_means_itself_is_left_alone() {
        for text in [
            "pa$$word",
            "$argon2id$v=19$m=65536",
            "$ecret-of-12",
            "pa$WORD",
            "50%",
            "%20",
            "100%OFF%",
            "{timestamp}.{body}",
            "{{ event.id }}",
            "$",
            "$$",
            "${}",
            "${1}",
            "a{b}",
            "$A",
            "a-$SECRET-b",
        ] {
            assert_eq!(variable(text, Purpose::Secret), None, "{text}");
        }
        for text in [
            "https://a.example/$metadata",
            "https://a.example/a%20b?c=$1",
            "https://a.example/x$Y",
            "$5",
        ] {
            assert_eq!(variable(text, Purpose::Whole), None, "{text}");
        }
    }

    #[test]
    fn the_place_decides() {
        let at = |path: &str| purpose(&path.split('.').collect::<Vec<_>>());
        for (path, expected) in [
            ("subscriptions.a.url", Some(Purpose::Whole)),
            ("subscriptions.a.url.env", Some(Purpose::Reference)),
            ("defaults.headers.X-A", Some(Purpose::Whole)),
            ("subscriptions.a.headers.X-A.file", Some(Purpose::Reference)),
            ("subscriptions.a.headers.[]", Some(Purpose::Pair)),
            ("subscriptions.a.secret", Some(Purpose::Secret)),
            (
                "subscriptions.a.previous_secrets.[].secret",
                Some(Purpose::Secret),
            ),
            ("subscriptions.a.notify.[]", Some(Purpose::Other)),
            ("subscriptions.a.tls.ca_file", Some(Purpose::Other)),
            ("subscriptions.a.when", None),
            ("subscriptions.a.match./a", None),
            ("subscriptions.a.events.[]", None),
            ("subscriptions.a.signature.hmac.signed", None),
            ("subscriptions.a.title", None),
            ("event_types.[]", None),
            ("ingest.type_pointer", None),
            ("ingest.tokens.[]", Some(Purpose::Secret)),
            ("ingest.tokens.[].env", Some(Purpose::Reference)),
            ("admin.tokens.[].token", Some(Purpose::Secret)),
            ("admin.tokens.[].name", Some(Purpose::Other)),
            ("notifications.smtp.password", Some(Purpose::Secret)),
            ("notifications.smtp.host", Some(Purpose::Other)),
            ("notifications.webhook.url", Some(Purpose::Whole)),
            ("store.path", Some(Purpose::Other)),
        ] {
            assert_eq!(at(path), expected, "{path}");
        }
    }
}
