//! Scripts of one node's links, and two nodes over a transport that breaks.

mod checked;
mod departing;
mod dialling;
mod greeting;
mod pair;
mod promises;
mod requests;
mod sequenced;
mod traffic;

use std::net::SocketAddr;

use super::{Input, Links, Message, Output, Row, Settings};
use crate::ids::{ClusterId, ConnectionId, Incarnation, NodeId, Notice, Reason, Replica, Ticket};
use crate::machine::Machine;
use crate::random::Rng;
use crate::script::{self, Script};
use crate::time::Instant;
use crate::wire::frame::{Class, Frame, FrameReader};
use crate::wire::message::{Acknowledged, Control, Departed, Ping, Pong, Relay, Reply, Request};
use crate::wire::raft::Genesis;
use crate::wire::session::{Bye, Greeting, MAGIC, Refusal, Session};
use crate::wire::{Blob, PROTOCOL, decode, encode};
use crate::{limits, wire};

/// The links of `m/1`. Connections are written `d1` (dialled) and `a1` (accepted).
struct LinkScript {
    links: Links,
}

impl Script for LinkScript {
    fn given(given: &script::Settings) -> LinkScript {
        let local = replica(&given.get("local", "m/1".to_owned()));
        let settings = Settings {
            redial_min: given.millis("redial_ms", 50),
            queue_bytes_max: given.get("queue_bytes", limits::QUEUE_BYTES_MAX),
            accepts_max: given.get("accepts", limits::ACCEPTS_MAX),
            fences_max: given.get("fences", limits::FENCES_MAX),
            ..settings(&local.node)
        };
        let born = local.incarnation;
        let mut links = Links::new(settings, local, born, Instant::ZERO, Rng::from_number(1));
        for number in 0..given.get("strangers", 0) {
            let text = format!("x{number}/1");
            let notice = up(&replica(&text), SocketAddr::from(([10, 9, 9, 9], 7420)));
            links.handle(Instant::ZERO, Input::Notice(notice), &mut Vec::new());
        }
        LinkScript { links }
    }

    fn when(&mut self, now: Instant, words: &[&str]) -> Vec<String> {
        let repeat = match words {
            [.., times] if times.starts_with('×') => {
                times.trim_start_matches('×').parse().expect("a count")
            }
            _ => 1,
        };
        let mut out = Vec::new();
        for _ in 0..repeat {
            match words {
                ["next"] => {
                    let wake = self.links.next_wake();
                    return wake
                        .map(|wake| format!("{} {}", wake.at, wake.what))
                        .into_iter()
                        .collect();
                }
                ["row", node] => return self.row(now, node),
                words => self.links.handle(now, input(words), &mut out),
            }
        }
        // A script is a string literal: its lines hold no quotation marks.
        out.iter().map(|output| print(output).replace('"', "")).collect()
    }
}

impl LinkScript {
    fn row(&self, now: Instant, node: &str) -> Vec<String> {
        let rows = self.links.snapshot(now).links.into_iter();
        let row = rows.filter(|row| row.peer.as_str() == node);
        let queued = |row: &Row, class| row.queued.get(class).map(|one| (one.frames, one.bytes));
        row.map(|row| {
            format!(
                "{} generation={:?} at={} dialed_by={:?} since_ms={} round_trip_ms={:?} control={:?} \
                 gossip={:?} last_error={:?} next_dial_ms={:?}",
                row.state.name(),
                row.generation,
                row.address,
                row.dialed_by,
                row.since_ms,
                row.round_trip_ms,
                queued(&row, "control").unwrap_or_default(),
                queued(&row, "gossip").unwrap_or_default(),
                row.last_error,
                row.next_dial_ms,
            )
            .replace('"', "")
        })
        .collect()
    }
}

fn settings(node: &NodeId) -> Settings {
    let seconds = std::time::Duration::from_secs;
    Settings {
        cluster: ClusterId("prod".into()),
        address: address(node),
        ping_interval: seconds(10),
        idle_timeout: seconds(30),
        handshake_timeout: seconds(5),
        connect_timeout: seconds(5),
        redial_min: std::time::Duration::from_millis(50),
        redial_max: seconds(5),
        queue_bytes_max: limits::QUEUE_BYTES_MAX,
        accepts_max: limits::ACCEPTS_MAX,
        fences_max: limits::FENCES_MAX,
        protocol: PROTOCOL,
    }
}

/// Every test node has an address that follows from its first letter.
fn address(node: &NodeId) -> SocketAddr {
    let letter = node.as_str().bytes().next().expect("a node id is not empty");
    SocketAddr::from(([10, 0, 0, letter], 7420))
}

fn node(text: &str) -> NodeId {
    text.parse().expect("a node id")
}

fn replica(text: &str) -> Replica {
    let (name, life) = text.split_once('/').expect("node/incarnation");
    Replica { node: node(name), incarnation: Incarnation(life.parse().expect("a number")) }
}

fn up(replica: &Replica, address: SocketAddr) -> Notice {
    Notice::Up { replica: replica.clone(), born: replica.incarnation, address }
}

fn connection(text: &str) -> ConnectionId {
    let (kind, number) = text.split_at(1);
    let number = number.parse().expect("a number");
    if kind == "d" { ConnectionId::dialled(number) } else { ConnectionId::accepted(number) }
}

fn input(words: &[&str]) -> Input {
    let life = |text: &str| Incarnation(text.parse().expect("a number"));
    match words {
        ["connected", id] => Input::Connected { connection: connection(id) },
        ["connect_failed", id] => Input::ConnectFailed { connection: connection(id) },
        ["accepted", id, from, ..] => {
            Input::Accepted { connection: connection(id), from: address(&node(from)) }
        }
        ["frame", id, words @ ..] => {
            Input::Frame { connection: connection(id), frame: frame(words) }
        }
        ["broken", id] => Input::Broken { connection: connection(id), what: "unknown frame class" },
        ["unsecured", id] => Input::Unsecured { connection: connection(id) },
        ["misnamed", id] => Input::Misnamed { connection: connection(id) },
        ["closed", id] => Input::Closed { connection: connection(id) },
        ["writable", id, bytes] => {
            let bytes = bytes.parse().expect("a number");
            Input::Writable { connection: connection(id), bytes }
        }
        ["send", to, words @ ..] => Input::Send { to: node(to), message: message(words) },
        ["send_by", deadline, to, words @ ..] => {
            let deadline = Instant::ZERO + script::duration(deadline);
            Input::SendBy { to: node(to), message: message(words), deadline }
        }
        ["ask", to, ticket, deadline, ..] => Input::Ask {
            to: node(to),
            ticket: Ticket(ticket.parse().expect("a number")),
            deadline: Instant::ZERO + script::duration(deadline),
            body: Blob::from("why"),
        },
        ["answer", to, number] => {
            let number = number.parse().expect("a number");
            Input::Answer { to: replica(to), number, body: Blob::from("because") }
        }
        ["seed", name] => Input::DialSeed { address: address(&node(name)) },
        ["member", text] => {
            let replica = replica(text);
            Input::Notice(up(&replica, address(&replica.node)))
        }
        ["moved", text, to] => Input::Notice(up(&replica(text), to.parse().expect("an address"))),
        ["failed", text] => departed(text, Reason::Failed),
        ["left", text] => departed(text, Reason::Left),
        ["forgotten", name, fence] => {
            Input::Notice(Notice::Forgotten { node: node(name), fence: life(fence) })
        }
        ["look_for", text] => {
            let replica = replica(text);
            let address = address(&replica.node);
            Input::LookFor { replica, address }
        }
        ["heard", peer] => Input::Heard { peer: node(peer) },
        ["raised", text] => Input::Raised { replica: replica(text) },
        ["genesis", number] => Input::Genesis(Some(Genesis(number.parse().expect("a number")))),
        ["slept"] => Input::Slept,
        ["leave"] => Input::Leave { restarting: false },
        ["restart"] => Input::Leave { restarting: true },
        ["tick"] => Input::Tick,
        words => panic!("`{words:?}` is no input of links"),
    }
}

fn departed(text: &str, reason: Reason) -> Input {
    Input::Notice(Notice::Departed { replica: replica(text), reason })
}

fn message(words: &[&str]) -> Message {
    match words {
        ["gossip", bytes, ..] => {
            let payload = vec![0; bytes.parse().expect("a number")];
            Message::Encoded(Blob::from(Frame::new(Class::Gossip, payload).encode()))
        }
        ["raft", bytes, ..] => Message::Raft(Blob::from(vec![7; bytes.parse().expect("a number")])),
        ["bulk", bytes, ..] => Message::Bulk(Blob::from(vec![7; bytes.parse().expect("a number")])),
        ["broadcast", text, ..] => Message::Broadcast(Blob::from(*text)),
        ["departed", life, ..] => {
            let incarnation = Incarnation(life.parse().expect("a number"));
            Message::Control(Control::Departed(Departed { incarnation }))
        }
        [kind, number, ..] => Message::Control(ping(kind, number)),
        words => panic!("`{words:?}` is no message"),
    }
}

fn ping(kind: &str, number: &str) -> Control {
    let (number, complete) = (number.parse().expect("a number"), vec![].into());
    match kind {
        "ping" => Control::Ping(Ping { number, complete, floors: Vec::new().into() }),
        _ => Control::Pong(Pong { number, complete, floors: vec![].into() }),
    }
}

fn frame(words: &[&str]) -> Frame {
    let session = |session| Frame::new(Class::Session, encode(&session));
    match words {
        ["hello", who, extras @ ..] => session(Session::Hello(greeting(who, extras))),
        ["welcome", who, extras @ ..] => session(Session::Welcome(greeting(who, extras))),
        ["refused", words @ ..] => session(Session::Refused(refusal(words))),
        ["bye", kind] => session(Session::Bye(bye(kind))),
        ["garbage", "control"] => Frame::new(Class::Control, vec![99]),
        ["garbage", "gossip"] => Frame::new(Class::Gossip, vec![99]),
        ["garbage", "session"] => Frame::new(Class::Session, vec![99]),
        ["raft", text] => Frame::new(Class::Control, encode(&Control::Raft(Blob::from(*text)))),
        ["bulk", text] => Frame::new(Class::Bulk, text.as_bytes().to_vec()),
        ["broadcast", sequence, text] => {
            let sequence = sequence.parse().expect("a number");
            Frame { sequence, ..Frame::new(Class::Broadcast, text.as_bytes().to_vec()) }
        }
        ["acknowledged", life, sequence] => {
            let sender = Incarnation(life.parse().expect("a number"));
            let sequence = sequence.parse().expect("a number");
            control(&Control::Acknowledged(Acknowledged { sender, sequence }))
        }
        ["request", from, number] => control(&request(from, number)),
        ["reply", to, number] => control(&reply(to, number)),
        ["unmarked_reply", to, number] => Frame { reply: false, ..control(&reply(to, number)) },
        ["relay", to, from, words @ ..] => {
            let body = match words {
                ["request", from, number] => request(from, number),
                ["reply", to, number] => reply(to, number),
                _ => Control::Raft(Blob::from("no")),
            };
            let body = Blob::from(encode(&body));
            control(&Control::Relay(Relay { to: node(to), from: replica(from), body }))
        }
        ["sequenced"] => Frame { sequence: 1, ..Frame::new(Class::Control, vec![]) },
        [kind, number, ..] => Frame::new(Class::Control, encode(&ping(kind, number))),
        words => panic!("`{words:?}` is no frame"),
    }
}

fn control(message: &Control) -> Frame {
    let reply = matches!(message, Control::Reply(_));
    Frame { reply, ..Frame::new(Class::Control, encode(message)) }
}

fn request(from: &str, number: &str) -> Control {
    let (from, number) = (replica(from), number.parse().expect("a number"));
    Control::Request(Request { from, number, remaining_ms: 100, body: Blob::from("why") })
}

fn reply(to: &str, number: &str) -> Control {
    let (to, number) = (replica(to), number.parse().expect("a number"));
    Control::Reply(Reply { to, number, body: Blob::from("because") })
}

fn greeting(who: &str, extras: &[&str]) -> Greeting {
    let replica = replica(who);
    let mut greeting = Greeting {
        magic: MAGIC,
        cluster: ClusterId("prod".into()),
        protocol: PROTOCOL,
        addresses: vec![address(&replica.node)].into(),
        node: replica.node,
        incarnation: replica.incarnation,
        born: replica.incarnation,
        called: None,
        genesis: None,
        resume: vec![].into(),
        settings: vec![].into(),
    };
    for extra in extras {
        match extra.split_once('=').expect("key=value") {
            ("cluster", name) => greeting.cluster = ClusterId(name.into()),
            ("magic", _) => greeting.magic = *b"HTTP",
            ("called", name) => greeting.called = Some(node(name)),
            ("protocol", version) => {
                let version = version.parse().expect("a version");
                greeting.protocol = (version, version);
            }
            ("lease_ms", value) => {
                greeting.settings = vec![("names.lease_ms".into(), value.into())].into();
            }
            ("resume", text) => {
                let (life, sequence) = text.split_once(':').expect("life:sequence");
                let life = Incarnation(life.parse().expect("a number"));
                let sequence = sequence.parse().expect("a number");
                greeting.resume = vec![(3, life, sequence)].into();
            }
            ("genesis", number) => {
                greeting.genesis = Some(number.parse().expect("a number"));
            }
            ("addresses", _) => greeting.addresses = vec![].into(),
            (key, _) => panic!("`{key}` is no part of a greeting"),
        }
    }
    greeting
}

fn refusal(words: &[&str]) -> Refusal {
    match words {
        ["wrong_node"] => Refusal::WrongNode,
        ["self"] => Refusal::SelfCall,
        ["version"] => Refusal::Version { min: 2, max: 3 },
        ["genesis"] => Refusal::Genesis,
        ["settings", name] => Refusal::Settings { name: (*name).to_owned() },
        ["stale", known] => Refusal::Stale { known: Incarnation(known.parse().expect("a number")) },
        ["full"] => Refusal::Full,
        ["leaving"] => Refusal::Leaving,
        words => panic!("`{words:?}` is no refusal"),
    }
}

fn bye(kind: &str) -> Bye {
    match kind {
        "duplicate" => Bye::Duplicate,
        "leaving" => Bye::Leaving,
        "restarting" => Bye::Restarting,
        _ => Bye::Closing,
    }
}

fn print(output: &Output) -> String {
    let id = |connection: &ConnectionId| {
        let kind = if connection.is_dialled() { "d" } else { "a" };
        format!("{kind}{}", connection.0 / 2)
    };
    match output {
        Output::Connect { connection, to } => format!("connect {} to {to}", id(connection)),
        Output::Write { connection, bytes } => {
            format!("write {} {}", id(connection), print_frame(bytes))
        }
        Output::Disconnect { connection } => format!("disconnect {}", id(connection)),
        Output::Up { peer, address, .. } => format!("up {peer} at {address}"),
        Output::Down { peer } => format!("down {peer}"),
        Output::Heard { peer } => format!("heard {peer}"),
        Output::Message { from, message } => format!("message of {from}: {message:?}"),
        Output::PingDue { peer, number } => format!("ping_due {number} to {peer}"),
        Output::RoundTrip { peer, took } => format!("round_trip {peer} {took:?}"),
        Output::Bye { peer, restarting } => format!("bye {peer} restarting={restarting}"),
        Output::Stale { known, address } => format!("stale known={known} by {address}"),
        Output::Conflict { node, address } => {
            let node = node.as_ref().map_or_else(|| "somebody".to_owned(), NodeId::to_string);
            format!("conflict with {node} at {address}")
        }
        Output::SeedFailed { address, refused } => {
            format!("seed_failed {address} refused={refused}")
        }
        Output::Refused { to, class, why } => format!("refused {} to {to}: {why}", class.name()),
        Output::Asked { from, number, deadline, body } => {
            format!("asked {number} by {from} until {deadline}: {body:?}")
        }
        Output::Ended { ticket, end } => format!("ended {} {end:?}", ticket.0),
        Output::Room { to } => format!("room for {to}"),
        Output::Undelivered { to, body } => format!("undelivered to {to}: {body:?}"),
        Output::Misbehaved { peer, address, what } => {
            let peer = peer.as_ref().map_or_else(|| format!("{address:?}"), NodeId::to_string);
            format!("misbehaved {peer}: {what}")
        }
    }
}

fn print_frame(bytes: &[u8]) -> String {
    let mut reader = FrameReader::default();
    reader.push(bytes);
    let frame = reader.next_frame().expect("well formed").expect("whole");
    assert_eq!(reader.waiting_bytes(), 0, "a write is one frame");
    match frame.class {
        Class::Session => match decode::<Session, 4096>(&frame.payload).expect("a session frame") {
            Session::Hello(hello) => {
                let called =
                    hello.called.map_or_else(|| "anybody".to_owned(), |node| node.to_string());
                format!("hello {}/{} calls {called}", hello.node, hello.incarnation)
            }
            Session::Welcome(welcome) => {
                let (node, life) = (welcome.node, welcome.incarnation);
                format!("welcome {node}/{life} protocol={}", welcome.protocol.0)
            }
            Session::Refused(refusal) => format!("refused {refusal:?}"),
            Session::Bye(bye) => format!("bye {bye:?}"),
        },
        Class::Control => {
            let control = decode::<Control, { limits::FRAME_CONTROL_BYTES_MAX }>(&frame.payload);
            print_control(control.expect("a control message"))
        }
        Class::Gossip => format!("gossip of {} bytes", wire::Blob::len(&frame.payload)),
        Class::Bulk => format!("bulk of {} bytes", wire::Blob::len(&frame.payload)),
        Class::Broadcast => format!("broadcast {} {:?}", frame.sequence, frame.payload),
    }
}

fn print_control(message: Control) -> String {
    if let Control::Raft(body) = &message {
        return format!("raft of {} bytes", body.len());
    }
    if let Control::Relay(Relay { to, from, body }) = &message {
        let body = decode::<Control, { limits::RELAY_BYTES_MAX }>(body).expect("a message");
        return format!("relay of {from} to {to}: {}", print_control(body));
    }
    format!("{message:?}")
}
