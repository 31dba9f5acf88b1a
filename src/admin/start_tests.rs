//! Tests of start, reload and end of the surface, and of TLS.

use std::path::PathBuf;

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::*;

fn try_start(settings: AdminSettings) -> Result<AdminHandle, String> {
    start(settings, Arc::new(Registry::default()), Arc::new(Proxy::default()))
}

fn why_not(change: impl FnOnce(&mut AdminSettings)) -> String {
    let mut settings = AdminSettings { port: 0, ..AdminSettings::default() };
    change(&mut settings);
    try_start(settings).err().expect("it must not start")
}

#[test]
fn it_refuses_to_start_open_to_strangers() {
    let error = why_not(|settings| settings.address = "0.0.0.0".parse().unwrap());
    assert!(error.contains("admin.tls") && error.contains("admin.tokens"), "{error}");
    let error = why_not(|settings| {
        settings.address = "0.0.0.0".parse().unwrap();
        settings.tokens = tokens();
    });
    assert!(error.contains("`admin.tls` is missing"), "{error}");
}

#[test]
fn a_taken_port_and_missing_files_are_named_at_start() {
    let first = surface(vec![], |_| ());
    let port = first.handle.address().port();
    let error = why_not(|settings| settings.port = port);
    assert!(error.contains(&format!("127.0.0.1:{port}")), "{error}");
    let error = why_not(|settings| settings.audit_log = Some("/no/such/folder/a.log".into()));
    assert!(error.contains("/no/such/folder/a.log"), "{error}");
    let error = why_not(|settings| {
        settings.tls = Some(("/no/such/cert.pem".into(), "/no/such/key.pem".into()));
    });
    assert!(error.contains("/no/such/cert.pem"), "{error}");
}

#[test]
fn shutdown_closes_the_port_and_ends_idle_connections() {
    let surface = surface(vec![], |_| ());
    let address = surface.handle.address();
    let mut idle = TcpStream::connect(address).unwrap();
    idle.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(idle, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut start = [0; 12];
    idle.read_exact(&mut start).unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
    let begin = Instant::now();
    surface.handle.shutdown();
    assert!(begin.elapsed() < Duration::from_secs(3));
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).unwrap();
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn a_reload_takes_new_tokens_and_keeps_the_old_ones_when_they_are_wrong() {
    let surface = surface(tokens(), |_| ());
    let ask = |token| surface.ask_as("GET /api/database/connections", token).status;
    let mut settings = surface.settings.clone();
    settings.tokens.retain(|token| token.name == "ops");
    surface.handle.reload(&settings).unwrap();
    assert_eq!((ask(VIEWER), ask(OPERATOR)), (401, 200));
    settings.tokens[0].hash = "none".to_owned();
    let error = surface.handle.reload(&settings).unwrap_err();
    assert!(error.contains("`ops`"), "{error}");
    assert_eq!(ask(OPERATOR), 200);
    let mut moved = surface.settings.clone();
    moved.port = surface.handle.address().port() ^ 1;
    assert!(surface.handle.reload(&moved).unwrap_err().contains("restart"));
    let mut tls = surface.settings.clone();
    tls.tls = Some(("a".into(), "b".into()));
    assert!(surface.handle.reload(&tls).unwrap_err().contains("restart"));
}

/// A certificate for `pgweir.test`, written where the settings want it.
fn certificate(folder: &std::path::Path) -> (PathBuf, PathBuf, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(vec!["pgweir.test".to_owned()]).unwrap();
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    (cert, key, made.cert.der().clone())
}

fn ask_tls(surface: &Surface, trusted: &CertificateDer<'static>, request: &str) -> String {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("pgweir.test").unwrap();
    let tls = ClientConnection::new(Arc::new(config), name).unwrap();
    let port = surface.handle.address().port();
    let tcp = TcpStream::connect(("127.0.0.1", port)).unwrap();
    tcp.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut stream = StreamOwned::new(tls, tcp);
    let mut text = String::new();
    match stream.write_all(request.as_bytes()) {
        Ok(()) => {
            // An end without close_notify is an error to rustls, after the answer has been read.
            let _ = stream.read_to_string(&mut text);
            text
        }
        Err(error) => error.to_string(),
    }
}

#[test]
fn another_address_serves_with_tls_and_tokens_and_the_certificate_reloads() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key, trusted) = certificate(folder.path());
    let surface = surface(tokens(), |settings| {
        settings.address = "0.0.0.0".parse().unwrap();
        settings.tls = Some((cert, key));
    });
    let head = "Host: pgweir.test\r\nConnection: close\r\n";
    let metrics = format!("GET /metrics HTTP/1.1\r\n{head}\r\n");
    assert_eq!(reply(&ask_tls(&surface, &trusted, &metrics)).status, 200);
    let bearer = format!("Authorization: Bearer {VIEWER}\r\n");
    let api = format!("GET /api/database/connections HTTP/1.1\r\n{head}{bearer}\r\n");
    assert_eq!(reply(&ask_tls(&surface, &trusted, &api)).status, 200);
    let http_page = format!("GET /metrics HTTP/1.1\r\n{head}Origin: http://pgweir.test\r\n\r\n");
    assert_eq!(reply(&ask_tls(&surface, &trusted, &http_page)).status, 403);

    let mut plain = TcpStream::connect(("127.0.0.1", surface.handle.address().port())).unwrap();
    plain.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    plain.write_all(metrics.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // Closed or reset, either way without an answer in HTTP.
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"));

    let (_, _, renewed) = certificate(folder.path());
    surface.handle.reload(&surface.settings).unwrap();
    assert!(ask_tls(&surface, &trusted, &metrics).contains("certificate"));
    assert_eq!(reply(&ask_tls(&surface, &renewed, &metrics)).status, 200);
    std::fs::write(folder.path().join("cert.pem"), "no certificate").unwrap();
    let error = surface.handle.reload(&surface.settings).unwrap_err();
    assert!(error.contains("cert.pem"), "{error}");
    assert_eq!(reply(&ask_tls(&surface, &renewed, &metrics)).status, 200);
}

#[test]
fn connections_beyond_the_bound_wait_for_a_place() {
    let surface = surface(vec![], |_| ());
    let connect = || {
        let stream = TcpStream::connect(surface.handle.address()).unwrap();
        (&stream).write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        stream
    };
    let answer = |stream: &TcpStream, wait: u64| {
        stream.set_read_timeout(Some(Duration::from_millis(wait))).unwrap();
        let mut start = [0; 12];
        let mut stream = stream;
        stream.read_exact(&mut start).is_ok_and(|()| &start == b"HTTP/1.1 200")
    };
    let mut places: Vec<TcpStream> = Vec::new();
    for _ in 0..serve::CONNECTIONS_MAX {
        places.push(connect());
        assert!(answer(places.last().unwrap(), 10_000));
    }
    let waiting = connect();
    assert!(!answer(&waiting, 200));
    places.pop();
    assert!(answer(&waiting, 10_000));
}

#[test]
fn asking_on_many_connections_does_not_go_around_the_delay() {
    let surface = surface(tokens(), |_| ());
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let ask = || surface.ask_as("GET /api/database/connections", "wrong").status;
        let threads: Vec<_> = (0..40).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let count = |status| statuses.iter().filter(|&&s| s == status).count();
    assert_eq!(count(401) + count(429), 40);
    assert!(count(429) > 0, "{statuses:?}");
}
