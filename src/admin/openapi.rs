//! The OpenAPI 3.1 document, made of the table of operations and the types of answers. Source: OpenAPI 3.1.1.

use std::sync::OnceLock;

use bytes::Bytes;
use http::StatusCode;
use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use crate::admin::answer::{Answer, respond};
use crate::admin::operation::{Call, Operation, Scope, Success};
use crate::admin::query::{Kind, Parameter};
use crate::admin::refusal::Refusal;
use crate::store::PAGE_MAX;

/// Where schemas are kept in the document.
const SCHEMAS: &str = "/components/schemas";

/// `GET /v1/openapi.json`
pub(super) async fn show(call: Call) -> Result<Answer, Refusal> {
    static DOCUMENT: OnceLock<Bytes> = OnceLock::new();
    let document = DOCUMENT.get_or_init(|| document(call.operations).to_string().into());
    Ok(respond(
        StatusCode::OK,
        "application/json",
        document.clone(),
    ))
}

/// The schema of an object without further detail.
pub(super) fn any_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object"})
}

/// The schema of `{}`.
pub(super) fn empty_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "additionalProperties": false})
}

fn document(operations: &[Operation]) -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let mut generator = settings
        .with(|settings| {
            settings.definitions_path = SCHEMAS.into();
            settings.meta_schema = None;
        })
        .into_generator();
    let mut paths = Map::new();
    for operation in operations {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        if let Value::Object(methods) = path {
            let method = operation.method.as_str().to_ascii_lowercase();
            methods.insert(method, described(operation, &mut generator));
        }
    }
    let mut schemas = generator.take_definitions(true);
    schemas.insert("Problem".to_owned(), problem());
    json!({
        "openapi": "3.1.1",
        "info": {
            "title": "sidehook",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The admin API of the webhook sidecar",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {
                "type": "http",
                "scheme": "bearer",
                "description": "One of admin.tokens, or that of <store path>/admin.token",
            }},
        },
    })
}

fn described(operation: &Operation, generator: &mut SchemaGenerator) -> Value {
    let mut parameters: Vec<_> = named(operation.path).map(of_path).collect();
    parameters.extend(operation.query.iter().map(of_query));
    let header = |(name, about): &(&str, &str)| json!({"name": name, "in": "header", "description": about, "schema": {"type": "string"}});
    parameters.extend(operation.headers.iter().map(header));
    let mut responses = Map::new();
    for success in &operation.answers {
        responses.insert(success.status.to_string(), answered(success, generator));
    }
    for status in refusals(operation) {
        let answer = || refused(status);
        responses.entry(status.to_string()).or_insert_with(answer);
    }
    let security = operation.scope.as_str();
    let security = security.map(|scope| json!({"token": [scope]}));
    let mut described = Map::new();
    described.insert("operationId".to_owned(), operation.id.into());
    described.insert("summary".to_owned(), operation.summary.into());
    described.insert("parameters".to_owned(), parameters.into());
    if let Some(body) = operation.body {
        let content = json!({"application/json": {"schema": body(generator)}});
        let body = json!({"required": true, "content": content});
        described.insert("requestBody".to_owned(), body);
    }
    described.insert("responses".to_owned(), responses.into());
    let security: Vec<_> = security.into_iter().collect();
    described.insert("security".to_owned(), security.into());
    described.into()
}

/// The names in braces of a path.
fn named(path: &str) -> impl Iterator<Item = &str> {
    let parts = path.split('/');
    parts.filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

fn of_path(name: &str) -> Value {
    let schema = match name {
        "name" => json!({"type": "string", "pattern": NAME}),
        "event_id" => {
            json!({"type": "string", "pattern": "^evt_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"})
        }
        "delivery_id" => {
            json!({"type": "string", "pattern": "^evt_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\\.[a-z0-9_-]{1,64}$"})
        }
        _ => json!({"type": "string", "pattern": "^[0-9]{1,19}$"}),
    };
    json!({"name": name, "in": "path", "required": true, "schema": schema})
}

/// The pattern of a subscription's name.
pub(super) const NAME: &str = "^[a-z0-9][a-z0-9_-]{0,63}$";

fn of_query(parameter: &Parameter) -> Value {
    let schema = match parameter.kind {
        Kind::Limit => json!({"type": "integer", "minimum": 1, "maximum": PAGE_MAX, "default": 50}),
        Kind::Cursor => json!({"type": "string"}),
        Kind::Time => json!({"type": "string", "format": "date-time"}),
        Kind::Name => json!({"type": "string", "pattern": NAME}),
        Kind::Label => json!({"type": "string", "pattern": "^[!-~]{1,256}$"}),
        Kind::OneOf(words) => json!({"type": "string", "enum": words()}),
    };
    json!({"name": parameter.name, "in": "query", "description": parameter.about, "schema": schema})
}

fn answered(success: &Success, generator: &mut SchemaGenerator) -> Value {
    let schema = match success.schema {
        Some(schema) => schema(generator).to_value(),
        None => json!({"type": "string"}),
    };
    let header = || json!({"required": true, "schema": {"type": "string"}});
    let names = success.headers.iter();
    let headers: Map<_, _> = names.map(|name| ((*name).to_owned(), header())).collect();
    json!({
        "description": success.about,
        "headers": headers,
        "content": {success.media_type: {"schema": schema}},
    })
}

/// The statuses of all refusals of an operation. Of a malformed or overlong request head the connection speaks.
fn refusals(operation: &Operation) -> Vec<u16> {
    let mut statuses = vec![400, 408, 431];
    if operation.scope != Scope::Open {
        statuses.extend([401, 403, 422, 503]);
    }
    if named(operation.path).next().is_some() {
        statuses.push(404);
    }
    if operation.body.is_some() {
        statuses.extend([413, 415]);
    }
    statuses.extend(operation.refusals);
    statuses.sort_unstable();
    statuses.dedup();
    statuses
}

fn refused(status: u16) -> Value {
    let phrase = StatusCode::from_u16(status).ok();
    let phrase = phrase.and_then(|status| status.canonical_reason());
    json!({
        "description": phrase.unwrap_or("Refused"),
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    })
}

/// The schema of every refusal (RFC 9457).
fn problem() -> Value {
    json!({
        "type": "object",
        "required": ["title", "status", "code", "detail"],
        "properties": {
            "title": {"type": "string", "description": "The phrase of the status"},
            "status": {"type": "integer"},
            "code": {"type": "string", "description": "Which problem it is, for programs; never changes"},
            "detail": {"type": "string", "description": "For people"},
            "errors": {
                "type": "object",
                "description": "What is wrong with fields or parameters, by path",
                "additionalProperties": {"type": "array", "items": {"type": "string"}},
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::admin::operations::all;

    #[test]
    fn every_reference_leads_to_a_schema() {
        let document = document(all());
        let text = document.to_string();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let mut found = 0;
        for part in text.split("\"$ref\":\"").skip(1) {
            let name = part.split('"').next().unwrap();
            let name = name.strip_prefix("#/components/schemas/").unwrap();
            assert!(schemas.contains_key(name), "{name}");
            found += 1;
        }
        assert!(found > 20, "{found} references");
    }

    #[test]
    fn every_operation_is_described_and_has_a_name_of_its_own() {
        let document = document(all());
        let mut names = HashSet::new();
        for operation in all() {
            let method = operation.method.as_str().to_ascii_lowercase();
            let described = &document["paths"][operation.path][&method];
            assert_eq!(described["operationId"], operation.id);
            assert!(names.insert(operation.id), "{}", operation.id);
            let open = operation.scope == Scope::Open;
            assert_eq!(described["security"].as_array().unwrap().is_empty(), open);
            assert_eq!(
                operation.path.starts_with("/v1/"),
                !open,
                "{}",
                operation.path
            );
            assert!(!operation.answers.is_empty(), "{}", operation.id);
        }
    }
}
