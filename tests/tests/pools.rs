//! What callers define, at real nodes: agreed on, seen everywhere, there again after a restart.

use quorate_tests::eventually;
use quorate_tests::node::Node;
use serde_json::json;

#[test]
fn a_pool_that_a_caller_makes_is_every_nodes_and_outlives_a_restart() {
    let mut a = Node::new("a", &[], "[pools.fixed]\nmembers = [\"d1\"]\n");
    let mut b = Node::new("b", &[a.peers], "");
    for node in [&a, &b] {
        let folder = node.data().join("auths");
        std::fs::create_dir_all(&folder).expect("a folder of its own");
        for id in ["x", "y", "d1"] {
            let body = json!({"type": "codex", "access_token": id}).to_string();
            std::fs::write(folder.join(format!("{id}.json")), body).expect("its own folder");
        }
    }
    a.start_ready();
    b.start_ready();
    a.sees_members(&["a alive", "b alive"]);
    let made = eventually("the log takes it", || {
        let said = a.run(&["pool", "create", "own", "--member", "x=3"]);
        if said.code == Some(0) { Ok(said.data) } else { Err(format!("{said:?}")) }
    });
    assert!(made.contains("own") && made.contains('x'), "{made}");
    let shows = |node: &Node, members: &[&str]| {
        eventually(&format!("{} shows {members:?}", node.name), || {
            let answer = node.ask("GET", "/v1/pools/own", None)?;
            let pool = answer.json();
            let list = pool["members"].as_array().cloned().unwrap_or_default();
            let ids: Vec<&str> =
                list.iter().filter_map(|member| member["credential"].as_str()).collect();
            if ids == members { Ok(pool) } else { Err(pool.to_string()) }
        })
    };
    assert_eq!(shows(&b, &["x"])["members"][0]["weight"], 3);
    let said = b.run(&["pool", "add", "own", "y"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let epoch = shows(&a, &["x", "y"])["members"][1]["epoch"].as_u64();

    let taken = b.run(&["pool", "create", "other", "--member", "y"]);
    assert_eq!(taken.code, Some(4), "{taken:?}");
    assert!(taken.words.contains("credential_pooled"), "{taken:?}");
    let managed = a.run(&["pool", "remove", "fixed"]);
    assert_eq!(managed.code, Some(4), "{managed:?}");
    assert!(managed.words.contains("managed_by_config"), "{managed:?}");

    b.kill();
    a.kill();
    // Alone, without a quorum perhaps: the last definitions hold.
    a.start_ready();
    shows(&a, &["x", "y"]);
    b.start_ready();
    shows(&b, &["x", "y"]);
    for words in [["pool", "drop", "own", "y"], ["pool", "add", "own", "y"]] {
        eventually("the log takes it", || {
            let said = b.run(&words);
            if said.code == Some(0) { Ok(()) } else { Err(format!("{said:?}")) }
        });
    }
    // Before a hears of either it shows the same two.
    eventually("an account that is added again is a new one", || {
        let again = shows(&a, &["x", "y"])["members"][1]["epoch"].as_u64();
        if again > epoch { Ok(()) } else { Err(format!("{epoch:?} became {again:?}")) }
    });
    let said = a.run(&["pool", "remove", "own"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    eventually("it is gone", || match b.ask("GET", "/v1/pools/own", None)?.status {
        404 => Ok(()),
        status => Err(status.to_string()),
    });
}
