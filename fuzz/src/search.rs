//! Many inputs for one target: seeds of its corpus, changed here and there, and bytes out of nothing.
//!
//! Plain `cargo test` runs a few hundred. `QUORATE_FUZZ_SECONDS` makes it as long as that, in release
//! builds millions; `QUORATE_FUZZ_SEED` (1) is what every input follows from, so what was found is found
//! again. An input that breaks a law is left in `fuzz/regress/<target>/`, where every later test finds it.
//!
//! Absent on purpose: coverage. An engine that has it drives the same functions (see the crate's page).

use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

use quorate_core::random::Rng;

use crate::replay;

/// How much a target is searched.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    /// Inputs of plain `cargo test`.
    pub(crate) few: u64,
    /// The most in a long search.
    pub(crate) many: u64,
    /// The longest input.
    pub(crate) bytes_max: usize,
}

/// Runs `check` on as many inputs as asked for.
pub(crate) fn search(target: &str, effort: Effort, check: impl Fn(&[u8])) {
    let seeds = replay::seeds(target);
    let mut rng = Rng::from_number(number("QUORATE_FUZZ_SEED").unwrap_or(1)).child(target);
    let time = number("QUORATE_FUZZ_SECONDS").map(Duration::from_secs);
    let (begun, mut count) = (Instant::now(), 0_u64);
    let most = if time.is_some() { effort.many } else { effort.few };
    while count < most && time.is_none_or(|time| begun.elapsed() < time) {
        // A look at the clock costs as much as the shortest input.
        for _ in 0..LOOKS_EVERY.min(most - count) {
            let input = input(&mut rng, &seeds, effort.bytes_max);
            count += 1;
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(&input))) {
                told(target, &input, &*panic);
                resume_unwind(panic);
            }
        }
    }
    let line = format!("fuzz {target}: {count} executions in {:?}", begun.elapsed());
    writeln!(std::io::stderr(), "{line}").expect("the test's own output");
}

const LOOKS_EVERY: u64 = 16;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
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

/// Keeps an input that broke something, and says what it broke.
fn told(target: &str, input: &[u8], panic: &(dyn std::any::Any + Send)) {
    let words = panic.downcast_ref::<String>().map(String::as_str);
    let words = words.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no words");
    let path = replay::keep(target, input);
    let line = format!("fuzz {target}: {words}\nthe input is {}", path.display());
    writeln!(std::io::stderr(), "{line}").expect("the test's own output");
}
