//! Which rare choices are armed on this thread, and what each question is answered.
//!
//! An answer follows from the seed, the turn and how many questions that turn asked before, so leaving one
//! point out moves no answer of another, and a turn that is taken again is answered the same.

use std::cell::RefCell;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::names::POINTS;

thread_local! {
    static ARMED: RefCell<Option<State>> = const { RefCell::new(None) };
}

struct State {
    seed: u64,
    armed: Vec<bool>,
    turn: u64,
    asked: u64,
    fired: u64,
}

/// Whether the point at `place` says yes this time.
pub fn fires(place: usize) -> bool {
    ARMED.with_borrow_mut(|state| state.as_mut().is_some_and(|state| state.fires(place)))
}

impl State {
    fn fires(&mut self, place: usize) -> bool {
        if self.armed.get(place) != Some(&true) {
            return false;
        }
        self.asked += 1;
        let question = [place as u64, self.turn, self.asked].map(u64::to_le_bytes).concat();
        let fires = xxh3_64_with_seed(&question, self.seed).is_multiple_of(FIRES_ONCE_IN);
        self.fired += u64::from(fires);
        fires
    }
}

/// The points of this thread, armed for as long as this is kept.
#[derive(Debug)]
pub struct Points(std::marker::PhantomData<*const ()>);

impl Points {
    /// Nothing is armed on this thread; answers will follow from `seed`.
    pub fn new(seed: u64) -> Points {
        let armed = vec![false; POINTS.len()];
        ARMED.set(Some(State { seed, armed, turn: 0, asked: 0, fired: 0 }));
        Points(std::marker::PhantomData)
    }

    /// Arms the point of that name, or disarms it.
    pub fn arm(&self, name: &str, on: bool) {
        let place = POINTS.iter().position(|point| *point == name);
        ARMED.with_borrow_mut(|state| {
            let armed = state.as_mut().and_then(|state| state.armed.get_mut(place?));
            *armed.expect("a plan names points that exist, while its run keeps them") = on;
        });
    }

    /// A turn begins; `turn` names it among all of this run.
    pub fn turn(&self, turn: u64) {
        ARMED.with_borrow_mut(|state| {
            if let Some(state) = state {
                (state.turn, state.asked) = (turn, 0);
            }
        });
    }

    /// How often a point said yes.
    pub fn fired(&self) -> u64 {
        ARMED.with_borrow(|state| state.as_ref().map_or(0, |state| state.fired))
    }
}

impl Drop for Points {
    fn drop(&mut self) {
        ARMED.set(None);
    }
}

const FIRES_ONCE_IN: u64 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(seed: u64, turn: u64) -> Vec<bool> {
        let points = Points::new(seed);
        points.arm("gossip.one_want", true);
        points.turn(turn);
        (0..64).map(|_| crate::sim_point!("gossip.one_want")).collect()
    }

    #[test]
    fn a_point_says_yes_only_where_it_is_armed_and_the_same_whenever_the_turn_is_taken() {
        assert!((0..64).all(|_| !crate::sim_point!("gossip.one_want")), "nobody armed it");
        let first = answers(7, 1);
        let yes = first.iter().filter(|fired| **fired).count();
        assert!((4..32).contains(&yes), "about a quarter, and not {yes} of 64");
        assert_eq!(first, answers(7, 1));
        assert_ne!(first, answers(7, 2));
        assert_ne!(first, answers(8, 1));
        assert!((0..64).all(|_| !crate::sim_point!("gossip.one_want")), "disarmed with its run");
    }
}
