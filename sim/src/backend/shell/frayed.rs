//! A network that does to a shell's packets what the world's links do, over the network of an engine.
//!
//! Datagrams are lost, doubled, late, too large, cut and kept as the link says. A connection hands over what it has
//! in pieces of any length, in both directions; over a cut or clogged link it stands still and goes on after, as
//! one whose packets are sent again; and it breaks when the world says so. Whoever writes more than the far end reads
//! has to wait, as before a full socket.
//!
//! The clock is the machine's.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use quorate::net::Net;
use quorate_core::random::Rng;
use quorate_core::time::{Instant, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Yard, stands};
use crate::clock::Micros;
use crate::net::{Kind, State};

/// A delay below this is the engine's own.
const SHORT_US: Micros = 1000;
/// The longest of the short pieces.
const PIECE_BYTES: usize = 40;
/// What the sockets of a connection hold one way, before its writer has to wait.
const SOCKET_BYTES: u64 = 16 * 1024;

/// See the module.
#[derive(Clone)]
pub struct Frayed<N> {
    inner: N,
    yard: Yard,
    machine: usize,
}

/// A datagram socket of it.
pub struct Udp<N: Net> {
    inner: Arc<N::Udp>,
    net: Frayed<N>,
}

/// A listener of it.
pub struct Listener<N: Net> {
    inner: N::Listener,
    net: Frayed<N>,
}

/// A connection of it.
pub struct Stream<S> {
    inner: S,
    yard: Yard,
    machine: usize,
    peer: Option<usize>,
    resets: u64,
    draws: Rng,
    /// Until when a slow reader has enough to do with what it read.
    busy_until: Micros,
    /// What was written here and is not read at the far end, and when that was so.
    unread: (u64, Micros),
}

impl<N: Net> Frayed<N> {
    pub(super) fn new(inner: N, yard: Yard, machine: usize) -> Frayed<N> {
        Frayed { inner, yard, machine }
    }

    fn peer(&self, address: SocketAddr) -> Option<usize> {
        self.yard.with(|world| world.machine_at(address.ip())).flatten()
    }

    fn stream(&self, inner: N::Stream, peer: Option<usize>) -> Stream<N::Stream> {
        let Frayed { yard, machine, .. } = self.clone();
        let resets = peer.map_or(0, |peer| yard.resets(machine, peer));
        let seed = yard.with(|world| world.draw_of_stream(machine)).unwrap_or_default();
        let draws = Rng::from_number(seed);
        Stream { inner, yard, machine, peer, resets, draws, busy_until: 0, unread: (0, 0) }
    }

    /// Ends when the link carries.
    async fn passable(&self, kind: Kind, from: usize, to: usize) {
        poll_fn(|context| match self.yard.carries(kind, from, to, context.waker()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
    }

    /// Ends when the process goes on.
    async fn going_on(&self) {
        poll_fn(|context| match self.yard.goes_on(self.machine, context.waker()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
    }

    fn world_now(&self) -> Micros {
        self.yard.with(|world| world.now()).unwrap_or_default()
    }
}

impl<N: Net> Net for Frayed<N> {
    type Udp = Udp<N>;
    type Listener = Listener<N>;
    type Stream = Stream<N::Stream>;

    async fn bind_udp(&self, address: SocketAddr) -> io::Result<Udp<N>> {
        let inner = Arc::new(self.inner.bind_udp(address).await?);
        Ok(Udp { inner, net: self.clone() })
    }

    async fn udp_send(udp: &Udp<N>, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
        let net = &udp.net;
        let Some(flight) = net.yard.with(|world| world.flies(net.machine, to, bytes.len())) else {
            return Ok(());
        };
        for after in flight.after {
            if after <= SHORT_US && flight.to_clogged.is_none() {
                // What the network refuses is lost.
                let _ = N::udp_send(&udp.inner, bytes, to).await;
                continue;
            }
            let (inner, net, bytes) = (udp.inner.clone(), net.clone(), bytes.to_vec());
            let at = net.now() + Duration::from_micros(after);
            udp.net.spawn(async move {
                net.sleep_until(at).await;
                if let Some(peer) = flight.to_clogged {
                    net.passable(Kind::Datagram, net.machine, peer).await;
                }
                let _ = N::udp_send(&inner, &bytes, to).await;
            });
        }
        Ok(())
    }

    async fn udp_recv(udp: &Udp<N>, bytes: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let received = N::udp_recv(&udp.inner, bytes).await;
        udp.net.going_on().await;
        received
    }

    async fn listen(&self, address: SocketAddr) -> io::Result<Listener<N>> {
        Ok(Listener { inner: self.inner.listen(address).await?, net: self.clone() })
    }

    fn listener_address(listener: &Listener<N>) -> io::Result<SocketAddr> {
        N::listener_address(&listener.inner)
    }

    async fn accept(listener: &Listener<N>) -> io::Result<(Self::Stream, SocketAddr)> {
        let (stream, from) = N::accept(&listener.inner).await?;
        listener.net.going_on().await;
        Ok((listener.net.stream(stream, listener.net.peer(from)), from))
    }

    async fn connect(&self, to: SocketAddr) -> io::Result<Self::Stream> {
        let peer = self.peer(to);
        if let Some(peer) = peer.filter(|peer| *peer != self.machine) {
            self.passable(Kind::Stream, self.machine, peer).await;
            self.passable(Kind::Stream, peer, self.machine).await;
        }
        let stream = self.inner.connect(to).await?;
        self.going_on().await;
        Ok(self.stream(stream, peer))
    }

    fn now(&self) -> Instant {
        let local = self.yard.with(|world| world.machine(self.machine).clock.local(world.now()));
        local.unwrap_or_else(|| self.inner.now())
    }

    fn wall(&self) -> UnixTime {
        let wall = self.yard.with(|world| world.machine(self.machine).clock.wall(world.now()));
        wall.map_or_else(|| self.inner.wall(), |micros| UnixTime(micros / 1000))
    }

    async fn sleep_until(&self, at: Instant) {
        let due = self.yard.with(|world| world.machine(self.machine).clock.world(at));
        let wait = due.unwrap_or_default().saturating_sub(self.world_now());
        self.inner.sleep_until(self.inner.now() + Duration::from_micros(wait)).await;
        self.going_on().await;
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.inner.spawn(task);
    }
}

impl<S> Stream<S> {
    fn whole(&self) -> io::Result<()> {
        let resets = self.peer.map_or(0, |peer| self.yard.resets(self.machine, peer));
        if resets == self.resets { Ok(()) } else { Err(io::ErrorKind::ConnectionReset.into()) }
    }

    /// How fast the far end is read here, and what time it is.
    fn pace(&self) -> (Option<u64>, Micros) {
        let pace =
            |peer| self.yard.with(|world| (world.link(peer, self.machine).reader, world.now()));
        self.peer.and_then(pace).unwrap_or_default()
    }

    /// How many of `most` bytes may be read now; none while a slow reader is busy.
    fn readable(&self, most: usize) -> Option<usize> {
        let (Some(rate), now) = self.pace() else { return Some(most) };
        let at_once = usize::try_from(rate / 10).unwrap_or(usize::MAX).max(1);
        (now >= self.busy_until).then_some(most.min(at_once))
    }

    /// So many bytes were read.
    fn read(&mut self, bytes: usize) {
        if let (Some(rate), now) = self.pace() {
            self.busy_until = now + bytes as u64 * 1_000_000 / rate.max(1);
        }
    }

    /// How much may be written: the far end reads as fast as its machine does, and nothing over a link that does
    /// not carry.
    fn room(&mut self) -> usize {
        let machine = self.machine;
        let told = self.peer.and_then(|peer| {
            self.yard.with(|world| {
                let link = world.link(machine, peer);
                let stuck = link.state(Kind::Stream) != State::Open || stands(world, peer);
                (if stuck { Some(0) } else { link.reader }, world.now())
            })
        });
        let Some((rate, now)) = told else { return usize::MAX };
        let (unread, since) = self.unread;
        let read = rate.map_or(unread, |rate| rate * (now - since) / 1_000_000);
        if read > 0 || rate == Some(0) {
            self.unread = (unread.saturating_sub(read), now);
        }
        usize::try_from(SOCKET_BYTES.saturating_sub(self.unread.0)).unwrap_or(usize::MAX)
    }

    /// How many of `most` bytes go at once.
    fn piece(&mut self, most: usize) -> usize {
        if self.draws.chance(1, 4) { most.min(1 + self.draws.index(PIECE_BYTES)) } else { most }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Stream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.whole()?;
        let machine = self.machine;
        if !self.yard.goes_on(machine, context.waker()) {
            return Poll::Pending;
        }
        if let Some(peer) = self.peer
            && !self.yard.carries(Kind::Stream, peer, machine, context.waker())
        {
            return Poll::Pending;
        }
        let Some(most) = self.readable(out.remaining()) else {
            self.yard.soon(context.waker());
            return Poll::Pending;
        };
        let length = self.piece(most);
        let mut piece = ReadBuf::new(out.initialize_unfilled_to(length));
        let read = Pin::new(&mut self.inner).poll_read(context, &mut piece);
        let filled = piece.filled().len();
        out.advance(filled);
        self.read(filled);
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.whole()?;
        let room = self.room();
        if room == 0 {
            self.yard.soon(context.waker());
            return Poll::Pending;
        }
        let length = self.piece(bytes.len().min(room));
        let piece = bytes.get(..length).unwrap_or(bytes);
        let written = Pin::new(&mut self.inner).poll_write(context, piece);
        if let Poll::Ready(Ok(bytes)) = &written {
            self.unread.0 += *bytes as u64;
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
