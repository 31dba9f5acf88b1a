import java.math.BigDecimal;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.Timestamp;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * executeBatch of 200 rows by pgjdbc, target by target in turns: medians in milliseconds, with autocommit and in a
 * transaction. The table is made by batches.sql.
 *
 * <pre>java -cp postgresql.jar Batches.java direct=jdbc:postgresql://… pgbouncer=jdbc:…&amp;prepareThreshold=0 pgweir=jdbc:…</pre>
 */
public class Batches {
    static final int ROWS = 200;
    static final int TURNS = 3;
    /** The first rounds teach pgweir the statement, and the virtual machine its work; they are not counted. */
    static final int WARM = 60;
    static final int COUNTED = 100;

    static void measure(String url, boolean transaction, List<Double> times) throws Exception {
        try (Connection connection = DriverManager.getConnection(url)) {
            connection.setAutoCommit(!transaction);
            String insert = "INSERT INTO batches (a, b, c, d) VALUES (?, ?, ?, ?)";
            try (PreparedStatement statement = connection.prepareStatement(insert)) {
                for (int round = 0; round < WARM + COUNTED; round++) {
                    for (int row = 0; row < ROWS; row++) {
                        statement.setInt(1, row);
                        statement.setString(2, "name " + row);
                        statement.setBigDecimal(3, new BigDecimal("1.5"));
                        statement.setTimestamp(4, new Timestamp(1000L * row));
                        statement.addBatch();
                    }
                    long begun = System.nanoTime();
                    statement.executeBatch();
                    if (transaction) {
                        connection.commit();
                    }
                    if (round >= WARM) {
                        times.add((System.nanoTime() - begun) / 1e6);
                    } else if (round == WARM / 2) {
                        Thread.sleep(500);
                    }
                }
            }
        }
    }

    public static void main(String[] targets) throws Exception {
        for (boolean transaction : new boolean[] {false, true}) {
            Map<String, List<Double>> times = new LinkedHashMap<>();
            for (int turn = 0; turn < TURNS; turn++) {
                for (String target : targets) {
                    String[] parts = target.split("=", 2);
                    List<Double> of = times.computeIfAbsent(parts[0], name -> new ArrayList<>());
                    measure(parts[1], transaction, of);
                }
            }
            for (Map.Entry<String, List<Double>> entry : times.entrySet()) {
                List<Double> of = entry.getValue();
                Collections.sort(of);
                String mode = transaction ? "in a transaction" : "autocommit";
                System.out.printf("pgjdbc, %-17s %-10s %7.2f ms%n", mode, entry.getKey(), of.get(of.size() / 2));
            }
        }
    }
}
