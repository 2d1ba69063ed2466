//! The name of a request: the caller's if it is a decent one, else a new ULID.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::HeaderMap;

/// The header that carries it, both ways.
pub(super) const REQUEST_ID: &str = "x-request-id";

/// The caller's request id if it is a decent one, else a new ULID.
pub(super) fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let decent = |id: &&str| {
        let word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        (1..=128).contains(&id.len()) && id.bytes().all(word)
    };
    given.filter(decent).map_or_else(ulid, str::to_owned)
}

/// 48 bits of time and 80 that no other request of this process has, in Crockford's alphabet. Those begin anywhere and
/// go on by one: a name need not be hard to guess, and entropy for each is a call to the kernel.
fn ulid() -> String {
    const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    static BEGINNING: LazyLock<u128> = LazyLock::new(|| {
        let mut random = [0_u8; 16];
        // Without entropy an id may repeat within its millisecond; that is worth no refusal.
        let _ = getrandom::fill(&mut random);
        u128::from_le_bytes(random)
    });
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = u128::from(COUNT.fetch_add(1, Ordering::Relaxed));
    let low = BEGINNING.wrapping_add(count) & ((1 << 80) - 1);
    let bits = u128::from(crate::clock::wall().0) << 80 | low;
    let digit = |place: u32| {
        let index = usize::try_from(bits >> (place * 5) & 31).expect("five bits are an index");
        char::from(ALPHABET.get(index).copied().expect("five bits are below 32"))
    };
    (0..26).rev().map(digit).collect()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_request_id_is_echoed_if_decent_and_minted_otherwise() {
        let with = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_static(text));
            request_id(&headers)
        };
        assert_eq!(with("job-7_a.b"), "job-7_a.b");
        for odd in ["", "a b", "x;y", "<script>"] {
            let minted = with(odd);
            assert_eq!(minted.len(), 26, "{odd} gives a ULID");
        }
        let names: std::collections::BTreeSet<String> = (0..1000).map(|_| ulid()).collect();
        assert_eq!(names.len(), 1000);
        assert!(ulid().as_str() < "9", "time comes first, far below the year 10889");
    }
}
