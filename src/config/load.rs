//! From a path to a configuration: the sections of the main file, then the subscriptions of all files.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::admin::AdminConfig;
use crate::config::document::{Document, Entry, Mark, Node, Root, Value};
use crate::config::entry;
use crate::config::environment::Environment;
use crate::config::excerpt;
use crate::config::file::{CONFIG_BYTES_MAX, FileError};
use crate::config::filter::TYPES;
use crate::config::form::Optional;
use crate::config::identity::Snapshot;
use crate::config::include::included;
use crate::config::ingest::{Ingest, has_tokens};
use crate::config::keyed::{Keyed, Mapping, read_key};
use crate::config::listen::{Guarded, Listen, listen};
use crate::config::loaded::Loaded;
use crate::config::model::{Config, sections};
use crate::config::notifications::Notifications;
use crate::config::pipe;
use crate::config::problem::{ConfigError, Problem};
use crate::config::reader::{Context, Fields, Overlay, any_mapping, mapping};
use crate::config::report::place;
use crate::config::store::store;
use crate::config::subscription::{Draft, Subscription};
use crate::config::unexpanded;
use crate::domain::{SubscriptionName, with_commas};
use crate::egress::AddressPolicy;

/// Memory of an idle subscription (measured: 7.2 to 7.6 KiB), bytes.
const IDLE_BYTES: usize = 8 << 10;

/// `MemoryMax` of the shipped unit, MiB.
const UNIT_MIB: usize = 512;

/// The most bytes that all subscriptions together take from `defaults`: 32 MiB.
const MAX_BY_DEFAULT: usize = 32 * 1024 * 1024;

/// Reads, validates and completes the configuration in `path`.
///
/// # Errors
/// All problems, in the order of the files and lines. For a file with broken syntax only that is reported.
pub fn load(path: &Path, environment: &Environment) -> Result<Loaded, ConfigError> {
    load_with(path, environment, Overlay::default())?.outcome
}

/// As [`load`], for a path that an operator gave: it may be a pipe, or `-` for standard input, which are read to
/// their end. Paths in it are relative to the working folder then.
///
/// # Errors
/// As [`load`].
pub fn load_given(path: &Path, environment: &Environment) -> Result<Loaded, ConfigError> {
    read_given(path, environment)?.outcome
}

/// As [`load_given`], with excerpts of the files beside the problems, for people who correct them.
///
/// # Errors
/// As [`load`].
pub fn load_checked(path: &Path, environment: &Environment) -> Result<Loaded, ConfigError> {
    let Read { documents, outcome } = read_given(path, environment)?;
    match outcome {
        Ok(mut loaded) => {
            excerpt::add(&mut loaded.warnings, &documents);
            Ok(loaded)
        }
        Err(ConfigError(mut errors)) => {
            excerpt::add(&mut errors, &documents);
            Err(ConfigError(errors))
        }
    }
}

fn read_given(path: &Path, environment: &Environment) -> Result<Read, ConfigError> {
    let mut context = Context::new(environment);
    let is_from_pipe = pipe::is_pipe(path);
    let main = given_document(path, &mut context)?;
    let read = read_with(main, context);
    let outcome = read.outcome.map(|loaded| Loaded {
        is_from_pipe,
        ..loaded
    });
    Ok(Read { outcome, ..read })
}

/// A configuration with the files that it stands in, the main one first.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) documents: Vec<Document>,
    pub(super) outcome: Result<Loaded, ConfigError>,
}

/// As [`load`], with some files in memory.
///
/// # Errors
/// The main file cannot be read.
pub(super) fn load_with(
    path: &Path,
    environment: &Environment,
    overlay: Overlay,
) -> Result<Read, ConfigError> {
    let mut context = Context::new(environment);
    context.overlay = overlay;
    let main = main_document(path, &mut context)?;
    Ok(read_with(main, context))
}

/// Reads all that belongs to a main file.
fn read_with(main: Document, mut context: Context<'_>) -> Read {
    let others = included(&main, &mut context);
    let documents: Vec<Document> = std::iter::once(main).chain(others).collect();
    let config = read_all(&documents, &mut context);
    let places = context.noted.into_iter();
    let places = places.filter_map(|(name, mark)| Some((name, place(mark, &documents)?)));
    let places = places.collect();
    unexpanded::report(&documents, &mut context.report);
    let (errors, warnings) = context.report.into_problems(&documents);
    let outcome = if errors.is_empty() {
        Ok(Loaded {
            config,
            warnings,
            snapshot: Snapshot::as_read(context.files, context.globs),
            places,
            is_from_pipe: false,
        })
    } else {
        Err(ConfigError(errors))
    };
    Read { documents, outcome }
}

/// Reads only the sections `listen` and `ingest` of `path`, which are enough for posting to the running sidecar without
/// the secrets of its subscriptions.
///
/// # Errors
/// The problems in these two sections, or with the syntax of the file.
pub(crate) fn load_intake(
    path: &Path,
    environment: &Environment,
) -> Result<(Listen, Ingest), ConfigError> {
    let mut context = Context::new(environment);
    let main = given_document(path, &mut context)?;
    let intake =
        root(0, &main, &sections(), &mut context).map(|fields| intake(fields, &mut context));
    let (errors, _) = context.report.into_problems(&[main]);
    if errors.is_empty() {
        Ok(intake.unwrap_or_default())
    } else {
        Err(ConfigError(errors))
    }
}

/// The main file that an operator gives, which may be a pipe.
pub(super) fn given_document(
    path: &Path,
    context: &mut Context<'_>,
) -> Result<Document, ConfigError> {
    if !pipe::is_pipe(path) {
        return main_document(path, context);
    }
    let read = pipe::read(path, CONFIG_BYTES_MAX).and_then(|bytes| {
        context.spend(bytes.len())?;
        Ok(bytes)
    });
    let bytes = read.map_err(|error| unreadable(path, &error))?;
    Ok(context.parse_in(PathBuf::new(), path, bytes))
}

fn main_document(path: &Path, context: &mut Context<'_>) -> Result<Document, ConfigError> {
    let read = context.read_file(path, CONFIG_BYTES_MAX);
    let content = read.map_err(|error| unreadable(path, &error))?;
    Ok(context.parse(path, content.bytes))
}

fn unreadable(path: &Path, error: &FileError) -> ConfigError {
    let problem = Problem {
        file: path.to_path_buf(),
        line: 1,
        column: 1,
        path: String::new(),
        message: format!("the file {error}"),
        excerpt: None,
    };
    ConfigError(vec![problem].into())
}

fn read_all(documents: &[Document], context: &mut Context<'_>) -> Config {
    let mut config = Config::default();
    let built_in = Draft::named(SubscriptionName::unnamed());
    let mut defaults = built_in.clone();
    let mut named = Named::default();
    for (file, document) in documents.iter().enumerate() {
        let known = if file == 0 {
            sections()
        } else {
            vec!["subscriptions"]
        };
        let Some(fields) = root(file, document, &known, context) else {
            continue;
        };
        if file == 0 {
            config = read_sections(fields, context);
            let section = fields.node("defaults");
            section.map(|node| entry::defaults(node, &mut defaults, context));
            if is_too_much_by_default(fields, documents, context) {
                defaults = built_in.clone();
            }
        }
        let entries = fields.read("subscriptions", context, any_mapping);
        for entry in entries.iter().flat_map(|fields| fields.entries) {
            if entry.key.refused || entry.is_merge() || entry.name().is_empty() {
                continue;
            }
            let name = named.name(entry, documents, context);
            // The other problems of an entry with a wrong name are reported, too.
            let read_as = name.clone().unwrap_or_else(SubscriptionName::unnamed);
            let read = entry::subscription(read_as, entry, &defaults, context);
            if let Some(subscription) = read.filter(|_| name.is_some()) {
                named.add(subscription, entry);
            }
            if context.report.has_errors() {
                // They will not be used: a wrong file takes no memory for its valid parts.
                named.give_up();
            }
        }
    }
    named.report_shared_secrets(context);
    config.subscriptions = named.subscriptions;
    warn_of_memory(config.subscriptions.len(), context);
    config
}

/// Warns if the subscriptions take more than half of the memory that the shipped unit allows.
fn warn_of_memory(count: usize, context: &mut Context<'_>) {
    let mib = count.saturating_mul(IDLE_BYTES) >> 20;
    if mib > UNIT_MIB / 2 {
        let message = format!(
            "{} subscriptions take about {mib} MiB while nothing happens: more than half of MemoryMax={UNIT_MIB}M of the shipped unit, which has to be raised",
            with_commas(u64::try_from(count).unwrap_or(u64::MAX))
        );
        let start = Mark {
            file: 0,
            start: 0,
            depth: 0,
        };
        context.report.warning(start, message);
    }
}

/// Whether the values of `defaults` are too large for all the subscriptions that take them, which is reported.
fn is_too_much_by_default(
    fields: Fields<'_>,
    documents: &[Document],
    context: &mut Context<'_>,
) -> bool {
    let Some(node) = fields.node("defaults") else {
        return false;
    };
    let roots = documents.iter().filter_map(Document::node);
    let count: usize = roots.map(names_in).sum();
    let bytes = node.end.saturating_sub(node.mark.start);
    let is_too_much = bytes.saturating_mul(count) > MAX_BY_DEFAULT;
    if is_too_much {
        let most = MAX_BY_DEFAULT / count;
        let message = format!("expected at most {most} bytes for {count} subscriptions");
        context.error(node, message);
    }
    is_too_much
}

/// How many subscriptions a file has.
fn names_in(root: &Node) -> usize {
    match root.child("subscriptions").map(|node| &node.value) {
        Some(Value::Mapping(entries)) => entries.len(),
        Some(Value::Scalar(_) | Value::Sequence(_)) | None => 0,
    }
}

/// The outermost mapping of a file, which must have `subscriptions`, even if empty; a file of `include` may be empty.
pub(super) fn root<'d>(
    file: usize,
    document: &'d Document,
    known: &[&str],
    context: &mut Context<'_>,
) -> Option<Fields<'d>> {
    let fields = match &document.root {
        Root::Broken => return None,
        Root::Empty => Fields {
            mark: Mark {
                file,
                start: 0,
                depth: 0,
            },
            entries: &[],
        },
        Root::Node(node) => mapping(node, known, context)?,
    };
    // A file of include may be made before anything is in it.
    let is_empty_include = file > 0 && fields.entries.is_empty();
    if fields.given("subscriptions").is_none() && !is_empty_include {
        let message = "missing, expected names with their subscriptions ({} for none)";
        context
            .report
            .error_at_field(fields.mark, "subscriptions", message);
    }
    Some(fields)
}

fn read_sections(fields: Fields<'_>, context: &mut Context<'_>) -> Config {
    let (listen, ingest) = intake(fields, context);
    context.event_types = read_key(&Optional(TYPES), "event_types", fields, context).flatten();
    let network = section(fields, "network", context);
    let mut network: AddressPolicy = network.unwrap_or_else(AddressPolicy::built_in);
    network.own_ports = listen.ports();
    context.network = Arc::new(network);
    let store = store(fields, context);
    let mut admin: AdminConfig = section(fields, "admin", context).unwrap_or_default();
    let own_admin = fields.node("admin");
    let folder = own_admin.and_then(|admin| admin.child("secrets_dir"));
    if folder.is_none_or(Node::is_null) {
        admin.secrets_dir = store.path.join("secrets");
    }
    let notifications: Notifications =
        section(fields, "notifications", context).unwrap_or_default();
    context.sends_mail = notifications.smtp.is_some();
    Config {
        listen,
        ingest,
        store,
        admin,
        notifications,
        network: AddressPolicy::clone(&context.network),
        log: section(fields, "log", context).unwrap_or_default(),
        metrics: section(fields, "metrics", context).unwrap_or_default(),
        event_types: context.event_types.clone(),
        subscriptions: BTreeMap::new(),
    }
}

/// Reads a section; `None` if it is left out.
fn section<T: Keyed>(fields: Fields<'_>, name: &str, context: &mut Context<'_>) -> Option<T> {
    read_key(&Mapping::<T>::NEW, name, fields, context)
}

pub(super) fn intake(fields: Fields<'_>, context: &mut Context<'_>) -> (Listen, Ingest) {
    let guarded = Guarded {
        events: has_tokens(fields.node("ingest")),
        admin: has_tokens(fields.node("admin")),
    };
    let listen = fields.read("listen", context, |node, context| {
        listen(node, guarded, context)
    });
    let ingest = section(fields, "ingest", context);
    (listen.unwrap_or_default(), ingest.unwrap_or_default())
}

/// The subscriptions of all files by name.
#[derive(Debug, Default)]
struct Named {
    subscriptions: BTreeMap<SubscriptionName, Arc<Subscription>>,
    /// Where each name stands first.
    marks: HashMap<SubscriptionName, Mark>,
    /// By the fingerprint of their secret, with its place.
    secrets: BTreeMap<String, Vec<(Mark, Arc<Subscription>)>>,
}

impl Named {
    /// The name of an entry, unless it is invalid or taken.
    fn name(
        &mut self,
        entry: &Entry,
        documents: &[Document],
        context: &mut Context<'_>,
    ) -> Option<SubscriptionName> {
        let mark = entry.key.mark;
        let name = match entry.name().parse::<SubscriptionName>() {
            Ok(name) => name,
            Err(error) => {
                context.error(&entry.key, error.to_string());
                return None;
            }
        };
        let first = *self.marks.entry(name.clone()).or_insert(mark);
        if let Some(other) = documents
            .get(first.file)
            .filter(|_| first.file != mark.file)
        {
            let line = other.position(first.start).0;
            let place = format!("{}:{line}", other.path.display());
            context.error(
                &entry.key,
                format!("the same name in two files, the other is {place}"),
            );
        }
        (first == mark).then_some(name)
    }

    /// Keeps the names only.
    fn give_up(&mut self) {
        self.subscriptions.clear();
        self.secrets.clear();
    }

    fn add(&mut self, subscription: Subscription, entry: &Entry) {
        let subscription = Arc::new(subscription);
        if let Some(secret) = &subscription.secret {
            let sharing = self.secrets.entry(secret.fingerprint()).or_default();
            sharing.push((entry.key.mark, Arc::clone(&subscription)));
        }
        self.subscriptions
            .insert(subscription.name.clone(), subscription);
    }

    /// Warns of each subscription whose secret an earlier one has as well.
    fn report_shared_secrets(&self, context: &mut Context<'_>) {
        for sharing in self.secrets.values() {
            for (index, (mark, subscription)) in sharing.iter().enumerate() {
                let same =
                    |(_, other): &&(Mark, Arc<Subscription>)| other.secret == subscription.secret;
                if let Some((_, other)) = sharing.iter().take(index).find(same) {
                    let message = format!("has the secret of {}, better one for each", other.name);
                    context.report.warning(*mark, message);
                }
            }
        }
    }
}
