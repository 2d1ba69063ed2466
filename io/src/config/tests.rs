//! The layers, the checks and what they say, on real files.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::*;

/// A configuration file of its own, removed when it goes.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> File {
        let path = std::env::temp_dir().join(format!("quorate-{name}-{}.toml", std::process::id()));
        std::fs::write(&path, text).expect("a temporary file");
        File(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).expect("its own file");
    }
}

fn sources(file: &File, environment: &[(&str, &str)], flags: &[&str]) -> Sources {
    let pairs = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Sources {
        file: Some(file.0.clone()),
        environment: pairs.collect::<BTreeMap<_, _>>(),
        flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
    }
}

/// Codes and messages, without the place.
fn told(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(|problem| format!("{}: {}", problem.code, problem.message)).collect()
}

#[test]
fn a_later_layer_wins_and_tables_merge_by_key() {
    let text = "schema = 1\n[node]\nid = \"gw-a\"\nlabels = { zone = \"a\", rack = \"1\" }\n[gossip]\nfanout = 2\n";
    let file = File::new("merge", text);
    let environment = [("QUORATE__GOSSIP__FANOUT", "4"), ("QUORATE__NODE__LABELS__RACK", "2x")];
    let sources = sources(&file, &environment, &["gossip.fanout=5"]);
    let (config, layers) = Config::load(&sources).expect("it is right");
    assert_eq!(config.node.gossip.fanout, 5);
    let labels: Vec<_> = config.node.membership.labels.iter().collect();
    assert_eq!(
        labels,
        [(&"rack".to_owned(), &"2x".to_owned()), (&"zone".to_owned(), &"a".to_owned())]
    );
    let shown = show(&layers, "gossip", false, true);
    assert!(shown.contains("gossip.fanout = 5"), "{shown}");
    assert!(
        shown.contains(
            "# flag --set gossip.fanout=5, overrules environment QUORATE__GOSSIP__FANOUT 4"
        )
    );
}

#[test]
fn everything_that_is_wrong_is_told_at_once_with_its_place() {
    let text = "[gossip]\nfanot = 3\ninterval_ms = \"soon\"\nburst = 0\n[node]\nid = \"Gw A\"\n";
    let file = File::new("wrong", text);
    let problems = Config::load(&sources(&file, &[], &["data"])).expect_err("it is wrong");
    let told = told(&problems);
    assert!(told.contains(&"unknown_key: `gossip.fanot` is not a key".to_owned()), "{told:?}");
    assert!(told.contains(&"type_wrong: `gossip.interval_ms` must be a whole number".to_owned()));
    assert!(told.contains(&"flag_malformed: `--set data` has no `=`".to_owned()));
    assert!(told.iter().any(|line| line.starts_with("node_id: `node.id`")), "{told:?}");
    let shown = report(&problems);
    assert!(shown.contains(":2:1        help: did you mean `gossip.fanout`?"), "{shown}");
    assert!(shown.ends_with("nothing was changed\n"));
}

#[test]
fn two_keys_that_cannot_work_together_are_named_both() {
    let file = File::new("conflict", "node.id = \"a\"\nmembership.probe_timeout_ms = 2000\n");
    let problems = Config::load(&sources(&file, &[], &[])).expect_err("timeout over interval");
    let told = told(&problems).join("\n");
    assert!(told.contains(
        "`membership.probe_timeout_ms` must be less than `membership.probe_interval_ms`"
    ));
    let file = File::new(
        "ports",
        "node.id = \"a\"\ncluster.listen = \"127.0.0.1:0\"\ncluster.advertise = \"127.0.0.1:7420\"\n",
    );
    let problems = Config::load(&sources(&file, &[], &[])).expect_err("any port, fixed port");
    assert!(
        problems[0].message.contains("cluster.listen")
            && problems[0].message.contains("cluster.advertise")
    );
}

#[test]
fn beyond_loopback_nothing_opens_by_accident() {
    let file = File::new(
        "open",
        "node.id = \"a\"\ncluster.listen = \"0.0.0.0:7420\"\nlisten.http = \"0.0.0.0:8420\"\n",
    );
    let problems = Config::load(&sources(&file, &[], &[])).expect_err("open");
    let codes: Vec<_> = problems.iter().map(|problem| problem.code).collect();
    assert_eq!(codes, ["open_bind_refused"; 3]);
    let flags = ["cluster.insecure=true", "listen.plaintext=true"];
    let problems =
        Config::load(&sources(&file, &[], &flags)).expect_err("nothing waives the token");
    assert_eq!(problems.len(), 1);
    let token = format!("access.tokens=[{{ hash = \"{}\", scopes = [\"read\"] }}]", "0".repeat(64));
    let flags = [flags[0], flags[1], &token];
    Config::load(&sources(&file, &[], &flags)).expect("said aloud");
    let one = ["tls.ca=ca.pem"];
    let problems = Config::load(&sources(&file, &[], &one)).expect_err("one file of three");
    assert!(told(&problems).iter().any(|line| line.contains("belong together")), "{problems:?}");
}

#[test]
fn a_cluster_to_join_needs_a_name_and_so_does_the_node() {
    let file = File::new("join", "cluster.join = [\"10.0.0.1:7420\"]\nnode.id = \"localhost\"\n");
    let problems = Config::load(&sources(&file, &[], &[])).expect_err("no names");
    assert!(told(&problems)[0].contains("every machine is"), "{problems:?}");
    let problems = Config::load(&sources(&file, &[], &["node.id=a"])).expect_err("no cluster id");
    assert!(told(&problems)[0].contains("`cluster.join` is set and `cluster.id` is not"));
}

#[test]
fn the_reference_page_lists_every_key() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/CONFIGURATION.md");
    let page = std::fs::read_to_string(&path).unwrap_or_default();
    let table = reference();
    if std::env::var("UPDATE_EXPECT").is_ok_and(|value| value == "1") {
        let head = page.split("| key |").next().unwrap_or_default();
        std::fs::write(&path, format!("{head}{table}")).expect("the page is writable");
        return;
    }
    assert!(
        page.ends_with(&table),
        "UPDATE_EXPECT=1 cargo test -p quorate rewrites docs/CONFIGURATION.md"
    );
}

#[test]
fn a_pool_is_read_as_a_whole_and_every_wrong_one_is_named() {
    let text = r#"
[pools.codex]
members = ["codex-1", { credential = "codex-2", weight = 3, epoch = 2 }]
strategy = "rr"

[pools.codex.profile]
floor_ms = 20000

[pools.all]
members = { provider = "claude" }
"#;
    let file = File::new("pools", text);
    let (config, _) = Config::load(&sources(&file, &[], &[])).expect("it is valid");
    let pools = &config.node.pools.pools;
    let codex = pools.get("codex").expect("it is there");
    assert_eq!((codex.strategy.word(), codex.profile.floor_ms), ("round_robin", 20_000));
    assert_eq!(pools.len(), 2);
    for (wrong, told) in [
        ("[pools.codex]\nstratgy = \"ff\"", "unknown field `stratgy`"),
        ("[pools.codex]\nmembers = []", "`members` must be 1 to 1000"),
        ("[pools.Codex]\nmembers = [\"a\"]", "is no name of a pool"),
        ("[pools.c]\nmembers = [\"a\"]\nauth_reset_target = \"-x\"", "`auth_reset_target`"),
        ("[pools.c]\nmembers = [\"a\"]\nstrategy = \"fastest\"", "unknown variant `fastest`"),
        ("[pools.a]\nmembers = [\"x\"]\n[pools.b]\nmembers = [\"x\"]", "both list `x`"),
    ] {
        let file = File::new("pools-wrong", wrong);
        let problems = Config::load(&sources(&file, &[], &[])).expect_err(wrong);
        let told_all: Vec<&str> = problems.iter().map(|one| one.message.as_str()).collect();
        assert!(told_all.iter().any(|one| one.contains(told)), "{wrong}: {told_all:?}");
    }
}
