//! What is held of one URL, and of one owner.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::super::breaker::Breaker;
use super::super::claim::{Admin, Published, Statement};
use super::super::spec::Health;
use super::super::status::{Condition, Status};
use super::super::url::Url;
use super::super::view::Lease;
use super::{Blob, Id, Instant, NodeId, Replica, Spec, Ticket};
use crate::ids::Incarnation;
use crate::workers::{Mode, ProbeOutcome};

/// One URL: one status and one schedule, however many claims.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) number: u64,
    pub(super) url: Url,
    pub(super) own: Option<Own>,
    pub(super) claims: BTreeMap<NodeId, Claim>,
    /// Whose spec and statements count.
    pub(super) chosen: NodeId,
    pub(super) spec: Arc<Spec>,
    pub(super) health: Health,
    pub(super) judge: Judge,
    pub(super) condition: Condition,
    /// The rule that denies the address.
    pub(super) refused: Option<String>,
    pub(super) probe: Probing,
    pub(super) breaker: Breaker,
}

/// Our own claim.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) id: Id,
    pub(super) spec: Arc<Spec>,
    pub(super) revision: u64,
    pub(super) draining: bool,
    pub(super) removing: Option<Instant>,
    pub(super) statement: Statement,
    pub(super) version: u64,
    pub(super) keyed: bool,
    /// Configuration registered it.
    pub(super) configured: bool,
    /// Configuration names it again while it is being removed.
    pub(super) again: bool,
    /// What stands in our map.
    pub(super) written: Option<Blob>,
}

/// Somebody else's claim.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) id: Id,
    pub(super) incarnation: Incarnation,
    pub(super) spec: Arc<Spec>,
    pub(super) revision: u64,
    pub(super) admin: Admin,
    pub(super) statement: Statement,
    pub(super) version: u64,
    /// Taken over from the former life's map, and not yet known to be the new life's word: what differs
    /// follows at once.
    pub(super) inherited: bool,
    /// E-1: the highest statement that was applied.
    pub(super) applied: Option<(Incarnation, u64)>,
}

impl Claim {
    pub(super) fn new(id: Id, incarnation: Incarnation, said: Published) -> Claim {
        Claim {
            id,
            incarnation,
            spec: Arc::new(said.spec),
            revision: said.revision,
            admin: said.admin,
            statement: said.statement,
            version: said.statement_version,
            inherited: false,
            applied: None,
        }
    }
}

/// Who decides whether an entry is well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judge {
    /// Our probes.
    Probes,
    /// The chosen claim's owner: `by = owner`, no probing at all, or a key that we do not have.
    Owner,
    /// Nobody: our own worker, not to be probed.
    Nobody,
}

/// The probes of one entry.
#[derive(Debug, Default)]
pub(super) struct Probing {
    /// The latest, unanswered.
    pub(super) in_flight: Option<Ticket>,
    /// Its answer will say nothing: the spec was replaced.
    pub(super) void: bool,
    /// The place in the schedule.
    pub(super) due: Option<Instant>,
    pub(super) last: Option<ProbeOutcome>,
    pub(super) latency: Option<Duration>,
    /// Probes since it became Failed: the interval doubles with each.
    pub(super) failed: u32,
    /// Whether any probe was answered.
    pub(super) answered: bool,
}

/// What is known of a node that claims workers.
#[derive(Debug)]
pub(super) struct Owner {
    pub(super) replica: Replica,
    /// Its count was new so lately that it is fresh until then.
    pub(super) fresh_until: Option<Instant>,
    /// Lives up to this one were given up for dead.
    pub(super) orphaned: Option<Incarnation>,
    /// It left: the claims of lives up to this one stay until then.
    pub(super) lingering: Option<(Incarnation, Instant)>,
    /// Entries with a claim of it.
    pub(super) entries: BTreeSet<u64>,
}

impl Owner {
    pub(super) fn new(replica: Replica) -> Owner {
        Owner {
            replica,
            fresh_until: None,
            orphaned: None,
            lingering: None,
            entries: BTreeSet::new(),
        }
    }

    /// How present the owner of a claim of this life is.
    pub(super) fn lease(&self, incarnation: Incarnation) -> Lease {
        match (self.lingering, self.fresh_until) {
            (Some((last, _)), _) if incarnation <= last => Lease::Lingering,
            _ if Some(incarnation) <= self.orphaned => Lease::Orphaned,
            (_, Some(_)) => Lease::Fresh,
            (_, None) => Lease::Stale,
        }
    }
}

impl Entry {
    /// Every claim's id.
    pub(super) fn ids(&self) -> impl Iterator<Item = &Id> {
        let own = self.own.iter().map(|own| &own.id);
        own.chain(self.claims.values().map(|claim| &claim.id))
    }

    /// The id of the chosen claim.
    pub(super) fn id(&self) -> Option<&Id> {
        let own = self.own.as_ref().map(|own| &own.id);
        own.or_else(|| self.claims.get(&self.chosen).map(|claim| &claim.id))
    }

    /// Whether the chosen claim's operator takes it out.
    pub(super) fn is_drained(&self) -> bool {
        match &self.own {
            Some(own) => own.draining,
            None => {
                self.claims.get(&self.chosen).is_some_and(|claim| claim.admin == Admin::Draining)
            }
        }
    }

    /// Whether this node probes it now.
    pub(super) fn is_probed(&self) -> bool {
        let known = !matches!(self.spec.mode(), Mode::Unknown(_));
        let wanted = self.judge == Judge::Probes && self.condition.status() != Status::Draining;
        // A name that led to a denied address is looked up again; a denied literal cannot change.
        let hopeless = self.refused.is_some() && self.probe.last != Some(ProbeOutcome::Policy);
        known && wanted && !hopeless
    }
}
