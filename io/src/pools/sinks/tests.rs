//! Sinks against a server of the test's own.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

/// What a server was sent.
#[derive(Debug)]
struct Received {
    head: String,
    body: String,
}

/// A server that answers each request with the next status, the last one for ever, and hands over what came.
async fn server(statuses: &'static [u16]) -> (SocketAddr, mpsc::UnboundedReceiver<Received>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let (received, requests) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut statuses = statuses.iter().copied();
        let mut status = 200;
        while let Ok((mut stream, _)) = listener.accept().await {
            status = statuses.next().unwrap_or(status);
            let mut bytes = Vec::new();
            let request = loop {
                let mut part = [0; 4096];
                let read = stream.read(&mut part).await.expect("the client writes");
                bytes.extend_from_slice(part.get(..read).expect("no more than there is room for"));
                let text = String::from_utf8(bytes.clone()).expect("requests are text");
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                if length.and_then(|length| length.parse().ok()) == Some(body.len()) {
                    break Received { head: head.to_owned(), body: body.to_owned() };
                }
            };
            let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.expect("the client reads");
            let _ = received.send(request);
        }
    });
    (address, requests)
}

fn message(pool: &str, lane: &str, text: &str) -> Message {
    let document = json!({"type": "pool.exhausted", "pool": pool, "text": text});
    let said = NoticeSaid { of: 1, kind: "exhausted".into() };
    let pool = pool.parse().expect("a name");
    Message { pool, what: lane.into(), said, document, text: text.to_owned() }
}

fn meters() -> Arc<Meters> {
    crate::metrics::tests::meters(crate::http::tests::harness::published())
}

fn webhook(address: SocketAddr) -> SinkSettings {
    let (url, secret) = (format!("http://{address}/hook?a=b"), Secret::new("hush"));
    SinkSettings { name: "ops".to_owned(), kind: SinkKind::Webhook { url, secret } }
}

#[tokio::test]
async fn a_webhook_is_signed_over_time_and_body() {
    let (address, mut requests) = server(&[200]).await;
    let (taken, mut arrived) = mpsc::unbounded_channel();
    let meters = meters();
    let sinks = Sinks::start(vec![webhook(address)], &meters, &taken);
    sinks.offer(None, &message("codex", "", "dry"), &meters);
    let request = requests.recv().await.expect("it was sent");
    assert!(request.head.starts_with("POST /hook?a=b HTTP/1.1\r\n"), "{}", request.head);
    let signature = request.head.lines().find_map(|line| line.strip_prefix("quorate-signature: "));
    let signature = signature.expect("it is signed");
    let time = signature.strip_prefix("t=").and_then(|rest| rest.split(',').next());
    let time = time.and_then(|time| time.parse().ok()).expect("a time");
    assert_eq!(signature, super::signature(&Secret::new("hush"), time, request.body.as_bytes()));
    assert_eq!(request.body, message("codex", "", "dry").document.to_string());
    let told = arrived.recv().await.expect("it arrived");
    assert_eq!((told.pool.as_str(), &*told.what, told.said.of), ("codex", "", 1));
}

#[test]
fn a_signature_is_what_any_library_computes() {
    // printf '1700000000.{}' | openssl dgst -sha256 -hmac hush
    let expected = "t=1700000000,v1=";
    let signature = signature(&Secret::new("hush"), 1_700_000_000, b"{}");
    let digest = signature.strip_prefix(expected).expect("time and version");
    assert_eq!(digest, "763081ea12e3b1f903f958994c023cde07f1224b02a538ad6f959112a2f780ba");
}

#[tokio::test]
async fn a_chat_gets_plain_text_and_no_more_than_a_kibibyte() {
    let (address, mut requests) = server(&[200]).await;
    let (taken, _arrived) = mpsc::unbounded_channel();
    let kind = SinkKind::Telegram {
        url: format!("http://{address}/"),
        token: Secret::new("1:t"),
        chat: "-100".to_owned(),
    };
    let meters = meters();
    let sinks = Sinks::start(vec![SinkSettings { name: "chat".to_owned(), kind }], &meters, &taken);
    sinks.offer(None, &message("codex", "", &"ü".repeat(600)), &meters);
    let request = requests.recv().await.expect("it was sent");
    assert!(request.head.starts_with("POST /bot1:t/sendMessage HTTP/1.1\r\n"), "{}", request.head);
    let body: Value = serde_json::from_str(&request.body).expect("JSON");
    assert_eq!(body["chat_id"], "-100");
    assert_eq!(body["text"].as_str().map(str::len), Some(1024));
    assert!(body.get("parse_mode").is_none(), "nothing in it is markup");
}

#[tokio::test(start_paused = true)]
async fn five_tries_and_then_it_is_dropped_and_counted() {
    let (address, mut requests) = server(&[500]).await;
    let (taken, mut arrived) = mpsc::unbounded_channel();
    let meters = meters();
    let sinks = Sinks::start(vec![webhook(address)], &meters, &taken);
    sinks.offer(None, &message("codex", "", "dry"), &meters);
    for attempt in 1..=5 {
        requests.recv().await.unwrap_or_else(|| panic!("try {attempt}"));
    }
    sinks.offer(None, &message("claude", "", "next"), &meters);
    let next = requests.recv().await.expect("the next message has its turn");
    assert!(next.body.contains("claude"), "a sixth try: {}", next.body);
    let page = meters.page();
    let failed = "quorate_pool_notices_total{sink=\"ops\",result=\"failed\"} 1";
    assert!(page.contains(failed), "{page}");
    assert!(arrived.try_recv().is_err(), "nothing was taken");
}

#[tokio::test]
async fn only_the_named_sinks_hear_of_a_pool() {
    let (one, mut to_one) = server(&[200]).await;
    let (other, mut to_other) = server(&[200]).await;
    let (taken, _arrived) = mpsc::unbounded_channel();
    let second = SinkSettings { name: "night".to_owned(), ..webhook(other) };
    let meters = meters();
    let sinks = Sinks::start(vec![webhook(one), second], &meters, &taken);
    sinks.offer(Some(&["night".to_owned()]), &message("codex", "", "dry"), &meters);
    sinks.offer(None, &message("claude", "", "dry"), &meters);
    let first = to_other.recv().await.expect("it was sent");
    assert!(first.body.contains("codex"), "{}", first.body);
    let first = to_one.recv().await.expect("it was sent");
    assert!(first.body.contains("claude"), "{}", first.body);
}

#[test]
fn a_lane_waits_with_its_newest_message_and_a_full_queue_loses_its_oldest() {
    let queue = Queue::default();
    assert_eq!(queue.push(message("codex", "", "one")), None);
    assert_eq!(queue.push(message("codex", "gpt", "of a model")), None);
    assert_eq!(queue.push(message("codex", "", "two")), Some("coalesced"));
    let texts = |queue: &Queue| -> Vec<String> {
        let waiting = queue.waiting.lock().expect("free");
        waiting.messages.iter().map(|message| message.text.clone()).collect()
    };
    assert_eq!(texts(&queue), ["of a model", "two"]);
    for number in 0..QUEUE_MAX - 2 {
        assert_eq!(queue.push(message(&format!("p{number}"), "", "")), None);
    }
    assert_eq!(queue.push(message("late", "", "late")), Some("dropped"));
    let kept = texts(&queue);
    assert_eq!((kept.len(), kept.first().map(String::as_str)), (QUEUE_MAX, Some("two")));
}

#[test]
fn a_text_is_cut_between_letters() {
    assert_eq!(cut("aü", 2), "a");
    assert_eq!(cut("aü", 3), "aü");
    assert_eq!(cut("", 3), "");
}
