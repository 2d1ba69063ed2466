//! Deliberate mistakes, and which promise must notice each of them, and how soon.
//!
//! A canary that lives through its seeds means that a checker sleeps: the run is red.
//!
//! Absent on purpose: any other failure as evidence. A mistake that is noticed by chance elsewhere goes on
//! until the promise that watches for it has noticed it too.

use quorate_core::canary::Freed;

use crate::invariants::TABLE;
use crate::plan::Plan;
use crate::plan::draw::{self, World};
use crate::plan::text;
use crate::run::{self, Options, Outcome};
use crate::shrink::{self, Budget, Shrunk};
use crate::swarm::cpu_seconds;
use crate::verdict::{Failure, Kind};

/// A mistake and who must notice it.
#[derive(Debug)]
pub struct Canary {
    /// Its name in `core`.
    pub name: &'static str,
    /// What goes wrong.
    pub mistake: &'static str,
    /// The promises of which one must break.
    pub breaks: &'static [&'static str],
    /// The story in which it sings; without one, whatever a seed draws.
    story: Option<&'static str>,
}

/// Every canary, in the order of the core's list.
pub const CANARIES: &[Canary] = &[
    Canary {
        name: "credentials.believes_late_looks",
        mistake: "a look that began before a surface deleted the record brings it back",
        breaks: &["K3"],
        story: Some(include_str!("../../tests/scenarios/credentials/poison_and_repeats.scn")),
    },
    Canary {
        name: "credentials.dates_what_is_the_same",
        mistake: "a record that is looked at once more is as new as that look",
        breaks: &["K9"],
        story: Some(include_str!("../../tests/scenarios/credentials/poison_and_repeats.scn")),
    },
    Canary {
        name: "credentials.forgets_revisions",
        mistake: "whoever starts counts revisions from the beginning",
        breaks: &["K1"],
        story: Some(include_str!("../../tests/scenarios/credentials/edited_behind_its_back.scn")),
    },
    Canary {
        name: "credentials.lets_a_folder_go",
        mistake: "whatever is missed twice goes, be it a whole folder",
        breaks: &["K7"],
        story: Some(include_str!("../../tests/scenarios/credentials/empty_listing.scn")),
    },
    Canary {
        name: "credentials.waits_behind_no_record",
        mistake: "behind a file that is no record the next ones wait for another answer",
        breaks: &["K10"],
        story: Some(include_str!("../../tests/scenarios/credentials/poison_and_repeats.scn")),
    },
    Canary {
        name: "credentials.writes_what_is_the_same",
        mistake: "a record that was read again after a restart is written again",
        breaks: &["K2"],
        story: Some(include_str!("../../tests/scenarios/credentials/edited_behind_its_back.scn")),
    },
    Canary {
        name: "gossip.answers_final_rows",
        mistake: "final rows are answered with rows, for ever",
        breaks: &["G-10"],
        story: None,
    },
    Canary {
        name: "kv.ends_leases_early",
        mistake: "a lease ends two seconds before its deadline, with another",
        breaks: &["KV-4"],
        story: Some(include_str!("../../tests/scenarios/kv/two_namespaces.scn")),
    },
    Canary {
        name: "kv.lists_the_next_namespace",
        mistake: "a list goes on in the namespace that begins like its own",
        breaks: &["KV-6"],
        story: Some(include_str!("../../tests/scenarios/kv/two_namespaces.scn")),
    },
    Canary {
        name: "link.answers_strangers",
        mistake: "a caller of another cluster is told that it is wrong here",
        breaks: &["L-9"],
        story: Some(include_str!("../../tests/scenarios/links/strangers.scn")),
    },
    Canary {
        name: "link.drains_a_class_at_once",
        mistake: "a class whose turn it is goes on until nothing of it waits",
        breaks: &["L-4"],
        story: Some(include_str!("../../tests/scenarios/links/half_a_batch.scn")),
    },
    Canary {
        name: "link.hears_the_past",
        mistake: "a frame of a connection that is over is counted",
        breaks: &["L-5"],
        story: Some(include_str!("../../tests/scenarios/links/said_too_late.scn")),
    },
    Canary {
        name: "membership.forgets_fences",
        mistake: "a life that left or was forgotten may come back",
        breaks: &["M-2"],
        story: None,
    },
    Canary {
        name: "membership.ignores_its_death",
        mistake: "who hears that it was given up for dead goes on as before",
        breaks: &["M-9", "M-11", "M-12"],
        story: None,
    },
    Canary {
        name: "membership.raises_without_disk",
        mistake: "a raised incarnation is used before it is durable",
        breaks: &["M-3"],
        story: None,
    },
    Canary {
        name: "node.follows_a_random_order",
        mistake: "frames of a push leave in an order that no seed determines",
        breaks: &["D-1"],
        story: None,
    },
    Canary {
        name: "pools.blames_the_active",
        mistake: "a report is charged to the pool's active member, not to the leased one",
        breaks: &["P-7"],
        story: Some(include_str!("../../tests/scenarios/pools/all_limited.scn")),
    },
    Canary {
        name: "pools.forgets_rests",
        mistake: "whoever starts does not say what its store keeps of rests",
        breaks: &["P-2"],
        story: Some(include_str!("../../tests/scenarios/pools/restarts_keep_rests.scn")),
    },
    Canary {
        name: "pools.passes_over_the_active",
        mistake: "with failover the first account that can serve is asked, whoever is active",
        breaks: &["P-3"],
        story: Some(include_str!("../../tests/scenarios/pools/long_quota.scn")),
    },
    Canary {
        name: "pools.picks_who_rests",
        mistake: "a member that rests is picked like any other",
        breaks: &["P-1"],
        story: Some(include_str!("../../tests/scenarios/pools/all_limited.scn")),
    },
    Canary {
        name: "pools.resets_side_by_side",
        mistake: "a login is reset while it is being reset",
        breaks: &["P-11"],
        story: Some(include_str!("../../tests/scenarios/pools/removed_while_exhausted.scn")),
    },
    Canary {
        name: "pools.rests_for_any_number_of_models",
        mistake: "an account that is refused for many models rests for each of them",
        breaks: &["P-14"],
        story: Some(include_str!("../../tests/scenarios/pools/more_models_than_lanes.scn")),
    },
    Canary {
        name: "pools.sees_no_clears",
        mistake: "what was cleared rests on",
        breaks: &["P-8"],
        story: Some(include_str!("../../tests/scenarios/pools/all_limited.scn")),
    },
    Canary {
        name: "pools.shortens_a_rest",
        mistake: "a later and shorter wait replaces a longer one",
        breaks: &["P-2"],
        story: Some(include_str!("../../tests/scenarios/pools/all_limited.scn")),
    },
    Canary {
        name: "pools.snaps_back",
        mistake: "with failover the first account that is well again takes over at once",
        breaks: &["P-3"],
        story: Some(include_str!("../../tests/scenarios/pools/all_limited.scn")),
    },
    Canary {
        name: "pools.tells_anew",
        mistake: "a lane that runs dry again is told of as recovered",
        breaks: &["P-10"],
        story: Some(include_str!("../../tests/scenarios/pools/removed_while_exhausted.scn")),
    },
    Canary {
        name: "pools.tells_every_time",
        mistake: "each failure of an exhausted lane is told of as its beginning",
        breaks: &["P-5"],
        story: Some(include_str!("../../tests/scenarios/pools/all_limited.scn")),
    },
    Canary {
        name: "pools.tries_again_at_once",
        mistake: "a member that rests for long is tried early whenever the last try taught nothing",
        breaks: &["P-15"],
        story: Some(include_str!("../../tests/scenarios/pools/early_tries_that_teach_nothing.scn")),
    },
    Canary {
        name: "pools.tries_early",
        mistake: "a member is tried whenever somebody asks",
        breaks: &["P-15"],
        story: Some(include_str!("../../tests/scenarios/pools/long_quota.scn")),
    },
    Canary {
        name: "pools.tries_out_of_turn",
        mistake: "whoever has demand tries a half-open member",
        breaks: &["P-6"],
        story: Some(include_str!("../../tests/scenarios/pools/probe_across_a_cut.scn")),
    },
    Canary {
        name: "pools.tries_while_others_serve",
        mistake: "a member that rests for long is tried early though another one serves",
        breaks: &["P-15"],
        story: Some(include_str!("../../tests/scenarios/pools/early_tries.scn")),
    },
    Canary {
        name: "pools.wakes_late",
        mistake: "a pool is looked at three seconds after its time",
        breaks: &["P-17"],
        story: Some(include_str!("../../tests/scenarios/pools/all_limited.scn")),
    },
    Canary {
        name: "replica.doubts_nothing",
        mistake: "what a segment does not name any more is kept",
        breaks: &["RP-1", "RP-3", "RP-10"],
        story: Some(include_str!("../../tests/scenarios/replica/rewritten_while_swept.scn")),
    },
    Canary {
        name: "replica.floor_waits_for_nobody",
        mistake: "tombstones are dropped before every member has seen them",
        breaks: &["RP-7"],
        story: None,
    },
    Canary {
        name: "workers.believes_words_of_the_failed",
        mistake: "an owner's word moves a worker out of Failed",
        breaks: &["W-5", "W-6"],
        story: Some(include_str!("../../tests/scenarios/workers/failed_hears_words.scn")),
    },
    Canary {
        name: "workers.forgets_a_field",
        mistake: "what others say of a worker is kept without one of its fields",
        breaks: &["W-13"],
        story: Some(include_str!("../../tests/scenarios/workers/spec_across_versions.scn")),
    },
    Canary {
        name: "workers.probes_twice",
        mistake: "a worker is probed while a probe of it is under way",
        breaks: &["W-10"],
        story: Some(include_str!("../../tests/scenarios/workers/changed_while_it_hangs.scn")),
    },
];

/// What came of a hunt.
#[derive(Debug)]
pub struct Caught {
    /// Of which canary.
    pub name: &'static str,
    /// The seed and the promise that noticed; `None`: nobody did.
    pub by: Option<(u64, String)>,
    /// What broke besides.
    pub others: Vec<String>,
    /// Processor seconds.
    pub seconds: f64,
}

/// Runs seeds with the canary out until its promise breaks or the time is up.
pub fn hunt(canary: &Canary, seconds: u64) -> Caught {
    let freed = Freed::new(canary.name).expect("every canary of the table is one of the core");
    let begun = cpu_seconds();
    let mut caught = Caught { name: canary.name, by: None, others: Vec::new(), seconds: 0.0 };
    for seed in 1.. {
        for id in broken(canary, seed) {
            if canary.breaks.contains(&id.as_str()) {
                caught.by = Some((seed, id));
                break;
            }
            caught.others.push(id);
        }
        caught.seconds = cpu_seconds() - begun;
        if caught.by.is_some() || caught.seconds > seconds as f64 {
            break;
        }
    }
    drop(freed);
    caught
}

/// Makes the plan of `seed`, in which the canary sings, small: `None` if nothing but the hash of the run is wrong.
/// With it come the lines of which those that are left were chosen.
pub fn shrink(canary: &Canary, seed: u64, budget: Budget) -> Option<(usize, Shrunk)> {
    let freed = Freed::new(canary.name).expect("every canary of the table is one of the core");
    let plan = plan(canary, seed);
    let shrunk = shrink::shrink(&plan, seed, budget);
    drop(freed);
    Some((plan.to_string().lines().count(), shrunk?))
}

fn plan(canary: &Canary, seed: u64) -> Plan {
    let world = World { nodes: Some(4), seconds: Some(60), ..World::default() };
    match canary.story {
        Some(story) => text::parse(canary.name, story).expect("a scenario of the repository"),
        None => draw::plan(seed, &world),
    }
}

/// What breaks under `seed`: a promise, or that a seed fixes the run.
fn broken(canary: &Canary, seed: u64) -> Vec<String> {
    let plan = plan(canary, seed);
    let once = || run::run(&plan, seed, &Options::default());
    let first = once();
    let mut ids: Vec<String> = first.failure.iter().map(promise).collect();
    if differs(&first, &once()) {
        ids.push("D-1".to_owned());
    }
    ids
}

/// The promise that broke; where the machine itself noticed, its assertion begins with it.
fn promise(failure: &Failure) -> String {
    let said = failure.message.split(':').next().unwrap_or_default();
    let known = TABLE.iter().any(|row| row.id == said);
    if failure.kind == Kind::Panic && known { said.to_owned() } else { failure.id.clone() }
}

fn differs(one: &Outcome, other: &Outcome) -> bool {
    (one.hash, one.events) != (other.hash, other.events)
}

impl Caught {
    /// One line.
    pub fn line(&self) -> String {
        let (name, seconds) = (self.name, self.seconds);
        match &self.by {
            Some((seed, id)) => format!("{name} caught by {id} at seed {seed} in {seconds:.1}s"),
            None => format!("{name} NOT CAUGHT in {seconds:.1}s; besides: {:?}", self.others),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_row_for_each_canary_of_the_core() {
        let rows: Vec<&str> = CANARIES.iter().map(|canary| canary.name).collect();
        assert_eq!(rows, quorate_core::canary::CANARIES);
    }
}
