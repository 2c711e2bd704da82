//! Watching real files: every way in which editors, people and Kubernetes change one.

use super::*;
use std::os::unix::fs::symlink;
use tempfile::TempDir;

/// The longest a change may take to be told on a busy machine.
const DEADLINE: Duration = Duration::from_secs(20);

/// How long nothing must be told: longer than the time of quiet.
const SILENCE: Duration = Duration::from_millis(1500);

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
    let mut watcher = Watcher::new(std::slice::from_ref(&file)).unwrap();
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
    let mut watcher = Watcher::new(std::slice::from_ref(&file)).unwrap();
    fs::write(&file, "ab").unwrap();
    watcher.look();
    watcher.watch(&[file.clone(), folder.path("secret")]);
    assert_silent(&mut watcher).await;
    watcher.look();
    fs::write(&file, "abc").unwrap();
    watcher.watch(std::slice::from_ref(&file));
    assert_told(&mut watcher).await;
}

#[tokio::test]
async fn a_file_that_an_editor_renames_into_place_is_told() {
    let folder = Folder::new();
    let file = folder.write("config.yaml", "a");
    let mut watcher = Watcher::new(std::slice::from_ref(&file)).unwrap();
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
    let mut watcher = Watcher::new(&[folder.path("config.yaml")]).unwrap();
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
    let mut watcher = Watcher::new(&[folder.path("etc/config.yaml")]).unwrap();
    symlink("..2", folder.path("mount/..tmp")).unwrap();
    fs::rename(folder.path("mount/..tmp"), folder.path("mount/..data")).unwrap();
    assert_told(&mut watcher).await;
}

#[tokio::test]
async fn other_files_in_the_folder_wake_nobody() {
    let folder = Folder::new();
    let file = folder.write("config.yaml", "a");
    let mut watcher = Watcher::new(std::slice::from_ref(&file)).unwrap();
    folder.write("other.log", "a");
    fs::read(&file).unwrap();
    assert_silent(&mut watcher).await;
}

#[tokio::test]
async fn files_that_come_and_go_in_a_watched_folder_are_told() {
    let folder = Folder::new();
    folder.write("conf.d/a.yaml", "a");
    let mut watcher = Watcher::new(&[folder.path("conf.d")]).unwrap();
    let new = folder.write("conf.d/b.yaml", "b");
    assert_told(&mut watcher).await;
    fs::remove_file(new).unwrap();
    assert_told(&mut watcher).await;
}

#[tokio::test]
async fn a_file_that_is_missing_at_first_is_told_when_it_comes() {
    let folder = Folder::new();
    let mut watcher = Watcher::new(&[folder.path("config.yaml")]).unwrap();
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
    let mut watcher = Watcher::new(&[first]).unwrap();
    watcher.watch(&[second]);
    folder.write("one/config.yaml", "b");
    assert_silent(&mut watcher).await;
    folder.write("two/config.yaml", "b");
    assert_told(&mut watcher).await;
}

#[tokio::test]
async fn a_change_is_told_by_the_next_call_when_one_was_cancelled() {
    let folder = Folder::new();
    let file = folder.write("config.yaml", "a");
    let mut watcher = Watcher::new(std::slice::from_ref(&file)).unwrap();
    fs::write(&file, "b").unwrap();
    let stirred = async {
        while !watcher.is_stirred {
            // Less than the time of quiet, so that every call is cancelled.
            let call = tokio::time::timeout(QUIET / 5, watcher.changed());
            assert!(call.await.is_err());
        }
    };
    tokio::time::timeout(DEADLINE, stirred).await.unwrap();
    assert_told(&mut watcher).await;
}
