//! The snapshot: what the turn touched, folded in.
//!
//! W-6: the snapshot of a turn equals the fold of the state. Only touched entries are looked at, and only
//! lanes in which a worker came, went, or changed what a pick sees are laid out anew.

use std::collections::{BTreeMap, BTreeSet};

use super::super::lane::{Candidate, Lane, Member, Standing};
use super::super::status::Status;
use super::super::view::{ClaimView, EntryView, Lease, Overlay, ProbeView, Snapshot, lane_of};
use super::entry::{Entry, Owner};
use super::{Arc, Id, NodeId, Policy, Replica, Spec, Workers, limits};

/// The newest snapshot, and what it was made from.
#[derive(Debug)]
pub(super) struct Folded {
    snapshot: Snapshot,
    rows: BTreeMap<u64, Row>,
    /// Members of each lane, by URL.
    lanes: BTreeMap<LaneKey, BTreeMap<Arc<str>, u64>>,
    unanswered: BTreeSet<u64>,
    dirty: bool,
}

type LaneKey = (usize, Arc<str>);

/// What the snapshot shows of one entry.
#[derive(Debug)]
struct Row {
    url: Arc<str>,
    ids: Vec<Id>,
    lanes: Vec<LaneKey>,
    spec: Arc<Spec>,
    member: Member,
}

impl Folded {
    pub(super) fn new(policy: Arc<Policy>, shows_each: bool) -> Folded {
        Folded {
            snapshot: Snapshot { policy, shows_each, ..Snapshot::default() },
            rows: BTreeMap::new(),
            lanes: BTreeMap::new(),
            unanswered: BTreeSet::new(),
            dirty: true,
        }
    }

    pub(super) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    pub(super) fn settings_changed(&mut self, policy: Arc<Policy>, shows_each: bool) {
        (self.snapshot.policy, self.snapshot.shows_each) = (policy, shows_each);
        self.dirty = true;
    }

    fn remove(&mut self, number: u64, touched: &mut BTreeSet<LaneKey>) {
        self.unanswered.remove(&number);
        let Some(row) = self.rows.remove(&number) else { return };
        self.snapshot.entries.remove(&row.url);
        for id in &row.ids {
            self.snapshot.ids.remove(id);
        }
        for lane in row.lanes {
            self.leave(&lane, &row.url);
            touched.insert(lane);
        }
    }

    fn leave(&mut self, lane: &LaneKey, url: &Arc<str>) {
        if let Some(members) = self.lanes.get_mut(lane) {
            members.remove(url);
            if members.is_empty() {
                self.lanes.remove(lane);
            }
        }
    }

    /// Lays the touched lanes out anew.
    fn lay_out(&mut self, touched: BTreeSet<LaneKey>) {
        for key in touched {
            let (slot, model) = &key;
            let Some(lanes) = self.snapshot.lanes.get_mut(*slot) else { continue };
            let Some(members) = self.lanes.get(&key) else {
                lanes.remove(model);
                continue;
            };
            let rows = members.values().filter_map(|number| self.rows.get(number));
            let members: Vec<Member> = rows.map(|row| row.member.clone()).collect();
            let before = lanes.get(model).map(Arc::as_ref);
            let kind = LANE_KINDS.get(*slot).expect("a lane has one of the routed kinds").clone();
            let lane = Lane::lay_out(Arc::clone(model), kind, &members, before);
            lanes.insert(Arc::clone(model), Arc::new(lane));
        }
    }
}

impl Workers {
    /// Folds what the turn touched into the snapshot; `None` if nothing was.
    pub fn publish(&mut self) -> Option<Arc<Snapshot>> {
        if self.touched.is_empty() && !std::mem::take(&mut self.folded.dirty) {
            return None;
        }
        let mut lanes = BTreeSet::new();
        for number in std::mem::take(&mut self.touched) {
            // An entry that went may have been followed by another one of its URL: first what went.
            if !self.entries.contains_key(&number) {
                self.folded.remove(number, &mut lanes);
            } else {
                self.fold(number, &mut lanes);
            }
        }
        self.folded.lay_out(lanes);
        self.folded.snapshot.unanswered = self.folded.unanswered.len();
        self.folded.snapshot.refused_full = self.counters.full;
        Some(Arc::new(self.folded.snapshot.clone()))
    }

    fn fold(&mut self, number: u64, touched: &mut BTreeSet<LaneKey>) {
        let Some(entry) = self.entries.get(&number) else { return };
        let view = Arc::new(view(entry, &self.owners, &self.local, &self.suppressed));
        let ids: Vec<Id> = entry.ids().cloned().collect();
        let url = Arc::clone(&entry.url.identity);
        let before = self.folded.rows.remove(&number);
        let member = member(entry, &view, before.as_ref().map(|row| &row.member));
        let waits = entry.own.is_some()
            && entry.judge == super::entry::Judge::Probes
            && !entry.probe.answered;
        match waits {
            true => self.folded.unanswered.insert(number),
            false => self.folded.unanswered.remove(&number),
        };
        let same_lanes = before.as_ref().is_some_and(|row| Arc::ptr_eq(&row.spec, &entry.spec));
        let spec = Arc::clone(&entry.spec);
        let lanes = match &before {
            Some(row) if same_lanes => row.lanes.clone(),
            _ => self.lanes_of(&spec, &url, number, before.as_ref(), touched),
        };
        if before.as_ref().is_none_or(|row| row.member != member) {
            touched.extend(lanes.iter().cloned());
        }
        let snapshot = &mut self.folded.snapshot;
        for id in before.iter().flat_map(|row| &row.ids).filter(|id| !ids.contains(id)) {
            snapshot.ids.remove(id);
        }
        for id in &ids {
            if !snapshot.ids.contains_key(id) {
                snapshot.ids.insert(id.clone(), Arc::clone(&url));
            }
        }
        snapshot.entries.insert(Arc::clone(&url), view);
        self.folded.rows.insert(number, Row { url, ids, lanes, spec, member });
    }

    /// Enters the lanes that a spec asks for, as far as there is room, and leaves the others.
    fn lanes_of(
        &mut self,
        spec: &Spec,
        url: &Arc<str>,
        number: u64,
        before: Option<&Row>,
        touched: &mut BTreeSet<LaneKey>,
    ) -> Vec<LaneKey> {
        let mut wanted: BTreeSet<LaneKey> = BTreeSet::new();
        if let (Some(slot), false) =
            (lane_of(&spec.kind()), matches!(spec.mode(), super::super::Mode::Unknown(_)))
        {
            let models = spec.models.as_deref().unwrap_or_default();
            let names =
                models.iter().flat_map(|model| std::iter::once(&model.id).chain(&model.aliases));
            wanted.extend(names.map(|name| (slot, Arc::from(name.as_str()))));
            if models.is_empty() {
                wanted.insert((slot, Arc::from("")));
            }
        }
        for lane in before.iter().flat_map(|row| &row.lanes) {
            if !wanted.contains(lane) {
                self.folded.leave(lane, url);
                touched.insert(lane.clone());
            }
        }
        let mut entered = Vec::with_capacity(wanted.len());
        for lane in wanted {
            let room = self.folded.lanes.len() < limits::WORKER_LANES_MAX;
            if room || self.folded.lanes.contains_key(&lane) {
                let members = self.folded.lanes.entry(lane.clone()).or_default();
                members.insert(Arc::clone(url), number);
                touched.insert(lane.clone());
                entered.push(lane);
            } else {
                self.counters.refuse("lanes_full");
                self.counters.full += 1;
            }
        }
        entered
    }
}

/// What a pick sees of an entry; the candidate is shared as long as it stays the same.
fn member(entry: &Entry, view: &EntryView, before: Option<&Member>) -> Member {
    let spec = &entry.spec;
    let labels = spec.labels.clone().unwrap_or_default();
    let candidate = Candidate::new(
        entry.number,
        view.id.clone(),
        Arc::clone(&entry.url.identity),
        spec.weight(),
        spec.max_in_flight.unwrap_or(0),
        Arc::new(labels),
    );
    let same = before.filter(|member| *member.candidate == candidate);
    let ready = entry.condition.status() == Status::Ready;
    let hidden = !matches!(view.overlay, None | Some(Overlay::Ejected));
    let standing = match entry.breaker.ejected_since() {
        _ if entry.condition.status() == Status::Draining => Standing::Draining,
        _ if !ready || hidden => Standing::Out,
        None => Standing::In,
        Some(since) if entry.breaker.on_trial() => Standing::Trial { since },
        Some(since) => Standing::Ejected { since },
    };
    Member {
        candidate: same.map_or_else(|| Arc::new(candidate), |same| Arc::clone(&same.candidate)),
        priority: spec.priority(),
        standing,
    }
}

/// What readers see of an entry.
pub(super) fn view(
    entry: &Entry,
    owners: &BTreeMap<NodeId, Owner>,
    local: &Replica,
    suppressed: &BTreeSet<Arc<str>>,
) -> EntryView {
    let own = entry.own.as_ref().map(|own| ClaimView {
        id: own.id.clone(),
        owner: local.node.clone(),
        incarnation: local.incarnation,
        lease: Lease::Own,
        statement: own.statement,
        version: own.version,
        revision: own.revision,
        admin: match own.draining {
            true => super::super::claim::Admin::Draining,
            false => super::super::claim::Admin::Active,
        },
    });
    let foreign = entry.claims.iter().map(|(node, claim)| ClaimView {
        id: claim.id.clone(),
        owner: node.clone(),
        incarnation: claim.incarnation,
        lease: owners.get(node).map_or(Lease::Stale, |owner| owner.lease(claim.incarnation)),
        statement: claim.statement,
        version: claim.version,
        revision: claim.revision,
        admin: claim.admin,
    });
    let mut claims: Vec<ClaimView> = own.into_iter().chain(foreign).collect();
    claims.sort_by(|left, right| left.owner.cmp(&right.owner));
    let overlay = match &entry.refused {
        Some(rule) => Some(Overlay::Refused { rule: rule.clone() }),
        None if suppressed.contains(&entry.url.identity) => Some(Overlay::Suppressed),
        None => entry.breaker.ejected_since().map(|_| Overlay::Ejected),
    };
    EntryView {
        number: entry.number,
        id: entry.id().cloned().unwrap_or_else(|| Id::from("")),
        url: Arc::clone(&entry.url.identity),
        status: entry.condition.status(),
        overlay,
        since: entry.condition.since(),
        chosen: entry.chosen.clone(),
        claims,
        probe: ProbeView {
            last: entry.probe.last,
            good: entry.condition.good(),
            bad: entry.condition.bad(),
            next: entry.probe.due,
            latency: entry.probe.latency,
        },
        spec: Arc::clone(&entry.spec),
        removing: entry.own.as_ref().is_some_and(|own| own.removing.is_some()),
    }
}

const LANE_KINDS: [super::super::Kind; 4] = [
    super::super::Kind::Regular,
    super::super::Kind::Prefill,
    super::super::Kind::Decode,
    super::super::Kind::Encode,
];
