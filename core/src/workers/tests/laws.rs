//! Laws over random histories: evidence, statuses, the fold, and the wire form of a spec.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::super::claim;
use super::super::*;
use super::harness::{WorkersScript, replica};
use crate::machine::Machine;
use crate::script::{Script, run_lines};
use crate::time::Instant;

/// One step of a random history.
fn step() -> impl Strategy<Value = String> {
    let worker = || prop_oneof![Just("w1"), Just("o2"), Just("w3")];
    let owner = || prop_oneof![Just("b/1"), Just("b/2"), Just("c/1")];
    let says = prop_oneof![Just("healthy"), Just("unhealthy"), Just("unknown")];
    let admin = prop_oneof![3 => Just(""), 1 => Just("draining ")];
    let outcome =
        prop_oneof![4 => Just("good"), 4 => Just("bad"), 1 => Just("local"), 1 => Just("policy")];
    prop_oneof![
        4 => (owner(), worker(), says, 1..6_u32, admin).prop_map(|(owner, worker, says, version, admin)| {
            format!("peer {owner} claims {worker} {says} v{version} {admin}rise=1 fall=1")
        }),
        1 => (owner(), worker()).prop_map(|(owner, worker)| format!("peer {owner} unclaims {worker}")),
        2 => (owner(), 1..9_u32).prop_map(|(owner, count)| format!("peer {owner} lease {count}")),
        1 => owner().prop_map(|owner| format!("peer {owner} ready")),
        1 => Just("switched b/1 b/2".to_owned()),
        1 => owner().prop_map(|owner| format!("orphaned {owner}")),
        1 => owner().prop_map(|owner| format!("dropped {owner}")),
        1 => owner().prop_map(|owner| format!("dropped {owner} left")),
        6 => (1..40_u64, outcome).prop_map(|(ticket, outcome)| format!("answer {ticket} {outcome}")),
        3 => Just("tick".to_owned()),
        1 => worker().prop_map(|worker| format!("post {worker} rise=1 fall=1")),
        1 => worker().prop_map(|worker| format!("remove {worker}")),
        1 => worker().prop_map(|worker| format!("drain {worker}")),
        1 => worker().prop_map(|worker| format!("undrain {worker}")),
        1 => worker().prop_map(|worker| format!("suppress {worker}")),
        1 => worker().prop_map(|worker| format!("report {worker} bad")),
    ]
}

fn history() -> impl Strategy<Value = Vec<(u64, String)>> {
    proptest::collection::vec((0..8000_u64, step()), 1..80)
}

fn statuses(script: &mut WorkersScript) -> BTreeMap<Arc<str>, Status> {
    script.workers.publish();
    let urls = ["http://10.0.0.1", "http://10.0.0.2", "http://10.0.0.3"];
    let shown = urls.iter().filter_map(|url| script.workers.entry(url));
    shown.map(|view| (Arc::clone(&view.url), view.status)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// W-2, W-5, W-6, W-7, W-9 and W-10 after every input of any history, and W-4: where every node
    /// probes for itself, only a good probe (or an undrain, an edit) leads to Ready.
    #[test]
    fn whatever_happens_every_invariant_holds(steps in history()) {
        let mut script = run_lines::<WorkersScript>("given configured=w3");
        let mut now = Instant::ZERO;
        script.when(now, &["start"]);
        for (pause, line) in steps {
            now = now + Duration::from_millis(pause);
            let words: Vec<&str> = line.split_whitespace().collect();
            let before = statuses(&mut script);
            let told = script.when(now, &words);
            let after = statuses(&mut script);
            prop_assert_eq!(script.workers.check_snapshot(), Ok(()), "after {}", line);
            for (url, status) in &after {
                let old = before.get(url).copied();
                let announced = told.iter().any(|line| line.contains(" > "));
                prop_assert!(old == Some(*status) || announced, "W-6: {} changed in silence", url);
                let said = words.first() == Some(&"peer");
                let fixed = matches!(old, Some(Status::Failed));
                let left = *status != Status::Failed && *status != Status::Draining;
                let word = told.iter().any(|line| line.ends_with("Statement"));
                prop_assert!(!(said && fixed && left && word), "W-5: {}: {:?}", url, told);
            }
        }
    }

    /// W-3: what was heard once changes nothing when it is heard again, at once or later.
    #[test]
    fn a_repeated_delivery_changes_nothing(steps in history()) {
        let mut script = run_lines::<WorkersScript>("given linger_ms=1000");
        let mut now = Instant::ZERO;
        script.when(now, &["start"]);
        for (pause, line) in steps {
            now = now + Duration::from_millis(pause);
            let words: Vec<&str> = line.split_whitespace().collect();
            script.when(now, &words);
            if words.first() == Some(&"peer") && words.get(2) == Some(&"claims") {
                let before = statuses(&mut script);
                let again = script.when(now, &words);
                prop_assert!(again.is_empty(), "{} said {:?}", line, again);
                prop_assert_eq!(before, statuses(&mut script));
            }
        }
    }

    /// W-13: decoding what was encoded gives the same spec, for every set of fields, unknown ones too.
    #[test]
    fn a_spec_survives_the_wire(set in proptest::collection::vec(any::<bool>(), FIELDS)) {
        let mut fields = Map::new();
        fields.insert("url".to_owned(), json!("http://10.0.0.7"));
        for ((name, value), _) in all_fields().into_iter().zip(&set).filter(|(_, set)| **set) {
            fields.insert(name.to_owned(), value);
        }
        let value = Value::Object(fields);
        let spec: Spec = serde_json::from_value(value.clone()).expect("a spec");
        let encoded = serde_json::to_vec(&spec).expect("a spec is a JSON object");
        prop_assert_eq!(serde_json::from_slice::<Value>(&encoded).expect("JSON"), value);
        prop_assert_eq!(serde_json::from_slice::<Spec>(&encoded).expect("a spec"), spec.clone());
        let resolved = spec.resolved();
        prop_assert_eq!(resolved.clone().resolved(), resolved);
    }
}

const FIELDS: usize = 21;

fn all_fields() -> [(&'static str, Value); FIELDS] {
    [
        ("dp_rank", json!(3)),
        ("dp_size", json!(8)),
        ("models", json!([{"id": "m", "aliases": ["n"], "later": 1}, {"id": "o"}])),
        ("kind", json!("prefill")),
        ("mode", json!("pigeon")),
        ("runtime", json!("r")),
        ("provider", json!("p")),
        ("labels", json!({"zone": "x"})),
        ("priority", json!(7)),
        ("weight", json!(8)),
        ("cost", json!(0.1)),
        ("max_in_flight", json!(9)),
        ("bootstrap_port", json!(10)),
        ("kv", json!({"connector": "c", "block_size": 16})),
        ("health", json!({"rise": 1, "later": {"x": null}})),
        ("drain_settle_ms", json!(0)),
        ("auth", json!("required")),
        ("later", json!(null)),
        ("later_list", json!([1, 2.5, "x"])),
        ("later_object", json!({"a": {"b": []}})),
        ("later_text", json!("")),
    ]
}

#[test]
fn the_order_of_put_and_delete_does_not_show_in_the_end() {
    let said = |url: &str| claim::key(&claim::id(&replica("b/1").node, url));
    let mut workers = Workers::new(Settings::default(), replica("a/1"), &BTreeMap::new());
    let mut out = Vec::new();
    workers.handle(Instant::ZERO, Input::Start, &mut out);
    let owner = replica("b/1");
    let key = said("http://10.0.0.7");
    workers.handle(Instant::ZERO, Input::Changed { owner, key, value: None }, &mut out);
    assert_eq!(workers.check(), Ok(()));
    assert!(workers.entry("http://10.0.0.7").is_none(), "a delete alone leaves nothing");
}

#[test]
fn at_most_128_probes_fly_and_the_earliest_due_goes_first() {
    let registrations =
        (1..=200).map(|host| Spec { url: format!("http://10.0.1.{host}"), ..Spec::default() });
    let settings = Settings { registrations: registrations.collect(), ..Settings::default() };
    let mut workers = Workers::new(settings, replica("a/1"), &BTreeMap::new());
    let mut out = Vec::new();
    workers.handle(Instant::ZERO, Input::Start, &mut out);
    let started =
        |out: &[Output]| out.iter().filter(|one| matches!(one, Output::StartProbe { .. })).count();
    assert_eq!(started(&out), 128);
    assert!(workers.next_wake().is_some_and(|wake| wake.at > Instant::ZERO), "no busy loop");
    out.clear();
    let answered =
        Input::Probed { ticket: Ticket(5), outcome: ProbeOutcome::Good, took: Duration::ZERO };
    workers.handle(Instant::ZERO, answered, &mut out);
    assert_eq!(started(&out), 1);
    assert_eq!(workers.check(), Ok(()));
    let snapshot = workers.publish().expect("all of it is new");
    assert_eq!((snapshot.entries.len(), snapshot.unanswered), (200, 199));
}

#[test]
fn at_a_bound_new_ones_are_refused_and_nothing_known_is_pushed_out() {
    let mut workers = Workers::new(Settings::default(), replica("a/1"), &BTreeMap::new());
    let mut out = Vec::new();
    workers.handle(Instant::ZERO, Input::Start, &mut out);
    for number in 0..=crate::limits::WORKER_CLAIMS_OWN_MAX {
        let url = format!("http://10.0.{}.{}", number / 250, number % 250);
        let spec = Box::new(Spec { url, ..Spec::default() });
        let command = Command::Register { spec, keyed: false };
        workers.handle(Instant::ZERO, Input::Command { ticket: Ticket(1), command }, &mut out);
    }
    let answer = Answer::Refused(Refusal::WorkersFull { limit: 1000 });
    assert!(out.contains(&Output::Reply { ticket: Ticket(1), answer }));
    assert_eq!(workers.check(), Ok(()));
    assert_eq!(workers.publish().expect("new").entries.len(), 1000);
}

#[test]
fn no_secret_is_read_from_a_request_and_no_value_is_echoed() {
    let spec = json!({"url": "http://a", "api_key": "canary"});
    let refusal = Spec::from_request(spec).expect_err("a secret");
    assert_eq!(refusal.code(), "invalid_request");
    assert!(!format!("{refusal:?} {refusal}").contains("canary"));
    let spec = json!({"url": "http://a", "weight": "canary"});
    let refusal = Spec::from_request(spec).expect_err("a text");
    assert!(!format!("{refusal:?} {refusal}").contains("canary"));
}
