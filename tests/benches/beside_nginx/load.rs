//! Callers that ask one thing after another, and a provider that answers at once.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

/// Whom to ask, with what line and headers.
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// The head of a request but for its length.
    pub(crate) head: String,
}

/// Before anything is counted.
const WARMS_UP: Duration = Duration::from_millis(500);
const ASKED: &str = concat!(
    r#"{"model":"gpt-5","messages":[{"role":"user","content":"How many roads must a man walk down before"#,
    r#" you call him a man? Answer in one sentence, please, and be as exact as you can."}],"stream":false}"#
);
const ANSWERED: &str = concat!(
    r#"{"id":"chatcmpl-1","object":"chat.completion","model":"gpt-5","choices":[{"index":0,"message":{"role":"#,
    r#""assistant","content":"The answer is blowing in the wind."},"finish_reason":"stop"}],"#,
    r#""usage":{"prompt_tokens":32,"completion_tokens":8,"total_tokens":40}}"#
);

/// How long each answer took. Whatever is refused ends the run: it would be a fast answer.
pub(crate) fn run(target: &Target, callers: usize, lasts: Duration) -> Vec<Duration> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let took = Rc::new(RefCell::new(Vec::new()));
    let counted = took.clone();
    let request = format!("{}content-length: {}\r\n\r\n{ASKED}", target.head, ASKED.len());
    let (address, request) = (target.address, Rc::<str>::from(request));
    runtime.expect("a runtime").block_on(LocalSet::new().run_until(async move {
        let begins = Instant::now() + WARMS_UP;
        let ends = begins + lasts;
        let callers: Vec<_> = (0..callers)
            .map(|_| {
                let caller = ask(address, request.clone(), (begins, ends), counted.clone());
                tokio::task::spawn_local(caller)
            })
            .collect();
        for caller in callers {
            caller.await.expect("no caller panics");
        }
    }));
    took.take()
}

async fn ask(
    address: SocketAddr,
    request: Rc<str>,
    (begins, ends): (Instant, Instant),
    took: Rc<RefCell<Vec<Duration>>>,
) {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    stream.set_nodelay(true).expect("an option of TCP");
    let mut buffer = Vec::new();
    loop {
        let began = Instant::now();
        if began >= ends {
            return;
        }
        stream.write_all(request.as_bytes()).await.expect("it reads");
        let head = message(&mut stream, &mut buffer).await.expect("it answers");
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        if began >= begins {
            took.borrow_mut().push(began.elapsed());
        }
    }
}

/// Reads one message with a length and leaves what follows it; its head.
async fn message(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<String> {
    loop {
        let end = buffer.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(end) = end {
            let head = String::from_utf8_lossy(buffer.get(..end)?).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
            let whole = end + 4 + length.trim().parse::<usize>().ok()?;
            if buffer.len() >= whole {
                buffer.drain(..whole);
                return Some(head.replace("http/1.1", "HTTP/1.1"));
            }
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

/// Starts the provider, on threads of its own; where it listens.
pub(crate) fn provider() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port of loopback");
    let address = listener.local_addr().expect("it is bound");
    listener.set_nonblocking(true).expect("an option of sockets");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(LocalSet::new().run_until(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("it listens");
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).expect("an option of TCP");
                tokio::task::spawn_local(answer(stream));
            }
        }));
    });
    address
}

async fn answer(mut stream: TcpStream) {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    let answer = format!("{head}content-length: {}\r\n\r\n{ANSWERED}", ANSWERED.len());
    let mut buffer = Vec::new();
    while message(&mut stream, &mut buffer).await.is_some() {
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}
