//! A blocking HTTP/1.1 client, small enough to be plainly right: one request a connection.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// How long one answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// A status and a body.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The head, as received.
    pub head: String,
    /// The body.
    pub body: String,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body)
            .unwrap_or_else(|error| panic!("{error} in the answer {self:?}"))
    }

    /// The `code` of a problem.
    pub fn code(&self) -> String {
        self.json().get("code").and_then(Value::as_str).unwrap_or_default().to_owned()
    }
}

/// Asks; the error says that nobody answered.
pub fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    token: Option<&str>,
    body: Option<&str>,
) -> Result<Answer, String> {
    let token = token.map_or(String::new(), |token| format!("authorization: Bearer {token}\r\n"));
    let payload = body.map_or(String::new(), |body| {
        format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len())
    });
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{token}{payload}\r\n"
    );
    raw(address, format!("{head}{}", body.unwrap_or_default()).as_bytes())
}

/// Sends bytes and reads until the other side closes.
pub fn raw(address: SocketAddr, request: &[u8]) -> Result<Answer, String> {
    let shown = |error: std::io::Error| format!("{address}: {error}");
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_WITHIN).map_err(shown)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN)).map_err(shown)?;
    stream.set_write_timeout(Some(ANSWER_WITHIN)).map_err(shown)?;
    // A server may answer and close before it has read everything; what it said still counts.
    let written = stream.write_all(request);
    let mut bytes = Vec::new();
    let read = stream.read_to_end(&mut bytes);
    if bytes.is_empty() {
        written.map_err(shown)?;
        read.map_err(shown)?;
        return Err(format!("{address}: closed without an answer"));
    }
    parse(&String::from_utf8_lossy(&bytes))
}

fn parse(text: &str) -> Result<Answer, String> {
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(|| format!("no head in `{text}`"))?;
    let status = head.split_whitespace().nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| format!("no status in `{head}`"))?;
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { dechunked(body) } else { body.to_owned() };
    Ok(Answer { status, head: head.to_owned(), body })
}

/// The payload of a chunked body (RFC 9112 §7.1), as far as it arrived.
fn dechunked(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let Ok(size) = usize::from_str_radix(size.trim(), 16) else { break };
        let Some((chunk, after)) = after.split_at_checked(size) else { break };
        body.push_str(chunk);
        rest = after.strip_prefix("\r\n").unwrap_or(after);
    }
    body
}

/// An answer that has no end: a stream of events.
#[derive(Debug)]
pub struct Stream {
    connection: TcpStream,
    text: String,
}

impl Stream {
    /// Asks for a stream.
    pub fn open(address: SocketAddr, path: &str, token: &str) -> Result<Stream, String> {
        let shown = |error: std::io::Error| format!("{address}: {error}");
        let mut connection = TcpStream::connect_timeout(&address, ANSWER_WITHIN).map_err(shown)?;
        connection.set_read_timeout(Some(ANSWER_WITHIN)).map_err(shown)?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n\r\n"
        );
        connection.write_all(request.as_bytes()).map_err(shown)?;
        Ok(Stream { connection, text: String::new() })
    }

    /// Reads on until `word` was said; everything that was said so far.
    pub fn until(&mut self, word: &str) -> Result<&str, String> {
        let mut bytes = [0; 4096];
        while !self.text.contains(word) {
            let count = self.connection.read(&mut bytes);
            let count = count.map_err(|error| format!("{error} after {}", self.text))?;
            let heard = bytes.get(..count).filter(|heard| !heard.is_empty());
            let heard = heard.ok_or_else(|| format!("it ended after {}", self.text))?;
            self.text.push_str(&String::from_utf8_lossy(heard));
        }
        Ok(&self.text)
    }
}
