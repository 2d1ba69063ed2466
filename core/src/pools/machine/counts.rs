//! What is counted.

use super::super::Class;
use super::super::target::Reach;
use super::super::verdict::Rejected;
use super::*;
use crate::machine::{Count, Counted, Labels};

/// Numbers that only rise.
#[derive(Debug, Default)]
pub(super) struct Counters {
    cooled: BTreeMap<(Class, &'static str, &'static str), u64>,
    failovers: BTreeMap<Option<Class>, u64>,
    probes: BTreeMap<&'static str, u64>,
    ignored: BTreeMap<&'static str, u64>,
    rejected: BTreeMap<&'static str, u64>,
}

impl Counters {
    pub(super) fn cooled(&mut self, class: Class, reach: &Reach, source: &str) {
        let scope = match reach {
            Reach::All => "credential",
            Reach::Model(_) => "model",
            Reach::Family(_) => "family",
        };
        let kind = source.split_once(':').map_or(source, |(kind, _)| kind);
        let source = SOURCES.into_iter().find(|source| *source == kind).unwrap_or("default");
        *self.cooled.entry((class, scope, source)).or_default() += 1;
    }

    pub(super) fn failed_over(&mut self, class: Option<Class>) {
        *self.failovers.entry(class).or_default() += 1;
    }

    pub(super) fn probed(&mut self, taught: bool) {
        let outcome = if taught { "answered" } else { "wasted" };
        *self.probes.entry(outcome).or_default() += 1;
    }

    pub(super) fn rejected(&mut self, reason: Rejected) {
        *self.rejected.entry(reason.name()).or_default() += 1;
    }

    pub(super) fn ignored(&mut self, reason: &'static str) {
        *self.ignored.entry(reason).or_default() += 1;
    }
}

impl Counted for Pools {
    fn counts(&self, visit: &mut dyn FnMut(Count)) {
        let mut show = |name, labels, value| visit(Count { name, labels, value });
        for class in Class::ALL.into_iter().filter(|class| class.rests()) {
            for (scope, source) in
                SCOPES.into_iter().flat_map(|scope| SOURCES.map(|one| (scope, one)))
            {
                let value = self.counters.cooled.get(&(class, scope, source)).copied();
                let pairs = [("class", class.name()), ("scope", scope), ("source", source)];
                show("cooldowns_total", Labels::Three(pairs), value.unwrap_or_default());
            }
        }
        let classes = Class::ALL.into_iter().filter(|class| class.rests()).map(Some);
        for class in classes.chain([None]) {
            let word = class.map_or("operator", Class::name);
            let value = self.counters.failovers.get(&class).copied().unwrap_or_default();
            show("failovers_total", Labels::One("from_class", word), value);
        }
        for (name, label, words, counts) in [
            ("probes_total", "outcome", &OUTCOMES[..], &self.counters.probes),
            ("pool_reports_ignored_total", "reason", &REASONS[..], &self.counters.ignored),
            ("hint_rejected_total", "reason", &REJECTED, &self.counters.rejected),
        ] {
            for word in words {
                let value = counts.get(word).copied().unwrap_or_default();
                show(name, Labels::One(label, word), value);
            }
        }
        show("pools", Labels::None, self.pools.len() as u64);
        show("pool_leases", Labels::None, self.leases.len() as u64);
        let exhausted = self
            .pools
            .values()
            .filter(|pool| pool.lanes.get("").is_some_and(|lane| lane.exhausted.is_some()));
        show("pools_exhausted", Labels::None, exhausted.count() as u64);
    }
}

const SCOPES: [&str; 3] = ["credential", "model", "family"];
/// Where a wait stood; `default`: nowhere.
const SOURCES: [&str; 5] = ["header", "body", "message", "default", "operator"];
const OUTCOMES: [&str; 2] = ["answered", "wasted"];
const REJECTED: [&str; 2] = [Rejected::Unusable.name(), Rejected::Daily.name()];
const REASONS: [&str; 5] = ["departed", "epoch", "expired", "full", "renewed"];
