//! What `pgweir explain` prints.

use super::*;

fn explain(sql: &str) -> String {
    as_text(&statements(sql).unwrap(), None)
}

/// The rest of the line that starts with this name.
fn told<'a>(text: &'a str, name: &str) -> &'a str {
    let line = text.lines().find(|line| line.trim_start().starts_with(&format!("{name}  ")));
    line.map(|line| line.trim_start()[name.len()..].trim_start())
        .unwrap_or_else(|| panic!("no {name}:\n{text}"))
}

#[test]
fn a_look_up() {
    let text =
        explain("select b.title from books as b where b.id = $1 and lower(b.kind) = $2 order by b.year desc");
    assert_eq!(told(&text, "class"), "read");
    assert_eq!(told(&text, "tables"), "books as b (read)");
    assert_eq!(told(&text, "conditions"), "books.id = $1");
    assert!(text.contains("lower(books.kind) = $2"), "{text}");
    assert_eq!(told(&text, "order by"), "books.year desc");
    assert!(told(&text, "pooling").starts_with("leaves nothing"), "{text}");
    assert!(told(&text, "n+1 watch").starts_with("a read"), "{text}");
    let shape = told(&text, "shape");
    assert!(shape.len() == 16 && told(&text, "ledger").contains(shape), "{text}");
    let coalescing = "asked together with others of its kind if the catalog allows it, which --database says; a look-up by \
                      books.id, if lower may be called for several at once";
    assert_eq!(told(&text, "coalescing"), coalescing);
    assert_eq!(
        told(&text, "time ranges"),
        "--database-url says whether a table is partitioned by time, and what is added then; no range on a column"
    );
    let advice =
        "equality on books.id; needs an index on the expression lower(books.kind); sorted by books.year";
    assert!(told(&text, "index advice").ends_with(advice), "{text}");
}

#[test]
fn levels_say_whether_answers_may_be_shared() {
    let text = explain("select array_agg(id) from t where a = $1");
    assert!(told(&text, "strict").starts_with("no: array_agg() depends on the order"), "{text}");
    assert!(told(&text, "fenced").starts_with("nothing in its text forbids it"), "{text}");
    let text = explain("select id from t where a = $1 for share");
    assert!(told(&text, "bounded").starts_with("no: it locks rows"), "{text}");
    let mut statements = statements("select a from t").unwrap();
    statements[0].levels = Some(json!([
        {"level": "strict", "eligible": true, "tables": ["public.t"], "reads_time": true},
        {"level": "fenced", "eligible": false, "reason": "public.f() is volatile"},
    ]));
    let text = as_text(&statements, None);
    assert_eq!(told(&text, "strict"), "yes; it reads public.t, and the time");
    assert_eq!(told(&text, "fenced"), "no: public.f() is volatile");
}

#[test]
fn ranges_locks_and_writes() {
    let text = explain("select count(*) from m where at >= $1 and at < $2 and id = $3 for update");
    assert!(told(&text, "time ranges").ends_with("a range: m.at >= $1 and m.at < $2"), "{text}");
    assert!(
        told(&text, "coalescing").ends_with("it locks rows, which each asker must do for itself"),
        "{text}"
    );
    assert_eq!(told(&text, "also"), "locks rows, aggregates");
    let text = explain("update m set a = $1 where id = $2 returning a");
    assert!(told(&text, "coalescing").ends_with("it is no read"), "{text}");
    assert_eq!((told(&text, "assigned"), told(&text, "also")), ("a", "returning"));
    assert!(told(&text, "n+1 watch").starts_with("a write"));
}

#[test]
fn what_the_session_keeps() {
    for (sql, expected) in [
        ("set search_path = $1", "may leave something"),
        ("begin", "opens a transaction"),
        ("create table t (a int)", "changes the schema"),
        ("set local a = $1", "changes settings for its transaction"),
        ("deallocate p", "names a prepared statement"),
    ] {
        let text = explain(sql);
        assert!(told(&text, "pooling").contains(expected), "{text}");
    }
}

#[test]
fn what_the_parser_does_not_know_is_forwarded() {
    let text = explain("with x as (delete from t returning *) select frm a b c");
    assert_eq!(told(&text, "class"), "write, may write");
    assert!(told(&text, "facts").starts_with("none: the parser does not know its syntax: "), "{text}");
    assert!(text.contains("It is forwarded unchanged"), "{text}");
    assert!(told(&text, "index advice").ends_with("without facts it will stay so"), "{text}");
    let json = as_json(&statements("select a b c d").unwrap(), None);
    assert!(json["statements"][0]["facts"].is_null());
    assert!(json["statements"][0]["unparsed"].as_str().unwrap().contains("syntax"));
}

#[test]
fn json_has_the_same() {
    let json = as_json(&statements("select a from t where id = $1").unwrap(), None);
    let one = &json["statements"][0];
    assert_eq!((one["class"].as_str(), one["may_write"].as_bool()), (Some("read"), Some(false)));
    assert_eq!(one["facts"]["predicates"][0]["column"]["column"], "id");
    assert!(one["does"]["n_1_watch"].is_string() && one["does"]["slow_log"].is_string(), "{one}");
}

#[test]
fn rules_are_named_and_input_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pgweir.yaml");
    let settings = "databases: {app: {servers: [{host: db}]}}\nusers: {a: {password: x}}\nrules: here\n";
    std::fs::create_dir(folder.path().join("here")).unwrap();
    let rules =
        "slow_log: {over: 2s, rules: [{table: facilities, over: 80ms}, {table: users, never: true}]}\n";
    std::fs::write(folder.path().join("here/slow_log.yaml"), rules).unwrap();
    std::fs::write(&path, settings).unwrap();
    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        explain: Explain,
    }
    let run = |sql: &str, json: bool| {
        let path = path.to_str().unwrap();
        let words = ["explain", sql, "--config", path].into_iter().chain(json.then_some("--json"));
        <Line as clap::Parser>::parse_from(words).explain.run()
    };
    let text = run("select a from facilities where id = 5", false).unwrap();
    assert_eq!(told(&text, "slow log"), "slow beyond 2s; beyond 80ms on table facilities", "{text}");
    assert!(serde_json::from_str::<Value>(&run("select 1", true).unwrap()).is_ok());
    assert!(run("  ", false).unwrap_err().contains("no statement"));
    assert!(run(&"x".repeat(READ_MAX + 1), false).unwrap_err().contains("64 KiB"));
    assert_eq!(input(&b"select 1"[..]).unwrap(), "select 1");
    assert!(input(std::io::repeat(b' ')).is_err());
}
