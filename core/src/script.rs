//! The grammar of script tests: `given` sets a machine up, `when` hands it one input at one instant,
//! `then` lists every output, in order.
//!
//! ```text
//! given  key=value key=value
//! when   10ms   words of an input
//! then   words of an output
//! ```
//!
//! A `when` without `then` has no output; a line with `#` is for the reader. `UPDATE_EXPECT=1 cargo test`
//! rewrites the `then` lines in the test's source; commit that diff when you can explain each line.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::panic::Location;
use std::time::Duration;

use crate::time::Instant;

/// The only place in which a test touches a machine's interface: a parser per input, a printer per
/// output.
pub(crate) trait Script {
    /// Sets the machine up.
    fn given(settings: &Settings) -> Self;
    /// Hands over the input that `words` describe and prints its outputs, one a line.
    fn when(&mut self, now: Instant, words: &[&str]) -> Vec<String>;
}

/// The `key=value` pairs of all `given` lines. Each must be read, or the script has a typing error.
pub(crate) struct Settings {
    pairs: BTreeMap<String, String>,
    read: std::cell::RefCell<std::collections::BTreeSet<String>>,
}

impl Settings {
    /// The value of `key`, parsed, or `default`.
    pub(crate) fn get<T: std::str::FromStr>(&self, key: &str, default: T) -> T {
        self.read.borrow_mut().insert(key.to_owned());
        let Some(text) = self.pairs.get(key) else { return default };
        text.parse().unwrap_or_else(|_| panic!("`{key}={text}` does not parse"))
    }

    /// Milliseconds of `key` as a duration, or `default`.
    pub(crate) fn millis(&self, key: &str, default: u64) -> Duration {
        Duration::from_millis(self.get(key, default))
    }
}

/// Runs `script` and compares every output.
#[track_caller]
pub(crate) fn check<S: Script>(script: &str) {
    let actual = run::<S>(script);
    let expected = normal(script);
    if actual == expected {
        return;
    }
    if std::env_is_update() {
        rewrite(Location::caller(), script, &actual);
        return;
    }
    let mut message = String::from("the script tells another story\n");
    let (mut left, mut right) = (expected.lines(), actual.lines());
    loop {
        match (left.next(), right.next()) {
            (None, None) => break,
            (Some(one), Some(other)) if one == other => writeln!(message, "    {one}"),
            (one, other) => {
                let _ = one.map(|line| writeln!(message, "  - {line}"));
                other.map_or(Ok(()), |line| writeln!(message, "  + {line}"))
            }
        }
        .expect("a string takes every write");
    }
    panic!("{message}");
}

fn run<S: Script>(script: &str) -> String {
    let given = script.lines().filter_map(|line| line.trim().strip_prefix("given "));
    let pairs = given.flat_map(str::split_whitespace).map(|pair| {
        let (key, value) =
            pair.split_once('=').unwrap_or_else(|| panic!("`{pair}` is no key=value"));
        (key.to_owned(), value.to_owned())
    });
    let settings = Settings { pairs: pairs.collect(), read: Default::default() };
    let mut subject = S::given(&settings);
    for key in settings.pairs.keys() {
        assert!(settings.read.borrow().contains(key), "nothing reads `{key}`");
    }
    let mut told = String::new();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.split_first() {
            Some((&"when", [at, words @ ..])) => {
                writeln!(told, "{}", normal_line(line)).expect("a string takes every write");
                for output in subject.when(instant(at), words) {
                    writeln!(told, "then   {output}").expect("a string takes every write");
                }
            }
            Some((&"then", _)) => {}
            Some((&"given", _)) => {
                writeln!(told, "{}", normal_line(line)).expect("a string takes every write");
            }
            Some((word, _)) if word.starts_with('#') => {
                writeln!(told, "{line}").expect("a string takes every write");
            }
            _ => panic!("`{line}` begins with none of given, when, then, #"),
        }
    }
    told
}

/// A subject set up by one `given` line, to be driven by hand.
pub(crate) fn run_lines<S: Script>(given: &str) -> S {
    let pairs = given.split_whitespace().filter_map(|pair| pair.split_once('='));
    let pairs = pairs.map(|(key, value)| (key.to_owned(), value.to_owned()));
    S::given(&Settings { pairs: pairs.collect(), read: Default::default() })
}

/// Reads `10ms`, `3s`, `250us`, `2m`, `1h`, `30d`.
pub(crate) fn duration(text: &str) -> Duration {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let count: u64 = digits.parse().unwrap_or_else(|_| panic!("`{text}` is no time"));
    let micros = match text.get(digits.len()..).unwrap_or_default() {
        "us" => 1,
        "ms" => 1000,
        "s" => 1_000_000,
        "m" => 60_000_000,
        "h" => 3_600_000_000,
        "d" => 86_400_000_000,
        unit => panic!("`{unit}` is no unit of time"),
    };
    Duration::from_micros(count * micros)
}

fn instant(text: &str) -> Instant {
    Instant::ZERO + duration(text)
}

fn normal(script: &str) -> String {
    let lines = script.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty());
    lines.map(|line| normal_line(line) + "\n").collect()
}

fn normal_line(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.split_first() {
        Some((&"when", [at, rest @ ..])) => format!("when   {at:<7} {}", rest.join(" ")),
        Some((head, _)) if head.starts_with('#') => line.to_owned(),
        Some((head, rest)) => format!("{head:<6} {}", rest.join(" ")),
        None => String::new(),
    }
}

/// Replaces the script literal in its source file by what happened, keeping its indentation.
fn rewrite(location: &Location<'_>, script: &str, actual: &str) {
    let workspace = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace");
    let path = workspace.join(location.file());
    let source = std::fs::read_to_string(&path).expect("the test's source is readable");
    let indent = script
        .lines()
        .nth(1)
        .map_or("", |line| line.get(..line.len() - line.trim_start().len()).unwrap_or_default());
    let close = script.lines().last().unwrap_or_default();
    let body: String = actual.lines().map(|line| format!("{indent}{line}\n")).collect();
    let changed = source.replacen(script, &format!("\n{body}{close}"), 1);
    std::fs::write(&path, changed).expect("the test's source is writable");
}

mod std {
    pub(super) use ::std::*;

    /// Whether `UPDATE_EXPECT=1` asks for the expectations to be rewritten.
    #[expect(clippy::disallowed_methods, reason = "a test harness, not a machine")]
    pub(super) fn env_is_update() -> bool {
        ::std::env::var("UPDATE_EXPECT").is_ok_and(|value| value == "1")
    }
}
