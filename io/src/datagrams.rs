//! The datagram socket: seals what leaves, opens what comes.
//!
//! Two tasks stand between socket and loop. Both queues are bounded; what does not fit is dropped and
//! counted, as the network itself would.
//!
//! Absent on purpose: an answer. Nothing here sends because something arrived.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use quorate_core::limits;
use quorate_core::wire::Blob;
use tokio::sync::{mpsc, watch};

use crate::net::Net;
use crate::seal::{Keyring, Unopened};
use crate::traffic::{Queue, Traffic};

/// Datagrams that wait for the loop.
const INCOMING_MAX: usize = 1024;
/// Datagrams that wait for the socket: a few rounds to every target.
const OUTGOING_MAX: usize = 4096;
/// After an error of the socket, so that one that stays does not burn a core.
const ERROR_PAUSE: Duration = Duration::from_millis(10);

/// The keys in use; a reload swaps them.
pub(crate) type SharedKeyring = Arc<ArcSwap<Keyring>>;

/// A datagram that opened.
#[derive(Debug)]
pub(crate) struct Incoming {
    /// Whence.
    pub(crate) from: SocketAddr,
    /// Its plain text.
    pub(crate) plain: Blob,
}

/// Where plain texts go out. What was handed over leaves even when this value is dropped.
#[derive(Debug)]
pub(crate) struct Outbox {
    waiting: mpsc::Sender<(SocketAddr, Blob)>,
    traffic: Arc<Traffic>,
}

impl Outbox {
    /// Sends `plain`, or drops it if the socket cannot follow.
    pub(crate) fn send(&self, to: SocketAddr, plain: Blob) {
        if self.waiting.try_send((to, plain)).is_err() {
            self.traffic.dropped(Queue::DatagramsOut);
        }
    }

    /// Datagrams that wait.
    pub(crate) fn depth(&self) -> usize {
        OUTGOING_MAX - self.waiting.capacity()
    }
}

/// Starts both tasks over `udp`. They end when `open` is closed and the outbox is gone.
pub(crate) fn start<N: Net>(
    net: &N,
    udp: N::Udp,
    keyring: SharedKeyring,
    traffic: Arc<Traffic>,
    open: watch::Receiver<()>,
) -> (Outbox, mpsc::Receiver<Incoming>) {
    let udp = Arc::new(udp);
    let (waiting, outgoing) = mpsc::channel(OUTGOING_MAX);
    let (arrived, incoming) = mpsc::channel(INCOMING_MAX);
    net.spawn(send_all::<N>(udp.clone(), outgoing, keyring.clone(), traffic.clone()));
    net.spawn(receive_all(net.clone(), udp, arrived, keyring, traffic.clone(), open));
    (Outbox { waiting, traffic }, incoming)
}

async fn send_all<N: Net>(
    udp: Arc<N::Udp>,
    mut outgoing: mpsc::Receiver<(SocketAddr, Blob)>,
    keyring: SharedKeyring,
    traffic: Arc<Traffic>,
) {
    while let Some((to, plain)) = outgoing.recv().await {
        let datagram = keyring.load().seal(&plain);
        assert!(
            datagram.len() <= limits::DATAGRAM_BYTES_MAX,
            "M-4: a datagram of {} bytes was to be sent",
            datagram.len()
        );
        // An error is the network's: no route, a full queue. Whatever was lost is sent again.
        if N::udp_send(&udp, &datagram, to).await.is_ok() {
            traffic.datagrams_sent.add(1);
            traffic.datagram_bytes_sent.add(datagram.len() as u64);
        }
    }
}

async fn receive_all<N: Net>(
    net: N,
    udp: Arc<N::Udp>,
    arrived: mpsc::Sender<Incoming>,
    keyring: SharedKeyring,
    traffic: Arc<Traffic>,
    mut open: watch::Receiver<()>,
) {
    // One byte more than is legal, so that what is longer is seen to be.
    let mut buffer = [0; limits::DATAGRAM_BYTES_MAX + 1];
    loop {
        let received = tokio::select! {
            biased;
            _ = open.changed() => return,
            received = N::udp_recv(&udp, &mut buffer) => received,
        };
        let Ok((length, from)) = received else {
            net.sleep_until(net.now() + ERROR_PAUSE).await;
            continue;
        };
        traffic.datagrams_received.add(1);
        traffic.datagram_bytes_received.add(length as u64);
        let datagram = buffer.get(..length).ok_or(Unopened::Size);
        match datagram.and_then(|datagram| keyring.load().unseal(datagram)) {
            Ok(plain) => {
                let incoming = Incoming { from, plain: plain.into() };
                if arrived.try_send(incoming).is_err() {
                    traffic.dropped(Queue::DatagramsIn);
                }
            }
            Err(why) => traffic.unopened(why),
        }
    }
}
