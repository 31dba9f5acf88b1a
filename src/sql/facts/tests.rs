//! Facts of statements as drivers and object mappers write them, each as one text.

use super::*;
use crate::sql::class;
use crate::sql::kind::{self, Kind};

/// Reads on a stack that is large enough.
pub fn on_own_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::Builder::new().stack_size(guard::STACK).spawn(work).unwrap().join().unwrap()
}

fn try_read(text: &str) -> Result<Facts, Refused> {
    let text = text.to_owned();
    on_own_thread(move || read(&text))
}

fn facts(text: &str) -> Facts {
    try_read(text).unwrap_or_else(|refused| panic!("{text}: {refused}"))
}

/// The conditions of a statement, as text.
fn conditions(facts: &Facts) -> Vec<String> {
    let one = |p: &Predicate| {
        let column = match &p.wrapped {
            Some(wrapped) => format!("{wrapped}({})", p.column),
            None => p.column.to_string(),
        };
        let text = format!("{column} {} {}", p.operator, p.operand);
        let place = match (p.top, p.query) {
            (true, 0) => "",
            (true, _) => "?!",
            (false, 0) => " [part]",
            (false, _) => " [inner]",
        };
        format!("{}{place}", text.trim_end())
    };
    facts.predicates.iter().map(one).collect()
}

fn tables(facts: &Facts) -> String {
    let one = |table: &TableRef| {
        let alias = table.alias.as_ref().map(|alias| format!(" {alias}")).unwrap_or_default();
        let role = if table.role == Role::Written { "!" } else { "" };
        format!("{}{alias}{role}", table.full_name())
    };
    facts.tables.iter().map(one).collect::<Vec<_>>().join(", ")
}

#[test]
fn a_look_up_by_one_key() {
    let found = facts(
        "select \"books_author\".id, \"books_author\".name from books_author where books_author.id = $1 limit $2",
    );
    assert_eq!(conditions(&found), ["books_author.id = $1"]);
    assert!(found.plain && found.class == Class::Read && !found.may_write && !found.aggregate);
    assert_eq!(tables(&found), "books_author");
    assert_eq!(found.limit, Some(Operand::Hole { number: 2, cast: None }));
    assert_eq!(found.statement, "select");
    assert_eq!(found.columns.len(), 2);
    assert!(found.functions.is_empty() && found.locking.is_none() && found.subqueries == 0);
}

#[test]
fn conditions_of_all_kinds() {
    for (text, expected, plain) in [
        ("a = $1 and $2 < b", vec!["t.a = $1", "t.b > $2"], true),
        ("t.a in ($1) and b = any($2::int4[])", vec!["t.a in ($1)", "t.b = any $2::int4[]"], true),
        ("a between $1 and date '$2'", vec!["t.a >= $1", "t.a <= $2::date"], true),
        ("lower(a) = lower($1)", vec!["lower(t.a) = an expression of $1"], true),
        ("a::date = $1::date", vec!["::date(t.a) = $1::date"], true),
        ("a = $1 or b = $2", vec!["t.a = $1 [part]", "t.b = $2 [part]"], false),
        ("not (a = $1)", vec!["t.a = $1 [part]"], false),
        ("a and not b", vec!["t.a is true", "t.b is false"], true),
        ("a is null and b is not null", vec!["t.a is null", "t.b is not null"], true),
        ("a like $1 and b not ilike $2", vec!["t.a like $1", "t.b not ilike $2"], true),
        ("a > now() - $1::interval", vec!["t.a > an expression of $1"], true),
        ("a > now() - interval '$1'", vec!["t.a > an expression of $1"], true),
        ("a = interval '$1'", vec!["t.a = $1::interval"], true),
        ("(a, b) = ($1, $2)", vec!["t.a = $1", "t.b = $2"], true),
        ("(a, b) > ($1, $2)", vec!["t.a row > $1", "t.b row > $2"], false),
        ("(a, b) in (($1, $2))", vec!["t.a in ($1)", "t.b in ($2)"], false),
        ("a @> $1 and $2 <@ b", vec!["t.a @> $1", "t.b <@, from its right $2"], true),
        ("a ->> 'k' = $1", vec!["->>(t.a) = $1"], true),
        ("exists (select $1)", vec![], false),
        ("a + b = $1", vec![], false),
        ("a = null", vec!["t.a = a constant"], true),
        ("a not in ($1) and a <> $2", vec!["t.a not in ($1)", "t.a <> $2"], true),
        ("a is not distinct from $1", vec!["t.a is not distinct from $1"], true),
        ("extract(year from a) = $1", vec!["extract(t.a) = $1"], true),
        ("a at time zone $2 < $1", vec!["at time zone(t.a) < $1"], true),
    ] {
        let found = facts(&format!("select id from t where {text}"));
        assert_eq!(conditions(&found), expected, "{text}");
        assert_eq!(found.plain, plain, "{text}");
    }
}

#[test]
fn joins_and_whose_column_it_is() {
    let found = facts(
        "select b.title, name from app.books as b join authors a on a.id = b.author_id and a.active \
         left join tags on tags.book_id = b.id and tags.kind = $1 where b.id = $2 and year > $3",
    );
    assert_eq!(tables(&found), "app.books b, authors a, tags");
    let pairs: Vec<_> = found.joins.iter().map(|pair| format!("{}={}", pair.left, pair.right)).collect();
    assert_eq!(pairs, ["authors.id=app.books.author_id", "tags.book_id=app.books.id"]);
    let expected = [
        "authors.id = app.books.author_id",
        "authors.active is true",
        "tags.book_id = app.books.id [part]",
        "tags.kind = $1 [part]",
        "app.books.id = $2",
        "year > $3",
    ];
    // Conditions of an outer join are none of the whole.
    let told: Vec<_> = conditions(&found).into_iter().map(|text| text.replace("?!", "")).collect();
    assert_eq!(told, expected);
    assert!(!found.plain);
    assert_eq!(found.predicates[4].column.alias.as_deref(), Some("b"));

    let found = facts("select 1 from a join b using (id, \"Other\") where x = $1");
    assert_eq!(found.joins.len(), 2);
    assert_eq!(found.joins[1].right.column, "Other");
    assert_eq!(conditions(&found), ["x = $1"]);
    assert!(found.plain);

    let found = facts("select 1 from a, b where a.id = b.a_id and a.id = $1");
    assert_eq!(found.joins.len(), 1);
    assert!(facts("select 1 from t x join t y on x.id = y.parent_id").joins.len() == 1);
}

#[test]
fn queries_in_queries() {
    let found = facts(
        "with recent as (select id from orders where at > $1) select count(*) from recent r join lines l on \
         l.order_id = r.id where exists (select 1 from items i where i.id = l.item_id and colour = $2) and \
         l.kind in (select kind from kinds where ok)",
    );
    assert_eq!(tables(&found), "orders, lines l, items i, kinds");
    assert_eq!((found.ctes.join(" "), found.subqueries), ("recent".to_owned(), 2));
    let expected = [
        "orders.at > $1 [inner]",
        "lines.order_id = recent.id",
        "items.id = lines.item_id [inner]",
        "colour = $2 [inner]",
        "kinds.ok is true [inner]",
        "lines.kind in the rows of a query",
    ];
    let mut told = conditions(&found);
    told.sort();
    let mut wanted = expected.map(str::to_owned).to_vec();
    // What stands without a qualifier in an inner query may belong to an outer one.
    wanted[4] = "ok is true [inner]".to_owned();
    wanted.sort();
    assert_eq!(told, wanted);
    assert!(found.aggregate && !found.plain);

    let found = facts("select a from t union all select a from u where b = $1 order by a limit 10");
    assert_eq!((found.set_operations, tables(&found)), (1, "t, u".to_owned()));
    assert_eq!(conditions(&found), ["u.b = $1 [inner]"]);
    assert_eq!((found.order.len(), found.plain), (1, false));

    let found = facts("select x.n from (select max(v) as n from t where k = $1 group by g) x where x.n > $2");
    assert_eq!(conditions(&found), ["t.k = $1 [inner]", "x.n > $2"]);
    assert_eq!((found.aggregate, found.subqueries), (false, 1));

    let found =
        facts("with recursive t as (select 1 union all select n + 1 from t where n < $1) select * from t");
    assert_eq!((tables(&found), found.may_write), (String::new(), false));
}

#[test]
fn order_groups_and_bounds() {
    let found = facts(
        "select distinct kind as k, count(*) as n from t where a = $1 group by kind, lower(b) having count(*) > $2 \
         order by n desc nulls last, kind, at desc limit $3 offset $4",
    );
    let order: Vec<_> = found.order.iter().map(|o| (o.by.to_string(), o.descending, o.nulls_first)).collect();
    let expected = [("an expression", true, Some(false)), ("t.kind", false, None), ("t.at", true, None)];
    assert_eq!(order, expected.map(|(by, descending, nulls)| (by.to_owned(), descending, nulls)));
    assert_eq!(
        found.group_by.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["t.kind", "an expression"]
    );
    assert!(found.distinct && found.aggregate && !found.plain && !found.window);
    assert_eq!(found.functions, ["count", "lower"]);
    assert_eq!(found.offset, Some(Operand::Hole { number: 4, cast: None }));
    let found = facts("select row_number() over (partition by a order by b) from t fetch first 5 rows only");
    assert!(found.window && !found.aggregate && found.limit.is_some());
    assert_eq!(found.columns.len(), 2);
}

#[test]
fn locks() {
    let found = facts("select a from t where id = $1 for update skip locked");
    let lock = Locking { strength: LockStrength::Update, otherwise: Some(LockOtherwise::SkipLocked) };
    assert_eq!(found.locking, Some(lock));
    assert_eq!(found.class, Class::Read);
    for (text, strength) in [
        ("select a from t where id = $1 for no key update of t nowait", LockStrength::NoKeyUpdate),
        ("select a from t for key share", LockStrength::KeyShare),
    ] {
        assert_eq!(facts(text).locking.map(|lock| lock.strength), Some(strength), "{text}");
    }
    let found = facts("select \"a for key share\" from t for share");
    assert_eq!(found.columns[0].column, "a for key share");
    let found = facts("with x as (select a from t for share nowait) select * from x");
    let lock = Locking { strength: LockStrength::Share, otherwise: Some(LockOtherwise::Nowait) };
    assert_eq!(found.locking, Some(lock));
}

#[test]
fn writes() {
    let found = facts(
        "insert into app.t (id, \"Name\") values ($1, $2) on conflict (id) do update set name = excluded.name \
         returning id",
    );
    assert_eq!((tables(&found), found.class), ("app.t!".to_owned(), Class::Write));
    assert_eq!(found.assigned, ["id", "Name"]);
    assert_eq!((found.returning, found.on_conflict), (true, Some(OnConflict::Update)));
    assert_eq!(
        facts("insert into t values ($1) on conflict do nothing").on_conflict,
        Some(OnConflict::Nothing)
    );

    let found = facts("insert into t (a) select unnest($1::int[]) on conflict (a) do nothing");
    assert_eq!(
        (found.on_conflict, found.functions.join(" ")),
        (Some(OnConflict::Nothing), "unnest".to_owned())
    );

    let found = facts("update t set a = $1, b = b + 1 from u where t.id = u.id and u.k = $2 returning t.a");
    assert_eq!((tables(&found), found.assigned.join(" ")), ("t!, u".to_owned(), "a b".to_owned()));
    assert_eq!(conditions(&found), ["t.id = u.id", "u.k = $2"]);
    assert!(found.plain && found.returning && found.joins.len() == 1);

    let found = facts("delete from t as x using u where x.id = u.id and x.at < $1");
    assert_eq!(tables(&found), "t x!, u");
    assert_eq!(conditions(&found), ["t.id = u.id", "t.at < $1"]);

    let found =
        facts("with gone as (delete from t where at < $1 returning *) insert into old select * from gone");
    assert_eq!((tables(&found), found.class), ("t!, old!".to_owned(), Class::Write));
    assert_eq!(conditions(&found), ["t.at < $1 [inner]"]);

    let found = facts(
        "merge into t using s on t.id = s.id when matched then update set a = s.a when not matched then insert \
         (id, a) values (s.id, s.a)",
    );
    assert_eq!((tables(&found), found.class), ("t!, s".to_owned(), Class::Write));
    assert_eq!(found.joins.len(), 1);
}

#[test]
fn other_statements() {
    for (text, class, shown) in [
        ("create table app.t (a int)", Class::Ddl, "app.t!"),
        ("alter table t add column b int", Class::Ddl, "t!"),
        ("drop table if exists t, u", Class::Ddl, "t!, u!"),
        ("create index i on t (a)", Class::Ddl, "t!"),
        ("truncate t", Class::Write, "t!"),
        ("copy t (a) from stdin", Class::Write, "t!"),
        ("copy t to stdout", Class::Read, "t"),
        ("explain select a from t where b = $1", Class::Read, "t"),
        ("explain analyze delete from t", Class::Write, "t!"),
        ("begin", Class::TransactionControl, ""),
        ("set a = $1", Class::Session, ""),
        ("select a into u from t", Class::Ddl, "t, u!"),
    ] {
        let found = facts(text);
        assert_eq!((found.class, tables(&found).as_str()), (class, shown), "{text}");
    }
    let found = facts("call app.p($1, now())");
    assert_eq!((found.class, found.may_write), (Class::Utility, true));
    assert_eq!(found.functions, ["app.p", "now"]);
}

/// The words, `kind` and the parser must not contradict each other.
#[test]
fn three_ways_to_classify_agree() {
    for text in [
        "select a from t where id = $1",
        "select $1",
        "select a from t offset $1",
        "with x as (delete from t returning a) select a from x",
        "with x as (select 1) select * from x",
        "insert into t values ($1)",
        "delete from t",
        "merge into t using s on t.a = s.a when matched then delete",
        "values ($1)",
        "begin",
        "show all",
        "discard all",
    ] {
        let (by_words, found) = (class::of(text), facts(text));
        assert_eq!((by_words.class, by_words.may_write), (found.class, found.may_write), "{text}");
        match kind::of(text) {
            Kind::Insert | Kind::Write => assert_eq!(found.class, Class::Write, "{text}"),
            Kind::Read | Kind::Page => assert_eq!(found.class, Class::Read, "{text}"),
            Kind::Marker => assert!(matches!(found.class, Class::Read | Class::Session), "{text}"),
            Kind::Other => assert_ne!(found.class, Class::Write, "{text}"),
        }
    }
}

#[test]
fn facts_are_json() {
    let found = facts("select a from t where b = $1::int and lower(c) like $2 order by d desc limit 5");
    let json = serde_json::to_value(&found).unwrap();
    assert_eq!(json["predicates"][0]["operator"], "=");
    assert_eq!(json["predicates"][0]["operand"]["hole"]["number"], 1);
    assert_eq!(json["predicates"][1]["wrapped"], "lower");
    assert_eq!(json["class"], "read");
    assert_eq!(json["order"][0]["by"]["column"]["column"], "d");
}

#[test]
fn tables_are_found_in_every_clause() {
    for text in [
        "select a from t limit (select count(*) from u)",
        "select a from t offset (select b from u)",
        "select a from t order by (select b from u where u.a = t.a)",
        "select a from t group by a, (select b from u)",
        "select sum(a) over (partition by (select b from u)) from t",
        "select a from f((select b from u)) as x, t",
        "select a from t where a in (values ((select b from u)))",
        "select case when exists (select from u) then 1 end from t",
    ] {
        let mut names: Vec<String> = facts(text).tables.iter().map(TableRef::full_name).collect();
        names.sort();
        assert_eq!(names, ["t", "u"], "{text}");
    }
}
