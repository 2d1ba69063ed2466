//! What chance decides about one machine, each purpose in a stream of its own: a fault that is left out, or a machine,
//! moves no draw of another.

use quorate_core::random::Rng;

/// See the module.
#[derive(Debug)]
pub(super) struct Draws {
    nodes: Rng,
    starts: u64,
    pub(super) disk: Rng,
    pub(super) crash: Rng,
    pub(super) effect: Rng,
    pub(super) lie: Rng,
    pub(super) late: Rng,
    /// Of connections of a shell.
    pub(super) streams: Rng,
}

impl Draws {
    pub(super) fn new(rng: &Rng) -> Draws {
        Draws {
            nodes: rng.child("node"),
            starts: 0,
            disk: rng.child("disk"),
            crash: rng.child("crash"),
            effect: rng.child("effect"),
            lie: rng.child("lie"),
            late: rng.child("late"),
            streams: rng.child("streams"),
        }
    }

    /// The seed of the next process.
    pub(super) fn next_seed(&mut self) -> [u8; 32] {
        self.starts += 1;
        let mut words = self.nodes.child(&self.starts.to_string());
        let mut seed = [0; 32];
        seed.chunks_exact_mut(8).for_each(|part| part.copy_from_slice(&words.word().to_le_bytes()));
        seed
    }
}
