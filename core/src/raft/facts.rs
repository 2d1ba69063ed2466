//! What nodes say about their copies of the log: one fact, JSON, read without trust.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Genesis, Peer, Raft};
use crate::ids::MemberId;
use crate::wire::Blob;
use crate::wire::segment::Key;

/// The key of the fact.
pub const FACT: &str = "raft";

impl Raft {
    /// What this node says. Numbers that JSON would round are hexadecimal.
    pub fn fact(&self) -> Blob {
        let state = match (self.identity.genesis, self.settings.expect) {
            (Some(_), _) => "in",
            (None, 0) => "none",
            (None, _) => "pre",
        };
        let kept = self.settings.eligible || self.group.is_some();
        let fact = json!({
            "state": state,
            "eligible": self.settings.eligible && self.halted.is_none(),
            "priority": self.settings.priority,
            "member": kept.then(|| format!("{:016x}", self.identity.member.0)),
            "genesis": self.identity.genesis.map(|genesis| format!("{:032x}", genesis.0)),
            "expect": self.settings.expect,
        });
        Blob::from(fact.to_string().as_str())
    }
}

impl Peer {
    /// What a node's facts say of its copy; whatever cannot be read says no. Nothing before the fact is
    /// there: who has not spoken yet has not lost its copy.
    pub fn read(facts: &BTreeMap<Key, Blob>) -> Option<Peer> {
        let fact = |key: &str| -> Value {
            let fact = facts.iter().find(|(of, _)| ***of == *key);
            fact.and_then(|(_, value)| serde_json::from_slice(value).ok()).unwrap_or_default()
        };
        facts.iter().find(|(key, _)| ***key == *FACT)?;
        let said = fact(FACT);
        let hexadecimal = |key: &str| {
            said.get(key)
                .and_then(Value::as_str)
                .and_then(|text| u128::from_str_radix(text, 16).ok())
        };
        let number = |key: &str| said.get(key).and_then(Value::as_u64);
        let member = hexadecimal("member").and_then(|member| u64::try_from(member).ok());
        let priority = number("priority").and_then(|number| u32::try_from(number).ok());
        let expect = number("expect").and_then(|number| u8::try_from(number).ok());
        Some(Peer {
            member: member.filter(|member| *member != 0).map(MemberId),
            genesis: hexadecimal("genesis").map(Genesis),
            eligible: said.get("eligible").and_then(Value::as_bool).unwrap_or(false),
            priority: priority.unwrap_or(u32::MAX),
            zone: fact("zone").as_str().unwrap_or_default().to_owned(),
            leaving: fact("leaving") == Value::Bool(true),
            expect: expect.unwrap_or(0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(raft: &str) -> Peer {
        let key = |key: &str| Key::from(key);
        let facts = [(key(FACT), Blob::from(raft)), (key("zone"), Blob::from("\"a\""))];
        Peer::read(&facts.into()).expect("it has spoken")
    }

    #[test]
    fn who_has_not_spoken_says_nothing() {
        let facts = BTreeMap::from([(Key::from("zone"), Blob::from("\"a\""))]);
        assert_eq!(Peer::read(&facts), None, "and so its copy is not gone");
    }

    #[test]
    fn a_fact_that_cannot_be_read_says_no() {
        for fact in ["", "7", "{\"eligible\":1,\"member\":\"x\",\"genesis\":3}", "[\"eligible\"]"] {
            let peer = read(fact);
            assert!(!peer.eligible && peer.member.is_none() && peer.genesis.is_none(), "{fact}");
            assert_eq!(peer.zone, "a");
        }
        let sound = read("{\"eligible\":true,\"member\":\"00000000000000ff\",\"priority\":7}");
        assert_eq!((sound.eligible, sound.member, sound.priority), (true, Some(MemberId(255)), 7));
    }
}
