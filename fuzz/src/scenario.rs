//! Target `scenario`: plans as text.

use quorate_sim::plan::text::parse;

/// Any text is a plan or an error that names its line; a plan prints as text that reads as the same plan.
pub fn bytes(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    match parse("fuzzed.scn", &text) {
        Ok(plan) => {
            let printed = plan.to_string();
            let again = parse("printed.scn", &printed);
            assert_eq!(
                again.as_ref(),
                Ok(&plan),
                "what is printed reads as another plan:\n{printed}"
            );
        }
        Err(error) => {
            assert!((1..=text.lines().count().max(1)).contains(&error.line), "{error} is nowhere");
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{replay, search};

    #[test]
    fn seeds() {
        replay::every_file("scenario", super::bytes);
    }

    #[test]
    fn search_text() {
        search::few("scenario");
    }
}
