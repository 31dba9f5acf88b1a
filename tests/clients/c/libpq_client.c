/* libpq: the common conversation in C, as close to the protocol as a client library lets a program come. */
#include "talk.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <unistd.h>

#include <libpq/libpq-fs.h>

static const char *HAIRY = "quote ' double \" backslash \\ dollar $1 percent %s umlaut äöü emoji 🐘 tab\tnewline\nend";

static void types(void)
{
    PGconn *conn = connect_plain();
    const char *cases[][2] = {
        {"int2", "-32768"}, {"int4", "2147483647"}, {"int8", "-9223372036854775808"}, {"float8", "1.5"}, {"bool", "t"},
        {"numeric", "12345678901234567890.123456789"}, {"text", HAIRY}, {"uuid", "01234567-89ab-cdef-0123-456789abcdef"},
        {"jsonb", "{\"a\": [1, {\"b\": null}], \"ü\": \"🐘\"}"}, {"int4[]", "{1,NULL,-3}"}, {"text[]", "{\"a,b\",\"q\\\"uote\",NULL,\"\",\"NULL\"}"},
        {"bytea", "\\x00ff10"}, {"inet", "10.0.0.1/8"}, {"int4range", "[1,10)"}, {"interval", "1 mon 2 days 03:00:00"},
    };
    for (size_t n = 0; n < sizeof cases / sizeof cases[0]; n++) {
        const char *values[] = {cases[n][1]};
        check(say("types.%s", cases[n][0]), one(conn, say("select $1::%s", cases[n][0]), 1, values), cases[n][1]);
        values[0] = NULL;
        check(say("nulls.%s", cases[n][0]), one(conn, say("select $1::%s", cases[n][0]), 1, values), "NULL");
    }
    const char *stamp[] = {"2024-02-29 12:34:56.789012+00"};
    check("types.timestamptz", one(conn, "select ($1::timestamptz at time zone 'UTC')::text", 1, stamp), "2024-02-29 12:34:56.789012");
    const char *empty[] = {""};
    check("nulls.empty_text", one(conn, "select $1::text is null", 1, empty), "f");
    PQfinish(conn);
}

static void big(void)
{
    PGconn *conn = connect_plain();
    size_t sizes[] = {1 << 20, 20 << 20};
    for (int n = 0; n < 2; n++) {
        char *text = big_text(sizes[n]);
        const char *values[] = {text};
        PGresult *result = PQexecParams(conn, "select $1::text, length($1)", 1, NULL, values, NULL, NULL, 0);
        bool same = PQresultStatus(result) == PGRES_TUPLES_OK && strcmp(PQgetvalue(result, 0, 0), text) == 0;
        check(say("big.text.%zu", sizes[n]), say("%s %s", same ? "same" : "different", PQgetvalue(result, 0, 1)), say("same %zu", sizes[n]));
        PQclear(result);
        free(text);
    }
    PGresult *result = PQexec(conn, "select g, repeat('x', 100) from generate_series(1, 100000) g");
    check("big.rows", say("%d %s", PQntuples(result), PQgetvalue(result, 99999, 0)), "100000 100000");
    PQclear(result);
    PQfinish(conn);
}

static void count_notice(void *seen, const char *message)
{
    *(bool *)seen = strcmp(message, "NOTICE:  hello 42\n") == 0;
}

static void errors(void)
{
    PGconn *conn = connect_plain();
    run(conn, say("create table %s.strict (id int primary key, n int not null check (n > 0))", schema));
    run(conn, say("insert into %s.strict values (1, 1)", schema));
    const char *cases[][3] = {
        {"syntax", "selec 1", "42601"}, {"table", "select * from no_such_table", "42P01"}, {"division", "select 1/0", "22012"},
        {"unique", say("insert into %s.strict values (1, 1)", schema), "23505"}, {"not_null", say("insert into %s.strict values (2, null)", schema), "23502"},
        {"check", say("insert into %s.strict values (3, -1)", schema), "23514"}, {"multi", "select 1; select 1/0; select 2", "22012"},
        {"mid_result", "select 1 / (5000 - g) from generate_series(1, 9999) g", "22012"},
    };
    for (int n = 0; n < 8; n++) {
        check(say("errors.%s", cases[n][0]), state_of(conn, cases[n][1]), cases[n][2]);
        check(say("errors.%s.after", cases[n][0]), ask(conn, say("select %d", n)), say("%d", n));
    }
    PGresult *result = PQexec(conn, "select no_such_column");
    check("errors.fields", say("%s %s", PQresultErrorField(result, PG_DIAG_STATEMENT_POSITION), PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED)), "8 ERROR");
    PQclear(result);
    run(conn, "begin");
    check("errors.in_transaction", state_of(conn, "select 1/0"), "22012");
    check("errors.aborted", say("%s %d", state_of(conn, "select 1"), PQtransactionStatus(conn)), say("25P02 %d", PQTRANS_INERROR));
    run(conn, "rollback");
    check_number("errors.status", PQtransactionStatus(conn), PQTRANS_IDLE);
    bool seen = false;
    PQsetNoticeProcessor(conn, count_notice, &seen);
    run(conn, "do $$ begin raise notice 'hello %', 42; end $$");
    check_number("errors.notice", seen, true);
    PQfinish(conn);
}

static void transactions(void)
{
    PGconn *conn = connect_plain(), *other = connect_plain();
    const char *count = say("select count(*) from %s.tx", schema);
    run(conn, say("create table %s.tx (n int)", schema));
    run(conn, "begin");
    run(conn, say("insert into %s.tx values (1)", schema));
    check("tx.own_write", say("%s %s", ask(conn, count), ask(other, count)), "1 0");
    run(conn, "commit");
    check("tx.commit", ask(other, count), "1");
    run(conn, say("begin; insert into %s.tx values (2); rollback", schema));
    check("tx.rollback", ask(other, count), "1");
    run(conn, say("begin; insert into %s.tx values (3); savepoint a; insert into %s.tx values (4)", schema, schema));
    check("tx.error", state_of(conn, "select 1/0"), "22012");
    run(conn, say("rollback to a; insert into %s.tx values (5); commit", schema));
    check("tx.savepoint", ask(other, say("select array_agg(n order by n) from %s.tx", schema)), "{1,3,5}");
    run(conn, "begin isolation level serializable read only");
    check("tx.serializable", ask(conn, "select current_setting('transaction_isolation')"), "serializable");
    run(conn, "commit and chain");
    check("tx.chained", ask(conn, "select current_setting('transaction_isolation')"), "serializable");
    check("tx.read_only", state_of(conn, say("insert into %s.tx values (6)", schema)), "25006");
    run(conn, "rollback");
    PQfinish(conn);
    PQfinish(other);
}

static const char *copy_in(PGconn *conn, const char *sql, const char *data, size_t size, const char *abort)
{
    PGresult *result = PQexec(conn, sql);
    if (PQresultStatus(result) != PGRES_COPY_IN)
        return state_and_clear(result);
    PQclear(result);
    for (size_t at = 0; at < size; at += 8000)
        PQputCopyData(conn, data + at, size - at < 8000 ? (int)(size - at) : 8000);
    PQputCopyEnd(conn, abort);
    result = PQgetResult(conn);
    const char *got = PQresultStatus(result) == PGRES_COMMAND_OK ? say("%s", PQcmdStatus(result)) : state_of_result(result);
    PQclear(result);
    while ((result = PQgetResult(conn)))
        PQclear(result);
    return got;
}

static void copy(void)
{
    PGconn *conn = connect_plain();
    run(conn, say("create table %s.copied (n int, s text)", schema));
    const char *in = say("copy %s.copied from stdin", schema), *count = say("select count(*) from %s.copied", schema);
    char *lines = malloc(1 << 20);
    size_t size = 0;
    for (int n = 0; n < 10000; n++)
        size += sprintf(lines + size, n % 10 ? "%d\trow %d\n" : "%d\t\\N\n", n, n);
    check("copy.in", copy_in(conn, in, lines, size, NULL), "COPY 10000");
    PQclear(PQexec(conn, say("copy (select * from %s.copied order by n) to stdout", schema)));
    size_t at = 0;
    char *row;
    bool same = true;
    for (int length; (length = PQgetCopyData(conn, &row, 0)) > 0; at += length, PQfreemem(row))
        same = same && memcmp(row, lines + at, length) == 0;
    for (PGresult *result; (result = PQgetResult(conn)); PQclear(result)) {}
    check("copy.out", say("%s %d", same ? "same" : "different", at == size), "same 1");
    check("copy.bad", copy_in(conn, in, "x\ty\n", 4, NULL), "22P02");
    check("copy.bad.long", copy_in(conn, say("copy %s.copied (n) from stdin", schema), lines, size, NULL), "22P04");
    check("copy.aborted", copy_in(conn, in, "1\tx\n", 4, "changed my mind"), "57014");
    check("copy.no_table", copy_in(conn, "copy no_such_table from stdin", "", 0, NULL), "42P01");
    check("copy.after", ask(conn, count), "10000");
    /* A COPY out that is cancelled after its first rows. */
    PQclear(PQexec(conn, "copy (select repeat('x', 100) from generate_series(1, 100000000)) to stdout"));
    PQgetCopyData(conn, &row, 0);
    PQfreemem(row);
    char problem[256];
    PGcancel *cancel = PQgetCancel(conn);
    check_number("copy.out.cancel", PQcancel(cancel, problem, sizeof problem), 1);
    PQfreeCancel(cancel);
    while (PQgetCopyData(conn, &row, 0) > 0)
        PQfreemem(row);
    check("copy.out.cancelled", state_and_clear(PQgetResult(conn)), "57014");
    for (PGresult *result; (result = PQgetResult(conn)); PQclear(result)) {}
    check("copy.out.cancelled.after", ask(conn, count), "10000");
    free(lines);
    PQfinish(conn);
}

static void cancel(void)
{
    PGconn *conn = connect_plain(), *watcher = connect_plain();
    PGcancel *messenger = PQgetCancel(conn);
    char problem[256];
    for (int round = 0; round < 5; round++) {
        const char *marker = say("%s_sleep_%d", schema, round);
        const char *asleep = say("select count(*) from pg_stat_activity where wait_event = 'PgSleep' and query like '%%%s%%'", marker);
        PQsendQuery(conn, say("select pg_sleep(60) /* %s */", marker));
        for (double end = seconds() + PATIENCE; strcmp(ask(watcher, asleep), "1") && seconds() < end;)
            pause_a_moment();
        PQcancel(messenger, problem, sizeof problem);
        PGresult *result = PQgetResult(conn);
        check(say("cancel.%d", round), state_and_clear(result), "57014");
        while ((result = PQgetResult(conn)))
            PQclear(result);
        check(say("cancel.%d.after", round), ask(conn, "select 3"), "3");
    }
    PQcancel(messenger, problem, sizeof problem);
    bool right = true;
    for (int n = 0; n < 20; n++)
        right = right && strcmp(ask(conn, say("select %d", n)), say("%d", n)) == 0;
    check_number("cancel.idle", right, true);
    PQfreeCancel(messenger);
    PQfinish(conn);
    PQfinish(watcher);
}

static const char *heard(PGconn *conn, int count, double patience)
{
    static char all[TEXT];
    all[0] = 0;
    for (double end = seconds() + patience; count > 0 && seconds() < end;) {
        fd_set set;
        FD_ZERO(&set);
        FD_SET(PQsocket(conn), &set);
        struct timeval wait = {0, 100000};
        PGnotify *news = PQnotifies(conn);
        if (!news && select(PQsocket(conn) + 1, &set, NULL, NULL, &wait) > 0)
            PQconsumeInput(conn);
        if (news) {
            strncat(all, say("[%s]", news->extra), sizeof all - strlen(all) - 1);
            PQfreemem(news);
            count--;
        }
    }
    return all;
}

static void listen_and_notify(void)
{
    PGconn *conn = connect_plain(), *other = connect_plain();
    run(conn, say("listen %s_news", schema));
    for (int n = 0; n < 3; n++)
        run(other, say("notify %s_news, 'message %d ü'", schema, n));
    check("listen.from_other", heard(conn, 3, PATIENCE), "[message 0 ü][message 1 ü][message 2 ü]");
    run(conn, say("begin; notify %s_news, 'from myself'; commit", schema));
    check("listen.from_self", heard(conn, 1, PATIENCE), "[from myself]");
    check("listen.still_usable", ask(conn, "select 3"), "3");
    run(conn, "unlisten *");
    run(other, say("notify %s_news, 'nobody listens'", schema));
    check("listen.unlisten", heard(conn, 1, 0.3), "");
    PQfinish(conn);
    PQfinish(other);
}

static void settings(void)
{
    const char *noon = "select timestamptz '2024-01-01 00:00:00Z'::text", *show = "select current_setting('application_name')";
    const char *limit = "select current_setting('statement_timeout')", *zone = "select current_setting('TimeZone')";
    PGconn *conn = connect_as("pgweir-clients", "-c statement_timeout=54321"), *other = connect_as("other", NULL);
    const char *initial = ask(other, zone);
    run(conn, "set TimeZone = 'Asia/Tokyo'");
    for (int n = 0; n < 5; n++)
        check(say("settings.kept.%d", n), say("%s %d", ask(conn, noon), strcmp(ask(other, zone), initial)), "2024-01-01 09:00:00+09 0");
    check("settings.status", PQparameterStatus(conn, "TimeZone"), "Asia/Tokyo");
    run(conn, "begin; set local TimeZone = 'America/New_York'; set application_name = 'rolled back'");
    check("settings.local", say("%s %s", ask(conn, noon), ask(conn, show)), "2023-12-31 19:00:00-05 rolled back");
    run(conn, "rollback");
    check("settings.rolled_back", say("%s %s", ask(conn, noon), ask(conn, show)), "2024-01-01 09:00:00+09 pgweir-clients");
    check("settings.rolled_back.status", say("%s %s", PQparameterStatus(conn, "TimeZone"), PQparameterStatus(conn, "application_name")), "Asia/Tokyo pgweir-clients");
    ask(conn, "select set_config('application_name', 'by function', false)");
    check("settings.set_config", say("%s, %s", ask(conn, show), ask(other, show)), "by function, other");
    PQsetClientEncoding(conn, "LATIN1");
    check_number("settings.encoding", strcmp(ask(conn, "select 'a' || chr(228)"), "a\xe4"), 0);
    check("settings.options", ask(conn, limit), "54321ms");
    run(conn, "set statement_timeout = 0");
    run(conn, "discard all");
    const char *now = say("%s %s %d", ask(conn, show), ask(conn, limit), strcmp(ask(conn, zone), initial));
    check("settings.discard_all", now, "pgweir-clients 54321ms 0");
    PQfinish(conn);
    PQfinish(other);
    conn = connect_plain();
    check("settings.no_leak", say("%s %d", ask(conn, show), strcmp(ask(conn, zone), initial)), "pgweir-clients 0");
    PQfinish(conn);
}

static void locks_and_temporary_things(void)
{
    PGconn *conn = connect_plain(), *other = connect_plain();
    const char *attempt = say("select pg_try_advisory_lock(%ld)", lock_key), *unlock = say("select pg_advisory_unlock(%ld)", lock_key);
    const char *first, *second; /* C leaves the order of a call's arguments open, and here the order is the subject. */
    const char *exists = "select to_regclass('pg_temp.scratch') is not null";
    first = ask(conn, attempt), second = ask(other, attempt);
    check("advisory.held", say("%s %s", first, second), "t f");
    first = ask(conn, unlock), second = ask(other, attempt);
    check("advisory.unlock", say("%s %s %s", first, second, ask(other, unlock)), "t t t");
    run(conn, "create temp table scratch (n int)");
    for (int n = 0; n < 5; n++) {
        run(conn, say("insert into scratch values (%d)", n));
        check(say("temp.kept.%d", n), say("%s %s", ask(conn, "select count(*) from scratch"), ask(other, exists)), say("%d f", n + 1));
    }
    run(conn, "begin; declare held cursor with hold for select g from generate_series(1, 10) g; commit");
    for (int n = 0; n < 3; n++) {
        PGresult *result = PQexec(conn, "fetch 3 from held");
        check(say("cursors.with_hold.%d", n), PQntuples(result) == 3 ? PQgetvalue(result, 2, 0) : state_of_result(result), say("%d", n * 3 + 3));
        PQclear(result);
        ask(other, "select 1");
    }
    ask(conn, attempt);
    PQfinish(conn);
    const char *free_again = "f";
    for (double end = seconds() + PATIENCE; strcmp(free_again, "t") && seconds() < end; pause_a_moment())
        free_again = ask(other, attempt);
    check("advisory.released_by_close", free_again, "t");
    conn = connect_plain();
    check("temp.gone", ask(conn, exists), "f");
    check("cursors.gone", state_of(conn, "fetch 1 from held"), "34000");
    run(conn, "begin");
    Oid oid = lo_creat(conn, INV_READ | INV_WRITE); /* Large objects speak the fastpath FunctionCall. */
    int file = lo_open(conn, oid, INV_READ | INV_WRITE);
    char *data = big_text(100000), back[32] = "";
    lo_write(conn, file, data, 100000);
    lo_lseek(conn, file, 50000, SEEK_SET);
    lo_read(conn, file, back, 20);
    check_number("large_object", strncmp(back, data + 50000, 20), 0);
    lo_unlink(conn, oid);
    run(conn, "commit");
    free(data);
    PQfinish(conn);
    PQfinish(other);
}

static long lookups = 50;

static void *client(void *number)
{
    long me = (long)number, right = 0;
    char name[32], id[32], owner[64];
    snprintf(name, sizeof name, "client %ld", me);
    PGconn *conn = connect_as(name, NULL);
    char sql[TEXT];
    snprintf(sql, sizeof sql, "select id, current_setting('application_name'), owner from %s.lookup where id = $1", schema);
    PQclear(PQprepare(conn, "lookup", sql, 0, NULL));
    for (long n = 0; n < lookups; n++) {
        snprintf(id, sizeof id, "%ld", me * 1000 + n);
        snprintf(owner, sizeof owner, "owner %ld/%ld", me, n);
        const char *values[] = {id};
        PGresult *result = n % 2 ? PQexecPrepared(conn, "lookup", 1, values, NULL, NULL, 0) : PQexecParams(conn, sql, 1, NULL, values, NULL, NULL, 0);
        right += PQntuples(result) == 1 && !strcmp(PQgetvalue(result, 0, 0), id) && !strcmp(PQgetvalue(result, 0, 1), name) && !strcmp(PQgetvalue(result, 0, 2), owner);
        PQclear(result);
    }
    PQfinish(conn);
    return (void *)right;
}

static void many(void)
{
    long clients = getenv("CLIENTS") ? atol(getenv("CLIENTS")) : 8, right = 0;
    lookups = getenv("LOOKUPS") ? atol(getenv("LOOKUPS")) : 50;
    PGconn *conn = connect_plain();
    run(conn, say("create table %s.lookup as select c * 1000 + n as id, format('owner %%s/%%s', c, n) as owner from generate_series(0, %ld) c, generate_series(0, %ld) n", schema, clients - 1, lookups - 1));
    PQfinish(conn);
    pthread_t *threads = calloc(clients, sizeof *threads);
    for (long n = 0; n < clients; n++)
        pthread_create(&threads[n], NULL, client, (void *)n);
    for (long n = 0; n < clients; n++) {
        void *got;
        pthread_join(threads[n], &got);
        right += (long)got;
    }
    free(threads);
    check_number("many.lookups", right, clients * lookups);
}

int main(int count, char **args)
{
    if (count < 3 || (strcmp(args[2], "session") && strcmp(args[2], "transaction"))) {
        fprintf(stderr, "usage: %s URL session|transaction\n", args[0]);
        return 2;
    }
    url = args[1];
    lock_key = (long)getpid() * 1000;
    snprintf(schema, sizeof schema, "c_libpq_%d", (int)getpid());
    PGconn *conn = connect_plain();
    run(conn, say("create schema %s", schema));
    types();
    big();
    errors();
    transactions();
    portals_and_rows();
    pipelines();
    copy();
    cancel();
    listen_and_notify();
    settings();
    locks_and_temporary_things();
    many();
    run(conn, say("drop schema %s cascade", schema));
    PQfinish(conn);
    return finish();
}
