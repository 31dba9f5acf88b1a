/* The toolbox of the libpq client; it knows nothing of what is asked. */
#define _GNU_SOURCE
#include "talk.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

const char *url;
char schema[64];
long lock_key;

static int passed, failed, identities;

const char *say(const char *format, ...)
{
    char *text;
    va_list list;
    va_start(list, format);
    if (vasprintf(&text, format, list) < 0)
        abort();
    va_end(list);
    return text;
}

/* One line, whatever the answer holds. */
static void print_answer(const char *name, const char *got)
{
    printf("result: %s = ", name);
    for (; *got; got++)
        fputs(*got == '\n' ? "\\n" : (char[]){*got, 0}, stdout);
    printf("\n");
}

void check(const char *name, const char *got, const char *want)
{
    print_answer(name, got);
    if (strcmp(got, want) == 0) {
        passed++;
        printf("ok %s\n", name);
    } else {
        failed++;
        printf("not ok %s: got %s, want %s\n", name, got, want);
    }
    fflush(stdout);
}

void check_number(const char *name, long got, long want)
{
    check(name, say("%ld", got), say("%ld", want));
}

PGconn *connect_as(const char *name, const char *options)
{
    const char *keys[] = {"dbname", "application_name", "options", NULL};
    const char *values[] = {url, name, options, NULL};
    PGconn *conn = PQconnectdbParams(keys, values, 1);
    if (PQstatus(conn) != CONNECTION_OK) {
        printf("not ok connect: %s0 passed, 1 failed\n", PQerrorMessage(conn));
        exit(1);
    }
    return conn;
}

PGconn *connect_plain(void)
{
    return connect_as("pgweir-clients", NULL);
}

const char *state_of_result(PGresult *result)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    if (state)
        return say("%s", state);
    switch (PQresultStatus(result)) {
    case PGRES_FATAL_ERROR: return say("lost: %s", PQresultErrorMessage(result));
    case PGRES_PIPELINE_ABORTED: return "skipped";
    case PGRES_PIPELINE_SYNC: return "sync";
    default: return "no error";
    }
}

const char *state_and_clear(PGresult *result)
{
    const char *state = state_of_result(result);
    PQclear(result);
    return state;
}

const char *state_of(PGconn *conn, const char *sql)
{
    return state_and_clear(PQexec(conn, sql));
}

void run(PGconn *conn, const char *sql)
{
    PGresult *result = PQexec(conn, sql);
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
        failed++;
        printf("not ok %s: %s", sql, PQresultErrorMessage(result));
    }
    PQclear(result);
}

const char *one(PGconn *conn, const char *sql, int count, const char *const *params)
{
    int id = ++identities;
    size_t room = strlen(sql) + 100;
    char *text = malloc(room);
    snprintf(text, room, "select %d as qid, q.* from (%s) q", id, sql);
    PGresult *result = PQexecParams(conn, text, count, NULL, params, NULL, NULL, 0);
    free(text);
    const char *got;
    if (PQresultStatus(result) != PGRES_TUPLES_OK)
        got = say("(%s)", state_of_result(result));
    else if (PQntuples(result) != 1 || atoi(PQgetvalue(result, 0, 0)) != id)
        got = say("query %d was given another's answer", id);
    else
        got = PQgetisnull(result, 0, 1) ? "NULL" : say("%s", PQgetvalue(result, 0, 1));
    PQclear(result);
    return got;
}

const char *ask(PGconn *conn, const char *sql)
{
    return one(conn, sql, 0, NULL);
}

char *big_text(size_t size)
{
    char *text = malloc(size + 32);
    for (unsigned n = 0; n * 9 < size; n++)
        sprintf(text + n * 9, "%09u", n);
    text[size] = 0;
    return text;
}

void pause_a_moment(void)
{
    usleep(20000);
}

double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

int finish(void)
{
    printf("%d passed, %d failed\n", passed, failed);
    return failed ? 1 : 0;
}
