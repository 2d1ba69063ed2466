//! The verbs of operators and callers, each once.
//!
//! P-4: rotate and park write parks alone, clear writes clears alone.

use std::time::Duration;

use super::super::lane::Who;
use super::super::said::ParkSaid;
use super::super::target::{Reach, Target};
use super::super::verdict::{Scope, Verdict};
use super::super::{Answer, Cause, Class, Command, Event, Outcome, Refusal, Report};
use super::review::whoms;
use super::say::full;
use super::*;
use crate::time::millis;

impl Pools {
    pub(super) fn command(
        &mut self,
        now: Instant,
        command: Command,
        out: &mut Vec<Output>,
    ) -> Answer {
        let unix = self.unix(now);
        let done = match command {
            Command::Probing { pool, credential, epoch, model } => {
                let (who, model) = ((credential, epoch), model.unwrap_or_default());
                match self.probing(unix, who, &pool, &model, out) {
                    true => Ok(Answer::Done),
                    false => Err(Refusal::SlotTaken),
                }
            }
            Command::Wanted { pool, model } => {
                self.want(unix, &pool, &model.unwrap_or_default(), out);
                Ok(Answer::Done)
            }
            Command::Report(report) => Ok(self.report(now, *report, out)),
            Command::Lease { pool, credential, epoch, model, probe, request } => {
                let (sent_at, outcome) = (now, Outcome::Cancelled);
                let report = Report { pool, credential, epoch, model, sent_at, probe, outcome };
                Ok(self.lease(now, report, request, out))
            }
            Command::ReportLease { lease, ended } => {
                Ok(self.report_lease(now, &lease, &ended, out))
            }
            Command::Agreed { revision, pools } => {
                self.agree(revision, pools, out);
                Ok(Answer::Done)
            }
            Command::Told { pool, what, said } => self.told(unix, &pool, &what, said, out),
            Command::Rotate { pool } => self.rotate(unix, pool, out),
            Command::Park { pool, member, span } => {
                self.park(unix, &pool, member, Some(span), out).map(|_| Answer::Done)
            }
            Command::Unpark { pool, member } => {
                self.park(unix, &pool, member, None, out).map(|_| Answer::Done)
            }
            Command::Clear { pool, member, model, reason: _ } => {
                self.clear_member(unix, &pool, member, model.as_ref(), out)
            }
            Command::Probe { pool, member } => self.ask_probe(unix, &pool, member, out),
            Command::CoolProvider { provider, span, reason: _ } => {
                self.cool_provider(now, &provider, span, out)
            }
            Command::RecoverProvider { provider, reason: _ } => {
                self.recover_provider(unix, &provider, out)
            }
        };
        done.unwrap_or_else(Answer::Refused)
    }

    fn who(&self, pool: &Name, member: CredentialHandle) -> Result<Who, Refusal> {
        let Some(state) = self.pools.get(pool) else {
            return Err(Refusal::NoPool { pool: pool.clone() });
        };
        let who = state.members.iter().map(|one| one.who).find(|who| who.0 == member);
        who.ok_or_else(|| Refusal::NoMember { pool: pool.clone(), member })
    }

    /// Acts on the very pointer that picks use.
    fn rotate(&mut self, unix: u64, pool: Name, out: &mut Vec<Output>) -> Result<Answer, Refusal> {
        self.review_now(unix, &pool, out);
        let Some(state) = self.pools.get(&pool) else { return Err(Refusal::NoPool { pool }) };
        let lane = state.lanes.get("");
        let active = lane.and_then(|lane| lane.active).map(|(who, _)| who);
        let others = lane.into_iter().flat_map(|lane| &lane.judged);
        let other = others.filter(|one| one.servable() && Some(one.who) != active).count();
        let Some(from) = active.filter(|_| other > 0) else {
            return Err(Refusal::NowhereToRotate { pool });
        };
        let until = self.park(unix, &pool, from.0, Some(ROTATE), out)?;
        self.review_now(unix, &pool, out);
        let active = self.pools.get(&pool).and_then(|state| state.lanes.get("")?.active);
        let to = active.map_or(from.0, |(who, _)| who.0);
        Ok(Answer::Rotated { from: from.0, to, parked_until: UnixTime(until) })
    }

    fn park(
        &mut self,
        unix: u64,
        pool: &Name,
        member: CredentialHandle,
        span: Option<Duration>,
        out: &mut Vec<Output>,
    ) -> Result<u64, Refusal> {
        let who = self.who(pool, member)?;
        if span.is_some_and(|span| span.is_zero() || span > PARK_MAX) {
            let (field, detail) = ("for_ms".to_owned(), "must be 1 to 604800000".to_owned());
            return Err(Refusal::Invalid { field, detail });
        }
        let target = Target::of(who.0, who.1, Reach::All);
        // A wish is later than the one it replaces, even within a millisecond.
        let before = self.parks.get(&who).map_or(0, |park| park.set_at + 1);
        let until = span.map_or(0, |span| unix.saturating_add(millis(span)));
        if before == 0 && until == 0 {
            return Ok(0);
        }
        let known =
            self.books.get(&self.local.node).is_some_and(|own| own.parks.contains_key(&target));
        if !known && !self.make_room(unix, out) {
            return Err(full());
        }
        let park = ParkSaid { set_at: unix.max(before), until };
        self.say_park(&target, Some(park), out);
        let until = (park.until > 0).then_some(UnixTime(park.until));
        out.push(Output::Announce(Event::Parked { pool: pool.clone(), member, until }));
        Ok(park.until)
    }

    fn clear_member(
        &mut self,
        unix: u64,
        pool: &Name,
        member: CredentialHandle,
        model: Option<&Arc<str>>,
        out: &mut Vec<Output>,
    ) -> Result<Answer, Refusal> {
        let who = self.who(pool, member)?;
        self.because = (Cause::Cleared, false);
        let targets = self.clear_who(unix, who, model, out);
        match targets.is_empty() {
            true => Err(Refusal::NotResting { member }),
            false => Ok(Answer::Changed { targets }),
        }
    }

    fn clear_who(
        &mut self,
        unix: u64,
        who: Who,
        model: Option<&Arc<str>>,
        out: &mut Vec<Output>,
    ) -> Vec<String> {
        let mut targets: Vec<Target> = Vec::new();
        for whom in whoms(who, self.credentials.get(&who.0)) {
            let rests = self.folded.get(&whom).into_iter().flat_map(BTreeMap::keys);
            let meant = rests.filter(|reach| {
                model.is_none_or(|model| **reach != Reach::All && reach.covers(model))
            });
            targets.extend(meant.map(|reach| Target { whom: whom.clone(), reach: reach.clone() }));
        }
        for target in &targets {
            self.clear(unix, target, Cause::Cleared, out);
        }
        targets.iter().map(Target::to_string).collect()
    }

    fn ask_probe(
        &mut self,
        unix: u64,
        pool: &Name,
        member: CredentialHandle,
        out: &mut Vec<Output>,
    ) -> Result<Answer, Refusal> {
        let who = self.who(pool, member)?;
        // What the pool's own request would try comes first: that is sent at once.
        let own = self.pools.get(pool).and_then(|pool| pool.own.clone());
        let rank = |reach: &Reach, until: u64| {
            (own.as_ref().is_some_and(|model| reach.covers(model)), until)
        };
        let rests = whoms(who, self.credentials.get(&who.0)).flat_map(|whom| {
            let reaches = self.folded.get(&whom).into_iter().flat_map(BTreeMap::iter);
            let first = reaches.map(|(reach, rest)| (rank(reach, rest.rest_until), reach));
            let first = first.max_by_key(|(rank, _)| *rank);
            first.map(|(rank, reach)| (rank, Target { whom, reach: reach.clone() }))
        });
        let Some((_, target)) = rests.max_by_key(|(rank, _)| *rank) else {
            return Err(Refusal::NotResting { member });
        };
        if !self.say_demand(unix, &target, true, out) {
            return Err(full());
        }
        self.stand_in(unix, &target);
        Ok(Answer::Done)
    }

    /// An operator's word rests every credential of a provider, as an answer would.
    fn cool_provider(
        &mut self,
        now: Instant,
        provider: &str,
        span: Duration,
        out: &mut Vec<Output>,
    ) -> Result<Answer, Refusal> {
        if !(SPAN_MIN..=SPAN_MAX).contains(&span) {
            let (field, detail) = ("duration_seconds".to_owned(), "must be 1 to 86400".to_owned());
            return Err(Refusal::Invalid { field, detail });
        }
        let whos = self.of_provider(provider)?;
        let mut targets = Vec::new();
        for (pool, (credential, epoch)) in whos {
            let verdict = Verdict {
                class: Class::RateLimited,
                scope: Scope::Credential,
                source: Some("operator".into()),
                stated_wait_ms: Some(millis(span)),
                is_concurrency: false,
                evidence: [0; 8],
                rejected: None,
            };
            let (sent_at, model, probe) = (now, None, false);
            let outcome = Outcome::Judged { status: 0, verdict };
            let report = Report { pool, credential, epoch, model, sent_at, probe, outcome };
            if self.report(now, report, out) == (Answer::Reported { applied: true }) {
                targets.push(Target::of(credential, epoch, Reach::All).to_string());
            }
        }
        Ok(Answer::Changed { targets })
    }

    fn recover_provider(
        &mut self,
        unix: u64,
        provider: &str,
        out: &mut Vec<Output>,
    ) -> Result<Answer, Refusal> {
        let whos = self.of_provider(provider)?;
        self.because = (Cause::Cleared, false);
        let mut targets = Vec::new();
        for (_, who) in whos {
            targets.extend(self.clear_who(unix, who, None, out));
        }
        Ok(Answer::Changed { targets })
    }

    fn of_provider(&self, provider: &str) -> Result<Vec<(Name, Who)>, Refusal> {
        let mut whos = Vec::new();
        for (name, pool) in &self.pools {
            let of = |who: &Who| {
                self.credentials.get(&who.0).is_some_and(|one| *one.provider == *provider)
            };
            let members = pool.members.iter().map(|member| member.who).filter(of);
            whos.extend(members.map(|who| (name.clone(), who)));
        }
        match whos.is_empty() {
            true => Err(Refusal::NoProvider { provider: provider.chars().take(64).collect() }),
            false => Ok(whos),
        }
    }
}

/// How long rotate parks the member that was active.
const ROTATE: Duration = Duration::from_secs(300);
const PARK_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
const SPAN_MIN: Duration = Duration::from_secs(1);
const SPAN_MAX: Duration = Duration::from_secs(24 * 3600);
