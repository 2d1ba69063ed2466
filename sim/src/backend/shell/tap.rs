//! The mind of a simulated shell: a door to the node that the world holds.
//!
//! The world sees the inputs of a turn before the node does and its effects before the shell does. A shell whose process the
//! world has ended hears nothing any more.

use std::sync::Arc;

use quorate::serve::Mind;
use quorate_core::ids::Incarnation;
use quorate_core::machine::{Machine, Wake};
use quorate_core::node::{Effect, Image, Input, Node, Published, Settings};
use quorate_core::time::Instant;

use super::Yard;

/// See the module.
pub struct Tap {
    yard: Yard,
    process: (usize, u64),
    published: Arc<Published>,
    wake: Option<Wake>,
    /// What this turn has brought so far.
    inputs: Vec<Input>,
}

impl Tap {
    /// Makes the node of a process and leaves it with the world.
    pub(super) fn boot(
        yard: Yard,
        process: (usize, u64),
        settings: Settings,
        incarnation: Incarnation,
        image: &Image,
        seed: [u8; 32],
        now: Instant,
    ) -> Tap {
        let node = Node::boot(settings, incarnation, image, seed, now);
        let published = node.published().clone();
        yard.with(|world| world.booted(process, node, incarnation, image));
        Tap { yard, process, published, wake: None, inputs: Vec::new() }
    }
}

impl Machine for Tap {
    type Input = Input;
    type Output = Effect;

    /// All that a turn brings is handed over at its end: nothing is performed before that.
    fn handle(&mut self, _: Instant, input: Input, _: &mut Vec<Effect>) {
        self.inputs.push(input);
    }

    fn next_wake(&self) -> Option<Wake> {
        self.wake
    }
}

impl Mind for Tap {
    fn flush(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let inputs = std::mem::take(&mut self.inputs);
        let turned = self.yard.with(|world| world.turned(self.process, now, inputs, out));
        self.wake = turned.flatten();
    }

    fn published(&self) -> &Arc<Published> {
        &self.published
    }
}
