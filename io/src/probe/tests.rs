//! Probes of workers that are well, ill, slow, hostile and forbidden.

use std::collections::BTreeMap;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::*;

fn prober(keys: BTreeMap<String, Secret>) -> Prober {
    Prober::new(Arc::new(arc_swap::ArcSwap::from_pointee(keys)))
}

fn policy(allow: &[&str]) -> Policy {
    let allow: Vec<String> = allow.iter().map(|rule| (*rule).to_owned()).collect();
    Policy::new(&allow, &[], false)
}

fn probe(url: String, host: &str) -> Probe {
    Probe {
        url: url.into(),
        host: host.to_owned(),
        path: "/health".to_owned(),
        mode: Mode::Http,
        timeout: Duration::from_secs(5),
        own: true,
        key: None,
    }
}

/// A worker that answers every connection with `answer`, then closes or `holds`; its requests.
async fn worker(answer: Vec<u8>, holds: bool) -> (u16, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (heard, requests) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = vec![0; 4096];
            let length = stream.read(&mut buffer).await.unwrap_or(0);
            let _ = heard.send(String::from_utf8_lossy(&buffer[..length]).into_owned());
            let _ = stream.write_all(&answer).await;
            if holds {
                held.push(stream);
            }
        }
    });
    (port, requests)
}

async fn outcome(probe: &Probe) -> ProbeOutcome {
    prober(BTreeMap::new()).probe(&policy(&[]), probe).await.0
}

#[tokio::test]
async fn an_answer_of_200_to_299_is_good_and_nothing_needless_is_sent() {
    let (port, mut requests) = worker(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(), true).await;
    let mut asked = probe(format!("http://localhost:{port}/base"), "localhost");
    asked.key = Some("http://localhost".to_owned());
    let keys = BTreeMap::from([("http://localhost".to_owned(), Secret::new("hush"))]);
    let (good, _) = prober(keys).probe(&policy(&[]), &asked).await;
    assert_eq!(good, ProbeOutcome::Good);
    let request = requests.recv().await.unwrap().to_lowercase();
    let mut lines: Vec<&str> = request.trim().split("\r\n").collect();
    assert_eq!(lines.remove(0), "get /base/health http/1.1");
    lines.sort();
    let host = format!("host: localhost:{port}");
    let agent = format!("user-agent: quorate/{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(lines, ["accept: */*", "authorization: bearer hush", &host, &agent]);
}

#[tokio::test]
async fn a_key_that_is_not_held_is_no_evidence() {
    let (port, mut requests) = worker(Vec::new(), false).await;
    let mut asked = probe(format!("http://127.0.0.1:{port}"), "127.0.0.1");
    asked.key = Some("http://127.0.0.1".to_owned());
    assert_eq!(outcome(&asked).await, ProbeOutcome::Local);
    assert!(requests.try_recv().is_err());
}

#[tokio::test]
async fn each_kind_of_bad_answer_has_its_reason() {
    let redirect = b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\n\r\n".to_vec();
    let endless_head = [b"HTTP/1.1 200 OK\r\n".to_vec(), vec![b'a'; 100_000]].concat();
    let large = [b"HTTP/1.1 200 OK\r\ncontent-length: 9999999999\r\n\r\n".to_vec(), vec![1; 9000]];
    for (answer, holds, expected) in [
        (b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n".to_vec(), true, ProbeOutcome::Status),
        (redirect, true, ProbeOutcome::Status),
        (b"220 smtp ready\r\n".to_vec(), true, ProbeOutcome::Protocol),
        (Vec::new(), false, ProbeOutcome::Protocol),
        (endless_head, true, ProbeOutcome::Protocol),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf".to_vec(),
            false,
            ProbeOutcome::Protocol,
        ),
        (large.concat(), true, ProbeOutcome::Good),
    ] {
        let shown = String::from_utf8_lossy(&answer).chars().take(40).collect::<String>();
        let (port, _requests) = worker(answer, holds).await;
        let asked = probe(format!("http://127.0.0.1:{port}"), "127.0.0.1");
        assert_eq!(outcome(&asked).await, expected, "{shown}");
    }
}

#[tokio::test]
async fn silence_and_a_slow_drip_end_in_timeout() {
    for answer in [&b""[..], b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"] {
        let (port, _requests) = worker(answer.to_vec(), true).await;
        let mut asked = probe(format!("http://127.0.0.1:{port}"), "127.0.0.1");
        asked.timeout = Duration::from_millis(100);
        assert_eq!(outcome(&asked).await, ProbeOutcome::Timeout);
    }
}

#[tokio::test]
async fn nobody_there_is_connect_and_no_tls_is_tls() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let asked = probe(format!("http://127.0.0.1:{port}"), "127.0.0.1");
    assert_eq!(outcome(&asked).await, ProbeOutcome::Connect);
    let nowhere = probe("http://nowhere.invalid".to_owned(), "nowhere.invalid");
    assert!(matches!(outcome(&nowhere).await, ProbeOutcome::Connect | ProbeOutcome::Local));
    let (port, _requests) = worker(b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), false).await;
    let asked = probe(format!("https://127.0.0.1:{port}"), "127.0.0.1");
    assert_eq!(outcome(&asked).await, ProbeOutcome::Tls);
}

#[tokio::test]
async fn no_packet_leaves_for_an_address_that_policy_denies() {
    let (port, mut requests) = worker(b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), false).await;
    // Loopback is fine for our own workers alone, whatever name leads to it and whatever is allowed.
    for (url, host) in [
        (format!("http://127.0.0.1:{port}"), "127.0.0.1"),
        (format!("http://localhost:{port}"), "localhost"),
        (format!("http://[::ffff:127.0.0.1]:{port}"), "::ffff:127.0.0.1"),
        ("http://169.254.169.254".to_owned(), "169.254.169.254"),
    ] {
        let foreign = Probe { own: false, ..probe(url, host) };
        let (outcome, _) = prober(BTreeMap::new()).probe(&policy(&["*"]), &foreign).await;
        assert_eq!(outcome, ProbeOutcome::Policy, "{host}");
    }
    assert!(requests.try_recv().is_err());
}

#[tokio::test]
async fn a_local_socket_is_well_when_it_takes_a_connection() {
    let path = std::env::temp_dir().join(format!("quorate-probe-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let mut asked = probe(format!("ipc://{}", path.display()), "");
    asked.mode = Mode::Ipc;
    assert_eq!(outcome(&asked).await, ProbeOutcome::Good);
    assert_eq!(outcome(&Probe { own: false, ..asked.clone() }).await, ProbeOutcome::Policy);
    drop(listener);
    assert_eq!(outcome(&asked).await, ProbeOutcome::Connect);
    std::fs::remove_file(&path).unwrap();
}

/// A gRPC worker whose health service answers `message` with `trailing` as its status.
async fn grpc_worker(message: &'static [u8], trailing: &'static str) -> u16 {
    use http_body_util::{BodyExt as _, Full};
    use hyper::body::Bytes;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let service = hyper::service::service_fn(
            move |request: hyper::Request<hyper::body::Incoming>| async move {
                assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
                assert_eq!(request.headers()["content-type"], "application/grpc");
                let whole = request.into_body().collect().await.unwrap().to_bytes();
                assert_eq!(&whole[..], [0; 5]);
                let mut trailers = hyper::HeaderMap::new();
                trailers.insert("grpc-status", trailing.parse().unwrap());
                let body = Full::new(Bytes::from_static(message));
                let body = body.with_trailers(async move { Some(Ok(trailers)) });
                Ok::<_, std::convert::Infallible>(hyper::Response::new(body))
            },
        );
        let executor = hyper_util::rt::TokioExecutor::new();
        let serving = hyper::server::conn::http2::Builder::new(executor)
            .serve_connection(hyper_util::rt::TokioIo::new(stream), service);
        let _ = serving.await;
    });
    port
}

#[tokio::test]
async fn a_grpc_worker_is_well_when_it_says_that_it_serves() {
    for (message, trailing, expected) in [
        (&[0, 0, 0, 0, 2, 8, 1][..], "0", ProbeOutcome::Good),
        (&[0, 0, 0, 0, 2, 8, 2], "0", ProbeOutcome::Status),
        (&[0, 0, 0, 0, 0], "0", ProbeOutcome::Status),
        (&[], "12", ProbeOutcome::Status),
        (b"<html>", "0", ProbeOutcome::Protocol),
    ] {
        let port = grpc_worker(message, trailing).await;
        let mut asked = probe(format!("grpc://127.0.0.1:{port}"), "127.0.0.1");
        asked.mode = Mode::Grpc;
        assert_eq!(outcome(&asked).await, expected, "{message:?}");
    }
    let (port, _requests) = worker(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), false).await;
    let mut asked = probe(format!("grpc://127.0.0.1:{port}"), "127.0.0.1");
    asked.mode = Mode::Grpc;
    assert_eq!(outcome(&asked).await, ProbeOutcome::Protocol);
}

#[test]
fn a_url_is_taken_apart() {
    let target = Target::of("https://[fd00::1]:8443/a/b").unwrap();
    assert_eq!(
        (target.secure, target.authority, target.port, target.path),
        (true, "[fd00::1]:8443", 8443, "/a/b")
    );
    let target = Target::of("http://[fd00::1]").unwrap();
    assert_eq!((target.port, target.path), (80, ""));
    assert!(Target::of("ftp://x").is_none());
}
