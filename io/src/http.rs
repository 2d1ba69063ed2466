//! The HTTP surface: the node's snapshots and verbs, with one set of conventions for all of them.
//!
//! Every route is a row of data ([`route::Route`]): its scope, whether it is audited, what it can answer,
//! and the function that does. [`pipeline`] puts the same steps around each of them: request id, limits,
//! host, token, body, idempotency, deadline, audit, metrics. A handler therefore only reads snapshots or
//! asks the node, and returns a value or a [`problem::Problem`]. `/openapi.json` is written by hand and
//! compared with the rows by a test.
//!
//! Absent on purpose: decisions (they are the node's), a page at `/`, TLS (a listener's business), and
//! cross-origin access.

pub mod serve;

mod route;

mod host;

mod pipeline;
mod pools;
mod providers;

mod guard;

mod request_id;

mod problem;
mod raft;

pub(crate) mod strict;

mod lists;

mod idempotency;

mod stream;

mod probes;

mod chat;

mod classify;

mod cluster;

mod members;

mod workers;

mod credentials;

#[expect(clippy::wildcard_enum_match_arm, reason = "a request has one answer; any other is a bug")]
mod kv;

mod picks;

mod events;

mod gateway;

mod operations;

#[cfg(test)]
pub(crate) mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use quorate_core::ids::CredentialHandle;
use quorate_core::node::pools::{Event as PoolEvent, Name};
use quorate_core::node::{Announcement, Request};
use quorate_core::time::{Instant, UnixTime};
use tokio::sync::{Semaphore, broadcast};

use crate::access::Access;
use crate::audit::Audit;
use crate::clock;
use crate::gateway::{Accounts, Gateway, GatewaySettings};
use crate::handle::Handle;
use crate::health::{Health, Question, Vitals};
use crate::metrics::Meters;
use crate::pools::chat::ChatSettings;
use crate::pools::figures::Figures;
use crate::vault::Vault;

pub use host::{BareHost, Host, ReloadError};
pub use serve::{Listener, serve};

pub(crate) use pools::totals as pool_totals;
pub(crate) use workers::unprobed as unprobed_workers;

use events::Events;
use idempotency::Idempotency;
use picks::Picks;

/// Requests answered at once; probes and metrics are not counted.
pub const REQUESTS_MAX: usize = 1024;
/// How often the head of the audit log is published.
const AUDIT_TOLD_EVERY: Duration = Duration::from_secs(60);
/// Streams open at once.
pub const STREAMS_MAX: usize = 256;

/// What the surface is configured to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpSettings {
    /// The cluster's name.
    pub cluster: String,
    /// Version of the software.
    pub version: String,
    /// When the process started.
    pub started_at: UnixTime,
    /// Names that `Host` may say besides loopback (`http.hosts`).
    pub hosts: Vec<String>,
    /// Whether `/metrics` needs no token (`metrics.open`).
    pub metrics_open: bool,
    /// Checks that never count for readiness (`ready.exclude`).
    pub ready_exclude: Vec<String>,
    /// Checks that count for readiness though they are only shown (`ready.require`).
    pub ready_require: Vec<String>,
    /// Whether only this machine reaches the surface by TCP: then secrets may be revealed there.
    pub loopback: bool,
    /// Who may give orders by chat.
    pub chat: Option<ChatSettings>,
    /// Whether seeds are configured: then a node without company is alone, not just small.
    pub has_seeds: bool,
}

/// Everything that a handler may see.
pub struct Surface {
    handle: Handle,
    settings: HttpSettings,
    host: Arc<dyn Host>,
    access: Access,
    audit: Option<Audit>,
    meters: Arc<Meters>,
    vitals: Arc<Vitals>,
    health: Health,
    events: Events,
    idempotency: Idempotency,
    picks: Picks,
    vault: Vault,
    leases: pools::Leases,
    figures: Arc<Figures>,
    gateway: Gateway,
    answered: chat::Answered,
    requests: Semaphore,
    streams: Arc<Semaphore>,
}

/// What a [`Surface`] is made of.
pub struct Parts {
    /// The node.
    pub handle: Handle,
    /// How to be.
    pub settings: HttpSettings,
    /// The process.
    pub host: Arc<dyn Host>,
    /// Who may do what.
    pub access: Access,
    /// Where changes are written down; a node without a data directory has none.
    pub audit: Option<Audit>,
    /// What is counted.
    pub meters: Arc<Meters>,
    /// What the shell knows of itself.
    pub vitals: Arc<Vitals>,
    /// The bodies of credentials.
    pub vault: Vault,
    /// How the gateway reaches upstreams.
    pub gateway: GatewaySettings,
}

impl fmt::Debug for Surface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Surface({:?})", self.settings)
    }
}

impl Surface {
    /// A surface; [`tend`] must run beside it.
    pub fn new(parts: Parts) -> Arc<Surface> {
        let Parts { handle, settings, host, access, audit, meters, vitals, vault, gateway } = parts;
        let health = Health::new(
            vitals.clone(),
            settings.ready_exclude.clone(),
            settings.ready_require.clone(),
        );
        let figures = Arc::new(Figures::default());
        let accounts = Accounts {
            handle: handle.clone(),
            host: host.clone(),
            meters: meters.clone(),
            figures: figures.clone(),
        };
        let gateway = Gateway::new(accounts, vault.clone(), &gateway);
        let instance = handle.published().members.load().local.to_string();
        let surface = Arc::new(Surface {
            handle,
            settings,
            host,
            access,
            audit,
            meters,
            vitals,
            health,
            events: Events::new(instance),
            idempotency: Idempotency::default(),
            picks: Picks::default(),
            vault,
            leases: pools::Leases::default(),
            figures,
            gateway,
            answered: chat::Answered::default(),
            requests: Semaphore::new(REQUESTS_MAX),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
        });
        surface.look_at_pools();
        surface
    }

    /// Who may do what, so that new tokens can be listed at run time.
    pub fn access(&self) -> &Access {
        &self.access
    }

    fn node_id(&self) -> String {
        self.handle.published().members.load().local.node.to_string()
    }

    /// `since`, an instant of the node's clock, on the wall.
    fn wall_of(&self, since: Instant) -> String {
        let age = quorate_core::time::millis(self.host.now().since(since));
        clock::rfc3339(UnixTime(self.host.wall().0.saturating_sub(age)))
    }

    fn wall_now(&self) -> String {
        clock::rfc3339(self.host.wall())
    }
}

/// The routes over `surface`.
pub fn router(surface: Arc<Surface>) -> Router {
    route::router(surface)
}

/// The state of the node as JSON, without secrets.
pub(crate) fn dump(surface: &Surface) -> String {
    operations::dump_document(surface).to_string()
}

/// Whether the node can serve, and whether it lives.
pub(crate) fn ready_and_live(surface: &Surface) -> [bool; 2] {
    let (published, now) = (surface.handle.published(), surface.host.now());
    let passes = |question| surface.health.ask(question, published, now, &[]).passed;
    [passes(Question::Ready), passes(Question::Live)]
}

/// Turns announcements into events and measures, and writes what the audit counted, until the stop.
pub async fn tend(surface: Arc<Surface>) {
    let mut heard = surface.handle.listen();
    let mut second = tokio::time::interval(Duration::from_secs(1));
    let mut phases = surface.vitals.phases();
    let mut told_at = None;
    loop {
        tokio::select! {
            next = heard.recv() => match next {
                Ok(heard) => {
                    if let Announcement::Pool(PoolEvent::ProbeDue { pool, member }) = &heard.announcement {
                        ask_alone(surface.clone(), pool.clone(), *member);
                    }
                    surface.events.hear(&surface, &heard);
                }
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    surface.events.missed(&surface, missed);
                }
                Err(broadcast::error::RecvError::Closed) => break,
            },
            _ = second.tick() => {
                let trials = surface.picks.sweep(surface.host.now());
                workers::cancel_trials(&surface, trials).await;
                surface.look_at_pools();
                surface.gateway.sweep();
                surface.settle_audit(false).await;
                surface.tell_audit(&mut told_at).await;
            }
            () = stream::stopping(&mut phases) => break,
        }
    }
    surface.settle_audit(true).await;
}

/// Has the request of a pool's own sent. What is lost here, by a stop or a lag, is due again within minutes.
fn ask_alone(surface: Arc<Surface>, pool: Name, member: CredentialHandle) {
    tokio::spawn(async move { surface.gateway.ask_alone(pool.as_str(), member).await });
}

/// A word of a closed set as metrics and answers write it.
fn metrics_word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value)
        .ok()
        .and_then(|value| Some(value.as_str()?.to_owned()))
        .unwrap_or_default()
}

impl Surface {
    /// Ends leases whose time is over, and notes which providers can be used.
    fn look_at_pools(&self) {
        let now = self.host.now();
        self.leases.sweep(now);
        let snapshot = self.handle.published().pools.load();
        self.figures.look(now, &snapshot);
        snapshot.pools.keys().for_each(|pool| self.meters.open_pool(pool.as_str()));
    }

    /// Renews the fact `audit` once a minute.
    async fn tell_audit(&self, told_at: &mut Option<Instant>) {
        let now = self.host.now();
        let due = told_at.is_none_or(|at| now.since(at) >= AUDIT_TOLD_EVERY);
        let Some(audit) = self.audit.as_ref().filter(|_| due) else { return };
        let head = audit.head();
        let request = Request::TellAudit { sequence: head.sequence, hash: head.hash.clone() };
        if self.handle.ask(request, AUDIT_TOLD_EVERY).await.is_ok() {
            *told_at = Some(now);
        }
    }

    async fn settle_audit(&self, all: bool) {
        if let Some(audit) = &self.audit
            && let Err(error) = audit.settle(self.host.now(), all).await
        {
            tracing::error!(%error, "counted lines are lost to the audit log");
        }
    }
}
