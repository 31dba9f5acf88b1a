/* libpq's pipeline mode and row-by-row modes: the sections in which the order of messages is the subject. */
#include "talk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>

/* Sends one number as parameter, in text, as unnamed statement or as the named one. */
static void send_number(PGconn *conn, const char *name, const char *sql, int number)
{
    const char *text = say("%d", number), *values[] = {text};
    int sent = name ? PQsendQueryPrepared(conn, name, 1, values, NULL, NULL, 0)
                    : PQsendQueryParams(conn, sql, 1, NULL, values, NULL, NULL, 0);
    if (!sent)
        check("pipeline.send", PQerrorMessage(conn), "sent");
}

/* Reads everything up to the `syncs`-th Sync: each query's first value or its error, separated by blanks. */
static const char *harvest(PGconn *conn, int syncs)
{
    static char all[16384];
    size_t used = 0;
    all[0] = 0;
    while (syncs > 0) {
        PGresult *result = PQgetResult(conn);
        if (!result)
            continue; /* The end of one query's results. */
        const char *word;
        if (PQresultStatus(result) == PGRES_TUPLES_OK)
            word = PQntuples(result) ? PQgetvalue(result, 0, 0) : "empty";
        else
            word = state_of_result(result);
        if (PQresultStatus(result) == PGRES_PIPELINE_SYNC)
            syncs--;
        used += snprintf(all + used, sizeof all - used, "%s%s", used ? " " : "", word);
        bool lost = PQstatus(conn) != CONNECTION_OK;
        PQclear(result);
        if (lost || used > sizeof all - 100)
            break;
    }
    return all;
}

static void order(PGconn *conn)
{
    char want[16384] = "";
    size_t used = 0;
    PQenterPipelineMode(conn);
    PQsendPrepare(conn, "named", "select $1::int + 1000", 0, NULL);
    used += snprintf(want, sizeof want, "no error");
    for (int n = 0; n < 500; n++) {
        send_number(conn, n % 2 ? "named" : NULL, "select $1::int", n);
        used += snprintf(want + used, sizeof want - used, " %d", n % 2 ? n + 1000 : n);
    }
    PQpipelineSync(conn);
    snprintf(want + used, sizeof want - used, " sync");
    check("pipeline.order", strcmp(harvest(conn, 1), want) ? "wrong" : "right", "right");
    PQexitPipelineMode(conn);
}

/* An error at each position of a pipeline of five: what came before it stands, what follows is skipped up to Sync. */
static void errors_at_each_position(PGconn *conn)
{
    PQenterPipelineMode(conn);
    for (int bad = 0; bad < 5; bad++) {
        char want[TEXT] = "";
        for (int n = 0; n < 5; n++) {
            send_number(conn, NULL, n == bad ? "select 1 / (0 * $1::int)" : "select $1::int", n);
            const char *word = n < bad ? say("%d", n) : n == bad ? "22012" : "skipped";
            snprintf(want + strlen(want), sizeof want - strlen(want), "%s ", word);
        }
        PQpipelineSync(conn);
        send_number(conn, NULL, "select $1::int", 77);
        PQpipelineSync(conn);
        snprintf(want + strlen(want), sizeof want - strlen(want), "sync 77 sync");
        check(say("pipeline.error_at.%d", bad), harvest(conn, 2), want);
    }
    PQexitPipelineMode(conn);
}

/* A Parse that fails, statements prepared, described and used in one go, a statement name taken twice. */
static void statements(PGconn *conn)
{
    PQenterPipelineMode(conn);
    PQsendPrepare(conn, "good", "select $1::int * 2", 0, NULL);
    send_number(conn, "good", NULL, 21);
    PQsendDescribePrepared(conn, "good");
    PQsendPrepare(conn, "bad", "selec $1", 0, NULL);
    send_number(conn, "bad", NULL, 1);
    PQpipelineSync(conn);
    send_number(conn, "good", NULL, 4);
    send_number(conn, "bad", NULL, 1);
    PQpipelineSync(conn);
    PQsendPrepare(conn, "good", "select $1::int * 3", 0, NULL);
    PQpipelineSync(conn);
    send_number(conn, "good", NULL, 5);
    PQpipelineSync(conn);
    check("pipeline.statements", harvest(conn, 4), "no error 42 no error 42601 skipped sync 8 26000 sync 42P05 sync 10 sync");
    PQexitPipelineMode(conn);
    check("pipeline.deallocate", state_of(conn, "deallocate good"), "no error");
    const char *values[] = {"1"};
    check("pipeline.deallocated", state_and_clear(PQexecPrepared(conn, "good", 1, values, NULL, NULL, 0)), "26000");
}

/* Flush without Sync must bring the answers while the implicit transaction stays open. */
static void flushes(PGconn *conn, PGconn *other)
{
    run(conn, say("create table %s.flushed (n int primary key)", schema));
    PQenterPipelineMode(conn);
    for (int n = 0; n < 3; n++) {
        send_number(conn, NULL, say("insert into %s.flushed values ($1) returning n", schema), n);
        PQsendFlushRequest(conn);
        PQflush(conn);
        PGresult *result = PQgetResult(conn);
        check(say("pipeline.flush.%d", n), PQntuples(result) ? PQgetvalue(result, 0, 0) : state_of_result(result), say("%d", n));
        PQclear(result);
        PQclear(PQgetResult(conn));
        check(say("pipeline.flush.unseen.%d", n), ask(other, say("select count(*) from %s.flushed", schema)), "0");
    }
    PQpipelineSync(conn);
    check("pipeline.flush.sync", harvest(conn, 1), "sync");
    check("pipeline.flush.seen", ask(other, say("select count(*) from %s.flushed", schema)), "3");
    /* The implicit transaction of a pipeline is undone as a whole by an error before its Sync. */
    send_number(conn, NULL, say("insert into %s.flushed values ($1)", schema), 10);
    send_number(conn, NULL, say("insert into %s.flushed values ($1)", schema), 1);
    PQpipelineSync(conn);
    check("pipeline.atomic", harvest(conn, 1), "no error 23505 sync");
    check("pipeline.atomic.after", ask(other, say("select count(*) from %s.flushed", schema)), "3");
    /* An explicit transaction over several Syncs. */
    PQsendQueryParams(conn, "begin", 0, NULL, NULL, NULL, NULL, 0);
    PQpipelineSync(conn);
    send_number(conn, NULL, say("insert into %s.flushed values ($1)", schema), 11);
    PQpipelineSync(conn);
    send_number(conn, NULL, say("insert into %s.flushed values ($1)", schema), 11);
    PQpipelineSync(conn);
    send_number(conn, NULL, "select $1::int", 5);
    PQpipelineSync(conn);
    PQsendQueryParams(conn, "rollback", 0, NULL, NULL, NULL, NULL, 0);
    PQpipelineSync(conn);
    check("pipeline.transaction", harvest(conn, 5), "no error sync no error sync 23505 sync 25P02 sync no error sync");
    check("pipeline.transaction.after", ask(other, say("select count(*) from %s.flushed", schema)), "3");
    PQexitPipelineMode(conn);
}

/* Answers far larger than any buffer while requests still wait to be sent. */
static void big_pipeline(PGconn *conn)
{
    PQenterPipelineMode(conn);
    char *text = big_text(1 << 20);
    const char *values[] = {text};
    long bytes = 0;
    for (int n = 0; n < 20; n++)
        PQsendQueryParams(conn, "select $1::text", 1, NULL, values, NULL, NULL, 0);
    PQpipelineSync(conn);
    for (bool sync = false; !sync && PQstatus(conn) == CONNECTION_OK;) {
        PGresult *result = PQgetResult(conn);
        if (result && PQresultStatus(result) == PGRES_TUPLES_OK && strcmp(PQgetvalue(result, 0, 0), text) == 0)
            bytes += PQgetlength(result, 0, 0);
        sync = result && PQresultStatus(result) == PGRES_PIPELINE_SYNC;
        PQclear(result);
    }
    check_number("pipeline.big", bytes, 20L << 20);
    PQexitPipelineMode(conn);
    free(text);
}

void pipelines(void)
{
    PGconn *conn = connect_plain(), *other = connect_plain();
    order(conn);
    errors_at_each_position(conn);
    statements(conn);
    flushes(conn, other);
    big_pipeline(conn);
    check("pipeline.after", ask(conn, "select 5"), "5");
    PQfinish(conn);
    PQfinish(other);
}

/* Single-row mode, also left early; binary parameters and results; describing statements and portals. */
void portals_and_rows(void)
{
    PGconn *conn = connect_plain();
    PQsendQuery(conn, "select g from generate_series(1, 10000) g");
    PQsetSingleRowMode(conn);
    long rows = 0, sum = 0;
    for (PGresult *result; (result = PQgetResult(conn)); PQclear(result)) {
        if (PQresultStatus(result) == PGRES_SINGLE_TUPLE)
            rows++, sum += atol(PQgetvalue(result, 0, 0));
    }
    check("rows.single", say("%ld %ld", rows, sum), "10000 50005000");

    PQsendQuery(conn, "select 1 / (500 - g) from generate_series(1, 1000) g");
    PQsetSingleRowMode(conn);
    const char *last = "no error";
    rows = 0;
    for (PGresult *result; (result = PQgetResult(conn)); PQclear(result)) {
        rows += PQresultStatus(result) == PGRES_SINGLE_TUPLE;
        last = state_of_result(result);
    }
    check("rows.single.error", say("%ld %s", rows, last), "499 22012");

    int network = htonl(123456789), lengths[] = {4}, formats[] = {1};
    const char *values[] = {(char *)&network};
    Oid types[] = {23};
    PGresult *result = PQexecParams(conn, "select $1 + 1", 1, types, values, lengths, formats, 1);
    unsigned answer = 0;
    if (PQresultStatus(result) == PGRES_TUPLES_OK)
        memcpy(&answer, PQgetvalue(result, 0, 0), 4);
    check_number("rows.binary", ntohl(answer), 123456790);
    PQclear(result);

    PQclear(PQprepare(conn, "described", "select $1::int4 as a, $2::text as b", 0, NULL));
    result = PQdescribePrepared(conn, "described");
    check("rows.described", say("%u %u %s %u", PQparamtype(result, 0), PQparamtype(result, 1), PQfname(result, 1), PQftype(result, 0)), "23 25 b 23");
    PQclear(result);
    run(conn, "begin");
    run(conn, "declare mine cursor for select 'x'::text as column_of_mine");
    result = PQdescribePortal(conn, "mine");
    check("rows.portal", PQnfields(result) == 1 ? PQfname(result, 0) : state_of_result(result), "column_of_mine");
    PQclear(result);
    run(conn, "rollback");
    check("rows.portal.gone", state_and_clear(PQdescribePortal(conn, "mine")), "34000");
    check("rows.empty_query", PQresStatus(PQresultStatus(PQexec(conn, ""))), "PGRES_EMPTY_QUERY");
    PQfinish(conn);
}
