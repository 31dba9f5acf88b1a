// pgjdbc: the common conversation, with server-prepared statements, binary transfer, batches, fetch sizes and COPY.
// It is launched as a single source file, so what the other languages keep in a shared file stands at the end.

import java.io.*;
import java.math.BigDecimal;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.sql.*;
import java.time.*;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.AtomicInteger;
import org.postgresql.*;
import org.postgresql.copy.*;
import org.postgresql.largeobject.*;
import org.postgresql.util.*;

public class PgjdbcClient {
    static final int CLIENTS = Integer.parseInt(System.getenv().getOrDefault("CLIENTS", "8"));
    static final int LOOKUPS = Integer.parseInt(System.getenv().getOrDefault("LOOKUPS", "50"));
    static final int MEGABYTE = 1 << 20, ROWS = 10_000;
    /** Milliseconds that anything asynchronous may take before it counts as lost. */
    static final long PATIENCE = 20_000;
    static final String HAIRY = "quote ' double \" backslash \\ dollar $1 percent %s umlaut äöü emoji 🐘 tab\tnewline\nend";
    static final long PID = ProcessHandle.current().pid(), KEY = PID * 1000;
    static final String S = "c_pgjdbc_" + PID;
    static String url;
    static int passed, failed;
    static final AtomicInteger ids = new AtomicInteger();

    public static void main(String[] args) throws Exception {
        System.setOut(new PrintStream(new FileOutputStream(FileDescriptor.out), true, StandardCharsets.UTF_8));
        if (args.length < 2 || !List.of("session", "transaction").contains(args[1])) {
            System.err.println("usage: PgjdbcClient URL session|transaction");
            System.exit(2);
        }
        URI u = new URI(args[0]);
        String[] who = u.getUserInfo().split(":", 2);
        url = "jdbc:postgresql://" + u.getHost() + ":" + u.getPort() + u.getPath() + "?user=" + who[0] + "&password=" + who[1] + "&assumeMinServerVersion=12";
        try (Connection c = open("")) { run(c, "create schema " + S); }
        section("types", PgjdbcClient::types);
        section("nulls", PgjdbcClient::nulls);
        section("big", PgjdbcClient::big);
        section("errors", PgjdbcClient::errors);
        section("transactions", PgjdbcClient::transactions);
        section("prepared", PgjdbcClient::prepared);
        section("pipeline", PgjdbcClient::pipeline);
        section("copy", PgjdbcClient::copy);
        section("cancel", PgjdbcClient::cancel);
        section("listen", PgjdbcClient::listen);
        section("settings", PgjdbcClient::settings);
        section("advisory", PgjdbcClient::advisory);
        section("temp", PgjdbcClient::temp);
        section("cursors", PgjdbcClient::cursors);
        section("many", PgjdbcClient::many);
        try (Connection c = open("")) { run(c, "drop schema " + S + " cascade"); }
        System.out.println(passed + " passed, " + failed + " failed");
        System.exit(failed == 0 ? 0 : 1);
    }

    static void types() throws Exception {
        byte[] all = allBytes();
        UUID uuid = UUID.fromString("01234567-89ab-cdef-0123-456789abcdef");
        OffsetDateTime stamp = OffsetDateTime.of(2024, 2, 29, 12, 34, 56, 789012000, ZoneOffset.UTC);
        Object[][] cases = {{"int2", -32768}, {"int4", 2147483647}, {"int8", Long.MIN_VALUE}, {"float8", 1.5}, {"bool", true},
            {"numeric", new BigDecimal("12345678901234567890.123456789")}, {"text", HAIRY}, {"uuid", uuid}, {"date", LocalDate.of(2, 1, 1)}};
        // -1 prepares and goes binary at once; 1 at the first reuse; 0 never.
        for (int threshold : new int[] {-1, 1, 0}) {
            try (Connection c = open("&prepareThreshold=" + threshold)) {
                for (Object[] each : cases) {
                    for (int n = 0; n < 2; n++) {
                        Object got = one(c, "select ?::" + each[0] + " as v", each[1]);
                        if (each[0].equals("date")) got = ((java.sql.Date) got).toLocalDate();
                        check("types." + each[0] + "." + threshold + "." + n, got, each[1]);
                    }
                }
                try (PreparedStatement s = c.prepareStatement("select ?::timestamptz, ?::bytea, ?::int4[], ?::text[], ?::jsonb")) {
                    s.setObject(1, stamp);
                    s.setBytes(2, all);
                    s.setArray(3, c.createArrayOf("int4", new Integer[] {1, null, -3}));
                    s.setArray(4, c.createArrayOf("text", new String[] {"a,b", "q\"uote", null, "", "NULL"}));
                    s.setString(5, "{\"a\": [1, {\"b\": null}]}");
                    ResultSet r = s.executeQuery();
                    r.next();
                    check("types.timestamptz." + threshold, r.getObject(1, OffsetDateTime.class), stamp);
                    check("types.bytea." + threshold, md5(r.getBytes(2)), md5(all));
                    check("types.int4[]." + threshold, Arrays.toString((Object[]) r.getArray(3).getArray()), "[1, null, -3]");
                    check("types.text[]." + threshold, Arrays.toString((Object[]) r.getArray(4).getArray()), "[a,b, q\"uote, null, , NULL]");
                    check("types.jsonb." + threshold, r.getString(5), "{\"a\": [1, {\"b\": null}]}");
                }
            }
        }
    }

    static void nulls() throws Exception {
        try (Connection c = open("&prepareThreshold=1")) {
            for (String kind : "int4 text numeric timestamptz uuid jsonb bytea int4[]".split(" ")) {
                check("nulls." + kind, ask(c, "select ?::" + kind + " as v, 7 as seven", (Object) null), Arrays.asList(null, 7));
            }
            check("nulls.empty_text", ask(c, "select ?::text as v, ?::text is null as n", "", ""), List.of("", false));
        }
    }

    static void big() throws Exception {
        try (Connection c = open("")) {
            for (int size : new int[] {MEGABYTE, 20 * MEGABYTE}) {
                String text = bigText(size);
                List<Object> row = ask(c, "select v, md5(v) from (select ?::text as v) w", text);
                check("big.text." + size, List.of(((String) row.get(0)).length(), md5(row.get(0)), row.get(1)), List.of(size, md5(text), md5(text)));
            }
            byte[] blob = new byte[MEGABYTE];
            for (int n = 0; n < blob.length; n++) blob[n] = (byte) n;
            check("big.bytea.1MB", md5(one(c, "select ?::bytea as v", (Object) blob)), md5(blob));
            try (ResultSet r = c.createStatement().executeQuery("select g, md5(g::text) from generate_series(1, 100000) g")) {
                long sum = 0, count = 0;
                String last = "";
                for (; r.next(); count++, last = r.getString(2)) sum += r.getLong(1);
                check("big.rows", List.of(count, sum, last), List.of(100000L, 5000050000L, md5("100000")));
            }
        }
    }

    static void errors() throws Exception {
        try (Connection c = open("")) {
            run(c, "create table " + S + ".strict (id int primary key, n int not null check (n > 0))");
            run(c, "insert into " + S + ".strict values (1, 1)");
            String insert = "insert into " + S + ".strict values (?, ?)";
            Object[][] cases = {{"syntax", "selec 1", "42601"}, {"table", "select * from no_such_table", "42P01"}, {"division", "select 1 / ?", "22012", 0},
                {"unique", insert, "23505", 1, 1}, {"not_null", insert, "23502", 2, null}, {"check", insert, "23514", 3, -1},
                {"multi", "select 1; select 1/0; select 2", "22012"}, {"mid_result", "select 1 / (? - g) from generate_series(1, 9999) g", "22012", 5000}};
            int n = 0;
            for (Object[] each : cases) {
                check("errors." + each[0], stateOf(c, (String) each[1], Arrays.copyOfRange(each, 3, each.length)), each[2]);
                check("errors." + each[0] + ".after", one(c, "select ?::int as v", ++n), n);
            }
            try {
                run(c, insert, 1, 1);
            } catch (PSQLException e) {
                ServerErrorMessage m = e.getServerErrorMessage();
                check("errors.fields", List.of(m.getConstraint(), m.getTable(), m.getDetail(), m.getSeverity()), List.of("strict_pkey", "strict", "Key (id)=(1) already exists.", "ERROR"));
            }
            c.setAutoCommit(false);
            check("errors.in_transaction", stateOf(c, "select 1/0"), "22012");
            check("errors.aborted", stateOf(c, "select 1"), "25P02");
            c.rollback();
            c.setAutoCommit(true);
            check("errors.aborted.after", one(c, "select 5 as v"), 5);
            try (Statement s = c.createStatement()) {
                s.execute("do $$ begin raise notice 'hello %', 42; end $$");
                check("errors.notice", s.getWarnings().getMessage(), "hello 42");
            }
        }
        // pgjdbc sets a savepoint before each statement and goes back to it after an error.
        try (Connection c = open("&autosave=always")) {
            c.setAutoCommit(false);
            check("errors.autosave", List.of(stateOf(c, "select 1/0"), one(c, "select 6 as v")), List.of("22012", 6));
            c.commit();
        }
    }

    static void transactions() throws Exception {
        try (Connection c = open(""); Connection other = open("")) {
            String insert = "insert into " + S + ".tx values (?)", count = "select count(*)::int as v from " + S + ".tx";
            run(c, "create table " + S + ".tx (n int)");
            c.setAutoCommit(false);
            run(c, insert, 1);
            check("tx.own_write", one(c, count), 1);
            check("tx.isolated", one(other, count), 0);
            c.commit();
            check("tx.commit", one(other, count), 1);
            run(c, insert, 2);
            c.rollback();
            check("tx.rollback", one(other, count), 1);
            run(c, insert, 3);
            Savepoint save = c.setSavepoint("mine");
            run(c, insert, 4);
            check("tx.error", stateOf(c, "select 1/0"), "22012");
            c.rollback(save);
            run(c, insert, 5);
            c.commit();
            check("tx.savepoint", one(other, "select array_agg(n order by n)::text as v from " + S + ".tx"), "{1,3,5}");
            // Outside a transaction this is SET SESSION CHARACTERISTICS, which must follow the client.
            c.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
            c.setReadOnly(true);
            for (int n = 0; n < 3; n++) {
                check("tx.serializable." + n, one(c, "select current_setting('transaction_isolation') as v"), "serializable");
                check("tx.other." + n, one(other, "select current_setting('transaction_isolation') as v"), "read committed");
                check("tx.read_only." + n, stateOf(c, insert, 6), "25006");
                c.rollback();
            }
            c.setReadOnly(false);
            run(c, insert, 7);
            c.commit();
            check("tx.writable_again", one(other, "select max(n) as v from " + S + ".tx"), 7);
        }
    }

    static void prepared() throws Exception {
        try (Connection c = open("&prepareThreshold=2&preparedStatementCacheQueries=4"); Connection other = open("&prepareThreshold=2")) {
            boolean right = true;
            for (int n = 0; n < 40; n++) {
                right &= ask(c, n, "select ?::int4 as n, ?::int4 * 2 as d", n, n).equals(List.of(n, 2 * n));
                right &= ask(other, n, "select ?::int4 as n, upper(?) as w", n, "w" + n).equals(List.of(n, "W" + n));
                for (int m = 0; m < 6; m++) right &= ask(c, n, "select ?::int4 as n, " + m + " as m", n).equals(List.of(n, m));
            }
            check("prepared.reused_and_evicted", right, true);
            run(c, "create table " + S + ".ddl (a int4)");
            run(c, "insert into " + S + ".ddl values (42)");
            try (PreparedStatement reader = c.prepareStatement("select a from " + S + ".ddl")) {
                for (int n = 0; n < 5; n++) check("prepared.before_ddl." + n, read(reader), "42");
                run(other, "alter table " + S + ".ddl add column b int");
                check("prepared.added_column", read(reader), "42");
                run(other, "alter table " + S + ".ddl alter column a type text using 'n0' || a");
                // pgjdbc prepares again by itself outside a transaction; inside one it must see the error or the right answer.
                check("prepared.changed_type", read(reader), "n042");
                check("prepared.kept", read(reader), "n042");
                for (int n = 0; n < 5; n++) read(reader);
                c.setAutoCommit(false);
                one(c, "select 1 as v");
                run(other, "alter table " + S + ".ddl alter column a type int using 43");
                String got;
                try { got = read(reader); } catch (SQLException e) { got = e.getSQLState(); }
                System.out.println("note: prepared.changed_type.in_transaction: " + got);
                check("prepared.changed_type.in_transaction", got.equals("0A000") || got.equals("43"), true);
                c.rollback();
                c.setAutoCommit(true);
                check("prepared.anew", read(reader), "43");
            }
            run(c, "prepare mine(int) as select $1 + 1 as v");
            check("prepared.sql", one0(c, "execute mine(1)"), 2);
            check("prepared.sql.other_client", stateOf(other, "execute mine(1)"), "26000");
            run(c, "deallocate mine");
            check("prepared.sql.gone", stateOf(c, "execute mine(1)"), "26000");
            run(c, "deallocate all");
            check("prepared.after_deallocate_all", one(c, "select ?::int as v", 5), 5);
        }
    }

    static void pipeline() throws Exception {
        for (boolean rewrite : new boolean[] {false, true}) {
            try (Connection c = open("&reWriteBatchedInserts=" + rewrite)) {
                String table = S + ".pipe_" + rewrite;
                run(c, "create table " + table + " (n int primary key, s text)");
                try (PreparedStatement s = c.prepareStatement("insert into " + table + " values (?, ?)")) {
                    for (int n = 0; n < 1000; n++) { s.setInt(1, n); s.setString(2, "row " + n); s.addBatch(); }
                    check("pipeline.batch." + rewrite, List.of(s.executeBatch().length, one(c, "select count(*) as v from " + table)), List.of(1000, 1000L));
                    for (int n : new int[] {5000, 5001, 3, 5002}) { s.setInt(1, n); s.setString(2, "x"); s.addBatch(); }
                    String got = "no error";
                    try { s.executeBatch(); } catch (BatchUpdateException e) { got = e.getSQLState(); }
                    check("pipeline.error." + rewrite, List.of(got, one(c, "select count(*) as v from " + table)), List.of("23505", 1000L));
                }
                try (PreparedStatement s = c.prepareStatement("insert into " + table + " values (?, 'g')", new String[] {"n"})) {
                    for (int n = 2000; n < 2050; n++) { s.setInt(1, n); s.addBatch(); }
                    s.executeBatch();
                    ResultSet keys = s.getGeneratedKeys();
                    int want = 2000;
                    while (keys.next() && keys.getInt(1) == want) want++;
                    check("pipeline.returning." + rewrite, want, 2050);
                }
            }
        }
    }

    static void copy() throws Exception {
        try (Connection c = open("")) {
            run(c, "create table " + S + ".copied (n int, s text)");
            CopyManager copier = c.unwrap(PGConnection.class).getCopyAPI();
            StringBuilder lines = new StringBuilder();
            for (int n = 0; n < ROWS; n++) lines.append(n).append('\t').append(n % 10 == 0 ? "\\N" : "row " + n).append('\n');
            String in = "copy " + S + ".copied from stdin", count = "select count(*)::int as v from " + S + ".copied";
            check("copy.in", copier.copyIn(in, new StringReader(lines.toString())), (long) ROWS);
            StringWriter out = new StringWriter();
            check("copy.out", List.of(copier.copyOut("copy (select * from " + S + ".copied order by n) to stdout", out), md5(out.toString())), List.of((long) ROWS, md5(lines.toString())));
            for (String[] each : new String[][] {{"bad", "x\ty\n", "22P02"}, {"short", "1\n", "22P04"}}) {
                String got = "no error";
                try { copier.copyIn(in, new StringReader(each[1])); } catch (SQLException e) { got = e.getSQLState(); }
                check("copy." + each[0], got, each[2]);
            }
            CopyIn sink = copier.copyIn(in);
            byte[] line = "1\tx\n".getBytes(StandardCharsets.UTF_8);
            sink.writeToCopy(line, 0, line.length);
            sink.cancelCopy();
            check("copy.aborted", one(c, count), ROWS);
        }
    }

    static void untilAsleep(String marker) throws Exception {
        try (Connection watcher = open("")) {
            long end = System.currentTimeMillis() + PATIENCE;
            while ((int) one(watcher, "select count(*)::int as v from pg_stat_activity where wait_event = 'PgSleep' and query like ?", "%" + marker + "%") == 0) {
                if (System.currentTimeMillis() > end) throw new TimeoutException("the query to be cancelled never started");
                Thread.sleep(20);
            }
        }
    }

    static void cancel() throws Exception {
        try (Connection c = open("")) {
            for (int round = 0; round < 3; round++) {
                String marker = S + "_sleep_" + round, got = "no error";
                try (Statement s = c.createStatement()) {
                    Future<?> waker = CompletableFuture.runAsync(() -> {
                        try { untilAsleep(marker); s.cancel(); } catch (Exception e) { throw new CompletionException(e); }
                    });
                    try { s.execute("select pg_sleep(60) /* " + marker + " */"); } catch (SQLException e) { got = e.getSQLState(); }
                    waker.get();
                }
                check("cancel." + round, List.of(got, one(c, "select ?::int as v", round)), List.of("57014", round));
            }
            String got = "no error";
            try (Statement s = c.createStatement()) {
                s.setQueryTimeout(1);
                s.execute("select pg_sleep(60)");
            } catch (SQLException e) { got = e.getSQLState(); }
            check("cancel.timeout", List.of(got, one(c, "select 4 as v")), List.of("57014", 4));
        }
    }

    static List<String> heard(Connection c, int count, int patience) throws Exception {
        List<String> got = new ArrayList<>();
        for (long end = System.currentTimeMillis() + patience; got.size() < count && System.currentTimeMillis() < end;) {
            PGNotification[] news = c.unwrap(PGConnection.class).getNotifications(100);
            if (news != null) for (PGNotification n : news) got.add(n.getParameter());
        }
        return got;
    }

    static void listen() throws Exception {
        try (Connection c = open(""); Connection other = open("")) {
            String channel = S + "_news";
            run(c, "listen " + channel);
            for (int n = 0; n < 3; n++) run(other, "select pg_notify(?, ?)", channel, "message " + n + " ü");
            check("listen.from_other", heard(c, 3, (int) PATIENCE), List.of("message 0 ü", "message 1 ü", "message 2 ü"));
            run(c, "notify " + channel + ", 'from myself'");
            check("listen.from_self", heard(c, 1, (int) PATIENCE), List.of("from myself"));
            check("listen.still_usable", one(c, "select 3 as v"), 3);
            run(c, "unlisten *");
            run(other, "notify " + channel + ", 'nobody listens'");
            check("listen.unlisten", heard(c, 1, 300), List.of());
        }
    }

    static void settings() throws Exception {
        String noon = "select timestamptz '2024-01-01 00:00:00Z'::text as v", show = "select current_setting('application_name') as v";
        String zone = "select current_setting('TimeZone') as v", limit = "select current_setting('statement_timeout') as v";
        Object initial;
        try (Connection c = open("&options=-c%20statement_timeout=54321"); Connection other = open("&ApplicationName=other")) {
            initial = one(other, zone);
            run(c, "set TimeZone = 'Asia/Tokyo'");
            c.setSchema(S);
            run(c, "create table found as select 9 as n");
            for (int n = 0; n < 5; n++) {
                check("settings.kept." + n, List.of(one(c, noon), one(c, "select n from found"), one(other, zone).equals(initial)), List.of("2024-01-01 09:00:00+09", 9, true));
            }
            check("settings.search_path.other", stateOf(other, "select n from found"), "42P01");
            c.setAutoCommit(false);
            run(c, "set local TimeZone = 'America/New_York'");
            run(c, "set application_name = 'rolled back'");
            check("settings.local", List.of(one(c, noon), one(c, show)), List.of("2023-12-31 19:00:00-05", "rolled back"));
            c.rollback();
            check("settings.rolled_back", List.of(one(c, noon), one(c, show)), List.of("2024-01-01 09:00:00+09", "pgweir-clients"));
            c.rollback();
            c.setAutoCommit(true);
            c.setClientInfo("ApplicationName", "by driver");
            check("settings.client_info", List.of(one(c, show), one(other, show)), List.of("by driver", "other"));
            one(c, "select set_config('application_name', ?, false) as v", "by function");
            check("settings.set_config", List.of(one(c, show), one(other, show)), List.of("by function", "other"));
            check("settings.options", one(c, limit), "54321ms");
            run(c, "set statement_timeout = 0");
            run(c, "reset all");
            check("settings.reset_all", List.of(one(c, show), one(c, limit), one(c, zone).equals(initial)), List.of("pgweir-clients", "54321ms", true));
        }
        try (Connection c = open("")) { check("settings.no_leak", List.of(one(c, show), one(c, zone).equals(initial)), List.of("pgweir-clients", true)); }
    }

    static void advisory() throws Exception {
        String attempt = "select pg_try_advisory_lock(?) as v", unlock = "select pg_advisory_unlock(?) as v";
        try (Connection other = open("")) {
            try (Connection c = open("")) {
                run(c, "select pg_advisory_lock(?)", KEY);
                check("advisory.held", List.of(one(other, attempt, KEY), one(other, attempt, KEY)), List.of(false, false));
                check("advisory.unlock", one(c, unlock, KEY), true);
                check("advisory.free", List.of(one(other, attempt, KEY), one(other, unlock, KEY)), List.of(true, true));
                run(c, "select pg_advisory_lock(?)", KEY);
            }
            Object free = false;
            for (long end = System.currentTimeMillis() + PATIENCE; free.equals(false) && System.currentTimeMillis() < end; Thread.sleep(20)) free = one(other, attempt, KEY);
            check("advisory.released_by_close", free, true);
        }
    }

    static void temp() throws Exception {
        String exists = "select to_regclass('pg_temp.scratch') is not null as v";
        try (Connection other = open("")) {
            try (Connection c = open("")) {
                run(c, "create temp table scratch (n int)");
                for (int n = 0; n < 5; n++) {
                    run(c, "insert into scratch values (?)", n);
                    check("temp.kept." + n, List.of(one(c, "select count(*)::int as v from scratch"), one(other, exists)), List.of(n + 1, false));
                }
            }
            try (Connection again = open("")) { check("temp.gone", List.of(one(again, exists), one(other, exists)), List.of(false, false)); }
        }
    }

    static void cursors() throws Exception {
        try (Connection c = open("&prepareThreshold=1"); Connection other = open("")) {
            run(c, "begin; declare held cursor with hold for select g from generate_series(1, 10) g; commit");
            List<Integer> got = new ArrayList<>();
            for (int n = 0; n < 3; n++) {
                try (ResultSet r = c.createStatement().executeQuery("fetch 4 from held")) { while (r.next()) got.add(r.getInt(1)); }
                one(other, "select 1 as v");
            }
            check("cursors.with_hold", got, List.of(1, 2, 3, 4, 5, 6, 7, 8, 9, 10));
            run(c, "close held");
            c.setAutoCommit(false);
            // Two portals read in turns: Execute with a row limit, PortalSuspended, Sync in between, and on it goes.
            try (PreparedStatement a = c.prepareStatement("select g, md5(g::text) from generate_series(1, ?) g"); PreparedStatement b = c.prepareStatement("select -g from generate_series(1, ?) g")) {
                a.setFetchSize(10);
                b.setFetchSize(7);
                a.setInt(1, 500);
                b.setInt(1, 500);
                ResultSet ra = a.executeQuery(), rb = b.executeQuery();
                int right = 0;
                while (ra.next() && rb.next()) if (md5(ra.getString(1)).equals(ra.getString(2)) && ra.getInt(1) == -rb.getInt(1)) right++;
                check("cursors.portals", right, 500);
            }
            c.commit();
            LargeObjectManager objects = c.unwrap(PGConnection.class).getLargeObjectAPI(); // Speaks the fastpath FunctionCall.
            long oid = objects.createLO();
            byte[] all = allBytes();
            try (LargeObject lo = objects.open(oid, LargeObjectManager.WRITE)) { for (int n = 0; n < 100; n++) lo.write(all); }
            try (LargeObject lo = objects.open(oid, LargeObjectManager.READ)) { check("cursors.large_object", List.of(lo.size(), md5(lo.read(256))), List.of(25600, md5(all))); }
            objects.delete(oid);
            c.commit();
        }
    }

    static void many() throws Exception {
        try (Connection c = open("")) {
            run(c, "create table " + S + ".lookup as select c * 1000 + n as id, format('owner %s/%s', c, n) as owner from generate_series(0, " + (CLIENTS - 1) + ") c, generate_series(0, " + (LOOKUPS - 1) + ") n");
        }
        ExecutorService crowd = Executors.newFixedThreadPool(CLIENTS);
        List<Future<Integer>> all = new ArrayList<>();
        for (int client = 0; client < CLIENTS; client++) {
            int me = client;
            all.add(crowd.submit(() -> {
                int right = 0;
                try (Connection c = open("&ApplicationName=client" + me)) {
                    for (int n = 0; n < LOOKUPS; n++) {
                        List<Object> row = ask(c, me, "select ?::int, ?::int, current_setting('application_name'), owner from " + S + ".lookup where id = ?", me, n, me * 1000 + n);
                        if (row.equals(List.of(me, n, "client" + me, "owner " + me + "/" + n))) right++;
                    }
                }
                return right;
            }));
        }
        int right = 0;
        for (Future<Integer> each : all) right += each.get();
        crowd.shutdown();
        check("many.lookups", right, CLIENTS * LOOKUPS);
    }

    // What follows is the small toolbox: connections, queries that carry their identity, the transcript.

    interface Section { void run() throws Exception; }

    static void section(String name, Section section) {
        try {
            section.run();
        } catch (Throwable e) {
            failed++;
            System.out.println("not ok " + name + ": " + e);
            e.printStackTrace(System.out);
        }
    }

    static synchronized void check(String name, Object got, Object want) {
        boolean same = Objects.equals(got, want);
        System.out.println("result: " + name + " = " + String.valueOf(got).replace("\n", "\\n"));
        System.out.println((same ? "ok " : "not ok ") + name + (same ? "" : ": got " + got + ", want " + want));
        if (same) passed++; else failed++;
    }

    static Connection open(String more) throws SQLException {
        return DriverManager.getConnection(url + (more.contains("ApplicationName") ? "" : "&ApplicationName=pgweir-clients") + more);
    }

    static void run(Connection c, String sql, Object... values) throws SQLException {
        try (PreparedStatement s = c.prepareStatement(sql)) {
            for (int n = 0; n < values.length; n++) s.setObject(n + 1, values[n], values[n] == null ? Types.INTEGER : values[n] instanceof Long ? Types.BIGINT : values[n] instanceof Integer ? Types.INTEGER : Types.VARCHAR);
            for (s.execute(); s.getMoreResults() || s.getUpdateCount() != -1;) { }
        }
    }

    static String stateOf(Connection c, String sql, Object... values) {
        try { run(c, sql, values); } catch (SQLException e) { return e.getSQLState(); }
        return "no error";
    }

    static List<Object> rowOf(PreparedStatement s, Object... values) throws SQLException {
        for (int n = 0; n < values.length; n++) {
            if (values[n] instanceof byte[] bytes) s.setBytes(n + 1, bytes);
            else if (values[n] == null) s.setNull(n + 1, Types.OTHER);
            else s.setObject(n + 1, values[n]);
        }
        try (ResultSet r = s.executeQuery()) {
            List<Object> row = new ArrayList<>();
            if (r.next()) for (int n = 1; n <= r.getMetaData().getColumnCount(); n++) row.add(r.getObject(n));
            return row;
        }
    }

    /** The first row of a query whose text carries its identity; another query's row ends the section. */
    static List<Object> ask(Connection c, String sql, Object... values) throws SQLException {
        int id = ids.incrementAndGet();
        try (PreparedStatement s = c.prepareStatement("select " + id + " as qid, q.* from (" + sql + ") q")) {
            List<Object> row = rowOf(s, values);
            if (!row.get(0).equals(id)) throw new IllegalStateException("query " + id + " was given the answer of query " + row.get(0));
            return row.subList(1, row.size());
        }
    }

    /** The first row of a query kept as it is (so that it is prepared once), whose first column must be `id`, or which has none. */
    static List<Object> ask(Connection c, int id, String sql, Object... values) throws SQLException {
        try (PreparedStatement s = c.prepareStatement(sql)) {
            List<Object> row = rowOf(s, values);
            if (!row.get(0).equals(id)) throw new IllegalStateException("query " + id + " was given the answer of query " + row.get(0));
            return row;
        }
    }

    static Object one(Connection c, String sql, Object... values) throws SQLException { return ask(c, sql, values).get(0); }

    static Object one0(Connection c, String sql) throws SQLException {
        try (PreparedStatement s = c.prepareStatement(sql)) { return rowOf(s).get(0); }
    }

    static String read(PreparedStatement s) throws SQLException {
        try (ResultSet r = s.executeQuery()) { r.next(); return r.getString(1); }
    }

    static byte[] allBytes() {
        byte[] all = new byte[256];
        for (int n = 0; n < 256; n++) all[n] = (byte) n;
        return all;
    }

    static String bigText(int size) {
        StringBuilder text = new StringBuilder(size + 9);
        for (int n = 1_000_000_000; text.length() < size; n++) text.append(Integer.toString(n), 1, 10);
        text.setLength(size);
        return text.toString();
    }

    static String md5(Object data) throws Exception {
        byte[] bytes = data instanceof byte[] raw ? raw : data.toString().getBytes(StandardCharsets.UTF_8);
        StringBuilder hex = new StringBuilder();
        for (byte b : MessageDigest.getInstance("MD5").digest(bytes)) hex.append(String.format("%02x", b));
        return hex.toString();
    }
}
