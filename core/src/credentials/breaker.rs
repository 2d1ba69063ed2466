//! Absence is evidence, not an order.
//!
//! A folder that was unmounted and a folder that somebody emptied look alike. When one pass would remove more
//! than a fifth of what is known, and more than three, nothing is removed: the breaker is open, the records
//! go on working, and an operator says which of the two it was.
//!
//! Absent on purpose: time. An open breaker closes by a word, or because nothing is missing any more.

use std::collections::BTreeSet;

use super::key::Key;
use crate::time::Instant;

/// So many may always go.
const ALWAYS: usize = 3;
/// One in so many may go.
const SHARE: usize = 5;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    held: BTreeSet<Key>,
    since: Option<Instant>,
}

impl Breaker {
    /// What of `gone` may be removed, `known` being the number of all there were. The rest is held.
    pub(super) fn pass(&mut self, now: Instant, known: usize, gone: Vec<Key>) -> Vec<Key> {
        let many = gone.len() > ALWAYS.max(known / SHARE);
        let trips = many && !canary!("credentials.lets_a_folder_go");
        if !trips && !self.is_open() {
            return gone;
        }
        self.since.get_or_insert(now);
        self.held.extend(gone);
        Vec::new()
    }

    /// Whether something is held.
    pub(super) fn is_open(&self) -> bool {
        self.since.is_some()
    }

    /// Since when.
    pub(super) fn since(&self) -> Option<Instant> {
        self.since
    }

    /// What is held.
    pub(super) fn held(&self) -> &BTreeSet<Key> {
        &self.held
    }

    /// `key` is there again, or was deleted by a word of its own; says whether that closed the breaker.
    pub(super) fn settle(&mut self, key: &Key) -> bool {
        let closes = self.held.remove(key) && self.held.is_empty();
        if closes {
            self.since = None;
        }
        closes
    }

    /// The absences were meant: everything held may go.
    pub(super) fn accept(&mut self) -> Vec<Key> {
        self.since = None;
        std::mem::take(&mut self.held).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(count: usize) -> Vec<Key> {
        (0..count).map(|at| Key::of_default(&format!("k{at}")).expect("an id")).collect()
    }

    #[test]
    fn a_few_may_go_and_a_folder_may_not() {
        let now = Instant::from_millis(5);
        for (known, gone, may) in [
            (3, 3, true),
            (4, 4, false),
            (10, 3, true),
            (10, 4, false),
            (19, 4, false),
            (20, 4, true),
            (100, 20, true),
            (100, 21, false),
        ] {
            let mut breaker = Breaker::default();
            let removed = breaker.pass(now, known, keys(gone)).len();
            assert_eq!(removed, if may { gone } else { 0 }, "{gone} of {known}");
            assert_eq!(breaker.is_open(), !may);
        }
    }

    #[test]
    fn an_open_breaker_holds_even_one_and_closes_when_nothing_is_missing() {
        let (mut breaker, now) = (Breaker::default(), Instant::from_millis(5));
        let all = keys(5);
        assert!(breaker.pass(now, 4, all.iter().take(4).cloned().collect()).is_empty());
        assert!(breaker.pass(now, 4, all.iter().skip(4).cloned().collect()).is_empty());
        assert_eq!(breaker.held().len(), 5);
        let (last, rest) = all.split_last().expect("five");
        assert!(rest.iter().all(|key| !breaker.settle(key)));
        assert!(breaker.settle(last) && !breaker.is_open() && !breaker.settle(last));
    }

    #[test]
    fn a_word_lets_everything_go() {
        let (mut breaker, now) = (Breaker::default(), Instant::from_millis(5));
        breaker.pass(now, 4, keys(4));
        assert_eq!(breaker.accept(), keys(4));
        assert!(!breaker.is_open() && breaker.accept().is_empty());
    }
}
