//! The five statuses of an entry, and every legal change of one.
//!
//! ```text
//!             T3,T4            T5              T7,T11,T14,T15
//!  (import) ───────▶ Pending ───────▶ Ready ◀────────────────▶ NotReady
//!  (own)  T1 ──────▶    │ T6           ▲        T8,T14             │ T9
//!                       └────────▶ Failed ◀────────────────────────┘
//!                                    │ T10 ──▶ Ready
//!  any ── T16 ──▶ Draining ── T17 ──▶ Pending (or as T4)      any ── T20 ──▶ gone
//! ```
//!
//! Nothing outside this file writes a status (W-6): each function below is a row or a few of the table,
//! and gives the [`Change`] to announce. `good` and `bad` count consecutive probes; each zeroes the
//! other, and every transition zeroes both. W-4 (where each node probes for itself, only a good probe
//! makes Ready) and W-5 (no statement moves Failed or Draining) can be read off [`Condition::told`].
//!
//! Absent on purpose: overlays. They hide a Ready worker and change no status.

use serde::{Deserialize, Serialize};

use super::claim::Statement;
use crate::time::Instant;

/// Whether an entry can take requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// New, not yet seen well.
    Pending,
    /// Routable, unless an overlay covers it.
    Ready,
    /// Seen ill.
    NotReady,
    /// Ill for long, probed rarely.
    Failed,
    /// Taken out by an operator.
    Draining,
}

/// Why a status changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Our own first claim (T1, T2).
    Registered,
    /// The first claim of somebody else (T3, T4).
    Imported,
    /// Good probes (T5, T8, T10).
    ProbesGood,
    /// Bad probes (T7, T9).
    ProbesBad,
    /// Many probes, never well (T6).
    Unproven,
    /// A new statement of the chosen claim (T11, T14).
    Statement,
    /// The owner's lease turned stale (T15).
    OwnerSilent,
    /// An operator (T16).
    Drained,
    /// An operator, or another claim took over (T17).
    Undrained,
    /// A new spec turned probing off or handed it to the owner (T18, T19).
    Spec,
    /// The last claim went (T20).
    Removed,
}

/// A change to announce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// `None`: new.
    pub old: Option<Status>,
    /// `None`: gone.
    pub new: Option<Status>,
    /// Why.
    pub cause: Cause,
}

/// What a statement led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Told {
    /// The status changed.
    pub(super) change: Option<Change>,
    /// Look at once.
    pub(super) probe_now: bool,
}

/// The status of one entry, and what has counted since it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition {
    status: Status,
    since: Instant,
    good: u32,
    bad: u32,
    answered: u32,
}

impl Condition {
    fn new(now: Instant, status: Status) -> Condition {
        Condition { status, since: now, good: 0, bad: 0, answered: 0 }
    }

    /// T1, T2: our own claim is the first. `probed`: whether it is probed at all.
    pub(super) fn registered(now: Instant, probed: bool) -> (Condition, Change) {
        let status = if probed { Status::Pending } else { Status::Ready };
        (
            Condition::new(now, status),
            Change { old: None, new: Some(status), cause: Cause::Registered },
        )
    }

    /// T3, T4: the first claim is somebody else's. It starts as the owner says where the owner judges,
    /// else as Pending. What a healthy statement adds to Pending is T12's, in the same turn.
    pub(super) fn imported(now: Instant, judged: Option<Status>) -> (Condition, Change) {
        let status = judged.unwrap_or(Status::Pending);
        sometimes!("workers.t4_judged", judged.is_some());
        sometimes!("workers.t3_imported", judged.is_none());
        (
            Condition::new(now, status),
            Change { old: None, new: Some(status), cause: Cause::Imported },
        )
    }

    /// The status.
    pub fn status(&self) -> Status {
        self.status
    }

    /// Since when.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Good probes in a row.
    pub fn good(&self) -> u32 {
        self.good
    }

    /// Bad probes in a row.
    pub fn bad(&self) -> u32 {
        self.bad
    }

    fn to(&mut self, now: Instant, status: Status, cause: Cause) -> Option<Change> {
        if self.status == status {
            return None;
        }
        let change = Change { old: Some(self.status), new: Some(status), cause };
        *self = Condition::new(now, status);
        Some(change)
    }

    /// T5 to T10: a probe was answered.
    pub(super) fn probed(
        &mut self,
        now: Instant,
        good: bool,
        rise: u32,
        fall: u32,
    ) -> Option<Change> {
        (self.good, self.bad) = match good {
            true => (self.good.saturating_add(1), 0),
            false => (0, self.bad.saturating_add(1)),
        };
        self.answered = self.answered.saturating_add(1);
        let risen = self.good >= rise;
        sometimes!("workers.t5_proven", risen && self.status == Status::Pending);
        sometimes!("workers.t8_recovered", risen && self.status == Status::NotReady);
        sometimes!("workers.t10_back_from_failed", risen && self.status == Status::Failed);
        sometimes!("workers.t7_unwell", self.status == Status::Ready && self.bad >= fall);
        sometimes!("workers.t9_failed", self.status == Status::NotReady && self.bad >= 3 * fall);
        match self.status {
            Status::Pending | Status::NotReady | Status::Failed if risen => {
                self.to(now, Status::Ready, Cause::ProbesGood)
            }
            Status::Pending if self.answered >= 10 * fall => {
                sometimes!("workers.t6_unproven");
                self.to(now, Status::Failed, Cause::Unproven)
            }
            Status::Ready if self.bad >= fall => self.to(now, Status::NotReady, Cause::ProbesBad),
            Status::NotReady if self.bad >= 3 * fall => {
                self.to(now, Status::Failed, Cause::ProbesBad)
            }
            Status::Pending
            | Status::Ready
            | Status::NotReady
            | Status::Failed
            | Status::Draining => None,
        }
    }

    /// T11 to T14: a *new* statement of the chosen claim. `by_owner`: whether the owner judges alone.
    pub(super) fn told(
        &mut self,
        now: Instant,
        statement: Statement,
        by_owner: bool,
        rise: u32,
    ) -> Told {
        sometimes!(
            "workers.t11_told_unwell",
            self.status == Status::Ready && statement == Statement::Unhealthy
        );
        sometimes!(
            "workers.t13_failed_told_well",
            self.status == Status::Failed && statement == Statement::Healthy
        );
        match (self.status, statement) {
            (_, Statement::Unknown) | (Status::Draining, _) => Told::default(),
            (Status::Failed, Statement::Healthy)
                if canary!("workers.believes_words_of_the_failed") =>
            {
                self.told_to(now, Status::Ready)
            }
            (Status::Failed, Statement::Healthy) => Told { change: None, probe_now: true },
            (Status::Failed, Statement::Unhealthy) => Told::default(),
            (Status::Ready, Statement::Unhealthy) => self.told_to(now, Status::NotReady),
            (Status::Pending, Statement::Unhealthy) if by_owner => {
                self.told_to(now, Status::NotReady)
            }
            (Status::Pending | Status::NotReady, Statement::Healthy) if by_owner => {
                sometimes!("workers.t14_owner_says_well");
                self.told_to(now, Status::Ready)
            }
            (Status::Pending | Status::NotReady, Statement::Healthy) => {
                sometimes!("workers.t12_told_well");
                self.good = self.good.max(rise.saturating_sub(1));
                Told { change: None, probe_now: true }
            }
            (Status::Pending | Status::NotReady, Statement::Unhealthy)
            | (Status::Ready, Statement::Healthy) => Told::default(),
        }
    }

    fn told_to(&mut self, now: Instant, status: Status) -> Told {
        Told { change: self.to(now, status, Cause::Statement), probe_now: false }
    }

    /// T15: the owner judges alone, and is silent.
    pub(super) fn owner_silent(&mut self, now: Instant) -> Option<Change> {
        sometimes!("workers.t15_owner_silent", self.status == Status::Ready);
        match self.status {
            Status::Ready => self.to(now, Status::NotReady, Cause::OwnerSilent),
            Status::Pending | Status::NotReady | Status::Failed | Status::Draining => None,
        }
    }

    /// T16: an operator takes it out.
    pub(super) fn drained(&mut self, now: Instant) -> Option<Change> {
        sometimes!("workers.t16_drained", self.status != Status::Draining);
        self.to(now, Status::Draining, Cause::Drained)
    }

    /// T17: it is in again, and must be seen well first, unless somebody else judges.
    pub(super) fn undrained(&mut self, now: Instant, judged: Option<Status>) -> Option<Change> {
        sometimes!("workers.t17_undrained", self.status == Status::Draining);
        match self.status {
            Status::Draining => self.to(now, judged.unwrap_or(Status::Pending), Cause::Undrained),
            Status::Pending | Status::Ready | Status::NotReady | Status::Failed => None,
        }
    }

    /// T18: the spec was replaced; the status stays. Equal health fields keep the counters.
    pub(super) fn respecified(&mut self, health_equal: bool) {
        sometimes!("workers.t18_counters_kept", health_equal);
        if !health_equal {
            (self.good, self.bad) = (0, 0);
        }
    }

    /// T18, T19: from now on no probe of ours judges: what does, says `judged`. Without that, Failed would
    /// be a tomb, since only probes lead out of it.
    pub(super) fn handed_over(&mut self, now: Instant, judged: Option<Status>) -> Option<Change> {
        match (self.status, judged) {
            (Status::Draining, _) => None,
            (_, Some(status)) => self.to(now, status, Cause::Spec),
            (Status::Failed, None) => self.to(now, Status::NotReady, Cause::Spec),
            (Status::Pending | Status::Ready | Status::NotReady, None) => None,
        }
    }

    /// T20: the last claim is gone.
    pub(super) fn removed(&self) -> Change {
        sometimes!("workers.t20_removed");
        Change { old: Some(self.status), new: None, cause: Cause::Removed }
    }
}
