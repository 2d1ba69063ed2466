//! What the HTTP surface asks of the process.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use crate::handle::Handle;
use crate::http::{Host, ReloadError};
use crate::log::Log;
use crate::record::{TraceError, TraceSettings, Tracer};
use crate::serve::SharedKeyring;
use crate::serve::keys::WorkerKeys;

/// What came of a reload: keys that need a restart, or why nothing changed.
pub(super) type Reloaded = Result<Vec<&'static str>, String>;
/// Callers that wait for one.
pub(super) type Reloads = mpsc::Receiver<oneshot::Sender<Reloaded>>;

/// The process, as far as a surface may ask it.
pub(super) struct ProcessHost {
    keyring: SharedKeyring,
    keys: Arc<WorkerKeys>,
    log: Log,
    filter: String,
    tracing: Tracing,
    reloads: mpsc::Sender<oneshot::Sender<Reloaded>>,
}

/// What traces are made with, and of.
pub(super) struct Tracing {
    pub(super) tracer: Arc<Tracer>,
    pub(super) settings: TraceSettings,
    pub(super) handle: Handle,
}

impl ProcessHost {
    /// The host, and the reloads that it is asked for; one more may wait behind the one that runs.
    pub(super) fn new(
        keyring: SharedKeyring,
        keys: Arc<WorkerKeys>,
        log: Log,
        filter: String,
        tracing: Tracing,
    ) -> (ProcessHost, Reloads) {
        let (reloads, wanted) = mpsc::channel(1);
        (ProcessHost { keyring, keys, log, filter, tracing, reloads }, wanted)
    }
}

impl Host for ProcessHost {
    fn key_ids(&self) -> Vec<String> {
        let keyring = self.keyring.load();
        if keyring.protects() { keyring.ids() } else { Vec::new() }
    }

    fn set_log(&self, filter: &str, lasts: Duration) -> Result<(), String> {
        self.log.set_filter(filter).map_err(|error| error.to_string())?;
        let (log, usual) = (self.log.clone(), self.filter.clone());
        tokio::spawn(async move {
            tokio::time::sleep(lasts).await;
            let _ = log.set_filter(&usual); // It was taken at the start.
        });
        Ok(())
    }

    fn trace(&self, lasts: Duration) -> Result<PathBuf, TraceError> {
        let Tracing { tracer, settings, handle } = &self.tracing;
        tracer.begin(settings, handle.published(), lasts)
    }

    fn keeps_worker_keys(&self) -> bool {
        true
    }

    fn keep_worker_key(&self, url: &str, key: &str) -> Result<(), String> {
        self.keys.keep(url, key).map_err(|error| error.to_string())
    }

    fn forget_worker_key(&self, url: &str) {
        if let Err(error) = self.keys.forget(url) {
            tracing::warn!(%error, url, "the key of a worker that is gone stays behind");
        }
    }

    fn reload(&self) -> BoxFuture<'static, Result<Vec<&'static str>, ReloadError>> {
        let (done, reloaded) = oneshot::channel();
        let sent = self.reloads.try_send(done);
        Box::pin(async move {
            sent.map_err(|_| ReloadError::Busy)?;
            reloaded.await.map_err(|_| ReloadError::Busy)?.map_err(ReloadError::Invalid)
        })
    }
}
