//! Edits on their way to the disk: races, what cannot be written, and what is kept of the file.

use std::fs::OpenOptions;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Write as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use sidehook::config::{Change, EditError};

use super::{Place, fields, patch, prepared, refusal};

const TEXT: &str = "subscriptions:\n  a: {active: false} # a\n";

fn title(title: &str) -> Change {
    patch(json!({"title": title}))
}

#[test]
fn an_edit_by_hand_between_reading_and_writing_is_kept() {
    let place = Place::new(TEXT);
    let edited = place.prepare("a", title("mine")).unwrap();
    let theirs = format!("# by hand\n{TEXT}");
    std::fs::write(&place.path, &theirs).unwrap();
    assert_eq!(
        refusal(edited.commit()),
        "the file was changed meanwhile: look at it again"
    );
    assert_eq!((place.text(), place.others()), (theirs, vec![]));
    // Also one that puts another file there, and one that takes it away.
    let edited = place.prepare("a", title("mine")).unwrap();
    std::fs::write(place.path("new"), "# newer\nsubscriptions: {}\n").unwrap();
    std::fs::rename(place.path("new"), &place.path).unwrap();
    refusal(edited.commit());
    assert_eq!(place.text(), "# newer\nsubscriptions: {}\n");
    std::fs::write(&place.path, TEXT).unwrap();
    let edited = place.prepare("a", title("mine")).unwrap();
    std::fs::remove_file(&place.path).unwrap();
    refusal(edited.commit());
    assert!(!place.path.exists());
    assert_eq!(place.others(), Vec::<String>::new());
}

#[test]
fn a_refused_edit_leaves_no_secret_behind() {
    let place = Place::with_secrets("  a: {url: https://a.example.com/, events: [x]}\n");
    let edited = place
        .prepare("a", patch(json!({"secret": super::SECRET})))
        .unwrap();
    std::fs::write(&place.path, format!("{}# more\n", place.text())).unwrap();
    refusal(edited.commit());
    assert_eq!(place.others(), Vec::<String>::new());
}

#[test]
fn editors_at_the_same_time_lose_nothing() {
    const EDITORS: usize = 4;
    const EDITS: usize = 15;
    let place = Place::new(TEXT);
    let refused = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for editor in 0..EDITORS {
            let (path, refused) = (&place.path, &refused);
            scope.spawn(move || {
                for number in 0..EDITS {
                    let name = format!("e{editor}-{number}");
                    loop {
                        let new = fields(json!({"active": false, "signature": "none"}));
                        match prepared(path, &name, Change::Create(new))
                            .and_then(|edited| edited.commit())
                        {
                            Ok(_) => break,
                            Err(EditError::Refused(reason)) => {
                                assert!(reason.contains("changed meanwhile"), "{reason}");
                                refused.fetch_add(1, Ordering::Relaxed);
                            }
                            Err(error) => panic!("{error}"),
                        }
                    }
                }
            });
        }
    });
    assert_eq!(place.load().config.subscriptions.len(), 1 + EDITORS * EDITS);
    assert!(refused.load(Ordering::Relaxed) > 0, "they never met");
    assert_eq!(place.others(), Vec::<String>::new());
}

#[test]
fn hands_that_replace_the_file_at_any_moment_have_the_last_word() {
    const ROUNDS: usize = 60;
    for round in 0..ROUNDS {
        let place = Place::new(TEXT);
        let theirs = format!("# by hand {round}\n{TEXT}");
        let edited = place.prepare("a", title("mine")).unwrap();
        std::fs::write(place.path("theirs"), &theirs).unwrap();
        let by_hand = std::thread::scope(|scope| {
            let hand = scope.spawn(|| {
                // From at once to beyond the end of the commit.
                for _ in 0..round * 400 {
                    std::hint::spin_loop();
                }
                let before = std::fs::read_to_string(&place.path).unwrap();
                std::fs::rename(place.path("theirs"), &place.path).unwrap();
                before
            });
            let outcome = edited.commit();
            let before = hand.join().unwrap();
            assert!(
                outcome.is_ok() || before == TEXT || before.contains("mine"),
                "{before}"
            );
            outcome.is_err()
        });
        let text = place.text();
        assert!(
            text == theirs,
            "round {round}, refused: {by_hand}, found:\n{text}"
        );
        assert_eq!(place.others(), Vec::<String>::new());
    }
}

#[test]
fn mode_and_owner_are_kept_and_links_are_followed() {
    let place = Place::new(TEXT);
    let real = place.path("real.yaml");
    std::fs::rename(&place.path, &real).unwrap();
    symlink("real.yaml", &place.path).unwrap();
    std::fs::set_permissions(&real, PermissionsExt::from_mode(0o640)).unwrap();
    let before = std::fs::metadata(&real).unwrap();
    place.edit("a", title("x")).unwrap();
    let after = std::fs::metadata(&real).unwrap();
    assert!(std::fs::symlink_metadata(&place.path).unwrap().is_symlink());
    assert_ne!(before.ino(), after.ino());
    let kept = |metadata: &std::fs::Metadata| (metadata.mode(), metadata.uid(), metadata.gid());
    assert_eq!(kept(&before), kept(&after));
    assert_eq!(
        place.text(),
        "subscriptions:\n  a: {active: false, title: x} # a\n"
    );
}

#[test]
fn what_cannot_be_replaced_is_refused() {
    let place = Place::new(TEXT);
    std::fs::set_permissions(&place.path, PermissionsExt::from_mode(0o444)).unwrap();
    let said = refusal(place.edit("a", title("x")));
    assert!(
        said.contains("is read-only. What the API may edit"),
        "{said}"
    );
    std::fs::set_permissions(&place.path, PermissionsExt::from_mode(0o644)).unwrap();
    std::fs::hard_link(&place.path, place.path("second")).unwrap();
    assert!(refusal(place.edit("a", title("x"))).contains("hard links"));
    std::fs::remove_file(place.path("second")).unwrap();
    // The folder of secrets cannot be made below a file.
    std::fs::write(place.path("file"), "").unwrap();
    let text = "admin: {secrets_dir: file/below}\nsubscriptions:\n  a: {url: https://a.example.com/, events: [x]}\n";
    std::fs::write(&place.path, text).unwrap();
    let change = patch(json!({"secret": super::SECRET}));
    assert!(refusal(place.edit("a", change)).contains("cannot be written"));
    assert_eq!(place.text(), text);
}

/// As below /etc under the shipped unit: the refusal has the names of what is to be written where.
#[test]
fn what_cannot_be_written_says_where_it_can_go() {
    let place = Place::new(TEXT);
    let read_only =
        || std::fs::set_permissions(&place.path, PermissionsExt::from_mode(0o444)).unwrap();
    read_only();
    let (config, beside) = (place.path.display(), place.path("state/subscriptions.yaml"));
    let beside = beside.display();
    let new = Change::Create(fields(json!({"active": false})));
    let said = refusal(place.edit("a", title("x")));
    let step = format!(
        "set admin.write_to: {beside} and add it to include, then move subscriptions.a from {config} to {beside}"
    );
    assert!(
        said.contains(&config.to_string()) && said.ends_with(&step),
        "{said}"
    );
    let said = refusal(place.edit("b", new.clone()));
    assert!(
        said.ends_with(&format!(
            "set admin.write_to: {beside} and add it to include"
        )),
        "{said}"
    );
    // Where there is such a file already, a move is all.
    let other = place.path("state/api.yaml");
    let with = format!(
        "admin: {{write_to: {0}}}\ninclude: [{0}]\n{TEXT}",
        other.display()
    );
    std::fs::remove_file(&place.path).unwrap();
    std::fs::create_dir_all(place.path("state")).unwrap();
    std::fs::write(&place.path, with).unwrap();
    read_only();
    let said = refusal(place.edit("a", title("x")));
    let step = format!(
        ": move subscriptions.a from {config} to {}",
        other.display()
    );
    assert!(said.ends_with(&step), "{said}");
    // It is made by the first edit.
    let loaded = place.edit("b", new).unwrap();
    assert_eq!(loaded.config.subscriptions.len(), 2);
    std::fs::set_permissions(&other, PermissionsExt::from_mode(0o444)).unwrap();
    let said = refusal(place.edit("b", title("x")));
    assert!(
        said.ends_with("It is admin.write_to: let the relay write it"),
        "{said}"
    );
}

/// The store holds a lock on its folder as long as the relay runs.
#[test]
fn a_file_in_the_folder_of_the_store_is_edited_while_the_relay_runs() {
    let place = Place::new("");
    std::fs::create_dir(place.path("state")).unwrap();
    let store = std::fs::File::open(place.path("state")).unwrap();
    let exclusive = rustix::fs::FlockOperation::NonBlockingLockExclusive;
    rustix::fs::flock(&store, exclusive).unwrap();
    let text = format!("admin: {{write_to: state/api.yaml}}\ninclude: [state/*.yaml]\n{TEXT}");
    std::fs::write(&place.path, text).unwrap();
    let new = Change::Create(fields(json!({"active": false})));
    place.edit("b", new).unwrap();
    place.edit("b", title("x")).unwrap();
    let written = std::fs::read_to_string(place.path("state/api.yaml")).unwrap();
    assert!(written.contains("title: x"), "{written}");
    // The main file may be there as well.
    let text = format!("store: {{path: .}}\n{TEXT}");
    std::fs::write(place.path("state/main.yaml"), text).unwrap();
    let edit = prepared(&place.path("state/main.yaml"), "a", title("x"));
    edit.unwrap().commit().unwrap();
}

#[test]
fn what_killed_edits_left_is_removed_but_never_an_edit_by_hand() {
    let place = Place::new(TEXT);
    std::fs::write(place.path(".sidehook-part-0123456789abcdef"), "subscr").unwrap();
    let theirs = ".sidehook-0000000000000001-0000000000000002-0000000000000003";
    std::fs::write(place.path(theirs), "# by hand\n").unwrap();
    place.edit("a", title("x")).unwrap();
    assert_eq!(place.others(), [theirs]);
}

#[test]
fn an_edit_that_changes_nothing_writes_nothing() {
    let place = Place::new(TEXT);
    let before = std::fs::metadata(&place.path).unwrap();
    place.edit("a", patch(json!({"active": false}))).unwrap();
    place.edit("a", patch(json!({}))).unwrap();
    let after = std::fs::metadata(&place.path).unwrap();
    assert_eq!(
        (before.ino(), before.mtime_nsec()),
        (after.ino(), after.mtime_nsec())
    );
}

/// Where an edit notes the files that it makes.
fn note(place: &Place) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    place.path.canonicalize().unwrap().hash(&mut hasher);
    let name = format!(".sidehook-{:016x}", hasher.finish());
    place.path("secrets").join(name)
}

fn make_pipe(path: &Path) {
    let made = std::process::Command::new("mkfifo").arg(path).status();
    assert!(made.unwrap().success());
}

#[test]
fn a_pipe_in_the_place_of_the_file_neither_blocks_an_edit_nor_is_replaced() {
    let place = Place::new(TEXT);
    let edited = place.prepare("a", title("mine")).unwrap();
    std::fs::remove_file(&place.path).unwrap();
    make_pipe(&place.path);
    let said = refusal(edited.commit());
    assert!(said.contains("expected a regular file"), "{said}");
    let there = std::fs::symlink_metadata(&place.path).unwrap();
    assert!(there.file_type().is_fifo());
    assert_eq!(place.others(), Vec::<String>::new());
}

#[test]
fn a_pipe_or_a_link_in_the_place_of_the_note_is_refused_by_name() {
    let place = Place::with_secrets("  a: {url: https://a.example.com/, events: [x]}\n");
    let target = place.path("target");
    std::fs::write(&target, "theirs").unwrap();
    std::fs::create_dir(place.path("secrets")).unwrap();
    for what in ["is no regular file", "is a link"] {
        if what == "is a link" {
            symlink(&target, note(&place)).unwrap();
        } else {
            make_pipe(&note(&place));
        }
        let edited = place
            .prepare("a", patch(json!({"secret": super::SECRET})))
            .unwrap();
        let said = refusal(edited.commit());
        assert!(said.contains(what), "{said}");
        assert_eq!(std::fs::read(&target).unwrap(), b"theirs");
        std::fs::remove_file(note(&place)).ok();
    }
}

#[test]
fn files_of_secrets_of_a_killed_edit_go_with_the_next() {
    let place = Place::with_secrets("  a: {url: https://a.example.com/, events: [x]}\n");
    place
        .edit("a", patch(json!({"secret": super::SECRET})))
        .unwrap();
    let named = place.others();
    // As a kill leaves it: the note, a file that nothing names, and names that an edit would never give.
    let orphan = "b-0123456789abcdef";
    for name in [orphan, "c-0123456789abcdef", "mine"] {
        std::fs::write(place.path("secrets").join(name), "x").unwrap();
    }
    let names = format!(
        "{orphan}\n{}\nmine\n../config.yaml\ngone-0123456789abcdef\n",
        named[0]
    );
    std::fs::write(note(&place), names).unwrap();
    place.edit("a", title("x")).unwrap();
    let mut left = vec![
        named[0].clone(),
        "c-0123456789abcdef".to_owned(),
        "mine".to_owned(),
    ];
    left.sort();
    assert_eq!(place.others(), left);
    place.load();
}

#[test]
fn a_hand_that_has_the_file_open_already_is_not_lost() {
    let place = Place::new(TEXT);
    let edited = place.prepare("a", title("mine")).unwrap();
    let old = std::fs::metadata(&place.path).unwrap().ino();
    let mut file = OpenOptions::new().append(true).open(&place.path).unwrap();
    let outcome = std::thread::scope(|scope| {
        let hand = scope.spawn(|| {
            // Once the other file is in place, so certainly into the one that was.
            while std::fs::metadata(&place.path).is_ok_and(|now| now.ino() == old) {
                std::hint::spin_loop();
            }
            file.write_all(b"# by hand\n").unwrap();
        });
        let outcome = edited.commit();
        hand.join().unwrap();
        outcome
    });
    refusal(outcome);
    assert_eq!(place.text(), format!("{TEXT}# by hand\n"));
    assert_eq!(place.others(), Vec::<String>::new());
}
