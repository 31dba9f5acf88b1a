//! What is read of statements, and that hostile ones end nothing.

use super::*;

fn only(canonical: &str) -> Query {
    let mut scans = read(canonical).expect("the statement is good");
    assert_eq!(scans.queries.len(), 1, "{scans:?}");
    scans.queries.remove(0)
}

fn words(query: &Query) -> Vec<String> {
    query.terms.iter().map(|term| format!("{} {:?}", term.left.text, term.operator)).collect()
}

#[test]
fn conditions_have_their_expressions() {
    let query = only(
        "select o.id from orders as o where lower(o.email) = $1 and $2 < o.at and o.kind in ($3) \
         and o.payload ->> $4 = $5 and not o.gone and (o.a, o.b) > ($6, $7) and $8 = any(o.tags)",
    );
    assert_eq!(
        words(&query),
        [
            "lower(email) Equal",
            "at Greater",
            "kind In",
            "payload ->> $4 Equal",
            "gone IsFalse",
            "a Greater",
            "tags ArrayHolds"
        ]
    );
    assert_eq!(query.terms[5].more[0].text, "b");
    assert_eq!(query.terms[0].text, "lower(email) = $1");
    assert_eq!(query.terms[3].left.holes, [4]);
    assert_eq!(query.relations[0].alias, "o");
}

#[test]
fn order_and_groups_name_what_they_mean() {
    let query = only(
        "select date_trunc($1, t.at) as day, count(*) from t group by 1 order by day desc nulls last limit $2",
    );
    assert_eq!(query.group[0].text, "date_trunc($1, at)");
    assert_eq!(query.order[0].by.text, "date_trunc($1, at)");
    assert!(query.order[0].descending && !query.order[0].nulls_first && query.limited);
    let query = only("select max(at) from t where a = $1");
    assert_eq!(query.extremes.len(), 1);
    assert!(only("select max(at), count(*) from t").extremes.is_empty());
    assert_eq!(only("select distinct on (a) a, b from t order by a, b desc").distinct_on[0].text, "a");
}

#[test]
fn queries_within_know_the_one_around_them() {
    let scans = read(
        "with w as (select id from a) select * from b join w using (id) left join c on c.b_id = b.id \
         where exists (select 1 from d where d.b_id = b.id) or b.x = $1 or b.y = $2",
    )
    .expect("the statement is good");
    let main = scans.queries.iter().position(|query| query.relations.len() == 3).expect("the main query");
    let inner = scans.queries.iter().find(|query| query.relations.iter().any(|of| of.name == "d"));
    assert_eq!(inner.expect("the inner query").parent, Some(main));
    let main = &scans.queries[main];
    assert!(main.relations[1].derived && main.whole == [None]);
    assert_eq!(words(main), ["id Equal", "b_id Equal"]);
    assert_eq!(main.alternatives[0].len(), 2);
}

#[test]
fn writes_say_what_they_change() {
    let scans = read("update t set a = $1, b = b + $2 where c = $3").expect("the statement is good");
    assert_eq!(scans.writes[0].columns, ["a", "b"]);
    assert_eq!(words(&scans.queries[0]), ["c Equal"]);
    let scans = read("insert into t (a) values ($1)").expect("the statement is good");
    assert_eq!(scans.writes[0].kind, WriteKind::Insert);
    let scans = read("delete from t where a = $1").expect("the statement is good");
    assert_eq!(
        (scans.writes[0].kind, words(&scans.queries[0])),
        (WriteKind::Delete, vec!["a Equal".to_owned()])
    );
}
