//! Requests to providers: a pick from the snapshot of a node, a lease of it, an answer, and its report.
//!
//! Absent on purpose: failing over. A caller that was refused asks anew.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use quorate_core::ids::{CredentialHandle, Ticket};
use quorate_core::node::pools::{
    Answer, Command, Definition, LeaseId, Name, Picked, Pool, Query, Refused, model, pick, pick_try,
};
use quorate_core::node::{Input, Reply, Request};
use quorate_core::time::{Instant, UnixTime, millis};

use super::{Event, World};
use crate::clock::Micros;
use crate::invariants::pools::Call;
use crate::settings::POOL;

/// A request on its way to a provider, or back.
#[derive(Debug)]
pub(super) struct Flight {
    machine: usize,
    process: u64,
    picked: Picked,
    model: Arc<str>,
    lease: Option<LeaseId>,
}

/// What becomes of requests.
#[derive(Debug, Clone, Copy)]
pub enum CallerEvent {
    /// A provider answered.
    Answered {
        /// Under which ticket its caller asked for an account.
        ticket: Ticket,
    },
    /// A process sends the request of its pool's own.
    Alone {
        /// Where.
        machine: usize,
        /// Which.
        process: u64,
        /// To whom.
        member: CredentialHandle,
    },
}

impl World {
    pub(super) fn caller(&mut self, event: CallerEvent) {
        match event {
            CallerEvent::Answered { ticket } => self.upstream(ticket),
            CallerEvent::Alone { machine, process, member } => {
                self.ask_alone(machine, process, member);
            }
        }
    }

    /// A caller at `machine` wants an account for `model` (empty: none is named). It is a thread of the process, and
    /// stands still with it.
    pub fn pool_request(&mut self, machine: usize, model: &str, turn: u64) -> Option<Ticket> {
        let host = self.machines.get(machine).filter(|host| host.runs())?;
        let process = host.process.as_ref()?;
        let snapshot = process.node.published().pools.load_full();
        let pool = Arc::clone(snapshot.pool(POOL)?);
        let some = Some(model).filter(|model| !model.is_empty());
        let query = Query { model: some, ticket: turn, tried: &[], no_probe: false };
        let now = snapshot.unix(host.clock.local(self.now));
        match self.judged(machine, &pool, now, model, pick(&pool, &query))? {
            Ok(picked) => {
                let request = turn.is_multiple_of(2).then(|| format!("r{}", turn / 4).into());
                self.lease(machine, &pool, model, picked, request)
            }
            Err(refused) => {
                let (pool, model) = (pool.name.clone(), some.map(Arc::from));
                let command = Command::Wanted { pool, model };
                let request = refused.tells.then(|| Request::Pool(Box::new(command)));
                self.request(machine, request?)
            }
        }
    }

    /// A node says that the request of its pool's own is due.
    pub(super) fn is_due(&mut self, machine: usize, member: CredentialHandle) {
        let Some(process) = self.machine(machine).process.as_ref() else { return };
        let event = CallerEvent::Alone { machine, process: process.number, member };
        self.queue.push(self.now + ALONE, Event::Caller(event));
    }

    /// A process sends the request of its pool's own, if the try is still its own and it does not stand still.
    fn ask_alone(&mut self, machine: usize, process: u64, member: CredentialHandle) {
        let host = self.machines.get(machine).filter(|host| host.runs());
        let process =
            host.and_then(|host| host.process.as_ref()).filter(|one| one.number == process);
        let Some((host, process)) = host.zip(process) else { return };
        let snapshot = process.node.published().pools.load_full();
        let Some(pool) = snapshot.pool(POOL).cloned() else { return };
        let Some(own) = &pool.definition.probe_request else { return };
        let model = model::of(own.body.as_bytes(), &own.path);
        let now = snapshot.unix(host.clock.local(self.now));
        let Some(picked) = pick_try(&pool, model.as_deref(), member) else { return };
        let model = model.unwrap_or_default();
        if let Some(Ok(picked)) = self.judged(machine, &pool, now, &model, Ok(picked)) {
            self.lease(machine, &pool, &model, picked, None);
        }
    }

    /// What a caller got, once the promises about it were looked at; `None`: one did not hold.
    fn judged(
        &mut self,
        machine: usize,
        pool: &Pool,
        unix: u64,
        model: &str,
        picked: Result<Picked, Refused>,
    ) -> Option<Result<Picked, Refused>> {
        let checks = &mut self.checks;
        if !checks.on {
            return Some(picked);
        }
        let call = Call { machine, pool, unix, model };
        match checks.pools.picked(call, &picked, &mut checks.ledger) {
            Ok(()) => Some(picked),
            Err(failure) => {
                let turns = self.trace.turns();
                self.fail(failure.at(self.now, turns));
                None
            }
        }
    }

    fn lease(
        &mut self,
        machine: usize,
        pool: &Pool,
        model: &str,
        picked: Picked,
        request: Option<Arc<str>>,
    ) -> Option<Ticket> {
        let process = self.machine(machine).process.as_ref()?.number;
        let command = Command::Lease {
            pool: pool.name.clone(),
            credential: picked.member.handle,
            epoch: picked.member.epoch,
            model: Some(model).filter(|model| !model.is_empty()).map(Arc::from),
            probe: picked.probe,
            request,
        };
        let ticket = self.request(machine, Request::Pool(Box::new(command)))?;
        let flight = Flight { machine, process, picked, model: Arc::from(model), lease: None };
        self.flights.insert(ticket, flight);
        Some(ticket)
    }

    /// A document of `machine` defines these pools from now on, and its node reads it.
    pub fn define_pools(
        &mut self,
        machine: usize,
        pools: BTreeMap<Name, Definition>,
    ) -> Option<Ticket> {
        let host = self.machines.get_mut(machine)?;
        host.settings.pools.pools = pools;
        let settings = Box::new(host.settings.clone());
        self.request(machine, Request::Reload { settings })
    }

    /// A node answered: a request that got its lease leaves.
    pub(super) fn lease_answered(&mut self, ticket: Ticket, reply: &Reply) {
        let Reply::Pool(answer) = reply else { return };
        let Some(flight) = self.flights.get_mut(&ticket) else { return };
        let Answer::Leased { lease, .. } = answer else {
            self.flights.remove(&ticket);
            return;
        };
        flight.picked.went();
        flight.lease = Some(lease.clone());
        self.checks.pools.leased(lease.clone(), flight.picked.member.handle);
        let at = self.now + self.outside.providers.latency(ticket.0);
        self.queue.push(at, Event::Caller(CallerEvent::Answered { ticket }));
    }

    /// A provider answered: whoever asked reports it, if the process is still there.
    fn upstream(&mut self, ticket: Ticket) {
        let Some(flight) = self.flights.remove(&ticket) else { return };
        let Some(lease) = flight.lease else { return };
        let member = &flight.picked.member;
        let account = member.credential.as_ref().map_or("", |one| &*one.id);
        let ended = self.outside.providers.answer(self.now, account, &flight.model, ticket.0);
        let process = self.machine(flight.machine).process.as_ref();
        if process.is_some_and(|process| process.number == flight.process) {
            let command = Command::ReportLease { lease, ended };
            self.request(flight.machine, Request::Pool(Box::new(command)));
        }
    }

    /// A host reads the wall clock at a start, and once a second, unless it stands still or is not done with a turn.
    pub fn read_wall(&mut self, machine: usize) {
        let now = self.now;
        let host = Some(self.machine(machine)).filter(|host| host.runs());
        let process = host.and_then(|host| host.process.as_ref());
        let number = process.filter(|process| process.busy_until <= now).map(|one| one.number);
        let Some(number) = number else { return };
        if let Some(clock) = self.parted(machine) {
            self.input(machine, number, clock);
        }
    }

    /// Whoever looks up after more than a second reads it first of all.
    pub(super) fn clock_first(&mut self, machine: usize, local: Instant) -> Option<Input> {
        let process = self.machine(machine).process.as_ref()?.number;
        let (_, read_at, _) = self.walls.get(&machine).filter(|(number, ..)| *number == process)?;
        (local.since(*read_at) >= WALL_INTERVAL).then(|| self.parted(machine)).flatten()
    }

    /// What the wall clock reads, where it has parted from what the monotonic one makes of the last reading.
    fn parted(&mut self, machine: usize) -> Option<Input> {
        let host = self.machine(machine);
        let pooled = !host.settings.pools.pools.is_empty() && self.elsewhere.is_none();
        let process = host.process.as_ref().filter(|_| pooled)?.number;
        let (now, unix) = (host.clock.local(self.now), host.clock.wall(self.now) / 1000);
        let told = self.walls.get(&machine).filter(|(number, ..)| *number == process);
        let expected =
            told.map(|(_, read_at, read)| read.saturating_add(millis(now.since(*read_at))));
        let parted = expected.is_none_or(|expected| expected.abs_diff(unix) > WALL_DRIFT_MS);
        let known = expected.filter(|_| !parted).unwrap_or(unix);
        self.walls.insert(machine, (process, now, known));
        parted.then_some(Input::Clock { unix: UnixTime(unix) })
    }
}

/// After what time a process begins the request of a pool's own.
const ALONE: Micros = 100;
/// From so many milliseconds apart on, a host tells that two clocks have parted.
const WALL_DRIFT_MS: u64 = 20;
/// How often it looks.
const WALL_INTERVAL: Duration = Duration::from_secs(1);
