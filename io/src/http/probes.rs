//! What probes and scrapers ask: `/livez`, `/readyz`, `/startupz`, `/health`, `/metrics`, `/openapi.json`.
//!
//! Probes are open, under any host name and beyond the bound on requests: a node that is too busy to say
//! that it lives would be restarted for being busy.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::problem::{Code, Problem};
use super::route::{Answer, Call, Needs, Outcome, Route};
use crate::health::{Finding, NAMES, Question, StoreState, Verdict, alive};
use crate::metrics;

pub(super) fn routes() -> Vec<Route> {
    let open =
        |path, handler| Route::get(path, handler).needs(Needs::NothingAtAll).statuses(&[200, 503]);
    vec![
        open("/livez", |call| Box::pin(async move { probe(call, Question::Live) })),
        open("/startupz", |call| Box::pin(async move { probe(call, Question::Started) })),
        open("/readyz", |call| Box::pin(async move { probe(call, Question::Ready) })),
        open("/readyz/{check}", |call| Box::pin(async move { one_check(call) }))
            .statuses(&[200, 404, 503]),
        open("/readyz/pool/{pool}", |call| Box::pin(async move { one_pool(call) }))
            .statuses(&[200, 404, 503]),
        open("/health", |call| Box::pin(async move { health(call) })),
        Route::get("/metrics", |call| Box::pin(async move { page(call) })).needs(Needs::Metrics),
        Route::get("/openapi.json", |call| Box::pin(async move { openapi(call) }))
            .needs(Needs::Nothing),
    ]
}

const PLAIN: &str = "text/plain; charset=utf-8";

fn probe(mut call: Call, question: Question) -> Outcome {
    let verbose = call.query.flag("verbose")?;
    let exclude = call.query.all("exclude");
    call.query.finish()?;
    let exclude: Vec<String> =
        exclude.iter().flat_map(|list| list.split(',')).map(str::to_owned).collect();
    let verdict = ask(&call, question, &exclude);
    let text = if verbose { listing(question, &verdict) } else { word(verdict.passed).to_owned() };
    Ok(Answer::text(PLAIN, text).status(status(verdict.passed)))
}

fn ask(call: &Call, question: Question, exclude: &[String]) -> Verdict {
    let surface = &call.surface;
    let now = surface.host.now();
    surface.health.ask(question, surface.handle.published(), now, exclude)
}

fn word(passed: bool) -> &'static str {
    if passed { "ok" } else { "failed" }
}

fn status(passed: bool) -> StatusCode {
    if passed { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

fn listing(question: Question, verdict: &Verdict) -> String {
    let mut text = String::new();
    for finding in &verdict.findings {
        text.push_str(&line(finding));
    }
    for name in &verdict.unknown {
        let name: String =
            name.chars().filter(|letter| letter.is_ascii_graphic()).take(40).collect();
        text.push_str(&format!("warning: {name} is no check\n"));
    }
    let end = if verdict.passed { "passed" } else { "failed" };
    text.push_str(&format!("{} check {end}\n", question.name()));
    text
}

fn line(finding: &Finding) -> String {
    if finding.shown {
        return format!("[ ]{} shown only: {}\n", finding.name, finding.detail);
    }
    let sign = if finding.passed { '+' } else { '-' };
    let colon = if finding.detail.is_empty() { "" } else { ": " };
    format!("[{sign}]{} {}{colon}{}\n", finding.name, word(finding.passed), finding.detail)
}

fn one_check(call: Call) -> Outcome {
    let name = call.parameter("check").to_owned();
    finding(&call, &name)
}

fn one_pool(call: Call) -> Outcome {
    let name = format!("pool/{}", call.parameter("pool"));
    finding(&call, &name)
}

fn finding(call: &Call, name: &str) -> Outcome {
    let verdict = ask(call, Question::Ready, &[]);
    call.query.finish()?;
    let Some(finding) = verdict.findings.iter().find(|finding| finding.name == name) else {
        let known = NAMES.join(", ");
        let detail = format!("there is no such check here; there may be {known}");
        return Err(Problem::new(Code::NotFound, detail));
    };
    Ok(Answer::text(PLAIN, line(finding)).status(status(finding.passed)))
}

fn health(call: Call) -> Outcome {
    call.query.finish()?;
    let surface = &call.surface;
    let (published, now) = (surface.handle.published(), surface.host.now());
    let members = published.members.load();
    let ask = |question| surface.health.ask(question, published, now, &[]).passed;
    let available = ask(Question::Live) && ask(Question::Started);
    let findings = surface.health.findings(published, now);
    let checks = parts(&call, &findings);
    let statuses = checks.as_object().into_iter().flatten();
    let mut statuses = statuses.filter_map(|(_, part)| part.get("status"));
    let degraded = statuses.any(|status| *status != "ok" && *status != "disabled");
    let word = match (available, degraded) {
        (false, _) => "unavailable",
        (true, true) => "degraded",
        (true, false) => "ok",
    };
    let document = json!({
        "status": word,
        "version": surface.settings.version,
        "node_id": members.local.node,
        "instance_id": members.local.to_string(),
        "uptime_ms": quorate_core::time::millis(now.since(surface.vitals.started())),
        "checks": checks,
    });
    Ok(Answer::json(document).status(status(available)))
}

fn parts(call: &Call, findings: &[Finding]) -> Value {
    let surface = &call.surface;
    let members = surface.handle.published().members.load();
    let (alive, known) = alive(&members);
    let passed = |name: &str| findings.iter().all(|finding| finding.name != name || finding.passed);
    let failed = |name: &str| if passed(name) { "ok" } else { "failed" };
    let store = match &*surface.vitals.store_state() {
        StoreState::Absent => json!({"status": "disabled"}),
        StoreState::Well { latency } => {
            json!({"status": "ok", "latency_ms": quorate_core::time::millis(*latency)})
        }
        StoreState::Refusing { .. } | StoreState::Fatal { .. } => json!({"status": "failed"}),
    };
    let mesh = match (passed("mesh"), alive < known) {
        (false, _) => "failed",
        (true, true) => "degraded",
        (true, false) => "ok",
    };
    let workers = super::workers::totals(&surface.handle.published().workers.load());
    let worker_status = match (passed("workers"), workers) {
        (false, _) => "failed",
        (true, (0, total)) if total > 0 => "degraded",
        (true, _) => "ok",
    };
    let (ready, total) = workers;
    let (serving, pools) = super::pools::totals(&surface.handle.published().pools.load());
    let pools_status = match (pools, serving) {
        (0, _) => "disabled",
        (_, 0) => "failed",
        (pools, serving) if serving < pools => "degraded",
        _ => "ok",
    };
    let log = surface.handle.published().raft.load();
    let raft = match (passed("raft"), log.genesis.is_some() || log.leader.is_some()) {
        (false, _) => "degraded",
        (true, false) => "disabled",
        (true, true) => "ok",
    };
    json!({
        "loop": {"status": failed("loop")},
        "boot": {"status": failed("boot")},
        "store": store,
        "mesh": {"status": mesh, "alive": alive, "known": known},
        "workers": {"status": worker_status, "ready": ready, "total": total},
        "credentials": super::credentials::health(surface, passed("credentials")),
        "queue": super::credentials::queue_health(surface),
        "pools": {"status": pools_status, "servable": serving, "total": pools},
        "raft": {"status": raft, "leader": log.leader, "conflicts": log.conflicts},
        "drain": {"status": if passed("drain") { "ok" } else { "degraded" }},
    })
}

fn page(call: Call) -> Outcome {
    call.query.finish()?;
    Ok(Answer::text(metrics::CONTENT_TYPE, call.surface.meters.page()))
}

fn openapi(call: Call) -> Outcome {
    call.query.finish()?;
    Ok(Answer::text("application/json", OPENAPI.to_owned()))
}

/// The description of this surface.
pub(super) const OPENAPI: &str = include_str!("../../openapi.json");
