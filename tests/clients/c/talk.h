/* What the libpq client's two source files share: the transcript, connections and queries with their identity.
 * `result:` lines are what two runs are compared by, so nothing in them may differ from run to run. */
#ifndef TALK_H
#define TALK_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>

/* Seconds that anything asynchronous (a cancel, a notification) may take before it counts as lost. */
#define PATIENCE 20
#define TEXT 512

extern const char *url;
extern char schema[64];
extern long lock_key;

/* Text from a printf format. It is never freed: the program is short and so are the texts. */
const char *say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Prints one line of the transcript and counts whether the answer is the expected one. */
void check(const char *name, const char *got, const char *want);
void check_number(const char *name, long got, long want);

/* An open connection with this application name and these command-line options, or the end of the program. */
PGconn *connect_as(const char *name, const char *options);
PGconn *connect_plain(void);

/* The first value of a query; its text carries its own identity, and the row must bring that back.
 * "(SQLSTATE)" for an error, "NULL" for null. `params` may be NULL. */
const char *one(PGconn *conn, const char *sql, int count, const char *const *params);
const char *ask(PGconn *conn, const char *sql);

/* The SQLSTATE that running this ends with, "no error" if none. */
const char *state_of(PGconn *conn, const char *sql);
const char *state_of_result(PGresult *result);

/* Runs SQL that must succeed, else counts a failure. */
void run(PGconn *conn, const char *sql);

/* The SQLSTATE of the result, which it frees. */
const char *state_and_clear(PGresult *result);

/* `size` digits in which no part repeats soon. */
char *big_text(size_t size);

void pause_a_moment(void);
double seconds(void);
int finish(void);

/* The sections that are in pipeline.c. */
void pipelines(void);
void portals_and_rows(void);

#endif
