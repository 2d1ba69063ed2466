//! What operators do with pools, cooldowns and providers: words into requests, answers into text.
//!
//! The command line asks a node over HTTP, a chat asks the surface that it reached; both say the same words
//! and take the same steps, so that a verb cannot mean two things.
//!
//! Absent on purpose: rights (the surface's) and decisions (the node's).

use std::future::Future;

use hyper::Method;
use quorate_core::ids::CredentialHandle;
use quorate_core::node::pools::definition::DEFAULT_TENANT;
use serde_json::{Value, json};

use super::args::operator::{Cooldown, Defined, Metric, Operator, Pool, Provider};
use super::client::{Answer, Failure, encode};
use super::show::{cells, items, text, yaml};

/// Whoever can be asked.
pub(crate) trait Asks: Sync {
    /// Asks, and turns a refusal into a failure with the node's own words.
    fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        revision: Option<&str>,
    ) -> impl Future<Output = Result<Answer, Failure>> + Send;

    /// Whether long cells are cut.
    fn truncates(&self) -> bool;
}

/// What came of a verb.
#[derive(Debug)]
pub(crate) struct Shown {
    /// The answer as it came.
    pub(crate) answer: Value,
    /// The same for people.
    pub(crate) text: String,
}

/// Does what the words say.
pub(crate) async fn perform(asks: &impl Asks, words: Operator) -> Result<Shown, Failure> {
    match words {
        Operator::Pool(verb) => pool(asks, verb).await,
        Operator::Cooldown(verb) => cooldown(asks, verb).await,
        Operator::Provider(verb) => provider(asks, verb).await,
        Operator::Metric(Metric::Providers) => metrics(asks).await,
    }
}

async fn pool(asks: &impl Asks, verb: Pool) -> Result<Shown, Failure> {
    match verb {
        Pool::List => {
            let answer = whole(asks, "/v1/pools").await?;
            let text = pools(items(&answer), asks.truncates());
            Ok(Shown { answer, text })
        }
        Pool::Show { pool } => {
            let answer = get(asks, &path(&pool)).await?;
            let text = members(&answer, asks.truncates());
            Ok(Shown { answer, text })
        }
        Pool::Explain { pool, model } => {
            let model = model.map(|model| format!("?model={}", encode(&model)));
            let path = format!("{}/explain{}", path(&pool), model.unwrap_or_default());
            let answer = get(asks, &path).await?;
            let text = explained(&answer, asks.truncates());
            Ok(Shown { answer, text })
        }
        Pool::Classify { answer } => classify(asks, &answer).await,
        verb @ (Pool::Create { .. }
        | Pool::Set { .. }
        | Pool::Remove { .. }
        | Pool::Add { .. }
        | Pool::Drop { .. }
        | Pool::SetAuthReset { .. }) => define(asks, verb).await,
        verb @ (Pool::Rotate { .. }
        | Pool::Park { .. }
        | Pool::Unpark { .. }
        | Pool::Clear { .. }
        | Pool::Probe { .. }) => order(asks, verb).await,
    }
}

/// What an upstream's answer would mean.
async fn classify(asks: &impl Asks, answer: &str) -> Result<Shown, Failure> {
    let vector: Value = serde_json::from_str(answer)
        .map_err(|error| Failure::Usage(format!("the answer is no JSON: {error}")))?;
    let asked = asks.ask(Method::POST, "/v1/classify", Some(&vector), None);
    let answer = asked.await?.json()?;
    let text = yaml(&answer, 0);
    Ok(Shown { answer, text })
}

/// Verbs that change what a pool does and not what it is.
async fn order(asks: &impl Asks, verb: Pool) -> Result<Shown, Failure> {
    let post = Method::POST;
    match verb {
        Pool::Rotate { pool } => {
            let path = format!("{}/rotate", path(&pool));
            let answer = asks.ask(post, &path, None, None).await?.json()?;
            let line = format!(
                "{} is active, {} is set aside until {}\n",
                text(&answer, "/to"),
                text(&answer, "/from"),
                text(&answer, "/parked_until")
            );
            Ok(Shown { answer, text: line })
        }
        Pool::Park { pool, member, span } => {
            on_member(asks, (&pool, &member), "park", Some(json!({ "for_ms": span }))).await
        }
        Pool::Unpark { pool, member } => on_member(asks, (&pool, &member), "unpark", None).await,
        Pool::Clear { pool, member, model, reason } => {
            on_member(asks, (&pool, &member), "clear", Some(cleared(model, &reason))).await
        }
        Pool::Probe { pool, member } => on_member(asks, (&pool, &member), "probe", None).await,
        Pool::List
        | Pool::Show { .. }
        | Pool::Explain { .. }
        | Pool::Classify { .. }
        | Pool::Create { .. }
        | Pool::Set { .. }
        | Pool::Remove { .. }
        | Pool::Add { .. }
        | Pool::Drop { .. }
        | Pool::SetAuthReset { .. } => unreachable!("these were done before"),
    }
}

/// Verbs that change what a pool is.
async fn define(asks: &impl Asks, verb: Pool) -> Result<Shown, Failure> {
    let put = Method::PUT;
    let (method, path, body) = match verb {
        Pool::Create { pool, what } => {
            let mut body = definition(*what);
            if let Some(fields) = body.as_object_mut() {
                fields.insert("name".to_owned(), json!(pool));
            }
            (Method::POST, "/v1/pools".to_owned(), Some(body))
        }
        Pool::Set { pool, what } => (put, path(&pool), Some(definition(*what))),
        Pool::Remove { pool } => (Method::DELETE, path(&pool), None),
        Pool::Add { pool, credential, weight } => {
            let handle = credential
                .parse()
                .unwrap_or_else(|_| CredentialHandle::of(DEFAULT_TENANT, &credential));
            let body = weight.map_or_else(|| json!({}), |weight| json!({ "weight": weight }));
            (put, format!("{}/members/{handle}", path(&pool)), Some(body))
        }
        Pool::Drop { pool, member } => {
            (Method::DELETE, member_path(asks, &pool, &member).await?, None)
        }
        Pool::SetAuthReset { pool, target } => {
            let body = json!({ "auth_reset_target": target });
            (put, format!("{}/auth-reset-target", path(&pool)), Some(body))
        }
        verb @ (Pool::List
        | Pool::Show { .. }
        | Pool::Explain { .. }
        | Pool::Classify { .. }
        | Pool::Rotate { .. }
        | Pool::Park { .. }
        | Pool::Unpark { .. }
        | Pool::Clear { .. }
        | Pool::Probe { .. }) => unreachable!("{verb:?} changes no definition"),
    };
    let answer = asks.ask(method, &path, body.as_ref(), None).await?.json()?;
    let text =
        if answer.is_null() { "removed\n".to_owned() } else { members(&answer, asks.truncates()) };
    Ok(Shown { answer, text })
}

/// A definition, as far as it is said.
fn definition(what: Defined) -> Value {
    let member = |text: &String| match text.rsplit_once('=') {
        Some((id, weight)) if weight.parse::<u32>().is_ok() => {
            json!({ "credential": id, "weight": weight.parse::<u32>().unwrap_or(1) })
        }
        Some(_) | None => json!({ "credential": text }),
    };
    let members = match what.provider {
        Some(provider) => json!({ "provider": provider }),
        None => what.members.iter().map(member).collect(),
    };
    let profile: serde_json::Map<String, Value> =
        what.profile.into_iter().map(|(name, number)| (name, json!(number))).collect();
    let notify = (what.no_notices || !what.notify.is_empty()).then(|| json!(what.notify));
    let mut definition = serde_json::Map::new();
    definition.insert("members".to_owned(), members);
    for (name, value) in [
        ("strategy", what.strategy.map(Value::from)),
        ("degrade", what.degrade.map(Value::from)),
        ("upstream", what.upstream.map(Value::from)),
        ("auth_reset_target", what.auth_reset_target.map(Value::from)),
        ("profile", (!profile.is_empty()).then_some(Value::Object(profile))),
        ("early_probe_ms", what.early_probe.map(Value::from)),
        ("notify", notify),
        ("probe_request", what.probe_request),
    ] {
        definition.extend(value.map(|value| (name.to_owned(), value)));
    }
    Value::Object(definition)
}

async fn cooldown(asks: &impl Asks, verb: Cooldown) -> Result<Shown, Failure> {
    match verb {
        Cooldown::List => {
            let answer = whole(asks, "/v0/operations/cooldowns").await?;
            let text = cooldowns(items(&answer), asks.truncates());
            Ok(Shown { answer, text })
        }
        Cooldown::Clear { credential, model, reason } => {
            let mut body = cleared(model, &reason);
            if let Some(body) = body.as_object_mut() {
                body.insert("credential".to_owned(), json!(credential));
            }
            told(asks, "/v0/operations/cooldowns/clear", &body).await
        }
    }
}

async fn provider(asks: &impl Asks, verb: Provider) -> Result<Shown, Failure> {
    match verb {
        Provider::List => {
            let answer = get(asks, "/v0/operations/providers/status").await?;
            let text = providers(&answer, asks.truncates());
            Ok(Shown { answer, text })
        }
        Provider::Show { provider } => {
            let all = get(asks, "/v0/operations/providers/status").await?;
            let one = all.get("providers").and_then(|all| all.get(&provider)).cloned();
            let unknown = || Failure::NotFound(format!("no pool has a member of `{provider}`"));
            let answer = one.ok_or_else(unknown)?;
            let text = yaml(&answer, 0);
            Ok(Shown { answer, text })
        }
        Provider::Cool { provider, span, reason } => {
            let body = json!({ "duration_seconds": span.div_ceil(1000), "reason": reason });
            let path = format!("/v0/operations/providers/{}/cooldown", encode(&provider));
            told(asks, &path, &body).await
        }
        Provider::Recover { provider, reason } => {
            let path = format!("/v0/operations/providers/{}/recover", encode(&provider));
            told(asks, &path, &json!({ "reason": reason })).await
        }
    }
}

async fn metrics(asks: &impl Asks) -> Result<Shown, Failure> {
    let answer = get(asks, "/v1/metrics/providers").await?;
    let keys =
        ["/request_count", "/failure_count", "/success_rate", "/latency_p50_ms", "/latency_p95_ms"];
    let rows = named_rows(&answer, "providers", &keys);
    let heads = ["PROVIDER", "REQUESTS", "FAILURES", "SUCCESS", "P50 MS", "P95 MS"];
    let text = cells(asks.truncates(), &heads, &rows);
    Ok(Shown { answer, text })
}

fn cleared(model: Option<String>, reason: &str) -> Value {
    match model {
        Some(model) => json!({ "model": model, "reason": reason }),
        None => json!({ "reason": reason }),
    }
}

async fn get(asks: &impl Asks, path: &str) -> Result<Value, Failure> {
    asks.ask(Method::GET, path, None, None).await?.json()
}

/// Every page of a list, as one answer.
async fn whole(asks: &impl Asks, path: &str) -> Result<Value, Failure> {
    let mut answer = get(asks, &format!("{path}?limit=1000")).await?;
    let cursor = |page: &Value| page.get("next_cursor").and_then(Value::as_str).map(str::to_owned);
    let mut next = cursor(&answer);
    while let Some(cursor_now) = next {
        let page = get(asks, &format!("{path}?limit=1000&cursor={cursor_now}")).await?;
        if let Some(all) = answer.get_mut("items").and_then(Value::as_array_mut) {
            all.extend(items(&page).iter().cloned());
        }
        next = cursor(&page);
    }
    if let Some(fields) = answer.as_object_mut() {
        fields.insert("next_cursor".to_owned(), Value::Null);
    }
    Ok(answer)
}

/// A change that is answered with what it touched.
async fn told(asks: &impl Asks, path: &str, body: &Value) -> Result<Shown, Failure> {
    let answer = asks.ask(Method::POST, path, Some(body), None).await?.json()?;
    let changed = answer.get("changed").and_then(Value::as_array).cloned().unwrap_or_default();
    let lines: String = changed.iter().map(|target| format!("{}\n", text(target, ""))).collect();
    let text = if lines.is_empty() { "nothing changed\n".to_owned() } else { lines };
    Ok(Shown { answer, text })
}

async fn on_member(
    asks: &impl Asks,
    (pool, member): (&str, &str),
    verb: &str,
    body: Option<Value>,
) -> Result<Shown, Failure> {
    let path = format!("{}/{verb}", member_path(asks, pool, member).await?);
    let answer = asks.ask(Method::POST, &path, body.as_ref(), None).await?.json()?;
    let text = member_table(std::slice::from_ref(&answer), asks.truncates());
    Ok(Shown { answer, text })
}

fn path(pool: &str) -> String {
    format!("/v1/pools/{}", encode(pool))
}

/// The path of a member that was named by id or handle.
async fn member_path(asks: &impl Asks, pool: &str, member: &str) -> Result<String, Failure> {
    let path = path(pool);
    let shown = get(asks, &path).await?;
    let members = shown.get("members").and_then(Value::as_array).map(Vec::as_slice);
    let is = |row: &&Value| text(row, "/handle") == member || text(row, "/credential") == member;
    let found = members.unwrap_or_default().iter().find(is);
    let unknown = || Failure::NotFound(format!("pool `{pool}` has no member `{member}`"));
    let handle = text(found.ok_or_else(unknown)?, "/handle");
    Ok(format!("{path}/members/{handle}"))
}

/// The table of pools.
pub(super) fn pools(pools: &[Value], truncate: bool) -> String {
    let keys = ["/name", "/strategy", "/members", "/ready", "/cooling", "/parked", "/active"];
    let row = |pool: &Value| {
        let count = pool.get("members").and_then(Value::as_array).map(Vec::len);
        let mut row: Vec<String> = keys.iter().map(|key| text(pool, key)).collect();
        if let (Some(members), Some(count)) = (row.get_mut(2), count) {
            *members = count.to_string();
        }
        let recovery = text(pool, "/next_recovery_at");
        let exhausted = text(pool, "/exhausted_since") != "–";
        row.push(if exhausted { format!("{recovery}  ! EXHAUSTED") } else { recovery });
        row
    };
    let rows: Vec<Vec<String>> = pools.iter().map(row).collect();
    let heads =
        ["POOL", "STRATEGY", "MEMBERS", "READY", "COOLING", "PARKED", "ACTIVE", "NEXT RECOVERY"];
    cells(truncate, &heads, &rows)
}

fn members(pool: &Value, truncate: bool) -> String {
    let members = pool.get("members").and_then(Value::as_array).map(Vec::as_slice);
    let table = member_table(members.unwrap_or_default(), truncate);
    format!("{}\n{table}", pools(std::slice::from_ref(pool), truncate))
}

fn member_table(members: &[Value], truncate: bool) -> String {
    let keys = ["/credential", "/handle", "/state", "/provider", "/in_flight", "/parked_until"];
    let row = |member: &Value| -> Vec<String> {
        let rests = member.get("rests").and_then(Value::as_array).into_iter().flatten();
        let rests: Vec<String> = rests
            .map(|rest| {
                let [class, scope] = ["/class", "/scope"].map(|key| text(rest, key));
                format!("{class} {scope} until {}", text(rest, "/rest_until"))
            })
            .collect();
        let rests = if rests.is_empty() { "–".to_owned() } else { rests.join(", ") };
        keys.iter().map(|key| text(member, key)).chain([rests]).collect()
    };
    let rows: Vec<Vec<String>> = members.iter().map(row).collect();
    let heads = ["CREDENTIAL", "HANDLE", "STATE", "PROVIDER", "IN FLIGHT", "PARKED UNTIL", "RESTS"];
    cells(truncate, &heads, &rows)
}

fn explained(answer: &Value, truncate: bool) -> String {
    let head = if answer.get("picked").is_some_and(Value::is_object) {
        let [handle, why] = ["/picked/handle", "/picked/why"].map(|key| text(answer, key));
        format!("picks {handle}: {why}\n")
    } else {
        let keys = ["/refused/reason", "/refused/retry_after_ms"];
        let [reason, wait] = keys.map(|key| text(answer, key));
        format!("picks nobody: {reason}, come back in {wait} ms\n")
    };
    let keys =
        ["/credential", "/handle", "/state", "/skipped/reason", "/skipped/class", "/skipped/until"];
    let members = answer.get("members").and_then(Value::as_array).into_iter().flatten();
    let rows: Vec<Vec<String>> =
        members.map(|row| keys.iter().map(|key| text(row, key)).collect()).collect();
    let heads = ["CREDENTIAL", "HANDLE", "STATE", "SKIPPED", "BECAUSE", "UNTIL"];
    format!("{head}\n{}", cells(truncate, &heads, &rows))
}

fn cooldowns(rows: &[Value], truncate: bool) -> String {
    let keys =
        ["/credential", "/pool", "/scope", "/class", "/source", "/deadline", "/remaining_ms"];
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| keys.iter().map(|key| text(row, key)).collect()).collect();
    let heads = ["CREDENTIAL", "POOL", "SCOPE", "CLASS", "SOURCE", "UNTIL", "REMAINING MS"];
    cells(truncate, &heads, &rows)
}

fn providers(answer: &Value, truncate: bool) -> String {
    let keys = [
        "/status",
        "/credentials/total",
        "/credentials/ready",
        "/credentials/cooling",
        "/credentials/parked",
        "/requests_last_minute",
        "/errors_last_minute",
        "/next_recovery_at",
    ];
    let rows = named_rows(answer, "providers", &keys);
    let heads = [
        "PROVIDER",
        "STATUS",
        "TOTAL",
        "READY",
        "COOLING",
        "PARKED",
        "REQUESTS",
        "ERRORS",
        "NEXT RECOVERY",
    ];
    cells(truncate, &heads, &rows)
}

/// A row for each member of an object, its name first.
fn named_rows(answer: &Value, object: &str, keys: &[&str]) -> Vec<Vec<String>> {
    let all = answer.get(object).and_then(Value::as_object).into_iter().flatten();
    let row = |(name, one): (&String, &Value)| {
        let cells = keys.iter().map(|key| text(one, key));
        std::iter::once(name.clone()).chain(cells).collect()
    };
    all.map(row).collect()
}
