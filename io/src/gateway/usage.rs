//! How many tokens an answer says that it used.
//!
//! | who | where |
//! | --- | --- |
//! | OpenAI and most others | `usage`, of streamed responses `response.usage` of the last event |
//! | Anthropic | `usage`; streamed, `message.usage` of the first event and `usage` of the last |
//! | Google | `usageMetadata`, of every event |
//!
//! Events of one answer tell what it has used so far, so that of each count the largest holds. Nothing is estimated.

use serde::Deserialize;
use serde_json::Value;

/// What one answer said so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    input: u64,
    output: u64,
    total: u64,
}

impl Usage {
    /// Of a whole JSON body.
    pub(crate) fn of(body: &[u8]) -> Usage {
        let mut usage = Usage::default();
        usage.hear(body);
        usage
    }

    /// Takes in whole events of a stream.
    pub(super) fn hear_events(&mut self, events: &[u8]) {
        let lines = events.split(|byte| matches!(byte, b'\n' | b'\r'));
        for data in lines.filter_map(|line| line.strip_prefix(b"data:")) {
            self.hear(data);
        }
    }

    fn hear(&mut self, json: &[u8]) {
        // What is no text as a whole may tell of it all the same.
        if std::str::from_utf8(json).is_ok_and(|text| !text.contains(USAGE)) {
            return;
        }
        let Ok(told) = serde_json::from_slice::<Told>(json) else { return };
        let inner = [told.response, told.message].into_iter().flatten();
        let inner = inner.filter_map(|inner| inner.get("usage").cloned());
        for counts in [told.usage, told.usage_metadata].into_iter().flatten().chain(inner) {
            let count = |names: &[&str]| {
                let found = names.iter().find_map(|name| counts.get(*name)?.as_u64());
                found.unwrap_or_default()
            };
            self.input = self.input.max(count(&INPUT));
            self.output = self.output.max(count(&OUTPUT));
            self.total = self.total.max(count(&TOTAL));
        }
    }

    /// How many in all; zero where it said nothing.
    pub(crate) fn tokens(self) -> u64 {
        self.total.max(self.input.saturating_add(self.output))
    }
}

/// Where an answer tells of it; what else it says is passed over.
#[derive(Deserialize)]
struct Told {
    usage: Option<Value>,
    #[serde(rename = "usageMetadata")]
    usage_metadata: Option<Value>,
    response: Option<Value>,
    message: Option<Value>,
}

/// Stands in every answer that tells of it.
const USAGE: &str = "\"usage";
const INPUT: [&str; 3] = ["input_tokens", "prompt_tokens", "promptTokenCount"];
const OUTPUT: [&str; 3] = ["output_tokens", "completion_tokens", "candidatesTokenCount"];
const TOTAL: [&str; 2] = ["total_tokens", "totalTokenCount"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_provider_tells_it_in_its_own_words() {
        for (body, tokens) in [
            (r#"{"usage":{"prompt_tokens":32,"completion_tokens":8,"total_tokens":40}}"#, 40),
            (r#"{"usage":{"input_tokens":30,"output_tokens":9}}"#, 39),
            (r#"{"usageMetadata":{"promptTokenCount":3,"totalTokenCount":11}}"#, 11),
            (r#"{"response":{"usage":{"input_tokens":1,"output_tokens":2,"total_tokens":3}}}"#, 3),
            (r#"{"usage":null}"#, 0),
            (r#"{"usage":{"total_tokens":"many"},"n":1}"#, 0),
            (r#"{"usage":{"total_tokens":18446744073709551615,"input_tokens":1}}"#, u64::MAX),
            (r#"{"usage":{"total_tokens":7}"#, 0),
            (r#"{"choices":[{"text":"\"usage\":{\"total_tokens\":5}"}]}"#, 0),
            ("[]", 0),
        ] {
            assert_eq!(Usage::of(body.as_bytes()).tokens(), tokens, "{body}");
        }
    }

    #[test]
    fn events_tell_what_was_used_so_far() {
        let mut usage = Usage::default();
        usage.hear_events(
            b"event: message_start\ndata: {\"message\":{\"usage\":{\"input_tokens\":25,\"output_tokens\":1}}}\n\n",
        );
        usage.hear_events(b"data: {\"usage\":{\"output_tokens\":4}}\r\n\r\ndata: [DONE]\n\n");
        usage.hear_events(b"data: {\"usage\":{\"output_tokens\":15}}\n\n");
        assert_eq!(usage.tokens(), 40);
    }
}
