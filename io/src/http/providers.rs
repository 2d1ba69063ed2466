//! `/v1/metrics/providers`: what each provider was asked for over the last fifteen minutes.
//!
//! Figures come from what callers report of their leases. What nobody measured is left out, not zero.

use serde_json::{Map, Value, json};

use super::pools;
use super::route::{Answer, Call, Outcome, Route, merged};
use crate::pools::figures::WINDOW_MINUTES;

pub(super) fn routes() -> Vec<Route> {
    vec![Route::get("/v1/metrics/providers", |call| Box::pin(async move { figures(call) }))]
}

fn figures(call: Call) -> Outcome {
    call.query.finish()?;
    let surface = &call.surface;
    let now = surface.host.now();
    let providers = pools::providers(surface).into_iter().map(|name| {
        let sums = surface.figures.sums(now, &name, WINDOW_MINUTES);
        let mut document = json!({
            "request_count": sums.requests,
            "success_count": sums.requests - sums.failures,
            "failure_count": sums.failures,
            "total_tokens": sums.tokens,
            "success_rate": sums.success_rate(),
        });
        for (key, percent) in [("latency_p50_ms", 50), ("latency_p95_ms", 95)] {
            if let Some(latency) = sums.percentile(percent) {
                document = merged(document, json!({key: latency}));
            }
        }
        (name, document)
    });
    let providers: Map<String, Value> = providers.collect();
    Ok(Answer::json(json!({
        "generated_at": surface.wall_now(),
        "window_seconds": WINDOW_MINUTES * 60,
        "providers": providers,
    })))
}
