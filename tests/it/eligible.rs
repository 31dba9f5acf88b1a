//! Whose answers may be shared, decided with a catalog that was read from PostgreSQL. A slice of what
//! `cargo run --example replay-fuzz -- --refusals N` does, and what happens when the schema changes.

use pgweir::catalog::Catalog;
use pgweir::coalesce::eligible::{self, Closure, Level, Reason, Session, Sharing, Statement};
use pgweir::sql::guard;

use crate::catalog::probe;
use crate::cluster::{TestDatabase, batch, shared};
use crate::replay::fuzz::refuse;

/// Some seconds; each run has a seed of its own, and says it.
const STATEMENTS: u64 = 250;

#[test]
fn what_must_not_be_shared_is_refused() {
    let database = TestDatabase::new("refuse");
    let seed = rand::random::<u32>().into();
    let figures = refuse::run(shared(), database.name(), STATEMENTS, seed);
    println!("{figures}");
    assert!(figures.accepted.is_empty(), "seed {seed}\n{figures}");
    // And not because everything is.
    assert!(figures.harmless > STATEMENTS / 10 && figures.harmless_refused() == 0, "seed {seed}\n{figures}");
}

/// As the proxy would, for a session whose search path is `app`.
fn decide(catalog: &Catalog, text: &str) -> Result<Closure, Reason> {
    let decide = || {
        let (canonical, facts) = eligible::read(text).expect(text);
        let path = ["app".to_owned()];
        let session = Session { search_path: &path, temporary: false };
        let statement = Statement { facts: &facts, canonical: &canonical };
        let how = (Level::Strict, Sharing::Together);
        eligible::closure(statement, catalog, session, how, &eligible::read)
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(guard::STACK);
        thread.spawn_scoped(scope, decide).unwrap().join().unwrap()
    })
}

#[tokio::test]
async fn a_closure_holds_every_table_and_a_changed_schema_changes_it() {
    let database = crate::catalog::sample("eligible");
    let probe = probe(&database);
    let catalog = probe.catalog().await.unwrap();
    let oid = |name: &str| catalog.table(&["app"], None, name).expect(name).oid;
    let tables = |text: &str| decide(&catalog, text).map(|closure| closure.tables);
    let sorted = |names: &[&str]| {
        let mut oids: Vec<u32> = names.iter().map(|name| oid(name)).collect();
        oids.sort_unstable();
        oids
    };
    assert_eq!(
        tables("select * from seen where name = 'a'"),
        Ok(sorted(&["author", "book", "long_books", "seen"]))
    );
    assert_eq!(
        tables("select * from event where at = '2025-01-01'"),
        Ok(sorted(&["event", "event_2025", "event_2025_1", "event_rest"]))
    );
    assert_eq!(tables("select x from parent where x = 1"), Ok(sorted(&["parent", "heir"])));
    assert_eq!(tables("select n from kept where n = 1"), Ok(sorted(&["kept"])));
    assert_eq!(tables("select app.f_immutable(id) from book where id = 1"), Ok(sorted(&["book"])));
    assert_eq!(tables("select app.f_volatile()"), Err(Reason::Volatile("app.f_volatile".to_owned())));

    batch(
        &database.superuser_url(),
        &["CREATE OR REPLACE VIEW app.long_books AS SELECT * FROM app.book WHERE pages > random() * 100"],
    );
    let catalog = probe.catalog().await.unwrap();
    assert_eq!(decide(&catalog, "select * from seen"), Err(Reason::Volatile("random".to_owned())));
    batch(
        &database.superuser_url(),
        &["CREATE OR REPLACE VIEW app.long_books AS SELECT * FROM app.book WHERE pages > 100 FOR SHARE"],
    );
    let catalog = probe.catalog().await.unwrap();
    assert_eq!(decide(&catalog, "select * from seen"), Err(Reason::LocksIn("app.long_books".to_owned())));
}

#[tokio::test]
async fn who_may_not_read_the_policies_shares_nothing() {
    let database = crate::catalog::sample("eligible_rights");
    let role = format!("eligible_{}", database.name());
    batch(
        &database.superuser_url(),
        &[
            &format!("CREATE ROLE {role} LOGIN PASSWORD 'poor'"),
            &format!("GRANT CONNECT ON DATABASE {} TO {role}", database.name()),
            "REVOKE SELECT ON pg_catalog.pg_policy FROM PUBLIC",
        ],
    );
    let catalog = crate::catalog::probe_as(database.name(), &role, "poor").catalog().await.unwrap();
    assert_eq!(decide(&catalog, "select * from book where id = 1"), Err(Reason::Catalog));
    batch(&database.superuser_url(), &[&format!("DROP OWNED BY {role}"), &format!("DROP ROLE {role}")]);
}
