//! Picks that were given to callers outside this process, and what joins those of one request.
//!
//! A lease is answered once; a second report is answered as the first. What a credential may not do counts
//! only once another member served the very same request, so such a report waits for that.
//!
//! P-14: both tables keep their bound; the oldest go.

use super::super::answer::{Answer as Heard, judge};
use super::super::{Answer, Class, Ended, LeaseId, Outcome, Refusal, Report, Verdict};
use super::*;

/// Leases out, and reports that wait.
#[derive(Debug, Default)]
pub(super) struct Leases {
    last: u64,
    out: BTreeMap<u64, Lease>,
    waiting: BTreeMap<Arc<str>, (u64, Vec<Report>)>,
}

#[derive(Debug)]
struct Lease {
    report: Report,
    request: Option<Arc<str>>,
    expires_at: u64,
    answered: Option<(Option<Verdict>, bool)>,
}

impl Leases {
    pub(super) fn expire(&mut self, unix: u64) {
        while let Some((number, lease)) = self.out.first_key_value() {
            if unix < lease.expires_at.saturating_add(REMEMBERED_MS) {
                break;
            }
            let number = *number;
            self.out.remove(&number);
        }
        self.waiting.retain(|_, (since, _)| unix < since.saturating_add(REQUEST_MS));
    }

    pub(super) fn len(&self) -> usize {
        self.out.len()
    }
}

impl Pools {
    /// Whether `who` is a member of `pool` as it is now.
    pub(super) fn belongs(&self, pool: &Name, who: Who) -> bool {
        let pool = self.pools.get(pool);
        pool.is_some_and(|pool| pool.members.iter().any(|member| member.who == who))
    }

    pub(super) fn lease(
        &mut self,
        now: Instant,
        report: Report,
        request: Option<Arc<str>>,
        out: &mut Vec<Output>,
    ) -> Answer {
        let unix = self.unix(now);
        let who = (report.credential, report.epoch);
        if !self.belongs(&report.pool, who) {
            let (pool, member) = (report.pool, report.credential);
            return Answer::Refused(Refusal::NoMember { pool, member });
        }
        let model = report.model.clone().unwrap_or_default();
        if !report.probe || !self.is_own_try(who, &model) {
            self.want(unix, &report.pool, &model, out);
        }
        if report.probe && !self.probing(unix, who, &report.pool, &model, out) {
            return Answer::Refused(Refusal::SlotTaken);
        }
        self.leases.last += 1;
        let number = self.leases.last;
        let expires_at = unix.saturating_add(LEASE_MS);
        let lease = Lease { report, request, expires_at, answered: None };
        self.leases.out.insert(number, lease);
        if self.leases.out.len() > limits::POOL_LEASES_MAX {
            self.leases.out.pop_first();
        }
        let lease = LeaseId { replica: self.local.clone(), number };
        Answer::Leased { lease, expires_at: UnixTime(expires_at) }
    }

    pub(super) fn report_lease(
        &mut self,
        now: Instant,
        id: &LeaseId,
        ended: &Ended,
        out: &mut Vec<Output>,
    ) -> Answer {
        let unix = self.unix(now);
        let ours = id.replica == self.local;
        let Some(lease) = self.leases.out.get(&id.number).filter(|_| ours) else {
            return Answer::Refused(Refusal::NoLease);
        };
        if let Some((verdict, applied)) = &lease.answered {
            return Answer::Judged { verdict: verdict.clone(), applied: *applied };
        }
        if unix >= lease.expires_at {
            self.counters.ignored("expired");
            return Answer::Refused(Refusal::LeaseExpired);
        }
        let (report, request) = (lease.report.clone(), lease.request.clone());
        let verdict = self.judged(unix, &report, ended);
        let outcome = match (&verdict, ended) {
            (Some(verdict), Ended::Answered { status, .. }) => {
                Outcome::Judged { status: *status, verdict: verdict.clone() }
            }
            _ => Outcome::Cancelled,
        };
        let class = verdict.as_ref().map(|verdict| verdict.class);
        let report = Report { outcome, ..report };
        let waits = matches!(class, Some(Class::PermissionDenied | Class::ModelUnavailable));
        let applied = if waits {
            self.wait(unix, request.as_ref(), report);
            false
        } else {
            self.settle_request(now, request, class, report.credential, out);
            self.report(now, report, out) == (Answer::Reported { applied: true })
        };
        if let Some(lease) = self.leases.out.get_mut(&id.number) {
            lease.answered = Some((verdict.clone(), applied));
        }
        Answer::Judged { verdict, applied }
    }

    fn judged(&self, unix: u64, report: &Report, ended: &Ended) -> Option<Verdict> {
        let Ended::Answered { status, headers, body, endpoint } = ended else { return None };
        let credential = self.credentials.get(&report.credential);
        let provider = credential.map(|one| Arc::clone(&one.provider)).unwrap_or_default();
        Some(judge(&Heard {
            provider: &provider,
            endpoint: *endpoint,
            model: report.model.as_deref().unwrap_or_default(),
            now: UnixTime(unix),
            status: *status,
            headers,
            body,
        }))
    }

    /// Where `who` served a request, what others could not do for it is about them.
    fn settle_request(
        &mut self,
        now: Instant,
        request: Option<Arc<str>>,
        class: Option<Class>,
        who: CredentialHandle,
        out: &mut Vec<Output>,
    ) {
        let served = class == Some(Class::Ok);
        let waiting = request.filter(|_| served).and_then(|one| self.leases.waiting.remove(&one));
        for denied in waiting.into_iter().flat_map(|(_, reports)| reports) {
            if denied.credential != who {
                self.report(now, denied, out);
            }
        }
    }

    /// Nothing rests until another member served the same request.
    fn wait(&mut self, unix: u64, request: Option<&Arc<str>>, report: Report) {
        let room = self.leases.waiting.len() < limits::POOL_LEASES_MAX;
        if let Some(request) = request.filter(|_| room) {
            let waiting = self.leases.waiting.entry(Arc::clone(request)).or_default();
            waiting.0 = unix;
            if waiting.1.len() < ATTEMPTS_MAX {
                waiting.1.push(report);
            }
        }
    }
}

/// How long a lease is good for.
const LEASE_MS: u64 = 15 * 60_000;
/// How long it is known to have been one.
const REMEMBERED_MS: u64 = 15 * 60_000;
/// How long the leases of one request are joined.
const REQUEST_MS: u64 = 5 * 60_000;
/// Members that one request is sent to.
const ATTEMPTS_MAX: usize = 8;
