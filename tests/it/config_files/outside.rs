//! What comes from outside the file: folders and secrets.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use sidehook::config::{Environment, load};

use super::environment;

#[test]
fn the_store_is_where_systemd_says_unless_the_file_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yaml");
    let state = [(
        "STATE_DIRECTORY".to_owned(),
        "/var/lib/a:/var/lib/b".to_owned(),
    )];
    let environment = Environment {
        variables: BTreeMap::from(state),
    };
    std::fs::write(&path, "subscriptions: {}\n").unwrap();
    assert_eq!(
        load(&path, &environment).unwrap().config.store.path,
        Path::new("/var/lib/a")
    );
    std::fs::write(&path, "store: {path: x}\nsubscriptions: {}\n").unwrap();
    assert_eq!(
        load(&path, &environment).unwrap().config.store.path,
        folder.path().join("x")
    );
}

#[test]
fn credentials_come_from_the_folder_of_systemd() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yaml");
    write_private(&folder.path().join("billing"), "abcdefghijkl\n");
    let variable = (
        "CREDENTIALS_DIRECTORY".to_owned(),
        folder.path().to_str().unwrap().to_owned(),
    );
    let environment = Environment {
        variables: BTreeMap::from([variable]),
    };
    std::fs::write(
        &path,
        "subscriptions:\n  a: {active: false, secret: {credential: billing}, signature: github}\n",
    )
    .unwrap();
    let loaded = load(&path, &environment).unwrap();
    assert_eq!(loaded.warnings[..], []);
    let a = &loaded.config.subscriptions[&"a".parse().unwrap()];
    assert_eq!(a.secret.as_ref().unwrap().expose(), b"abcdefghijkl");
}

#[test]
fn one_newline_at_the_end_of_a_secret_file_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yaml");
    let file = "{active: false, signature: github, secret: {file: secrets/a}}";
    std::fs::write(&path, format!("subscriptions: {{a: {file}}}\n")).unwrap();
    std::fs::create_dir(folder.path().join("secrets")).unwrap();
    for (written, secret) in [
        ("abcdefghijkl", "abcdefghijkl"),
        ("abcdefghijkl\n", "abcdefghijkl"),
        ("abcdefghijkl\r\n", "abcdefghijkl"),
        ("abcdefghijkl\n\n", "abcdefghijkl\n"),
        (" abcdefghijkl ", " abcdefghijkl "),
    ] {
        write_private(&folder.path().join("secrets/a"), written);
        let loaded = load(&path, &environment()).unwrap();
        assert!(loaded.files().contains(&folder.path().join("secrets/a")));
        let a = &loaded.config.subscriptions[&"a".parse().unwrap()];
        assert_eq!(a.secret.as_ref().unwrap().expose(), secret.as_bytes());
    }
}

#[test]
fn what_nobody_sees_at_the_ends_of_a_secret_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yaml");
    let utf16: Vec<u8> = "abcdefghijkl"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let with_mark = [&b"\xff\xfe"[..], &utf16].concat();
    let cases: [(&[u8], &str); 10] = [
        (b"abcdefghijkl\n", ""),
        (b"abc defghi\tjkl", ""),
        (b"\xf0\x9f\xa6\x80abcdefghijkl\xff", ""),
        (b"abcdefghijkl\n\n", "ends with a line break"),
        (b" abcdefghijkl", "begins with a space"),
        (b"abcdefghijkl\t", "ends with a space"),
        (
            "abcdefghijkl\u{200b}".as_bytes(),
            "ends with a space or an invisible",
        ),
        (
            "\u{feff}abcdefghijkl".as_bytes(),
            "begins with a byte order mark",
        ),
        (&utf16, "is UTF-16"),
        (&with_mark, "is UTF-16"),
    ];
    write_private(&folder.path().join("a"), "");
    for (secret, expected) in cases {
        std::fs::write(folder.path().join("a"), secret).unwrap();
        let text = "subscriptions: {a: {active: false, signature: github, secret: {file: ./a}}}\n";
        std::fs::write(&path, text).unwrap();
        let warnings = load(&path, &environment()).unwrap().warnings;
        let said: Vec<_> = warnings.iter().map(|warning| &warning.message).collect();
        let is_told = said.iter().any(|said| said.contains(expected));
        assert_eq!(
            said.len(),
            usize::from(!expected.is_empty()),
            "{secret:?}: {said:?}"
        );
        assert!(expected.is_empty() || is_told, "{secret:?}: {said:?}");
        assert!(said.iter().all(|said| !said.contains("abc")), "{said:?}");
    }
}

/// Also of the values of headers, which are as secret, wherever they come from.
#[test]
fn what_nobody_sees_at_the_ends_of_a_header_is_warned_of_or_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yaml");
    write_private(&folder.path().join("a"), "");
    let blank = |place| format!("{place} with a space or an invisible character");
    for (value, expected) in [
        ("\u{feff}abc", "begins with a byte order mark".to_owned()),
        (" abc", blank("begins")),
        ("abc ", blank("ends")),
        ("abc\u{a0}", blank("ends")),
        ("\u{200b}abc", blank("begins")),
        ("abc\0", blank("ends")),
        ("abc\n\n", "ends with a line break".to_owned()),
        ("abc\r\n\r\n", "ends with a line break".to_owned()),
    ] {
        std::fs::write(folder.path().join("a"), value).unwrap();
        let mut environment = environment();
        let variable = value.replacen('\n', "", 1);
        environment.variables.insert("A".to_owned(), variable);
        for source in ["{file: ./a}", "{env: A}"] {
            let text =
                format!("subscriptions: {{a: {{active: false, headers: {{X-A: {source}}}}}}}\n");
            std::fs::write(&path, text).unwrap();
            let said = match load(&path, &environment) {
                Ok(loaded) => loaded.warnings.to_vec(),
                Err(error) => error.0.to_vec(),
            };
            assert_eq!(said.len(), 1, "{value:?} {source}: {said:?}");
            assert!(
                said[0].message.contains(&expected),
                "{value:?} {source}: {said:?}"
            );
            assert!(!said[0].message.contains("abc"), "{said:?}");
        }
    }
}

#[test]
fn an_unseen_end_is_named_as_the_cause_of_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yaml");
    write_private(&folder.path().join("a"), "");
    let whsec = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let (url, token) = ("https://a.example/", "a-token-of-thirty-two-characters");
    let none = "subscriptions: {}";
    for (value, text) in [
        (
            whsec,
            "subscriptions: {a: {url: 'https://a.example', events: ['*'], secret: {file: ./a}}}"
                .to_owned(),
        ),
        (
            whsec,
            format!(
                "notifications: {{webhook: {{url: 'https://a.example', secret: {{file: ./a}}}}}}\n{none}"
            ),
        ),
        (
            url,
            "subscriptions: {a: {url: {file: ./a}, events: ['*'], signature: none}}".to_owned(),
        ),
        (
            token,
            format!("ingest: {{tokens: [{{file: ./a}}]}}\n{none}"),
        ),
        (
            token,
            format!(
                "admin: {{tokens: [{{name: a, token: {{file: ./a}}, scopes: [read]}}]}}\n{none}"
            ),
        ),
    ] {
        std::fs::write(&path, text).unwrap();
        std::fs::write(folder.path().join("a"), value).unwrap();
        load(&path, &environment()).unwrap();
        for (value, cause) in [
            (
                format!("\u{feff}{value}"),
                "the secret begins with a byte order mark: remove that",
            ),
            (format!(" {value}"), "the secret begins with a space"),
            (format!("{value} "), "the secret ends with a space"),
            (format!("{value}\u{a0}"), "the secret ends with a space"),
        ] {
            std::fs::write(folder.path().join("a"), &value).unwrap();
            let error = load(&path, &environment()).unwrap_err().to_string();
            assert!(error.contains(cause), "{value:?}: {error}");
        }
    }
}

/// As configuration management leaves a file before anything is in it.
#[test]
fn an_included_file_without_anything_has_no_subscriptions() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yaml");
    std::fs::write(&path, "include: ['more/*.yaml']\nsubscriptions: {}\n").unwrap();
    std::fs::create_dir(folder.path().join("more")).unwrap();
    let included = folder.path().join("more/a.yaml");
    for nothing in [
        "",
        "\n\n",
        "# nothing yet\n",
        "\u{feff}",
        "---\n",
        "{}\n",
        "subscriptions:\n",
    ] {
        std::fs::write(&included, nothing).unwrap();
        let loaded = load(&path, &environment()).unwrap();
        assert!(loaded.config.subscriptions.is_empty(), "{nothing:?}");
        std::fs::write(folder.path().join("main.yaml"), nothing).unwrap();
        let main = load(&folder.path().join("main.yaml"), &environment());
        assert_eq!(main.is_ok(), nothing == "subscriptions:\n", "{nothing:?}");
    }
    std::fs::write(&included, "subscription: {}\n").unwrap();
    assert!(load(&path, &environment()).is_err());
}

fn write_private(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn open_secret_files_and_shared_secrets_are_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yaml");
    let secret = folder.path().join("secret");
    write_private(&secret, "abcdefghijkl");
    let one = "{active: false, signature: github, secret: {file: secret}}";
    std::fs::write(&path, format!("subscriptions:\n  a: {one}\n  b: {one}\n")).unwrap();
    let warnings = |path: &Path| -> Vec<String> {
        let loaded = load(path, &Environment::default()).unwrap();
        loaded
            .warnings
            .iter()
            .map(|warning| format!("{}: {}", warning.path, warning.message))
            .collect()
    };
    assert_eq!(
        warnings(&path),
        ["subscriptions.b: has the secret of a, better one for each"]
    );
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o604)).unwrap();
    let open = format!(
        "{} is open to other users, expected mode 0600 or 0400",
        secret.display()
    );
    assert!(warnings(&path).contains(&format!("subscriptions.a.secret.file: {open}")));
}
