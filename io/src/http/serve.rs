//! Serving: listeners, connections, and their end.
//!
//! One HTTP/1 connection per accepted stream, with bounds on its headers, on their arrival, and on how long a client
//! may take nothing of its answer. At the stop nothing more is accepted, requests in flight have 10 s, then what is left
//! is dropped.

mod threads;

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Sleep;

use threads::Threads;

use super::guard::HEADERS_BYTES_MAX;
use super::pipeline::ARRIVAL_MAX;
use crate::access::Caller;

/// Connections open at once on all listeners.
pub const CONNECTIONS_MAX: usize = 4096;
/// How long requests in flight may go on after the stop has begun.
const IN_FLIGHT_MAX: Duration = Duration::from_secs(10);
/// How long a client may take nothing of an answer that is there for it.
const UNREAD_MAX: Duration = Duration::from_secs(300);
/// How long to wait when the system has no file descriptor for us.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Something that accepts connections.
#[derive(Debug)]
pub enum Listener {
    /// An address.
    Tcp(TcpListener),
    /// A socket file; its mode is its maker's business.
    Unix(UnixListener),
}

/// Serves `router` on all of `listeners` until `shutdown` ends, then lets what runs finish.
///
/// # Errors
/// What the machine refuses: threads, or descriptors.
pub fn serve(
    listeners: Vec<Listener>,
    router: Router,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<impl Future<Output = ()> + Send> {
    let threads = Arc::new(Threads::start()?);
    Ok(serve_on(threads, listeners, router, shutdown))
}

async fn serve_on(
    threads: Arc<Threads>,
    listeners: Vec<Listener>,
    router: Router,
    shutdown: impl Future<Output = ()> + Send,
) {
    let (stop, stopped) = watch::channel(false);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut accepting = JoinSet::new();
    for listener in listeners {
        let (threads, router) = (threads.clone(), router.clone());
        accepting.spawn(accept(listener, threads, router, places.clone(), stopped.clone()));
    }
    shutdown.await;
    let _ = stop.send(true); // Without a listener there is nobody to tell.
    while accepting.join_next().await.is_some() {}
    // Every connection holds a place: all places free means that the last one has ended.
    let all = u32::try_from(CONNECTIONS_MAX).expect("the bound is small");
    let _ = tokio::time::timeout(IN_FLIGHT_MAX, places.acquire_many(all)).await;
}

async fn accept(
    listener: Listener,
    threads: Arc<Threads>,
    router: Router,
    places: Arc<Semaphore>,
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        let place = tokio::select! {
            place = places.clone().acquire_owned() => place.expect("the places are never closed"),
            _ = stopped.wait_for(|stopped| *stopped) => return,
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.wait_for(|stopped| *stopped) => return,
        };
        let (stream, caller) = match accepted {
            Ok(accepted) => accepted,
            Err(_) => {
                // The peer went away again, or descriptors ran out: both pass.
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (router, stopped) = (router.clone(), stopped.clone());
        threads.run(move || async move {
            // One that cannot be watched for is closed: descriptors ran out.
            if let Ok(stream) = stream.open() {
                converse(stream, caller, router, stopped).await;
            }
            drop(place);
        });
    }
}

/// A stream of either kind.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A stream that no runtime watches yet.
enum Accepted {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

impl Accepted {
    /// The stream, watched by the runtime of this thread.
    fn open(self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Accepted::Tcp(stream) => Box::new(TcpStream::from_std(stream)?),
            Accepted::Unix(stream) => Box::new(UnixStream::from_std(stream)?),
        })
    }
}

impl Listener {
    async fn accept(&self) -> io::Result<(Accepted, Caller)> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, from) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok((Accepted::Tcp(stream.into_std()?), Caller::Tcp(from)))
            }
            Listener::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let uid = stream.peer_cred()?.uid();
                Ok((Accepted::Unix(stream.into_std()?), Caller::Unix { uid }))
            }
        }
    }
}

async fn converse(
    stream: Box<dyn Stream>,
    caller: Caller,
    router: Router,
    mut stopped: watch::Receiver<bool>,
) {
    let service = tower_service(router, caller);
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(ARRIVAL_MAX)
        // Twice the bound, so that a request a little over it is told what is wrong in our own words.
        .max_header_size(2 * HEADERS_BYTES_MAX)
        .max_buf_size(4 * HEADERS_BYTES_MAX);
    let stream = TokioIo::new(Patient { stream, waits: None });
    let mut connection = pin!(builder.serve_connection(stream, service));
    tokio::select! {
        _ = connection.as_mut() => return, // Its error is the caller's: it has heard or is gone.
        _ = stopped.wait_for(|stopped| *stopped) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(IN_FLIGHT_MAX, connection).await;
}

/// A stream that ends when its other side has taken nothing for too long.
struct Patient {
    stream: Box<dyn Stream>,
    /// Runs while something waits to be taken.
    waits: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    /// What a write came to, or the end.
    fn within<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waits = None;
            return written;
        }
        let waits = self.waits.get_or_insert_with(|| Box::pin(tokio::time::sleep(UNREAD_MAX)));
        waits.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.within(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.within(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.within(flushed, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.within(shut, context)
    }
}

type Service = TowerToHyperService<WithCaller>;

fn tower_service(router: Router, caller: Caller) -> Service {
    TowerToHyperService::new(WithCaller { router, caller })
}

/// Puts the caller beside each request of a connection.
#[derive(Clone)]
struct WithCaller {
    router: Router,
    caller: Caller,
}

impl tower::Service<Request<Incoming>> for WithCaller {
    type Response = axum::response::Response;
    type Error = std::convert::Infallible;
    type Future = axum::routing::future::RouteFuture<std::convert::Infallible>;

    fn poll_ready(
        &mut self,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Self::Error>> {
        tower::Service::<Request<Incoming>>::poll_ready(&mut self.router, context)
    }

    fn call(&mut self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.caller);
        self.router.call(request)
    }
}

#[cfg(test)]
mod tests;
