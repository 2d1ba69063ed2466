//! A provider on a real socket that does as a test says, down to the byte; and a client that reads as it likes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) line: String,
    /// By name in lower case, the values of several lines joined by a comma.
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Vec<u8>,
}

/// What a provider does with a request, one after the other.
pub(super) enum Step {
    /// Sends these bytes.
    Send(Vec<u8>),
    /// Waits until the test says go on.
    Wait(Arc<Notify>),
    /// Does nothing until the other side hangs up, and tells that.
    Hang(mpsc::UnboundedSender<()>),
    /// Hangs up.
    Close,
}

/// An answer with a body of known length.
pub(super) fn answer(status: u16, headers: &str, body: &str) -> Vec<Step> {
    let text = format!(
        "HTTP/1.1 {status} Said\r\n{headers}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    vec![Step::Send(text.into_bytes())]
}

/// The head of a stream of events that ends with the connection.
pub(super) const EVENTS: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";

pub(super) fn send(text: &str) -> Step {
    Step::Send(text.as_bytes().to_vec())
}

type Behaviour = dyn Fn(&Seen) -> Vec<Step> + Send + Sync;

/// A provider.
pub(super) struct Upstream {
    pub(super) address: SocketAddr,
    pub(super) seen: Arc<Mutex<Vec<Seen>>>,
    /// Connections that were ever made.
    connections: Arc<AtomicUsize>,
}

impl Upstream {
    /// One that does with each request what `behaviour` says.
    pub(super) async fn new(
        behaviour: impl Fn(&Seen) -> Vec<Step> + Send + Sync + 'static,
    ) -> Upstream {
        Upstream::over(None, behaviour).await
    }

    /// The same, behind TLS.
    pub(super) async fn over(
        tls: Option<tokio_rustls::TlsAcceptor>,
        behaviour: impl Fn(&Seen) -> Vec<Step> + Send + Sync + 'static,
    ) -> Upstream {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, behaviour): (_, Arc<Behaviour>) = (seen.clone(), Arc::new(behaviour));
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("the listener lives");
                count.fetch_add(1, Ordering::Relaxed);
                let (log, behaviour, tls) = (log.clone(), behaviour.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => converse(stream, &log, &*behaviour).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                converse(stream, &log, &*behaviour).await;
                            }
                        }
                    }
                });
            }
        });
        Upstream { address, seen, connections }
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    pub(super) fn requests(&self) -> Vec<Seen> {
        self.seen.lock().expect("free").clone()
    }
}

async fn converse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    log: &Mutex<Vec<Seen>>,
    behaviour: &Behaviour,
) {
    while let Some(seen) = read(&mut stream).await {
        log.lock().expect("free").push(seen.clone());
        for step in behaviour(&seen) {
            let sent = match step {
                Step::Send(bytes) => stream.write_all(&bytes).await.is_ok(),
                Step::Wait(until) => {
                    until.notified().await;
                    true
                }
                Step::Hang(tell) => {
                    let mut byte = [0];
                    while stream.read(&mut byte).await.is_ok_and(|count| count > 0) {}
                    let _ = tell.send(()); // The test may have seen enough.
                    false
                }
                Step::Close => false,
            };
            let flushed = stream.flush().await.is_ok();
            if !sent || !flushed {
                return;
            }
        }
    }
}

/// One request, with its body; `None` at the end of the connection.
async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<Seen> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).expect("heads are text");
    let mut lines = head.split("\r\n").filter(|line| !line.is_empty());
    let line = lines.next()?.to_owned();
    let mut headers: BTreeMap<String, String> = BTreeMap::new();
    for line in lines {
        let (name, value) = line.split_once(": ").expect("a header");
        let values = headers.entry(name.to_lowercase()).or_default();
        if !values.is_empty() {
            values.push(',');
        }
        values.push_str(value);
    }
    let mut body = Vec::new();
    if let Some(length) = headers.get("content-length") {
        body = vec![0; length.parse().expect("a length")];
        stream.read_exact(&mut body).await.ok()?;
    } else if headers.contains_key("transfer-encoding") {
        while let Some(mut chunk) = chunk(stream).await? {
            body.append(&mut chunk);
        }
    }
    Some(Seen { line, headers, body })
}

/// One chunk (RFC 9112 §7.1); the inner `None` is the last.
async fn chunk(stream: &mut (impl AsyncRead + Unpin)) -> Option<Option<Vec<u8>>> {
    let mut size = Vec::new();
    while !size.ends_with(b"\r\n") {
        size.push(stream.read_u8().await.ok()?);
    }
    let size = String::from_utf8(size).expect("digits");
    let size = usize::from_str_radix(size.trim(), 16).expect("a size");
    let mut chunk = vec![0; size + 2];
    stream.read_exact(&mut chunk).await.ok()?;
    chunk.truncate(size);
    Some((size > 0).then_some(chunk))
}

/// A client on a real socket.
pub(super) struct Client {
    pub(super) stream: TcpStream,
    pub(super) text: String,
}

impl Client {
    /// Sends a request of its own making.
    pub(super) async fn send(address: SocketAddr, request: &str) -> Client {
        let mut stream = TcpStream::connect(address).await.expect("somebody listens");
        stream.write_all(request.as_bytes()).await.expect("it is read");
        Client { stream, text: String::new() }
    }

    /// Reads until `word` came.
    pub(super) async fn until(&mut self, word: &str) {
        while !self.text.contains(word) {
            assert!(self.more().await, "it ended after {}", self.text);
        }
    }

    /// Reads to the end.
    pub(super) async fn whole(mut self) -> String {
        while self.more().await {}
        self.text
    }

    async fn more(&mut self) -> bool {
        let mut bytes = [0; 16 * 1024];
        let Ok(count) = self.stream.read(&mut bytes).await else { return false };
        let read = bytes.get(..count).unwrap_or_default();
        self.text.push_str(&String::from_utf8_lossy(read));
        count > 0
    }
}
