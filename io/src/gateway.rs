//! The gateway: a client's request goes to an account of a pool, and the answer comes back as it comes.
//!
//! ```text
//!   client ─▶ model ─▶ pick ─▶ account's key ─▶ upstream ─▶ head ─▶ judge ─▶ client
//!                       ▲                                    │ another account may do better
//!                       └────────────────────────────────────┘ before the first byte, never after
//! ```
//!
//! A request's body is kept for a repetition up to [`limits::GATEWAY_REPLAY_BYTES_MAX`]; an answer's body is
//! never kept whole. Before the first byte leaves, a refusal goes to the next account, each once; after it
//! nothing is repeated (P-13). Whoever hangs up ends the upstream's request with it. A request of the pool's own
//! (`ask_alone`) begins at the key, for the account that is to be tried, and its answer is for nobody.
//!
//! Reading order: `request` is what a client wants, [`preset`] says where a provider is and how a key is shown
//! to it, `headers` what may pass, `upstream` asks over `connections`, `attempt` asks once, `relay` passes a body on,
//! `accounts` is the way to the node.
//!
//! Absent on purpose: which account is picked and what an answer means, which are the node's; proxies on the way to an
//! upstream: an account whose record names one is not asked.

mod accounts;
mod attempt;
mod connections;
mod headers;
pub mod preset;
mod relay;
mod request;
mod upstream;
mod usage;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Method, Response, Uri};
use quorate_core::ids::CredentialHandle;
use quorate_core::limits;
use quorate_core::node::pools::verdict::Retry;
use quorate_core::node::pools::{Class, Picked, Pool, Query, Refused, Why, pick, pick_try};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::vault::Vault;
use attempt::{Answered, Attempt, Unready};
use request::Request;
use upstream::Upstream;

pub(crate) use accounts::Accounts;
pub(crate) use headers::TOKEN_HEADERS;
pub use upstream::GatewaySettings;
pub(crate) use usage::Usage;

/// See the module.
pub(crate) struct Gateway {
    accounts: Arc<Accounts>,
    vault: Vault,
    upstream: Upstream,
    tickets: AtomicU64,
    /// Requests that may be on their way.
    places: Arc<Semaphore>,
    /// KiB of bodies that may be kept.
    replay: Arc<Semaphore>,
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gateway")
    }
}

/// A client's request, with the token that let it in.
#[derive(Debug)]
pub(crate) struct Asked {
    /// As it came.
    pub(crate) method: Method,
    /// What follows the pool's name, with the query.
    pub(crate) target: Uri,
    /// As they came; what must not pass is taken out here.
    pub(crate) headers: HeaderMap,
    /// As it comes.
    pub(crate) body: Body,
}

/// What became of a request.
#[derive(Debug)]
pub(crate) struct Served {
    /// An upstream's answer, or why there is none.
    pub(crate) answer: Result<Response<Body>, Unserved>,
    /// How many accounts were asked.
    pub(crate) attempts: usize,
}

/// Why there is no answer of an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unserved {
    /// No pool of that name.
    NoPool,
    /// Too many requests are on their way.
    Full,
    /// The path climbs out of what the pool is for.
    Climbs,
    /// The client's body broke off.
    BrokenBody,
    /// The client's body took too long.
    SlowBody,
    /// Nobody can be picked now.
    Refused(Refused),
    /// No account that was picked has a key and an address that can be used.
    Unusable,
    /// An account that was picked is to be reached through a proxy, and no other can be used.
    Proxied,
    /// The upstream could not be reached, or broke off.
    Unreachable,
    /// The upstream did not answer in time.
    Late,
}

/// How long it may take until the first byte.
const FIRST_BYTE_MAX: Duration = Duration::from_secs(120);
/// How long a request of a pool's own may wait for it: a try counts for 120 s in all.
const ALONE_MAX: Duration = Duration::from_secs(100);
/// How long a request waits for an account that comes back slowly.
const RAMP_WAIT: Duration = Duration::from_secs(1);
/// How often it looks whether one has room.
const RAMP_STEP: Duration = Duration::from_millis(50);

impl Gateway {
    /// A gateway over the accounts of a node and the bodies of their credentials.
    pub(crate) fn new(accounts: Accounts, vault: Vault, settings: &GatewaySettings) -> Gateway {
        Gateway {
            accounts: Arc::new(accounts),
            vault,
            upstream: Upstream::new(settings),
            tickets: AtomicU64::new(0),
            places: Arc::new(Semaphore::new(limits::GATEWAY_REQUESTS_MAX)),
            replay: Arc::new(Semaphore::new(limits::GATEWAY_REPLAY_TOTAL_BYTES_MAX / 1024)),
        }
    }

    /// Lets go of what it keeps in vain; called now and then.
    pub(crate) fn sweep(&self) {
        self.upstream.sweep();
    }

    /// Answers one request of the pool `name`. Dropped before it ends, the upstream is cancelled.
    pub(crate) async fn serve(&self, name: &str, asked: Asked) -> Served {
        let began = self.accounts.now();
        let mut trail = Trail::default();
        let answer = self.answer(name, asked, &mut trail).await;
        if answer.is_ok() {
            self.accounts.first_byte(began);
        }
        Served { answer, attempts: trail.attempts }
    }

    /// Sends the request of a pool's own to a member that may be tried, where nobody asks. The node hears what
    /// came of it as of any other.
    pub(crate) async fn ask_alone(&self, name: &str, member: CredentialHandle) {
        let Some(pool) = self.accounts.pool(name) else { return };
        let Some(own) = &pool.definition.probe_request else { return };
        let Some(mut request) = Request::of_pool(own) else { return };
        let Ok(_place) = self.places.try_acquire() else { return };
        let Some(picked) = pick_try(&pool, request.model(), member) else { return };
        let deadline = Instant::now() + ALONE_MAX;
        match Attempt::prepare(self, &pool, &request, picked).await {
            Ok(attempt) => {
                let body = request.body();
                attempt.ask(&self.upstream, body, Some(deadline)).await.settle(false).await;
            }
            Err(Unready::Slot) => {}
            // It is spent all the same, so that another node may win the next one.
            Err(Unready::NoKey | Unready::Proxied) => {
                if let Some(picked) = pick_try(&pool, request.model(), member) {
                    Attempt::spend(self, &pool, &request, picked).await;
                }
            }
        }
    }

    async fn answer(
        &self,
        name: &str,
        asked: Asked,
        trail: &mut Trail,
    ) -> Result<Response<Body>, Unserved> {
        let pool = self.accounts.pool(name).ok_or(Unserved::NoPool)?;
        let place = self.places.clone().try_acquire_owned().map_err(|_| Unserved::Full)?;
        let deadline = Instant::now() + FIRST_BYTE_MAX.max(self.upstream.head_max());
        let request = Request::read(asked, &self.replay, deadline).await?;
        let mut asking = Asking { gateway: self, pool, request, deadline };
        asking.attempts(trail).await?;
        let (status, answered) = asking.choose(std::mem::take(&mut trail.answers)).await?;
        let response = answered.response(place, self.upstream.idle_max)?;
        self.accounts.answered(name, status);
        Ok(response)
    }
}

/// What was tried for one request.
#[derive(Default)]
struct Trail {
    /// In order.
    answers: Vec<Answered>,
    /// Whom not to pick again.
    tried: Vec<CredentialHandle>,
    /// How many accounts were asked.
    attempts: usize,
}

/// One request on its way from account to account.
struct Asking<'a> {
    gateway: &'a Gateway,
    pool: Arc<Pool>,
    request: Request,
    deadline: Instant,
}

impl Asking<'_> {
    /// Asks accounts until one answers for good.
    async fn attempts(&mut self, trail: &mut Trail) -> Result<(), Unserved> {
        let mut unusable = None;
        for _ in 0..limits::GATEWAY_ATTEMPTS_MAX {
            let picked = match self.pick(&trail.tried).await {
                Ok(picked) => picked,
                Err(refused) if trail.answers.is_empty() => {
                    return Err(match unusable {
                        Some(unusable) => unusable,
                        None => self.refused(refused).await,
                    });
                }
                Err(_) => return Ok(()),
            };
            trail.tried.push(picked.member.handle);
            let prepared = Attempt::prepare(self.gateway, &self.pool, &self.request, picked).await;
            let attempt = match prepared {
                Ok(attempt) => attempt,
                Err(Unready::NoKey) => {
                    unusable = unusable.or(Some(Unserved::Unusable));
                    continue;
                }
                Err(Unready::Proxied) => {
                    unusable = Some(Unserved::Proxied);
                    continue;
                }
                Err(Unready::Slot) => continue,
            };
            trail.attempts += 1;
            let deadline = self.request.is_repeatable().then_some(self.deadline);
            let body = self.request.body();
            let answered = attempt.ask(&self.gateway.upstream, body, deadline).await;
            let retry = answered.class().retry();
            if retry == Retry::OtherProvider {
                self.pass_over(answered.provider(), &mut trail.tried);
            }
            trail.answers.push(answered);
            if retry == Retry::Never || !self.request.is_repeatable() {
                return Ok(());
            }
            self.look()?;
        }
        Ok(())
    }

    /// For want of capacity nobody of the same provider is asked.
    fn pass_over(&self, provider: &str, tried: &mut Vec<CredentialHandle>) {
        let same = self.pool.members.iter().filter(|member| {
            member.credential.as_ref().is_some_and(|credential| &*credential.provider == provider)
        });
        tried.extend(same.map(|member| member.handle));
    }

    /// The pool as it is now.
    fn look(&mut self) -> Result<(), Unserved> {
        let name = self.pool.name.as_str();
        self.pool = self.gateway.accounts.pool(name).ok_or(Unserved::NoPool)?;
        Ok(())
    }

    fn query<'a>(&'a self, tried: &'a [CredentialHandle]) -> Query<'a> {
        Query {
            model: self.request.model(),
            ticket: self.gateway.tickets.fetch_add(1, Ordering::Relaxed),
            tried,
            no_probe: !self.request.is_repeatable(),
        }
    }

    /// Picks an account; waits a little for one that comes back slowly.
    async fn pick(&mut self, tried: &[CredentialHandle]) -> Result<Picked, Refused> {
        let until = Instant::now() + RAMP_WAIT;
        loop {
            let began = self.gateway.accounts.now();
            let picked = pick(&self.pool, &self.query(tried));
            self.gateway.accounts.picked(began);
            match picked {
                Err(refused) if refused.why == Why::Ramping && Instant::now() < until => {
                    tokio::time::sleep(RAMP_STEP).await;
                    if self.look().is_err() {
                        return Err(refused);
                    }
                }
                picked => return picked,
            }
        }
    }

    /// Nobody can be picked; that somebody asked is worth a word where it makes somebody try.
    async fn refused(&self, refused: Refused) -> Unserved {
        if refused.tells {
            self.gateway.accounts.wanted(&self.pool.name, self.request.model()).await;
        }
        Unserved::Refused(refused)
    }

    /// The answer that the client gets of those that came, and its status.
    async fn choose(&mut self, mut answers: Vec<Answered>) -> Result<(u16, Answered), Unserved> {
        let last = answers.last().map(Answered::class).ok_or(Unserved::Unreachable)?;
        for answered in &mut answers {
            answered.settle(last == Class::Ok).await;
        }
        let is_about_request =
            |class| matches!(class, Class::PermissionDenied | Class::ModelUnavailable);
        let chosen = if answers.iter().all(|answered| is_about_request(answered.class())) {
            answers.swap_remove(0)
        } else {
            if last.retry() != Retry::Never {
                self.exhausted().await?;
            }
            answers.pop().ok_or(Unserved::Unreachable)?
        };
        let status = chosen.status()?;
        Ok((status, chosen))
    }

    /// Whether nobody could serve the next request either: then that is the better answer.
    async fn exhausted(&mut self) -> Result<(), Unserved> {
        self.look()?;
        let query = Query { no_probe: true, ..self.query(&[]) };
        match pick(&self.pool, &query) {
            Err(refused) if matches!(refused.why, Why::Exhausted | Why::Unavailable) => {
                Err(self.refused(refused).await)
            }
            Ok(_) | Err(_) => Ok(()),
        }
    }
}
