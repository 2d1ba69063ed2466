//! The grammar of owner-map scripts.
//!
//! Entries are written `a@5` (value `a5`), `a@5=value`, `b@4!` (a tombstone), `@6` (the marker `ready`).
//! `look` is no input: it prints what is held, `~` marking what is in doubt.

use super::*;
use crate::ids::Reason;
use crate::script::{self, Script};
use crate::wire::segment::Entry;

pub(super) struct MapsScript {
    maps: Maps,
    shows_progress: bool,
}

impl Script for MapsScript {
    fn given(settings: &script::Settings) -> Self {
        let local = replica(&settings.get("local", String::from("me/1")));
        let entries_max = settings.get("entries_max", 100);
        let registrations =
            vec![registration(Topic::FACTS, entries_max, settings.get("dies_with_process", false))];
        let limits = Settings {
            tombstones_max: settings.get("tombstones_max", 100),
            fences_max: settings.get("fences_max", 100),
            ready_timeout: settings.millis("ready_timeout_ms", 60_000),
        };
        let mut maps = Maps::new(local, registrations, limits);
        for name in settings.get("up", String::new()).split(',').filter(|name| !name.is_empty()) {
            let owner = replica(name);
            let born = owner.incarnation;
            maps.handle(Instant::ZERO, Input::Notice(up(owner, born)), &mut Vec::new());
        }
        MapsScript { maps, shows_progress: settings.get("progress", false) }
    }

    fn when(&mut self, now: Instant, words: &[&str]) -> Vec<String> {
        if let ["look", node] = words {
            return self.look(node);
        }
        if let ["wake"] = words {
            let wake = self.maps.next_wake();
            return wake.map(|wake| format!("{} {}", wake.at, wake.what)).into_iter().collect();
        }
        let mut out = Vec::new();
        self.maps.handle(now, input(words), &mut out);
        self.maps.check().expect("the maps are sound");
        let shown = out
            .iter()
            .filter(|output| self.shows_progress || !matches!(output, Output::Progress { .. }));
        shown.map(print).collect()
    }
}

impl MapsScript {
    fn look(&self, node: &str) -> Vec<String> {
        let mut lines = Vec::new();
        let room = &self.maps.rooms[&Topic::FACTS];
        let print = |name: &Replica, entries: &entries::Entries, progress: Progress| {
            let Progress { complete, head, floor } = progress;
            let mut line = format!("{name} complete={complete} head={head} floor={floor}");
            let certain: BTreeSet<u64> =
                entries.certain(0, u64::MAX).map(|entry| entry.sequence).collect();
            for (place, key) in entries.places(0, u64::MAX) {
                let doubt = if certain.contains(&place) { "" } else { "~" };
                let gone = if entries.value(key).is_some() { "" } else { "!" };
                line += &format!(" {key}@{place}{gone}{doubt}");
            }
            line
        };
        if self.maps.local().node.as_str() == node {
            lines.push(print(self.maps.local(), room.own.entries(), room.own.progress()));
        }
        for copy in room.copies().filter(|copy| copy.replica().node.as_str() == node) {
            lines.push(print(copy.replica(), copy.entries(), copy.progress()));
        }
        lines
    }
}

fn input(words: &[&str]) -> Input {
    let topic = Topic::FACTS;
    let number = |text: &str| text.parse::<u64>().expect("a number");
    match *words {
        ["write", pair] => {
            let (key, value) = pair.split_once('=').expect("key=value");
            Input::Write { topic, key: Key::from(key), value: Some(Blob::from(value)) }
        }
        ["delete", key] => Input::Write { topic, key: Key::from(key), value: None },
        ["ready"] => Input::Ready { topic },
        ["segment", owner, ref rest @ ..] => Input::Segment {
            from: "peer".parse().expect("a node id"),
            transport: Transport::Link,
            segment: segment(topic, replica(owner), rest),
        },
        ["ack", peer, whose, complete] => Input::Acknowledged {
            peer: replica(peer),
            topic,
            replica: replica(whose),
            complete: number(complete),
        },
        ["floor", owner, floor] => {
            Input::Floor { owner: replica(owner), topic, floor: number(floor) }
        }
        ["shown", owner, head] => {
            Input::Shown { topic, replica: replica(owner), head: number(head) }
        }
        ["raised", local] => Input::Raised { replica: replica(local) },
        ["slept"] => Input::Slept,
        ["tick"] => Input::Tick,
        ref notice => Input::Notice(parse_notice(notice)),
    }
}

fn parse_notice(words: &[&str]) -> Notice {
    let departed = |owner: &str, reason| Notice::Departed { replica: replica(owner), reason };
    match *words {
        ["up", owner] => up(replica(owner), replica(owner).incarnation),
        ["renamed", old, new, "born", born] => Notice::Renamed {
            old: replica(old),
            new: replica(new),
            born: Incarnation(born.parse().expect("an incarnation")),
            address: std::net::SocketAddr::from(([10, 0, 0, 1], 7400)),
        },
        ["failed", owner] => departed(owner, Reason::Failed),
        ["left", owner] => departed(owner, Reason::Left),
        ["evicted", owner] => departed(owner, Reason::Evicted),
        ["suspect", owner] => Notice::Suspect { replica: replica(owner) },
        ["refuted", owner] => Notice::Refuted { replica: replica(owner) },
        ["forgotten", owner] => {
            let Replica { node, incarnation: fence } = replica(owner);
            Notice::Forgotten { node, fence }
        }
        ref other => panic!("no input reads {other:?}"),
    }
}

/// `0..5 a@5 …`, with `floor=`, `through=`, `head=`; the last two are the upper end if not given.
pub(super) fn segment(topic: Topic, replica: Replica, words: &[&str]) -> Segment {
    let mut words = words.iter();
    let (from, upto) = words.next().and_then(|word| word.split_once("..")).expect("from..upto");
    let (from, upto) = (from.parse().expect("a number"), upto.parse().expect("a number"));
    let mut segment = Segment {
        topic,
        replica,
        from,
        upto,
        floor: 0,
        through: upto,
        head: upto,
        entries: Vec::new().into(),
    };
    for word in words {
        match word.split_once('=') {
            Some(("floor", floor)) => segment.floor = floor.parse().expect("a number"),
            Some(("through", through)) => {
                segment.through = through.parse().expect("a number");
                segment.head = segment.head.max(segment.through);
            }
            Some(("head", head)) => segment.head = head.parse().expect("a number"),
            _ => segment.entries.0.push(parse_entry(word)),
        }
    }
    segment
}

fn parse_entry(word: &str) -> Entry {
    let (place, value) = word.split_once('=').map_or((word, None), |(p, v)| (p, Some(v)));
    let (key, sequence) = place.split_once('@').expect("key@sequence");
    let number = sequence.trim_end_matches('!').parse().expect("a number");
    let plain = if key.is_empty() { String::new() } else { format!("{key}{number}") };
    let value = (!sequence.ends_with('!')).then(|| Blob::from(value.unwrap_or(&plain)));
    Entry { sequence: number, key: Key::from(key), value }
}

fn print(output: &Output) -> String {
    let text = |value: &Blob| String::from_utf8_lossy(value).into_owned();
    match output {
        Output::Written { replica, from, upto, .. } => format!("written {replica} {from}..{upto}"),
        Output::Applied { replica, from, upto, learnt_from, .. } => {
            format!("applied {replica} {from}..{upto} from {learnt_from}")
        }
        Output::Progress { replica, progress: None, .. } => format!("progress {replica} gone"),
        Output::Progress {
            replica, progress: Some(Progress { complete, head, floor }), ..
        } => {
            format!("progress {replica} complete={complete} head={head} floor={floor}")
        }
        Output::Gap { replica, from, through, .. } => {
            format!("gap {replica} at {from} through {through}")
        }
        Output::Unused { why, .. } => format!("{why:?}").to_lowercase(),
        Output::Changed { owner, key, value: Some(value), .. } => {
            format!("changed {owner} {key}={}", text(value))
        }
        Output::Changed { owner, key, value: None, .. } => format!("changed {owner} {key} gone"),
        Output::Orphaned { owner, .. } => format!("orphaned {owner}"),
        Output::Dropped { owner, left, last, .. } => {
            let mut line = format!("dropped {owner}{}", if *left { " left" } else { "" });
            for (key, value) in last {
                line += &format!(" {key}={}", text(value));
            }
            line
        }
        Output::Switched { old, new, .. } => format!("switched {old} to {new}"),
        Output::Ready { owner, .. } => format!("ready {owner}"),
        Output::SendRetired { to, notice, .. } => {
            format!("retired {} through {} to {to}", notice.node, notice.fence)
        }
        Output::Overtaken { known } => format!("overtaken {known}"),
        Output::Full { key, .. } => format!("full {key}"),
        Output::Misbehaved { peer, what } => format!("misbehaved {peer}: {what}"),
    }
}
