//! Connections to upstreams, kept between requests.
//!
//! A connection belongs to the request that uses it: the task that asks also reads and writes it, from the first byte
//! to the last of the answer's body, and no other task is woken for either. At rest it lies in a list per host and
//! thread, and nobody looks at it until it is used again; one that its upstream closed meanwhile is found out then.
//!
//! Dropped before the answer has ended, a connection is closed, and with it the upstream's request.
//!
//! Absent on purpose: HTTP/2, and a bound on the connections in use, which the requests of the gateway have.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread::{self, ThreadId};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::uri::Scheme;
use axum::http::{HeaderValue, Request, Response, Uri, header};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use quorate_core::limits;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tower::Service as _;

use super::upstream::Watched;

type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Whom a connection leads to, and which thread watches it: used by another, each of its bytes would wake both.
type Host = (ThreadId, Scheme, String);

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// There is nobody there, or not in time.
    Unreachable,
    /// The upstream broke off.
    Off,
}

/// The connections of one gateway.
pub(super) struct Connections {
    connector: HttpsConnector<HttpConnector>,
    connect_max: Duration,
    /// Oldest first.
    unused: Mutex<HashMap<Host, VecDeque<(Instant, Line)>>>,
}

impl Connections {
    /// None yet. Connecting ends after `connect_max`, security included.
    pub(super) fn new(
        connector: HttpsConnector<HttpConnector>,
        connect_max: Duration,
    ) -> Connections {
        Connections { connector, connect_max, unused: Mutex::default() }
    }

    /// Asks whom the request's target names; the answer's body brings its connection back when it is dropped.
    pub(super) async fn ask(
        self: &Arc<Self>,
        request: Request<Watched>,
    ) -> Result<Response<Arriving>, Broken> {
        let (host, whole, mut request) = addressed(request).ok_or(Broken::Unreachable)?;
        while let Some(mut line) = self.take(&host) {
            match line.ask(request).await {
                Ok(response) => return Ok(self.arriving(host, line, response)),
                // Its upstream hung up before it read anything of it.
                Err(Some(unsent)) => request = unsent,
                Err(None) => return Err(Broken::Off),
            }
        }
        let mut line = self.connect(whole).await?;
        match line.ask(request).await {
            Ok(response) => Ok(self.arriving(host, line, response)),
            Err(_) => Err(Broken::Off),
        }
    }

    /// Lets go of what was not used for a while.
    pub(super) fn sweep(&self) {
        let mut unused = self.unused.lock().expect("no holder of this lock panics");
        for lines in unused.values_mut() {
            while lines
                .front()
                .is_some_and(|(since, _)| since.elapsed() >= limits::GATEWAY_UNUSED_MAX)
            {
                lines.pop_front();
            }
        }
        unused.retain(|_, lines| !lines.is_empty());
    }

    fn arriving(
        self: &Arc<Self>,
        host: Host,
        line: Line,
        response: Response<Incoming>,
    ) -> Response<Arriving> {
        let home = self.clone();
        response.map(|body| Arriving { body, line: Some(line), host, home })
    }

    /// The connection that was used last, of those that still stand.
    fn take(&self, host: &Host) -> Option<Line> {
        loop {
            let mut unused = self.unused.lock().expect("no holder of this lock panics");
            let (since, mut line) = unused.get_mut(host)?.pop_back()?;
            drop(unused);
            if since.elapsed() < limits::GATEWAY_UNUSED_MAX && line.is_at_rest() {
                return Some(line);
            }
        }
    }

    fn give_back(&self, host: &Host, line: Line) {
        let mut unused = self.unused.lock().expect("no holder of this lock panics");
        let lines = match unused.get_mut(host) {
            Some(lines) => lines,
            None => unused.entry(host.clone()).or_default(),
        };
        if lines.len() < limits::GATEWAY_UNUSED_PER_HOST_MAX {
            lines.push_back((Instant::now(), line));
        }
    }

    async fn connect(&self, to: Uri) -> Result<Line, Broken> {
        let mut connector = self.connector.clone();
        let connecting = async {
            poll_fn(|context| connector.poll_ready(context)).await?;
            let stream = connector.call(to).await?;
            let mut builder = Builder::new();
            builder.max_buf_size(limits::GATEWAY_READ_AHEAD_BYTES_MAX);
            Ok::<_, BoxError>(builder.handshake(stream).await?)
        };
        match tokio::time::timeout(self.connect_max, connecting).await {
            Ok(Ok((sender, connection))) => {
                Ok(Line { sender, connection: Some(Box::new(connection)) })
            }
            Ok(Err(_)) | Err(_) => Err(Broken::Unreachable),
        }
    }
}

/// Whom a request is for, the target as it was, and the request as it stands on a connection to there (RFC 9112 §3.2.1).
fn addressed(mut request: Request<Watched>) -> Option<(Host, Uri, Request<Watched>)> {
    let whole = request.uri().clone();
    let (scheme, authority) = (whole.scheme()?.clone(), whole.authority()?);
    let usual = if scheme == Scheme::HTTPS { 443 } else { 80 };
    let shown = match authority.port_u16().filter(|port| *port != usual) {
        Some(_) => authority.as_str().rsplit('@').next()?,
        None => authority.host(),
    };
    request.headers_mut().insert(header::HOST, HeaderValue::from_str(shown).ok()?);
    let target = whole.path_and_query().cloned().map_or_else(|| Uri::from_static("/"), Uri::from);
    *request.uri_mut() = target;
    let host = (thread::current().id(), scheme, authority.as_str().to_owned());
    Some((host, whole, request))
}

/// One connection.
struct Line {
    sender: SendRequest<Watched>,
    /// `None` once it has ended.
    connection: Option<Box<Connection<Stream, Watched>>>,
}

impl Line {
    /// Reads and writes what can be.
    fn go_on(&mut self, context: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection
            && Pin::new(connection).poll(context).is_ready()
        {
            self.connection = None; // Whoever waits for something of it is told by its own end.
        }
    }

    /// Whether the next request may be sent; looks once whether the other side is still there.
    fn is_at_rest(&mut self) -> bool {
        self.go_on(&mut Context::from_waker(Waker::noop()));
        self.connection.is_some() && self.sender.is_ready()
    }

    /// The head of an answer; a request of which nothing was sent comes back.
    async fn ask(
        &mut self,
        request: Request<Watched>,
    ) -> Result<Response<Incoming>, Option<Request<Watched>>> {
        let mut asking = pin!(self.sender.try_send_request(request));
        let connection = &mut self.connection;
        let answer = poll_fn(|context| {
            if let Some(present) = connection
                && Pin::new(present).poll(context).is_ready()
            {
                *connection = None;
            }
            asking.as_mut().poll(context)
        });
        answer.await.map_err(|mut error| error.take_message())
    }
}

/// The body of an answer, with the connection that it comes by.
pub(super) struct Arriving {
    body: Incoming,
    line: Option<Line>,
    host: Host,
    home: Arc<Connections>,
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = Pin::into_inner(self);
        // That it is wanted lets the connection read it.
        let polled = Pin::new(&mut this.body).poll_frame(context);
        if polled.is_ready() {
            return polled;
        }
        if let Some(line) = &mut this.line {
            line.go_on(context);
        }
        Pin::new(&mut this.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        // One that has more to read or to write never gets there, and is closed.
        if let Some(mut line) = self.line.take()
            && line.is_at_rest()
        {
            self.home.give_back(&self.host, line);
        }
    }
}
