//! Real handshakes in memory between our two sides, and the errors of files that are not right.

use std::sync::Arc;

use rustls::{ClientConfig, ClientConnection, HandshakeKind, ServerConnection};

use super::certificate::{channel_binding, common_name};
use super::client::{connector, server_name};
use super::server::{Acceptor, AcceptorSource};
use super::test_files::Folder;
use super::{ClientTls, ServerTls, SslMode};

/// Both ends of a finished handshake, or why there is none.
fn handshake(
    acceptor: &Acceptor,
    config: Arc<ClientConfig>,
    host: &str,
) -> Result<(ClientConnection, ServerConnection), String> {
    let mut client = ClientConnection::new(config, server_name(host).unwrap()).unwrap();
    let mut server = ServerConnection::new(acceptor.config.clone()).unwrap();
    // TLS takes three flights at most, and one for the tickets.
    for _ in 0..5 {
        let mut cable = Vec::new();
        client.write_tls(&mut cable).unwrap();
        server.read_tls(&mut cable.as_slice()).unwrap();
        server.process_new_packets().map_err(|error| format!("server: {error}"))?;
        let mut cable = Vec::new();
        server.write_tls(&mut cable).unwrap();
        client.read_tls(&mut cable.as_slice()).unwrap();
        client.process_new_packets().map_err(|error| format!("client: {error}"))?;
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok((client, server))
}

fn attempt(acceptor: &Acceptor, settings: &ServerTls, host: &str) -> Result<(), String> {
    let config = connector(settings).unwrap().expect("TLS is not disabled");
    handshake(acceptor, config, host).map(drop)
}

#[test]
fn each_mode_trusts_what_libpq_trusts() {
    use SslMode::{Prefer, Require, VerifyCa, VerifyFull};
    let files = Folder::new();
    files.issue("named", "db.example.org", &[]);
    files.issue("misnamed", "db.example.org", &["other.example.org"]);
    files.issue_self_signed("own", "db.example.org", false);
    files.issue_self_signed("old", "db.example.org", true);
    let (own_ca, other_ca) = (Some("ca.pem"), Some("own.pem"));
    let cases = [
        ("server", Prefer, other_ca, "elsewhere", true),
        ("server", Require, None, "elsewhere", true),
        ("server", Require, own_ca, "elsewhere", true),
        ("server", Require, other_ca, "db.example.org", false),
        ("server", VerifyCa, own_ca, "elsewhere", true),
        ("server", VerifyCa, other_ca, "db.example.org", false),
        ("server", VerifyFull, own_ca, "db.example.org", true),
        ("server", VerifyFull, own_ca, "127.0.0.1", true),
        ("server", VerifyFull, own_ca, "127.0.0.2", false),
        ("server", VerifyFull, own_ca, "elsewhere", false),
        ("server", VerifyFull, other_ca, "db.example.org", false),
        ("named", VerifyFull, own_ca, "DB.example.org", true),
        ("named", VerifyFull, own_ca, "elsewhere", false),
        ("misnamed", VerifyFull, own_ca, "db.example.org", false),
        ("own", VerifyFull, other_ca, "db.example.org", true),
        ("own", VerifyFull, other_ca, "elsewhere", false),
        ("own", VerifyCa, own_ca, "db.example.org", false),
        ("old", VerifyCa, Some("old.pem"), "db.example.org", false),
        ("old", Require, None, "db.example.org", true),
    ];
    for (file, mode, ca, host, works) in cases {
        let acceptor = Acceptor::load(&files.towards_clients(file)).unwrap();
        let outcome = attempt(&acceptor, &files.towards_servers(mode, ca), host);
        assert_eq!(outcome.is_ok(), works, "{file} {mode:?} {ca:?} {host}: {outcome:?}");
    }
    assert!(connector(&ServerTls::default()).unwrap().is_some());
    let disabled = files.towards_servers(SslMode::Disable, None);
    assert!(connector(&disabled).unwrap().is_none());
}

#[test]
fn both_ends_compute_the_same_channel_binding_and_agree_on_alpn() {
    let files = Folder::new();
    let acceptor = Acceptor::load(&files.towards_clients("server")).unwrap();
    let config = connector(&files.towards_servers(SslMode::Require, None)).unwrap().unwrap();
    let (client, server) = handshake(&acceptor, config, "x").unwrap();
    let seen = client.peer_certificates().unwrap();
    assert_eq!(channel_binding(&seen[0]), acceptor.channel_binding);
    assert_eq!(acceptor.channel_binding.as_ref().map(Vec::len), Some(32));
    assert_eq!(server.alpn_protocol(), Some(super::ALPN));
    assert_eq!(client.alpn_protocol(), Some(super::ALPN));
}

#[test]
fn alpn_may_be_missing_but_not_wrong() {
    let files = Folder::new();
    let acceptor = Acceptor::load(&files.towards_clients("server")).unwrap();
    let config = connector(&files.towards_servers(SslMode::Require, None)).unwrap().unwrap();
    for (protocols, works) in [(vec![], true), (vec![b"h2".to_vec()], false)] {
        let mut config = ClientConfig::clone(&config);
        config.alpn_protocols = protocols;
        let outcome = handshake(&acceptor, Arc::new(config), "x");
        assert_eq!(outcome.is_ok(), works);
        if let Ok((_, server)) = outcome {
            assert_eq!(server.alpn_protocol(), None);
        }
    }
}

#[test]
fn client_certificates_name_their_user() {
    let files = Folder::new();
    let strangers = Folder::new();
    files.issue("app", "app", &[]);
    strangers.issue("app", "app", &[]);
    let settings = ClientTls { client_ca: Some(files.path("ca.pem")), ..files.towards_clients("server") };
    let asks = Acceptor::load(&settings).unwrap();
    let ignores = Acceptor::load(&files.towards_clients("server")).unwrap();
    let with = |owner: &Folder| {
        let settings = ServerTls {
            cert: Some(owner.path("app.pem")),
            key: Some(owner.path("app.key")),
            ..files.towards_servers(SslMode::Require, None)
        };
        connector(&settings).unwrap().unwrap()
    };
    let without = connector(&files.towards_servers(SslMode::Require, None)).unwrap().unwrap();
    let name = |acceptor: &Acceptor, config: Arc<ClientConfig>| {
        handshake(acceptor, config, "x")
            .map(|(_, server)| server.peer_certificates().and_then(|chain| common_name(&chain[0])))
    };
    assert_eq!(name(&asks, with(&files)), Ok(Some("app".into())));
    assert_eq!(name(&asks, without), Ok(None));
    assert_eq!(name(&ignores, with(&files)), Ok(None));
    assert!(name(&asks, with(&strangers)).unwrap_err().starts_with("server: "));
}

#[test]
fn sessions_resume_and_keep_the_certificate() {
    let files = Folder::new();
    files.issue("app", "app", &[]);
    let settings = ClientTls { client_ca: Some(files.path("ca.pem")), ..files.towards_clients("server") };
    let source = AcceptorSource::load(&settings).unwrap();
    let client_side = ServerTls {
        cert: Some(files.path("app.pem")),
        key: Some(files.path("app.key")),
        ..files.towards_servers(SslMode::VerifyFull, Some("ca.pem"))
    };
    let config = connector(&client_side).unwrap().unwrap();
    let kind = |source: &AcceptorSource| {
        let (client, server) = handshake(&source.current(), config.clone(), "db.example.org").unwrap();
        let user = server.peer_certificates().and_then(|chain| common_name(&chain[0]));
        assert_eq!(user.as_deref(), Some("app"));
        assert!(client.peer_certificates().is_some());
        server.handshake_kind()
    };
    assert_eq!(kind(&source), Some(HandshakeKind::Full));
    assert_eq!(kind(&source), Some(HandshakeKind::Resumed));
    source.reload(&settings).unwrap();
    assert_eq!(kind(&source), Some(HandshakeKind::Full));
}

#[test]
fn reload_is_for_new_connections_and_a_bad_one_changes_nothing() {
    let files = Folder::new();
    let settings = files.towards_clients("server");
    let source = AcceptorSource::load(&settings).unwrap();
    let before = source.current();
    files.write("server.pem", "nonsense");
    assert!(source.reload(&settings).is_err());
    assert!(Arc::ptr_eq(&before, &source.current()));

    let certificate = files.issue("server", "", &["db.example.org"]);
    source.reload(&settings).unwrap();
    assert_eq!(source.current().channel_binding, channel_binding(certificate.der()));
    // A connection that took the old configuration still finishes with it.
    let config = connector(&files.towards_servers(SslMode::Require, None)).unwrap().unwrap();
    let (client, _) = handshake(&before, config, "x").unwrap();
    let seen = client.peer_certificates().unwrap();
    assert_eq!(channel_binding(&seen[0]), before.channel_binding);
    assert_ne!(before.channel_binding, source.current().channel_binding);
}

/// Files of certificate, key and client CA, and how the error has to go on behind the folder.
type Wrong = (&'static str, &'static str, Option<&'static str>, &'static str);

#[rustfmt::skip]
const WRONG: [Wrong; 10] = [
    ("absent.pem", "server.key", None, "absent.pem: No such file"),
    ("server.pem", "absent.key", None, "absent.key: No such file"),
    ("empty.pem", "server.key", None, "empty.pem: no BEGIN CERTIFICATE"),
    ("cut.pem", "server.key", None, "cut.pem: not well-formed PEM"),
    ("server.key", "server.key", None, "server.key: no BEGIN CERTIFICATE"),
    ("server.pem", "server.pem", None, "server.pem: no BEGIN PRIVATE KEY"),
    ("server.pem", "locked.key", None, "locked.key: the key is encrypted"),
    ("server.pem", "other.key", None, "other.key: it does not go with"),
    ("server.pem", "server.key", Some("absent.pem"), "absent.pem: No such file"),
    ("server.pem", "server.key", Some("junk.pem"), "junk.pem: certificate 1 of it"),
];

#[test]
fn errors_towards_clients_name_the_file() {
    let files = Folder::new();
    files.issue("other", "", &[]);
    files.write("empty.pem", "");
    files.write("cut.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n");
    let framed = |kind| format!("-----BEGIN {kind}-----\nAAAA\n-----END {kind}-----\n");
    files.write("junk.pem", &framed("CERTIFICATE"));
    files.write("locked.key", &framed("ENCRYPTED PRIVATE KEY"));
    for (cert, key, client_ca, words) in WRONG {
        let settings = ClientTls {
            cert: files.path(cert),
            key: files.path(key),
            client_ca: client_ca.map(|name| files.path(name)),
            required: false,
        };
        let error = Acceptor::load(&settings).unwrap_err().to_string();
        assert!(error.contains(words), "{cert} {key} {client_ca:?}: {error}");
    }
}

#[test]
fn errors_towards_servers_name_file_or_setting() {
    let files = Folder::new();
    files.issue("other", "", &[]);
    let problem = |settings: &ServerTls| connector(settings).unwrap_err().to_string();
    let half =
        ServerTls { cert: Some(files.path("server.pem")), ..files.towards_servers(SslMode::Require, None) };
    assert!(problem(&half).contains("without `key`"));
    let mixed = ServerTls { key: Some(files.path("other.key")), ..half };
    assert!(problem(&mixed).contains("other.key: it does not go with"));
    let blind = files.towards_servers(SslMode::VerifyFull, None);
    assert!(problem(&blind).contains("need `ca`"));
    assert!(server_name("a b").unwrap_err().to_string().contains("\"a b\""));
}
