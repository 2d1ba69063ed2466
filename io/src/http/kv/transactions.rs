//! `POST /v1/kv/{ns}`: reads and writes under conditions.

use quorate_core::node::kv::{
    Answer as Done, Compare, Done as Each, Key, Keys, LeaseId, Operation, Relation, Request, Than,
    Transaction,
};
use quorate_core::wire::Blob;
use serde_json::{Value, json};

use super::{ask, namespace, shown};
use crate::http::problem::{Fault, Problem};
use crate::http::route::{Answer, Call, Outcome};
use crate::http::strict::{self, Fields};

pub(super) async fn perform(mut call: Call) -> Outcome {
    let namespace = namespace(&call)?;
    let mut fields = call.fields()?;
    let mut faults = Vec::new();
    let list = |fields: &mut Fields, name: &str| {
        let list = fields.optional(name, "a list", |value| value.as_array().cloned());
        list.unwrap_or_default()
    };
    let compare = list(&mut fields, "compare");
    let (then, otherwise) = (list(&mut fields, "then"), list(&mut fields, "else"));
    fields.finish().map_err(Problem::faults)?;
    call.query.finish()?;
    let compare = read_all(compare, "/compare", &mut faults, read_compare);
    let then = read_all(then, "/then", &mut faults, read_operation);
    let otherwise = read_all(otherwise, "/else", &mut faults, read_operation);
    if !faults.is_empty() {
        return Err(Problem::faults(faults));
    }
    let bound = quorate_core::limits::KV_TRANSACTION_OPERATIONS_MAX;
    if [compare.len(), then.len() + otherwise.len()].iter().any(|count| *count > bound) {
        return Err(super::invalid(format!("a transaction has at most {bound} operations")));
    }
    let transaction = Transaction {
        namespace,
        compare: compare.into(),
        then: then.into(),
        otherwise: otherwise.into(),
    };
    match ask(&call, Request::Transact(transaction)).await? {
        Done::Transacted { succeeded, revision, results } => {
            let results: Vec<Value> = results.iter().map(result).collect();
            Ok(Answer::json(
                json!({"succeeded": succeeded, "revision": revision, "results": results}),
            ))
        }
        Done::Forgotten { revision } => {
            Ok(Answer::json(json!({"succeeded": null, "revision": revision, "results": []})))
        }
        done => unreachable!("a transaction is answered as one, not by {done:?}"),
    }
}

fn read_all<T>(
    items: Vec<Value>,
    pointer: &str,
    faults: &mut Vec<Fault>,
    read: fn(Fields) -> Result<T, Vec<Fault>>,
) -> Vec<T> {
    let mut all = Vec::with_capacity(items.len());
    for (place, item) in items.into_iter().enumerate() {
        let fields = Fields::at(format!("{pointer}/{place}"), item);
        match fields.and_then(read) {
            Ok(one) => all.push(one),
            Err(wrong) => faults.extend(wrong),
        }
    }
    all
}

fn read_compare(mut fields: Fields) -> Result<Compare, Vec<Fault>> {
    let key = key(&mut fields);
    let target = fields.required("target", "what is compared", strict::string);
    let is = fields.required("is", "`=`, `!=`, `<` or `>`", |value| {
        Some(match value.as_str()? {
            "=" => Relation::Equal,
            "!=" => Relation::Unequal,
            "<" => Relation::Less,
            ">" => Relation::Greater,
            _ => return None,
        })
    });
    let than = match target.as_deref() {
        Some("value") => {
            shown::needed_bytes(&mut fields, "than").map(|bytes| Than::Value(Blob::from(bytes)))
        }
        Some(target) => number_than(&mut fields, target),
        None => fields.take("than").map(|_| Than::Version(0)),
    };
    fields.finish()?;
    let parts = key.zip(is).zip(than);
    let ((key, is), than) = parts.expect("what is missing was named as a fault");
    Ok(Compare { key, is, than })
}

fn number_than(fields: &mut Fields, target: &str) -> Option<Than> {
    let number = fields.required("than", "a number", |value| {
        value.as_u64().or_else(|| value.as_str()?.parse().ok())
    })?;
    match target {
        "mod_revision" => Some(Than::ModRevision(number)),
        "create_revision" => Some(Than::CreateRevision(number)),
        "version" => Some(Than::Version(number)),
        "lease" => Some(Than::Lease(number)),
        _ => {
            let known = "mod_revision, create_revision, version, value or lease";
            fields.fault("target", "unknown", format!("`target` is {known}"));
            None
        }
    }
}

fn key(fields: &mut Fields) -> Option<Key> {
    let bytes = shown::needed_bytes(fields, "key")?;
    let key = Key::new(&bytes);
    if let Err(error) = &key {
        fields.fault("key", "format", error.to_string());
    }
    key.ok()
}

fn read_operation(mut fields: Fields) -> Result<Operation, Vec<Fault>> {
    let pointer = fields.pointer().to_owned();
    let inner = ["put", "delete", "get"].into_iter().find_map(|verb| {
        let value = fields.take(verb)?;
        Some((verb, Fields::at(format!("{pointer}/{verb}"), value)))
    });
    fields.finish()?;
    let Some((verb, inner)) = inner else {
        let detail = "an operation is `put`, `delete` or `get`";
        return Err(vec![Fault::new(pointer, "missing", detail)]);
    };
    let mut inner = inner?;
    if verb == "put" {
        let key = key(&mut inner);
        let value = shown::needed_bytes(&mut inner, "value");
        let lease = super::keys::binding(&mut inner);
        let previous = inner.optional("previous", "a boolean", Value::as_bool).unwrap_or(false);
        inner.finish()?;
        let (key, value) = key.zip(value).expect("what is missing was named as a fault");
        return Ok(Operation::Put { key, value: Blob::from(value), lease, previous });
    }
    let keys = some_keys(&mut inner);
    inner.finish()?;
    let keys = keys.expect("what is missing was named as a fault");
    Ok(if verb == "delete" { Operation::Delete(keys) } else { Operation::Get(keys) })
}

/// `key`, `prefix`, or `from` and `to`.
fn some_keys(fields: &mut Fields) -> Option<Keys> {
    if let Some(prefix) = shown::bytes(fields, "prefix") {
        return Some(Keys::Prefix(Blob::from(prefix)));
    }
    let from = shown::bytes(fields, "from");
    let to = shown::bytes(fields, "to");
    if from.is_some() || to.is_some() {
        let from = Blob::from(from.unwrap_or_default());
        return Some(Keys::Range { from, to: to.map(Blob::from) });
    }
    key(fields).map(Keys::One)
}

fn result(done: &Each) -> Value {
    match done {
        Each::Put { create_revision, version, lease, previous } => {
            let lease = lease.map(|lease: LeaseId| shown::lease(lease));
            let previous = previous.as_ref().map(|held| shown::previous(held));
            json!({"put": {
                "create_revision": create_revision,
                "version": version,
                "lease": lease,
                "previous": previous,
            }})
        }
        Each::Deleted { count } => json!({"deleted": count}),
        Each::Got { items, more } => {
            let items = items.iter().map(|item| shown::item(&item.key, &item.held, true));
            json!({"items": items.collect::<Vec<_>>(), "more": more})
        }
    }
}
