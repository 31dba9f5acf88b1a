//! The first bytes of a connection: encryption, start-up parameters, limits, and whatever else may come.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;

use crate::cluster::{APP_PASSWORD, APP_USER, TestDatabase, shared};
use crate::login::{direct_tls, fault, tls_settings, watch_url, with_tls};
use crate::rawclient::{Raw, framed};
use crate::support::{Authority, Weir, plain, wait_for};

const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
const GSS_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x30];

/// What a connection that sends this and then nothing gets, up to its end.
fn says(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut tcp = TcpStream::connect(address).unwrap();
    tcp.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    tcp.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    // A reset is an end as well; a timeout is not.
    if let Err(error) = tcp.read_to_end(&mut answer) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
    }
    answer
}

fn startup_packet(user: &str, database: &str) -> Vec<u8> {
    let body = format!("\0\x03\0\0user\0{user}\0database\0{database}\0\0");
    [&(body.len() as i32 + 4).to_be_bytes()[..], body.as_bytes()].concat()
}

#[test]
fn nothing_is_smuggled_in_front_of_encryption() {
    let database = TestDatabase::new("smuggled");
    let authority = Authority::new();
    let secure = with_tls(&database, &authority, "");
    let open = Weir::start(&plain(&database, "max_size: 2", ""));
    for weir in [&secure, &open] {
        for request in [SSL_REQUEST, GSS_REQUEST] {
            let bytes = [&request[..], &startup_packet(APP_USER, &database.name)].concat();
            let answer = says(weir.listen, &bytes);
            assert!(answer.len() <= 1 && !answer.contains(&b'R'), "{answer:?}");
        }
        wait_for("a reason", || weir.logged("bytes behind a") == 2);
        // Politely refused, the login goes on in the open, and a second request is one too many.
        let mut raw = Raw::connect(weir.listen);
        raw.send(&GSS_REQUEST);
        let mut answer = [0];
        raw.tcp().read_exact(&mut answer).unwrap();
        assert_eq!(answer, *b"N");
        let mut raw = raw.login(APP_USER, APP_PASSWORD, &database.name).unwrap();
        assert_eq!(raw.query("SELECT 1").value(), "1");
    }
    let mut raw = Raw::connect(open.listen);
    raw.send(&SSL_REQUEST);
    let mut answer = [0];
    raw.tcp().read_exact(&mut answer).unwrap();
    assert_eq!(answer, *b"N");
    raw.login(APP_USER, APP_PASSWORD, &database.name).unwrap();
}

#[test]
fn direct_tls_needs_its_protocol_name() {
    let database = TestDatabase::new("direct");
    let authority = Authority::new();
    let weir = with_tls(&database, &authority, "");
    let good = direct_tls(weir.listen, &authority, &[b"postgresql"]);
    let mut raw = Raw::over(Box::new(good)).login(APP_USER, APP_PASSWORD, &database.name).unwrap();
    assert_eq!(raw.query("SELECT 'direct'").value(), "direct");
    for alpn in [&[][..], &[&b"http/1.1"[..]]] {
        let mut stream = direct_tls(weir.listen, &authority, alpn);
        let sent = stream.write_all(&startup_packet(APP_USER, &database.name)).and_then(|()| stream.flush());
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        assert!(answer.is_empty(), "{answer:?} {sent:?} {read:?}");
    }
    drop(raw);
    weir.settles(3, &watch_url(), &database.name);
}

#[test]
fn a_new_certificate_drops_nobody() {
    let database = TestDatabase::new("renewed");
    let authority = Authority::new();
    let weir = with_tls(&database, &authority, "");
    let shown = || {
        let mut stream = direct_tls(weir.listen, &authority, &[b"postgresql"]);
        stream.write_all(&startup_packet(APP_USER, &database.name)).unwrap();
        stream.conn.peer_certificates().unwrap()[0].to_vec()
    };
    let old = direct_tls(weir.listen, &authority, &[b"postgresql"]);
    let mut old = Raw::over(Box::new(old)).login(APP_USER, APP_PASSWORD, &database.name).unwrap();
    let before = shown();
    // Half of a new pair is refused, and the old one stays.
    let (cert, key) = (weir.file("server.pem"), std::fs::read(weir.file("server.key")).unwrap());
    authority.issue(weir.folder(), "server", "localhost");
    let new_key = std::fs::read(weir.file("server.key")).unwrap();
    std::fs::write(weir.file("server.key"), key).unwrap();
    weir.signal(libc::SIGHUP);
    wait_for("a refusal", || weir.logged("the settings were not reloaded") > 0);
    assert_eq!(shown(), before);
    std::fs::write(weir.file("server.key"), new_key).unwrap();
    weir.reload(&tls_settings(&database, ""));
    let new = rustls::pki_types::CertificateDer::from_pem_file(cert).unwrap();
    assert_eq!(shown(), new.to_vec());
    assert_eq!(old.query("SELECT 'still here'").value(), "still here");
}

#[test]
fn unix_sockets_lead_in_and_out() {
    let database = TestDatabase::new("unix");
    let folder = tempfile::tempdir().unwrap();
    let text = plain(&database, "max_size: 2", "")
        .replace(
            "port: 0}\nadmin",
            &format!("port: 0, unix_socket_dir: {}}}\nadmin", folder.path().display()),
        )
        .replace("host: 127.0.0.1,", &format!("host: {},", shared().socket_dir().display()));
    let weir = Weir::start(&text);
    let path = folder.path().join(format!(".s.PGSQL.{}", weir.listen.port()));
    let enter = |password: &str| {
        let stream = UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Raw::over(Box::new(stream)).login(APP_USER, password, &database.name)
    };
    let mut raw = enter(APP_PASSWORD).unwrap();
    assert_eq!(raw.query("SELECT inet_server_port() IS NULL").value(), "t");
    assert_eq!(fault(enter("wrong")).sqlstate, "28P01");
    let begun = Instant::now();
    (0..2).for_each(|_| drop(enter("wrong")));
    assert!(begun.elapsed() >= Duration::from_millis(400), "guessing by the socket is not slowed");
    let by_tcp = weir.login(&database.name);
    drop((raw, by_tcp));
    weir.settles(2, &watch_url(), &database.name);
    drop(weir);
}

#[test]
fn limits_name_what_they_limit() {
    let database = TestDatabase::new("limits");
    let more = ["limits: {clients: 2}", "limits: {clients_per_user: 2}", "limits: {clients_per_database: 2}"];
    for (more, named) in
        more.iter().zip(["in all", "user \"app\"", &format!("database \"{}\"", database.name)])
    {
        let weir = Weir::start(&plain(&database, "max_size: 1", more));
        let held = [weir.login(&database.name), weir.login(&database.name)];
        let refused = fault(weir.try_login(&database.name));
        assert_eq!((&*refused.sqlstate, &*refused.severity), ("53300", "FATAL"));
        assert!(refused.message.contains(named) && refused.message.contains('2'), "{refused:?}");
        assert!(weir.metric("pgweir_clients_refused_total", &[]) >= 1.0);
        drop(held);
        wait_for("room again", || weir.try_login(&database.name).is_ok());
        weir.settles(1, &watch_url(), &database.name);
    }
}

#[test]
fn startup_parameters_are_taken_as_postgresql_takes_them() {
    let database = TestDatabase::new("startup");
    let weir = Weir::start(&plain(&database, "max_size: 2", ""));
    let enter = |name: &str, value: &str| {
        Raw::connect(weir.listen).with(name, value).login(APP_USER, APP_PASSWORD, &database.name)
    };
    let direct = |name: &str, value: &str| {
        let server = ([127, 0, 0, 1], shared().port()).into();
        Raw::connect(server).with(name, value).login(APP_USER, APP_PASSWORD, &database.name)
    };
    for (name, value) in [
        ("no_such_setting", "1"),
        ("work_mem", "lots"),
        ("options", "-c no_such=1"),
        ("DateStyle", "sometimes"),
        ("client_encoding", "klingon"),
        ("shared_buffers", "1MB"),
        ("options", "-c work_mem=lots"),
    ] {
        let (mine, real) = (fault(enter(name, value)), fault(direct(name, value)));
        assert_eq!(
            (&mine.sqlstate, &mine.severity),
            (&real.sqlstate, &real.severity),
            "{name}={value}: {mine:?} {real:?}"
        );
    }
    for (name, value, show) in [
        ("options", "-c work_mem=3MB -c search_path=a,\\ b", "work_mem"),
        ("TimeZone", "asia/tokyo", "TimeZone"),
        ("options", "--statement_timeout=7s", "statement_timeout"),
        ("extra_float_digits", "2", "extra_float_digits"),
        ("geqo", "off", "geqo"),
    ] {
        let show = format!("SHOW {show}");
        let (mut mine, mut real) = (enter(name, value).unwrap(), direct(name, value).unwrap());
        assert_eq!(mine.query(&show).value(), real.query(&show).value(), "{name}={value}");
        let names = |raw: &Raw| {
            let mut all: Vec<_> =
                raw.parameters.iter().filter(|(name, _)| name != "application_name").cloned().collect();
            all.sort();
            all
        };
        assert_eq!(names(&mine), names(&real), "{name}={value}");
    }
    // Newer protocols and options of the future.
    let mut newer = Raw::connect(weir.listen);
    newer.version = 0x0003_0002;
    let newer = newer.login(APP_USER, APP_PASSWORD, &database.name).unwrap();
    assert_eq!((newer.secret.len(), newer.negotiated.as_ref()), (32, None));
    let mut future = Raw::connect(weir.listen).with("_pq_.telepathy", "on");
    future.version = 0x0003_0063;
    let future = future.login(APP_USER, APP_PASSWORD, &database.name).unwrap();
    assert_eq!(
        future.negotiated.clone().unwrap(),
        [&[0, 3, 0, 2, 0, 0, 0, 1][..], b"_pq_.telepathy\0"].concat()
    );
    for version in [0x0002_0000, 0x0004_0000] {
        let mut old = Raw::connect(weir.listen);
        old.version = version;
        assert_eq!(fault(old.login(APP_USER, APP_PASSWORD, &database.name)).sqlstate, "0A000");
    }
    drop((newer, future));
    weir.settles(2, &watch_url(), &database.name);
}

#[test]
fn garbage_is_shown_the_door() {
    let database = TestDatabase::new("garbage");
    let weir = Weir::start(&plain(&database, "max_size: 1", "timeouts: {login: 2s}"));
    let mut witness = weir.login(&database.name);
    let login = startup_packet(APP_USER, &database.name);
    let sasl = |body: &[u8]| [&login[..], &framed(b'p', body)].concat();
    let long = vec![b'x'; 20_000];
    let cases: [(&str, Vec<u8>); 12] = [
        ("nothing", Vec::new()),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        ("a short length", vec![0, 0, 0, 3, 0, 0]),
        ("a huge length", vec![0x7f, 0xff, 0xff, 0xff, 0, 3, 0, 0]),
        ("a negative length", vec![0xff; 12]),
        ("half a packet", login[..9].to_vec()),
        ("no user", b"\0\0\0\x09\0\x03\0\0\0".to_vec()),
        ("a name without an end", b"\0\0\0\x0d\0\x03\0\0userx".to_vec()),
        ("a query instead of a proof", [&login[..], &crate::rawclient::query("SELECT 1")].concat()),
        ("an unknown mechanism", sasl(b"PLAIN\0\0\0\0\x01x")),
        ("a proof that is none", sasl(b"SCRAM-SHA-256\0\0\0\0\x05n,,n=")),
        ("a proof without end", sasl(&long)),
    ];
    for (what, bytes) in &cases {
        let answer = says(weir.listen, bytes);
        let ready = answer.windows(6).any(|window| window == b"Z\0\0\0\x05I");
        assert!(!ready, "{what} got in");
        assert_eq!(witness.query("SELECT 'here'").value(), "here", "{what}");
    }
    // A handshake of TLS where there is none.
    assert!(says(weir.listen, &[0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0]).is_empty());
    drop(witness);
    weir.settles(1, &watch_url(), &database.name);
}
