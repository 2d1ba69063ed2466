//! Our own claims: registered, persisted, published, removed.
//!
//! W-9: a local claim is made beside whatever is imported, under our own id, and nothing that happens to
//! an import takes it away. W-11: a worker of this host's sockets is never written.

use serde::{Deserialize, Serialize};

use super::super::claim::{self, Admin, Published, Statement};
use super::super::status::Status;
use super::super::url::Url;
use super::entry::Own;
use super::{Arc, Blob, Instant, Output, Refusal, Replica, Spec, Timer, Workers, limits};

/// What the store keeps of an own claim that was made or changed by the API.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Row {
    spec: Spec,
    revision: u64,
    draining: bool,
    removing: bool,
    keyed: bool,
    configured: bool,
}

impl Workers {
    /// Registers what configuration and the store name, writes it, and only then says that all is there:
    /// peers switch from our former life to this one in one turn (W-8).
    pub(super) fn start(&mut self, now: Instant, out: &mut Vec<Output>) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        self.beat(now, out);
        let rows = std::mem::take(&mut self.persisted);
        for (key, value) in &rows {
            if key.starts_with(SUPPRESSED) {
                let url = std::str::from_utf8(value).unwrap_or_default();
                self.suppressed.insert(Arc::from(url));
            }
        }
        let registrations = self.settings.registrations.clone();
        self.register_set(now, &registrations, out);
        for (key, value) in rows.iter().filter(|(key, _)| key.starts_with(OWN)) {
            self.restore(now, key, value, out);
        }
        out.push(Output::Ready);
    }

    fn register_set(&mut self, now: Instant, set: &[Spec], out: &mut Vec<Output>) {
        for spec in set {
            if let Err(refusal) = self.register(now, spec.clone(), false, true, out) {
                self.counters.refuse(refusal.code());
            }
        }
    }

    /// Takes up a row of the store: an API-made claim as a whole, of a configured one what its operator
    /// wanted. A removal that a crash interrupted goes on.
    fn restore(&mut self, now: Instant, key: &str, value: &Blob, out: &mut Vec<Output>) {
        let forget = Output::Persist { key: key.to_owned(), value: None };
        let Ok(row) = serde_json::from_slice::<Row>(value) else {
            self.counters.refuse("persisted");
            return;
        };
        let url = Url::canonical(&row.spec.url, row.spec.dp_rank);
        let named = url.as_ref().is_ok_and(|url| {
            let number = self.by_url.get(&url.identity);
            number.and_then(|number| self.entries.get(number)).is_some()
        });
        if row.configured && !named {
            out.push(forget);
            return;
        }
        if let Err(refusal) = self.register(now, row.spec.clone(), row.keyed, named, out)
            && !named
        {
            self.counters.refuse(refusal.code());
            return;
        }
        let number = url.ok().and_then(|url| self.by_url.get(&url.identity).copied());
        let entry = number.and_then(|number| self.entries.get_mut(&number));
        let Some(own) = entry.and_then(|entry| entry.own.as_mut()) else { return };
        own.revision = own.revision.max(row.revision);
        own.draining = row.draining;
        let settle = own.spec.drain_settle();
        let number = number.expect("an own claim was found by its number");
        sometimes!("workers.restored", !row.removing);
        if row.removing {
            sometimes!("workers.removal_goes_on");
            self.remove_in(now, number, settle, out);
        } else {
            self.persist(number, out);
            self.review(now, number, out);
        }
    }

    /// Makes our claim. `Ok(true)`: it is new; `Ok(false)`: it stood there with this very spec.
    pub(super) fn register(
        &mut self,
        now: Instant,
        spec: Spec,
        keyed: bool,
        configured: bool,
        out: &mut Vec<Output>,
    ) -> Result<(u64, bool), Refusal> {
        let (url, spec) = self.admit(spec, keyed)?;
        let known = self.by_url.get(&url.identity).copied();
        let entry = known.and_then(|number| self.entries.get_mut(&number));
        if let Some(own) = entry.and_then(|entry| entry.own.as_mut()) {
            let number = known.expect("its entry was found by this number");
            if own.removing.is_some() {
                own.again |= configured;
                return Err(Refusal::Removing);
            }
            if *own.spec == *spec {
                own.configured |= configured;
                sometimes!("workers.registered_twice");
                return Ok((number, false));
            }
            return Err(Refusal::WorkerExists { id: own.id.to_string() });
        }
        self.room_for_own(known)?;
        let local = self.local.node.clone();
        let number = known.unwrap_or_else(|| self.create(now, url.clone(), &spec, local));
        let own = self.claim(&url, spec, keyed, configured);
        self.by_id.insert(own.id.clone(), number);
        self.own_claims += 1;
        let entry = self.entries.get_mut(&number).expect("it was found or made above");
        entry.own = Some(own);
        // What configuration names needs no row, and may have one that is yet to be restored.
        if !configured {
            self.persist(number, out);
        }
        match known {
            None => self.begin(now, number, out),
            Some(_) => self.taken_over(now, number, out),
        }
        Ok((number, true))
    }

    fn claim(&self, url: &Url, spec: Arc<Spec>, keyed: bool, configured: bool) -> Own {
        Own {
            id: claim::id(&self.local.node, &url.identity),
            spec,
            revision: self.ended.0 + 1,
            draining: false,
            removing: None,
            statement: Statement::Unknown,
            version: self.ended.1 + 1,
            keyed,
            configured,
            again: false,
            written: None,
        }
    }

    /// T19: status, counters and schedule stay; the statement is what they amount to.
    fn taken_over(&mut self, now: Instant, number: u64, out: &mut Vec<Output>) {
        sometimes!("workers.t19_taken_over");
        if let Some(entry) = self.entries.get_mut(&number) {
            let status = entry.condition.status();
            let own = entry.own.as_mut().expect("our claim was just put in");
            own.statement = match status {
                Status::Ready => Statement::Healthy,
                Status::NotReady | Status::Failed => Statement::Unhealthy,
                Status::Pending | Status::Draining => Statement::Unknown,
            };
        }
        self.review(now, number, out);
    }

    /// Whether we may claim this at all; canonical and resolved.
    fn admit(&self, mut spec: Spec, keyed: bool) -> Result<(Url, Arc<Spec>), Refusal> {
        let url = Url::canonical(&spec.url, spec.dp_rank)?;
        spec.url = url.base.to_string();
        if keyed {
            spec.auth = Some(super::super::spec::Auth::Required);
        }
        spec.check(true)?;
        spec.check_secrets()?;
        let spec = spec.resolved();
        spec.check(true)?;
        let denied = self.policy.admit_host(&url.host, true);
        denied.map_err(|denied| Refusal::UrlDenied { rule: denied.rule })?;
        Ok((url, Arc::new(spec)))
    }

    fn room_for_own(&self, known: Option<u64>) -> Result<(), Refusal> {
        let full = |limit| Err(Refusal::WorkersFull { limit });
        let claims = known.and_then(|number| self.entries.get(&number));
        let claims = claims.map_or(0, |entry| entry.claims.len());
        if self.own_claims >= limits::WORKER_CLAIMS_OWN_MAX {
            return full(limits::WORKER_CLAIMS_OWN_MAX);
        }
        if known.is_none() && self.entries.len() >= limits::WORKERS_MAX {
            return full(limits::WORKERS_MAX);
        }
        if claims >= limits::WORKER_CLAIMS_PER_URL_MAX {
            return full(limits::WORKER_CLAIMS_PER_URL_MAX);
        }
        Ok(())
    }

    /// Replaces the spec of an own claim (T18).
    pub(super) fn respecify(
        &mut self,
        now: Instant,
        number: u64,
        spec: Spec,
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        let own = self.entries.get(&number).and_then(|entry| entry.own.as_ref());
        let keyed = own.is_some_and(|own| own.keyed);
        let (url, spec) = self.admit(spec, keyed)?;
        let Some(entry) = self.entries.get_mut(&number) else { return Err(Refusal::NotFound) };
        if url.identity != entry.url.identity {
            return Err(super::super::spec::SpecError::UrlChanged.into());
        }
        let Some(own) = &mut entry.own else { return Err(Refusal::NotFound) };
        if *own.spec != *spec {
            own.spec = spec;
            own.revision += 1;
            self.persist(number, out);
            self.review(now, number, out);
        }
        Ok(())
    }

    /// Applies a set of configuration: what it no longer names and it had registered is removed.
    pub(super) fn apply_registrations(
        &mut self,
        now: Instant,
        before: &[Spec],
        out: &mut Vec<Output>,
    ) {
        let set = self.settings.registrations.clone();
        let url =
            |spec: &Spec| Url::canonical(&spec.url, spec.dp_rank).ok().map(|url| url.identity);
        let named: std::collections::BTreeSet<_> = set.iter().filter_map(url).collect();
        let gone = |(number, entry): (&u64, &super::Entry)| {
            let own = entry.own.as_ref()?;
            let gone = own.configured && !named.contains(&entry.url.identity);
            gone.then(|| (*number, own.spec.drain_settle()))
        };
        let gone: Vec<_> = self.entries.iter().filter_map(gone).collect();
        let settle = gone.iter().map(|(_, settle)| *settle).max().unwrap_or_default();
        for (number, _) in gone {
            self.remove_in(now, number, settle, out);
        }
        // What did not change in configuration keeps what was changed by hand.
        for spec in set.iter().filter(|spec| !before.contains(spec)) {
            let refusal = match self.register(now, spec.clone(), false, true, out) {
                Err(Refusal::WorkerExists { .. }) => {
                    let number = url(spec).and_then(|url| self.by_url.get(&url).copied());
                    let number = number.expect("what exists is found by its url");
                    self.respecify(now, number, spec.clone(), out).err()
                }
                other => other.err(),
            };
            if let Some(refusal) = refusal {
                self.counters.refuse(refusal.code());
            }
        }
    }

    /// Drains an own claim and deletes it after `settle`; at once if nobody is sent there anyway.
    pub(super) fn remove_in(
        &mut self,
        now: Instant,
        number: u64,
        settle: std::time::Duration,
        out: &mut Vec<Output>,
    ) {
        let Some(entry) = self.entries.get_mut(&number) else { return };
        let idle = !matches!(entry.condition.status(), Status::Ready | Status::Draining);
        let Some(own) = &mut entry.own else { return };
        let at = if idle { now } else { now + settle };
        match own.removing {
            // Removing twice is one removal; it may only become sooner.
            Some(before) if before <= at => return,
            Some(before) => {
                self.timers.remove(&(before, Timer::Settled(number)));
            }
            None => {}
        }
        sometimes!("workers.removed_while_idle", idle);
        sometimes!("workers.removed_sooner", own.removing.is_some());
        own.removing = Some(at);
        if at <= now {
            self.settled(now, number, out);
            return;
        }
        sometimes!("workers.removal_settles");
        own.revision += u64::from(!own.draining);
        own.draining = true;
        self.timers.insert((at, Timer::Settled(number)));
        self.persist(number, out);
        self.review(now, number, out);
    }

    /// The last step of a removal: our claim goes, and the entry with it if it was the last.
    pub(super) fn settled(&mut self, now: Instant, number: u64, out: &mut Vec<Output>) {
        let Some(entry) = self.entries.get_mut(&number) else { return };
        let Some(own) = entry.own.take() else { return };
        let url = Arc::clone(&entry.url.identity);
        self.by_id.remove(&own.id);
        self.own_claims -= 1;
        self.ended.0 = self.ended.0.max(own.revision);
        self.ended.1 = self.ended.1.max(own.version);
        self.timers.retain(|(_, timer)| *timer != Timer::Failed(number));
        if let Some(at) = own.removing {
            self.timers.remove(&(at, Timer::Settled(number)));
        }
        if own.written.is_some() {
            out.push(Output::Write { key: claim::key(&own.id), value: None });
        }
        out.push(Output::Persist { key: row_key(&own.id), value: None });
        self.review(now, number, out);
        if own.again {
            let mut set = self.settings.registrations.clone();
            set.retain(|spec| {
                Url::canonical(&spec.url, spec.dp_rank).is_ok_and(|named| named.identity == url)
            });
            self.register_set(now, &set, out);
        }
    }

    /// Deletes every own claim at once: we leave for good.
    pub(super) fn remove_own(&mut self, now: Instant, out: &mut Vec<Output>) {
        sometimes!("workers.removed_all");
        let own = self.entries.iter().filter(|(_, entry)| entry.own.is_some());
        let own: Vec<u64> = own.map(|(number, _)| *number).collect();
        for number in own {
            self.settled(now, number, out);
        }
    }

    /// `remove_failed_after` has passed.
    pub(super) fn failed_for_long(&mut self, now: Instant, number: u64, out: &mut Vec<Output>) {
        let Some(after) = self.settings.remove_failed_after else { return };
        let Some(entry) = self.entries.get(&number) else { return };
        let still = entry.condition.status() == Status::Failed;
        if still && now.since(entry.condition.since()) >= after {
            sometimes!("workers.failed_for_long");
            self.settled(now, number, out);
        }
    }

    /// A new life: statements are numbered from 1 again, and what changed by that is rewritten.
    pub(super) fn raised(&mut self, replica: Replica, out: &mut Vec<Output>) {
        sometimes!("workers.raised");
        self.local = replica;
        self.ended.1 = 0;
        let own = self.entries.iter().filter(|(_, entry)| entry.own.is_some());
        let own: Vec<u64> = own.map(|(number, _)| *number).collect();
        for number in own {
            if let Some(own) = self.entries.get_mut(&number).and_then(|entry| entry.own.as_mut()) {
                own.version = 1;
            }
            self.publish_claim(number, out);
            self.mark(number);
        }
    }

    /// Writes our claim if it says something new, and never one of this host's sockets.
    pub(super) fn publish_claim(&mut self, number: u64, out: &mut Vec<Output>) {
        let Some(entry) = self.entries.get_mut(&number) else { return };
        let Some(own) = &mut entry.own else { return };
        if own.spec.is_local() {
            return;
        }
        let published = Published {
            v: 1,
            url: entry.url.identity.to_string(),
            revision: own.revision,
            spec: Spec::clone(&own.spec),
            admin: if own.draining { Admin::Draining } else { Admin::Active },
            statement: own.statement,
            statement_version: own.version,
        };
        let value = Some(published.encode());
        if own.written != value {
            own.written.clone_from(&value);
            out.push(Output::Write { key: claim::key(&own.id), value });
        }
    }

    /// Keeps what a restart must find again.
    pub(super) fn persist(&mut self, number: u64, out: &mut Vec<Output>) {
        let own = self.entries.get(&number).and_then(|entry| entry.own.as_ref());
        let Some(own) = own else { return };
        let untouched = own.configured && !own.draining && own.removing.is_none();
        let row = Row {
            spec: Spec::clone(&own.spec),
            revision: own.revision,
            draining: own.draining,
            removing: own.removing.is_some(),
            keyed: own.keyed,
            configured: own.configured,
        };
        let value = serde_json::to_vec(&row).expect("a row is a JSON object");
        let key = row_key(&own.id);
        out.push(Output::Persist { key, value: (!untouched).then(|| Blob::from(value)) });
    }

    /// Our heartbeat.
    pub(super) fn beat(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.beats += 1;
        let value = Some(claim::lease(self.beats));
        out.push(Output::Write { key: claim::LEASE_KEY.into(), value });
        self.timers.insert((now + BEAT_INTERVAL, Timer::Beat));
    }
}

fn row_key(id: &super::Id) -> String {
    format!("{OWN}{id}")
}

const OWN: &str = "workers/own/";
pub(super) const SUPPRESSED: &str = "workers/suppressed/";

/// Between two heartbeats.
const BEAT_INTERVAL: std::time::Duration = std::time::Duration::from_secs(10);
