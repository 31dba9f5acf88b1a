//! Look-ups by an id on a table whose closed partitions have checks: the rows are those of the server, and partitions
//! that cannot hold the id are neither planned nor locked.

use std::net::SocketAddr;

use super::dice::Dice;
use crate::cluster::{APP_PASSWORD, APP_USER, TestDatabase, batch, shared};
use crate::rawclient::{Raw, bound, query};
use crate::support::{Weir, plain, wait_for};

fn locks(client: &mut Raw, text: &str) -> u32 {
    client.query("begin");
    client.query(text);
    let locks = client.query(
        "select count(*) from pg_locks join pg_class c on c.oid = relation where pid = pg_backend_pid() \
         and relname ~ '^z_[0-9]+$'",
    );
    client.query("rollback");
    locks.value().parse().unwrap()
}

#[test]
fn look_ups_leave_out_partitions_whose_checks_exclude_them() {
    let database = TestDatabase::new("around");
    batch(
        &database.url(),
        &[
            "set timezone = 'UTC'",
            "create table z (id bigint, ts timestamptz, n int, v text, primary key (id, ts)) partition by range (ts)",
            // Sixty days; ids overlap a little, the last four days are open, and day 30 has no check.
            "do $$ begin for n in 0..59 loop \
             execute format('create table z_%s partition of z for values from (%L) to (%L)', n, date '2024-01-01' + n, \
                 date '2024-01-02' + n); \
             execute format('insert into z select %s * 100 + k, timestamptz ''2024-01-01'' + %s * interval ''1 day'' \
                 + k * interval ''10 min'', %s, md5(k::text) from generate_series(0, 120) k', n, n, n); \
             if n < 56 and n <> 30 then execute format('alter table z_%s add check (id >= %s and id <= %s)', n, n * 100, \
                 n * 100 + 120); end if; end loop; end $$",
            "create table y (id bigint, ts timestamptz)",
            "insert into y select id, ts from z where id % 7 = 0",
            "analyze",
        ],
    );
    let weir = Weir::start(&plain(&database, "max_size: 2", ""));
    let address = SocketAddr::from(([127, 0, 0, 1], shared().port()));
    let mut direct = Raw::connect(address).login(APP_USER, APP_PASSWORD, database.name()).unwrap();
    let mut through = weir.login(database.name());
    wait_for("look-ups are narrowed", || locks(&mut through, "select v from z where id = 1234") < 20);
    for (text, most) in [
        // What has no check is always asked, and what is left out are two runs of partitions.
        ("select v from z where id = 510", 11),
        ("select v from z where id in (1010, 1050) and n = 10", 16),
        ("select v from z x where x.id = 2050", 26),
        ("select x.v from z x join y on y.id = x.id and y.ts = x.ts where x.id = 2100", 27),
        ("update z set v = 'x' where id = 77", 6),
        ("select v from z where id between 5000 and 5020", 32),
        ("select v from z where id > 5700", 6),
    ] {
        let locked = locks(&mut through, text);
        assert!(locked <= most, "{text}: {locked}");
    }
    for whole in ["select v from z where id <> 5", "select v from z left join y using (id) where z.id = 5"] {
        assert_eq!(locks(&mut through, whole), 60, "{whole}");
    }
    // The same rows, whatever is asked.
    let seed = rand::random::<u64>();
    let mut dice = Dice(seed);
    for case in 0..400 {
        let (one, other) = (dice.below(6_300) as i64 - 100, dice.below(6_300) as i64 - 100);
        let (low, high) = (one.min(other), one.max(other));
        let text = match dice.below(6) {
            0 => format!("select id, ts from z where id = {one} order by ts"),
            1 => format!("select id, ts from z where id in ({one}, {other}) order by id, ts"),
            2 => format!("select count(*) from z where id between {low} and {high}"),
            3 => format!("select id, ts from z where {low} < id and z.id <= {} order by id, ts", low + 150),
            4 => format!(
                "select a.id, b.ts from z a, z b where a.id = {one} and b.id = a.id and b.id = {one} order by 2"
            ),
            _ => format!("select id, n from z where (id = {one} or n = 3) and id < {high} order by id, n"),
        };
        let (expected, found) = (direct.query(&text), through.query(&text));
        assert_eq!(format!("{expected:?}"), format!("{found:?}"), "seed {seed}, case {case}: {text}");
        let text = "select id, ts from z where id = $1 order by ts";
        let all = [&mut direct, &mut through].map(|client| {
            client.send(&bound(text, &[&one.to_string()]));
            format!("{:?}", client.reply())
        });
        assert_eq!(all[0], all[1], "seed {seed}, case {case}: {one}");
    }
    assert!(weir.metric("pgweir_narrowed_statements_total", &[]) > 400.0);
    // A check that is gone is no longer believed.
    through.query("alter table z_3 drop constraint z_3_id_check");
    through.query("insert into z values (999999, '2024-01-04 12:00+00', 3, 'late')");
    assert_eq!(through.query("select v from z where id = 999999").value(), "late");
    through.send(&query("select 1"));
    through.reply();
}
