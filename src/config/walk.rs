//! Finds the files that a glob matches, within bounds: no glob makes a reload look at a whole disk.
//!
//! Invariants: links to folders are followed where a component names or matches them, never below `**`, so a walk has
//! no cycles; no wildcard matches a name that begins with a dot, as in shells: editors, volumes and our edits keep
//! other files there; folders of the kernel's own file systems are not entered; entries are counted over all globs.

use std::collections::BTreeSet;
use std::io;
use std::path::{Component, Path, PathBuf};

use glob::{MatchOptions, Pattern};

use crate::config::file::is_kernel_folder;

/// The most files that all globs may match.
pub(super) const MAX_FILES: usize = 4096;

/// The most entries of folders that are looked at for all globs.
pub(super) const MAX_ENTRIES: usize = 65_536;

/// The most folders that `**` goes down.
pub(super) const MAX_DEPTH: usize = 16;

/// How names match: a wildcard stays within a folder, and passes over what begins with a dot.
pub(super) const SHELL: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

/// Why a glob cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum WalkError {
    /// It is not valid.
    #[error("expected a glob such as conf.d/*.yaml ({0})")]
    Pattern(&'static str),
    /// There is too much below it.
    #[error(
        "more than {MAX_ENTRIES} files and folders to look at, expected a narrower glob such as conf.d/*.yaml"
    )]
    Entries,
    /// It matches too much.
    #[error("matches more than {MAX_FILES} files, expected a narrower glob such as conf.d/*.yaml")]
    Files,
    /// Folders in folders in folders.
    #[error("folders below {0} are nested more than {MAX_DEPTH} deep, expected a narrower glob")]
    Depth(PathBuf),
    /// A folder cannot be read.
    #[error("{0} cannot be read: {1}")]
    Folder(PathBuf, #[source] io::Error),
}

/// The number of entries seen so far, for all globs of a configuration.
#[derive(Debug, Default)]
pub(super) struct Walk {
    entries: usize,
    files: usize,
}

/// A component of a glob.
enum Step {
    /// A name, or `..`.
    Name(PathBuf),
    /// A name with wildcards.
    Wild(Pattern),
    /// `**`: this folder and all below it.
    Below,
}

impl Walk {
    /// The paths that a glob matches and that are not folders, in the order of their names.
    pub(super) fn matches(&mut self, pattern: &Path) -> Result<Vec<PathBuf>, WalkError> {
        let steps = steps(pattern)?;
        let mut found = BTreeSet::new();
        self.go(PathBuf::new(), &steps, &mut found)?;
        Ok(found.into_iter().collect())
    }

    fn go(
        &mut self,
        at: PathBuf,
        steps: &[Step],
        found: &mut BTreeSet<PathBuf>,
    ) -> Result<(), WalkError> {
        let Some((step, rest)) = steps.split_first() else {
            return self.take(at, found);
        };
        match step {
            Step::Name(name) => {
                let path = at.join(name);
                match path.symlink_metadata() {
                    Ok(_) => self.go(path, rest, found),
                    Err(_) => Ok(()),
                }
            }
            Step::Wild(pattern) => {
                for name in self.names(&at)? {
                    if pattern.matches_with(&name, SHELL) {
                        self.go(at.join(name), rest, found)?;
                    }
                }
                Ok(())
            }
            // At the end it matches folders alone.
            Step::Below if rest.is_empty() => Ok(()),
            Step::Below => self.go_below(at, rest, found, 0),
        }
    }

    fn go_below(
        &mut self,
        at: PathBuf,
        rest: &[Step],
        found: &mut BTreeSet<PathBuf>,
        depth: usize,
    ) -> Result<(), WalkError> {
        if depth > MAX_DEPTH {
            return Err(WalkError::Depth(at));
        }
        for name in self.names(&at)? {
            if name.starts_with('.') {
                continue;
            }
            let path = at.join(name);
            // The entry itself: a link may lead back up.
            if path.symlink_metadata().is_ok_and(|it| it.is_dir()) {
                self.go_below(path, rest, found, depth + 1)?;
            }
        }
        self.go(at, rest, found)
    }

    /// The names in a folder. Empty if it is not a folder, or one of the kernel.
    fn names(&mut self, folder: &Path) -> Result<Vec<String>, WalkError> {
        let folder = if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            folder
        };
        if !folder.is_dir() || is_kernel_folder(folder) {
            return Ok(Vec::new());
        }
        let failed = |error| WalkError::Folder(folder.to_path_buf(), error);
        let mut names = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(failed)? {
            self.entries += 1;
            if self.entries > MAX_ENTRIES {
                return Err(WalkError::Entries);
            }
            // A glob is text, so that it matches no other names.
            if let Ok(name) = entry.map_err(failed)?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn take(&mut self, path: PathBuf, found: &mut BTreeSet<PathBuf>) -> Result<(), WalkError> {
        if path.is_dir() || !found.insert(path) {
            return Ok(());
        }
        self.files += 1;
        if self.files > MAX_FILES {
            return Err(WalkError::Files);
        }
        Ok(())
    }
}

fn steps(pattern: &Path) -> Result<Vec<Step>, WalkError> {
    let mut steps: Vec<Step> = Vec::new();
    // Checked as a whole first, as its error is more precise.
    let check = |text: &str| Pattern::new(text).map_err(|error| WalkError::Pattern(error.msg));
    check(&pattern.to_string_lossy())?;
    for component in pattern.components() {
        let text = component.as_os_str().to_string_lossy();
        match component {
            Component::CurDir => {}
            Component::Normal(_) if text == "**" => {
                // Several in a row mean the same as one.
                if !matches!(steps.last(), Some(Step::Below)) {
                    steps.push(Step::Below);
                }
            }
            Component::Normal(_) if is_wild(&text) => steps.push(Step::Wild(check(&text)?)),
            _ => steps.push(Step::Name(PathBuf::from(component.as_os_str()))),
        }
    }
    Ok(steps)
}

/// Whether a component of a glob has wildcards.
pub(super) fn is_wild(component: &str) -> bool {
    component.contains(['*', '?', '['])
}

/// Whether a glob finds a path, or would if it existed.
pub(super) fn is_match(pattern: &Path, path: &Path) -> bool {
    Pattern::new(&plain(pattern).to_string_lossy())
        .is_ok_and(|pattern| pattern.matches_path_with(&plain(path), SHELL))
}

/// A path without `.`, which the file system passes over.
fn plain(path: &Path) -> PathBuf {
    let is_named = |component: &Component<'_>| *component != Component::CurDir;
    path.components().filter(is_named).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        folder
    }

    fn found(folder: &tempfile::TempDir, glob: &str) -> Vec<String> {
        let paths = Walk::default().matches(&folder.path().join(glob)).unwrap();
        let name = |path: &PathBuf| {
            let inside = path.strip_prefix(folder.path()).unwrap();
            inside.to_str().unwrap().to_owned()
        };
        paths.iter().map(name).collect()
    }

    #[test]
    fn it_finds_what_the_crate_glob_finds() {
        let folder = folder(&[
            "b.yaml",
            "a.yaml",
            ".hidden.yaml",
            "._a.yaml",
            ".git/config.yaml",
            "x/..2026/g.yaml",
            "c.txt",
            "x/d.yaml",
            "x/y/e.yaml",
            "x/y/z/f.yaml",
            "w[1].yaml",
        ]);
        symlink("x", folder.path().join("link")).unwrap();
        symlink("gone", folder.path().join("dangling.yaml")).unwrap();
        for pattern in [
            "*.yaml",
            "a.yaml",
            "./a.yaml",
            "x/*.yaml",
            "*/d.yaml",
            "**/*.yaml",
            "**",
            "**/y/*",
            "x/**/f.yaml",
            "x/../?.yaml",
            "[ab].yaml",
            "w[[]1].yaml",
            "nothing/*",
            "link/**/*.yaml",
            "**/**/e.yaml",
            "x/y/**",
            "{a}.yaml",
            "*",
            "**/z/../e.yaml",
            "?git/*",
        ] {
            let whole = folder.path().join(pattern);
            let mut theirs: Vec<PathBuf> = glob::glob_with(whole.to_str().unwrap(), SHELL)
                .unwrap()
                .map(Result::unwrap)
                .filter(|path| !path.is_dir())
                .collect();
            // It goes down into links below `**`, which may lead round.
            let link = folder.path().join("link");
            theirs.retain(|path| !pattern.starts_with("**") || !path.starts_with(&link));
            theirs.sort();
            theirs.dedup();
            let ours = Walk::default().matches(&whole).unwrap();
            assert_eq!(ours, theirs, "{pattern}");
        }
        // A pattern that begins with a dot matches it.
        assert_eq!(found(&folder, ".*.yaml"), ["._a.yaml", ".hidden.yaml"]);
        assert_eq!(found(&folder, ".git/*"), [".git/config.yaml"]);
    }

    #[test]
    fn links_that_lead_round_are_not_followed_round() {
        let folder = folder(&["a/b/c.yaml"]);
        symlink("..", folder.path().join("a/up")).unwrap();
        symlink("self", folder.path().join("self")).unwrap();
        assert_eq!(found(&folder, "**/*.yaml"), ["a/b/c.yaml"]);
        // Named explicitly, a link is a folder like any other.
        assert_eq!(found(&folder, "a/*/a/b/*.yaml"), ["a/up/a/b/c.yaml"]);
    }

    #[test]
    fn the_kernels_folders_are_not_entered() {
        let matches = |glob: &str| Walk::default().matches(Path::new(glob)).unwrap();
        assert_eq!(matches("/proc/*/environ"), Vec::<PathBuf>::new());
        assert_eq!(matches("/sys/**/*"), Vec::<PathBuf>::new());
    }

    #[test]
    fn more_than_a_configuration_has_is_refused() {
        let deep = "d/".repeat(MAX_DEPTH + 2) + "a.yaml";
        let nested = folder(&[&deep]);
        let whole = nested.path().join("**/*.yaml");
        let error = Walk::default().matches(&whole).unwrap_err();
        assert!(matches!(error, WalkError::Depth(_)), "{error}");
        let many = tempfile::tempdir().unwrap();
        for number in 0..=MAX_FILES {
            std::fs::write(many.path().join(number.to_string()), "").unwrap();
        }
        let mut walk = Walk::default();
        let error = walk.matches(&many.path().join("*")).unwrap_err();
        assert!(matches!(error, WalkError::Files), "{error}");
        // Each entry seen counts, also if nothing matches.
        let looks = (0..=MAX_ENTRIES / MAX_FILES).map(|_| walk.matches(&many.path().join("no*")));
        let error = looks.filter_map(Result::err).next().unwrap();
        assert!(matches!(error, WalkError::Entries), "{error}");
        let wrong = Walk::default().matches(Path::new("a/b**")).unwrap_err();
        assert!(matches!(wrong, WalkError::Pattern(_)), "{wrong}");
    }
}
