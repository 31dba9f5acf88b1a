//! Indexes that are built on command: the full cycle, a lock in the way, and what an earlier attempt has left.

use serde_json::Value;

use super::running::{command, json, loaded, workload};
use crate::cluster::{TestDatabase, ask, batch, connect};
use crate::support::{Weir, plain, until};

const NAME: &str = "idx_invoices_organization_id_period";

/// A workload, and the suggestion that comes of it.
fn suggested(database: &TestDatabase) -> (Weir, String, String) {
    let weir = Weir::start(&plain(database, "max_size: 3", ""));
    workload(&weir, database);
    let admin = weir.admin.to_string();
    let id = until("a suggestion", || {
        let answer = json(&["advise", "--json", "--admin", &admin]);
        answer["suggestions"][0]["id"].as_str().map(str::to_owned)
    });
    (weir, admin, id)
}

fn valid(database: &TestDatabase) -> String {
    let query = format!(
        "SELECT count(*) FILTER (WHERE indisvalid) || '/' || count(*) FROM pg_index i \
        JOIN pg_class c ON c.oid = i.indexrelid WHERE c.relname = '{NAME}'"
    );
    ask(&database.superuser_url(), &query)
}

fn act(admin: &str) -> Value {
    json(&["indexes", "history", "--json", "--admin", admin])[0].clone()
}

#[test]
fn a_suggestion_is_built_proved_and_taken_back() {
    let database = loaded("advice_cycle");
    let (weir, admin, id) = suggested(&database);
    let text = command(&["indexes", "apply", &id, "--admin", &admin]).unwrap();
    assert!(text.contains("verifying") && text.contains("CREATE INDEX CONCURRENTLY"), "{text}");
    assert_eq!(valid(&database), "1/1");
    workload(&weir, &database);
    workload(&weir, &database);
    let proved = until("the measured gain", || Some(act(&admin)).filter(|act| act["state"] != "verifying"));
    assert_eq!(proved["state"], "proved", "{proved:#}");
    let shape = &proved["shapes"][0];
    assert!(shape["after_ms"].as_f64().unwrap() < shape["before_ms"].as_f64().unwrap(), "{proved:#}");
    assert!(weir.logged("an index is changed on command") == 1 && weir.logged(NAME) > 0);
    let again = command(&["indexes", "apply", &id, "--admin", &admin]).unwrap_err();
    assert!(again.contains("already"), "{again}");
    let unknown = command(&["indexes", "apply", "ix-00000000", "--admin", &admin]).unwrap_err();
    assert!(unknown.contains("no suggestion"), "{unknown}");
}

#[test]
fn a_lock_is_waited_for_and_leftovers_go() {
    let database = loaded("advice_lock");
    let (_weir, admin, id) = suggested(&database);
    // As a build leaves it that was killed half-way.
    let sql = format!("CREATE INDEX {NAME} ON invoices (organization_id, period)");
    let spoil = format!("UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{NAME}'::regclass");
    batch(&database.superuser_url(), &[&sql, &spoil, &format!("ALTER INDEX {NAME} OWNER TO app")]);
    assert_eq!(valid(&database), "0/1");
    let runtime = super::runtime();
    let holder = runtime.block_on(connect(&database.superuser_url()));
    let held = "BEGIN; LOCK TABLE invoices IN SHARE UPDATE EXCLUSIVE MODE";
    runtime.block_on(holder.batch_execute(held)).unwrap();
    let applying = {
        let (admin, id) = (admin.clone(), id.clone());
        std::thread::spawn(move || command(&["indexes", "apply", &id, "--admin", &admin]))
    };
    until("it waits for the lock", || {
        let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'invoices'::regclass";
        (ask(&database.superuser_url(), waiting) != "0").then_some(())
    });
    runtime.block_on(holder.batch_execute("COMMIT")).unwrap();
    let text = applying.join().unwrap().unwrap();
    assert!(text.contains("verifying"), "{text}");
    assert_eq!(valid(&database), "1/1");
    let text = command(&["indexes", "drop", &id, "--admin", &admin]).unwrap();
    assert!(text.contains("removed"), "{text}");
    assert_eq!(valid(&database), "0/0");
}
