//! As much of gRPC (HTTP/2, RFC 9113, and protocol buffers) as a put and a get of etcd take: one stream at a time,
//! headers without a table. An answer with data is a success; an error has headers alone.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const FRAME_HEAD: usize = 9;

/// A connection with an etcd.
pub(crate) struct Grpc {
    stream: TcpStream,
    at: SocketAddr,
    next: u32,
    buffer: Vec<u8>,
    /// Bytes of data for which the other side wants more room.
    taken: usize,
}

impl Grpc {
    pub(crate) async fn connect(at: SocketAddr) -> io::Result<Grpc> {
        let mut stream = TcpStream::connect(at).await?;
        stream.set_nodelay(true)?;
        let mut hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        frame(&mut hello, SETTINGS, 0, 0, &[]);
        stream.write_all(&hello).await?;
        Ok(Grpc { stream, at, next: 1, buffer: Vec::new(), taken: 0 })
    }

    pub(crate) async fn put(&mut self, key: &str, value: &[u8]) -> io::Result<bool> {
        let mut message = Vec::new();
        field(&mut message, 1, key.as_bytes());
        field(&mut message, 2, value);
        self.call("/etcdserverpb.KV/Put", &message).await
    }

    pub(crate) async fn get(&mut self, key: &str, local: bool) -> io::Result<bool> {
        let mut message = Vec::new();
        field(&mut message, 1, key.as_bytes());
        if local {
            message.extend_from_slice(&[7 << 3, 1]); // `serializable`
        }
        self.call("/etcdserverpb.KV/Range", &message).await
    }

    async fn call(&mut self, path: &str, message: &[u8]) -> io::Result<bool> {
        let id = self.next;
        self.next += 2;
        let mut request = Vec::with_capacity(message.len() + 256);
        if self.taken > 16 * 1024 {
            let room = u32::try_from(self.taken).unwrap_or(u32::MAX).to_be_bytes();
            frame(&mut request, WINDOW_UPDATE, 0, 0, &room);
            self.taken = 0;
        }
        frame(&mut request, HEADERS, END_HEADERS, id, &headers(path, &self.at.to_string()));
        let mut body = vec![0];
        body.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
        body.extend_from_slice(message);
        frame(&mut request, DATA, END_STREAM, id, &body);
        self.stream.write_all(&request).await?;
        self.answer(id).await
    }

    async fn answer(&mut self, wanted: u32) -> io::Result<bool> {
        let mut told = false;
        loop {
            let Some((kind, flags, id, payload)) = self.next_frame() else {
                if self.stream.read_buf(&mut self.buffer).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                continue;
            };
            match kind {
                DATA => {
                    self.taken += payload.len();
                    told |= id == wanted && payload.len() >= 5;
                }
                SETTINGS if flags & ACK == 0 => self.reply(SETTINGS, &[]).await?,
                PING if flags & ACK == 0 => self.reply(PING, &payload).await?,
                RST_STREAM if id == wanted => return Ok(false),
                GOAWAY => return Err(io::ErrorKind::ConnectionAborted.into()),
                _ => {}
            }
            if id == wanted && flags & END_STREAM != 0 && matches!(kind, DATA | HEADERS) {
                return Ok(told);
            }
        }
    }

    async fn reply(&mut self, kind: u8, payload: &[u8]) -> io::Result<()> {
        let mut bytes = Vec::new();
        frame(&mut bytes, kind, ACK, 0, payload);
        self.stream.write_all(&bytes).await
    }

    fn next_frame(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let head = self.buffer.first_chunk::<FRAME_HEAD>()?;
        let [high, middle, low, kind, flags, id @ ..] = *head;
        let length = usize::try_from(u32::from_be_bytes([0, high, middle, low])).ok()?;
        let payload = self.buffer.get(FRAME_HEAD..FRAME_HEAD + length)?.to_vec();
        self.buffer.drain(..FRAME_HEAD + length);
        Some((kind, flags, u32::from_be_bytes(id) & 0x7fff_ffff, payload))
    }
}

fn frame(bytes: &mut Vec<u8>, kind: u8, flags: u8, id: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    bytes.extend_from_slice(length.get(1..).unwrap_or_default());
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&id.to_be_bytes());
    bytes.extend_from_slice(payload);
}

/// RFC 7541: indices of the static table, and literals that enter no table.
fn headers(path: &str, authority: &str) -> Vec<u8> {
    let mut block = vec![0x83, 0x86]; // POST, http
    let mut text = |start: &[u8], value: &str| {
        block.extend_from_slice(start);
        block.push(u8::try_from(value.len()).expect("these are short"));
        block.extend_from_slice(value.as_bytes());
    };
    text(&[0x04], path);
    text(&[0x01], authority);
    text(&[0x0f, 0x10], "application/grpc"); // content-type
    text(&[0x00, 2, b't', b'e'], "trailers");
    block
}

/// A field of bytes.
fn field(message: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    message.push(number << 3 | 2);
    let mut length = bytes.len();
    while length >= 0x80 {
        message.push(u8::try_from(length & 0x7f).expect("seven bits") | 0x80);
        length >>= 7;
    }
    message.push(u8::try_from(length).expect("seven bits"));
    message.extend_from_slice(bytes);
}
