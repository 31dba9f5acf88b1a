//! Which texts are plain INSERTs of one row, and where their parts stand.

use super::insert::*;

fn shown(text: &str) -> String {
    let insert = Insert::read(text.as_bytes()).expect(text);
    let columns: Vec<&str> = insert.columns.iter().map(|at| &text[at.clone()]).collect();
    let value = |value: &Value| {
        let numbers: Vec<u16> = value.parameters.iter().map(|(_, number)| *number).collect();
        format!("{}{numbers:?}", if value.default { "!" } else { &text[value.at.clone()] })
    };
    let values: Vec<String> = insert.values.iter().map(value).collect();
    format!("{} [{}] [{}]", &text[insert.table.clone()], columns.join("|"), values.join("|"))
}

#[test]
fn parts_of_plain_inserts() {
    for (text, parts) in [
        ("insert into t values ($1)", "t [] [$1[1]]"),
        (
            "INSERT INTO \"public\".\"T x\" (\"a\", \"B\", c) VALUES ($2, $1::character varying(20), DEFAULT);",
            "\"public\".\"T x\" [\"a\"|\"B\"|c] [$2[2]|$1::character varying(20)[1]|![]]",
        ),
        (
            "/* x */ insert into a.t(a,b,c,d) values (-1, 'it''s', cast($1 as \"My\".type[]), null) -- end",
            "a.t [a|b|c|d] [-1[]|'it''s'[]|cast($1 as \"My\".type[])[1]|null[]]",
        ),
        (
            "insert into t values (now(), current_timestamp(3), date '2020-01-01', (($1))::int, E'\\n'::text)",
            "t [] [now()[]|current_timestamp(3)[]|date '2020-01-01'[]|(($1))::int[1]|E'\\n'::text[]]",
        ),
        (
            "insert into t (\"values\", a) values ($1::timestamp with time zone, $1::double precision)",
            "t [\"values\"|a] [$1::timestamp with time zone[1]|$1::double precision[1]]",
        ),
    ] {
        assert_eq!(shown(text), parts);
    }
}

#[test]
fn what_is_not_known_is_refused() {
    for (text, refusal) in [
        ("select 1", Refusal::NoInsert),
        ("", Refusal::NoInsert),
        ("insert into t values ($1); select 1", Refusal::SeveralStatements),
        ("insert into t values ($1), ($2)", Refusal::SeveralRows),
        ("insert into t default values", Refusal::NoValues),
        ("insert into t select $1", Refusal::NoValues),
        ("insert into t as u values ($1)", Refusal::Alias),
        ("insert into t (a) overriding system value values ($1)", Refusal::Overriding),
        ("insert into t values ($1) on conflict do nothing", Refusal::OnConflict),
        ("insert into t values ($1) returning id", Refusal::Returning),
        ("insert into t (a.b) values ($1)", Refusal::Column),
        ("insert into t (a[1]) values ($1)", Refusal::Column),
        ("insert into t (a) values ($1, $2)", Refusal::Count),
        ("insert into t values ($1 + 1)", Refusal::Value(25)),
        ("insert into t values ((select max(a) from t))", Refusal::Value(23)),
        ("insert into t values (f($1))", Refusal::Value(22)),
        ("insert into t values (nextval('s'))", Refusal::Value(22)),
        ("insert into t values (\"now\"())", Refusal::Value(22)),
        ("insert into t values (a)", Refusal::Value(22)),
        ("insert into t values ($1::text || 'x')", Refusal::Value(31)),
        ("insert into t values ($1::text collate \"C\")", Refusal::Value(31)),
        ("insert into t values ($0)", Refusal::Value(22)),
        ("insert into t values (", Refusal::Value(21)),
        ("insert into t values (array[$1])", Refusal::Value(22)),
    ] {
        assert_eq!(Insert::read(text.as_bytes()), Err(refusal), "{text}");
    }
    assert!(Insert::read(b"with x as (select 1) insert into t values ($1)").is_err());
}

proptest::proptest! {
    #[test]
    fn any_text_is_read(text: String, tail in "[a-z$0-9(),.: '\"]{0,30}") {
        let _ = Insert::read(text.as_bytes());
        let _ = Insert::read(format!("insert into t (a) values ({tail}").as_bytes());
    }
}
