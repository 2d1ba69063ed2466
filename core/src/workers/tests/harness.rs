//! The grammar of worker scripts.
//!
//! `w7` stands for `http://10.0.0.7`, `o7` for the same with `by=owner`. `good w7` answers the probe of
//! that worker which is in flight. Heartbeats and entry changes are left out of what is printed.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::claim::{self, Admin, Published, Statement};
use super::super::spec::{HealthSpec, Model};
use super::super::*;
use crate::ids::{Incarnation, NodeId, Reason};
use crate::machine::Machine;
use crate::script::{Script, Settings as Given};
use crate::time::Instant;

pub(super) struct WorkersScript {
    pub(super) workers: Workers,
    settings: Settings,
    store: BTreeMap<String, Blob>,
    local: Replica,
    /// The ticket of each worker's latest probe.
    probes: BTreeMap<String, Ticket>,
}

impl Script for WorkersScript {
    fn given(given: &Given) -> WorkersScript {
        let configured: String = given.get("configured", String::new());
        let urls = configured.split(',').filter(|url| !url.is_empty());
        let keys: String = given.get("keys", String::new());
        let settings = Settings {
            registrations: urls.map(|url| spec(&[url])).collect(),
            linger: given.millis("linger_ms", 600_000),
            remove_failed_after: Some(given.millis("remove_failed_ms", 0))
                .filter(|after| !after.is_zero()),
            keys: keys.split(',').filter(|key| !key.is_empty()).map(full).collect(),
            ..Settings::default()
        };
        let local = replica("a/1");
        let store = BTreeMap::new();
        let workers = Workers::new(settings.clone(), local.clone(), &store);
        WorkersScript { workers, settings, store, local, probes: BTreeMap::new() }
    }

    fn when(&mut self, now: Instant, words: &[&str]) -> Vec<String> {
        let input = match words {
            ["restart"] => {
                self.local.incarnation = self.local.incarnation.next();
                self.workers = Workers::new(self.settings.clone(), self.local.clone(), &self.store);
                Input::Start
            }
            ["view", url] => return vec![self.show(now, url)],
            _ => self.input(words),
        };
        let mut out = Vec::new();
        self.workers.handle(now, input, &mut out);
        self.workers.check().expect("every invariant holds");
        out.into_iter().filter_map(|output| self.print(output)).collect()
    }
}

impl WorkersScript {
    fn input(&mut self, words: &[&str]) -> Input {
        match words {
            ["start"] => Input::Start,
            ["tick"] => Input::Tick,
            ["configure", urls @ ..] => {
                self.settings.registrations = urls.iter().map(|url| spec(&[url])).collect();
                Input::Reload { settings: Box::new(self.settings.clone()) }
            }
            ["peer", owner, what @ ..] => peer(replica(owner), what),
            ["orphaned", owner] => Input::Orphaned { owner: replica(owner) },
            ["dropped", owner, how @ ..] => {
                let left = how == ["left"];
                Input::Dropped { owner: replica(owner), left, last: Vec::new() }
            }
            ["switched", old, new] => Input::Switched { old: replica(old), new: replica(new) },
            ["raised", new] => {
                self.local = replica(new);
                Input::Raised { replica: replica(new) }
            }
            ["up", member] => Input::Notice(Notice::Up {
                replica: replica(member),
                born: Incarnation(1),
                address: "10.0.0.1:1".parse().expect("an address"),
            }),
            ["down", member] => {
                Input::Notice(Notice::Departed { replica: replica(member), reason: Reason::Failed })
            }
            ["answer", ticket, outcome] => Input::Probed {
                ticket: Ticket(ticket.parse().expect("a number")),
                outcome: outcome_of(outcome),
                took: Duration::from_millis(3),
            },
            [outcome @ ("good" | "bad" | "policy" | "local"), url] => Input::Probed {
                ticket: *self.probes.get(*url).unwrap_or_else(|| panic!("{url} was not probed")),
                outcome: outcome_of(outcome),
                took: Duration::from_millis(3),
            },
            _ => Input::Command { ticket: Ticket(0), command: command(words) },
        }
    }

    fn print(&mut self, output: Output) -> Option<String> {
        let line = match output {
            Output::Write { key, .. } if &*key == claim::LEASE_KEY => return None,
            Output::Write { value: None, .. } => "unwrite".to_owned(),
            Output::Write { value: Some(value), .. } => {
                let said: Published = serde_json::from_slice(&value).expect("a claim");
                let words = (said.admin, said.statement, said.statement_version, said.revision);
                let (admin, statement, version, revision) = words;
                let words = format!("{admin:?} {statement:?} v{version} r{revision}");
                format!("write {} {}", short(&said.url), words.to_lowercase())
            }
            Output::Ready => "ready".to_owned(),
            Output::StartProbe { ticket, probe } => {
                self.probes.insert(short(&probe.url), ticket);
                let key = probe.key.map_or(String::new(), |key| format!(" key={}", short(&key)));
                let own = if probe.own { " own" } else { "" };
                format!("probe #{} {}{own}{key}", ticket.0, short(&probe.url))
            }
            Output::Persist { key, value } => {
                let kind = key.split('/').nth(1).unwrap_or_default().to_owned();
                let verb = if value.is_some() { "keep" } else { "forget" };
                match value {
                    Some(value) => self.store.insert(key, value),
                    None => self.store.remove(&key),
                };
                format!("{verb} {kind}")
            }
            Output::Announce(change) => {
                let word = |status: Option<Status>| {
                    status.map_or("-".to_owned(), |status| format!("{status:?}"))
                };
                let (old, new) = (word(change.old), word(change.new));
                format!("{} {old} > {new} {:?}", short(&change.url), change.cause)
            }
            Output::EntryChanged { .. } => return None,
            Output::Reply { answer, .. } => format!("reply {}", answer_word(&answer)),
            Output::Misbehaved { peer, what } => format!("misbehaved {peer} {what}"),
        };
        Some(line)
    }

    fn show(&mut self, now: Instant, url: &str) -> String {
        self.workers.publish();
        let view = self.workers.entry(&full(url));
        let Some(view) = view else { return "gone".to_owned() };
        let claims = view.claims.iter().map(|claim| {
            format!("{}/{}:{:?}:{:?}", claim.owner, claim.incarnation, claim.lease, claim.statement)
        });
        let claims: Vec<String> = claims.collect();
        let overlay = match &view.overlay {
            None => String::new(),
            Some(view::Overlay::Refused { rule }) => format!(" refused:{rule}"),
            Some(view::Overlay::Suppressed) => " suppressed".to_owned(),
            Some(view::Overlay::Ejected) => " ejected".to_owned(),
        };
        let next = view
            .probe
            .next
            .map_or("-".to_owned(), |next| format!("{}ms", next.since(now).as_millis()));
        let (good, bad) = (view.probe.good, view.probe.bad);
        format!(
            "{:?} by {} of {} good={good} bad={bad} next={next}{overlay}",
            view.status,
            view.chosen,
            claims.join(" ")
        )
    }
}

fn outcome_of(word: &str) -> ProbeOutcome {
    match word {
        "good" => ProbeOutcome::Good,
        "bad" => ProbeOutcome::Connect,
        "policy" => ProbeOutcome::Policy,
        "local" => ProbeOutcome::Local,
        word => panic!("{word} is no outcome"),
    }
}

fn answer_word(answer: &Answer) -> String {
    match answer {
        Answer::Created(view) => format!("created {}", short(&view.url)),
        Answer::Entry(view) => format!("{} r{}", short(&view.url), view.revision()),
        Answer::Removing { ids, after } => {
            format!("removing {} after {}ms", ids.len(), after.as_millis())
        }
        Answer::Noted => "noted".to_owned(),
        Answer::Refused(Refusal::OwnedBy { owner, alive }) => {
            format!("owned_by {owner} alive={alive}")
        }
        Answer::Refused(refusal) => refusal.code().to_owned(),
    }
}

pub(super) fn replica(text: &str) -> Replica {
    let (node, incarnation) = text.split_once('/').expect("node/incarnation");
    let incarnation = Incarnation(incarnation.parse().expect("a number"));
    Replica { node: node.parse::<NodeId>().expect("a node id"), incarnation }
}

/// `w7` and `o7` are `http://10.0.0.7`; anything else is what it says.
pub(super) fn full(text: &str) -> String {
    let number = text.strip_prefix(['w', 'o']);
    let number = number.and_then(|rest| {
        let (digits, rank) = rest.split_once('@').unwrap_or((rest, ""));
        let digits = digits.parse::<u8>().ok()?;
        Some((digits, rank.to_owned()))
    });
    match number {
        Some((digits, rank)) if rank.is_empty() => format!("http://10.0.0.{digits}"),
        Some((digits, rank)) => format!("http://10.0.0.{digits}@{rank}"),
        None => text.to_owned(),
    }
}

fn short(url: &str) -> String {
    url.strip_prefix("http://10.0.0.").map_or(url.to_owned(), |rest| format!("w{rest}"))
}

/// A spec of a URL and `key=value` words.
pub(super) fn spec(words: &[&str]) -> Spec {
    let mut spec = Spec { url: full(words[0]), ..Spec::default() };
    let health = spec.health.insert(HealthSpec::default());
    if words[0].starts_with('o') {
        health.by = Some("owner".into());
    }
    for word in &words[1..] {
        let (key, value) = word.split_once('=').expect("key=value");
        let number = || value.parse().unwrap_or_else(|_| panic!("{word}"));
        let health = spec.health.as_mut().expect("it was put in");
        match key {
            "rank" => spec.dp_rank = Some(number()),
            "rise" => health.rise = Some(number()),
            "fall" => health.fall = Some(number()),
            "interval" => health.interval_ms = Some(number().into()),
            "timeout" => health.timeout_ms = Some(number().into()),
            "path" => health.path = Some(value.to_owned()),
            "enabled" => health.enabled = Some(value == "true"),
            "by" => health.by = Some(value.into()),
            "settle" => spec.drain_settle_ms = Some(number().into()),
            "weight" => spec.weight = Some(number()),
            "priority" => spec.priority = Some(number()),
            "kind" => spec.kind = Some(value.into()),
            "mode" => spec.mode = Some(value.into()),
            "auth" => spec.auth = Some(value.into()),
            "runtime" => spec.runtime = Some(value.to_owned()),
            "max_in_flight" => spec.max_in_flight = Some(number()),
            "label" => {
                let (name, value) = value.split_once(':').expect("name:value");
                spec.labels.get_or_insert_default().insert(name.to_owned(), value.to_owned());
            }
            "model" => spec.models.get_or_insert_default().push(Model {
                id: value.to_owned(),
                aliases: Vec::new(),
                other: Default::default(),
            }),
            _ => panic!("nothing reads `{word}`"),
        }
    }
    spec
}

fn target(text: &str) -> Target {
    match text.split_once(':') {
        Some((node, url)) if !text.contains("//") => {
            Target::Id(claim::id(&node.parse().expect("a node id"), &full(url)).to_string())
        }
        _ => Target::Url(full(text)),
    }
}

fn command(words: &[&str]) -> Command {
    match words {
        ["post", rest @ ..] => Command::Register { spec: Box::new(spec(rest)), keyed: false },
        ["post_keyed", rest @ ..] => Command::Register { spec: Box::new(spec(rest)), keyed: true },
        ["put", revision, rest @ ..] => Command::Replace {
            target: target(rest[0]),
            revision: revision.parse().ok(),
            spec: Box::new(spec(rest)),
        },
        ["patch", revision, url, fields @ ..] => Command::Patch {
            target: target(url),
            revision: revision.parse().ok(),
            patch: fields.iter().map(|field| patch(field)).collect(),
        },
        ["remove", targets @ .., "now"] => Command::Remove {
            targets: targets.iter().map(|url| target(url)).collect(),
            revision: None,
            now: true,
        },
        ["remove", targets @ ..] => Command::Remove {
            targets: targets.iter().map(|url| target(url)).collect(),
            revision: None,
            now: false,
        },
        ["drain", url] => Command::Drain(target(url)),
        ["undrain", url] => Command::Undrain(target(url)),
        ["probe", url] => Command::ProbeNow(target(url)),
        ["suppress", url] => Command::Suppress(target(url)),
        ["unsuppress", url] => Command::Unsuppress(target(url)),
        ["report", url, "good"] => Command::Report { target: target(url), outcome: Outcome::Good },
        ["report", url, "bad"] => Command::Report { target: target(url), outcome: Outcome::Bad },
        _ => panic!("`{}` is no input", words.join(" ")),
    }
}

/// `name=value`, the value as JSON or else as text.
fn patch(field: &str) -> (String, serde_json::Value) {
    let (name, value) = field.split_once('=').expect("name=value");
    (name.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| value.into()))
}

fn peer(owner: Replica, words: &[&str]) -> Input {
    let (key, value) = match words {
        ["ready"] => (Key::from(""), Some(Blob::from("1"))),
        ["lease", count] => {
            (Key::from(claim::LEASE_KEY), Some(claim::lease(count.parse().expect("a number"))))
        }
        ["unclaims", url] => (claim::key(&claim::id(&owner.node, &full(url))), None),
        ["claims", url, statement, version, rest @ ..] => {
            let (admin, rest) = match rest {
                ["draining", rest @ ..] => (Admin::Draining, rest),
                rest => (Admin::Active, rest),
            };
            let said = claimed(url, statement, version, admin, rest);
            (claim::key(&claim::id(&owner.node, &said.url)), Some(said.encode()))
        }
        _ => panic!("`{}` is nothing that a peer says", words.join(" ")),
    };
    Input::Changed { owner, key, value }
}

fn claimed(url: &str, statement: &str, version: &str, admin: Admin, rest: &[&str]) -> Published {
    let words: Vec<&str> = std::iter::once(url).chain(rest.iter().copied()).collect();
    let spec = spec(&words).resolved();
    let version = version.strip_prefix('v').and_then(|digits| digits.parse().ok());
    Published {
        v: 1,
        url: url::Url::canonical(&spec.url, spec.dp_rank).expect("a url").identity.to_string(),
        revision: 1,
        spec,
        admin,
        statement: match statement {
            "unknown" => Statement::Unknown,
            "healthy" => Statement::Healthy,
            "unhealthy" => Statement::Unhealthy,
            word => panic!("{word} is no statement"),
        },
        statement_version: version.expect("v1, v2, …"),
    }
}
