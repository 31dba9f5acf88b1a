//! Rule files as an operator meets them: mistakes, reloads on a pgweir that runs, and the state over restarts.

use std::process::Command;

use crate::cluster::{APP_USER, TestDatabase};
use crate::rawclient::{Raw, bound};
use crate::support::{Weir, plain, until, wait_for};

fn pgweir(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_pgweir")).args(arguments).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

/// A pgweir with these rule files, in a folder that they are in.
fn start(database: &TestDatabase, files: &[(&str, &str)]) -> Weir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("rules")).unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join("rules").join(name), text).unwrap();
    }
    Weir::start_in(folder, &plain(database, "max_size: 3", "rules: rules"), |_| {})
}

/// Replaces a rule file and waits until the watch has seen it.
fn change(weir: &Weir, name: &str, text: &str, outcome: &str) {
    let before = weir.logged(outcome);
    // In one step, as an editor does, so that no half of it is read.
    std::fs::write(weir.file("next"), text).unwrap();
    std::fs::rename(weir.file("next"), weir.file("rules").join(name)).unwrap();
    wait_for("the rules are read", || weir.logged(outcome) > before);
}

const RELOADED: &str = "settings reloaded";
const REFUSED: &str = "the old ones stay in force";

fn queries(weir: &Weir, filter: &str) -> Vec<serde_json::Value> {
    let (status, body) = weir.get(&format!("/api/database/queries?limit=1000&filter={filter}"));
    assert_eq!(status, 200, "{body}");
    let answer: serde_json::Value = serde_json::from_str(&body).unwrap();
    answer["queries"].as_array().unwrap().clone()
}

fn calls(weir: &Weir, filter: &str) -> u64 {
    queries(weir, filter).iter().map(|query| query["calls"].as_u64().unwrap()).sum()
}

/// A loop with one shape and many values, by way of parameters.
fn run_loop(client: &mut Raw, table: &str) {
    for at in 0..20 {
        let text = format!("select id from {table} where id = $1");
        client.send(&bound(&text, &[&at.to_string()]));
        assert_eq!(client.reply().error, None);
    }
    // Ends the unit of work.
    assert_eq!(client.query("discard plans").error, None);
}

#[test]
fn check_and_run_refuse_the_same_rules() {
    let database = TestDatabase::new("rules_check");
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules");
    std::fs::create_dir(&rules).unwrap();
    std::fs::write(rules.join("a.yaml"), "observe:\n  shape: 100\n").unwrap();
    std::fs::write(rules.join("b.yaml"), "slow_log: {over: 1}\nobserve: {}\n").unwrap();
    let settings = folder.path().join("pgweir.yaml");
    std::fs::write(&settings, plain(&database, "max_size: 3", "rules: rules")).unwrap();
    let (settings, rules) = (settings.to_str().unwrap(), rules.to_str().unwrap());
    for command in
        [["check", "--config", settings], ["run", "--config", settings], ["check", "--rules", rules]]
    {
        let (code, text) = pgweir(&command);
        assert_eq!(code, Some(1), "{text}");
        for wanted in [
            "rules/a.yaml:2:3: observe.shape: unknown key; did you mean shapes?",
            "rules/b.yaml:1:18: slow_log.over: expected a duration",
            "rules/b.yaml:2:1: observe: the section stands in ",
            "3 mistakes in",
        ] {
            assert!(text.contains(wanted), "no `{wanted}` in:\n{text}");
        }
    }
    let upstream = "postgres://app:hidden@127.0.0.1:1/app";
    let (code, text) = pgweir(&["run", "--upstream", upstream, "--rules", rules]);
    assert!(code == Some(1) && text.contains("did you mean shapes?") && !text.contains("hidden"), "{text}");
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/rules");
    assert_eq!(pgweir(&["check", "--rules", shipped]), (Some(0), format!("{shipped}: no mistakes\n")));
}

#[test]
fn loops_are_watched_for_as_the_rules_say() {
    let database = TestDatabase::new("rules_loops");
    let weir = start(&database, &[]);
    let mut client = weir.login(&database.name);
    assert_eq!(
        client
            .query("create table one (id int); create table two (id int); create table three (id int)")
            .error,
        None
    );
    let found = |table: &str| weir.get("/api/database/nplus1").1.contains(&format!("from {table} "));
    run_loop(&mut client, "one");
    wait_for("a loop is found by default", || found("one"));
    // A file comes: the watch ends for a session that is open.
    change(&weir, "n.yaml", "nplus1: {enabled: false}\n", RELOADED);
    let episodes = weir.metric("pgweir_nplus1_episodes_total", &[]);
    run_loop(&mut client, "two");
    assert_eq!(weir.metric("pgweir_nplus1_episodes_total", &[]), episodes);
    assert!(!found("two"));
    // A mistake changes nothing.
    change(&weir, "n.yaml", "nplus1: {enabled: treu}\n", REFUSED);
    assert!(weir.log().contains("n.yaml:1:19: nplus1.enabled: expected true or false"));
    // On again, with a table of which nobody wants to hear: met, counted and not told.
    change(&weir, "n.yaml", "nplus1: {silence: [{table: three}]}\n", RELOADED);
    run_loop(&mut client, "three");
    wait_for("it is counted", || weir.metric("pgweir_nplus1_episodes_total", &[]) > episodes);
    assert!(!found("three") && found("one"));
    // The file goes, and with it what it said.
    let before = weir.logged(RELOADED);
    std::fs::remove_file(weir.file("rules").join("n.yaml")).unwrap();
    wait_for("the rules are read", || weir.logged(RELOADED) > before);
    assert!(found("three"));
}

#[test]
fn observation_can_be_switched_off_and_on() {
    let database = TestDatabase::new("rules_off");
    let weir = start(&database, &[("o.yaml", "observe: {enabled: false}\nslow_log: {over: 0}\n")]);
    let mut client = weir.login(&database.name);
    let ask = |client: &mut Raw, what: &str| {
        assert_eq!(client.query(&format!("select 1 as {what}")).value(), "1");
        client.send(&bound(&format!("select $1::int as {what}"), &["1"]));
        assert_eq!(client.reply().error, None);
    };
    ask(&mut client, "unseen");
    assert_eq!((weir.metric("pgweir_shapes", &[]), calls(&weir, "unseen")), (0.0, 0));
    assert_eq!(weir.metric("pgweir_slow_statements_total", &[]), 0.0);
    change(&weir, "o.yaml", "observe: {enabled: true}\n", RELOADED);
    until("it is seen", || {
        ask(&mut client, "seen");
        (calls(&weir, "as%20seen") >= 2).then_some(())
    });
    // Texts that were read before are seen too.
    until("it is seen again", || {
        ask(&mut client, "unseen");
        (calls(&weir, "as%20unseen") >= 2).then_some(())
    });
    change(&weir, "o.yaml", "observe: {enabled: false}\n", RELOADED);
    let errors = || queries(&weir, "as%20seen").iter().map(|q| q["errors"].as_u64().unwrap()).sum::<u64>();
    let before = until("the workers have heard of it", || {
        let before = calls(&weir, "as%20seen");
        ask(&mut client, "seen");
        (calls(&weir, "as%20seen") == before).then_some(before)
    });
    ask(&mut client, "seen");
    client.send(&bound("select $1::int as seen", &["x"]));
    assert_eq!(client.reply().sqlstate(), "22P02");
    assert_eq!((calls(&weir, "as%20seen"), errors()), (before, 0));
}

#[test]
fn the_ledger_continues_after_a_restart() {
    let database = TestDatabase::new("rules_state");
    let rules = "observe: {state: {file: kept.state, every: 1s}}\n";
    let mut weir = start(&database, &[("o.yaml", rules)]);
    let kept = weir.file("kept.state");
    let mut client = weir.login(&database.name);
    assert_eq!(client.query("create table looped (id int)").error, None);
    for _ in 0..3 {
        assert_eq!(client.query("select 7 as remembered").value(), "7");
    }
    run_loop(&mut client, "looped");
    // Saved while it runs, and at the end what came since.
    wait_for("it is saved", || std::fs::read_to_string(&kept).is_ok_and(|text| text.contains("remembered")));
    wait_for("the loop is found", || weir.get("/api/database/nplus1").1.contains("looped"));
    assert_eq!(client.query("select 7 as remembered").value(), "7");
    drop(client);
    weir.signal(libc::SIGTERM);
    assert!(weir.ended().success());
    let text = std::fs::read_to_string(&kept).unwrap();
    assert!(text.starts_with("{\"pgweir_state\":3}\n") && text.contains("\"kind\":\"finding\""), "{text}");
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);

    let again = start(&database, &[("o.yaml", "observe: {}\n")]);
    std::fs::copy(&kept, again.file("kept.state")).unwrap();
    let mut client = again.login(&database.name);
    assert_eq!(client.query("select 7 as remembered").value(), "7");
    wait_for("it is counted", || calls(&again, "remembered") == 1);
    // A place that the rules name later is added to what there is, and once only.
    change(&again, "o.yaml", rules, RELOADED);
    wait_for("it is loaded", || calls(&again, "remembered") == 5);
    change(&again, "o.yaml", "observe: {}\n", RELOADED);
    change(&again, "o.yaml", rules, RELOADED);
    let modified = || std::fs::metadata(again.file("kept.state")).unwrap().modified().unwrap();
    let first = modified();
    wait_for("it is saved", || modified() > first);
    assert_eq!(calls(&again, "remembered"), 5);
    assert!(again.get("/api/database/nplus1").1.contains("looped"));
    let first = &queries(&again, "remembered")[0];
    assert_eq!((first["user"].as_str(), first["errors"].as_u64()), (Some(APP_USER), Some(0)));
}

#[test]
fn a_file_that_is_not_the_ledgers_is_left_alone() {
    let database = TestDatabase::new("rules_foreign");
    let rules = "observe: {state: {file: rules/kept, every: 1s}}\n";
    let files = [("kept", "precious\n"), ("o.yaml", rules)];
    let mut weir = start(&database, &files);
    let kept = weir.file("rules/kept");
    wait_for("it says so", || weir.logged("the ledger cannot be read from") > 0);
    assert_eq!(weir.login(&database.name).query("select 1 as one").value(), "1");
    weir.signal(libc::SIGTERM);
    assert!(weir.ended().success());
    assert_eq!(std::fs::read_to_string(&kept).unwrap(), "precious\n");
    assert_eq!(weir.logged("the ledger cannot be read from"), 1, "it is said once");
    // Out of the way: it is saved without a word from anybody.
    let weir = start(&database, &files);
    let kept = weir.file("rules/kept");
    wait_for("it says so", || weir.logged("the ledger cannot be read from") > 0);
    std::fs::rename(&kept, weir.file("moved")).unwrap();
    wait_for("it is saved", || {
        std::fs::read_to_string(&kept).is_ok_and(|text| text.contains("pgweir_state"))
    });
}

#[test]
fn rules_beside_an_upstream_url_are_watched_too() {
    let database = TestDatabase::new("rules_upstream");
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("rules")).unwrap();
    let log = std::fs::File::create(folder.path().join("log")).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_pgweir"))
        .args(["run", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--rules"])
        .arg(folder.path().join("rules"))
        .env("PGWEIR_UPSTREAM", database.url())
        .stderr(log)
        .spawn()
        .unwrap();
    let logged = |text: &str| std::fs::read_to_string(folder.path().join("log")).unwrap().contains(text);
    wait_for("it serves", || logged("is serving"));
    std::fs::write(folder.path().join("next"), "slow_log: {over: 5s}\n").unwrap();
    std::fs::rename(folder.path().join("next"), folder.path().join("rules/a.yaml")).unwrap();
    wait_for("the rules are read", || logged("settings reloaded: rules, slow_log: changed"));
    std::fs::write(folder.path().join("rules/a.yaml"), "slow_log: {ever: 5s}\n").unwrap();
    wait_for("the rules are refused", || {
        logged("a.yaml:1:12: slow_log.ever: unknown key; did you mean over?")
    });
    // SAFETY: the child has not been waited for, so the id is its own.
    unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGTERM) };
    assert!(child.wait().unwrap().success());
}
