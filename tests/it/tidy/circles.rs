//! No file imports itself by way of others: within a room imports point down, too.
//!
//! An import is a `use`, or a path in the code, that begins with `crate`, `super`, `self` or a module below. It counts
//! for the file that has the item: what a `mod.rs` passes on is followed to where it comes from. Tests do not count.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::{root, rust_files};

#[test]
fn files_import_downwards_only() {
    let crate_files = Crate::read(&root().join("src"));
    let circles = circles(&crate_files.imports());
    assert!(circles.is_empty(), "circles of imports: {circles:#?}");
}

#[test]
fn a_circle_is_found_through_what_a_module_passes_on() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("lib.rs", "mod room;");
    write("room/mod.rs", "mod high;\nmod low;\npub use high::High;\n");
    write(
        "room/low.rs",
        "// use super::high::High;\n#[cfg(test)]\nmod tests {\n    use super::super::High;\n}\n",
    );
    write(
        "room/high.rs",
        "use super::low::{self, Low};\npub struct High(Low);",
    );
    let found = || circles(&Crate::read(folder.path()).imports());
    assert_eq!(found(), Vec::<Vec<String>>::new());
    for import in [
        "use crate::{room::{High as H}};",
        "pub(super) fn look(_: &super::High) {}",
        "use super::high;",
    ] {
        write("room/low.rs", import);
        assert_eq!(found(), [["room/high.rs", "room/low.rs"]], "{import}");
    }
    write("room/low.rs", "use super::Own;");
    write(
        "room/mod.rs",
        "mod high;\nmod low;\nuse high::High;\nstruct Own;",
    );
    let all = ["room/high.rs", "room/low.rs", "room/mod.rs"];
    assert_eq!(found(), [all]);
}

/// A path of modules from the root of the crate.
type Module = Vec<String>;

/// The modules of a crate.
struct Crate {
    modules: BTreeMap<Module, Source>,
}

struct Source {
    /// Below the folder of sources.
    file: String,
    /// Names that `use` brings in, each with its path as written.
    names: BTreeMap<String, Vec<String>>,
    /// All paths that are used.
    paths: BTreeSet<Vec<String>>,
}

impl Crate {
    fn read(folder: &Path) -> Self {
        let mut sources = BTreeMap::new();
        let mut of_tests: Vec<PathBuf> = Vec::new();
        for file in rust_files(folder) {
            let (code, tests) = without_tests(&file, &fs::read_to_string(&file).unwrap());
            of_tests.extend(tests);
            sources.insert(file, code);
        }
        let is_test = |file: &PathBuf| of_tests.iter().any(|test| file.starts_with(test));
        sources.retain(|file, _| !is_test(file));
        let modules = sources.into_iter().map(|(file, code)| {
            let file = file.strip_prefix(folder).unwrap().to_owned();
            let mut module: Module = file
                .with_extension("")
                .iter()
                .map(|part| part.to_string_lossy().into_owned())
                .collect();
            let last = module.last().unwrap().as_str();
            if ["mod", "lib", "main"].contains(&last) {
                module.pop();
            }
            let mut names = BTreeMap::new();
            let mut paths = BTreeSet::new();
            let rest = take_uses(&code, &mut |path, name| {
                names.insert(name, path.clone());
                paths.insert(path);
            });
            paths.extend(paths_in(&rest));
            let file = file.display().to_string();
            let source = Source { file, names, paths };
            (module, source)
        });
        Self {
            modules: modules.collect(),
        }
    }

    /// Each file with those it imports.
    fn imports(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut imports: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (module, source) in &self.modules {
            let of_file = imports.entry(source.file.clone()).or_default();
            for path in &source.paths {
                let found = self.resolve(module, path, 0);
                of_file.extend(found.filter(|found| *found != source.file));
            }
        }
        imports
    }

    /// The file that has what a path names, seen from a module; none if it is of another crate.
    fn resolve(&self, from: &Module, path: &[String], depth: usize) -> Option<String> {
        let (first, mut rest) = path.split_first()?;
        let mut at = from.clone();
        match first.as_str() {
            "crate" => at.clear(),
            "self" => {}
            "super" => {
                at.pop();
                while let Some((next, behind)) = rest.split_first()
                    && next == "super"
                {
                    at.pop();
                    rest = behind;
                }
            }
            name => {
                at.push(name.to_owned());
                if !self.modules.contains_key(&at) {
                    let imported = self.modules.get(from)?.names.get(name)?;
                    let is_own = imported.first() == Some(first) || depth > 8;
                    let whole: Vec<_> = imported.iter().chain(rest).cloned().collect();
                    return (!is_own).then(|| self.resolve(from, &whole, depth + 1))?;
                }
            }
        }
        while let Some((next, behind)) = rest.split_first() {
            at.push(next.clone());
            if self.modules.contains_key(&at) {
                rest = behind;
                continue;
            }
            at.pop();
            let passed_on = self.modules.get(&at).and_then(|it| it.names.get(next));
            if let Some(imported) = passed_on.filter(|_| depth <= 8) {
                let whole: Vec<_> = imported.iter().chain(behind).cloned().collect();
                if let Some(found) = self.resolve(&at, &whole, depth + 1) {
                    return Some(found);
                }
            }
            break;
        }
        self.modules.get(&at).map(|found| found.file.clone())
    }
}

/// The code of a file without comments and tests, and the files of the tests that it declares.
fn without_tests(file: &Path, text: &str) -> (String, Vec<PathBuf>) {
    let is_root = ["mod.rs", "lib.rs", "main.rs"]
        .iter()
        .any(|name| file.ends_with(name));
    let below = match is_root {
        true => file.parent().unwrap().to_owned(),
        false => file.with_extension(""),
    };
    let (mut code, mut tests) = (String::new(), Vec::new());
    let mut lines = text.lines().map(str::trim_start).peekable();
    while let Some(line) = lines.next() {
        if line.starts_with("//") {
            continue;
        }
        if line != "#[cfg(test)]" {
            code.push_str(line.split(" // ").next().unwrap_or(line));
            code.push('\n');
            continue;
        }
        let mut path = None;
        while let Some(attribute) = lines.next_if(|line| line.starts_with("#[")) {
            let quoted = attribute.strip_prefix("#[path = \"");
            path = path.or(quoted.and_then(|it| it.strip_suffix("\"]")));
        }
        let Some(name) = lines.peek().and_then(|line| module_name(line)) else {
            // An item; that it does not count, nobody relies on.
            continue;
        };
        if name.ends_with('{') {
            // By our convention nothing follows.
            break;
        }
        lines.next();
        let name = name.trim_end_matches(';');
        match path {
            Some(path) => tests.push(file.parent().unwrap().join(path)),
            None => {
                tests.push(below.join(name));
                tests.push(below.join(format!("{name}.rs")));
            }
        }
    }
    (code, tests)
}

/// What follows `mod` in a line that declares or begins a module.
fn module_name(line: &str) -> Option<&str> {
    let line = line.strip_prefix("pub(super) ").unwrap_or(line);
    line.strip_prefix("pub ")
        .unwrap_or(line)
        .strip_prefix("mod ")
}

/// Gives every path of every `use` with the name that it brings in; answers the rest of the code.
fn take_uses(code: &str, give: &mut dyn FnMut(Vec<String>, String)) -> String {
    let mut rest = String::new();
    let mut statement: Option<String> = None;
    for line in code.lines() {
        let words = line.strip_prefix("pub").map_or(line, |line| {
            let visible = line.strip_prefix('(').and_then(|line| line.split_once(')'));
            visible.map_or(line, |(_, line)| line).trim_start()
        });
        let text = match &mut statement {
            Some(begun) => {
                begun.push_str(line);
                begun
            }
            None => match words.strip_prefix("use ") {
                Some(words) => statement.insert(words.to_owned()),
                None => {
                    rest.push_str(line);
                    rest.push('\n');
                    continue;
                }
            },
        };
        if let Some(tree) = text.strip_suffix(';') {
            expand(tree, &[], give);
            statement = None;
        }
    }
    rest
}

/// Gives the paths of a tree of imports.
fn expand(tree: &str, before: &[String], give: &mut dyn FnMut(Vec<String>, String)) {
    let tree = tree.trim();
    let mut path = before.to_vec();
    let (head, branches) = match tree.split_once('{') {
        Some((head, branches)) => (head, branches.strip_suffix('}')),
        None => (tree, None),
    };
    let (head, alias) = match head.split_once(" as ") {
        Some((head, alias)) => (head, Some(alias.trim().to_owned())),
        None => (head, None),
    };
    let segments = head.split("::").map(str::trim);
    path.extend(segments.filter(|it| !it.is_empty()).map(str::to_owned));
    let Some(branches) = branches else {
        if path.len() > 1
            && path
                .last()
                .is_some_and(|last| last == "self" || last == "*")
        {
            path.pop();
        }
        if let Some(name) = alias.or(path.last().cloned()) {
            give(path, name);
        }
        return;
    };
    let (mut depth, mut branch) = (0, String::new());
    for character in branches.chars().chain([',']) {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                if !branch.trim().is_empty() {
                    expand(&branch, &path, give);
                }
                branch.clear();
                continue;
            }
            _ => {}
        }
        branch.push(character);
    }
}

/// The paths of two words and more in code.
fn paths_in(code: &str) -> BTreeSet<Vec<String>> {
    let is_word = |character: char| character.is_alphanumeric() || character == '_';
    let mut paths = BTreeSet::new();
    // Who may see an item is no import.
    let code = code.replace("pub(in ", "pub(in:");
    for text in code.split(|character: char| !is_word(character) && character != ':') {
        let path: Vec<_> = text.split("::").map(str::to_owned).collect();
        if path.len() > 1
            && path
                .iter()
                .all(|word| !word.is_empty() && !word.contains(':'))
        {
            paths.insert(path);
        }
    }
    paths
}

/// The files that reach themselves, those that reach each other together.
fn circles(imports: &BTreeMap<String, BTreeSet<String>>) -> Vec<Vec<String>> {
    let reached: BTreeMap<&String, BTreeSet<&String>> = imports
        .keys()
        .map(|start| {
            let mut seen = BTreeSet::new();
            let mut open = vec![start];
            while let Some(next) = open.pop() {
                let more = imports.get(next).into_iter().flatten();
                open.extend(more.filter(|file| seen.insert(*file)));
            }
            (start, seen)
        })
        .collect();
    let mut found: BTreeSet<Vec<String>> = BTreeSet::new();
    for (file, seen) in &reached {
        if seen.contains(file) {
            let circle = seen.iter().filter(|other| reached[**other].contains(file));
            found.insert(circle.map(|file| (*file).clone()).collect());
        }
    }
    found.into_iter().collect()
}
