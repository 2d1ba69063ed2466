//! Corners of the rules, each derived from their text: where two of them meet, or one ends.

use super::grammar::check;

#[test]
fn the_error_object_is_the_outer_one_or_the_one_of_the_response() {
    check(
        r#"
        # An error that is text is no object: the type and the code stand beside it.
        when  400
        body  {"error":"no","code":"insufficient_quota"}
        then  billing credential default - rests 900000
        # The inner object has its own type, and A1 reads it there.
        when  429
        body  {"type":"response.failed","response":{"error":{"type":"usage_limit_reached","resets_in_seconds":75}}}
        then  quota_exhausted credential body:resets_in_seconds 75000 rests 75000
        # An event of a stream that was refused at its head is read like one of a success.
        when  429
        head  content-type: text/event-stream
        body  : comment
        body  data: {"n":1}
        body  data: {"error":{"message":"Please try again in 25s."}}
        then  rate_limited model message 25000 rests 25000
        # Of a stream only its data is read, and of that only objects.
        when  429
        head  content-type: TEXT/EVENT-STREAM
        body  event: {"error":{"code":"insufficient_quota"}}
        body  data: [{"error":{"code":"insufficient_quota"}}]
        then  rate_limited model default - rests 60000
        # An error that is a number, a truth value or a list is not null, and no object either.
        when  200
        head  content-type: text/event-stream
        body  data: {"error":0}
        body  data: {"error":{"code":429}}
        then  ok none - - rests -
        # An empty list, a list of no objects, a number: all of them say nothing.
        when  429
        body  [1,"error"]
        then  rate_limited model default - rests 60000
        when  429
        body  5
        then  rate_limited model default - rests 60000
        "#,
    );
}

#[test]
fn depth_and_length_elsewhere_in_the_body_cost_nothing() {
    let deep = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
    check(&format!(
        r#"
        when  400
        body  {{"x":{deep},"error":{{"y":{deep},"code":"insufficient_quota","details":[{deep}]}}}}
        then  billing credential default - rests 900000
        when  429
        body  {{"error":{{"details":{deep},"metadata":{deep},"message":"Retry in 20s"}}}}
        then  rate_limited model message 20000 rests 20000
        when  429
        body  {deep}
        then  rate_limited model default - rests 60000
        "#
    ));
}

#[test]
fn classes_meet_in_the_order_of_the_rows() {
    check(
        r#"
        # C1 before C14, C2 before C9, C4 before C8, C7 before C8, C8 before C14, C9 before C10, C10 before C13.
        when  401
        head  x-amzn-errortype: AccessDeniedException
        then  permission_denied model default - rests 1800000
        when  429
        head  anthropic-ratelimit-unified-5h-status: rejected
        body  {"error":{"type":"usage_not_included"}}
        then  permission_denied credential default - rests 1800000
        when  429
        body  {"error":{"type":"billing_error","status":"RESOURCE_EXHAUSTED"}}
        then  billing credential default - rests 900000
        when  429
        body  {"error":{"status":"RESOURCE_EXHAUSTED","details":[{"@type":"t/google.rpc.ErrorInfo","reason":"CONSUMER_SUSPENDED"}]}}
        then  auth_failed credential default - rests 300000
        when  401
        body  {"error":{"status":"RESOURCE_EXHAUSTED"}}
        then  rate_limited model default - rests 60000
        when  429
        head  x-ratelimit-type: TokensByMinute
        head  anthropic-ratelimit-unified-5h-status: rejected
        then  quota_exhausted credential default - rests 900000
        when  429
        head  x-ratelimit-type: TokensByMinute
        body  {"message":"Rate limit reached for x (TPD)"}
        then  rate_limited credential default - rests 60000
        # The reason alone, without the status, is no quota of Google's.
        when  429
        body  {"error":{"details":[{"@type":"t/google.rpc.ErrorInfo","reason":"QUOTA_EXHAUSTED"}]}}
        then  rate_limited model default - rests 60000
        # The last `#` before the first `:`.
        when  400
        body  {"__type":"a#b#ThrottlingException:c#ValidationException"}
        then  rate_limited model default - rests 60000
        "#,
    );
}

#[test]
fn classes_of_a_success_of_words_and_without_a_model() {
    check(
        r#"
        # A status of a success is judged by every row.
        when  200
        body  {"error":{"code":403,"type":"quota_exceeded"}}
        then  quota_exhausted credential default - rests 900000
        when  200
        head  retry-after: 45
        body  {"error":{"code":503}}
        then  overloaded provider_model header:retry-after 45000 rests 45000
        when  200
        body  {"error":{"code":399,"type":"overloaded_error"}}
        then  overloaded provider_model default - rests 10000
        when  200
        body  {"error":{"code":600}}
        then  ok none - - rests -
        # Cases of words that are compared without it, and of words that are compared with it.
        when  429
        body  {"message":"YOU ARE USING A TRIAL KEY, which is limited to 5 api calls / MONTH"}
        then  quota_exhausted credential default - rests 900000
        when  429
        head  anthropic-ratelimit-unified-5h-status: Rejected
        then  rate_limited model default - rests 60000
        when  400
        body  {"error":{"code":"Insufficient_Quota"}}
        then  client_error none - - rests -
        # Without a model: the member, the provider, or nobody.
        when  429 model=
        body  {"error":{"metadata":{"limit_source":"openrouter_free_tier_daily"}}}
        then  quota_exhausted credential default - rests 900000
        when  403 model=
        body  {"error":{"type":"usage_not_included"}}
        then  permission_denied credential default - rests 1800000
        when  529 model=
        head  retry-after: 4
        then  overloaded provider header:retry-after 4000 rests 10000
        "#,
    );
}

#[test]
fn what_a_wait_is_worth_beside_another_one() {
    check(
        r#"
        # A decides though B or C state more; within A the longest, whichever row.
        when  429
        head  x-ratelimit-remaining: 0
        head  x-ratelimit-reset: 900
        head  x-ms-retry-after-ms: 20000
        body  {"error":{"message":"Try again in 30m","metadata":{"headers":{"Retry-After":15,"X-RateLimit-Reset":"1771660821"}}}}
        then  rate_limited model body:metadata.headers.X-RateLimit-Reset 21000 rests 21000
        # A plan that is full speaks beside a delay, and the later of them counts.
        when  429
        head  retry-after: 30
        head  x-codex-secondary-used-percent: 100
        head  x-codex-secondary-reset-at: 1771664400.5
        then  quota_exhausted credential header:x-codex-secondary-reset-at 3600500 rests 3600500
        # A delay of a day's quota that stands in prose is believed from a quarter of an hour on.
        when  429
        body  {"error":{"status":"RESOURCE_EXHAUSTED","message":"Please retry in 15m. Retry in 14m59s","details":[{"@type":"t/google.rpc.QuotaFailure","violations":[{"quotaId":"PerDay"}]}]}}
        then  quota_exhausted credential message 900000 rests 900000
        # A quota that is of a day only because its wait is long keeps its scope, and a concurrency its wait.
        when  429
        head  x-ratelimit-type: ConcurrentRequests
        head  retry-after: 3601
        then  quota_exhausted credential header:retry-after 3601000 rests 3601000 concurrency
        # Capacity: the floor, the ceiling, and prose; windows and plans say nothing of it.
        when  503
        head  retry-after: 301
        then  overloaded provider_model header:retry-after 301000 rests 300000
        when  400
        head  x-ratelimit-reset: 40
        body  {"error":{"code":"slow_down","message":"Overloaded, retry after 1 minute"}}
        then  overloaded provider_model message 60000 rests 60000
        when  400
        head  anthropic-ratelimit-unified-status: rejected
        head  anthropic-ratelimit-unified-reset: 1771660860
        body  {"error":{"type":"overloaded_error"}}
        then  overloaded provider_model default - rests 10000
        # A wait of the greatest length, and one of the least.
        when  429
        head  retry-after-ms: 2678400000
        then  quota_exhausted model header:retry-after-ms 2678400000 rests 21600000
        when  429
        head  retry-after-ms: 0.5
        then  rate_limited model header:retry-after-ms 1 rests 10000
        # An answer's own clock is any of the three dates; of several lines the first.
        when  429
        head  date: Saturday, 21-Feb-26 07:59:00 GMT
        head  date: Sat, 21 Feb 2026 07:00:00 GMT
        head  retry-after: Sat, 21 Feb 2026 08:00:00 GMT
        then  rate_limited model header:retry-after 60000 rests 60000
        "#,
    );
}

#[test]
fn windows_beside_each_other() {
    check(
        r#"
        # One empty window is enough, however the others stand.
        when  429
        head  x-ratelimit-remaining-requests: 0
        head  x-ratelimit-reset-requests: 12s
        head  x-ratelimit-limit-tokens: 100
        head  x-ratelimit-remaining-tokens: 1
        head  x-ratelimit-reset-tokens: 50s
        then  rate_limited model header:x-ratelimit-reset-requests 12000 rests 12000
        # An empty window that does not say when it resets is none.
        when  429
        head  x-ratelimit-remaining-requests: 0
        head  x-ratelimit-reset-requests: later
        head  x-ratelimit-limit-tokens: 100
        head  x-ratelimit-remaining-tokens: 9
        head  x-ratelimit-reset-tokens: 50s
        then  rate_limited model header:x-ratelimit-reset-tokens 50000 rests 50000
        # What remains is known and its limit is not: nothing is known to be nearly full.
        when  429
        head  x-ratelimit-remaining-tokens: 1
        head  x-ratelimit-reset-tokens: 50s
        head  ratelimit-reset: 20
        then  rate_limited model default - rests 60000
        # The stems do not mix, but for B4, which has those of B3's last.
        when  429
        head  ratelimit-remaining: 0
        head  x-ratelimit-reset: 20
        then  rate_limited model header:x-ratelimit-reset 20000 rests 20000
        when  429
        head  x-ratelimit-remaining: 5
        head  x-ratelimit-limit: 100
        head  x-ratelimit-reset: 20
        head  x-ratelimit-reset-after: 1m
        then  rate_limited model header:x-ratelimit-reset-after 60000 rests 60000
        # Equal in proportion and in length: the upper row.
        when  429
        head  x-ratelimit-limit: 100
        head  x-ratelimit-remaining: 5
        head  x-ratelimit-reset: 20
        head  ratelimit-limit: 1000
        head  ratelimit-remaining: 50.0
        head  ratelimit-reset: 20.000
        then  rate_limited model header:ratelimit-reset 20000 rests 20000
        # A number that is none leaves what remains unknown.
        when  429
        head  x-ratelimit-remaining: -1
        head  x-ratelimit-reset: 20
        then  rate_limited model header:x-ratelimit-reset 20000 rests 20000
        # Windows of a list, in the older form with a blank after the comma or none; an item may miss a part.
        when  429
        head  ratelimit: "a";r=0, "b";r=0;t=70
        then  rate_limited model header:ratelimit 70000 rests 70000
        when  429
        head  ratelimit: reset=50
        then  rate_limited model header:ratelimit 50000 rests 50000
        "#,
    );
}

#[test]
fn clauses_begin_where_they_may_and_end_where_they_must() {
    check(
        r#"
        when  429
        body  {"message":"Slow down: please try again after 1 hour."}
        then  rate_limited model message 3600000 rests 3600000
        when  429
        body  {"message":"Limit! Your quota will reset in 2 DAYS"}
        then  quota_exhausted model message 172800000 rests 21600000
        when  429
        body  {"message":"Limit, resets in 6m0s, sorry"}
        then  rate_limited model message 360000 rests 360000
        when  429
        body  {"message":"\tWAIT 45S"}
        then  rate_limited model default - rests 60000
        when  429
        body  {"message":"\n\nWAIT 45s\n"}
        then  rate_limited model message 45000 rests 45000
        when  429
        body  {"message":"Please wait for 1 minutes"}
        then  rate_limited model message 60000 rests 60000
        # A duration is one word; what follows it after a blank is another sentence's.
        when  429
        body  {"message":"Retry in 1m 30s"}
        then  rate_limited model message 60000 rests 60000
        when  429
        body  {"message":"Retry in 20é. Retry in 20s\u00e9"}
        then  rate_limited model default - rests 60000
        when  429
        body  {"message":"It will reset in 30s. Your limits will reset in 30s. Resets at 30s. Retry 30s"}
        then  rate_limited model default - rests 60000
        when  429
        body  {"message":"Really? Retry in 30s"}
        then  rate_limited model default - rests 60000
        # The sentence of a plan is the message as a whole, and its moment one of seconds.
        when  429
        body  {"message":"  Claude AI usage limit reached|1771660860.5 "}
        then  quota_exhausted credential message 60500 rests 60500
        when  529
        body  {"message":"claude ai usage limit reached|1771660860"}
        then  overloaded provider_model message 60000 rests 60000
        # A trial key's minute is a minute, and a longer clause of the message counts more.
        when  429
        body  {"message":"You are using a Trial key, which is limited to 40 API calls / minute. Wait 90s"}
        then  rate_limited credential message 90000 rests 90000
        "#,
    );
}
