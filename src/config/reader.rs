//! Reads single values out of nodes: text, numbers, choices, lists, and mappings whose keys are all known.
//!
//! Every reader reports errors and then returns `None`, so that the caller goes on and all problems of a file are
//! found in one run. A node that was refused before is skipped without a report. A null counts as if its key were left
//! out; for the few fields where it means more, readers use [`Fields::given`].

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::document::{Document, Entry, Mark, Node, Root, Value};
use crate::config::environment::Environment;
use crate::config::file::{self, Content, FileError};
use crate::config::identity::{Identity, identity};
use crate::config::parse::parse;
use crate::config::report::Report;
use crate::config::walk::is_match;
use crate::domain::{Label, Secret, similar};
use crate::egress::{AddressPolicy, Roots};
use crate::matching::{Expression, ExpressionError};

/// The state that all readers share while one configuration is read.
#[derive(Debug)]
pub(super) struct Context<'e> {
    pub(super) report: Report,
    pub(super) environment: &'e Environment,
    /// `network`, once it is read.
    pub(super) network: Arc<AddressPolicy>,
    /// `notifications.smtp` is set.
    pub(super) sends_mail: bool,
    /// `event_types`, once it is read.
    pub(super) event_types: Option<Arc<HashSet<Label>>>,
    /// The expressions read so far, as many subscriptions often share one; or why one is not valid.
    pub(super) expressions: HashMap<String, Result<Expression, ExpressionError>>,
    /// Every file that was read, as it was just before it was read first.
    pub(super) files: BTreeMap<PathBuf, Option<Identity>>,
    /// The globs of `include`, resolved, and what they matched.
    pub(super) globs: BTreeMap<PathBuf, Option<Identity>>,
    /// The CA files read so far, as many subscriptions often share one; or why one cannot be used.
    pub(super) ca_files: BTreeMap<PathBuf, Result<Roots, String>>,
    /// The places of values that can only be checked at a start, by their names.
    pub(super) noted: Vec<(String, Mark)>,
    /// Files in memory that replace those on the disk.
    pub(super) overlay: Overlay,
    /// The folder of each file, by its number in a [`Mark`].
    folders: Vec<PathBuf>,
    /// Bytes read so far.
    read: Cell<usize>,
    /// Words and signs of all files.
    pieces: usize,
}

/// The most bytes of a configuration and everything that it names, files and variables: 32 MiB.
const MAX_READ: usize = 32 * 1024 * 1024;

/// The most words and signs of all files of a configuration. Its trees take some 100 bytes for each while it is read.
const MAX_PIECES: usize = 1_000_000;

const TOO_MANY_PIECES: &str =
    "the configuration is too large, expected at most 1,000,000 words and signs in all files";

impl<'e> Context<'e> {
    pub(super) fn new(environment: &'e Environment) -> Self {
        Self {
            report: Report::default(),
            environment,
            network: Arc::new(AddressPolicy::built_in()),
            sends_mail: false,
            event_types: None,
            expressions: HashMap::new(),
            files: BTreeMap::new(),
            globs: BTreeMap::new(),
            ca_files: BTreeMap::new(),
            noted: Vec::new(),
            overlay: Overlay::default(),
            folders: Vec::new(),
            read: Cell::new(0),
            pieces: 0,
        }
    }

    /// Parses the next file, whose paths are relative to its folder.
    pub(super) fn parse(&mut self, path: &Path, bytes: Vec<u8>) -> Document {
        let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
        self.parse_in(folder, path, bytes)
    }

    /// Parses text that is not a file, with paths relative to a folder.
    pub(super) fn parse_in(&mut self, folder: PathBuf, path: &Path, bytes: Vec<u8>) -> Document {
        let file = self.folders.len();
        self.folders.push(folder);
        self.pieces = self.pieces.saturating_add(pieces(&bytes));
        if self.pieces <= MAX_PIECES {
            return parse(file, path.to_path_buf(), bytes, &mut self.report);
        }
        drop(bytes);
        let mut document = parse(file, path.to_path_buf(), Vec::new(), &mut Report::default());
        document.root = Root::Broken;
        let (start, depth) = (0, 0);
        self.report
            .error(Mark { file, start, depth }, TOO_MANY_PIECES);
        document
    }

    /// Counts bytes that are kept, of a variable or file; not before there are too many.
    pub(super) fn spend(&self, bytes: usize) -> Result<(), FileError> {
        let read = self.read.get().saturating_add(bytes);
        self.read.set(read);
        if read > MAX_READ {
            return Err(FileError::TooMuch(MAX_READ));
        }
        Ok(())
    }

    /// Makes a path of the file at `mark` one that can be opened.
    pub(super) fn resolve(&self, mark: Mark, path: &str) -> PathBuf {
        self.folders
            .get(mark.file)
            .map_or_else(|| PathBuf::from(path), |folder| folder.join(path))
    }

    /// Reads a file, or its replacement in memory.
    pub(super) fn read_file(&mut self, path: &Path, limit: usize) -> Result<Content, FileError> {
        // Before it is read, so that a later change is noticed.
        if !self.files.contains_key(path) {
            self.files.insert(path.to_path_buf(), identity(path));
        }
        let content = self.content(path, limit)?;
        self.spend(content.bytes.len())?;
        Ok(content)
    }

    fn content(&self, path: &Path, limit: usize) -> Result<Content, FileError> {
        match self.overlay.0.get(path) {
            Some(bytes) if bytes.expose().len() > limit => Err(FileError::TooLarge(limit)),
            Some(bytes) => Ok(Content {
                bytes: bytes.expose().to_vec(),
                is_open_to_others: false,
            }),
            None => file::read(path, limit),
        }
    }

    /// Whether a file is, or once it is there would be, among those that the globs of `include` match.
    pub(super) fn includes(&self, path: &Path) -> bool {
        self.globs.keys().any(|glob| is_match(glob, path))
    }

    /// Remembers where a value stands.
    pub(super) fn note(&mut self, name: &str, node: &Node) {
        self.noted.push((name.to_owned(), node.mark));
    }

    /// Reports an error at a node.
    pub(super) fn error(&mut self, node: &Node, message: impl Into<String>) {
        self.report.error(node.mark, message);
    }

    /// Reports that something else is expected at a node.
    pub(super) fn expected(&mut self, node: &Node, what: &str) {
        self.error(node, format!("expected {what}, found {}", node.kind()));
    }
}

/// How many words and signs a text has: the size of its trees.
fn pieces(bytes: &[u8]) -> usize {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80;
    let mut before = b' ';
    let mut count = 0;
    for byte in bytes {
        let goes_on = (is_word(*byte) && is_word(before)) || (*byte == b' ' && before == b' ');
        count += usize::from(!goes_on);
        before = *byte;
    }
    count
}

/// Files by their paths, as they are named when they are read, whose bytes are in memory; they need not exist.
#[derive(Debug, Default)]
pub(super) struct Overlay(pub(super) BTreeMap<PathBuf, Secret>);

/// The entries of a mapping.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'n> {
    /// Where the mapping stands.
    pub(super) mark: Mark,
    pub(super) entries: &'n [Entry],
}

impl<'n> Fields<'n> {
    /// The value of a key, nulls included. Of a duplicate key, which is reported, the first.
    pub(super) fn given(&self, key: &str) -> Option<&'n Node> {
        self.entries
            .iter()
            .find(|entry| entry.name() == key)
            .map(|entry| &entry.value)
    }

    /// The value of a key unless it is null.
    pub(super) fn node(&self, key: &str) -> Option<&'n Node> {
        self.given(key).filter(|node| !node.is_null())
    }

    /// Reads the value of a key unless it is left out or null.
    pub(super) fn read<T>(
        &self,
        key: &str,
        context: &mut Context<'_>,
        read: impl FnOnce(&'n Node, &mut Context<'_>) -> Option<T>,
    ) -> Option<T> {
        read(self.node(key)?, context)
    }
}

/// A mapping with these keys and no others; nothing at all is an empty one.
pub(super) fn mapping<'n>(
    node: &'n Node,
    known: &[&str],
    context: &mut Context<'_>,
) -> Option<Fields<'n>> {
    let fields = any_mapping(node, context)?;
    for entry in fields.entries {
        check_key(entry, known, context);
    }
    Some(fields)
}

/// Reports an unknown key. Keys that are not text are reported already.
pub(super) fn check_key(entry: &Entry, known: &[&str], context: &mut Context<'_>) {
    let name = entry.name();
    let is_judged = entry.key.refused || entry.is_merge() || name.is_empty();
    if is_judged || known.contains(&name) {
        return;
    }
    context.error(&entry.key, unknown_key(name, known));
}

/// The message for an unknown key.
pub(super) fn unknown_key(name: &str, known: &[&str]) -> String {
    let hint = match similar(name, known.iter().copied()) {
        Some(meant) => format!("did you mean {meant}?"),
        None if known.is_empty() => "none is expected here".to_owned(),
        None => format!("expected one of {}", known.join(", ")),
    };
    format!("unknown key, {hint}")
}

/// A mapping whose keys are names that the user chooses.
pub(super) fn any_mapping<'n>(node: &'n Node, context: &mut Context<'_>) -> Option<Fields<'n>> {
    let mark = node.mark;
    match &node.value {
        _ if node.refused => None,
        Value::Mapping(entries) => Some(Fields { mark, entries }),
        Value::Scalar(_) if node.is_null() => Some(Fields { mark, entries: &[] }),
        Value::Scalar(_) | Value::Sequence(_) => {
            context.expected(node, "a mapping");
            None
        }
    }
}

/// A list.
pub(super) fn list<'n>(
    node: &'n Node,
    what: &str,
    context: &mut Context<'_>,
) -> Option<&'n [Node]> {
    match &node.value {
        _ if node.refused => None,
        Value::Sequence(items) => Some(items),
        Value::Scalar(_) | Value::Mapping(_) => {
            context.expected(node, what);
            None
        }
    }
}

/// Reads each item of a list; an error in one does not hide the others.
pub(super) fn items<T>(
    node: &Node,
    what: &str,
    context: &mut Context<'_>,
    mut read: impl FnMut(&Node, &mut Context<'_>) -> Option<T>,
) -> Option<Vec<T>> {
    let nodes = list(node, what, context)?;
    Some(
        nodes
            .iter()
            .filter_map(|item| read(item, context))
            .collect(),
    )
}

/// A text that is not empty; a plain scalar as it is written.
pub(super) fn text<'n>(node: &'n Node, context: &mut Context<'_>) -> Option<&'n str> {
    match &node.value {
        _ if node.refused => {}
        Value::Scalar(scalar) if !node.is_null() && !scalar.text.is_empty() => {
            return Some(&scalar.text);
        }
        Value::Scalar(_) if !node.is_null() => {
            context.error(node, "expected text, found an empty one");
        }
        Value::Scalar(_) | Value::Sequence(_) | Value::Mapping(_) => context.expected(node, "text"),
    }
    None
}
