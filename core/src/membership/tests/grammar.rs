//! The words of membership's scripts. Node `b` lives at 10.0.0.2:7420, and `b/3` is its third life.

use std::net::SocketAddr;

use bytes::BufMut as _;
use foca::{Header, Message, State as Seen};

use super::super::swim::codec::{Codec, listed};
use super::super::swim::{Identity, Packet};
use super::super::*;
use super::world;
use crate::ids::Notice;
use crate::script::{self, Script};

pub(super) struct MembershipScript {
    node: Membership,
    dead: bool,
}

impl Script for MembershipScript {
    fn given(settings: &script::Settings) -> Self {
        let join = settings.get("join", String::new());
        let join = join.split(',').filter(|seed| !seed.is_empty()).map(str::to_owned).collect();
        let configured = Settings {
            members_max: settings.get("members_max", 2048),
            fences_max: settings.get("fences_max", 16),
            forget_after: settings.millis("forget_after_ms", 1_800_000),
            restart_grace: settings.millis("restart_grace_ms", 30_000),
            dial_timeout: settings.millis("dial_timeout_ms", 10_000),
            sync_interval: settings.millis("sync_interval_ms", 3_600_000),
            ..world::settings("a", address("a"), join)
        };
        let fences = settings.get("fences", String::new());
        let fences = fences.split(',').filter(|fence| !fence.is_empty()).map(replica);
        let fences = fences.map(|fence| (fence.node, fence.incarnation)).collect();
        let incarnation = Incarnation(settings.get("incarnation", 5));
        let rng = Rng::from_number(settings.get("seed", 1));
        let mut node = Membership::new(configured, incarnation, fences, Instant::ZERO, rng);
        if settings.get("started", true) {
            node.handle(Instant::ZERO, Input::Start, &mut Vec::new());
        }
        MembershipScript { node, dead: false }
    }

    fn when(&mut self, now: Instant, words: &[&str]) -> Vec<String> {
        if let ["run"] = words {
            return self.run(now);
        }
        if let ["room"] = words {
            return vec![if self.node.members_full() { "none" } else { "enough" }.to_owned()];
        }
        if let ["show", name] = words {
            return vec![self.show(name)];
        }
        let mut out = Vec::new();
        self.node.handle(now, self.input(words), &mut out);
        self.node.check().expect("an invariant");
        out.iter().filter(|output| !matches!(output, Output::Changed { .. })).map(print).collect()
    }
}

impl MembershipScript {
    /// A started node with room for few, which forgets after a minute.
    pub(super) fn small(members_max: usize) -> MembershipScript {
        let configured = Settings {
            members_max,
            fences_max: 2,
            forget_after: std::time::Duration::from_secs(60),
            ..world::settings("a", address("a"), vec!["b:1".into()])
        };
        let (life, rng) = (Incarnation(5), Rng::from_number(1));
        let mut node = Membership::new(configured, life, BTreeMap::new(), Instant::ZERO, rng);
        node.handle(Instant::ZERO, Input::Start, &mut Vec::new());
        MembershipScript { node, dead: false }
    }

    pub(super) fn life(&self) -> u64 {
        self.node.local().incarnation.0
    }

    /// Fires every timer up to `end`; what SWIM sends of itself is left out.
    fn run(&mut self, end: Instant) -> Vec<String> {
        let mut told = Vec::new();
        while let Some(wake) = self.node.next_wake().filter(|wake| wake.at <= end && !self.dead) {
            let mut out = Vec::new();
            self.node.handle(wake.at, Input::Tick, &mut out);
            self.node.check().expect("an invariant");
            self.dead |= out.contains(&Output::Stopped);
            let shown =
                |output: &&Output| !matches!(output, Output::Swim { .. } | Output::Changed { .. });
            let tenth = wake.at.as_micros() / 100_000;
            let at = format!("{}.{}s", tenth / 10, tenth % 10);
            told.extend(out.iter().filter(shown).map(|output| format!("{at} {}", print(output))));
        }
        told
    }

    fn show(&self, name: &str) -> String {
        let Some(member) = self.node.member(&id(name)) else { return format!("no {name}") };
        let Member { node, incarnation, state, missing, .. } = member;
        let missing =
            missing.map(|missing| format!(" without {}", by(missing))).unwrap_or_default();
        format!("{node}/{incarnation} is {}{missing}", state.name())
    }

    fn input(&self, words: &[&str]) -> Input {
        let number = |text: &str| Incarnation(text.parse().expect("an incarnation"));
        match words {
            ["start"] => Input::Start,
            ["tick"] => Input::Tick,
            ["persisted", life] => Input::Persisted { incarnation: number(life) },
            ["heard", from, by] => {
                let address = (*by == "datagram").then(|| address(&from[..1]));
                Input::Heard { from: replica(from), transport: transport(by), address }
            }
            ["packet", from, kind, says @ ..] => self.packet(from, kind, Transport::Datagram, says),
            ["frame", from, kind, says @ ..] => self.packet(from, kind, Transport::Link, says),
            ["bytes", from, bytes] => {
                let (transport, packet) = (Transport::Datagram, Blob::from(*bytes));
                Input::Swim { from: replica(from), transport, packet }
            }
            ["departed", from, life] => {
                let notice = Departed { incarnation: number(life) };
                Input::Departed { from: replica(from), notice }
            }
            ["retired", from, who] => {
                let Replica { node, incarnation: fence } = replica(who);
                Input::Retired { from: replica(from), notice: Retired { node, fence } }
            }
            ["overtaken", life] => Input::Overtaken { known: number(life) },
            ["stale", life] => Input::Stale { known: number(life), address: address("z") },
            ["linked", peer] => {
                let peer = replica(peer);
                let (born, address) = (peer.incarnation, address(peer.node.as_str()));
                Input::Linked { peer, born, address }
            }
            ["unlinked", peer] => Input::Unlinked { peer: id(peer) },
            ["bye", peer, how @ ..] => {
                Input::Bye { peer: replica(peer), restarting: *how == ["restarting"] }
            }
            ["list", from, rest @ ..] => {
                let purpose = rest.first().copied().unwrap_or_default();
                let purpose = match purpose {
                    "wants" => Purpose::Exchange,
                    "asks" => Purpose::Question,
                    "corrects" => Purpose::Correction,
                    _ => Purpose::News,
                };
                let members = &rest[usize::from(purpose != Purpose::News)..];
                let members: Vec<_> = members.iter().map(|one| listed(&said(one))).collect();
                let list = Members { purpose, members: members.into() };
                Input::List { from: replica(from), list }
            }
            ["resolved", seed, addresses @ ..] => {
                let addresses = addresses.iter().map(|address| address.parse().expect("one"));
                Input::Resolved { seed: (*seed).to_owned(), addresses: addresses.collect() }
            }
            ["seed_failed", address, why] => {
                let address = address.parse().expect("an address");
                Input::SeedFailed { address, refused: *why == "refused" }
            }
            ["fact", owner, key, value] => {
                let value = (*value != "gone").then(|| Blob::from(*value));
                Input::Fact { owner: replica(owner), key: Key::from(*key), value }
            }
            _ => request(words),
        }
    }

    fn packet(&self, from: &str, kind: &str, transport: Transport, says: &[&str]) -> Input {
        let third = || identity("c/1");
        let message = match kind {
            "ping" => Message::Ping(9),
            "gossip" => Message::Gossip,
            "detour_to_us" => Message::PingReq { target: identity("a/5"), probe_number: 1 },
            "detour" => Message::PingReq { target: third(), probe_number: 1 },
            _ => panic!("`{kind}` is no message"),
        };
        let (mut src_incarnation, mut dst) = (0, self.node.identity.clone());
        let mut news = Vec::new();
        for word in says {
            match word.split_once('=') {
                Some(("refutation", count)) => src_incarnation = count.parse().expect("a number"),
                Some(("to", target)) => dst = identity(target),
                _ => news.push(said(word)),
            }
        }
        let (from, mut bytes) = (replica(from), Vec::new());
        let header = Header { src: identity(&from.to_string()), src_incarnation, dst, message };
        foca::Codec::encode_header(&mut Codec, &header, &mut bytes).expect("room");
        if !news.is_empty() {
            bytes.put_u16(u16::try_from(news.len()).expect("few"));
            for one in news {
                foca::Codec::encode_member(&mut Codec, &one, &mut bytes).expect("room");
            }
        }
        Input::Swim { from, transport, packet: bytes.into() }
    }
}

fn request(words: &[&str]) -> Input {
    let ticket = |text: &str| Ticket(text.parse().expect("a ticket"));
    match words {
        ["join", number, addresses @ ..] => {
            let addresses = addresses.iter().map(|address| (*address).to_owned()).collect();
            Input::Join { ticket: ticket(number), addresses }
        }
        ["leave"] => Input::Leave { ticket: None, restarting: false },
        ["restart"] => Input::Leave { ticket: None, restarting: true },
        ["leave", number] => Input::Leave { ticket: Some(ticket(number)), restarting: false },
        ["evict", number, node] => Input::Evict { ticket: ticket(number), node: id(node) },
        ["labels", number, pairs @ ..] => {
            let pair = |pair: &&str| {
                let (key, value) = pair.split_once('=').expect("key=value");
                (key.to_owned(), value.to_owned())
            };
            Input::Labels { ticket: ticket(number), labels: pairs.iter().map(pair).collect() }
        }
        _ => panic!("`{}` is no input", words.join(" ")),
    }
}

fn id(name: &str) -> NodeId {
    name.parse().expect("a node id")
}

fn replica(text: &str) -> Replica {
    let (node, incarnation) = text.split_once('/').expect("node/incarnation");
    Replica { node: id(node), incarnation: Incarnation(incarnation.parse().expect("a number")) }
}

pub(super) fn address(name: &str) -> SocketAddr {
    let letter = name.bytes().next().expect("a name") - b'a' + 1;
    SocketAddr::from(([10, 0, 0, letter], 7420))
}

/// `b/3`, or `b/3@d` for b at the address of d.
fn identity(text: &str) -> Identity {
    let (text, at) = text.split_once('@').unwrap_or((text, &text[..1]));
    let replica = replica(text);
    // Our own process was born in its fifth life.
    let born = if text.starts_with("a/") { Incarnation(5) } else { replica.incarnation };
    Identity { born, replica, address: address(at) }
}

/// `c/1=suspect`, or `c/1=suspect.2` for the suspicion of its second refutation.
fn said(word: &str) -> foca::Member<Identity> {
    let (who, state) = word.split_once('=').expect("replica=state");
    let (state, refutation) = state.split_once('.').unwrap_or((state, "0"));
    let state = match state {
        "alive" => Seen::Alive,
        "suspect" => Seen::Suspect,
        "down" => Seen::Down,
        _ => panic!("`{state}` is no state"),
    };
    foca::Member::new(identity(who), refutation.parse().expect("a number"), state)
}

fn transport(word: &str) -> Transport {
    if word == "link" { Transport::Link } else { Transport::Datagram }
}

fn by(transport: Transport) -> &'static str {
    match transport {
        Transport::Datagram => "datagram",
        Transport::Link => "link",
    }
}

fn print(output: &Output) -> String {
    match output {
        Output::Swim { to, transport, packet, .. } => print_packet(to, *transport, packet),
        Output::SendDeparted { to, transport, notice, .. } => {
            format!("departed {} to {to} by {}", notice.incarnation, by(*transport))
        }
        Output::SendRetired { to, transport, notice, .. } => {
            format!("retired {}/{} to {to} by {}", notice.node, notice.fence, by(*transport))
        }
        Output::SendList { to, list } => {
            let members = list.members.iter();
            let members = members.map(|one| format!(" {}={:?}", one.replica, one.state));
            let purpose = match list.purpose {
                Purpose::News => "",
                Purpose::Exchange => " wants",
                Purpose::Question => " asks",
                Purpose::Correction => " corrects",
            };
            format!("list to {to}{purpose}{}", members.collect::<String>().to_lowercase())
        }
        Output::Resolve { seed } => format!("resolve {seed}"),
        Output::DialSeed { address } => format!("dial {address}"),
        Output::Persist { incarnation, fences, dropped } => {
            let fences = fences.iter().map(|(node, fence)| format!(" {node}/{fence}"));
            let dropped = dropped.iter().map(|node| format!(" not {node}"));
            format!("persist {incarnation} fences{}", fences.chain(dropped).collect::<String>())
        }
        Output::Raised { replica } => format!("raised {replica}"),
        Output::Slept => "slept".to_owned(),
        Output::Notice(notice) => print_notice(notice),
        Output::LookFor { replica, .. } => format!("look for {replica}"),
        Output::WriteFact { key, value } => {
            let value = value.as_ref().map(|value| String::from_utf8_lossy(value).into_owned());
            format!("fact {key} {}", value.unwrap_or("gone".to_owned()).replace('"', "'"))
        }
        Output::FactsReady => "facts ready".to_owned(),
        Output::Answer { ticket, answer: Ok(()) } => format!("answer {} done", ticket.0),
        Output::Answer { ticket, answer: Err(refusal) } => format!("answer {} {refusal}", ticket.0),
        Output::Left { restarting } => format!("left restarting={restarting}"),
        Output::Stopped => "stopped".to_owned(),
        Output::Duplicate { address } => format!("duplicate at {address:?}"),
        Output::Misbehaved { peer, what } => format!("misbehaved {peer} {what}"),
        Output::Changed { node } => format!("changed {node}"),
        Output::Asymmetric { peer, missing } => {
            format!("asymmetric {peer} {}", missing.map_or("no longer", by))
        }
        Output::Converged { took } => format!("converged {took:?}"),
        Output::JoinFailed { seed, failures } => format!("join failed {seed} {failures}"),
    }
}

fn print_notice(notice: &Notice) -> String {
    match notice {
        Notice::Up { replica, .. } => format!("up {replica}"),
        Notice::Suspect { replica } => format!("suspect {replica}"),
        Notice::Refuted { replica } => format!("refuted {replica}"),
        Notice::Departed { replica, reason } => format!("gone {replica} {reason:?}").to_lowercase(),
        Notice::Renamed { old, new, .. } => format!("renamed {old} {new}"),
        Notice::Forgotten { node, fence } => format!("forgotten {node}/{fence}"),
    }
}

/// Its kind, its sender with its refutation, whereto, and what it says.
fn print_packet(to: &NodeId, transport: Transport, packet: &Blob) -> String {
    let packet = Packet::parse(packet).expect("we send what we can read");
    let kind = format!("{:?}", packet.header.message);
    let kind = kind.split([' ', '(']).next().unwrap_or_default().to_lowercase();
    let news = packet.updates.iter();
    let news =
        news.map(|one| format!(" {}={:?}.{}", one.id().replica, one.state(), one.incarnation()));
    let news = news.collect::<String>().to_lowercase();
    let source = packet.header.src.replica;
    let refutation = packet.header.src_incarnation;
    format!("{kind} {source}.{refutation} to {to} by {}{news}", by(transport))
}
