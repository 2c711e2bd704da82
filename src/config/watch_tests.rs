//! Watching real files: every way in which editors, people and Kubernetes change one.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use super::*;
use tempfile::TempDir;

/// The longest time until a change is reported on a busy machine.
const DEADLINE: Duration = Duration::from_secs(20);

/// How long nothing must be reported: longer than the time of quiet.
const SILENCE: Duration = Duration::from_millis(1500);

/// Watches these files.
fn watching(files: &[PathBuf]) -> Watcher {
    Watcher::of(&of_files(files), inotify)
}

fn watching_globs(files: Vec<PathBuf>, globs: Vec<PathBuf>) -> Watcher {
    Watcher::of(&Snapshot::new(Sources { files, globs }), inotify)
}

fn of_files(files: &[PathBuf]) -> Snapshot {
    Snapshot::new(Sources {
        files: files.to_vec(),
        globs: Vec::new(),
    })
}

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }
}

async fn assert_told(watcher: &mut Watcher) {
    tokio::time::timeout(DEADLINE, watcher.changed())
        .await
        .expect("the change is told");
}

async fn assert_silent(watcher: &mut Watcher) {
    assert!(
        tokio::time::timeout(SILENCE, watcher.changed())
            .await
            .is_err(),
        "nothing changed"
    );
}

#[tokio::test]
async fn a_file_that_is_written_is_told_once() {
    let folder = Folder::new();
    let file = folder.write("config.yaml", "a");
    let mut watcher = watching(std::slice::from_ref(&file));
    for text in ["b", "bc", "bcd"] {
        fs::write(&file, text).unwrap();
    }
    assert_told(&mut watcher).await;
    assert_silent(&mut watcher).await;
}

#[tokio::test]
async fn a_change_while_the_files_are_read_is_told_and_one_before_is_not() {
    let folder = Folder::new();
    let file = folder.write("config.yaml", "a");
    let mut watcher = watching(std::slice::from_ref(&file));
    fs::write(&file, "ab").unwrap();
    watcher.looker().look();
    let survey = watcher
        .looker()
        .survey_of(&of_files(&[file.clone(), folder.path("secret")]));
    watcher.watch(survey);
    assert_silent(&mut watcher).await;
    watcher.looker().look();
    fs::write(&file, "abc").unwrap();
    let survey = watcher
        .looker()
        .survey_of(&of_files(std::slice::from_ref(&file)));
    watcher.watch(survey);
    assert_told(&mut watcher).await;
}

#[tokio::test]
async fn a_file_that_an_editor_renames_into_place_is_told() {
    let folder = Folder::new();
    let file = folder.write("config.yaml", "a");
    let mut watcher = watching(std::slice::from_ref(&file));
    for text in ["b", "c"] {
        let new = folder.write("config.yaml.new", text);
        fs::rename(new, &file).unwrap();
        assert_told(&mut watcher).await;
    }
}

#[tokio::test]
async fn a_link_that_is_swapped_as_kubernetes_does_is_told() {
    let folder = Folder::new();
    folder.write("..1/config.yaml", "a");
    folder.write("..2/config.yaml", "a");
    folder.write("..3/config.yaml", "a");
    symlink("..1", folder.path("..data")).unwrap();
    symlink("..data/config.yaml", folder.path("config.yaml")).unwrap();
    let mut watcher = watching(&[folder.path("config.yaml")]);
    for target in ["..2", "..3"] {
        symlink(target, folder.path("..tmp")).unwrap();
        fs::rename(folder.path("..tmp"), folder.path("..data")).unwrap();
        assert_told(&mut watcher).await;
    }
    // Links lead to the third folder now, so what happens there counts, and in the first no more.
    folder.write("..3/config.yaml", "b");
    assert_told(&mut watcher).await;
    folder.write("..1/config.yaml", "b");
    assert_silent(&mut watcher).await;
}

#[tokio::test]
async fn a_link_in_another_folder_that_is_swapped_is_told() {
    let folder = Folder::new();
    folder.write("mount/..1/config.yaml", "a");
    folder.write("mount/..2/config.yaml", "a");
    symlink("..1", folder.path("mount/..data")).unwrap();
    fs::create_dir(folder.path("etc")).unwrap();
    symlink(
        "../mount/..data/config.yaml",
        folder.path("etc/config.yaml"),
    )
    .unwrap();
    let mut watcher = watching(&[folder.path("etc/config.yaml")]);
    symlink("..2", folder.path("mount/..tmp")).unwrap();
    fs::rename(folder.path("mount/..tmp"), folder.path("mount/..data")).unwrap();
    assert_told(&mut watcher).await;
}

#[tokio::test]
async fn other_files_in_the_folder_wake_nobody() {
    let folder = Folder::new();
    let file = folder.write("config.yaml", "a");
    let mut watcher = watching(std::slice::from_ref(&file));
    folder.write("other.log", "a");
    fs::read(&file).unwrap();
    assert_silent(&mut watcher).await;
}

#[tokio::test]
async fn files_that_come_and_go_in_a_watched_folder_are_told() {
    let folder = Folder::new();
    folder.write("conf.d/a.yaml", "a");
    let mut watcher = watching_globs(Vec::new(), vec![folder.path("conf.d/*.yaml")]);
    let new = folder.write("conf.d/b.yaml", "b");
    assert_told(&mut watcher).await;
    fs::remove_file(new).unwrap();
    assert_told(&mut watcher).await;
    // Files that the glob does not match, or that an edit puts there for a moment, do not matter.
    folder.write("conf.d/app.log", "b");
    folder.write("conf.d/.sidehook-part-1.yaml", "b");
    assert_silent(&mut watcher).await;
}

/// Writes a file again and again until it is dropped.
struct Storm(Arc<std::sync::atomic::AtomicBool>);

impl Storm {
    fn new(pause: Duration, write: impl Fn(u64) + Send + 'static) -> Self {
        let ended = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let storm = Self(Arc::clone(&ended));
        std::thread::spawn(move || {
            for number in 0.. {
                if ended.load(std::sync::atomic::Ordering::Relaxed) {
                    break;
                }
                write(number);
                std::thread::sleep(pause);
            }
        });
        storm
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

/// A log that is written and rotated, and files that come and go, in the folder of the configuration.
#[tokio::test]
async fn a_storm_of_other_files_delays_no_change() {
    let folder = Folder::new();
    let file = folder.write("config.yaml", "a");
    let mut watcher = watching_globs(vec![file.clone()], vec![folder.path("*.yml")]);
    let root = folder.0.path().to_path_buf();
    let storm = Storm::new(Duration::ZERO, move |number| {
        let log = root.join(format!("app-{}.log", number % 7));
        fs::write(&log, "x").unwrap_or_default();
        fs::rename(&log, root.join("app.log.1")).unwrap_or_default();
    });
    assert_silent(&mut watcher).await;
    fs::write(&file, "b").unwrap();
    assert_told(&mut watcher).await;
    folder.write("new.yml", "b");
    assert_told(&mut watcher).await;
    drop(storm);
}

/// Each write is a step of a change that never ends.
#[tokio::test]
async fn a_file_that_never_rests_is_told_all_the_same() {
    let folder = Folder::new();
    let file = folder.write("config.yaml", "a");
    let mut watcher = watching(std::slice::from_ref(&file));
    // The longest rest between two of its writes: on a busy machine it may rest for long.
    let rest = Arc::new(Mutex::new((Instant::now(), Duration::ZERO)));
    let rests = Arc::clone(&rest);
    let storm = Storm::new(QUIET / 10, move |number| {
        fs::write(&file, number.to_string()).unwrap_or_default();
        let mut rest = rests.lock();
        *rest = (Instant::now(), rest.1.max(rest.0.elapsed()));
    });
    let before = Instant::now();
    assert_told(&mut watcher).await;
    let (elapsed, (last, longest)) = (before.elapsed(), *rest.lock());
    let rested = longest.max(last.elapsed()) >= QUIET / 2;
    assert!(elapsed >= LONGEST || rested, "the writer still writes");
    drop(storm);
}

#[tokio::test]
async fn a_folder_that_is_made_anew_is_watched() {
    let folder = Folder::new();
    let file = folder.write("etc/config.yaml", "a");
    let mut watcher = watching(std::slice::from_ref(&file));
    fs::remove_dir_all(folder.path("etc")).unwrap();
    assert_told(&mut watcher).await;
    folder.write("etc/config.yaml", "b");
    assert_told(&mut watcher).await;
    fs::write(&file, "c").unwrap();
    assert_told(&mut watcher).await;
}

#[tokio::test]
async fn a_file_that_is_missing_at_first_is_told_when_it_comes() {
    let folder = Folder::new();
    let mut watcher = watching(&[folder.path("config.yaml")]);
    folder.write("config.yaml", "a");
    assert_told(&mut watcher).await;
    fs::remove_file(folder.path("config.yaml")).unwrap();
    assert_told(&mut watcher).await;
}

#[tokio::test]
async fn only_the_files_of_the_last_call_are_watched() {
    let folder = Folder::new();
    let first = folder.write("one/config.yaml", "a");
    let second = folder.write("two/config.yaml", "a");
    let mut watcher = watching(&[first]);
    let survey = watcher.looker().survey_of(&of_files(&[second]));
    watcher.watch(survey);
    folder.write("one/config.yaml", "b");
    assert_silent(&mut watcher).await;
    folder.write("two/config.yaml", "b");
    assert_told(&mut watcher).await;
}

#[tokio::test]
async fn a_change_is_told_by_the_next_call_when_one_was_cancelled() {
    let folder = Folder::new();
    let file = folder.write("config.yaml", "a");
    let mut watcher = watching(std::slice::from_ref(&file));
    fs::write(&file, "b").unwrap();
    let stirred = async {
        while watcher.stirred.is_none() {
            // Less than the time of quiet, so that every call is cancelled.
            let call = tokio::time::timeout(QUIET / 5, watcher.changed());
            assert!(call.await.is_err());
        }
    };
    tokio::time::timeout(DEADLINE, stirred).await.unwrap();
    assert_told(&mut watcher).await;
}

/// Looks without a signal so often.
fn looking(mut watcher: Watcher, every: Duration) -> Watcher {
    watcher.every = every;
    watcher.routine = Instant::now() + every;
    watcher
}

/// Changes are found by signals only.
fn only_signals(files: &[PathBuf]) -> Watcher {
    looking(watching(files), Duration::from_secs(3600))
}

#[tokio::test]
async fn a_folder_that_is_missing_is_waited_for_however_long() {
    let folder = Folder::new();
    let file = folder.write("a/b/etc/config.yaml", "a");
    let mut watcher = only_signals(std::slice::from_ref(&file));
    for gone in ["a/b/etc", "a"] {
        fs::remove_dir_all(folder.path(gone)).unwrap();
        assert_told(&mut watcher).await;
        // Only folders, one after the other, each removed and created again in between.
        for above in ["a", "a/b", "a/b/etc"] {
            fs::create_dir_all(folder.path(above)).unwrap();
            assert_silent(&mut watcher).await;
            fs::remove_dir_all(folder.path(above)).unwrap();
            assert_silent(&mut watcher).await;
            fs::create_dir_all(folder.path(above)).unwrap();
        }
        folder.write("a/b/etc/config.yaml", gone);
        assert_told(&mut watcher).await;
        fs::write(&file, "again").unwrap();
        assert_told(&mut watcher).await;
    }
}

/// Nothing above the folder is signalled.
#[tokio::test]
async fn a_folder_above_that_is_renamed_is_noticed_by_looking() {
    let folder = Folder::new();
    let file = folder.write("a/b/etc/config.yaml", "a");
    let watcher = watching(std::slice::from_ref(&file));
    let mut watcher = looking(watcher, Duration::from_millis(300));
    assert_silent(&mut watcher).await;
    fs::rename(folder.path("a"), folder.path("gone")).unwrap();
    assert_told(&mut watcher).await;
    folder.write("a/b/etc/config.yaml", "b");
    assert_told(&mut watcher).await;
    folder.write("gone/b/etc/config.yaml", "b");
    assert_silent(&mut watcher).await;
}

/// As with a bind mount of a file alone: the watched folder gets no signal.
#[tokio::test]
async fn a_file_that_is_written_by_another_path_is_told() {
    let folder = Folder::new();
    let file = folder.write("etc/config.yaml", "a");
    fs::create_dir(folder.path("elsewhere")).unwrap();
    let other = folder.path("elsewhere/config.yaml");
    fs::hard_link(&file, &other).unwrap();
    let mut watcher = only_signals(std::slice::from_ref(&file));
    assert_silent(&mut watcher).await;
    for text in ["b", "c"] {
        fs::write(&other, text).unwrap();
        assert_told(&mut watcher).await;
    }
    // Replaced, the file is another one, which is watched as well.
    fs::remove_file(&file).unwrap();
    fs::rename(&other, &file).unwrap();
    assert_told(&mut watcher).await;
    fs::hard_link(&file, &other).unwrap();
    assert_told(&mut watcher).await;
    fs::write(&other, "d").unwrap();
    assert_told(&mut watcher).await;
}

fn no_inotify() -> std::io::Result<std::os::fd::OwnedFd> {
    Err(rustix::io::Errno::MFILE.into())
}

/// Something that is not inotify: it takes no watches.
fn full_inotify() -> std::io::Result<std::os::fd::OwnedFd> {
    Ok(rustix::event::eventfd(
        0,
        rustix::event::EventfdFlags::NONBLOCK,
    )?)
}

#[tokio::test]
async fn without_signals_everything_is_looked_at() {
    let cases: [(Open, _); 2] = [
        (no_inotify, "fs.inotify.max_user_instances is used up"),
        (full_inotify, "the system watches no files"),
    ];
    for (open, trouble) in cases {
        let folder = Folder::new();
        let file = folder.write("etc/config.yaml", "a");
        let included = folder.path("conf.d/*/*.yaml");
        folder.write("conf.d/one/a.yaml", "a");
        let (files, globs) = (vec![file.clone()], vec![included]);
        let watcher = Watcher::of(&Snapshot::new(Sources { files, globs }), open);
        let mut watcher = looking(watcher, Duration::from_millis(300));
        assert_eq!(watcher.health().trouble(), Some(trouble));
        fs::write(&file, "b").unwrap();
        assert_told(&mut watcher).await;
        folder.write("conf.d/one/b.yaml", "a");
        assert_told(&mut watcher).await;
        fs::remove_dir_all(folder.path("etc")).unwrap();
        assert_told(&mut watcher).await;
        folder.write("etc/config.yaml", "b");
        assert_told(&mut watcher).await;
        // The same text in another file; no signal reports it as new.
        let new = folder.write("etc/new", "b");
        fs::rename(new, &file).unwrap();
        assert_silent(&mut watcher).await;
    }
}

/// Between the reading and the first look, at a start and at a reload that names further files.
#[tokio::test]
async fn what_changes_after_it_was_read_and_before_it_is_watched_is_told() {
    let folder = Folder::new();
    let files = ["a", "b"].map(|name| folder.write(name, "old"));
    let read = of_files(&files);
    folder.write("b", "newer");
    let mut watcher = Watcher::of(&read, inotify);
    assert_told(&mut watcher).await;
    assert_silent(&mut watcher).await;
    let further = folder.write("c", "old");
    let read = of_files(&[files[0].clone(), files[1].clone(), further]);
    folder.write("c", "newer");
    let survey = watcher.looker().survey_of(&read);
    watcher.watch(survey);
    assert_told(&mut watcher).await;
    assert_silent(&mut watcher).await;
}

#[tokio::test]
async fn a_file_that_is_being_written_is_not_told_before_it_rests() {
    let folder = Folder::new();
    let file = folder.write("config.yaml", "a");
    let watcher = Watcher::of(&of_files(std::slice::from_ref(&file)), no_inotify);
    let mut watcher = looking(watcher, Duration::from_millis(100));
    // The first look comes by itself.
    assert_silent(&mut watcher).await;
    let storm = Storm::new(QUIET / 10, move |number| {
        fs::write(&file, number.to_string()).unwrap_or_default();
    });
    assert_silent(&mut watcher).await;
    drop(storm);
    assert_told(&mut watcher).await;
    let file = folder.path("config.yaml");
    let storm = Storm::new(QUIET / 10, move |number| {
        fs::write(&file, format!("again {number}")).unwrap_or_default();
    });
    let before = Instant::now();
    assert_told(&mut watcher).await;
    assert!(before.elapsed() >= LONGEST, "the writer still writes");
    drop(storm);
}

#[tokio::test]
async fn what_cannot_be_watched_is_tried_again_now_and_then() {
    let folder = Folder::new();
    let file = folder.write("config.yaml", "a");
    let mut watcher = Watcher::of(&of_files(&[file]), no_inotify);
    let retries: Vec<bool> = (0..=RETRY * 2)
        .map(|_| watcher.is_time_to_retry())
        .collect();
    let times: Vec<usize> = (0..retries.len()).filter(|at| retries[*at]).collect();
    assert_eq!(times, [11, 24]);
    // Once it can be watched, it is, and nothing is tried any more.
    watcher.signals = Signals::new(inotify);
    let survey = Survey::routine(Arc::default(), &States::default(), true);
    watcher.follow(survey);
    assert_eq!(watcher.health().trouble(), None);
    assert!((0..=RETRY).all(|_| !watcher.is_time_to_retry()));
}
