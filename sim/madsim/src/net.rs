//! madsim's sockets, clock and tasks as the shell's network.

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use madsim::net::{TcpListener, TcpStream, UdpSocket};
use quorate::net::Net;
use quorate_core::time::{Instant, UnixTime, micros};
use quorate_sim::clock::WALL_ORIGIN_US;

/// The network of madsim.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MadsimNet;

impl Net for MadsimNet {
    type Udp = UdpSocket;
    type Listener = TcpListener;
    type Stream = TcpStream;

    async fn bind_udp(&self, address: SocketAddr) -> io::Result<UdpSocket> {
        UdpSocket::bind(address).await
    }

    async fn udp_send(udp: &UdpSocket, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
        udp.send_to(to, bytes).await
    }

    async fn udp_recv(udp: &UdpSocket, bytes: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        udp.recv_from(bytes).await
    }

    async fn listen(&self, address: SocketAddr) -> io::Result<TcpListener> {
        TcpListener::bind(address).await
    }

    fn listener_address(listener: &TcpListener) -> io::Result<SocketAddr> {
        listener.local_addr()
    }

    async fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
        listener.accept().await
    }

    async fn connect(&self, to: SocketAddr) -> io::Result<TcpStream> {
        TcpStream::connect(to).await
    }

    fn now(&self) -> Instant {
        Instant::from_micros(micros(madsim::time::TimeHandle::current().elapsed()))
    }

    /// Machines have walls of their own above this one.
    fn wall(&self) -> UnixTime {
        UnixTime((WALL_ORIGIN_US + self.now().as_micros()) / 1000)
    }

    async fn sleep_until(&self, at: Instant) {
        madsim::time::sleep(at.since(self.now())).await;
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        madsim::task::spawn(task);
    }
}
