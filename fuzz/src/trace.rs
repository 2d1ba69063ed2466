//! Target `trace`: the first line of a trace, and the plan that it carries.

use std::path::Path;

use quorate_sim::trace::read::{head as head_of, plan_of};

/// Any text is the head of a trace or an error; the plan in it is one that prints as itself, or an error.
pub fn bytes(input: &[u8]) {
    let path = Path::new("fuzzed.jsonl");
    let text = String::from_utf8_lossy(input);
    let Ok(head) = head_of(path, &text) else { return };
    if let Ok(plan) = plan_of(path, &head) {
        let printed = plan.to_string();
        let told = serde_json::json!({
            "trace": head.trace, "kind": head.kind, "build": head.build, "command": head.command,
            "seed": head.seed, "plan": printed,
        });
        let again = head_of(path, &told.to_string()).expect("its own head");
        assert_eq!(plan_of(path, &again).ok(), Some(plan), "the plan changed on its way");
    }
}

#[cfg(test)]
mod tests {
    use crate::{replay, search};

    #[test]
    fn seeds() {
        replay::every_file("trace", super::bytes);
    }

    #[test]
    fn search_heads() {
        search::few("trace");
    }
}
