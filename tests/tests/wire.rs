//! The bytes of every message, frame and datagram, as they were first released.
//!
//! A node of yesterday must understand a node of today, so an encoding changes only together with its
//! version. `tests/golden/wire/<message>.hex` holds one encoding each; `UPDATE_EXPECT=1 cargo test`
//! writes them anew, and the diff is what a running cluster would stumble over.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use quorate_core::ids::{ClusterId, CredentialHandle, Incarnation, NodeId, Replica};
use quorate_core::limits;
use quorate_core::node::pools::said::{
    ClearSaid, DemandSaid, NoticeSaid, Origin, ParkSaid, ProbeSaid, RestSaid,
};
use quorate_core::node::pools::target::{Reach, Subject, Target};
use quorate_core::node::pools::{Cause, Class as PoolClass, check_entry};
use quorate_core::wire::datagram::{self, Kind, Writer};
use quorate_core::wire::frame::{Class, Frame, FrameReader};
use quorate_core::wire::message::{
    Acknowledged, Control, Departed, Digest, Gossip, Listed, ListedState, Members, Ping, Pong,
    Pull, Purpose, Relay, Reply, Request, Retired, Row, Rows, Segments, Want,
};
use quorate_core::wire::segment::{Entry, Key, Progress, Segment, Topic};
use quorate_core::wire::session::{Bye, Greeting, MAGIC, Refusal, Session};
use quorate_core::wire::{Blob, decode, encode};

#[test]
fn every_message_has_the_bytes_it_always_had() {
    let mut golden = Golden::default();
    for session in sessions() {
        let bytes = encode(&session);
        let back = decode::<Session, { limits::FRAME_SESSION_BYTES_MAX }>(&bytes);
        assert_eq!(back.as_ref(), Ok(&session));
        golden.compare(&session_name(&session), &bytes);
    }
    for control in controls() {
        let bytes = encode(&control);
        let back = decode::<Control, { limits::FRAME_CONTROL_BYTES_MAX }>(&bytes);
        assert_eq!(back.as_ref(), Ok(&control));
        golden.compare(control_name(&control), &bytes);
    }
    for gossip in gossips() {
        let bytes = encode(&gossip);
        let back = decode::<Gossip, { limits::FRAME_GOSSIP_BYTES_MAX }>(&bytes);
        assert_eq!(back.as_ref(), Ok(&gossip));
        golden.compare(gossip_name(&gossip), &bytes);
    }
    for (name, frame) in frames() {
        let bytes = frame.encode();
        let mut reader = FrameReader::default();
        reader.push(&bytes);
        assert_eq!(reader.next_frame(), Ok(Some(frame)));
        golden.compare(name, &bytes);
    }
    for (name, bytes) in datagrams() {
        let parsed = datagram::parse(&bytes).expect("what a writer wrote");
        assert_eq!((parsed.unknown, parsed.truncated), (0, false), "{name}");
        golden.compare(name, &bytes);
    }
    let words = encode(&words_of_pools());
    assert_eq!(decode::<Segment, { limits::FRAME_GOSSIP_BYTES_MAX }>(&words), Ok(words_of_pools()));
    golden.compare("segment_pools", &words);
    golden.finish();
}

#[test]
fn what_nodes_say_of_pools_passes_the_merge_and_a_letter_more_does_not() {
    for entry in words_of_pools().entries.0 {
        assert_eq!(
            check_entry(&replica(), &entry.key, entry.value.as_ref()),
            Ok(()),
            "{}",
            entry.key
        );
        let Some(value) = entry.value else { continue };
        let text = String::from_utf8(value.to_vec()).expect("JSON");
        let more = Some(Blob::from(text.replacen('{', "{\"x\":1,", 1).as_str()));
        assert!(check_entry(&replica(), &entry.key, more.as_ref()).is_err(), "{}", entry.key);
    }
}

#[test]
fn every_section_of_a_datagram_is_the_message_that_a_frame_carries() {
    // Sections have no variant number of their own: their kind says what they are.
    for (kind, bytes, tagged) in [
        (Kind::Segment, encode(&segment()), encode(&segment())),
        (Kind::Digest, encode(&digest()), encode(&Gossip::Digest(digest()))[1..].to_vec()),
        (Kind::Rows, encode(&rows()), encode(&Gossip::Rows(rows()))[1..].to_vec()),
        (Kind::Pull, encode(&pull()), encode(&Gossip::Pull(pull()))[1..].to_vec()),
        (Kind::Departed, encode(&departed()), encode(&Control::Departed(departed()))[1..].to_vec()),
        (Kind::Retired, encode(&retired()), encode(&Control::Retired(retired()))[1..].to_vec()),
    ] {
        assert_eq!(bytes, tagged, "{kind:?}");
    }
}

/// Compares with the files, or writes them.
struct Golden {
    folder: PathBuf,
    update: bool,
    seen: BTreeSet<String>,
    wrong: String,
}

impl Default for Golden {
    fn default() -> Golden {
        Golden {
            folder: Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/wire"),
            update: std::env::var("UPDATE_EXPECT").is_ok_and(|value| value == "1"),
            seen: BTreeSet::new(),
            wrong: String::new(),
        }
    }
}

impl Golden {
    fn compare(&mut self, name: &str, bytes: &[u8]) {
        let file = format!("{name}.hex");
        assert!(self.seen.insert(file.clone()), "two messages are called {name}");
        let path = self.folder.join(file);
        let hex = hex(bytes);
        if self.update {
            fs::write(&path, hex).expect("a golden file is writable");
            return;
        }
        let expected = fs::read_to_string(&path).unwrap_or_else(|_| "no such file\n".to_owned());
        if expected != hex {
            write!(self.wrong, "\n{name}\n  was\n{expected}  is\n{hex}")
                .expect("a string takes every write");
        }
    }

    fn finish(self) {
        let files = fs::read_dir(&self.folder).expect("the golden files are readable");
        let names = files.map(|file| file.expect("an entry").file_name());
        let names: BTreeSet<String> =
            names.map(|name| name.into_string().expect("a name in UTF-8")).collect();
        let stale: Vec<&String> = names.difference(&self.seen).collect();
        assert!(stale.is_empty(), "no message has these bytes any more: {stale:?}");
        assert!(self.wrong.is_empty(), "the wire changed without its version:{}", self.wrong);
    }
}

/// 32 bytes a line.
fn hex(bytes: &[u8]) -> String {
    let lines = bytes.chunks(32).map(|chunk| {
        let digits: String = chunk.iter().map(|byte| format!("{byte:02x}")).collect();
        digits + "\n"
    });
    lines.collect()
}

// Names. A new variant does not compile until it has one; give it a value below as well.

fn session_name(session: &Session) -> String {
    match session {
        Session::Hello(hello) if hello.called.is_none() => "session_hello_seed".to_owned(),
        Session::Hello(_) => "session_hello".to_owned(),
        Session::Welcome(_) => "session_welcome".to_owned(),
        Session::Refused(refusal) => format!(
            "session_refused_{}",
            match refusal {
                Refusal::WrongNode => "wrong_node",
                Refusal::SelfCall => "self",
                Refusal::Version { .. } => "version",
                Refusal::Genesis => "genesis",
                Refusal::Settings { .. } => "settings",
                Refusal::Stale { .. } => "stale",
                Refusal::Full => "full",
                Refusal::Leaving => "leaving",
            }
        ),
        Session::Bye(bye) => format!(
            "session_bye_{}",
            match bye {
                Bye::Duplicate => "duplicate",
                Bye::Leaving => "leaving",
                Bye::Restarting => "restarting",
                Bye::Closing => "closing",
            }
        ),
    }
}

fn control_name(control: &Control) -> &'static str {
    match control {
        Control::Ping(_) => "control_ping",
        Control::Pong(_) => "control_pong",
        Control::Departed(_) => "control_departed",
        Control::Retired(_) => "control_retired",
        Control::Raft(_) => "control_raft",
        Control::Request(_) => "control_request",
        Control::Reply(_) => "control_reply",
        Control::Acknowledged(_) => "control_acknowledged",
        Control::Relay(_) => "control_relay",
    }
}

fn gossip_name(gossip: &Gossip) -> &'static str {
    match gossip {
        Gossip::Segments(segments) if segments.answers.is_some() => "gossip_segments_answer",
        Gossip::Segments(_) => "gossip_segments_push",
        Gossip::Digest(_) => "gossip_digest",
        Gossip::Rows(_) => "gossip_rows",
        Gossip::Pull(_) => "gossip_pull",
        Gossip::Members(_) => "gossip_members",
        Gossip::Swim(_) => "gossip_swim",
    }
}

// Values. Numbers lie on both sides of each step of the variable integers.

fn sessions() -> Vec<Session> {
    let refusals = [
        Refusal::WrongNode,
        Refusal::SelfCall,
        Refusal::Version { min: 1, max: 300 },
        Refusal::Genesis,
        Refusal::Settings { name: "names.lease_ms".to_owned() },
        Refusal::Stale { known: Incarnation(1_700_000_000_000_000) },
        Refusal::Full,
        Refusal::Leaving,
    ];
    let byes = [Bye::Duplicate, Bye::Leaving, Bye::Restarting, Bye::Closing];
    let seed = Greeting { called: None, ..greeting() };
    let mut sessions =
        vec![Session::Hello(greeting()), Session::Hello(seed), Session::Welcome(greeting())];
    sessions.extend(refusals.map(Session::Refused));
    sessions.extend(byes.map(Session::Bye));
    sessions
}

fn greeting() -> Greeting {
    Greeting {
        magic: MAGIC,
        cluster: ClusterId("prod".into()),
        protocol: (1, 2),
        node: node("gw-a.eu-1"),
        incarnation: Incarnation(70_000),
        born: Incarnation(251),
        addresses: vec![address("10.0.0.1:7420"), address("[2001:db8::1]:7420")].into(),
        called: Some(node("n2")),
        genesis: Some(u128::MAX / 3),
        resume: vec![(3, Incarnation(57), 65_536)].into(),
        settings: vec![("names.lease_ms".to_owned(), "15000".to_owned())].into(),
    }
}

fn controls() -> Vec<Control> {
    let complete = vec![(Topic::FACTS, 250), (Topic::WORKERS, 1 << 32)];
    let floors = vec![(Topic::WORKERS, 9)];
    vec![
        Control::Ping(Ping {
            number: 7,
            complete: complete.clone().into(),
            floors: complete.clone().into(),
        }),
        Control::Pong(Pong { number: 7, complete: complete.into(), floors: floors.into() }),
        Control::Departed(departed()),
        Control::Retired(retired()),
        Control::Raft(Blob::from("as its members encode it")),
        Control::Request(Request {
            from: replica(),
            number: 9,
            remaining_ms: 5000,
            body: Blob::from("why"),
        }),
        Control::Reply(Reply { to: replica(), number: 9, body: Blob::from("because") }),
        Control::Acknowledged(Acknowledged { sender: Incarnation(70_000), sequence: 65_536 }),
        Control::Relay(Relay { to: node("n3"), from: replica(), body: Blob::from("a message") }),
    ]
}

fn gossips() -> Vec<Gossip> {
    let segments = vec![segment(), Segment { entries: vec![].into(), ..segment() }];
    let push = Segments { segments: segments.clone().into(), answers: None };
    let answer = Segments { segments: segments.into(), answers: Some(300) };
    vec![
        Gossip::Segments(push),
        Gossip::Segments(answer),
        Gossip::Digest(digest()),
        Gossip::Rows(rows()),
        Gossip::Pull(pull()),
        Gossip::Members(members()),
        Gossip::Swim(Blob::from("a SWIM packet")),
    ]
}

fn frames() -> Vec<(&'static str, Frame)> {
    let numbered = Frame {
        class: Class::Control,
        reply: true,
        sequence: 0x0102_0304_0506_0708,
        payload: Blob::from("payload"),
    };
    vec![
        ("frame_control", Frame::new(Class::Control, b"payload".to_vec())),
        ("frame_gossip", Frame::new(Class::Gossip, vec![7; 300])),
        ("frame_session", Frame::new(Class::Session, b"payload".to_vec())),
        ("frame_bulk", Frame::new(Class::Bulk, b"a piece".to_vec())),
        (
            "frame_broadcast",
            Frame { sequence: 300, ..Frame::new(Class::Broadcast, b"payload".to_vec()) },
        ),
        ("frame_empty", Frame::new(Class::Control, vec![])),
        ("frame_reply_sequenced", numbered),
    ]
}

fn datagrams() -> Vec<(&'static str, Vec<u8>)> {
    let all = |sections: &[(Kind, Vec<u8>)]| {
        let mut writer = Writer::new(&replica());
        for (kind, bytes) in sections {
            writer.section(*kind, bytes);
        }
        writer.finish()
    };
    let sections = [
        (Kind::Swim, b"a SWIM packet".to_vec()),
        (Kind::Segment, encode(&segment())),
        (Kind::Digest, encode(&digest())),
        (Kind::Rows, encode(&rows())),
        (Kind::Pull, encode(&pull())),
        (Kind::Departed, encode(&departed())),
        (Kind::Retired, encode(&retired())),
    ];
    let names = sections.iter().map(|(kind, bytes)| {
        let name = match kind {
            Kind::Swim => "datagram_swim",
            Kind::Segment => "datagram_segment",
            Kind::Digest => "datagram_digest",
            Kind::Rows => "datagram_rows",
            Kind::Pull => "datagram_pull",
            Kind::Departed => "datagram_departed",
            Kind::Retired => "datagram_retired",
        };
        (name, all(&[(*kind, bytes.clone())]))
    });
    let mut datagrams: Vec<(&'static str, Vec<u8>)> = names.collect();
    datagrams.push(("datagram_empty", all(&[])));
    datagrams.push(("datagram_all", all(&sections)));
    datagrams
}

fn segment() -> Segment {
    let entry = |sequence, key, value: Option<&str>| Entry {
        sequence,
        key: Key::from(key),
        value: value.map(Blob::from),
    };
    Segment {
        topic: Topic::WORKERS,
        replica: replica(),
        from: 3,
        upto: 70_000,
        floor: 250,
        through: 70_001,
        head: 1 << 33,
        entries: vec![
            entry(4, "", Some("")),
            entry(251, "claim/http://10.0.0.9:8000", Some("{\"model\":\"m\"}")),
            entry(70_000, "status/é", None),
        ]
        .into(),
    }
}

/// One word of each kind that nodes say of pools, and the end of a rest.
fn words_of_pools() -> Segment {
    let handle = CredentialHandle::of("default", "team-a");
    let whole = Target::of(handle, 3, Reach::All);
    let model = Target::of(handle, 3, Reach::Model("openai/gpt-4o".into()));
    let group = (Subject::Group("org/7".into()), 0);
    let family = Target { whom: group, reach: Reach::Family("opus".into()) };
    let origin = Origin { node: node("n1"), incarnation: Incarnation(57), sequence: 300 };
    let rest = RestSaid {
        class: PoolClass::QuotaExhausted,
        source: "header:retry-after".into(),
        rest_until: 1_700_000_060_000,
        stated_reset: Some(1_700_000_600_000),
        n: 0,
        since: 1_700_000_000_000,
        evidence: "00ff00ff00ff00ff".into(),
        origin: origin.clone(),
    };
    let clear = ClearSaid { covers: vec![origin], cause: Cause::Success };
    let park = ParkSaid { set_at: 1_700_000_000_001, until: 1_700_000_300_001 };
    let demand = DemandSaid { count: 7, asked: true };
    let probe = ProbeSaid { rest: 1_700_000_060_000, attempt: 1, spent: true, idle: 2, next_at: 9 };
    let notice = NoticeSaid { kind: "exhausted".into(), of: 1_700_000_000_000 };
    let json = |value: Result<Vec<u8>, _>| Some(Blob::from(value.expect("JSON")));
    let words = [
        (format!("r/{model}"), json(serde_json::to_vec(&rest))),
        (format!("r/{family}"), json(serde_json::to_vec(&RestSaid { stated_reset: None, ..rest }))),
        (format!("r/{whole}"), None),
        (format!("c/{whole}"), json(serde_json::to_vec(&clear))),
        (format!("k/{whole}"), json(serde_json::to_vec(&park))),
        (format!("d/{model}"), json(serde_json::to_vec(&demand))),
        (format!("p/{model}"), json(serde_json::to_vec(&probe))),
        ("n/codex/gpt-5".to_owned(), json(serde_json::to_vec(&notice))),
    ];
    let entries = (4..).zip(words).map(|(sequence, (key, value))| {
        let key = Key::from(key);
        Entry { sequence, key, value }
    });
    let entries: Vec<Entry> = entries.collect();
    Segment { topic: Topic::POOLS, upto: 11, entries: entries.into(), ..segment() }
}

fn digest() -> Digest {
    Digest { members: 1000, owners: Blob::from(vec![0xAB; 512]), shared: Blob::default() }
}

fn rows() -> Rows {
    let row = Row {
        topic: Topic::FACTS,
        replica: replica(),
        progress: Progress { complete: 12, head: 300, floor: 0 },
    };
    Rows { last: true, buckets: 1 << 63, rows: vec![row].into() }
}

fn pull() -> Pull {
    let want = Want { topic: Topic::WORKERS, replica: replica(), from: 65_535 };
    Pull { number: 1 << 40, wants: vec![want].into() }
}

fn members() -> Members {
    let states = [ListedState::Alive, ListedState::Suspect, ListedState::Down];
    let listed = states.map(|state| Listed {
        replica: replica(),
        born: Incarnation(56),
        address: address("192.0.2.7:65535"),
        refutation: 513,
        state,
    });
    Members { purpose: Purpose::Exchange, members: listed.to_vec().into() }
}

fn departed() -> Departed {
    Departed { incarnation: Incarnation(57) }
}

fn retired() -> Retired {
    Retired { node: node("n2"), fence: Incarnation(1 << 40) }
}

fn replica() -> Replica {
    Replica { node: node("n1"), incarnation: Incarnation(57) }
}

fn node(text: &str) -> NodeId {
    text.parse().expect("a node id")
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}
