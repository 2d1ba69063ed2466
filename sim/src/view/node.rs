//! A trace that a running node made of itself: its turns in one lane, those it spoke with in the others.
//!
//! What peers did is not in it, nor when they sent or read: a message stands where this node sent or read it. Names
//! are learned from what was said; a connection whose greeting came before the trace began is known by its head.
//!
//! Absent on purpose: states. The trace begins in the middle, and what was believed before cannot be told.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, Read as _};
use std::net::SocketAddr;
use std::path::Path;

use quorate_core::ids::ConnectionId;
use quorate_core::limits;
use quorate_core::node::{Effect, Input};
use quorate_core::wire::session::Session;
use quorate_core::wire::{datagram, decode, frame};
use serde::Deserialize;

use super::lens::{Lens, Message, Turn};
use super::words::{self, Family, Names};
use super::{Picture, story};
use crate::clock::Micros;
use crate::trace::read::{self, Head, ReadError};

/// Turns that are kept, the newest.
const TURNS_MAX: usize = 4000;
/// The longest line: a turn of frames, as numbers.
const LINE_BYTES_MAX: u64 = 256 << 20;
/// Who is at the other end of a connection that nothing names.
const UNKNOWN: &str = "unknown";

/// The trace in `path`, to look at.
pub fn look(path: &Path) -> Result<Picture, ReadError> {
    let (head, mut lines) = read::open(path)?;
    let node = head.node.clone().ok_or_else(|| ReadError::foreign(path, "it names no node"))?;
    let mut watched = Watched::new(&head);
    let wrong =
        |number: u64, what: String| ReadError::foreign(path, format!("line {number}: {what}"));
    for number in 2.. {
        let mut line = Vec::new();
        let mut bounded = lines.by_ref().take(LINE_BYTES_MAX);
        let read = bounded.read_until(b'\n', &mut line);
        read.map_err(|error| ReadError::unreadable(path, error))?;
        // What a process that was killed left behind it is no line.
        if line.pop() != Some(b'\n') {
            break;
        }
        let written =
            serde_json::from_slice(&line).map_err(|error| wrong(number, error.to_string()))?;
        match written {
            Written { end: Some(why), .. } => watched.ended = Some(why),
            Written { n: Some(n), t_us: Some(at), input, outputs, .. } => {
                watched.turn((n, at), &input, &outputs);
            }
            Written { .. } => return Err(wrong(number, "it is no turn".to_owned())),
        }
    }
    Ok(watched.picture(node, &head))
}

/// A line of a trace: a turn, or why nothing follows.
#[derive(Deserialize)]
struct Written {
    n: Option<u64>,
    t_us: Option<Micros>,
    #[serde(default)]
    input: Vec<Input>,
    #[serde(default)]
    outputs: Vec<Effect>,
    end: Option<String>,
}

/// Somebody the node spoke with, until it is known who that was.
#[derive(Clone, Copy)]
enum Peer {
    At(SocketAddr),
    On(ConnectionId),
}

/// A message as the node saw it.
struct Seen {
    peer: Peer,
    sent: bool,
    family: Family,
    label: String,
}

struct Watched {
    turns: VecDeque<(Turn, Vec<Seen>)>,
    began: Option<Micros>,
    names: Names,
    connections: BTreeMap<u64, String>,
    ended: Option<String>,
}

impl Watched {
    fn new(head: &Head) -> Watched {
        let names = head.links.iter().map(|link| (link.address, link.peer.clone()));
        let connected = |link: &read::Link| Some((link.connection?, link.peer.clone()));
        let connections = head.links.iter().filter_map(connected).collect();
        let (turns, names) = (VecDeque::new(), names.collect());
        Watched { turns, began: None, names, connections, ended: None }
    }

    fn turn(&mut self, (number, at): (u64, Micros), inputs: &[Input], effects: &[Effect]) {
        let at = at.saturating_sub(*self.began.get_or_insert(at));
        let mut seen: Vec<Seen> = inputs.iter().filter_map(|input| self.heard(input)).collect();
        seen.extend(effects.iter().filter_map(|effect| self.said(effect)));
        let turn = Turn::of((number, at), 0, inputs, effects, &self.names);
        self.turns.push_back((turn, seen));
        if self.turns.len() > TURNS_MAX {
            self.turns.pop_front();
        }
    }

    fn heard(&mut self, input: &Input) -> Option<Seen> {
        let (peer, (family, label)) = match input {
            Input::Datagram { from, bytes } => {
                if let Ok(datagram) = datagram::parse(bytes) {
                    self.names.insert(*from, datagram.sender.node.to_string());
                }
                (Peer::At(*from), words::of_datagram(bytes))
            }
            Input::Frame { connection, frame } => {
                self.greeted(*connection, frame);
                (Peer::On(*connection), words::of_frame(frame))
            }
            Input::Start
            | Input::Wake
            | Input::Clock { .. }
            | Input::Connected { .. }
            | Input::ConnectFailed { .. }
            | Input::Accepted { .. }
            | Input::Broken { .. }
            | Input::Unsecured { .. }
            | Input::Misnamed { .. }
            | Input::Writable { .. }
            | Input::Closed { .. }
            | Input::Stored { .. }
            | Input::Answered { .. }
            | Input::Request { .. } => return None,
        };
        Some(Seen { peer, sent: false, family, label })
    }

    /// A greeting says who is at the other end.
    fn greeted(&mut self, connection: ConnectionId, frame: &frame::Frame) {
        if frame.class != frame::Class::Session {
            return;
        }
        let session = decode::<Session, { limits::FRAME_SESSION_BYTES_MAX }>(&frame.payload);
        if let Ok(Session::Hello(greeting) | Session::Welcome(greeting)) = session {
            self.connections.insert(connection.0, greeting.node.to_string());
        }
    }

    fn said(&mut self, effect: &Effect) -> Option<Seen> {
        let (peer, (family, label)) = match effect {
            Effect::Datagram { to, bytes } => (Peer::At(*to), words::of_datagram(bytes)),
            Effect::Send { connection, bytes } => (Peer::On(*connection), words::of_encoded(bytes)),
            Effect::Connect { connection, to } => {
                let name = self.names.get(to).cloned().unwrap_or_else(|| to.to_string());
                self.connections.insert(connection.0, name);
                return None;
            }
            Effect::Disconnect { .. }
            | Effect::Store { .. }
            | Effect::Call { .. }
            | Effect::Reply { .. }
            | Effect::Announce(_) => return None,
        };
        Some(Seen { peer, sent: true, family, label })
    }

    fn name(&self, peer: Peer) -> String {
        match peer {
            Peer::At(address) => {
                self.names.get(&address).cloned().unwrap_or_else(|| address.to_string())
            }
            Peer::On(connection) => {
                self.connections.get(&connection.0).map_or(UNKNOWN, String::as_str).to_owned()
            }
        }
    }

    fn picture(mut self, node: String, head: &Head) -> Picture {
        let mut lens = Lens::default();
        let mut nodes = vec![node.clone()];
        for (turn, seen) in std::mem::take(&mut self.turns) {
            for message in seen {
                let name = self.name(message.peer);
                let lane = nodes.iter().position(|known| *known == name).unwrap_or_else(|| {
                    nodes.push(name);
                    nodes.len() - 1
                });
                lens.messages.push(drawn(message, lane, &turn));
            }
            lens.turns.push_back(turn);
        }
        let centre = lens.turns.back().map_or(0, |turn| turn.number);
        let story = story::tell(&lens, None, centre);
        let began = head.started_at.as_deref().unwrap_or("at an unknown time");
        let ended = self.ended.as_deref().unwrap_or("killed");
        Picture {
            plan: String::new(),
            title: format!("{node}, from {began} on"),
            command: format!("{}, which ended: {ended}", head.command),
            seed: None,
            recorded: Some(node),
            nodes,
            failure: None,
            statement: String::new(),
            centre,
            lens,
            story,
        }
    }
}

/// A message between this node's lane and another: at the other end it has a time, and no turn.
fn drawn(message: Seen, lane: usize, turn: &Turn) -> Message {
    let (here, there) = ((0, turn.number, turn.at), (lane, 0, turn.at));
    let (sent, to, read) = match message.sent {
        true => (here, lane, (0, turn.at)),
        false => (there, 0, (turn.number, turn.at)),
    };
    let (family, label) = (message.family, message.label);
    Message { family, label, sent, to: Some(to), read: Some(read), arrives: Vec::new() }
}
