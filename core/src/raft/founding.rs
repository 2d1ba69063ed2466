//! Founding: how several nodes begin one log, and never two.
//!
//! ```text
//! proposer                              everybody asked: the voters, and every member behind a seed
//!   │ unchanged for 50 ticks: N are willing,
//!   │ every seed is a member, none has a log
//!   │ promise to itself, durable
//!   ├── Propose ───────────────────────▶ promise, durable, if there is none for another
//!   │◀────────────────────── Promised ──┤
//!   │ all of them: formed, durable
//!   ├── Formed ────────────────────────▶ formed, durable: begin
//!   │◀───────────────────────── Begun ──┤
//!   │ or one is missing for 10 s, or denied: the promise goes, durably, then
//!   └── Withdrawn ─────────────────────▶ the promise goes
//! ```
//!
//! A promise is exclusive and ends by its proposer's durable withdrawal alone: the same disk says so, or
//! nobody. Whoever has promised and hears nothing inquires, of the proposer and of all who would vote: that a
//! log was formed may be told by anybody who knows. So of two logs that share a seed, the seed has promised
//! one, whatever is cut and whoever dies.
//!
//! Invariants:
//! - RF-9: nodes that share a cluster and a seed begin at most one log.
//!
//! Absent on purpose: the log; the way by which a promise is made durable; an operator's way out where the
//! proposer's disk is gone (the copy on the store of a stopped node is dropped).

mod view;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Genesis;
use crate::ids::{MemberId, NodeId};
use crate::machine::Wake;
use crate::random::Rng;
use crate::time::Instant;

pub(super) use crate::wire::founding::{Founding, Promise, Word};
pub(super) use view::{Founder, State, View};

/// What can happen to a founder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Input {
    /// What is known of the others, now and until told otherwise.
    View(View),
    /// Another node says something.
    Peer { from: NodeId, word: Word },
    /// The promise, or that there is none, is durable.
    Stored { number: u64 },
    /// `next_wake` has passed.
    Tick,
}

/// What a founder asks of the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Output {
    /// Tell another node.
    Send { to: NodeId, word: Word },
    /// Make this durable; answered by `Stored`, in order.
    Store { number: u64, promise: Promise },
    /// Begin this log, unless it is here already. Said again after a restart.
    Begin(Founding),
}

/// One node on the way to a log.
#[derive(Debug, Clone)]
pub(super) struct Founders {
    member: MemberId,
    node: NodeId,
    /// How long everything must have been as it is before a log is proposed.
    still_for: Duration,
    rng: Rng,
    view: View,
    unchanged_since: Instant,
    promise: Promise,
    /// Promises on their way to the disk, and what is said once they are there.
    storing: BTreeMap<u64, Vec<Output>>,
    stored: u64,
    /// Our own proposal, while somebody is asked or told.
    asking: Option<Asking>,
    /// After a withdrawal nothing is proposed until then.
    rests_until: Instant,
    /// When the next word is repeated.
    repeats_at: Option<Instant>,
    pub(super) counts: Counts,
}

/// How far our proposal is.
#[derive(Debug, Clone)]
struct Asking {
    waited_for: BTreeSet<NodeId>,
    /// When it is given up; never once it is formed.
    until: Option<Instant>,
}

/// What is only counted.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) proposed: u64,
    pub(super) formed: u64,
    pub(super) withdrawn: u64,
    pub(super) promised: u64,
    pub(super) denied: u64,
}

impl Founders {
    /// The founder on `node`, whose log would be `member`, with the promise that its disk holds.
    pub(super) fn new(
        (member, node): (MemberId, NodeId),
        promise: Promise,
        still_for: Duration,
        now: Instant,
        rng: Rng,
    ) -> Founders {
        let repeats_at = promise.to.as_ref().map(|_| now + REPEATED_AFTER);
        Founders {
            member,
            node,
            still_for,
            rng,
            view: View::default(),
            unchanged_since: now,
            promise,
            storing: BTreeMap::new(),
            stored: 0,
            asking: None,
            rests_until: now,
            repeats_at,
            counts: Counts::default(),
        }
    }

    /// Applies one input to the end.
    pub(super) fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::View(view) if view != self.view => {
                self.view = view;
                self.unchanged_since = now;
            }
            Input::View(_) => {}
            Input::Peer { from, word } => self.hear(now, from, word, out),
            Input::Stored { number } => {
                out.extend(self.storing.remove(&number).unwrap_or_default());
            }
            Input::Tick => self.tick(now, out),
        }
    }

    /// When `Tick` would next change something.
    pub(super) fn next_wake(&self) -> Option<Wake> {
        let wake = |at, what| Wake { at, what };
        let proposes = self.may_propose().then(|| self.proposes_at());
        let gives_up = self.asking.as_ref().and_then(|asking| asking.until);
        [
            proposes.map(|at| wake(at, "a log may be proposed")),
            gives_up.map(|at| wake(at, "a promise is missing")),
            self.repeats_at.map(|at| wake(at, "a word about a log is repeated")),
        ]
        .into_iter()
        .fold(None, Wake::earlier)
    }

    /// Whether the view still matters: there is no log here, or others are being told of it.
    pub(super) fn looks(&self) -> bool {
        self.asking.is_some() || self.repeats_at.is_some() || !self.view.is_in(&self.node)
    }

    /// Whether a log is known, here or elsewhere.
    pub(super) fn sees_a_log(&self) -> bool {
        self.view.has_log
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<Output>) {
        let given_up = self.asking.as_ref().and_then(|asking| asking.until);
        if given_up.is_some_and(|until| until <= now) {
            self.withdraw(now, out);
        }
        if self.may_propose() && self.proposes_at() <= now {
            self.propose(now, out);
        }
        if self.repeats_at.is_some_and(|at| at <= now) {
            self.repeat(now, out);
        }
    }

    /// Whether it is for us to propose, as soon as nothing has changed for a while.
    fn may_propose(&self) -> bool {
        self.promise.to.is_none() && self.view.proposer() == Some((self.member, self.node.clone()))
    }

    fn proposes_at(&self) -> Instant {
        (self.unchanged_since + self.still_for).max(self.rests_until)
    }

    fn propose(&mut self, now: Instant, out: &mut Vec<Output>) {
        let high = u128::from(self.rng.word()) << 64;
        let founding = Founding {
            genesis: Genesis(high | u128::from(self.rng.word())),
            proposer: (self.member, self.node.clone()),
            voters: self.view.voters().into(),
            voters_max: self.view.voters_max,
        };
        self.counts.proposed += 1;
        self.start_asking(&founding, Some(now + GIVEN_UP_AFTER));
        self.repeats_at = Some(now + REPEATED_AFTER);
        let words = self.to_all_asked(&Word::Propose(founding.clone()));
        self.promise = Promise { to: Some(founding), formed: false };
        self.store(words, out);
        self.promised(now, &self.node.clone(), out);
    }

    /// Sets up whose answers are waited for.
    fn start_asking(&mut self, founding: &Founding, until: Option<Instant>) {
        let voters = founding.voters.iter().map(|(_, node)| node.clone());
        let mut waited_for: BTreeSet<NodeId> = voters.collect();
        waited_for.extend(self.view.behind_seeds.iter().flatten().cloned());
        waited_for.insert(self.node.clone());
        self.asking = Some(Asking { waited_for, until });
    }

    fn to_all_asked(&self, word: &Word) -> Vec<Output> {
        let asked = self.asking.iter().flat_map(|asking| &asking.waited_for);
        let others = asked.filter(|node| **node != self.node);
        others.map(|to| Output::Send { to: to.clone(), word: word.clone() }).collect()
    }

    fn hear(&mut self, now: Instant, from: NodeId, word: Word, out: &mut Vec<Output>) {
        match word {
            Word::Propose(founding) => self.asked(now, from, founding, out),
            Word::Promised { genesis, member } => {
                let names = |voter: &(MemberId, NodeId)| voter.1 != from || voter.0 == member;
                // A voter whose disk is new is another voter: its promise is not the one we need.
                if self.asks_for(genesis).is_some_and(|ours| ours.voters.iter().all(names)) {
                    self.promised(now, &from, out);
                }
            }
            Word::Denied { genesis } => {
                if self.asks_for(genesis).is_some() {
                    self.withdraw(now, out);
                }
            }
            Word::Withdrawn { genesis } => {
                let theirs = self.promise_of(genesis).is_some_and(|one| one.proposer.1 == from);
                if theirs && !self.promise.formed && from != self.node {
                    self.promise = Promise::default();
                    self.repeats_at = None;
                    self.store(Vec::new(), out);
                }
            }
            Word::Formed(founding) => self.told_formed(from, &founding, out),
            Word::Begun { genesis } => {
                if self.promise_of(genesis).is_some() && self.promise.formed {
                    self.begun(&from);
                }
            }
            Word::Inquire { genesis, proposer } => self.inquired(from, genesis, proposer, out),
        }
    }

    /// Somebody wants our promise.
    fn asked(&mut self, now: Instant, from: NodeId, founding: Founding, out: &mut Vec<Output>) {
        let (genesis, member) = (founding.genesis, self.member);
        let yes = Output::Send { to: from.clone(), word: Word::Promised { genesis, member } };
        // A proposal that names a former disk of ours is for somebody who is no more.
        let names = |voter: &(MemberId, NodeId)| voter.1 != self.node || voter.0 == member;
        let known = founding.voters.iter().all(names);
        let free = known && self.promise.to.is_none() && !self.view.has_log;
        if self.promise_of(genesis).is_some() {
            self.say_when_stored(yes, out);
        } else if free && founding.proposer.1 == from {
            self.counts.promised += 1;
            self.promise = Promise { to: Some(founding), formed: false };
            self.repeats_at = Some(now + INQUIRED_AFTER);
            self.store(vec![yes], out);
        } else {
            self.counts.denied += 1;
            out.push(Output::Send { to: from, word: Word::Denied { genesis } });
        }
    }

    /// One more has promised; with all of them the log is formed.
    fn promised(&mut self, now: Instant, from: &NodeId, out: &mut Vec<Output>) {
        let Some(asking) = &mut self.asking else { return };
        if self.promise.formed || !asking.waited_for.remove(from) || !asking.waited_for.is_empty() {
            return;
        }
        let Some(founding) = self.promise.to.clone() else { return };
        self.counts.formed += 1;
        self.promise.formed = true;
        self.start_asking(&founding, None);
        self.repeats_at = Some(now + REPEATED_AFTER);
        let mut words = self.to_all_asked(&Word::Formed(founding.clone()));
        words.extend(self.begin(&founding));
        self.begun(&self.node.clone());
        self.store(words, out);
    }

    /// Everybody has promised, says the proposer whom we have promised, or another who was told.
    fn told_formed(&mut self, from: NodeId, founding: &Founding, out: &mut Vec<Output>) {
        let genesis = founding.genesis;
        if self.promise_of(genesis).is_none_or(|ours| ours != founding) {
            return; // Of a life of this node that promised and is no more.
        }
        let begun = Output::Send { to: from, word: Word::Begun { genesis } };
        if self.promise.formed {
            self.say_when_stored(begun, out);
            return;
        }
        self.promise.formed = true;
        self.repeats_at = None;
        let mut words = vec![begun];
        words.extend(self.begin(founding));
        self.store(words, out);
    }

    /// Whoever votes begins.
    fn begin(&self, founding: &Founding) -> Option<Output> {
        let votes = founding.voters.iter().any(|(member, _)| *member == self.member);
        votes.then(|| Output::Begin(founding.clone()))
    }

    fn begun(&mut self, node: &NodeId) {
        let Some(asking) = &mut self.asking else { return };
        asking.waited_for.remove(node);
        if asking.waited_for.is_empty() {
            self.asking = None;
            self.repeats_at = None;
        }
    }

    /// Somebody who has promised wants to know what became of it. That it was formed, everybody may say who
    /// knows; that it was withdrawn, only the disk that proposed it.
    fn inquired(
        &mut self,
        from: NodeId,
        genesis: Genesis,
        proposer: MemberId,
        out: &mut Vec<Output>,
    ) {
        let word = match self.promise_of(genesis) {
            Some(founding) if self.promise.formed => Word::Formed(founding.clone()),
            None if proposer == self.member => Word::Withdrawn { genesis },
            Some(_) | None => return,
        };
        self.say_when_stored(Output::Send { to: from, word }, out);
    }

    /// Withdraws our proposal: durably first, then everybody may promise another.
    fn withdraw(&mut self, now: Instant, out: &mut Vec<Output>) {
        let Some(founding) = self.promise.to.clone() else { return };
        self.counts.withdrawn += 1;
        self.start_asking(&founding, None);
        let words = self.to_all_asked(&Word::Withdrawn { genesis: founding.genesis });
        self.asking = None;
        self.repeats_at = None;
        self.promise = Promise::default();
        self.rests_until = now + self.rng.between(RETRY_MIN, RETRY_MAX);
        self.store(words, out);
    }

    /// Says again what may have been lost.
    fn repeat(&mut self, now: Instant, out: &mut Vec<Output>) {
        let Some(founding) = self.promise.to.clone() else { return };
        if founding.proposer.0 == self.member {
            self.ask_again(now, &founding, out);
        } else if self.promise.formed {
            self.repeats_at = None;
            out.extend(self.begin(&founding)); // After a restart.
        } else {
            let is_in = self.view.is_in(&self.node);
            self.repeats_at = (!is_in).then_some(now + INQUIRED_AFTER);
            self.inquire(&founding, out);
        }
    }

    fn inquire(&mut self, founding: &Founding, out: &mut Vec<Output>) {
        let (genesis, (proposer, home)) = (founding.genesis, founding.proposer.clone());
        let voters = founding.voters.iter().map(|(_, node)| node.clone());
        let mut asked: BTreeSet<NodeId> = voters.chain([home]).collect();
        asked.remove(&self.node);
        for to in asked {
            let word = Word::Inquire { genesis, proposer };
            self.say_when_stored(Output::Send { to, word }, out);
        }
    }

    /// The proposal is ours: whoever has not answered is asked, or told, once more.
    fn ask_again(&mut self, now: Instant, founding: &Founding, out: &mut Vec<Output>) {
        if self.asking.is_none() {
            // After a restart. Who was asked beside the voters is forgotten, so what was not formed is
            // withdrawn.
            if !self.promise.formed {
                self.withdraw(now, out);
                return;
            }
            self.start_asking(founding, None);
            out.extend(self.begin(founding));
            self.begun(&self.node.clone());
        }
        let formed = self.promise.formed;
        let founding = founding.clone();
        let word = if formed { Word::Formed(founding) } else { Word::Propose(founding) };
        let Some(asking) = &mut self.asking else { return };
        // Who is away asks for itself when it is back.
        let here = |node: &NodeId| self.view.founders.contains_key(node) && !self.view.is_in(node);
        asking.waited_for.retain(|node| !formed || here(node));
        if asking.waited_for.is_empty() {
            self.asking = None;
            self.repeats_at = None;
            return;
        }
        self.repeats_at = Some(now + REPEATED_AFTER);
        for word in self.to_all_asked(&word) {
            self.say_when_stored(word, out);
        }
    }

    fn promise_of(&self, genesis: Genesis) -> Option<&Founding> {
        self.promise.to.as_ref().filter(|founding| founding.genesis == genesis)
    }

    /// Our own proposal, while promises for it are waited for.
    fn asks_for(&self, genesis: Genesis) -> Option<&Founding> {
        let waits = self.asking.is_some() && !self.promise.formed;
        self.promise_of(genesis).filter(|one| waits && one.proposer.0 == self.member)
    }

    fn store(&mut self, words: Vec<Output>, out: &mut Vec<Output>) {
        self.stored += 1;
        self.storing.insert(self.stored, words);
        out.push(Output::Store { number: self.stored, promise: self.promise.clone() });
    }

    /// Says `word` now, or behind what is on its way to the disk.
    fn say_when_stored(&mut self, word: Output, out: &mut Vec<Output>) {
        match self.storing.last_entry() {
            Some(mut last) => last.get_mut().push(word),
            None => out.push(word),
        }
    }
}

/// Ticks for which everything must have been as it is before a log is proposed: five seconds by default.
pub(super) const STILL_TICKS: u32 = 50;
const GIVEN_UP_AFTER: Duration = Duration::from_secs(10);
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(5);
const REPEATED_AFTER: Duration = Duration::from_secs(1);
const INQUIRED_AFTER: Duration = Duration::from_secs(5);
