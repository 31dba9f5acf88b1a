//! Tests of the rules themselves: settings, tokens, roles, origins.

use super::super::TokenSettings;
use super::*;

fn token(name: &str, role: Role, secret: &str) -> TokenSettings {
    TokenSettings { name: name.to_owned(), role, hash: token::hash(secret) }
}

fn settings(address: &str, tls: bool, tokens: Vec<TokenSettings>) -> AdminSettings {
    AdminSettings {
        address: address.parse().unwrap(),
        tls: tls.then(|| ("cert.pem".into(), "key.pem".into())),
        tokens,
        ..AdminSettings::default()
    }
}

#[test]
fn loopback_needs_nothing_and_other_addresses_need_tls_and_tokens() {
    let ops = || vec![token("ops", Role::Operator, "x")];
    for loopback in ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"] {
        assert_eq!(check(&settings(loopback, false, vec![])), Ok(()));
    }
    for open in ["0.0.0.0", "::", "10.0.0.7", "::ffff:10.0.0.7"] {
        assert_eq!(check(&settings(open, true, ops())), Ok(()));
        for (tls, tokens, missing) in [
            (false, vec![], "both are missing"),
            (false, ops(), "`admin.tls` is missing"),
            (true, vec![], "`admin.tokens` is missing"),
        ] {
            let error = check(&settings(open, tls, tokens)).unwrap_err();
            assert!(error.contains(missing) && error.contains("127.0.0.1"), "{error}");
        }
    }
}

#[test]
fn tokens_need_distinct_names_and_real_hashes() {
    let twice = vec![token("ops", Role::Viewer, "a"), token("ops", Role::Admin, "b")];
    let error = check(&settings("::1", false, twice)).unwrap_err();
    assert!(error.contains("`ops` appears twice"), "{error}");
    let nameless = vec![token("", Role::Viewer, "a")];
    assert!(check(&settings("::1", false, nameless)).is_err());
    let mut plain = token("ops", Role::Viewer, "a");
    plain.hash = "pgweir_the-token-itself".to_owned();
    let error = check(&settings("::1", false, vec![plain])).unwrap_err();
    assert!(error.contains("`ops`") && !error.contains("itself"), "{error}");
}

#[test]
fn a_token_is_found_by_its_hash_wherever_it_stands() {
    let tokens = vec![
        token("a", Role::Viewer, "one"),
        token("b", Role::Operator, "two"),
        token("c", Role::Admin, "three"),
    ];
    let tokens = Tokens::new(&settings("::1", false, tokens)).unwrap();
    let name = |secret| tokens.find(secret).map(|known| known.name.as_str());
    assert_eq!(name("one"), Some("a"));
    assert_eq!(name("two"), Some("b"));
    assert_eq!(name("three"), Some("c"));
    assert_eq!(name("four"), None);
    assert_eq!(name(""), None);
    assert_eq!(name(&token::hash("one")), None);
}

#[test]
fn reading_is_open_until_there_is_a_token_and_acting_never_is() {
    let none = Tokens(Vec::new());
    let some = Tokens::new(&settings("::1", false, vec![token("a", Role::Viewer, "x")])).unwrap();
    for path in ["/", "/metrics", "/healthz", "/readyz"] {
        assert_eq!(required(&Method::GET, path, &some), None);
        assert_eq!(required(&Method::POST, path, &none), Some(Role::Operator));
    }
    for path in ["/api/database/connections", "/api", "/%61pi", "/later"] {
        assert_eq!(required(&Method::GET, path, &none), None);
        assert_eq!(required(&Method::GET, path, &some), Some(Role::Viewer));
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
            assert_eq!(required(&method, path, &none), Some(Role::Operator));
        }
    }
    assert!(Role::Viewer < Role::Operator && Role::Operator < Role::Admin);
}

#[test]
fn the_bearer_scheme_is_read_in_any_case() {
    let of = |value: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, value.parse().unwrap());
        bearer(&headers).map(str::to_owned)
    };
    assert_eq!(of("Bearer abc").as_deref(), Some("abc"));
    assert_eq!(of("bearer  abc ").as_deref(), Some("abc"));
    assert_eq!(of("Basic abc"), None);
    assert_eq!(of("abc"), None);
}

fn origin(headers: &[(&str, &str)], tls: bool) -> Result<(), &'static str> {
    let mut request = Request::builder().uri("/metrics");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    check_origin(&request.body(()).unwrap(), tls).map_err(|(reason, _)| reason)
}

#[test]
fn a_host_that_could_be_rebound_is_refused_without_tls() {
    for host in ["127.0.0.1:6433", "localhost", "LocalHost:1", "x.localhost", "[::1]:6433", "10.1.1.1"] {
        assert_eq!(origin(&[("host", host)], false), Ok(()), "{host}");
    }
    for host in [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "",
        "a b",
        "localhost@evil.example",
    ] {
        assert!(origin(&[("host", host)], false).is_err(), "{host}");
    }
    assert_eq!(origin(&[("host", "pgweir.internal")], true), Ok(()));
    assert!(origin(&[], false).is_err());
    assert!(origin(&[("host", "localhost"), ("host", "localhost")], false).is_err());
    let old = Request::builder().version(Version::HTTP_10).body(()).unwrap();
    assert_eq!(check_origin(&old, false), Ok(()));
    let absolute =
        Request::builder().uri("http://evil.example/metrics").header("host", "localhost").body(()).unwrap();
    assert!(check_origin(&absolute, false).is_err());
}

#[test]
fn pages_of_other_origins_are_refused() {
    let host = ("host", "127.0.0.1:6433");
    for (tls, good) in [
        (false, ("origin", "http://127.0.0.1:6433")),
        (true, ("origin", "https://127.0.0.1:6433")),
        (false, ("sec-fetch-site", "same-origin")),
        (false, ("sec-fetch-site", "none")),
    ] {
        assert_eq!(origin(&[host, good], tls), Ok(()), "{good:?}");
    }
    for (tls, bad) in [
        (true, ("origin", "http://127.0.0.1:6433")),
        (false, ("origin", "http://127.0.0.1:3000")),
        (false, ("origin", "http://localhost:6433")),
        (false, ("origin", "https://evil.example")),
        (false, ("origin", "null")),
        (false, ("sec-fetch-site", "cross-site")),
        (false, ("sec-fetch-site", "same-site")),
    ] {
        assert!(origin(&[host, bad], tls).is_err(), "{bad:?}");
    }
}
