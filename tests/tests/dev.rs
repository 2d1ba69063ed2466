//! `quorate dev`: what it says that one may try is what works when it is pasted.

use std::process::Command;

use quorate_tests::dev::Dev;
use quorate_tests::eventually;
use quorate_tests::node::Said;

#[test]
fn every_line_that_one_may_try_works() {
    let dev = Dev::start("dev");
    let tries = &dev.tries;
    assert!(tries.len() >= 8, "{tries:?}");
    for line in tries {
        if line.contains("event follow") {
            // It has no end of its own.
            let said = Said::of(Command::new("timeout").args(["2", "sh", "-c", line]));
            assert_eq!(said.code, Some(124), "{line}: {said:?}");
            continue;
        }
        let said = Said::of(Command::new("sh").args(["-c", line]));
        assert_eq!(said.code, Some(0), "{line}: {said:?}");
        let wanted = match line {
            line if line.contains("kv get") => "hello",
            line if line.contains("lock ") => "held",
            line if line.contains("raft status") => "voter",
            line if line.contains("member list") => "alive",
            line if line.contains("credential list") => "claude-2",
            line if line.contains("pool show") => "codex-3",
            line if line.contains("credential show") => "demonstration account 1",
            _ => "",
        };
        assert!(said.data.contains(wanted), "{line}: {said:?}");
        if line.starts_with("curl ") {
            // The demonstration's own traffic may have used up what there is.
            let served =
                ["Served by account", "message_stop", "pool_exhausted", "pool_unavailable"];
            assert!(served.iter().any(|word| said.data.contains(word)), "{line}: {said:?}");
        }
    }
    for word in ["kv put", "kv get", "lock ", "/gateway/codex/", "/gateway/claude/"] {
        assert!(tries.iter().any(|line| line.contains(word)), "{word} is shown: {tries:?}");
    }
    let status = tries.iter().find(|line| line.contains("raft status")).expect("it is shown");
    eventually("all three vote", || {
        let said = Said::of(Command::new("sh").args(["-c", status]));
        let voters = said.data.lines().filter(|line| line.contains("voter") && !line.contains(':'));
        if voters.count() == 3 { Ok(()) } else { Err(said.data) }
    });
    accounts_arrive(&dev);
    a_pool_runs_dry_and_serves_again(&dev);
}

/// The demonstration's own traffic is more than the accounts of codex may be asked.
fn a_pool_runs_dry_and_serves_again(dev: &Dev) {
    let says = |what: &str| {
        eventually(what, || {
            let heard = dev.heard();
            let told = heard.iter().any(|line| line.contains(what));
            if told { Ok(()) } else { Err(heard.join("\n")) }
        });
    };
    says("codex-1 cooling   codex-2 active");
    says("notice       codex: none of");
    says("notice       codex: serves again");
}

/// An account that is added or deleted arrives on all three.
fn accounts_arrive(dev: &Dev) {
    let list = dev.tries.iter().find(|line| line.contains("credential list")).expect("it is shown");
    let at = |port: &str| {
        let words = list.replace("credential list", "credential list --output json");
        let (before, after) = words.split_once("--address http://").expect("it names a node");
        let (_, after) = after.split_once(' ').expect("words follow");
        Said::of(
            Command::new("sh").args(["-c", &format!("{before}--address http://{port} {after}")]),
        )
    };
    let configurations = ["a", "b", "c"].map(|name| {
        let path = dev.folder().join(format!("{name}.toml"));
        std::fs::read_to_string(path).expect("a configuration")
    });
    let addresses = configurations.map(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("listen.http = "));
        line.expect("an address").trim_matches('"').to_owned()
    });
    let accounts = dev.folder().join("auths");
    let account = r#"{"type":"codex","access_token":"demo-codex-4"}"#;
    std::fs::write(accounts.join("codex-4.json"), account).expect("its own folder");
    std::fs::remove_file(accounts.join("claude-2.json")).expect("it was there");
    for address in &addresses {
        eventually(&format!("{address} follows the folder"), || {
            let said = at(address);
            let told = said.data.contains("codex-4") && !said.data.contains("claude-2");
            if told { Ok(()) } else { Err(format!("{said:?}")) }
        });
    }
}
