//! A worker's backend: a real HTTP server whose health can be switched.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// A server on loopback; it ends with the process.
#[derive(Debug, Clone)]
pub struct Backend {
    /// Where it listens.
    pub address: SocketAddr,
    well: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
}

impl Backend {
    /// Starts one that is well.
    pub fn start() -> Backend {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port of loopback");
        let backend = Backend {
            address: listener.local_addr().expect("it is bound"),
            well: Arc::new(AtomicBool::new(true)),
            asked: Arc::default(),
        };
        let server = backend.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                server.answer(stream);
            }
        });
        backend
    }

    /// Its URL, canonical.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Makes it well or ill.
    pub fn set_well(&self, well: bool) {
        self.well.store(well, Ordering::SeqCst);
    }

    /// Requests that it has seen.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    fn answer(&self, mut stream: TcpStream) {
        let mut request = [0; 2048];
        let timed = stream.set_read_timeout(Some(Duration::from_secs(5)));
        if timed.is_err() || stream.read(&mut request).is_err() {
            return; // Whoever connected went away; there is nobody to answer.
        }
        self.asked.fetch_add(1, Ordering::SeqCst);
        let status = if self.well.load(Ordering::SeqCst) { "200 OK" } else { "503 Ill" };
        let answer =
            format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
        // As above: an answer that nobody takes is no concern of a server.
        drop(stream.write_all(answer.as_bytes()));
    }
}
