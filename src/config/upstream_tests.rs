//! Connection URLs, as libpq reads them.

use proptest::prelude::*;

use super::*;

fn parse(url: &str) -> Result<Upstream, String> {
    Upstream::parse(url, &|_| None)
}

fn tcp(host: &str, port: u16) -> ServerAddress {
    ServerAddress::Tcp { host: host.to_owned(), port }
}

fn plain(text: &str) -> Secret {
    Secret::Plain(text.to_owned())
}

#[test]
fn a_plain_url() {
    let listen = "127.0.0.1:6432".parse().unwrap();
    let admin = "127.0.0.1:6433".parse().unwrap();
    let settings = from_upstream("postgres://app:s3cret@db:5433/shop", listen, admin, None).unwrap();
    let shop = &settings.databases["shop"];
    assert_eq!(shop.servers, [tcp("db", 5433)]);
    assert_eq!(shop.database.as_deref(), Some("shop"));
    assert_eq!(settings.databases["*"].servers, [tcp("db", 5433)]);
    assert_eq!(settings.databases["*"].database, None);
    assert_eq!(settings.auth.users["app"].secret, Some(plain("s3cret")));
    assert!(settings.workers >= 1);
}

#[test]
fn parts_are_decoded_and_have_defaults() {
    let upstream = parse("postgresql://a%40b:p%3a%2F%25+@h").unwrap();
    assert_eq!(upstream.user, "a@b");
    assert!(upstream.password == plain("p:/%+"));
    assert_eq!(upstream.database, "a@b");
    assert_eq!(upstream.servers, [tcp("h", 5432)]);
    assert_eq!(upstream.tls.mode, SslMode::Prefer);
    let upstream = parse("postgres://a:b@/d").unwrap();
    assert_eq!(upstream.servers, [tcp("127.0.0.1", 5432)]);
    // libpq lets an unencoded @ stand in a password; the last one counts.
    let upstream = parse("postgres://a:b@c@h/d").unwrap();
    assert!(upstream.password == plain("b@c"));
}

#[test]
fn hosts_may_be_lists_ipv6_and_socket_folders() {
    let servers = |url| parse(url).unwrap().servers;
    assert_eq!(servers("postgres://a:b@h1:1,h2,[::1]:3/d"), [tcp("h1", 1), tcp("h2", 5432), tcp("::1", 3)]);
    let socket = ServerAddress::Unix { directory: "/run/postgresql".into(), port: 5433 };
    assert_eq!(servers("postgres://a:b@%2Frun%2Fpostgresql:5433/d"), std::slice::from_ref(&socket));
    assert_eq!(servers("postgres://a:b@/d?host=/run/postgresql&port=5433"), [socket]);
    assert_eq!(servers("postgres://a:b@/d?host=x,y&port=1,2"), [tcp("x", 1), tcp("y", 2)]);
    assert!(parse("postgres://a:b@/d?host=x,y&port=1,2,3").is_err());
    assert!(parse("postgres://a:b@h:0/d").is_err());
    assert!(parse("postgres://a:b@h:99999/d").is_err());
}

#[test]
fn parameters_are_honoured_or_named() {
    let upstream =
        parse("postgres://h/?user=u&password=p&dbname=d&sslmode=require&connect_timeout=3").unwrap();
    assert_eq!((upstream.user.as_str(), upstream.database.as_str()), ("u", "d"));
    assert_eq!(upstream.tls.mode, SslMode::Require);
    assert_eq!(upstream.connect, Some(std::time::Duration::from_secs(3)));
    let error = |url| parse(url).err().unwrap();
    assert!(error("postgres://a:b@h/d?sslmod=require").contains("Did you mean sslmode?"));
    assert!(error("postgres://a:b@h/d?sslmode=maybe").contains("verify-full"));
    assert!(error("postgres://a:b@h/d?sslmode=verify-full").contains("sslrootcert"));
    assert!(error("postgres://a:b@h/d?sslrootcert=missing.pem").contains("missing.pem"));
    assert!(error("postgres://a:b@h/d?connect_timeout=soon").contains("seconds"));
}

#[test]
fn a_missing_password_comes_from_the_environment_or_is_an_error_that_helps() {
    let error = parse("postgres://app@h/d").err().unwrap();
    assert!(error.contains("PGPASSWORD"), "{error}");
    let environment = |name: &str| (name == "PGPASSWORD").then(|| "from-environment".to_owned());
    let upstream = Upstream::parse("postgres://app@h/d", &environment).unwrap();
    assert!(upstream.password == plain("from-environment"));
    let error = parse("postgres://h/d").err().unwrap();
    assert!(error.contains("names no user"), "{error}");
}

#[test]
fn broken_urls_are_refused_without_repeating_the_password() {
    for url in [
        "mysql://a:hunter2@h/d",
        "host=x password=hunter2",
        "postgres://a:hunter2%zz@h/d",
        "postgres://a:hunter2%4",
        "postgres://a:hunter2@h/%00",
        "postgres://a:hunter2/x@h/d",
        "postgres://a:x/hunter2@h/d",
        "postgres://a:hunter2?x@h/d",
        "postgres://a:x?hunter2@h/d",
        "postgres://a:hunter2@h/%ff",
    ] {
        let error = parse(url).err().expect(url);
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn an_open_admin_surface_is_refused() {
    let listen = "127.0.0.1:6432".parse().unwrap();
    let open = "0.0.0.0:6433".parse().unwrap();
    let error = from_upstream("postgres://a:b@h/d", listen, open, None).unwrap_err();
    assert!(error.contains("loopback"), "{error}");
    let error = from_upstream("postgres://a:b@h/d", listen, listen, None).unwrap_err();
    assert!(error.contains("another port"), "{error}");
}

proptest! {
    #[test]
    fn any_login_survives_encoding(user in "[^\0]{1,12}", password in "[^\0]{1,12}") {
        let encode = |text: &str| -> String {
            text.bytes().map(|byte| format!("%{byte:02X}")).collect()
        };
        let url = format!("postgres://{}:{}@h/d", encode(&user), encode(&password));
        let upstream = parse(&url).unwrap();
        prop_assert_eq!(upstream.user, user);
        prop_assert!(upstream.password == plain(&password));
    }

    #[test]
    fn no_text_panics(text in "[a-z@:/?%,&=\\[\\]0-9é]*") {
        let _ = parse(&format!("postgres://{text}"));
    }
}
