//! Laws for any answer whatever.

use proptest::prelude::*;

use super::grammar::{NOW, Told};
use crate::limits;
use crate::pools::answer::{Answer, Endpoint, judge};
use crate::pools::{Class, Profile, Scope, Verdict};

const NAMES: [&str; 22] = [
    "retry-after",
    "Retry-After-Ms",
    "x-ms-retry-after-ms",
    "date",
    "server",
    "content-type",
    "x-amzn-errortype",
    "x-ratelimit-type",
    "x-ratelimit-reset",
    "x-ratelimit-reset-after",
    "x-ratelimit-remaining",
    "x-ratelimit-limit",
    "x-ratelimit-reset-tokens",
    "x-ratelimit-remaining-tokens",
    "ratelimit",
    "ratelimit-reset",
    "anthropic-ratelimit-requests-reset",
    "anthropic-ratelimit-unified-status",
    "anthropic-ratelimit-unified-5h-status",
    "anthropic-ratelimit-unified-5h-reset",
    "x-codex-primary-used-percent",
    "x-codex-primary-reset-at",
];

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        "[0-9]{1,40}(\\.[0-9]{1,40})?",
        "([0-9]{1,12}(\\.[0-9]{1,12})?(ns|us|ms|s|m|h|d)){1,4}",
        "Sat, 21 Feb 20[0-9]{2} [0-2][0-9]:[0-6][0-9]:00 GMT",
        "20[0-9]{2}-[01][0-9]-[0-3][0-9]T08:00:00(\\.[0-9]{1,9})?Z",
        Just("rejected".to_owned()),
        Just("text/event-stream".to_owned()),
        Just("application/protobuf".to_owned()),
        "\"[a-z\\\\\"]{0,4}\";r=[0-9]{1,3};t=[0-9]{1,30}",
        "\\PC{0,40}",
    ]
}

fn headers() -> impl Strategy<Value = Vec<(String, String)>> {
    let name = prop::sample::select(&NAMES[..]).prop_map(str::to_owned);
    prop::collection::vec((name, value()), 0..8)
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![Just("usage_limit_reached"), Just("overloaded_error"), Just("x")];
    let sentence = ("(Please try again in |Retry after |wait )", value());
    let json =
        (word, value(), sentence, any::<u32>()).prop_map(|(kind, code, (head, wait), number)| {
            let message = format!("{head}{wait}");
            let error = serde_json::json!({"type": kind, "code": code, "message": message,
            "resets_at": number, "resets_in_seconds": number, "status": "RESOURCE_EXHAUSTED",
            "details": [{"@type": "t/google.rpc.RetryInfo", "retryDelay": wait},
                {"@type": "t/google.rpc.QuotaFailure", "violations": [{"quotaId": "PerDay"}]}]});
            serde_json::json!({ "error": error }).to_string().into_bytes()
        });
    prop_oneof![
        json,
        prop::collection::vec(any::<u8>(), 0..200),
        "\\PC{0,100}".prop_map(String::into_bytes)
    ]
}

fn told() -> impl Strategy<Value = Told> {
    let endpoint = prop_oneof![Just(Endpoint::Api), Just(Endpoint::Token)];
    let status = prop_oneof![3 => Just(429), 1 => Just(403), 1 => Just(503), 2 => 100_u16..600];
    let model = prop_oneof![Just(String::new()), Just("claude-opus-4".to_owned())];
    (status, endpoint, model, headers(), body()).prop_map(
        |(status, endpoint, model, headers, body)| Told {
            provider: "zai".into(),
            endpoint,
            model,
            status,
            headers,
            body,
        },
    )
}

fn verdict(told: &Told) -> Verdict {
    judge(&Answer {
        provider: &told.provider,
        endpoint: told.endpoint,
        model: &told.model,
        now: NOW,
        status: told.status,
        headers: &told.headers,
        body: &told.body,
    })
}

fn profile() -> impl Strategy<Value = Profile> {
    (1000_u64..600_000, 0_u64..700_000_000, 1000_u64..3_600_000, any::<[u64; 3]>()).prop_map(
        |(floor_ms, more, overload_cap_ms, [fallback_ms, quota_ms, auth_ms])| Profile {
            floor_ms,
            cap_ms: floor_ms + more,
            overload_cap_ms,
            fallback_ms,
            quota_ms,
            auth_ms,
            ..Profile::default()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn p16_a_rest_is_within_its_clamp_and_a_wait_within_a_month(
        told in told(), profile in profile(), count in any::<u32>()
    ) {
        let verdict = verdict(&told);
        if let Some(wait) = verdict.stated_wait_ms {
            prop_assert!((1..=limits::STATED_WAIT_MS_MAX).contains(&wait));
        }
        let (least, most) = profile.clamp_of(verdict.class);
        match profile.rest_ms(&verdict, count) {
            Some(rest) => prop_assert!((least..=most).contains(&rest), "{rest}"),
            None => prop_assert!(!verdict.class.rests() || verdict.scope == Scope::None),
        }
        prop_assert_eq!(verdict.source.is_some(), verdict.rests());
        let is_throttle = verdict.class == Class::RateLimited;
        let is_long = verdict.stated_wait_ms > Some(limits::THROTTLE_WAIT_MS_MAX);
        prop_assert!(!(is_throttle && is_long));
    }

    #[test]
    fn p9_what_lies_beyond_the_limit_decides_nothing(told in told(), more in any::<[u8; 8]>()) {
        let mut padded = told.clone();
        // Blanks keep JSON what it is, and make a stream longer without an event.
        padded.body.resize(limits::ANSWER_BODY_BYTES_MAX.max(told.body.len()), b' ');
        let mut longer = padded.clone();
        longer.body.extend(more);
        prop_assert_eq!(verdict(&padded), verdict(&longer));
    }

    #[test]
    fn p9_headers_and_fields_without_a_name_decide_nothing(
        told in told(), name in "x-[a-q]{1,8}", text in "\\PC{0,60}"
    ) {
        let mut more = told.clone();
        more.headers.insert(0, (name, "Retry-After: 5".to_owned()));
        more.headers.push(("x-request-id".to_owned(), text.clone()));
        if let Ok(serde_json::Value::Object(mut object)) = serde_json::from_slice(&told.body) {
            object.insert("detail".to_owned(), serde_json::json!({"message": text, "error": {"code": 429}}));
            if let Some(error) = object.get_mut("error").and_then(|error| error.as_object_mut()) {
                error.insert("retry_after".to_owned(), serde_json::json!(5));
            }
            more.body = serde_json::Value::Object(object).to_string().into_bytes();
        }
        prop_assert_eq!(verdict(&told), verdict(&more));
    }

    #[test]
    fn any_bytes_are_some_answer(
        status in 100_u16..600, body in prop::collection::vec(any::<u8>(), 0..400), stream in any::<bool>()
    ) {
        let media = if stream { "text/event-stream" } else { "application/x-protobuf" };
        let headers = vec![("content-type".to_owned(), media.to_owned())];
        let told = Told { status, headers, body, provider: String::new(), endpoint: Endpoint::Api, model: String::new() };
        let verdict = verdict(&told);
        prop_assert!(verdict.class != Class::Ok || status < 400);
    }
}
