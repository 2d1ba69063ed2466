//! Inputs, effects and messages in words, short enough for a line.
//!
//! Absent on purpose: payloads. Whoever needs the bytes reads the trace.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use quorate_core::ids::{Incarnation, Notice, Reason, Replica};
use quorate_core::limits;
use quorate_core::node::credentials::{self, Errand, Found, Seen};
use quorate_core::node::membership::words_of;
use quorate_core::node::workers::{Command, Target};
use quorate_core::node::{Announcement, Answer, Call, Effect, Input, Request};
use quorate_core::node::{kv, pools};
use quorate_core::wire::datagram::{self, Kind};
use quorate_core::wire::frame::{Class, Frame};
use quorate_core::wire::message::{Control, Gossip};
use quorate_core::wire::segment::Segment;
use quorate_core::wire::session::Session;
use quorate_core::wire::{Blob, decode};

use crate::clock::WALL_ORIGIN_US;

/// What a message is about; decides its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// Who is there.
    Membership,
    /// What is known.
    Gossip,
    /// Connections and what keeps them.
    Link,
}

impl Family {
    /// All of them, in the order of their numbers.
    pub const ALL: [Family; 3] = [Family::Membership, Family::Gossip, Family::Link];

    /// Its name in the legend.
    pub fn name(self) -> &'static str {
        match self {
            Family::Membership => "membership",
            Family::Gossip => "gossip",
            Family::Link => "links",
        }
    }
}

/// Who is where.
pub type Names = BTreeMap<SocketAddr, String>;

fn whom(names: &Names, address: SocketAddr) -> String {
    names.get(&address).cloned().unwrap_or_else(|| address.to_string())
}

/// A life, counted from where the clocks of a simulated world begin.
pub fn life(incarnation: Incarnation) -> String {
    incarnation.0.checked_sub(WALL_ORIGIN_US).unwrap_or(incarnation.0).to_string()
}

fn lived(replica: &Replica) -> String {
    format!("{}/{}", replica.node, life(replica.incarnation))
}

/// What a datagram carries.
pub fn of_datagram(bytes: &[u8]) -> (Family, String) {
    let Ok(datagram) = datagram::parse(bytes) else { return (Family::Link, "nonsense".into()) };
    let mut family = None;
    let mut words = Vec::new();
    for (kind, bytes) in datagram.sections {
        let (this, text) = match kind {
            Kind::Swim => (Family::Membership, words_of(bytes)),
            Kind::Segment => (Family::Gossip, of_segment_bytes(bytes)),
            Kind::Digest => (Family::Gossip, "digest".to_owned()),
            Kind::Rows => (Family::Gossip, "rows".to_owned()),
            Kind::Pull => (Family::Gossip, "pull".to_owned()),
            Kind::Departed => (Family::Membership, "you were given up".to_owned()),
            Kind::Retired => (Family::Membership, "you are retired".to_owned()),
        };
        family.get_or_insert(this);
        words.push(text);
    }
    (family.unwrap_or(Family::Gossip), words.join(" + "))
}

fn of_segment_bytes(bytes: &[u8]) -> String {
    let segment = decode::<Segment, { limits::DATAGRAM_BYTES_MAX }>(bytes);
    segment.map_or_else(|_| "no segment".to_owned(), |segment| of_segment(&segment))
}

fn of_segment(segment: &Segment) -> String {
    let Segment { topic, replica, from, upto, .. } = segment;
    let span = if from + 1 == *upto { upto.to_string() } else { format!("{}–{upto}", from + 1) };
    format!("{} of {} {span}", topic.name(), replica.node)
}

/// What a frame carries.
pub fn of_frame(frame: &Frame) -> (Family, String) {
    let bytes = &frame.payload;
    let unread = || (Family::Link, format!("{} frame", frame.class.name()));
    match frame.class {
        Class::Control => decode::<Control, { limits::FRAME_CONTROL_BYTES_MAX }>(bytes)
            .map_or_else(|_| unread(), |control| of_control(&control)),
        Class::Bulk => (Family::Link, "a piece of a snapshot".to_owned()),
        Class::Broadcast => (Family::Link, format!("broadcast {}", frame.sequence)),
        Class::Gossip => decode::<Gossip, { limits::FRAME_GOSSIP_BYTES_MAX }>(bytes)
            .map_or_else(|_| unread(), |gossip| of_gossip(&gossip)),
        Class::Session => decode::<Session, { limits::FRAME_SESSION_BYTES_MAX }>(bytes)
            .map_or_else(|_| unread(), |session| (Family::Link, of_session(&session).to_owned())),
    }
}

fn of_control(control: &Control) -> (Family, String) {
    match control {
        Control::Ping(_) => (Family::Link, "link ping".to_owned()),
        Control::Pong(_) => (Family::Link, "link pong".to_owned()),
        Control::Departed(_) => (Family::Membership, "you were given up".to_owned()),
        Control::Retired(notice) => (Family::Membership, format!("{} is retired", notice.node)),
        Control::Raft(_) => (Family::Link, "about the log".to_owned()),
        Control::Request(request) => (Family::Link, format!("request {}", request.number)),
        Control::Reply(reply) => (Family::Link, format!("reply to request {}", reply.number)),
        Control::Acknowledged(upto) => {
            (Family::Link, format!("broadcast through {}", upto.sequence))
        }
        Control::Relay(relay) => (Family::Link, format!("to be passed on to {}", relay.to)),
    }
}

fn of_gossip(gossip: &Gossip) -> (Family, String) {
    match gossip {
        Gossip::Segments(segments) => {
            let words: Vec<String> = segments.segments.iter().take(3).map(of_segment).collect();
            (Family::Gossip, words.join(" + "))
        }
        Gossip::Digest(_) => (Family::Gossip, "digest".to_owned()),
        Gossip::Rows(_) => (Family::Gossip, "rows".to_owned()),
        Gossip::Pull(_) => (Family::Gossip, "pull".to_owned()),
        Gossip::Members(_) => (Family::Membership, "member list".to_owned()),
        Gossip::Swim(packet) => (Family::Membership, words_of(packet)),
    }
}

fn of_session(session: &Session) -> &'static str {
    match session {
        Session::Hello(_) => "hello",
        Session::Welcome(_) => "welcome",
        Session::Refused(_) => "refused",
        Session::Bye(_) => "bye",
    }
}

/// A frame that was encoded for its connection.
pub fn of_encoded(bytes: &Blob) -> (Family, String) {
    let mut reader = quorate_core::wire::frame::FrameReader::default();
    reader.push(bytes);
    match reader.next_frame() {
        Ok(Some(frame)) => of_frame(&frame),
        Ok(None) | Err(_) => (Family::Link, "bytes".to_owned()),
    }
}

/// What came in.
pub fn of_input(input: &Input, names: &Names) -> String {
    match input {
        Input::Start => "starts".to_owned(),
        Input::Wake => "wakes".to_owned(),
        Input::Clock { unix } => format!("reads {} ms since 1970", unix.0),
        Input::Datagram { from, bytes } => {
            format!("from {}: {}", whom(names, *from), of_datagram(bytes).1)
        }
        Input::Connected { connection } => format!("connection {} is up", connection.0),
        Input::ConnectFailed { connection } => format!("connection {} failed", connection.0),
        Input::Accepted { connection, from } => {
            format!("accepted connection {} from {}", connection.0, from.ip())
        }
        Input::Frame { connection, frame } => {
            format!("on connection {}: {}", connection.0, of_frame(frame).1)
        }
        Input::Broken { connection, what } => format!("connection {} broke: {what}", connection.0),
        Input::Unsecured { connection, what } => {
            format!("connection {} is not secured: {what}", connection.0)
        }
        Input::Misnamed { connection } => {
            format!("the certificate of connection {} names another node", connection.0)
        }
        Input::Writable { connection, bytes } => {
            format!("connection {} takes {bytes} bytes more", connection.0)
        }
        Input::Closed { connection } => format!("connection {} is closed", connection.0),
        Input::Stored { ticket } => format!("store {} is durable", ticket.0),
        Input::Answered { answer, .. } => of_answer(answer),
        Input::Request { request, .. } => format!("is asked to {}", of_request(request)),
    }
}

fn of_answer(answer: &Answer) -> String {
    match answer {
        Answer::Resolved(addresses) => format!("a name resolves to {addresses:?}"),
        Answer::Probed { outcome, .. } => format!("a probe ends: {outcome:?}").to_lowercase(),
        Answer::Credential(found) => match found {
            Found::Look(look) => match &look.seen {
                Seen::Absent => "a look finds nothing".to_owned(),
                Seen::Invalid { what } => format!("a look finds no record: {what}"),
                Seen::Failed { what } => format!("the store of credentials fails: {what}"),
                Seen::Record { .. } => "a look finds a record".to_owned(),
            },
            Found::Listing(Ok(listing)) => format!("{} records are listed", listing.found.len()),
            Found::Listing(Err(what)) => format!("the store of credentials fails: {what}"),
            Found::Done => "the store of credentials has done it".to_owned(),
        },
    }
}

/// What a caller wants.
pub fn of_request(request: &Request) -> String {
    match request {
        Request::Join { addresses } => format!("join {}", addresses.join(", ")),
        Request::Leave { .. } => "leave".to_owned(),
        Request::Evict { node } => format!("evict {node}"),
        Request::SetLabels { .. } => "set its labels".to_owned(),
        Request::TellAudit { .. } => "tell its audit head".to_owned(),
        Request::Worker(command) => of_command(command),
        Request::Credential(command) => of_credentials(command).to_owned(),
        Request::Pool(command) => format!("of a pool: {command:?}").to_lowercase(),
        Request::Raft(operation) => format!("of the log: {operation:?}").to_lowercase(),
        Request::Kv { request, .. } => of_keys(request).to_owned(),
        Request::Agree { request } => of_keys(request).to_owned(),
        Request::Watch(_) => "watch keys".to_owned(),
        Request::Taken { watch, .. } => format!("took what watch {} told", watch.0),
        Request::Unwatch { watch } => format!("hear no more of watch {}", watch.0),
        Request::Drain { on } => if *on { "drain" } else { "undrain" }.to_owned(),
        Request::Reload { .. } => "reload its settings".to_owned(),
    }
}

fn of_credentials(command: &credentials::Command) -> &'static str {
    use credentials::Command;
    match command {
        Command::Hint { .. } => "look at credentials",
        Command::Rescan => "look at all credentials",
        Command::Wrote { .. } => "take up what was written of a credential",
        Command::Accept => "believe that credentials are gone",
        Command::Restore => "write credentials back",
        Command::Purge { .. } => "forget deleted credentials",
    }
}

fn of_keys(request: &kv::Request) -> &'static str {
    match request {
        kv::Request::Ask { .. } => "read keys",
        kv::Request::Put { .. } => "put a key",
        kv::Request::Delete { .. } => "delete keys",
        kv::Request::Transact(_) => "a transaction",
        kv::Request::Grant { .. } => "grant a lease",
        kv::Request::KeepAlive(_) => "keep a lease alive",
        kv::Request::Revoke(_) => "revoke a lease",
        kv::Request::Compact { .. } => "forget older versions",
        kv::Request::Acquire { .. } => "acquire a lock",
        kv::Request::Release { .. } => "release a lock",
    }
}

fn of_command(command: &Command) -> String {
    let named = |target: &Target| match target {
        Target::Url(name) | Target::Id(name) => name.clone(),
    };
    let (verb, target) = match command {
        Command::Register { spec, .. } => return format!("register {}", spec.url),
        Command::Remove { targets, .. } => {
            let names: Vec<String> = targets.iter().map(named).collect();
            return format!("remove {}", names.join(", "));
        }
        Command::Replace { target, .. } => ("replace", target),
        Command::Patch { target, .. } => ("change", target),
        Command::Drain(target) => ("drain", target),
        Command::Undrain(target) => ("undrain", target),
        Command::ProbeNow(target) => ("probe", target),
        Command::Suppress(target) => ("hide", target),
        Command::Unsuppress(target) => ("show", target),
        Command::Report { target, .. } => ("note how a request went at", target),
    };
    format!("{verb} {}", named(target))
}

/// What went out.
pub fn of_effect(effect: &Effect, names: &Names) -> String {
    match effect {
        Effect::Datagram { to, bytes } => {
            format!("to {}: {}", whom(names, *to), of_datagram(bytes).1)
        }
        Effect::Send { connection, bytes } => {
            format!("on connection {}: {}", connection.0, of_encoded(bytes).1)
        }
        Effect::Connect { connection, to } => {
            format!("dials {} as connection {}", whom(names, *to), connection.0)
        }
        Effect::Disconnect { connection } => format!("hangs up connection {}", connection.0),
        Effect::Store { ticket, batch } => format!("stores {} rows ({})", batch.len(), ticket.0),
        Effect::Call { call, .. } => match call {
            Call::Resolve { name } => format!("resolves {name}"),
            Call::Probe(probe) => format!("probes {}", probe.url),
            Call::Credential(Errand::Look { key }) => format!("looks at credential {key}"),
            Call::Credential(Errand::List) => "lists credentials".to_owned(),
            Call::Credential(Errand::Forget { key }) => format!("lets credential {key} go"),
            Call::Credential(Errand::Restore { keys }) => {
                format!("restores {} credentials", keys.len())
            }
        },
        Effect::Reply { reply, .. } => format!("answers {}", crate::surfaces::words_of(reply)),
        Effect::Announce(announcement) => {
            of_announcement(announcement).unwrap_or_else(|| format!("{announcement:?}"))
        }
    }
}

/// What observers hear; `None` for what only a gauge wants to know.
pub fn of_announcement(announcement: &Announcement) -> Option<String> {
    Some(match announcement {
        Announcement::Member(notice) => of_notice(notice),
        Announcement::Raised { replica } => format!("takes up life {}", life(replica.incarnation)),
        Announcement::Link { peer, up: true } => format!("link to {peer} is up"),
        Announcement::Link { peer, up: false } => format!("link to {peer} is down"),
        Announcement::Asymmetric { peer, missing: Some(missing) } => {
            format!("hears {peer} no more by {missing:?}").to_lowercase()
        }
        Announcement::Asymmetric { peer, missing: None } => format!("hears {peer} both ways"),
        Announcement::Worker(change) => {
            let (old, new) = (&change.old, &change.new);
            let shown = |status: &Option<_>| {
                status.as_ref().map_or_else(String::new, |status| format!("{status:?}"))
            };
            let url = change.url.trim_start_matches("http://");
            match (old, new) {
                (None, _) => format!("worker {url} is new, {}", shown(new)),
                (_, None) => format!("worker {url} is gone"),
                _ => format!("worker {url} turns {}: {:?}", shown(new), change.cause),
            }
        }
        Announcement::Misbehaved { peer, what } => {
            let peer = peer.as_ref().map_or("somebody".to_owned(), ToString::to_string);
            format!("{peer} misbehaves: {what}")
        }
        Announcement::JoinFailed { seed, failures } => {
            format!("cannot join through {seed}, {failures} times by now")
        }
        Announcement::Converged { took } => {
            format!("its view was still for a second after {took:?}")
        }
        Announcement::Led { term, leader: Some(leader), .. } => {
            format!("knows {leader} as leader of term {term}")
        }
        Announcement::Led { term, leader: None, .. } => format!("knows no leader in term {term}"),
        Announcement::Credential(event) => format!("of credentials: {event:?}"),
        Announcement::GenesisConflict { with } => format!("keeps another log than {with}"),
        Announcement::NeedsUpgrade { index } => format!("does not understand entry {index}"),
        Announcement::Pool(event) => of_pool(event),
        Announcement::Stopped => "has left and stops".to_owned(),
        Announcement::Duplicate { .. } => "finds its name in use and stops".to_owned(),
        Announcement::Watched { watch, .. } => format!("tells watch {} of changes", watch.0),
        Announcement::MemberChanged { .. }
        | Announcement::RoundTrip { .. }
        | Announcement::WorkerChanged { .. } => return None,
    })
}

fn of_pool(event: &pools::Event) -> String {
    match event {
        pools::Event::Exhausted { pool, .. } => format!("pool {pool} is exhausted"),
        pools::Event::Recovered { pool, member, .. } => {
            format!("pool {pool} is back through {member}")
        }
        pools::Event::Failover { pool, from, to, .. } => {
            format!("pool {pool} goes on from {from} to {to}")
        }
        pools::Event::Rested { scope, class, .. } => format!("{scope} rests: {class}"),
        pools::Event::Shared { from, .. } => format!("a rest arrived from {from}"),
        pools::Event::Parked { member, .. } => format!("{member} is parked or taken back"),
        pools::Event::ProbeDue { pool, member } => {
            format!("pool {pool} asks {member} by itself")
        }
        pools::Event::Changed { pool } => format!("pool {pool} changed"),
    }
}

fn of_notice(notice: &Notice) -> String {
    match notice {
        Notice::Up { replica, .. } => format!("{} is up", lived(replica)),
        Notice::Suspect { replica } => format!("suspects {}", lived(replica)),
        Notice::Refuted { replica } => format!("{} is there after all", lived(replica)),
        Notice::Departed { replica, reason } => {
            let how = match reason {
                Reason::Failed => "is given up for dead",
                Reason::Left => "has left",
                Reason::Evicted => "is evicted",
            };
            format!("{} {how}", lived(replica))
        }
        Notice::Renamed { old, new, .. } => {
            format!("{} is now {}", lived(old), life(new.incarnation))
        }
        Notice::Forgotten { node, fence } => format!("forgets {node} through {}", life(*fence)),
    }
}
