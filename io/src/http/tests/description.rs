//! `/openapi.json` against the routes and their answers, both ways.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::probes::OPENAPI;
use super::super::route::{self, Needs, Takes};
use super::harness::World;

pub(super) fn document() -> Value {
    serde_json::from_str(OPENAPI).expect("the description is JSON")
}

/// Every operation as (method, path, operation).
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            operations.push((method.to_uppercase(), path.clone(), operation.clone()));
        }
    }
    operations
}

#[test]
fn every_route_is_described_and_every_description_is_a_route() {
    let document = document();
    let described: BTreeSet<(String, String)> =
        operations(&document).into_iter().map(|(method, path, _)| (method, path)).collect();
    let routed: BTreeSet<(String, String)> = route::routes()
        .iter()
        .map(|route| (route.method.name().to_owned(), route.path.to_owned()))
        .collect();
    assert_eq!(described, routed);
}

#[test]
fn every_status_scope_and_body_is_described_as_it_is() {
    let document = document();
    for route in route::routes() {
        let name = format!("{} {}", route.method.name(), route.path);
        let operation = &document["paths"][route.path][route.method.name().to_lowercase()];
        let statuses: Vec<u16> = operation["responses"]
            .as_object()
            .expect("responses")
            .keys()
            .filter(|status| route.takes != Takes::Stream || *status != "default")
            .map(|status| status.parse().expect("a status"))
            .collect();
        assert_eq!(statuses, route.all_statuses(), "{name}");
        let scope = operation["security"][0]["token"][0].as_str();
        let needs = match route.needs {
            Needs::NothingAtAll | Needs::Nothing => None,
            Needs::Metrics => Some("read"),
            Needs::Scope(scope) => Some(scope.name()),
        };
        assert_eq!(scope, needs, "{name}");
        let required = operation["requestBody"]["required"].as_bool();
        let takes = match route.takes {
            Takes::Nothing => None,
            Takes::Maybe | Takes::Stream => Some(false),
            Takes::Body | Takes::Value => Some(true),
        };
        assert_eq!(required, takes, "{name}");
        let in_path = route.path.matches('{').count();
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        let described = parameters.iter().filter(|one| one["in"] == "path").count();
        assert_eq!(described, in_path, "{name}");
    }
}

#[test]
fn every_reference_leads_somewhere_and_every_component_is_referred_to() {
    let document = document();
    let mut references = BTreeSet::new();
    collect(&document, &mut references);
    for reference in &references {
        let pointer = reference.strip_prefix('#').expect("a local reference");
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    for kind in ["schemas", "responses", "parameters"] {
        for name in document["components"][kind].as_object().expect("components").keys() {
            let reference = format!("#/components/{kind}/{name}");
            assert!(references.contains(&reference), "nothing refers to {reference}");
        }
    }
}

fn collect(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                if key == "$ref" {
                    into.insert(value.as_str().expect("a reference").to_owned());
                }
                collect(value, into);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[tokio::test]
async fn every_described_query_parameter_is_read() {
    let world = World::new();
    for (method, path, operation) in operations(&document()) {
        if method != "GET" || path.ends_with("watch") || path == "/v1/events" {
            continue;
        }
        for parameter in operation["parameters"].as_array().cloned().unwrap_or_default() {
            if parameter["in"] != "query" {
                continue;
            }
            let name = parameter["name"].as_str().expect("a name");
            let path = super::conventions::concrete(&path);
            let answer = world.get(&format!("{path}?{name}=\u{e9}")).await;
            let unread = format!("`{name}` is no parameter");
            assert!(!answer.text.contains(&unread), "{path} does not read `{name}`");
        }
    }
}

/// Checks that `value` is described by the schema of a route's answer: every required member is there,
/// and there is none that the schema does not name.
pub(super) fn check_answer(method: &str, path: &str, status: u16, value: &Value) {
    let document = document();
    let operation = &document["paths"][path][method.to_lowercase()];
    let mut response = &operation["responses"][status.to_string()];
    if let Some(reference) = response["$ref"].as_str() {
        response = document.pointer(&reference[1..]).expect("it resolves");
    }
    let content = response["content"].as_object().expect("an answer with a body");
    let media = content.values().next().expect("one media type");
    let mut faults = Vec::new();
    check(&document, &media["schema"], value, "", &mut faults);
    assert!(faults.is_empty(), "{method} {path} {status}: {faults:?}\n{value:#}");
}

fn check(document: &Value, schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        let schema = document.pointer(&reference[1..]).expect("it resolves");
        return check(document, schema, value, at, faults);
    }
    if let Some(choices) = schema["anyOf"].as_array() {
        let fits = |choice: &&Value| {
            let mut faults = Vec::new();
            check(document, choice, value, at, &mut faults);
            faults.is_empty()
        };
        if !choices.iter().any(|choice| fits(&choice)) {
            faults.push(format!("{at}: fits none of the choices"));
        }
        return;
    }
    if !has_type(&schema["type"], value) {
        faults.push(format!("{at}: {value} is no {}", schema["type"]));
        return;
    }
    if schema["enum"].as_array().is_some_and(|words| !words.contains(value)) {
        faults.push(format!("{at}: {value} is not of {}", schema["enum"]));
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        check(document, &schema["items"], item, &format!("{at}/{index}"), faults);
    }
    if let Some(members) = value.as_object() {
        check_object(document, schema, members, at, faults);
    }
}

fn check_object(
    document: &Value,
    schema: &Value,
    members: &serde_json::Map<String, Value>,
    at: &str,
    faults: &mut Vec<String>,
) {
    for name in schema["required"].as_array().into_iter().flatten() {
        let name = name.as_str().expect("a name");
        if !members.contains_key(name) {
            faults.push(format!("{at}: `{name}` is missing"));
        }
    }
    let open = schema["properties"].is_null() && schema["additionalProperties"].is_null();
    for (name, value) in members {
        let at = format!("{at}/{name}");
        match (&schema["properties"][name], &schema["additionalProperties"]) {
            (Value::Null, Value::Null) if !open => faults.push(format!("{at}: is not described")),
            (Value::Null, Value::Null) => {}
            (Value::Null, any) => check(document, any, value, &at, faults),
            (one, _) => check(document, one, value, &at, faults),
        }
    }
}

fn has_type(named: &Value, value: &Value) -> bool {
    let is = |name: &str| match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("`{other}` is no type"),
    };
    match named {
        Value::Null => true,
        Value::String(name) => is(name),
        Value::Array(names) => names.iter().any(|name| is(name.as_str().expect("a type"))),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => panic!("{named} is no type"),
    }
}
