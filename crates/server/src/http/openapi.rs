//! The API's description (`OpenAPI` 3.1), made from the table of routes and the types of the
//! bodies. `docs/openapi.json` holds it for readers; a test keeps the two equal.

use std::sync::OnceLock;

use serde_json::{Map, Value, json};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::route::{Base, Outcome, Parameter, ParameterKind, Route, SchemaOf};
use super::routes::ROUTES;
use crate::api::{DURATION_EXPECTED, JobFault, Problem, StateText};

type Schemas = Vec<(String, RefOr<Schema>)>;

/// The description as text. Made when somebody first asks.
pub(crate) fn text() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        let mut text = serde_json::to_string_pretty(&document()).unwrap_or_default();
        text.push('\n');
        text
    })
}

fn document() -> Value {
    let mut schemas: Schemas = vec![
        (Problem::name().into(), Problem::schema()),
        (JobFault::name().into(), JobFault::schema()),
    ];
    let mut paths = Map::new();
    for route in ROUTES {
        let operation = operation(route, &mut schemas);
        for (path, namespaced) in paths_of(route) {
            let mut operation = operation.clone();
            if namespaced {
                name_namespaced(&mut operation);
            }
            let entry = paths.entry(path).or_insert_with(|| json!({}));
            entry[route.method.to_ascii_lowercase()] = operation;
        }
    }
    schemas.sort_by(|a, b| a.0.cmp(&b.0));
    schemas.dedup_by(|a, b| a.0 == b.0);
    let schemas: Map<String, Value> =
        schemas.into_iter().map(|(name, schema)| (name, json!(schema))).collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Longshore",
            "description": "Durable background jobs over HTTP. Errors are problem details \
                (RFC 9457) with permanent codes.",
            "version": "1",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
        "components": { "schemas": schemas },
    })
}

/// The paths that a route answers at, and whether a namespace stands in them.
fn paths_of(route: &Route) -> Vec<(String, bool)> {
    let path = route.path.replace("{}", &format!("{{{}}}", variable(route)));
    match route.base {
        Base::Root => vec![(path, false)],
        Base::Namespace => vec![
            (format!("/v1{path}"), false),
            (format!("/v1/namespaces/{{namespace}}{path}"), true),
        ],
    }
}

/// What the variable segment of a route is called.
fn variable(route: &Route) -> &'static str {
    let path = route.path;
    if path.starts_with("/queues/") {
        "queue"
    } else if path.starts_with("/v1/namespaces/") {
        "namespace"
    } else {
        "id"
    }
}

fn name_namespaced(operation: &mut Value) {
    let id = operation["operationId"].as_str().unwrap_or_default().to_owned();
    operation["operationId"] = json!(format!("{id}InNamespace"));
    if let Some(parameters) = operation["parameters"].as_array_mut() {
        parameters.insert(0, path_parameter("namespace"));
    }
}

fn operation(route: &Route, schemas: &mut Schemas) -> Value {
    let mut parameters = Vec::new();
    if route.path.contains("{}") {
        parameters.push(path_parameter(variable(route)));
    }
    parameters.extend(route.parameters.iter().map(query_parameter));
    let mut responses = Map::new();
    for outcome in route.outcomes {
        responses.insert(outcome.status.to_string(), response(outcome, schemas));
    }
    responses.insert("default".into(), refusal());
    let name = format!("{:?}", route.op);
    let (first, rest) = name.split_at_checked(1).unwrap_or_default();
    let mut operation = json!({
        "operationId": format!("{}{rest}", first.to_ascii_lowercase()),
        "summary": route.about,
        "parameters": parameters,
        "responses": responses,
    });
    let Some(schema) = one_of(route.bodies, schemas) else { return operation };
    operation["requestBody"] = json!({
        "required": !route.body_is_optional,
        "content": { "application/json": { "schema": schema } },
    });
    operation
}

fn response(outcome: &Outcome, schemas: &mut Schemas) -> Value {
    let mut response = json!({ "description": outcome.about });
    if let Some(schema) = one_of(outcome.bodies, schemas) {
        response["content"] = json!({ "application/json": { "schema": schema } });
    }
    response
}

fn one_of(bodies: &[SchemaOf], schemas: &mut Schemas) -> Option<Value> {
    let mut bodies: Vec<Value> = bodies.iter().map(|of| json!(of(schemas))).collect();
    match bodies.len() {
        0 => None,
        1 => bodies.pop(),
        _ => Some(json!({ "oneOf": bodies })),
    }
}

fn refusal() -> Value {
    json!({
        "description": "Refused: a problem document with a permanent code.",
        "content": {
            "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } },
        },
    })
}

fn path_parameter(name: &str) -> Value {
    json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } })
}

fn query_parameter(parameter: &Parameter) -> Value {
    let schema = match parameter.kind {
        ParameterKind::Duration => json!({ "type": "string", "description": DURATION_EXPECTED }),
        ParameterKind::Flag => json!({ "type": "boolean" }),
        ParameterKind::Number => json!({ "type": "integer", "minimum": 1, "maximum": 1000 }),
        ParameterKind::Place => json!({ "type": "integer", "minimum": 0 }),
        ParameterKind::State => {
            json!({ "type": "string", "enum": StateText::ALL.map(StateText::as_str) })
        }
        ParameterKind::Text => json!({ "type": "string" }),
    };
    json!({
        "name": parameter.name,
        "in": "query",
        "description": parameter.about,
        "schema": schema,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn the_document_in_docs_is_this_one() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
        if std::env::var_os("LONGSHORE_BLESS").is_some() {
            std::fs::write(&path, text()).unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_default();
        let same = golden == text();
        assert!(same, "docs/openapi.json has drifted: run this test with LONGSHORE_BLESS=1");
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document();
        let known: BTreeSet<String> =
            document["components"]["schemas"].as_object().unwrap().keys().cloned().collect();
        let mut pending = vec![&document];
        while let Some(value) = pending.pop() {
            match value {
                Value::Object(map) => {
                    if let Some(Value::String(reference)) = map.get("$ref") {
                        let name = reference.strip_prefix("#/components/schemas/").unwrap();
                        assert!(known.contains(name), "{reference}");
                    }
                    pending.extend(map.values());
                }
                Value::Array(items) => pending.extend(items),
                _ => {}
            }
        }
    }

    #[test]
    fn every_operation_has_its_own_name() {
        let document = document();
        let mut ids = BTreeSet::new();
        for path in document["paths"].as_object().unwrap().values() {
            for operation in path.as_object().unwrap().values() {
                let id = operation["operationId"].as_str().unwrap();
                assert!(ids.insert(id.to_owned()), "{id}");
            }
        }
        assert!(ids.len() > ROUTES.len());
    }
}
