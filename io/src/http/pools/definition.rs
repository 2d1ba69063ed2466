//! Bodies that say what a pool is, read strictly and with the place of everything that is wrong.

use quorate_core::node::pools::definition::ProbeRequest;
use quorate_core::node::pools::{Definition, Degrade, Listed, Members, Name, Profile, Strategy};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::http::problem::{Fault, Problem};
use crate::http::route::Call;
use crate::http::strict::{Fields, escape, string};

/// The body of a creation: `name` beside the definition's fields.
pub(super) fn with_name(call: &mut Call) -> Result<(Name, Definition), Problem> {
    let mut fields = call.fields()?;
    let name = fields.required("name", NAME, |value| value.as_str()?.parse::<Name>().ok());
    let definition = read(fields)?;
    Ok((name.expect("a missing name is a fault"), definition))
}

/// The body of a replacement.
pub(super) fn of_body(call: &mut Call) -> Result<Definition, Problem> {
    read(call.fields()?)
}

/// Where a dotted field of a definition stands in its body.
pub(super) fn pointer(field: &str) -> String {
    let parts = field.split(['.', '[']).map(|part| part.trim_end_matches(']'));
    parts.map(|part| format!("/{}", escape(part))).collect()
}

fn read(mut fields: Fields) -> Result<Definition, Problem> {
    let usual = Definition::default();
    let mut inner = Vec::new();
    let members = fields.required("members", MEMBERS, |value| Some(value.clone()));
    let members = members.and_then(|value| members_of(value, &mut inner));
    let profile = fields.take("profile").map(|value| profile_of(value, &mut inner));
    let definition = Definition {
        members: members.unwrap_or_default(),
        strategy: fields.optional("strategy", STRATEGY, word::<Strategy>).unwrap_or_default(),
        profile: profile.unwrap_or(usual.profile),
        early_probe_ms: fields
            .optional("early_probe_ms", "milliseconds, 0 for never", Value::as_u64)
            .unwrap_or(usual.early_probe_ms),
        degrade: fields
            .optional("degrade", "`refuse` or `forward`", word::<Degrade>)
            .unwrap_or_default(),
        auth_reset_target: fields
            .optional("auth_reset_target", "a text or null", target_of)
            .unwrap_or_default(),
        upstream: fields.optional("upstream", "a URL", string).unwrap_or_default(),
        notify: fields.optional("notify", "a list of sinks", crate::http::strict::strings),
        probe_request: fields.optional("probe_request", PROBE, word::<ProbeRequest>),
    };
    let outer = fields.finish().err().unwrap_or_default();
    let faults: Vec<Fault> = outer.into_iter().chain(inner).collect();
    if !faults.is_empty() {
        return Err(Problem::faults(faults));
    }
    match definition.check() {
        Ok(()) => Ok(definition),
        Err(wrong) => {
            Err(Problem::faults(vec![Fault::new(pointer(&wrong.field), "invalid", wrong.detail)]))
        }
    }
}

/// A target; null is none.
pub(super) fn target_of(value: &Value) -> Option<String> {
    if value.is_null() { Some(String::new()) } else { string(value) }
}

fn word<T: DeserializeOwned>(value: &Value) -> Option<T> {
    serde_json::from_value(value.clone()).ok()
}

fn members_of(value: Value, faults: &mut Vec<Fault>) -> Option<Members> {
    match value {
        Value::Array(items) => {
            let listed = items.into_iter().enumerate().map(|(index, item)| {
                let fields = Fields::at(format!("/members/{index}"), item);
                member(fields.map_err(|wrong| faults.extend(wrong)).ok()?, faults)
            });
            let listed: Vec<Option<Listed>> = listed.collect();
            listed.into_iter().collect::<Option<Vec<Listed>>>().map(Members::Listed)
        }
        Value::Object(_) => {
            let fields = Fields::at("/members".to_owned(), value);
            let mut fields = fields.map_err(|wrong| faults.extend(wrong)).ok()?;
            let provider = fields.required("provider", "a provider", string);
            faults.extend(fields.finish().err().unwrap_or_default());
            provider.map(|provider| Members::Of { provider })
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            faults.push(Fault::new("/members", "wrong_type", format!("expected {MEMBERS}")));
            None
        }
    }
}

fn member(mut fields: Fields, faults: &mut Vec<Fault>) -> Option<Listed> {
    let credential = fields.required("credential", "the id of a credential", string);
    let weight = fields
        .optional("weight", "a number from 1 to 1000000", |value| value.as_u64()?.try_into().ok());
    faults.extend(fields.finish().err().unwrap_or_default());
    // Its epoch is given to it when it is put in.
    Some(Listed { credential: credential?, weight, epoch: 1 })
}

fn profile_of(value: Value, faults: &mut Vec<Fault>) -> Profile {
    let mut profile = Profile::default();
    let mut fields = match Fields::at("/profile".to_owned(), value) {
        Ok(fields) => fields,
        Err(wrong) => {
            faults.extend(wrong);
            return profile;
        }
    };
    for (name, number) in [
        ("floor_ms", &mut profile.floor_ms),
        ("cap_ms", &mut profile.cap_ms),
        ("fallback_ms", &mut profile.fallback_ms),
        ("quota_ms", &mut profile.quota_ms),
        ("concurrency_ms", &mut profile.concurrency_ms),
        ("auth_ms", &mut profile.auth_ms),
        ("permission_ms", &mut profile.permission_ms),
        ("overload_ms", &mut profile.overload_ms),
        ("overload_cap_ms", &mut profile.overload_cap_ms),
        ("half_open_max_ms", &mut profile.half_open_max_ms),
    ] {
        *number = fields.optional(name, "milliseconds", Value::as_u64).unwrap_or(*number);
    }
    faults.extend(fields.finish().err().unwrap_or_default());
    profile
}

const NAME: &str = "1 to 64 of a-z, 0-9, `.`, `_`, `-`, with a letter or digit first";
const MEMBERS: &str = "a list of {credential, weight}, or {provider}";
const STRATEGY: &str = "failover, round_robin, fill_first, weighted or least_used";
const PROBE: &str = "an object {method, path, body}";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn faults(body: Value) -> Vec<(String, &'static str)> {
        let told = read(Fields::of(body).expect("an object")).expect_err("something is wrong");
        told.faults.into_iter().map(|fault| (fault.pointer, fault.code)).collect()
    }

    #[test]
    fn everything_wrong_with_a_definition_is_told_with_its_place() {
        let body = json!({
            "members": [{"credential": "a", "wieght": 2}, 7, {"weight": 0}],
            "stratgy": "rr", "profile": {"floor": 1, "cap_ms": "6h"}, "degrade": "maybe",
        });
        let told = faults(body);
        let place = |pointer: &str, code| (pointer.to_owned(), code);
        for expected in [
            place("/members/0/wieght", "unknown_field"),
            place("/members/1", "wrong_type"),
            place("/members/2/credential", "missing"),
            place("/stratgy", "unknown_field"),
            place("/profile/floor", "unknown_field"),
            place("/profile/cap_ms", "wrong_type"),
            place("/degrade", "wrong_type"),
        ] {
            assert!(told.contains(&expected), "{expected:?} is not among {told:?}");
        }
        assert_eq!(faults(json!({})), [place("/members", "missing")]);
        assert_eq!(faults(json!({"members": "all"})), [place("/members", "wrong_type")]);
        assert_eq!(faults(json!({"members": {}})), [place("/members/provider", "missing")]);
        assert_eq!(faults(json!({"members": []})), [place("/members", "invalid")]);
        let twice = json!({"members": [{"credential": "a"}, {"credential": "a"}]});
        assert_eq!(faults(twice), [place("/members/1/credential", "invalid")]);
    }

    #[test]
    fn a_definition_is_read_with_what_it_leaves_out() {
        let body = json!({"members": {"provider": "codex"}, "strategy": "sticky"});
        let read = read(Fields::of(body).expect("an object")).expect("a definition");
        let members = Members::Of { provider: "codex".to_owned() };
        assert_eq!(read, Definition { members, ..Definition::default() });
        let null = json!({"members": {"provider": "codex"}, "auth_reset_target": null});
        assert!(super::read(Fields::of(null).expect("an object")).is_ok());
    }

    #[test]
    fn a_field_is_a_pointer() {
        assert_eq!(pointer("members[2].credential"), "/members/2/credential");
        assert_eq!(pointer("auth_reset_target"), "/auth_reset_target");
    }
}
