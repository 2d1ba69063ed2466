//! The network and the time below the shell, so that a true and a false world run the very same loop.
//!
//! Absent on purpose: a `cfg` or a cargo feature. All networks live in one build and none can reach the
//! daemon by accident.

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use quorate_core::time::{Instant, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite};

/// Bytes that the kernel may hold of datagrams not yet received: a burst of a thousand nodes' digests.
const DATAGRAM_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// Sockets, a clock and tasks.
pub trait Net: Clone + Send + Sync + 'static {
    /// A bound datagram socket.
    type Udp: Send + Sync + 'static;
    /// A listening stream socket.
    type Listener: Send + Sync + 'static;
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Binds a datagram socket.
    fn bind_udp(&self, address: SocketAddr) -> impl Future<Output = io::Result<Self::Udp>> + Send;
    /// Sends one datagram.
    fn udp_send(
        udp: &Self::Udp,
        bytes: &[u8],
        to: SocketAddr,
    ) -> impl Future<Output = io::Result<()>> + Send;
    /// Receives one datagram; what does not fit into `bytes` is cut off.
    fn udp_recv(
        udp: &Self::Udp,
        bytes: &mut [u8],
    ) -> impl Future<Output = io::Result<(usize, SocketAddr)>> + Send;
    /// Listens for connections.
    fn listen(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::Listener>> + Send;
    /// Where a listener listens.
    fn listener_address(listener: &Self::Listener) -> io::Result<SocketAddr>;
    /// The next connection.
    fn accept(
        listener: &Self::Listener,
    ) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;
    /// Connects.
    fn connect(&self, to: SocketAddr) -> impl Future<Output = io::Result<Self::Stream>> + Send;
    /// The present instant.
    fn now(&self) -> Instant;
    /// What the wall clock reads.
    fn wall(&self) -> UnixTime;
    /// Ends at `at` or soon after, at once if that has passed.
    fn sleep_until(&self, at: Instant) -> impl Future<Output = ()> + Send;
    /// Starts a task that nobody waits for.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static);
}

/// Makes a [`Net`] of a module that has tokio's sockets: its name, the module, a clock
/// `fn() -> Instant`, a wall clock
/// `fn() -> UnixTime`, and what is done to a fresh datagram socket.
#[macro_export]
macro_rules! tokio_like_net {
    ($(#[$about:meta])* $name:ident, $($net:ident)::+, $clock:path, $wall:path, $tune:path) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, Default)]
        pub struct $name;

        impl $crate::net::Net for $name {
            type Udp = $($net)::+::UdpSocket;
            type Listener = $($net)::+::TcpListener;
            type Stream = $($net)::+::TcpStream;

            async fn bind_udp(&self, address: std::net::SocketAddr) -> std::io::Result<Self::Udp> {
                let udp = Self::Udp::bind(address).await?;
                $tune(&udp);
                Ok(udp)
            }

            async fn udp_send(
                udp: &Self::Udp,
                bytes: &[u8],
                to: std::net::SocketAddr,
            ) -> std::io::Result<()> {
                udp.send_to(bytes, to).await.map(|_| ())
            }

            async fn udp_recv(
                udp: &Self::Udp,
                bytes: &mut [u8],
            ) -> std::io::Result<(usize, std::net::SocketAddr)> {
                udp.recv_from(bytes).await
            }

            async fn listen(
                &self,
                address: std::net::SocketAddr,
            ) -> std::io::Result<Self::Listener> {
                Self::Listener::bind(address).await
            }

            fn listener_address(listener: &Self::Listener) -> std::io::Result<std::net::SocketAddr> {
                listener.local_addr()
            }

            async fn accept(
                listener: &Self::Listener,
            ) -> std::io::Result<(Self::Stream, std::net::SocketAddr)> {
                let (stream, from) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok((stream, from))
            }

            async fn connect(&self, to: std::net::SocketAddr) -> std::io::Result<Self::Stream> {
                let stream = Self::Stream::connect(to).await?;
                stream.set_nodelay(true)?;
                Ok(stream)
            }

            fn now(&self) -> quorate_core::time::Instant {
                $clock()
            }

            fn wall(&self) -> quorate_core::time::UnixTime {
                $wall()
            }

            async fn sleep_until(&self, at: quorate_core::time::Instant) {
                tokio::time::sleep(at.since($clock())).await;
            }

            fn spawn(&self, task: impl std::future::Future<Output = ()> + Send + 'static) {
                tokio::spawn(task);
            }
        }
    };
}

tokio_like_net!(
    /// The network of this machine.
    TokioNet,
    tokio::net,
    crate::clock::now,
    crate::clock::wall,
    widen
);

/// Asks for a large receive buffer. A smaller one loses more in bursts, and gossip repairs that.
fn widen(udp: &tokio::net::UdpSocket) {
    let _ = socket2::SockRef::from(udp).set_recv_buffer_size(DATAGRAM_BUFFER_BYTES);
}

/// Binds the peers' listener and the datagram socket to the same port. A port 0 is chosen by the
/// machine for the listener; when another process has it for datagrams, the next choice is tried.
pub(crate) async fn bind_peers<N: Net>(
    net: &N,
    address: SocketAddr,
) -> io::Result<(N::Listener, N::Udp, SocketAddr)> {
    const TRIES: usize = 16;
    let mut tries = 1;
    loop {
        let listener = net.listen(address).await?;
        let bound = N::listener_address(&listener)?;
        match net.bind_udp(bound).await {
            Ok(udp) => return Ok((listener, udp, bound)),
            Err(error) if address.port() != 0 || tries == TRIES => return Err(error),
            Err(_) => tries += 1,
        }
    }
}
