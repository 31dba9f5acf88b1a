-- The common conversation as a person holds it in psql. Every line of output is compared with conversation.out.
-- Variables from outside: schema, key (of the advisory locks), other (how to start a second psql).
\set QUIET on
\pset format unaligned
\pset tuples_only on
\pset null (null)
\set VERBOSITY terse

\echo types
set TimeZone = 'UTC';
select 1 as qid, (-32768)::int2, 2147483647::int4, (-9223372036854775808)::int8, 1.5::float8, 'NaN'::float8, true;
select 2 as qid, 12345678901234567890.123456789::numeric, '01234567-89ab-cdef-0123-456789abcdef'::uuid, '2024-02-29 12:34:56.789012+00'::timestamptz;
select 3 as qid, e'quote '' double " backslash \\ dollar $1 äöü 🐘 \t tab'::text, '{"a": [1, {"b": null}]}'::jsonb;
select 4 as qid, '{1,NULL,-3}'::int4[], '{"a,b",NULL,"","NULL"}'::text[], '\x00ff10'::bytea, null::int4, ''::text;
select 5 as qid, length(repeat('x', 20 * 1024 * 1024)), md5(repeat('x', 20 * 1024 * 1024));
select 'x' || repeat('y', 1024 * 1024) as long \gset
select 6 as qid, length(:'long'), md5(:'long') = md5('x' || repeat('y', 1024 * 1024));

\echo errors
create table :schema.strict (id int primary key, n int not null check (n > 0));
insert into :schema.strict values (1, 1);
selec 1;
\echo :SQLSTATE
select 1/0;
\echo :SQLSTATE
insert into :schema.strict values (1, 1);
\echo :SQLSTATE
insert into :schema.strict values (2, null);
\echo :SQLSTATE
insert into :schema.strict values (3, -1);
\echo :SQLSTATE
select 10 / (3 - g) from generate_series(1, 5) g;
\echo :SQLSTATE
select 7 as qid \; select 8 as qid \; select 1/0 \; select 9 as qid;
\echo :SQLSTATE
do $$ begin raise notice 'hello %', 42; raise warning 'careful'; end $$;
select 10 as qid;

\echo transactions
create table :schema.tx (n int);
begin;
insert into :schema.tx values (1);
commit;
begin;
insert into :schema.tx values (2);
rollback;
begin;
insert into :schema.tx values (3);
savepoint a;
insert into :schema.tx values (4);
select 1/0;
select 'refused';
\echo :SQLSTATE
rollback to a;
insert into :schema.tx values (5);
release a;
commit;
select 11 as qid, array_agg(n order by n) from :schema.tx;
begin isolation level serializable read only;
show transaction_isolation;
insert into :schema.tx values (6);
rollback;
\set ON_ERROR_ROLLBACK on
begin;
insert into :schema.tx values (7);
select 1/0;
insert into :schema.tx values (8);
commit;
\set ON_ERROR_ROLLBACK off
\set AUTOCOMMIT off
insert into :schema.tx values (9);
rollback;
insert into :schema.tx values (10);
commit;
\set AUTOCOMMIT on
select 12 as qid, array_agg(n order by n) from :schema.tx;

\echo prepared
prepare square(int) as select $1 as n, $1 * $1 as s;
execute square(3);
execute square(4);
prepare square(int) as select 1;
select 13 as qid;
create table :schema.ddl (a int);
insert into :schema.ddl values (42);
prepare reader as select a from :schema.ddl;
execute reader;
alter table :schema.ddl add column b int;
execute reader;
deallocate reader;
execute reader;
deallocate all;
execute square(3);
select 'select ' || g || ' as qid' from generate_series(14, 16) g \gexec
select a as from_gset from :schema.ddl \gset
\echo :from_gset
select a, b from :schema.ddl \gdesc

\echo copy
create table :schema.copied (n int, s text);
copy :schema.copied from stdin;
1	one
2	\N
3	three
\.
select 17 as qid, count(*), count(s), sum(n) from :schema.copied;
copy (select * from :schema.copied order by n) to stdout;
copy :schema.copied from stdin;
x	not a number
\.
\copy (select g, md5(g::text) from generate_series(1, 10000) g) to rows.copy
set search_path = :schema;
\copy copied from rows.copy
\copy copied (s) from program 'echo from a program'
reset search_path;
select 18 as qid, count(*), sum(n) from :schema.copied;
select 19 as qid;

\echo settings
set TimeZone = 'Asia/Tokyo';
select '2024-01-01 00:00:00Z'::timestamptz;
begin;
set local TimeZone = 'America/New_York';
set application_name = 'rolled back';
select '2024-01-01 00:00:00Z'::timestamptz, current_setting('application_name');
rollback;
select '2024-01-01 00:00:00Z'::timestamptz, current_setting('application_name');
set search_path = :schema;
select 20 as qid, count(*) from tx;
select set_config('application_name', 'by function', false);
show application_name;
reset application_name;
show application_name;
show statement_timeout;
set statement_timeout = 0;
reset all;
show statement_timeout;
select 21 as qid from tx;
\encoding LATIN1
select octet_length(convert_to('a' || chr(228), 'LATIN1'));
\encoding
\encoding UTF8

\echo session things
select pg_advisory_lock(:key) is not null;
\set ask 'select pg_try_advisory_lock(' :key ')'
\setenv ASK :ask
\! $OTHER_PSQL -c "$ASK"
select pg_advisory_unlock(:key);
\! $OTHER_PSQL -c "$ASK"
create temp table scratch (n int);
insert into scratch select generate_series(1, 5);
\! $OTHER_PSQL -c "select to_regclass('pg_temp.scratch') is null"
select 22 as qid, count(*) from scratch;
begin;
declare held cursor with hold for select g from generate_series(1, 10) g;
commit;
fetch 3 from held;
\! $OTHER_PSQL -c "select 23 as qid"
fetch 3 from held;
close held;
\set FETCH_COUNT 5
select count(*) filter (where right_one), max(g) from (select g, true as right_one from generate_series(1, 1000) g) q;
select g from generate_series(1, 12) g;
\unset FETCH_COUNT
\set channel :schema _news
listen :channel;
\set news 'notify ' :channel ', ''from another'''
\setenv ASK :news
\! $OTHER_PSQL -c "$ASK"; sleep 0.3
select 24 as qid;
notify :channel, 'from myself';
unlisten *;
notify :channel, 'nobody listens';
\connect
select 25 as qid, to_regclass('pg_temp.scratch') is null, current_setting('application_name'), current_setting('TimeZone') = 'Asia/Tokyo';
discard all;
select 26 as qid;
