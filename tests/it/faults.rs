//! What may go wrong between clients, pgweir and the server, done on purpose. After each: nobody is stuck, no
//! counter leaked, PostgreSQL agrees, and no answer went to somebody else.

use std::time::{Duration, Instant};

use pgweir::demo::cluster::{Cluster, ClusterOptions};

use crate::cluster::{self, TestDatabase, ask, batch, shared};
use crate::rawclient::{Raw, extended, framed};
use crate::support::{Weir, plain, settings, until, wait_for};

/// Superuser connections for looking from the side.
pub fn watch_url() -> String {
    shared().url("postgres")
}

fn activity(database: &TestDatabase, condition: &str) -> usize {
    let query =
        format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND {condition}", database.name);
    ask(&watch_url(), &query).parse().unwrap()
}

/// A row that only this client can have asked for.
pub fn identify(raw: &mut Raw, who: &str) {
    assert_eq!(raw.query(&format!("SELECT '{who}'")).value(), who);
}

const STAGES: [&str; 4] = ["idle", "mid-query", "mid-copy", "mid-transaction"];

/// Brings a client to a stage; returns the process id of its server, where it has one.
fn bring_to(raw: &mut Raw, stage: &str, sleep: &str) -> Option<i32> {
    let pid = raw.query("SELECT pg_backend_pid()").value().parse().unwrap();
    match stage {
        "idle" => {}
        "mid-query" => {
            let pid = raw.query("BEGIN; SELECT pg_backend_pid()").rows[0].parse().unwrap();
            raw.start_query(sleep);
            return Some(pid);
        }
        "mid-copy" => {
            let pid = raw.query("BEGIN; SELECT pg_backend_pid()").rows[0].parse().unwrap();
            raw.start_query("COPY copied FROM STDIN");
            raw.expect(b'G');
            raw.send(&framed(b'd', b"half a line"));
            return Some(pid);
        }
        _ => {
            let reply = raw.query("BEGIN; INSERT INTO copied VALUES ('open'); SELECT pg_backend_pid()");
            assert_eq!(reply.status, b'T');
            return Some(reply.rows[0].parse().unwrap());
        }
    }
    Some(pid)
}

#[test]
fn a_server_process_that_is_killed_costs_its_client_one_error() {
    let cluster = Cluster::start(ClusterOptions::default()).unwrap();
    cluster::prepare(&cluster);
    let url = cluster.url("postgres");
    batch(&url, &["CREATE TABLE copied (line text)", "GRANT ALL ON copied TO app", "CHECKPOINT"]);
    let weir = Weir::start(&settings("postgres", cluster.port(), "max_size: 3", ""));
    let mut bystander = weir.login("postgres");
    for (at, stage) in STAGES.into_iter().enumerate() {
        let mut victim = weir.login("postgres");
        identify(&mut bystander, "bystander");
        let pid = bring_to(&mut victim, stage, "SELECT pg_sleep(60)").unwrap();
        // SAFETY: the process is a server of this test's own cluster.
        assert_eq!(unsafe { libc::kill(pid, libc::SIGKILL) }, 0);
        // The crash of one takes all the others, and who asks in between may meet a dying one.
        wait_for("the server has noticed", || {
            let log = std::fs::read_to_string(cluster.log()).unwrap();
            log.matches("all server processes terminated").count() > at
        });
        if stage == "idle" {
            identify(&mut victim, "victim");
        } else {
            let fault = victim.last_words();
            // Its own server is gone without a word.
            assert_eq!((&*fault.severity, &*fault.sqlstate), ("FATAL", "08006"), "{stage}: {fault:?}");
            assert!(fault.hint.contains("Connect again"), "{fault:?}");
        }
        identify(&mut bystander, stage);
    }
    let mut victims: Vec<(Raw, &str)> = STAGES[1..]
        .iter()
        .map(|&stage| {
            let mut raw = weir.login("postgres");
            bring_to(&mut raw, stage, "SELECT pg_sleep(60)");
            (raw, stage)
        })
        .collect();
    let cluster = std::thread::scope(|scope| {
        scope.spawn(|| cluster.kill_hard().unwrap()).join().unwrap();
        &cluster
    });
    for (victim, stage) in &mut victims {
        let fault = victim.last_words();
        assert_eq!(fault.severity, "FATAL", "{stage}: {fault:?}");
    }
    cluster.restart().unwrap();
    identify(&mut bystander, "after the crash");
    drop((victims, bystander));
    weir.settles(3, &url, "postgres");
    assert_eq!(ask(&url, "SELECT count(*) FROM copied"), "0");
}

#[test]
fn a_terminated_server_says_so_itself() {
    let database = TestDatabase::new("terminated");
    batch(&database.url(), &["CREATE TABLE copied (line text)"]);
    let weir = Weir::start(&plain(&database, "max_size: 3", ""));
    let mut bystander = weir.login(&database.name);
    for stage in STAGES {
        let mut victim = weir.login(&database.name);
        let pid = bring_to(&mut victim, stage, "SELECT pg_sleep(60)").unwrap();
        ask(&watch_url(), &format!("SELECT pg_terminate_backend({pid}, 5000)"));
        if stage == "idle" {
            identify(&mut victim, "victim");
        } else {
            assert_eq!(victim.last_words().sqlstate, "57P01", "{stage}");
        }
        identify(&mut bystander, stage);
    }
    drop(bystander);
    weir.settles(3, &watch_url(), &database.name);
}

#[test]
fn a_client_that_is_killed_leaves_nothing_behind() {
    let database = TestDatabase::new("client_killed");
    batch(&database.url(), &["CREATE TABLE copied (line text)"]);
    for mode in ["transaction", "session"] {
        let pool = format!("mode: {mode}, max_size: 2");
        let weir = Weir::start(&plain(&database, &pool, ""));
        for stage in STAGES {
            for reset in [false, true] {
                let mut victim = weir.login(&database.name);
                bring_to(&mut victim, stage, "SELECT pg_sleep(0.3)");
                if reset {
                    victim.reset()
                } else {
                    victim.vanish()
                }
                let mut next = weir.login(&database.name);
                identify(&mut next, stage);
            }
        }
        // In a large answer, in a message of its own, pinned, and in a failed transaction.
        let ends = [
            "SELECT repeat('x', 1000) FROM generate_series(1, 50000)",
            "SELECT pg_advisory_lock(7)",
            "BEGIN; SELECT 1/0",
            "LISTEN somewhere",
            "CREATE TEMP TABLE t (n int)",
        ];
        for text in ends {
            let mut victim = weir.login(&database.name);
            victim.start_query(text);
            victim.frame();
            if text.len() % 2 == 0 { victim.vanish() } else { victim.reset() }
        }
        let mut half = weir.login(&database.name);
        half.send(&framed(b'Q', b"SELECT 'never'\0")[..9]);
        half.vanish();
        let mut next = weir.login(&database.name);
        identify(&mut next, "next");
        // PostgreSQL notices on its own time that a client has gone.
        wait_for("the lock", || next.query("SELECT pg_try_advisory_lock(7)").value() == "t");
        assert_eq!(next.query("SELECT to_regclass('pg_temp.t') IS NULL").value(), "t");
        drop(next);
        weir.settles(2, &watch_url(), &database.name);
        assert_eq!(ask(&database.url(), "SELECT count(*) FROM copied"), "0");
    }
}

#[test]
fn a_client_that_does_not_read_costs_no_memory() {
    let database = TestDatabase::new("unread");
    let weir = Weir::start(&plain(&database, "max_size: 2", ""));
    let mut lazy = weir.login(&database.name);
    identify(&mut lazy, "lazy");
    let before = weir.resident();
    lazy.start_query("SELECT lpad(n::text, 1000, '0') FROM generate_series(1, 80000) n");
    wait_for("the server waits for its reader", || activity(&database, "wait_event = 'ClientWrite'") == 1);
    // Somebody who asks for answers that need no server, and reads none of them.
    let mut rude = weir.login(&database.name);
    rude.tcp().set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    let mut wave = Vec::new();
    for _ in 0..2000 {
        wave.extend(framed(b'C', b"Sx\0"));
        wave.extend(framed(b'S', b""));
    }
    let stopped = (0..3000).position(|_| rude.try_send(&wave).is_err());
    assert!(stopped.is_some(), "pgweir takes requests without end from who reads no answers");
    let grown = weir.resident().saturating_sub(before);
    assert!(grown < 16 * 1024, "{grown} KiB more, after {stopped:?} waves");
    identify(&mut weir.login(&database.name), "somebody else");
    rude.vanish();
    // What was held back comes whole and in order.
    let reply = lazy.reply();
    assert_eq!(reply.rows.len(), 80_000);
    for (at, row) in reply.rows.iter().enumerate() {
        assert_eq!(row.parse(), Ok(at + 1));
    }
    drop(lazy);
    weir.settles(2, &watch_url(), &database.name);
}

#[test]
fn half_sent_messages_keep_no_server() {
    let database = TestDatabase::new("half");
    let weir = Weir::start(&plain(&database, "max_size: 1", ""));
    let mut slow = weir.login(&database.name);
    let mut other = weir.login(&database.name);
    let bytes = [crate::rawclient::query("SELECT 'slow'"), extended("SELECT 'slower'")].concat();
    let (first, mut answers) = (bytes.len() / 2, Vec::new());
    for (at, byte) in bytes.iter().enumerate() {
        slow.send(&[*byte]);
        if at % 8 == 0 && at < first / 2 {
            identify(&mut other, &format!("other {at}"));
        }
    }
    answers.push(slow.reply().value().to_owned());
    answers.push(slow.reply().value().to_owned());
    assert_eq!(answers, ["slow", "slower"]);
    // A message that is too long to be held takes its server along and can be ended all the same.
    let long = format!("SELECT length('{}')", "x".repeat(600_000));
    let bytes = crate::rawclient::query(&long);
    slow.send(&bytes[..300_000]);
    slow.send(&bytes[300_000..]);
    assert_eq!(slow.reply().value(), "600000");
    // Lengths that cannot be.
    for length in [0i32, 3, -1, i32::MIN] {
        let mut liar = weir.login(&database.name);
        let mut bytes = vec![b'Q'];
        bytes.extend(length.to_be_bytes());
        liar.send(&bytes);
        assert_eq!(liar.last_words().sqlstate, "08P01", "{length}");
    }
    let mut odd = weir.login(&database.name);
    odd.send(&framed(b'?', b"abc"));
    assert_eq!(odd.last_words().sqlstate, "08P01");
    drop((slow, other));
    weir.settles(1, &watch_url(), &database.name);
}

/// Forwards in small pieces with pauses, both ways; ends with its streams.
fn dribble(to: std::net::SocketAddr) -> std::net::SocketAddr {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let Ok(server) = std::net::TcpStream::connect(to) else {
                continue;
            };
            let pairs = [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)];
            for (mut from, mut into) in pairs {
                let _ = into.set_nodelay(true);
                std::thread::spawn(move || {
                    let (mut buffer, mut size) = ([0; 64], 1);
                    while let Ok(n @ 1..) = from.read(&mut buffer[..size]) {
                        if into.write_all(&buffer[..n]).is_err() {
                            break;
                        }
                        size = size % 61 + 1;
                        std::thread::sleep(Duration::from_micros(300));
                    }
                    let _ = into.shutdown(std::net::Shutdown::Both);
                });
            }
        }
    });
    address
}

#[test]
fn a_slow_network_changes_nothing() {
    let database = TestDatabase::new("slow");
    batch(&database.url(), &["CREATE TABLE copied (line text)"]);
    let server = dribble(([127, 0, 0, 1], shared().port()).into());
    let weir = Weir::start(&settings(&database.name, server.port(), "max_size: 2", ""));
    let client = dribble(weir.listen);
    let login = || Raw::connect(client).login("app", "secret", &database.name).unwrap();
    let (mut one, mut two) = (login(), login());
    for round in 0..3 {
        one.start_query(&format!("SELECT 'one {round}'"));
        two.send(&extended(&format!("SELECT 'two {round}'")));
        assert_eq!(one.reply().value(), format!("one {round}"));
        assert_eq!(two.reply().value(), format!("two {round}"));
    }
    assert_eq!(one.query("SELECT 1/0").sqlstate(), "22012");
    let rows = two.query("SELECT n FROM generate_series(1, 300) n").rows;
    assert!(rows.iter().map(|row| row.parse::<usize>().unwrap()).eq(1..=300));
    one.start_query("COPY copied FROM STDIN");
    one.expect(b'G');
    for line in 0..50 {
        one.send(&framed(b'd', format!("line {line}\n").as_bytes()));
    }
    one.send(&framed(b'c', b""));
    assert_eq!(one.reply().error, None);
    assert_eq!(two.query("SELECT count(DISTINCT line) FROM copied").value(), "50");
    drop((one, two));
    weir.settles(2, &watch_url(), &database.name);
}

#[test]
fn a_server_that_is_away_is_asked_for_with_patience() {
    let cluster = Cluster::start(ClusterOptions::default()).unwrap();
    cluster::prepare(&cluster);
    let weir = Weir::start(&settings("postgres", cluster.port(), "max_size: 5", ""));
    let mut clients: Vec<Raw> = (0..4).map(|_| weir.login("postgres")).collect();
    // A short absence is not even noticed.
    cluster.stop().unwrap();
    clients.iter_mut().for_each(|client| client.start_query("SELECT 'here'"));
    wait_for("a failed attempt", || weir.metric("pgweir_server_connect_errors_total", &[]) >= 2.0);
    cluster.restart().unwrap();
    for client in &mut clients {
        assert_eq!(client.reply().value(), "here");
    }
    // A long one is told, after few attempts.
    cluster.stop().unwrap();
    let before = weir.metric("pgweir_server_connect_errors_total", &[]);
    let begun = Instant::now();
    clients.iter_mut().for_each(|client| client.start_query("SELECT 'there'"));
    for client in &mut clients {
        let fault = client.reply().error.unwrap();
        assert_eq!(fault.sqlstate, "08001", "{fault:?}");
        assert!(fault.message.contains(&cluster.port().to_string()), "{fault:?}");
    }
    let (took, attempts) = (begun.elapsed(), weir.metric("pgweir_server_connect_errors_total", &[]) - before);
    assert!(took < Duration::from_secs(10) && attempts < 16.0, "{attempts} attempts in {took:?}");
    cluster.restart().unwrap();
    let mut back = until("a login", || weir.try_login("postgres").ok());
    identify(&mut back, "back");
    drop((clients, back));
    weir.settles(5, &cluster.url("postgres"), "postgres");
}
