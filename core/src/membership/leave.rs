//! How a node says goodbye.
//!
//! ```text
//! Leave ──▶ the fact is out ──100 ms──▶ SWIM leaves, `Bye` on every link ──news spread or 3 s──▶ Stopped
//! ```
//!
//! A second wish to leave stops at once. A restart says so instead of leaving, and its peers withhold its
//! death.

use std::time::Duration;

use super::facts::{LEAVING, RESTARTING};
use super::{Membership, Output};
use crate::ids::Ticket;
use crate::time::Instant;

/// How far the goodbye is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Leave {
    restarting: bool,
    stage: Stage,
    deadline: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The fact is on its way.
    Saying {
        until: Instant,
    },
    /// The engine has left.
    Gone {
        not_before: Instant,
        until: Instant,
    },
    Stopped,
}

impl Membership {
    pub(super) fn start_leaving(
        &mut self,
        now: Instant,
        ticket: Option<Ticket>,
        restarting: bool,
        out: &mut Vec<Output>,
    ) {
        out.extend(ticket.map(|ticket| Output::Answer { ticket, answer: Ok(()) }));
        if let Some(leave) = &mut self.leave {
            if leave.stage != Stage::Stopped {
                sometimes!("membership.left_twice");
                leave.stage = Stage::Stopped;
                out.push(Output::Stopped);
            }
            return;
        }
        let deadline = now + self.settings.leave_timeout;
        let stage = Stage::Saying { until: now + HEAD_START };
        self.leave = Some(Leave { restarting, stage, deadline });
        self.write_flag(if restarting { RESTARTING } else { LEAVING }, out);
    }

    /// Goes on with the goodbye.
    pub(super) fn continue_leaving(&mut self, now: Instant, out: &mut Vec<Output>) {
        let Some(leave) = self.leave else { return };
        let Leave { restarting, stage, deadline } = leave;
        let next = match stage {
            Stage::Saying { until } if until.min(deadline) <= now => {
                if !restarting {
                    self.swim.leave(now);
                }
                sometimes!("membership.leaving");
                out.push(Output::Left { restarting });
                let until = (now + NEWS_TIMEOUT).min(deadline);
                Stage::Gone { not_before: (now + HEAD_START).min(until), until }
            }
            Stage::Gone { not_before, until }
                if until <= now || (not_before <= now && self.swim.backlog() == 0) =>
            {
                sometimes!("membership.leave_cut_short", self.swim.backlog() > 0);
                out.push(Output::Stopped);
                Stage::Stopped
            }
            Stage::Saying { .. } | Stage::Gone { .. } | Stage::Stopped => return,
        };
        self.leave = Some(Leave { stage: next, ..leave });
    }

    pub(super) fn leave_wake(&self, now: Instant) -> Option<Instant> {
        let leave = self.leave?;
        match leave.stage {
            Stage::Saying { until } => Some(until.min(leave.deadline)),
            Stage::Gone { not_before, .. } if now < not_before => Some(not_before),
            Stage::Gone { until, .. } => Some(until),
            Stage::Stopped => None,
        }
    }
}

/// Time for the fact to reach peers before the links say `Bye`.
const HEAD_START: Duration = Duration::from_millis(100);
/// Time for the news that we left to be sent on.
const NEWS_TIMEOUT: Duration = Duration::from_secs(3);
