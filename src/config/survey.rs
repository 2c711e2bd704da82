//! Where to watch for changes of the files of a configuration, and their states.
//!
//! It reads every file, so it must not run on a thread that others wait for.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use glob::Pattern;

use crate::config::identity::{Occasion, Snapshot, Sources, States};
use crate::config::walk::{SHELL, is_wild};

/// The most symbolic links that are followed on the way to a file, as in Linux.
const MAX_LINKS: usize = 40;

/// The sources at a moment.
#[derive(Debug)]
pub struct Survey {
    pub(super) sources: Arc<Sources>,
    /// `None` if no path has moved.
    pub(super) places: Option<Places>,
    pub(super) states: States,
    pub(super) occasion: Occasion,
}

/// The folders to watch, each with the names in it that matter.
pub(super) type Places = HashMap<PathBuf, Names>;

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

    /// Adds those of another.
    pub(super) fn join(&mut self, other: Self) {
        self.exact.extend(other.exact);
        self.wild.extend(other.wild);
    }
}

impl Survey {
    /// Checks everything, the places last: changes there meanwhile are found by the next check, once they are
    /// watched.
    pub(super) fn of(sources: Arc<Sources>, before: &States, occasion: Occasion) -> Self {
        let states = sources.look(before, occasion);
        let places = Some(places(&sources));
        Self {
            sources,
            places,
            states,
            occasion,
        }
    }

    /// Checks everything that was read, for comparison with later states: a file that changed since it was read keeps
    /// the old state, so that the next check reports it.
    pub(super) fn since(read: &Snapshot) -> Self {
        let sources = Arc::new(read.sources().clone());
        let mut survey = Self::of(sources, &States::default(), Occasion::Signal);
        survey.states.set_back(read);
        survey
    }

    /// Checks for changes although the system reported none. The places are looked for only if
    /// they may be others, or are `wanted`.
    pub(super) fn routine(sources: Arc<Sources>, before: &States, wanted: bool) -> Self {
        let occasion = Occasion::Routine;
        let states = sources.look(before, occasion);
        let places = (wanted || states.have_moved(before)).then(|| places(&sources));
        Self {
            sources,
            places,
            states,
            occasion,
        }
    }
}

fn places(sources: &Sources) -> Places {
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
    places
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
