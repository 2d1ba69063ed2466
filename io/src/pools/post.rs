//! One message to somebody else's HTTP server.
//!
//! HTTP/1.1 over TCP, or over TLS with the roots of the web. A name is resolved at each try; no redirect is
//! followed, no proxy is used, and of the answer only the status is read.
//!
//! Absent on purpose: connections that are kept. Messages are rare.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::probe::beside;

/// Why a message did not arrive. What was sent, and whereto, is never part of it: a path may hold a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PostError {
    /// It is no URL of http or https.
    #[error("the address is no http or https URL")]
    Url,
    /// Nobody is there.
    #[error("the server cannot be reached")]
    Connect,
    /// The certificate is not trusted, or it speaks no TLS.
    #[error("TLS failed")]
    Tls,
    /// The exchange broke.
    #[error("the server broke the exchange off")]
    Protocol,
    /// It took too long.
    #[error("no answer in time")]
    Timeout,
}

/// What carries messages.
#[derive(Clone)]
pub(crate) struct Courier {
    tls: Arc<ClientConfig>,
}

impl Courier {
    pub(crate) fn new() -> Courier {
        Courier { tls: Arc::new(crate::probe::client(&[])) }
    }

    /// Sends `body` as JSON to `url` and says what the server answered, within `time` in all.
    pub(crate) async fn post(
        &self,
        url: &str,
        headers: &[(HeaderName, HeaderValue)],
        body: Bytes,
        time: Duration,
    ) -> Result<StatusCode, PostError> {
        let posting = self.exchange(url, headers, body);
        tokio::time::timeout(time, posting).await.unwrap_or(Err(PostError::Timeout))
    }

    async fn exchange(
        &self,
        url: &str,
        headers: &[(HeaderName, HeaderValue)],
        body: Bytes,
    ) -> Result<StatusCode, PostError> {
        let uri: Uri = url.parse().map_err(|_| PostError::Url)?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(PostError::Url),
        };
        let authority = uri.authority().ok_or(PostError::Url)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(header::HOST, authority.as_str())
            .header(header::USER_AGENT, USER_AGENT)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|_| PostError::Url)?;
        request.headers_mut().extend(headers.iter().cloned());
        let stream = TcpStream::connect((host.as_str(), port)).await;
        let stream = stream.map_err(|_| PostError::Connect)?;
        if !secure {
            return send(stream, request).await;
        }
        let name = ServerName::try_from(host).map_err(|_| PostError::Url)?;
        let secured = TlsConnector::from(self.tls.clone()).connect(name, stream).await;
        send(secured.map_err(|_| PostError::Tls)?, request).await
    }
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Full<Bytes>>,
) -> Result<StatusCode, PostError> {
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|_| PostError::Protocol)?;
    let exchange = async {
        let answer = sender.send_request(request).await.map_err(|_| PostError::Protocol)?;
        Ok(answer.status())
    };
    beside(connection, exchange).await
}

const USER_AGENT: &str = concat!("quorate/", env!("CARGO_PKG_VERSION"));
