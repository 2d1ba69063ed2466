//! What a request teaches about the member that it was sent to.
//!
//! P-7: a report changes only targets of its lease's member and epoch. P-2: a deadline moves later, but for
//! success, a probe, an operator or a changed credential.
//!
//! Failures of requests that were sent before the present rest began are the same event: they may move the
//! deadline, never the count that the ladder climbs by.

use super::super::lane::Who;
use super::super::rest::{Condition, Level};
use super::super::said::RestSaid;
use super::super::target::{Reach, Subject, Target, Whom};
use super::super::verdict::{Class, Scope, Verdict};
use super::super::{Answer, Cause, Event, Outcome, Profile, Report};
use super::*;

/// The name of a source, as far as an entry has room for it.
fn short(source: &Arc<str>) -> Arc<str> {
    match source.char_indices().nth(limits::POOL_SOURCE_BYTES_MAX / 4) {
        Some((end, _)) if source.len() > limits::POOL_SOURCE_BYTES_MAX => {
            source.get(..end).unwrap_or_default().into()
        }
        _ => Arc::clone(source),
    }
}

/// The member and the lane that a report is about.
pub(super) struct About {
    pub(super) pool: Name,
    pub(super) who: Who,
    pub(super) model: Arc<str>,
    sent: u64,
    /// Sent with a body that the credential has no more.
    of_former: bool,
    profile: Profile,
    group: Option<Arc<str>>,
    provider: Arc<str>,
}

impl Pools {
    pub(super) fn report(
        &mut self,
        now: Instant,
        mut report: Report,
        out: &mut Vec<Output>,
    ) -> Answer {
        if canary!("pools.blames_the_active")
            && let Some((who, _)) =
                self.pools.get(&report.pool).and_then(|pool| pool.lanes.get("")?.active)
        {
            (report.credential, report.epoch) = who;
        }
        let unix = self.unix(now);
        let sent = self.unix(report.sent_at);
        let Some(about) = self.about(&report, sent) else {
            return Answer::Reported { applied: false };
        };
        if let Outcome::Judged { verdict: Verdict { rejected: Some(reason), .. }, .. } =
            &report.outcome
        {
            self.counters.rejected(*reason);
        }
        if !report.probe || !self.is_own_try(about.who, &about.model) {
            self.want(unix, &about.pool, &about.model, out);
        }
        let applied = match &report.outcome {
            Outcome::Cancelled => false,
            Outcome::Judged { verdict, .. } if verdict.class == Class::Ok => {
                self.because = (Cause::Success, true);
                self.succeed(unix, &about, out)
            }
            Outcome::Judged { verdict, .. } => self.fail(unix, &about, verdict, report.probe, out),
        };
        if report.probe {
            let taught = match &report.outcome {
                Outcome::Judged { verdict, .. } => {
                    verdict.class == Class::Ok || verdict.class.rests()
                }
                Outcome::Cancelled => false,
            };
            self.probe_ended(unix, &about, taught, out);
        }
        Answer::Reported { applied }
    }

    fn about(&mut self, report: &Report, sent: u64) -> Option<About> {
        let who = (report.credential, report.epoch);
        let pool = self.pools.get(&report.pool);
        let known = pool.and_then(|pool| {
            let named = |member: &&MemberState| member.who.0 == report.credential;
            Some((pool.definition.profile, pool.members.iter().find(named)?.who))
        });
        let reason = match known {
            None => Some("departed"),
            Some((_, current)) if current != who => Some("epoch"),
            Some(_) => None,
        };
        if let Some(reason) = reason {
            self.counters.ignored(reason);
            return None;
        }
        let credential = self.credentials.get(&report.credential);
        let model =
            report.model.clone().filter(|model| model.len() <= limits::POOL_MODEL_BYTES_MAX);
        Some(About {
            pool: report.pool.clone(),
            who,
            model: model.unwrap_or_default(),
            sent,
            of_former: self.renewed.get(&report.credential).is_some_and(|at| report.sent_at <= *at),
            profile: known?.0,
            group: credential.and_then(|one| one.group().cloned()),
            provider: credential.map(|one| Arc::clone(&one.provider)).unwrap_or_default(),
        })
    }

    /// Clears what covers the member and the model, and began before the request was sent.
    fn succeed(&mut self, unix: u64, about: &About, out: &mut Vec<Output>) -> bool {
        let mut whoms: Vec<Whom> = vec![(Subject::Credential(about.who.0), about.who.1)];
        whoms.extend(about.group.iter().map(|group| (Subject::Group(Arc::clone(group)), 0)));
        let mut applied = false;
        for whom in whoms {
            let rests = self.folded.get(&whom).into_iter().flatten();
            let older =
                rests.filter(|(reach, rest)| reach.covers(&about.model) && about.sent > rest.since);
            let reaches: Vec<Reach> = older.map(|(reach, _)| reach.clone()).collect();
            for reach in reaches {
                let target = Target { whom: whom.clone(), reach };
                applied |= self.clear(unix, &target, Cause::Success, out);
            }
            // A level is of a rest that is over; it counts no more.
            let levels: Vec<Target> = self
                .levels
                .range(Target { whom: whom.clone(), reach: Reach::All }..)
                .take_while(|(target, _)| target.whom == whom)
                .filter(|(target, level)| {
                    target.reach.covers(&about.model) && about.sent > level.since
                })
                .map(|(target, _)| target.clone())
                .collect();
            for target in levels {
                if self.folded_rest(&target).is_none() {
                    self.levels.remove(&target);
                    self.mark(&target.whom);
                    self.look_at(about.pool.clone());
                }
            }
        }
        if let Some(pool) = self.pools.get_mut(&about.pool) {
            let lane = pool.lane_of(&about.model);
            let news = |lane: &mut LaneState| {
                lane.proved(&about.who) || lane.held.is_some() || lane.exhausted.is_some()
            };
            if pool.lanes.get_mut(&lane).is_some_and(news) {
                self.look_at(about.pool.clone());
            }
        }
        applied
    }

    /// What rests by a verdict, if anything does.
    fn target(&self, about: &About, verdict: &Verdict) -> Option<Target> {
        if !verdict.class.rests() {
            return None;
        }
        let model = || match about.model.is_empty() {
            true => Reach::All,
            false => Reach::Model(Arc::clone(&about.model)),
        };
        if about.provider.is_empty() {
            return None; // The credential went while its request was on its way.
        }
        let provider = || (Subject::Provider(Arc::clone(&about.provider)), 0);
        let reach = match &verdict.scope {
            Scope::None => return None,
            Scope::ProviderModel => return Some(Target { whom: provider(), reach: model() }),
            Scope::Provider => return Some(Target { whom: provider(), reach: Reach::All }),
            Scope::Model => model(),
            Scope::Family(family) if !about.model.is_empty() => Reach::Family(Arc::clone(family)),
            Scope::Family(_) | Scope::Credential => Reach::All,
        };
        let shared =
            matches!(verdict.class, Class::RateLimited | Class::QuotaExhausted | Class::Billing);
        let whom = match &about.group {
            Some(group) if shared => (Subject::Group(Arc::clone(group)), 0),
            _ => (Subject::Credential(about.who.0), about.who.1),
        };
        // P-14: beyond its bound of targets, the whole rests.
        let known = self.folded.get(&whom);
        let full = known.is_some_and(|reaches| {
            reaches.len() >= limits::POOL_TARGETS_MAX && !reaches.contains_key(&reach)
        });
        let full = full && !canary!("pools.rests_for_any_number_of_models");
        Some(Target { whom, reach: if full { Reach::All } else { reach } })
    }

    fn fail(
        &mut self,
        unix: u64,
        about: &About,
        verdict: &Verdict,
        probe: bool,
        out: &mut Vec<Output>,
    ) -> bool {
        let Some(target) = self.target(about, verdict) else { return false };
        if about.of_former && verdict.class.needs_proof() {
            self.counters.ignored("renewed"); // It says what became of the body before.
            return false;
        }
        let running = self
            .folded_rest(&target)
            .filter(|rest| rest.condition(unix, about.profile.half_open_max_ms) != Condition::Over);
        let running = running.cloned();
        let level = self.levels.get(&target).copied();
        let same = level.is_some_and(|level| about.sent <= level.since);
        let class = verdict.class;
        let before = level.map_or(0, |level| level.count(unix, class));
        let n = match (verdict.stated_wait_ms, same) {
            (Some(_), _) => before,
            (None, true) => before.max(1),
            (None, false) => before.saturating_add(1).min(limits::POOL_LEVEL_MAX),
        };
        let Some(span) = about.profile.rest_ms(verdict, n.max(1)) else { return false };
        let mut rest_until = unix.saturating_add(span);
        let early = running.as_ref().filter(|rest| probe && unix < rest.rest_until);
        if let Some(rest) = early.filter(|_| verdict.stated_wait_ms.is_none()) {
            rest_until = rest.rest_until; // A try before its time that fails keeps the deadline.
        }
        let stated = verdict.stated_wait_ms.map(|wait| unix.saturating_add(wait));
        let since = running.as_ref().filter(|_| same).map_or(unix, |rest| rest.since);
        let source = verdict.source.as_ref().map_or_else(|| "default".into(), short);
        let evidence = u64::from_be_bytes(verdict.evidence);
        let mut said = RestSaid {
            class,
            source,
            rest_until,
            stated_reset: stated,
            n,
            since,
            evidence: format!("{evidence:016x}").into(),
            origin: self.origin(),
        };
        let own = self.books.get(&self.local.node).and_then(|own| own.rests.get(&target));
        if let Some(before) =
            own.filter(|before| running.is_some() && !self.is_voided(&target, before))
        {
            // P-2: what we said for longer stays so. What others say counts beside it, not in it: a clear
            // that covers theirs must not leave our copy.
            if before.rest_until > said.rest_until && !canary!("pools.shortens_a_rest") {
                (said.class, said.source, said.rest_until) =
                    (before.class, Arc::clone(&before.source), before.rest_until);
            }
            said.stated_reset = said.stated_reset.max(before.stated_reset);
            said.n = said.n.max(before.n);
        }
        self.rests(unix, about, &target, said, out)
    }

    fn rests(
        &mut self,
        unix: u64,
        about: &About,
        target: &Target,
        said: RestSaid,
        out: &mut Vec<Output>,
    ) -> bool {
        let own = self.books.get(&self.local.node);
        let known = own.is_some_and(|own| own.rests.contains_key(target));
        if !known && !self.make_room(unix, out) {
            self.counters.ignored("full");
            return false;
        }
        let moved = self.folded_rest(target).is_none_or(|rest| rest.rest_until < said.rest_until);
        let (class, source) = (said.class, Arc::clone(&said.source));
        let (rest_until, stated_reset) = (said.rest_until, said.stated_reset);
        let (since, n) = (said.since, said.n);
        self.say_rest(target, Some(said), out);
        self.levels.insert(target.clone(), Level { class, n, since, over_at: rest_until });
        if moved {
            self.counters.cooled(class, &target.reach, &source);
            out.push(Output::Announce(Event::Rested {
                pool: about.pool.clone(),
                credential: about.who.0,
                class,
                scope: target.to_string().into(),
                source,
                rest_until: UnixTime(rest_until),
                stated_reset: stated_reset.map(UnixTime),
            }));
        }
        true
    }

    /// Whether a target is of this member and covers the model.
    pub(super) fn covers(&self, target: &Target, who: Who, model: &str) -> bool {
        let credential = self.credentials.get(&who.0);
        let of = match &target.whom {
            (Subject::Credential(handle), epoch) => (*handle, *epoch) == who,
            (Subject::Group(group), _) => credential.is_some_and(|one| one.group() == Some(group)),
            (Subject::Provider(provider), _) => {
                credential.is_some_and(|one| one.provider == *provider)
            }
        };
        of && target.reach.covers(model)
    }
}
