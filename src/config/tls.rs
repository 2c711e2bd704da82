//! The field `tls` of a subscription: whose certificates are trusted, and the lowest version.

use std::path::Path;

use crate::config::document::Node;
use crate::config::reader::{Context, choice, mapping, text};
use crate::egress::{Roots, RootsError, TlsVersion};

/// The keys of the field.
pub(super) const KNOWN: [&str; 2] = ["ca_file", "min_version"];

/// The most bytes of a CA file: 4 MiB, as the largest system bundles have a quarter of it.
const MAX_BYTES: usize = 4 * 1024 * 1024;

pub(super) const VERSIONS: [(&str, TlsVersion); 2] =
    [("1.2", TlsVersion::Tls12), ("1.3", TlsVersion::Tls13)];

/// What `tls` says.
#[derive(Debug, Clone, Default)]
pub(super) struct Tls {
    /// The path as written.
    pub(super) ca_file: Option<String>,
    pub(super) roots: Option<Roots>,
    pub(super) min_version: TlsVersion,
}

/// Reads the mapping and the file it names.
pub(super) fn tls(node: &Node, context: &mut Context<'_>) -> Option<Tls> {
    let fields = mapping(node, &KNOWN, context)?;
    let path = fields.node("ca_file");
    Some(Tls {
        ca_file: path.and_then(|node| text(node, context)).map(str::to_owned),
        roots: fields.read("ca_file", context, ca_file),
        min_version: fields
            .read("min_version", context, choice(&VERSIONS))
            .unwrap_or_default(),
    })
}

fn ca_file(node: &Node, context: &mut Context<'_>) -> Option<Roots> {
    let path = text(node, context)?;
    let path = context.resolve(node.mark, path);
    let read = match context.ca_files.get(&path) {
        Some(known) => known.clone(),
        None => {
            let read = roots(&path, context);
            let read = read.map_err(|error| format!("{} {error}", path.display()));
            context.ca_files.insert(path, read.clone());
            read
        }
    };
    read.map_err(|message| context.error(node, message)).ok()
}

fn roots(path: &Path, context: &mut Context<'_>) -> Result<Roots, String> {
    let content = context.read_file(path, MAX_BYTES);
    let content = content.map_err(|error| error.to_string())?;
    Roots::read(&content.bytes).map_err(|error| match error {
        RootsError::None(_) => error.to_string(),
        RootsError::Wrong(_) => format!("cannot be used: {error}"),
    })
}
