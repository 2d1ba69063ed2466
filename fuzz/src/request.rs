//! Target `request`: what callers send as JSON about workers.

use quorate_core::node::workers::{Refusal, Spec};
use serde_json::Value;

/// Any JSON is the spec of a worker or a refusal that names a place in it; a spec reads as itself again.
pub fn bytes(input: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(input) else { return };
    match Spec::from_request(value.clone()) {
        Ok(spec) => {
            let told = serde_json::to_value(&spec).expect("a spec is a JSON object");
            let again = Spec::from_request(told.clone());
            assert_eq!(again.as_ref().ok(), Some(&spec), "{told} reads as {again:?}");
        }
        Err(Refusal::InvalidRequest { pointer, .. }) => named(&value, &pointer),
        Err(refusal) => assert!(!refusal.code().is_empty()),
    }
}

/// What `pointer` names is there, or is missing in something that is there.
fn named(value: &Value, pointer: &str) {
    let parent = pointer.rsplit_once('/').map_or("", |(parent, _)| parent);
    let known = value.pointer(pointer).is_some() || value.pointer(parent).is_some();
    assert!(known, "the refusal names `{pointer}`, which is no place in {value}");
}

#[cfg(test)]
mod tests {
    use crate::{replay, search};

    #[test]
    fn seeds() {
        replay::every_file("request", super::bytes);
        replay::every_damage("request", super::bytes);
    }

    #[test]
    fn search_json() {
        search::few("request");
    }
}
