//! Who may come in: the checks of a handshake, in the order of the table in the protocol's description.
//!
//! | check | on failure |
//! | --- | --- |
//! | magic, cluster | closed without a byte |
//! | the node that was called | `WrongNode` |
//! | not ourselves | `SelfCall` |
//! | a common protocol version | `Version` |
//! | one genesis, or one side has none | `Genesis` |
//! | settings that must agree | `Settings` |
//! | not fenced, no life below the known one | `Stale` |
//! | room, not leaving | `Full`, `Leaving` |
//!
//! Absent on purpose: certificates, which the host checks before the first frame and whose names it compares
//! with the greeting; and state: a verdict
//! is a function of what both sides say.

use crate::ids::{ClusterId, Incarnation, NodeId, Replica};
use crate::wire::session::{Greeting, MAGIC, Refusal};

/// What this side knows when it is greeted.
#[derive(Debug, Clone)]
pub(super) struct House<'a> {
    pub(super) cluster: &'a ClusterId,
    pub(super) local: &'a Replica,
    /// Wire versions that are spoken here, lowest and highest.
    pub(super) protocol: (u16, u16),
    pub(super) genesis: Option<u128>,
    pub(super) settings: &'a [(String, String)],
    /// The newest life of the greeter that may still live.
    pub(super) known: Option<Incarnation>,
    /// The newest life of the greeter that may not return.
    pub(super) fence: Option<Incarnation>,
    pub(super) has_room: bool,
    pub(super) leaving: bool,
}

/// What becomes of a `Hello`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A stranger: not one byte goes back.
    Silence,
    /// Told why.
    Refused(Refusal),
    /// Come in, and speak this version.
    Welcome { protocol: u16 },
}

/// Judges a `Hello`.
pub(super) fn judge_hello(hello: &Greeting, house: &House<'_>) -> Verdict {
    if hello.magic != MAGIC || hello.cluster != *house.cluster {
        return Verdict::Silence;
    }
    match examine(hello, house) {
        Ok(protocol) => Verdict::Welcome { protocol },
        Err(refusal) => Verdict::Refused(refusal),
    }
}

fn examine(hello: &Greeting, house: &House<'_>) -> Result<u16, Refusal> {
    if hello.called.as_ref().is_some_and(|called| *called != house.local.node) {
        return Err(Refusal::WrongNode);
    }
    if hello.node == house.local.node {
        return Err(Refusal::SelfCall);
    }
    let (min, max) = house.protocol;
    let common = common_version(house.protocol, hello.protocol);
    let protocol = common.ok_or(Refusal::Version { min, max })?;
    if house.genesis.is_some_and(|ours| hello.genesis.is_some_and(|theirs| ours != theirs)) {
        return Err(Refusal::Genesis);
    }
    if let Some(name) = disagreement(house.settings, &hello.settings) {
        return Err(Refusal::Settings { name });
    }
    let fenced = house.fence.filter(|fence| hello.incarnation <= *fence);
    let outlived = house.known.filter(|known| hello.incarnation < *known);
    if let Some(known) = fenced.max(outlived) {
        return Err(Refusal::Stale { known });
    }
    if !house.has_room {
        return Err(Refusal::Full);
    }
    if house.leaving {
        return Err(Refusal::Leaving);
    }
    Ok(protocol)
}

/// Why the dialer does not accept a `Welcome`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unwelcome {
    /// Another cluster answered.
    Cluster,
    /// Another node answered, or we ourselves.
    Node,
    /// A version that was not offered.
    Version,
    /// A life that is over.
    Stale,
}

/// Judges a `Welcome` to somebody who called `called`; the protocol version to speak.
pub(super) fn judge_welcome(
    welcome: &Greeting,
    called: Option<&NodeId>,
    house: &House<'_>,
) -> Result<u16, Unwelcome> {
    if welcome.magic != MAGIC || welcome.cluster != *house.cluster {
        return Err(Unwelcome::Cluster);
    }
    let expected = called.is_none_or(|called| *called == welcome.node);
    if !expected || welcome.node == house.local.node {
        return Err(Unwelcome::Node);
    }
    let (chosen, same) = welcome.protocol;
    if chosen != same || common_version(house.protocol, welcome.protocol) != Some(chosen) {
        return Err(Unwelcome::Version);
    }
    let fenced = house.fence.is_some_and(|fence| welcome.incarnation <= fence);
    if fenced || house.known.is_some_and(|known| welcome.incarnation < known) {
        return Err(Unwelcome::Stale);
    }
    Ok(chosen)
}

fn common_version(ours: (u16, u16), theirs: (u16, u16)) -> Option<u16> {
    let highest = ours.1.min(theirs.1);
    (ours.0.max(theirs.0) <= highest).then_some(highest)
}

/// The first name whose value differs, or that only one side has.
fn disagreement(ours: &[(String, String)], theirs: &[(String, String)]) -> Option<String> {
    let lacks = |one: &(String, String), side: &[(String, String)]| !side.contains(one);
    let first = ours.iter().find(|one| lacks(one, theirs));
    first.or_else(|| theirs.iter().find(|one| lacks(one, ours))).map(|(name, _)| name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::PROTOCOL;

    fn hello() -> Greeting {
        Greeting {
            magic: MAGIC,
            cluster: ClusterId("prod".into()),
            protocol: PROTOCOL,
            node: "b".parse().expect("a node id"),
            incarnation: Incarnation(5),
            born: Incarnation(5),
            addresses: vec!["10.0.0.2:7420".parse().expect("an address")].into(),
            called: None,
            genesis: None,
            resume: vec![].into(),
            settings: vec![].into(),
        }
    }

    fn verdict(
        change_hello: impl Fn(&mut Greeting),
        change_house: impl Fn(&mut House<'_>),
    ) -> Verdict {
        let cluster = ClusterId("prod".into());
        let node = "a".parse().expect("a node id");
        let local = Replica { node, incarnation: Incarnation(1) };
        let settings = [("names.lease_ms".to_owned(), "5000".to_owned())];
        let mut house = House {
            cluster: &cluster,
            local: &local,
            protocol: PROTOCOL,
            genesis: Some(7),
            settings: &settings,
            known: None,
            fence: None,
            has_room: true,
            leaving: false,
        };
        change_house(&mut house);
        let mut hello = hello();
        hello.settings = settings.to_vec().into();
        change_hello(&mut hello);
        judge_hello(&hello, &house)
    }

    #[test]
    fn each_row_of_the_table_has_its_answer() {
        let welcome = Verdict::Welcome { protocol: 1 };
        let refused = Verdict::Refused;
        let stale = |known| refused(Refusal::Stale { known: Incarnation(known) });
        let lease = refused(Refusal::Settings { name: "names.lease_ms".to_owned() });
        let known = |life| move |house: &mut House<'_>| house.known = Some(Incarnation(life));
        let fence = |life| move |house: &mut House<'_>| house.fence = Some(Incarnation(life));
        assert_eq!(verdict(|_| (), |_| ()), welcome);
        assert_eq!(verdict(|hello| hello.magic = *b"HTTP", |_| ()), Verdict::Silence);
        let other = |hello: &mut Greeting| hello.cluster = ClusterId("test".into());
        assert_eq!(verdict(other, |_| ()), Verdict::Silence);
        let called = |name: &'static str| {
            move |hello: &mut Greeting| hello.called = Some(name.parse().expect("a node id"))
        };
        assert_eq!(verdict(called("a"), |_| ()), welcome);
        assert_eq!(verdict(called("c"), |_| ()), refused(Refusal::WrongNode));
        let ourselves = |hello: &mut Greeting| hello.node = "a".parse().expect("a node id");
        assert_eq!(verdict(ourselves, |_| ()), refused(Refusal::SelfCall));
        let versions = |min, max| move |hello: &mut Greeting| hello.protocol = (min, max);
        assert_eq!(verdict(versions(1, 9), |_| ()), welcome);
        let version = refused(Refusal::Version { min: 1, max: 1 });
        assert_eq!(verdict(versions(2, 9), |_| ()), version);
        let two = Verdict::Welcome { protocol: 2 };
        assert_eq!(verdict(versions(1, 9), |house| house.protocol = (1, 2)), two);
        assert_eq!(verdict(versions(0, 1), |house| house.protocol = (1, 2)), welcome);
        assert_eq!(verdict(|hello| hello.genesis = Some(7), |_| ()), welcome);
        assert_eq!(verdict(|hello| hello.genesis = Some(8), |_| ()), refused(Refusal::Genesis));
        assert_eq!(verdict(|hello| hello.settings = vec![].into(), |_| ()), lease);
        assert_eq!(verdict(|_| (), |house| house.settings = &[]), lease);
        assert_eq!(verdict(|_| (), known(5)), welcome);
        assert_eq!(verdict(|_| (), known(6)), stale(6));
        assert_eq!(verdict(|_| (), fence(4)), welcome);
        assert_eq!(verdict(|_| (), fence(5)), stale(5));
        assert_eq!(verdict(|_| (), |house| house.has_room = false), refused(Refusal::Full));
        assert_eq!(verdict(|_| (), |house| house.leaving = true), refused(Refusal::Leaving));
    }

    #[test]
    fn the_rows_are_checked_in_order() {
        let several = |hello: &mut Greeting| {
            hello.called = Some("c".parse().expect("a node id"));
            hello.protocol = (9, 9);
        };
        let verdict = verdict(several, |house| house.leaving = true);
        assert_eq!(verdict, Verdict::Refused(Refusal::WrongNode));
    }
}
