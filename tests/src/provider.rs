//! A provider on a real socket, whose every answer a test chooses.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Method, target and version.
    pub line: String,
    /// All lines of the head.
    pub head: String,
    /// How many bytes came behind it.
    pub bytes: u64,
}

impl Seen {
    /// The bearer token that it came with.
    pub fn key(&self) -> &str {
        let shown = self.head.lines().find_map(|line| line.strip_prefix("authorization: Bearer "));
        shown.unwrap_or_default()
    }
}

/// What answers one request: it writes whatever it likes to the connection.
type Behaviour = dyn Fn(&Seen, &mut TcpStream) -> std::io::Result<()> + Send + Sync;

/// A server on loopback; it ends with the process.
#[derive(Debug, Clone)]
pub struct Provider {
    /// Where it listens.
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Provider {
    /// One that answers by `behaviour`, one request a connection.
    pub fn start(
        behaviour: impl Fn(&Seen, &mut TcpStream) -> std::io::Result<()> + Send + Sync + 'static,
    ) -> Provider {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port of loopback");
        let address = listener.local_addr().expect("it is bound");
        let provider = Provider { address, seen: Arc::default() };
        let (seen, behaviour): (_, Arc<Behaviour>) = (provider.seen.clone(), Arc::new(behaviour));
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let (seen, behaviour) = (seen.clone(), behaviour.clone());
                std::thread::spawn(move || {
                    let Ok(request) = read(&stream) else { return };
                    seen.lock().expect("nobody panics with it").push(request.clone());
                    let _ = behaviour(&request, &mut stream); // Whoever asked may be gone.
                });
            }
        });
        provider
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("nobody panics with it").clone()
    }
}

/// Writes an answer of known length, after which the connection ends.
pub fn answer(
    stream: &mut TcpStream,
    status: u16,
    headers: &[(&str, &str)],
    body: &str,
) -> std::io::Result<()> {
    let lines: String =
        headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status} Said\r\n{lines}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

fn read(stream: &TcpStream) -> std::io::Result<Seen> {
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if line == "\r\n" {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.trim().parse().map_err(std::io::Error::other)?;
        }
        head.push_str(line.trim_end());
        head.push('\n');
    }
    let bytes = std::io::copy(&mut reader.take(length), &mut std::io::sink())?;
    let line = head.lines().next().unwrap_or_default().to_owned();
    Ok(Seen { line, head, bytes })
}
