//! What the maps of a node say of pools: the oracle's own reading, word by word, without anything that the
//! node's pools keep.
//!
//! | when `rest_until` passes | then (`pools.md` §7) |
//! | --- | --- |
//! | `stated_reset` still ahead | half-open until it passes |
//! | a quota, or a second throttle in a row, without a stated wait | half-open for `half_open_max` |
//! | money, credential, permission, model | half-open until somebody proves otherwise |
//! | anything else | over |

use std::collections::{BTreeMap, BTreeSet};

use quorate_core::ids::{CredentialHandle, Incarnation, NodeId, Replica};
use quorate_core::node::pools::said::{
    ClearSaid, DemandSaid, Origin, ParkSaid, ProbeSaid, RestSaid,
};
use quorate_core::node::pools::view::RestView;
use quorate_core::node::pools::{Class, Pool};
use quorate_core::node::replica::Maps;
use quorate_core::wire::Blob;
use quorate_core::wire::segment::{Key, Topic};
use serde::de::DeserializeOwned;

/// Everything that one author says, by target.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// Whose map is shown.
    pub(super) shown: Option<Replica>,
    /// What tells its present state from any other.
    sign: Vec<(Replica, u64, u64, u64, usize)>,
    pub(super) rests: BTreeMap<String, RestSaid>,
    pub(super) clears: BTreeMap<String, ClearSaid>,
    pub(super) parks: BTreeMap<String, ParkSaid>,
    /// With the Unix ms at which this very word was first seen.
    pub(super) demands: BTreeMap<String, (DemandSaid, u64)>,
    pub(super) probes: BTreeMap<String, (ProbeSaid, u64)>,
}

/// The rest of a target, as all maps together say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rest {
    pub(super) class: Class,
    pub(super) rest_until: u64,
    pub(super) stated_reset: Option<u64>,
    pub(super) n: u32,
    pub(super) since: u64,
}

/// What a rest amounts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// It covers nothing any more.
    Servable,
    /// One request in the fleet may try.
    HalfOpen,
    /// Nobody may.
    Rests,
}

/// A rest that is said no more, or was said otherwise.
#[derive(Debug)]
pub(super) struct Unsaid {
    pub(super) target: String,
    pub(super) by: NodeId,
    pub(super) rest: RestSaid,
    /// Whether another life's map is shown, or none.
    pub(super) life_over: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Words {
    pub(super) books: BTreeMap<NodeId, Book>,
    /// What rests, by target.
    pub(super) rests: BTreeMap<String, Rest>,
    /// Until when members are set aside, by target.
    pub(super) parks: BTreeMap<String, u64>,
}

impl Words {
    /// Nothing is remembered of anybody but `own`.
    pub(super) fn forget_others(&mut self, own: &NodeId) {
        self.books.retain(|node, _| node == own);
        self.fold();
    }

    /// Whether an operator wants a target tried: not once that was, nor for longer than demand is good for.
    pub(super) fn asked(&self, target: &str, unix: u64) -> bool {
        let said = self.books.values().filter_map(|book| book.probes.get(target));
        let spent = said.filter(|(said, _)| said.spent).map(|(_, seen)| *seen);
        let used_at = spent.max();
        let mut demands = self.books.values().filter_map(|book| book.demands.get(target));
        demands.any(|(said, seen)| {
            said.asked && unix < seen.saturating_add(DEMAND_MS) && Some(*seen) > used_at
        })
    }

    /// Reads the maps that moved; what was said before and is said no more, if anything moved.
    pub(super) fn read(&mut self, maps: &Maps, unix: u64) -> Option<Vec<Unsaid>> {
        let mut signs: BTreeMap<NodeId, Vec<_>> = BTreeMap::new();
        for row in maps.maps().filter(|row| row.topic == Topic::POOLS) {
            let (progress, node) = (row.progress, row.replica.node.clone());
            let sign =
                (row.replica, progress.complete, progress.head, progress.floor, row.doubtful);
            signs.entry(node).or_default().push(sign);
        }
        let gone: BTreeSet<NodeId> =
            self.books.keys().filter(|node| !signs.contains_key(*node)).cloned().collect();
        let mut unsaid = Vec::new();
        let mut moved = !gone.is_empty();
        for node in gone {
            let book = self.books.remove(&node).unwrap_or_default();
            let rests = book.rests.into_iter();
            unsaid.extend(rests.map(|(target, rest)| Unsaid {
                target,
                by: node.clone(),
                rest,
                life_over: true,
            }));
        }
        for (node, sign) in signs {
            let shown = maps.owner(Topic::POOLS, &node);
            let before = self.books.get(&node);
            if before.is_some_and(|book| book.sign == sign && book.shown.as_ref() == shown) {
                continue;
            }
            moved = true;
            let before = self.books.remove(&node).unwrap_or_default();
            let mut book = Book { shown: shown.cloned(), sign, ..Book::default() };
            for (key, value) in maps.visible(Topic::POOLS, &node) {
                book.read(unix, &before, key, value);
            }
            let life_over = book.shown != before.shown;
            for (target, rest) in before.rests {
                if book.rests.get(&target) != Some(&rest) {
                    unsaid.push(Unsaid { target, by: node.clone(), rest, life_over });
                }
            }
            self.books.insert(node, book);
        }
        moved.then(|| {
            self.fold();
            unsaid
        })
    }

    /// What all maps together say.
    fn fold(&mut self) {
        self.rests.clear();
        self.parks.clear();
        let mut longest: BTreeMap<&String, (u64, u64, &str, &NodeId)> = BTreeMap::new();
        let books = &self.books;
        let void = |target: &String, rest: &RestSaid| {
            let clears = books.values().filter_map(|book| book.clears.get(target));
            clears.into_iter().any(|clear| clear.covers.iter().any(|one| covers(one, &rest.origin)))
        };
        for (author, book) in books {
            for (target, rest) in book.rests.iter().filter(|(target, rest)| !void(target, rest)) {
                let rank = (rest.rest_until, rest.since, &*rest.source, author);
                let folded = self.rests.entry(target.clone()).or_insert_with(|| Rest::of(rest));
                if longest.get(target).is_none_or(|one| *one < rank) {
                    longest.insert(target, rank);
                    (folded.class, folded.rest_until, folded.since) =
                        (rest.class, rest.rest_until, rest.since);
                }
                folded.stated_reset = folded.stated_reset.max(rest.stated_reset);
                folded.n = folded.n.max(rest.n);
            }
        }
        let mut latest: BTreeMap<&String, (u64, &NodeId)> = BTreeMap::new();
        for (author, book) in books {
            for (target, park) in &book.parks {
                let rank = (park.set_at, author);
                if latest.get(target).is_none_or(|one| *one < rank) {
                    latest.insert(target, rank);
                    self.parks.insert(target.clone(), park.until);
                }
            }
        }
    }

    /// How a member of a pool stands for a model (empty: none is known) at a moment, Unix ms. `also` rests as well,
    /// by target: what is nobody else's business is in no map.
    pub(super) fn standing(
        &self,
        at: Moment,
        pool: &Pool,
        of: (CredentialHandle, u64),
        model: &str,
        also: &[(String, Rest)],
    ) -> Standing {
        let common = std::ptr::eq(pool.lane(Some(model)), pool.lane(None));
        let counts = |target: &str| {
            let elsewhere = || common && is_of(target, of) && !has_lane(pool, target);
            speaks_of(target, of, model) || elsewhere()
        };
        let known = self.rests.iter().filter(|(target, _)| counts(target));
        let also = also.iter().filter(|(target, _)| counts(target));
        let all = known.map(|(_, rest)| rest).chain(also.map(|(_, rest)| rest));
        all.map(|rest| rest.standing(at)).max().unwrap_or(Standing::Servable)
    }

    /// Until when a member is set aside, if it is.
    pub(super) fn parked(&self, unix: u64, (handle, epoch): (CredentialHandle, u64)) -> bool {
        let until = self.parks.get(&format!("{handle}/{epoch}/*"));
        until.is_some_and(|until| unix < *until)
    }
}

/// When, by the clock of a node, and by the numbers of a pool.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    /// Unix ms.
    pub(super) unix: u64,
    /// For how long a rest is half-open that nobody tries.
    pub(super) half_open_max: u64,
}

impl Rest {
    /// As a node shows it.
    pub(super) fn shown(view: &RestView) -> Rest {
        let RestView { class, rest_until, stated_reset, n, since, .. } = view;
        Rest {
            class: *class,
            rest_until: *rest_until,
            stated_reset: *stated_reset,
            n: *n,
            since: *since,
        }
    }

    fn of(said: &RestSaid) -> Rest {
        Rest {
            class: said.class,
            rest_until: said.rest_until,
            stated_reset: said.stated_reset,
            n: said.n,
            since: said.since,
        }
    }

    /// Whether `shown` is what is left of it where a clock is far behind its author's: a stated wait of 31 d is
    /// beyond what may be believed there.
    pub(super) fn is_cut_to(&self, shown: &Rest) -> bool {
        let far = self.since.saturating_add(STATED_MS_MAX - CLOCKS_APART_MS);
        let cut = self.stated_reset >= Some(far) && shown.stated_reset <= self.stated_reset;
        cut && Rest { stated_reset: self.stated_reset, ..shown.clone() } == *self
    }

    /// What it amounts to.
    pub(super) fn standing(&self, at: Moment) -> Standing {
        if at.unix < self.rest_until {
            return Standing::Rests;
        }
        match self.half_open_until(at) {
            Some(until) if at.unix < until => Standing::HalfOpen,
            _ => Standing::Servable,
        }
    }

    /// Until when one try is allowed once the rest is over: for ever, if no timer ends that.
    fn half_open_until(&self, at: Moment) -> Option<u64> {
        let doubtful = match self.class {
            Class::Billing
            | Class::AuthFailed
            | Class::PermissionDenied
            | Class::ModelUnavailable => return Some(u64::MAX),
            Class::QuotaExhausted => self.stated_reset.is_none(),
            Class::RateLimited => self.stated_reset.is_none() && self.n >= 2,
            Class::Overloaded | Class::Transient | Class::ClientError | Class::Ok => false,
        };
        let untried = doubtful.then(|| self.rest_until.saturating_add(at.half_open_max));
        untried.or(self.stated_reset)
    }

    /// When time alone makes something else of it.
    pub(super) fn next_change(&self, at: Moment) -> Option<u64> {
        match self.standing(at) {
            Standing::Rests => Some(self.rest_until),
            Standing::HalfOpen => self.half_open_until(at).filter(|until| *until < u64::MAX),
            Standing::Servable => None,
        }
    }
}

/// The clocks of a run are at most so far apart, in ms.
const CLOCKS_APART_MS: u64 = 2 * 86_400_000;
/// A stated wait is believed for so long at most.
pub(super) const STATED_MS_MAX: u64 = 2_678_400_000;

impl Book {
    fn read(&mut self, unix: u64, before: &Book, key: &Key, value: &Blob) {
        fn take<T: DeserializeOwned>(into: &mut BTreeMap<String, T>, target: &str, value: &Blob) {
            into.extend(serde_json::from_slice(value).ok().map(|said| (target.to_owned(), said)));
        }
        fn seen<T: DeserializeOwned + PartialEq>(
            into: &mut BTreeMap<String, (T, u64)>,
            before: &BTreeMap<String, (T, u64)>,
            (target, value): (&str, &Blob),
            unix: u64,
        ) {
            let Ok(said) = serde_json::from_slice::<T>(value) else { return };
            let same = before.get(target).filter(|(one, _)| *one == said);
            let at = same.map_or(unix, |(_, at)| *at);
            into.insert(target.to_owned(), (said, at));
        }
        match key.split_once('/') {
            Some(("r", target)) => take(&mut self.rests, target, value),
            Some(("c", target)) => take(&mut self.clears, target, value),
            Some(("k", target)) => take(&mut self.parks, target, value),
            Some(("d", target)) => seen(&mut self.demands, &before.demands, (target, value), unix),
            Some(("p", target)) => seen(&mut self.probes, &before.probes, (target, value), unix),
            _ => {}
        }
    }
}

/// Whether what a clear names covers a rest of that origin.
pub(super) fn covers(named: &Origin, origin: &Origin) -> bool {
    (&named.node, named.incarnation) == (&origin.node, origin.incarnation)
        && origin.sequence <= named.sequence
}

/// Whether a target is of a member, and of a model.
pub(super) fn speaks_of(target: &str, of: (CredentialHandle, u64), model: &str) -> bool {
    is_of(target, of)
        && match reach(target) {
            Some(("m", one)) => one == model,
            Some((_, family)) => {
                model.split(['-', '_', '.', '/', ':', '@']).any(|word| word == family)
            }
            None => true,
        }
}

/// Whether a target is of a member.
fn is_of(target: &str, of: (CredentialHandle, u64)) -> bool {
    let mut parts = target.splitn(3, '/');
    let (subject, epoch) = (parts.next(), parts.next());
    let own = subject == Some(&*of.0.to_string()) && epoch == Some(&*of.1.to_string());
    // Accounts of a run are all at one provider, and of no group.
    own || subject.is_some_and(|subject| subject.starts_with("p:"))
}

/// Of which kind of name a target is, and of which; nothing where it is of all models.
pub(super) fn reach(target: &str) -> Option<(&str, &str)> {
    target.splitn(3, '/').nth(2)?.split_once(':')
}

/// Whether a request for what a target names uses a lane of that name. Where a pool has as many lanes as it may have,
/// what rests for another name counts in the common one.
fn has_lane(pool: &Pool, target: &str) -> bool {
    reach(target).is_none_or(|(_, name)| pool.views.iter().any(|view| *view.model == *name))
}

/// Everything that anybody ever said to be over, and which word took the place of which.
#[derive(Debug, Default)]
pub(super) struct Cleared {
    /// By target, for each life through which of its words.
    through: BTreeMap<String, BTreeMap<(NodeId, Incarnation), u64>>,
    /// By who says it and of what.
    said: BTreeMap<NodeId, BTreeMap<String, Said>>,
}

/// What one node says of one target.
#[derive(Debug, Default)]
struct Said {
    present: Option<Origin>,
    /// Of each word before, the one that it gave way to.
    after: BTreeMap<Origin, Origin>,
}

impl Said {
    fn say(&mut self, word: &Origin) {
        let before = self.present.replace(word.clone());
        if let Some(before) = before.filter(|before| before != word) {
            self.after.insert(before, word.clone());
        }
    }
}

impl Cleared {
    /// Takes in what a node says in its own map.
    pub(super) fn note(&mut self, by: &NodeId, own: &Book) {
        for (target, clear) in &own.clears {
            let lives = self.through.entry(target.clone()).or_default();
            for one in &clear.covers {
                let through = lives.entry((one.node.clone(), one.incarnation)).or_default();
                *through = (*through).max(one.sequence);
            }
        }
        let said = self.said.entry(by.clone()).or_default();
        let gone = said.iter_mut().filter(|(target, _)| !own.rests.contains_key(*target));
        gone.for_each(|(_, of)| of.present = None);
        for (target, rest) in &own.rests {
            said.entry(target.clone()).or_default().say(&rest.origin);
        }
    }

    /// Takes in what a node wrote in a turn: a word may have come and gone before anybody could see it.
    pub(super) fn wrote(&mut self, by: &NodeId, key: &str, value: &Blob) {
        let Some(target) = key.strip_prefix("r/") else { return };
        let Ok(rest) = serde_json::from_slice::<RestSaid>(value) else { return };
        let said = self.said.entry(by.clone()).or_default();
        said.entry(target.to_owned()).or_default().say(&rest.origin);
    }

    /// Whether a rest that `by` said was said to be over, or the word that `by` said in its place: who says one of its
    /// own and hears of another's that lasts longer may say that one instead, and one row has room for one.
    pub(super) fn has(&self, by: &NodeId, target: &str, origin: &Origin) -> bool {
        let said = self.said.get(by).and_then(|said| said.get(target));
        let after = |origin: &Origin| said.and_then(|said| said.after.get(origin));
        let words = std::iter::successors(Some(origin), |origin| after(origin));
        let most = 1 + said.map_or(0, |said| said.after.len());
        words.take(most).any(|word| self.covers(target, word))
    }

    fn covers(&self, target: &str, origin: &Origin) -> bool {
        let life = (origin.node.clone(), origin.incarnation);
        let through = self.through.get(target).and_then(|lives| lives.get(&life));
        through.is_some_and(|through| origin.sequence <= *through)
    }
}

/// How long demand is good for: `pools.md` §7.
pub(super) const DEMAND_MS: u64 = 60_000;
