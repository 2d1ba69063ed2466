//! What callers wish.

use super::super::{Answer, Command, Refusal, Spec, Target};
use super::own::SUPPRESSED;
use super::{Arc, Blob, Instant, Outcome, Output, Workers, limits};
use crate::ids::NodeId;
use crate::workers::Id;
use crate::workers::claim;
use crate::workers::url::Url;
use crate::workers::view::Lease;

impl Workers {
    pub(super) fn command(
        &mut self,
        now: Instant,
        command: Command,
        out: &mut Vec<Output>,
    ) -> Answer {
        let answer = match command {
            Command::Register { spec, keyed } => self.post(now, *spec, keyed, out),
            Command::Replace { target, revision, spec } => {
                self.put(now, &target, revision, |_| Ok(*spec), out)
            }
            Command::Patch { target, revision, patch } => {
                self.put(now, &target, revision, |spec| merged(spec, patch), out)
            }
            Command::Remove { targets, revision, now: at_once } => {
                self.remove(now, &targets, revision, at_once, out)
            }
            Command::Drain(target) => self.set_draining(now, &target, true, out),
            Command::Undrain(target) => self.set_draining(now, &target, false, out),
            Command::ProbeNow(target) => self.find(&target).and_then(|number| {
                self.probe_now(now, number);
                self.shown(number)
            }),
            Command::Suppress(target) => self.suppress(&target, out),
            Command::Unsuppress(target) => self.unsuppress(&target, out),
            Command::Report { target, outcome } => self.reported(now, &target, outcome),
        };
        answer.unwrap_or_else(|refusal| {
            sometimes!("workers.refused_exists", matches!(refusal, Refusal::WorkerExists { .. }));
            sometimes!("workers.refused_owned", matches!(refusal, Refusal::OwnedBy { .. }));
            sometimes!("workers.refused_removing", matches!(refusal, Refusal::Removing));
            sometimes!("workers.refused_not_found", matches!(refusal, Refusal::NotFound));
            sometimes!(
                "workers.refused_revision",
                matches!(refusal, Refusal::PreconditionFailed { .. })
            );
            self.counters.refuse(refusal.code());
            Answer::Refused(refusal)
        })
    }

    fn post(
        &mut self,
        now: Instant,
        spec: Spec,
        keyed: bool,
        out: &mut Vec<Output>,
    ) -> Result<Answer, Refusal> {
        let (number, new) = self.register(now, spec, keyed, false, out)?;
        let view = self.view(number).ok_or(Refusal::NotFound)?;
        Ok(if new { Answer::Created(view) } else { Answer::Entry(view) })
    }

    fn put(
        &mut self,
        now: Instant,
        target: &Target,
        revision: Option<u64>,
        change: impl FnOnce(&Spec) -> Result<Spec, Refusal>,
        out: &mut Vec<Output>,
    ) -> Result<Answer, Refusal> {
        let number = self.find_own(target)?;
        let own = self.entries.get(&number).and_then(|entry| entry.own.as_ref());
        let own = own.ok_or(Refusal::NotFound)?;
        match revision {
            _ if own.removing.is_some() => return Err(Refusal::Removing),
            None => return Err(Refusal::PreconditionRequired),
            Some(revision) if revision != own.revision => {
                return Err(Refusal::PreconditionFailed { revision: own.revision });
            }
            Some(_) => {}
        }
        let spec = change(&own.spec)?;
        self.respecify(now, number, spec, out)?;
        self.shown(number)
    }

    /// All of the targets or none; a batch shares the greatest settle.
    fn remove(
        &mut self,
        now: Instant,
        targets: &[Target],
        revision: Option<u64>,
        at_once: bool,
        out: &mut Vec<Output>,
    ) -> Result<Answer, Refusal> {
        let mut numbers = Vec::new();
        for target in targets {
            let ranks = self.ranks_of(target);
            match ranks.is_empty() {
                true => numbers.push(self.find_own(target)?),
                false => numbers.extend(ranks),
            }
        }
        let mut settle = std::time::Duration::ZERO;
        let mut ids = Vec::new();
        for number in &numbers {
            let own = self.entries.get(number).and_then(|entry| entry.own.as_ref());
            let own = own.ok_or(Refusal::NotFound)?;
            if revision.is_some_and(|revision| revision != own.revision) {
                return Err(Refusal::PreconditionFailed { revision: own.revision });
            }
            settle = settle.max(own.spec.drain_settle());
            ids.push(own.id.to_string());
        }
        if at_once {
            settle = std::time::Duration::ZERO;
        }
        for number in &numbers {
            self.remove_in(now, *number, settle, out);
        }
        let last = numbers.iter().filter_map(|number| {
            self.entries.get(number).and_then(|entry| entry.own.as_ref()?.removing)
        });
        let after = last.max().map_or(std::time::Duration::ZERO, |last| last.since(now));
        Ok(Answer::Removing { ids, after })
    }

    /// Our claims on the ranks of a base URL.
    fn ranks_of(&self, target: &Target) -> Vec<u64> {
        let Target::Url(text) = target else { return Vec::new() };
        let Ok(url) = Url::lookup(text) else { return Vec::new() };
        let first: Arc<str> = Arc::from(format!("{}@", url.identity));
        let from = self.by_url.range(first..);
        let ranks = from.take_while(|(named, _)| named.starts_with(&*url.identity));
        let own = |number: &u64| {
            let entry = self.entries.get(number);
            entry.is_some_and(|entry| entry.own.is_some() && *entry.url.base == *url.identity)
        };
        let base = self.by_url.get(&url.identity);
        base.into_iter().chain(ranks.map(|(_, number)| number)).copied().filter(own).collect()
    }

    fn set_draining(
        &mut self,
        now: Instant,
        target: &Target,
        draining: bool,
        out: &mut Vec<Output>,
    ) -> Result<Answer, Refusal> {
        let number = self.find_own(target)?;
        let own = self.entries.get_mut(&number).and_then(|entry| entry.own.as_mut());
        let own = own.ok_or(Refusal::NotFound)?;
        if own.removing.is_some() {
            return Err(Refusal::Removing);
        }
        if own.draining != draining {
            own.draining = draining;
            own.revision += 1;
            self.persist(number, out);
            self.review(now, number, out);
        }
        self.shown(number)
    }

    fn suppress(&mut self, target: &Target, out: &mut Vec<Output>) -> Result<Answer, Refusal> {
        let number = self.find(target)?;
        let entry = self.entries.get(&number).ok_or(Refusal::NotFound)?;
        let url = Arc::clone(&entry.url.identity);
        if self.suppressed.len() >= limits::WORKERS_MAX {
            return Err(Refusal::WorkersFull { limit: limits::WORKERS_MAX });
        }
        if self.suppressed.insert(Arc::clone(&url)) {
            sometimes!("workers.suppressed");
            self.persist_suppressed(&url, true, out);
            self.mark(number);
        }
        self.shown(number)
    }

    /// An entry that is away at the moment can be shown again too, by its URL.
    fn unsuppress(&mut self, target: &Target, out: &mut Vec<Output>) -> Result<Answer, Refusal> {
        let number = self.find(target);
        let url = match (&number, target) {
            (Ok(number), _) => {
                self.entries.get(number).map(|entry| Arc::clone(&entry.url.identity))
            }
            (Err(_), Target::Url(text)) => Url::lookup(text).ok().map(|url| url.identity),
            (Err(_), Target::Id(_)) => None,
        };
        if let Some(url) = url
            && self.suppressed.remove(&url)
        {
            self.persist_suppressed(&url, false, out);
            let Ok(number) = number else { return Ok(Answer::Noted) };
            self.mark(number);
        }
        self.shown(number?)
    }

    fn persist_suppressed(&self, url: &str, suppressed: bool, out: &mut Vec<Output>) {
        let key = format!("{SUPPRESSED}{}", claim::id(&self.local.node, url));
        out.push(Output::Persist { key, value: suppressed.then(|| Blob::from(url)) });
    }

    fn reported(
        &mut self,
        now: Instant,
        target: &Target,
        outcome: Outcome,
    ) -> Result<Answer, Refusal> {
        let number = self.find(target)?;
        self.report(now, number, outcome);
        Ok(Answer::Noted)
    }

    fn shown(&self, number: u64) -> Result<Answer, Refusal> {
        self.view(number).map(Answer::Entry).ok_or(Refusal::NotFound)
    }

    fn find(&self, target: &Target) -> Result<u64, Refusal> {
        let number = match target {
            Target::Id(id) => self.by_id.get(&Id::from(id.as_str())),
            Target::Url(text) => self.by_url.get(&Url::lookup(text)?.identity),
        };
        number.copied().ok_or(Refusal::NotFound)
    }

    /// The entry, if what the target names is our claim: only its owner changes a claim.
    fn find_own(&self, target: &Target) -> Result<u64, Refusal> {
        let number = self.find(target)?;
        let entry = self.entries.get(&number).ok_or(Refusal::NotFound)?;
        let foreign = match target {
            Target::Id(id) => {
                let mut claims = entry.claims.iter();
                claims.find(|(_, claim)| claim.id.as_str() == id).map(|(node, _)| node)
            }
            Target::Url(_) => Some(&entry.chosen).filter(|_| entry.own.is_none()),
        };
        match foreign {
            None => Ok(number),
            Some(owner) => Err(self.owned_by(number, owner)),
        }
    }

    fn owned_by(&self, number: u64, owner: &NodeId) -> Refusal {
        let entry = self.entries.get(&number);
        let claim = entry.and_then(|entry| entry.claims.get(owner));
        let fresh =
            claim.is_some_and(|claim| self.lease_of(owner, claim.incarnation) == Lease::Fresh);
        let alive = fresh && self.members.contains(owner);
        Refusal::OwnedBy { owner: owner.clone(), alive }
    }
}

/// The source: RFC 7396, JSON merge patch.
fn merged(spec: &Spec, patch: serde_json::Map<String, serde_json::Value>) -> Result<Spec, Refusal> {
    let mut value = serde_json::to_value(spec).expect("a spec is a JSON object");
    merge(&mut value, serde_json::Value::Object(patch));
    Spec::from_request(value)
}

fn merge(target: &mut serde_json::Value, patch: serde_json::Value) {
    let serde_json::Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = serde_json::Value::Object(serde_json::Map::new());
    }
    let fields = target.as_object_mut().expect("it was just made an object");
    for (name, value) in patch {
        if value.is_null() {
            fields.remove(&name);
        } else {
            merge(fields.entry(name).or_insert(serde_json::Value::Null), value);
        }
    }
}
