//! Random pipelines: any messages in any order, cut into groups anywhere, and the same frames from
//! PostgreSQL and through pgweir, with other clients moving servers and settings about.

use pgweir::wire::server::sqlstate;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::{Disturb, PoolMode, Script, database, differences, weir};
use crate::cluster::shared;
use crate::frames::each;

/// Messages of one exchange. Texts are few, so that statements meet again; names too, so that they clash.
/// Left out is what crashes PostgreSQL 15 itself: EXECUTE of a BEGIN or SAVEPOINT, and Execute of the
/// unnamed portal that a failed simple query left.
fn message() -> impl Strategy<Value = String> {
    let text = prop_oneof![
        Just("select 1"),
        Just("select $1::int + 1"),
        Just("select name from items where id = $1"),
        Just("select id from items order by id"),
        Just("selec"),
        Just("select 1/0"),
        Just("begin"),
        Just("commit"),
        Just("rollback"),
        Just("set work_mem = '5MB'"),
        Just("show work_mem"),
        Just("reset work_mem"),
        Just("set local work_mem = '6MB'"),
        Just("set search_path = other, public"),
        Just("select * from items limit 1"),
        Just("create temp table brief (n int) on commit drop"),
        Just("insert into later values (1), (1)"),
        Just("savepoint a"),
        Just("rollback to a"),
        Just(""),
    ];
    let name = prop_oneof![Just("\"\""), Just("\"\""), Just("a"), Just("b")];
    let portal = prop_oneof![Just("\"\""), Just("\"\""), Just("p")];
    prop_oneof![
        4 => (name.clone(), text.clone()).prop_map(|(n, t)| format!("Parse {n} `{t}`")),
        3 => (portal.clone(), name.clone()).prop_map(|(p, n)| format!("Bind {p} {n}")),
        4 => (portal.clone(), name.clone()).prop_map(|(p, n)| format!("Bind {p} {n} 3")),
        2 => name.clone().prop_map(|n| format!("Describe S {n}")),
        1 => Just("Describe P p".to_owned()),
        2 => (0..3).prop_map(|n| format!("Execute p {n}")),
        5 => (name.clone(), 0..3).prop_map(|(s, n)| format!("Bind \"\" {s}; Execute \"\" {n}")),
        2 => (name.clone(), 0..3)
            .prop_map(|(s, n)| format!("Bind \"\" {s} 3; Describe P \"\"; Execute \"\" {n}")),
        1 => name.prop_map(|n| format!("Close S {n}")),
        1 => portal.prop_map(|p| format!("Close P {p}")),
        2 => text.clone().prop_map(|t| format!("Query `{t}`")),
        1 => (text.clone(), text).prop_map(|(t, u)| format!("Query `{t}; {u}`")),
        1 => Just("Flush".to_owned()),
        4 => Just("Sync".to_owned()),
        1 => Just("Query `deallocate a`".to_owned()),
        1 => Just("Parse e `select $1::int + 2`".to_owned()),
        1 => Just("Bind \"\" e 4".to_owned()),
        1 => Just("Close S e".to_owned()),
        1 => Just("Query `execute e(3)`".to_owned()),
        1 => Just("Query `prepare c as select 4`".to_owned()),
        1 => Just("Query `execute c`".to_owned()),
        1 => Just("Query `discard all`".to_owned()),
        1 => Just("Call 1397 -5".to_owned()),
        1 => Just("Query `deallocate all`".to_owned()),
    ]
}

fn group() -> impl Strategy<Value = Vec<String>> {
    proptest::collection::vec(message(), 1..12)
}

/// The frames of a group, which ends with a Sync so that its end can be seen.
fn frames(group: &[String]) -> Vec<Vec<u8>> {
    each(&(group.join("; ") + "; Sync"))
}

/// `PGWEIR_RANDOM_CASES` asks for more of them.
fn check(mode: PoolMode, disturbed: bool, cases: u32) {
    let asked = std::env::var("PGWEIR_RANDOM_CASES").ok();
    let cases = asked.and_then(|text| text.parse().ok()).unwrap_or(cases);
    let subject = format!("random_{mode:?}_{disturbed}").to_lowercase();
    let (direct, through) = (database(&subject), database(&subject));
    let weir = weir(mode);
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 100,
        max_shrink_time: 60_000,
        ..Config::default()
    };
    let groups = proptest::collection::vec(group(), 1..6);
    let outcome = TestRunner::new(config).run(&groups, |groups| {
        let script = Script::of(groups.iter().map(|group| frames(group)).collect());
        let fail = |why: String| TestCaseError::fail(format!("{why}\n{groups:#?}"));
        let oracle = script.play(shared().port(), &direct.name, None, None).map_err(fail)?;
        // PostgreSQL itself went wrong over a Query in the middle of a group; that is nothing to copy.
        if oracle.iter().flatten().any(|frame| is_internal_error(frame)) {
            return Ok(());
        }
        let mut disturb = disturbed.then(|| Disturb::new(weir.port(), &through.name, mode));
        let seen = script.play(weir.port(), &through.name, Some(&oracle), disturb.as_mut()).map_err(fail)?;
        differences(&oracle, &seen, false).map_err(fail)
    });
    outcome.unwrap_or_else(|why| panic!("{why}"));
}

fn is_internal_error(frame: &[u8]) -> bool {
    frame[0] == b'E' && sqlstate(&frame[5..]).starts_with(b"XX")
}

#[test]
fn in_session_mode() {
    check(PoolMode::Session, false, 60);
}

#[test]
fn in_transaction_mode() {
    check(PoolMode::Transaction, false, 150);
}

#[test]
fn in_transaction_mode_across_servers() {
    check(PoolMode::Transaction, true, 150);
}
