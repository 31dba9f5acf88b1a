//! Indexes that are built without being told: proved ones stay, and what does not keep its promise is taken back,
//! with figures; of two pgweir one builds; a standby that lags is waited for.

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use pgweir::demo::cluster::{Cluster, ClusterOptions};
use serde_json::Value;

use super::has_hypopg;
use super::running::{command, loaded, workload};
use crate::cluster::{TestDatabase, ask, batch, prepare, shared};
use crate::rawclient::{Raw, bound};
use crate::support::{Weir, plain, settings, until, wait_for};

/// A pgweir that builds by itself, with more under `indexes.auto`. `main`: what pgweir.yaml says.
fn start(main: &str, auto: &str) -> Weir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("rules")).unwrap();
    let rules = format!(
        "observe: {{parameters: true}}\n\
         indexes: {{every: 1s, auto: {{enabled: true, verify_calls: 20, max_active: 1000{auto}}}}}\n"
    );
    std::fs::write(folder.path().join("rules/a.yaml"), rules).unwrap();
    Weir::start_in(folder, &format!("{main}rules: rules\n"), |_| {})
}

fn answer(weir: &Weir) -> Value {
    let (status, body) = weir.get("/api/database/indexes");
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

/// The last act.
fn act(weir: &Weir) -> Value {
    answer(weir)["history"][0].clone()
}

fn is_built(act: &Value) -> bool {
    act["state"] == "verifying" || act["state"] == "proved"
}

fn indexes(url: &str, table: &str) -> String {
    let query = format!(
        "SELECT coalesce(string_agg(indexrelid::regclass::text || ' ' || indisvalid, ', ' ORDER BY 1), '') \
        FROM pg_index WHERE indrelid = '{table}'::regclass AND NOT indisunique \
        AND indexrelid::regclass::text NOT LIKE 'twin%'"
    );
    ask(url, &query)
}

#[test]
fn what_is_sure_is_built_and_proved() {
    if !has_hypopg() {
        println!("skipped: this PostgreSQL has no HypoPG");
        return;
    }
    let database = loaded("auto_good");
    let url = database.superuser_url();
    let weir = start(&plain(&database, "max_size: 3", ""), "");
    workload(&weir, &database);
    until("it is built under load", || {
        workload(&weir, &database);
        is_built(&act(&weir)).then_some(())
    });
    assert_eq!(indexes(&url, "invoices"), "idx_invoices_organization_id_period true");
    until("it is proved", || {
        workload(&weir, &database);
        (act(&weir)["state"] == "proved").then_some(())
    });
    let proved = act(&weir);
    assert_eq!(proved["by"], "auto", "{proved:#}");
    assert!(proved["gain_percent"].as_f64().unwrap() > 50.0, "{proved:#}");
    assert_eq!(proved["executed"].as_array().unwrap().len(), 1, "{proved:#}");
    assert_eq!(weir.logged("an index is built as indexes.auto says"), 1);
    assert_eq!(weir.logged("\"what\":\"DDL "), 2, "the audit log has begin and end of it");
}

#[test]
fn hours_and_confidence_are_obeyed() {
    if !has_hypopg() {
        println!("skipped: this PostgreSQL has no HypoPG");
        return;
    }
    let database = loaded("auto_hours");
    let url = database.superuser_url();
    // The hour that it is not, in Kolkata.
    let hour: u32 = ask(&url, "SELECT extract(hour FROM now() AT TIME ZONE 'Asia/Kolkata')").parse().unwrap();
    let hours =
        format!(", time_zone: Asia/Kolkata, hours: '{:02}:00-{:02}:00'", (hour + 3) % 24, (hour + 4) % 24);
    let weir = start(&plain(&database, "max_size: 3", ""), &hours);
    workload(&weir, &database);
    let status = until("it waits", || {
        let status = answer(&weir)["auto"][&database.name].as_str().map(str::to_owned);
        status.filter(|status| status.contains("waits"))
    });
    assert!(status.contains("Asia/Kolkata, outside of indexes.auto.hours"), "{status}");
    assert_eq!(indexes(&url, "invoices"), "");
    drop(weir);
    // Another table only.
    let weir = start(&plain(&database, "max_size: 3", ""), ", tables: [public.other*]");
    workload(&weir, &database);
    let status = until("there is nothing for it", || {
        answer(&weir)["auto"][&database.name].as_str().map(str::to_owned)
    });
    assert_eq!(status, "nothing to build");
    assert_eq!(indexes(&url, "invoices"), "");
}

const SKEWED: &[&str] = &[
    "CREATE TABLE jobs AS SELECT i AS id, CASE WHEN i % 2000 = 0 THEN 'failed' || i % 7 ELSE 'done' END AS state, \
        repeat('x', 60) AS note FROM generate_series(1, 60000) i",
    "ALTER TABLE jobs OWNER TO app",
    "CHECKPOINT",
    "VACUUM (ANALYZE) jobs",
    "CREATE EXTENSION hypopg",
];

fn many(weir: &Weir, database: &str, text: &str, values: &[&str], times: usize) {
    let mut client = Raw::connect(weir.listen)
        .login(crate::cluster::APP_USER, crate::cluster::APP_PASSWORD, database)
        .unwrap();
    for _ in 0..times {
        client.send(&bound(text, values));
        assert_eq!(client.reply().error, None);
    }
}

#[test]
fn a_promise_that_is_not_kept_is_taken_back() {
    if !has_hypopg() {
        println!("skipped: this PostgreSQL has no HypoPG");
        return;
    }
    let database = TestDatabase::new("auto_skew");
    batch(&database.superuser_url(), SKEWED);
    let weir = start(&plain(&database, "max_size: 3", ""), "");
    let text = "select count(note) from jobs where state = $1";
    // What was seen until now are rare values, which an index finds at once.
    until("it is built", || {
        many(&weir, &database.name, text, &["failed0"], 20);
        is_built(&act(&weir)).then_some(())
    });
    assert!(indexes(&database.superuser_url(), "jobs").ends_with(" true"));
    // From now on it is asked for what nearly all rows have.
    until("it is taken back", || {
        many(&weir, &database.name, text, &["done"], 20);
        (act(&weir)["state"] == "removed").then_some(())
    });
    let taken = act(&weir);
    let message = taken["message"].as_str().unwrap();
    assert!(message.starts_with("taken back: measured: "), "{message}");
    assert!(taken["gain_percent"].as_f64().unwrap() < 50.0, "{taken:#}");
    assert_eq!(indexes(&database.superuser_url(), "jobs"), "");
    assert_eq!(taken["executed"].as_array().unwrap().len(), 2, "{taken:#}");
    // It is not built again.
    many(&weir, &database.name, text, &["failed0"], 60);
    until("other advice", || (answer(&weir)["suggestions"].as_array().unwrap().is_empty()).then_some(()));
}

const LOGS: &[&str] = &[
    "CREATE TABLE logs AS SELECT i AS id, md5(i::text) AS token, repeat('x', 20) AS note FROM generate_series(1, 40000) i",
    "ALTER TABLE logs OWNER TO app",
    "CHECKPOINT",
    "VACUUM (ANALYZE) logs",
    "CREATE EXTENSION hypopg",
];

#[test]
fn a_bad_index_for_those_who_write_is_taken_back() {
    if !has_hypopg() {
        println!("skipped: this PostgreSQL has no HypoPG");
        return;
    }
    let database = TestDatabase::new("auto_writes");
    batch(&database.superuser_url(), LOGS);
    let weir = start(&plain(&database, "max_size: 3", ""), "");
    let read = || many(&weir, &database.name, "select note from logs where token = $1", &["x"], 25);
    let write = |times| {
        let text = "insert into logs select i, md5(random()::text), 'new' from generate_series(1, 1000) i";
        let mut client = weir.login(&database.name);
        (0..times).for_each(|_| assert_eq!(client.query(text).error, None));
    };
    write(12);
    until("it is built", || {
        (0..4).for_each(|_| read());
        is_built(&act(&weir)).then_some(())
    });
    until("it is taken back", || {
        write(10);
        (act(&weir)["state"] == "removed").then_some(())
    });
    let taken = act(&weir);
    let message = taken["message"].as_str().unwrap();
    assert!(message.starts_with("taken back: ") && message.contains("(a write)"), "{message}");
    assert_eq!(indexes(&database.superuser_url(), "logs"), "");
    let others = taken["others"].as_array().unwrap();
    let slow = others.iter().find(|shape| shape["role"] == "writes").unwrap();
    assert!(slow["after_ms"].as_f64() > slow["before_ms"].as_f64(), "{taken:#}");
    assert_eq!(weir.logged("an index disappoints"), 1);
    assert_eq!(weir.metric("pgweir_indexes_taken_back_total", &[]), 1.0);
    assert_eq!(weir.metric("pgweir_index_acts", &["state=\"removed\""]), 1.0);
}

#[test]
fn of_two_one_builds_and_the_other_takes_over() {
    if !has_hypopg() {
        println!("skipped: this PostgreSQL has no HypoPG");
        return;
    }
    let database = loaded("auto_two");
    let main = plain(&database, "max_size: 3", "");
    // Nothing may be built yet, so that both come to the point.
    let first = start(&main, ", max_transaction: 1s");
    let holder = {
        let runtime = super::runtime();
        let client = runtime.block_on(crate::cluster::connect(&database.url()));
        runtime.block_on(client.batch_execute("BEGIN; SELECT txid_current()")).unwrap();
        (runtime, client)
    };
    workload(&first, &database);
    wait_for("the first leads", || first.logged("this pgweir builds the indexes of the database") == 1);
    let second = start(&main, "");
    workload(&second, &database);
    let status = |weir: &Weir, text: &str| {
        answer(weir)["auto"][&database.name].as_str().is_some_and(|status| status.contains(text))
    };
    wait_for("the second does not", || status(&second, "another pgweir builds the indexes"));
    wait_for("the first waits", || status(&first, "indexes.auto.max_transaction"));
    assert_eq!(indexes(&database.superuser_url(), "invoices"), "");
    drop(first);
    holder.0.block_on(holder.1.batch_execute("COMMIT")).unwrap();
    wait_for("the second takes over", || is_built(&act(&second)));
    assert_eq!(second.logged("this pgweir builds the indexes of the database"), 1);
}

/// A standby of a cluster; ended when dropped.
struct Standby {
    child: Child,
    url: String,
    _folder: tempfile::TempDir,
}

impl Standby {
    fn new(cluster: &Cluster) -> Standby {
        let owner = std::fs::metadata(cluster.folder().join("data")).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::chown(folder.path(), Some(owner.uid()), Some(owner.gid())).unwrap();
        let data = folder.path().join("data");
        let run = |program: &str| {
            let mut command = Command::new(cluster.programs().path(program));
            command.uid(owner.uid()).gid(owner.gid()).current_dir(folder.path()).stdin(Stdio::null());
            command.env("PGPASSWORD", cluster.password());
            command
        };
        let source = format!("host=127.0.0.1 port={} user={}", cluster.port(), cluster.superuser());
        let copied = run("pg_basebackup")
            .args([
                "--write-recovery-conf",
                "--checkpoint=fast",
                "--no-sync",
                "--dbname",
                &source,
                "--pgdata",
            ])
            .arg(&data)
            .output()
            .unwrap();
        assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
        // It is free for the moment; the standby takes it at once.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = run("postgres")
            .arg("-D")
            .arg(&data)
            .args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1", "-c"])
            .arg(format!("unix_socket_directories={}", folder.path().display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (user, password) = (cluster.superuser(), cluster.password());
        let url = format!("postgres://{user}:{password}@127.0.0.1:{port}/postgres");
        Standby { child, url, _folder: folder }
    }
}

impl Drop for Standby {
    fn drop(&mut self) {
        // SAFETY: the child has not been waited for, so the id is its own.
        unsafe { libc::kill(self.child.id() as libc::pid_t, libc::SIGQUIT) };
        let _ = self.child.wait();
    }
}

#[test]
fn a_standby_that_lags_is_waited_for() {
    if !has_hypopg() || !shared().programs().path("pg_basebackup").exists() {
        println!("skipped: this PostgreSQL has no HypoPG, or no pg_basebackup");
        return;
    }
    let cluster = Cluster::start(ClusterOptions::default()).unwrap();
    prepare(&cluster);
    let name = "pgweir_template";
    let url = cluster.url(name);
    batch(&url, &SKEWED[..4]);
    batch(&url, &["CREATE EXTENSION hypopg", "GRANT pg_monitor TO app"]);
    let standby = Standby::new(&cluster);
    let lag = "SELECT coalesce(max(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)), -1) FROM pg_stat_replication";
    wait_for("the standby follows", || ask(&url, lag) == "0");
    ask(&standby.url, "SELECT pg_wal_replay_pause()");
    let fill = || {
        batch(&url, &["CREATE TABLE filler AS SELECT repeat('y', 1000) AS y FROM generate_series(1, 10000)"]);
        batch(&url, &["DROP TABLE filler"]);
    };
    fill();
    let (token, hash) = pgweir::admin::token::create();
    let main = settings(name, cluster.port(), "max_size: 3", "").replace(
        "admin: {address: 127.0.0.1, port: 0}",
        &format!(
            "admin: {{address: 127.0.0.1, port: 0, tokens: [{{name: t, role: operator, hash: '{hash}'}}]}}"
        ),
    );
    let weir = start(&main, ", max_lag_size: 1MB");
    let text = "select count(note) from jobs where state = $1";
    many(&weir, name, text, &["failed0"], 30);
    let run =
        |words: &[&str]| command(&[words, &["--admin", &weir.admin.to_string(), "--token", &token]].concat());
    let told = |text: &str| run(&["indexes", "history"]).unwrap().contains(text);
    wait_for("it waits", || told("waits: a standby is"));
    let advice: Value = serde_json::from_str(&run(&["advise", "--json", "--last"]).unwrap()).unwrap();
    let id = advice["suggestions"][0]["id"].as_str().unwrap().to_owned();
    let refused = run(&["indexes", "apply", &id]).unwrap_err();
    assert!(refused.contains("not begun: a standby is") && refused.contains("--force"), "{refused}");
    assert_eq!(indexes(&url, "jobs"), "");
    ask(&standby.url, "SELECT pg_wal_replay_resume()");
    wait_for("it is built when the standby is there again", || indexes(&url, "jobs").ends_with(" true"));
    until("it can be dropped", || run(&["indexes", "drop", &id]).ok());

    // A build is broken off when the standby falls behind meanwhile, and leaves nothing.
    wait_for("the standby has caught up", || ask(&url, lag) == "0");
    // One that begins alike may be better now; it is not built without being told.
    let suggested = || {
        until("it is suggested again", || {
            let advice: Value = serde_json::from_str(&run(&["advise", "--json"]).unwrap()).unwrap();
            advice["suggestions"][0]["id"].as_str().map(str::to_owned)
        })
    };
    let id = suggested();
    let runtime = super::runtime();
    let writer = runtime.block_on(crate::cluster::connect(&url));
    runtime.block_on(writer.batch_execute("BEGIN; UPDATE jobs SET note = 'y' WHERE id = 1")).unwrap();
    std::thread::scope(|scope| {
        let applying = scope.spawn(|| run(&["indexes", "apply", &id]));
        wait_for("it is being built", || indexes(&url, "jobs").ends_with(" false"));
        ask(&standby.url, "SELECT pg_wal_replay_pause()");
        fill();
        wait_for("it is given up", || weir.logged("statement=\"DROP INDEX CONCURRENTLY") == 2);
        runtime.block_on(writer.batch_execute("COMMIT")).unwrap();
        let error = applying.join().unwrap().unwrap_err();
        assert!(error.contains("broken off: a standby is"), "{error}");
    });
    assert_eq!(indexes(&url, "jobs"), "");
    // Who says so builds it all the same.
    let forced = run(&["indexes", "apply", &suggested(), "--force"]).unwrap();
    assert!(forced.contains("verifying"), "{forced}");
    assert!(indexes(&url, "jobs").ends_with(" true"));
}
