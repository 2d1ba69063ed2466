//! Which places in the machines a set of runs reached, how often, and by which seeds.

use std::collections::BTreeMap;

use quorate_core::mark::Hits;
use serde_json::{Value, json};

/// Seeds that are remembered per mark.
const SEEDS_SHOWN: usize = 5;

/// What a set of runs reached.
#[derive(Debug, Clone, Default)]
pub struct Reached {
    hits: Hits,
    /// How many seeds reached a mark, and the least of them.
    seeds: BTreeMap<&'static str, (u64, Vec<u64>)>,
}

/// One mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row<'a> {
    /// Its name.
    pub name: &'static str,
    /// How often it was reached.
    pub hits: u64,
    /// By how many seeds.
    pub seeds: u64,
    /// The least of them.
    pub first: &'a [u64],
}

impl Reached {
    /// Adds what the run of `seed` reached.
    pub fn add(&mut self, seed: u64, hits: &Hits) {
        self.hits.add(hits);
        for (name, _) in hits.all().filter(|(_, count)| *count > 0) {
            self.note(name, 1, &[seed]);
        }
    }

    /// Adds what other runs reached.
    pub fn join(&mut self, other: &Reached) {
        self.hits.add(&other.hits);
        for (name, (count, first)) in &other.seeds {
            self.note(name, *count, first);
        }
    }

    fn note(&mut self, name: &'static str, count: u64, seeds: &[u64]) {
        let (all, first) = self.seeds.entry(name).or_default();
        *all += count;
        first.extend(seeds);
        first.sort_unstable();
        first.dedup();
        first.truncate(SEEDS_SHOWN);
    }

    /// Every mark, the rarest first.
    pub fn rows(&self) -> Vec<Row<'_>> {
        let row = |(name, hits): (&'static str, u64)| {
            let (seeds, first) = self
                .seeds
                .get(name)
                .map_or((0, [].as_slice()), |(seeds, first)| (*seeds, first.as_slice()));
            Row { name, hits, seeds, first }
        };
        let mut rows: Vec<Row<'_>> = self.hits.all().map(row).collect();
        rows.sort_by_key(|row| row.hits);
        rows
    }

    /// Marks that no run reached.
    pub fn missing(&self) -> Vec<&'static str> {
        self.hits.all().filter(|(_, hits)| *hits == 0).map(|(name, _)| name).collect()
    }

    /// As in reports: what is missing, and every mark with its hits.
    pub fn json(&self) -> Value {
        let (missing, all) = (self.missing(), self.hits.all().count());
        let hits: BTreeMap<&str, u64> = self.hits.all().collect();
        json!({"hit": all - missing.len(), "total": all, "missing": missing, "hits": hits})
    }

    /// Adds the marks of a report; the error says what is wrong with it.
    pub fn read(&mut self, report: &Value) -> Result<(), String> {
        let told = report.pointer("/marks/hits").and_then(Value::as_object);
        let told = told.ok_or("it has no `marks.hits`")?;
        let count = |name: &str| told.get(name).and_then(Value::as_u64);
        self.hits.add(&Hits::from_fn(|name| count(name).unwrap_or(0)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_report_tells_is_what_was_reached() {
        let reached = |name: &'static str| Hits::from_fn(|mark| u64::from(mark == name));
        let mut all = Reached::default();
        for seed in [9, 3, 7] {
            all.add(seed, &reached("link.duplicate"));
        }
        let report = json!({ "marks": all.json() });
        let mut again = Reached::default();
        again.read(&report).expect("a good report");
        again.join(&{
            let mut other = Reached::default();
            other.add(4, &reached("gossip.cut"));
            other
        });
        assert_eq!(again.missing().len(), all.missing().len() - 1);
        let rows = again.rows();
        let row = |name| rows.iter().find(|row| row.name == name).expect("a mark");
        assert_eq!(row("link.duplicate").hits, 3);
        assert_eq!((row("gossip.cut").seeds, row("gossip.cut").first), (1, [4].as_slice()));
        assert!(again.read(&json!({"marks": {}})).is_err());
    }
}
