//! The identity of each file of a configuration, and the folders to watch for changes of it.
//!
//! It looks at every file, so it is for a thread on which nobody waits.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use glob::Pattern;

use crate::config::walk::{MAX_ENTRIES, SHELL, is_wild};

/// The most symbolic links that are followed on the way to a file, as in Linux.
const MAX_LINKS: usize = 40;

/// The files and globs that a configuration was read from.
#[derive(Debug, Clone, Default)]
pub(super) struct Sources {
    /// Files, as they were named.
    pub(super) files: Vec<PathBuf>,
    /// Globs of files.
    pub(super) globs: Vec<PathBuf>,
}

/// The identity of each source at one moment, by path; None if absent.
pub(super) type States = HashMap<PathBuf, Option<State>>;

/// Identity of a file, to detect replacement and change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    File {
        device: u64,
        inode: u64,
        size: u64,
        modified: (i64, i64),
        changed: (i64, i64),
    },
    /// Of a glob a digest of the names that match where its first wildcard is.
    Names(u64),
}

/// The sources at a moment.
#[derive(Debug)]
pub struct Survey {
    pub(super) sources: Sources,
    /// The folders to watch, each with the names in it that matter.
    pub(super) places: HashMap<PathBuf, Names>,
    pub(super) states: States,
}

/// The names in a folder that matter.
#[derive(Debug, Default)]
pub(super) struct Names {
    exact: HashSet<OsString>,
    wild: Vec<Pattern>,
}

impl Names {
    pub(super) fn has(&self, name: &OsStr) -> bool {
        let is_wild = |name: &str| {
            let mut wild = self.wild.iter();
            wild.any(|pattern| pattern.matches_with(name, SHELL))
        };
        self.exact.contains(name) || name.to_str().is_some_and(is_wild)
    }

    /// Takes those of another in.
    pub(super) fn join(&mut self, other: Self) {
        self.exact.extend(other.exact);
        self.wild.extend(other.wild);
    }
}

impl Survey {
    /// Looks at everything.
    pub(super) fn of(sources: Sources) -> Self {
        let mut places = HashMap::new();
        for file in &sources.files {
            follow(file, &mut places);
        }
        for glob in &sources.globs {
            let (folder, next) = first_wild(glob);
            let folder = follow(&folder, &mut places);
            let names: &mut Names = places.entry(folder).or_default();
            if !names.wild.contains(&next) {
                names.wild.push(next);
            }
        }
        let states = states(&sources);
        Self {
            sources,
            places,
            states,
        }
    }
}

/// What the sources are now.
pub(super) fn states(sources: &Sources) -> States {
    let files = sources.files.iter().map(|file| (file.clone(), state(file)));
    let globs = sources.globs.iter();
    let globs = globs.map(|glob| (glob.clone(), names(glob).map(State::Names)));
    files.chain(globs).collect()
}

fn state(file: &Path) -> Option<State> {
    let metadata = fs::metadata(file).ok()?;
    Some(State::File {
        device: metadata.dev(),
        inode: metadata.ino(),
        size: metadata.size(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    })
}

fn names(glob: &Path) -> Option<u64> {
    let (folder, next) = first_wild(glob);
    let entries = fs::read_dir(folder).ok()?.take(MAX_ENTRIES).flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let matching = names.filter(|name| next.matches_with(name, SHELL));
    let mut matching: Vec<String> = matching.collect();
    matching.sort_unstable();
    let mut hasher = DefaultHasher::new();
    matching.hash(&mut hasher);
    Some(hasher.finish())
}

/// The folder above the first component with a wildcard, and that component: below `**` everything matters.
fn first_wild(glob: &Path) -> (PathBuf, Pattern) {
    let text = |component: Component<'_>| component.as_os_str().to_string_lossy().into_owned();
    let above = glob.parent().unwrap_or(glob).components();
    let mut folder: PathBuf = above.take_while(|part| !is_wild(&text(*part))).collect();
    let next = glob.components().nth(folder.components().count());
    if folder.as_os_str().is_empty() {
        folder.push(".");
    }
    let next = next.map_or_else(|| "*".to_owned(), text);
    let next = Pattern::new(&next).ok().filter(|_| next != "**");
    (folder, next.unwrap_or_default())
}

/// Adds the folders in which something must change for `file` to become another: its own, those of the links on the way
/// to it, and what is above a folder that is missing. Gives the path without links.
fn follow(file: &Path, places: &mut HashMap<PathBuf, Names>) -> PathBuf {
    let mut path = std::path::absolute(file).unwrap_or_else(|_| file.to_path_buf());
    for _ in 0..MAX_LINKS {
        add_with_missing(&path, places);
        let Some((link, target)) = first_link(&path) else {
            break;
        };
        add(&link, places);
        let folder = link.parent().unwrap_or(&link);
        let rest = path.strip_prefix(&link).unwrap_or(Path::new(""));
        path = folder.join(target).join(rest);
    }
    path
}

fn add_with_missing(path: &Path, places: &mut HashMap<PathBuf, Names>) {
    for missing in path.ancestors() {
        add(missing, places);
        if missing.parent().is_none_or(Path::is_dir) {
            break;
        }
    }
}

fn add(path: &Path, places: &mut HashMap<PathBuf, Names>) {
    if let (Some(folder), Some(name)) = (path.parent(), path.file_name()) {
        let names = places.entry(folder.to_path_buf()).or_default();
        names.exact.insert(name.to_os_string());
    }
}

/// The first component of a path that is a symbolic link, and where it leads.
fn first_link(path: &Path) -> Option<(PathBuf, PathBuf)> {
    let mut prefixes: Vec<&Path> = path.ancestors().collect();
    prefixes.reverse();
    prefixes
        .into_iter()
        .find_map(|prefix| Some((prefix.to_path_buf(), fs::read_link(prefix).ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glob_is_watched_where_its_first_wildcard_is() {
        for (glob, folder, next) in [
            (
                "/etc/sidehook/conf.d/*.yaml",
                "/etc/sidehook/conf.d",
                "*.yaml",
            ),
            ("/etc/*/conf.d/a.yaml", "/etc", "*"),
            ("*.yaml", ".", "*.yaml"),
            ("conf/a.yaml", "conf", "a.yaml"),
        ] {
            let (found, pattern) = first_wild(Path::new(glob));
            assert_eq!(
                (found.as_path(), pattern.as_str()),
                (Path::new(folder), next),
                "{glob}"
            );
        }
    }
}
