//! Several nodes, accounts with a truth of their own, and a network that delays, reorders and cuts.
//!
//! Each run is a seed. What a node may know is computed here a second time, from its books alone and without
//! anything that the machine keeps, and compared with what it picks, shows and waits for.

mod checks;
mod upstream;
mod world;

use world::{Fleet, Weather};

fn runs(weather: Weather, seeds: std::ops::Range<u64>, steps: usize) -> world::Tally {
    let mut tally = world::Tally::default();
    for seed in seeds {
        let mut fleet = Fleet::new(seed, weather);
        for _ in 0..steps {
            fleet.step();
        }
        fleet.calm();
        fleet.check_equal();
        tally.add(&fleet.tally);
    }
    tally
}

#[test]
fn a_calm_fleet_has_one_probe_at_a_time_and_never_asks_who_rests() {
    let tally = runs(Weather::Calm, 0..20, 600);
    assert!(tally.picks > 5000, "{tally:?}");
    assert!(tally.probes > 20, "{tally:?}");
    assert!(tally.exhausted > 20 && tally.recovered > 20, "{tally:?}");
    assert!(tally.refused > 100, "{tally:?}");
}

#[test]
fn a_fleet_that_is_cut_and_crashes_agrees_once_it_is_whole() {
    let tally = runs(Weather::Wild, 100..120, 600);
    assert!(tally.crashes > 20 && tally.cuts > 20, "{tally:?}");
    assert!(tally.exhausted > 20 && tally.recovered > 20, "{tally:?}");
}
