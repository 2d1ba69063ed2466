//! One HTTP client for every verb: over TCP or the node's Unix socket.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::handshake;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, IF_MATCH, IF_NONE_MATCH};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};

use super::args::{Output, Target};
use super::operator::Asks;

/// The largest answer that a verb reads.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What `dev` leaves for other commands of the same folder.
pub(super) const CONTEXT: &str = ".quorate-dev/context";
/// As a revision: that nothing is there yet.
pub(super) const NEW: &str = "(new)";
/// The socket of a node with the default data folder.
const SOCKET: &str = "/var/lib/quorate/quorate.sock";

/// Where a node listens.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Address {
    Tcp(String),
    Unix(PathBuf),
}

/// A client of one node.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    address: Address,
    token: Option<String>,
    pub(super) output: Output,
    pub(super) truncate: bool,
    pub(super) assume_yes: bool,
    timeout: Duration,
}

/// Why a verb failed; decides the exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It did not work.
    Failed(String),
    /// The words were wrong.
    Usage(String),
    /// There is no such thing.
    NotFound(String),
    /// Somebody else's, or changed meanwhile.
    Conflict(String),
    /// Nobody answered, or not now.
    Unavailable(String),
}

impl Failure {
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Failure::Failed(_) => 1,
            Failure::Usage(_) => 2,
            Failure::NotFound(_) => 3,
            Failure::Conflict(_) => 4,
            Failure::Unavailable(_) => 5,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Failed(what)
            | Failure::Usage(what)
            | Failure::NotFound(what)
            | Failure::Conflict(what)
            | Failure::Unavailable(what) => f.write_str(what),
        }
    }
}

/// A whole answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) etag: Option<String>,
    pub(crate) text: String,
}

impl Answer {
    /// Its body as JSON; `null` when it is empty.
    pub(crate) fn json(&self) -> Result<Value, Failure> {
        if self.text.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&self.text)
            .map_err(|error| Failure::Failed(format!("the answer is no JSON: {error}")))
    }
}

impl Client {
    pub(super) fn new(target: &Target) -> Result<Client, Failure> {
        let context = std::fs::read_to_string(CONTEXT).ok();
        let context: Option<Value> = context.and_then(|text| serde_json::from_str(&text).ok());
        let context = context.filter(|_| target.address.is_none());
        let named = |key: &str| Some(context.as_ref()?.get(key)?.as_str()?.to_owned());
        let address = match target.address.clone().or_else(|| named("address")) {
            Some(address) => parse_address(&address)?,
            None if Path::new(SOCKET).exists() => Address::Unix(PathBuf::from(SOCKET)),
            None => Address::Tcp("127.0.0.1:8420".to_owned()),
        };
        let file = target.token_file.as_ref().map(|path| {
            let text = std::fs::read_to_string(path);
            text.map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))
        });
        let file = file.transpose()?.map(|text| text.trim().to_owned());
        Ok(Client {
            address,
            token: target.token.clone().or(file).or_else(|| named("token")),
            output: target.output,
            truncate: !target.no_truncate,
            assume_yes: target.yes,
            timeout: Duration::from_secs(target.timeout),
        })
    }

    /// A client of a TCP address with a token, for `dev`.
    pub(crate) fn at(address: &str, token: &str) -> Client {
        Client {
            address: Address::Tcp(address.to_owned()),
            token: Some(token.to_owned()),
            output: Output::Json,
            truncate: false,
            assume_yes: true,
            timeout: Duration::from_secs(5),
        }
    }

    pub(super) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.ask(Method::GET, path, None, None).await?.json()
    }

    pub(super) async fn post(&self, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        self.ask(Method::POST, path, body, None).await?.json()
    }

    pub(super) async fn put(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.ask(Method::PUT, path, Some(body), None).await?.json()
    }

    /// Asks, and turns an error status into a failure with the node's own words.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        revision: Option<&str>,
    ) -> Result<Answer, Failure> {
        let answer = self.raw(method, path, body, revision).await?;
        if answer.status.is_success() { Ok(answer) } else { Err(refused(&answer)) }
    }

    /// Asks, whatever the status.
    pub(super) async fn raw(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        revision: Option<&str>,
    ) -> Result<Answer, Failure> {
        let exchange = async {
            let response = self.send(method, path, body, revision).await?;
            let status = response.status();
            let etag = response.headers().get("etag").and_then(|etag| etag.to_str().ok());
            let etag = etag.map(str::to_owned);
            let body = http_body_util::Limited::new(response.into_body(), ANSWER_BYTES_MAX);
            let body = body
                .collect()
                .await
                .map_err(|error| Failure::Unavailable(format!("the answer broke off: {error}")))?;
            let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
            Ok(Answer { status, etag, text })
        };
        let late = || Failure::Unavailable(format!("no answer in {} s", self.timeout.as_secs()));
        tokio::time::timeout(self.timeout, exchange).await.map_err(|_| late())?
    }

    /// Opens a stream and hands over its body as it arrives, without end.
    pub(super) async fn stream(&self, path: &str) -> Result<Incoming, Failure> {
        let response = self.send(Method::GET, path, None, None).await?;
        if response.status().is_success() {
            return Ok(response.into_body());
        }
        let status = response.status();
        let body = response.into_body().collect().await.map(http_body_util::Collected::to_bytes);
        let text = String::from_utf8_lossy(&body.unwrap_or_default()).into_owned();
        Err(refused(&Answer { status, etag: None, text }))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        revision: Option<&str>,
    ) -> Result<Response<Incoming>, Failure> {
        let host = match &self.address {
            Address::Tcp(address) => address.clone(),
            Address::Unix(_) => "localhost".to_owned(),
        };
        let mut request = Request::builder().method(method).uri(path).header(HOST, host);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        request = match revision {
            Some(NEW) => request.header(IF_NONE_MATCH, "*"),
            Some(revision) => request.header(IF_MATCH, revision),
            None => request,
        };
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let bytes = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        let request = request
            .body(Full::new(bytes))
            .map_err(|error| Failure::Usage(format!("`{path}` is no path: {error}")))?;
        match &self.address {
            Address::Tcp(address) => {
                let stream = tokio::net::TcpStream::connect(address).await;
                exchange(stream.map_err(|error| self.unreachable(&error))?, request).await
            }
            Address::Unix(path) => {
                let stream = tokio::net::UnixStream::connect(path).await;
                exchange(stream.map_err(|error| self.unreachable(&error))?, request).await
            }
        }
    }

    fn unreachable(&self, error: &std::io::Error) -> Failure {
        let at = match &self.address {
            Address::Tcp(address) => format!("http://{address}"),
            Address::Unix(path) => path.display().to_string(),
        };
        let help = "start one with `quorate dev`, or name it with --address";
        Failure::Unavailable(format!("no node answers at {at}: {error}; {help}"))
    }
}

impl Asks for Client {
    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        revision: Option<&str>,
    ) -> Result<Answer, Failure> {
        Client::ask(self, method, path, body, revision).await
    }

    fn truncates(&self) -> bool {
        self.truncate
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>, Failure> {
    let broken =
        |error: hyper::Error| Failure::Unavailable(format!("the connection broke: {error}"));
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(broken)?;
    tokio::spawn(connection);
    sender.send_request(request).await.map_err(broken)
}

/// Percent-encodes one part of a path or query.
pub(crate) fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

fn parse_address(text: &str) -> Result<Address, Failure> {
    if let Some(path) = text.strip_prefix("unix:") {
        return Ok(Address::Unix(PathBuf::from(path)));
    }
    if text.starts_with('/') || text.starts_with("./") {
        return Ok(Address::Unix(PathBuf::from(text)));
    }
    if text.starts_with("https://") {
        let help = "use http:// or the Unix socket";
        return Err(Failure::Usage(format!("`{text}`: this build speaks no TLS to nodes; {help}")));
    }
    let rest = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
    let with_port = if rest.contains(':') { rest.to_owned() } else { format!("{rest}:8420") };
    Ok(Address::Tcp(with_port))
}

/// The node's own words about a refusal.
pub(crate) fn refused(answer: &Answer) -> Failure {
    let problem: Value = serde_json::from_str(&answer.text).unwrap_or_default();
    let part = |key: &str| problem.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (code, detail) = (part("code"), part("detail"));
    let mut words = if code.is_empty() {
        format!("{}: {}", answer.status, answer.text.trim())
    } else {
        format!("{code}: {detail}")
    };
    if let Some(owner) = problem.get("owner_http").and_then(Value::as_str) {
        words += &format!(" (--address {owner})");
    }
    for error in problem.get("errors").and_then(Value::as_array).into_iter().flatten().skip(1) {
        let part = |key: &str| error.get(key).and_then(Value::as_str).unwrap_or_default();
        words += &format!("\n  {}: {}", part("pointer"), part("detail"));
    }
    match answer.status.as_u16() {
        404 => Failure::NotFound(words),
        409 | 412 | 428 => Failure::Conflict(words),
        429 | 503 | 504 => Failure::Unavailable(words),
        400 | 405 | 415 | 422 => Failure::Usage(words),
        _ => Failure::Failed(words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_url_a_host_or_a_socket() {
        let tcp = |text: &str| Address::Tcp(text.to_owned());
        assert_eq!(parse_address("http://127.0.0.1:8430/"), Ok(tcp("127.0.0.1:8430")));
        assert_eq!(parse_address("gw-a"), Ok(tcp("gw-a:8420")));
        assert_eq!(parse_address("/run/q.sock"), Ok(Address::Unix("/run/q.sock".into())));
        assert!(matches!(parse_address("https://gw-a"), Err(Failure::Usage(_))));
    }

    #[test]
    fn a_refusal_keeps_the_nodes_words_and_picks_the_exit_code() {
        let answer = |status: u16, text: &str| Answer {
            status: StatusCode::from_u16(status).expect("a status"),
            etag: None,
            text: text.to_owned(),
        };
        let failure = refused(&answer(409, r#"{"code":"owned_by","detail":"ask gw-b"}"#));
        assert_eq!((failure.to_string().as_str(), failure.exit_code()), ("owned_by: ask gw-b", 4));
        let owned = r#"{"code":"owned_by","detail":"ask gw-b","owner_http":"http://gw-b:8420"}"#;
        let words = refused(&answer(409, owned)).to_string();
        assert_eq!(words, "owned_by: ask gw-b (--address http://gw-b:8420)");
        assert_eq!(refused(&answer(404, "")).exit_code(), 3);
        assert_eq!(refused(&answer(503, "")).exit_code(), 5);
        assert_eq!(refused(&answer(500, "")).exit_code(), 1);
    }
}
