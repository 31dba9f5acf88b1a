//! The private PostgreSQL of `pgweir demo` and of these tests: it starts, answers, crashes, recovers, runs
//! under another account when we are root, and leaves nothing behind.

use std::process::Command;
use std::time::{Duration, Instant};

use pgweir::demo::cluster::{Cluster, ClusterOptions, TlsFiles};

use crate::cluster::{self, TestDatabase, ask, batch, connect, try_connect};

fn own(options: ClusterOptions) -> Cluster {
    Cluster::start(options).unwrap_or_else(|e| panic!("{e}"))
}

fn is_root() -> bool {
    // SAFETY: geteuid takes no argument, touches no memory and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

fn runs(pid: u32) -> bool {
    // SAFETY: signal 0 only asks whether the process is there.
    unsafe { libc::kill(pid as libc::pid_t, 0) == 0 }
}

#[test]
fn it_answers_and_leaves_nothing_behind() {
    let cluster = own(ClusterOptions::default());
    assert_eq!(ask(&cluster.url("postgres"), "SELECT 40 + 2"), "42");
    let (pid, folder, port) = (cluster.pid().unwrap(), cluster.folder().to_owned(), cluster.port());
    assert!(runs(pid) && folder.is_dir());
    drop(cluster);
    assert!(!runs(pid), "the postmaster still runs");
    assert!(!folder.exists(), "{} is still there", folder.display());
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[test]
fn the_server_does_not_run_as_root() {
    let cluster = cluster::shared();
    let pid = cluster.pid().unwrap();
    let output = Command::new("stat").args(["-c", "%u", &format!("/proc/{pid}")]).output().unwrap();
    let uid = String::from_utf8(output.stdout).unwrap();
    assert_ne!(uid.trim(), "0");
    assert!(!uid.trim().is_empty());
    assert_eq!(cluster.account().is_some(), is_root());
}

#[tokio::test]
async fn the_socket_works_and_a_password_is_asked_for() {
    let cluster = cluster::shared();
    let mut config = tokio_postgres::Config::new();
    config.host_path(cluster.socket_dir()).port(cluster.port()).user(cluster.superuser()).dbname("postgres");
    let refused = config.connect(tokio_postgres::NoTls).await;
    assert!(refused.is_err(), "no password, and yet it lets us in");
    config.password(cluster.password());
    let (client, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let row = client.query_one("SELECT inet_server_port() IS NULL", &[]).await.unwrap();
    assert!(row.get::<_, bool>(0));
}

#[test]
fn settings_and_extensions_arrive() {
    let url = cluster::shared().url("postgres");
    assert_eq!(ask(&url, "SHOW max_connections"), "200");
    assert_eq!(ask(&url, "SHOW password_encryption"), "scram-sha-256");
    if cluster::shared().programs().has_library("pg_stat_statements") {
        assert_eq!(ask(&url, "SHOW shared_preload_libraries"), "pg_stat_statements");
    }
    let awkward = r"it's a \ test";
    let own = own(ClusterOptions {
        settings: vec![("max_connections".into(), "30".into()), ("cluster_name".into(), awkward.into())],
        hba: vec!["host all postgres 127.0.0.1/32 reject".into()],
        ..Default::default()
    });
    let error = std::thread::spawn({
        let url = own.url("postgres");
        move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async { try_connect(&url).await.err().unwrap() })
        }
    });
    let error = error.join().unwrap();
    let state = error.as_db_error().map(|e| e.code().code().to_owned());
    assert_eq!(state.as_deref(), Some("28000"), "{error}");
    let socket = format!(
        "host={} port={} user=postgres dbname=postgres password={}",
        own.socket_dir().display(),
        own.port(),
        own.password()
    );
    assert_eq!(ask(&socket, "SHOW max_connections"), "30");
    assert_eq!(ask(&socket, "SHOW cluster_name"), awkward);
}

#[tokio::test]
async fn a_stop_ends_sessions_and_a_restart_keeps_the_data() {
    let cluster = own(ClusterOptions::default());
    let url = cluster.url("postgres");
    batch(&url, &["CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (7)"]);
    let client = connect(&url).await;
    let first = cluster.pid().unwrap();
    let cluster = std::thread::scope(|scope| {
        scope.spawn(|| cluster.restart().unwrap()).join().unwrap();
        &cluster
    });
    assert!(client.simple_query("SELECT 1").await.is_err(), "the session survived");
    assert_ne!(cluster.pid().unwrap(), first);
    assert_eq!(ask(&url, "SELECT n FROM kept"), "7");
    cluster.stop().unwrap();
    assert_eq!(cluster.pid(), None);
    assert!(try_connect(&url).await.is_err());
    cluster.stop().unwrap();
}

#[test]
fn a_crash_is_recovered_from() {
    let cluster = own(ClusterOptions::default());
    let url = cluster.url("postgres");
    batch(&url, &["CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (7)", "CHECKPOINT"]);
    cluster.kill_hard().unwrap();
    assert_eq!(cluster.pid(), None);
    cluster.restart().unwrap();
    assert_eq!(ask(&url, "SELECT n FROM kept"), "7");
    let log = std::fs::read_to_string(cluster.log()).unwrap();
    assert!(log.contains("not properly shut down"), "{log}");
}

#[test]
fn tls_files_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (cert, key) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let options = ClusterOptions { tls: Some(TlsFiles { cert, key, ca: None }), ..Default::default() };
    match Cluster::start(options) {
        Ok(cluster) => assert_eq!(ask(&cluster.url("postgres"), "SHOW ssl"), "on"),
        // The bundle of PostgreSQL 18 is built without TLS, and then it has to say so.
        Err(e) => assert!(e.contains("SSL is not supported by this build"), "{e}"),
    }
}

#[test]
fn each_test_gets_its_own_database() {
    let (one, other) = (TestDatabase::new("own"), TestDatabase::new("own"));
    batch(&one.url(), &["CREATE TABLE only_here (n int)"]);
    assert_eq!(ask(&one.url(), "SELECT current_user"), cluster::APP_USER);
    assert_eq!(ask(&other.url(), "SELECT to_regclass('only_here') IS NULL"), "t");
    let name = one.name.clone();
    drop(one);
    let query = format!("SELECT count(*) FROM pg_database WHERE datname = '{name}'");
    assert_eq!(ask(&other.superuser_url(), &query), "0");
}

#[test]
#[cfg(target_os = "linux")]
fn it_dies_with_its_owner() {
    use std::io::{BufRead, BufReader};
    // This test runs itself again in a process that owns a cluster and is then killed.
    const OWNER: &str = "PGWEIR_TEST_OWNER";
    if std::env::var_os(OWNER).is_some() {
        let cluster = own(ClusterOptions::default());
        println!("\n{} {}", cluster.pid().unwrap(), cluster.folder().display());
        std::thread::sleep(Duration::from_secs(120));
        return;
    }
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "demo_cluster::it_dies_with_its_owner"])
        .env(OWNER, "1")
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(owner.stdout.take().unwrap()).lines();
    let (pid, folder) = lines
        .map_while(Result::ok)
        .find_map(|line| {
            let (pid, folder) = line.split_once(' ')?;
            Some((pid.parse::<u32>().ok()?, folder.to_owned()))
        })
        .expect("the owner starts its cluster");
    assert!(runs(pid));
    owner.kill().unwrap();
    owner.wait().unwrap();
    let begun = Instant::now();
    while runs(pid) {
        assert!(begun.elapsed() < Duration::from_secs(20), "the postmaster outlives its owner");
        std::thread::sleep(Duration::from_millis(10));
    }
    // The next start removes what the killed owner could not.
    drop(own(ClusterOptions::default()));
    assert!(!std::path::Path::new(&folder).exists());
}
