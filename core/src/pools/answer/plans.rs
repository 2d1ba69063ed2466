//! The windows of subscription plans, as Anthropic and OpenAI's Codex tell of them in headers.

use super::headers::Headers;
use crate::pools::wait::number::Number;

/// `anthropic-ratelimit-unified-…`: each window with its status, and the plan as a whole.
#[derive(Debug)]
pub(in crate::pools) struct AnthropicWindows<'a> {
    rejected: Vec<&'a str>,
    is_rejected_as_a_whole: bool,
}

impl<'a> AnthropicWindows<'a> {
    /// What every name begins with.
    pub(in crate::pools) const STEM: &'static str = "anthropic-ratelimit-unified-";

    pub(in crate::pools) fn of(headers: &'a Headers<'_>) -> AnthropicWindows<'a> {
        let is_rejected = |name: &str| headers.first(name) == Some("rejected");
        let windows = headers.suffixes(Self::STEM).into_iter();
        let rejected = windows
            .filter_map(|suffix| suffix.strip_suffix("-status"))
            // What is paid for beyond the plan is policy, no window.
            .filter(|window| *window != "overage")
            .filter(|window| is_rejected(&format!("{}{window}-status", Self::STEM)));
        AnthropicWindows {
            rejected: rejected.collect(),
            is_rejected_as_a_whole: is_rejected("anthropic-ratelimit-unified-status"),
        }
    }

    /// The windows that refuse.
    pub(in crate::pools) fn rejected(&self) -> impl Iterator<Item = &'a str> {
        self.rejected.iter().copied()
    }

    /// Whether one of `windows` refuses.
    pub(in crate::pools) fn rejects(&self, windows: &[&str]) -> bool {
        self.rejected.iter().any(|window| windows.contains(window))
    }

    /// Whether the plan says that it refuses, without saying by which window.
    pub(in crate::pools) fn is_rejected_as_a_whole(&self) -> bool {
        self.is_rejected_as_a_whole
    }

    /// Whether the plan or a window of it refuses.
    pub(in crate::pools) fn refuses(&self) -> bool {
        self.is_rejected_as_a_whole || !self.rejected.is_empty()
    }
}

/// `x-codex[-<family>]-{primary,secondary}-…`: a window of which 100 % or more is used.
#[derive(Debug)]
pub(in crate::pools) struct CodexWindow {
    /// What the names of its headers begin with.
    pub(in crate::pools) stem: String,
}

impl CodexWindow {
    /// Every full window: of each family the primary before the secondary one, families as they came.
    pub(in crate::pools) fn full(headers: &Headers<'_>) -> impl Iterator<Item = CodexWindow> {
        let mut families: Vec<&str> = Vec::new();
        for suffix in headers.suffixes("x-codex-") {
            let family =
                WINDOWS.iter().find_map(|window| suffix.strip_suffix(USED)?.strip_suffix(window));
            let family = family.filter(|family| family.is_empty() || family.ends_with('-'));
            families.extend(family.filter(|family| !families.contains(family)));
        }
        let stems = families
            .into_iter()
            .flat_map(|family| WINDOWS.map(|window| format!("x-codex-{family}{window}")));
        let full = stems.filter(|stem| {
            let used = headers.first(&format!("{stem}{USED}"));
            used.and_then(Number::parse).is_some_and(|percent| percent.whole() >= 100)
        });
        full.map(|stem| CodexWindow { stem }).collect::<Vec<_>>().into_iter()
    }
}

const WINDOWS: [&str; 2] = ["primary", "secondary"];
const USED: &str = "-used-percent";
