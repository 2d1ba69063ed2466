//! What is counted.

use super::Credentials;
use crate::machine::{Count, Counted, Labels};

/// Providers that have a series of their own; what others there are is counted together.
const PROVIDERS: [&str; 16] = [
    "anthropic",
    "antigravity",
    "azure",
    "bedrock",
    "claude",
    "codex",
    "copilot",
    "gemini-cli",
    "iflow",
    "kilo",
    "kimi",
    "kiro",
    "openai",
    "openrouter",
    "qwen",
    "zai",
];
const OTHER: &str = "other";

impl Counted for Credentials {
    fn counts(&self, visit: &mut dyn FnMut(Count)) {
        self.queue.counts(self.shown.now, visit);
        let mut show = |name, labels, value| visit(Count { name, labels, value });
        let mut records = [[0_u64; 2]; PROVIDERS.len() + 1];
        for head in self.held.values().map(|held| &held.head) {
            let Some(record) = &head.record else { continue };
            let at = PROVIDERS.iter().position(|name| *name == &*record.provider);
            let row = records.get_mut(at.unwrap_or(PROVIDERS.len()));
            if let Some([enabled, disabled]) = row {
                *enabled += u64::from(!record.disabled);
                *disabled += u64::from(record.disabled);
            }
        }
        for (name, row) in PROVIDERS.into_iter().chain([OTHER]).zip(records) {
            for (state, value) in ["enabled", "disabled"].into_iter().zip(row) {
                let labels = Labels::Two("provider", name, "state", state);
                show("credentials_records", labels, value);
            }
        }
        let reconciles = &self.counters;
        for (outcome, value) in [("ok", reconciles.listed), ("failed", reconciles.failed)] {
            show("credentials_reconciles_total", Labels::One("outcome", outcome), value);
        }
        show("credentials_repairs_total", Labels::None, reconciles.repairs);
        show("credentials_drift_keys", Labels::None, self.store.drift);
        show("credentials_breaker_open", Labels::None, u64::from(self.breaker.is_open()));
        let reported = self.troubles.values().filter(|trouble| trouble.reported).count() as u64;
        show("credentials_watch_invalid_files", Labels::None, reported + self.store.misnamed);
    }
}
