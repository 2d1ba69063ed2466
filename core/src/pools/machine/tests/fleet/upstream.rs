//! Accounts at a provider that counts, forgets, lies and breaks.

use crate::pools::{Class, Scope, Verdict};
use crate::random::Rng;

/// One account. Times are world ms.
#[derive(Debug)]
pub(super) struct Account {
    capacity: u64,
    window: u64,
    used: u64,
    resets_at: u64,
    broken_until: u64,
    manner: Manner,
}

/// What it says when it is full.
#[derive(Debug, Clone, Copy)]
enum Manner {
    Honest,
    Silent,
    Short,
    Weekly,
}

impl Account {
    pub(super) fn new(rng: &mut Rng) -> Account {
        let manners = [Manner::Honest, Manner::Silent, Manner::Short, Manner::Weekly];
        Account {
            capacity: 3 + rng.below(20),
            window: [20_000, 60_000, 600_000, 7_200_000].get(rng.index(4)).copied().unwrap_or(1),
            used: 0,
            resets_at: 0,
            broken_until: 0,
            manner: manners.get(rng.index(4)).copied().unwrap_or(Manner::Honest),
        }
    }

    pub(super) fn break_until(&mut self, until: u64) {
        self.broken_until = until;
    }

    /// What it makes of a request.
    pub(super) fn answer(&mut self, now: u64, model: &str, rng: &mut Rng) -> (u16, Verdict) {
        if now >= self.resets_at {
            (self.used, self.resets_at) = (0, now + self.window);
        }
        if now < self.broken_until {
            return (401, verdict(Class::AuthFailed, Scope::Credential, None));
        }
        if rng.chance(1, 40) {
            return (503, verdict(Class::Transient, Scope::None, None));
        }
        if rng.chance(1, 60) {
            let reach = if model.is_empty() { Scope::Provider } else { Scope::ProviderModel };
            return (529, verdict(Class::Overloaded, reach, None));
        }
        self.used += 1;
        if self.used <= self.capacity {
            return (200, verdict(Class::Ok, Scope::None, None));
        }
        let left = self.resets_at - now;
        let class = if left > 3_600_000 { Class::QuotaExhausted } else { Class::RateLimited };
        let scope = match (model.is_empty(), rng.below(4)) {
            (false, 0) => Scope::Model,
            (false, 1) if model.contains("opus") => Scope::Family("opus".into()),
            _ => Scope::Credential,
        };
        let wait = match self.manner {
            Manner::Honest => Some(left),
            Manner::Silent => None,
            Manner::Short => Some(1000),
            Manner::Weekly => Some(7 * 24 * 3_600_000),
        };
        (429, verdict(class, scope, wait))
    }
}

fn verdict(class: Class, scope: Scope, stated_wait_ms: Option<u64>) -> Verdict {
    Verdict { class, scope, stated_wait_ms, ..Verdict::transport_failure() }
}
