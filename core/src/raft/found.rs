//! Where founders meet the log: what is known of the others becomes their view, and what they begin is ours.
//!
//! Absent on purpose: the rules of founding, which are the founders' own.

use std::sync::Arc;

use super::founding::{Founder, Input, Output as Told, State, View, Word};
use super::keep::Purpose;
use super::{NodeId, Output, Peer, Raft, Wire, durable, ladder};
use crate::time::Instant;

impl Raft {
    /// Whether it matters here who is behind the seeds.
    pub fn may_found(&self) -> bool {
        self.settings.expect > 0 && self.settings.eligible && !self.founders.sees_a_log()
    }

    /// Something became known that may make a difference to founders.
    pub(super) fn look_around(&mut self, now: Instant, out: &mut Vec<Output>) {
        if self.founders.looks() {
            let view = self.view_of_founders();
            self.found(now, Input::View(view), out);
        }
    }

    /// Another founder says something.
    pub(super) fn hear_founder(
        &mut self,
        now: Instant,
        from: &NodeId,
        word: Word,
        out: &mut Vec<Output>,
    ) {
        // What is promised depends on what is known now.
        let view = self.view_of_founders();
        self.found(now, Input::View(view), out);
        self.found(now, Input::Peer { from: from.clone(), word }, out);
    }

    pub(super) fn found(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
        let mut told = Vec::new();
        self.founders.handle(now, input, &mut told);
        for output in told {
            match output {
                Told::Send { to, word } => {
                    out.push(Output::Send { to, message: Wire::Founding(word) });
                }
                Told::Store { number, promise } => {
                    let rows = vec![durable::promise_row(&promise)];
                    self.store(rows, Purpose::Founding(number), out);
                }
                Told::Begin(founding) => {
                    let voters = founding.voters.iter().cloned().collect();
                    self.form(now, founding.genesis, voters, founding.voters_max, out);
                    self.look_around(now, out);
                }
            }
        }
    }

    fn view_of_founders(&self) -> View {
        let expect = if self.settings.eligible { self.settings.expect } else { 0 };
        let here = self.peers.iter().filter(|(node, _)| self.ladder.is_alive(node));
        let others = here.filter(|(node, _)| **node != self.local.node);
        let others = others.filter_map(|(node, peer)| Some((node.clone(), founder(peer)?)));
        let own = Founder {
            member: self.identity.member,
            eligible: self.settings.eligible,
            priority: self.settings.priority,
            zone: Arc::from(self.peers.get(&self.local.node).map_or("", |peer| &peer.zone)),
            state: state(self.identity.genesis.is_some(), self.settings.expect),
        };
        let known = self.peers.values().any(|peer| peer.genesis.is_some());
        let voters_max = ladder::voters_max(usize::from(self.settings.voters_max));
        View {
            expect,
            voters_max: u8::try_from(voters_max).expect("RF-5: at most seven vote"),
            founders: others.chain([(self.local.node.clone(), own)]).collect(),
            has_log: known || self.identity.genesis.is_some(),
            behind_seeds: self.behind_seeds.clone(),
        }
    }
}

/// A node that has no member id keeps no copy: it promises, and is not counted.
fn founder(peer: &Peer) -> Option<Founder> {
    let member = peer.member?;
    let state = state(peer.genesis.is_some(), peer.expect);
    Some(Founder {
        member,
        eligible: peer.eligible && !peer.leaving,
        priority: peer.priority,
        zone: Arc::from(peer.zone.as_str()),
        state,
    })
}

fn state(has_log: bool, expect: u8) -> State {
    match expect {
        _ if has_log => State::In,
        0 => State::None,
        expect => State::Pre { expect },
    }
}
