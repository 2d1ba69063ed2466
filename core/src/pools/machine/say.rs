//! What this node says of pools: to its own book, to the others, and to its store.
//!
//! P-2: a deadline moves earlier only by a clear. P-4: a park and a rest are different words.

use super::super::said::{self, ClearSaid, DemandSaid, Origin, ParkSaid, ProbeSaid, RestSaid};
use super::super::target::{Reach, Subject, Target};
use super::super::{Cause, rest};
use super::define::SAID;
use super::*;

impl Pools {
    fn own(&mut self) -> &mut Book {
        self.books.entry(self.local.node.clone()).or_default()
    }

    /// Whether one more entry fits our map.
    pub(super) fn has_room(&self) -> bool {
        self.books.get(&self.local.node).map_or(0, Book::len)
            < limits::POOL_ENTRIES_MAX - POOL_SPARE
    }

    fn write(&mut self, kind: &str, target: &Target, value: Option<Blob>, out: &mut Vec<Output>) {
        out.push(Output::Write { key: said::key(kind, target), value });
    }

    fn store(&mut self, kind: &str, target: &Target, value: Option<Blob>, out: &mut Vec<Output>) {
        let key = format!("{SAID}{}", said::key(kind, target));
        out.push(Output::Persist { key, value: value.clone() });
        self.write(kind, target, value, out);
    }

    /// A rest begins, moves or ends in our own book. What rests for this node's address alone stays here.
    pub(super) fn say_rest(
        &mut self,
        target: &Target,
        rest: Option<RestSaid>,
        out: &mut Vec<Output>,
    ) {
        if rest.is_none() && !self.own().rests.contains_key(target) {
            return;
        }
        let here = matches!(target.whom.0, Subject::Provider(_)) && target.reach == Reach::All;
        let value = rest.as_ref().map(said::blob);
        match rest {
            Some(rest) => self.own().rests.insert(target.clone(), rest),
            None => self.own().rests.remove(target),
        };
        if !here {
            self.store("r", target, value, out);
        }
        self.refold(target);
    }

    pub(super) fn say_clear(
        &mut self,
        target: &Target,
        clear: Option<ClearSaid>,
        out: &mut Vec<Output>,
    ) {
        let value = clear.as_ref().map(said::blob);
        match clear {
            Some(clear) => self.own().clears.insert(target.clone(), clear),
            None => self.own().clears.remove(target),
        };
        self.store("c", target, value, out);
        self.refold(target);
    }

    /// Our clears that have covered nothing in view for so long that nobody can restate it any more go.
    pub(super) fn drop_clears(
        &mut self,
        unix: u64,
        forget_after: u64,
        whom: &Whom,
        out: &mut Vec<Output>,
    ) {
        let Some(own) = self.books.get(&self.local.node) else { return };
        let from = Target { whom: whom.clone(), reach: Reach::All };
        let ours = own.clears.range(from..).take_while(|(target, _)| target.whom == *whom);
        let mut gone = Vec::new();
        for (target, clear) in ours {
            let covers = |book: &Book| book.rests.get(target).is_some_and(|rest| clear.voids(rest));
            let since = self.covered.get(target).copied();
            if self.books.values().any(covers) {
                self.covered.insert(target.clone(), unix);
            } else if since.is_some_and(|since| unix >= since.saturating_add(forget_after)) {
                gone.push(target.clone());
            }
        }
        for target in gone {
            self.covered.remove(&target);
            self.say_clear(&target, None, out);
        }
    }

    pub(super) fn say_park(
        &mut self,
        target: &Target,
        park: Option<ParkSaid>,
        out: &mut Vec<Output>,
    ) {
        let value = park.as_ref().map(said::blob);
        match park {
            Some(park) => self.own().parks.insert(target.clone(), park),
            None => self.own().parks.remove(target),
        };
        self.store("k", target, value, out);
        self.refold(target);
    }

    /// Says that requests here could use a target, unless that was said a moment ago.
    pub(super) fn say_demand(
        &mut self,
        unix: u64,
        target: &Target,
        asked: bool,
        out: &mut Vec<Output>,
    ) {
        let before = self.own().demands.get(target).copied();
        let fresh = before.is_some_and(|(said, at)| {
            unix < at.saturating_add(super::super::probe::DEMAND_EVERY_MS) && (said.asked || !asked)
        });
        if fresh || (before.is_none() && !self.has_room()) {
            return;
        }
        self.demands += 1;
        let asked = asked || before.is_some_and(|(said, _)| said.asked);
        let said = DemandSaid { count: self.demands, asked };
        self.own().demands.insert(target.clone(), (said, unix));
        self.write("d", target, Some(said::blob(&said)), out);
        self.touch(&target.whom);
    }

    pub(super) fn say_probe(
        &mut self,
        unix: u64,
        target: &Target,
        said: ProbeSaid,
        out: &mut Vec<Output>,
    ) {
        self.own().probes.insert(target.clone(), (said, unix));
        self.write("p", target, Some(said::blob(&said)), out);
        self.touch(&target.whom);
    }

    /// Everything of a target that is over leaves our book.
    pub(super) fn drop_ended(
        &mut self,
        unix: u64,
        half_open_max: u64,
        target: &Target,
        out: &mut Vec<Output>,
    ) {
        let over = self
            .folded_rest(target)
            .is_none_or(|folded| folded.condition(unix, half_open_max) == rest::Condition::Over);
        if !over {
            return;
        }
        self.say_rest(target, None, out);
        let own = self.own();
        let tried = own.probes.remove(target).is_some();
        let wanted = own.demands.remove(target).is_some();
        if tried {
            self.write("p", target, None, out);
        }
        if wanted {
            self.write("d", target, None, out);
        }
        self.tries.remove(target);
    }

    pub(super) fn origin(&mut self) -> Origin {
        self.sequence += 1;
        let Replica { node, incarnation } = self.local.clone();
        Origin { node, incarnation, sequence: self.sequence }
    }

    /// Voids exactly the rests of a target that are in view, whoever says them.
    pub(super) fn clear(
        &mut self,
        unix: u64,
        target: &Target,
        cause: Cause,
        out: &mut Vec<Output>,
    ) -> bool {
        self.levels.remove(target);
        let Some(folded) = self.folded_rest(target) else { return false };
        let origins = folded.origins.clone();
        let half_open_max = u64::MAX / 2;
        let covered = folded.condition(unix, half_open_max) != rest::Condition::Over;
        let here = matches!(target.whom.0, Subject::Provider(_)) && target.reach == Reach::All;
        if !here {
            let before = self.own().clears.get(target).cloned();
            let mut covers = before.map_or_else(Vec::new, |clear| clear.covers);
            self.covered.insert(target.clone(), unix);
            rest::cover(&mut covers, &origins);
            self.say_clear(target, Some(ClearSaid { covers, cause }), out);
        }
        self.say_rest(target, None, out);
        self.drop_ended(unix, 0, target, out);
        covered
    }

    pub(super) fn folded_rest(&self, target: &Target) -> Option<&Folded> {
        self.folded.get(&target.whom)?.get(&target.reach)
    }

    /// Folds anew what everybody says of a target.
    pub(super) fn refold(&mut self, target: &Target) {
        let books = || self.books.iter();
        let clears: Vec<&ClearSaid> =
            books().filter_map(|(_, book)| book.clears.get(target)).collect();
        let rests = books().filter_map(|(author, book)| Some((author, book.rests.get(target)?)));
        let folded = rest::fold(rests, &clears);
        if let (Subject::Credential(handle), Reach::All) = (&target.whom.0, &target.reach) {
            let parks =
                books().filter_map(|(author, book)| Some((*book.parks.get(target)?, author)));
            // The latest wish wins, ties by who wished it.
            let latest = parks.max_by(|(left, one), (right, other)| {
                (left.set_at, one).cmp(&(right.set_at, other))
            });
            let who = (*handle, target.whom.1);
            match latest {
                Some((park, _)) => self.parks.insert(who, park),
                None => self.parks.remove(&who),
            };
        }
        let reaches = self.folded.entry(target.whom.clone()).or_default();
        match folded {
            Some(folded) => {
                let before = self.levels.get(target).filter(|level| level.class == folded.class);
                let n = folded.n.max(before.map_or(0, |level| level.n));
                let (class, since, over_at) = (folded.class, folded.since, folded.rest_until);
                self.levels.insert(target.clone(), Level { class, n, since, over_at });
                reaches.insert(target.reach.clone(), folded);
            }
            None => {
                reaches.remove(&target.reach);
            }
        }
        if reaches.is_empty() {
            self.folded.remove(&target.whom);
        }
        self.touch(&target.whom);
    }
}

/// Room in our map that only words about what is there already may take.
const POOL_SPARE: usize = 64;
