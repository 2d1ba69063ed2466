//! Log lines made of what a node announces.

use std::time::Duration;

use quorate_core::ids::{Notice, Reason};
use quorate_core::node::Announcement;
use quorate_core::node::credentials::Event;
use quorate_core::node::pools::Event as PoolEvent;
use quorate_core::time::Instant;
use quorate_core::wire::Transport;
use tokio::sync::broadcast::error::RecvError;
use tracing::{debug, error, info, warn};

use crate::clock;
use crate::handle::{Handle, Heard};

/// After the first ones, what a peer or a seed does again and again is said once in this time.
const REPEAT: Duration = Duration::from_secs(60);
/// Failures of a seed that are each told.
const JOIN_FAILURES_TOLD: u32 = 3;

/// Writes lines until the node ends.
pub async fn follow(handle: Handle) {
    let mut announced = handle.listen();
    drop(handle); // Only the loop keeps the channel open.
    let mut told = Told::default();
    loop {
        match announced.recv().await {
            Ok(heard) => told.tell(&heard),
            Err(RecvError::Lagged(_)) => {} // The log is for people; snapshots hold the truth.
            Err(RecvError::Closed) => return,
        }
    }
}

/// What was said of what comes back.
#[derive(Default)]
pub(super) struct Told {
    misbehaved: Option<Instant>,
    unsaid: u64,
    join: Option<Instant>,
}

impl Told {
    pub(super) fn tell(&mut self, heard: &Heard) {
        match &heard.announcement {
            Announcement::Member(notice) => member(notice),
            Announcement::Raised { replica } => {
                info!(%replica, "this node lives on as another replica")
            }
            Announcement::Link { peer, up } => debug!(%peer, up, "link"),
            Announcement::RoundTrip { .. } => {} // Measured, not told.
            Announcement::Asymmetric { peer, missing } => asymmetric(peer.as_str(), *missing),
            Announcement::Converged { took } => {
                let took_ms = quorate_core::time::millis(*took);
                debug!(took_ms, "the view of members is still");
            }
            Announcement::Worker(change) => {
                let (old, new, cause) = (change.old, change.new, change.cause);
                info!(worker = change.id.as_str(), ?old, ?new, ?cause, "worker");
            }
            Announcement::Misbehaved { peer, what } => {
                let peer = peer.as_ref().map_or("unknown", |peer| peer.as_str());
                self.misbehaved(heard.at, peer, what);
            }
            Announcement::JoinFailed { seed, failures } => {
                self.join_failed(heard.at, seed, *failures);
            }
            Announcement::Credential(event) => credential(event),
            Announcement::Led { term, leader: Some(leader), here } => {
                info!(term, %leader, here, "the log is led");
            }
            Announcement::Led { term, leader: None, here: _ } => {
                info!(term, "nobody leads the log")
            }
            Announcement::NeedsUpgrade { index } => {
                warn!(index, "the log holds an entry that only a newer build understands");
            }
            Announcement::GenesisConflict { with } => {
                warn!(with, "another log was founded in this cluster: nothing merges the two");
            }
            Announcement::Pool(event) => pool(event),
            Announcement::Stopped => info!("this node has left the cluster"),
            Announcement::Duplicate { address } => {
                let address = address.map_or("unknown".to_owned(), |address| address.to_string());
                error!(address, "node id in use by another process");
            }
            Announcement::MemberChanged { .. }
            | Announcement::WorkerChanged { .. }
            | Announcement::Watched { .. } => {}
        }
    }

    fn misbehaved(&mut self, at: Instant, peer: &str, what: &str) {
        if self.misbehaved.is_some_and(|last| at.since(last) < REPEAT) {
            self.unsaid += 1;
            return;
        }
        let unsaid = std::mem::take(&mut self.unsaid);
        self.misbehaved = Some(at);
        warn!(peer, what, unsaid, "a peer broke the rules");
    }

    fn join_failed(&mut self, at: Instant, seed: &str, failures: u32) {
        if failures <= JOIN_FAILURES_TOLD || self.join.is_none_or(|last| at.since(last) >= REPEAT) {
            self.join = Some(at);
            warn!(seed, failures, "a seed cannot be joined");
        }
    }
}

/// What becomes of a pool. Credentials are named by their handles.
fn pool(event: &PoolEvent) {
    match event {
        PoolEvent::Exhausted { pool, lane, wake_at, members } => {
            let wake_at = wake_at.map_or_else(|| "no timer".to_owned(), clock::rfc3339);
            warn!(%pool, %lane, wake_at, members, "pool exhausted");
        }
        PoolEvent::Recovered { pool, lane, member, cause, confirmed, after_ms, .. } => {
            info!(%pool, %lane, %member, ?cause, confirmed, after_ms, "pool recovered");
        }
        PoolEvent::Failover { pool, lane, from, to, class } => {
            let class = class.map_or("operator", |class| class.name());
            info!(%pool, %lane, %from, %to, class, "pool failover");
        }
        PoolEvent::Parked { pool, member, until } => {
            let until = until.map_or_else(|| "taken back".to_owned(), clock::rfc3339);
            info!(%pool, %member, until, "pool member parked");
        }
        PoolEvent::ProbeDue { pool, member } => {
            debug!(%pool, %member, "nobody asks: the pool sends its own request");
        }
        PoolEvent::Rested { .. } | PoolEvent::Shared { .. } | PoolEvent::Changed { .. } => {}
    }
}

fn member(notice: &Notice) {
    match notice {
        Notice::Up { replica, address, .. } => info!(%replica, %address, "member up"),
        Notice::Suspect { replica } => debug!(%replica, "member suspect"),
        Notice::Refuted { replica } => debug!(%replica, "member well after all"),
        Notice::Departed { replica, reason: Reason::Failed } => warn!(%replica, "member failed"),
        Notice::Departed { replica, reason: Reason::Left } => info!(%replica, "member left"),
        Notice::Departed { replica, reason: Reason::Evicted } => info!(%replica, "member evicted"),
        Notice::Renamed { old, new, .. } => info!(%old, %new, "member in a new life"),
        Notice::Forgotten { node, .. } => info!(%node, "member forgotten"),
    }
}

fn asymmetric(peer: &str, missing: Option<Transport>) {
    match missing {
        Some(Transport::Datagram) => {
            warn!(peer, "its frames arrive and its datagrams do not: is UDP filtered?");
        }
        Some(Transport::Link) => {
            warn!(peer, "its datagrams arrive and its frames do not: is TCP filtered?");
        }
        None => info!(peer, "datagrams and frames both arrive again"),
    }
}

fn credential(event: &Event) {
    match event {
        Event::Changed { handle, provider, revision, change } => {
            let provider = &**provider;
            info!(%handle, provider, revision, ?change, "credential");
        }
        Event::FileInvalid { handle, what } => {
            warn!(%handle, what, "a credential's file is no record; the last good one stays in use");
        }
        Event::FileExposed { handle } => {
            warn!(%handle, "others on this machine may read a credential's file: chmod 600");
        }
        Event::BreakerOpened { held } => {
            warn!(
                held,
                "so many credentials are missing at once that none is removed: \
                 `quorate credential breaker accept` or `restore`"
            );
        }
        Event::BreakerClosed => info!("no credential is missing any more"),
        Event::LimitReached { left_out } => {
            warn!(
                left_out,
                "the folder of credentials holds more than 4096; the rest is not in use"
            );
        }
        Event::Store { failure: Some(failure) } => {
            warn!(failure, "the store of credentials does not answer; what was read stays in use");
        }
        Event::Drained { .. } => {} // Measured, not told.
        Event::Store { failure: None } => info!("the store of credentials answers again"),
    }
}
