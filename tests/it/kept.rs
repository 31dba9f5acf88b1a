//! Ledger and findings in a schema of PostgreSQL: over restarts, over a server that is away, without rights.

use serde_json::Value;

use pgweir::demo::cluster::{Cluster, ClusterOptions};

use crate::cluster::{TestDatabase, app_url, ask, batch, prepare};
use crate::rawclient::{Raw, bound};
use crate::support::{Weir, plain, settings, wait_for};

fn start(settings: &str, rules: &str) -> Weir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("rules")).unwrap();
    std::fs::write(folder.path().join("rules/o.yaml"), rules).unwrap();
    Weir::start_in(folder, settings, |_| {})
}

fn rules(database: &str) -> String {
    format!("observe: {{state: {{postgres: {{database: {database}}}, every: 1s}}}}\n")
}

fn calls(weir: &Weir, filter: &str) -> u64 {
    let (status, body) = weir.get(&format!("/api/database/queries?limit=1000&filter={filter}"));
    assert_eq!(status, 200, "{body}");
    let answer: Value = serde_json::from_str(&body).unwrap();
    let queries = answer["queries"].as_array().unwrap();
    queries.iter().map(|query| query["calls"].as_u64().unwrap()).sum()
}

fn episodes(weir: &Weir) -> u64 {
    let (_, body) = weir.get("/api/database/nplus1");
    let answer: Value = serde_json::from_str(&body).unwrap();
    answer["findings"].as_array().unwrap().iter().map(|finding| finding["episodes"].as_u64().unwrap()).sum()
}

fn run_loop(client: &mut Raw) {
    for at in 0..20 {
        client.send(&bound("select id from looped where id = $1", &[&at.to_string()]));
        assert_eq!(client.reply().error, None);
    }
    assert_eq!(client.query("discard plans").error, None);
}

fn remember(client: &mut Raw, times: usize) {
    (0..times).for_each(|_| assert_eq!(client.query("select 7 as remembered").value(), "7"));
}

fn end(mut weir: Weir) {
    weir.signal(libc::SIGTERM);
    assert!(weir.ended().success());
}

#[test]
fn the_state_continues_in_a_schema() {
    let database = TestDatabase::new("kept_state");
    batch(&database.url(), &["create table looped (id int)"]);
    let settings = plain(&database, "max_size: 3", "rules: rules");
    let kept = || {
        let exists = "select coalesce(to_regclass('pgweir.ledger'), to_regclass('pg_class'))::text";
        if ask(&database.url(), exists) != "pgweir.ledger" {
            return 0;
        }
        let sum = "select coalesce(sum(calls), 0) from pgweir.ledger where statement like '%remembered%'";
        ask(&database.url(), sum).parse::<u64>().unwrap()
    };
    let weir = start(&settings, &rules(&database.name));
    let mut client = weir.login(&database.name);
    remember(&mut client, 3);
    run_loop(&mut client);
    wait_for("the loop is found", || episodes(&weir) == 1);
    wait_for("it is saved while it runs", || kept() == 3);
    remember(&mut client, 1);
    drop(client);
    end(weir);
    assert_eq!(kept(), 4, "the end saves too");
    assert_eq!(ask(&database.url(), "select count(*) from pgweir.findings"), "1");

    let weir = start(&settings, &rules(&database.name));
    wait_for("it is loaded", || calls(&weir, "remembered") == 4 && episodes(&weir) == 1);
    let mut client = weir.login(&database.name);
    remember(&mut client, 1);
    run_loop(&mut client);
    wait_for("both are added to", || calls(&weir, "remembered") == 5 && episodes(&weir) == 2);
    wait_for("it is saved", || kept() == 5);
    drop(client);
    end(weir);
    assert_eq!(kept(), 5);
    // Another pgweir has its own.
    let other = rules(&database.name).replace("}, every", ", instance: other}, every");
    let weir = start(&settings, &other);
    wait_for("nothing is there", || weir.logged("the ledger continues where it was saved") == 1);
    assert_eq!(calls(&weir, "remembered"), 0);
    remember(&mut weir.login(&database.name), 1);
    wait_for("both are kept", || kept() == 6);
}

#[test]
fn a_database_that_is_away_loses_nothing() {
    let cluster = Cluster::start(ClusterOptions::default()).unwrap();
    prepare(&cluster);
    let name = "pgweir_template";
    let url = app_url(&cluster, name);
    batch(&cluster.url(name), &["create schema pgweir authorization app"]);
    let settings = settings(name, cluster.port(), "max_size: 3", "rules: rules");
    let weir = start(&settings, &rules(name));
    remember(&mut weir.login(name), 3);
    wait_for("it is saved", || weir.metric("pgweir_state_saves_total", &[]) >= 2.0);
    end(weir);
    let sum = "select sum(calls) from pgweir.ledger where statement like '%remembered%'";
    assert_eq!(ask(&url, sum), "3");

    cluster.stop().unwrap();
    let weir = start(&settings, &rules(name));
    wait_for("it has tried twice", || weir.metric("pgweir_state_errors_total", &[]) >= 2.0);
    assert_eq!(weir.logged("the ledger cannot be read from schema pgweir of database"), 1, "it is said once");
    cluster.restart().unwrap();
    wait_for("a client", || weir.try_login(name).is_ok());
    // What is counted before the old state is loaded is added to it.
    remember(&mut weir.login(name), 1);
    wait_for("it is loaded", || calls(&weir, "remembered") == 4);
    wait_for("it is saved", || ask(&url, sum) == "4");
    assert_eq!(weir.logged("the ledger continues where it was saved"), 1);
}

#[test]
fn without_rights_there_is_a_line_and_traffic() {
    let database = TestDatabase::new("kept_rights");
    batch(&database.superuser_url(), &[&format!("ALTER DATABASE {} OWNER TO CURRENT_USER", database.name())]);
    let weir = start(&plain(&database, "max_size: 3", "rules: rules"), &rules(&database.name));
    remember(&mut weir.login(&database.name), 2);
    wait_for("it has tried", || weir.metric("pgweir_state_errors_total", &[]) >= 3.0);
    assert_eq!(weir.logged("the ledger cannot be saved to schema pgweir of database"), 1, "it is said once");
    assert!(weir.log().contains("CREATE SCHEMA \"pgweir\" AUTHORIZATION"), "{}", weir.log());
    remember(&mut weir.login(&database.name), 1);
    // Put right, it is saved without a word from anybody.
    batch(&database.superuser_url(), &["create schema pgweir authorization app"]);
    wait_for("it is saved", || weir.metric("pgweir_state_saves_total", &[]) >= 1.0);
    assert_eq!(calls(&weir, "remembered"), 3);
    assert_eq!(weir.logged("the ledger is saved again"), 1);
}
