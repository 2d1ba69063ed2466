//! Reading what an upstream's answer means.

use divan::Bencher;
use quorate_core::pools::answer::{Answer, Endpoint, judge};
use quorate_core::time::UnixTime;
use serde::Deserialize;

#[derive(Deserialize)]
struct Vectors {
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    provider: String,
    endpoint: Endpoint,
    model: String,
    now_ms: u64,
    status: u16,
    headers: Vec<(String, String)>,
    body: Option<String>,
    body_pad: Option<usize>,
    id: String,
}

fn vectors() -> Vec<Vector> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/ratelimit.json");
    let text = std::fs::read(path).expect("the vectors of this tree");
    let vectors: Vectors = serde_json::from_slice(&text).expect("vectors");
    vectors.vectors.into_iter().filter(|vector| vector.body_pad.is_none()).collect()
}

fn answer(vector: &Vector) -> Answer<'_> {
    Answer {
        provider: &vector.provider,
        endpoint: vector.endpoint,
        model: &vector.model,
        now: UnixTime(vector.now_ms),
        status: vector.status,
        headers: &vector.headers,
        body: vector.body.as_deref().unwrap_or_default().as_bytes(),
    }
}

/// Every vector once: divide by their number, which is 72.
#[divan::bench(sample_count = 200, sample_size = 10)]
fn all_vectors(bencher: Bencher<'_, '_>) {
    let vectors = vectors();
    assert_eq!(vectors.len(), 72);
    bencher.bench_local(|| {
        vectors.iter().map(|vector| judge(&answer(vector)).stated_wait_ms.unwrap_or(0)).max()
    });
}

/// Each vector by its number in the file, since names such as theirs cannot be put in order.
#[divan::bench(args = 0..72, sample_count = 200, sample_size = 100)]
fn vector(bencher: Bencher<'_, '_>, number: usize) {
    let vectors = vectors();
    let vector = vectors.get(number).expect("a vector");
    bencher.bench_local(|| judge(&answer(vector)));
}

/// An answer of 4 KiB: many details that say nothing, and a message of several sentences.
#[divan::bench(sample_count = 200, sample_size = 100)]
fn four_kib(bencher: Bencher<'_, '_>) {
    let detail = r#"{"@type":"type.googleapis.com/google.rpc.Help","links":[{"description":"more","url":"https://example.org/a"}]},"#;
    let message =
        "You have used what you have. Look at your plan, and at what it costs. ".repeat(14);
    let body = format!(
        r#"{{"error":{{"code":429,"status":"RESOURCE_EXHAUSTED","message":"{message}Please retry in 34.5s.","details":[{}{{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"34s"}}]}}}}"#,
        detail.repeat(26)
    );
    assert!((4000..4200).contains(&body.len()), "{}", body.len());
    let vectors = vectors();
    let head = vectors.iter().find(|vector| vector.id == "claude-5h").expect("a vector");
    let answer = Answer { body: body.as_bytes(), ..answer(head) };
    bencher.bench_local(|| judge(&answer));
}
