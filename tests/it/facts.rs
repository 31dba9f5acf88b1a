//! Shapes of a running pgweir are parsed in the background; hostile statements are forwarded and nothing ends.

use serde_json::Value;

use crate::cluster::TestDatabase;
use crate::support::{Weir, plain, wait_for};

/// The entry of the statement that has this in its text.
fn entry(weir: &Weir, part: &str) -> Option<Value> {
    let (_, answer) = weir.get("/api/database/queries?limit=100");
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let has = |query: &&Value| query["statement"].as_str().unwrap().contains(part);
    answer["queries"].as_array().unwrap().iter().find(has).cloned()
}

#[test]
fn statements_are_known_and_hostile_ones_are_forwarded() {
    let database = TestDatabase::new("facts");
    let weir = Weir::start(&plain(&database, "max_size: 2", ""));
    let mut client = weir.login(&database.name);
    client.query("create table seen (id int primary key, at timestamptz)");
    client.query("select at from seen where id = 7");
    client.query("do language plpgsql 'begin end'");
    wait_for("the look-up has facts", || {
        entry(&weir, "from seen")
            .is_some_and(|query| query["class"] == "read" && query["tables"][0] == "seen")
    });
    wait_for("a statement without facts has a class", || {
        entry(&weir, "do language")
            .is_some_and(|query| query["class"] == "utility" && query["tables"].is_null())
    });

    let position = "position(".repeat(24);
    let hostile = [
        format!("select 1 where true{}", " or true".repeat(4_000)),
        format!("select {}1{}", "(".repeat(400), ")".repeat(400)),
        format!("select {}1", "- ".repeat(900)),
        format!("select 1 from{} a", " a join".repeat(400)),
        format!("select {position}1{}", ")".repeat(23)),
    ];
    for text in &hostile {
        client.query(text);
    }
    assert_eq!(client.query("select 1").value(), "1");
    let refused =
        |reason: &str| weir.metric("pgweir_shapes_unparsed_total", &[&format!("reason=\"{reason}\"")]);
    for reason in ["size", "terms", "depth", "syntax"] {
        wait_for(reason, || refused(reason) > 0.0);
    }
    assert!(weir.metric("pgweir_shapes_parsed_total", &[]) >= 2.0);
    assert!(weir.metric("pgweir_unparsed_calls", &[]) >= 2.0);
    wait_for("the log tells of it once", || weir.logged("has no facts and is forwarded unchanged") > 2);
}
