//! The slow-query log in front of a real server: what is written where, what is not, and what it costs at most.

mod explain;

use std::process::Stdio;
use std::time::Instant;

use serde_json::Value;

use crate::cluster::{APP_USER, TestDatabase};
use crate::rawclient::{Raw, bound};
use crate::support::{PATIENCE, Weir, http, plain, until, wait_for};

fn start(database: &TestDatabase, rules: &str, more: &str) -> Weir {
    start_with(database, rules, more, Stdio::null())
}

fn start_with(database: &TestDatabase, rules: &str, more: &str, stdout: Stdio) -> Weir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("rules")).unwrap();
    std::fs::write(folder.path().join("rules/slow.yaml"), rules).unwrap();
    let settings = plain(database, "max_size: 3", &format!("rules: rules\n{more}"));
    Weir::start_in(folder, &settings, |command| {
        command.stdout(stdout);
    })
}

fn change(weir: &Weir, rules: &str) {
    let before = weir.logged("settings reloaded");
    std::fs::write(weir.file("next"), rules).unwrap();
    std::fs::rename(weir.file("next"), weir.file("rules/slow.yaml")).unwrap();
    wait_for("the rules are read", || weir.logged("settings reloaded") > before);
}

/// The lines of a file, as far as they are whole.
fn lines(weir: &Weir, name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(weir.file(name)).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

/// Waits for the lines whose statement holds `part`.
fn about(weir: &Weir, name: &str, part: &str, count: usize) -> Vec<Value> {
    until("lines of the slow-query log", || {
        let mut found = lines(weir, name);
        found.retain(|line| line["statement"].as_str().unwrap().contains(part));
        (found.len() >= count).then_some(found)
    })
}

fn ms(line: &Value, key: &str) -> f64 {
    line[key].as_f64().unwrap_or_else(|| panic!("{key} of {line}"))
}

/// Runs a statement with one parameter.
fn run(client: &mut Raw, text: &str, value: &str) {
    client.send(&bound(text, &[value]));
    assert_eq!(client.reply().error, None, "{text}");
}

#[test]
fn a_slow_statement_is_a_line_with_its_times() {
    let database = TestDatabase::new("slow_line");
    let weir = start(&database, "slow_log: {over: 200ms, file: {path: slow.log}}\n", "");
    let mut client = Raw::connect(weir.listen)
        .with("application_name", "shop")
        .login(APP_USER, crate::cluster::APP_PASSWORD, &database.name)
        .unwrap();
    run(&mut client, "select 1 as fast, $1::text", "quick");
    assert_eq!(client.query("begin").error, None);
    run(&mut client, "select pg_sleep(0.3), $1::text as slow", "classified");
    assert_eq!(client.query("rollback").error, None);
    run(&mut client, "select pg_sleep(0.25), $1::text as alone", "classified");
    client.send(&bound("select pg_sleep(0.25)::text::int, $1::text as failing", &["classified"]));
    assert_eq!(client.reply().sqlstate(), "22P02");
    let line = &about(&weir, "slow.log", "as slow", 1)[0];
    assert!((300.0..5_000.0).contains(&ms(line, "total_ms")), "{line}");
    assert!(ms(line, "server_ms") >= 300.0 && ms(line, "queue_ms") < 200.0, "{line}");
    let sum: f64 = ["queue_ms", "server_ms", "client_ms"].map(|key| ms(line, key)).iter().sum();
    assert!((sum - ms(line, "total_ms")).abs() < 0.01, "{line}");
    for (key, value) in [("database", &*database.name), ("user", APP_USER), ("application_name", "shop")] {
        assert_eq!(line[key], value, "{line}");
    }
    assert!(line["client"].as_str().unwrap().starts_with("127.0.0.1"), "{line}");
    assert_eq!(
        (&line["rows"], &line["in_transaction"], &line["suppressed"]),
        (&1.into(), &true.into(), &0.into())
    );
    assert_eq!((ms(line, "threshold_ms"), &line["rule"]), (200.0, &"slow_log.over".into()));
    assert!(line["time"].as_str().unwrap().ends_with('Z') && line["bytes"].as_u64().unwrap() > 10, "{line}");
    assert_eq!(line["shape"].as_str().unwrap().len(), 16);
    assert_eq!(about(&weir, "slow.log", "as alone", 1)[0]["in_transaction"], false);
    let failing = &about(&weir, "slow.log", "as failing", 1)[0];
    assert_eq!(failing["sqlstate"], "22P02", "{failing}");
    assert_eq!(lines(&weir, "slow.log").len(), 3);
    let text = std::fs::read_to_string(weir.file("slow.log")).unwrap();
    assert!(
        !text.contains("classified") && !text.contains("parameters") && !weir.log().contains("classified")
    );
    assert_eq!(weir.metric("pgweir_slow_statements_total", &[]), 3.0);
    assert_eq!(weir.metric("pgweir_slow_log_written_total", &[]), 3.0);
}

#[test]
fn the_times_say_who_waited_for_whom() {
    let database = TestDatabase::new("slow_split");
    let weir = start(&database, "slow_log: {over: 200ms, file: {path: slow.log}}\n", "");
    let mut holders: Vec<Raw> = (0..3).map(|_| weir.login(&database.name)).collect();
    holders.iter_mut().for_each(|holder| assert_eq!(holder.query("begin").error, None));
    let mut client = weir.login(&database.name);
    client.start_query("select now() as queued");
    wait_for("it waits for a server", || weir.metric("pgweir_clients_waiting", &[]) == 1.0);
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(holders[0].query("commit").error, None);
    assert_eq!(client.reply().error, None);
    let line = &about(&weir, "slow.log", "as queued", 1)[0];
    assert!(ms(line, "queue_ms") >= 300.0 && ms(line, "server_ms") < 200.0, "{line}");
    // More than the sockets on the way hold, and a client that is in no hurry.
    client.start_query("select repeat('x', 1000) as large from generate_series(1, 30000)");
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(client.reply().rows.len(), 30_000);
    let line = &about(&weir, "slow.log", "as large", 1)[0];
    assert!(ms(line, "client_ms") >= 300.0, "{line}");
    assert!(line["rows"] == 30_000 && line["bytes"].as_u64() > Some(30_000_000), "{line}");
}

#[test]
fn rules_decide_while_it_runs() {
    let database = TestDatabase::new("slow_rules");
    let weir = start(&database, "slow_log: {over: 1h, file: {path: slow.log}}\n", "");
    let mut client = weir.login(&database.name);
    assert_eq!(client.query("create table orders (id int); create table noise (id int)").error, None);
    let text =
        |table: &str| format!("select pg_sleep(0.12), $1::text from (select count(*) from {table}) as sub");
    run(&mut client, &text("orders"), "1");
    assert_eq!(weir.metric("pgweir_slow_statements_total", &[]), 0.0);
    // Shapes that are known already get the new thresholds, in sessions that are open.
    change(
        &weir,
        "slow_log:\n  over: 0\n  file: {path: slow.log}\n  rules:\n    - {table: orders, over: 100ms}\n    - {user: app, never: true}\n",
    );
    run(&mut client, &text("noise"), "1");
    run(&mut client, &text("orders"), "1");
    let line = &about(&weir, "slow.log", "orders", 1)[0];
    assert_eq!((&line["rule"], ms(line, "threshold_ms")), (&"slow_log.rules.0".into(), 100.0));
    assert_eq!(lines(&weir, "slow.log").len(), 1);
    change(&weir, "slow_log: {enabled: false, over: 0, file: {path: slow.log}}\n");
    run(&mut client, &text("orders"), "1");
    assert_eq!(weir.metric("pgweir_slow_statements_total", &[]), 1.0);
}

#[test]
fn a_rule_for_a_table_follows_the_facts() {
    let database = TestDatabase::new("slow_tables");
    let rules = "slow_log: {over: 1h, file: {path: slow.log}, rules: [{table: shop.orders, over: 0}, \
                 {table: noise, over: 0}]}\n";
    let weir = start(&database, rules, "");
    let mut client = weir.login(&database.name);
    let tables = "create schema shop; create table shop.orders (id int); create table orders (id int)";
    assert_eq!(client.query(tables).error, None);
    let class = |part: &str| {
        let (_, body) = weir.get(&format!("/api/database/queries?filter={part}"));
        serde_json::from_str::<Value>(&body).unwrap()["queries"][0]["class"].is_string()
    };
    // The word is there, and is no table; that is known as soon as the statement was parsed.
    assert_eq!(client.query("select id as noise from orders").error, None);
    wait_for("its facts are known", || class("as%20noise"));
    // A statement is counted a moment after its answer; one that follows is counted later.
    let slow = || weir.metric("pgweir_slow_statements_total", &[]);
    until("it is not slow any more", || {
        let before = slow();
        for text in ["select id as noise from orders", "select id as kept from shop.orders"] {
            assert_eq!(client.query(text).error, None);
        }
        wait_for("the second is slow", || slow() > before);
        (slow() == before + 1.0).then_some(())
    });
    let lines = about(&weir, "slow.log", "as kept", 1);
    assert!(lines.iter().all(|line| line["rule"] == "slow_log.rules.0"), "{lines:?}");
}

#[test]
fn a_shape_is_held_against_its_own_past() {
    let database = TestDatabase::new("slow_p99");
    let rules = "slow_log: {over: 1h, file: {path: slow.log}, rules: [{database: '";
    let weir = start(&database, &format!("{rules}{}', p99: 3}}]}}\n", database.name), "");
    let mut client = weir.login(&database.name);
    let text = "select case when $1::text = '1' then pg_sleep(0.4) end as own";
    // Whoever looks again at what a shape took does so every ten seconds. Of a hundred calls less than one is
    // slow, so the 99th percentile stays that of the fast ones.
    let begun = Instant::now();
    while lines(&weir, "slow.log").is_empty() {
        assert!(begun.elapsed() < PATIENCE, "no line: the threshold has not moved");
        (0..120).for_each(|_| run(&mut client, text, "0"));
        run(&mut client, text, "1");
    }
    let line = &about(&weir, "slow.log", "as own", 1)[0];
    assert!(ms(line, "threshold_ms") < 400.0 && line["rule"] == "slow_log.rules.0", "{line}");
}

#[test]
fn values_are_written_only_when_they_may_be() {
    let database = TestDatabase::new("slow_values");
    let quiet = "slow_log: {over: 0, file: {path: slow.log}}\n";
    let weir = start(&database, quiet, "");
    let mut client = weir.login(&database.name);
    run(&mut client, "select $1::text as before", "first-secret");
    about(&weir, "slow.log", "as before", 1);
    let text = std::fs::read_to_string(weir.file("slow.log")).unwrap();
    assert!(!text.contains("first-secret"), "{text}");
    change(&weir, "slow_log: {over: 0, parameters: true, file: {path: slow.log}}\n");
    let shown = until("values are kept", || {
        run(&mut client, "select $1::text as allowed", "seen");
        let found = about(&weir, "slow.log", "as allowed", 1);
        found.into_iter().find(|line| !line["parameters"].is_null())
    });
    assert_eq!(shown["parameters"], serde_json::json!(["seen"]));
    // A statement that follows has its own values, or none.
    assert_eq!(client.query("select now() as plain").errors, 0);
    assert!(about(&weir, "slow.log", "as plain", 1)[0]["parameters"].to_string().find("seen").is_none());
    change(&weir, quiet);
    run(&mut client, "select $1::text as after", "last-secret");
    about(&weir, "slow.log", "as after", 1);
    assert!(!std::fs::read_to_string(weir.file("slow.log")).unwrap().contains("last-secret"));
}

#[test]
fn a_storm_is_cut_and_counted() {
    let database = TestDatabase::new("slow_storm");
    let weir = start(&database, "slow_log: {over: 0, file: {path: slow.log}}\n", "");
    let mut client = weir.login(&database.name);
    let begun = Instant::now();
    for _ in 0..500 {
        run(&mut client, "select $1::text as storm", "x");
    }
    let counted = || weir.metric("pgweir_slow_log_suppressed_total", &[]);
    // Ten at once, and one more for each six seconds that the storm took.
    let most = 11 + begun.elapsed().as_secs() as usize / 6;
    wait_for("all are decided", || {
        lines(&weir, "slow.log").len() as f64 + counted() >= weir.metric("pgweir_slow_statements_total", &[])
    });
    let written = about(&weir, "slow.log", "as storm", 10).len();
    assert!((10..=most).contains(&written), "{written} of at most {most}");
    assert!(counted() >= (500 - most) as f64, "{}", counted());
    assert_eq!(weir.metric("pgweir_slow_log_dropped_total", &[]), 0.0);
    // The next line of the shape, after six seconds, says how many had none.
    let line = until("the next line", || {
        run(&mut client, "select $1::text as storm", "x");
        let found = about(&weir, "slow.log", "as storm", 10);
        found.into_iter().find(|line| line["suppressed"].as_u64() > Some(0))
    });
    assert!(line["suppressed"].as_u64().unwrap() >= (500 - most) as u64, "{line}");
}

#[test]
fn a_full_file_moves_aside_and_a_lost_one_is_opened_anew() {
    let database = TestDatabase::new("slow_rotate");
    let rules = "slow_log: {over: 0, lines_per_minute: {per_shape: 10000, all: 10000}, \
                 file: {path: slow.log, max_size: 64kB, keep: 2}}\n";
    let weir = start(&database, rules, "");
    let mut client = weir.login(&database.name);
    let rotations = || weir.metric("pgweir_slow_log_rotations_total", &[]);
    let text = format!("select $1::text as \"{}\"", "wide".repeat(500 / 4));
    let begun = Instant::now();
    while rotations() < 3.0 {
        (0..50).for_each(|_| run(&mut client, &text, "x"));
        assert!(begun.elapsed() < PATIENCE);
    }
    for name in ["slow.log.1", "slow.log.2"] {
        assert!((60_000..=64 * 1024).contains(&std::fs::metadata(weir.file(name)).unwrap().len()));
        assert!(!lines(&weir, name).is_empty());
    }
    assert!(!weir.file("slow.log.3").exists());
    // As logrotate does.
    std::fs::rename(weir.file("slow.log"), weir.file("moved")).unwrap();
    run(&mut client, "select $1::text as anew", "x");
    about(&weir, "slow.log", "as anew", 1);
    // A place that cannot be written costs lines and nothing else, and is told once.
    std::fs::create_dir(weir.file("gone")).unwrap();
    change(&weir, "slow_log: {over: 0, file: {path: gone/slow.log}}\n");
    std::fs::remove_dir_all(weir.file("gone")).unwrap();
    for _ in 0..5 {
        run(&mut client, "select $1::text as lost", "x");
    }
    wait_for("errors are counted", || weir.metric("pgweir_slow_log_write_errors_total", &[]) >= 5.0);
    assert_eq!(weir.logged("the slow-query log cannot be written"), 1);
}

#[test]
fn lines_go_to_stdout_or_to_the_log() {
    let database = TestDatabase::new("slow_stdout");
    let weir = start(&database, "slow_log: {over: 0}\n", "");
    let mut client = weir.login(&database.name);
    run(&mut client, "select $1::text as told", "classified");
    wait_for("a line in the log", || {
        let log = weir.log();
        log.lines().any(|line| line.contains("pgweir::slow") && line.contains("as told"))
    });
    assert!(!weir.log().contains("classified"));
    drop(client);
    let out = tempfile::NamedTempFile::new().unwrap();
    let stdout = out.reopen().unwrap().into();
    let mut weir = start_with(&database, "slow_log: {over: 0, stdout: true}\n", "", stdout);
    let mut client = weir.login(&database.name);
    run(&mut client, "select $1::text as printed", "x");
    drop(client);
    // What was slow before the end is written before the end.
    weir.signal(libc::SIGTERM);
    assert!(weir.ended().success());
    let text = std::fs::read_to_string(out.path()).unwrap();
    let all: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(all.iter().any(|line| line["statement"].as_str().unwrap().contains("as printed")), "{text}");
    assert!(!weir.log().contains("pgweir::slow"));
}

/// A token of this role, and its entry in the settings.
fn token(role: &str) -> (String, String) {
    let command = std::process::Command::new(env!("CARGO_BIN_EXE_pgweir"))
        .args(["token", "create", "--role", role, "--name", role])
        .output()
        .unwrap();
    let text = String::from_utf8(command.stdout).unwrap();
    let hash = text.split("sha256:").nth(1).unwrap()[..64].to_owned();
    let word = text.split_whitespace().find(|word| word.starts_with("pgweir_")).unwrap().to_owned();
    (word, format!("{{name: {role}, role: {role}, hash: 'sha256:{hash}'}}"))
}

#[test]
fn samples_of_values_are_for_operators() {
    let database = TestDatabase::new("slow_samples");
    let ((viewer, one), (operator, two)) = (token("viewer"), token("operator"));
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("rules")).unwrap();
    std::fs::write(folder.path().join("rules/slow.yaml"), "observe: {parameters: true}\n").unwrap();
    let settings = plain(&database, "max_size: 3", "rules: rules");
    let admin = format!("admin: {{address: 127.0.0.1, port: 0, tokens: [{one}, {two}]}}");
    let settings = settings.replace("admin: {address: 127.0.0.1, port: 0}", &admin);
    let weir = Weir::start_in(folder, &settings, |_| {});
    let mut client = weir.login(&database.name);
    run(&mut client, "select $1::text as sampled", "it's mine");
    run(&mut client, "select $1::text as sampled", "another");
    let ask = |token: &str| {
        let header = format!("Authorization: Bearer {token}");
        let (status, body) = http(weir.admin, "GET", "/api/database/queries?filter=sampled", &[&header]);
        assert_eq!(status, 200, "{body}");
        serde_json::from_str::<Value>(&body).unwrap()["queries"][0].clone()
    };
    assert_eq!(ask(&operator)["parameters"], "'it''s mine'");
    assert!(ask(&viewer)["parameters"].is_null() && ask(&viewer)["calls"] == 2);
    change(&weir, "observe: {}\n");
    assert!(ask(&operator)["parameters"].is_null());
}
