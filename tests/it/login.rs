//! How clients prove who they are to pgweir, and pgweir to servers; what is refused, and how little a refusal
//! tells.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pgweir::demo::cluster::{Cluster, ClusterOptions, TlsFiles};
use rustls::pki_types::pem::PemObject;

use crate::cluster::{APP_PASSWORD, APP_USER, TestDatabase, ask, batch, shared};
use crate::rawclient::{Fault, Raw};
use crate::support::{Authority, Weir, plain, psql, wait_for};

pub fn watch_url() -> String {
    shared().url("postgres")
}

/// A pgweir with a certificate of `authority`, in front of the shared cluster.
pub fn with_tls(database: &TestDatabase, authority: &Authority, more: &str) -> Weir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.pem"), &authority.pem).unwrap();
    authority.issue(folder.path(), "server", "localhost");
    authority.issue(folder.path(), APP_USER, APP_USER);
    authority.issue(folder.path(), "stranger", "stranger");
    let settings = tls_settings(database, more);
    Weir::start_in(folder, &settings, |_| {})
}

pub fn tls_settings(database: &TestDatabase, more: &str) -> String {
    plain(database, "max_size: 3", more).replace(
        "port: 0}\nadmin",
        "port: 0, tls: {cert: server.pem, key: server.key, client_ca: ca.pem}}\nadmin",
    )
}

fn conninfo(weir: &Weir, database: &str, more: &str) -> String {
    format!(
        "host=127.0.0.1 port={} dbname={database} user={APP_USER} password={APP_PASSWORD} {more}",
        weir.listen.port()
    )
}

/// TLS from the first byte, as PostgreSQL 17 and newer take it.
pub fn direct_tls(address: SocketAddr, authority: &Authority, alpn: &[&[u8]]) -> Tls {
    let mut roots = rustls::RootCertStore::empty();
    let ca = rustls::pki_types::CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap();
    roots.add(ca).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let name = "localhost".try_into().unwrap();
    let connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let tcp = TcpStream::connect(address).unwrap();
    tcp.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    rustls::StreamOwned::new(connection, tcp)
}

pub type Tls = rustls::StreamOwned<rustls::ClientConnection, TcpStream>;

pub fn fault(raw: Result<Raw, Fault>) -> Fault {
    raw.err().expect("it got in")
}

#[test]
fn scram_is_asked_for_and_bound_to_tls() {
    let database = TestDatabase::new("scram");
    let authority = Authority::new();
    let weir = with_tls(&database, &authority, "");
    let raw = weir.login(&database.name);
    assert_eq!(raw.asked, [10, 11, 12, 0]);
    let ca = weir.file("ca.pem");
    let bound = format!("sslmode=verify-full sslrootcert={} channel_binding=require", ca.display());
    let answer = psql(&conninfo(&weir, &database.name, &bound), "SELECT current_user").unwrap();
    assert_eq!(answer, APP_USER);
    assert!(weir.logged("tls=true") >= 1);
    let plain = psql(&conninfo(&weir, &database.name, "sslmode=disable channel_binding=require"), "SELECT 1");
    assert!(plain.unwrap_err().contains("channel binding"), "a binding to nothing");
    let wrong = conninfo(&weir, &database.name, &bound).replace(APP_PASSWORD, "wrong");
    assert!(psql(&wrong, "SELECT 1").unwrap_err().contains("password authentication failed"));
    drop(raw);
    weir.settles(3, &watch_url(), &database.name);
}

#[test]
fn md5_cleartext_certificates_and_trust_on_demand() {
    let database = TestDatabase::new("methods");
    let authority = Authority::new();
    let weir = with_tls(&database, &authority, "auth: {method: md5}");
    assert_eq!(weir.login(&database.name).asked, [5, 0]);
    assert_eq!(fault(Raw::connect(weir.listen).login(APP_USER, "wrong", &database.name)).sqlstate, "28P01");

    drop(weir);
    let weir = with_tls(&database, &authority, "auth: {method: cleartext}");
    let refused = fault(weir.try_login(&database.name));
    assert_eq!(refused.sqlstate, "28000", "{refused:?}");
    assert!(refused.message.contains("TLS"), "{refused:?}");
    let over = |weir: &Weir| Raw::over(Box::new(direct_tls(weir.listen, &authority, &[b"postgresql"])));
    let mut raw = over(&weir).login(APP_USER, APP_PASSWORD, &database.name).unwrap();
    assert_eq!((&*raw.asked.clone(), raw.query("SELECT 7").value()), (&[3, 0][..], "7"));
    assert_eq!(fault(over(&weir).login(APP_USER, "wrong", &database.name)).sqlstate, "28P01");

    drop((raw, weir));
    let weir = with_tls(&database, &authority, "auth: {method: cert}");
    let by = |name: &str, user: &str| {
        let file = |end: &str| weir.file(&format!("{name}.{end}")).display().to_string();
        let info = conninfo(&weir, &database.name, "").replace("user=app", &format!("user={user}"));
        let info = format!("{info} sslmode=require sslcert={} sslkey={}", file("pem"), file("key"));
        psql(&info, "SELECT current_user")
    };
    assert_eq!(by("app", "app").unwrap(), APP_USER);
    assert!(by("stranger", "app").unwrap_err().contains("certificate authentication failed"));
    let without = psql(&conninfo(&weir, &database.name, "sslmode=require"), "SELECT 1");
    assert!(without.unwrap_err().contains("valid client certificate"));
    // Signed by somebody else.
    let folder = tempfile::tempdir().unwrap();
    Authority::new().issue(folder.path(), "app", "app");
    let file = |end: &str| folder.path().join(format!("app.{end}")).display().to_string();
    let forged = format!("sslmode=require sslcert={} sslkey={}", file("pem"), file("key"));
    assert!(psql(&conninfo(&weir, &database.name, &forged), "SELECT 1").is_err());

    drop(weir);
    let weir = Weir::start(&plain(&database, "max_size: 1", "auth: {method: trust}"));
    let mut raw = Raw::connect(weir.listen).login(APP_USER, "", &database.name).unwrap();
    assert_eq!((&*raw.asked.clone(), raw.query("SELECT 7").value()), (&[0][..], "7"));
    drop(raw);
    weir.settles(1, &watch_url(), &database.name);
}

#[test]
fn users_come_from_a_list_or_a_query_and_secrets_pass_through() {
    let database = TestDatabase::new("sources");
    let admin = watch_url();
    batch(&admin, &["CREATE ROLE walter LOGIN PASSWORD 'first'"]);
    let verifier =
        |user: &str| ask(&admin, &format!("SELECT rolpassword FROM pg_authid WHERE rolname = '{user}'"));
    let folder = tempfile::tempdir().unwrap();
    let list = format!("\"walter\" \"{}\"\n", verifier("walter"));
    assert!(list.contains("SCRAM-SHA-256$"));
    std::fs::write(folder.path().join("userlist.txt"), list).unwrap();
    let listed = plain(&database, "max_size: 2", "auth: {userlist_file: userlist.txt}");
    let weir = Weir::start_in(folder, &listed, |_| {});
    let enter =
        |weir: &Weir, password: &str| Raw::connect(weir.listen).login("walter", password, &database.name);
    assert_eq!(enter(&weir, "first").unwrap().query("SELECT current_user").value(), "walter");
    assert_eq!(fault(enter(&weir, "second")).sqlstate, "28P01");

    drop(weir);

    // By a query, as the superuser; no password of walter is anywhere in the settings.
    let queried = format!(
        "  {}: {{password: {}}}\nauth: {{query: {{user: {}, database: {}}}}}",
        shared().superuser(),
        shared().password(),
        shared().superuser(),
        database.name
    );
    let users = format!("users:\n  {APP_USER}: {{password: {APP_PASSWORD}}}\n{queried}");
    let text = plain(&database, "max_size: 2", "");
    let text = text.replace(&format!("users: {{{APP_USER}: {{password: {APP_PASSWORD}}}}}"), &users);
    let weir = Weir::start(&text);
    assert_eq!(enter(&weir, "first").unwrap().query("SELECT current_user").value(), "walter");
    batch(&admin, &["ALTER ROLE walter PASSWORD 'second'"]);
    assert_eq!(fault(enter(&weir, "first")).sqlstate, "28P01");
    assert_eq!(enter(&weir, "second").unwrap().query("SELECT current_user").value(), "walter");
    batch(&admin, &["ALTER ROLE walter NOLOGIN"]);
    assert_eq!(fault(enter(&weir, "second")).sqlstate, "28P01");
    let odd = Raw::connect(weir.listen).login("o'x\\y\"", "first", &database.name);
    assert_eq!(fault(odd).sqlstate, "28P01");
    // The log and the API know no secret.
    let (_, api) = weir.get("/api/database/connections");
    for secret in ["first", "second", shared().password(), "SCRAM-SHA-256$"] {
        assert!(!weir.log().contains(secret) && !api.contains(secret), "{secret}");
    }
    weir.settles(4, &admin, &database.name);
    drop(weir);
    wait_for("nobody is walter", || {
        ask(&admin, "SELECT count(*) FROM pg_stat_activity WHERE usename = 'walter'") == "0"
    });
    batch(&admin, &["DROP ROLE walter"]);
}

/// A cluster that asks each of its users for another proof; `None` where PostgreSQL is built without TLS.
fn picky(folder: &Path, authority: &Authority) -> Option<Cluster> {
    authority.issue(folder, "server", "localhost");
    authority.issue(folder, "client", "certified");
    std::fs::write(folder.join("ca.pem"), &authority.pem).unwrap();
    let hba = [
        "host all hashed 127.0.0.1/32 md5",
        "host all open 127.0.0.1/32 password",
        "hostssl all secured 127.0.0.1/32 scram-sha-256",
        "hostssl all certified 127.0.0.1/32 cert",
        "host all secured,certified 127.0.0.1/32 reject",
    ];
    let started = Cluster::start(ClusterOptions {
        hba: hba.map(str::to_owned).to_vec(),
        tls: Some(TlsFiles {
            cert: folder.join("server.pem"),
            key: folder.join("server.key"),
            ca: Some(folder.join("ca.pem")),
        }),
        ..Default::default()
    });
    match started {
        Ok(cluster) => Some(cluster),
        Err(e) => {
            assert!(e.contains("SSL is not supported by this build"), "{e}");
            None
        }
    }
}

#[test]
fn servers_may_ask_for_any_proof() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let Some(cluster) = picky(folder.path(), &authority) else {
        return;
    };
    let roles = [
        "SET password_encryption = 'md5'; CREATE ROLE hashed LOGIN PASSWORD 'p-hashed'; RESET password_encryption",
        "CREATE ROLE open LOGIN PASSWORD 'p-open'",
        "CREATE ROLE secured LOGIN PASSWORD 'p-secured'",
        "CREATE ROLE certified LOGIN",
    ];
    batch(&cluster.url("postgres"), &roles);
    std::fs::write(folder.path().join("other.pem"), Authority::new().pem).unwrap();
    let port = cluster.port();
    let server = format!("servers: [{{host: 127.0.0.1, port: {port}}}], database: postgres");
    let text = format!(
        "listen: {{address: 127.0.0.1, port: 0}}\nadmin: {{address: 127.0.0.1, port: 0}}\nlog: {{level: debug}}\n\
         databases:\n  plain: {{{server}, tls: {{mode: disable}}}}\n  prefer: {{{server}}}\n\
         \x20 full: {{{server}, tls: {{mode: verify-full, ca: ca.pem}}}}\n\
         \x20 cert: {{{server}, tls: {{mode: verify-full, ca: ca.pem, cert: client.pem, key: client.key}}}}\n\
         \x20 wrong: {{{server}, tls: {{mode: verify-full, ca: other.pem}}}}\n\
         users:\n  hashed: {{password: p-hashed}}\n  open: {{password: p-open}}\n  secured: {{password: p-secured}}\n\
         \x20 certified: {{password: p-certified}}\n  mapped: {{password: p-mapped, server_user: secured, server_password: p-secured}}\n\
         \x20 outdated: {{password: p-mapped, server_user: secured, server_password: old}}\n"
    );
    let weir = Weir::start_in(folder, &text, |_| {});
    let enter = |user: &str, password: &str, database: &str| {
        Raw::connect(weir.listen).login(user, password, database)
    };
    let secured = "SELECT ssl::text || ' ' || current_user FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let good = [
        ("hashed", "plain", "false hashed"),
        ("open", "plain", "false open"),
        ("secured", "prefer", "true secured"),
        ("secured", "full", "true secured"),
        ("certified", "cert", "true certified"),
        ("mapped", "full", "true secured"),
    ];
    for (user, database, expected) in good {
        let mut raw = enter(user, &format!("p-{user}"), database)
            .unwrap_or_else(|fault| panic!("{user}@{database}: {fault:?}"));
        assert_eq!(raw.query(secured).value(), expected, "{user}@{database}");
    }
    // The server's own refusal is passed on; what pgweir refuses it explains.
    assert_eq!(fault(enter("secured", "p-secured", "plain")).sqlstate, "28000");
    assert_eq!(fault(enter("outdated", "p-mapped", "full")).sqlstate, "28P01");
    let untrusted = fault(enter("secured", "p-secured", "wrong"));
    assert_eq!(untrusted.sqlstate, "08001", "{untrusted:?}");
    assert!(untrusted.message.contains("certificate") || untrusted.message.contains("TLS"), "{untrusted:?}");
    for secret in ["p-hashed", "p-open", "p-secured", "p-mapped", "p-certified"] {
        assert!(!weir.log().contains(secret), "{secret}");
    }
}

#[test]
fn refusals_look_alike_and_get_slower() {
    let database = TestDatabase::new("alike");
    let weir = Weir::start(&plain(&database, "max_size: 2", ""));
    let mut shapes = Vec::new();
    let mut took = Vec::new();
    let cases = [
        (APP_USER, "wrong", &*database.name),
        ("nobody", APP_PASSWORD, &database.name),
        (APP_USER, APP_PASSWORD, "nowhere"),
        ("nobody", "x", "nowhere"),
        (APP_USER, "", &database.name),
    ];
    for (user, password, name) in cases {
        let begun = Instant::now();
        let mut refused = fault(Raw::connect(weir.listen).login(user, password, name));
        took.push(begun.elapsed());
        refused.message = refused.message.replace(user, "USER");
        shapes.push(refused);
    }
    println!("time until the refusal, which grows with each: {took:?}");
    assert!(shapes.iter().all(|shape| *shape == shapes[0]), "{shapes:#?}");
    assert_eq!((&*shapes[0].sqlstate, &*shapes[0].severity), ("28P01", "FATAL"));
    assert!(took[4] >= Duration::from_millis(1500) && took[4] > 2 * took[1], "{took:?}");
    assert_eq!(weir.metric("pgweir_logins_failed_total", &[]), 5.0);
    // Who knows the password does not wait.
    let begun = Instant::now();
    let good = weir.login(&database.name);
    assert!(begun.elapsed() < Duration::from_millis(1200), "{:?}", begun.elapsed());
    drop(good);
    weir.settles(2, &watch_url(), &database.name);
}

/// Where every name is served, the auth query runs on the database that was asked for, which may not exist.
#[test]
fn the_auth_query_does_not_tell_which_databases_there_are() {
    let (superuser, password) = (shared().superuser(), shared().password());
    let text =
        plain(&TestDatabase::new("star"), "max_size: 2", &format!("auth: {{query: {{user: {superuser}}}}}"));
    let start = text.find("databases:").unwrap();
    let end = text.find("auth:").unwrap();
    let port = shared().port();
    let text = format!(
        "{}databases: {{\"*\": {{servers: [{{host: 127.0.0.1, port: {port}}}]}}}}\n\
         users: {{{superuser}: {{password: {password}}}}}\n{}",
        &text[..start],
        &text[end..]
    );
    let weir = Weir::start(&text);
    let enter = |name: &str, user: &str| Raw::connect(weir.listen).login(user, APP_PASSWORD, name);
    assert_eq!(enter("postgres", APP_USER).unwrap().query("SELECT current_user").value(), APP_USER);
    let refusals = ["postgres", "nowhere"].map(|name| fault(enter(name, "nobody")));
    assert_eq!(refusals[0].sqlstate, "28P01");
    assert_eq!(refusals[0], refusals[1]);
    // Who is known by the query alone cannot be checked on a database that is not there, and hears the same.
    assert_eq!(fault(enter("nowhere", APP_USER)).sqlstate, "28P01");
}
