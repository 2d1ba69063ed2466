//! Vectors of canonical forms and refusals.

use proptest::prelude::*;

use super::*;

const CANONICAL: [(&str, &str); 41] = [
    ("http://10.0.0.7:8000", "http://10.0.0.7:8000"),
    ("HTTP://10.0.0.7:8000", "http://10.0.0.7:8000"),
    ("http://10.0.0.7:8000/", "http://10.0.0.7:8000"),
    ("http://10.0.0.7:80", "http://10.0.0.7"),
    ("http://10.0.0.7:80/", "http://10.0.0.7"),
    ("https://10.0.0.7:443", "https://10.0.0.7"),
    ("https://10.0.0.7:80", "https://10.0.0.7:80"),
    ("http://10.0.0.7:443", "http://10.0.0.7:443"),
    ("http://10.0.0.7:08000", "http://10.0.0.7:8000"),
    ("http://10.0.0.7:00080", "http://10.0.0.7"),
    ("http://Worker.GPU.Internal", "http://worker.gpu.internal"),
    ("http://worker.gpu.internal.", "http://worker.gpu.internal"),
    ("http://worker.gpu.internal.:8000/", "http://worker.gpu.internal:8000"),
    ("http://my_worker:8000", "http://my_worker:8000"),
    ("http://a", "http://a"),
    ("http://bücher.example", "http://xn--bcher-kva.example"),
    ("http://BÜCHER.example", "http://xn--bcher-kva.example"),
    ("http://xn--bcher-kva.example", "http://xn--bcher-kva.example"),
    ("http://１０.0.0.7", "http://10.0.0.7"),
    ("http://gpu。internal", "http://gpu.internal"),
    ("https://[2001:db8::1]/v1", "https://[2001:db8::1]/v1"),
    ("https://[2001:DB8:0:0:0:0:0:1]/v1", "https://[2001:db8::1]/v1"),
    ("https://[2001:db8::1]:443", "https://[2001:db8::1]"),
    ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
    ("http://[::ffff:10.0.0.7]", "http://[::ffff:10.0.0.7]"),
    ("http://[::FFFF:0a00:0007]:80", "http://[::ffff:10.0.0.7]"),
    ("http://[0:0:0:1::]", "http://[0:0:0:1::]"),
    ("http://h/v1/", "http://h/v1"),
    ("http://h/v1", "http://h/v1"),
    ("http://h/a%2fb", "http://h/a%2Fb"),
    ("http://h/a%2Fb/", "http://h/a%2Fb"),
    ("http://h/a//b", "http://h/a//b"),
    ("http://h/Models/A", "http://h/Models/A"),
    ("http://h/a@b", "http://h/a@b"),
    ("http://h/...", "http://h/..."),
    ("http://h/~a/!$&'()*+,;=:", "http://h/~a/!$&'()*+,;=:"),
    ("grpc://10.0.0.7:50051", "grpc://10.0.0.7:50051"),
    ("GRPCS://worker:80", "grpcs://worker:80"),
    ("ipc:///run/worker.sock", "ipc:///run/worker.sock"),
    ("IPC:///run/worker.sock/", "ipc:///run/worker.sock"),
    ("ipc:///run/a%20b", "ipc:///run/a%20b"),
];

const REFUSED: [(&str, UrlError); 44] = [
    ("", UrlError::Malformed),
    ("http://a b", UrlError::Malformed),
    (" http://a", UrlError::Malformed),
    ("http://a\n", UrlError::Malformed),
    ("http://a\u{0}", UrlError::Malformed),
    ("http://\u{202e}a", UrlError::Malformed),
    ("http://a/\u{2066}b", UrlError::Malformed),
    ("http://a/\u{a0}", UrlError::Malformed),
    ("10.0.0.7:8000", UrlError::Scheme),
    ("//10.0.0.7", UrlError::Scheme),
    ("ftp://10.0.0.7", UrlError::Scheme),
    ("httpx://10.0.0.7", UrlError::Scheme),
    ("http:10.0.0.7", UrlError::Scheme),
    ("://a", UrlError::Scheme),
    ("http://user@a", UrlError::Userinfo),
    ("http://user:secret@a:80/v1", UrlError::Userinfo),
    ("http://@a", UrlError::Userinfo),
    ("http://10.0.0.7:8000@3", UrlError::Userinfo),
    ("http://a?x=1", UrlError::Query),
    ("http://a/?x=u@h", UrlError::Query),
    ("http://a/v1#top", UrlError::Query),
    ("http://a#", UrlError::Query),
    ("http://", UrlError::Host),
    ("http:///v1", UrlError::Host),
    ("http://:80", UrlError::Host),
    ("http://a..b", UrlError::Host),
    ("http://a..", UrlError::Host),
    ("http://-a", UrlError::Host),
    ("http://a%41", UrlError::Host),
    ("http://10.0.7", UrlError::Host),
    ("http://167772167", UrlError::Host),
    ("http://0x0a000007", UrlError::Host),
    ("http://010.0.0.7", UrlError::Host),
    ("http://[::1", UrlError::Host),
    ("http://[fe80::1%eth0]", UrlError::Host),
    ("http://a\\b", UrlError::Host),
    ("http://a:0", UrlError::Port),
    ("http://a:65536", UrlError::Port),
    ("http://a:", UrlError::Port),
    ("http://a:+80", UrlError::Port),
    ("grpc://a", UrlError::Port),
    ("http://a/../b", UrlError::Path),
    ("http://a/%2e%2E/b", UrlError::Path),
    ("http://a/%4", UrlError::Path),
];

const REFUSED_PATHS: [&str; 10] = [
    "http://a/%zz",
    "http://a/.",
    "http://a/v1//",
    "http://a/v1@3",
    "http://a/v1/ä",
    "http://a/{b}",
    "http://a/a|b",
    "ipc://host/run/x",
    "ipc://",
    "ipc:///",
];

#[test]
fn a_url_has_one_spelling() {
    for (text, canonical) in CANONICAL {
        let url = Url::canonical(text, None).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(&*url.base, canonical, "{text}");
        assert_eq!(Url::canonical(&url.base, None).expect("canonical").base, url.base, "{text}");
    }
}

#[test]
fn the_first_rule_that_fails_is_the_refusal() {
    for (text, error) in REFUSED {
        assert_eq!(Url::canonical(text, None).map(|url| url.base), Err(error), "{text}");
    }
    for text in REFUSED_PATHS {
        assert_eq!(Url::canonical(text, None), Err(UrlError::Path), "{text}");
    }
    let long = format!("http://a/{}", "b".repeat(2048));
    assert_eq!(Url::canonical(&long, None), Err(UrlError::Malformed));
    assert_eq!(Url::canonical("http://a", Some(65_536)), Err(UrlError::Rank));
}

#[test]
fn a_rank_is_part_of_the_identity_and_not_of_the_base() {
    let url = Url::canonical("http://10.0.0.7:8000/", Some(3)).expect("a worker url");
    assert_eq!((&*url.base, &*url.identity), ("http://10.0.0.7:8000", "http://10.0.0.7:8000@3"));
    assert_eq!(Url::lookup(&url.identity), Ok(url));
}

proptest! {
    #[test]
    fn canonicalising_twice_changes_nothing(
        text in "(http|HTTPS|grpc|ipc)://[a-zA-Z0-9.:\\[\\]äß-]{0,12}(:[0-9]{1,5})?(/[a-z%@./0-9A-F]{0,8}){0,3}",
        rank in proptest::option::of(0_u32..70_000),
    ) {
        if let Ok(once) = Url::canonical(&text, rank) {
            prop_assert_eq!(Url::canonical(&once.base, rank), Ok(once.clone()));
            prop_assert_eq!(Url::lookup(&once.identity), Ok(once));
        }
    }
}
