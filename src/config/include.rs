//! The list `include`: globs of files that hold only `subscriptions:`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::config::document::{Document, Node};
use crate::config::file::CONFIG_BYTES_MAX;
use crate::config::identity::Identity;
use crate::config::reader::{Context, list, text};
use crate::config::walk::{Walk, is_match};

/// The prefix of the files that an edit makes beside others; they are never included.
pub(super) const TEMPORARY: &str = ".sidehook-";

/// Reads all files that the globs of the main file match, in the order of the globs and of their names, each once.
pub(super) fn included(main: &Document, context: &mut Context<'_>) -> Vec<Document> {
    let Some(node) = value(main, &["include"]) else {
        return Vec::new();
    };
    let Some(globs) = list(node, "a list of globs", context) else {
        return Vec::new();
    };
    // Made by the first edit, so that there is nothing to warn of before.
    let write_to = value(main, &["admin", "write_to"])
        .and_then(|node| Some(context.resolve(node.mark, node.text()?)));
    let mut seen = BTreeSet::from([real(&main.path)]);
    let mut documents = Vec::new();
    let mut walk = Walk::default();
    for node in globs {
        let Some(written) = text(node, context) else {
            continue;
        };
        for path in matches(node, written, write_to.as_deref(), &mut walk, context) {
            if seen.insert(real(&path)) {
                documents.extend(open(node, &path, context));
            }
        }
    }
    documents
}

/// Returns the node at a path of keys, unless it is null.
fn value<'n>(main: &'n Document, path: &[&str]) -> Option<&'n Node> {
    let found = path
        .iter()
        .try_fold(main.node()?, |node, key| node.child(key));
    found.filter(|node| !node.is_null())
}

fn matches(
    node: &Node,
    written: &str,
    write_to: Option<&Path>,
    walk: &mut Walk,
    context: &mut Context<'_>,
) -> Vec<PathBuf> {
    let pattern = context.resolve(node.mark, written);
    let matched = walk.matches(&pattern);
    let identity = matched.as_deref().ok().map(Identity::of_paths);
    context.globs.entry(pattern.clone()).or_insert(identity);
    let paths = match matched {
        Ok(paths) => paths,
        Err(error) => {
            context.error(node, error.to_string());
            return Vec::new();
        }
    };
    let mut found: Vec<PathBuf> = paths
        .into_iter()
        .filter(|path| !is_temporary(path))
        .collect();
    let written_later = |path: &&PathBuf| !path.exists() && is_match(&pattern, path);
    found.extend(context.overlay.0.keys().filter(written_later).cloned());
    let is_made_later = write_to.is_some_and(|path| is_match(&pattern, path));
    if found.is_empty() && !is_made_later {
        context.report.warning(node.mark, "matches no file");
    }
    found
}

/// A file of an edit that is under way, or was killed.
fn is_temporary(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with(TEMPORARY))
}

fn open(node: &Node, path: &Path, context: &mut Context<'_>) -> Option<Document> {
    match context.read_file(path, CONFIG_BYTES_MAX) {
        Ok(content) => Some(context.parse(path, content.bytes)),
        Err(error) => {
            context.error(node, format!("{} {error}", path.display()));
            None
        }
    }
}

/// The path without symbolic links, to recognize two paths of the same file.
fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_path_buf())
}
