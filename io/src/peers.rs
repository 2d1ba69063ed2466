//! Connections with peers: one task each, which cuts what arrives into frames and writes what is due.
//!
//! The queues of a link live in the node. Here a connection holds at most [`limits::WINDOW_BYTES`] that
//! wait to be written, because the node sends only what [`What::Writable`] allowed, and at most as much
//! that was read and waits for the loop: [`limits::FRAMES_PER_TURN`] frames, fewer if they are large.
//! Beyond that the socket is not read, and TCP slows the peer down. That bounds the one queue of events
//! in which all connections stand behind each other.
//!
//! Where certificates are configured, a connection is secured before its first frame, and a greeting in a
//! name that the certificate does not bear breaks it.
//!
//! Absent on purpose: handshakes, timeouts of silence, redialling. The node says when to connect and when
//! to stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use quorate_core::ids::ConnectionId;
use quorate_core::limits;
use quorate_core::wire::Blob;
use quorate_core::wire::frame::{Frame, FrameReader};
use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf,
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tracing::{debug, warn};

use crate::net::Net;
use crate::secure::{self, Names, Secure, Wire};

/// Accepted connections at a time; the node refuses them much earlier, this bounds what it has not seen.
const ACCEPTED_MAX: usize = 4096;
/// Bytes read at once.
const READ_BYTES: usize = 16 * 1024;
/// Bytes of several frames that share one write.
const WRITE_BYTES: usize = 64 * 1024;
/// So many bytes must have left before the loop is told, or it would turn once more for each message. The node's window
/// seems smaller by less than this.
const FREED_BYTES: usize = limits::WINDOW_BYTES / 4;
/// How long what was sent before a `Disconnect` may take to leave, and the peer to close its side.
pub(crate) const CLOSE_TIME: Duration = Duration::from_secs(5);
/// After an error of the listener (too many open files, say).
const ERROR_PAUSE: Duration = Duration::from_millis(100);

/// Something happened to a connection.
#[derive(Debug)]
pub(crate) struct Event {
    /// To which.
    pub(crate) connection: ConnectionId,
    /// What.
    pub(crate) what: What,
}

/// See [`Event`].
#[derive(Debug)]
pub(crate) enum What {
    /// It was accepted.
    Accepted {
        /// Whence.
        from: SocketAddr,
        /// Where its bytes go.
        lane: Lane,
    },
    /// A dial succeeded.
    Connected,
    /// A dial failed.
    ConnectFailed,
    /// A frame arrived. Reading goes on when the permit is dropped.
    Frame(Frame, OwnedSemaphorePermit),
    /// What arrives are no frames.
    Broken(String),
    /// It could not be secured.
    Unsecured(String),
    /// Its certificate names another node than the one that greeted.
    Misnamed,
    /// Many bytes have left; [`Lane::take_freed`] says how many.
    Writable,
    /// It ended.
    Closed,
}

/// The loop's end of a connection. Dropping it closes the connection once what was sent has left.
#[derive(Debug)]
pub(crate) struct Lane {
    outgoing: UnboundedSender<Blob>,
    freed: Arc<AtomicUsize>,
    _open: oneshot::Sender<()>,
}

impl Lane {
    /// Writes `bytes`. The node sends no more than it was allowed to, which bounds what waits.
    pub(crate) fn send(&self, bytes: Blob) {
        let _ = self.outgoing.send(bytes); // Gone: `Closed` is on its way.
    }

    /// Bytes that have left since this was asked last.
    pub(crate) fn take_freed(&self) -> usize {
        self.freed.swap(0, Ordering::AcqRel)
    }
}

/// Listens until `open` is closed.
pub(crate) async fn accept_all<N: Net>(
    net: N,
    listener: N::Listener,
    secure: Secure,
    events: UnboundedSender<Event>,
    mut open: watch::Receiver<()>,
) {
    let room = Arc::new(Semaphore::new(ACCEPTED_MAX));
    for number in 0.. {
        let accepted = tokio::select! {
            biased;
            _ = open.changed() => return,
            accepted = next_connection::<N>(&listener, &room) => accepted,
        };
        let Ok((stream, from, permit)) = accepted else {
            net.sleep_until(net.now() + ERROR_PAUSE).await;
            continue;
        };
        let connection = ConnectionId::accepted(number);
        let (lane, mut line) = line(connection, events.clone());
        line.tell(What::Accepted { from, lane });
        let (carrying, secure) = (net.clone(), secure.clone());
        net.spawn(async move {
            let secured = tokio::select! {
                biased;
                _ = &mut line.closing => return,
                secured = secure.accepted(stream) => secured,
            };
            match secured {
                Ok(secured) => line.carry(carrying, secured).await,
                Err(error) => line.unsecured(from, &error),
            }
            drop(permit);
        });
    }
}

/// Dials `to`; dropping the lane gives up.
pub(crate) fn connect<N: Net>(
    net: &N,
    connection: ConnectionId,
    to: SocketAddr,
    secure: &Secure,
    events: UnboundedSender<Event>,
) -> Lane {
    let (lane, mut line) = line(connection, events);
    let (dialling, secure) = (net.clone(), secure.clone());
    net.spawn(async move {
        let connecting = async {
            match dialling.connect(to).await {
                Ok(stream) => Ok(secure.dialled(stream).await),
                Err(error) => Err(error),
            }
        };
        let connected = tokio::select! {
            biased;
            _ = &mut line.closing => return,
            connected = connecting => connected,
        };
        match connected {
            Ok(Ok(secured)) => {
                line.tell(What::Connected);
                line.carry(dialling, secured).await;
            }
            Ok(Err(error)) => line.unsecured(to, &error),
            Err(error) => {
                debug!(%to, %error, "a dial came to nothing");
                line.tell(What::ConnectFailed);
            }
        }
    });
    lane
}

async fn next_connection<N: Net>(
    listener: &N::Listener,
    room: &Arc<Semaphore>,
) -> std::io::Result<(N::Stream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = room.clone().acquire_owned().await.expect("the semaphore is never closed");
    let (stream, from) = N::accept(listener).await?;
    Ok((stream, from, permit))
}

/// The task's end of a connection.
struct Line {
    connection: ConnectionId,
    events: UnboundedSender<Event>,
    outgoing: UnboundedReceiver<Blob>,
    freed: Arc<AtomicUsize>,
    closing: oneshot::Receiver<()>,
}

fn line(connection: ConnectionId, events: UnboundedSender<Event>) -> (Lane, Line) {
    let (sender, outgoing) = unbounded_channel();
    let (open, closing) = oneshot::channel();
    let freed = Arc::new(AtomicUsize::new(0));
    let lane = Lane { outgoing: sender, freed: freed.clone(), _open: open };
    (lane, Line { connection, events, outgoing, freed, closing })
}

impl Line {
    fn tell(&self, what: What) {
        let _ = self.events.send(Event { connection: self.connection, what }); // The loop has ended.
    }

    /// Nothing is carried: `peer` and we do not trust each other, or one of us does not secure connections.
    fn unsecured(&self, peer: SocketAddr, error: &std::io::Error) {
        let what = secure::words(error);
        warn!(%peer, what, "a connection with a peer is not secured");
        self.tell(What::Unsecured(what));
    }

    /// Carries bytes both ways until either side ends.
    async fn carry<N: Net>(self, net: N, secured: (Box<dyn Wire>, Option<Names>)) {
        let (stream, names) = secured;
        let Line { connection, events, mut outgoing, freed, mut closing } = self;
        let tell = |what| drop(events.send(Event { connection, what }));
        free(&freed, limits::WINDOW_BYTES, &tell);
        let (mut reader, mut writer) = tokio::io::split(stream);
        let given_up = async {
            let _ = (&mut closing).await; // Only ever dropped.
            net.sleep_until(net.now() + CLOSE_TIME).await;
        };
        let written = tokio::select! {
            biased;
            () = given_up => false,
            () = read_all(&mut reader, names.as_ref(), &tell) => false,
            written = write_all(&mut writer, &mut outgoing, &freed, &tell) => written,
        };
        if written {
            // Closing before the peer has read would make its host throw away the last frames.
            let deadline = net.sleep_until(net.now() + CLOSE_TIME);
            tokio::select! {
                biased;
                () = deadline => {}
                () = wait_for_end(&mut reader) => {}
            }
        }
        tell(What::Closed);
    }
}

async fn read_all<S: AsyncRead>(
    reader: &mut ReadHalf<S>,
    names: Option<&Names>,
    tell: &impl Fn(What),
) {
    let room = Arc::new(Semaphore::new(limits::FRAMES_PER_TURN));
    let mut frames = FrameReader::default();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match frames.next_frame() {
            Ok(Some(frame)) if names.is_some_and(|names| !names.admit(&frame)) => {
                tell(What::Misnamed);
                return std::future::pending().await; // The node decides when it is closed.
            }
            Ok(Some(frame)) => {
                let permit = room.clone().acquire_many_owned(units(&frame)).await;
                tell(What::Frame(frame, permit.expect("the semaphore is never closed")));
            }
            Ok(None) => {
                let length = match reader.read(&mut buffer).await {
                    Ok(length @ 1..) => length,
                    // A dialer hears only now that its certificate was refused (RFC 8446 §4.4.2.4).
                    Err(error) if secure::is_refusal(&error) => {
                        let what = secure::words(&error);
                        warn!(what, "a connection with a peer is not secured");
                        return tell(What::Unsecured(what));
                    }
                    Ok(_) | Err(_) => return,
                };
                frames.push(buffer.get(..length).expect("no more is read than there is room"));
            }
            Err(error) => {
                tell(What::Broken(error.to_string()));
                return std::future::pending().await; // The node decides when it is closed.
            }
        }
    }
}

/// What a frame takes of the room of its connection: a window's bytes are [`limits::FRAMES_PER_TURN`]
/// units, and a frame that is larger than the window stands alone.
fn units(frame: &Frame) -> u32 {
    const UNIT_BYTES: usize = limits::WINDOW_BYTES / limits::FRAMES_PER_TURN;
    let units = (1 + frame.payload.len() / UNIT_BYTES).min(limits::FRAMES_PER_TURN);
    u32::try_from(units).expect("a connection has few units")
}

/// Whether everything was written before the lane was dropped.
async fn write_all<S: AsyncWrite>(
    writer: &mut WriteHalf<S>,
    outgoing: &mut UnboundedReceiver<Blob>,
    freed: &AtomicUsize,
    tell: &impl Fn(What),
) -> bool {
    let mut buffer = Vec::new();
    while let Some(first) = outgoing.recv().await {
        buffer.clear();
        buffer.extend_from_slice(&first);
        while buffer.len() < WRITE_BYTES {
            let Ok(next) = outgoing.try_recv() else { break };
            buffer.extend_from_slice(&next);
        }
        if writer.write_all(&buffer).await.is_err() || writer.flush().await.is_err() {
            return false;
        }
        free(freed, buffer.len(), tell);
    }
    writer.shutdown().await.is_ok()
}

/// Lets `bytes` more be sent. One event stands for all that the loop has not yet taken.
fn free(freed: &AtomicUsize, bytes: usize, tell: &impl Fn(What)) {
    let before = freed.fetch_add(bytes, Ordering::AcqRel);
    if before < FREED_BYTES && before + bytes >= FREED_BYTES {
        tell(What::Writable);
    }
}

async fn wait_for_end<S: AsyncRead>(reader: &mut ReadHalf<S>) {
    let mut buffer = vec![0; READ_BYTES];
    while let Ok(1..) = reader.read(&mut buffer).await {}
}

#[cfg(test)]
mod tests {
    use quorate_core::wire::frame::Class;

    use super::*;

    #[tokio::test]
    async fn a_connection_hands_over_one_window_and_reads_on_as_the_loop_takes() {
        let small = Frame::new(Class::Gossip, vec![1; 10]);
        let large = Frame::new(Class::Control, vec![1; limits::FRAME_CONTROL_BYTES_MAX]);
        for (frame, window) in [(small, limits::FRAMES_PER_TURN), (large, 1)] {
            let (near, mut far) = tokio::io::duplex(WRITE_BYTES);
            let (mut reader, _writer) = tokio::io::split(near);
            let (events, mut heard) = unbounded_channel();
            let reading = tokio::spawn(async move {
                read_all(&mut reader, None, &|what| drop(events.send(what))).await;
            });
            let bytes = frame.encode();
            let sending = tokio::spawn(async move {
                for _ in 0..window + 3 {
                    far.write_all(&bytes).await.expect("somebody reads");
                }
            });
            let mut held = Vec::new();
            for _ in 0..window {
                held.push(heard.recv().await.expect("within the window"));
            }
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            assert!(heard.try_recv().is_err(), "a frame beyond the window");
            for _ in 0..3 {
                held.remove(0); // The loop takes one.
                held.push(heard.recv().await.expect("one more is read"));
            }
            sending.await.expect("everything was read");
            reading.await.expect("the end of the stream ends the task");
        }
    }
}
