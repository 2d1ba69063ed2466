//! What goes wrong, as things done to a [`World`]: each fault of the menu begins and, where it lasts, ends.
//!
//! Absent on purpose: when and whether. A plan decides, and names machines and links by then resolved.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use quorate_core::node::Request;
use quorate_core::wire::PROTOCOL;

use super::{Event, World};
use crate::clock::Micros;
use crate::net::{Kind, Ppm, Rates};
use crate::outside::Health;
use crate::plan::names::CLASSES;
use crate::plan::text::{parse_milli, parse_time};
use crate::world::machine::Machine;

/// On which level a class does its harm: what happens a thousand times a seed says nothing about what happens thirty
/// times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Single packets and answers.
    Packet,
    /// Links, processes, disks, clocks and operators.
    Accident,
    /// Rare choices inside the machines, and how they are configured.
    Choice,
}

impl Level {
    /// All of them.
    pub const ALL: [Level; 3] = [Level::Packet, Level::Accident, Level::Choice];

    /// The level of a class.
    pub fn of(class: &str) -> Level {
        match class {
            "loss" | "dup" | "reorder" | "delay" | "replay" | "mtu" | "service" | "lie" => {
                Level::Packet
            }
            "point" | "knob" => Level::Choice,
            _ => Level::Accident,
        }
    }

    /// As in reports.
    pub fn name(self) -> &'static str {
        match self {
            Level::Packet => "packet",
            Level::Accident => "accident",
            Level::Choice => "choice",
        }
    }
}

/// How often each class of the menu was at work.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FaultCounts(BTreeMap<&'static str, u64>);

impl FaultCounts {
    /// Once more.
    pub fn count(&mut self, class: &'static str) {
        *self.0.entry(class).or_default() += 1;
    }

    /// So many times more.
    pub fn count_many(&mut self, class: &'static str, times: u64) {
        *self.0.entry(class).or_default() += times;
    }

    /// Adds those of another run.
    pub fn add(&mut self, other: &FaultCounts) {
        for (class, count) in &other.0 {
            *self.0.entry(class).or_default() += count;
        }
    }

    /// Everything that was done on a level.
    pub fn total(&self, level: Level) -> u64 {
        self.on(level).map(|(_, count)| count).sum()
    }

    /// Classes of a level whose share of it is below a hundredth, those that have no subject yet left out.
    pub fn rare(&self, level: Level) -> Vec<&'static str> {
        let total = self.total(level);
        let with_subject =
            |name: &str| CLASSES.iter().any(|word| word.name == name && word.lacks.is_none());
        let rare = |(name, count): &(&'static str, u64)| {
            with_subject(name) && count.saturating_mul(100) < total.max(1)
        };
        self.on(level).filter(rare).map(|(name, _)| name).collect()
    }

    fn on(&self, level: Level) -> impl Iterator<Item = (&'static str, u64)> {
        self.all().filter(move |(name, _)| Level::of(name) == level)
    }

    /// Every class of the menu with its count, zeros included.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counted = |name| self.0.get(name).copied().unwrap_or_default();
        let ways = ["isolate", "heal"];
        CLASSES
            .iter()
            .filter(move |word| !ways.contains(&word.name))
            .map(move |word| (word.name, counted(word.name)))
    }
}

/// Rates of single packets that hold on some links for a while.
#[derive(Debug, Clone)]
pub struct Overlay {
    number: usize,
    links: Vec<(usize, usize)>,
    rates: Rates,
}

/// Where a fault strikes, resolved.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// These machines.
    pub machines: Vec<usize>,
    /// These links.
    pub links: Vec<(usize, usize)>,
}

/// A fault about to begin or to end.
#[derive(Debug, Clone)]
pub struct Fault<'a> {
    /// Its number in the run, the same at its beginning and its end.
    pub number: usize,
    /// Its class.
    pub class: &'static str,
    /// Where.
    pub place: Place,
    /// How.
    pub keys: &'a BTreeMap<String, String>,
    /// For how long; `None`: until something else ends it.
    pub lasts: Option<Micros>,
}

impl Fault<'_> {
    pub(super) fn key(&self, name: &str) -> Option<&str> {
        self.keys.get(name).map(String::as_str)
    }

    /// `3%`, `0.5%` or parts per million.
    pub(super) fn rate(&self) -> Ppm {
        let text = self.key("rate").unwrap_or("1%");
        let percent = text.strip_suffix('%').and_then(parse_milli).map(|milli| milli * 10);
        percent.or_else(|| text.parse().ok()).unwrap_or(10_000)
    }

    pub(super) fn max(&self) -> Micros {
        self.key("max").and_then(|text| parse_time(text).ok()).unwrap_or(100_000)
    }

    fn kinds(&self) -> &'static [Kind] {
        match self.key("only") {
            Some("udp") => &[Kind::Datagram],
            Some(_) => &[Kind::Stream],
            None => &[Kind::Datagram, Kind::Stream],
        }
    }

    fn rates(&self) -> Option<Rates> {
        let rate = self.rate();
        match self.class {
            "loss" => Some(Rates { loss: rate, ..Rates::CALM }),
            "dup" => Some(Rates { dup: rate, ..Rates::CALM }),
            "reorder" => Some(Rates { reorder: rate, ..Rates::CALM }),
            "replay" => Some(Rates { replay: rate, ..Rates::CALM }),
            "delay" => Some(Rates { delay_us: self.max(), ..Rates::CALM }),
            _ => None,
        }
    }
}

impl World {
    /// Begins a fault.
    pub fn begin(&mut self, fault: &Fault<'_>) {
        if let Some(lens) = &mut self.lens {
            lens.begin(fault, self.now);
        }
        if fault.rates().is_none()
            && !["heal", "service", "crash_effect", "mtu", "disk_torn", "lie", "point"]
                .contains(&fault.class)
        {
            self.faults.count(if fault.class == "isolate" { "cut" } else { fault.class });
        }
        if self.begin_disk(fault) {
            return;
        }
        match fault.class {
            "cut" | "isolate" => self.each_link(fault, |link, kind| link.cut(kind, true)),
            "clog" => self.each_link(fault, |link, kind| link.clog(kind, true)),
            "heal" => self.heal_links(),
            "mtu" => {
                let bytes = fault.key("bytes").and_then(|text| text.parse().ok()).unwrap_or(1400);
                self.each_link(fault, |link, _| link.mtu = bytes);
            }
            "slow_reader" => {
                let rate = fault.key("rate").and_then(|text| text.parse().ok()).unwrap_or(1000);
                self.each_link(fault, |link, _| link.reader = Some(rate));
            }
            "reset" => {
                for (from, to) in &fault.place.links {
                    self.break_streams(*from, *to);
                }
            }
            "crash_effect" => self.crash_effect = fault.rate(),
            "service" => self.begin_service(fault),
            "point" => self.points.arm(fault.key("name").unwrap_or_default(), true),
            _ => match fault.rates() {
                Some(rates) => {
                    let links = fault.place.links.clone();
                    self.rates.push(Overlay { number: fault.number, links, rates });
                    self.apply_rates();
                }
                None => {
                    fault.place.machines.iter().for_each(|machine| self.begin_at(*machine, fault))
                }
            },
        }
    }

    /// Ends a fault that lasted.
    pub fn end(&mut self, fault: &Fault<'_>) {
        if self.end_disk(fault) {
            return;
        }
        match fault.class {
            "cut" | "isolate" => self.each_link(fault, |link, kind| link.cut(kind, false)),
            "clog" => self.each_link(fault, |link, kind| link.clog(kind, false)),
            "mtu" => self.each_link(fault, |link, _| link.mtu = crate::net::MTU_MAX),
            "slow_reader" => self.each_link(fault, |link, _| link.reader = None),
            "crash_effect" => self.crash_effect = 0,
            "service" => self.outside.heal(),
            "point" => self.points.arm(fault.key("name").unwrap_or_default(), false),
            "crash" | "wipe" | "leave" => {
                fault.place.machines.iter().for_each(|machine| self.start(*machine));
            }
            "twin" => fault.place.machines.iter().for_each(|machine| self.end_twin(*machine)),
            "clock_drift" => {
                fault.place.machines.iter().for_each(|machine| self.drift(*machine, 0))
            }
            "clock_freeze" => {
                fault.place.machines.iter().for_each(|machine| self.freeze(*machine, false))
            }
            _ => {
                self.rates.retain(|overlay| overlay.number != fault.number);
                self.apply_rates();
            }
        }
    }

    fn begin_service(&mut self, fault: &Fault<'_>) {
        let health = fault.key("health").unwrap_or("error");
        let health = Health::ALL.into_iter().find(|(name, _)| *name == health);
        match (fault.key("url"), health) {
            (Some(url), Some((_, health))) => {
                self.faults.count("service");
                self.outside.set(url, health);
            }
            _ => self.outside.lies = fault.rate(),
        }
    }

    fn begin_at(&mut self, machine: usize, fault: &Fault<'_>) {
        let now = self.now;
        match fault.class {
            "crash" => match fault.key("effect").and_then(|text| text.parse().ok()) {
                Some(effects) => self.machine_mut(machine).doomed = Some(effects),
                None => self.crash(machine, fault.key("power").is_some()),
            },
            "restart" => {
                self.kill(machine, false);
                if fault.key("address").is_some() {
                    self.relocate(machine);
                }
                self.machine_mut(machine).behind = fault.key("clock").is_some();
                self.start(machine);
            }
            "upgrade" => self.upgrade(machine, fault),
            "wipe" => {
                self.kill(machine, false);
                self.wipe(machine);
                if fault.lasts.is_none() {
                    self.start(machine);
                }
            }
            "join" => self.start(machine),
            "twin" => self.begin_twin(machine),
            "pause" | "suspend" => {
                let until = now + fault.lasts.unwrap_or(5_000_000);
                self.stand_still(machine, until, fault.class == "suspend");
                let slept = fault.key("slept").and_then(|text| parse_time(text).ok());
                if let Some(slept) = slept {
                    self.machine_mut(machine).clock.leap(now, slept);
                }
            }
            "lie" => {
                let until = now + fault.lasts.unwrap_or(5_000_000);
                let pause = fault.max();
                self.queue.push(now, Event::Lie { machine, until, pause });
            }
            "leave" => {
                let remove_workers = fault.key("remove_workers").is_some();
                let restarting = fault.key("restarting").is_some();
                self.request(machine, Request::Leave { remove_workers, restarting });
            }
            "evict" => {
                let node = fault.key("node").and_then(|text| text.parse().ok());
                let node = node.unwrap_or_else(|| crate::settings::node_id(0));
                self.request(machine, Request::Evict { node });
            }
            "clock_step" => {
                let by = fault.key("by").unwrap_or("1s");
                let size = parse_time(by.trim_start_matches('-')).unwrap_or(1_000_000);
                let size = i64::try_from(size).unwrap_or(i64::MAX);
                let by = if by.starts_with('-') { -size } else { size };
                self.machine_mut(machine).clock.step(by);
            }
            "clock_drift" => {
                let ppm = fault.key("ppm").and_then(|text| text.parse().ok()).unwrap_or(10_000);
                self.drift(machine, ppm);
            }
            "clock_freeze" => self.freeze(machine, true),
            "knob" => {
                let host = self.machine_mut(machine);
                for (name, value) in fault.keys {
                    crate::settings::set(&mut host.settings, name, value);
                }
            }
            _ => {}
        }
    }

    /// Another build is started where this one ran.
    fn upgrade(&mut self, machine: usize, fault: &Fault<'_>) {
        self.kill(machine, false);
        let versions = fault.key("wire").and_then(crate::settings::wire);
        let versions = versions.unwrap_or((PROTOCOL.0, PROTOCOL.1 + 1));
        crate::settings::set_wire(&mut self.machine_mut(machine).settings, versions);
        self.start(machine);
    }

    /// The supervisor looks after processes that answer its question about their life badly, or not at all.
    pub fn restart_red(&mut self) {
        let now = self.now;
        let red = |machine: &Machine| machine.process.is_some() && machine.livez(now).is_err();
        let red: Vec<usize> =
            self.machines.iter().filter(|one| red(one)).map(|one| one.index).collect();
        for machine in red {
            self.faults.count("restart");
            self.kill(machine, false);
            self.start(machine);
        }
    }

    /// The disk of `machine` is empty.
    pub(super) fn wipe(&mut self, machine: usize) {
        self.machine_mut(machine).wipe();
        self.checks.workers.wiped(machine);
    }

    /// A process is gone; with `power` its machine as well.
    pub fn crash(&mut self, machine: usize, power: bool) {
        self.machine_mut(machine).dark = power;
        self.kill(machine, power);
    }

    fn each_link(
        &mut self,
        fault: &Fault<'_>,
        mut change: impl FnMut(&mut crate::net::Link, Kind),
    ) {
        for (from, to) in fault.place.links.iter().copied() {
            for kind in fault.kinds() {
                change(self.link_mut(from, to), *kind);
            }
            self.release(from, to);
        }
    }

    fn apply_rates(&mut self) {
        self.links.iter_mut().for_each(|link| link.rates = Rates::CALM);
        for overlay in std::mem::take(&mut self.rates) {
            for (from, to) in &overlay.links {
                let link = self.link_mut(*from, *to);
                link.rates = link.rates.worse(overlay.rates);
            }
            self.rates.push(overlay);
        }
    }

    /// Nothing gets from one machine to another any more.
    pub fn cut_for_good(&mut self, from: usize, to: usize) {
        for kind in [Kind::Datagram, Kind::Stream] {
            self.link_mut(from, to).cut(kind, true);
        }
    }

    /// Every link from and to a machine clogs, or is free of that.
    pub fn clog_machine(&mut self, machine: usize, on: bool) {
        for other in (0..self.machines.len()).filter(|other| *other != machine) {
            for (from, to) in [(machine, other), (other, machine)] {
                for kind in [Kind::Datagram, Kind::Stream] {
                    self.link_mut(from, to).clog(kind, on);
                }
                self.release(from, to);
            }
        }
    }

    /// Every link carries again; rates of single packets stay as they are.
    pub fn heal_links(&mut self) {
        let count = self.machines.len();
        self.links.iter_mut().for_each(crate::net::Link::heal);
        for (from, to) in (0..count * count).map(|index| (index / count, index % count)) {
            self.release(from, to);
        }
    }

    /// No accident happens any more, and packets are safe.
    pub fn calm(&mut self) {
        self.rates.clear();
        self.apply_rates();
        self.crash_effect = 0;
        self.calm_disks();
        self.outside.heal();
        self.machines.iter_mut().for_each(|machine| machine.doomed = None);
    }

    fn relocate(&mut self, machine: usize) {
        let host = self.machine_mut(machine);
        host.moves = host.moves.wrapping_add(1);
        let address: SocketAddr = Machine::address_of(machine, host.moves);
        let old = std::mem::replace(&mut host.address, address);
        host.settings.membership.address = address;
        host.settings.link.address = address;
        self.addresses.remove(&old);
        self.addresses.insert(address, machine);
    }

    fn drift(&mut self, machine: usize, ppm: i64) {
        let now = self.now;
        let host = self.machine_mut(machine);
        host.clock.drift(now, ppm);
        if let Some(number) = host.process.as_ref().map(|process| process.number) {
            self.schedule_wake(machine, number);
        }
    }

    fn freeze(&mut self, machine: usize, frozen: bool) {
        let now = self.now;
        self.machine_mut(machine).clock.freeze(now, frozen);
    }

    fn stand_still(&mut self, machine: usize, until: Micros, asleep: bool) {
        let Some(process) = self.machine_mut(machine).process.as_mut() else { return };
        process.standing_until = process.standing_until.max(Some(until));
        process.asleep |= asleep;
        let number = process.number;
        self.queue.push(until, Event::Resume { machine, process: number });
    }

    pub(super) fn resume(&mut self, machine: usize, number: u64) {
        let now = self.now;
        let Some(process) = self.process_mut(machine, number) else { return };
        if process.standing_until.is_none_or(|until| until > now) {
            return;
        }
        process.standing_until = None;
        process.asleep = false;
        process.turned_at = now;
        self.unblock_streams();
        self.schedule_wake(machine, number);
    }

    /// Every process goes on at once.
    pub fn resume_all(&mut self) {
        let now = self.now;
        for machine in 0..self.machines.len() {
            let Some(process) = self.machine_mut(machine).process.as_mut() else { continue };
            if process.standing_until.is_some() {
                process.standing_until = Some(now);
                let number = process.number;
                self.resume(machine, number);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_rare_among_those_of_its_own_level_alone() {
        let mut faults = FaultCounts::default();
        faults.count_many("delay", 1_000_000);
        faults.count_many("loss", 9_000);
        faults.count_many("cut", 99);
        faults.count("crash");
        assert_eq!((faults.total(Level::Packet), faults.total(Level::Accident)), (1_009_000, 100));
        assert!(faults.rare(Level::Packet).contains(&"loss"));
        let rare = faults.rare(Level::Accident);
        assert!(!rare.contains(&"cut") && !rare.contains(&"crash") && rare.contains(&"wipe"));
        assert_eq!(faults.total(Level::Choice), 0);
    }
}
