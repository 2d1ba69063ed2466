//! The table of others: what SWIM says becomes rows, and rows become notices.
//!
//! ```text
//!          Up                 Departed              Forgotten
//!  (none) ────▶ alive ⇄ suspect ────▶ failed ─────────────▶ (none)
//!                 ▲  Renamed, Up  │                            fenced
//!                 └───────────────┘   ────▶ left, evicted ──▶ (none)
//! ```
//!
//! A notice follows from the difference between a row and what the engine holds now, never from the
//! engine's own events, so nothing it says twice is heard twice (M-14).
//!
//! A node that is only known to be down gets a row, so that an older word cannot bring it up; nobody was
//! told `Up`, so nobody is told `Departed`, and it is not passed on in lists. It is dialled like any other
//! failed node, since whoever told us may have been wrong.

use std::net::SocketAddr;
use std::time::Duration;

use super::swim::{Identity, Known, Seen};
use super::{Burst, Member, Membership, Output, State};
use crate::ids::{Incarnation, NodeId, Notice, Reason, Replica};
use crate::time::Instant;
use crate::wire::Transport;

/// One other node.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) replica: Replica,
    pub(super) born: Incarnation,
    pub(super) address: SocketAddr,
    pub(super) state: State,
    pub(super) since: Instant,
    /// The last life of which `Up` was told.
    pub(super) told: Option<Replica>,
    /// Its death is known and withheld until here: a new process is about to take over.
    pub(super) withheld_until: Option<Instant>,
    /// What it said last, if it said goodbye in this life.
    pub(super) goodbye: Option<Goodbye>,
    pub(super) heard: Heard,
}

/// How a node said goodbye.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goodbye {
    Leaving,
    Restarting,
    /// Somebody else said it for it.
    Evicted,
}

/// When something of a node last arrived, by transport.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heard {
    pub(super) datagram: Instant,
    pub(super) frame: Instant,
    /// A probe by datagram was not answered by datagram.
    pub(super) doubted: bool,
    /// Since when a question by datagram waits for its answer.
    pub(super) asked: Option<Instant>,
    pub(super) missing: Option<Transport>,
}

impl Heard {
    pub(super) fn new(now: Instant) -> Heard {
        Heard { datagram: now, frame: now, doubted: false, asked: None, missing: None }
    }
}

impl Row {
    fn new(identity: &Identity, state: State, now: Instant) -> Row {
        Row {
            replica: identity.replica.clone(),
            born: identity.born,
            address: identity.address,
            state,
            since: now,
            told: None,
            withheld_until: None,
            goodbye: None,
            heard: Heard::new(now),
        }
    }

    pub(super) fn is_member(&self) -> bool {
        matches!(self.state, State::Alive | State::Suspect)
    }

    /// Whether SWIM holds this very life down: nothing that it says counts any more.
    pub(super) fn is_down(&self) -> bool {
        self.state == State::Failed || self.withheld_until.is_some()
    }

    /// Whether this life is over for good.
    pub(super) fn is_closed(&self) -> bool {
        matches!(self.state, State::Left | State::Evicted)
    }

    fn enter(&mut self, state: State, now: Instant) {
        self.state = state;
        self.since = now;
    }
}

impl Membership {
    /// Brings the row of a node to what the engine holds.
    pub(super) fn reconcile(
        &mut self,
        now: Instant,
        identity: Identity,
        seen: Seen,
        out: &mut Vec<Output>,
    ) {
        let node = &identity.replica.node;
        if seen != Seen::Suspect {
            self.swim.settle(node);
        }
        let Some(row) = self.rows.get(node) else {
            self.enter(now, identity, seen, out);
            return;
        };
        if identity.replica.incarnation > row.replica.incarnation {
            self.renew(now, identity, seen, out);
        } else if row.is_member() && row.withheld_until.is_none() {
            self.turn(now, &identity, seen, out);
        }
    }

    /// A node that was unknown.
    fn enter(&mut self, now: Instant, identity: Identity, seen: Seen, out: &mut Vec<Output>) {
        let node = identity.replica.node.clone();
        let state = if seen == Seen::Down { State::Failed } else { State::Alive };
        sometimes!("membership.met_down");
        self.rows.insert(node.clone(), Row::new(&identity, state, now));
        if seen == Seen::Down {
            self.expire(now, &node);
            self.look_for(identity, out);
            out.push(Output::Changed { node });
        } else {
            self.up(now, &identity, seen, out);
        }
    }

    /// Nobody met this life of a node here, so no notice tells that it failed: links hear of it by this.
    fn look_for(&self, identity: Identity, out: &mut Vec<Output>) {
        let Identity { replica, born: _, address } = identity;
        out.push(Output::LookFor { replica, address });
    }

    /// A known node in a newer life.
    fn renew(&mut self, now: Instant, identity: Identity, seen: Seen, out: &mut Vec<Output>) {
        let node = identity.replica.node.clone();
        let (told, was_member) = {
            let row = self.rows.get(&node).expect("a renewed node has a row");
            (row.told.clone(), row.is_member())
        };
        self.departing.remove(&node);
        let mut row = Row::new(&identity, State::Alive, now);
        row.told = told.clone();
        if seen == Seen::Down {
            sometimes!("membership.renewed_and_down");
            row.state = State::Failed;
            self.rows.insert(node.clone(), row);
            self.expire(now, &node);
            if let Some(old) = told.filter(|_| was_member) {
                self.events.failed += 1;
                self.notify(Notice::Departed { replica: old, reason: Reason::Failed }, out);
                self.view_changed(now);
            }
            self.look_for(identity, out);
            out.push(Output::Changed { node });
            return;
        }
        self.rows.insert(node, row);
        if let Some(old) = told {
            sometimes!("membership.renamed");
            let Identity { replica: new, born, address } = identity.clone();
            self.notify(Notice::Renamed { old, new, born, address }, out);
        }
        self.up(now, &identity, seen, out);
    }

    fn up(&mut self, now: Instant, identity: &Identity, seen: Seen, out: &mut Vec<Output>) {
        let Identity { replica, born, address } = identity.clone();
        let row = self.rows.get_mut(&replica.node).expect("whoever comes up has a row");
        row.told = Some(replica.clone());
        self.events.up += 1;
        self.notify(Notice::Up { replica: replica.clone(), born, address }, out);
        if seen == Seen::Suspect {
            sometimes!("membership.met_suspect");
            self.suspect(now, &replica.node, out);
        }
        self.view_changed(now);
        out.push(Output::Changed { node: replica.node });
    }

    /// A member in the life that we know.
    fn turn(&mut self, now: Instant, identity: &Identity, seen: Seen, out: &mut Vec<Output>) {
        let node = &identity.replica.node;
        let row = self.rows.get_mut(node).expect("a member has a row");
        if (row.address, row.born) != (identity.address, identity.born) {
            (row.address, row.born) = (identity.address, identity.born);
            out.push(Output::Changed { node: node.clone() });
        }
        match (row.state, seen) {
            (State::Alive, Seen::Suspect) => self.suspect(now, node, out),
            (State::Suspect, Seen::Alive) => {
                sometimes!("membership.refuted");
                row.enter(State::Alive, now);
                let replica = row.replica.clone();
                self.events.refuted += 1;
                self.notify(Notice::Refuted { replica }, out);
                out.push(Output::Changed { node: node.clone() });
            }
            (_, Seen::Down) => self.depart(now, node, out),
            (_, Seen::Alive | Seen::Suspect) => {}
        }
    }

    fn suspect(&mut self, now: Instant, node: &NodeId, out: &mut Vec<Output>) {
        let row = self.rows.get_mut(node).expect("a suspect has a row");
        sometimes!("membership.suspect");
        row.enter(State::Suspect, now);
        let replica = row.replica.clone();
        self.events.suspect += 1;
        self.notify(Notice::Suspect { replica }, out);
        out.push(Output::Changed { node: node.clone() });
    }

    /// A member is down: it left, or is about to be replaced, or failed. The news that SWIM spreads may
    /// overtake the goodbye on a link that is still up: for a moment nobody is called failed for that.
    fn depart(&mut self, now: Instant, node: &NodeId, out: &mut Vec<Output>) {
        match self.goodbye(node) {
            Some(Goodbye::Leaving) => self.close(now, node, State::Left, out),
            Some(Goodbye::Evicted) => self.close(now, node, State::Evicted, out),
            Some(Goodbye::Restarting) => self.withhold(now, node, self.settings.restart_grace, out),
            None if self.may_yet_say_goodbye(node) => {
                self.withhold(now, node, GOODBYE_GRACE, out);
            }
            None => self.fail(now, node, out),
        }
    }

    /// Whether the link of a member that nobody here suspected is up.
    fn may_yet_say_goodbye(&self, node: &NodeId) -> bool {
        let unsuspected = self.rows.get(node).is_some_and(|row| row.state == State::Alive);
        unsuspected && self.linked.contains(node)
    }

    /// Shows a member that is down as suspect for a while.
    fn withhold(&mut self, now: Instant, node: &NodeId, grace: Duration, out: &mut Vec<Output>) {
        sometimes!("membership.death_withheld", grace == self.settings.restart_grace);
        sometimes!("membership.goodbye_awaited", grace == GOODBYE_GRACE);
        let until = now + grace;
        let row = self.rows.get_mut(node).expect("a member has a row");
        row.withheld_until = Some(until);
        self.expiries.insert((until, node.clone()));
        if row.state == State::Alive {
            self.suspect(now, node, out);
        }
    }

    /// How a node said goodbye in its present life, over its link or in its facts.
    fn goodbye(&self, node: &NodeId) -> Option<Goodbye> {
        let row = self.rows.get(node)?;
        let facts = self.facts.get(node);
        let said = |life: Option<Incarnation>| life == Some(row.replica.incarnation);
        let leaving = facts.is_some_and(|facts| said(facts.leaving));
        let restarting = facts.is_some_and(|facts| said(facts.restarting));
        let told = if leaving {
            Some(Goodbye::Leaving)
        } else {
            restarting.then_some(Goodbye::Restarting)
        };
        row.goodbye.or(told)
    }

    fn fail(&mut self, now: Instant, node: &NodeId, out: &mut Vec<Output>) {
        let row = self.rows.get_mut(node).expect("a member has a row");
        sometimes!("membership.failed");
        row.withheld_until = None;
        row.heard.missing = None;
        row.enter(State::Failed, now);
        let replica = row.replica.clone();
        self.events.failed += 1;
        self.expire(now, node);
        // Before the notice, upon which its link closes.
        self.tell_departed(now, node, out);
        self.notify(Notice::Departed { replica, reason: Reason::Failed }, out);
        self.view_changed(now);
        out.push(Output::Changed { node: node.clone() });
    }

    /// A member left or was evicted: it is fenced at once, and shown for as long as a failed one.
    fn close(&mut self, now: Instant, node: &NodeId, state: State, out: &mut Vec<Output>) {
        let row = self.rows.get_mut(node).expect("whoever goes has a row");
        sometimes!("membership.left", state == State::Left);
        sometimes!("membership.closed_evicted", state == State::Evicted);
        let was_member = row.is_member();
        row.withheld_until = None;
        row.heard.missing = None;
        row.enter(state, now);
        let replica = row.replica.clone();
        self.expire(now, node);
        self.departing.remove(node);
        if was_member {
            let left = state == State::Left;
            let reason = if left { Reason::Left } else { Reason::Evicted };
            self.events.left += u64::from(left);
            self.notify(Notice::Departed { replica: replica.clone(), reason }, out);
            self.view_changed(now);
        }
        self.forget(&replica, out);
        self.swim.remove(now, node);
        out.push(Output::Changed { node: node.clone() });
    }

    /// Nothing of `replica` is accepted any more.
    fn forget(&mut self, replica: &Replica, out: &mut Vec<Output>) {
        let (node, life) = (&replica.node, replica.incarnation);
        if canary!("membership.forgets_fences") || self.fences.raise(node, life) {
            sometimes!("membership.forgotten");
            self.events.forgotten += 1;
            self.persist(out);
            let (node, fence) = (replica.node.clone(), replica.incarnation);
            self.notify(Notice::Forgotten { node, fence }, out);
        }
    }

    /// The news that it left came after the news that it is down.
    pub(super) fn left_after_all(&mut self, now: Instant, owner: &Replica, out: &mut Vec<Output>) {
        let down = self.rows.get(&owner.node).is_some_and(|row| {
            let down = row.state == State::Failed || row.withheld_until.is_some();
            row.replica == *owner && down
        });
        if down && self.goodbye(&owner.node) == Some(Goodbye::Leaving) {
            sometimes!("membership.left_after_all");
            self.close(now, &owner.node, State::Left, out);
        }
    }

    /// `replica` said goodbye over its link.
    pub(super) fn bye(
        &mut self,
        now: Instant,
        replica: &Replica,
        goodbye: Goodbye,
        out: &mut Vec<Output>,
    ) {
        let Some(row) = self.rows.get_mut(&replica.node) else { return };
        if row.replica != *replica || (row.goodbye.is_some() && goodbye != Goodbye::Evicted) {
            return; // The word of an older life, or one that was heard.
        }
        sometimes!("membership.bye");
        row.goodbye = Some(goodbye);
        match goodbye {
            Goodbye::Restarting => {}
            Goodbye::Leaving | Goodbye::Evicted if row.is_member() => {
                let down = row.identity();
                self.swim.learn(now, [Known::down(down)], true);
                if self.rows.get(&replica.node).is_some_and(|row| row.withheld_until.is_some()) {
                    self.depart(now, &replica.node, out);
                }
            }
            Goodbye::Leaving => self.left_after_all(now, replica, out),
            Goodbye::Evicted => self.close(now, &replica.node, State::Evicted, out),
        }
    }

    /// Somebody published that `replica` is evicted.
    pub(super) fn evicted(&mut self, now: Instant, replica: &Replica, out: &mut Vec<Output>) {
        if replica.node == self.identity.replica.node {
            sometimes!("membership.evicted_ourselves");
            self.meet(now, replica.incarnation, None, out);
            return;
        }
        let row = self.rows.get(&replica.node);
        match row.map(|row| (row.replica.clone(), row.state)) {
            None => self.forget(replica, out),
            Some((held, _)) if held.incarnation > replica.incarnation => {}
            Some((_, State::Left | State::Evicted)) => {}
            Some((held, State::Alive | State::Suspect | State::Failed)) => {
                self.bye(now, &held, Goodbye::Evicted, out);
            }
        }
    }

    /// Rows whose time is up.
    pub(super) fn expire_rows(&mut self, now: Instant, out: &mut Vec<Output>) {
        while let Some((at, _)) = self.expiries.first()
            && *at <= now
        {
            let (at, node) = self.expiries.pop_first().expect("it was just seen");
            let Some(row) = self.rows.get(&node) else { continue };
            if row.withheld_until == Some(at) {
                sometimes!("membership.grace_ended");
                self.fail(now, &node, out);
            } else if !row.is_member() && row.since + self.settings.forget_after == at {
                sometimes!("membership.row_expired");
                self.let_go(now, &node, out);
            }
        }
    }

    fn let_go(&mut self, now: Instant, node: &NodeId, out: &mut Vec<Output>) {
        let row = self.rows.remove(node).expect("who is let go has a row");
        self.full = false;
        self.departing.remove(node);
        self.swim.remove(now, node);
        self.forget(&row.replica, out);
        out.push(Output::Changed { node: node.clone() });
    }

    /// Forgets whoever departed longest ago, before its time, for somebody who is here.
    pub(super) fn make_room(&mut self, now: Instant, out: &mut Vec<Output>) -> bool {
        let departed = self.rows.iter().filter(|(_, row)| !row.is_member());
        let eldest = departed.min_by_key(|(_, row)| row.since).map(|(node, _)| node.clone());
        if let Some(node) = &eldest {
            self.let_go(now, node, out);
        }
        eldest.is_some()
    }

    fn expire(&mut self, now: Instant, node: &NodeId) {
        self.expiries.insert((now + self.settings.forget_after, node.clone()));
    }

    fn notify(&mut self, notice: Notice, out: &mut Vec<Output>) {
        out.push(Output::Notice(notice));
    }

    /// Notes that the set of members changed.
    fn view_changed(&mut self, now: Instant) {
        let burst = self.burst.get_or_insert(Burst { first: now, last: now });
        burst.last = now;
    }

    pub(super) fn end_burst(&mut self, now: Instant, out: &mut Vec<Output>) {
        if let Some(burst) = self.burst.take_if(|burst| burst.last + BURST_GAP <= now) {
            out.push(Output::Converged { took: burst.last.since(burst.first) });
        }
    }

    pub(super) fn own_member(&self) -> Member {
        let Identity { replica, born, address } = self.identity.clone();
        let facts = self.facts.get(&replica.node);
        Member {
            facts: facts.map(|facts| facts.entries.clone()).unwrap_or_default(),
            node: replica.node,
            incarnation: replica.incarnation,
            born,
            state: State::Alive,
            address,
            since: self.since,
            local: true,
            missing: None,
        }
    }

    pub(super) fn published(&self, row: &Row) -> Member {
        let facts = self.facts.get(&row.replica.node);
        Member {
            node: row.replica.node.clone(),
            incarnation: row.replica.incarnation,
            born: row.born,
            state: row.state,
            address: row.address,
            since: row.since,
            local: false,
            facts: facts.map(|facts| facts.entries.clone()).unwrap_or_default(),
            missing: row.heard.missing,
        }
    }
}

impl Row {
    pub(super) fn identity(&self) -> Identity {
        Identity { replica: self.replica.clone(), born: self.born, address: self.address }
    }
}

/// How long the goodbye of a member whose link is up may come after the news that it is down.
const GOODBYE_GRACE: Duration = Duration::from_secs(1);
/// Silence that ends a burst of changes.
pub(super) const BURST_GAP: Duration = Duration::from_secs(1);
