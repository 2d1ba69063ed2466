//! The grammar of the scripts: a store whose log commits at once, and, for a node without a copy, another
//! node that has one.
//!
//! Entries carry the script's own time as log time. `log off` keeps proposals waiting until `log on`, and
//! `answers off` questions to the other node until `answers on`.

use std::time::Duration;

use crate::ids::Ticket;
use crate::kv::*;
use crate::machine::Machine;
use crate::script::{Script, Settings as Given, duration};
use crate::time::{Instant, millis};
use crate::wire::{Blob, decode};

pub(super) struct KvScript {
    kv: Kv,
    /// The copy at another node, for a node without one.
    remote: Option<Kv>,
    index: u64,
    now: Instant,
    log: bool,
    waiting: Vec<(Ticket, Blob)>,
    /// Whether nodes with a copy answer.
    answers: bool,
    asked: Vec<(Ticket, Blob)>,
    told: Vec<String>,
    requests: u64,
}

impl Script for KvScript {
    fn given(given: &Given) -> KvScript {
        let defaults = Settings::default();
        let bounds = Bounds {
            keys_max: given.get("keys_max", defaults.bounds.keys_max),
            bytes_max: given.get("bytes_max", defaults.bounds.bytes_max),
            leases_max: given.get("leases_max", defaults.bounds.leases_max),
            lease_keys_max: given.get("lease_keys_max", defaults.bounds.lease_keys_max),
            contenders_max: given.get("contenders_max", defaults.bounds.contenders_max),
        };
        let settings = Settings {
            bounds,
            value_max: given.get("value_max", defaults.value_max),
            transaction_operations_max: given.get("txn_operations_max", 128),
            transaction_bytes_max: given.get("txn_bytes_max", defaults.transaction_bytes_max),
            history_revisions: given.get("history_revisions", defaults.history_revisions),
            history: given.millis("history_ms", 300_000),
            history_bytes: given.get("history_bytes", defaults.history_bytes),
            watches_max: given.get("watches_max", defaults.watches_max),
            watch_buffer_changes: given.get("watch_buffer", defaults.watch_buffer_changes),
            ..defaults
        };
        let outside = given.get("outside", false);
        let mut script = KvScript {
            kv: Kv::new(settings.clone()),
            remote: outside.then(|| Kv::new(settings.clone())),
            index: 0,
            now: Instant::ZERO,
            log: true,
            waiting: Vec::new(),
            answers: true,
            asked: Vec::new(),
            told: Vec::new(),
            requests: 0,
        };
        script.put_in(Input::Copy { here: !outside });
        if let Some(remote) = &mut script.remote {
            remote.handle(Instant::ZERO, Input::Copy { here: true }, &mut Vec::new());
        }
        if bounds != Bounds::default() {
            let payload = Blob::from(crate::wire::encode(&Command::Bound(bounds)));
            script.commit(&payload);
        }
        script
    }

    fn when(&mut self, now: Instant, words: &[&str]) -> Vec<String> {
        self.now = now;
        match words {
            ["log", "off"] => self.log = false,
            ["log", "on"] => {
                self.log = true;
                for (ticket, payload) in std::mem::take(&mut self.waiting) {
                    self.commit_for(ticket, &payload);
                }
            }
            ["answers", "off"] => self.answers = false,
            ["answers", "on"] => {
                self.answers = true;
                for (ticket, question) in std::mem::take(&mut self.asked) {
                    self.put_to_the_other(ticket, question);
                }
            }
            ["lose", why] => {
                let why = match *why {
                    "ambiguous" => Unavailable::Ambiguous,
                    _ => Unavailable::NoQuorum,
                };
                for (ticket, _) in std::mem::take(&mut self.waiting) {
                    self.put_in(Input::Proposed { ticket, result: Err(why) });
                }
            }
            ["entry", rest @ ..] => {
                let payload = match rest {
                    ["expire"] => crate::wire::encode(&Command::Expire),
                    _ => b"no command".to_vec(),
                };
                let outcome = self.commit(&Blob::from(payload));
                self.told.push(format!("{outcome:?}"));
            }
            ["restore"] => self.restore(),
            ["member", word] => self.put_in(Input::Copy { here: *word == "on" }),
            ["state"] => {
                let state = self.state();
                let (revision, compacted) = (state.revision(), state.compact_revision());
                let bytes = (state.live_bytes(), state.history_bytes());
                self.told.push(format!("r{revision} from {compacted}, bytes {bytes:?}"));
            }
            _ => {
                let input = self.read(words);
                self.put_in(input);
            }
        }
        std::mem::take(&mut self.told)
    }
}

impl KvScript {
    fn state(&self) -> &State {
        self.remote.as_ref().unwrap_or(&self.kv).state()
    }

    /// A copy of the state through bytes takes the place of the state.
    fn restore(&mut self) {
        let (index, log_time) = (self.state().index(), self.state().log_time());
        let section = Some(Blob::from(self.state().section().bytes()));
        let before = self.state().clone();
        self.put_in(Input::Restore { index, log_time, section });
        assert_eq!(self.kv.state(), &before, "KV-2: a restored state is the state");
    }

    fn put_in(&mut self, input: Input) {
        let mut out = Vec::new();
        self.kv.handle(self.now, input, &mut out);
        // Machines are ticked when they ask for it; a script may jump over such moments.
        for output in out {
            self.hear(output);
        }
    }

    fn hear(&mut self, output: Output) {
        match output {
            Output::Propose { ticket, payload, .. } if self.log => {
                self.commit_for(ticket, &payload);
            }
            Output::Propose { ticket, payload, .. } => self.waiting.push((ticket, payload)),
            Output::Read { ticket, .. } => self.put_in(Input::ReadReady { ticket, result: Ok(()) }),
            Output::Query { ticket, question, .. } if self.answers => {
                self.put_to_the_other(ticket, question);
            }
            Output::Query { ticket, question, .. } => self.asked.push((ticket, question)),
            Output::Reply { ticket, answer } => {
                self.told.push(format!("#{} {}", ticket.0, word(&answer)));
            }
            Output::Watched { ticket, event } => {
                self.told.push(format!("watch {}: {}", ticket.0, event_word(&event)));
            }
            Output::Misbehaved { what } => self.told.push(format!("misbehaved: {what}")),
            Output::Applied { .. }
            | Output::Answered { .. }
            | Output::Piece { .. }
            | Output::Waiting { .. } => {}
        }
    }

    /// The node with a copy answers.
    fn put_to_the_other(&mut self, ticket: Ticket, question: Blob) {
        let remote = self.remote.as_mut().expect("a member asks nobody");
        let mut out = Vec::new();
        remote.handle(self.now, Input::Answer { number: 1, question }, &mut out);
        let answer = out.into_iter().find_map(|output| match output {
            Output::Answered { answer, .. } => Some(answer),
            _ => None,
        });
        let result = Ok(answer.expect("a question is answered at once"));
        self.put_in(Input::Queried { ticket, result });
    }

    fn commit_for(&mut self, ticket: Ticket, payload: &Blob) {
        let outcome = self.commit(payload);
        let result = Ok(Blob::from(crate::wire::encode(&outcome)));
        self.put_in(Input::Proposed { ticket, result });
    }

    fn commit(&mut self, payload: &Blob) -> Outcome {
        self.index += 1;
        let (index, log_time) = (self.index, millis(self.now.since(Instant::ZERO)));
        let entry = Input::Apply { index, log_time, version: VERSION, payload: payload.clone() };
        let mut out = Vec::new();
        let now = self.now;
        self.remote.as_mut().unwrap_or(&mut self.kv).handle(now, entry, &mut out);
        let mut outcome = None;
        for output in out {
            match output {
                Output::Applied { outcome: bytes, .. } => {
                    outcome = Some(decode::<Outcome, { 1 << 20 }>(&bytes).expect("an outcome"));
                }
                output => self.hear(output),
            }
        }
        outcome.expect("every entry has an outcome")
    }

    fn read(&mut self, words: &[&str]) -> Input {
        match words {
            ["tick"] => Input::Tick,
            ["lead", word] => Input::Led { here: *word == "on" },
            ["watch", id, what, rest @ ..] => {
                let (namespace, keys) = keys(what);
                let from = option(rest, "from").map(|from| from.parse().expect("a revision"));
                let previous = rest.contains(&"previous");
                let request = WatchRequest { namespace, keys, from, previous };
                Input::Watch { ticket: id_of(id), request }
            }
            ["taken", id, revision] => {
                let revision = revision.parse().expect("a revision");
                Input::Taken { ticket: id_of(id), revision }
            }
            ["unwatch", id] => Input::Unwatch { ticket: id_of(id) },
            _ => {
                self.requests += 1;
                let origin = match words {
                    ["quorate", ..] => Origin::Domain,
                    _ => Origin::Caller,
                };
                let words = words.strip_prefix(&["quorate"]).unwrap_or(words);
                let within = option(words, "within").map(duration);
                let ticket = Ticket(self.requests);
                Input::Request { ticket, request: request(words), origin, within, once: None }
            }
        }
    }
}

fn id_of(text: &str) -> Ticket {
    Ticket(text.parse().expect("a number"))
}

fn option<'a>(words: &[&'a str], name: &str) -> Option<&'a str> {
    let pairs = words.iter().filter_map(|word| word.split_once('='));
    pairs.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value)
}

fn request(words: &[&str]) -> Request {
    let number = |text: &str| -> u64 { text.parse().unwrap_or_else(|_| panic!("`{text}`")) };
    let seconds = |text: &str| millis(duration(text));
    match words {
        ["put", what, rest @ ..] => {
            let (path, value) = what.split_once('=').expect("namespace/key=value");
            let (namespace, key) = one(path);
            let lease = match option(rest, "lease") {
                None => Binding::None,
                Some("keep") => Binding::Keep,
                Some(lease) => Binding::Lease(LeaseId(number(lease))),
            };
            let value = match value.split_once('*') {
                Some((letter, count)) => Blob::from(&*letter.repeat(number(count) as usize)),
                None => Blob::from(value),
            };
            let (condition, previous) = (condition(rest), rest.contains(&"previous"));
            Request::Put { namespace, key, value, lease, condition, previous }
        }
        ["delete", what, rest @ ..] => {
            let (namespace, keys) = keys(what);
            Request::Delete { namespace, keys, condition: condition(rest) }
        }
        ["get", what, rest @ ..] => {
            let (namespace, key) = one(what);
            ask(Question::Get { namespace, key, revision: option(rest, "at").map(number) }, rest)
        }
        ["list", what, rest @ ..] => {
            let (namespace, keys) = keys(what);
            let after = option(rest, "after").map(key_of);
            let revision = option(rest, "at").map(number);
            let limit = option(rest, "limit").map_or(1000, |limit| number(limit) as u16);
            let keys_only = rest.contains(&"keys");
            ask(Question::List { namespace, keys, after, revision, limit, keys_only }, rest)
        }
        ["txn", namespace, rest @ ..] => Request::Transact(transaction(namespace, rest)),
        ["grant", ttl] => Request::Grant { ttl_ms: seconds(ttl) },
        ["keep", lease] => Request::KeepAlive(LeaseId(number(lease))),
        ["revoke", lease] => Request::Revoke(LeaseId(number(lease))),
        ["lease", lease] => ask(Question::Lease(LeaseId(number(lease))), &[]),
        ["compact", revision] => Request::Compact { revision: number(revision) },
        ["acquire", what, rest @ ..] => {
            let lease = match option(rest, "lease") {
                Some(lease) => Holder::Lease(LeaseId(number(lease))),
                None => Holder::Grant(seconds(option(rest, "ttl").expect("a lease or a ttl"))),
            };
            let permits = option(rest, "permits").map_or(1, |permits| number(permits) as u32);
            let wait = option(rest, "wait").map_or(Duration::ZERO, duration);
            Request::Acquire { acquire: Acquire { lock: lock(what), lease, permits }, wait }
        }
        ["release", what, rest @ ..] => {
            let hold = match option(rest, "lease") {
                Some(lease) => Hold::Lease(LeaseId(number(lease))),
                None => Hold::Fence(number(option(rest, "fence").expect("a lease or a fence"))),
            };
            Request::Release { lock: lock(what), hold }
        }
        ["line", what] => ask(Question::Line(lock(what)), &[]),
        _ => panic!("`{}` is no input", words.join(" ")),
    }
}

fn ask(question: Question, words: &[&str]) -> Request {
    let mode = if words.contains(&"local") { Mode::Local } else { Mode::Linearizable };
    let min_revision = option(words, "min").map_or(0, |min| min.parse().expect("a revision"));
    Request::Ask { question, mode, min_revision }
}

fn condition(words: &[&str]) -> Option<Condition> {
    let text = option(words, "if")?;
    Some(match text.split_once(':') {
        None if text == "absent" => Condition::Absent,
        None => Condition::Present,
        Some(("mod", revision)) => Condition::ModRevision(revision.parse().expect("a number")),
        Some(("version", version)) => Condition::Version(version.parse().expect("a number")),
        Some((_, value)) => Condition::Value(Blob::from(value)),
    })
}

/// `?a.mod=3` compares, `a=1` puts, `-a` deletes, `.a` gets; `|` begins the other branch.
fn transaction(namespace: &str, words: &[&str]) -> Transaction {
    let namespace = namespace.parse().expect("a namespace");
    let compares = words.iter().filter_map(|word| word.strip_prefix('?')).map(compare);
    let compare: Vec<Compare> = compares.collect();
    let mut branches = words.split(|word| *word == "|").map(|branch| {
        let steps = branch.iter().filter(|word| !word.starts_with('?')).map(|word| step(word));
        steps.collect::<Vec<_>>()
    });
    let then = branches.next().unwrap_or_default().into();
    let otherwise = branches.next().unwrap_or_default().into();
    Transaction { namespace, compare: compare.into(), then, otherwise }
}

fn compare(text: &str) -> Compare {
    let at = text.find(['=', '<', '>', '!']).expect("a relation");
    let (left, right) = text.split_at(at);
    let (is, right) = match right.as_bytes()[0] {
        b'=' => (Relation::Equal, &right[1..]),
        b'<' => (Relation::Less, &right[1..]),
        b'>' => (Relation::Greater, &right[1..]),
        _ => (Relation::Unequal, &right[2..]),
    };
    let (key, target) = left.split_once('.').expect("key.target");
    let number = || right.parse().expect("a number");
    let than = match target {
        "mod" => Than::ModRevision(number()),
        "create" => Than::CreateRevision(number()),
        "version" => Than::Version(number()),
        "lease" => Than::Lease(number()),
        "value" => Than::Value(Blob::from(right)),
        target => panic!("`{target}` is no target"),
    };
    Compare { key: key_of(key), is, than }
}

fn step(word: &str) -> Operation {
    let space: Namespace = "x".parse().expect("a namespace");
    let keys = |text: &str| keys(&format!("{space}/{text}")).1;
    if let Some(rest) = word.strip_prefix('-') {
        Operation::Delete(keys(rest))
    } else if let Some(rest) = word.strip_prefix('.') {
        Operation::Get(keys(rest))
    } else {
        let (key, value) = word.split_once('=').expect("key=value");
        let (value, lease) = value.split_once('@').unwrap_or((value, ""));
        let lease = lease.parse().map_or(Binding::None, |id| Binding::Lease(LeaseId(id)));
        let (key, value) = (key_of(key), Blob::from(value));
        Operation::Put { key, value, lease, previous: false }
    }
}

pub(super) fn key_of(text: &str) -> Key {
    Key::new(text.as_bytes()).expect("a key")
}

fn one(text: &str) -> (Namespace, Key) {
    let (namespace, key) = text.split_once('/').expect("namespace/key");
    (namespace.parse().expect("a namespace"), key_of(key))
}

/// `app/a` is a key, `app/a*` a prefix, `app/a..c` a range.
fn keys(text: &str) -> (Namespace, Keys) {
    let (namespace, key) = text.split_once('/').expect("namespace/key");
    let keys = match (key.strip_suffix('*'), key.split_once("..")) {
        (Some(prefix), _) => Keys::Prefix(Blob::from(prefix)),
        (None, Some((from, to))) => {
            let to = (!to.is_empty()).then(|| Blob::from(to));
            Keys::Range { from: Blob::from(from), to }
        }
        (None, None) => Keys::One(key_of(key)),
    };
    (namespace.parse().expect("a namespace"), keys)
}

fn lock(text: &str) -> Lock {
    let (namespace, name) = text.split_once('/').expect("namespace/name");
    let name = LockName::new(name.as_bytes()).expect("the name of a lock");
    Lock { namespace: namespace.parse().expect("a namespace"), name }
}

fn word(answer: &Answer) -> String {
    match answer {
        Answer::Told(told) => told_word(told),
        Answer::Transacted { succeeded, revision, results } => {
            let results: Vec<String> = results.iter().map(done_word).collect();
            let word = if *succeeded { "done" } else { "else" };
            format!("{word} r{revision} [{}]", results.join(", "))
        }
        Answer::Lease { lease, ttl_ms } => format!("lease {} for {ttl_ms}ms", lease.0),
        Answer::Ended { revision, deleted } => format!("ended r{revision}, {deleted} keys"),
        Answer::Compacted(compacted) => format!("compacted {}", compacted.compact_revision),
        Answer::Held { lease, fence } => format!("held fence={fence} lease={}", lease.0),
        Answer::Released { revision } => format!("released r{revision}"),
        Answer::Forgotten { revision } => format!("forgotten r{revision}"),
        Answer::Failed(failure) => failure_word(failure),
    }
}

fn failure_word(failure: &Failure) -> String {
    match failure {
        Failure::Refused(refusal) => format!("refused: {refusal}"),
        Failure::Precondition { revision, current } => {
            let current = current.as_ref().map_or("absent".to_owned(), item_word);
            format!("precondition r{revision}: {current}")
        }
        Failure::Contended { line, position } => {
            format!("contended, {position} before: {}", line_word(line))
        }
        failure => format!("failed: {failure}"),
    }
}

fn told_word(told: &Told) -> String {
    let found = match &told.what {
        Found::Key(None) => "absent".to_owned(),
        Found::Key(Some(held)) => version_word(held),
        Found::Page { revision, page } => {
            let items: Vec<String> = page.items.iter().map(item_word).collect();
            let more = if page.more { " …" } else { "" };
            format!("at r{revision} [{}{more}]", items.join(", "))
        }
        Found::Lease(None) => "no such lease".to_owned(),
        Found::Lease(Some(lease)) => {
            format!("{} of {}ms left, keys {:?}", lease.remaining_ms, lease.ttl_ms, lease.keys.0)
        }
        Found::Line(line) => line_word(line),
        Found::Changes(changes) => format!("through {}", changes.through),
        Found::Compacted(compacted) => format!("compacted {}", compacted.compact_revision),
    };
    format!("r{} {found}", told.revision)
}

fn line_word(line: &Line) -> String {
    let contenders = line.contenders.iter().map(|waiting| {
        let contender = &waiting.contender;
        let word = if contender.held { "holds" } else { "waits" };
        format!("{}:{word} {}ms", contender.fence, waiting.remaining_ms)
    });
    format!("{} permits [{}]", line.permits, contenders.collect::<Vec<_>>().join(", "))
}

fn done_word(done: &Done) -> String {
    match done {
        Done::Put { create_revision, version, lease, previous } => {
            let lease = lease.map_or(String::new(), |lease| format!(" lease={}", lease.0));
            let before = previous.as_ref();
            let before =
                before.map_or(String::new(), |held| format!(" was {}", version_word(held)));
            format!("put c{create_revision} v{version}{lease}{before}")
        }
        Done::Deleted { count } => format!("deleted {count}"),
        Done::Got { items, more } => {
            let items: Vec<String> = items.iter().map(item_word).collect();
            let more = if *more { " …" } else { "" };
            format!("got {}{more}", items.join(" "))
        }
    }
}

fn item_word(item: &Item) -> String {
    format!("{:?}={}", item.key, version_word(&item.held))
}

fn version_word(held: &Version) -> String {
    let value = match held.value.len() {
        0..=16 => held.value.escape_ascii().to_string(),
        length => format!("<{length}>"),
    };
    let lease = held.lease.map_or(String::new(), |lease| format!("@{}", lease.0));
    format!("{value}{lease} c{} m{} v{}", held.create_revision, held.mod_revision, held.version)
}

fn event_word(event: &Event) -> String {
    match event {
        Event::Changes { revision, changes } => {
            let changes = changes.iter().map(|change| {
                let what = match &change.what {
                    What::Put(held) => format!("{:?}={}", change.key, version_word(held)),
                    What::Delete(cause) => format!("{:?} {cause:?}", change.key).to_lowercase(),
                };
                let before = change.previous.as_ref();
                let before =
                    before.map_or(String::new(), |held| format!(" was {}", version_word(held)));
                format!("{what}{before}")
            });
            format!("r{revision} [{}]", changes.collect::<Vec<_>>().join(", "))
        }
        Event::Progress { revision } => format!("progress r{revision}"),
        Event::Compacted(compacted) => format!("compacted {}", compacted.compact_revision),
        Event::Refused(failure) => format!("refused: {failure}"),
    }
}
