//! What this node says of pools: to its own book, to the others, and to its store.
//!
//! P-2: a deadline moves earlier only by a clear. P-4: a park and a rest are different words.

use super::super::said::{
    self, ClearSaid, DemandSaid, NoticeSaid, Origin, ParkSaid, ProbeSaid, RestSaid,
};
use super::super::target::{Reach, Subject, Target};
use super::super::{Answer, Cause, Refusal, rest};
use super::define::SAID;
use super::hear::pool_of;
use super::*;

impl Pools {
    fn own(&mut self) -> &mut Book {
        self.books.entry(self.local.node.clone()).or_default()
    }

    /// Whether one more entry fits our map.
    fn has_room(&self) -> bool {
        self.said() < limits::POOL_ENTRIES_MAX - POOL_SPARE
    }

    /// Whether our map has as many entries as it may have.
    pub(super) fn is_full(&self) -> bool {
        self.said() >= limits::POOL_ENTRIES_MAX
    }

    fn said(&self) -> usize {
        self.books.get(&self.local.node).map_or(0, Book::len)
    }

    /// Whether one more entry fits our map, once what has ended is gone from it.
    pub(super) fn make_room(&mut self, unix: u64, out: &mut Vec<Output>) -> bool {
        if self.has_room() {
            return true;
        }
        let Some(own) = self.books.get(&self.local.node) else { return true };
        let rests = own.rests.iter().filter(|(target, rest)| {
            let ends = rest.rest_until.max(rest.stated_reset.unwrap_or_default());
            let old = ends.saturating_add(HALF_OPEN_MS_MAX) <= unix && !rest.class.needs_proof();
            let gone = match &target.whom.0 {
                Subject::Credential(handle) => !self.pooled.contains_key(handle),
                Subject::Group(_) | Subject::Provider(_) => false,
            };
            old || (gone && ends <= unix) || self.is_voided(target, rest)
        });
        let rests: Vec<Target> = rests.map(|(target, _)| target.clone()).collect();
        let clears = own.clears.iter().filter(|(target, clear)| {
            let covers = |book: &Book| book.rests.get(target).is_some_and(|rest| clear.voids(rest));
            !self.books.values().any(covers)
        });
        let clears: Vec<Target> = clears.map(|(target, _)| target.clone()).collect();
        let parks = own.parks.iter().filter(|(_, park)| park.until <= unix);
        let parks: Vec<Target> = parks.map(|(target, _)| target.clone()).collect();
        let wanted = own
            .demands
            .iter()
            .filter(|(_, (_, at))| at.saturating_add(super::super::probe::DEMAND_MS) <= unix);
        let wanted: Vec<Target> = wanted.map(|(target, _)| target.clone()).collect();
        let tried = own.probes.keys().filter(|target| self.folded_rest(target).is_none());
        let tried: Vec<Target> = tried.cloned().collect();
        wanted.iter().for_each(|target| self.unsay_demand(target, out));
        tried.iter().for_each(|target| self.unsay_probe(target, out));
        rests.iter().for_each(|target| self.say_rest(target, None, out));
        parks.iter().for_each(|target| self.say_park(target, None, out));
        for target in &clears {
            self.covered.remove(target);
            self.say_clear(target, None, out);
        }
        self.has_room()
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
            None => {
                self.covering.remove(target);
                self.own().clears.remove(target)
            }
        };
        self.store("c", target, value, out);
        self.refold(target);
    }

    /// Our clears that have covered nothing in view for so long that nobody can restate it any more go; says
    /// when the next one does.
    pub(super) fn drop_clears(
        &mut self,
        unix: u64,
        forget_after: u64,
        whom: &Whom,
        out: &mut Vec<Output>,
    ) -> Option<u64> {
        let own = self.books.get(&self.local.node)?;
        let from = Target { whom: whom.clone(), reach: Reach::All };
        let ours = own.clears.range(from..).take_while(|(target, _)| target.whom == *whom);
        let (mut gone, mut next) = (Vec::new(), None::<u64>);
        for (target, clear) in ours {
            let covers = |book: &Book| book.rests.get(target).is_some_and(|rest| clear.voids(rest));
            let ends = self.covered.get(target).map(|since| since.saturating_add(forget_after));
            if self.books.values().any(covers) {
                self.covered.insert(target.clone(), unix);
                self.covering.insert(target.clone());
                continue;
            }
            self.covering.remove(target);
            match ends {
                Some(at) if unix >= at => gone.push(target.clone()),
                at => next = [next, at].into_iter().flatten().min(),
            }
        }
        for target in gone {
            self.covered.remove(&target);
            self.say_clear(&target, None, out);
        }
        next
    }

    /// What our clears of a pool cover in view they cover now, too.
    pub(super) fn cover_on(&mut self, unix: u64, name: &Name) {
        let covering = self.covering.iter();
        let of = |whom: &Whom| self.members_of(whom).iter().any(|(_, pool)| pool == name);
        let here: Vec<Target> = covering.filter(|target| of(&target.whom)).cloned().collect();
        for target in here {
            self.covered.insert(target, unix);
        }
    }

    /// Our wish about a member goes once no older one that anybody may still hold runs; says when that is.
    pub(super) fn drop_parks(
        &mut self,
        unix: u64,
        whom: &Whom,
        out: &mut Vec<Output>,
    ) -> Option<u64> {
        let target = Target { whom: whom.clone(), reach: Reach::All };
        let ours = self.books.get(&self.local.node).and_then(|own| own.parks.get(&target))?;
        let over_at = ours.until.max(ours.set_at.saturating_add(PARK_MS_MAX));
        if over_at > unix {
            return Some(over_at);
        }
        self.say_park(&target, None, out);
        None
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

    /// People were told, or that matters no more.
    pub(super) fn say_notice(
        &mut self,
        of: &Arc<str>,
        said: Option<NoticeSaid>,
        out: &mut Vec<Output>,
    ) {
        let value = said.as_ref().map(said::blob);
        match said {
            Some(said) => self.own().notices.insert(Arc::clone(of), said),
            None => self.own().notices.remove(of),
        };
        let key = crate::wire::segment::Key::from(format!("n/{of}"));
        out.push(Output::Persist { key: format!("{SAID}{key}"), value: value.clone() });
        out.push(Output::Write { key, value });
        if let Some(pool) = pool_of(of) {
            self.look_at(pool);
        }
    }

    /// A sink took what was told of a pool: nobody else tells it again.
    pub(super) fn told(
        &mut self,
        unix: u64,
        pool: &Name,
        what: &str,
        said: NoticeSaid,
        out: &mut Vec<Output>,
    ) -> Result<Answer, Refusal> {
        if !self.pools.contains_key(pool) {
            return Err(Refusal::NoPool { pool: pool.clone() });
        }
        let of: Arc<str> = format!("{pool}/{what}").into();
        let known = self.own().notices.get(&of).cloned();
        if known.is_none() && !self.make_room(unix, out) {
            return Err(full());
        }
        if known.is_none_or(|known| known < said) {
            self.say_notice(&of, Some(said), out);
        }
        Ok(Answer::Done)
    }

    /// What everybody says that people were told of a pool: the latest word of each thing.
    pub(super) fn notices_of(&self, pool: &Name) -> BTreeMap<Arc<str>, NoticeSaid> {
        let head: Arc<str> = format!("{pool}/").into();
        let mut latest: BTreeMap<Arc<str>, NoticeSaid> = BTreeMap::new();
        for book in self.books.values() {
            let said = book.notices.range(Arc::clone(&head)..);
            for (of, said) in said.take_while(|(of, _)| of.starts_with(&*head)) {
                let what = of.get(head.len()..).unwrap_or_default();
                if latest.get(what).is_none_or(|known| known < said) {
                    latest.insert(what.into(), said.clone());
                }
            }
        }
        latest
    }

    /// Our words about what people were told go once there are later ones, and once they matter no more: an
    /// exhaustion that is over, an account that needs nobody, a recovery that everybody has seen.
    pub(super) fn drop_notices(&mut self, unix: u64, pool: &Name, out: &mut Vec<Output>) {
        let head: Arc<str> = format!("{pool}/").into();
        let Some(own) = self.books.get(&self.local.node) else { return };
        let ours = own.notices.range(Arc::clone(&head)..);
        let ours: Vec<(Arc<str>, NoticeSaid)> = ours
            .take_while(|(of, _)| of.starts_with(&*head))
            .map(|(of, said)| (Arc::clone(of), said.clone()))
            .collect();
        for (of, said) in ours {
            let what = of.get(head.len()..).unwrap_or_default();
            let later = self.books.values().filter_map(|book| book.notices.get(&of));
            let later = later.into_iter().any(|other| *other > said);
            let old = unix >= said.of.saturating_add(NOTICE_MS);
            if later || (old && !self.is_trouble(pool, what)) {
                self.say_notice(&of, None, out);
            }
        }
    }

    /// Whether what a notice was about is still so: a lane that is exhausted, a credential that needs a person.
    fn is_trouble(&self, pool: &Name, what: &str) -> bool {
        let Some(state) = self.pools.get(pool) else { return false };
        if state.lanes.get(what).is_some_and(|lane| lane.exhausted.is_some()) {
            return true;
        }
        let Some((credential, class)) = what.split_once('/') else { return false };
        let Ok(handle) = credential.parse::<CredentialHandle>() else { return false };
        let whoms = state
            .members
            .iter()
            .filter(|member| member.who.0 == handle)
            .flat_map(|member| super::review::whoms(member.who, self.credentials.get(&handle)));
        whoms
            .filter_map(|whom| self.folded.get(&whom))
            .flat_map(BTreeMap::values)
            .any(|rest| rest.class.name() == class)
    }

    /// Says that requests here could use a target, unless that was said a moment ago; whether there is room for
    /// the word.
    pub(super) fn say_demand(
        &mut self,
        unix: u64,
        target: &Target,
        asked: bool,
        out: &mut Vec<Output>,
    ) -> bool {
        let before = self.own().demands.get(target).copied();
        let fresh = before.is_some_and(|(_, at)| {
            unix < at.saturating_add(super::super::probe::DEMAND_EVERY_MS) && !asked
        });
        if fresh {
            return true;
        }
        if before.is_none() && !self.make_room(unix, out) {
            return false;
        }
        self.demands += 1;
        let tries = self.tries.get(target);
        let used_at = tries.map_or(0, |tries| tries.used_at(target, self.books.values()));
        let counts =
            |at: u64| unix < at.saturating_add(super::super::probe::DEMAND_MS) && at > used_at;
        let asked = asked || before.is_some_and(|(said, at)| said.asked && counts(at));
        let said = DemandSaid { count: self.demands, asked };
        self.own().demands.insert(target.clone(), (said, unix));
        self.write("d", target, Some(said::blob(&said)), out);
        self.touch(&target.whom);
        true
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
            let ours = self.books.get(&self.local.node).and_then(|own| own.rests.get(target));
            if ours.is_some_and(|ours| self.is_voided(target, ours)) {
                self.say_rest(target, None, out);
            }
            return;
        }
        self.say_rest(target, None, out);
        self.unsay_probe(target, out);
        self.unsay_demand(target, out);
        self.tries.remove(target);
    }

    fn unsay_demand(&mut self, target: &Target, out: &mut Vec<Output>) {
        if self.own().demands.remove(target).is_some() {
            self.write("d", target, None, out);
        }
    }

    fn unsay_probe(&mut self, target: &Target, out: &mut Vec<Output>) {
        if self.own().probes.remove(target).is_some() {
            self.write("p", target, None, out);
        }
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
        self.mark(&target.whom);
        let Some(folded) = self.folded_rest(target) else { return false };
        let origins = folded.origins.clone();
        let half_open_max = u64::MAX / 2;
        let covered = folded.condition(unix, half_open_max) != rest::Condition::Over;
        let here = matches!(target.whom.0, Subject::Provider(_)) && target.reach == Reach::All;
        // Without room for the word nothing is cleared: the rest stays, for us as for everybody.
        let known = self.own().clears.contains_key(target);
        if !here && !known && !self.make_room(unix, out) && self.is_full() {
            return false;
        }
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
        let clears = if canary!("pools.sees_no_clears") { Vec::new() } else { clears };
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
                self.tries.remove(target);
            }
        }
        if reaches.is_empty() {
            self.folded.remove(&target.whom);
        }
        self.touch(&target.whom);
    }
}

/// That our map takes no further word.
pub(super) fn full() -> Refusal {
    Refusal::Full { what: "words about pools".to_owned(), limit: limits::POOL_ENTRIES_MAX }
}

/// No half-open state that time ends is longer, and no park.
const HALF_OPEN_MS_MAX: u64 = 24 * 3_600_000;
const PARK_MS_MAX: u64 = 7 * 24 * 3_600_000;
/// A word to people matters so long: as long as a recovery is only presumed.
const NOTICE_MS: u64 = 600_000;
/// Room in our map that only words about what is there already may take.
const POOL_SPARE: usize = 64;
