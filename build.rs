//! Tells the crate which commit it is built from, as `SIDEHOOK_REVISION`: 40 or 64 hex digits, or `unknown`; the first
//! twelve of them as `SIDEHOOK_REVISION_SHORT`.
//!
//! The first of these that knows: the variable of the same name, `.revision` of a source archive (`git archive` writes the
//! commit there, see `.gitattributes`), `.cargo_vcs_info.json` of a package, and `.git`. Git itself is not called, and no
//! time enters, so that two builds of one commit are the same.

use std::env;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

/// The most bytes that are read of a file; a larger one tells nothing.
const BYTES_MAX: u64 = 4 << 20;

/// Digits of the short form.
const SHORT: usize = 12;

fn main() {
    println!("cargo::rerun-if-env-changed=SIDEHOOK_REVISION");
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let given = env::var("SIDEHOOK_REVISION").ok();
    let revision = given
        .filter(|given| !given.is_empty() && given.bytes().all(|byte| byte.is_ascii_graphic()))
        .or_else(|| archived(&root.join(".revision")))
        .or_else(|| packaged(&root.join(".cargo_vcs_info.json")))
        .or_else(|| checked_out(&root.join(".git")));
    let revision = revision.as_deref().unwrap_or("unknown");
    let short = match commit(revision) {
        Some(_) => revision.get(..SHORT).unwrap_or(revision),
        None => revision,
    };
    println!("cargo::rustc-env=SIDEHOOK_REVISION={revision}");
    println!("cargo::rustc-env=SIDEHOOK_REVISION_SHORT={short}");
}

/// The commit that `git archive` put in place of its placeholder.
fn archived(path: &Path) -> Option<String> {
    commit(read(path)?.trim())
}

/// The commit that `cargo package` noted.
fn packaged(path: &Path) -> Option<String> {
    let text = read(path)?;
    let (_, rest) = text.split_once("\"sha1\"")?;
    commit(rest.split('"').nth(1)?)
}

/// The commit that is checked out. `.git` is a folder, or in a work tree and a submodule a file that names one.
fn checked_out(git: &Path) -> Option<String> {
    let folder = match read(git) {
        Some(text) => git.parent()?.join(text.strip_prefix("gitdir:")?.trim()),
        None => git.to_path_buf(),
    };
    let head = read(&folder.join("HEAD"))?;
    let Some(name) = head.strip_prefix("ref:") else {
        return commit(head.trim());
    };
    let name = name.trim();
    // Branches of all work trees are in one folder.
    let common = read(&folder.join("commondir"));
    let common = common.map_or(folder.clone(), |path| folder.join(path.trim()));
    let branch = common.join(name);
    // It comes into being with the next commit; a missing file would mean a build each time.
    let place = branch.ancestors().skip(1).find(|folder| folder.exists());
    if let Some(place) = place.filter(|_| !branch.exists()) {
        println!("cargo::rerun-if-changed={}", place.display());
    }
    let of_branch = read(&branch).and_then(|text| commit(text.trim()));
    of_branch.or_else(|| packed(&common.join("packed-refs"), name))
}

/// The commit of a branch among the packed ones: lines of a commit and a name.
fn packed(path: &Path, name: &str) -> Option<String> {
    let text = read(path)?;
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    let (found, _) = lines.find(|(_, packed)| *packed == name)?;
    commit(found)
}

/// The text, if it names a commit.
fn commit(text: &str) -> Option<String> {
    let is_commit = [40, 64].contains(&text.len()) && text.bytes().all(|it| it.is_ascii_hexdigit());
    is_commit.then(|| text.to_ascii_lowercase())
}

/// The content of a file, which is looked at again when it changes.
fn read(path: &Path) -> Option<String> {
    if !fs::metadata(path).ok()?.is_file() {
        return None;
    }
    println!("cargo::rerun-if-changed={}", path.display());
    let mut text = String::new();
    let file = File::open(path).ok()?;
    file.take(BYTES_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}
