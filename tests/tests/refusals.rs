//! What a real process refuses, with which status and code; it lives on each time.

use quorate_tests::backend::Backend;
use quorate_tests::http::{ask, raw};
use quorate_tests::node::{Node, TOKEN};
use serde_json::json;

/// A token that may only read, and its SHA-256.
const READER: &str = "qt_readread_0000000000000000000000000000000000000000000";
const READER_HASH: &str = "3d171d25be71bfd65ca531765e3437907c0ec00034d98e0e12d3bf59bf6268c5";

fn alone() -> Node {
    let reader = format!(
        "[[access.tokens]]\nhash = \"{READER_HASH}\"\nscopes = [\"read\"]\nlabel = \"reader\"\n"
    );
    let mut a = Node::new("a", &[], &reader);
    a.start_ready();
    a
}

#[test]
fn a_body_of_two_mebibytes_is_too_large() {
    let a = alone();
    let body = format!("{{\"url\":\"{}\"}}", "x".repeat(2 << 20));
    let answer = ask(a.http, "POST", "/v1/workers", Some(TOKEN), Some(&body)).expect("an answer");
    assert_eq!((answer.status, answer.code().as_str()), (413, "too_large"));
    a.sees_members(&["a alive"]);
}

#[test]
fn a_field_that_nobody_knows_is_named_by_its_pointer() {
    let a = alone();
    let body = json!({"url": "http://127.0.0.1:1", "health": {"pth": "/x"}, "wieght": 1});
    let answer = a.ask("POST", "/v1/workers", Some(&body)).expect("an answer");
    assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_request"));
    assert!(answer.body.contains("\"pointer\":\"/wieght\"") || answer.body.contains("/health/pth"));
    for (body, why) in [
        ("{\"url\":\"http://127.0.0.1:1\",\"url\":\"http://127.0.0.1:2\"}", "a key twice"),
        ("{\"url\":\"http://127.0.0.1:1\"} {}", "trailing data"),
        ("[]", "no object"),
        ("{", "no JSON"),
    ] {
        let answer =
            ask(a.http, "POST", "/v1/workers", Some(TOKEN), Some(body)).expect("an answer");
        assert_eq!(answer.status, 400, "{why}: {}", answer.body);
    }
    a.sees_workers(&[]);
}

#[test]
fn a_url_that_cannot_be_a_worker_says_which_rule_it_breaks() {
    let a = alone();
    for (url, code) in [
        ("ftp://127.0.0.1:1", "url_scheme"),
        ("http://user:secret@127.0.0.1:1", "url_userinfo"),
        ("http://127.0.0.1:1?q=1", "url_query"),
        ("http://127.0.0.1:0", "url_port"),
    ] {
        let answer = a.ask("POST", "/v1/workers", Some(&json!({"url": url}))).expect("an answer");
        assert_eq!((answer.status, answer.code().as_str()), (422, code), "{url}: {}", answer.body);
        assert!(!answer.body.contains("secret"), "credentials are echoed nowhere");
    }
    a.sees_workers(&[]);
}

#[test]
fn who_has_no_token_or_lacks_the_scope_is_refused_and_who_guesses_is_shut_out() {
    let a = alone();
    let get =
        |token: Option<&str>| ask(a.http, "GET", "/v1/workers", token, None).expect("an answer");
    assert_eq!((get(None).status, get(None).code().as_str()), (401, "unauthenticated"));
    assert_eq!(get(Some(READER)).status, 200);
    let post = ask(a.http, "POST", "/v0/operations/drain", Some(READER), None).expect("an answer");
    assert_eq!((post.status, post.code().as_str()), (403, "scope_missing"));
    assert_eq!(post.json()["scope"], "operate");
    let guess = |number| format!("qt_guess{number:03}_{}", "0".repeat(43));
    let statuses: Vec<u16> =
        (0..12).map(guess).map(|token| get(Some(token.as_str())).status).collect();
    assert_eq!(statuses.first(), Some(&401), "{statuses:?}");
    assert_eq!(statuses.last(), Some(&429), "{statuses:?}");
    let shut = get(Some(TOKEN));
    assert_eq!((shut.status, shut.code().as_str()), (429, "rate_limited"), "{}", shut.body);
    assert!(shut.head.to_ascii_lowercase().contains("retry-after:"), "{}", shut.head);
    // Probes are open to everybody, at any time.
    assert_eq!(ask(a.http, "GET", "/livez", None, None).expect("an answer").status, 200);
}

#[test]
fn another_host_name_is_not_answered() {
    let a = alone();
    let request = format!(
        "GET /v1/workers HTTP/1.1\r\nhost: evil.example\r\nauthorization: Bearer {TOKEN}\r\n\
         connection: close\r\n\r\n"
    );
    let answer = raw(a.http, request.as_bytes()).expect("an answer");
    assert_eq!((answer.status, answer.code().as_str()), (421, "wrong_host"), "{}", answer.body);
}

#[test]
fn a_change_says_which_revision_it_means() {
    let a = alone();
    let backend = Backend::start();
    let made =
        a.ask("POST", "/v1/workers", Some(&json!({"url": backend.url()}))).expect("an answer");
    let path = format!("/v1/workers/{}", made.json()["id"].as_str().expect("an id"));
    let patched = a.ask("PATCH", &path, Some(&json!({"weight": 2}))).expect("an answer");
    let told = (patched.status, patched.code());
    assert_eq!(told, (428, "precondition_required".to_owned()), "{}", patched.body);
}
