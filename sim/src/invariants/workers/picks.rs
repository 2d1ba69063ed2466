//! W-7: what a pick may answer, by the entries alone.
//!
//! Lanes, tiers and rings are how a pick is fast; here every entry is looked at. What is ejected may be
//! picked where too few others are left, which is the breaker's own rule: then only the picked is judged.

use quorate_core::node::workers::view::{EntryView, Overlay};
use quorate_core::node::workers::{NoWorker, Pick, Query, Snapshot, Status};

use crate::invariants::{Id, Ledger};
use crate::verdict::Failure;

/// Looks at the answer to a pick. `room` says whether a worker takes one more request.
pub(super) fn look(
    machine: usize,
    snapshot: &Snapshot,
    query: &Query,
    answer: Result<Pick<'_>, NoWorker>,
    room: &dyn Fn(&EntryView) -> bool,
    ledger: &mut Ledger,
) -> Result<(), Failure> {
    let everybody = Lanes { snapshot, query, room };
    let wrong = match answer {
        Ok(pick) => everybody.wrongly_picked(&pick),
        Err(_) => everybody.missed(),
    };
    ledger.hold(Id::W7, machine, wrong.is_none(), || {
        format!("{query:?}: {}", wrong.unwrap_or_default())
    })
}

struct Lanes<'a> {
    snapshot: &'a Snapshot,
    query: &'a Query,
    room: &'a dyn Fn(&EntryView) -> bool,
}

impl<'a> Lanes<'a> {
    fn of_kind(&self) -> impl Iterator<Item = &'a EntryView> {
        let kind = &self.query.kind;
        let entries = self.snapshot.entries.values().map(AsRef::as_ref);
        entries.filter(move |entry| entry.spec.kind() == *kind)
    }

    /// Workers that name the model.
    fn named(&self) -> Vec<&'a EntryView> {
        let model = &self.query.model;
        let names = |entry: &&EntryView| {
            let models = entry.spec.models.iter().flatten();
            models.into_iter().any(|one| one.id == *model || one.aliases.contains(model))
        };
        self.of_kind().filter(names).collect()
    }

    /// Workers that serve whatever is asked.
    fn any(&self) -> Vec<&'a EntryView> {
        let open = |entry: &&EntryView| entry.spec.models.iter().flatten().next().is_none();
        self.of_kind().filter(open).collect()
    }

    fn is_in(&self, entry: &EntryView) -> bool {
        entry.status == Status::Ready && entry.overlay.is_none() && (self.room)(entry)
    }

    fn is_wanted(&self, entry: &EntryView) -> bool {
        let labels = entry.spec.labels.as_ref();
        let has = |(key, value): (&String, &String)| {
            labels.and_then(|labels| labels.get(key)) == Some(value)
        };
        let excluded = |id| self.query.exclude.contains(id);
        self.query.labels.iter().all(has) && !entry.claims.iter().any(|claim| excluded(&claim.id))
    }

    fn wrongly_picked(&self, pick: &Pick<'_>) -> Option<String> {
        let url = &pick.candidate.url;
        let Some(entry) = self.snapshot.entries.get(url) else {
            return Some(format!("{url} was picked, which is no entry"));
        };
        let (named, any) = (self.named(), self.any());
        let is_in = |lane: &[&EntryView]| lane.iter().any(|one| one.url == *url);
        if !is_in(&named) && !is_in(&any) {
            return Some(format!("{url} was picked, which does not serve that"));
        }
        let lane = if is_in(&named) { &named } else { &any };
        if !is_in(&named) && !self.query.model.is_empty() && named.iter().any(|one| self.is_in(one))
        {
            return Some(format!("{url} was picked, though somebody names the model"));
        }
        if !self.is_wanted(entry) {
            return Some(format!("{url} was picked, which the query leaves out"));
        }
        let ready: Vec<_> = lane.iter().filter(|one| one.status == Status::Ready).collect();
        let ejected = ready.iter().filter(|one| one.overlay == Some(Overlay::Ejected)).count();
        let returned = entry.overlay == Some(Overlay::Ejected)
            && (pick.trial || 2 * ejected > ready.iter().filter(|one| !hidden(one)).count());
        if entry.status != Status::Ready || (entry.overlay.is_some() && !returned) {
            return Some(format!("{url} was picked: {:?}, {:?}", entry.status, entry.overlay));
        }
        let better = lane.iter().find(|one| {
            self.is_in(one) && self.is_wanted(one) && one.spec.priority() > entry.spec.priority()
        });
        better.map(|one| format!("{url} was picked, though {} comes first", one.url))
    }

    fn missed(&self) -> Option<String> {
        let (named, any) = (self.named(), self.any());
        let opens = |lane: &[&EntryView]| lane.iter().any(|one| self.is_in(one));
        let lane = if opens(&named) { &named } else { &any };
        // An ejected worker that was let in again may keep a request in the lane of its model.
        let held = named.iter().any(|one| one.overlay == Some(Overlay::Ejected));
        if held && !opens(&named) {
            return None;
        }
        let missed = lane.iter().find(|one| self.is_in(one) && self.is_wanted(one));
        missed.map(|one| format!("nobody was picked, though {} could be", one.url))
    }
}

/// Refused or suppressed: of such a worker a lane knows nothing.
fn hidden(entry: &EntryView) -> bool {
    matches!(entry.overlay, Some(Overlay::Refused { .. } | Overlay::Suppressed))
}
