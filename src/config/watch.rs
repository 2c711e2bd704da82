//! Watches the files of a configuration and says when one of them changed, after a while of quiet.
//!
//! Folders are watched and not files, as editors and Kubernetes replace a file by renaming or by swapping a symbolic
//! link; all folders on the way through links are watched. Whether something changed is decided by comparing what the files
//! are (inode, size, times), so other files in these folders wake nobody. Signals of the system are one bit: nothing
//! piles up however many there are.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

/// How long nothing may happen before a change is told: writers often take several steps.
const QUIET: Duration = Duration::from_millis(500);

/// The most symbolic links that are followed on the way to a file, as in Linux.
const MAX_LINKS: usize = 40;

/// Watches configuration files.
#[derive(Debug)]
pub struct Watcher {
    system: RecommendedWatcher,
    signal: Arc<Notify>,
    /// The files and folders that are watched, as they were named.
    files: Vec<PathBuf>,
    folders: BTreeSet<PathBuf>,
    seen: Vec<Option<State>>,
    /// A signal came and the time of quiet is not over.
    is_stirred: bool,
}

/// What a file is, to tell whether it is another one now.
#[derive(Debug, PartialEq, Eq)]
struct State {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Watcher {
    /// Watches these files, and folders for files that come and go in them. Those that do not exist yet are watched for.
    ///
    /// # Errors
    /// The system has no more watches, or none at all. A folder that cannot be watched alone is passed over.
    pub fn new(files: &[PathBuf]) -> Result<Self, io::Error> {
        let signal = Arc::new(Notify::new());
        let from_system = Arc::clone(&signal);
        let system = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.map_or(true, |event| is_change(event.kind)) {
                from_system.notify_one();
            }
        })
        .map_err(io::Error::other)?;
        let mut watcher = Self {
            system,
            signal,
            files: Vec::new(),
            folders: BTreeSet::new(),
            seen: Vec::new(),
            is_stirred: false,
        };
        watcher.watch(files);
        Ok(watcher)
    }

    /// Watches these from now on, instead of those before. What later changes are measured by is what they are now, and
    /// for those that were watched before, what they were when they were looked at last.
    pub fn watch(&mut self, files: &[PathBuf]) {
        let before = std::mem::take(&mut self.files);
        let mut known: HashMap<_, _> = before.into_iter().zip(self.seen.drain(..)).collect();
        self.files = files.to_vec();
        self.follow();
        let now = |file: &PathBuf| known.remove(file).unwrap_or_else(|| state(file));
        self.seen = self.files.iter().map(now).collect();
    }

    /// Looks at the files: what they are now is about to be read, and only what changes from now on is told.
    pub fn look(&mut self) {
        self.seen = self.states();
    }

    /// Waits until a file changed and nothing more happened for 500 ms.
    ///
    /// # Cancel safety
    /// Cancel safe: a change that was noticed is told by the next call.
    pub async fn changed(&mut self) {
        loop {
            if !self.is_stirred {
                self.signal.notified().await;
                self.is_stirred = true;
            }
            while tokio::time::timeout(QUIET, self.signal.notified())
                .await
                .is_ok()
            {}
            self.is_stirred = false;
            // Links may lead elsewhere now. Watched first and looked at then, nothing is missed in between.
            self.follow();
            let states = self.states();
            if states != self.seen {
                self.seen = states;
                return;
            }
        }
    }

    fn states(&self) -> Vec<Option<State>> {
        self.files.iter().map(|file| state(file)).collect()
    }

    /// Watches the folders that the files are in now.
    fn follow(&mut self) {
        let folders: BTreeSet<PathBuf> = self
            .files
            .iter()
            .flat_map(|file| folders_of(file))
            .collect();
        for gone in self.folders.difference(&folders) {
            // A folder that was removed is watched no more already.
            drop(self.system.unwatch(gone));
        }
        // All again, also those watched before: a folder may have been removed and made anew.
        self.folders = folders
            .into_iter()
            .filter(|folder| {
                self.system
                    .watch(folder, RecursiveMode::NonRecursive)
                    .is_ok()
            })
            .collect();
    }
}

/// Reading the files, as a reload does, is no change.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        EventKind::Any
        | EventKind::Create(_)
        | EventKind::Modify(_)
        | EventKind::Remove(_)
        | EventKind::Other => true,
    }
}

fn state(file: &Path) -> Option<State> {
    let metadata = fs::metadata(file).ok()?;
    Some(State {
        device: metadata.dev(),
        inode: metadata.ino(),
        size: metadata.size(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    })
}

/// The folders in which something must change for `file` to become another: its own, those of the links on the way to
/// it, and itself if it is one.
fn folders_of(file: &Path) -> BTreeSet<PathBuf> {
    let mut folders = BTreeSet::new();
    let mut path = std::path::absolute(file).unwrap_or_else(|_| file.to_path_buf());
    for _ in 0..MAX_LINKS {
        folders.extend(path.parent().map(Path::to_path_buf));
        let Some((link, target)) = first_link(&path) else {
            break;
        };
        let folder = link.parent().unwrap_or(&link);
        folders.insert(folder.to_path_buf());
        let rest = path.strip_prefix(&link).unwrap_or(Path::new(""));
        path = folder.join(target).join(rest);
    }
    if path.is_dir() {
        folders.insert(path);
    }
    folders
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
#[path = "watch_tests.rs"]
mod tests;
