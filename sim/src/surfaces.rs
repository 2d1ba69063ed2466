//! What callers and operators say to nodes, and what comes back, as words of a plan.

use std::collections::BTreeMap;

use quorate_core::node::workers::{self, Command, Outcome, Spec, Target};
use quorate_core::node::{Reply, Request};
use quorate_core::time::micros;

use crate::clock::Micros;

/// The URL that a probe asks, and for how long it waits.
pub fn probe_target(probe: &workers::Probe) -> (String, Micros) {
    (probe.url.to_string(), micros(probe.timeout))
}

/// A secret that must be found in nothing that leaves a node.
pub const MARKER: &str = "quorate-marker-5f0e7a19c3";

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

    /// What it is as a request; the error says what is wrong with it.
    pub fn request(&self) -> Result<Request, String> {
        let target = || Target::Url(self.word());
        Ok(match self.operation {
            "worker.add" => Request::Worker(Command::Register { spec: self.spec()?, keyed: false }),
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
                Request::Worker(Command::Patch { target: target(), revision, patch: self.patch() })
            }
            "worker.report" => {
                let outcome = match self.turn % 8 {
                    0 => Outcome::Good,
                    1 => Outcome::Cancelled,
                    _ => Outcome::Bad,
                };
                Request::Worker(Command::Report { target: target(), outcome })
            }
            "labels.set" => Request::SetLabels { labels: self.labels() },
            "member.leave" => Request::Leave {
                remove_workers: self.key("remove_workers").is_some(),
                restarting: self.key("restarting").is_some(),
            },
            "member.join" => Request::Join { addresses: self.words.to_vec() },
            "member.evict" => {
                let node = self.word().parse().map_err(|error| format!("{error}"))?;
                Request::Evict { node }
            }
            other => return Err(format!("a node has no operation `{other}`")),
        })
    }

    /// What a caller changes: its place among others, and now and then how it is probed.
    fn patch(&self) -> serde_json::Map<String, serde_json::Value> {
        let (field, value) = match self.turn % 4 {
            0 => ("health", serde_json::json!({"rise": 1 + self.turn % 3})),
            _ => ("priority", serde_json::json!(self.turn % 101)),
        };
        serde_json::Map::from_iter([(field.to_owned(), value)])
    }

    fn spec(&self) -> Result<Box<Spec>, String> {
        let mut spec = serde_json::Map::new();
        spec.insert("url".to_owned(), serde_json::json!(self.word()));
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
            let filling = "x".repeat(bytes.min(255));
            spec.insert("labels".to_owned(), serde_json::json!({"filling": filling}));
        }
        if let Some(settle) = self.key("settle").and_then(|text| text.parse::<u64>().ok()) {
            spec.insert("drain_settle_ms".to_owned(), serde_json::json!(settle));
        }
        if !health.is_empty() {
            spec.insert("health".to_owned(), serde_json::Value::Object(health));
        }
        let spec = Spec::from_request(serde_json::Value::Object(spec))
            .map_err(|refusal| refusal.to_string())?;
        Ok(Box::new(spec))
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
    }
}
