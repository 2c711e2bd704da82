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
        assert!(loaded.files.contains(&folder.path().join("secrets/a")));
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
