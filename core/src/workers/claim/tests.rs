//! Ids, and every refusal of a merge.

use super::*;
use crate::ids::Incarnation;

fn author(node: &str) -> Replica {
    Replica { node: node.parse().expect("a node id"), incarnation: Incarnation(1) }
}

fn published(url: &str) -> Published {
    Published {
        v: 1,
        url: url.to_owned(),
        revision: 1,
        spec: Spec { url: url.to_owned(), ..Spec::default() }.resolved(),
        admin: Admin::Active,
        statement: Statement::Unknown,
        statement_version: 1,
    }
}

fn verdict(author: &Replica, said: &Published) -> Result<(), &'static str> {
    let key = key(&id(&author.node, &said.url));
    check_entry(author, &key, Some(&said.encode()))
}

#[test]
fn an_id_is_a_function_of_the_owner_and_the_canonical_url() {
    for (node, url, expected) in [
        ("gw-a", "http://10.0.0.7:8000", "1ac6b397-575f-5727-a589-7406f6c41dc3"),
        ("gw-b", "http://10.0.0.7:8000", "7e0ef188-42e3-5f93-9c1f-4086d2e0ae3f"),
        ("gw-a", "http://10.0.0.7:8000@3", "35308fa6-d783-5dd1-ad6e-09759855c089"),
        ("gw-a", "https://[2001:db8::1]/v1", "09ccf4f1-0857-5ee0-91f5-8a3e789c16a6"),
    ] {
        assert_eq!(id(&author(node).node, url).as_str(), expected);
    }
}

#[test]
fn an_honest_entry_is_admitted_and_so_are_words_of_a_newer_version() {
    let owner = author("a");
    let mut said = published("http://10.0.0.7:8000");
    assert_eq!(verdict(&owner, &said), Ok(()));
    said.spec.kind = Some("oracle".into());
    said.spec.mode = Some("pigeon".into());
    said.spec.other.insert("later".to_owned(), serde_json::json!({"x": [1, null]}));
    assert_eq!(verdict(&owner, &said), Ok(()));
    assert_eq!(check_entry(&owner, &Key::from("lease"), Some(&lease(7))), Ok(()));
    assert_eq!(check_entry(&owner, &Key::from(""), Some(&Blob::from("1"))), Ok(()));
    assert_eq!(check_entry(&owner, &key(&id(&owner.node, "x")), None), Ok(()));
}

#[test]
fn a_merge_refuses_what_no_honest_owner_writes() {
    let (owner, url) = (author("a"), "http://10.0.0.7:8000");
    let foreign = key(&id(&author("b").node, url));
    let value = published(url).encode();
    assert!(check_entry(&owner, &foreign, Some(&value)).is_err(), "a foreign id");
    assert!(check_entry(&owner, &Key::from("x/1"), Some(&value)).is_err(), "a foreign key");
    assert!(check_entry(&owner, &Key::from("w/1"), None).is_err(), "a key without an id");
    assert!(check_entry(&owner, &Key::from("lease"), Some(&value)).is_err(), "no count");
    let broken = Blob::from("{\"v\":1");
    assert!(check_entry(&owner, &key(&id(&owner.node, url)), Some(&broken)).is_err());

    type Spoil = fn(&mut Published);
    let cases: [(&str, Spoil); 8] = [
        ("its url differs from the spec's", |said| said.spec.url = "http://10.0.0.8".to_owned()),
        ("not canonical", |said| {
            said.url.push('/');
            said.spec.url.push('/');
        }),
        ("ipc by mode", |said| said.spec.mode = Some("ipc".into())),
        ("ipc by url", |said| {
            said.url = "ipc:///run/x".to_owned();
            said.spec.url = said.url.clone();
        }),
        ("over bounds", |said| said.spec.weight = Some(1001)),
        ("a secret", |said| {
            said.spec.other.insert("api_key".to_owned(), "canary".into());
        }),
        ("a secret label", |said| {
            said.spec.labels = Some([("hf-token".to_owned(), "canary".to_owned())].into());
        }),
        ("another version", |said| said.v = 2),
    ];
    for (what, spoil) in cases {
        let mut said = published(url);
        spoil(&mut said);
        assert!(verdict(&owner, &said).is_err(), "{what} must be refused");
    }
}
