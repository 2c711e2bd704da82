//! The key `tls` of a subscription: which certificates are trusted, and the lowest version.

use std::path::Path;

use serde_json::{Value as Json, json};

use crate::config::document::Node;
use crate::config::form::{By, Choice, Form as _, Optional};
use crate::config::keyed::{Keyed as _, Mapping, keys};
use crate::config::reader::{Context, text};
use crate::egress::{Roots, RootsError, TlsVersion};

/// The most bytes of a CA file: 4 MiB, as the largest system bundles have a quarter of it.
const MAX_BYTES: usize = 4 * 1024 * 1024;

keys! {
    /// `tls`
    #[derive(Debug, Clone)]
    section pub(super) struct Tls {
        "PEM of the only roots to trust; null: the system's."
        ca_file: Option<CaFile> = None => Optional(CA_FILE);
        "The lowest version."
        min_version: TlsVersion = TlsVersion::Tls12 => VERSIONS;
    }
}

/// `tls`, whose default is documented as a whole.
pub(super) const TLS: By<Tls> = By {
    read: |node, context| Mapping::<Tls>::NEW.read(node, context),
    show: |tls| Json::Object(tls.show()),
    schema: |writer| Mapping::<Tls>::NEW.schema(writer),
};

/// A CA file.
#[derive(Debug, Clone)]
pub(super) struct CaFile {
    /// Its path as it is written.
    written: String,
    pub(super) roots: Roots,
}

const CA_FILE: By<CaFile> = By {
    read: ca_file,
    show: |file| json!(file.written),
    schema: |_| json!({"type": "string", "minLength": 1}),
};

const VERSIONS: Choice<TlsVersion> =
    Choice(&[("1.2", TlsVersion::Tls12), ("1.3", TlsVersion::Tls13)]);

fn ca_file(node: &Node, context: &mut Context<'_>) -> Option<CaFile> {
    let written = text(node, context)?;
    let path = context.resolve(node.mark, written);
    let read = match context.ca_files.get(&path) {
        Some(known) => known.clone(),
        None => {
            let read = roots(&path, context);
            let read = read.map_err(|error| format!("{} {error}", path.display()));
            context.ca_files.insert(path, read.clone());
            read
        }
    };
    let roots = read.map_err(|message| context.error(node, message)).ok()?;
    let written = written.to_owned();
    Some(CaFile { written, roots })
}

fn roots(path: &Path, context: &mut Context<'_>) -> Result<Roots, String> {
    let content = context.read_file(path, MAX_BYTES);
    let content = content.map_err(|error| error.to_string())?;
    Roots::read(&content.bytes).map_err(|error| match error {
        RootsError::None(_) => error.to_string(),
        RootsError::Wrong(_) => format!("cannot be used: {error}"),
    })
}
