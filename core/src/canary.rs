//! Deliberate mistakes, each a classic one, that the simulator's checks must catch: who guards the guards.
//!
//! `canary!("domain.what")` says whether the mistake is to be made here. Without the feature `canary` it is
//! `false` and the mistake no part of the build; with it, one of them at a time is let out on a thread.
//! `quorate-sim canaries` lets out each in turn and fails if a promise does not notice.
//!
//! Absent on purpose: a way to let one out in a node that serves. The daemon refuses to build with the
//! feature.

/// Whether this build contains the mistakes.
pub const BUILT: bool = cfg!(feature = "canary");

/// Every canary, in order.
pub const CANARIES: &[&str] = &[
    "credentials.believes_late_looks",
    "credentials.dates_what_is_the_same",
    "credentials.forgets_revisions",
    "credentials.lets_a_folder_go",
    "credentials.waits_behind_no_record",
    "credentials.writes_what_is_the_same",
    "gossip.answers_final_rows",
    "kv.ends_leases_early",
    "kv.lists_the_next_namespace",
    "link.answers_strangers",
    "link.drains_a_class_at_once",
    "link.hears_the_past",
    "membership.forgets_fences",
    "membership.ignores_its_death",
    "membership.raises_without_disk",
    "node.follows_a_random_order",
    "pools.blames_the_active",
    "pools.forgets_rests",
    "pools.passes_over_the_active",
    "pools.picks_who_rests",
    "pools.resets_side_by_side",
    "pools.rests_for_any_number_of_models",
    "pools.sees_no_clears",
    "pools.shortens_a_rest",
    "pools.snaps_back",
    "pools.tells_anew",
    "pools.tells_every_time",
    "pools.tries_again_at_once",
    "pools.tries_early",
    "pools.tries_out_of_turn",
    "pools.tries_while_others_serve",
    "pools.wakes_late",
    "replica.doubts_nothing",
    "replica.floor_waits_for_nobody",
    "workers.believes_words_of_the_failed",
    "workers.forgets_a_field",
    "workers.probes_twice",
];

#[cfg(feature = "canary")]
pub use caged::{Freed, is_out, random_place};

/// A number that differs between two runs of one seed; not in this build.
#[cfg(not(feature = "canary"))]
pub fn random_place() -> usize {
    0
}

/// Whether the mistake of that name is to be made.
#[cfg(feature = "canary")]
#[macro_export]
macro_rules! canary {
    ($name:literal) => {{
        const CANARY: usize = $crate::mark::names::place($crate::canary::CANARIES, $name);
        $crate::canary::is_out(CANARY)
    }};
}

/// Whether the mistake of that name is to be made: never in this build.
#[cfg(not(feature = "canary"))]
#[macro_export]
macro_rules! canary {
    ($name:literal) => {
        false
    };
}

#[cfg(feature = "canary")]
mod caged {
    use std::cell::Cell;
    use std::marker::PhantomData;

    use super::CANARIES;

    thread_local! {
        static OUT: Cell<Option<usize>> = const { Cell::new(None) };
    }

    /// Whether the canary at `place` is out on this thread.
    pub fn is_out(place: usize) -> bool {
        OUT.get() == Some(place)
    }

    /// A canary that is out on this thread for as long as this is kept.
    #[derive(Debug)]
    pub struct Freed(PhantomData<*const ()>);

    impl Freed {
        /// Lets out the canary of that name; `None`: there is none.
        pub fn new(name: &str) -> Option<Freed> {
            let place = CANARIES.iter().position(|canary| *canary == name)?;
            OUT.set(Some(place));
            Some(Freed(PhantomData))
        }
    }

    impl Drop for Freed {
        fn drop(&mut self) {
            OUT.set(None);
        }
    }

    /// A number that differs between two runs of one seed.
    #[expect(clippy::disallowed_types, reason = "this is the mistake")]
    pub fn random_place() -> usize {
        use std::hash::BuildHasher as _;
        let word = std::hash::RandomState::new().hash_one(());
        usize::try_from(word % 64).expect("below 64")
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn one_canary_is_out_at_a_time_and_only_while_it_is_kept() {
            assert!(!crate::canary!("workers.probes_twice"));
            let freed = Freed::new("workers.probes_twice").expect("a canary");
            assert!(crate::canary!("workers.probes_twice"));
            assert!(!crate::canary!("replica.doubts_nothing"));
            drop(freed);
            assert!(!crate::canary!("workers.probes_twice"));
            assert!(Freed::new("no.such").is_none());
        }
    }
}
