//! Decisions over a catalog made by hand; `tests/it/eligible.rs` does the same with PostgreSQL's own.

use std::collections::BTreeMap;

use super::*;
use crate::catalog::{
    Column, Expression, Facts as Database, Function, FunctionName, Language, Policy, Table, TableKind,
    Volatility,
};

fn table(oid: Oid, name: &str, columns: &[(&str, Oid)]) -> Table {
    let column = |(at, (name, type_oid)): (usize, &(&str, Oid))| Column {
        number: at as i16 + 1,
        name: (*name).into(),
        type_oid: *type_oid,
        ..Column::default()
    };
    let columns = columns.iter().enumerate().map(column).collect();
    Table { oid, schema: "public".into(), name: name.into(), columns, ..Table::default() }
}

fn function(name: &str, volatility: Volatility, language: Language, body: Option<&str>) -> Function {
    let (name, body) = (name.to_owned(), body.map(str::to_owned));
    Function { schema: "public".into(), name, volatility, language, body, ..Function::default() }
}

fn calls(schema: &str, name: &str) -> Vec<FunctionName> {
    vec![FunctionName { schema: schema.into(), name: name.into() }]
}

fn catalog() -> Catalog {
    let view = |oid, name: &str, query: Option<Expression>| Table {
        kind: TableKind::View,
        reads: vec![1],
        query,
        ..table(oid, name, &[("id", 23)])
    };
    let guarded = |oid, name: &str, condition| Table {
        row_security: true,
        policies: vec![Policy { name: "p".into(), condition, ..Policy::default() }],
        ..table(oid, name, &[("id", 23)])
    };
    let own = |schema: &str, name: &str| Expression { calls: calls(schema, name), ..Expression::default() };
    let tables = vec![
        table(1, "t", &[("id", 23), ("name", 25), ("at", 1184)]),
        table(2, "f", &[("id", 23), ("weight", 701)]),
        Table { kind: TableKind::Foreign, ..table(3, "far", &[("id", 23)]) },
        Table { inherits: vec![5], ..table(4, "heir", &[]) },
        table(5, "parent", &[("id", 23)]),
        view(10, "plain", Some(Expression::default())),
        view(11, "unread", None),
        view(12, "locking", Some(Expression { locks_rows: true, ..Expression::default() })),
        view(13, "rolling", Some(own("pg_catalog", "random"))),
        view(14, "dated", Some(own("pg_catalog", "now"))),
        view(15, "wild", Some(own("public", "wild"))),
        view(16, "summing", Some(own("pg_catalog", "sum"))),
        guarded(20, "tenants", Some(own("pg_catalog", "current_setting"))),
        guarded(21, "leaky", Some(own("public", "wild"))),
        guarded(22, "closed", None),
    ];
    let functions = vec![
        function("wild", Volatility::Volatile, Language::Sql, Some("select 1")),
        function("calm", Volatility::Immutable, Language::Sql, Some("select upper($1)")),
        function("liar", Volatility::Stable, Language::Sql, Some("select random()")),
        function("reader", Volatility::Stable, Language::Sql, Some("select id from f where id = $1")),
        function("looping", Volatility::Stable, Language::Sql, Some("select looping(1)")),
        function("opaque", Volatility::Immutable, Language::Other, None),
        function("fast", Volatility::Immutable, Language::Compiled, None),
        function("fast_stable", Volatility::Stable, Language::Compiled, None),
    ];
    let builtins = [
        ("now", Volatility::Stable),
        ("statement_timestamp", Volatility::Stable),
        ("random", Volatility::Volatile),
        ("upper", Volatility::Immutable),
        ("pg_backend_pid", Volatility::Stable),
        ("txid_current", Volatility::Stable),
        ("current_setting", Volatility::Stable),
        ("sum", Volatility::Immutable),
        ("array_agg", Volatility::Immutable),
        ("count", Volatility::Immutable),
    ];
    let builtins = builtins.map(|(name, volatility)| (name.to_owned(), volatility));
    let database = Database::default();
    let mut catalog = Catalog::new(database, tables, functions, BTreeMap::from(builtins), BTreeMap::new());
    let doubtful = FunctionName { schema: "public".into(), name: "near".into() };
    catalog.hidden.operators.insert("<->".into(), vec![doubtful]);
    catalog.hidden.known = true;
    catalog
}

fn decide(text: &str, how: (Level, Sharing)) -> Result<Closure, Reason> {
    let (canonical, facts) = read(text).expect(text);
    let path = ["public".to_owned()];
    let session = Session { search_path: &path, temporary: false };
    closure(Statement { facts: &facts, canonical: &canonical }, &catalog(), session, how, &read)
}

const STRICT: (Level, Sharing) = (Level::Strict, Sharing::Together);
const KEPT: (Level, Sharing) = (Level::Fenced, Sharing::Later);

#[test]
fn reads_of_known_tables_are_eligible() {
    for (text, tables) in [
        ("select * from t where id = 1", vec![1]),
        ("select upper(name) from public.t where id in (1, 2) order by at limit 1", vec![1]),
        ("with x as (select id from plain where id = $1) select count(*) from x", vec![1, 10]),
        ("select id from parent where id = 3", vec![4, 5]),
        ("select calm(name), fast(id) from t where reader(id) = 1", vec![1, 2]),
        ("select sum(id) from t where name like 'x%' group by id", vec![1]),
        ("select array_agg(id order by id) from t", vec![1]),
        (
            "select coalesce(name, 'x') from t where exists (select 1 from plain where plain.id = t.id)",
            vec![1, 10],
        ),
    ] {
        assert_eq!(decide(text, STRICT).map(|closure| closure.tables), Ok(tables), "{text}");
    }
    let closure = decide("select * from tenants where id = 1", STRICT).expect("row security is no matter");
    assert!(closure.reads_settings && !closure.reads_time);
    assert!(decide("select * from dated where id = 1", STRICT).expect("they share a moment").reads_time);
}

#[test]
fn what_is_refused_says_why() {
    for (text, label) in [
        ("select * from t for update", "locks"),
        ("select * from locking where id = 1", "locks"),
        ("update t set id = 1", "no_read"),
        ("select id into other from t", "no_read"),
        ("with x as (delete from t returning id) select * from x", "no_read"),
        ("show all", "no_read"),
        ("select random() from t", "volatile"),
        ("select * from t order by random()", "volatile"),
        ("select * from rolling", "volatile"),
        ("select * from wild where id = 1", "volatile"),
        ("select * from leaky", "volatile"),
        ("select wild(1)", "volatile"),
        ("select liar()", "volatile"),
        ("select t.wild from t", "volatile"),
        ("select opaque(id) from t", "opaque"),
        ("select missing(id) from t", "unknown_function"),
        ("select * from missing", "unknown_table"),
        ("select * from pg_class", "unknown_table"),
        ("select * from pg_catalog.pg_class", "unknown_table"),
        ("select * from other.t", "unknown_table"),
        ("select * from far", "foreign"),
        ("select * from unread", "unknown_code"),
        ("select * from closed", "unknown_code"),
        ("select pg_backend_pid()", "connection"),
        ("select txid_current() from t", "connection"),
        ("select * from t where id <-> 4 < 1", "operator"),
        ("select array_agg(id) from t", "order"),
        ("select sum(weight) from f", "order"),
        ("select sum(id::float8) from t", "order"),
        ("select sum(sqrt(id)) from t", "unknown_function"),
        ("select * from summing", "order"),
        ("select * from pg_temp.t", "temporary"),
        ("select * from t tablesample system (10)", "samples"),
    ] {
        let refused = decide(text, STRICT).expect_err(text);
        assert_eq!(refused.label(), label, "{text}: {refused}");
    }
    assert_eq!(decide("select looping(1)", STRICT), Ok(Closure::default()), "a body is read once");
}

#[test]
fn what_is_kept_must_not_tell_the_time() {
    for text in
        ["select now(), id from t", "select * from t where at > current_timestamp", "select * from dated"]
    {
        assert!(decide(text, STRICT).is_ok(), "{text}");
        assert!(decide(text, (Level::Fenced, Sharing::Transaction)).is_ok(), "{text}");
        assert_eq!(decide(text, KEPT), Err(Reason::Time), "{text}");
    }
    let statement_time = "select id from t where at < statement_timestamp()";
    assert!(decide(statement_time, STRICT).is_ok());
    assert_eq!(decide(statement_time, (Level::Strict, Sharing::Transaction)), Err(Reason::Time));
    assert!(decide("select fast_stable(id) from t", STRICT).is_ok());
    assert_eq!(decide("select fast_stable(id) from t", KEPT).map_err(|reason| reason.label()), Err("opaque"));
    assert!(decide("select array_agg(id), sum(weight) from f", KEPT).is_ok());
}

#[test]
fn a_session_with_temporary_objects_names_its_tables_in_full() {
    let temporary = |text: &str, temporary, path: &[&str]| {
        let (canonical, facts) = read(text).expect(text);
        let path: Vec<String> = path.iter().map(|name| (*name).to_owned()).collect();
        let session = Session { search_path: &path, temporary };
        closure(Statement { facts: &facts, canonical: &canonical }, &catalog(), session, STRICT, &read)
            .is_ok()
    };
    assert!(!temporary("select * from t", true, &["public"]));
    assert!(!temporary("select * from t", false, &["pg_temp", "public"]));
    assert!(temporary("select * from public.t", true, &["public"]));
    assert!(!temporary("select * from t", false, &[]));
    let mut unknown = catalog();
    unknown.hidden.known = false;
    let (canonical, facts) = read("select * from t").expect("a query");
    let session = Session { search_path: &["public".to_owned()], temporary: false };
    let statement = Statement { facts: &facts, canonical: &canonical };
    assert_eq!(closure(statement, &unknown, session, STRICT, &read), Err(Reason::Catalog));
}

#[test]
fn holes_that_the_planner_must_know() {
    let holes = |text| decide(text, STRICT).expect(text).planned_holes;
    assert_eq!(holes("select * from t where name like 'x%' and id = 5"), [1]);
    assert_eq!(holes("select * from t where id = 5 and name ~ '^x'"), [2]);
    assert!(holes("select * from t where id = 5 and at > '2025-01-01' limit 1").is_empty());
}
