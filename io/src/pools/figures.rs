//! What providers were asked for and how that ended, over the last fifteen minutes; and in how many minutes
//! of the last day each could be used.
//!
//! The gateway and the reports of leases feed it. Minutes are of the node's clock. What nobody measured is
//! absent, not zero.
//!
//! Absent on purpose: a fleet's figures, and anything about a single credential.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use quorate_core::node::pools::{Class, Snapshot};
use quorate_core::time::{Instant, millis};

/// Minutes of requests that are kept.
pub(crate) const WINDOW_MINUTES: u64 = 15;
/// Minutes of usability that are kept: a day.
const DAY_MINUTES: usize = 1440;
/// Providers; beyond them nothing is noted.
const PROVIDERS_MAX: usize = 256;
/// Latencies of one minute that are kept; later ones of it are not.
const LATENCIES_MAX: usize = 1024;

/// The figures of every provider.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    providers: Mutex<BTreeMap<String, Provider>>,
}

#[derive(Debug, Default)]
struct Provider {
    /// Ascending; only minutes in which something happened.
    minutes: VecDeque<Minute>,
    /// Whether it could be used, one entry a minute, the present one last.
    usable: VecDeque<bool>,
    usable_minute: Option<u64>,
}

#[derive(Debug, Default)]
struct Minute {
    number: u64,
    requests: u64,
    failures: u64,
    tokens: u64,
    latencies: Vec<u32>,
}

/// One request that has ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    /// What became of it.
    pub(crate) class: Class,
    /// How long it took.
    pub(crate) took: Option<Duration>,
    /// Tokens it used, if the answer said so.
    pub(crate) tokens: u64,
}

/// The figures of one provider over a span.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) requests: u64,
    pub(crate) failures: u64,
    pub(crate) tokens: u64,
    /// Ascending, in ms.
    pub(crate) latencies: Vec<u32>,
}

impl Sums {
    /// The share of requests that worked; 1 without any.
    pub(crate) fn success_rate(&self) -> f64 {
        if self.requests == 0 {
            return 1.0;
        }
        to_float(self.requests - self.failures) / to_float(self.requests)
    }

    /// The latency below which `percent` of 100 lie, in ms.
    pub(crate) fn percentile(&self, percent: usize) -> Option<u32> {
        let rank = (self.latencies.len() * percent).div_ceil(100).max(1);
        self.latencies.get(rank - 1).copied()
    }

    /// The mean latency in ms.
    pub(crate) fn mean(&self) -> Option<u64> {
        let count = u64::try_from(self.latencies.len()).ok().filter(|count| *count > 0)?;
        Some(self.latencies.iter().copied().map(u64::from).sum::<u64>() / count)
    }
}

impl Figures {
    /// Notes a request to `provider`.
    pub(crate) fn ended(&self, now: Instant, provider: &str, ended: Ended) {
        self.at(provider, |figures| {
            let Some(minute) = figures.minute(minute(now)) else { return };
            minute.requests += 1;
            minute.failures += u64::from(!matches!(ended.class, Class::Ok | Class::ClientError));
            minute.tokens = minute.tokens.saturating_add(ended.tokens);
            if let Some(took) = ended.took
                && minute.latencies.len() < LATENCIES_MAX
            {
                minute.latencies.push(u32::try_from(millis(took)).unwrap_or(u32::MAX));
            }
        });
    }

    /// Notes that an answer said how many tokens it used, after it was noted.
    pub(crate) fn used(&self, now: Instant, provider: &str, tokens: u64) {
        self.at(provider, |figures| {
            let Some(minute) = figures.minute(minute(now)) else { return };
            minute.tokens = minute.tokens.saturating_add(tokens);
        });
    }

    /// Notes for the present minute which providers could be used; called at least once in each.
    pub(crate) fn look(&self, now: Instant, pools: &Snapshot) {
        for (provider, usable) in usable(pools) {
            self.at(&provider, |figures| figures.look(minute(now), usable));
        }
    }

    /// The last `minutes` of a provider, the present one included.
    pub(crate) fn sums(&self, now: Instant, provider: &str, minutes: u64) -> Sums {
        let mut sums = Sums::default();
        self.at(provider, |figures| {
            let oldest = (minute(now) + 1).saturating_sub(minutes);
            for minute in figures.minutes.iter().filter(|minute| minute.number >= oldest) {
                sums.requests += minute.requests;
                sums.failures += minute.failures;
                sums.tokens = sums.tokens.saturating_add(minute.tokens);
                sums.latencies.extend(&minute.latencies);
            }
        });
        sums.latencies.sort_unstable();
        sums
    }

    /// In how many of a hundred minutes of the last day a provider could be used.
    pub(crate) fn uptime_percent(&self, provider: &str) -> Option<f64> {
        let mut percent = None;
        self.at(provider, |figures| {
            let (good, all) =
                (figures.usable.iter().filter(|usable| **usable).count(), figures.usable.len());
            if let (Ok(good), Ok(all @ 1..)) = (u64::try_from(good), u64::try_from(all)) {
                percent = Some(to_float(good * 10_000 / all) / 100.0);
            }
        });
        percent
    }

    fn at(&self, provider: &str, act: impl FnOnce(&mut Provider)) {
        let mut providers = self.providers.lock().expect("no holder of this lock panics");
        if let Some(known) = providers.get_mut(provider) {
            act(known);
        } else if providers.len() < PROVIDERS_MAX {
            act(providers.entry(provider.to_owned()).or_default());
        }
    }
}

impl Provider {
    /// What is noted of a minute, without what is too old.
    fn minute(&mut self, number: u64) -> Option<&mut Minute> {
        if self.minutes.back().is_none_or(|last| last.number < number) {
            self.minutes.push_back(Minute { number, ..Minute::default() });
            let oldest = number.saturating_sub(WINDOW_MINUTES);
            self.minutes.retain(|minute| minute.number > oldest || oldest == 0);
        }
        self.minutes.back_mut()
    }

    /// A minute counts as usable if it was so at any look.
    fn look(&mut self, minute: u64, usable: bool) {
        if self.usable_minute == Some(minute) {
            if let Some(present) = self.usable.back_mut() {
                *present |= usable;
            }
            return;
        }
        self.usable_minute = Some(minute);
        self.usable.push_back(usable);
        if self.usable.len() > DAY_MINUTES {
            self.usable.pop_front();
        }
    }
}

/// Whether each provider has a credential that could be picked.
fn usable(pools: &Snapshot) -> BTreeMap<String, bool> {
    let mut usable = BTreeMap::new();
    for pool in pools.pools.values() {
        for (place, member) in pool.members.iter().enumerate() {
            let Some(credential) = &member.credential else { continue };
            let open = u32::try_from(place).is_ok_and(|at| {
                pool.any.open.binary_search(&at).is_ok() || pool.any.parked.contains(&at)
            });
            *usable.entry(credential.provider.to_string()).or_insert(false) |= open;
        }
    }
    usable
}

fn minute(now: Instant) -> u64 {
    now.as_micros() / 60_000_000
}

/// Exact up to 2^53, which no count of requests reaches.
fn to_float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1000)
    }

    fn ended(class: Class, took_ms: u64) -> Ended {
        Ended { class, took: Some(Duration::from_millis(took_ms)), tokens: 10 }
    }

    #[test]
    fn a_window_holds_fifteen_minutes_and_no_more() {
        let figures = Figures::default();
        assert_eq!(figures.sums(at(0), "codex", WINDOW_MINUTES), Sums::default());
        assert!((figures.sums(at(0), "codex", 1).success_rate() - 1.0).abs() < f64::EPSILON);
        figures.ended(at(0), "codex", ended(Class::Ok, 5));
        figures.ended(at(30), "codex", ended(Class::RateLimited, 15));
        figures.ended(at(61), "codex", ended(Class::Ok, 25));
        figures.ended(at(61), "claude", ended(Class::ClientError, 1));
        let all = figures.sums(at(62), "codex", WINDOW_MINUTES);
        assert_eq!((all.requests, all.failures, all.tokens), (3, 1, 30));
        assert_eq!(figures.sums(at(62), "codex", 1).requests, 1, "the present minute alone");
        assert_eq!(figures.sums(at(15 * 60), "codex", WINDOW_MINUTES).requests, 1);
        assert_eq!(figures.sums(at(20 * 60), "codex", WINDOW_MINUTES).requests, 0);
        assert_eq!(figures.sums(at(62), "claude", 15).failures, 0, "the request's own fault");
    }

    #[test]
    fn percentiles_are_latencies_that_were_measured() {
        let latencies = (1..=100).collect();
        let sums = Sums { latencies, ..Sums::default() };
        assert_eq!((sums.percentile(50), sums.percentile(95)), (Some(50), Some(95)));
        assert_eq!(sums.mean(), Some(50));
        assert_eq!((Sums::default().percentile(50), Sums::default().mean()), (None, None));
    }

    #[test]
    fn uptime_is_the_share_of_minutes_in_which_anything_was_usable() {
        let mut provider = Provider::default();
        for (minute, usable) in [(0, false), (0, true), (1, false), (2, false), (3, true)] {
            provider.look(minute, usable);
        }
        let figures = Figures::default();
        figures.providers.lock().expect("free").insert("codex".to_owned(), provider);
        assert_eq!(figures.uptime_percent("codex"), Some(50.0));
        assert_eq!(figures.uptime_percent("nobody"), None);
    }
}
