//! Where the ladder meets the group: the leader looks, plans, and takes the first step.
//!
//! Planning waits until membership has been still for a while; what follows a step is planned after that is
//! applied. A step that comes to nothing is planned anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::ladder::{self, Facts, Member, Node, Place, Standing, Step, View};
use super::{Genesis, MemberId, NodeId, Notice, Raft, Reason};
use crate::limits;
use crate::time::Instant;
use crate::wire::raft::{Change, ChangeStep};

/// What a leader knows of others, and when it looks again.
#[derive(Debug)]
pub(super) struct Ladder {
    standings: BTreeMap<NodeId, (Standing, Instant)>,
    linked: BTreeSet<NodeId>,
    /// Nodes without a link, and since when.
    unlinked: BTreeMap<NodeId, Instant>,
    caught_up: BTreeMap<MemberId, Instant>,
    planned_at: Instant,
    plan_at: Instant,
    /// The last plan, in words, and whether nothing is due.
    pub(super) plan: Vec<String>,
    pub(super) settled: bool,
    /// A test changes the configuration by hand.
    #[cfg(test)]
    pub(super) held: bool,
}

impl Ladder {
    pub(super) fn new(now: Instant) -> Ladder {
        Ladder {
            standings: BTreeMap::new(),
            linked: BTreeSet::new(),
            unlinked: BTreeMap::new(),
            caught_up: BTreeMap::new(),
            planned_at: now,
            plan_at: now,
            plan: Vec::new(),
            settled: false,
            #[cfg(test)]
            held: false,
        }
    }

    /// Membership, facts or settings have changed: look when they have been still, but not never.
    pub(super) fn changed(&mut self, now: Instant) {
        self.settled = false;
        self.plan_at = (now + STILL_FOR).min(self.planned_at + EVERY).max(now);
    }

    /// This node leads from now on.
    pub(super) fn begins(&mut self, now: Instant) {
        self.caught_up.clear();
        self.plan_at = now;
    }

    /// A change of the configuration is in force.
    pub(super) fn applied(&mut self, now: Instant) {
        self.plan_at = now + AFTER_A_STEP;
    }

    /// What became of a replica.
    pub(super) fn notice(&mut self, now: Instant, notice: &Notice) {
        let (node, standing) = match notice {
            Notice::Up { replica, .. } => (&replica.node, Standing::Alive),
            Notice::Renamed { new, .. } => (&new.node, Standing::Alive),
            Notice::Departed { replica, reason: Reason::Failed } => {
                (&replica.node, Standing::Failed(Duration::ZERO))
            }
            Notice::Departed { replica, reason: Reason::Left | Reason::Evicted } => {
                (&replica.node, Standing::Left)
            }
            Notice::Forgotten { node, .. } => {
                self.standings.remove(node);
                self.unlinked.remove(node);
                return self.changed(now);
            }
            Notice::Suspect { .. } | Notice::Refuted { .. } => return,
        };
        if standing == Standing::Alive && !self.linked.contains(node) {
            self.unlinked.entry(node.clone()).or_insert(now);
        }
        self.standings.insert(node.clone(), (standing, now));
        self.changed(now);
    }

    /// A link came up or went.
    pub(super) fn linked(&mut self, now: Instant, node: NodeId, up: bool) {
        if up {
            self.unlinked.remove(&node);
            self.linked.insert(node);
        } else if self.linked.remove(&node) {
            self.unlinked.insert(node, now);
        }
    }

    /// Whether it is time to look: nothing else was to be waited for, or a node that failed has just been given time
    /// enough, and whoever voted there is lost.
    fn is_due(&self, now: Instant, grace: Duration) -> bool {
        let ended = |(standing, since): &(Standing, Instant)| {
            let at = *since + grace;
            matches!(standing, Standing::Failed(_)) && self.planned_at < at && at <= now
        };
        self.plan_at <= now || self.standings.values().any(ended)
    }

    /// Whether membership counts this other node in.
    pub(super) fn is_alive(&self, node: &NodeId) -> bool {
        self.standings.get(node).is_some_and(|(standing, _)| *standing == Standing::Alive)
    }

    fn standing(&self, now: Instant, node: &NodeId) -> Option<Standing> {
        self.standings.get(node).map(|(standing, since)| match standing {
            Standing::Failed(_) => Standing::Failed(now.since(*since)),
            Standing::Alive | Standing::Left => *standing,
        })
    }
}

impl Raft {
    /// A tick of a leader: who is close behind, and whether it is time to look.
    pub(super) fn climb(&mut self, now: Instant) {
        self.note_caught_up(now);
        if !self.ladder.is_due(now, self.settings.dead_grace) {
            return;
        }
        #[cfg(test)]
        if self.ladder.held {
            return;
        }
        let Some(view) = self.view(now) else { return };
        let plan = ladder::plan(&view);
        self.ladder.plan = plan.iter().map(Step::to_string).collect();
        self.ladder.settled = ladder::settled(&view);
        self.ladder.planned_at = now;
        let soon = !plan.is_empty() || !self.ladder.settled;
        self.ladder.plan_at = now + if soon { AFTER_A_STEP } else { EVERY };
        let busy = self.group.as_ref().is_some_and(|group| group.changes() || group.hands_over());
        if let Some(step) = plan.first().filter(|_| !busy) {
            let taken = self.take_step(step);
            self.counts.ladder_step(step.name(), taken);
        }
    }

    fn note_caught_up(&mut self, now: Instant) {
        let Some(group) = &self.group else { return };
        let last = group.last();
        for member in self.state.configuration.members() {
            // Whoever has acknowledged nothing yet is not close, however young the log is.
            let matched = group.matched(member);
            if matched > 0 && last.saturating_sub(matched) <= limits::RAFT_CLOSE_ENTRIES {
                self.ladder.caught_up.entry(member).or_insert(now);
            } else {
                self.ladder.caught_up.remove(&member);
            }
        }
    }

    /// What this leader sees.
    pub(super) fn view(&self, now: Instant) -> Option<View> {
        let group = self.group.as_ref()?;
        let Genesis(genesis) = self.identity.genesis?;
        let configuration = self.state.configuration.clone();
        let members = configuration.members().into_iter().filter_map(|id| {
            let node = self.state.nodes.get(&id)?.clone();
            let own = self.identity.is(id);
            let heard = self.heard.get(&id).copied().unwrap_or(self.leading.since);
            let caught_up = self.ladder.caught_up.get(&id).map(|since| now.since(*since));
            let member = Member {
                node,
                matched: group.matched(id),
                silent: if own { Duration::ZERO } else { now.since(heard) },
                caught_up_for: if own { Some(Duration::MAX) } else { caught_up },
            };
            Some((id, member))
        });
        let mut nodes: BTreeMap<NodeId, Node> = BTreeMap::new();
        for node in self.ladder.standings.keys() {
            let Some(standing) = self.ladder.standing(now, node) else { continue };
            let unheard =
                self.ladder.unlinked.get(node).map_or(Duration::ZERO, |at| now.since(*at));
            let facts = self.peers.get(node).map(|peer| Facts {
                member: peer.member,
                genesis: peer.genesis.map(|genesis| genesis.0),
                eligible: peer.eligible,
                priority: peer.priority,
                zone: Arc::from(peer.zone.as_str()),
                supported: true,
                leaving: peer.leaving,
            });
            nodes.insert(node.clone(), Node { standing, unheard, facts });
        }
        nodes.insert(self.local.node.clone(), self.own_row(genesis));
        Some(View {
            leader: self.identity.member,
            voters: configuration.voters.clone(),
            outgoing: configuration.outgoing.clone(),
            learners: configuration.learners.clone(),
            members: members.collect(),
            nodes,
            genesis,
            voters_max: usize::from(self.state.voters_max),
            standbys_max: self.settings.standbys_max,
            dead_grace: self.settings.dead_grace,
            silent_after: self.settings.election_min(),
        })
    }

    fn own_row(&self, genesis: u128) -> Node {
        let own = self.peers.get(&self.local.node);
        let facts = Facts {
            member: Some(self.identity.member),
            genesis: Some(genesis),
            eligible: self.settings.eligible && self.halted.is_none(),
            priority: self.settings.priority,
            zone: Arc::from(own.map_or("", |peer| peer.zone.as_str())),
            supported: true,
            leaving: own.is_some_and(|peer| peer.leaving),
        };
        Node { standing: Standing::Alive, unheard: Duration::ZERO, facts: Some(facts) }
    }

    /// Takes a step; done when its entry is applied.
    fn take_step(&mut self, step: &Step) -> bool {
        let one = |step, place: &Place| change(vec![step], false, &[place]);
        let change = match step {
            Step::FinishJoint => Change::default(),
            Step::AddLearner(place) | Step::AddStandby(place) => {
                one(ChangeStep::Learner(place.member), place)
            }
            Step::Promote(place) => one(ChangeStep::Voter(place.member), place),
            Step::Remove(place) | Step::RemoveLearner(place) => {
                one(ChangeStep::Remove(place.member), place)
            }
            Step::Swap { promote, remove } => {
                let steps =
                    vec![ChangeStep::Voter(promote.member), ChangeStep::Remove(remove.member)];
                change(steps, true, &[promote])
            }
            Step::RemoveLost(places) => {
                let gone = places.iter().map(|place| ChangeStep::Remove(place.member));
                change(gone.collect(), true, &[])
            }
            Step::Transfer { to } => {
                self.hand_over(to.member);
                return true;
            }
        };
        self.change(&change)
    }
}

fn change(steps: Vec<ChangeStep>, joint: bool, places: &[&Place]) -> Change {
    let nodes: Vec<_> = places.iter().map(|place| (place.member, place.node.clone())).collect();
    Change { steps: steps.into(), joint, nodes: nodes.into() }
}

const STILL_FOR: Duration = Duration::from_secs(2);
const EVERY: Duration = Duration::from_secs(10);
const AFTER_A_STEP: Duration = Duration::from_secs(1);
