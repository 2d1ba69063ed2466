//! What happened: a hash over every input of every node with its consequences, the last turns in
//! memory, and on demand all of them in a file.
//!
//! The hash is xxh3-64 chained over (sequence, instant, node, input bytes, output bytes). Two runs of one
//! seed have the same hash, in any process and any build profile.
//!
//! Absent on purpose: the state of nodes. It follows from the inputs.

mod compare;
pub mod read;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use quorate_core::ids::NodeId;
use quorate_core::node::flight::{write_effect, write_input};
use quorate_core::node::{Effect, Input};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::clock::Micros;
pub use compare::{Comparison, Difference};

/// Turns that a failure shows.
const KEPT: usize = 2000;

/// One turn, as kept for whoever asks why.
#[derive(Debug, Clone)]
pub struct Kept {
    /// Its place in the run.
    pub sequence: u64,
    /// World time.
    pub at: Micros,
    /// Which machine.
    pub machine: usize,
    /// What came in.
    pub inputs: Vec<Input>,
    /// What went out.
    pub effects: Vec<Effect>,
}

/// The trace of one run.
#[derive(Debug, Default)]
pub struct Trace {
    hash: u64,
    sequence: u64,
    keep: bool,
    kept: VecDeque<Kept>,
    file: Option<BufWriter<File>>,
    earlier: Option<Comparison>,
    /// What is hashed next.
    scratch: Vec<u8>,
}

impl Trace {
    /// A trace that only hashes, or also keeps the last turns.
    pub fn new(keep: bool) -> Trace {
        Trace { keep, ..Trace::default() }
    }

    /// Writes every turn to `path` from now on, after the line that says what it is.
    pub fn write_to(&mut self, path: &Path, head: &serde_json::Value) -> std::io::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        writeln!(file, "{head}")?;
        self.file = Some(file);
        Ok(())
    }

    /// Compares every turn with the one that an earlier run wrote.
    pub fn compare_with(&mut self, earlier: Comparison) {
        self.earlier = Some(earlier);
    }

    /// Takes one turn.
    pub fn turn(
        &mut self,
        at: Micros,
        machine: usize,
        node: &NodeId,
        inputs: &[Input],
        effects: &[Effect],
    ) {
        self.sequence += 1;
        for part in [self.sequence, at, machine as u64] {
            self.hash = xxh3_64_with_seed(&part.to_le_bytes(), self.hash);
        }
        for input in inputs {
            self.scratch.clear();
            write_input(input, &mut self.scratch);
            self.hash = xxh3_64_with_seed(&self.scratch, self.hash);
        }
        for effect in effects {
            self.scratch.clear();
            write_effect(effect, &mut self.scratch);
            self.hash = xxh3_64_with_seed(&self.scratch, self.hash);
        }
        if self.keep {
            self.keep_turn(at, machine, inputs, effects);
        }
        if self.file.is_some() || self.earlier.is_some() {
            let line = serde_json::json!({
                "n": self.sequence, "t_us": at, "node": node.as_str(), "input": inputs,
                "outputs": effects, "hash": hex(self.hash),
            });
            self.tell(&line.to_string());
        }
    }

    fn tell(&mut self, line: &str) {
        if let Some(file) = &mut self.file {
            writeln!(file, "{line}").expect("the trace file takes another line");
        }
        if let Some(earlier) = &mut self.earlier {
            earlier.take(self.sequence, line);
        }
    }

    fn keep_turn(&mut self, at: Micros, machine: usize, inputs: &[Input], effects: &[Effect]) {
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(Kept {
            sequence: self.sequence,
            at,
            machine,
            inputs: inputs.to_vec(),
            effects: effects.to_vec(),
        });
    }

    /// The hash of everything so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// How many turns there were.
    pub fn turns(&self) -> u64 {
        self.sequence
    }

    /// The last turns, oldest first; empty unless they are kept.
    pub fn kept(&self) -> impl DoubleEndedIterator<Item = &Kept> {
        self.kept.iter()
    }

    /// Ends the file.
    pub fn finish(&mut self) -> std::io::Result<()> {
        self.file.take().map_or(Ok(()), |mut file| file.flush())
    }

    /// Where this run and the earlier one parted, if they did.
    pub fn difference(&mut self) -> Option<Difference> {
        self.earlier.take().and_then(|earlier| earlier.ended(self.sequence))
    }
}

/// Sixteen hex digits.
pub fn hex(hash: u64) -> String {
    format!("{hash:016x}")
}
