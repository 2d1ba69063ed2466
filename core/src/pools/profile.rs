//! How long a member rests: the numbers of a pool, and the rest that follows from a verdict.
//!
//! A stated wait is clamped; without one the n-th failure in a row rests a base that doubles, at most the
//! cap. Everything saturates, and whatever the numbers are a rest lies within its class's clamp (P-16).
//!
//! Absent on purpose: counting failures (the machine's), and the clock.

use super::{Class, Profile, Verdict};

/// A number of a profile outside its bounds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` is {found} ms; it may be {least} to {most} ms")]
pub struct ProfileError {
    /// Which.
    pub field: &'static str,
    /// What it is.
    pub found: u64,
    /// The least it may be.
    pub least: u64,
    /// The most.
    pub most: u64,
}

impl ProfileError {
    /// What would be right.
    pub fn range(&self) -> String {
        format!("is {} ms; it may be {} to {} ms", self.found, self.least, self.most)
    }
}

impl Profile {
    /// Everything that is out of bounds.
    pub fn faults(&self) -> Vec<ProfileError> {
        let day = 24 * HOUR;
        let rows = [
            ("floor_ms", self.floor_ms, SECOND, 600 * SECOND),
            ("cap_ms", self.cap_ms, self.floor_ms, 8 * day),
            ("fallback_ms", self.fallback_ms, SECOND, self.cap_ms),
            ("quota_ms", self.quota_ms, SECOND, self.cap_ms),
            ("auth_ms", self.auth_ms, 10 * SECOND, day),
            ("permission_ms", self.permission_ms, 10 * SECOND, day),
            ("overload_ms", self.overload_ms, SECOND, HOUR),
            ("overload_cap_ms", self.overload_cap_ms, SECOND, HOUR),
            ("concurrency_ms", self.concurrency_ms, SECOND, CONCURRENCY_MS_MAX),
            ("half_open_max_ms", self.half_open_max_ms, 10 * SECOND, day),
        ];
        let wrong = rows
            .into_iter()
            .filter(|(_, found, least, most)| !(*least <= *found && *found <= *most));
        let fault = |(field, found, least, most)| ProfileError { field, found, least, most };
        wrong.map(fault).collect()
    }

    /// The shortest and the longest rest of a class.
    pub fn clamp_of(&self, class: Class) -> (u64, u64) {
        let most = match class {
            Class::Overloaded => self.overload_cap_ms,
            Class::RateLimited
            | Class::QuotaExhausted
            | Class::Billing
            | Class::AuthFailed
            | Class::PermissionDenied
            | Class::ModelUnavailable
            | Class::Transient
            | Class::ClientError
            | Class::Ok => self.cap_ms,
        };
        (self.floor_ms.min(most), most)
    }

    /// How long the target of `verdict` rests, in milliseconds, where it is the `count`-th failure of its
    /// class in a row that states no wait, from 1 on. `None` where nothing rests.
    pub fn rest_ms(&self, verdict: &Verdict, count: u32) -> Option<u64> {
        if !verdict.rests() {
            return None;
        }
        let (least, most) = self.clamp_of(verdict.class);
        let rest = verdict.stated_wait_ms.unwrap_or_else(|| self.ladder(verdict, count));
        Some(rest.clamp(least, most))
    }

    fn ladder(&self, verdict: &Verdict, count: u32) -> u64 {
        match verdict.class {
            Class::RateLimited if verdict.is_concurrency => {
                doubled(self.concurrency_ms, count).min(CONCURRENCY_MS_MAX)
            }
            Class::RateLimited => doubled(self.fallback_ms, count),
            Class::QuotaExhausted | Class::Billing => doubled(self.quota_ms, count),
            Class::AuthFailed => self.auth_ms,
            Class::PermissionDenied | Class::ModelUnavailable => doubled(self.permission_ms, count),
            Class::Overloaded => doubled(self.overload_ms, count),
            Class::Transient | Class::ClientError | Class::Ok => 0,
        }
    }
}

/// `base` × 2^(`count` − 1).
fn doubled(base: u64, count: u32) -> u64 {
    base.saturating_mul(1_u64.checked_shl(count.saturating_sub(1)).unwrap_or(u64::MAX))
}

const SECOND: u64 = 1000;
const HOUR: u64 = 3600 * SECOND;
/// A throttle on requests in flight is over when they are.
const CONCURRENCY_MS_MAX: u64 = 60 * SECOND;

#[cfg(test)]
mod tests {
    use super::super::Scope;
    use super::*;

    fn verdict(class: Class, stated_wait_ms: Option<u64>, is_concurrency: bool) -> Verdict {
        let scope = Scope::Credential;
        Verdict { class, scope, stated_wait_ms, is_concurrency, ..Verdict::transport_failure() }
    }

    #[test]
    fn without_a_stated_wait_a_rest_doubles_to_the_cap() {
        let profile = Profile::default();
        let ladder = |class, is_concurrency| {
            let verdict = verdict(class, None, is_concurrency);
            [1, 2, 3, 4, 10, 32, u32::MAX]
                .map(|count| profile.rest_ms(&verdict, count).expect("it rests") / 1000)
        };
        assert_eq!(ladder(Class::RateLimited, false), [60, 120, 240, 480, 21600, 21600, 21600]);
        assert_eq!(ladder(Class::RateLimited, true), [10, 20, 40, 60, 60, 60, 60]);
        assert_eq!(
            ladder(Class::QuotaExhausted, false),
            [900, 1800, 3600, 7200, 21600, 21600, 21600]
        );
        assert_eq!(ladder(Class::Billing, false), ladder(Class::QuotaExhausted, false));
        assert_eq!(ladder(Class::AuthFailed, false), [300; 7]);
        assert_eq!(ladder(Class::PermissionDenied, false)[..4], [1800, 3600, 7200, 14400]);
        assert_eq!(ladder(Class::Overloaded, false), [10, 20, 40, 80, 300, 300, 300]);
    }

    #[test]
    fn a_stated_wait_is_clamped_and_climbs_no_ladder() {
        let profile = Profile::default();
        let rest = |class, wait, count| profile.rest_ms(&verdict(class, Some(wait), false), count);
        assert_eq!(rest(Class::RateLimited, 1, 9), Some(10_000));
        assert_eq!(rest(Class::RateLimited, 10_001, 9), Some(10_001));
        assert_eq!(rest(Class::QuotaExhausted, u64::MAX, 9), Some(6 * HOUR));
        assert_eq!(rest(Class::Overloaded, 300_001, 1), Some(300_000));
        assert_eq!(rest(Class::Ok, 5, 1), None);
        let nothing =
            Verdict { scope: Scope::None, ..verdict(Class::PermissionDenied, None, false) };
        assert_eq!(profile.rest_ms(&nothing, 1), None);
    }

    #[test]
    fn a_profile_out_of_bounds_names_the_number() {
        assert_eq!(Profile::default().faults(), []);
        let profile = Profile { floor_ms: 999, cap_ms: 998, ..Profile::default() };
        let faults = profile.faults();
        let told: Vec<&str> = faults.iter().map(|fault| fault.field).collect();
        assert_eq!(told, ["floor_ms", "cap_ms", "fallback_ms", "quota_ms"]);
        let first = "`floor_ms` is 999 ms; it may be 1000 to 600000 ms";
        assert_eq!(faults[0].to_string(), first);
    }
}
