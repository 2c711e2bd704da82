//! The house rules that a compiler does not know: layers, cycles, sizes, words of machines.
//!
//! The layers are those of ARCHITECTURE.md: a room imports only rooms of a lower layer, or of its own layer where no
//! cycle comes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

mod circles;

/// Every room with its layer. A room that is missing here fails the test, so that adding one is a decision.
const LAYERS: &[(&str, u8)] = &[
    ("domain", 0),
    ("descriptors", 0),
    ("signing", 1),
    ("egress", 1),
    ("matching", 1),
    ("logs", 1),
    ("metrics", 1),
    ("http_server", 1),
    ("feed", 1),
    ("alerts", 1),
    ("mail", 1),
    ("shutdown", 1),
    ("private", 1),
    ("systemd", 1),
    ("request", 1),
    ("config", 1),
    ("api", 1),
    ("store", 2),
    ("delivery", 3),
    ("ingest", 4),
    ("notify", 4),
    ("admin", 5),
    ("app", 6),
    ("cli", 7),
];

const MAX_LINES: usize = 500;

#[test]
fn rooms_import_only_downwards() {
    let layers: BTreeMap<_, _> = LAYERS.iter().copied().collect();
    let mut wrong = Vec::new();
    for (room, imports) in rooms() {
        let Some(layer) = layers.get(room.as_str()) else {
            wrong.push(format!("{room} has no layer"));
            continue;
        };
        for (import, file) in imports {
            match layers.get(import.as_str()) {
                Some(other) if other <= layer => {}
                Some(_) => wrong.push(format!(
                    "{room} imports {import} above it, in {}",
                    file.display()
                )),
                None => wrong.push(format!(
                    "{room} imports {import}, which has no layer, in {}",
                    file.display()
                )),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Everything that a command prints goes through `cli/show`, which escapes what steers a terminal.
#[test]
fn commands_print_through_the_gate() {
    // Manual pages and completions are our own; the demo escapes what it shows.
    let allowed = [
        "cli/show/",
        "cli/manual.rs",
        "cli/demo/story.rs",
        "cli/logging.rs",
    ];
    let mut wrong = Vec::new();
    for file in rust_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli")) {
        let shown = file.display().to_string();
        if allowed.iter().any(|allowed| shown.contains(allowed)) {
            continue;
        }
        for line in fs::read_to_string(&file).unwrap().lines() {
            let opens = line.contains("io::stdout()") || line.contains("io::stderr()");
            if opens && !line.contains("is_terminal()") {
                wrong.push(format!("{shown}: {line}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn ingest_delivery_notify_and_admin_never_meet() {
    let rooms = rooms();
    let apart = ["ingest", "delivery", "notify", "admin"];
    for room in apart {
        let imports = rooms
            .get(room)
            .map(|imports| imports.keys().cloned().collect::<BTreeSet<_>>())
            .unwrap_or_default();
        for other in apart.iter().filter(|other| **other != room) {
            assert!(
                !imports.contains(*other),
                "{room} imports {other}: they meet in store and domain"
            );
        }
    }
}

#[test]
fn rooms_have_no_import_cycle() {
    let rooms = rooms();
    for start in rooms.keys() {
        let mut seen = BTreeSet::new();
        let mut open: Vec<_> = rooms[start].keys().cloned().collect();
        while let Some(room) = open.pop() {
            assert_ne!(
                &room, start,
                "a cycle of imports leads from {start} back to it"
            );
            if seen.insert(room.clone()) {
                open.extend(
                    rooms
                        .get(&room)
                        .into_iter()
                        .flat_map(|imports| imports.keys().cloned()),
                );
            }
        }
    }
}

#[test]
fn files_are_short_and_say_what_they_are_for() {
    let mut wrong = Vec::new();
    for file in ["src", "tests", "benches"]
        .iter()
        .flat_map(|folder| rust_files(&root().join(folder)))
    {
        let text = fs::read_to_string(&file).unwrap();
        let lines = text.lines().count();
        if lines > MAX_LINES {
            wrong.push(format!(
                "{} has {lines} lines, {MAX_LINES} at most",
                file.display()
            ));
        }
        if !text.starts_with("//!") {
            wrong.push(format!(
                "{} does not open with its purpose (//!)",
                file.display()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nothing_is_left_to_do_or_switched_off() {
    // Put together here, so that this file does not find itself.
    let banned = [
        ["to", "do!("],
        ["unimpl", "emented!("],
        ["#[ig", "nore"],
        ["FIX", "ME"],
    ]
    .map(|parts| parts.concat());
    let mut wrong = Vec::new();
    for file in ["src", "tests", "benches"]
        .iter()
        .flat_map(|folder| rust_files(&root().join(folder)))
    {
        let text = fs::read_to_string(&file).unwrap();
        wrong.extend(
            banned
                .iter()
                .filter(|word| text.contains(*word))
                .map(|word| format!("{}: {word}", file.display())),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_gate_runs_the_commands_of_the_readme() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let gate = fs::read_to_string(root().join(".ci/run")).unwrap();
    let commands: Vec<_> = readme
        .lines()
        .skip_while(|line| *line != "```sh")
        .skip(1)
        .take(2)
        .collect();
    assert!(
        commands[0].starts_with("cargo run --release -- demo"),
        "the first command is the main job: {}",
        commands[0]
    );
    assert!(
        commands[1].starts_with("cargo test --locked"),
        "the second command runs the tests: {}",
        commands[1]
    );
    assert!(
        gate.lines().any(|line| line == "cargo test --locked"),
        "the gate does not run the tests of the README"
    );
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Each room with the rooms it imports, and one file that does.
fn rooms() -> BTreeMap<String, BTreeMap<String, PathBuf>> {
    let source = root().join("src");
    let mut rooms: BTreeMap<String, BTreeMap<String, PathBuf>> = BTreeMap::new();
    for file in rust_files(&source) {
        let relative = file.strip_prefix(&source).unwrap();
        let first = relative
            .components()
            .next()
            .unwrap()
            .as_os_str()
            .to_string_lossy();
        let room = first.trim_end_matches(".rs").to_owned();
        if room == "lib" || room == "main" {
            continue;
        }
        let imports = rooms.entry(room.clone()).or_default();
        for import in imports_of(&fs::read_to_string(&file).unwrap()) {
            if import != room {
                imports.entry(import).or_insert_with(|| file.clone());
            }
        }
    }
    assert!(rooms.len() > 3, "no rooms found under {}", source.display());
    rooms
}

/// The rooms that a file names by `crate::room`, comments left out.
fn imports_of(text: &str) -> BTreeSet<String> {
    let code = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n");
    let mut imports = BTreeSet::new();
    for (position, _) in code.match_indices("crate::") {
        let rest = code.get(position + "crate::".len()..).unwrap_or("");
        match rest.strip_prefix('{') {
            Some(list) => imports.extend(
                list.split('}')
                    .next()
                    .unwrap_or("")
                    .split(',')
                    .map(first_word),
            ),
            None => {
                imports.insert(first_word(rest));
            }
        }
    }
    imports.remove("");
    imports
}

fn first_word(text: &str) -> String {
    text.trim()
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else {
        return files;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if !path.ends_with("target") {
                files.extend(rust_files(&path));
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}
