//! The grammar of pool scripts.
//!
//! `given members=a,b` makes the pool `p` of the credentials a and b; `pool=q:c,d` another one. Times in what
//! is printed are those of the script's clock. `429 a 60s` is a throttle of a that states a wait, `429 a` one
//! that states none; `quota`, `billing`, `auth`, `denied`, `overloaded`, `ok`, `transient` likewise, each
//! with `model=m`, `scope=`, `sent=<instant>`, `epoch=`, `probe`. `pick` shows who is picked.
//! After `more` the turn goes on; after `full` there is room for no other word.

use std::collections::BTreeMap;

use super::super::super::answer::Endpoint;
use super::super::super::definition::ProbeRequest;
use super::super::super::said::{self, Said};
use super::super::super::target::{Reach, Target};
use super::super::super::verdict::{Scope, Verdict};
use super::super::super::{
    Answer, Class, Command, Definition, Degrade, Ended, Event, LeaseId, Listed, Members, Name,
    Outcome, Picked, Query, Report, Strategy, Why, pick,
};
use super::super::*;
use crate::ids::{Notice, Reason, Ticket};
use crate::machine::Counted as _;
use crate::script::{Script, Settings as Given, duration};
use crate::time::millis;

/// Unix ms at the origin of the script's clock.
const ORIGIN: u64 = 1_700_000_000_000;

pub(super) struct PoolScript {
    pub(super) pools: Pools,
    settings: Settings,
    pub(super) store: BTreeMap<String, Blob>,
    local: Replica,
    names: BTreeMap<CredentialHandle, String>,
    held: Vec<Picked>,
    /// What the turn has said so far.
    more: Vec<Output>,
}

impl Script for PoolScript {
    fn given(given: &Given) -> PoolScript {
        let mut definition = Definition {
            members: listed(&given.get("members", String::from("a,b")), 1),
            strategy: strategy(&given.get("strategy", String::from("failover"))),
            ..Definition::default()
        };
        if given.get("forward", false) {
            definition.degrade = Degrade::Forward;
        }
        definition.auth_reset_target = given.get("reset", String::new());
        let own: String = given.get("own", String::new());
        definition.probe_request = own.split_once(':').map(|(method, model)| ProbeRequest {
            method: method.to_owned(),
            path: "/v1".to_owned(),
            body: format!(r#"{{"model":"{model}"}}"#),
        });
        let mut defined = BTreeMap::from([(name("p"), definition.clone())]);
        let other: String = given.get("pool", String::new());
        if let Some((other, members)) = other.split_once(':') {
            let members = listed(members, 1);
            defined.insert(name(other), Definition { members, ..definition });
        }
        let settings = Settings { pools: defined, ..Settings::default() };
        let local = replica("n1/1");
        let pools = Pools::new(settings.clone(), local.clone(), &BTreeMap::new());
        let (store, names) = (BTreeMap::new(), BTreeMap::new());
        let (held, more) = (Vec::new(), Vec::new());
        let mut script = PoolScript { pools, settings, store, local, names, held, more };
        let groups: String = given.get("groups", String::new());
        let groups: BTreeMap<&str, &str> =
            groups.split(',').filter_map(|pair| pair.split_once(':')).collect();
        let other: String = given.get("elsewhere", String::new());
        let mut out = Vec::new();
        script.begin(&mut out);
        for id in ["a", "b", "c", "d"] {
            let credential = Credential {
                quota_group: groups.get(id).map(|group| Arc::from(*group)),
                provider: if other.contains(id) { "other".into() } else { "fake".into() },
                ..credential(id)
            };
            script.names.insert(credential.handle, id.to_owned());
            let input = Input::Credential {
                handle: credential.handle,
                credential: Some(Box::new(credential)),
                renewed: false,
            };
            script.pools.handle(Instant::ZERO, input, &mut out);
        }
        if given.get("loaded", true) {
            script.pools.handle(Instant::ZERO, Input::Loaded, &mut out);
        }
        script.pools.flush(Instant::ZERO, &mut out);
        script.keep(&out);
        script
    }

    fn when(&mut self, now: Instant, words: &[&str]) -> Vec<String> {
        let input = match words {
            ["pick", rest @ ..] => return vec![self.pick(now, rest)],
            ["drop"] => {
                self.held.clear();
                return Vec::new();
            }
            ["restart"] => return self.restart(now),
            ["known"] => return self.known(now),
            ["counted", name] => return self.counted(name),
            ["full"] => {
                self.fill();
                return Vec::new();
            }
            ["wake"] => {
                let wake = self.pools.next_wake();
                return vec![wake.map_or_else(|| "never".to_owned(), |wake| wake.at.to_string())];
            }
            ["more", words @ ..] => {
                let input = self.input(now, words);
                self.pools.handle(now, input, &mut self.more);
                return Vec::new();
            }
            _ => self.input(now, words),
        };
        let mut out = std::mem::take(&mut self.more);
        self.pools.handle(now, input, &mut out);
        self.pools.flush(now, &mut out);
        self.pools.publish(now);
        self.keep(&out);
        out.into_iter().filter_map(|output| self.print(output)).collect()
    }
}

impl PoolScript {
    fn begin(&mut self, out: &mut Vec<Output>) {
        let clock = Input::Clock { unix: UnixTime(ORIGIN) };
        self.pools.handle(Instant::ZERO, clock, out);
        self.pools.handle(Instant::ZERO, Input::Start, out);
    }

    /// The process dies and starts from what it stored.
    fn restart(&mut self, now: Instant) -> Vec<String> {
        self.local.incarnation = self.local.incarnation.next();
        let known: Vec<Arc<Credential>> = self.pools.credentials.values().cloned().collect();
        self.pools = Pools::new(self.settings.clone(), self.local.clone(), &self.store);
        let unix = UnixTime(ORIGIN + millis(now.since(Instant::ZERO)));
        let mut inputs = vec![Input::Clock { unix }, Input::Start];
        inputs.extend(known.into_iter().map(|one| Input::Credential {
            handle: one.handle,
            credential: Some(Box::new((*one).clone())),
            renewed: false,
        }));
        inputs.push(Input::Loaded);
        let mut out = Vec::new();
        for input in inputs {
            self.pools.handle(now, input, &mut out);
        }
        self.pools.flush(now, &mut out);
        self.pools.publish(now);
        self.keep(&out);
        out.into_iter().filter_map(|output| self.print(output)).collect()
    }

    /// What people were told of the pool, as everybody says.
    fn known(&mut self, now: Instant) -> Vec<String> {
        self.pools.publish(now);
        let pool = self.pools.snapshot.pool("p").expect("a pool of the script");
        let told = pool.told.iter();
        told.map(|(what, said)| {
            let what = if what.is_empty() { "*".to_owned() } else { self.named(what) };
            format!("{} of {what} at {}", said.kind, at(UnixTime(said.of)))
        })
        .collect()
    }

    /// Nothing more has room among what this node says.
    fn fill(&mut self) {
        let own = self.pools.books.entry(self.local.node.clone()).or_default();
        let park = said::ParkSaid { set_at: ORIGIN, until: u64::MAX };
        let others = (1000..).map(|handle| Target::of(CredentialHandle(handle), 1, Reach::All));
        let room = limits::POOL_ENTRIES_MAX - 64 - own.len();
        own.parks.extend(others.take(room).map(|target| (target, park)));
    }

    /// The series of a figure that are not 0.
    fn counted(&self, name: &str) -> Vec<String> {
        let mut counted = Vec::new();
        self.pools.counts(&mut |count| {
            if count.name == name && count.value > 0 {
                counted.push(format!("{:?} {}", count.labels, count.value).replace('"', ""));
            }
        });
        counted
    }

    fn keep(&mut self, out: &[Output]) {
        for output in out {
            if let Output::Persist { key, value } = output {
                match value {
                    Some(value) => self.store.insert(key.clone(), value.clone()),
                    None => self.store.remove(key),
                };
            }
        }
    }

    fn pick(&mut self, now: Instant, words: &[&str]) -> String {
        self.pools.publish(now);
        let pool = option(words, "pool").unwrap_or("p");
        let pool = self.pools.snapshot.pool(pool).expect("a pool of the script");
        let tried: Vec<CredentialHandle> =
            option(words, "tried").into_iter().flat_map(|ids| ids.split(',')).map(handle).collect();
        let ticket = option(words, "ticket").map_or(0, |text| text.parse().expect("a number"));
        let query = Query { model: option(words, "model"), ticket, tried: &tried, no_probe: false };
        match pick(pool, &query) {
            Ok(picked) => {
                let id = self.id(picked.member.handle);
                let probe = if picked.probe { " as a probe" } else { "" };
                if words.contains(&"hold") {
                    self.held.push(picked);
                }
                format!("{id}{probe}")
            }
            Err(refused) => {
                let why = match refused.why {
                    Why::Tried => "tried",
                    Why::Ramping => "ramping",
                    Why::Exhausted => "exhausted",
                    Why::Unavailable => "unavailable",
                };
                let retry = refused.retry_at.map(|at| at.since(now));
                let retry = retry.map_or_else(|| "never".to_owned(), |wait| format!("{wait:?}"));
                format!("nobody: {why}, in {retry}")
            }
        }
    }

    fn input(&mut self, now: Instant, words: &[&str]) -> Input {
        let ticket = Ticket(1);
        match words {
            ["tick"] => Input::Tick,
            ["loaded"] => Input::Loaded,
            ["clock", reads] => Input::Clock { unix: UnixTime(ORIGIN + millis(duration(reads))) },
            ["define", members, rest @ ..] => {
                let epoch = option(rest, "epoch").map_or(1, |text| text.parse().expect("a number"));
                let definition = self.settings.pools.get_mut("p").expect("the pool");
                definition.members = listed(members, epoch);
                Input::Reload { settings: Box::new(self.settings.clone()) }
            }
            ["undefine"] => {
                self.settings.pools.remove("p");
                Input::Reload { settings: Box::new(self.settings.clone()) }
            }
            ["credential", id, what @ ..] => {
                let changed = Credential {
                    disabled: what.contains(&"disabled"),
                    needs_login: what.contains(&"needs_login"),
                    priority: option(what, "priority")
                        .map_or(0, |text| text.parse().expect("a number")),
                    ..credential(id)
                };
                let credential = (*what != ["gone"]).then(|| Box::new(changed));
                let renewed = what.contains(&"changed");
                Input::Credential { handle: handle(id), credential, renewed }
            }
            ["up", peer] => Input::Notice(Notice::Up {
                replica: replica(peer),
                born: replica(peer).incarnation,
                address: "127.0.0.1:1".parse().expect("an address"),
            }),
            ["failed", peer] => {
                Input::Notice(Notice::Departed { replica: replica(peer), reason: Reason::Failed })
            }
            ["switched", old, new] => Input::Switched { old: replica(old), new: replica(new) },
            ["forgotten", node] => {
                let (node, fence) = (node.parse().expect("a node id"), Incarnation(1));
                Input::Notice(Notice::Forgotten { node, fence })
            }
            ["ready", peer] => {
                let (key, value) = ("".into(), Some(Blob::default()));
                Input::Changed { owner: replica(peer), key, value }
            }
            ["slept"] => Input::Slept,
            ["dropped", peer] => Input::Dropped { owner: replica(peer), last: Vec::new() },
            ["peer", peer, "forgets", key] => self.peer(peer, key, None),
            ["peer", peer, key, value] => self.peer(peer, key, Some(value)),
            _ => {
                let command = self.command(words).unwrap_or_else(|| match words {
                    [class, id, rest @ ..] => {
                        Command::Report(Box::new(self.report(now, class, id, rest)))
                    }
                    _ => panic!("`{words:?}` is no input"),
                });
                Input::Command { ticket, command }
            }
        }
    }

    /// A verb, if the words are one.
    fn command(&self, words: &[&str]) -> Option<Command> {
        let pool = || name(option(words, "pool").unwrap_or("p"));
        let model = || option(words, "model").map(Arc::from);
        match words {
            ["rotate"] => Some(Command::Rotate { pool: pool() }),
            ["park", id, span] => {
                Some(Command::Park { pool: pool(), member: handle(id), span: duration(span) })
            }
            ["unpark", id] => Some(Command::Unpark { pool: pool(), member: handle(id) }),
            ["clear", id, ..] => Some(Command::Clear {
                pool: pool(),
                member: handle(id),
                model: model(),
                reason: "script".to_owned(),
            }),
            ["probe", id] => Some(Command::Probe { pool: pool(), member: handle(id) }),
            ["probing", id, ..] => Some(Command::Probing {
                pool: pool(),
                credential: handle(id),
                epoch: 1,
                model: model(),
            }),
            ["lease", id, rest @ ..] => Some(Command::Lease {
                pool: pool(),
                credential: handle(id),
                epoch: 1,
                model: model(),
                probe: rest.contains(&"probe"),
                request: option(rest, "request").map(Arc::from),
            }),
            ["answered", number, status, headers @ ..] => {
                let number = number.parse().expect("a number");
                let status = status.parse().expect("a status");
                let headers = headers.iter().filter_map(|header| header.split_once('='));
                let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
                let (headers, endpoint) = (headers.collect(), Endpoint::Api);
                let ended = Ended::Answered { status, headers, body: Blob::default(), endpoint };
                let lease = LeaseId { replica: self.local.clone(), number };
                Some(Command::ReportLease { lease, ended })
            }
            ["told", kind, of, ..] => Some(Command::Told {
                pool: pool(),
                what: option(words, "model").unwrap_or_default().into(),
                said: said::NoticeSaid { of: ORIGIN + millis(duration(of)), kind: (*kind).into() },
            }),
            ["wanted", ..] => Some(Command::Wanted { pool: pool(), model: model() }),
            ["cool", provider, span] => Some(Command::CoolProvider {
                provider: (*provider).to_owned(),
                span: duration(span),
                reason: "script".to_owned(),
            }),
            ["recover", provider] => Some(Command::RecoverProvider {
                provider: (*provider).to_owned(),
                reason: "script".to_owned(),
            }),
            _ => None,
        }
    }

    /// An entry of another node; `@a` in a key is a's target, `@{a}` its beginning, times count from the script's origin.
    fn peer(&self, peer: &str, key: &str, value: Option<&str>) -> Input {
        let mut key = key.to_owned();
        for (handle, id) in &self.names {
            key = key.replace(&format!("@{{{id}}}"), &format!("{handle}/1/"));
            key = key.replace(&format!("@{id}"), &format!("{handle}/1/*"));
        }
        let value = value.map(|text| {
            let mut text = text.replace('\'', "\"");
            while let Some(at) = text.find('@') {
                let digits: String =
                    text[at + 1..].chars().take_while(char::is_ascii_digit).collect();
                let time: u64 = digits.parse().expect("ms");
                text = text.replacen(&format!("@{digits}"), &(ORIGIN + time).to_string(), 1);
            }
            Blob::from(text.as_str())
        });
        let key = crate::wire::segment::Key::from(key);
        said::read_entry(&key, value.as_ref())
            .unwrap_or_else(|why| panic!("{key} {value:?}: {why}"));
        Input::Changed { owner: replica(peer), key, value }
    }

    fn report(&self, now: Instant, class: &str, id: &str, words: &[&str]) -> Report {
        let (class, status, default) = match class {
            "ok" => (Class::Ok, 200, Scope::None),
            "429" => (Class::RateLimited, 429, Scope::Credential),
            "quota" => (Class::QuotaExhausted, 429, Scope::Credential),
            "billing" => (Class::Billing, 402, Scope::Credential),
            "auth" => (Class::AuthFailed, 401, Scope::Credential),
            "denied" => (Class::PermissionDenied, 403, Scope::Model),
            "overloaded" => (Class::Overloaded, 529, Scope::ProviderModel),
            "transient" => (Class::Transient, 500, Scope::None),
            "cancelled" => (Class::Transient, 0, Scope::None),
            other => panic!("`{other}` is no class"),
        };
        let scope = match option(words, "scope") {
            None => default,
            Some("model") => Scope::Model,
            Some("provider") => Scope::Provider,
            Some(family) => Scope::Family(family.into()),
        };
        let wait =
            words.first().filter(|word| word.starts_with(|letter: char| letter.is_ascii_digit()));
        let verdict = Verdict {
            class,
            scope,
            source: class.rests().then(|| wait.map_or("default", |_| "header:retry-after").into()),
            stated_wait_ms: wait.map(|text| millis(duration(text))),
            is_concurrency: words.contains(&"concurrency"),
            evidence: [0; 8],
            rejected: None,
        };
        Report {
            pool: name(option(words, "pool").unwrap_or("p")),
            credential: handle(id),
            epoch: option(words, "epoch").map_or(1, |text| text.parse().expect("a number")),
            model: option(words, "model").map(Arc::from),
            sent_at: option(words, "sent").map_or(now, |text| Instant::ZERO + duration(text)),
            probe: words.contains(&"probe"),
            outcome: match status {
                0 => Outcome::Cancelled,
                status => Outcome::Judged { status, verdict },
            },
        }
    }

    fn id(&self, handle: CredentialHandle) -> String {
        self.names.get(&handle).cloned().unwrap_or_else(|| handle.to_string())
    }

    fn named(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (handle, id) in &self.names {
            text = text
                .replace(&format!("{handle}/1/"), &format!("{id} "))
                .replace(&handle.to_string(), id);
        }
        text
    }

    fn print_event(&self, event: Event) -> Option<String> {
        let lane = |pool: &Name, lane: &str| {
            let pool = if pool.as_str() == "p" { String::new() } else { format!("{pool} ") };
            format!("{pool}{}", if lane.is_empty() { "*" } else { lane })
        };
        match event {
            Event::Exhausted { pool, lane: model, wake_at, .. } => {
                let until = wake_at.map_or_else(|| "no timer".to_owned(), at);
                Some(format!("exhausted {} until {until}", lane(&pool, &model)))
            }
            Event::Recovered {
                pool,
                lane: model,
                member,
                cause,
                confirmed,
                auth_reset_target,
                ..
            } => {
                let how = if confirmed { "confirmed" } else { "presumed" };
                let reset = if auth_reset_target.is_empty() {
                    String::new()
                } else {
                    format!(", resets {auth_reset_target}")
                };
                Some(format!(
                    "recovered {} by {} {cause:?} {how}{reset}",
                    lane(&pool, &model),
                    self.id(member)
                ))
            }
            Event::Failover { pool, lane: model, from, to, class } => {
                let class = class.map_or("operator", Class::name);
                let (from, to) = (self.id(from), self.id(to));
                Some(format!("failover {} {from} to {to} {class}", lane(&pool, &model)))
            }
            Event::Rested { scope, class, rest_until, stated_reset, .. } => {
                let stated =
                    stated_reset.map_or_else(String::new, |stated| format!(" of {}", at(stated)));
                Some(format!(
                    "rests {} {class} until {}{stated}",
                    self.named(&scope),
                    at(rest_until)
                ))
            }
            Event::ProbeDue { pool, member } => {
                Some(format!("sends its own to {}", lane(&pool, &self.id(member))))
            }
            Event::Shared { .. } | Event::Parked { .. } | Event::Changed { .. } => None,
        }
    }

    fn print(&self, output: Output) -> Option<String> {
        match output {
            Output::Write { key, value } => {
                let verb = if value.is_some() { "says" } else { "unsays" };
                Some(format!("{verb} {}", self.named(&key)))
            }
            Output::Ready | Output::Persist { .. } => None,
            Output::Reply { answer, .. } => match answer {
                Answer::Done | Answer::Reported { applied: true } => None,
                Answer::Reported { applied: false } => Some("taught nothing".to_owned()),
                Answer::Judged { verdict, applied } => {
                    let class = verdict.map_or("cancelled", |verdict| verdict.class.name());
                    Some(format!("judged {class}, applied {applied}"))
                }
                Answer::Leased { .. } => Some("leased".to_owned()),
                Answer::Rotated { from, to, parked_until } => {
                    let (from, to) = (self.id(from), self.id(to));
                    Some(format!("rotated {from} to {to} until {}", at(parked_until)))
                }
                Answer::Changed { targets } => {
                    Some(format!("changed {}", self.named(&targets.join(", "))))
                }
                Answer::Refused(refusal) => Some(format!("refused {}", refusal.code())),
            },
            Output::Announce(event) => self.print_event(event),
            Output::Misbehaved { peer, what } => Some(format!("misbehaved {peer}: {what}")),
        }
    }
}

/// A moment on the script's clock.
fn at(unix: UnixTime) -> String {
    Instant::from_millis(unix.0.saturating_sub(ORIGIN)).to_string()
}

/// The value of `key=value` among `words`.
fn option<'a>(words: &[&'a str], key: &str) -> Option<&'a str> {
    words
        .iter()
        .find_map(|word| word.split_once('=').filter(|(one, _)| *one == key))
        .map(|(_, value)| value)
}

pub(super) fn name(text: &str) -> Name {
    text.parse().expect("a pool's name")
}

fn handle(id: &str) -> CredentialHandle {
    CredentialHandle::of("default", id)
}

pub(super) fn replica(text: &str) -> Replica {
    let (node, life) = text.split_once('/').unwrap_or((text, "1"));
    let incarnation = Incarnation(life.parse().expect("a life"));
    Replica { node: node.parse().expect("a node id"), incarnation }
}

pub(super) fn listed(ids: &str, epoch: u64) -> Members {
    let listed = |id: &str| Listed { credential: id.to_owned(), weight: None, epoch };
    Members::Listed(ids.split(',').map(listed).collect())
}

fn strategy(text: &str) -> Strategy {
    serde_json::from_str(&format!("\"{text}\"")).expect("a strategy")
}

pub(super) fn credential(id: &str) -> Credential {
    Credential {
        handle: handle(id),
        id: id.into(),
        provider: "fake".into(),
        disabled: false,
        needs_login: false,
        priority: 0,
        weight: 1,
        quota_group: None,
    }
}

#[test]
fn every_word_of_the_topic_is_read_as_it_was_written() {
    let target = Target::of(handle("a"), 1, Reach::All);
    let park = ParkSaid { set_at: 3, until: 9 };
    let read = said::read_entry(&said::key("k", &target), Some(&said::blob(&park)));
    assert_eq!(read, Ok(Said::Park(target, Some(park))));
}
