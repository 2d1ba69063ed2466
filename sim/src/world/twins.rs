//! Two processes with one identity: the configuration of a node is started a second time, elsewhere.
//!
//! The second one runs on a machine that was spare, with an address of its own and no disk. Until then, and
//! afterwards, nobody runs there.
//!
//! Absent on purpose: copies of a disk. Two processes on one store are kept apart by its lock.

use super::World;
use super::machine::Machine;

impl World {
    /// The node of `machine` is started on a spare machine, too.
    pub(super) fn begin_twin(&mut self, machine: usize) {
        let (node, settings) = {
            let host = self.machine(machine);
            (host.node.clone(), host.settings.clone())
        };
        let spare = |one: &&mut Machine| one.spare && one.twin_of.is_none();
        let twin = self.machines.iter_mut().find(spare);
        let twin = twin.expect("a plan has a spare machine for each of its twins");
        twin.node = node;
        twin.settings = settings;
        twin.settings.membership.address = twin.address;
        twin.settings.link.address = twin.address;
        twin.twin_of = Some(machine);
        let index = twin.index;
        self.start(index);
    }

    /// The second process of the node of `machine` is gone, and the first is there again if it had ended.
    pub(super) fn end_twin(&mut self, machine: usize) {
        let is = |one: &&Machine| one.twin_of == Some(machine);
        let twins: Vec<usize> = self.machines.iter().filter(is).map(|one| one.index).collect();
        for index in twins {
            self.crash(index, true);
            let twin = self.machine_mut(index);
            twin.node = crate::settings::node_id(index);
            twin.twin_of = None;
        }
        self.start(machine);
    }

    /// No node runs twice any more.
    pub fn end_twins(&mut self) {
        let doubled: Vec<usize> = self.machines.iter().filter_map(|one| one.twin_of).collect();
        doubled.into_iter().for_each(|machine| self.end_twin(machine));
    }
}
