//! A worker's backend: a real HTTP server whose health can be switched.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A server on loopback; it ends with the process.
#[derive(Debug, Clone)]
pub struct Backend {
    /// Where it listens.
    pub address: SocketAddr,
    well: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    demanded: Arc<Mutex<Option<String>>>,
}

impl Backend {
    /// Starts one that is well.
    pub fn start() -> Backend {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port of loopback");
        let backend = Backend {
            address: listener.local_addr().expect("it is bound"),
            well: Arc::new(AtomicBool::new(true)),
            asked: Arc::default(),
            demanded: Arc::default(),
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

    /// Answers only who sends this bearer key.
    pub fn demand(&self, key: Option<&str>) {
        *self.demanded.lock().expect("nobody panics with it") = key.map(str::to_owned);
    }

    fn admits(&self, request: &[u8]) -> bool {
        let demanded = self.demanded.lock().expect("nobody panics with it");
        let request = String::from_utf8_lossy(request);
        demanded.as_ref().is_none_or(|key| request.contains(&format!("Bearer {key}\r\n")))
    }

    /// Requests that it has seen.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    fn answer(&self, mut stream: TcpStream) {
        let mut request = [0; 2048];
        let timed = stream.set_read_timeout(Some(Duration::from_secs(5)));
        let read = timed.and_then(|()| stream.read(&mut request));
        let Ok(count) = read else {
            return; // Whoever connected went away; there is nobody to answer.
        };
        self.asked.fetch_add(1, Ordering::SeqCst);
        let status = match request.get(..count) {
            Some(request) if !self.admits(request) => "401 Unauthorized",
            _ if self.well.load(Ordering::SeqCst) => "200 OK",
            _ => "503 Ill",
        };
        let answer =
            format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
        // As above: an answer that nobody takes is no concern of a server.
        drop(stream.write_all(answer.as_bytes()));
    }
}
