//! The loop over real sockets of this machine, around a node that does what the test says.

#![expect(
    clippy::wildcard_enum_match_arm,
    clippy::single_match,
    reason = "a puppet acts on the inputs that its test is about"
)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use quorate_core::ids::{ClusterId, ConnectionId, Incarnation, NodeId, Replica};
use quorate_core::machine::Wake;
use quorate_core::node::settings::Profile;
use quorate_core::node::{
    Announcement, Call, Image, Keyspace, Members, Published, Reply, Request, Settings,
};
use quorate_core::wire::Blob;
use quorate_core::wire::frame::{Class, Frame};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::broadcast;

use super::*;
use crate::handle::Heard;
use crate::net::TokioNet;
use crate::outside::{Answering, Outside};
use crate::seal::Keyring;
use crate::serve::{Running, ServeSettings, start_on};

const SOON: Duration = Duration::from_secs(30);

/// Does what a closure says, and is woken when the closure wished so.
struct Puppet<F> {
    act: F,
    wake: Option<Instant>,
    published: Arc<Published>,
    turns: Arc<AtomicUsize>,
}

impl<F: FnMut(&mut Option<Instant>, Instant, Input, &mut Vec<Effect>)> Machine for Puppet<F> {
    type Input = Input;
    type Output = Effect;

    fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Effect>) {
        (self.act)(&mut self.wake, now, input, out);
    }

    fn next_wake(&self) -> Option<Wake> {
        self.wake.map(|at| Wake { at, what: "the test wished it" })
    }
}

impl<F: FnMut(&mut Option<Instant>, Instant, Input, &mut Vec<Effect>)> Mind for Puppet<F> {
    fn flush(&mut self, _now: Instant, _out: &mut Vec<Effect>) {
        self.turns.fetch_add(1, Ordering::Relaxed);
    }

    fn published(&self) -> &Arc<Published> {
        &self.published
    }
}

/// A world that resolves every name to the address it says.
struct Literal;

impl Outside for Literal {
    fn answer(&self, call: Call) -> Answering {
        Box::pin(async move {
            match call {
                Call::Resolve { name } => Answer::Resolved(name.parse().into_iter().collect()),
                Call::Probe(_) => panic!("nobody probes here"),
                Call::Credential(_) => panic!("nobody keeps credentials here"),
            }
        })
    }
}

fn settings() -> ServeSettings {
    let address: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let node: NodeId = "n1".parse().unwrap();
    ServeSettings {
        node: Settings::new(node, ClusterId("test".into()), address, Profile::Local),
        data: None,
        listen: address,
        advertise: None,
        keyring: Default::default(),
        insecure: false,
        tls: None,
        worker_keys: Default::default(),
        credentials: None,
        record: None,
    }
}

pub(crate) fn published(local: Replica, at: Instant) -> Published {
    let members = Members {
        version: 0,
        born: local.incarnation,
        local,
        joined: false,
        leaving: false,
        draining: false,
        rows: Default::default(),
        score: 0,
        full: false,
        at,
    };
    Published {
        members: ArcSwap::from_pointee(members),
        workers: Default::default(),
        credentials: Default::default(),
        pools: Default::default(),
        gossip: Default::default(),
        links: Default::default(),
        raft: Default::default(),
        kv: Default::default(),
        log: Default::default(),
        replicas: Default::default(),
        counts: Default::default(),
    }
}

async fn start<F>(serve: ServeSettings, act: F) -> Running
where
    F: FnMut(&mut Option<Instant>, Instant, Input, &mut Vec<Effect>) + Send + 'static,
{
    start_counting(serve, Arc::default(), act).await
}

async fn start_counting<F>(serve: ServeSettings, turns: Arc<AtomicUsize>, act: F) -> Running
where
    F: FnMut(&mut Option<Instant>, Instant, Input, &mut Vec<Effect>) + Send + 'static,
{
    let boot = |settings: Settings, incarnation, _image: &Image, _seed, now| {
        let node = settings.membership.node;
        assert!(incarnation > Incarnation(1_000_000), "a first life is named by the wall clock");
        let published = Arc::new(published(Replica { node, incarnation }, now));
        Puppet { act, wake: None, published, turns }
    };
    start_on(TokioNet, serve, Vec::new(), boot, |_, _, _| Arc::new(Literal))
        .await
        .expect("a free port")
}

fn said(what: impl Into<String>) -> Effect {
    Effect::Announce(Announcement::Misbehaved { peer: None, what: what.into() })
}

/// Waits until the node says `what`.
async fn until(heard: &mut broadcast::Receiver<Heard>, what: &str) {
    let waiting = async {
        loop {
            let heard = heard.recv().await.expect("the node runs");
            if matches!(heard.announcement, Announcement::Misbehaved { what: said, .. } if said == what)
            {
                return;
            }
        }
    };
    tokio::time::timeout(SOON, waiting).await.unwrap_or_else(|_| panic!("`{what}` was never said"));
}

/// Every request has this reply, once everything that the closure does is done.
fn reply(ticket: Ticket) -> Effect {
    Effect::Reply { ticket, reply: Reply::Done }
}

#[tokio::test]
async fn frames_arrive_whole_in_order_and_before_the_close_that_was_sent_behind_them() {
    const COUNT: u32 = 3000;
    let mut expected = 0;
    let acceptor = start(settings(), move |_, _, input, out| match input {
        Input::Frame { frame, .. } => {
            assert_eq!(frame.payload.get(..4), Some(&expected_bytes(expected)[..]));
            expected += 1;
        }
        Input::Closed { .. } => out.push(said(format!("closed after {expected}"))),
        _ => {}
    })
    .await;
    let mut heard = acceptor.handle.listen();
    let (to, connection) = (acceptor.address, ConnectionId::dialled(0));
    let (mut sent, mut room) = (0, 0);
    let _dialler = start(settings(), move |_, _, input, out| match input {
        Input::Start => out.push(Effect::Connect { connection, to }),
        Input::Writable { bytes, .. } => {
            room += bytes;
            while sent < COUNT {
                let mut payload = expected_bytes(sent).to_vec();
                payload.resize(4 + sent as usize % 3000, 7);
                let bytes = Frame::new(Class::Gossip, payload).encode();
                if bytes.len() > room {
                    return;
                }
                room -= bytes.len();
                sent += 1;
                out.push(Effect::Send { connection, bytes: bytes.into() });
            }
            out.push(Effect::Disconnect { connection });
        }
        _ => {}
    })
    .await;
    until(&mut heard, &format!("closed after {COUNT}")).await;
}

fn expected_bytes(number: u32) -> [u8; 4] {
    number.to_le_bytes()
}

#[tokio::test]
async fn a_peer_whose_bytes_are_no_frames_is_reported_once_and_closed_when_the_node_says_so() {
    let running = start(settings(), |_, _, input, out| match input {
        Input::Broken { connection, .. } => {
            out.push(said("broken"));
            out.push(Effect::Disconnect { connection });
        }
        Input::Frame { .. } => out.push(said("a frame?")),
        _ => {}
    })
    .await;
    let mut heard = running.handle.listen();
    let mut stream = tokio::net::TcpStream::connect(running.address).await.unwrap();
    stream.write_all(&[9; 100]).await.unwrap();
    until(&mut heard, "broken").await;
    let mut rest = Vec::new();
    let closed = tokio::time::timeout(SOON, stream.read_to_end(&mut rest)).await.expect("closed");
    assert!(closed.is_err() || rest.is_empty(), "not a byte is answered");
}

#[tokio::test]
async fn last_words_reach_a_peer_that_was_still_talking() {
    const WORDS: usize = 200_000;
    let running = start(settings(), |_, _, input, out| match input {
        Input::Writable { connection, .. } => {
            let bytes = Frame::new(Class::Gossip, vec![7; WORDS]).encode();
            out.push(Effect::Send { connection, bytes: bytes.into() });
            out.push(Effect::Disconnect { connection });
        }
        _ => {}
    })
    .await;
    let stream = tokio::net::TcpStream::connect(running.address).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let talking = tokio::spawn(async move {
        let chatter = Frame::new(Class::Control, vec![1; 5000]).encode();
        for _ in 0..500 {
            if writer.write_all(&chatter).await.is_err() {
                return; // The other side has heard enough.
            }
        }
    });
    let mut words = Vec::new();
    let read = tokio::time::timeout(SOON, reader.read_to_end(&mut words)).await.expect("an end");
    assert_eq!((read.is_ok(), words.len() > WORDS), (true, true), "cut at {}", words.len());
    talking.abort();
}

#[tokio::test]
async fn requests_and_stores_go_on_while_a_peer_sends_all_it_can() {
    let disk = fresh_directory("busy");
    let mut serve = settings();
    serve.data = Some(disk.clone());
    let (mut frames, mut waiting) = (0, None);
    let running = start(serve, move |_, _, input, out| match input {
        Input::Frame { .. } => {
            frames += 1;
            if frames == 1000 {
                out.push(said("a thousand"));
            }
        }
        Input::Request { ticket, .. } => {
            let row = (Keyspace::Local, "a".to_owned(), Some(Blob::from("x")));
            out.push(Effect::Store { ticket, batch: vec![row] });
            waiting = Some(ticket);
        }
        Input::Stored { ticket } => {
            assert_eq!(waiting, Some(ticket));
            out.push(reply(ticket));
        }
        _ => {}
    })
    .await;
    let mut heard = running.handle.listen();
    let address = running.address;
    let sending = tokio::spawn(async move {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let frame = Frame::new(Class::Control, vec![1; 10_000]).encode();
        for _ in 0..1000 {
            stream.write_all(&frame).await.unwrap();
        }
        stream
    });
    for _ in 0..20 {
        running.handle.ask(Request::Drain { on: true }, SOON).await.expect("requests go on");
    }
    until(&mut heard, "a thousand").await;
    drop((sending, running));
    let _ = std::fs::remove_dir_all(disk);
}

#[tokio::test]
async fn garbage_is_dropped_counted_and_never_answered() {
    let running = start(settings(), |_, _, input, out| match input {
        Input::Datagram { bytes, .. } => out.push(said(String::from_utf8_lossy(&bytes))),
        _ => {}
    })
    .await;
    let mut heard = running.handle.listen();
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let good = Keyring::open(&ClusterId("test".into()));
    let wrong = Keyring::open(&ClusterId("other".into()));
    for round in 0..200_u8 {
        let mut spoiled = good.seal(b"spoiled");
        spoiled[40] ^= 1;
        for bytes in [vec![round; 60], vec![round; 10], vec![0; 1401], wrong.seal(b"x"), spoiled] {
            socket.send_to(&bytes, running.address).await.unwrap();
        }
        tokio::task::yield_now().await;
    }
    socket.send_to(&good.seal(b"good"), running.address).await.unwrap();
    until(&mut heard, "good").await;
    let mut dropped = BTreeMap::new();
    use quorate_core::machine::{Counted as _, Labels};
    running.traffic.counts(&mut |count| {
        if let (true, Labels::One(_, reason)) = (count.name.contains("ms_dropped"), count.labels) {
            dropped.insert(reason, count.value);
        }
    });
    // The network of this machine may itself lose some of a burst.
    assert!(dropped.values().all(|count| *count > 0), "{dropped:?}");
    let answered = tokio::time::timeout(Duration::from_millis(50), socket.recv(&mut [0; 9])).await;
    assert!(answered.is_err(), "an answer to garbage");
}

#[tokio::test]
async fn a_datagram_sent_is_sealed_and_heard() {
    let ear = start(settings(), |_, _, input, out| {
        if let Input::Datagram { bytes, .. } = input {
            out.push(said(String::from_utf8_lossy(&bytes)));
        }
    })
    .await;
    let mut heard = ear.handle.listen();
    let to = ear.address;
    let _mouth = start(settings(), move |wake, now, input, out| {
        if matches!(input, Input::Start | Input::Wake) {
            out.push(Effect::Datagram { to, bytes: Blob::from("hello") });
            *wake = Some(now + Duration::from_millis(5));
        }
    })
    .await;
    until(&mut heard, "hello").await;
}

#[tokio::test]
async fn a_call_is_answered_under_its_own_ticket() {
    let mut asker = None;
    let running = start(settings(), move |_, _, input, out| match input {
        Input::Request { ticket, .. } => {
            asker = Some(ticket);
            let call = Call::Resolve { name: "127.0.0.1:7".to_owned() };
            out.push(Effect::Call { ticket: Ticket(77), call });
        }
        Input::Answered { ticket, answer } => {
            let expected = Answer::Resolved(vec!["127.0.0.1:7".parse().unwrap()]);
            assert_eq!((ticket, answer), (Ticket(77), expected));
            out.extend(asker.map(reply));
        }
        _ => {}
    })
    .await;
    running.handle.ask(Request::Drain { on: false }, SOON).await.expect("answered");
}

#[tokio::test]
async fn a_wake_comes_when_it_was_wished_and_the_loop_beats_without_one() {
    let turns = Arc::new(AtomicUsize::new(0));
    let running = start_counting(settings(), turns.clone(), |wake, now, input, out| match input {
        Input::Start => *wake = Some(now + Duration::from_millis(20)),
        Input::Wake => {
            assert!(*wake <= Some(now), "a wake before its time");
            *wake = None;
            out.push(said("awake"));
        }
        _ => {}
    })
    .await;
    until(&mut running.handle.listen(), "awake").await;
    let turned = turns.load(Ordering::Relaxed);
    let beaten = async {
        while turns.load(Ordering::Relaxed) < turned + 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, beaten).await.expect("a turn without any input");
}

#[tokio::test]
async fn each_start_is_a_new_life_and_a_second_process_is_refused() {
    let path = fresh_directory("lives");
    let mut serve = settings();
    serve.data = Some(path.clone());
    let mut before: Option<Incarnation> = None;
    for _ in 0..3 {
        let mut running = start(serve.clone(), |_, _, _, _| {}).await;
        let life = running.handle.published().members.load().local.incarnation;
        assert!(before.is_none_or(|before| life == before.next()), "{before:?}, then {life}");
        before = Some(life);
        let second = start_on(
            TokioNet,
            serve.clone(),
            Vec::new(),
            never::<fn(&mut Option<Instant>, Instant, Input, &mut Vec<Effect>)>,
            |_, _, _| Arc::new(Literal),
        );
        let refused = second.await.expect_err("held").to_string();
        assert!(refused.contains("is in use by process"), "{refused}");
        assert!(matches!(running.halt().await, End::Halted));
    }
    std::fs::remove_dir_all(&path).unwrap();
    let mut running = start(serve, |_, _, _, _| {}).await;
    let life = running.handle.published().members.load().local.incarnation;
    assert!(before.is_some_and(|before| life > before), "a lost disk repeats no life: {life}");
    running.halt().await;
    std::fs::remove_dir_all(path).unwrap();
}

fn never<F>(_: Settings, _: Incarnation, _: &Image, _: [u8; 32], _: Instant) -> Puppet<F> {
    panic!("must not get this far")
}

#[tokio::test]
async fn a_node_that_left_or_is_a_second_one_ends_the_loop() {
    let mut left = start(settings(), |_, _, input, out| {
        if let Input::Request { ticket, request: Request::Leave { .. } } = input {
            out.push(reply(ticket));
            out.push(Effect::Announce(Announcement::Stopped));
        }
    })
    .await;
    assert!(matches!(left.leave(false, SOON).await, End::Left));
    let mut stubborn = start(settings(), |_, _, _, _| {}).await;
    let end = stubborn.leave(false, Duration::from_millis(20)).await;
    assert!(matches!(end, End::Halted), "a deadline ends what will not leave");
    let address = "127.0.0.1:1".parse().ok();
    let mut second = start(settings(), move |_, _, input, out| {
        if matches!(input, Input::Start) {
            out.push(Effect::Announce(Announcement::Duplicate { address }));
        }
    })
    .await;
    assert!(matches!(second.ended().await, End::Duplicate { address: Some(_) }));
}

#[tokio::test]
async fn beyond_this_machine_a_node_must_be_told_that_it_is_insecure() {
    let mut serve = settings();
    serve.listen = "0.0.0.0:0".parse().unwrap();
    let boot = never::<fn(&mut Option<Instant>, Instant, Input, &mut Vec<Effect>)>;
    let refused =
        start_on(TokioNet, serve.clone(), Vec::new(), boot, |_, _, _| Arc::new(Literal)).await;
    assert!(refused.expect_err("unprotected").to_string().contains("cluster.insecure"));
    serve.insecure = true;
    let running = start(serve, |_, _, _, _| {}).await;
    assert_ne!(running.address.port(), 0);
}

fn fresh_directory(name: &str) -> std::path::PathBuf {
    let path = std::env::temp_dir().join(format!("quorate-shell-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    path
}
