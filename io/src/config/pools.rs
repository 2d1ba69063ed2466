//! `[pools.<name>]`: the pools of the document, each read as a whole and checked by the pools themselves.
//!
//! Absent on purpose: which credentials there are. A member that is not known yet is not servable, and is as
//! soon as its record appears.

use std::collections::BTreeMap;

use quorate_core::node::Settings;
use quorate_core::node::pools::{Definition, Listed, Members, Name};
use serde_json::{Map, Value};

use super::read::Reader;

/// Reads every pool of the layers into `settings`.
pub(super) fn read(reader: &mut Reader<'_>, settings: &mut Settings) {
    let mut tables: BTreeMap<String, (String, Map<String, Value>)> = BTreeMap::new();
    for (path, row) in &reader.layers.rows {
        let Some((name, fields)) = path.strip_prefix("pools.").and_then(split) else { continue };
        let (_, table) = tables.entry(name).or_insert_with(|| (path.clone(), Map::new()));
        put(table, &fields, json(&row.value));
    }
    let mut listed: BTreeMap<String, Name> = BTreeMap::new();
    for (name, (path, table)) in tables {
        match pool(&name, table) {
            Ok((name, definition)) => {
                for id in ids(&definition) {
                    if let Some(other) = listed.insert(id.clone(), name.clone()) {
                        let message =
                            format!("`pools.{name}` and `pools.{other}` both list `{id}`");
                        let help = Some("a credential is in one pool at most");
                        reader.problem("pool_invalid", &path, message, help);
                    }
                }
                settings.pools.pools.insert(name, definition);
            }
            Err(wrong) => {
                let message = format!("`pools.{name}`: {wrong}");
                reader.problem("pool_invalid", &path, message, None);
            }
        }
    }
}

fn pool(name: &str, table: Map<String, Value>) -> Result<(Name, Definition), String> {
    let name: Name =
        name.parse().map_err(|error: quorate_core::node::pools::NameError| error.to_string())?;
    let definition = serde_json::from_value::<Definition>(Value::Object(table));
    let definition = definition.map_err(|error| error.to_string())?;
    definition.check().map_err(|error| error.to_string())?;
    Ok((name, definition))
}

fn ids(definition: &Definition) -> Vec<String> {
    match &definition.members {
        Members::Listed(listed) => {
            listed.iter().map(|Listed { credential, .. }| credential.clone()).collect()
        }
        Members::Of { .. } => Vec::new(),
    }
}

/// A pool's name and the path of a field in it. A name may hold dots, so it ends where a field begins.
fn split(path: &str) -> Option<(String, Vec<String>)> {
    let parts: Vec<&str> = path.split('.').collect();
    let field = parts.iter().skip(1).position(|part| FIELDS.contains(part));
    // A field that is none is told by the reader of the definition.
    let at = field.map_or(1, |at| at + 1).min(parts.len().saturating_sub(1)).max(1);
    let (name, fields) = parts.split_at_checked(at)?;
    Some((name.join("."), fields.iter().map(|part| (*part).to_owned()).collect()))
}

fn put(table: &mut Map<String, Value>, path: &[String], value: Value) {
    match path {
        [] => {}
        [last] => {
            table.insert(last.clone(), value);
        }
        [first, rest @ ..] => {
            let inner = table.entry(first.clone()).or_insert_with(|| Value::Object(Map::new()));
            if let Some(inner) = inner.as_object_mut() {
                put(inner, rest, value);
            }
        }
    }
}

fn json(value: &toml::Value) -> Value {
    serde_json::to_value(value).unwrap_or(Value::Null)
}

/// The fields of a definition.
const FIELDS: [&str; 9] = [
    "members",
    "strategy",
    "profile",
    "early_probe_ms",
    "degrade",
    "auth_reset_target",
    "upstream",
    "notify",
    "probe_request",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_ends_where_a_field_begins() {
        let split = |path| split(path).map(|(name, fields)| (name, fields.join(".")));
        let pair = |name: &str, fields: &str| Some((name.to_owned(), fields.to_owned()));
        assert_eq!(split("codex.strategy"), pair("codex", "strategy"));
        assert_eq!(split("codex.eu.profile.floor_ms"), pair("codex.eu", "profile.floor_ms"));
        assert_eq!(split("members.members"), pair("members", "members"));
        assert_eq!(split("codex.stratgy"), pair("codex", "stratgy"));
    }
}
