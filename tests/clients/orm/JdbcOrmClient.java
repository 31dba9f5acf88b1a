// pgjdbc by hand (stack `jdbc`, autocommit) and with the texts and transactions of Hibernate 6 (stack `hibernate`;
// Hibernate itself is not packaged where this project's other tools come from).
import java.sql.*;
import java.util.*;
import java.util.concurrent.*;

public class JdbcOrmClient {
    static final int PAUSE = 120, POLL = 200;
    static final int[] ORGANIZATIONS = new int[20], SOURCES = new int[100];
    static String stack, host, user, password;
    static boolean hibernate;

    interface Scenario { void play(Connection c) throws Exception; }

    /** What both stacks ask, in their own words. */
    static String sql(String name) {
        return switch (name) {
            case "facilities" -> hibernate
                ? "select f1_0.id,f1_0.city,f1_0.name,f1_0.organization_id from facilities f1_0 order by f1_0.name fetch first ? rows only"
                : "SELECT id, name, city, organization_id FROM facilities ORDER BY name LIMIT ?";
            case "facilities_owned" -> hibernate
                ? "select f1_0.id,f1_0.city,f1_0.name,f1_0.organization_id from facilities f1_0 where f1_0.organization_id is not null order by f1_0.name fetch first ? rows only"
                : "SELECT id, name, city, organization_id FROM facilities WHERE organization_id IS NOT NULL ORDER BY name LIMIT ?";
            case "facilities_joined" -> hibernate
                ? "select f1_0.id,f1_0.city,f1_0.name,o1_0.id,o1_0.name,o1_0.region from facilities f1_0 left join organizations o1_0 on o1_0.id=f1_0.organization_id order by f1_0.name"
                : "SELECT f.id, f.name, o.id AS organization_id, o.name FROM facilities f LEFT JOIN organizations o ON o.id = f.organization_id ORDER BY f.name";
            case "organizations" -> hibernate
                ? "select o1_0.id,o1_0.name,o1_0.region from organizations o1_0 order by o1_0.name fetch first ? rows only"
                : "SELECT id, name, region FROM organizations ORDER BY name LIMIT ?";
            case "organizations_of" -> hibernate
                ? "select o1_0.id,o1_0.name,o1_0.region from organizations o1_0 where o1_0.region in (?,?) order by o1_0.name"
                : "SELECT id, name, region FROM organizations WHERE region IN (?, ?) ORDER BY name";
            case "organization" -> hibernate
                ? "select o1_0.id,o1_0.name,o1_0.region from organizations o1_0 where o1_0.id=?"
                : "SELECT id, name, region FROM organizations WHERE id = ?";
            case "facilities_by" -> hibernate
                ? "select f1_0.organization_id,f1_0.id,f1_0.city,f1_0.name from facilities f1_0 where f1_0.organization_id=?"
                : "SELECT id, name, city FROM facilities WHERE organization_id = ?";
            case "facility_count" -> hibernate
                ? "select count(f1_0.id) from facilities f1_0 where f1_0.organization_id=?"
                : "SELECT count(*) FROM facilities WHERE organization_id = ?";
            case "conversation_exists" -> hibernate
                ? "select c1_0.id from conversations c1_0 where c1_0.organization_id=? fetch first ? rows only"
                : "SELECT EXISTS (SELECT 1 FROM conversations WHERE organization_id = ? LIMIT ?)";
            case "conversation_count" -> hibernate
                ? "select count(*) from conversations c1_0 where c1_0.organization_id=?"
                : "SELECT count(*) FROM conversations WHERE organization_id = ?";
            case "conversations" -> hibernate
                ? "select c1_0.id,c1_0.organization_id,c1_0.title from conversations c1_0 order by c1_0.title fetch first ? rows only"
                : "SELECT id, title FROM conversations ORDER BY title LIMIT ?";
            case "conversation_first" -> hibernate
                ? "select c1_0.id,c1_0.organization_id,c1_0.title from conversations c1_0 where c1_0.organization_id=? order by c1_0.title fetch first ? rows only"
                : "SELECT id, title FROM conversations WHERE organization_id = ? ORDER BY title LIMIT ?";
            case "message_latest" -> hibernate
                ? "select m1_0.id,m1_0.author,m1_0.body,m1_0.conversation_id,m1_0.sent_at from messages m1_0 where m1_0.conversation_id=? order by m1_0.sent_at desc fetch first ? rows only"
                : "SELECT id, author, body, sent_at FROM messages WHERE conversation_id = ? ORDER BY sent_at DESC LIMIT ?";
            case "sources_by" -> hibernate
                ? "select s1_0.facility_id,s1_0.id,s1_0.kind,s1_0.name from emission_sources s1_0 where s1_0.facility_id=?"
                : "SELECT id, name, kind FROM emission_sources WHERE facility_id = ?";
            case "source_count" -> hibernate
                ? "select count(s1_0.id) from emission_sources s1_0 where s1_0.facility_id=?"
                : "SELECT count(*) FROM emission_sources WHERE facility_id = ?";
            case "source_last" -> hibernate
                ? "select s1_0.id,s1_0.facility_id,s1_0.kind,s1_0.name from emission_sources s1_0 where s1_0.facility_id=? order by s1_0.name desc fetch first ? rows only"
                : "SELECT id, name, kind FROM emission_sources WHERE facility_id = ? ORDER BY name DESC LIMIT ?";
            case "data_by" -> hibernate
                ? "select d1_0.emission_source_id,d1_0.id,d1_0.amount,d1_0.note,d1_0.year from emissions_data d1_0 where d1_0.emission_source_id=?"
                : "SELECT id, year, amount FROM emissions_data WHERE emission_source_id = ?";
            case "data_of_year" -> hibernate
                ? "select d1_0.id,d1_0.amount,d1_0.note,d1_0.emission_source_id,d1_0.year from emissions_data d1_0 where d1_0.year=? order by d1_0.id fetch first ? rows only"
                : "SELECT id, amount FROM emissions_data WHERE year = ? ORDER BY id LIMIT ?";
            case "data_count" -> hibernate
                ? "select count(*) from emissions_data d1_0 where d1_0.year=?"
                : "SELECT count(*) FROM emissions_data WHERE year = ?";
            case "data_note" -> hibernate
                ? "select d1_0.id from emissions_data d1_0 where d1_0.note=? fetch first ? rows only"
                : "SELECT id FROM emissions_data WHERE note = ? LIMIT ?";
            case "insert" -> hibernate
                ? "insert into emissions_data (amount,note,emission_source_id,year) values (?,?,?,?)"
                : "INSERT INTO emissions_data (amount, note, emission_source_id, year) VALUES (?, ?, ?, ?)";
            case "update" -> hibernate
                ? "update emissions_data set amount=?,note=?,year=? where id=?"
                : "UPDATE emissions_data SET amount = ?, note = ?, year = ? WHERE id = ?";
            case "message_count" -> hibernate
                ? "select count(*) from messages m1_0 where m1_0.author=?"
                : "SELECT count(*) FROM messages WHERE author = ?";
            case "messages_after" -> hibernate
                ? "select m1_0.id,m1_0.author,m1_0.body,m1_0.conversation_id,m1_0.sent_at from messages m1_0 where m1_0.id>? order by m1_0.id fetch first ? rows only"
                : "SELECT id, author, body FROM messages WHERE id > ? ORDER BY id LIMIT ?";
            case "messages_page" -> hibernate
                ? "select m1_0.id,m1_0.author,m1_0.body,m1_0.conversation_id,m1_0.sent_at from messages m1_0 order by m1_0.id offset ? rows fetch first ? rows only"
                : "SELECT id, author, body FROM messages ORDER BY id OFFSET ? LIMIT ?";
            case "messages_in" -> (hibernate
                ? "select m1_0.id,m1_0.author,m1_0.body,m1_0.conversation_id,m1_0.sent_at from messages m1_0 where m1_0.id in ("
                : "SELECT id, author, body FROM messages WHERE id IN (") + "?" + ",?".repeat(24) + ")";
            case "message_ids" -> hibernate
                ? "select m1_0.id from messages m1_0 order by m1_0.sent_at" : "SELECT id FROM messages ORDER BY sent_at";
            case "facilities_in" -> (hibernate
                ? "select f1_0.organization_id,f1_0.id,f1_0.city,f1_0.name from facilities f1_0 where f1_0.organization_id in ("
                : "SELECT id, name, organization_id FROM facilities WHERE organization_id IN (") + "?" + ",?".repeat(19) + ")";
            case "readings" -> hibernate
                ? "select r1_0.id,r1_0.meter_id,r1_0.person_id,r1_0.plant_id,r1_0.quantity from readings r1_0 order by r1_0.id fetch first ? rows only"
                : "SELECT id, plant_id, meter_id, person_id, quantity FROM readings ORDER BY id LIMIT ?";
            case "plant" -> hibernate
                ? "select p1_0.id,p1_0.name from plants p1_0 where p1_0.id=?" : "SELECT id, name FROM plants WHERE id = ?";
            case "meter" -> hibernate
                ? "select m1_0.id,m1_0.factor,m1_0.kind from meters m1_0 where m1_0.id=?"
                : "SELECT kind, factor FROM meters WHERE id = ?";
            case "person" -> hibernate
                ? "select p1_0.id,p1_0.email,p1_0.since from people p1_0 where p1_0.id=?"
                : "SELECT email, since FROM people WHERE id = ?";
            default -> throw new IllegalArgumentException(name);
        };
    }

    /** Runs a query and gives the column of this name, without NULLs. */
    static List<Object> ask(Connection c, String name, String column, Object... values) throws SQLException {
        List<Object> found = new ArrayList<>();
        try (PreparedStatement statement = c.prepareStatement(sql(name))) {
            for (int at = 0; at < values.length; at++) statement.setObject(at + 1, values[at]);
            try (ResultSet rows = statement.executeQuery()) {
                while (rows.next()) {
                    Object value = column == null ? rows.getObject(1) : rows.getObject(column);
                    if (value != null) found.add(value);
                }
            }
        }
        return found;
    }

    static void bind(PreparedStatement statement, int at, String note) throws SQLException {
        statement.setDouble(1, at * 0.5);
        statement.setString(2, stack + " " + note);
        statement.setInt(3, SOURCES[at % SOURCES.length]);
        statement.setInt(4, 2020 + at);
    }

    /** As an ORM inserts: with the generated key back. */
    static void insert(Connection c, int at, String note) throws SQLException {
        try (PreparedStatement statement = c.prepareStatement(sql("insert"), Statement.RETURN_GENERATED_KEYS)) {
            bind(statement, at, note);
            statement.executeUpdate();
            try (ResultSet keys = statement.getGeneratedKeys()) { keys.next(); }
        }
    }

    static void update(Connection c, Object id, double amount, String note) throws SQLException {
        try (PreparedStatement statement = c.prepareStatement(sql("update"))) {
            statement.setDouble(1, amount);
            statement.setString(2, note);
            statement.setInt(3, 2016);
            statement.setObject(4, id);
            statement.executeUpdate();
        }
    }

    /** Hibernate's session works in a transaction; plain JDBC commits each statement. */
    static void done(Connection c) throws SQLException {
        if (hibernate) c.commit();
    }

    static final Map<String, Scenario> SCENARIOS = new LinkedHashMap<>();
    static {
        for (int n = 1; n <= 20; n++) ORGANIZATIONS[n - 1] = 100 + n * 389 % 997;
        for (int n = 1; n <= 100; n++) SOURCES[n - 1] = 10000 + n * 1009 % 9973;
        loops();
        lookAlikes();
    }

    static void loops() {
        SCENARIOS.put("belongs_to", c -> {
            Set<Object> session = new HashSet<>();
            for (Object id : ask(c, "facilities", "organization_id", 30)) {
                // A session loads an entity once.
                if (!hibernate || session.add(id)) ask(c, "organization", null, id);
            }
        });
        SCENARIOS.put("has_many", c -> { for (Object id : ask(c, "organizations", "id", 50)) ask(c, "facilities_by", null, id); });
        SCENARIOS.put("count", c -> { for (Object id : ask(c, "organizations", "id", 50)) ask(c, "facility_count", null, id); });
        SCENARIOS.put("exists", c -> {
            for (Object id : ask(c, "organizations_of", "id", "north", "south")) ask(c, "conversation_exists", null, id, 1);
        });
        SCENARIOS.put("latest", c -> { for (Object id : ask(c, "conversations", "id", 25)) ask(c, "message_latest", null, id, 1); });
        SCENARIOS.put("nested", c -> {
            for (Object organization : ask(c, "organizations", "id", 8))
                for (Object facility : ask(c, "facilities_by", "id", organization))
                    for (Object source : ask(c, "sources_by", "id", facility)) ask(c, "data_by", null, source);
        });
        SCENARIOS.put("interleaved", c -> {
            List<Object[]> rows = new ArrayList<>();
            try (PreparedStatement statement = c.prepareStatement(sql("facilities_owned"))) {
                statement.setInt(1, 15);
                ResultSet found = statement.executeQuery();
                while (found.next()) rows.add(new Object[] {found.getObject("id"), found.getObject("organization_id")});
            }
            for (Object[] row : rows) {
                ask(c, "organization", null, row[1]);
                ask(c, "source_count", null, row[0]);
                ask(c, "source_last", null, row[0], 1);
            }
        });
        SCENARIOS.put("concurrent", c -> {
            CyclicBarrier barrier = new CyclicBarrier(16);
            ExecutorService pool = Executors.newFixedThreadPool(16);
            List<Future<?>> all = new ArrayList<>();
            String url = c.getMetaData().getURL();
            for (int at = 0; at < 16; at++) {
                int id = ORGANIZATIONS[at];
                all.add(pool.submit(() -> {
                    try (Connection own = DriverManager.getConnection(url, user, password)) {
                        barrier.await();
                        return ask(own, "conversation_first", null, id, 1);
                    }
                }));
            }
            for (Future<?> one : all) one.get();
            pool.shutdown();
        });
        SCENARIOS.put("redundant", c -> { for (int at = 0; at < 12; at++) ask(c, "organization", null, ORGANIZATIONS[5]); });
        SCENARIOS.put("write_autocommit", c -> { for (int at = 0; at < 12; at++) { insert(c, at, "" + at); done(c); } });
        SCENARIOS.put("write_transaction", c -> {
            c.setAutoCommit(false);
            for (int at = 0; at < 12; at++) insert(c, at, "" + at);
            c.commit();
        });
        SCENARIOS.put("update_loop", c -> {
            c.setAutoCommit(false);
            double amount = 1;
            for (Object id : ask(c, "data_of_year", "id", 2016, 15)) update(c, id, amount++, stack);
            c.commit();
        });
        SCENARIOS.put("unique_check", c -> {
            for (int at = 0; at < 12; at++)
                if (ask(c, "data_note", null, stack + " unique " + at, 1).isEmpty()) insert(c, at, "unique " + at);
        });
    }

    /** Answers that are compared: each record and what it refers to. */
    static void page(Connection c) throws SQLException {
        List<Object[]> readings = rows(c, "readings", new String[] {"id", "plant_id", "meter_id", "person_id", "quantity"}, 50);
        for (Object[] reading : readings) {
            Object[] plant = rows(c, "plant", new String[] {"name"}, reading[1]).get(0);
            Object[] meter = rows(c, "meter", new String[] {"kind", "factor"}, reading[2]).get(0);
            Object[] person = rows(c, "person", new String[] {"email", "since"}, reading[3]).get(0);
            System.out.println("row " + reading[0] + " " + plant[0] + " " + meter[0] + " " + meter[1] + " " + person[0] + " "
                + ((Timestamp) person[1]).toInstant() + " " + reading[4]);
        }
    }

    /** Runs a query and gives these columns of its rows. */
    static List<Object[]> rows(Connection c, String name, String[] columns, Object... values) throws SQLException {
        List<Object[]> found = new ArrayList<>();
        try (PreparedStatement statement = c.prepareStatement(sql(name))) {
            for (int at = 0; at < values.length; at++) statement.setObject(at + 1, values[at]);
            try (ResultSet rows = statement.executeQuery()) {
                while (rows.next()) {
                    Object[] row = new Object[columns.length];
                    for (int at = 0; at < columns.length; at++) row[at] = rows.getObject(columns[at]);
                    found.add(row);
                }
            }
        }
        return found;
    }

    static void lookAlikes() {
        SCENARIOS.put("page", JdbcOrmClient::page);
        SCENARIOS.put("ping", c -> { for (int at = 0; at < 30; at++) c.createStatement().executeQuery("SELECT 1").close(); });
        SCENARIOS.put("poller", c -> {
            for (int at = 0; at < 12; at++) { ask(c, "message_count", null, "ann"); done(c); Thread.sleep(POLL); }
        });
        SCENARIOS.put("create_requests", c -> {
            for (int at = 0; at < 8; at++) {
                if (ask(c, "data_note", null, stack + " request " + at, 1).isEmpty()) insert(c, at, "request " + at);
                done(c);
                Thread.sleep(PAUSE);
            }
        });
        SCENARIOS.put("keyset", c -> {
            Object last = 0L;
            for (int page = 0; page < 14; page++) {
                List<Object> ids = ask(c, "messages_after", "id", last, 10);
                last = ids.get(ids.size() - 1);
            }
        });
        SCENARIOS.put("offset", c -> { for (int page = 0; page < 14; page++) ask(c, "messages_page", null, page * 10, 10); });
        SCENARIOS.put("prefetch", c -> ask(c, "facilities_in", null, ask(c, "organizations", "id", 20).toArray()));
        SCENARIOS.put("chunks", c -> {
            List<Object> ids = ask(c, "message_ids", null);
            for (int at = 0; at + 25 <= ids.size(); at += 25) ask(c, "messages_in", null, ids.subList(at, at + 25).toArray());
        });
        SCENARIOS.put("executemany", c -> {
            c.setAutoCommit(false);
            try (PreparedStatement statement = c.prepareStatement(sql("insert"))) {
                for (int at = 0; at < 40; at++) { bind(statement, at, "many " + at); statement.addBatch(); }
                statement.executeBatch();
            }
            c.commit();
        });
        SCENARIOS.put("few", c -> { for (Object id : ask(c, "facilities_owned", "organization_id", 3)) ask(c, "organization", null, id); });
        SCENARIOS.put("constants", c -> { for (int year = 2015; year < 2019; year++) ask(c, "data_count", null, year); });
        SCENARIOS.put("independent", c -> {
            for (int at = 0; at < 12; at++) {
                ask(c, "organization", null, ORGANIZATIONS[at]);
                ask(c, "conversation_count", null, ORGANIZATIONS[at]);
                done(c);
                Thread.sleep(PAUSE);
            }
        });
        SCENARIOS.put("joins", c -> ask(c, "facilities_joined", null));
        SCENARIOS.put("handful", c -> {
            c.setAutoCommit(false);
            ask(c, "organization", null, ORGANIZATIONS[3]);
            ask(c, "facility_count", null, ORGANIZATIONS[3]);
            ask(c, "conversation_first", null, ORGANIZATIONS[3], 5);
            insert(c, 3, "handful");
            update(c, ask(c, "data_note", null, stack + " handful", 1).get(0), 4, stack + " changed");
            ask(c, "message_count", null, "bob");
            c.commit();
        });
    }

    public static void main(String[] arguments) throws Exception {
        java.net.URI uri = java.net.URI.create(arguments[0]);
        host = uri.getHost() + ":" + uri.getPort();
        String[] who = uri.getUserInfo().split(":");
        user = who[0];
        password = who[1];
        stack = arguments[1];
        hibernate = stack.equals("hibernate");
        boolean failed = false;
        List<String> names = arguments.length > 2 ? List.of(arguments).subList(2, arguments.length) : List.copyOf(SCENARIOS.keySet());
        for (String name : names) {
            String url = "jdbc:postgresql://" + host + "/" + stack + "__" + name + "?ApplicationName=orm/" + stack + "/" + name;
            try (Connection connection = DriverManager.getConnection(url, user, password)) {
                connection.setAutoCommit(!hibernate);
                SCENARIOS.get(name).play(connection);
                if (!connection.getAutoCommit()) connection.commit();
                System.out.println("done " + name);
            } catch (Exception failure) {
                failed = true;
                failure.printStackTrace();
                System.out.println("failed " + name);
            }
        }
        System.exit(failed ? 1 : 0);
    }
}
