//! A machine beside the moment at which it wants to be ticked.
//!
//! Most inputs concern one or two machines, and the others want afterwards what they wanted before. So the
//! moment is kept, and found anew where a machine was touched: whoever gets at it mutably has touched it.
//!
//! Absent on purpose: which machine that is, and what is done when its time has come.

use std::ops::{Deref, DerefMut};

use crate::machine::{Machine, Wake};
use crate::time::Instant;

/// See the module.
pub(super) struct Timed<M: Machine> {
    machine: M,
    wake: Option<Wake>,
    touched: bool,
    /// An empty place for outputs, kept so that no step has to make one.
    room: Vec<M::Output>,
}

impl<M: Machine> Timed<M> {
    pub(super) fn new(machine: M) -> Timed<M> {
        Timed { machine, wake: None, touched: true, room: Vec::new() }
    }

    /// Hands `input` to the machine; its outputs, whose place comes back by [`Timed::keep`].
    pub(super) fn step(&mut self, now: Instant, input: M::Input) -> Vec<M::Output> {
        let mut outputs = std::mem::take(&mut self.room);
        self.touched = true;
        self.machine.handle(now, input, &mut outputs);
        outputs
    }

    /// Takes a place for outputs back.
    pub(super) fn keep(&mut self, mut room: Vec<M::Output>) {
        room.clear();
        self.room = room;
    }

    /// When the machine wants to be ticked.
    pub(super) fn wake(&self) -> Option<Wake> {
        if self.touched { self.machine.next_wake() } else { self.wake }
    }

    /// Whether its time has come.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.wake().is_some_and(|wake| wake.at <= now)
    }

    /// Whether it was touched in this turn.
    pub(super) fn is_touched(&self) -> bool {
        self.touched
    }

    /// The turn ends.
    pub(super) fn settle(&mut self) {
        if self.touched {
            self.wake = self.machine.next_wake();
            self.touched = false;
        }
    }

    /// The machine, for what changes nothing that it wants.
    pub(super) fn quietly(&mut self) -> &mut M {
        &mut self.machine
    }
}

impl<M: Machine> Deref for Timed<M> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.machine
    }
}

impl<M: Machine> DerefMut for Timed<M> {
    fn deref_mut(&mut self) -> &mut M {
        self.touched = true;
        &mut self.machine
    }
}
