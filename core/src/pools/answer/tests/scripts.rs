//! The rows of the table, each with what is near it and is not it.

use super::grammar::check;

#[test]
fn c1_amazon_names_its_errors() {
    check(
        r#"
        # The header wins over the body; what follows `:` and stands before `#` is no name.
        when  400
        head  X-Amzn-ErrorType: com.amazon.coral#ThrottlingException:http://internal/
        body  {"__type":"ValidationException","message":"slow"}
        then  rate_limited model default - rests 60000
        when  400
        body  {"__type":"com.amazonaws.bedrock#ThrottlingException","message":" TOO many tokens PER day, wait"}
        then  quota_exhausted model default - rests 900000
        # The day must stand at the beginning.
        when  429
        body  {"__type":"TooManyRequestsException","message":"Sorry. Too many tokens per day"}
        then  rate_limited model default - rests 60000
        when  400
        body  {"__type":"ServiceQuotaExceededException"}
        then  quota_exhausted credential default - rests 900000
        when  503
        body  {"__type":"ServiceUnavailableException"}
        then  overloaded provider_model default - rests 10000
        when  403
        body  {"__type":"AccessDeniedException"}
        then  permission_denied model default - rests 1800000
        when  404 model=
        body  {"__type":"ResourceNotFoundException"}
        then  model_unavailable none - - rests -
        when  429
        body  {"__type":"ValidationException"}
        then  client_error none - - rests -
        # Names are exact, unknown ones go on, and an error object's `__type` is not top-level.
        when  429
        body  {"__type":"throttlingexception"}
        then  rate_limited model default - rests 60000
        when  403
        head  x-amzn-errortype: SomethingElseException
        body  {"error":{"__type":"ExpiredTokenException"}}
        then  permission_denied model default - rests 1800000
        # A success stays one.
        when  200
        body  {"__type":"ThrottlingException"}
        then  ok none - - rests -
        "#,
    );
}

#[test]
fn c2_plans_of_codex() {
    check(
        r#"
        when  404
        head  x-codex-active-limit: Codex
        body  {"error":{"type":"usage_limit_reached"}}
        then  quota_exhausted credential default - rests 900000
        when  429
        head  x-codex-active-limit: codex-mini
        body  {"type":"usage_limit_reached"}
        then  quota_exhausted model default - rests 900000
        when  429 model=
        head  x-codex-active-limit: GPT-5
        body  {"type":"usage_limit_reached"}
        then  quota_exhausted credential default - rests 900000
        # A full window counts under 429 alone, and 99.999 % are not full.
        when  429
        head  x-codex-primary-used-percent: 100.0
        then  quota_exhausted credential default - rests 900000
        when  403
        head  x-codex-primary-used-percent: 100.0
        then  permission_denied model default - rests 1800000
        when  429
        head  x-codex-secondary-used-percent: 99.999
        head  x-codex-secondary-reset-after-seconds: 60
        then  rate_limited model default - rests 60000
        when  429
        head  x-codex-gpt-5-mini-secondary-used-percent: 101
        head  x-codex-gpt-5-mini-secondary-reset-after-seconds: 60
        then  quota_exhausted credential header:x-codex-gpt-5-mini-secondary-reset-after-seconds 60000 rests 60000
        when  400
        body  {"error":{"type":"usage_not_included","code":"insufficient_quota"}}
        then  permission_denied credential default - rests 1800000
        "#,
    );
}

#[test]
fn c3_to_c5_words_of_upstreams() {
    check(
        r#"
        when  400
        body  {"error":{"code":3505}}
        then  overloaded provider_model default - rests 10000
        when  429
        body  {"error":{"type":"service_tier_capacity_exceeded"}}
        then  overloaded provider_model default - rests 10000
        when  400
        body  {"error":{"message":"  selected MODEL is at capacity. Please try again in 2m."}}
        then  overloaded provider_model message 120000 rests 120000
        # A type is no code.
        when  429
        body  {"error":{"type":"slow_down"}}
        then  rate_limited model default - rests 60000
        # C3 stands above C4.
        when  429
        body  {"error":{"type":"insufficient_quota","code":"slow_down"}}
        then  overloaded provider_model default - rests 10000
        when  400
        body  {"message":"Insufficient BALANCE "}
        then  billing credential default - rests 900000
        when  400
        body  {"message":"Insufficient balance."}
        then  client_error none - - rests -
        when  403 provider=zai
        body  {"error":{"code":1113}}
        then  billing credential default - rests 900000
        when  429 provider=openai
        body  {"error":{"code":"1113"}}
        then  rate_limited model default - rests 60000
        when  429 provider=zai
        body  {"error":{"code":1310,"message":"x"}}
        then  quota_exhausted credential default - rests 900000
        when  429
        body  {"error":{"metadata":{"limit_source":"openrouter_in_flight_budget"}}}
        then  rate_limited credential default - rests 60000
        when  403 model=x:free
        body  {"error":{"metadata":{"limit_source":"openrouter_free_tier_daily"}}}
        then  quota_exhausted family:free default - rests 900000
        when  429
        body  {"error":{"metadata":{"limit_source":"openrouter_key_limit"}}}
        then  billing credential default - rests 900000
        # Metadata of the whole body is not the error's.
        when  429
        body  {"error":{},"metadata":{"limit_source":"openrouter_key_limit"}}
        then  rate_limited model default - rests 60000
        "#,
    );
}

#[test]
fn c6_and_c7_codes_and_reasons() {
    check(
        r#"
        when  403 model=
        body  {"error":{"code":"unsupported_country_region_territory"}}
        then  permission_denied provider default - rests 1800000
        when  404
        body  {"error":{"code":"model_not_found"}}
        then  model_unavailable model default - rests 1800000
        when  400
        body  {"error":{"code":"model_not_found"}}
        then  client_error none - - rests -
        when  403
        body  {"error":{"message":"oauth token has been revoked. Sign in"}}
        then  auth_failed credential default - rests 300000
        when  400
        body  {"error":{"status":"INVALID_ARGUMENT","details":[{"@type":"x/google.rpc.ErrorInfo","reason":"API_KEY_INVALID"}]}}
        then  auth_failed credential default - rests 300000
        # The reason of another kind of detail is none.
        when  400
        body  {"error":{"details":[{"@type":"x/google.rpc.Help","reason":"API_KEY_INVALID"}]}}
        then  client_error none - - rests -
        when  429
        body  {"error":{"status":"RESOURCE_EXHAUSTED","details":[{"reason":"MODEL_CAPACITY_EXHAUSTED","@type":"t/google.rpc.ErrorInfo"}]}}
        then  overloaded provider_model default - rests 10000
        when  400 model=
        body  {"error":{"status":"UNAVAILABLE"}}
        then  overloaded provider default - rests 10000
        when  400
        body  {"status":"UNAVAILABLE"}
        then  client_error none - - rests -
        "#,
    );
}

#[test]
fn c8_quotas_of_google() {
    check(
        r#"
        when  400
        body  {"error":{"status":"RESOURCE_EXHAUSTED","details":[{"@type":"t/google.rpc.QuotaFailure","violations":[{"quotaId":"RequestsPerMinutePerProject"}]}]}}
        then  rate_limited credential default - rests 60000
        when  429
        body  {"error":{"status":"RESOURCE_EXHAUSTED","details":[{"@type":"t/google.rpc.QuotaFailure","violations":[{"quotaId":"RequestsPerDayPerProject"},{"quotaId":"PerModel"}]}]}}
        then  quota_exhausted model default - rests 900000
        when  429
        body  {"error":{"status":"RESOURCE_EXHAUSTED","details":[{"@type":"t/google.rpc.QuotaFailure","violations":[{"quotaId":"RequestsPerDay-FreeTier"}]}]}}
        then  quota_exhausted credential default - rests 900000
        # `SuperDay`, `PerDays` and a day in another field are not per day; a model may be a dimension.
        when  429
        body  {"error":{"status":"RESOURCE_EXHAUSTED","details":[{"@type":"t/google.rpc.QuotaFailure","violations":[{"quotaId":"SuperDay","quotaMetric":"PerDay","quotaDimensions":{"model":"g"}},{"quotaId":"PerDays"}]}]}}
        then  rate_limited model default - rests 60000
        # QUOTA_EXHAUSTED is of the model, whatever is violated.
        when  429
        body  {"error":{"status":"RESOURCE_EXHAUSTED","details":[{"@type":"t/google.rpc.QuotaFailure","violations":[{"quotaId":"PerProject"}]},{"@type":"t/google.rpc.ErrorInfo","reason":"QUOTA_EXHAUSTED"}]}}
        then  quota_exhausted model default - rests 900000
        # Violations of another kind of detail are none.
        when  429
        body  {"error":{"status":"RESOURCE_EXHAUSTED","details":[{"@type":"t/google.rpc.BadRequest","violations":[{"quotaId":"PerDayPerProject"}]}]}}
        then  rate_limited model default - rests 60000
        "#,
    );
}

#[test]
fn c9_plans_of_anthropic() {
    check(
        r#"
        when  429
        head  anthropic-ratelimit-unified-representative-claim: seven_day_opus
        head  Anthropic-RateLimit-Unified-Status: rejected
        then  quota_exhausted family:opus default - rests 900000
        # A shared window that refuses outranks the claim.
        when  429
        head  anthropic-ratelimit-unified-representative-claim: seven_day_opus
        head  anthropic-ratelimit-unified-7d-status: rejected
        then  quota_exhausted credential default - rests 900000
        when  429
        head  anthropic-ratelimit-unified-representative-claim: seven_day_overage_included
        head  anthropic-ratelimit-unified-status: rejected
        then  quota_exhausted model default - rests 900000
        # An unknown window is the credential's; the overage is no window; neither is one under 403.
        when  429
        head  anthropic-ratelimit-unified-30d-status: rejected
        then  quota_exhausted credential default - rests 900000
        when  429
        head  anthropic-ratelimit-unified-overage-status: rejected
        head  anthropic-ratelimit-unified-overage-reset: 1771664400
        then  rate_limited model default - rests 60000
        when  403
        head  anthropic-ratelimit-unified-5h-status: rejected
        then  permission_denied model default - rests 1800000
        when  429
        body  {"error":{"message":"CLAUDE AI usage limit reached|1771664400"}}
        then  quota_exhausted credential message 3600000 rests 3600000
        when  429
        body  {"error":{"message":"Claude AI usage limit reached|1771664400 or so"}}
        then  quota_exhausted credential default - rests 900000
        when  400
        body  {"error":{"message":"Claude AI usage limit reached|1771664400"}}
        then  client_error none - - rests -
        "#,
    );
}

#[test]
fn c10_to_c13_limits_that_name_themselves() {
    check(
        r#"
        when  429
        head  x-ratelimit-type: RequestsByDayByModel
        then  quota_exhausted model default - rests 900000
        when  429
        head  x-ratelimit-type: TokensByMinute
        then  rate_limited credential default - rests 60000
        when  429
        head  x-ratelimit-type: UserConcurrentRequests
        then  rate_limited credential default - rests 10000 concurrency
        when  429
        head  x-ratelimit-type: concurrentrequests
        then  rate_limited credential default - rests 60000
        when  400
        head  x-ratelimit-type: RequestsByDay
        then  client_error none - - rests -
        when  429
        head  server: cloudflare
        head  content-type: Text/HTML; charset=utf-8
        body  <html>1015</html>
        then  rate_limited provider default - rests 60000
        when  429
        head  server: nginx
        head  content-type: text/html
        then  rate_limited model default - rests 60000
        when  429
        head  server: cloudflare
        body  {"error":{"error_code":1015}}
        then  rate_limited model default - rests 60000
        when  429
        body  {"message":"number of concurrent connections has exceeded your rate limit. Please try again in 5s."}
        then  rate_limited credential message 5000 rests 10000 concurrency
        when  429
        body  {"message":"You are using a Trial key, which is limited to 1000 API calls / month."}
        then  quota_exhausted credential default - rests 900000
        when  429
        body  {"message":"You are using a Trial key, which is limited to some API calls / minute."}
        then  rate_limited model default - rests 60000
        when  400
        body  {"message":"You are using a Trial key, which is limited to 40 API calls / minute."}
        then  client_error none - - rests -
        when  429
        body  {"message":"Rate limit reached for x (RPD). Please try again in 7m12s."}
        then  quota_exhausted model message 432000 rests 432000
        when  429
        body  {"message":"Rate limit reached for x (tpd)"}
        then  rate_limited model default - rests 60000
        when  429
        body  {"message":"My Rate limit reached for x (TPD)"}
        then  rate_limited model default - rests 60000
        "#,
    );
}

#[test]
fn c14_to_c16_statuses() {
    check(
        r#"
        when  402
        then  billing credential default - rests 900000
        when  401 model=
        then  auth_failed credential default - rests 300000
        when  403
        body  {"error":{"type":"rate_limit_exceeded","code":"quota_exceeded"}}
        then  quota_exhausted credential default - rests 900000
        when  403
        head  x-ratelimit-remaining: 0.00
        then  rate_limited credential default - rests 60000
        when  403
        head  x-ratelimit-remaining: -0
        then  permission_denied model default - rests 1800000
        when  403
        body  {"message":"you have exceeded a SECONDARY rate limit. Please wait 5m."}
        then  rate_limited credential message 300000 rests 300000
        # Capacity listens to delays and prose, not to plans and windows; a silent 503 is transient.
        when  529
        head  x-codex-primary-used-percent: 100
        head  x-codex-primary-reset-after-seconds: 60
        then  overloaded provider_model default - rests 10000
        when  503
        head  retry-after: 7
        then  overloaded provider_model header:retry-after 7000 rests 10000
        when  503
        head  retry-after: 0
        head  x-ratelimit-reset: 60
        body  {"message":"Try again in 60s"}
        then  transient none - - rests -
        when  503
        body  {"error":{"details":[{"@type":"t/google.rpc.RetryInfo","retryDelay":"1000s"}]}}
        then  overloaded provider_model body:RetryInfo.retryDelay 1000000 rests 300000
        when  500
        head  retry-after: 60
        then  transient none - - rests -
        when  408
        head  retry-after: 60
        then  transient none - - rests -
        when  418
        then  client_error none - - rests -
        when  302
        head  retry-after: 60
        then  ok none - - rests -
        "#,
    );
}

#[test]
fn a_failure_inside_a_success() {
    check(
        r#"
        when  200
        body  {"error":{"code":402}}
        then  billing credential default - rests 900000
        when  201
        body  {"response":{"error":{"code":"rate_limit_exceeded","message":"Please try again in 11.5s."}}}
        then  rate_limited model message 11500 rests 11500
        when  200
        body  {"error":{"type":"overloaded_error"}}
        then  overloaded provider_model default - rests 10000
        when  200
        body  {"error":{"code":"server_is_overloaded"}}
        then  overloaded provider_model default - rests 10000
        # A code that is text, out of range or no integer is no status.
        when  200
        body  {"error":{"code":"429"}}
        then  ok none - - rests -
        when  200
        body  {"error":{"code":200,"type":"rate_limit_error"}}
        then  rate_limited model default - rests 60000
        when  200
        body  {"error":{"code":429.0}}
        then  ok none - - rests -
        when  200
        body  {"error":"rate_limit_exceeded","code":"rate_limit_exceeded"}
        then  ok none - - rests -
        when  302
        body  {"error":{"code":429}}
        then  ok none - - rests -
        # The first event with an error, in a stream.
        when  200
        head  content-type: text/event-stream; charset=utf-8
        body  event: message
        body  data: {"type":"response.created","error":null}
        body  data: [DONE]
        body  data:{"type":"response.failed","response":{"error":{"code":"rate_limit_exceeded"}}}
        body  data: {"error":{"code":402}}
        then  rate_limited model default - rests 60000
        when  200
        head  content-type: text/event-stream
        body  {"error":{"code":429}}
        then  ok none - - rests -
        when  200
        head  content-type: text/event-stream
        body  data: {"response":{"error":"cut
        body  data: {"error":"text"}
        body  data: {"error":{"code":429}}
        then  ok none - - rests -
        "#,
    );
}

#[test]
fn the_endpoint_that_gives_tokens() {
    check(
        r#"
        when  400 endpoint=token
        body  {"error":{"code":"refresh_token_reused"}}
        then  auth_failed credential default - rests 300000
        when  403 endpoint=token
        body  {"error":{"type":"invalid_grant"}}
        then  auth_failed credential default - rests 300000
        when  400 endpoint=token
        body  {"error":"invalid_client"}
        then  client_error none - - rests -
        when  400 endpoint=token
        body  {"code":"invalid_grant"}
        then  client_error none - - rests -
        when  401 endpoint=token
        head  retry-after: 5
        then  auth_failed credential default - rests 300000
        when  429 endpoint=token
        body  {"error":"invalid_grant"}
        then  rate_limited credential default - rests 60000
        when  429 endpoint=token
        head  retry-after: 3601
        then  quota_exhausted credential header:retry-after 3601000 rests 3601000
        # No effective status here, and no rows.
        when  200 endpoint=token
        body  {"error":{"code":429}}
        then  ok none - - rests -
        when  529 endpoint=token
        then  transient none - - rests -
        "#,
    );
}

#[test]
fn fields_are_where_they_should_be() {
    check(
        r#"
        # A missing field of the error object is looked for outside it, a null one too.
        when  400
        body  {"error":{"code":null},"code":"insufficient_quota"}
        then  billing credential default - rests 900000
        when  400
        body  {"error":{"code":"x"},"code":"insufficient_quota"}
        then  client_error none - - rests -
        # Of an error that is text the text is the message.
        when  429
        body  {"error":"Please try again in 15s.","message":"Please try again in 30s."}
        then  rate_limited model message 15000 rests 15000
        # The inner error is read where the outer is none.
        when  400
        body  {"error":null,"response":{"error":{"code":"insufficient_quota"}}}
        then  billing credential default - rests 900000
        when  400
        body  {"error":{},"response":{"error":{"code":"insufficient_quota"}}}
        then  client_error none - - rests -
        # Of a list the first object; of a repeated key the last value.
        when  400
        body  [1,[{"error":{"code":"slow_down"}}],{"error":{"code":"insufficient_quota"}},{"error":{"code":"slow_down"}}]
        then  billing credential default - rests 900000
        when  400
        body  {"error":{"code":"slow_down","code":"insufficient_quota"}}
        then  billing credential default - rests 900000
        # Escapes are text.
        when  400
        body  {"err\u006fr":{"code":"insufficient\u005fquota"}}
        then  billing credential default - rests 900000
        # What does not decode as a whole is absent.
        when  400
        body  {"error":{"code":"insufficient_quota"}} x
        then  client_error none - - rests -
        when  400
        body  {"error":{"code":["insufficient_quota"]}}
        then  client_error none - - rests -
        # Numbers of any size elsewhere are still JSON.
        when  400
        body  {"usage":1e999999,"deep":[[[[[[{"a":99999999999999999999999999}]]]]]],"error":{"code":"insufficient_quota"}}
        then  billing credential default - rests 900000
        # Content types that say protobuf are no JSON.
        when  400
        head  content-type: application/protobuf
        body  {"error":{"code":"insufficient_quota"}}
        then  client_error none - - rests -
        "#,
    );
}
