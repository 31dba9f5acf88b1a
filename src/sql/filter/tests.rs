//! Queries, sources and conditions are found where they stand, and no bytes make the reader panic.

use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Filter {
    Filter::read(text, true).unwrap_or_else(|| panic!("{text}"))
}

/// The conditions of each query, in the order in which queries end.
fn conditions(text: &str) -> Vec<Vec<String>> {
    let filter = read(text);
    let of = |scope: &Scope| {
        let present = filter.clauses(scope).iter().filter(|clause| !clause.missing);
        present.map(|clause| clause.span.of(text).to_owned()).collect()
    };
    filter.scopes.iter().map(of).collect()
}

#[test]
fn clauses_begin_and_end_where_postgresql_says() {
    let one = |condition: &str| vec![vec![condition.to_owned()]];
    for (text, condition) in [
        ("select a from t where a = 1 and b = 2 group by 1", "a = 1 and b = 2"),
        ("select a from t where \"a\" = \"b\" -- x", "\"a\" = \"b\""),
        ("select t.where, a as from from t where t.order = t.limit limit 1", "t.order = t.limit"),
        (
            "select extract(year from a) from t where substring(b from 1 for 2) = 'x' for update",
            "substring(b from 1 for 2) = 'x'",
        ),
        ("update t set a = b is distinct from c where d returning a", "d"),
        ("delete from t where a = any(array[1, 2]) returning *", "a = any(array[1, 2])"),
    ] {
        assert_eq!(conditions(text), one(condition), "{text}");
    }
    let text =
        "select 1 from a join b on a.x = b.x and left(a.y, 1) = 'z' left join c on c.x = a.x where true";
    assert_eq!(conditions(text), [["a.x = b.x and left(a.y, 1) = 'z'", "c.x = a.x", "true"]]);
    let text = "select 1 from a where x in (select y from b where z) union select 2 from c where w";
    assert_eq!(conditions(text), [["z"], ["x in (select y from b where z)"], ["w"]]);
}

#[test]
fn sources_have_their_names() {
    let text =
        "select 1 from s.a as x, only b, lateral (select 1) y, f(1) z (q) cross join \"C\" where 1 = 1";
    let filter = read(text);
    let scope = filter.scopes.last().unwrap();
    let name = |span: Option<Span>| span.map(|span| span.of(text)).unwrap_or_default().to_owned();
    let sources: Vec<_> =
        filter.sources(scope).iter().map(|s| [name(s.schema), name(s.table), name(s.alias)]).collect();
    assert_eq!(sources, [["s", "a", "x"], ["", "b", ""], ["", "", "y"], ["", "", "z"], ["", "\"C\"", ""]]);
    assert!(scope.merged && !scope.outer_join);
    assert!(filter.sources(scope)[4].table.unwrap().is_name(text, "C"));
}

#[test]
fn other_statements_are_left_alone() {
    for text in [
        "insert into t values (1)",
        "select 1; select 2",
        "begin",
        "select 1 from t where (a",
        "merge into t using u on true when matched then delete",
        "select :x from t",
        "",
    ] {
        assert!(Filter::read(text, true).is_none(), "{text}");
    }
    assert!(Filter::read(&format!("select {}1{}", "(".repeat(60), ")".repeat(60)), true).is_none());
    assert!(Filter::read(&format!("select 1 from t where a = {}1", "1 + ".repeat(1_500)), true).is_some());
}

proptest! {
    #[test]
    fn no_words_make_it_panic(words in proptest::collection::vec(
        prop::sample::select(vec![
            "select", "from", "where", "and", "or", "not", "between", "in", "(", ")", "t", "a.b", "=", "<", "'x'",
            "1", "$1", "::", "date", "case", "when", "end", "join", "on", "left", "using", "as", "with", "update",
            "delete", "set", "at time zone", "interval", "extract", "row", ",", "[", "]", "any", "array", "only",
            "order", "by", "union", "is", "distinct", "\"q\"", "cast", "-", "*",
        ]), 0..60)) {
        let text = format!("select {}", words.join(" "));
        if let Some(filter) = Filter::read(&text, true) {
            for scope in &filter.scopes {
                for clause in filter.clauses(scope) {
                    prop_assert!(text.get(clause.span.start as usize..clause.span.end as usize).is_some(), "{text}");
                }
            }
        }
    }

    #[test]
    fn no_bytes_make_it_panic(text in "\\PC{0,80}") {
        let _ = Filter::read(&format!("select 1 from t where {text}"), true);
    }
}
