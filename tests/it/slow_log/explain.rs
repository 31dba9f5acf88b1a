//! Plans of slow statements: that they come, and that getting them changes nothing.

use std::process::Command;

use serde_json::Value;

use super::{about, run, start, token};
use crate::cluster::{TestDatabase, ask, batch};
use crate::support::{Weir, http, plain, until, wait_for};

/// A table, and a sequence that shows how often something was executed.
fn prepared(subject: &str) -> TestDatabase {
    let database = TestDatabase::new(subject);
    let tables = [
        "create table items (id int primary key, n int, day date)",
        "insert into items select i, 0, date '2024-01-01' + i from generate_series(1, 1000) i",
        "create sequence touched",
    ];
    batch(&database.url(), &tables);
    database
}

/// How often the sequence was used.
fn touched(database: &TestDatabase) -> u32 {
    ask(&database.url(), "select case when is_called then last_value else 0 end from touched")
        .parse()
        .unwrap()
}

/// What the API says of the one shape with this in its text, once a plan was asked for.
fn answered(weir: &Weir, part: &str, headers: &[&str]) -> Value {
    until("an answer of PostgreSQL", || {
        let path = format!("/api/database/queries?plans=true&filter={part}");
        let (status, body) = http(weir.admin, "GET", &path, headers);
        assert_eq!(status, 200, "{body}");
        let query = serde_json::from_str::<Value>(&body).unwrap()["queries"][0].clone();
        (query["plan_at"].is_string() || query["plan_note"].is_string()).then_some(query)
    })
}

#[test]
fn a_plain_plan_executes_nothing() {
    let database = prepared("slow_plain");
    let rules = "slow_log: {over: 0, file: {path: slow.log}, explain: {mode: plain}}\n";
    let weir = start(&database, rules, "");
    let mut client = weir.login(&database.name);
    run(&mut client, "select n from items where id = $1", "4711");
    let update = "update items set n = n + nextval('touched') where id = 17";
    assert_eq!(client.query(update).error, None);
    assert_eq!(
        client.query("select n from items where day < date '2024-02-03' and id in (1, 2)").error,
        None
    );
    assert_eq!(client.query("set work_mem to '7777kB'").error, None);
    let select = answered(&weir, "select%20n%20from%20items%20where%20id", &[]);
    let plan = select["plan"].as_str().unwrap();
    assert!(plan.contains("\"Node Type\":\"Index Scan\"") && plan.contains("(id = $1)"), "{plan}");
    let update = answered(&weir, "update%20items", &[]);
    let plan = update["plan"].as_str().unwrap();
    assert!(plan.contains("\"Operation\":\"Update\"") && !plan.contains("Actual"), "{plan}");
    let typed = answered(&weir, "day%20%3C%20date", &[]);
    assert!(typed["plan"].as_str().unwrap().contains("day < $1"), "{typed}");
    assert_eq!(touched(&database), 1, "the client's own, once");
    assert_eq!(ask(&database.url(), "select count(*) || ' ' || sum(n) from items"), "1000 1");
    // Of what has no plan nobody asks for one.
    about(&weir, "slow.log", "work_mem", 1);
    assert_eq!(weir.metric("pgweir_slow_explains_total", &["outcome=\"plan\""]), 3.0);
    assert_eq!(weir.metric("pgweir_slow_explains_total", &["outcome=\"none\""]), 0.0);
    for value in ["4711", "2024-02-03", "7777"] {
        assert!(!(format!("{select}{update}{typed}") + &weir.log()).contains(value), "{value}");
    }
    let report = Command::new(env!("CARGO_BIN_EXE_pgweir"))
        .args(["report", "queries", "--admin", &weir.admin.to_string(), "--plan"])
        .arg(select["shape"].as_str().unwrap())
        .output()
        .unwrap();
    let text = String::from_utf8(report.stdout).unwrap();
    assert!(text.contains("Index Scan using items_pkey on items") && text.contains("index cond: (id = $1)"));
}

#[test]
fn only_pure_reads_are_executed_again() {
    let database = prepared("slow_analyze");
    let ((viewer, one), (operator, two)) = (token("viewer"), token("operator"));
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("rules")).unwrap();
    let rules = "observe: {probe: {refresh: 1s}}\n\
        slow_log: {over: 0, parameters: true, file: {path: slow.log}, explain: {mode: analyze, every: 1s}}\n";
    std::fs::write(folder.path().join("rules/slow.yaml"), rules).unwrap();
    let admin = format!("admin: {{address: 127.0.0.1, port: 0, tokens: [{one}, {two}]}}");
    let settings = plain(&database, "max_size: 3", "rules: rules");
    let weir =
        Weir::start_in(folder, &settings.replace("admin: {address: 127.0.0.1, port: 0}", &admin), |_| {});
    let header = |token: &str| format!("Authorization: Bearer {token}");
    let (viewer, operator) = (header(&viewer), header(&operator));
    let mut client = weir.login(&database.name);
    // Its facts and the catalog have to be known; until then there is a plan without times.
    let read = until("a read that was measured", || {
        run(&mut client, "select n from items where id = $1", "471");
        let read = answered(&weir, "select%20n%20from%20items", &[&operator]);
        read["plan"].as_str().is_some_and(|plan| plan.contains("Actual Rows")).then_some(read)
    });
    let plan = read["plan"].as_str().unwrap();
    assert!(plan.contains("(id = 471)") && read["plan_note"].is_null(), "{read}");
    let hidden = answered_or_not(&weir, "select%20n%20from%20items", &viewer);
    assert!(hidden["plan"].is_null(), "values are for operators: {hidden}");
    // All is known now, and nothing of this is executed but by the client.
    for (at, text) in [
        "update items set n = n + nextval('touched') where id = 17",
        "select nextval('touched') as calls from items where id = 18",
        "with a as (update items set n = nextval('touched') where id = 19 returning n) select n from a",
        "select nextval('touched') as locks from items where id = 20 for update",
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(client.query(text).error, None);
        let part = ["update%20items%20set%20n%20%3D%20n", "as%20calls", "with%20a", "as%20locks"][at];
        let answer = answered(&weir, part, &[&operator]);
        let plan = answer["plan"].as_str().unwrap();
        assert!(plan.contains("Node Type") && !plan.contains("Actual"), "{plan}");
        assert!(answer["plan_note"].as_str().unwrap().starts_with("it was not executed"), "{answer}");
    }
    assert_eq!(touched(&database), 4);
    wait_for("the log tells", || weir.log().contains("which is volatile"));
}

/// The shape as somebody sees it, with a plan or without.
fn answered_or_not(weir: &Weir, part: &str, header: &str) -> Value {
    let path = format!("/api/database/queries?plans=true&filter={part}");
    let (status, body) = http(weir.admin, "GET", &path, &[header]);
    assert_eq!(status, 200, "{body}");
    serde_json::from_str::<Value>(&body).unwrap()["queries"][0].clone()
}
