//! Ends on purpose: timeouts, SIGTERM and reload under load. What was promised to a client is kept, and the
//! rest ends with one clear error inside its bound.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::cluster::{TestDatabase, ask, batch, shared};
use crate::rawclient::{Raw, extended};
use crate::support::{Weir, plain, wait_for};

fn watch_url() -> String {
    shared().url("postgres")
}

fn backend_runs(pid: &str) -> bool {
    let query = format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}");
    ask(&watch_url(), &query) != "0"
}

/// The last error of a session that a timeout ended, and how long that took. Timeouts are looked at every
/// 100 ms while sessions are busy, and every 2 s while all are idle.
fn ended_by(begun: Instant, client: &mut Raw) -> String {
    let fault = client.last_words();
    let took = begun.elapsed();
    assert_eq!(fault.severity, "FATAL");
    assert!(took > Duration::from_millis(190) && took < Duration::from_secs(8), "{took:?}");
    fault.sqlstate
}

#[test]
fn each_timeout_ends_what_it_is_for() {
    let cases = ["query", "transaction", "idle_in_transaction", "client_idle", "login"];
    std::thread::scope(|scope| {
        for name in cases {
            scope.spawn(move || timeout(name));
        }
    });
}

fn timeout(name: &str) {
    let database = TestDatabase::new(name);
    let bound = if name == "login" { "1s" } else { "200ms" };
    let weir = Weir::start(&plain(&database, "max_size: 2", &format!("timeouts: {{{name}: {bound}}}")));
    if name == "login" {
        let mut silent = Raw::connect(weir.listen);
        let mut slow = Raw::connect(weir.listen);
        slow.startup("app", &database.name);
        slow.expect(b'R');
        assert!(silent.is_closed() && slow.is_closed());
        wait_for("a reason", || weir.logged("no login within 1s") == 2);
        return weir.settles(2, &watch_url(), &database.name);
    }
    let mut client = weir.login(&database.name);
    let begun = Instant::now();
    match name {
        "query" => {
            let reply = client.query("SELECT pg_sleep(30)");
            assert_eq!((reply.sqlstate(), reply.status), ("57014", b'I'));
            client.send(&extended("SELECT pg_sleep(30)"));
            assert_eq!(client.reply().sqlstate(), "57014");
            assert!(begun.elapsed() < Duration::from_secs(10));
            // Many short ones are no long one, one by one or in a pipeline.
            client.send(&extended("SELECT pg_sleep(0.04)").repeat(15));
            (0..15).for_each(|_| assert_eq!(client.reply().error, None));
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_millis(600) {
                assert_eq!(client.query("SELECT pg_sleep(0.01)").error, None);
            }
        }
        "transaction" => {
            let pid = client.query("BEGIN; SELECT pg_backend_pid()").rows[0].clone();
            client.start_query("SELECT pg_sleep(30)");
            assert_eq!(ended_by(begun, &mut client), "25P04");
            // Its locks do not outlive it.
            wait_for("the statement is stopped", || !backend_runs(&pid));
        }
        "idle_in_transaction" => {
            let pid = client.query("BEGIN; SELECT pg_backend_pid()").rows[0].clone();
            assert_eq!(ended_by(begun, &mut client), "25P03");
            let mut next = weir.login(&database.name);
            assert_eq!(next.query("SELECT pg_backend_pid()").value(), pid, "rolled back and used again");
        }
        _ => assert_eq!(ended_by(begun, &mut client), "57P05"),
    }
    drop(client);
    weir.settles(2, &watch_url(), &database.name);
}

/// Clients that work in transactions until they are sent away; returns how many transactions were confirmed.
fn work(weir: &Weir, database: &str, rounds: &AtomicUsize, stop: &AtomicBool) -> usize {
    let mut client = weir.login(database);
    let mut confirmed = 0;
    while !stop.load(Relaxed) {
        for text in ["BEGIN", "INSERT INTO work VALUES (1)", "INSERT INTO work VALUES (-1)", "COMMIT"] {
            let reply = client.query(text);
            if let Some(fault) = &reply.error {
                assert_eq!((&*fault.sqlstate, reply.status), ("57P01", 0), "{text}: {fault:?}");
                assert_eq!(text, "BEGIN", "a transaction was torn");
                return confirmed;
            }
            assert_ne!(reply.status, 0, "closed without a word at {text}");
        }
        confirmed += 1;
        rounds.fetch_add(1, Relaxed);
    }
    confirmed
}

#[test]
fn sigterm_lets_transactions_end() {
    let database = TestDatabase::new("sigterm");
    batch(&database.url(), &["CREATE TABLE work (n int)"]);
    let mut weir = Weir::start(&plain(&database, "max_size: 3", "timeouts: {shutdown: 25s}"));
    let mut holder = weir.login(&database.name);
    let mut idle = weir.login(&database.name);
    let mut pinned = weir.login(&database.name);
    pinned.query("LISTEN news");
    let mut silent = Raw::connect(weir.listen);
    holder.query("BEGIN");
    let (rounds, never) = (AtomicUsize::new(0), AtomicBool::new(false));
    let confirmed: usize = std::thread::scope(|scope| {
        let workers: Vec<_> =
            (0..6).map(|_| scope.spawn(|| work(&weir, &database.name, &rounds, &never))).collect();
        wait_for("work", || rounds.load(Relaxed) > 30);
        weir.signal(libc::SIGTERM);
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    assert_eq!(idle.last_words().sqlstate, "57P01");
    assert_eq!(pinned.last_words().sqlstate, "57P01");
    assert!(silent.is_closed());
    // The holder keeps pgweir alive, which says that it takes no more.
    let (status, reason) = weir.get("/readyz");
    assert_eq!((status, weir.get("/healthz").0), (503, 200), "{reason}");
    assert!(std::net::TcpStream::connect(weir.listen).is_err());
    assert_eq!(holder.query("SELECT 'still here'").value(), "still here");
    holder.start_query("COMMIT");
    holder.expect(b'Z');
    assert_eq!(holder.last_words().sqlstate, "57P01");
    assert!(weir.ended().success());
    let sum = ask(&database.url(), "SELECT sum(n) || ' ' || count(*) FROM work");
    assert_eq!(sum, format!("0 {}", 2 * confirmed));
    assert_eq!(
        ask(
            &watch_url(),
            &format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{}'", database.name)
        ),
        "0"
    );
}

#[test]
fn the_bound_of_the_end_holds_and_a_second_signal_needs_none() {
    let database = TestDatabase::new("bound");
    let cases = [("timeouts: {shutdown: 1s}", false), ("timeouts: {shutdown: 10m}", true)];
    for (timeouts, twice) in cases {
        let mut weir = Weir::start(&plain(&database, "max_size: 2", timeouts));
        let mut open = weir.login(&database.name);
        open.query("BEGIN");
        let mut busy = weir.login(&database.name);
        let pid = busy.query("BEGIN; SELECT pg_backend_pid()").rows[0].clone();
        busy.start_query("SELECT pg_sleep(20)");
        let mut waiting = weir.login(&database.name);
        waiting.start_query("SELECT 1");
        wait_for("a place in the queue", || weir.metric("pgweir_clients_waiting", &[]) == 1.0);
        let begun = Instant::now();
        weir.signal(libc::SIGTERM);
        if twice {
            wait_for("the end begins", || weir.get("/readyz").0 == 503);
            assert!(weir.is_running());
            weir.signal(libc::SIGTERM);
        }
        for client in [&mut open, &mut busy, &mut waiting] {
            assert_eq!(client.last_words().sqlstate, "57P01");
        }
        assert!(weir.ended().success());
        assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
        wait_for("the statement is stopped", || !backend_runs(&pid));
    }
}

#[test]
fn a_reload_under_load_is_not_noticed() {
    let database = TestDatabase::new("reload");
    batch(&database.url(), &["CREATE TABLE work (n int)"]);
    let weir = Weir::start(&plain(&database, "max_size: 3", ""));
    let mut holder = weir.login(&database.name);
    holder.query("SET application_name = 'kept'");
    holder.query("BEGIN");
    let (rounds, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let confirmed: usize = std::thread::scope(|scope| {
        let workers: Vec<_> =
            (0..6).map(|_| scope.spawn(|| work(&weir, &database.name, &rounds, &stop))).collect();
        for (at, pool) in
            ["max_size: 4", "max_size: 2", "max_size: 3, max_prepared_statements: 7"].iter().enumerate()
        {
            weir.reload(&plain(&database, pool, ""));
            wait_for("work after a reload", || rounds.load(Relaxed) > 30 * (at + 1));
        }
        stop.store(true, Relaxed);
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    assert_eq!(holder.query("COMMIT").status, b'I');
    assert_eq!(holder.query("SHOW application_name").value(), "kept");
    assert_eq!(ask(&database.url(), "SELECT count(*) FROM work"), (2 * confirmed).to_string());
    drop(holder);
    weir.settles(3, &watch_url(), &database.name);
}

/// Servers of session mode are opened with their client's own parameters, so clients may have to wait for
/// one that fits.
#[test]
fn clients_of_many_kinds_wait_for_few_servers() {
    let database = TestDatabase::new("kinds");
    let weir = Weir::start(&plain(&database, "mode: session, max_size: 2", ""));
    let finished = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for at in 0..8 {
            let (weir, database, finished) = (&weir, &database, &finished);
            scope.spawn(move || {
                for _ in 0..3 {
                    let name = format!("kind {at}");
                    let raw = Raw::connect(weir.listen).with("application_name", &name);
                    let mut raw = raw.login("app", "secret", &database.name).unwrap();
                    assert_eq!(raw.query("SHOW application_name").value(), name);
                    raw.query("SET application_name = 'other'; RESET application_name");
                    assert_eq!(raw.query("SHOW application_name").value(), name);
                    finished.fetch_add(1, Relaxed);
                }
            });
        }
    });
    assert_eq!(finished.load(Relaxed), 24);
    weir.settles(2, &watch_url(), &database.name);
}
