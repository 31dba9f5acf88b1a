//! pgweir as its operator meets it: the settings file, reloads, the log, the HTTP surface, tokens.

use std::process::Command;
use std::time::Duration;

use crate::cluster::{APP_PASSWORD, TestDatabase, batch, shared};
use crate::rawclient::{Raw, extended};
use crate::support::{Weir, http, plain, psql, wait_for};

fn pgweir(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_pgweir")).args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

const BAD: &str = "\
listen: {port: 70000}
databases:
  app:
    servers: [{host: db, prot: 5432}]
    pool: {mode: transacton}
users:
  app: {password: very-secret, pasword_file: x}
timeout: {query: 5s}
";

#[test]
fn check_lists_every_mistake_and_run_refuses_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.yaml");
    std::fs::write(&path, BAD).unwrap();
    let file = path.to_str().unwrap();
    for command in ["check", "run"] {
        let (code, out, error) = pgweir(&[command, "--config", file]);
        assert_eq!((code, &*out), (Some(1), ""), "{error}");
        for wanted in [
            "bad.yaml:1:",
            "listen.port",
            "bad.yaml:4:",
            "did you mean port?",
            "bad.yaml:5:",
            "transaction",
            "bad.yaml:7:",
            "did you mean password_file?",
            "bad.yaml:8:1: timeout: unknown key; did you mean timeouts?",
            "5 mistakes in",
        ] {
            assert!(error.contains(wanted), "no `{wanted}` in:\n{error}");
        }
        assert!(!error.contains("very-secret"));
    }
    let good = plain(&TestDatabase::new("check"), "max_size: 3", "");
    std::fs::write(&path, good).unwrap();
    let (code, out, error) = pgweir(&["check", "--config", file]);
    assert_eq!((code, &*error), (Some(0), ""));
    assert!(out.contains("no mistakes") && !out.contains(APP_PASSWORD), "{out}");
    let (code, _, error) = pgweir(&["check", "--config", "/nowhere/at.yaml"]);
    assert!(code == Some(1) && error.contains("/nowhere/at.yaml"), "{error}");
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let url = "postgres://app:hidden@127.0.0.1:1/app";
    for other in ["--listen", "--admin"] {
        let free = if other == "--listen" { "--admin" } else { "--listen" };
        let (code, _, error) = pgweir(&["run", "--upstream", url, other, &address, free, "127.0.0.1:0"]);
        assert_eq!(code, Some(1), "{error}");
        assert!(error.contains(&address) && error.contains("choose"), "{error}");
        assert!(!error.contains("hidden"));
    }
}

#[test]
fn an_upstream_url_is_enough() {
    let database = TestDatabase::new("upstream");
    let folder = tempfile::tempdir().unwrap();
    let log = std::fs::File::create(folder.path().join("log")).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_pgweir"))
        .args(["run", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
        .env("PGWEIR_UPSTREAM", database.url())
        .stderr(log)
        .spawn()
        .unwrap();
    let read = || std::fs::read_to_string(folder.path().join("log")).unwrap();
    wait_for("it serves", || read().contains("is serving"));
    let log = read();
    let listen = log.split("listen=").nth(1).unwrap().split_whitespace().next().unwrap();
    let port = listen.rsplit(':').next().unwrap();
    let info =
        format!("host=127.0.0.1 port={port} dbname={} user=app password={APP_PASSWORD}", database.name);
    assert_eq!(psql(&info, "SELECT current_database()").unwrap(), database.name);
    // SAFETY: the child has not been waited for, so the id is its own.
    unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGTERM) };
    assert!(child.wait().unwrap().success());
}

#[test]
fn settings_change_without_dropping_anyone() {
    let database = TestDatabase::new("change");
    let weir = Weir::start(&plain(&database, "max_size: 2", ""));
    let mut old = weir.login(&database.name);
    let mut open = weir.login(&database.name);
    let pid = open.query("BEGIN; SELECT pg_backend_pid()").rows[0].clone();
    // A bad file, noticed by itself and by signal: the old settings stay, and the log says so and why.
    std::fs::write(weir.file("pgweir.yaml"), BAD).unwrap();
    wait_for("the changed file", || weir.logged("the old ones stay in force") > 0);
    weir.signal(libc::SIGHUP);
    wait_for("the signal", || weir.logged("the old ones stay in force") > 1);
    assert!(weir.log().contains("did you mean password_file?") && !weir.log().contains("very-secret"));
    assert_eq!(weir.login(&database.name).query("SELECT 1").value(), "1");
    // A good one, noticed by itself.
    let before = weir.logged("settings reloaded");
    let new = plain(&database, "max_size: 1, queue_wait: 1s", "limits: {clients_per_user: 3}");
    let new = new.replace("{app: {password: secret}}", "{app: {password: secret}, late: {password: riser}}");
    std::fs::write(weir.file("pgweir.yaml"), &new).unwrap();
    wait_for("the changed file", || weir.logged("settings reloaded") > before);
    batch(&database.superuser_url(), &["CREATE ROLE late LOGIN PASSWORD 'riser'"]);
    let mut late = Raw::connect(weir.listen).login("late", "riser", &database.name).unwrap();
    assert_eq!(late.query("SELECT current_user").value(), "late");
    drop(late);
    assert_eq!(open.query("SELECT pg_backend_pid()").value(), pid, "the transaction keeps its server");
    old.start_query("SELECT 2");
    assert_eq!(old.reply().sqlstate(), "53300", "the new size and wait hold");
    assert_eq!(open.query("COMMIT").status, b'I');
    assert_eq!(old.query("SELECT 3").value(), "3");
    assert_ne!(
        old.query("SELECT pg_backend_pid()").value(),
        pid,
        "servers of old settings are not used again"
    );
    // A password that changed holds for new logins; a database that went ends its sessions.
    weir.reload(&new.replace("password: secret", "password: changed"));
    assert_eq!(weir.try_login(&database.name).err().unwrap().sqlstate, "28P01");
    weir.reload(&new.replace(&format!("  {}:", database.name), "  elsewhere:"));
    assert_eq!(old.last_words().sqlstate, "57P01");
    drop(open);
    weir.settles(1, &shared().url("postgres"), &database.name);
}

fn token(role: &str) -> (String, String) {
    let (code, out, error) = pgweir(&["token", "create", "--role", role, "--name", role]);
    assert_eq!(code, Some(0), "{error}");
    let secret =
        out.split_whitespace().find(|word| word.starts_with("pgw")).unwrap_or_else(|| panic!("{out}"));
    let hash = out
        .split(|c: char| c.is_whitespace() || "{},\"".contains(c))
        .find(|word| word.starts_with("sha256:"));
    (secret.to_owned(), format!("{{name: {role}, role: {role}, hash: \"{}\"}}", hash.unwrap()))
}

#[test]
fn the_http_surface_is_closed_by_default() {
    let database = TestDatabase::new("surface");
    let (viewer, viewer_entry) = token("viewer");
    let (operator, operator_entry) = token("operator");
    let open = plain(&database, "max_size: 2", "");
    let weir = Weir::start(&open);
    let call = |method: &str, path: &str, headers: &[&str]| http(weir.admin, method, path, headers).0;
    for path in ["/", "/metrics", "/healthz", "/readyz", "/api/database/connections"] {
        assert_eq!(call("GET", path, &[]), 200, "{path}");
    }
    // Nothing acts without a token, and where there is none, nothing acts.
    assert!([401, 403].contains(&call("POST", "/api/reload", &[])));
    let bearer = |token: &str| format!("Authorization: Bearer {token}");
    assert!([401, 403].contains(&call("POST", "/api/reload", &[&bearer(&operator)])));
    let closed = open.replace("admin: {address: 127.0.0.1, port: 0}",
        &format!("admin: {{address: 127.0.0.1, port: 0, audit_log: audit.jsonl, tokens: [{viewer_entry}, {operator_entry}]}}"));
    weir.reload(&closed);
    let cases: [(&str, &str, Vec<String>, u16); 9] = [
        ("GET", "/metrics", vec![], 200),
        ("GET", "/api/database/connections", vec![], 401),
        ("GET", "/api/database/connections", vec![bearer("pgw_wrong")], 401),
        ("GET", "/api/database/connections", vec![bearer(&viewer)], 200),
        ("POST", "/api/reload", vec![], 401),
        ("POST", "/api/reload", vec![bearer(&viewer)], 403),
        ("POST", "/api/reload", vec![bearer(&operator)], 200),
        ("POST", "/api/reload", vec![bearer(&operator), "Origin: http://evil.example".into()], 403),
        ("GET", "/metrics", vec!["Host: evil.example".into()], 403),
    ];
    for (method, path, headers, expected) in &cases {
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        let (status, body) = http(weir.admin, method, path, &headers);
        assert_eq!(status, *expected, "{method} {path} {}: {body}", headers.len());
    }
    let audit = std::fs::read_to_string(weir.file("audit.jsonl")).unwrap();
    assert!(
        audit.lines().any(|line| line.contains("operator")
            && line.contains("/api/reload")
            && line.contains("127.0.0.1")),
        "{audit}"
    );
    for secret in [&viewer, &operator] {
        assert!(!audit.contains(&**secret) && !weir.log().contains(&**secret));
    }
    // A bad file is refused to the one who asks, too.
    std::fs::write(weir.file("pgweir.yaml"), BAD).unwrap();
    let (status, body) = http(weir.admin, "POST", "/api/reload", &[&bearer(&operator)]);
    assert!(status == 422 && body.contains("timeouts"), "{status} {body}");
}

#[test]
fn another_address_needs_tls_and_tokens() {
    let database = TestDatabase::new("address");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pgweir.yaml");
    let text =
        plain(&database, "max_size: 1", "").replace("admin: {address: 127.0.0.1", "admin: {address: 0.0.0.0");
    std::fs::write(&path, text).unwrap();
    let (code, _, error) = pgweir(&["run", "--config", path.to_str().unwrap()]);
    assert_eq!(code, Some(1));
    assert!(error.contains("admin") && error.contains("token") && error.contains("tls"), "{error}");
}

#[test]
fn connections_are_shown_with_what_pins_them() {
    let database = TestDatabase::new("shown");
    let weir = Weir::start(&plain(&database, "max_size: 8", ""));
    let named = |name: &str| {
        let raw = Raw::connect(weir.listen).with("application_name", name);
        raw.login("app", APP_PASSWORD, &database.name).unwrap()
    };
    let pins = [
        ("locks", "SELECT pg_advisory_lock(9)", "advisory_lock"),
        ("temps", "CREATE TEMP TABLE t (n int)", "temporary_table"),
        ("holds", "BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT 1; COMMIT", "hold_cursor"),
        ("listens", "LISTEN news", "listen"),
    ];
    let mut held = Vec::new();
    for (name, text, _) in pins {
        let mut raw = named(name);
        assert_eq!(raw.query(text).error, None);
        held.push(raw);
    }
    let mut open = named("open");
    open.query("BEGIN");
    let mut busy = named("busy");
    busy.start_query("SELECT pg_sleep(5)");
    let idle = named("idle");
    let client = |name: &str| {
        let (status, body) = weir.get("/api/database/connections");
        assert_eq!(status, 200);
        let all: serde_json::Value = serde_json::from_str(&body).unwrap();
        let pool = all["pools"]
            .as_array()
            .unwrap()
            .iter()
            .find(|pool| pool["database"] == *database.name)
            .unwrap()
            .clone();
        assert_eq!((pool["mode"].as_str(), pool["max_size"].as_u64()), (Some("transaction"), Some(8)));
        let found =
            pool["clients"].as_array().unwrap().iter().find(|client| client["application_name"] == name);
        found.unwrap_or_else(|| panic!("no {name}: {pool}")).clone()
    };
    for (name, _, reason) in pins {
        wait_for(reason, || client(name)["pinned_by"] == reason);
        assert_eq!(client(name)["state"], "pinned");
        assert!(client(name)["server_pid"].as_u64().is_some());
        assert_eq!(weir.metric("pgweir_pinned_servers", &[&format!("reason=\"{reason}\"")]), 1.0);
    }
    assert_eq!(client("open")["state"], "in_transaction");
    wait_for("a busy client", || client("busy")["state"] == "active");
    assert_eq!((&client("idle")["state"], client("idle")["server_pid"].as_u64()), (&"idle".into(), None));
    // What ends the pin lets the server go.
    for (raw, text) in
        held.iter_mut().zip(["SELECT pg_advisory_unlock(9)", "DROP TABLE t", "CLOSE c", "UNLISTEN news"])
    {
        assert_eq!(raw.query(text).error, None);
    }
    for (name, _, reason) in pins {
        wait_for(&format!("no {reason}"), || client(name)["state"] == "idle");
    }
    assert_eq!(weir.metric("pgweir_pinned_servers", &[]), 0.0);
    Raw::cancel(weir.listen, busy.pid, &busy.secret);
    assert_eq!(busy.reply().sqlstate(), "57014");
    drop((held, open, busy, idle));
    weir.settles(8, &shared().url("postgres"), &database.name);
}

#[test]
fn the_log_tells_events_and_no_values() {
    let database = TestDatabase::new("log");
    let text = plain(&database, "max_size: 2", "").replace("level: debug", "level: trace");
    let weir = Weir::start(&text);
    let mut raw = weir.login(&database.name);
    let value = "4e8a1c-parameter";
    raw.query(&format!("SELECT '{value}'"));
    raw.query(&format!("SET app.secret = '{value}'"));
    raw.query(&format!("PREPARE p AS SELECT '{value}'"));
    raw.send(&extended(&format!("SELECT '{value}'::int")));
    assert_eq!(raw.reply().sqlstate(), "22P02");
    raw.query(&format!("ALTER ROLE app PASSWORD '{APP_PASSWORD}'"));
    let mut other = weir.login(&database.name);
    assert_eq!(other.query("SELECT current_setting('app.secret', true) IS NULL OR current_setting('app.secret', true) = ''").value(), "t");
    let wrong = Raw::connect(weir.listen).login("app", "wrong-9d2f", &database.name);
    assert_eq!(wrong.err().unwrap().sqlstate, "28P01");
    drop((raw, other));
    weir.settles(2, &shared().url("postgres"), &database.name);
    wait_for("the last lines", || weir.logged("client left") + weir.logged("client lost") == 2);
    let log = weir.log();
    for secret in [value, "wrong-9d2f", "password: secret", "'secret'", "\"secret\"", "SCRAM-SHA-256$"] {
        assert!(!log.contains(secret), "`{secret}` in the log");
    }
    for event in ["client logged in", "server opened", "login refused"] {
        assert!(log.contains(event), "no `{event}`");
    }
}

#[test]
fn idle_servers_go_and_old_ones_are_replaced() {
    let database = TestDatabase::new("upkeep");
    let weir = Weir::start(&plain(
        &database,
        "max_size: 4, min_size: 1, server_idle: 500ms, server_lifetime: 3s",
        "",
    ));
    let mut clients: Vec<Raw> = (0..3).map(|_| weir.login(&database.name)).collect();
    clients.iter_mut().for_each(|client| assert_eq!(client.query("BEGIN").status, b'T'));
    let first: Vec<String> =
        clients.iter_mut().map(|c| c.query("SELECT pg_backend_pid()").value().to_owned()).collect();
    clients.iter_mut().for_each(|client| assert_eq!(client.query("COMMIT").status, b'I'));
    drop(clients);
    let idle = || weir.metric("pgweir_servers", &["state=\"idle\""]);
    wait_for("spare servers go", || idle() == 1.0);
    let mut late = weir.login(&database.name);
    wait_for("an old server is replaced", || {
        std::thread::sleep(Duration::from_millis(100));
        !first.contains(&late.query("SELECT pg_backend_pid()").value().to_owned())
    });
    drop(late);
    weir.settles(4, &shared().url("postgres"), &database.name);
}
