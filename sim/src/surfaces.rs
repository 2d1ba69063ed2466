//! What callers and operators say to nodes, and what comes back, as words of a plan.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_core::ids::CredentialHandle;
use quorate_core::node::workers::route::Reason;
use quorate_core::node::workers::{
    self, Command, Outcome, PickPolicy, Query, Refusal, Spec, Target,
};
use quorate_core::node::{Reply, Request, credentials, kv, pools};
use quorate_core::time::micros;
use quorate_core::wire::Blob;

use crate::clock::Micros;
use crate::invariants::secrets::{HOST_LOCAL, SECRET};
use crate::plan::text::parse_time;

/// The URL that a probe asks, and for how long it waits.
pub fn probe_target(probe: &workers::Probe) -> (String, Micros) {
    (probe.url.to_string(), micros(probe.timeout))
}

/// Where callers keep their keys, and the only place of locks and watchers.
pub const NAMESPACE: &str = "sim";
/// With `spaces=2` callers use both; one begins like the other.
pub const NAMESPACES: [&str; 2] = [NAMESPACE, "sim.more"];

/// The longest list that callers ask for.
const LISTED_MAX: u16 = 1000;

/// The URL that operations on the key `number` mean.
pub fn url_of(number: u64) -> String {
    format!("http://10.200.{}.{}:8000", number / 250 % 250, number % 250 + 1)
}

/// An operation on a node.
#[derive(Debug, Clone)]
pub struct Wish<'a> {
    /// Its name.
    pub operation: &'static str,
    /// Its arguments in order.
    pub words: &'a [String],
    /// Its named arguments.
    pub keys: &'a BTreeMap<String, String>,
    /// A number that makes one of many different from the others.
    pub turn: u64,
    /// Which revision of the worker the caller has read.
    pub revision: Option<u64>,
}

impl Wish<'_> {
    fn key(&self, name: &str) -> Option<&str> {
        self.keys.get(name).map(String::as_str)
    }

    fn word(&self) -> String {
        self.words.first().cloned().unwrap_or_else(|| url_of(1))
    }

    /// What it is as a request.
    pub fn request(&self) -> Result<Request, Wrong> {
        let target = || Target::Url(self.word());
        Ok(match self.operation {
            "worker.add" => {
                let keyed = self.secret() == Some(Secret::Key);
                Request::Worker(Command::Register { spec: self.spec()?, keyed })
            }
            "worker.remove" => Request::Worker(Command::Remove {
                targets: vec![target()],
                revision: None,
                now: match self.key("now") {
                    Some("sometimes") => self.turn.is_multiple_of(2),
                    now => now.is_some(),
                },
            }),
            "worker.drain" => Request::Worker(Command::Drain(target())),
            "worker.undrain" => Request::Worker(Command::Undrain(target())),
            "worker.suppress" => Request::Worker(Command::Suppress(target())),
            "worker.set" => {
                let revision = self.revision.or(Some(1 + self.turn));
                let patch = self.patch();
                Spec::check_patch(&patch)?;
                Request::Worker(Command::Patch { target: target(), revision, patch })
            }
            "worker.report" => {
                let outcome = match self.turn % 8 {
                    0 => Outcome::Good,
                    1 => Outcome::Cancelled,
                    _ => Outcome::Bad,
                };
                Request::Worker(Command::Report { target: target(), outcome })
            }
            "pool.operate" => Request::Pool(Box::new(self.of_pools())),
            "kv.put" | "kv.get" | "kv.list" => self.of_keys().map_err(Wrong::Plan)?,
            "locks.acquire" => self.of_locks().map_err(Wrong::Plan)?,
            "labels.set" => Request::SetLabels { labels: self.labels() },
            "member.leave" => Request::Leave {
                remove_workers: self.key("remove_workers").is_some(),
                restarting: self.key("restarting").is_some(),
            },
            "member.join" => Request::Join { addresses: self.words.to_vec() },
            "member.evict" => {
                let node = self.word().parse();
                Request::Evict { node: node.map_err(|error| Wrong::Plan(format!("{error}")))? }
            }
            other => return Err(Wrong::Plan(format!("a node has no operation `{other}`"))),
        })
    }

    /// What an operator says to a member of the pool.
    fn of_pools(&self) -> pools::Command {
        let pool = crate::settings::POOL.parse().expect("a name of a pool");
        let number = 1 + self.turn / 5 % self.number("keys").unwrap_or(1).max(1);
        let drawn = format!("a{number}");
        let member = self.words.get(1).unwrap_or(&drawn);
        let member = CredentialHandle::of("default", member);
        let verbs = ["rotate", "park", "unpark", "clear", "probe"];
        let said = self.words.first().and_then(|word| verbs.iter().position(|verb| verb == word));
        match said.map_or(self.turn % 5, |place| place as u64) {
            0 => pools::Command::Rotate { pool },
            1 => {
                pools::Command::Park { pool, member, span: Duration::from_secs(1 + self.turn % 60) }
            }
            2 => pools::Command::Unpark { pool, member },
            3 => {
                let reason = "the account was topped up".to_owned();
                pools::Command::Clear { pool, member, model: None, reason }
            }
            _ => pools::Command::Probe { pool, member },
        }
    }

    /// The namespace that is meant.
    pub fn namespace(&self) -> &'static str {
        let spaces = self.number("spaces").unwrap_or(1).max(1);
        let space = self.count(self.turn % spaces);
        NAMESPACES.get(space).copied().unwrap_or(NAMESPACE)
    }

    /// A read, a list, or a write. Under the condition that nobody came in between are made with `if=seen` one in three of
    /// them, with `if=always` all.
    fn of_keys(&self) -> Result<Request, String> {
        let namespace = self.namespace();
        let namespace = namespace.parse().map_err(|error: kv::NameError| error.to_string())?;
        let key = kv::Key::new(self.word().as_bytes()).map_err(|error| error.to_string())?;
        let request = if self.operation == "kv.list" {
            let question = kv::Question::List {
                namespace,
                keys: kv::Keys::Prefix(Blob::default()),
                after: None,
                revision: None,
                limit: LISTED_MAX,
                keys_only: false,
            };
            kv::Request::Ask { question, mode: kv::Mode::Linearizable, min_revision: 0 }
        } else if self.operation == "kv.get" {
            let question = kv::Question::Get { namespace, key, revision: None };
            kv::Request::Ask { question, mode: kv::Mode::Linearizable, min_revision: 0 }
        } else {
            let seen = match self.revision.unwrap_or(self.turn) {
                0 => kv::Condition::Absent,
                revision => kv::Condition::ModRevision(revision),
            };
            let some = match self.key("if") {
                Some("always") => true,
                Some(_) => self.turn.is_multiple_of(3),
                None => false,
            };
            kv::Request::Put {
                namespace,
                key,
                value: Blob::from(self.turn.to_string().as_str()),
                lease: kv::Binding::None,
                condition: some.then_some(seen),
                previous: false,
            }
        };
        Ok(Request::Kv { request: Box::new(request), within: None, once: None })
    }

    /// A lock with a lease of its own, for which the caller stands in line.
    fn of_locks(&self) -> Result<Request, String> {
        let namespace = NAMESPACE.parse().map_err(|error: kv::NameError| error.to_string())?;
        let name = kv::LockName::new(self.lock().as_bytes()).map_err(|error| error.to_string())?;
        let wait = self.key("wait").map_or(Ok(0), parse_time)?;
        let acquire = kv::Acquire {
            lock: kv::Lock { namespace, name },
            lease: kv::Holder::Grant(self.ttl() / 1000),
            permits: 1,
        };
        let wait = Duration::from_micros(wait);
        let request = Box::new(kv::Request::Acquire { acquire, wait });
        Ok(Request::Kv { request, within: Some(wait + Duration::from_secs(5)), once: None })
    }

    /// The lock that is meant; names of locks have no slash.
    pub fn lock(&self) -> String {
        let word = self.word();
        word.rsplit('/').next().unwrap_or_default().to_owned()
    }

    /// How long the lease of a lock lives without its holder.
    pub fn ttl(&self) -> Micros {
        self.key("ttl").and_then(|text| parse_time(text).ok()).unwrap_or(15_000_000)
    }

    /// What a caller changes: its place among others, and now and then how it is probed.
    fn patch(&self) -> serde_json::Map<String, serde_json::Value> {
        let (field, value) = match self.turn % 4 {
            0 => ("health", serde_json::json!({"rise": 1 + self.turn % 3})),
            _ => ("priority", serde_json::json!(self.turn % 101)),
        };
        let mut patch = serde_json::Map::from_iter([(field.to_owned(), value)]);
        if self.secret() == Some(Secret::Label) {
            patch.insert("labels".to_owned(), serde_json::json!({"password": SECRET}));
        }
        patch
    }

    /// What a pick asks for.
    pub fn query(&self) -> Query {
        let policies = [
            ("round_robin", PickPolicy::RoundRobin),
            ("weighted", PickPolicy::Weighted),
            ("least_load", PickPolicy::LeastLoad),
            ("power_of_two", PickPolicy::PowerOfTwo),
            ("consistent_hash", PickPolicy::ConsistentHash),
        ];
        let named = self.key("policy").and_then(|name| policies.iter().find(|one| one.0 == name));
        let next = || policies.iter().cycle().nth(self.count(self.turn % 5));
        let model = self.number("models").filter(|models| *models > 0);
        let zone = self.turn.is_multiple_of(4).then(|| self.zone());
        Query {
            model: model.map_or(String::new(), |models| format!("m{}", self.turn / 5 % models)),
            kind: self.kind(),
            labels: zone.into_iter().collect(),
            key: (!self.turn.is_multiple_of(3)).then(|| self.word()),
            policy: named.or_else(next).map_or_else(PickPolicy::default, |(_, policy)| *policy),
            exclude: Vec::new(),
        }
    }

    fn count(&self, number: u64) -> usize {
        usize::try_from(number).unwrap_or(usize::MAX)
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.key(name).and_then(|text| text.parse().ok())
    }

    fn kind(&self) -> workers::Kind {
        if self.turn.is_multiple_of(7) { workers::Kind::Prefill } else { workers::Kind::Regular }
    }

    fn zone(&self) -> (String, String) {
        ("zone".to_owned(), format!("z{}", self.turn / 2 % 2))
    }

    /// Where a caller puts a secret, if it has one: where it belongs, or where somebody might take it.
    fn secret(&self) -> Option<Secret> {
        self.key("secret")?;
        [Secret::Key, Secret::Url, Secret::Label, Secret::Socket]
            .get(self.count(self.turn % 8))
            .copied()
    }

    fn url(&self) -> String {
        let url = self.word();
        match self.secret() {
            Some(Secret::Url) => url.replace("://", &format!("://user:{SECRET}@")),
            Some(Secret::Socket) => format!("ipc:///run/{HOST_LOCAL}/{}.sock", self.turn % 100),
            Some(Secret::Key | Secret::Label) | None => url,
        }
    }

    fn spec(&self) -> Result<Box<Spec>, Wrong> {
        let mut spec = serde_json::Map::new();
        if self.key("fields").is_some() {
            self.all_fields_but_one(&mut spec);
        }
        spec.insert("url".to_owned(), serde_json::json!(self.url()));
        let mut labels = BTreeMap::new();
        if self.secret() == Some(Secret::Label) {
            labels.insert("api_token".to_owned(), SECRET.to_owned());
        }
        if let Some(models) = self.number("models").filter(|models| *models > 0) {
            self.serve(models, &mut spec);
            labels.extend([self.zone()]);
        }
        let mut health = serde_json::Map::new();
        for (key, field) in [("interval", "interval_ms"), ("rise", "rise"), ("fall", "fall")] {
            if let Some(number) = self.key(key).and_then(|text| text.parse::<u64>().ok()) {
                health.insert(field.to_owned(), serde_json::json!(number));
            }
        }
        if let Some(interval) = self.key("interval").and_then(|text| text.parse::<u64>().ok()) {
            health.insert("timeout_ms".to_owned(), serde_json::json!(interval.min(5000)));
        }
        if self.key("probe") == Some("off") {
            health.insert("enabled".to_owned(), serde_json::json!(false));
        }
        if self.key("vary").is_some() {
            spec.insert("priority".to_owned(), serde_json::json!(self.turn % 2));
        }
        if let Some(by) = self.key("by") {
            health.insert("by".to_owned(), serde_json::json!(by));
        }
        if let Some(bytes) = self.key("value").and_then(|text| text.parse::<usize>().ok()) {
            labels.insert("filling".to_owned(), "x".repeat(bytes.min(255)));
            // One label holds 255 bytes: more are many.
            let others = (1..(bytes / 255).min(28)).map(|number| format!("filling{number}"));
            labels.extend(others.map(|name| (name, "x".repeat(255))));
        }
        if !labels.is_empty() {
            spec.insert("labels".to_owned(), serde_json::json!(labels));
        }
        if let Some(settle) = self.key("settle").and_then(|text| text.parse::<u64>().ok()) {
            spec.insert("drain_settle_ms".to_owned(), serde_json::json!(settle));
        }
        if !health.is_empty() {
            spec.insert("health".to_owned(), serde_json::Value::Object(health));
        }
        Ok(Box::new(Spec::from_request(serde_json::Value::Object(spec))?))
    }

    /// Everything that may be set; each worker lacks another field.
    fn all_fields_but_one(&self, spec: &mut serde_json::Map<String, serde_json::Value>) {
        let all = serde_json::json!({
            "models": [{"id": "m", "aliases": ["n"]}, {"id": "o"}], "kind": "regular", "mode": "http",
            "runtime": "r", "provider": "p", "labels": {"zone": "x"}, "priority": 7, "weight": 8,
            "cost": 0.1, "max_in_flight": 9, "drain_settle_ms": 1000, "auth": "none",
            "health": {"path": "/alive", "rise": 3}, "bootstrap_port": 8998,
            "kv": {"connector": "c", "role": "both", "engine_id": "e", "block_size": 16},
        });
        let all = all.as_object().into_iter().flatten();
        let lacks = self.count(self.turn % 16);
        let all = all.enumerate().filter(|(place, _)| *place != lacks);
        spec.extend(all.map(|(_, (name, value))| (name.clone(), value.clone())));
    }

    /// A worker of some model, or of any, that is not like the others.
    fn serve(&self, models: u64, spec: &mut serde_json::Map<String, serde_json::Value>) {
        let turn = self.turn;
        if !turn.is_multiple_of(4) {
            let model = turn / 4 % models;
            let served =
                serde_json::json!([{"id": format!("m{model}"), "aliases": [format!("a{model}")]}]);
            spec.insert("models".to_owned(), served);
        }
        spec.insert("kind".to_owned(), serde_json::json!(self.kind().as_str()));
        spec.insert("priority".to_owned(), serde_json::json!(50 + turn % 3));
        spec.insert("weight".to_owned(), serde_json::json!(1 + turn % 5));
        if turn % 4 == 1 {
            spec.insert("max_in_flight".to_owned(), serde_json::json!(1 + turn % 2));
        }
    }

    fn labels(&self) -> BTreeMap<String, String> {
        let bytes = self.key("value").and_then(|text| text.parse::<usize>().ok()).unwrap_or(8);
        let value = format!("{}{}", self.turn, "y".repeat(bytes.min(200)));
        // One label holds 255 bytes: more are many.
        let others = (1..(bytes / 200).min(30)).map(|number| format!("filling{number}"));
        let filled = others.map(|name| (name, "y".repeat(200)));
        filled.chain([("turn".to_owned(), value)]).collect()
    }
}

/// Why a wish never became a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrong {
    /// The surface refuses it, as the host's does.
    Refused(Refusal),
    /// The plan asks for what there is not.
    Plan(String),
}

impl From<Refusal> for Wrong {
    fn from(refusal: Refusal) -> Wrong {
        Wrong::Refused(refusal)
    }
}

/// Where a caller puts a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Secret {
    /// In `api_key`, which the surface takes out and keeps.
    Key,
    /// Into the URL.
    Url,
    /// Into a label.
    Label,
    /// No secret, but nobody else's business: a socket of this host.
    Socket,
}

/// The outcome of a pick in the words of an `answer` line.
pub fn words_of_pick(picked: Result<&str, Reason>) -> String {
    match picked {
        Ok(url) => format!("picked {url}"),
        Err(reason) => format!("no_worker {}", serde_json::json!(reason).as_str().unwrap_or("")),
    }
}

/// A reply in the words of an `answer` line.
pub fn words_of(reply: &Reply) -> String {
    match reply {
        Reply::Done => "done".to_owned(),
        Reply::Refused(refusal) => format!("refused {refusal}"),
        Reply::Raft(Ok(())) => "done".to_owned(),
        Reply::Raft(Err(refusal)) => format!("refused {refusal}"),
        Reply::Worker(answer) => match answer {
            workers::Answer::Created(_) => "created".to_owned(),
            workers::Answer::Entry(_) => "entry".to_owned(),
            workers::Answer::Removing { .. } => "removing".to_owned(),
            workers::Answer::Noted => "noted".to_owned(),
            workers::Answer::Refused(refusal) => format!("refused {}", refusal.code()),
        },
        Reply::Kv(kv::Answer::Failed(failure)) => format!("failed {failure}"),
        Reply::Kv(kv::Answer::Held { fence, .. }) => format!("held {fence}"),
        Reply::Kv(_) => "done".to_owned(),
        Reply::Credential(credentials::Answer::Applied { head, changed }) => {
            format!("revision {}{}", head.revision, if *changed { "" } else { " unchanged" })
        }
        Reply::Credential(credentials::Answer::Full) => "refused full".to_owned(),
        Reply::Credential(_) => "done".to_owned(),
        Reply::Pool(pools::Answer::Refused(refusal)) => format!("refused {}", refusal.code()),
        Reply::Pool(_) => "done".to_owned(),
        Reply::Watching { .. } => "watching".to_owned(),
    }
}
