//! Many inputs for one target: seeds of its corpus, changed here and there, and bytes out of nothing.
//!
//! Plain `cargo test` runs [`few`] hundred; the `quorate-fuzz` command goes on for as long as it is told, which
//! makes millions. Every input follows from one number, so what was found is found again. An input that
//! breaks a law is left in `fuzz/regress/<target>/`, where every later test finds it.
//!
//! Absent on purpose: coverage. An engine that has it drives the same functions (see the crate's page).

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use quorate_core::random::Rng;

use crate::replay;

/// A law for any input, and how it is searched.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, and that of its folders.
    pub name: &'static str,
    /// Inputs of plain `cargo test`.
    pub few: u64,
    /// The longest input.
    pub bytes_max: usize,
    /// Panics where the law is broken.
    pub check: fn(&[u8]),
}

/// When a search ends, if nothing is found before.
#[derive(Debug, Clone, Copy)]
pub enum Until {
    /// After so many inputs.
    Executions(u64),
    /// After that time.
    Elapsed(Duration),
}

/// What came of a search.
#[derive(Debug)]
pub struct Searched {
    /// Of which target.
    pub name: &'static str,
    /// Inputs that were tried.
    pub executions: u64,
    /// How long it took.
    pub took: Duration,
    /// What broke the law, if anything did.
    pub found: Option<Found>,
}

/// An input that breaks a law.
#[derive(Debug)]
pub struct Found {
    /// It.
    pub input: Vec<u8>,
    /// What the law said.
    pub words: String,
}

impl fmt::Display for Searched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, count, seconds) = (self.name, self.executions, self.took.as_secs_f64());
        write!(f, "fuzz {name}: {count} executions in {seconds:.1}s")?;
        self.found.iter().try_for_each(|found| write!(f, ": {}", found.words))
    }
}

impl Searched {
    /// Leaves what broke the law where every later test finds it, and tells where.
    pub fn keep(&self) -> Option<PathBuf> {
        self.found.as_ref().map(|found| replay::keep(self.name, &found.input))
    }
}

/// Runs inputs that follow from `seed` against a target.
pub fn search(target: &Target, seed: u64, until: Until) -> Searched {
    let seeds = replay::seeds(target.name);
    let mut rng = Rng::from_number(seed).child(target.name);
    let (begun, mut executions, mut found) = (Instant::now(), 0_u64, None);
    let goes_on = |executions| match until {
        Until::Executions(most) => executions < most,
        // A look at the clock costs as much as the shortest input.
        Until::Elapsed(time) => executions % LOOKS_EVERY != 0 || begun.elapsed() < time,
    };
    while found.is_none() && goes_on(executions) {
        let input = input(&mut rng, &seeds, target.bytes_max);
        executions += 1;
        let held = catch_unwind(AssertUnwindSafe(|| (target.check)(&input)));
        found = held.err().map(|panic| Found { words: words(&*panic).to_owned(), input });
    }
    Searched { name: target.name, executions, took: begun.elapsed(), found }
}

const LOOKS_EVERY: u64 = 16;

fn words(panic: &(dyn Any + Send)) -> &str {
    let words = panic.downcast_ref::<String>().map(String::as_str);
    words.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked without a word")
}

/// A few inputs for the target `name`, always the same.
#[cfg(test)]
pub(crate) fn few(name: &str) {
    let target = crate::TARGETS.iter().find(|target| target.name == name);
    let target = target.expect("a target of the table");
    let searched = search(target, 1, Until::Executions(target.few));
    let kept = searched.keep();
    assert!(kept.is_none(), "{searched}, kept at {kept:?}");
}

/// A seed with up to eight changes, or bytes that nobody chose.
fn input(rng: &mut Rng, seeds: &[Vec<u8>], bytes_max: usize) -> Vec<u8> {
    let mut bytes = match seeds {
        [] => noise(rng, bytes_max),
        _ if rng.chance(1, 4) => noise(rng, bytes_max),
        _ => rng.pick(seeds).cloned().unwrap_or_default(),
    };
    for _ in 0..rng.below(9) {
        change(rng, &mut bytes, seeds);
    }
    bytes.truncate(bytes_max);
    bytes
}

fn noise(rng: &mut Rng, bytes_max: usize) -> Vec<u8> {
    let doublings = u64::from(bytes_max.max(2).ilog2());
    let bound = 2 << rng.below(doublings);
    let length = rng.index(bound);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend(rng.word().to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn change(rng: &mut Rng, bytes: &mut Vec<u8>, seeds: &[Vec<u8>]) {
    let place = rng.index(bytes.len() + 1);
    let byte = [0, 1, 0x7f, 0x80, 0xfb, 0xfc, 0xfd, 0xff].get(rng.index(16)).copied();
    let byte = byte.unwrap_or(rng.word().to_le_bytes()[0]);
    match rng.below(6) {
        0 => bytes.insert(place, byte),
        1 => bytes.truncate(place),
        2 => bytes.extend_from_within(place..),
        3 => {
            if let Some(other) = rng.pick(seeds) {
                let from = rng.index(other.len() + 1);
                bytes.truncate(place);
                bytes.extend_from_slice(other.get(from..).unwrap_or_default());
            }
        }
        4 => {
            if place < bytes.len() {
                bytes.remove(place);
            }
        }
        _ => {
            if let Some(changed) = bytes.get_mut(place) {
                *changed = if rng.chance(1, 2) { byte } else { *changed ^ (1 << rng.below(8)) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TARGETS;

    #[test]
    fn every_folder_of_the_corpus_is_searched_as_a_target() {
        let folders = replay::folders();
        let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        assert_eq!(folders, names);
    }

    #[test]
    fn a_search_finds_what_breaks_a_law_and_finds_it_again() {
        let broken = Target {
            name: "datagram",
            few: 0,
            bytes_max: 64,
            check: |input| assert!(input.len() < 60, "{} bytes", input.len()),
        };
        let search = || search(&broken, 7, Until::Executions(10_000));
        let (first, again) = (search(), search());
        let (first, again) = (first.found.expect("one in a few is long"), again.found);
        assert_eq!(first.words, format!("{} bytes", first.input.len()));
        assert_eq!(again.map(|found| found.input), Some(first.input));
    }
}
