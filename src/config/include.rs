//! The list `include`: globs of files that hold only `subscriptions:`.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use glob::{MatchOptions, Pattern};

use crate::config::document::{Document, Node, Root, Value};
use crate::config::edit::TEMPORARY;
use crate::config::load::MAX_BYTES;
use crate::config::reader::{Context, list, text};

/// Reads all files that the globs of the main file match, in the order of the globs and of their names, each once.
pub(super) fn included(main: &Document, context: &mut Context<'_>) -> Vec<Document> {
    let Some(node) = include_node(main) else {
        return Vec::new();
    };
    let Some(globs) = list(node, "a list of globs", context) else {
        return Vec::new();
    };
    let mut seen = BTreeSet::from([real(&main.path)]);
    let mut documents = Vec::new();
    for node in globs {
        let Some(written) = text(node, context) else {
            continue;
        };
        for path in matches(node, written, context) {
            if seen.insert(real(&path)) {
                documents.extend(open(node, &path, context));
            }
        }
    }
    documents
}

/// Whether a file is, or once it is there would be, among those that the globs of `include` match.
pub(super) fn would_include(include: Option<&Node>, path: &Path, context: &Context<'_>) -> bool {
    let Some(Value::Sequence(globs)) = include.map(|node| &node.value) else {
        return false;
    };
    globs.iter().any(|node| {
        let Value::Scalar(written) = &node.value else {
            return false;
        };
        is_match(&context.resolve(node.mark, &written.text), path)
    })
}

/// Whether a glob finds a path, or would if it existed.
fn is_match(pattern: &Path, path: &Path) -> bool {
    // As `glob::glob` looks: a wildcard stays within a folder.
    let options = MatchOptions {
        require_literal_separator: true,
        ..MatchOptions::new()
    };
    Pattern::new(&plain(pattern).to_string_lossy())
        .is_ok_and(|pattern| pattern.matches_path_with(&plain(path), options))
}

/// A path without `.`, which the file system passes over.
fn plain(path: &Path) -> PathBuf {
    let is_named = |component: &Component<'_>| *component != Component::CurDir;
    path.components().filter(is_named).collect()
}

fn include_node(main: &Document) -> Option<&Node> {
    let Root::Node(root) = &main.root else {
        return None;
    };
    let Value::Mapping(entries) = &root.value else {
        return None;
    };
    let entry = entries.iter().find(|entry| entry.name() == "include")?;
    Some(&entry.value).filter(|node| !node.is_null())
}

fn matches(node: &Node, written: &str, context: &mut Context<'_>) -> Vec<PathBuf> {
    let pattern = context.resolve(node.mark, written);
    // A new file that matches changes the folder, so the folder is among what is watched.
    context.files.insert(fixed_folder(&pattern));
    let paths = match glob::glob(&pattern.to_string_lossy()) {
        Ok(paths) => paths,
        Err(error) => {
            context.error(
                node,
                format!("expected a glob such as conf.d/*.yaml ({})", error.msg),
            );
            return Vec::new();
        }
    };
    let mut found = Vec::new();
    for path in paths {
        match path {
            Ok(path) if path.is_dir() || is_temporary(&path) => {}
            Ok(path) => found.push(path),
            Err(error) => {
                let message = format!(
                    "{} cannot be read: {}",
                    error.path().display(),
                    error.error()
                );
                context.error(node, message);
            }
        }
    }
    let written_later = |path: &&PathBuf| !path.exists() && is_match(&pattern, path);
    found.extend(context.overlay.0.keys().filter(written_later).cloned());
    if found.is_empty() {
        context.report.warning(node.mark, "matches no file");
    }
    found
}

/// A file of an edit that is under way, or was killed.
fn is_temporary(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with(TEMPORARY))
}

/// The folder above the first component with a wildcard.
fn fixed_folder(pattern: &Path) -> PathBuf {
    let has_wildcard = |component: &Component<'_>| {
        component
            .as_os_str()
            .to_string_lossy()
            .contains(['*', '?', '['])
    };
    let folder = pattern.parent().unwrap_or(pattern);
    let fixed: PathBuf = folder
        .components()
        .take_while(|part| !has_wildcard(part))
        .collect();
    if fixed.as_os_str().is_empty() {
        PathBuf::from(".")
    } else {
        fixed
    }
}

fn open(node: &Node, path: &Path, context: &mut Context<'_>) -> Option<Document> {
    match context.read_file(path, MAX_BYTES) {
        Ok(content) => Some(context.parse(path, content.bytes)),
        Err(error) => {
            context.error(node, format!("{} {error}", path.display()));
            None
        }
    }
}

/// The path without symbolic links, to tell whether two are the same file.
fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watched_folder_is_the_one_above_the_first_wildcard() {
        for (pattern, folder) in [
            ("/etc/sidehook/conf.d/*.yaml", "/etc/sidehook/conf.d"),
            ("/etc/*/conf.d/a.yaml", "/etc"),
            ("*.yaml", "."),
            ("conf/a.yaml", "conf"),
        ] {
            assert_eq!(
                fixed_folder(Path::new(pattern)),
                Path::new(folder),
                "{pattern}"
            );
        }
    }
}
