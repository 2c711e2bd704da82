//! The files that a configuration was read from, and whether one of them changed.
//!
//! A file is recognized by its identity (inode, size, times), which costs one system call, and by a digest of its
//! content: in-place changes through another mount, or within one tick of a file system's clock, may leave the identity.
//! Contents are read within a budget for each look, in turn, so that ten thousand files cost no more than a thousand.
//!
//! It reads every file, so it must not run on a thread that others wait for.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::config::file::{self, CONFIG_BYTES_MAX};
use crate::config::walk::Walk;

/// The most files whose contents one look reads.
const FILES_READ: usize = 1000;

/// The bytes after which one look begins no further file.
const BYTES_READ: usize = 4 << 20;

/// The bytes that are read at a time.
const CHUNK: usize = 64 << 10;

/// The files and globs that a configuration was read from.
#[derive(Debug, Clone, Default)]
pub(super) struct Sources {
    /// Files, as they were named.
    pub(super) files: Vec<PathBuf>,
    /// Globs of files.
    pub(super) globs: Vec<PathBuf>,
}

/// The states of all sources at one moment, files first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct States {
    list: Vec<State>,
    /// The file whose content has its turn next.
    turn: usize,
}

/// The state of a source at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct State {
    /// `None` if absent.
    identity: Option<Identity>,
    /// A digest of a file's content; `None` if it was not read yet, or cannot be.
    content: Option<u64>,
}

/// The properties by which a changed source is recognized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Identity {
    File {
        device: u64,
        inode: u64,
        size: u64,
        modified: (i64, i64),
        changed: (i64, i64),
    },
    /// Digest of the paths that a glob matches.
    Paths(u64),
}

/// The identities of a configuration's files at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    sources: Sources,
    identities: Vec<Option<Identity>>,
}

impl Snapshot {
    /// The identities of files and globs just before they were read.
    pub(super) fn as_read(
        files: BTreeMap<PathBuf, Option<Identity>>,
        globs: BTreeMap<PathBuf, Option<Identity>>,
    ) -> Self {
        let (files, mut identities): (Vec<_>, Vec<_>) = files.into_iter().unzip();
        let (globs, of_globs): (Vec<_>, Vec<_>) = globs.into_iter().unzip();
        identities.extend(of_globs);
        Self {
            sources: Sources { files, globs },
            identities,
        }
    }

    /// The files and globs.
    pub(super) fn sources(&self) -> &Sources {
        &self.sources
    }

    /// The current identities of the same files.
    #[must_use]
    pub fn again(&self) -> Self {
        Self::new(self.sources.clone())
    }

    /// Whether they are still the same.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.sources
            .identities()
            .eq(self.identities.iter().copied())
    }

    pub(super) fn new(sources: Sources) -> Self {
        let identities = sources.identities().collect();
        Self {
            sources,
            identities,
        }
    }
}

/// The reason for a check of the sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Occasion {
    /// The system reported a change, or the configuration is being loaded: a file with another identity
    /// counts as another, and contents are read where they are not known.
    Signal,
    /// Some time has passed: contents are read in turn, and an equal one counts as unchanged, even if the identity
    /// differs: some network file systems change it.
    Routine,
}

impl Sources {
    /// The current states of the sources, based on the states before.
    pub(super) fn look(&self, before: &States, occasion: Occasion) -> States {
        let list = self.identities().enumerate().map(|(index, identity)| {
            let old = before.list.get(index).copied().unwrap_or_default();
            let content = old.content.filter(|_| old.identity == identity);
            State { identity, content }
        });
        let mut states = States {
            list: list.collect(),
            turn: before.turn,
        };
        states.read_contents(&self.files, occasion);
        states
    }

    fn identities(&self) -> impl Iterator<Item = Option<Identity>> {
        let files = self.files.iter().map(|file| identity(file));
        files.chain(self.globs.iter().map(|glob| paths(glob)))
    }

    /// The number of sources, by which their states are numbered.
    pub(super) fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.files.iter().chain(&self.globs)
    }
}

impl States {
    /// The state of each source, in the order of [`Sources::paths`].
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut State> {
        self.list.iter_mut()
    }

    /// The state of each source, in the order of [`Sources::paths`].
    pub(super) fn iter(&self) -> impl Iterator<Item = &State> {
        self.list.iter()
    }

    /// Resets each source that has changed since `before`, so that it will be found to differ.
    pub(super) fn set_back(&mut self, before: &Snapshot) {
        for (state, identity) in self.list.iter_mut().zip(&before.identities) {
            if state.identity != *identity {
                *state = State {
                    identity: *identity,
                    content: None,
                };
            }
        }
    }

    /// Whether a source is another than before.
    pub(super) fn differ(&self, before: &Self, occasion: Occasion) -> bool {
        let mut pairs = before.list.iter().zip(&self.list);
        let is_other_list = before.list.len() != self.list.len();
        is_other_list || pairs.any(|(old, new)| old.is_replaced_by(*new, occasion))
    }

    /// Whether a source may lie elsewhere than before.
    pub(super) fn have_moved(&self, before: &Self) -> bool {
        let mut pairs = before.list.iter().zip(&self.list);
        pairs.any(|(old, new)| old.identity != new.identity)
    }

    /// Reads contents from the one on whose turn it is, until the budget is spent.
    fn read_contents(&mut self, files: &[PathBuf], occasion: Occasion) {
        let mut buffer = Zeroizing::new(vec![0; CHUNK]);
        let (mut read, mut bytes) = (0, 0);
        let first = if self.turn < files.len() {
            self.turn
        } else {
            0
        };
        let in_turn = files.iter().zip(&mut self.list).enumerate();
        let (mut later, mut now): (Vec<_>, Vec<_>) = in_turn.partition(|(at, _)| *at < first);
        now.append(&mut later);
        for (at, (file, state)) in now {
            let is_known = state.identity.is_none() || state.content.is_some();
            if is_known && occasion == Occasion::Signal {
                continue;
            }
            if read == FILES_READ || bytes > BYTES_READ {
                self.turn = at;
                return;
            }
            read += 1;
            state.content = digest(file, &mut buffer).map(|(content, length)| {
                bytes += length;
                content
            });
        }
    }
}

impl State {
    fn is_replaced_by(self, new: Self, occasion: Occasion) -> bool {
        let (Some(Identity::File { .. }), Some(Identity::File { .. })) =
            (self.identity, new.identity)
        else {
            return self.identity != new.identity;
        };
        match (self.content, new.content) {
            (Some(old), Some(new)) if old != new => true,
            (Some(_), Some(_)) if occasion == Occasion::Routine => false,
            _ => self.identity != new.identity,
        }
    }
}

/// The current identity of a file; `None` if absent.
pub(super) fn identity(file: &Path) -> Option<Identity> {
    let metadata = fs::metadata(file).ok()?;
    Some(Identity::File {
        device: metadata.dev(),
        inode: metadata.ino(),
        size: metadata.size(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    })
}

fn paths(glob: &Path) -> Option<Identity> {
    let paths = Walk::default().matches(glob).ok()?;
    Some(Identity::of_paths(&paths))
}

impl Identity {
    /// That of a glob which matches these.
    pub(super) fn of_paths(paths: &[PathBuf]) -> Self {
        let mut hasher = DefaultHasher::new();
        paths.hash(&mut hasher);
        Self::Paths(hasher.finish())
    }
}

/// The digest of a file's content, as far as a configuration's files may go, and how many bytes it has.
fn digest(path: &Path, buffer: &mut [u8]) -> Option<(u64, usize)> {
    let (mut file, _) = file::open(path).ok()?;
    let mut hasher = DefaultHasher::new();
    let mut length = 0;
    while length <= CONFIG_BYTES_MAX {
        let count = file.read(buffer).ok()?;
        if count == 0 {
            break;
        }
        hasher.write(buffer.get(..count)?);
        length += count;
    }
    hasher.write_usize(length);
    Some((hasher.finish(), length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(files: Vec<PathBuf>) -> Sources {
        Sources {
            files,
            globs: Vec::new(),
        }
    }

    /// Sets a file's content and its times back, so that by its identity only the time of the change differs.
    fn states_with_equal_identity(one: &str, other: &str, occasion: Occasion) -> bool {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a");
        let sources = sources(vec![file.clone()]);
        fs::write(&file, one).unwrap();
        let before = sources.look(&States::default(), Occasion::Signal);
        fs::write(&file, other).unwrap();
        let mut after = sources.look(&before, Occasion::Routine);
        for (new, old) in after.iter_mut().zip(before.iter()) {
            new.identity = old.identity;
        }
        after.differ(&before, occasion)
    }

    #[test]
    fn another_content_is_another_file_whatever_its_identity() {
        for occasion in [Occasion::Signal, Occasion::Routine] {
            assert!(states_with_equal_identity("one", "two", occasion));
            assert!(!states_with_equal_identity("one", "one", occasion));
        }
    }

    #[test]
    fn the_same_content_under_another_identity_counts_only_when_the_system_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a");
        let sources = sources(vec![file.clone()]);
        fs::write(&file, "a").unwrap();
        let before = sources.look(&States::default(), Occasion::Signal);
        let new = folder.path().join("b");
        fs::write(&new, "a").unwrap();
        fs::rename(new, &file).unwrap();
        let after = sources.look(&before, Occasion::Routine);
        assert!(after.have_moved(&before));
        assert!(!after.differ(&before, Occasion::Routine));
        assert!(after.differ(&before, Occasion::Signal));
        // Files that cannot be read have no content to compare.
        fs::remove_file(&file).unwrap();
        let gone = sources.look(&after, Occasion::Routine);
        assert!(gone.differ(&after, Occasion::Routine));
        fs::create_dir(&file).unwrap();
        let folder = sources.look(&gone, Occasion::Routine);
        assert!(folder.differ(&gone, Occasion::Routine));
        assert!(!folder.differ(&folder, Occasion::Routine));
    }

    #[test]
    fn a_snapshot_is_current_until_a_file_is_another_or_comes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.yaml");
        fs::write(&file, "a").unwrap();
        let snapshot = Snapshot::new(Sources {
            files: vec![file.clone()],
            globs: vec![folder.path().join("*.yaml")],
        });
        assert!(snapshot.is_current());
        fs::write(&file, "ab").unwrap();
        assert!(!snapshot.is_current());
        let snapshot = snapshot.again();
        assert!(snapshot.is_current());
        fs::write(folder.path().join("b.yaml"), "").unwrap();
        assert!(!snapshot.is_current());
        fs::remove_file(folder.path().join("b.yaml")).unwrap();
        assert!(snapshot.is_current());
        fs::remove_file(&file).unwrap();
        assert!(!snapshot.is_current());
    }

    #[test]
    fn what_a_configuration_was_read_from_is_told_by_what_it_was_then() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("conf.d")).unwrap();
        let main = "include: [conf.d/*.yaml]\nsubscriptions: {}\n";
        let included = "subscriptions: {a: {active: false, secret: {file: key}}}\n";
        fs::write(path("config.yaml"), main).unwrap();
        fs::write(path("conf.d/a.yaml"), included).unwrap();
        let key = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
        fs::write(path("conf.d/key"), key).unwrap();
        let environment = crate::config::Environment::default();
        let read = || {
            let loaded = crate::config::load(&path("config.yaml"), &environment).unwrap();
            assert!(loaded.snapshot.is_current());
            loaded.snapshot
        };
        for name in ["config.yaml", "conf.d/a.yaml", "conf.d/key"] {
            let snapshot = read();
            let mut text = fs::read_to_string(path(name)).unwrap();
            text.push('\n');
            fs::write(path(name), text).unwrap();
            assert!(!snapshot.is_current(), "{name}");
        }
        let snapshot = read();
        fs::write(path("conf.d/b.yaml"), "").unwrap();
        assert!(!snapshot.is_current(), "a file that comes");
    }

    /// More files than one look reads: each has its turn, also one whose identity stays.
    #[test]
    fn every_content_has_its_turn() {
        let folder = tempfile::tempdir().unwrap();
        let count = FILES_READ * 2 + 10;
        let names = (0..count).map(|number| folder.path().join(number.to_string()));
        let sources = sources(names.collect());
        for file in &sources.files {
            fs::write(file, "a").unwrap();
        }
        let known = |states: &States| states.iter().filter(|it| it.content.is_some()).count();
        let mut states = States::default();
        for expected in [FILES_READ, 2 * FILES_READ, count] {
            states = sources.look(&states, Occasion::Signal);
            assert_eq!(known(&states), expected);
        }
        // The known digests are wrong from here on, so that each turn is seen.
        let before = states.clone();
        states.iter_mut().for_each(|state| state.content = Some(0));
        for _ in 0..3 {
            states = sources.look(&states, Occasion::Routine);
        }
        assert!(!states.differ(&before, Occasion::Routine));
        assert_eq!(states.list, before.list);
    }

    #[test]
    fn what_is_too_large_for_a_configuration_is_not_read_whole() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a");
        fs::File::create(&file).unwrap().set_len(1 << 40).unwrap();
        let (_, length) = digest(&file, &mut vec![0; CHUNK]).unwrap();
        assert!(length <= CONFIG_BYTES_MAX + CHUNK);
        let pipe = folder.path().join("pipe");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert_eq!(digest(&pipe, &mut vec![0; CHUNK]), None);
    }
}
