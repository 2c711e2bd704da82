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
