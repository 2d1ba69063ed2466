//! The nodes, the network between them, and what is checked after every input.

use super::checks::{Actives, check_lanes, rests};
use super::upstream::Account;
use crate::ids::{Notice, Reason, Ticket};
use crate::pools::machine::tests::harness::{credential, listed, name, replica};
use crate::pools::machine::*;
use crate::pools::{Answer, Command, Event, Outcome, Picked, Query, Report, Why, pick};
use crate::random::Rng;
use crate::wire::segment::Key;

pub(super) const ORIGIN: u64 = 1_700_000_000_000;
const IDS: [&str; 3] = ["a", "b", "c"];
const MODELS: [&str; 3] = ["", "claude-opus-4", "gpt"];

/// How bad the network is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weather {
    /// Every word arrives within 300 ms.
    Calm,
    /// Words take up to ten seconds, nodes crash, the fleet is cut in two.
    Wild,
}

/// What happened, so that a run in which nothing did is not taken for a good one.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) picks: u64,
    pub(super) probes: u64,
    pub(super) refused: u64,
    pub(super) exhausted: u64,
    pub(super) recovered: u64,
    pub(super) crashes: u64,
    pub(super) cuts: u64,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Tally) {
        self.picks += other.picks;
        self.probes += other.probes;
        self.refused += other.refused;
        self.exhausted += other.exhausted;
        self.recovered += other.recovered;
        self.crashes += other.crashes;
        self.cuts += other.cuts;
    }
}

pub(super) struct Host {
    pub(super) pools: Pools,
    pub(super) local: Replica,
    up: bool,
    store: BTreeMap<String, Blob>,
    /// Its own map, as the others would get it.
    map: BTreeMap<Key, (u64, Blob)>,
    sequence: u64,
    /// What it holds of others: the newest sequence per key.
    seen: BTreeMap<(Replica, Key), u64>,
    /// The entries of others that it sees.
    shown: BTreeMap<NodeId, BTreeMap<Key, Blob>>,
    edges: BTreeMap<(Name, Arc<str>), bool>,
}

/// A word on its way.
pub(super) struct Word {
    due: u64,
    from: usize,
    to: usize,
    owner: Replica,
    key: Key,
    sequence: u64,
    value: Option<Blob>,
}

/// A request at the upstream.
struct Flight {
    node: usize,
    life: Incarnation,
    picked: Picked,
    model: &'static str,
    sent_at: Instant,
    answers_at: u64,
}

pub(super) struct Fleet {
    pub(super) now: u64,
    rng: Rng,
    pub(super) weather: Weather,
    pub(super) hosts: Vec<Host>,
    pub(super) words: Vec<Word>,
    flights: Vec<Flight>,
    accounts: BTreeMap<CredentialHandle, Account>,
    cut_until: u64,
    /// New lives that others have not seen yet: whose, by whom, and in place of which.
    switching: Vec<(usize, usize, Replica)>,
    pub(super) tally: Tally,
}

impl Fleet {
    pub(super) fn new(seed: u64, weather: Weather) -> Fleet {
        let mut rng = Rng::from_number(seed);
        let accounts = IDS.map(|id| (credential(id).handle, Account::new(&mut rng)));
        let mut fleet = Fleet {
            now: 1000,
            rng,
            weather,
            hosts: Vec::new(),
            words: Vec::new(),
            flights: Vec::new(),
            accounts: accounts.into_iter().collect(),
            cut_until: 0,
            switching: Vec::new(),
            tally: Tally::default(),
        };
        for index in 0..3 {
            let local = replica(&format!("n{index}/1"));
            let pools = Pools::new(settings(), local.clone(), &BTreeMap::new());
            fleet.hosts.push(Host {
                pools,
                local,
                up: true,
                store: BTreeMap::new(),
                map: BTreeMap::new(),
                sequence: 0,
                seen: BTreeMap::new(),
                shown: BTreeMap::new(),
                edges: BTreeMap::new(),
            });
        }
        for index in 0..3 {
            fleet.begin(index);
        }
        for (index, other) in [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)] {
            fleet.meet(index, other);
        }
        fleet
    }

    fn begin(&mut self, index: usize) {
        self.input(index, Input::Clock { unix: UnixTime(ORIGIN + self.now) });
        for id in IDS {
            let credential = credential(id);
            let (handle, credential) = (credential.handle, Some(Box::new(credential)));
            self.input(index, Input::Credential { handle, credential, renewed: false });
        }
        self.input(index, Input::Start);
        self.input(index, Input::Loaded);
    }

    /// `index` learns that `other` lives, and in time everything that it says.
    fn meet(&mut self, index: usize, other: usize) {
        let replica = self.hosts[other].local.clone();
        let address = "127.0.0.1:1".parse().expect("an address");
        let born = replica.incarnation;
        self.input(index, Input::Notice(Notice::Up { replica, born, address }));
        let owner = self.hosts[other].local.clone();
        let map: Vec<_> = self.hosts[other].map.clone().into_iter().collect();
        for (key, (sequence, value)) in map {
            self.tell(other, index, &owner, key, sequence, Some(value));
        }
    }

    fn tell(
        &mut self,
        from: usize,
        to: usize,
        owner: &Replica,
        key: Key,
        sequence: u64,
        value: Option<Blob>,
    ) {
        let delay = match self.weather {
            Weather::Calm => self.rng.below(300),
            Weather::Wild => self.rng.below(10_000),
        };
        let (due, owner) = (self.now + delay, owner.clone());
        self.words.push(Word { due, from, to, owner, key, sequence, value });
    }

    /// One thing happens.
    pub(super) fn step(&mut self) {
        self.pass();
        if self.weather == Weather::Wild {
            self.misfortune();
        }
        if self.rng.chance(1, 200) {
            let broken = IDS.get(self.rng.index(IDS.len())).copied().unwrap_or("a");
            let until = self.now + self.rng.below(900_000);
            if let Some(account) = self.accounts.get_mut(&credential(broken).handle) {
                account.break_until(until);
            }
        }
        let index = self.rng.index(self.hosts.len());
        if self.hosts[index].up {
            self.ask(index);
        }
    }

    /// Time goes on, sometimes until something would change.
    fn pass(&mut self) {
        let span = match self.rng.below(20) {
            0 => 30_000 + self.rng.below(600_000),
            1..4 => 2000 + self.rng.below(20_000),
            _ => self.rng.below(400),
        };
        let end = self.now + span;
        loop {
            let wakes = self.hosts.iter().filter(|host| host.up).filter_map(|host| {
                let wake = host.pools.next_wake()?;
                Some(wake.at.as_micros().div_ceil(1000))
            });
            let cut = self.now < self.cut_until;
            let words = self.words.iter().filter(|word| !cut || !across(word)).map(|word| word.due);
            let answers = self.flights.iter().map(|flight| flight.answers_at);
            let Some(next) = wakes.chain(words).chain(answers).min() else { break };
            let next = if cut { next.min(self.cut_until) } else { next };
            if next > end {
                break;
            }
            self.now = self.now.max(next);
            self.switch();
            self.deliver();
            self.answer();
            for index in 0..self.hosts.len() {
                let due = self.hosts[index].pools.next_wake();
                if self.hosts[index].up && due.is_some_and(|wake| wake.at <= self.at()) {
                    self.input(index, Input::Tick);
                }
            }
        }
        self.now = end;
        for index in 0..self.hosts.len() {
            if self.hosts[index].up {
                self.check_timely(index);
            }
        }
    }

    fn at(&self) -> Instant {
        Instant::from_millis(self.now)
    }

    fn deliver(&mut self) {
        let cut = self.now < self.cut_until;
        let now = self.now;
        let due = |word: &Word| word.due <= now && !(cut && across(word));
        let (due, later) = std::mem::take(&mut self.words).into_iter().partition(|word| due(word));
        self.words = later;
        let mut due: Vec<Word> = due;
        self.rng.shuffle(&mut due);
        for word in due {
            let host = &mut self.hosts[word.to];
            let seen = host.seen.entry((word.owner.clone(), word.key.clone())).or_default();
            if !host.up || *seen >= word.sequence {
                continue;
            }
            *seen = word.sequence;
            if self.hosts[word.from].local != word.owner {
                continue; // Of a life that is over.
            }
            self.show(word.to, &word.owner, &word.key, word.value);
        }
    }

    fn answer(&mut self) {
        let now = self.now;
        let due = |flight: &Flight| flight.answers_at <= now;
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.flights).into_iter().partition(due);
        self.flights = later;
        for flight in due {
            let host = &self.hosts[flight.node];
            if !host.up || host.local.incarnation != flight.life {
                continue;
            }
            let handle = flight.picked.member.handle;
            let account = self.accounts.get_mut(&handle).expect("an account per member");
            let (status, verdict) = account.answer(now, flight.model, &mut self.rng);
            let outcome = match self.rng.chance(1, 50) {
                true => Outcome::Cancelled,
                false => Outcome::Judged { status, verdict },
            };
            let report = Report {
                pool: name("p"),
                credential: handle,
                epoch: flight.picked.member.epoch,
                model: Some(Arc::from(flight.model)).filter(|model: &Arc<str>| !model.is_empty()),
                sent_at: flight.sent_at,
                probe: flight.picked.probe,
                outcome,
            };
            let node = flight.node;
            drop(flight);
            let ticket = Ticket(1);
            self.input(node, Input::Command { ticket, command: Command::Report(Box::new(report)) });
        }
    }

    /// A caller wants an account.
    fn ask(&mut self, index: usize) {
        let model = MODELS.get(self.rng.index(MODELS.len())).copied().unwrap_or("");
        let ticket = self.rng.word();
        let some = Some(model).filter(|model| !model.is_empty());
        let at = self.at();
        let host = &mut self.hosts[index];
        let pool = Arc::clone(host.pools.snapshot.pool("p").expect("the pool"));
        let query = Query { model: some, ticket, tried: &[], no_probe: false };
        match pick(&pool, &query) {
            Ok(mut picked) => {
                let who = (picked.member.handle, picked.member.epoch);
                let resting = rests(&self.hosts[index].pools, ORIGIN + self.now, who, model);
                assert!(
                    picked.probe || !resting,
                    "P-1, P-15: n{index} picks {who:?} for `{model}` at {} ms, which rests",
                    self.now
                );
                if picked.probe {
                    let (credential, epoch) = who;
                    let command = Command::Probing {
                        pool: name("p"),
                        credential,
                        epoch,
                        model: some.map(Arc::from),
                    };
                    let answer = self.input(index, Input::Command { ticket: Ticket(1), command });
                    if answer != Some(Answer::Done) {
                        return;
                    }
                    picked.went();
                    self.tally.probes += 1;
                    self.check_one_probe();
                }
                self.tally.picks += 1;
                let answers_at = self.now + 50 + self.rng.below(5000);
                let life = self.hosts[index].local.incarnation;
                let flight = Flight { node: index, life, picked, model, sent_at: at, answers_at };
                self.flights.push(flight);
            }
            Err(refused) => {
                self.tally.refused += 1;
                let lane = pool.lane(some);
                let servable = lane.open.len() + lane.parked.len();
                assert!(
                    servable == 0 || refused.why == Why::Ramping,
                    "{refused:?} with {servable}"
                );
                if refused.tells {
                    let command = Command::Wanted { pool: name("p"), model: some.map(Arc::from) };
                    self.input(index, Input::Command { ticket: Ticket(1), command });
                }
            }
        }
    }

    fn misfortune(&mut self) {
        if self.rng.chance(1, 150) && self.now >= self.cut_until {
            self.cut_until = self.now + self.rng.below(120_000);
            self.tally.cuts += 1;
        }
        if !self.rng.chance(1, 100) {
            return;
        }
        let index = self.rng.index(self.hosts.len());
        if self.hosts[index].up {
            self.hosts[index].up = false;
            self.tally.crashes += 1;
            let replica = self.hosts[index].local.clone();
            for other in (0..3).filter(|other| *other != index) {
                if self.hosts[other].up {
                    let reason = Reason::Failed;
                    let notice = Notice::Departed { replica: replica.clone(), reason };
                    self.input(other, Input::Notice(notice));
                }
            }
        } else {
            self.start(index);
        }
    }

    fn start(&mut self, index: usize) {
        let old = self.hosts[index].local.clone();
        let host = &mut self.hosts[index];
        host.local.incarnation = host.local.incarnation.next();
        host.pools = Pools::new(settings(), host.local.clone(), &host.store);
        (host.up, host.sequence) = (true, 0);
        host.map.clear();
        host.seen.clear();
        host.shown.clear();
        host.edges.clear();
        self.begin(index);
        for other in (0..3).filter(|other| *other != index) {
            if self.hosts[other].up {
                self.switching.push((index, other, old.clone()));
                self.switching.push((other, index, self.hosts[other].local.clone()));
            }
        }
        self.switch();
    }

    /// What a new life said by now is seen in place of the old one's, whole, by whoever it reaches.
    fn switch(&mut self) {
        let cut = self.now < self.cut_until;
        let apart = |from: usize, to: usize| cut && (from == 0) != (to == 0);
        let all = std::mem::take(&mut self.switching);
        for (from, to, old) in all {
            if apart(from, to) {
                self.switching.push((from, to, old));
            } else if self.hosts[from].up && self.hosts[to].up {
                self.meet_now(from, to, &old);
            }
        }
    }

    fn meet_now(&mut self, from: usize, to: usize, old: &Replica) {
        let new = self.hosts[from].local.clone();
        let address = "127.0.0.1:1".parse().expect("an address");
        let up = Notice::Up { replica: new.clone(), born: new.incarnation, address };
        self.input(to, Input::Notice(up));
        let former = self.hosts[to].shown.remove(&old.node).unwrap_or_default();
        if new != *old {
            self.input(to, Input::Switched { old: old.clone(), new: new.clone() });
        }
        let map = self.hosts[from].map.clone();
        for (key, (sequence, value)) in &map {
            self.hosts[to].seen.insert((new.clone(), key.clone()), *sequence);
            self.show(to, &new, key, Some(value.clone()));
        }
        for key in former.into_keys().filter(|key| !map.contains_key(key)) {
            self.show(to, &new, &key, None);
        }
    }

    /// A node sees an entry of another's map.
    fn show(&mut self, to: usize, owner: &Replica, key: &Key, value: Option<Blob>) {
        let shown = self.hosts[to].shown.entry(owner.node.clone()).or_default();
        match &value {
            Some(value) => shown.insert(key.clone(), value.clone()),
            None => shown.remove(key),
        };
        let (owner, key) = (owner.clone(), key.clone());
        self.input(to, Input::Changed { owner, key, value });
    }

    /// Everything heals, and every word arrives.
    pub(super) fn calm(&mut self) {
        self.cut_until = 0;
        for index in 0..3 {
            if !self.hosts[index].up {
                self.start(index);
            }
        }
        let end = self.now + 30_000;
        while self.now < end {
            self.pass();
        }
        while let Some(due) = self.words.iter().map(|word| word.due).min() {
            self.now = self.now.max(due);
            self.deliver();
        }
    }

    fn input(&mut self, index: usize, input: Input) -> Option<Answer> {
        let at = self.at();
        let before = self.hosts[index].pools.pools.get(&name("p")).map(|pool| {
            let lanes = pool.lanes.iter();
            lanes.map(|(lane, state)| (lane.clone(), state.active)).collect::<Actives>()
        });
        let parks = self.hosts[index].pools.parks.clone();
        let mut out = Vec::new();
        let host = &mut self.hosts[index];
        host.pools.handle(at, input, &mut out);
        host.pools.flush(at, &mut out);
        host.pools.publish(at);
        assert_eq!(parks, host.pools.parks, "P-4: nobody parks here");
        if let Some(pool) = host.pools.pools.get(&name("p")) {
            check_lanes(index, at, pool, before.as_ref());
        }
        let mut answer = None;
        let mut written = Vec::new();
        for output in out {
            match output {
                Output::Write { key, value } => written.push((key, value)),
                Output::Persist { key, value: Some(value) } => _ = host.store.insert(key, value),
                Output::Persist { key, value: None } => _ = host.store.remove(&key),
                Output::Reply { answer: told, .. } => answer = Some(told),
                Output::Announce(Event::Exhausted { pool, lane, .. }) => {
                    let before = host.edges.insert((pool, lane), true);
                    assert!(before != Some(true), "P-5: exhausted twice");
                    self.tally.exhausted += 1;
                }
                Output::Announce(Event::Recovered { pool, lane, .. }) => {
                    host.edges.insert((pool, lane), false);
                    self.tally.recovered += 1;
                }
                Output::Announce(_) | Output::Ready | Output::Misbehaved { .. } => {}
            }
        }
        let owner = self.hosts[index].local.clone();
        for (key, value) in written {
            let host = &mut self.hosts[index];
            host.sequence += 1;
            let sequence = host.sequence;
            match &value {
                Some(value) => host.map.insert(key.clone(), (sequence, value.clone())),
                None => host.map.remove(&key),
            };
            for other in (0..3).filter(|other| *other != index) {
                self.tell(index, other, &owner, key.clone(), sequence, value.clone());
            }
        }
        answer
    }
}

fn across(word: &Word) -> bool {
    (word.from == 0) != (word.to == 0)
}

fn settings() -> Settings {
    let members = listed("a,b,c", 1);
    let definition = Definition { members, early_probe_ms: 600_000, ..Definition::default() };
    Settings { pools: BTreeMap::from([(name("p"), definition)]), ..Settings::default() }
}
