//! Real sockets, and their end.

use std::time::Duration;

use axum::routing::get;
use axum::{Extension, Router};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::oneshot;

use super::*;

/// A server on both kinds of listener, and its end.
struct Served {
    address: std::net::SocketAddr,
    socket: std::path::PathBuf,
    stop: oneshot::Sender<()>,
    ended: tokio::task::JoinHandle<()>,
}

async fn served(name: &str) -> Served {
    let router = Router::new()
        .route("/who", get(async |Extension(caller): Extension<Caller>| format!("{caller:?}")))
        .route(
            "/slow",
            get(async || {
                tokio::time::sleep(Duration::from_millis(300)).await;
                "done"
            }),
        );
    let tcp = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = tcp.local_addr().expect("it is bound");
    let socket = std::env::temp_dir().join(format!("quorate-{name}-{}", std::process::id()));
    let _ = std::fs::remove_file(&socket);
    let unix = UnixListener::bind(&socket).expect("the temporary directory is writable");
    let (stop, stopped) = oneshot::channel();
    let listeners = vec![Listener::Tcp(tcp), Listener::Unix(unix)];
    let serving = serve(listeners, router, async {
        let _ = stopped.await;
    });
    let ended = tokio::spawn(serving.expect("threads"));
    Served { address, socket, stop, ended }
}

async fn exchange(mut stream: impl Stream, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.expect("written");
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await; // A reset after the answer is an end, too.
    answer
}

const WHO: &str = "GET /who HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn both_listeners_know_who_calls() {
    let served = served("who").await;
    let tcp = TcpStream::connect(served.address).await.expect("connected");
    assert!(exchange(tcp, WHO).await.ends_with(")"), "an address over TCP");
    let unix = UnixStream::connect(&served.socket).await.expect("connected");
    let answer = exchange(unix, WHO).await;
    assert!(answer.contains("Unix { uid: "), "{answer}");
    let _ = std::fs::remove_file(&served.socket);
}

#[tokio::test]
async fn headers_without_bound_end_the_connection() {
    let served = served("long").await;
    let long = format!("GET /who HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "x".repeat(80 * 1024));
    let tcp = TcpStream::connect(served.address).await.expect("connected");
    let answer = exchange(tcp, &long).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    let _ = std::fs::remove_file(&served.socket);
}

#[tokio::test]
async fn a_stop_lets_what_runs_finish_and_takes_nothing_more() {
    let served = served("stop").await;
    let slow = "GET /slow HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let tcp = TcpStream::connect(served.address).await.expect("connected");
    let running = tokio::spawn(exchange(tcp, slow));
    let idle = TcpStream::connect(served.address).await.expect("connected");
    tokio::time::sleep(Duration::from_millis(100)).await;
    served.stop.send(()).expect("it still runs");
    let answer = running.await.expect("no panic");
    assert!(answer.ends_with("done"), "{answer}");
    tokio::time::timeout(Duration::from_secs(5), served.ended)
        .await
        .expect("an idle connection holds nothing up")
        .expect("no panic");
    drop(idle);
    assert!(TcpStream::connect(served.address).await.is_err(), "nobody listens");
    let _ = std::fs::remove_file(&served.socket);
}

/// An answer without end.
fn endless() -> Router {
    let body = || {
        let piece = || Ok::<_, std::io::Error>(axum::body::Bytes::from_static(&[b'x'; 4096]));
        axum::body::Body::from_stream(futures_util::stream::repeat_with(piece))
    };
    Router::new().route("/endless", get(async move || body()))
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_is_let_go_and_a_slow_one_is_not() {
    let (mut client, server) = tokio::io::duplex(1024);
    let (_stop, stopped) = watch::channel(false);
    let caller = Caller::Unix { uid: 0 };
    let ended = tokio::spawn(converse(Box::new(server), caller, endless(), stopped));
    client.write_all(b"GET /endless HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("written");
    let mut some = [0; 2048];
    for _ in 0..4 {
        client.read_exact(&mut some).await.expect("it goes on");
        tokio::time::sleep(UNREAD_MAX - Duration::from_secs(1)).await;
    }
    assert!(!ended.is_finished(), "it takes something now and then");
    client.read_exact(&mut some).await.expect("it goes on");
    let since = tokio::time::Instant::now();
    tokio::time::timeout(2 * UNREAD_MAX, ended).await.expect("it ends").expect("no panic");
    assert_eq!(since.elapsed().as_secs(), UNREAD_MAX.as_secs());
}
