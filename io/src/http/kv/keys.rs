//! Single keys, lists, and deleting many.

use axum::body::Bytes;
use axum::http::header;
use quorate_core::node::kv::{
    Answer as Done, Binding, Condition, Done as Each, Found, Key, Keys, LeaseId, Namespace,
    Question, Request,
};
use quorate_core::wire::Blob;
use serde_json::{Value, json};

use super::shown::{self, decoded, key_of};
use super::{LOGGED, ask, freshness, invalid, namespace, read, transactions, watch};
use crate::access::Scope;
use crate::http::lists::IfMatch;
use crate::http::problem::{Code, Problem};
use crate::http::route::{Answer, Call, Outcome, Route, Takes, Verb};
use crate::http::strict::Fields;

pub(super) fn routes() -> Vec<Route> {
    let (all, one) = ("/v1/kv/{ns}", "/v1/kv/{ns}/{key}");
    let change = |verb, path, name, handler| {
        Route::change(verb, path, Scope::Use, name, handler).counted(name).statuses(LOGGED)
    };
    let reads: &[u16] = &[200, 404, 409, 410];
    vec![
        Route::get(all, |call| Box::pin(list(call))).statuses(reads),
        change(Verb::Put, all, "kv.put", |call| Box::pin(put(call))).takes(Takes::Value),
        change(Verb::Post, all, "kv.txn", |call| Box::pin(transactions::perform(call)))
            .takes(Takes::Body),
        change(Verb::Delete, all, "kv.delete", |call| Box::pin(delete(call))),
        Route::get(one, |call| Box::pin(show(call))).statuses(reads),
        change(Verb::Put, one, "kv.put", |call| Box::pin(put(call))).takes(Takes::Value),
        change(Verb::Delete, one, "kv.delete", |call| Box::pin(delete(call))),
    ]
}

/// The key of the path, or of `key_base64`.
fn key(call: &mut Call) -> Result<Option<Key>, Problem> {
    let coded = call.query.one("key_base64")?;
    match (call.parameters.get("key"), coded) {
        (Some(_), Some(_)) => Err(invalid("name the key in the path or as `key_base64`")),
        (Some(text), None) => key_of(text.as_bytes()).map(Some),
        (None, Some(text)) => key_of(&decoded(&text, "key_base64")?).map(Some),
        (None, None) => Ok(None),
    }
}

fn needed_key(call: &mut Call) -> Result<Key, Problem> {
    key(call)?.ok_or_else(|| invalid("name the key in the path, or as `key_base64`"))
}

async fn show(mut call: Call) -> Outcome {
    let (namespace, key) = (namespace(&call)?, needed_key(&mut call)?);
    get(call, namespace, key).await
}

async fn get(mut call: Call, namespace: Namespace, key: Key) -> Outcome {
    let revision = call.query.number("revision", 0..=u64::MAX)?;
    let fresh = freshness(&mut call)?;
    call.query.finish()?;
    let question = Question::Get { namespace, key: key.clone(), revision };
    let told = read(&call, question, fresh).await?;
    let Found::Key(held) = told.what else {
        unreachable!("one key is answered as one, not by {:?}", told.what)
    };
    let Some(held) = held else {
        let detail = "there is no such key";
        return Err(Problem::new(Code::NotFound, detail).with("revision", told.revision));
    };
    let accepts = call.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let tag = held.mod_revision.to_string();
    if accepts.is_some_and(|accepts| accepts.contains("application/octet-stream")) {
        return Ok(Answer::bytes(Bytes::copy_from_slice(&held.value)).tag(&tag));
    }
    let shown = shown::item(&key, &held, true);
    Ok(Answer::json(json!({"revision": told.revision, "key": shown})).tag(&tag))
}

async fn list(mut call: Call) -> Outcome {
    let namespace = namespace(&call)?;
    if call.query.flag("watch")? {
        return watch::open(call, namespace).await;
    }
    for name in ["from_revision", "previous"] {
        if call.query.one(name)?.is_some() {
            return Err(invalid(format!("`{name}` goes with `watch=true`")));
        }
    }
    if let Some(key) = key(&mut call)? {
        return get(call, namespace, key).await;
    }
    let keys = keys(&mut call)?.unwrap_or(Keys::Prefix(Blob::default()));
    let keys_only = call.query.flag("keys_only")?;
    let limit = call.query.number("limit", 1..=1000)?.unwrap_or(100);
    let (cursor, asked) = (call.query.one("cursor")?, call.query.number("revision", 0..=u64::MAX)?);
    let fresh = freshness(&mut call)?;
    call.query.finish()?;
    let cursor = cursor.map(|text| Cursor::read(&text)).transpose()?;
    let revision = cursor.as_ref().map(|cursor| cursor.revision).or(asked);
    let after = cursor.map(|cursor| cursor.after);
    let limit = u16::try_from(limit).unwrap_or(1000);
    let question = Question::List { namespace, keys, after, revision, limit, keys_only };
    let told = read(&call, question, fresh).await?;
    let Found::Page { revision, page } = told.what else {
        unreachable!("a list is answered as one, not by {:?}", told.what)
    };
    let items = page.items.iter().map(|item| shown::item(&item.key, &item.held, !keys_only));
    let items: Vec<Value> = items.collect();
    let last = page.items.last().filter(|_| page.more);
    let next = last.map(|item| Cursor { revision, after: item.key.clone() }.written());
    Ok(Answer::json(json!({"revision": revision, "items": items, "next_cursor": next})))
}

/// `prefix`, or `from` and `to`; `None` if nothing is said.
pub(super) fn keys(call: &mut Call) -> Result<Option<Keys>, Problem> {
    let prefix = call.query.one("prefix")?;
    let (from, to) = (call.query.one("from")?, call.query.one("to")?);
    let blob = |text: String| Blob::from(text.as_bytes());
    let keys = match (prefix, from, to) {
        (None, None, None) => return Ok(None),
        (Some(prefix), None, None) => Keys::Prefix(blob(prefix)),
        (None, from, to) => {
            Keys::Range { from: from.map(blob).unwrap_or_default(), to: to.map(blob) }
        }
        (Some(_), ..) => return Err(invalid("give `prefix`, or `from` and `to`, not both")),
    };
    if keys.is_legal() { Ok(Some(keys)) } else { Err(invalid("a prefix is at most a key long")) }
}

/// Where a list goes on: every page shares its revision.
struct Cursor {
    revision: u64,
    after: Key,
}

impl Cursor {
    fn written(&self) -> String {
        use base64::Engine as _;
        let bytes = [&self.revision.to_be_bytes(), self.after.as_slice()].concat();
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
    }

    fn read(text: &str) -> Result<Cursor, Problem> {
        let wrong = || invalid("`cursor` is not one that this list gave out");
        let bytes = decoded(text, "cursor")?;
        let (revision, after) = bytes.split_first_chunk::<8>().ok_or_else(wrong)?;
        let after = Key::new(after).map_err(|_| wrong())?;
        Ok(Cursor { revision: u64::from_be_bytes(*revision), after })
    }
}

async fn put(mut call: Call) -> Outcome {
    let (namespace, key) = (namespace(&call)?, needed_key(&mut call)?);
    let from_headers = header_condition(&call)?;
    let wanted = match call.bytes.take() {
        Some(bytes) => bytes_wanted(&mut call, bytes)?,
        None => json_wanted(call.fields()?)?,
    };
    call.query.finish()?;
    let Wanted { value, lease, condition, previous } = wanted;
    if condition.is_some() && from_headers.is_some() {
        return Err(invalid("give the condition as a header or as `if`, not as both"));
    }
    let condition = condition.or(from_headers);
    let request = Request::Put { namespace, key: key.clone(), value, lease, condition, previous };
    let (revision, results) = written(ask(&call, request).await?);
    let done = results.first();
    let shown = done.map(|done| shown::put(&key, revision, done));
    let mut answer = json!({"revision": revision, "key": shown});
    if let (Some(Each::Put { previous: Some(held), .. }), Some(members)) =
        (done, answer.as_object_mut())
    {
        members.insert("previous".to_owned(), shown::previous(held));
    }
    Ok(Answer::json(answer).tag(&revision.to_string()))
}

/// What a put asks for.
struct Wanted {
    value: Blob,
    lease: Binding,
    condition: Option<Condition>,
    previous: bool,
}

fn bytes_wanted(call: &mut Call, bytes: Bytes) -> Result<Wanted, Problem> {
    let lease = call.query.number("lease", 1..=u64::MAX)?;
    let lease = lease.map_or(Binding::None, |lease| Binding::Lease(LeaseId(lease)));
    let previous = call.query.flag("previous")?;
    Ok(Wanted { value: Blob::from(&*bytes), lease, condition: None, previous })
}

fn json_wanted(mut fields: Fields) -> Result<Wanted, Problem> {
    let value = shown::needed_bytes(&mut fields, "value");
    let lease = binding(&mut fields);
    let previous = fields.optional("previous", "a boolean", Value::as_bool).unwrap_or(false);
    let condition =
        fields.optional("if", "`{\"absent\":true}` or `{\"mod_revision\":n}`", |value| {
            condition(value.as_object()?)
        });
    fields.finish().map_err(Problem::faults)?;
    let value = Blob::from(value.unwrap_or_default());
    Ok(Wanted { value, lease, condition, previous })
}

/// `lease` and `keep_lease` of a body.
pub(super) fn binding(fields: &mut Fields) -> Binding {
    let lease = shown::lease_of(fields);
    let keep = fields.optional("keep_lease", "a boolean", Value::as_bool).unwrap_or(false);
    match lease {
        Some(_) if keep => {
            fields.fault("keep_lease", "ambiguous", "give `lease` or `keep_lease`, not both");
            Binding::Keep
        }
        Some(lease) => Binding::Lease(lease),
        None if keep => Binding::Keep,
        None => Binding::None,
    }
}

fn condition(members: &serde_json::Map<String, Value>) -> Option<Condition> {
    let (name, value) = members.iter().next().filter(|_| members.len() == 1)?;
    match name.as_str() {
        "absent" => value.as_bool().filter(|absent| *absent).map(|_| Condition::Absent),
        "mod_revision" => value.as_u64().map(Condition::ModRevision),
        "version" => value.as_u64().map(Condition::Version),
        "value" => value.as_str().map(|text| Condition::Value(Blob::from(text))),
        _ => None,
    }
}

/// `If-Match` and `If-None-Match` as a condition.
fn header_condition(call: &Call) -> Result<Option<Condition>, Problem> {
    let none = call.headers.get(header::IF_NONE_MATCH);
    let matches = match IfMatch::of(&call.headers)? {
        IfMatch::Absent => None,
        IfMatch::Any => Some(Condition::Present),
        IfMatch::Tags(tags) => {
            let [tag] = tags.as_slice() else {
                return Err(invalid("`If-Match` names one revision here"));
            };
            let revision = tag.parse().map_err(|_| invalid("`If-Match` is an `ETag` of a key"))?;
            Some(Condition::ModRevision(revision))
        }
    };
    match (none, matches) {
        (None, matches) => Ok(matches),
        (Some(value), None) if value.as_bytes() == b"*" => Ok(Some(Condition::Absent)),
        (Some(_), None) => Err(invalid("`If-None-Match` is `*` here: create, do not replace")),
        (Some(_), Some(_)) => Err(invalid("`If-Match` and `If-None-Match` contradict each other")),
    }
}

/// The revision and the results of a write.
pub(super) fn written(done: Done) -> (u64, Vec<Each>) {
    match done {
        Done::Transacted { revision, results, .. } => (revision, results),
        Done::Forgotten { revision } => (revision, Vec::new()),
        done => unreachable!("a write is answered as one, not by {done:?}"),
    }
}

async fn delete(mut call: Call) -> Outcome {
    let namespace = namespace(&call)?;
    let condition = header_condition(&call)?;
    let keys = match key(&mut call)? {
        Some(key) => Keys::One(key),
        None if condition.is_some() => return Err(invalid("a precondition is of one key")),
        None => keys(&mut call)?.ok_or_else(|| {
            invalid("say which keys: `prefix` (empty for all), or `from` and `to`")
        })?,
    };
    call.query.finish()?;
    let request = Request::Delete { namespace, keys, condition };
    let (revision, results) = written(ask(&call, request).await?);
    let deleted = match results.first() {
        Some(Each::Deleted { count }) => json!(count),
        _ => Value::Null,
    };
    Ok(Answer::json(json!({"revision": revision, "deleted": deleted})))
}
