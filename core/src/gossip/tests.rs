//! Gossip as a whole, by scripts, and the false maps that its parts are tested against.

use super::*;
use crate::script::{Script, check};
use crate::wire::Blob;
use crate::wire::message::{Row, Want};
use crate::wire::segment::{Entry, Key};

/// A replica by name, in its first life.
pub(super) fn replica(name: &str) -> Replica {
    Replica { node: name.parse().expect("a node id"), incarnation: Incarnation(1) }
}

/// Maps that hold whatever a test says.
#[derive(Debug, Default, Clone)]
pub(super) struct FakeMaps(pub(super) BTreeMap<(Topic, Replica), Vec<Entry>>);

impl FakeMaps {
    /// An entry of `bytes` bytes in all, or as few as its sequence allows.
    pub(super) fn write(&mut self, topic: Topic, replica: &Replica, sequence: u64, bytes: usize) {
        let mut entry = Entry { sequence, key: Key::from(""), value: Some(Blob::default()) };
        let room = bytes.saturating_sub(entry.encoded_bytes());
        entry.value = Some(Blob::from(vec![7; if room > 250 { room - 2 } else { room }]));
        self.0.entry((topic, replica.clone())).or_default().push(entry);
    }

    /// The entry of `sequence` gave way to a newer one.
    pub(super) fn supersede(&mut self, topic: Topic, replica: &Replica, sequence: u64) {
        if let Some(entries) = self.0.get_mut(&(topic, replica.clone())) {
            entries.retain(|entry| entry.sequence != sequence);
        }
    }
}

impl Source for FakeMaps {
    fn segment(
        &self,
        topic: Topic,
        replica: &Replica,
        from: u64,
        upto: u64,
        budget: usize,
    ) -> Option<Segment> {
        let entries = self.0.get(&(topic, replica.clone()))?;
        let inside = entries.iter().filter(|entry| from < entry.sequence && entry.sequence <= upto);
        let head = entries.last().map_or(0, |entry| entry.sequence);
        let mut segment = Segment {
            topic,
            replica: replica.clone(),
            from,
            upto,
            floor: 0,
            through: head,
            head,
            entries: inside.cloned().collect::<Vec<_>>().into(),
        };
        let whole = segment.entries.len();
        while segment.encoded_bytes() > budget {
            segment.entries.0.pop()?;
            segment.upto = segment.entries.last().map_or(from, |entry| entry.sequence);
        }
        (segment.entries.len() == whole || !segment.entries.is_empty()).then_some(segment)
    }
}

struct GossipScript {
    gossip: Gossip,
    maps: FakeMaps,
}

fn topic(word: &str) -> Topic {
    match word {
        "facts" => Topic::FACTS,
        "workers" => Topic::WORKERS,
        number => Topic(number.parse().unwrap_or_else(|_| panic!("`{number}` is no topic"))),
    }
}

/// Reads `from..upto`.
fn interval(word: &str) -> (u64, u64) {
    let (from, upto) = word.split_once("..").unwrap_or_else(|| panic!("`{word}` is no interval"));
    (from.parse().expect("a number"), upto.parse().expect("a number"))
}

fn number(word: &str) -> u64 {
    word.parse().unwrap_or_else(|_| panic!("`{word}` is no number"))
}

pub(super) fn up(name: &str) -> Input {
    let address = "10.0.0.1:1".parse().expect("an address");
    let replica = replica(name);
    Input::Notice(Notice::Up { born: replica.incarnation, replica, address })
}

impl Script for GossipScript {
    fn given(settings: &crate::script::Settings) -> Self {
        let members = settings.get("members", 3);
        let gossip_settings = Settings {
            interval: settings.millis("interval_ms", 200),
            fanout: settings.get("fanout", 3),
            burst: settings.get("burst", 4),
            digest_interval: settings.millis("digest_interval_ms", 3_600_000),
            direct_max: settings.get("direct_max", 64),
            pull_timeout: settings.millis("pull_timeout_ms", 2000),
            backlog_max: settings.get("backlog_max", 4096),
        };
        let local = replica(&settings.get("local", "n1".to_owned()));
        let mut gossip = Gossip::new(gossip_settings, local, Instant::ZERO, Rng::from_number(1));
        for number in 2..=members {
            gossip.handle(Instant::ZERO, up(&format!("n{number}")), &mut Vec::new());
        }
        GossipScript { gossip, maps: FakeMaps::default() }
    }

    fn when(&mut self, now: Instant, words: &[&str]) -> Vec<String> {
        let mut out = Vec::new();
        let input = match words {
            ["flush"] => {
                self.gossip.flush(now, &mut out);
                None
            }
            ["drain", target, budget] => return self.drain(target, number(budget)),
            ["items"] => return self.items(),
            ["supersede", subject, owner, sequence] => {
                self.maps.supersede(topic(subject), &replica(owner), number(sequence));
                None
            }
            ["write", subject, span, bytes] => {
                let owner = self.gossip.local.clone();
                self.hold(subject, &owner, span, bytes);
                let (from, upto) = interval(span);
                Some(Input::Written { topic: topic(subject), replica: owner, from, upto })
            }
            ["hold", subject, owner, span, bytes] => {
                self.hold(subject, &replica(owner), span, bytes);
                None
            }
            words => Some(input(words)),
        };
        input.into_iter().for_each(|input| self.gossip.handle(now, input, &mut out));
        out.iter().map(shown).collect()
    }
}

impl GossipScript {
    /// A map grows by entries of so many bytes each.
    fn hold(&mut self, subject: &str, owner: &Replica, span: &str, bytes: &str) {
        let (from, upto) = interval(span);
        for sequence in from + 1..=upto {
            let bytes = number(bytes).try_into().expect("a size");
            self.maps.write(topic(subject), owner, sequence, bytes);
        }
    }

    fn drain(&mut self, target: &str, budget: u64) -> Vec<String> {
        let budget = budget.try_into().expect("a size");
        let target = target.parse().expect("a node id");
        let sections = self.gossip.drain(&target, budget, &self.maps);
        let shown = sections.iter().map(|(kind, bytes)| {
            let segment: Segment = crate::wire::decode::<_, 1400>(bytes).expect("a segment");
            let Segment { topic, replica, from, upto, entries, .. } = &segment;
            let framed = bytes.len() + limits::SECTION_HEADER_BYTES;
            assert_eq!(*kind, Kind::Segment);
            format!(
                "{topic:?} {} {from}..{upto} entries={} bytes={framed}",
                replica.node,
                entries.len()
            )
        });
        shown.collect()
    }

    fn items(&self) -> Vec<String> {
        let backlog = &self.gossip.backlog;
        let items = backlog.topics().flat_map(|topic| {
            let queue = backlog.queue(topic).expect("a topic that had items");
            queue.items().map(move |item| {
                let backlog::Item { source, from, upto, sent, .. } = item;
                format!("{topic:?} {} {from}..{upto} sent={sent}", source.node)
            })
        });
        items.collect()
    }
}

fn input(words: &[&str]) -> Input {
    match words {
        ["tick"] => Input::Tick,
        ["up", name] => up(name),
        ["departed", name] => {
            let replica = replica(name);
            Input::Notice(Notice::Departed { replica, reason: crate::ids::Reason::Failed })
        }
        ["forgotten", name] => {
            let Replica { node, incarnation: fence } = replica(name);
            Input::Notice(Notice::Forgotten { node, fence })
        }
        ["slept"] => Input::Slept,
        ["linked", name] => Input::Link { peer: replica(name).node, up: true },
        ["unlinked", name] => Input::Link { peer: replica(name).node, up: false },
        ["applied", subject, owner, span, "from", name] => {
            let (from, upto) = interval(span);
            let (topic, replica, learnt_from) =
                (topic(subject), replica(owner), replica(name).node);
            Input::Applied { topic, replica, from, upto, learnt_from }
        }
        ["progress", subject, owner, "none"] => {
            Input::Progress { topic: topic(subject), replica: replica(owner), progress: None }
        }
        ["progress", subject, owner, complete] => {
            let complete = number(complete);
            let progress = Some(Progress { complete, head: complete, floor: 0 });
            Input::Progress { topic: topic(subject), replica: replica(owner), progress }
        }
        ["gap", subject, owner, "from", name, through] => Input::Gap {
            topic: topic(subject),
            replica: replica(owner),
            from: replica(name).node,
            through: number(through),
        },
        ["acknowledged", name, subject, owner, complete] => Input::Acknowledged {
            peer: replica(name),
            topic: topic(subject),
            replica: replica(owner),
            complete: number(complete),
        },
        ["refused", subject, owner, span] => {
            let (from, upto) = interval(span);
            Input::PushRefused { topic: topic(subject), replica: replica(owner), from, upto }
        }
        [kind @ ("rows" | "final"), name, subject, owner, complete] => {
            let complete = number(complete);
            let progress = Progress { complete, head: complete, floor: 0 };
            let row = Row { topic: topic(subject), replica: replica(owner), progress };
            let rows = Rows { last: *kind == "final", buckets: 0, rows: vec![row].into() };
            Input::Rows { from: replica(name), transport: Transport::Datagram, rows }
        }
        ["pull", name, subject, owner, from] => {
            let (topic, replica_of) = (topic(subject), replica(owner));
            let want = Want { topic, replica: replica_of, from: number(from) };
            let pull = Pull { number: 1, wants: vec![want].into() };
            Input::Pull { from: replica(name), transport: Transport::Datagram, pull }
        }
        ["pulled", name, pull, changed] => Input::Pulled {
            from: replica(name),
            number: number(pull),
            changed: *changed == "changed",
        },
        words => panic!("no input is spelt {words:?}"),
    }
}

fn shown(output: &Output) -> String {
    match output {
        Output::Round { target, datagrams } => format!("round {target} datagrams={datagrams}"),
        Output::Digest { to, .. } => format!("digest {to}"),
        Output::Rows { to, transport, rows } => {
            let told = rows.rows.iter().map(|row| {
                format!(" {:?} {} {}", row.topic, row.replica.node, row.progress.complete)
            });
            format!("rows {to} {transport:?} last={}{}", rows.last, told.collect::<String>())
        }
        Output::Pull { to, transport, pull } => {
            let wants = pull.wants.iter();
            let wants =
                wants.map(|want| format!(" {:?} {} {}", want.topic, want.replica.node, want.from));
            format!("pull {to} {transport:?} number={}{}", pull.number, wants.collect::<String>())
        }
        Output::Serve { to, pull } => format!("serve {to} number={}", pull.number),
        Output::Push { fresh } => {
            let fresh = fresh.iter();
            let fresh = fresh.map(|(topic, source, from, upto)| {
                format!(" {topic:?} {} {from}..{upto}", source.node)
            });
            format!("push{}", fresh.collect::<String>())
        }
        Output::Level { peer, topic, replica, complete } => {
            format!("level {} {topic:?} {} {complete}", peer.node, replica.node)
        }
        Output::Shown { topic, replica, head, .. } => {
            format!("shown {topic:?} {} {head}", replica.node)
        }
        Output::Misbehaved { peer, what } => format!("misbehaved {peer} {what}"),
    }
}

mod pair;
mod scripts;
