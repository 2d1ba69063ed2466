//! `/v1/classify`: every vector through it, content codings, and what it refuses.

use std::io::Write as _;
use std::path::Path;

use base64::Engine as _;
use serde_json::{Value, json};

use super::description::check_answer;
use super::harness::{Reaction, World, asking};

fn vectors() -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/ratelimit.json");
    let text = std::fs::read(path).expect("the vectors of this tree");
    let document: Value = serde_json::from_slice(&text).expect("JSON");
    document["vectors"].as_array().expect("a list").clone()
}

async fn ask(world: &World, body: &Value) -> Reaction {
    world.ask_as("read", asking("POST", "/v1/classify").json(body)).await
}

#[tokio::test]
async fn every_vector_means_the_same_over_http() {
    let world = World::new();
    let vectors = vectors();
    assert!(vectors.len() >= 70);
    for mut vector in vectors {
        let expect = vector.as_object_mut().and_then(|vector| vector.remove("expect"));
        let answer = ask(&world, &vector).await;
        assert_eq!(answer.status, 200, "{vector}: {}", answer.text);
        assert_eq!(Some(answer.json()), expect, "{}", vector["id"]);
        check_answer("POST", "/v1/classify", 200, &answer.json());
    }
}

#[tokio::test]
async fn a_body_is_read_without_its_coding() {
    let world = World::new();
    let plain = br#"{"error":{"message":"Please try again in 15s."}}"#;
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).expect("memory takes it");
        encoder.finish().expect("memory takes it")
    };
    let deflate = |bytes: &[u8]| {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).expect("memory takes it");
        encoder.finish().expect("memory takes it")
    };
    let mut large = vec![b' '; 70_000];
    large.extend(plain);
    let cases = [
        ("gzip", gzip(plain), json!(15_000)),
        ("DEFLATE", deflate(plain), json!(15_000)),
        ("gzip, deflate", deflate(&gzip(plain)), json!(15_000)),
        ("identity", plain.to_vec(), json!(15_000)),
        ("br", BROTLI.to_vec(), json!(15_000)),
        ("zstd", ZSTD.to_vec(), json!(15_000)),
        ("gzip", gzip(&large), Value::Null),
        ("gzip", gzip(plain)[..20].to_vec(), Value::Null),
        ("gzip", plain.to_vec(), Value::Null),
        ("snappy", plain.to_vec(), Value::Null),
    ];
    for (coding, bytes, wait) in cases {
        let body = base64::engine::general_purpose::STANDARD.encode(bytes);
        let headers = json!([["Content-Encoding", coding]]);
        let asked = json!({"provider": "x", "model": "m", "status": 429, "headers": headers, "body_base64": body});
        let answer = ask(&world, &asked).await.json();
        assert_eq!(answer["stated_wait_ms"], wait, "{coding}");
    }
}

#[tokio::test]
async fn what_is_no_answer_is_refused_with_its_place() {
    let world = World::new();
    let cases = [
        (json!({}), "/provider"),
        (json!({"provider": "x", "status": 99}), "/status"),
        (json!({"provider": "x", "status": "429"}), "/status"),
        (json!({"provider": "x", "status": 429, "headers": {"a": "b"}}), "/headers"),
        (json!({"provider": "x", "status": 429, "headers": [["a"]]}), "/headers"),
        (json!({"provider": "x", "status": 429, "body": null}), "/body"),
        (json!({"provider": "x", "status": 429, "body": "", "body_base64": ""}), "/body_base64"),
        (json!({"provider": "x", "status": 429, "body_base64": "?"}), "/body_base64"),
        (json!({"provider": "x", "status": 429, "endpoint": "oauth"}), "/endpoint"),
        (json!({"provider": "x", "status": 429, "expect": {}}), "/expect"),
        (json!({"provider": "x", "status": 429, "now_ms": -1}), "/now_ms"),
    ];
    for (body, pointer) in cases {
        let answer = ask(&world, &body).await;
        assert_eq!(answer.status, 400, "{body}");
        assert_eq!(answer.json()["errors"][0]["pointer"], pointer, "{body}");
    }
}

/// `plain` of the test above, coded.
const BROTLI: &[u8] = &[
    27, 47, 0, 248, 157, 5, 238, 222, 29, 105, 122, 120, 152, 83, 81, 51, 163, 22, 217, 203, 3, 89,
    49, 116, 217, 55, 87, 147, 58, 46, 114, 48, 145, 19, 129, 56, 106, 7, 121, 143, 48, 3, 33, 23,
    33, 142, 32, 234, 223, 255, 95, 7,
];
/// The same.
const ZSTD: &[u8] = &[
    40, 181, 47, 253, 4, 88, 129, 1, 0, 123, 34, 101, 114, 114, 111, 114, 34, 58, 123, 34, 109,
    101, 115, 115, 97, 103, 101, 34, 58, 34, 80, 108, 101, 97, 115, 101, 32, 116, 114, 121, 32, 97,
    103, 97, 105, 110, 32, 105, 110, 32, 49, 53, 115, 46, 34, 125, 125, 87, 38, 200, 52,
];
