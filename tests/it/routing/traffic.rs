//! Narrowed on the way: through a running pgweir, by simple queries and by a driver's prepared statements. What the
//! server was sent is what it says of itself.

use pgweir::route::calendar;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::judge::now;
use crate::cluster::{TestDatabase, batch, connect};
use crate::support::{Weir, plain, wait_for};

/// The statement's own text, as the server has it.
const SENT: &str = "select (select query from pg_stat_activity where pid = pg_backend_pid()), count(*)";

pub fn fill(database: &TestDatabase) {
    let partition = "do $$ begin for n in 0..119 loop execute format('create table m_%s partition of m \
        for values from (%L) to (%L)', n, timestamptz '2024-01-01+00' + n * interval '24 hours', \
        timestamptz '2024-01-02+00' + n * interval '24 hours'); end loop; end $$";
    batch(
        &database.url(),
        &[
            "create table m (id bigint, at timestamptz, tenant int, primary key (id, at)) partition by range (at)",
            "set timezone = 'UTC'",
            partition,
            "insert into m select n, timestamptz '2024-01-01+00' + n * interval '1 hour', n % 5 \
             from generate_series(0, 2879) n",
            "create table k (id bigint, at timestamptz) partition by range (at)",
            "create table k_1 partition of k for values from ('2024-01-01') to ('2024-03-01')",
            "create table k_2 partition of k for values from ('2024-03-01') to ('2024-06-01')",
            "insert into k select id, at from m where tenant = 1",
            "analyze m",
        ],
    );
}

struct Town {
    database: TestDatabase,
    weir: Weir,
    runtime: tokio::runtime::Runtime,
}

impl Town {
    fn new(subject: &str) -> Town {
        let database = TestDatabase::new(subject);
        fill(&database);
        let weir = Weir::start(&plain(&database, "max_size: 2", ""));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Town { database, weir, runtime }
    }

    fn client(&self) -> Client {
        self.runtime.block_on(connect(&self.weir.url(&self.database.name)))
    }

    /// The sent text and the count of a simple query.
    fn ask(&self, client: &Client, text: &str) -> (String, String) {
        let messages =
            self.runtime.block_on(client.simple_query(text)).unwrap_or_else(|e| panic!("{text}: {e}"));
        let row = messages.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((row.get(0).unwrap().to_owned(), row.get(1).unwrap().to_owned()))
            }
            _ => None,
        });
        row.unwrap()
    }

    /// Waits until tables are routed.
    fn wait(&self, client: &Client) {
        wait_for("statements are narrowed", || {
            self.ask(client, &format!("{SENT} from m where at::date = '2024-02-01'")).0.contains("AND at >= ")
        });
    }

    fn execute(&self, client: &Client, text: &str) {
        self.runtime.block_on(client.batch_execute(text)).unwrap();
    }
}

#[test]
fn simple_queries_are_narrowed() {
    let town = Town::new("narrow_simple");
    let client = town.client();
    town.execute(&client, "set timezone = 'UTC'");
    town.wait(&client);
    let day = format!("{SENT} from m where date_trunc('day', at) = '2024-02-01'");
    let bounds =
        |from: &str, to: &str| format!(" AND at >= '{from}+00'::timestamptz AND at < '{to}+00'::timestamptz");
    let utc = bounds("2024-02-01 00:00:00", "2024-02-02 00:00:00");
    assert_eq!(town.ask(&client, &day), (format!("{day}{utc}"), "24".to_owned()));
    // The zone is that of the session, and of the transaction.
    town.execute(&client, "set timezone = 'Asia/Tokyo'");
    let (tokyo, count) = town.ask(&client, &day);
    assert!(tokyo.contains("AND at >= '2024-01-3") && count == "24", "{tokyo}");
    town.execute(&client, "set timezone = 'UTC'; begin; set local timezone = 'Asia/Tokyo'");
    assert_eq!(town.ask(&client, &day).1, "24");
    town.execute(&client, "commit");
    assert_eq!(town.ask(&client, &day).0, format!("{day}{utc}"));
    // now() is that of the transaction.
    town.execute(&client, "begin");
    let (recent, _) = town.ask(&client, &format!("{SENT} from m where at > now() - interval '1 day'"));
    let from = recent.split("at >= '").nth(1).and_then(|rest| rest.get(..19)).unwrap();
    let behind = now() - calendar::read(from).unwrap().at - calendar::DAY;
    assert!((600_000_000..660_000_000).contains(&behind), "{behind} µs: {recent}");
    town.execute(&client, "commit");
    // Several statements in one text are left as they are.
    let (several, _) = town.ask(&client, &format!("{day}; select 1"));
    assert!(!several.contains("AND at"), "{several}");
    // So is one on a temporary table of the name.
    town.execute(&client, "create temp table m as select 1 as id, '2024-02-01'::text as at");
    let (shadowed, count) = town.ask(&client, &format!("{SENT} from m where at::date = '2024-02-01'"));
    assert!(!shadowed.contains("AND at") && count == "1", "{shadowed}");
    town.execute(&client, "discard temp");
}

#[test]
fn errors_point_into_the_text_of_the_client() {
    let town = Town::new("narrow_errors");
    let client = town.client();
    town.wait(&client);
    let wrong = "select id from m where at::date = '2024-02-01' or date(at) = '2024-02-02' order by nothing";
    let position = |client: &Client| {
        let error = town.runtime.block_on(client.simple_query(wrong)).unwrap_err();
        match error.as_db_error().unwrap().position() {
            Some(tokio_postgres::error::ErrorPosition::Original(position)) => *position as usize,
            _ => 0,
        }
    };
    assert_eq!(position(&client), wrong.find("nothing").unwrap() + 1);
    let direct = town.runtime.block_on(connect(&town.database.url()));
    assert_eq!(position(&direct), position(&client));
}

#[test]
fn prepared_statements_are_narrowed_at_each_bind() {
    let town = Town::new("narrow_prepared");
    let client = town.client();
    town.execute(&client, "set timezone = 'UTC'");
    town.wait(&client);
    let text = format!("{SENT} from m where date_trunc('day', at) = $1::text::timestamptz and tenant < $2");
    let rt = &town.runtime;
    let statement = rt.block_on(client.prepare(&text)).unwrap();
    assert_eq!(statement.params().len(), 2, "the added parameters are not told");
    let run = |day: &str| {
        let row = rt.block_on(client.query_one(&statement, &[&day, &9_i32])).unwrap();
        (row.get::<_, String>(0), row.get::<_, i64>(1))
    };
    for day in ["2024-02-01", "2024-03-05", "2024-03-05", "2024-01-01 00:00+00", "1999-01-01"] {
        let (sent, count) = run(day);
        assert_eq!(sent, format!("{text} AND at >= $3::timestamptz AND at <= $4::timestamptz"));
        assert_eq!(count, if day.starts_with("1999") { 0 } else { 24 }, "{day}");
    }
    // A value that is not understood brings no bounds, and a wrong one the server's own error.
    assert_eq!(run("1 February 2024").1, 24);
    let refused = rt.block_on(client.query_one(&statement, &[&"nonsense", &9_i32])).unwrap_err();
    assert_eq!(refused.code().unwrap().code(), "22007");
    // The zone changes between two executions of one statement.
    town.execute(&client, "set timezone = 'America/Havana'");
    assert_eq!(run("2024-02-01").1, 24);
    town.execute(&client, "set timezone = 'UTC'");
    // By parameters of every kind that drivers send in binary form.
    let recent = format!("{SENT} from m where at > now() - make_interval(days => $1)");
    assert!(
        !rt.block_on(client.query_one(&recent, &[&10_000_i32]))
            .unwrap()
            .get::<_, String>(0)
            .contains("AND at")
    );
    let keyset = format!("{SENT} from m where (at, id) > ($1, $2)");
    let from = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_709_251_200);
    let row = rt.block_on(client.query_one(&keyset, &[&from, &1_440_i64])).unwrap();
    assert_eq!(row.get::<_, String>(0), format!("{keyset} AND at >= $3::timestamptz"));
    assert_eq!(row.get::<_, i64>(1), 1_439);
    // A change of the schema, of which the router learns later.
    town.execute(&client, "alter table m add column more int");
    assert_eq!(run("2024-02-01").1, 24);
}

#[test]
fn explain_shows_what_is_added() {
    let town = Town::new("narrow_explain");
    let explain = |sql: &str| {
        let command = std::process::Command::new(env!("CARGO_BIN_EXE_pgweir"))
            .args(["explain", "--database-url", &town.database.url(), sql])
            .output()
            .unwrap();
        assert!(command.status.success(), "{}", String::from_utf8_lossy(&command.stderr));
        let text = String::from_utf8(command.stdout).unwrap();
        text.lines().find(|line| line.contains("time ranges")).unwrap().to_owned()
    };
    let shown = explain("select * from m where at::date = '2024-02-01' order by id");
    for part in
        ["narrowed in time zone", "public.m: at from 20", "implied by at::date = '2024-02-01'", "AND at >= '"]
    {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let page = explain("select id from m order by at desc limit 7");
    for part in
        ["implied by order by at desc limit 7", "WHERE at >= '2024-04-28 00:00:00+00'", "unless 7 rows come"]
    {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(explain("select * from m where id = 7").contains("forwarded unchanged: no condition"));
    assert!(explain("select * from m where at::date = $1").contains("narrowed at each Bind"));
}
