//! What the owner maps say: to gossip what moved, to the domains what changed.

use super::{Effect, Node};
use crate::gossip::{self, Direction};
use crate::ids::Replica;
use crate::node::misbehaviour::Domain;
use crate::time::Instant;
use crate::wire::message::Segments;
use crate::wire::segment::{Key, Topic};
use crate::wire::{Blob, Transport};
use crate::{membership, pools, replica, workers};

impl Node {
    fn maps_say(&mut self, output: replica::Output, out: &mut Vec<Effect>) {
        use replica::Output;
        match output {
            Output::Written { topic, replica, from, upto } => {
                self.gossip_step(gossip::Input::Written { topic, replica, from, upto });
            }
            Output::Applied { topic, replica, from, upto, learnt_from } => {
                self.gossip_step(gossip::Input::Applied {
                    topic,
                    replica,
                    from,
                    upto,
                    learnt_from,
                });
            }
            Output::Progress { topic, replica, progress } => {
                self.gossip_step(gossip::Input::Progress { topic, replica, progress });
            }
            Output::Gap { topic, replica, from, through } => {
                self.gossip_step(gossip::Input::Gap { topic, replica, from, through });
            }
            Output::Unused { topic: _, why } => self.gossip_step(gossip::Input::Unused { why }),
            Output::Changed { topic, owner, key, value } => match topic {
                Topic::FACTS => {
                    self.membership_step(membership::Input::Fact { owner, key, value });
                }
                Topic::POOLS => self.pools_step(pools::Input::Changed { owner, key, value }),
                _ => self.workers_step(workers::Input::Changed { owner, key, value }),
            },
            Output::Orphaned { topic, owner } => {
                if topic == Topic::WORKERS {
                    self.workers_step(workers::Input::Orphaned { owner });
                }
            }
            Output::Dropped { topic, owner, left, last } => match topic {
                Topic::WORKERS => self.workers_step(workers::Input::Dropped { owner, left, last }),
                Topic::POOLS => self.pools_step(pools::Input::Dropped { owner, last }),
                _ => {}
            },
            Output::Switched { topic, old, new } => match topic {
                Topic::WORKERS => self.workers_step(workers::Input::Switched { old, new }),
                Topic::POOLS => self.pools_step(pools::Input::Switched { old, new }),
                _ => {}
            },
            Output::Ready { topic, owner } => {
                let (key, value) = (Key::from(""), Some(Blob::default()));
                match topic {
                    Topic::WORKERS => {
                        self.workers_step(workers::Input::Changed { owner, key, value });
                    }
                    Topic::POOLS => self.pools_step(pools::Input::Changed { owner, key, value }),
                    _ => {}
                }
            }
            Output::SendRetired { to, transport, notice } => {
                let address = self.address(&to);
                self.send_retired(to, address, transport, notice, out);
            }
            Output::Overtaken { known } => {
                self.membership_step(membership::Input::Overtaken { known });
            }
            Output::Full { .. } => {}
            Output::Misbehaved { peer, what } => {
                self.misbehaved(Domain::Replica, Some(peer), what, out)
            }
        }
    }

    /// Hands one input to the maps; tells whether a foreign map moved.
    pub(super) fn maps_step(
        &mut self,
        now: Instant,
        input: replica::Input,
        out: &mut Vec<Effect>,
    ) -> bool {
        let mut outputs = self.maps.step(now, input);
        let moved = outputs.iter().any(|output| matches!(output, replica::Output::Progress { .. }));
        outputs.drain(..).for_each(|output| self.maps_say(output, out));
        self.maps.keep(outputs);
        moved
    }

    pub(super) fn segments(
        &mut self,
        now: Instant,
        from: Replica,
        message: Segments,
        out: &mut Vec<Effect>,
    ) {
        let mut changed = false;
        for segment in message.segments.0 {
            let (from, transport) = (from.node.clone(), Transport::Link);
            self.carried(segment.topic, Direction::Received, segment.encoded_bytes());
            changed |=
                self.maps_step(now, replica::Input::Segment { from, transport, segment }, out);
        }
        if let Some(number) = message.answers {
            self.gossip_step(gossip::Input::Pulled { from, number, changed });
        }
    }
}
