//! What disks do to what is stored, and what that means for the process that stores it.
//!
//! | class | here |
//! | --- | --- |
//! | `disk_slow` | a sync takes up to so long |
//! | `disk_torn` | a crash tears the batch that was being written: it reads as absent |
//! | `disk_lost_sync` | a sync is reported and not done; a crash takes any suffix of what was promised so |
//! | `disk_error` | the next write fails |
//! | `disk_full` | every write fails, that of a start too, until there is room |
//! | `disk_bit` `disk_sector` `disk_misdirect` | what is read at the next start fails its checksum |
//!
//! A process whose store refuses a write ends, and its supervisor starts it again. A store that fails its
//! checksum is refused, and an operator clears it away: the machine starts with an empty one.
//!
//! Absent on purpose: bytes and sectors. The store's engine stands below batches and is tested over torn and
//! false bytes where it lives; here it keeps its word. The row that names a life is never among syncs that
//! were only reported: without it a life would be lived twice, which no node can tell.

use quorate_core::ids::Ticket;
use quorate_core::node::{INCARNATION_KEY, Input};

use super::faults::Fault;
use super::{Event, World};
use crate::clock::Micros;
use crate::disk::Batch;

/// How long a supervisor waits before it starts an ended process again.
pub(super) const RESTART_US: Micros = 1_000_000;

/// What the disks of a run do now.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    slow_us: Micros,
    torn: u64,
}

impl World {
    /// Ends the process on `machine` at once: nothing it still meant to do happens.
    pub fn kill(&mut self, machine: usize, silently: bool) {
        let pending = self.machine(machine).disk.as_ref().map_or(0, |disk| disk.pending());
        let unsynced = self.machine(machine).disk.as_ref().map_or(0, |disk| disk.unsynced());
        let (torn, draws) = (self.trouble.torn, &mut self.draws_of(machine).crash);
        let kept = draws.index(pending + 1);
        let tears = torn > 0 && kept < pending && draws.below(crate::net::ALWAYS) < torn;
        let true_to_it = if unsynced > 0 { draws.index(unsynced + 1) } else { 0 };
        let now = self.now;
        let elsewhere = self.stop_elsewhere(machine);
        let host = self.machine_mut(machine);
        let Some(process) = host.process.take() else { return };
        host.lived = host.lived.max(process.node.local().incarnation);
        let mut trusted_until = now;
        if let Some(disk) = &mut host.disk {
            trusted_until = disk.lying_since().unwrap_or(now);
            // What a shell's crash leaves is seen when the next one opens its store.
            if !elsewhere {
                disk.crash(true_to_it, kept);
            }
        }
        let number = process.number;
        host.ended_at = Some(now);
        let stored = host.disk.is_some();
        if tears {
            self.faults.count("disk_torn");
        }
        self.checks.stopped(now, machine, stored.then_some(trusted_until));
        if let Some(lens) = &mut self.lens {
            lens.ended(machine, now);
        }
        self.streams_of_ended(machine, number, silently);
    }

    pub(super) fn synced(&mut self, machine: usize, process: u64) {
        let host = self.machine_mut(machine);
        if host.process.as_ref().is_none_or(|running| running.number != process) {
            return;
        }
        let Some(ticket) = host.disk.as_mut().and_then(|disk| disk.sync()) else { return };
        host.note_durable();
        self.input(machine, process, Input::Stored { ticket });
    }

    pub(super) fn store(&mut self, machine: usize, process: u64, ticket: Ticket, batch: Batch) {
        let took = self.sync_takes(machine);
        let now = self.now;
        let host = self.machine_mut(machine);
        let Some(disk) = &mut host.disk else {
            // Without a store there is nothing to wait for.
            self.input(machine, process, Input::Stored { ticket });
            return;
        };
        if disk.refuses() {
            return self.store_refused(machine);
        }
        disk.write(ticket, batch);
        let at = (now + took).max(host.disk_busy_until + 1);
        host.disk_busy_until = at;
        self.queue.push(at, Event::Synced { machine, process });
    }

    /// How long the next sync on `machine` takes.
    pub(super) fn sync_takes(&mut self, machine: usize) -> Micros {
        let slow = self.trouble.slow_us;
        let draws = &mut self.draws_of(machine).disk;
        200 + draws.below(2000) + draws.below(slow + 1)
    }

    /// The process reports a fatal error of its store and ends.
    pub(super) fn store_refused(&mut self, machine: usize) {
        self.kill(machine, false);
        self.queue.push(self.now + RESTART_US, Event::Start { machine });
    }

    /// Whether a process can start on what the disk of `machine` holds; if not, it is tried again.
    pub(super) fn disk_lets_start(&mut self, machine: usize) -> bool {
        let now = self.now;
        if self.elsewhere.is_some() {
            return true; // The shell finds out.
        }
        let Some(disk) = self.machine_mut(machine).disk.as_mut() else { return true };
        if disk.refuses() {
            self.queue.push(now + RESTART_US, Event::Start { machine });
            return false;
        }
        if disk.damaged {
            self.wipe(machine);
        }
        true
    }

    /// Begins a fault of disks; whether it is one.
    pub(super) fn begin_disk(&mut self, fault: &Fault<'_>) -> bool {
        match fault.class {
            "disk_slow" => self.trouble.slow_us = fault.max(),
            "disk_torn" => self.trouble.torn = fault.rate(),
            "disk_lost_sync" | "disk_error" | "disk_full" | "disk_bit" | "disk_sector"
            | "disk_misdirect" => {
                for machine in &fault.place.machines {
                    self.begin_disk_of(*machine, fault.class);
                }
            }
            _ => return false,
        }
        true
    }

    fn begin_disk_of(&mut self, machine: usize, class: &str) {
        let now = self.now;
        let Some(disk) = self.machine_mut(machine).disk.as_mut() else { return };
        match class {
            "disk_lost_sync" => disk.lie(Some(now)),
            "disk_error" => disk.errors += 1,
            "disk_full" => disk.full = true,
            _ => disk.damaged = true,
        }
    }

    /// Ends a fault of disks; whether it is one.
    pub(super) fn end_disk(&mut self, fault: &Fault<'_>) -> bool {
        match fault.class {
            "disk_slow" => self.trouble.slow_us = 0,
            "disk_torn" => self.trouble.torn = 0,
            "disk_lost_sync" | "disk_full" => {
                for machine in &fault.place.machines {
                    let Some(disk) = self.machine_mut(*machine).disk.as_mut() else { continue };
                    match fault.class {
                        "disk_full" => disk.full = false,
                        _ => disk.lie(None),
                    }
                }
            }
            _ => return false,
        }
        true
    }

    /// Disks do what they say.
    pub(super) fn calm_disks(&mut self) {
        self.trouble = Trouble::default();
        for disk in self.machines.iter_mut().filter_map(|machine| machine.disk.as_mut()) {
            disk.full = false;
            disk.errors = 0;
            disk.lie(None);
        }
    }
}

/// Whether a batch holds the row that names a life.
pub(crate) fn names_a_life(batch: &Batch) -> bool {
    batch.iter().any(|(_, key, _)| key == INCARNATION_KEY)
}
