//! Indexes that are built on command: the full cycle, a lock in the way, and what an earlier attempt has left.

use serde_json::Value;

use super::running::{command, loaded, workload};
use crate::cluster::{TestDatabase, ask, batch, connect};
use crate::support::{Weir, plain, until};

const NAME: &str = "idx_invoices_organization_id_period";

/// A pgweir that takes commands, a workload, and the suggestion that comes of it.
pub struct Site {
    pub weir: Weir,
    token: String,
    pub id: String,
}

impl Site {
    fn new(database: &TestDatabase) -> Site {
        let mut site = Site::start(database, "observe: {parameters: true}\n");
        workload(&site.weir, database);
        site.id = site.suggested();
        site
    }

    /// Without a workload, under these rules.
    pub fn start(database: &TestDatabase, rules: &str) -> Site {
        let (token, hash) = pgweir::admin::token::create();
        let settings = plain(database, "max_size: 3", "rules: rules").replace(
            "admin: {address: 127.0.0.1, port: 0}",
            &format!("admin: {{address: 127.0.0.1, port: 0, tokens: [{{name: t, role: operator, hash: '{hash}'}}]}}"),
        );
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("rules")).unwrap();
        std::fs::write(folder.path().join("rules/a.yaml"), rules).unwrap();
        Site { weir: Weir::start_in(folder, &settings, |_| {}), token, id: String::new() }
    }

    /// The id of the first suggestion.
    pub fn suggested(&self) -> String {
        until("a suggestion", || {
            let answer: Value = serde_json::from_str(&self.run(&["advise", "--json"]).unwrap()).unwrap();
            answer["suggestions"][0]["id"].as_str().map(str::to_owned)
        })
    }

    pub fn run(&self, words: &[&str]) -> Result<String, String> {
        command(&[words, &["--admin", &self.weir.admin.to_string(), "--token", &self.token]].concat())
    }

    /// The last act.
    pub fn act(&self) -> Value {
        let history: Value =
            serde_json::from_str(&self.run(&["indexes", "history", "--json"]).unwrap()).unwrap();
        history[0].clone()
    }
}

fn valid(database: &TestDatabase) -> String {
    let query = format!(
        "SELECT count(*) FILTER (WHERE indisvalid) || '/' || count(*) FROM pg_index i \
        JOIN pg_class c ON c.oid = i.indexrelid WHERE c.relname = '{NAME}'"
    );
    ask(&database.superuser_url(), &query)
}

#[test]
fn a_suggestion_is_built_proved_and_taken_back() {
    let database = loaded("advice_cycle");
    let site = Site::new(&database);
    let text = site.run(&["indexes", "apply", &site.id]).unwrap();
    assert!(text.contains("verifying") && text.contains("CREATE INDEX CONCURRENTLY"), "{text}");
    assert_eq!(valid(&database), "1/1");
    workload(&site.weir, &database);
    workload(&site.weir, &database);
    let proved = until("the measured gain", || Some(site.act()).filter(|act| act["state"] != "verifying"));
    assert_eq!(proved["state"], "proved", "{proved:#}");
    let shape = &proved["shapes"][0];
    assert!(shape["after_ms"].as_f64().unwrap() < shape["before_ms"].as_f64().unwrap(), "{proved:#}");
    assert!(site.weir.logged("an index is changed on command") == 1 && site.weir.logged(NAME) > 0);
    let again = site.run(&["indexes", "apply", &site.id]).unwrap_err();
    assert!(again.contains("already"), "{again}");
    let unknown = site.run(&["indexes", "apply", "ix-00000000"]).unwrap_err();
    assert!(unknown.contains("no suggestion"), "{unknown}");
}

#[test]
fn a_lock_is_waited_for_and_leftovers_go() {
    let database = loaded("advice_lock");
    let site = Site::new(&database);
    // As a build leaves it that was killed half-way.
    let sql = format!("CREATE INDEX {NAME} ON invoices (organization_id, period)");
    let spoil = format!("UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{NAME}'::regclass");
    batch(&database.superuser_url(), &[&sql, &spoil, &format!("ALTER INDEX {NAME} OWNER TO app")]);
    assert_eq!(valid(&database), "0/1");
    let runtime = super::runtime();
    let holder = runtime.block_on(connect(&database.superuser_url()));
    let held = "BEGIN; LOCK TABLE invoices IN SHARE UPDATE EXCLUSIVE MODE";
    runtime.block_on(holder.batch_execute(held)).unwrap();
    std::thread::scope(|scope| {
        let applying = scope.spawn(|| site.run(&["indexes", "apply", &site.id]));
        until("it waits for the lock", || {
            let waiting =
                "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'invoices'::regclass";
            (ask(&database.superuser_url(), waiting) != "0").then_some(())
        });
        runtime.block_on(holder.batch_execute("COMMIT")).unwrap();
        let text = applying.join().unwrap().unwrap();
        assert!(text.contains("verifying"), "{text}");
    });
    assert_eq!(valid(&database), "1/1");
    let text = site.run(&["indexes", "drop", &site.id]).unwrap();
    assert!(text.contains("removed"), "{text}");
    assert_eq!(valid(&database), "0/0");
}
