//! A run beside an earlier one: the first event in which they part.

use std::fs::File;
use std::io::{BufRead as _, BufReader};

/// Both sides of the first event that differs; a side without it had ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The event's number.
    pub event: u64,
    /// As the earlier run wrote it.
    pub there: Option<String>,
    /// As it is now.
    pub here: Option<String>,
}

/// The events of an earlier run, read one by one.
#[derive(Debug)]
pub struct Comparison {
    lines: BufReader<File>,
    difference: Option<Difference>,
}

impl Comparison {
    /// What follows the head of a trace.
    pub fn new(lines: BufReader<File>) -> Comparison {
        Comparison { lines, difference: None }
    }

    pub(super) fn take(&mut self, event: u64, here: &str) {
        if self.difference.is_some() {
            return;
        }
        let there = self.next();
        if there.as_deref() != Some(here) {
            self.difference = Some(Difference { event, there, here: Some(here.to_owned()) });
        }
    }

    pub(super) fn ended(mut self, events: u64) -> Option<Difference> {
        let rest = || Difference { event: events + 1, there: None, here: None };
        self.difference.take().or_else(|| {
            let there = self.next();
            there.is_some().then(|| Difference { there, ..rest() })
        })
    }

    /// A line that cannot be read is one that differs.
    fn next(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.lines.read_line(&mut line);
        let line = line.trim_end_matches('\n').to_owned();
        matches!(read, Ok(1..) | Err(_)).then_some(line)
    }
}
