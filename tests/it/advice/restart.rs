//! What was done to indexes over the end of the process: a restart in the middle of verification and of a build, and
//! what was dismissed.

use std::path::Path;

use super::acting::Site;
use super::running::{loaded, workload};
use crate::cluster::{ask, connect};
use crate::support::{until, wait_for};

fn rules(state: &Path) -> String {
    format!(
        "observe: {{state: {{file: {}, every: 1s}}}}\nindexes: {{auto: {{verify_calls: 60}}}}\n",
        state.display()
    )
}

#[test]
fn verification_goes_on_after_a_restart() {
    let database = loaded("advice_again");
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let site = Site::start(&database, &rules(&state));
    workload(&site.weir, &database);
    let id = site.suggested();
    site.run(&["indexes", "dismiss", &id, "--reason", "we shall see"]).unwrap();
    wait_for("it is not suggested any more", || {
        site.run(&["advise"]).unwrap().contains("No index is advised")
    });
    assert!(site.run(&["indexes", "history"]).unwrap().contains("dismissed: we shall see"));
    wait_for("it is kept", || std::fs::read_to_string(&state).unwrap_or_default().contains("we shall see"));
    site.run(&["indexes", "recall", &id]).unwrap();
    assert_eq!(site.suggested(), id);
    site.run(&["indexes", "apply", &id]).unwrap();
    workload(&site.weir, &database);
    wait_for("30 calls are counted", || site.act()["shapes"][0]["calls_after"] == 30);
    let before = site.act();
    assert_eq!(before["state"], "verifying", "{before:#}");
    let saves = site.weir.metric("pgweir_state_saves_total", &[]);
    wait_for("it is saved", || site.weir.metric("pgweir_state_saves_total", &[]) >= saves + 2.0);
    // Killed, not ended.
    drop(site);
    let site = Site::start(&database, &rules(&state));
    let after = site.act();
    assert_eq!((&after["state"], &after["id"]), (&before["state"], &before["id"]), "{after:#}");
    assert_eq!(after["shapes"][0]["before_ms"], before["shapes"][0]["before_ms"]);
    assert_eq!(after["shapes"][0]["calls_after"], 30, "{after:#}");
    workload(&site.weir, &database);
    wait_for("it is proved", || site.act()["state"] == "proved");
    assert_eq!(site.act()["shapes"][0]["calls_after"], 60);
    assert!(!site.run(&["indexes", "history"]).unwrap().contains("dismissed"));
}

#[test]
fn a_build_goes_on_after_a_restart() {
    let database = loaded("advice_killed");
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let site = Site::start(&database, &rules(&state));
    workload(&site.weir, &database);
    let id = site.suggested();
    // The build waits for a transaction that has written.
    let runtime = super::runtime();
    let writer = runtime.block_on(connect(&database.url()));
    runtime.block_on(writer.batch_execute("BEGIN; UPDATE invoices SET note = 'y' WHERE id = 1")).unwrap();
    let valid = "SELECT count(*) FILTER (WHERE indisvalid) || '/' || count(*) FROM pg_index WHERE indrelid = \
                 'invoices'::regclass AND indexrelid::regclass::text LIKE 'idx_%'";
    std::thread::scope(|scope| {
        // It is cut off in the middle, and says so.
        let applying = scope.spawn(|| site.run(&["indexes", "apply", &id]));
        until("it is being built", || (ask(&database.superuser_url(), valid) == "0/1").then_some(()));
        wait_for("that is kept", || {
            std::fs::read_to_string(&state).unwrap_or_default().contains("\"building\"")
        });
        site.weir.signal(libc::SIGKILL);
        assert!(applying.join().unwrap().is_err());
    });
    drop(site);
    let site = Site::start(&database, &rules(&state));
    wait_for("it is gone on with", || site.weir.logged("an index is gone on with") == 1);
    wait_for("the server is waited for", || {
        site.act()["message"].as_str().is_some_and(|message| message.contains("begun earlier"))
    });
    runtime.block_on(writer.batch_execute("COMMIT")).unwrap();
    wait_for("it is built", || site.act()["state"] == "verifying");
    assert_eq!(ask(&database.superuser_url(), valid), "1/1");
    site.run(&["indexes", "drop", &id]).unwrap();
    assert_eq!(ask(&database.superuser_url(), valid), "0/0");
}
