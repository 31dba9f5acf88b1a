//! What a script cannot say: logins that fail, protocol versions, schema changes that pgweir does not see.

use pgweir::wire::server::error_field;

use super::{PoolMode, Raw, Script, Startup, cluster, database, differences, masked, show, weir};
use crate::cluster::{batch, shared};

fn both(startup: &Startup, mode: PoolMode) -> [Result<Raw, Vec<Vec<u8>>>; 2] {
    let weir = weir(mode);
    [shared().port(), weir.port()].map(|port| Raw::try_open(port, startup))
}

/// SQLSTATE and message of a refusal; pgweir has no file and line of PostgreSQL's.
fn refusal(outcome: Result<Raw, Vec<Vec<u8>>>) -> (String, String) {
    let frames = outcome.err().expect("this login has to fail");
    let error = &frames.last().unwrap()[5..];
    let field = |field| String::from_utf8_lossy(error_field(error, field).unwrap()).into_owned();
    (field(b'C'), field(b'M'))
}

#[test]
fn start_up_settings_that_are_wrong() {
    let database = database("wrong_startup");
    let start = || Startup::new(&database.name);
    for mode in [PoolMode::Session, PoolMode::Transaction] {
        for startup in [
            start().with("no_such_setting", "1"),
            start().with("work_mem", "plenty"),
            start().with("options", "-c work_mem=plenty"),
            start().with("options", "-c no_such=1"),
            start().with("options", "--work-mem"),
            start().with("DateStyle", "nonsense"),
        ] {
            let [direct, through] = both(&startup, mode);
            assert_eq!(refusal(through), refusal(direct), "{mode:?} {:?}", startup.parameters);
        }
    }
}

/// The greeting of every mode is the server's own: parameters, their order, ReadyForQuery.
#[test]
fn greetings() {
    let database = database("greetings");
    let start = || Startup::new(&database.name);
    for mode in [PoolMode::Session, PoolMode::Transaction, PoolMode::Statement] {
        for startup in [
            start(),
            start().with("client_encoding", "latin1").with("DateStyle", "german, dmy"),
            start().with("TimeZone", "europe/berlin").with("application_name", "mine"),
            start().with("options", "-c geqo=off -c my.own=1 -c intervalstyle=iso_8601"),
            start().with("search_path", "other").with("extra_float_digits", "3"),
            start().with("_pq_.unknown", "1").with("_pq_.other", "x"),
        ] {
            let [direct, through] = both(&startup, mode);
            let greeting = |raw: Result<Raw, Vec<Vec<u8>>>| -> Vec<Vec<u8>> {
                let raw = raw.unwrap_or_else(|frames| panic!("refused: {}", show(&frames.concat())));
                raw.greeting.iter().map(|frame| masked(frame)).collect()
            };
            let (direct, through) = (greeting(direct), greeting(through));
            assert!(
                direct == through,
                "{mode:?} {:?}: PostgreSQL\n{}\npgweir\n{}",
                startup.parameters,
                show(&direct.concat()),
                show(&through.concat())
            );
        }
    }
}

/// Protocol 3.2 and what is beyond: compared where the server knows 3.2 itself.
#[test]
fn protocol_versions() {
    let database = database("versions");
    let weir = weir(PoolMode::Transaction);
    let newest = cluster::ask(&database.url(), "SHOW server_version_num").as_str() >= "180000";
    for minor in [0, 2, 3, 9999] {
        for option in [None, Some("_pq_.unknown")] {
            let mut startup = Startup::new(&database.name);
            startup.version += minor;
            if let Some(option) = option {
                startup = startup.with(option, "1");
            }
            let greeting = |port| {
                let raw = Raw::open(port, &startup);
                let keys: Vec<usize> =
                    raw.greeting.iter().filter(|frame| frame[0] == b'K').map(Vec::len).collect();
                let negotiations: Vec<Vec<u8>> =
                    raw.greeting.iter().filter(|frame| frame[0] == b'v').cloned().collect();
                (keys, negotiations)
            };
            let (keys, negotiations) = greeting(weir.port());
            if newest {
                let direct = greeting(shared().port());
                assert_eq!((&keys, &negotiations), (&direct.0, &direct.1));
            }
            let expected = usize::from(minor > 2 || option.is_some());
            assert_eq!(negotiations.len(), expected, "3.{minor} {option:?}");
            assert_eq!(keys, [if minor >= 2 { 41 } else { 13 }], "3.{minor}");
        }
    }
}

/// A schema change made past pgweir: statements that it kept on its servers no longer fit, and nobody may
/// notice who would not on a connection of its own.
#[test]
fn schema_changes_made_elsewhere() {
    let scripts = Script::read(
        "== unnamed\n\
         Parse \"\" `select * from moving`; Bind \"\" \"\"; Describe P \"\"; Execute \"\"; Sync\nwait Z\n\
         Parse \"\" `select * from moving`; Bind \"\" \"\"; Execute \"\"; Sync\nwait Z\n\
         == unnamed, described as a statement\n\
         Parse \"\" `select * from moving`; Describe S \"\"; Sync\nwait Z\n\
         Bind \"\" \"\"; Execute \"\"; Sync\nwait Z\n\
         == named\n\
         Parse s `select * from moving`; Bind \"\" s; Describe P \"\"; Execute \"\"; Close S s; Sync\nwait Z\n\
         == in one group with others\n\
         Parse a `select * from moving`; Parse b `select 1`; Bind \"\" a; Execute \"\"; Bind \"\" b; Execute \"\"; Sync\nwait Z\n\
         == in a pipeline of its own\n\
         Parse \"\" `select * from moving where true`; Bind \"\" \"\"; Execute \"\"; Sync\nwait Z\n",
    );
    let (direct, through) = (database("moving"), database("moving"));
    let weir = weir(PoolMode::Transaction);
    let changes = [
        "create table moving as select 1 as a",
        "alter table moving add b text default 'b'",
        "alter table moving alter a type text",
        "alter table moving drop b",
        "drop table moving",
        "create view moving as select 'view' as v",
    ];
    for change in changes {
        for database in [&direct, &through] {
            batch(&database.superuser_url(), &[change]);
            batch(&database.superuser_url(), &["grant all on all tables in schema public to app"]);
        }
        for script in &scripts {
            let oracle = script.play(shared().port(), &direct.name, None, None).unwrap();
            let seen = script.play(weir.port(), &through.name, Some(&oracle), None);
            let same = seen.and_then(|seen| differences(&oracle, &seen, false));
            same.unwrap_or_else(|why| panic!("{change}, {}: {why}", script.title));
        }
    }
}
