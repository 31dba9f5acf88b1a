//! Statements and their canonical texts, as a table. What the server has to say about it is in
//! `tests/it/lexer.rs`.

use super::shape::{Hole, HoleKind, Shaper};

fn shapes(text: &str, standard: bool) -> Vec<(String, Vec<Hole>)> {
    let mut found = Vec::new();
    Shaper::default().shapes(text.as_bytes(), standard, |shape| {
        found.push((String::from_utf8(shape.canonical.to_vec()).unwrap(), shape.holes.to_vec()));
    });
    found
}

fn canonical(text: &str) -> String {
    shapes(text, true).into_iter().map(|(canonical, _)| canonical).collect::<Vec<_>>().join(" ; ")
}

#[track_caller]
fn check(table: &[(&str, &str)]) {
    for (text, expected) in table {
        assert_eq!(canonical(text), *expected, "{text}");
        assert_eq!(canonical(expected), *expected, "again");
    }
}

/// The holes of the first statement, as (text, kind, number).
fn holes(text: &str) -> Vec<(String, HoleKind, u16)> {
    let (_, holes) = shapes(text, true).swap_remove(0);
    let cut = |hole: &Hole| text[hole.start as usize..hole.end as usize].to_owned();
    holes.iter().map(|hole| (cut(hole), hole.kind, hole.number)).collect()
}

#[test]
fn what_clients_send() {
    check(&[
        (
            r#"SELECT "author"."id", "author"."name" FROM "author" WHERE "author"."id" = 2 LIMIT 21"#,
            "select author.id, author.name from author where author.id = $1 limit $2",
        ),
        (
            "SELECT author.id, author.name \nFROM author \nWHERE author.id = 2",
            "select author.id, author.name from author where author.id = $1",
        ),
        (
            "SELECT book.id FROM book WHERE 1 = book.author_id",
            "select book.id from book where book.author_id = $1",
        ),
        (
            "SELECT book.id FROM book WHERE $1::INTEGER = book.author_id",
            "select book.id from book where book.author_id = $1::integer",
        ),
        (
            r#"SELECT "author".* FROM "author" WHERE "author"."id" = $1 LIMIT $2"#,
            "select author.* from author where author.id = $1 limit $2",
        ),
        (
            r#"SELECT "public"."author"."id" FROM "public"."author" WHERE ("public"."author"."id" = $1 AND 1=1) LIMIT $2 OFFSET $3"#,
            "select public.author.id from public.author where (public.author.id = $1 and $2 = $3) limit $4 offset $5",
        ),
        (
            r#"SELECT "id", "name" FROM "author" AS "Author" WHERE "Author"."id" = 2;"#,
            r#"select id, name from author as "Author" where "Author".id = $1"#,
        ),
        (
            r#"SELECT COUNT(*) AS "__count" FROM "book" WHERE "book"."author_id" IN (1, 2, 3)"#,
            "select count(*) as __count from book where book.author_id in ($1)",
        ),
        (
            r#"INSERT INTO "book"("title","authorId") VALUES (DEFAULT,$1) RETURNING "id","name""#,
            r#"insert into book(title, "authorId") values (default, $1) returning id, name"#,
        ),
        ("BEGIN;", "begin"),
        ("SAVEPOINT \"_pg3_1\"", "savepoint _pg3_1"),
    ]);
}

#[test]
fn spaces_comments_and_quotes() {
    check(&[
        ("select/**/a/* /* x */ ' */from--y\nt", "select a from t"),
        ("  ;; select 1 ;\n; select 2;;", "select $1 ; select $1"),
        (
            r#"select "a", "order", "A", "a b", "char", "é" from "t""#,
            r#"select a, "order", "A", "a b", "char", "é" from t"#,
        ),
        (r#"select "a""b", "x"(1), "user" from t"#, r#"select "a""b", x($1), "user" from t"#),
        (
            r#"select U&"d\0061t" , u&"d!0061t"  UESCAPE  '!'"#,
            r#"select u&"d\0061t", u&"d!0061t" uescape '!'"#,
        ),
        ("select a[1], b [ 2 : 3 ], (c).d.*", "select a[$1], b[$2 : $3], (c).d.*"),
        ("select * from a . b", "select * from a.b"),
        ("select ( select max ( x ) from t )", "select (select max(x) from t)"),
        ("select a!=b, a<>b, a=-b, a@-1", "select a <> b, a <> b, a = - b, a @- $1"),
        ("SELECT É, Ä$1 FROM t", "select É, Ä$1 from t"),
        ("select a \\ b", "select a \\ b"),
        ("select f(a => 1, b := 2)", "select f(a => $1, b := $2)"),
    ]);
}

#[test]
fn literals_are_holes() {
    check(&[
        (
            "select 'a', E'a\\'b', N'x', B'01', X'1F', U&'d\\0061', U&'d!0061' UESCAPE '!'",
            "select $1, $2, $3, $4, $5, $6, $7",
        ),
        ("select $$a$$, $x$ $$ ; $x$, $1, $2", "select $1, $2, $3, $4"),
        ("select 1, 1.5, .5, 5., 1e5, 0x1F, 0b1, 0o7, 1_000", "select $1, $2, $3, $4, $5, $6, $7, $8, $9"),
        ("select 'a'\n 'b', 'c' -- 'x'\n 'd'", "select $1, $2"),
        ("select 'unterminated ; select", "select $1"),
        ("select $$unterminated ; select", "select $1"),
        ("select \"unterminated ; select", "select $1"),
        ("select /* unterminated ; select", "select"),
        ("select -1, - 1, a -1, a - -1, (-1), +1, 1 -1", "select $1, $2, a - $3, a - $4, ($5), $6, $7 - $8"),
        ("select - -1, -a, -$1", "select - $1, - a, - $2"),
        ("update t set a=null, b = true where c = false", "update t set a = $1, b = $2 where c = $3"),
        (
            "select a is null, not true, f(null), null::int, (null::int)",
            "select a is null, not true, f($1), $2::int, ($3::int)",
        ),
        (
            "alter table t alter a set not null, add b bool default false",
            "alter table t alter a set not null, add b bool default false",
        ),
    ]);
}

#[test]
fn strings_where_no_parameter_can_stand() {
    check(&[
        (
            "select date '2020-01-01', interval '1' day, timestamp(3) with time zone 'x'",
            "select date '$1', interval '$2' day, timestamp(3) with time zone '$3'",
        ),
        (
            "select now() at time zone 'UTC', x like 'a' escape '!'",
            "select now() at time zone $1, x like $2 escape $3",
        ),
        ("ALTER USER u PASSWORD 'geheim'", "alter user u password '$1'"),
        ("do $$ begin perform 'x'; end $$", "do '$1'"),
        ("create type mood as enum ('a', 'b')", "create type mood as enum('$1', '$2')"),
        ("set time zone interval '+00:00' hour to minute", "set time zone interval '$1' hour to minute"),
        ("comment on table t is 'x'", "comment on table t is '$1'"),
        ("copy t from '/x' with (delimiter ',')", "copy t from '$1' with (delimiter '$2')"),
        ("explain select 'x'", "explain select $1"),
    ]);
}

#[test]
fn integers_that_are_no_values() {
    check(&[
        (
            "select a::numeric(10, -2), b::varchar(20), cast(c as my.vector(3)), d::int[3]",
            "select a::numeric(10, -2), b::varchar(20), cast(c as my.vector(3)), d::int[3]",
        ),
        (
            "select current_timestamp(3), interval '1' second(2), round(a, 2)",
            "select current_timestamp(3), interval '$1' second(2), round(a, $2)",
        ),
        ("select a, b from t order by 1, 2 desc limit 5", "select a, b from t order by 1, 2 desc limit $1"),
        (
            "select a from t group by 1, f(2), 3+1 having a > 1 order by 1",
            "select a from t group by 1, f($1), $2 + $3 having a > $4 order by 1",
        ),
        (
            "select sum(a) over (partition by 1 order by 1) from t",
            "select sum(a) over (partition by $1 order by 1) from t",
        ),
        (
            "create table t (a numeric(10,2), b char(3) default 'x')",
            "create table t(a numeric(10, 2), b char(3) default '$1')",
        ),
    ]);
}

#[test]
fn lists_and_rows() {
    check(&[
        (
            "select 1 where a in (1) or b in ('a', 'b') or c not in (-1, $3)",
            "select $1 where a in ($2) or b in ($3) or c not in ($4)",
        ),
        ("select 1 where a in ($1::varchar, $2::varchar)", "select $1 where a in ($2::varchar)"),
        ("select 1 where a in ($1::varchar, $2::text)", "select $1 where a in ($2::varchar, $3::text)"),
        ("select 1 where a in (1, b, 2)", "select $1 where a in ($2, b, $3)"),
        ("select 1 where a in (null, 1, true)", "select $1 where a in ($2)"),
        ("select 1 where a in (select 1)", "select $1 where a in (select $2)"),
        ("select 1 where a = any(array['x','y']::text[])", "select $1 where a = any(array[$2]::text[])"),
        ("select array[1,2], array[a,1], array[]::int[]", "select array[$1], array[a, $2], array[]::int[]"),
        (
            "insert into t (a,b) values (1,'x'), (2,'y'),(3,null) returning id",
            "insert into t(a, b) values ($1, $2) returning id",
        ),
        (
            "insert into t values (1,default),(2,default),(default,3),(default,4)",
            "insert into t values ($1, default), (default, $2)",
        ),
        (
            "insert into t values (now(), array[1,2]), (now(), array[3]) on conflict do nothing",
            "insert into t values (now(), array[$1]) on conflict do nothing",
        ),
        (
            "select * from (values (1::int, 2), (3::int, 4)) as x(a, b) where a = 1",
            "select * from (values ($1::int, $2)) as x(a, b) where a = $3",
        ),
        ("values (1), (2), (a), (3), (4)", "values ($1), (a), ($2)"),
        ("values (1, (values (2), (3))), (4, (values (5), (6)))", "values ($1, (values ($2), ($3)))"),
    ]);
}

#[test]
fn turned_comparisons() {
    check(&[
        (
            "select 1 from t where 1 = a and 2 < t.b or not 3 >= s.t.c",
            "select $1 from t where a = $2 and t.b > $3 or not s.t.c <= $4",
        ),
        (
            "select 1 from t join u on 1 != a where (2 <= \"B\")",
            "select $1 from t join u on a <> $2 where (\"B\" >= $3)",
        ),
        (
            "select 1 from t where $2::numeric(10, 2)[] = a for update",
            "select $1 from t where a = $2::numeric(10, 2)[] for update",
        ),
        ("select 1 from t where a between 1 and 2 = b", "select $1 from t where a between $2 and $3 = b"),
        (
            "select 1 from t where a between 1 and 2 and 3 = b",
            "select $1 from t where a between $2 and $3 and b = $4",
        ),
        (
            "select 1 from t where 1 = a + 1 and 1 = f(x) and 2 + 1 = a and 1 = a::int",
            "select $1 from t where $2 = a + $3 and $4 = f(x) and $5 + $6 = a and $7 = a::int",
        ),
        (
            "select 1 from t where 1 = any (a) and 1 = current_date and 1 = null",
            "select $1 from t where $2 = any(a) and $3 = current_date and $4 = $5",
        ),
        ("select case when 1 = a then 2 end", "select case when a = $1 then $2 end"),
        (
            "select 1 where a between case when b and c then 1 end and 2 = d",
            "select $1 where a between case when b and c then $2 end and $3 = d",
        ),
    ]);
}

#[test]
fn statements_are_cut_where_they_end() {
    check(&[
        (
            "create or replace function f() returns int begin atomic select 1; select case when a then 2 end; end; select 3",
            "create or replace function f() returns int begin atomic select $1; select case when a then $2 end; end ; select $1",
        ),
        (
            "create procedure p() language sql as $$ select 1; $$; commit",
            "create procedure p() language sql as '$1' ; commit",
        ),
        (
            "create rule r as on insert to t do also (select 1; select 2); select 3",
            "create rule r as on insert to t do also(select $1; select $2) ; select $1",
        ),
        ("begin; select atomic; end; select 1", "begin ; select atomic ; end ; select $1"),
    ]);
}

#[test]
fn the_servers_reading_of_backslashes() {
    let text = r"select 'a\' , 'c'";
    assert_eq!(shapes(text, true)[0].0, "select $1, $2");
    assert_eq!(shapes(text, false)[0].0, "select $1 c '$2'");
}

#[test]
fn holes_tell_where_and_what() {
    use HoleKind::*;
    let text =
        "select 1 from t where -2.5 = a and b in ('x', $7, null) and c = date 'y' and d = B'1' or e = true";
    let expected = [
        ("1", Integer, 1),
        ("-2.5", Number, 2),
        ("'x'", String, 3),
        ("$7", Parameter(7), 3),
        ("null", Null, 3),
        ("'y'", String, 4),
        ("B'1'", Bits, 5),
        ("true", Boolean, 6),
    ];
    let expected = expected.map(|(text, kind, number)| (text.to_owned(), kind, number));
    assert_eq!(holes(text), expected);
    let rows = holes("insert into t values (1, 'a'), (2, 'b')");
    assert_eq!(rows.iter().map(|hole| hole.2).collect::<Vec<_>>(), [1, 2, 1, 2]);
}

#[test]
fn comments_are_reported() {
    let mut shaper = Shaper::default();
    shaper.shapes(b"/* a */ select 1 -- x\n /* b */; select 2 /* c", true, |_| {});
    assert_eq!((shaper.first_comment, shaper.last_comment), (Some((0, 7)), Some((41, 45))));
    shaper.shapes(b"select '/* a */'", true, |_| {});
    assert_eq!((shaper.first_comment, shaper.last_comment), (None, None));
}

/// Texts on which a careless lexer takes time that grows with the square of their length, or its stack.
#[test]
fn hostile_texts_take_linear_time() {
    let pieces = [
        "/*",
        "$",
        "(",
        "'",
        "\"",
        "$a$",
        "$a",
        "+",
        "+-",
        "*+",
        "-",
        "--\n",
        "[",
        "in (",
        "in (1,",
        "in (1::",
        "array[1,",
        "values (",
        "values (1),",
        "(1),",
        "(1),(a),",
        "1::a.",
        "$1=a.",
        "and 1::a(1) = ",
        "::",
        ".",
        "case ",
        "begin ",
        "''",
        "'' ",
        "'a'\n",
        "e'\\",
        "u&\"a\"",
        "u&'a' uescape ",
        "1.",
        "0x",
        "1e",
        "a.",
        ";",
        "between 1 and 2 = a ",
        "\u{e9}$",
        "numeric(1,",
        "(values (1),(",
        "null,",
        "- ",
    ];
    let mut shaper = Shaper::default();
    for piece in pieces {
        let text = piece.repeat(64 * 1024 / piece.len());
        let begun = std::time::Instant::now();
        shaper.shapes(text.as_bytes(), true, |_| {});
        // Linear work takes a few milliseconds even unoptimised; the square of 65,536 takes minutes.
        assert!(begun.elapsed() < std::time::Duration::from_secs(2), "{piece:?}: {:?}", begun.elapsed());
    }
}
