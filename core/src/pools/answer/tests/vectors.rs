//! Every vector: an answer as an upstream gave it, and what it means under the default profile.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use serde::Deserialize;

use crate::limits;
use crate::pools::Profile;
use crate::pools::answer::{Answer, Endpoint, judge};
use crate::pools::wait::{Unit, duration_ms};
use crate::time::UnixTime;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(rename = "about")]
    _about: String,
    schema: u32,
    profile: serde_json::Map<String, serde_json::Value>,
    vectors: Vec<Vector>,
    durations: Vec<DurationVector>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    id: String,
    #[serde(rename = "note")]
    _note: String,
    provider: String,
    endpoint: Endpoint,
    model: String,
    now_ms: u64,
    status: u16,
    headers: Vec<(String, String)>,
    body: Option<String>,
    body_base64: Option<String>,
    #[serde(default)]
    body_pad: usize,
    expect: Expect,
}

#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
struct Expect {
    class: String,
    scope: String,
    source: Option<String>,
    stated_wait_ms: Option<u64>,
    rest_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DurationVector {
    text: String,
    bare_unit: Option<String>,
    ms: Option<u64>,
}

/// The vectors of this tree, and those beside the checkout where there are any.
fn documents() -> Vec<Document> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace");
    let ours = workspace.join("tests/vectors/ratelimit.json");
    let beside = workspace.join("../shared/vectors/ratelimit.json");
    let read = |path: PathBuf| {
        let text = std::fs::read(&path).expect("readable vectors");
        serde_json::from_slice(&text).expect("vectors of the known form")
    };
    std::iter::once(ours).chain(Some(beside).filter(|path| path.exists())).map(read).collect()
}

fn judged(vector: &Vector) -> Expect {
    let mut body = vec![b' '; vector.body_pad];
    let base64 = base64::engine::general_purpose::STANDARD;
    body.extend(vector.body.as_deref().unwrap_or_default().as_bytes());
    let binary = vector.body_base64.as_deref().unwrap_or_default();
    body.extend(base64.decode(binary).expect("base64"));
    let verdict = judge(&Answer {
        provider: &vector.provider,
        endpoint: vector.endpoint,
        model: &vector.model,
        now: UnixTime(vector.now_ms),
        status: vector.status,
        headers: &vector.headers,
        body: &body,
    });
    Expect {
        class: verdict.class.to_string(),
        scope: verdict.scope.to_string(),
        source: verdict.source.as_ref().map(ToString::to_string),
        stated_wait_ms: verdict.stated_wait_ms,
        rest_ms: Profile::default().rest_ms(&verdict, 1),
    }
}

#[test]
fn every_vector_means_what_it_says() {
    for document in documents() {
        assert_eq!(document.schema, 1);
        assert!(document.vectors.len() >= 70 && document.durations.len() >= 13);
        for vector in &document.vectors {
            assert_eq!(judged(vector), vector.expect, "{}", vector.id);
        }
    }
}

#[test]
fn every_duration_is_read() {
    for vector in documents().iter().flat_map(|document| &document.durations) {
        let unit = vector.bare_unit.as_deref().map(|unit| match unit {
            "s" => Unit::Seconds,
            "ms" => Unit::Milliseconds,
            other => panic!("`{other}` is no unit of a vector"),
        });
        assert_eq!(duration_ms(&vector.text, unit), vector.ms, "{}", vector.text);
    }
}

#[test]
fn the_vectors_profile_is_the_default_one() {
    for document in documents() {
        let mut theirs = document.profile;
        let most = theirs.remove("stated_max_ms").and_then(|most| most.as_u64());
        assert_eq!(most, Some(limits::STATED_WAIT_MS_MAX));
        let ours = serde_json::to_value(Profile::default()).expect("numbers");
        for (name, number) in theirs {
            assert_eq!(ours[&name], number, "{name}");
        }
    }
}
