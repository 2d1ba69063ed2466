//! The machine: claims, probes and commands meet here.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Input, Output, Settings, Snapshot};
use crate::ids::Replica;
use crate::machine::{Count, Counted, Machine, Wake};
use crate::time::Instant;
use crate::wire::Blob;

/// Every worker that this node knows of.
#[derive(Debug)]
pub struct Workers {
    settings: Settings,
    local: Replica,
    snapshot: Arc<Snapshot>,
}

impl Workers {
    /// A machine that knows nothing yet. `persisted` holds the rows of [`Output::Persist`].
    pub fn new(settings: Settings, local: Replica, persisted: &BTreeMap<String, Blob>) -> Workers {
        let _ = persisted;
        Workers { settings, local, snapshot: Arc::default() }
    }

    /// Builds what the turn touched into the snapshot; `None` if nothing was.
    pub fn publish(&mut self) -> Option<Arc<Snapshot>> {
        let _ = (&self.settings, &self.local);
        Some(Arc::clone(&self.snapshot))
    }
}

impl Machine for Workers {
    type Input = Input;
    type Output = Output;

    fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
        let _ = (now, input, out);
    }

    fn next_wake(&self) -> Option<Wake> {
        None
    }
}

impl Counted for Workers {
    fn counts(&self, visit: &mut dyn FnMut(Count)) {
        let _ = visit;
    }
}
