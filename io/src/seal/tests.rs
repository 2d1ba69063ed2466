//! The seal against everything that is not ours.

use proptest::prelude::*;

use super::*;

fn cluster(name: &str) -> ClusterId {
    ClusterId(name.into())
}

fn text(fill: u8) -> String {
    STANDARD.encode([fill; KEY_BYTES])
}

fn ring(name: &str, fills: &[u8]) -> Keyring {
    let texts: Vec<String> = fills.iter().map(|fill| text(*fill)).collect();
    Keyring::parse(&cluster(name), texts.iter().map(String::as_str)).expect("good keys")
}

proptest! {
    #[test]
    fn what_was_sealed_opens_and_costs_46_bytes(plain in proptest::collection::vec(any::<u8>(), 0..1354)) {
        for ring in [ring("c", &[1]), Keyring::open(&cluster("c"))] {
            let sealed = ring.seal(&plain);
            prop_assert_eq!(sealed.len(), plain.len() + limits::SEAL_BYTES);
            prop_assert_eq!(ring.unseal(&sealed), Ok(plain.clone()));
        }
    }

    #[test]
    fn one_flipped_bit_never_opens(
        plain in proptest::collection::vec(any::<u8>(), 0..200),
        at in any::<prop::sample::Index>(),
        bit in 0..8_u8,
    ) {
        let ring = ring("c", &[1, 2]);
        let mut sealed = ring.seal(&plain);
        let at = at.index(sealed.len());
        sealed[at] ^= 1 << bit;
        prop_assert!(ring.unseal(&sealed).is_err());
    }

    #[test]
    fn a_wrong_cluster_or_key_never_opens(plain in proptest::collection::vec(any::<u8>(), 0..200)) {
        let sealed = ring("c", &[1]).seal(&plain);
        prop_assert_eq!(ring("d", &[1]).unseal(&sealed), Err(Unopened::Tag));
        prop_assert_eq!(ring("c", &[2]).unseal(&sealed), Err(Unopened::Key));
        let open = Keyring::open(&cluster("c"));
        prop_assert_eq!(open.unseal(&sealed), Err(Unopened::Key));
        prop_assert!(Keyring::open(&cluster("d")).unseal(&open.seal(&plain)).is_err());
    }

    #[test]
    fn arbitrary_bytes_end_in_a_counted_drop(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        prop_assert!(ring("c", &[1]).unseal(&bytes).is_err());
    }
}

#[test]
fn each_kind_of_wrong_has_its_own_reason() {
    let ring = ring("c", &[1]);
    let sealed = ring.seal(b"news");
    assert_eq!(ring.unseal(&sealed[..45]), Err(Unopened::Size));
    assert_eq!(ring.unseal(&vec![0; limits::DATAGRAM_BYTES_MAX + 1]), Err(Unopened::Size));
    let changed = |at: usize| {
        let mut bytes = sealed.clone();
        bytes[at] ^= 1;
        ring.unseal(&bytes)
    };
    assert_eq!(changed(0), Err(Unopened::Magic));
    assert_eq!(changed(1), Err(Unopened::Magic));
    assert_eq!(changed(2), Err(Unopened::Key));
    assert_eq!(changed(6), Err(Unopened::Tag));
    assert_eq!(changed(30), Err(Unopened::Tag));
    assert_eq!(changed(sealed.len() - 1), Err(Unopened::Tag));
}

#[test]
fn a_key_is_replaced_in_three_rollouts_without_a_datagram_lost() {
    let stages = [ring("c", &[1]), ring("c", &[1, 2]), ring("c", &[2, 1]), ring("c", &[2])];
    for pair in stages.windows(2) {
        assert!(pair[1].unseal(&pair[0].seal(b"x")).is_ok());
        assert!(pair[0].unseal(&pair[1].seal(b"x")).is_ok());
    }
    assert!(stages[3].unseal(&stages[0].seal(b"x")).is_err());
}

#[test]
fn a_nonce_is_never_used_twice() {
    let ring = ring("c", &[1]);
    let mut nonces: Vec<Vec<u8>> = (0..100).map(|_| ring.seal(b"x")[6..30].to_vec()).collect();
    nonces.sort();
    nonces.dedup();
    assert_eq!(nonces.len(), 100);
}

#[test]
fn the_layout_is_the_written_one() {
    let ring = ring("c", &[7]);
    let sealed = ring.seal_with(b"plain", [9; NONCE_BYTES]);
    let id: [u8; 32] = Sha256::digest([7; KEY_BYTES]).into();
    assert_eq!(&sealed[..2], &[0x51, 1]);
    assert_eq!(&sealed[2..6], &id[..4]);
    assert_eq!(&sealed[6..30], &[9; NONCE_BYTES]);
    assert_eq!(sealed.len(), 30 + 5 + 16);
}

#[test]
fn a_bad_ring_is_refused_by_position_and_never_shown() {
    let parse = |texts: &[&str]| {
        Keyring::parse(&cluster("c"), texts.iter().copied()).map(|_| ()).map_err(|e| e.to_string())
    };
    let (a, b) = (text(1), text(2));
    assert_eq!(parse(&[]), Err("a keyring has 1 to 4 keys, not 0".to_owned()));
    let many: Vec<String> = (0..5).map(text).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(parse(&many), Err("a keyring has 1 to 4 keys, not 5".to_owned()));
    let short = STANDARD.encode([1; 31]);
    for bad in ["???", short.as_str(), ""] {
        let error = parse(&[&a, bad]).expect_err("no key");
        assert_eq!(error, "key 2 of the keyring is not the base64 of 32 bytes");
    }
    assert_eq!(parse(&[&a, &b, &a]), Err("key 3 of the keyring is there twice".to_owned()));
    let shown = format!("{:?}", ring("c", &[1]));
    assert!(!shown.contains(&a), "{shown}");
}

#[test]
fn a_keyring_file_wins_over_the_list() {
    use std::os::unix::fs::PermissionsExt as _;
    let path = std::env::temp_dir().join(format!("quorate-keyring-{}", std::process::id()));
    std::fs::write(&path, format!("\n  {}\n# the old one\n{}\n", text(3), text(4))).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let source = KeyringSource { keys: vec![Secret::new(&text(1))], file: Some(path.clone()) };
    let loaded = source.load(&cluster("c")).expect("two keys");
    assert_eq!(loaded.ids(), ring("c", &[3, 4]).ids());
    std::fs::write(&path, "").unwrap();
    assert!(matches!(source.load(&cluster("c")), Err(KeyringError::Count { count: 0 })));
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(source.load(&cluster("c")), Err(KeyringError::File(_))));
    assert!(!KeyringSource::default().load(&cluster("c")).expect("no keys").protects());
}
