//! The page of a failing run in a real browser: nothing is fetched, nothing complains, everything can be
//! reached by keys.

use std::process::Command;

use quorate_tests::browser::{Browser, found};
use quorate_tests::node::{Directory, Said, simulator};
use quorate_tests::not_tested;
use serde_json::json;

/// Cannot hold, so that something is wrong: two halves are cut apart while a node crashes.
const PLAN: &str = "
scenario view/page
about    two nodes are cut off while a worker is registered
given    nodes=5 time=40s+60s
load     0s..30s worker.add rate=1/s keys=3
when     0s  loss all rate=5% for 40s
when     12s cut {n1,n2}->{n4,n5} for 14s
when     16s crash n3 for 5s
then     count quorate_membership_members{state=\"alive\"} = 9 by 19s
seeds    3..3
";

#[test]
fn the_page_of_a_failing_run_opens_on_what_is_wrong_and_is_moved_by_keys() {
    let Some(program) = found() else {
        not_tested(
            "the page of `quorate-sim view` in a browser",
            "no chromium is on the path: apt-get install chromium",
        );
        return;
    };
    let directory = Directory::new("page");
    let (plan, page) = (directory.0.join("plan.scn"), directory.0.join("view.html"));
    std::fs::write(&plan, PLAN).expect("a plan");
    let mut view = Command::new(simulator());
    let said = Said::of(view.arg("view").arg(&plan).arg("--html").arg(&page));
    assert_eq!(said.code, Some(0), "{said:?}");

    let mut browser = Browser::start(&program, 1440, 1000);
    browser.open(&page);
    opens_on_what_is_wrong(&mut browser);
    is_moved_by_keys(&mut browser);
    is_there_for_everybody(&mut browser);
    assert_eq!(browser.complaints, Vec::<String>::new());
}

/// The first wrong event is chosen, and in the middle of the picture.
fn opens_on_what_is_wrong(browser: &mut Browser) {
    assert_eq!(browser.value("document.body.dataset.wrong"), json!("true"));
    let off_centre = "(() => { const ring = document.querySelector('.wrong-ring').getBoundingClientRect(); \
        const box = document.getElementById('picture').getBoundingClientRect(); \
        return Math.abs((ring.left + ring.right) / 2 - (box.left + 58 + box.right - 14) / 2); })()";
    assert!(browser.value(off_centre).as_f64().expect("a number") < 3.0);
    let count = |browser: &mut Browser, what: &str| {
        let count = browser.value(&format!("document.querySelectorAll('{what}').length"));
        count.as_u64().expect("a number")
    };
    assert!((3..=20).contains(&count(browser, "#story li")));
    assert!(count(browser, "#picture .message") > 3);
    assert!(count(browser, "#state td") > 3);
}

fn cursor(browser: &mut Browser) -> u64 {
    let turn = browser.value("Number(document.body.dataset.cursor)");
    turn.as_u64().expect("a turn")
}

/// There and back, along a node, to the story and home; what is said aloud follows.
fn is_moved_by_keys(browser: &mut Browser) {
    let wrong = cursor(browser);
    browser.press("ArrowLeft", 0);
    let before = cursor(browser);
    assert!(before < wrong, "{before} {wrong}");
    browser.press("ArrowRight", 0);
    assert_eq!(cursor(browser), wrong);
    let node = "document.getElementById('event-heading').textContent.split(' ')[0]";
    let lane = browser.value(node);
    browser.press("ArrowLeft", 8);
    assert_eq!(browser.value(node), lane, "shift stays on its node");
    browser.press("ArrowDown", 0);
    browser.press("ArrowUp", 0);
    browser.press("[", 0);
    let current = "document.querySelectorAll('#story [aria-current]').length > 0";
    assert_eq!(browser.value(current), json!(true));
    browser.press("f", 0);
    assert_eq!(cursor(browser), wrong);
    let said = "document.getElementById('said').textContent";
    let aloud = browser.value(said);
    let aloud = aloud.as_str().unwrap_or_default();
    assert!(aloud.starts_with("First wrong event."), "{aloud}");
    browser.press("?", 8);
    assert_eq!(browser.value("document.getElementById('help').open"), json!(true));
    browser.value("document.getElementById('help').close()");
    browser.press("/", 0);
    assert_eq!(browser.value("document.activeElement.id"), json!("query"));
    for key in ["c", "r", "a", "s", "h"] {
        browser.press(key, 0);
    }
    let shown = browser.value(said);
    let shown = shown.as_str().unwrap_or_default();
    assert!(shown.ends_with("events are shown."), "{shown}");
}

/// Everything that can be operated has a name; dark where that is preferred, readable on both grounds, and
/// without controls on paper.
fn is_there_for_everybody(browser: &mut Browser) {
    let nameless = "[...document.querySelectorAll('button, input, [tabindex=\"0\"], summary')]\
        .filter((one) => !(one.textContent.trim() || one.labels?.[0]?.textContent.trim() || \
        one.getAttribute('aria-label') || one.getAttribute('aria-labelledby'))).length";
    assert_eq!(browser.value(nameless), json!(0));
    let mut grounds = Vec::new();
    for scheme in ["light", "dark"] {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        browser.ask("Emulation.setEmulatedMedia", json!({"features": features}));
        grounds.push(browser.value("getComputedStyle(document.body).backgroundColor"));
        assert_eq!(browser.value(CONTRASTS), json!([]), "too little contrast in {scheme}");
    }
    let [light, dark] = grounds.as_slice() else { panic!("one ground for each scheme") };
    assert_ne!(light, dark);
    browser.ask("Emulation.setEmulatedMedia", json!({"media": "print", "features": []}));
    let controls = "getComputedStyle(document.getElementById('controls')).display";
    assert_eq!(browser.value(controls), json!("none"));
}

/// Colours of text against the ground that they stand on, those below 4.5 to 1 (WCAG 2.2, 1.4.3).
const CONTRASTS: &str = "(() => { \
    const style = getComputedStyle(document.documentElement); \
    const luminance = (name) => { const hex = style.getPropertyValue(name).trim(); \
        const [r, g, b] = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16) / 255) \
            .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)); \
        return 0.2126 * r + 0.7152 * g + 0.0722 * b; }; \
    const ratio = (one, other) => { const [a, b] = [luminance(one), luminance(other)]; \
        return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05); }; \
    const pairs = [['--ink', '--paper'], ['--soft', '--paper'], ['--soft', '--card'], ['--accent', '--card'], \
        ['--wrong', '--card'], ['--wrong', '--wrong-paper'], ['--fault', '--card'], ['--fault', '--paper'], \
        ['--fault', '--fault-paper'], ['--ink', '--changed'], ['--f0', '--card'], ['--f1', '--card'], ['--f2', '--card']]; \
    return pairs.filter(([one, other]) => ratio(one, other) < 4.5).map(([one, other]) => `${one} on ${other}: ${ratio(one, other).toFixed(2)}`); })()";
