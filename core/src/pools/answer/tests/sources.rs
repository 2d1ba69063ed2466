//! The sources of a wait, each with what is near it and is not it.

use super::grammar::check;

#[test]
fn a1_when_a_plan_is_free_again() {
    check(
        r#"
        when  429
        body  {"error":{"type":"usage_limit_reached","resets_at":1771660860.0005,"resets_in_seconds":9}}
        then  quota_exhausted credential body:resets_at 60001 rests 60001
        # Past is unusable: then the delay. Text is no number; an exponent and a sign are none either.
        when  429
        body  {"error":{"type":"usage_limit_reached","resets_at":1771660800,"resets_in_seconds":12.5}}
        then  quota_exhausted credential body:resets_in_seconds 12500 rests 12500
        when  429
        body  {"error":{"type":"usage_limit_reached","resets_at":"1771660860","resets_in_seconds":1e3}}
        then  quota_exhausted credential default - rests 900000
        when  429
        body  {"error":{"type":"usage_limit_reached","resets_at":-1,"resets_in_seconds":-5}}
        then  quota_exhausted credential default - rests 900000
        # More digits than any type has.
        when  429
        body  {"error":{"type":"usage_limit_reached","resets_in_seconds":340282366920938463463374607431768211456.5}}
        then  quota_exhausted credential body:resets_in_seconds 2678400000 rests 21600000
        # Only under that type, and only inside the error.
        when  429
        body  {"error":{"type":"rate_limit_error","resets_in_seconds":90}}
        then  rate_limited model default - rests 60000
        when  429
        body  {"error":{"type":"usage_limit_reached"},"resets_in_seconds":90}
        then  quota_exhausted credential default - rests 900000
        "#,
    );
}

#[test]
fn a2_to_a4_details_of_google() {
    check(
        r#"
        when  429
        body  {"error":{"status":"RESOURCE_EXHAUSTED","details":[{"@type":"t/google.rpc.RetryInfo","retryDelay":"12s"},{"retryDelay":"30.0005s","@type":"t/google.rpc.RetryInfo"}]}}
        then  rate_limited model body:RetryInfo.retryDelay 30001 rests 30001
        when  429
        body  {"error":{"details":[{"@type":"t/google.rpc.RetryInfo","retryDelay":"12"}]}}
        then  rate_limited model default - rests 60000
        when  429
        body  {"error":{"details":[{"@type":"t/google.rpc.RetryInfo","retryDelay":12}]}}
        then  rate_limited model default - rests 60000
        # 900 s are believed of a day, less is not.
        when  429
        body  {"error":{"details":[{"@type":"t/google.rpc.QuotaFailure","violations":[{"quotaId":"PerDay"}]},{"@type":"t/google.rpc.RetryInfo","retryDelay":"900s"}]}}
        then  rate_limited model body:RetryInfo.retryDelay 900000 rests 900000
        when  429
        body  {"error":{"details":[{"@type":"t/google.rpc.QuotaFailure","violations":[{"quotaId":"PerDay"}]},{"@type":"t/google.rpc.RetryInfo","retryDelay":"899.999s"}]}}
        then  rate_limited model default - rests 60000
        # The disbelief is for delays and prose alone.
        when  429
        head  retry-after: 20
        body  {"error":{"details":[{"@type":"t/google.rpc.QuotaFailure","violations":[{"quotaId":"PerDay"}]}]}}
        then  rate_limited model header:retry-after 20000 rests 20000
        when  429
        body  {"error":{"details":[{"@type":"t/google.rpc.ErrorInfo","metadata":{"quotaResetTimeStamp":"2026-02-21T08:10:00.5+00:00","quotaResetDelay":"599s"}}]}}
        then  rate_limited model body:quotaResetTimeStamp 600500 rests 600500
        when  429
        body  {"error":{"details":[{"@type":"t/google.rpc.ErrorInfo","metadata":{"quotaResetTimeStamp":"2026-02-21T08:10:00","quotaResetDelay":"1h1ms"}}]}}
        then  quota_exhausted model body:quotaResetDelay 3600001 rests 3600001
        # An equal wait is the upper row's.
        when  429
        head  retry-after: 30
        body  {"error":{"details":[{"@type":"t/google.rpc.ErrorInfo","metadata":{"quotaResetDelay":"30s"}}]}}
        then  rate_limited model body:quotaResetDelay 30000 rests 30000
        "#,
    );
}

#[test]
fn a5_to_a9_headers_that_name_a_delay() {
    check(
        r#"
        when  429
        body  {"error":{"metadata":{"headers":{"retry-AFTER":"Sat, 21 Feb 2026 08:02:00 GMT","X-RATELIMIT-reset":"90s"}}}}
        then  rate_limited model body:metadata.headers.Retry-After 120000 rests 120000
        when  429
        body  {"error":{"metadata":{"headers":{"Retry-After":"120s","X-RateLimit-Reset":"2026-02-21T08:00:30Z"}}}}
        then  rate_limited model body:metadata.headers.X-RateLimit-Reset 30000 rests 30000
        when  429
        body  {"metadata":{"headers":{"Retry-After":"120"}}}
        then  rate_limited model default - rests 60000
        when  429
        head  Retry-After-Ms: 12000.5
        head  retry-after: 12
        then  rate_limited model header:retry-after-ms 12001 rests 12001
        when  429
        head  retry-after-ms: 12000
        head  x-ms-retry-after-ms: 12000
        head  retry-after: 12
        then  rate_limited model header:retry-after-ms 12000 rests 12000
        when  429
        head  retry-after-ms: 12s
        head  x-ms-retry-after-ms: +12000
        head  retry-after: 12, 13
        then  rate_limited model default - rests 60000
        when  429
        head  retry-after: \t12.0004\t
        then  rate_limited model header:retry-after 12000 rests 12000
        # Every line is read; what rounds to zero is zero.
        when  429
        head  retry-after: soon
        head  retry-after: 0.0004
        head  retry-after: 25
        then  rate_limited model header:retry-after 25000 rests 25000
        when  429
        head  retry-after: 0.0004
        then  rate_limited model default - rests 60000
        when  429
        head  retry-after: Saturday, 21-Feb-26 08:01:00 GMT
        then  rate_limited model header:retry-after 60000 rests 60000
        when  429
        head  retry-after: Sat Feb 21 08:01:00 2026
        then  rate_limited model header:retry-after 60000 rests 60000
        when  429
        head  retry-after: 2026-02-21T08:01:00Z
        then  rate_limited model default - rests 60000
        when  429
        head  retry-after: 1_000
        head  retry-after: 0x10
        head  retry-after: 1e3
        head  retry-after: -5
        then  rate_limited model default - rests 60000
        # An hour is a throttle, a millisecond more is a quota.
        when  429
        head  retry-after-ms: 3600000
        then  rate_limited model header:retry-after-ms 3600000 rests 3600000
        when  429
        head  retry-after-ms: 3600000.5
        then  quota_exhausted model header:retry-after-ms 3600001 rests 3600001
        "#,
    );
}

#[test]
fn the_answers_own_clock() {
    check(
        r#"
        # A day off, inclusive, is believed; a second more is not.
        when  429
        head  date: Fri, 20 Feb 2026 08:00:00 GMT
        head  retry-after: Fri, 20 Feb 2026 08:00:30 GMT
        then  rate_limited model header:retry-after 30000 rests 30000
        when  429
        head  date: Fri, 20 Feb 2026 07:59:59 GMT
        head  retry-after: Sat, 21 Feb 2026 08:00:30 GMT
        then  rate_limited model header:retry-after 30000 rests 30000
        when  429
        head  date: Sun Feb 22 08:00:00 2026
        head  retry-after: Sun, 22 Feb 2026 08:00:30 GMT
        then  rate_limited model header:retry-after 30000 rests 30000
        # It moves every moment and no delay.
        when  429
        head  date: Sat, 21 Feb 2026 07:50:00 GMT
        body  {"error":{"type":"usage_limit_reached","resets_at":1771660800}}
        then  quota_exhausted credential body:resets_at 600000 rests 600000
        when  429
        head  date: Sat, 21 Feb 2026 07:50:00 GMT
        head  x-ratelimit-reset: 30
        then  rate_limited model header:x-ratelimit-reset 30000 rests 30000
        when  429
        head  date: 2026-02-21T07:50:00Z
        head  x-ratelimit-reset: 1771660830
        then  rate_limited model header:x-ratelimit-reset 30000 rests 30000
        "#,
    );
}

#[test]
fn a10_and_a11_plans() {
    check(
        r#"
        # Of the rejected windows the longest; the others say nothing.
        when  429
        head  anthropic-ratelimit-unified-5h-status: rejected
        head  anthropic-ratelimit-unified-5h-reset: 1771660860
        head  anthropic-ratelimit-unified-7d-status: rejected
        head  anthropic-ratelimit-unified-7d-reset: 1771660890
        head  anthropic-ratelimit-unified-30d-status: allowed
        head  anthropic-ratelimit-unified-30d-reset: 1771669999
        head  anthropic-ratelimit-unified-reset: 1771669999
        then  quota_exhausted credential header:anthropic-ratelimit-unified-7d-reset 90000 rests 90000
        # The plan as a whole only where no window is usable and it says that it refuses.
        when  429
        head  anthropic-ratelimit-unified-status: rejected
        head  anthropic-ratelimit-unified-5h-status: rejected
        head  anthropic-ratelimit-unified-5h-reset: 2026-02-21T08:10:00Z
        head  anthropic-ratelimit-unified-reset: 1771660860
        then  quota_exhausted credential header:anthropic-ratelimit-unified-reset 60000 rests 60000
        when  429
        head  anthropic-ratelimit-unified-status: allowed
        head  anthropic-ratelimit-unified-reset: 1771660860
        then  rate_limited model default - rests 60000
        when  429
        head  anthropic-ratelimit-unified-status: rejected
        head  anthropic-ratelimit-unified-overage-status: rejected
        head  anthropic-ratelimit-unified-overage-reset: 1771669999
        then  quota_exhausted credential default - rests 900000
        # A full window by moment, else by delay, of whatever family.
        when  429
        head  x-codex-primary-used-percent: 100
        head  x-codex-primary-reset-at: 1771660000
        head  x-codex-primary-reset-after-seconds: 75
        head  x-codex-secondary-used-percent: 12
        head  x-codex-secondary-reset-at: 1771669999
        then  quota_exhausted credential header:x-codex-primary-reset-after-seconds 75000 rests 75000
        when  429
        head  x-codex-bengalfox-primary-used-percent: 100
        head  x-codex-bengalfox-primary-reset-at: 1771660900
        head  x-codex-primary-used-percent: full
        head  x-codex-primary-reset-at: 1771669999
        then  quota_exhausted credential header:x-codex-bengalfox-primary-reset-at 100000 rests 100000
        "#,
    );
}

#[test]
fn b_windows() {
    check(
        r#"
        # The empty ones bind, the longest of them; of equals the upper row.
        when  429
        head  x-ratelimit-remaining: 0
        head  x-ratelimit-reset: 20
        head  ratelimit-remaining: 0
        head  ratelimit-reset: 20
        then  rate_limited model header:ratelimit-reset 20000 rests 20000
        when  429
        head  anthropic-ratelimit-tokens-remaining: 0
        head  anthropic-ratelimit-tokens-reset: 2026-02-21T08:00:20Z
        head  anthropic-ratelimit-requests-remaining: 5
        head  anthropic-ratelimit-requests-reset: 2026-02-21T08:59:00Z
        then  rate_limited model header:anthropic-ratelimit-tokens-reset 20000 rests 20000
        # Anthropic's resets are dates.
        when  429
        head  anthropic-ratelimit-tokens-remaining: 0
        head  anthropic-ratelimit-tokens-reset: 20
        then  rate_limited model default - rests 60000
        # Nobody says what remains: the longest of all.
        when  429
        head  x-ratelimit-reset-requests: 20s
        head  x-ratelimit-reset-tokens: 40s
        then  rate_limited model header:x-ratelimit-reset-tokens 40000 rests 40000
        # A window that remains half explains nothing.
        when  429
        head  x-ratelimit-limit-requests: 100
        head  x-ratelimit-remaining-requests: 50
        head  x-ratelimit-reset-requests: 20s
        head  x-ratelimit-reset-tokens: 40s
        then  rate_limited model default - rests 60000
        # A tenth is not below a tenth.
        when  429
        head  x-ratelimit-limit: 1000
        head  x-ratelimit-remaining: 100
        head  x-ratelimit-reset: 20
        then  rate_limited model default - rests 60000
        when  429
        head  x-ratelimit-limit: 1000.0
        head  x-ratelimit-remaining: 99.99
        head  x-ratelimit-reset: 20
        then  rate_limited model header:x-ratelimit-reset 20000 rests 20000
        # Equal ratios: the longer.
        when  429
        head  x-ratelimit-limit-a: 100
        head  x-ratelimit-remaining-a: 5
        head  x-ratelimit-reset-a: 20
        head  x-ratelimit-limit-b: 1000
        head  x-ratelimit-remaining-b: 50
        head  x-ratelimit-reset-b: 40
        then  rate_limited model header:x-ratelimit-reset-b 40000 rests 40000
        # The first line counts; `after` is no window of its own.
        when  429
        head  x-ratelimit-remaining: 0
        head  x-ratelimit-reset-after: 30.5
        head  x-ratelimit-reset-after: 90
        then  rate_limited model header:x-ratelimit-reset-after 30500 rests 30500
        when  429
        head  x-ratelimit-reset-after: 2026-02-21T08:10:00Z
        then  rate_limited model default - rests 60000
        when  429
        head  x-ratelimit-timeremaining: 45
        then  rate_limited model header:x-ratelimit-timeremaining 45000 rests 45000
        when  429
        head  x-ratelimit-timeremaining: 45s
        then  rate_limited model default - rests 60000
        "#,
    );
}

#[test]
fn b_the_size_of_a_number_says_what_it_counts() {
    check(
        r#"
        when  429
        head  x-ratelimit-reset: 999999999.9
        then  quota_exhausted model header:x-ratelimit-reset 2678400000 rests 21600000
        when  429
        head  x-ratelimit-reset: 1000000000
        then  rate_limited model default - rests 60000
        when  429
        head  x-ratelimit-reset: 1771660830.25
        then  rate_limited model header:x-ratelimit-reset 30250 rests 30250
        when  429
        head  x-ratelimit-reset: 1771660830250
        then  rate_limited model header:x-ratelimit-reset 30250 rests 30250
        when  429
        head  x-ratelimit-reset: 99999999999
        then  quota_exhausted model header:x-ratelimit-reset 2678400000 rests 21600000
        when  429
        head  x-ratelimit-reset: 100000000000000
        then  rate_limited model default - rests 60000
        when  429
        head  x-ratelimit-reset: 00000000000000000000000000000030
        then  rate_limited model header:x-ratelimit-reset 30000 rests 30000
        when  429
        head  x-ratelimit-reset: Sat, 21 Feb 2026 08:00:30 GMT
        then  rate_limited model header:x-ratelimit-reset 30000 rests 30000
        when  429
        head  x-ratelimit-reset: 2026-02-21 08:00:30
        then  rate_limited model default - rests 60000
        "#,
    );
}

#[test]
fn b6_lists_of_the_ietf() {
    check(
        r#"
        when  429
        head  RateLimit: "a;b,c";r=0;t=20, "d";r=0;t=30;pk=:x:
        then  rate_limited model header:ratelimit 30000 rests 30000
        when  429
        head  ratelimit: "a";r=5;t=20, "b\",";t=40;r=0
        then  rate_limited model header:ratelimit 40000 rests 40000
        when  429
        head  ratelimit: limit=100, remaining=0, reset=50
        then  rate_limited model header:ratelimit 50000 rests 50000
        when  429
        head  ratelimit: limit=100,remaining=9,reset=50
        then  rate_limited model header:ratelimit 50000 rests 50000
        when  429
        head  ratelimit: limit=100, remaining=10, reset=50
        then  rate_limited model default - rests 60000
        when  429
        head  ratelimit: "a";r=0;t=1.5
        then  rate_limited model default - rests 60000
        when  429
        head  ratelimit: "a";r=0;t=0
        head  ratelimit: "a";r=0;t=30
        then  rate_limited model default - rests 60000
        "#,
    );
}

#[test]
fn c_sentences() {
    check(
        r#"
        when  429
        body  {"message":"TRY AGAIN IN 11s"}
        then  rate_limited model message 11000 rests 11000
        when  429
        body  {"message":"Limit; wait for 2 Minutes!"}
        then  rate_limited model message 120000 rests 120000
        when  429
        body  {"message":"Limit.\nIt resets in 1h30m"}
        then  quota_exhausted model message 5400000 rests 5400000
        when  429
        body  {"message":"No: your limit will reset after 1.5 hours, or so"}
        then  quota_exhausted model message 5400000 rests 5400000
        # The longest clause, of any.
        when  429
        body  {"message":"Retry in 20s. Please wait 30s. reset in 25s"}
        then  rate_limited model message 30000 rests 30000
        # Two blanks, no blank, a quote and the middle of a clause are no start; a unit must end.
        when  429
        body  {"message":"Limit.  Retry in 20s"}
        then  rate_limited model default - rests 60000
        when  429
        body  {"message":"Limit.Retry in 20s"}
        then  rate_limited model default - rests 60000
        when  429
        body  {"message":"say \"retry in 20s\" (retry in 20s) and retry in 20s"}
        then  rate_limited model default - rests 60000
        when  429
        body  {"message":"Retry in 20 secondsx. retry in 20sx. retry in 20s5. retry in 20. retry in 20  s"}
        then  rate_limited model default - rests 60000
        when  429
        body  {"message":"Retry in  20s. Retry  in 20s. Retry on 20s. Please please retry in 20s"}
        then  rate_limited model default - rests 60000
        when  429
        body  {"message":"Retry in -20s. Retry in 0s. Retry in 1m2x"}
        then  rate_limited model default - rests 60000
        # Only a message is read, and A and B come first.
        when  429
        body  {"detail":"Retry in 20s","error":{"param":"Retry in 20s"}}
        then  rate_limited model default - rests 60000
        when  429
        head  x-ratelimit-reset: 15
        body  {"message":"Retry in 20s"}
        then  rate_limited model header:x-ratelimit-reset 15000 rests 15000
        when  429
        head  retry-after: 1
        head  x-ratelimit-reset: 15
        body  {"message":"Retry in 20s"}
        then  rate_limited model header:retry-after 1000 rests 10000
        "#,
    );
}

#[test]
fn a_delay_that_is_none_is_said_to_be_rejected_where_delays_are_listened_to() {
    use super::grammar::NOW;
    use crate::pools::answer::{Answer, Endpoint, judge};
    use crate::pools::verdict::Rejected;
    let daily = r#"{"error":{"status":"RESOURCE_EXHAUSTED","details":[
        {"@type":"t/google.rpc.QuotaFailure","violations":[{"quotaId":"PerDay"}]},
        {"@type":"t/google.rpc.RetryInfo","retryDelay":"12s"}]}}"#;
    let garbage = r#"{"error":{"details":[{"@type":"t/google.rpc.RetryInfo","retryDelay":"12"}]}}"#;
    for (status, after, body, rejected) in [
        (429, Some("12"), "", None),
        (429, None, "", None),
        (429, Some("0"), "", Some(Rejected::Unusable)),
        (429, Some("-3"), "", Some(Rejected::Unusable)),
        (429, Some("Fri, 20 Feb 2026 08:00:00 GMT"), "", Some(Rejected::Unusable)),
        (429, None, garbage, Some(Rejected::Unusable)),
        // Another line may still be one.
        (429, Some("12"), garbage, Some(Rejected::Unusable)),
        (429, Some("12"), daily, Some(Rejected::Daily)),
        (529, Some("0"), "", Some(Rejected::Unusable)),
        // Nobody listens.
        (401, Some("0"), "", None),
        (200, Some("0"), "", None),
    ] {
        let headers: Vec<(String, String)> =
            after.map(|after| ("retry-after".to_owned(), after.to_owned())).into_iter().collect();
        let verdict = judge(&Answer {
            provider: "generic",
            endpoint: Endpoint::Api,
            model: "m",
            now: NOW,
            status,
            headers: &headers,
            body: body.as_bytes(),
        });
        assert_eq!(verdict.rejected, rejected, "{status} {after:?} {body}");
    }
}
