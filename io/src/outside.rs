//! The world beyond the peers, as the shell asks it.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use quorate_core::node::{Answer, Call, Published};
use tokio::runtime::Handle;

use crate::metrics::Meters;
use crate::probe::Prober;
use crate::resolve;
use crate::serve::SharedKeys;
use crate::vault::Vault;

/// The answer to a call, in time.
pub type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// Whoever performs calls: this machine in production, a script in a false world. A call always has an
/// answer, and has it in the time that the call itself allows.
pub trait Outside: Send + Sync + 'static {
    /// Begins `call`.
    fn answer(&self, call: Call) -> Answering;
}

/// The world of this machine.
pub(crate) struct World {
    runtime: Handle,
    published: Arc<Published>,
    prober: Arc<Prober>,
    meters: Arc<Meters>,
    vault: Vault,
    listens: IpAddr,
}

impl World {
    /// Calls run on `runtime`; `keys` are secrets by URL prefix; `vault` holds the bodies of credentials; peers are met
    /// at `listens`.
    pub(crate) fn new(
        runtime: Handle,
        published: Arc<Published>,
        keys: SharedKeys,
        meters: Arc<Meters>,
        vault: Vault,
        listens: IpAddr,
    ) -> World {
        World { runtime, published, prober: Arc::new(Prober::new(keys)), meters, vault, listens }
    }
}

impl Outside for World {
    fn answer(&self, call: Call) -> Answering {
        let answered = self.runtime.spawn(self.perform(call));
        Box::pin(async move {
            match answered.await {
                Ok(answer) => answer,
                Err(_) => std::future::pending().await, // The process ends.
            }
        })
    }
}

impl World {
    fn perform(&self, call: Call) -> Answering {
        match call {
            Call::Resolve { name } => {
                let listens = self.listens;
                Box::pin(async move { Answer::Resolved(resolve::peers(&name, listens).await) })
            }
            Call::Probe(probe) => {
                let policy = self.published.workers.load().policy.clone();
                let (prober, meters) = (self.prober.clone(), self.meters.clone());
                Box::pin(async move {
                    let (outcome, took) = prober.probe(&policy, &probe).await;
                    meters.probe_duration.observe(took.as_secs_f64());
                    Answer::Probed { outcome, took }
                })
            }
            Call::Credential(errand) => {
                let vault = self.vault.clone();
                Box::pin(async move { Answer::Credential(vault.run(errand).await) })
            }
        }
    }
}
