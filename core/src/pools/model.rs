//! The model that a request is for: what its JSON body names, else what its path does.
//!
//! Absent on purpose: any model that neither names. Such a request uses the lane for all.

use crate::limits;

/// The top-level `model` of a JSON object, else what a path holds between `/models/` and `:`, or after
/// `/deployments/` or `/model/` and before the next `/`; 1 to 256 bytes.
pub fn of(body: &[u8], path: &str) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Named {
        model: Option<String>,
    }
    let fits = |model: &String| (1..=limits::POOL_MODEL_BYTES_MAX).contains(&model.len());
    let named = match body.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{') => serde_json::from_slice::<Named>(body).ok(),
        Some(_) | None => None,
    };
    named.and_then(|named| named.model).filter(fits).or_else(|| {
        let between = |begin: &str, end: char| {
            let (_, rest) = path.split_once(begin)?;
            let (model, _) = rest.split_once(end)?;
            Some(model.to_owned()).filter(fits)
        };
        let model = between("/models/", ':').filter(|model| !model.contains('/'));
        model.or_else(|| between("/deployments/", '/')).or_else(|| between("/model/", '/'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_read_from_the_body_or_else_from_the_path() {
        let of = |body: &str, path: &str| of(body.as_bytes(), path).unwrap_or_default();
        assert_eq!(of(r#" {"messages":[{"model":"x"}],"model":"gpt-5"}"#, "/v1"), "gpt-5");
        assert_eq!(of("{}", "/v1beta/models/gemini-3:streamGenerateContent"), "gemini-3");
        assert_eq!(of("", "/openai/deployments/d1/chat/completions"), "d1");
        assert_eq!(of("", "/model/anthropic.claude/invoke"), "anthropic.claude");
        assert_eq!(of(r#"{"model":"a","x":"#, "/v1/models"), "");
        assert_eq!(of(r#"{"model":7}"#, "/v1"), "");
        assert_eq!(of(r#"[{"model":"a"}]"#, "/v1"), "");
        let long = format!(r#"{{"model":"{}"}}"#, "m".repeat(257));
        assert_eq!(of(&long, "/v1"), "", "a name of more than 256 bytes is none");
    }
}
