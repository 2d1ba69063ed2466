//! Links between real processes are secured: whoever shows a wrong certificate is refused by name and counted, and
//! certificates, even the authority, are replaced while nodes run.

use quorate::authority;
use quorate_tests::eventually;
use quorate_tests::node::Node;

const REFUSED: &str = "quorate_link_handshakes_total{outcome=\"tls\"}";

fn pair() -> [Node; 2] {
    let mut a = Node::new("a", &[], "");
    let mut b = Node::new("b", &[a.peers], "");
    [&mut a, &mut b].into_iter().for_each(Node::start);
    for node in [&a, &b] {
        node.sees_members(&["a alive", "b alive"]);
    }
    [a, b]
}

/// Waits until `node` has refused somebody, and says why in these words.
#[track_caller]
fn refuses(node: &Node, words: &str) {
    eventually(&format!("{} refuses somebody: {words}", node.name), || {
        let (count, log) = (node.metric(REFUSED)?, node.log());
        if count > 0 && log.contains(words) { Ok(()) } else { Err(format!("{count}\n{log}")) }
    });
}

/// A stranger that knows both of the pair tries to join them, in vain.
#[track_caller]
fn stays_out(mut stranger: Node, here: &str, there: &str) {
    let [a, b] = pair();
    let seeds = format!("\"{}\"", a.peers);
    let text = std::fs::read_to_string(stranger.config()).expect("its own file");
    let text = text.replacen("join = []", &format!("join = [{seeds}]"), 1);
    std::fs::write(stranger.config(), text).expect("its own file");
    stranger.start();
    refuses(&a, here);
    if !there.is_empty() {
        refuses(&stranger, there);
    }
    // It is alive, and as alone as before.
    stranger.sees_members(&[&format!("{} alive", stranger.name)]);
    for node in [&a, &b] {
        node.sees_members(&["a alive", "b alive"]);
        assert_eq!(node.ask("GET", "/readyz", None).expect("it answers").status, 200);
    }
}

#[test]
fn a_certificate_of_another_authority_is_refused_on_both_sides() {
    let x = Node::new("x", &[], "");
    std::fs::remove_dir_all(x.certificates()).expect("its own folder");
    authority::init(&x.certificates()).expect("its own folder");
    x.issue(1);
    let words = "of an authority that tls.ca does not hold here";
    stays_out(x, "it refuses our certificate", words);
}

#[test]
fn a_certificate_that_has_ended_is_refused_by_name() {
    let x = Node::new("x", &[], "");
    x.issue(0);
    stays_out(x, "its certificate has ended", "it refuses our certificate, which has ended");
}

#[test]
fn a_certificate_of_another_node_is_no_way_in() {
    let x = Node::new("x", &[], "");
    let name = "b".parse().expect("a node id");
    authority::issue(&x.certificates(), &name, 1).expect("its own folder");
    for kind in ["pem", "key"] {
        let file = |name: &str| x.certificates().join(format!("{name}.{kind}"));
        std::fs::copy(file("b"), file("x")).expect("its own folder");
    }
    stays_out(x, "a certificate that names another node", "");
}

#[test]
fn a_node_without_a_certificate_is_refused() {
    let x = Node::unprotected("test", "x", &[], "");
    stays_out(x, "it does not speak TLS", "");
}

/// The number of the connection that is used to the only peer: another number is another connection.
fn generation(node: &Node) -> String {
    eventually(&format!("{} has a link", node.name), || {
        let links = node.ask("GET", "/v0/operations/links", None)?.json();
        let up = links.pointer("/links/0/state").is_some_and(|state| state == "up");
        let generation = links.pointer("/links/0/generation").filter(|_| up);
        generation.map(ToString::to_string).ok_or_else(|| links.to_string())
    })
}

/// Waits until the files of `node` were read once more than `before`.
fn reads_again(node: &Node, change: impl FnOnce()) {
    let count = || node.log().matches("the certificates were reloaded").count();
    let before = count();
    change();
    node.signal("HUP");
    eventually(&format!("{} reads its certificates", node.name), || {
        let now = count();
        if now > before { Ok(()) } else { Err(node.log()) }
    });
}

/// Copies what another's authority issued for `node`.
fn take_over(node: &Node, from: &Node) {
    for kind in ["key", "pem"] {
        let file = format!("{}.{kind}", node.name);
        let copied = std::fs::copy(from.certificates().join(&file), node.certificates().join(file));
        copied.expect("both are our own");
    }
}

#[test]
fn certificates_and_their_authority_are_replaced_while_nodes_run_and_open_links_stay() {
    let [a, b] = pair();
    let open = [generation(&a), generation(&b)];
    let renewed = Node::new("renewed", &[], ""); // Its folder alone is used.
    std::fs::remove_dir_all(renewed.certificates()).expect("its own folder");
    authority::init(&renewed.certificates()).expect("its own folder");
    let read = |node: &Node| {
        std::fs::read_to_string(node.certificates().join("ca.pem")).expect("an authority")
    };
    let (old, new) = (read(&a), read(&renewed));

    // Both are trusted everywhere, before anybody shows a certificate of the new one.
    for node in [&a, &b] {
        let path = node.certificates().join("ca.pem");
        reads_again(node, || std::fs::write(path, format!("{old}{new}")).expect("its own file"));
    }
    for node in [&a, &b] {
        let name = node.name.parse().expect("a node id");
        authority::issue(&renewed.certificates(), &name, 1).expect("its own folder");
        reads_again(node, || take_over(node, &renewed));
    }
    // Then only the new one is.
    for node in [&a, &b] {
        let path = node.certificates().join("ca.pem");
        reads_again(node, || std::fs::write(path, &new).expect("its own file"));
    }
    assert_eq!([generation(&a), generation(&b)], open, "not a connection was closed");

    // Whoever comes now needs a certificate of the new one.
    let mut c = Node::new("c", &[a.peers], "");
    c.start();
    refuses(&a, "it refuses our certificate");
    c.sees_members(&["c alive"]);
    let name = "c".parse().expect("a node id");
    authority::issue(&renewed.certificates(), &name, 1).expect("its own folder");
    std::fs::write(c.certificates().join("ca.pem"), &new).expect("its own file");
    take_over(&c, &renewed);
    for node in [&a, &b, &c] {
        node.sees_members(&["a alive", "b alive", "c alive"]);
    }
}
