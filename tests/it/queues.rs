//! What is short: servers, file descriptors. Who waits, in which order, who may give up, and whose statement a
//! cancel request ends.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::cluster::TestDatabase;
use crate::cluster::batch;
use crate::faults::{identify, watch_url};
use crate::rawclient::{Raw, Reply, extended};
use crate::support::{Weir, plain, until, wait_for};

#[test]
fn an_exhausted_pool_says_what_is_short() {
    let database = TestDatabase::new("exhausted");
    let weir = Weir::start(&plain(&database, "max_size: 1, queue_wait: 1500ms", ""));
    let mut holder = weir.login(&database.name);
    let (mut simple, mut pipelined) = (weir.login(&database.name), weir.login(&database.name));
    assert_eq!(holder.query("BEGIN").status, b'T');
    simple.start_query("SELECT 'simple'");
    pipelined.send(&[extended("SELECT 'first'"), extended("SELECT 'second'")].concat());
    let check = |reply: Reply| {
        let fault = reply.error.clone().unwrap();
        assert_eq!((&*fault.severity, &*fault.sqlstate), ("ERROR", "53300"));
        for part in [&format!("{}/app", database.name), "1.5s", "all 1 "] {
            assert!(fault.message.contains(part), "{fault:?}");
        }
        assert!(fault.hint.contains("pool.max_size"), "{fault:?}");
        assert_eq!((reply.status, reply.errors), (b'I', 1), "the session stays usable");
    };
    check(simple.reply());
    check(pipelined.reply());
    check(pipelined.reply());
    // Who logs in with settings not seen before needs a server for that.
    let late = Raw::connect(weir.listen).with("application_name", "new here");
    let fault = late.login("app", "secret", &database.name).err().unwrap();
    assert_eq!((&*fault.severity, &*fault.sqlstate), ("FATAL", "53300"), "{fault:?}");
    holder.query("COMMIT");
    identify(&mut simple, "simple");
    identify(&mut pipelined, "pipelined");
    assert!(weir.metric("pgweir_errors_total", &["sqlstate=\"53300\""]) >= 3.0);
    drop((holder, simple, pipelined));
    weir.settles(1, &watch_url(), &database.name);
}

#[test]
fn clients_wait_in_order_and_may_give_up() {
    let database = TestDatabase::new("queue");
    batch(&database.url(), &["CREATE SEQUENCE turn"]);
    let weir = Weir::start(&plain(&database, "max_size: 1", "").replace("workers: 2", "workers: 1"));
    let mut holder = weir.login(&database.name);
    let mut queue: Vec<Raw> = (0..6).map(|_| weir.login(&database.name)).collect();
    holder.query("BEGIN");
    let waiting = |wanted: usize| {
        wait_for("its place in the queue", || weir.metric("pgweir_clients_waiting", &[]) == wanted as f64);
    };
    for (at, client) in queue.iter_mut().enumerate() {
        client.start_query("SELECT nextval('turn')");
        waiting(at + 1);
    }
    let cancelled = &mut queue[1];
    Raw::cancel(weir.listen, cancelled.pid, &cancelled.secret);
    let reply = cancelled.reply();
    assert_eq!((reply.sqlstate(), reply.status), ("57014", b'I'));
    queue.remove(3).vanish();
    waiting(4);
    holder.query("COMMIT");
    for (turn, at) in [(1, 0), (2, 2), (3, 3), (4, 4)] {
        assert_eq!(queue[at].reply().value(), turn.to_string());
    }
    identify(&mut queue[1], "cancelled");
    drop((holder, queue));
    weir.settles(1, &watch_url(), &database.name);
}

#[test]
fn workers_share_the_servers_of_a_pool() {
    let database = TestDatabase::new("share");
    let weir = Weir::start(&plain(&database, "max_size: 1, queue_wait: 5s", ""));
    let mut clients: Vec<Raw> = (0..4).map(|_| weir.login(&database.name)).collect();
    let begun = Instant::now();
    for round in 0..3 {
        for (at, client) in clients.iter_mut().enumerate() {
            identify(client, &format!("{at} in round {round}"));
        }
    }
    let taken = begun.elapsed();
    assert!(taken < Duration::from_secs(4), "an idle server was kept from others: {taken:?}");
    drop(clients);
    weir.settles(1, &watch_url(), &database.name);
}

#[test]
fn a_thousand_cancels_never_hit_somebody_else() {
    const CLIENTS: usize = 12;
    const QUERIES: usize = 84;
    let database = TestDatabase::new("cancels");
    let weir = Weir::start(&plain(&database, "max_size: 4", ""));
    let clients: Vec<Raw> = (0..CLIENTS).map(|_| weir.login(&database.name)).collect();
    // The odd ones are never cancelled.
    let keys: Vec<(i32, Vec<u8>)> = clients.iter().step_by(2).map(|c| (c.pid, c.secret.clone())).collect();
    let (done, sent, hit) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for canceller in 0..2 {
            let (keys, weir, done, sent) = (&keys, &weir, &done, &sent);
            scope.spawn(move || {
                for turn in 0.. {
                    if done.load(Relaxed) && sent.load(Relaxed) >= 1000 {
                        break;
                    }
                    let (pid, secret) = &keys[(turn * 2 + canceller) % keys.len()];
                    Raw::cancel(weir.listen, *pid, secret);
                    sent.fetch_add(1, Relaxed);
                }
            });
        }
        let run = |at: usize, mut client: Raw, hit: &AtomicUsize| {
            for query in 0..QUERIES {
                let who = format!("{at}-{query}");
                let text = format!("SELECT '{who}' FROM pg_sleep({}e-3)", query % 7);
                let reply = if query % 2 == 0 {
                    client.query(&text)
                } else {
                    client.send(&extended(&text));
                    client.reply()
                };
                assert_eq!(reply.status, b'I');
                if reply.error.is_some() {
                    assert_eq!(reply.sqlstate(), "57014");
                    assert_eq!(at % 2, 0, "a statement was cancelled by nobody: {who}");
                    hit.fetch_add(1, Relaxed);
                } else {
                    assert_eq!(reply.rows, [who]);
                }
            }
        };
        let runs: Vec<_> = clients
            .into_iter()
            .enumerate()
            .map(|(at, client)| {
                scope.spawn({
                    let hit = &hit;
                    move || run(at, client, hit)
                })
            })
            .collect();
        let outcomes: Vec<_> = runs.into_iter().map(|run| run.join()).collect();
        done.store(true, Relaxed);
        assert!(outcomes.iter().all(Result::is_ok));
    });
    assert!(sent.load(Relaxed) >= 1000 && hit.load(Relaxed) > 10, "{sent:?} sent, {hit:?} hit");
    // A key that nobody has, and one of somebody who has left.
    Raw::cancel(weir.listen, 1, &[1, 2, 3, 4]);
    Raw::cancel(weir.listen, keys[0].0, &keys[0].1);
    weir.settles(4, &watch_url(), &database.name);
}

/// A driver that has seen its cancel request's connection close may send the next statement, and that one
/// is not meant (libpq's PQcancel waits for just this).
#[test]
fn a_cancel_is_through_when_its_connection_closes() {
    let database = TestDatabase::new("cancel_through");
    let weir = Weir::start(&plain(&database, "max_size: 2", ""));
    let mut client = weir.login(&database.name);
    let (pid, secret) = (client.pid, client.secret.clone());
    let mut hits = 0;
    for turn in 0..150 {
        client.start_query(&format!("SELECT 'meant' FROM pg_sleep({}e-4)", turn % 12));
        Raw::cancel(weir.listen, pid, &secret);
        let meant = client.reply();
        hits += meant.errors;
        let next = client.query("SELECT 'not meant' FROM pg_sleep(0.001)");
        assert_eq!(next.error, None, "turn {turn}");
    }
    assert!(hits > 0, "no cancel came in time");
    // The last cancel may have come too late: its server must not stay lent for that.
    Raw::cancel(weir.listen, pid, &secret);
    wait_for("the server is back", || weir.metric("pgweir_servers", &["state=\"active\""]) == 0.0);
    drop(client);
    weir.settles(2, &watch_url(), &database.name);
}

#[test]
fn statement_mode_refuses_transactions() {
    let database = TestDatabase::new("statement_mode");
    let weir = Weir::start(&plain(&database, "mode: statement, max_size: 1", ""));
    let mut good = weir.login(&database.name);
    identify(&mut good, "good");
    for text in ["BEGIN", "START TRANSACTION", "BEGIN; SELECT 1/0"] {
        let mut bad = weir.login(&database.name);
        bad.start_query(text);
        let mut faults = Vec::new();
        while let Some((tag, body)) = bad.frame() {
            if tag == b'E' {
                faults.push(String::from_utf8_lossy(&body).into_owned());
            }
        }
        assert!(faults.last().unwrap().contains("0A000"), "{text}: {faults:?}");
        identify(&mut good, text);
    }
    drop(good);
    weir.settles(1, &watch_url(), &database.name);
}

#[test]
fn out_of_file_descriptors_old_clients_go_on() {
    let database = TestDatabase::new("descriptors");
    let folder = tempfile::tempdir().unwrap();
    let weir = Weir::start_in(folder, &plain(&database, "max_size: 3", ""), |command| {
        use std::os::unix::process::CommandExt;
        // SAFETY: setrlimit is safe to call between fork and exec, and the limit is a plain value.
        unsafe {
            command.pre_exec(|| {
                let limit = libc::rlimit { rlim_cur: 90, rlim_max: 90 };
                match libc::setrlimit(libc::RLIMIT_NOFILE, &limit) {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                }
            });
        }
    });
    let mut old = vec![weir.login(&database.name)];
    let refused = loop {
        assert!(old.len() < 100, "the limit is not felt");
        match weir.try_login(&database.name) {
            Ok(client) => old.push(client),
            Err(fault) => break fault,
        }
    };
    assert_eq!(refused.sqlstate, "53300", "{refused:?}");
    assert!(old.len() > 20, "only {} clients", old.len());
    // The old ones go on, with as many servers as the pool may have.
    for (at, client) in old.iter_mut().enumerate() {
        identify(client, &format!("old {at}"));
    }
    for client in &mut old[..3] {
        assert_eq!(client.query("BEGIN").status, b'T');
    }
    assert_eq!(weir.get("/readyz").0, 200);
    for client in &mut old[..3] {
        assert_eq!(client.query("COMMIT").status, b'I');
    }
    old.truncate(10);
    let mut new = until("room for a new client", || weir.try_login(&database.name).ok());
    identify(&mut new, "new");
    drop((old, new));
    weir.settles(3, &watch_url(), &database.name);
}
