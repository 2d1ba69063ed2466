//! Plans as text: `.scn` files.
//!
//! A line is a word and its rest; `#` begins a comment. Whatever is not known is an error with its file,
//! its line and the nearest known word.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use quorate_core::mark::names::{MARKS, POINTS};

use super::names::{self, CLASSES, OPERATIONS, ROLES_ABSENT, nearest};
use super::{
    Actor, Class, Comparison, Load, Operation, Pick, Plan, Role, Targets, Then, What, When,
};
use crate::clock::Micros;
use crate::{invariants, settings};

/// The most bytes of a file.
pub const FILE_BYTES_MAX: usize = 64 * 1024;

/// Why a text is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {what}")]
pub struct PlanError {
    /// Which file.
    pub file: String,
    /// Which line, from 1.
    pub line: usize,
    /// What is wrong, and what may have been meant.
    pub what: String,
}

/// Reads a plan. `file` is named in errors.
pub fn parse(file: &str, text: &str) -> Result<Plan, PlanError> {
    let error = |line: usize, what: String| PlanError { file: file.to_owned(), line, what };
    if text.len() > FILE_BYTES_MAX {
        return Err(error(1, format!("longer than {FILE_BYTES_MAX} bytes")));
    }
    let mut plan = Plan::default();
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if !line.is_empty() {
            parse_line(&mut plan, line).map_err(|what| error(index + 1, what))?;
        }
    }
    if plan.name.is_empty() {
        return Err(error(1, "there is no `scenario` line".to_owned()));
    }
    settings::check(&plan).map_err(|what| error(1, what))?;
    check_nodes(&plan).map_err(|what| error(1, what))?;
    Ok(plan)
}

const LINES: [&str; 7] = ["scenario", "about", "given", "load", "when", "then", "seeds"];

fn parse_line(plan: &mut Plan, line: &str) -> Result<(), String> {
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim();
    match word {
        "scenario" => plan.name = parse_name(rest)?,
        "about" => plan.about = rest.to_owned(),
        "given" => {
            let pairs = rest.split_whitespace().map(pair).collect::<Result<Vec<_>, _>>()?;
            for (key, value) in pairs {
                settings::known(&key)?;
                plan.given.insert(key, value);
            }
        }
        "load" => plan.loads.push(parse_load(rest)?),
        "when" => plan.events.push(parse_when(rest)?),
        "then" => plan.thens.push(parse_then(rest)?),
        "seeds" => plan.seeds = Some(parse_seeds(rest)?),
        _ => {
            return Err(format!(
                "no line begins with `{word}`{}",
                nearest(word, LINES.into_iter())
            ));
        }
    }
    Ok(())
}

fn parse_name(text: &str) -> Result<String, String> {
    let legal = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    match text.split_once('/') {
        Some((domain, name)) if legal(domain) && legal(name) => Ok(text.to_owned()),
        _ => Err(format!("`{text}` is not `<domain>/<name>`")),
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) =
        text.split_once('=').ok_or_else(|| format!("`{text}` is not `key=value`"))?;
    Ok((key.to_owned(), value.to_owned()))
}

fn parse_seeds(text: &str) -> Result<(u64, u64), String> {
    let wrong = || format!("`{text}` is no range of seeds like `1..9`");
    let (first, last) = text.split_once("..").unwrap_or((text, text));
    let (first, last) = (first.parse().map_err(|_| wrong())?, last.parse().map_err(|_| wrong())?);
    if first > last { Err(wrong()) } else { Ok((first, last)) }
}

fn parse_load(text: &str) -> Result<Load, String> {
    let mut words = text.split_whitespace();
    let span = words.next().unwrap_or_default();
    let (from, upto) =
        span.split_once("..").ok_or_else(|| format!("`{span}` is not `<from>..<to>`"))?;
    let name = words.next().unwrap_or_default();
    let word = names::find(&OPERATIONS, name, "operation")?;
    let mut keys = keys_of(words, word.keys, &["rate"])?;
    let rate = keys.remove("rate").ok_or("a load needs `rate=<n>/s`")?;
    let rate_milli = rate.strip_suffix("/s").and_then(parse_milli);
    let rate_milli = rate_milli.ok_or_else(|| format!("`{rate}` is not `<n>/s`"))?;
    let (from, upto) = (parse_time(from)?, parse_time(upto)?);
    Ok(Load { from, upto, operation: Operation(word.name), rate_milli, keys })
}

fn keys_of<'a>(
    words: impl Iterator<Item = &'a str>,
    known: &[&'static str],
    also: &[&'static str],
) -> Result<BTreeMap<String, String>, String> {
    let mut keys = BTreeMap::new();
    for word in words {
        let (key, value) = pair(word)?;
        let all = || known.iter().chain(also).copied();
        if !all().any(|known| known == key) {
            return Err(format!("the key `{key}` is not known here{}", nearest(&key, all())));
        }
        keys.insert(key, value);
    }
    Ok(keys)
}

fn parse_when(text: &str) -> Result<When, String> {
    let mut words: Vec<&str> = text.split_whitespace().collect();
    let lasts = take_for(&mut words)?;
    let mut words = words.into_iter().peekable();
    let at = parse_time(words.next().unwrap_or_default())?;
    let mut every = None;
    if words.next_if_eq(&"every").is_some() {
        let distance = parse_time(words.next().unwrap_or_default())?;
        let times = words.next().and_then(|word| word.strip_prefix('x')?.parse().ok());
        every = Some((distance, times.ok_or("`every` needs a distance and `x<n>`")?));
    }
    let first = words.next().ok_or("nothing happens")?;
    let what = match parse_actor(first) {
        Some(actor) => parse_act(actor?, words)?,
        None => parse_fault(first, words)?,
    };
    Ok(When { at, every, what, lasts })
}

/// Takes a trailing `for <time>`.
fn take_for(words: &mut Vec<&str>) -> Result<Option<Micros>, String> {
    let Some(position) = words.iter().position(|word| *word == "for") else { return Ok(None) };
    let tail = words.split_off(position);
    match tail.as_slice() {
        [_, time] => parse_time(time).map(Some),
        _ => Err("`for <time>` ends a line".to_owned()),
    }
}

/// `None`: the word is no actor.
fn parse_actor(word: &str) -> Option<Result<Actor, String>> {
    match word {
        "server" => Some(Ok(Actor::Service)),
        "random" => Some(Ok(Actor::Node(Pick::Random))),
        _ if Role::ALL.iter().any(|(name, _)| *name == word) => {
            Some(parse_pick(word).map(Actor::Node))
        }
        _ if word.strip_prefix('n')?.parse::<usize>().is_ok() => {
            Some(parse_pick(word).map(Actor::Node))
        }
        _ => None,
    }
}

fn parse_act<'a>(actor: Actor, words: impl Iterator<Item = &'a str>) -> Result<What, String> {
    let mut words = words.peekable();
    let tag = words.next_if(|word| word.starts_with("as=")).map(|word| word.replacen("as=", "", 1));
    let name = words.next().ok_or("the actor does nothing")?;
    let word = names::find(&OPERATIONS, name, "operation")?;
    let (keys, plain): (Vec<&str>, Vec<&str>) = words.partition(|word| is_pair(word));
    let keys = keys_of(keys.into_iter(), word.keys, &[])?;
    let words = plain.into_iter().map(str::to_owned).collect();
    Ok(What::Act { actor, tag, operation: Operation(word.name), words, keys })
}

/// URLs may hold `=`; a key never holds `:` or `/`.
fn is_pair(word: &str) -> bool {
    word.split_once('=').is_some_and(|(key, _)| !key.contains([':', '/']))
}

fn parse_fault<'a>(name: &str, words: impl Iterator<Item = &'a str>) -> Result<What, String> {
    let word = names::find(&CLASSES, name, "fault")?;
    let (mut keys, mut targets) = (BTreeMap::new(), Targets::None);
    for text in words {
        match text {
            "udp" | "tcp" => _ = keys.insert("only".to_owned(), text.to_owned()),
            _ if text.contains('=') && name == "knob" => {
                let (key, value) = pair(text)?;
                settings::known(&key)?;
                keys.insert(key, value);
            }
            _ if text.contains('=') => {
                let also: &[&'static str] = if name == "crash" { &["effect"] } else { &[] };
                keys.extend(keys_of(std::iter::once(text), word.keys, also)?);
            }
            _ => targets = parse_targets(text)?,
        }
    }
    if let Some(version) = keys.get("wire").filter(|_| name == "upgrade") {
        settings::wire(version).ok_or_else(|| format!("`{version}` is no version: -1, 0 or +1"))?;
    }
    if name == "point" {
        let point = keys.get("name").ok_or("a point needs `name=<point>`")?;
        known_name(POINTS, point, "point")?;
    }
    Ok(What::Fault { class: Class(word.name), targets, keys })
}

fn parse_targets(text: &str) -> Result<Targets, String> {
    if let Some((one, other)) = text.split_once("<->") {
        return Ok(Targets::Between(parse_picks(one)?, parse_picks(other)?));
    }
    if let Some((from, to)) = text.split_once("->") {
        return Ok(Targets::OneWay(parse_picks(from)?, parse_picks(to)?));
    }
    if let Some((one, other)) = text.split_once('|') {
        return Ok(Targets::Halves(parse_picks(one)?, parse_picks(other)?));
    }
    parse_picks(text).map(Targets::Nodes)
}

fn parse_picks(text: &str) -> Result<Vec<Pick>, String> {
    let inner = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or(text);
    inner.split(',').map(parse_pick).collect()
}

fn parse_pick(text: &str) -> Result<Pick, String> {
    let number =
        |text: &str| text.strip_prefix('n').and_then(|digits| digits.parse::<usize>().ok());
    match text {
        "all" => return Ok(Pick::All),
        "random" => return Ok(Pick::Random),
        _ => {}
    }
    if let Some((_, role)) = Role::ALL.into_iter().find(|(name, _)| *name == text) {
        return Ok(Pick::Role(role));
    }
    let role = text.split('(').next().unwrap_or_default();
    if ROLES_ABSENT.contains(&role) {
        return Err(format!("nobody is `{role}` yet: the domain that says so does not exist"));
    }
    match text.split_once("..") {
        Some((first, last)) => {
            number(first).zip(number(last)).map(|(first, last)| Pick::Range(first, last))
        }
        None => number(text).map(Pick::Node),
    }
    .ok_or_else(|| {
        let known = ["all", "random", "n1"].into_iter().chain(Role::ALL.map(|(name, _)| name));
        format!("`{text}` names no node{}", nearest(text, known))
    })
}

const THENS: [&str; 6] = ["always", "by", "end", "answer", "mark", "count"];

fn parse_then(text: &str) -> Result<Then, String> {
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let rest = rest.trim();
    match word {
        "always" => parse_ids(rest).map(Then::Always),
        "end" => parse_ids(rest).map(Then::End),
        "by" => {
            let (time, ids) = rest.split_once(char::is_whitespace).ok_or("`by <time> ID…`")?;
            Ok(Then::By(parse_time(time)?, parse_ids(ids)?))
        }
        "answer" => {
            let (tag, text) = rest.split_once(" = ").ok_or("`answer <tag> = <text>`")?;
            Ok(Then::Answer(tag.trim().to_owned(), text.trim().to_owned()))
        }
        "mark" => known_name(MARKS, rest, "mark").map(Then::Mark),
        "count" => parse_count(rest),
        _ => Err(format!("no `then` begins with `{word}`{}", nearest(word, THENS.into_iter()))),
    }
}

fn known_name(names: &[&'static str], name: &str, kind: &str) -> Result<String, String> {
    if names.contains(&name) {
        return Ok(name.to_owned());
    }
    Err(format!("no {kind} is called `{name}`{}", nearest(name, names.iter().copied())))
}

fn parse_ids(text: &str) -> Result<Vec<String>, String> {
    let ids: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    for id in &ids {
        if invariants::find(id).is_none() {
            let known = invariants::TABLE.iter().map(|row| row.id);
            return Err(format!("no invariant is called `{id}`{}", nearest(id, known)));
        }
    }
    if ids.is_empty() { Err("no invariant is named".to_owned()) } else { Ok(ids) }
}

fn parse_count(text: &str) -> Result<Then, String> {
    let form = "`count <metric> <op> <number> [on <node>] [by <time>]`";
    let words: Vec<&str> = text.split_whitespace().collect();
    let [metric, sign, number, rest @ ..] = words.as_slice() else { return Err(form.to_owned()) };
    if !metric.starts_with("quorate_") {
        return Err(format!("`{metric}` is no metric: they begin with `quorate_`"));
    }
    let comparison = Comparison::ALL.into_iter().find(|(known, _)| known == sign);
    let (_, comparison) = comparison.ok_or_else(|| format!("`{sign}` compares nothing"))?;
    let number = number.parse().map_err(|_| format!("`{number}` is no number"))?;
    let (mut node, mut by) = (None, None);
    for words in rest.chunks(2) {
        match words {
            ["on", name] => match parse_pick(name)? {
                Pick::Node(number) => node = Some(number),
                Pick::Range(..) | Pick::All | Pick::Random | Pick::Role(_) => {
                    return Err(form.to_owned());
                }
            },
            ["by", time] => by = Some(parse_time(time)?),
            _ => return Err(form.to_owned()),
        }
    }
    Ok(Then::Count { metric: (*metric).to_owned(), comparison, number, node, by })
}

/// A number with up to three decimals, in thousandths.
pub fn parse_milli(text: &str) -> Option<u64> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    if decimals.len() > 3 {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let decimals: u64 = format!("{decimals:0<3}").parse().ok()?;
    whole.checked_mul(1000)?.checked_add(decimals)
}

const UNITS: [(&str, Micros); 6] = [
    ("us", 1),
    ("ms", 1000),
    ("s", 1_000_000),
    ("min", 60_000_000),
    ("h", 3_600_000_000),
    ("d", 86_400_000_000),
];

/// A time like `200ms` or `1.5s`.
pub fn parse_time(text: &str) -> Result<Micros, String> {
    let wrong = || format!("`{text}` is no time like `200ms` or `1.5s`");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.get(digits.len()..).unwrap_or_default();
    let (_, scale) = UNITS.into_iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
    let milli = parse_milli(digits).ok_or_else(wrong)?;
    Ok(milli.checked_mul(scale).ok_or_else(wrong)? / 1000)
}

/// `90s+30s`, or one time for the first.
pub fn parse_phases(text: &str) -> Option<(Micros, Micros)> {
    match text.split_once('+') {
        Some((safety, liveness)) => Some((parse_time(safety).ok()?, parse_time(liveness).ok()?)),
        None => Some((parse_time(text).ok()?, super::TIME_DEFAULT_US.1)),
    }
}

/// A time in its largest whole unit.
pub struct Time(pub Micros);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole =
            UNITS.into_iter().take(3).rev().find(|(_, scale)| self.0.is_multiple_of(*scale));
        let (unit, scale) = whole.unwrap_or(("us", 1));
        write!(f, "{}{unit}", self.0 / scale)
    }
}

fn check_nodes(plan: &Plan) -> Result<(), String> {
    let nodes = plan.nodes();
    let legal = |pick: &Pick| match pick {
        Pick::Node(number) => (1..=nodes).contains(number),
        Pick::Range(first, last) => *first >= 1 && first <= last && *last <= nodes,
        Pick::All | Pick::Random | Pick::Role(_) => true,
    };
    for when in &plan.events {
        let picks: Vec<&Pick> = match &when.what {
            What::Fault { targets, .. } => targets.picks(),
            What::Act { actor: Actor::Node(pick), .. } => vec![pick],
            What::Act { actor: Actor::Service, .. } => Vec::new(),
        };
        if let Some(wrong) = picks.into_iter().find(|pick| !legal(pick)) {
            return Err(format!("`{wrong}` is not among {nodes} nodes"));
        }
        if let What::Fault { class, targets, .. } = &when.what
            && targets.part_nobody(*class, nodes)
        {
            return Err(format!("`{}{targets}` parts nobody from anybody", class.0));
        }
    }
    Ok(())
}

impl Targets {
    /// Whether a fault between two sides has only one. A random side is taken at its word.
    fn part_nobody(&self, class: Class, nodes: usize) -> bool {
        let all: BTreeSet<usize> = (1..=nodes).collect();
        let side = |picks: &[Pick]| -> Option<BTreeSet<usize>> {
            let numbers = picks.iter().map(|pick| match pick {
                Pick::Node(number) => Some(*number..=*number),
                Pick::Range(first, last) => Some(*first..=*last),
                Pick::All => Some(1..=nodes),
                Pick::Random | Pick::Role(_) => None,
            });
            Some(numbers.collect::<Option<Vec<_>>>()?.into_iter().flatten().collect())
        };
        match self {
            Targets::None => false,
            Targets::Nodes(picks) => {
                matches!(class.0, "cut" | "isolate") && side(picks).is_some_and(|side| side == all)
            }
            Targets::OneWay(one, other)
            | Targets::Between(one, other)
            | Targets::Halves(one, other) => side(one)
                .zip(side(other))
                .is_some_and(|(one, other)| one.len() == 1 && one == other),
        }
    }

    fn picks(&self) -> Vec<&Pick> {
        match self {
            Targets::None => Vec::new(),
            Targets::Nodes(picks) => picks.iter().collect(),
            Targets::OneWay(from, to) | Targets::Between(from, to) | Targets::Halves(from, to) => {
                from.iter().chain(to).collect()
            }
        }
    }
}

impl fmt::Display for Pick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pick::Node(number) => write!(f, "n{number}"),
            Pick::Range(first, last) => write!(f, "n{first}..n{last}"),
            Pick::All => f.write_str("all"),
            Pick::Random => f.write_str("random"),
            Pick::Role(role) => {
                let known = Role::ALL.into_iter().find(|(_, known)| known == role);
                f.write_str(known.map_or("", |(name, _)| name))
            }
        }
    }
}

struct Picks<'a>(&'a [Pick]);

impl fmt::Display for Picks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.0.iter().map(Pick::to_string).collect();
        match names.as_slice() {
            [one] => f.write_str(one),
            many => write!(f, "{{{}}}", many.join(",")),
        }
    }
}

impl fmt::Display for Targets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Targets::None => Ok(()),
            Targets::Nodes(picks) => write!(f, " {}", Picks(picks)),
            Targets::OneWay(from, to) => write!(f, " {}->{}", Picks(from), Picks(to)),
            Targets::Between(one, other) => write!(f, " {}<->{}", Picks(one), Picks(other)),
            Targets::Halves(one, other) => write!(f, " {}|{}", Picks(one), Picks(other)),
        }
    }
}

struct Keys<'a>(&'a BTreeMap<String, String>);

impl fmt::Display for Keys<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (key, value) in self.0 {
            match key.as_str() {
                "only" => write!(f, " {value}")?,
                _ => write!(f, " {key}={value}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Fault { class, targets, keys } => write!(f, "{}{targets}{}", class.0, Keys(keys)),
            What::Act { actor, tag, operation, words, keys } => {
                match actor {
                    Actor::Node(pick) => write!(f, "{pick}")?,
                    Actor::Service => f.write_str("server")?,
                }
                if let Some(tag) = tag {
                    write!(f, " as={tag}")?;
                }
                write!(f, " {}", operation.0)?;
                words.iter().try_for_each(|word| write!(f, " {word}"))?;
                write!(f, "{}", Keys(keys))
            }
        }
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", Time(self.at))?;
        if let Some((distance, count)) = self.every {
            write!(f, "every {} x{count} ", Time(distance))?;
        }
        write!(f, "{}", self.what)?;
        self.lasts.map_or(Ok(()), |lasts| write!(f, " for {}", Time(lasts)))
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.rate_milli / 1000, self.rate_milli % 1000);
        write!(f, "{}..{} {} rate={whole}", Time(self.from), Time(self.upto), self.operation.0)?;
        if rest > 0 {
            write!(f, ".{}", format!("{rest:03}").trim_end_matches('0'))?;
        }
        write!(f, "/s{}", Keys(&self.keys))
    }
}

impl fmt::Display for Then {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Then::Always(ids) => write!(f, "always {}", ids.join(" ")),
            Then::By(time, ids) => write!(f, "by {} {}", Time(*time), ids.join(" ")),
            Then::End(ids) => write!(f, "end {}", ids.join(" ")),
            Then::Answer(tag, text) => write!(f, "answer {tag} = {text}"),
            Then::Mark(name) => write!(f, "mark {name}"),
            Then::Count { metric, comparison, number, node, by } => {
                let sign = Comparison::ALL.into_iter().find(|(_, known)| known == comparison);
                let (sign, _) = sign.expect("every comparison has a sign");
                write!(f, "count {metric} {sign} {number}")?;
                node.map_or(Ok(()), |node| write!(f, " on n{node}"))?;
                by.map_or(Ok(()), |by| write!(f, " by {}", Time(by)))
            }
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "scenario {}", self.name)?;
        writeln!(f, "about    {}", self.about)?;
        for room in rooms(&self.given) {
            writeln!(f, "given    {}", room.join(" "))?;
        }
        self.loads.iter().try_for_each(|load| writeln!(f, "load     {load}"))?;
        self.events.iter().try_for_each(|when| writeln!(f, "when     {when}"))?;
        self.thens.iter().try_for_each(|then| writeln!(f, "then     {then}"))?;
        self.seeds.map_or(Ok(()), |(first, last)| writeln!(f, "seeds    {first}..{last}"))
    }
}

/// What is given, a line for the world and one for each domain.
fn rooms(given: &BTreeMap<String, String>) -> Vec<Vec<String>> {
    let mut rooms: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (key, value) in given {
        let room = key.split_once('.').map_or("", |(domain, _)| domain);
        rooms.entry(room).or_default().push(format!("{key}={value}"));
    }
    rooms.into_values().collect()
}

#[cfg(test)]
mod tests;
