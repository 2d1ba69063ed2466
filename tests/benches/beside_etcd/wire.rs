//! One caller's connection: HTTP/1.1 with our own, HTTP/2 with etcd, no more of either than is needed.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::grpc;

/// Where a server listens, and what it speaks.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Address {
    Http(SocketAddr),
    Grpc(SocketAddr),
}

/// A caller's connection.
pub(crate) enum Client {
    Http(Http),
    Grpc(grpc::Grpc),
}

impl Client {
    pub(crate) async fn connect(address: Address) -> io::Result<Client> {
        match address {
            Address::Http(at) => Ok(Client::Http(Http::connect(at).await?)),
            Address::Grpc(at) => Ok(Client::Grpc(grpc::Grpc::connect(at).await?)),
        }
    }

    /// Whether it was written.
    pub(crate) async fn put(&mut self, key: &str, value: &[u8]) -> io::Result<bool> {
        match self {
            Client::Http(http) => http.put(key, value).await,
            Client::Grpc(grpc) => grpc.put(key, value).await,
        }
    }

    /// Whether an answer came; `local` may be stale.
    pub(crate) async fn get(&mut self, key: &str, local: bool) -> io::Result<bool> {
        match self {
            Client::Http(http) => http.get(key, local).await,
            Client::Grpc(grpc) => grpc.get(key, local).await,
        }
    }
}

/// HTTP/1.1 kept alive.
pub(crate) struct Http {
    stream: TcpStream,
    at: SocketAddr,
    buffer: Vec<u8>,
}

impl Http {
    async fn connect(at: SocketAddr) -> io::Result<Http> {
        let stream = TcpStream::connect(at).await?;
        stream.set_nodelay(true)?;
        Ok(Http { stream, at, buffer: Vec::new() })
    }

    async fn put(&mut self, key: &str, value: &[u8]) -> io::Result<bool> {
        let mut request = self.head("PUT", key, "");
        let more = format!(
            "content-type: application/octet-stream\r\ncontent-length: {}\r\n\r\n",
            value.len()
        );
        request.extend_from_slice(more.as_bytes());
        request.extend_from_slice(value);
        self.ask(&request).await
    }

    async fn get(&mut self, key: &str, local: bool) -> io::Result<bool> {
        let mut request = self.head("GET", key, if local { "?mode=local" } else { "" });
        request.extend_from_slice(b"accept: application/octet-stream\r\n\r\n");
        self.ask(&request).await
    }

    fn head(&self, method: &str, key: &str, query: &str) -> Vec<u8> {
        let token = quorate_tests::node::TOKEN;
        let at = self.at;
        format!("{method} /v1/kv/bench/{key}{query} HTTP/1.1\r\nhost: {at}\r\nauthorization: Bearer {token}\r\n").into_bytes()
    }

    async fn ask(&mut self, request: &[u8]) -> io::Result<bool> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") else {
                continue;
            };
            let head =
                std::str::from_utf8(self.buffer.get(..end).unwrap_or_default()).unwrap_or_default();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.and_then(|text| text.parse().ok()).unwrap_or(0);
            let status = head.split(' ').nth(1) == Some("200");
            if self.buffer.len() >= end + 4 + length {
                return Ok(status);
            }
        }
    }
}
