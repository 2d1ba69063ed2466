//! What is heard of others: what they say of pools, their lives and their deaths.
//!
//! P-8: the view is a fold of what is held. Whoever is first by hash restates what a node that is gone said.

use super::super::said::{self, ClearSaid, NoticeSaid, ParkSaid, RestSaid, Said};
use super::super::{Cause, Event, rest};
use super::*;
use crate::ids::{Notice, Reason};
use crate::wire::segment::Key;

impl Pools {
    pub(super) fn changed(
        &mut self,
        unix: u64,
        owner: Replica,
        key: &Key,
        value: Option<&Blob>,
        out: &mut Vec<Output>,
    ) {
        if owner.node == self.local.node {
            return;
        }
        if key.is_empty() {
            return self.await_no_more(&owner.node);
        }
        let Ok(mut said) = said::read_entry(key, value) else {
            return; // The merge refused it already; a view holds nothing of the kind.
        };
        if let Said::Rest(_, Some(rest)) = &mut said
            && rest::cut(unix, rest)
        {
            let what = "a rest beyond what any answer may ask for";
            out.push(Output::Misbehaved { peer: owner.node.clone(), what });
        }
        if let Said::Clear(target, Some(clear)) = &said
            && self.ends_a_rest(target, clear)
        {
            self.because = (clear.cause, clear.cause == Cause::Success);
        }
        self.shared(unix, &owner, &said, out);
        if let Said::Notice(of, _) = &said
            && let Some(pool) = pool_of(of)
        {
            self.look_at(pool);
        }
        let book = self.books.entry(owner.node.clone()).or_default();
        book.incarnation = owner.incarnation;
        let former = if let Said::Rest(target, None) = &said {
            book.rests.get(target).cloned()
        } else {
            None
        };
        let Some(target) = book.hear(unix, said) else { return };
        self.refold(&target);
        if let Some(rest) = former.filter(|_| self.switching.as_ref() == Some(&owner)) {
            self.restate_rest(unix, &owner.node, &target, rest, out);
        }
    }

    /// Tells how long a word was on its way, where its author was known before it began.
    fn shared(&self, unix: u64, owner: &Replica, said: &Said, out: &mut Vec<Output>) {
        let Said::Rest(target, Some(rest)) = said else { return };
        let Some(met) = self.met.get(&owner.node) else { return };
        let fresh = rest.origin.replica() == *owner && rest.since >= *met;
        if fresh && self.folded_rest(target).is_none() {
            let after_ms = unix.saturating_sub(rest.since);
            out.push(Output::Announce(Event::Shared { from: owner.node.clone(), after_ms }));
        }
    }

    /// What the new life does not say of what the old one said is unsaid in the inputs that follow.
    pub(super) fn switched(&mut self, old: &Replica, new: Replica) {
        if let Some(book) = self.books.get_mut(&old.node) {
            book.incarnation = new.incarnation;
            book.failed = false;
        }
        let tried: Vec<Whom> = self.tries.keys().map(|target| target.whom.clone()).collect();
        tried.iter().for_each(|whom| self.mark(whom));
        self.await_no_more(&new.node);
        self.switching = Some(new);
    }

    pub(super) fn dropped(&mut self, unix: u64, owner: &Replica, out: &mut Vec<Output>) {
        if owner.node == self.local.node {
            return;
        }
        if self.members.contains_key(&owner.node) {
            self.awaited.insert(owner.node.clone());
        }
        if !self.asleep {
            self.restate(unix, &owner.node, out);
        }
        let Some(book) = self.books.remove(&owner.node) else { return };
        self.covered_until_now(unix, &book);
        for target in book.targets() {
            self.refold(&target);
        }
    }

    /// What others said in the life that everybody has forgotten is not said anew, either. Who they are is heard
    /// again of those that are there.
    pub(super) fn slept(&mut self, unix: u64) {
        self.asleep = true;
        let own = self.books.remove(&self.local.node).unwrap_or_default();
        let others = std::mem::take(&mut self.books);
        self.books.insert(self.local.node.clone(), own);
        let members = std::mem::take(&mut self.members);
        self.members.insert(self.local.node.clone(), self.local.incarnation);
        self.met.clear();
        self.awaited.extend(others.keys().filter(|node| members.contains_key(*node)).cloned());
        for book in others.values() {
            self.covered_until_now(unix, book);
            book.targets().iter().for_each(|target| self.refold(target));
        }
    }

    /// Of what somebody said who is gone our clears are needed for as long as it may come again.
    fn covered_until_now(&mut self, unix: u64, book: &Book) {
        let Some(own) = self.books.get(&self.local.node) else { return };
        let covers = |target: &Target, rest| {
            own.clears.get(target).is_some_and(|clear: &ClearSaid| clear.voids(rest))
        };
        let covered = book.rests.iter().filter(|(target, rest)| covers(target, rest));
        let covered: Vec<Target> = covered.map(|(target, _)| target.clone()).collect();
        self.covered.extend(covered.into_iter().map(|target| (target, unix)));
    }

    /// Whether a clear covers what counts until now. One that covers nothing here is news of nothing.
    fn ends_a_rest(&self, target: &Target, clear: &ClearSaid) -> bool {
        let rests = self.books.values().filter_map(|book| book.rests.get(target));
        rests.into_iter().any(|rest| clear.voids(rest) && !self.is_voided(target, rest))
    }

    /// Who there is decides whose words count after a restart.
    fn keep_exhausted(&self, out: &mut Vec<Output>) {
        for (name, pool) in &self.pools {
            if pool.lanes.values().any(|lane| lane.told_since().is_some()) {
                self.keep(name, out);
            }
        }
    }

    /// All that a node says is here, or there is no such node. Once nobody is awaited, a lane is as it seems.
    fn await_no_more(&mut self, node: &NodeId) {
        if self.awaited.remove(node) && self.awaited.is_empty() {
            self.touch_all();
        }
    }

    pub(super) fn raised(&mut self, replica: Replica) {
        self.members.insert(replica.node.clone(), replica.incarnation);
        self.local = replica;
        self.sequence = 0;
        self.touch_all();
    }

    pub(super) fn noticed(&mut self, unix: u64, notice: Notice, out: &mut Vec<Output>) {
        match notice {
            Notice::Up { replica, .. } | Notice::Renamed { new: replica, .. } => {
                if let Some(book) = self.books.get_mut(&replica.node) {
                    book.failed = false;
                }
                self.met.entry(replica.node.clone()).or_insert(unix);
                if self.members.insert(replica.node, replica.incarnation).is_none() {
                    self.keep_exhausted(out);
                }
            }
            Notice::Departed { replica, reason } if replica.node != self.local.node => {
                self.members.remove(&replica.node);
                self.met.remove(&replica.node);
                self.await_no_more(&replica.node);
                if let Some(book) = self.books.get_mut(&replica.node) {
                    book.failed = true;
                }
                if matches!(reason, Reason::Failed) {
                    self.restate(unix, &replica.node, out);
                }
            }
            Notice::Forgotten { node, fence } => {
                let over = self.members.get(&node).is_some_and(|life| *life <= fence);
                if over && node != self.local.node {
                    self.members.remove(&node);
                    self.met.remove(&node);
                }
                self.await_no_more(&node);
            }
            Notice::Suspect { .. } | Notice::Refuted { .. } | Notice::Departed { .. } => return,
        }
        // Who sends the next try may be somebody else now.
        let tried: Vec<Whom> = self.tries.keys().map(|target| target.whom.clone()).collect();
        for whom in tried {
            self.touch(&whom);
        }
    }

    /// Says anew, as our own, what a node that is gone said, where we are the first by hash.
    fn restate(&mut self, unix: u64, gone: &NodeId, out: &mut Vec<Output>) {
        let Some(book) = self.books.get(gone) else { return };
        let rests: Vec<(Target, RestSaid)> =
            book.rests.iter().map(|(target, rest)| (target.clone(), rest.clone())).collect();
        let parks = book.parks.iter().filter(|(_, park)| park.until > unix);
        let parks: Vec<(Target, ParkSaid)> =
            parks.map(|(target, park)| (target.clone(), *park)).collect();
        let notices = book.notices.iter().filter(|(of, _)| self.is_first_of(of.as_bytes(), gone));
        let notices: Vec<(Arc<str>, NoticeSaid)> =
            notices.map(|(of, said)| (Arc::clone(of), said.clone())).collect();
        for (of, said) in notices {
            self.restate_notice(unix, gone, &of, said, out);
        }
        for (target, rest) in rests {
            self.restate_rest(unix, gone, &target, rest, out);
        }
        for (target, park) in parks {
            let ours = self.books.get(&self.local.node).and_then(|book| book.parks.get(&target));
            let news = ours.is_none_or(|ours| ours.set_at < park.set_at);
            if self.is_first(&target, gone) && news && self.make_room(unix, out) {
                self.say_park(&target, Some(park), out);
            }
        }
    }

    /// Says anew a rest of a node that says it no more, if it still counts and that is our part.
    fn restate_rest(
        &mut self,
        unix: u64,
        gone: &NodeId,
        target: &Target,
        rest: RestSaid,
        out: &mut Vec<Output>,
    ) {
        let ends = rest.rest_until.max(rest.stated_reset.unwrap_or_default());
        let runs = ends > unix.saturating_add(RESTATE_MS) || rest.class.needs_proof();
        let counts = runs && !self.is_voided(target, &rest);
        let ours =
            self.books.get(&self.local.node).and_then(|book| book.rests.get(target)).cloned();
        // P-2: where everybody says one of their own, one word must do for both.
        let ours = ours.filter(|ours| !self.is_voided(target, ours));
        let said = ours.as_ref().map_or_else(|| rest.clone(), |ours| rest::both(ours, &rest));
        let news = ours.as_ref() != Some(&said);
        if counts && news && self.is_first(target, gone) && self.make_room(unix, out) {
            self.say_rest(target, Some(said), out);
        }
    }

    /// Whether a clear in view covers a rest.
    pub(super) fn is_voided(&self, target: &Target, rest: &RestSaid) -> bool {
        let clears = self.books.values().filter_map(|book| book.clears.get(target));
        clears.into_iter().any(|clear| clear.voids(rest))
    }

    /// Whether we are the member with the greatest hash over a target; `gone` is none any more. Whoever says a
    /// rest of its own there has no room for another one's: it comes last.
    fn is_first(&self, target: &Target, gone: &NodeId) -> bool {
        let is_free = |node: &NodeId| {
            let said = self.books.get(node).and_then(|book| book.rests.get(target));
            said.is_none_or(|rest| self.is_voided(target, rest))
        };
        let what = target.to_string();
        let members = self.members.keys().filter(|node| *node != gone);
        members.max_by_key(|node| (is_free(node), rank(what.as_bytes(), node)))
            == Some(&self.local.node)
    }

    /// Says anew that people were told, unless somebody else says so, or later news.
    fn restate_notice(
        &mut self,
        unix: u64,
        gone: &NodeId,
        of: &Arc<str>,
        said: NoticeSaid,
        out: &mut Vec<Output>,
    ) {
        let others = self.books.iter().filter(|(node, _)| *node != gone);
        let later = others.filter_map(|(_, book)| book.notices.get(of)).any(|other| *other >= said);
        let there = pool_of(of).is_some_and(|pool| self.pools.contains_key(&pool));
        if there && !later && self.make_room(unix, out) {
            self.say_notice(of, Some(said), out);
        }
    }

    /// Whether we are the member with the greatest hash over `what`; `gone` is none any more.
    fn is_first_of(&self, what: &[u8], gone: &NodeId) -> bool {
        let members = self.members.keys().filter(|node| *node != gone);
        members.max_by_key(|node| rank(what, node)) == Some(&self.local.node)
    }
}

/// Who comes first about `what` has the greatest; it is the same wherever it is asked.
fn rank(what: &[u8], node: &NodeId) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(what);
    hasher.update(node.as_str().as_bytes());
    *hasher.finalize().as_bytes()
}

/// The pool that a notice is of.
pub(super) fn pool_of(of: &str) -> Option<Name> {
    of.split_once('/')?.0.parse().ok()
}

/// A rest that ends sooner is not worth a word.
const RESTATE_MS: u64 = 60_000;
