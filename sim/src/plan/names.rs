//! The words of plans: classes of faults and operations of callers, known and not yet known.
//!
//! A word of a domain that does not exist yet is understood and refused by name, so that a scenario never
//! passes because nothing happened.

/// A class of the fault menu.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Class(pub &'static str);

/// Something that a caller, an operator or a service does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Operation(pub &'static str);

/// A word and what belongs to it.
#[derive(Debug)]
pub struct Word {
    /// As written.
    pub name: &'static str,
    /// Keys it takes.
    pub keys: &'static [&'static str],
    /// What is missing before it can mean anything; `None`: it works.
    pub lacks: Option<&'static str>,
}

const fn word(name: &'static str, keys: &'static [&'static str]) -> Word {
    Word { name, keys, lacks: None }
}

const fn absent(name: &'static str, lacks: &'static str) -> Word {
    Word { name, keys: &[], lacks: Some(lacks) }
}

/// The fault menu; `isolate` and `heal` are ways to write a cut and its end.
pub const CLASSES: [Word; 40] = [
    word("loss", &["rate"]),
    word("dup", &["rate"]),
    word("reorder", &["rate"]),
    word("delay", &["max"]),
    word("replay", &["rate"]),
    word("cut", &[]),
    word("isolate", &[]),
    word("heal", &[]),
    word("clog", &[]),
    word("swizzle", &[]),
    word("mtu", &["bytes"]),
    word("reset", &[]),
    word("slow_reader", &["rate"]),
    word("lie", &["max"]),
    word("crash", &["power"]),
    word("restart", &["address", "clock"]),
    word("wipe", &[]),
    word("crash_effect", &["rate"]),
    word("pause", &[]),
    word("suspend", &["slept"]),
    word("twin", &[]),
    word("leave", &["remove_workers", "restarting"]),
    word("evict", &["node"]),
    word("join", &[]),
    word("upgrade", &["wire"]),
    word("disk_torn", &["rate"]),
    word("disk_lost_sync", &[]),
    word("disk_bit", &[]),
    word("disk_sector", &[]),
    word("disk_misdirect", &[]),
    word("disk_full", &[]),
    word("disk_error", &[]),
    word("disk_slow", &["max"]),
    word("clock_step", &["by"]),
    word("clock_drift", &["ppm"]),
    word("clock_freeze", &[]),
    word("service", &["rate", "url", "health"]),
    absent("notify", "a listener"),
    word("point", &["name"]),
    word("knob", &[]),
];

/// What callers, operators and services do.
pub const OPERATIONS: [Word; 33] = [
    word(
        "worker.add",
        &[
            "keys", "value", "on", "interval", "by", "rise", "fall", "settle", "secret", "probe",
            "vary", "models", "fields",
        ],
    ),
    word("worker.remove", &["keys", "on", "now"]),
    word("worker.drain", &["keys", "on"]),
    word("worker.undrain", &["keys", "on"]),
    word("worker.set", &["keys", "value", "on", "secret"]),
    word("worker.suppress", &["keys", "on"]),
    word("worker.pick", &["keys", "on", "policy", "models"]),
    word("worker.report", &["keys", "on"]),
    word("labels.set", &["keys", "value", "on"]),
    word("member.leave", &["remove_workers", "restarting"]),
    word("member.join", &[]),
    word("member.evict", &[]),
    word("set", &[]),
    word("kv.put", &["keys", "on", "if", "spaces"]),
    word("kv.get", &["keys", "on", "spaces"]),
    word("kv.list", &["keys", "on", "spaces"]),
    word("kv.watch", &["keys", "on", "watchers"]),
    absent("shared.put", "kv"),
    absent("names.register", "names"),
    absent("groups.join", "groups"),
    word("pool.request", &["keys", "on", "models"]),
    word("pool.operate", &["keys", "on"]),
    word("pool.remove", &[]),
    word("pool.add", &[]),
    word("credential.put", &["keys", "on"]),
    word("credential.edit", &["keys", "on", "lost", "torn"]),
    word("credential.hint", &["keys", "on", "times"]),
    word("credential.operate", &[]),
    absent("config.publish", "config"),
    word("locks.acquire", &["keys", "on", "ttl", "wait", "hold"]),
    word("resource.write", &["by"]),
    absent("publish", "config"),
    absent("groups.leave", "groups"),
];

/// Roles of nodes that no present domain gives.
pub const ROLES_ABSENT: [&str; 2] = ["owner", "announcer"];

/// Finds `name` among `words`; the error says why it cannot be used.
pub fn find(words: &'static [Word], name: &str, kind: &str) -> Result<&'static Word, String> {
    let found = words.iter().find(|word| word.name == name);
    let Some(word) = found else {
        let names = words.iter().map(|word| word.name);
        return Err(format!("no {kind} is called `{name}`{}", nearest(name, names)));
    };
    match word.lacks {
        Some(what) => Err(format!("the {kind} `{name}` has no subject yet: there is no {what}")),
        None => Ok(word),
    }
}

/// `; did you mean …?`, if anything comes near.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let near = known.map(|word| (distance(name, word), word)).min();
    match near {
        Some((far, word)) if far <= 2 + word.len() / 4 => format!("; did you mean `{word}`?"),
        _ => String::new(),
    }
}

/// Letters to insert, delete or replace.
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.chars().count()).collect();
    for (line, from) in left.chars().enumerate() {
        let mut diagonal = line;
        let mut before = line + 1;
        for (cell, to) in row.iter_mut().skip(1).zip(right.chars()) {
            let replaced = diagonal + usize::from(from != to);
            diagonal = *cell;
            *cell = replaced.min(before + 1).min(*cell + 1);
            before = *cell;
        }
        if let Some(first) = row.first_mut() {
            *first = line + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits() {
        for (left, right, edits) in [
            ("", "abc", 3),
            ("abc", "abc", 0),
            ("cut", "cat", 1),
            ("loss", "los", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(left, right), edits, "{left} {right}");
        }
    }

    #[test]
    fn an_unknown_word_names_the_nearest_known_one_and_an_absent_one_what_it_lacks() {
        let unknown = find(&CLASSES, "crahs", "fault").expect_err("no such word");
        assert_eq!(unknown, "no fault is called `crahs`; did you mean `crash`?");
        let absent = find(&OPERATIONS, "groups.join", "operation").expect_err("no groups yet");
        assert_eq!(absent, "the operation `groups.join` has no subject yet: there is no groups");
    }
}
