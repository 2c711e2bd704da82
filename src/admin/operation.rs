//! The description of an operation of the API: enough to find it, to check a call of it, and to document it.

use std::pin::Pin;
use std::time::Duration;

use http::{HeaderMap, Method};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value};

use crate::admin::answer::Answer;
use crate::admin::query::{Parameter, Query};
use crate::admin::refusal::Refusal;
use crate::admin::state::Admin;
use crate::config::Scopes;

/// How long most calls may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Answers a call.
pub(super) type Handler = fn(Call) -> Answering;

/// An answer to come.
pub(super) type Answering = Pin<Box<dyn Future<Output = Result<Answer, Refusal>> + Send>>;

/// Makes a schema.
pub(super) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// The schema of a type.
pub(super) fn schema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// The permission that an operation needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// Nothing at all.
    Open,
    /// A token to look.
    Read,
    /// A token to change things.
    Manage,
}

impl Scope {
    /// Its name in the configuration; `None` for what is open.
    pub(super) fn as_str(self) -> Option<&'static str> {
        match self {
            Self::Open => None,
            Self::Read => Some("read"),
            Self::Manage => Some("manage"),
        }
    }

    /// Whether these allow it.
    pub(super) fn is_among(self, scopes: Scopes) -> bool {
        match self {
            Self::Open => true,
            Self::Read => scopes.read,
            Self::Manage => scopes.manage,
        }
    }
}

/// An operation.
pub(super) struct Operation {
    pub(super) method: Method,
    /// With names in braces for segments that differ.
    pub(super) path: &'static str,
    /// Its name for programs.
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    pub(super) scope: Scope,
    pub(super) query: &'static [Parameter],
    /// Headers that it uses beyond those of every call, each with its purpose.
    pub(super) headers: &'static [(&'static str, &'static str)],
    /// The schema of its body; `None` if it has no body.
    pub(super) body: Option<SchemaOf>,
    /// Its answers when all goes well.
    pub(super) answers: Vec<Success>,
    /// Statuses of refusals beyond those that follow from the rest.
    pub(super) refusals: &'static [u16],
    pub(super) patience: Duration,
    pub(super) handler: Handler,
}

impl Operation {
    /// An operation that reads, with what most of them have.
    pub(super) fn reading(
        path: &'static str,
        id: &'static str,
        summary: &'static str,
        handler: Handler,
    ) -> Self {
        Self {
            method: Method::GET,
            path,
            id,
            summary,
            scope: Scope::Read,
            query: &[],
            headers: &[],
            body: None,
            answers: vec![],
            refusals: &[],
            patience: PATIENCE,
            handler,
        }
    }

    /// An operation that changes something, with what most of them have.
    pub(super) fn changing(
        method: Method,
        path: &'static str,
        id: &'static str,
        summary: &'static str,
        handler: Handler,
    ) -> Self {
        Self {
            method,
            scope: Scope::Manage,
            ..Self::reading(path, id, summary, handler)
        }
    }
}

/// An answer when all goes well.
pub(super) struct Success {
    pub(super) status: u16,
    pub(super) about: &'static str,
    pub(super) media_type: &'static str,
    /// None: a text.
    pub(super) schema: Option<SchemaOf>,
    /// Headers that the answer has.
    pub(super) headers: &'static [&'static str],
}

impl Success {
    /// JSON with this schema.
    pub(super) const fn json(status: u16, about: &'static str, schema: SchemaOf) -> Self {
        Self {
            status,
            about,
            media_type: "application/json",
            schema: Some(schema),
            headers: &[],
        }
    }

    /// A text.
    pub(super) const fn text(status: u16, about: &'static str, media_type: &'static str) -> Self {
        Self {
            status,
            about,
            media_type,
            schema: None,
            headers: &[],
        }
    }

    /// The same with these headers.
    pub(super) const fn with_headers(self, headers: &'static [&'static str]) -> Self {
        Self { headers, ..self }
    }
}

/// A call of an operation, checked as far as its description goes.
pub(super) struct Call {
    pub(super) admin: Admin,
    /// The table of all operations, for the document that describes them.
    pub(super) operations: &'static [Operation],
    pub(super) scopes: Scopes,
    /// The segments that are named in the path, decoded, in order.
    pub(super) segments: Vec<String>,
    pub(super) query: Query,
    pub(super) headers: HeaderMap,
    /// The body; empty if there is none.
    pub(super) body: Map<String, Value>,
}

impl Call {
    /// The first segment that is named in the path, as what it is the name of.
    ///
    /// # Errors
    /// 404 if it cannot be the name of anything.
    pub(super) fn named<T: std::str::FromStr>(&self, what: &'static str) -> Result<T, Refusal> {
        let segment = self.segments.first().map_or("", String::as_str);
        segment.parse().map_err(|_| Refusal::not_found(what))
    }
}
