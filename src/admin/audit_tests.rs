//! Tests of the audit log: what a line holds, where it goes, and what happens when it cannot be written.

use super::super::Role;
use std::time::UNIX_EPOCH;

use super::*;

fn entry<'a>(result: Outcome, who: Option<&'a Known>, what: &'a str) -> Entry<'a> {
    Entry {
        id: 7,
        who,
        from: "127.0.0.1:5000".to_owned(),
        what,
        result,
        reason: (result == Outcome::Denied).then_some("because"),
        statement: None,
    }
}

fn lines(path: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.ends_with('\n'));
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"));
    text.lines().map(parse).collect()
}

#[test]
fn times_are_utc_as_rfc_3339_writes_them() {
    let at =
        |seconds: u64, millis: u64| rfc3339(UNIX_EPOCH + Duration::from_millis(seconds * 1_000 + millis));
    assert_eq!(at(0, 0), "1970-01-01T00:00:00.000Z");
    // Checked against `date -u -d @…`: leap days, the end of a year, a century that has a leap day.
    assert_eq!(at(951_782_399, 999), "2000-02-28T23:59:59.999Z");
    assert_eq!(at(951_782_400, 1), "2000-02-29T00:00:00.001Z");
    assert_eq!(at(1_709_251_199, 0), "2024-02-29T23:59:59.000Z");
    assert_eq!(at(1_767_225_599, 20), "2025-12-31T23:59:59.020Z");
    assert_eq!(at(4_107_542_400, 0), "2100-03-01T00:00:00.000Z");
}

#[test]
fn lines_say_who_from_where_what_and_the_result() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    let audit = Audit::open(Some(&path)).unwrap();
    let ops = Known { name: "ops\n\"x\"".to_owned(), role: Role::Operator };
    let what = format!("POST /{}", "é".repeat(300));
    audit.write(&entry(Outcome::Started, Some(&ops), "POST /api/reload")).unwrap();
    audit.write(&entry(Outcome::Denied, None, &what)).unwrap();
    let lines = lines(&path);
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["who"]["token"], "ops\n\"x\"");
    assert_eq!(lines[0]["who"]["role"], "operator");
    assert_eq!(lines[0]["from"], "127.0.0.1:5000");
    assert_eq!(lines[0]["what"], "POST /api/reload");
    assert_eq!(lines[0]["result"], "started");
    assert!(lines[0].get("reason").is_none());
    assert!(lines[1]["who"].is_null());
    assert_eq!(lines[1]["reason"], "because");
    assert!(lines[1]["what"].as_str().unwrap().len() <= WHAT_MAX);
    let mode = std::fs::metadata(&path).unwrap().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn earlier_lines_stay_and_a_rotated_file_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    let write = |audit: &Audit| audit.write(&entry(Outcome::Done, None, "x")).unwrap();
    write(&Audit::open(Some(&path)).unwrap());
    let audit = Audit::open(Some(&path)).unwrap();
    write(&audit);
    assert_eq!(lines(&path).len(), 2);
    let old = folder.path().join("audit.log.1");
    std::fs::rename(&path, &old).unwrap();
    write(&audit);
    write(&audit);
    assert_eq!((lines(&old).len(), lines(&path).len()), (2, 2));
}

#[test]
fn a_full_disk_or_a_missing_folder_is_an_error_that_names_the_file() {
    let full = Audit::open(Some(Path::new("/dev/full"))).unwrap();
    let error = full.write(&entry(Outcome::Started, None, "x")).unwrap_err();
    assert!(error.contains("/dev/full"), "{error}");
    let error =
        Audit::open(Some(Path::new("/no/such/folder/audit.log"))).err().expect("the folder does not exist");
    assert!(error.contains("/no/such/folder/audit.log"), "{error}");
}

#[test]
fn a_line_after_a_torn_one_begins_on_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    let mut file = LogFile::open(&path).unwrap();
    file.file.write_all(b"{\"half\"").unwrap();
    file.torn = true;
    file.append("{}", true).unwrap();
    file.append("{}", false).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"half\"\n{}\n{}\n");
}

#[test]
fn a_flood_of_denied_attempts_is_counted_and_acts_are_always_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    let audit = Audit::open(Some(&path)).unwrap();
    for _ in 0..DENIED_MAX + 25 {
        audit.write(&entry(Outcome::Denied, None, "x")).unwrap();
    }
    audit.write(&entry(Outcome::Started, None, "x")).unwrap();
    audit.write(&entry(Outcome::Done, None, "x")).unwrap();
    let lines = lines(&path);
    assert_eq!(lines.len(), DENIED_MAX as usize + 2);
    assert_eq!(lines[DENIED_MAX as usize]["left_out"], 25);
    assert!(lines[DENIED_MAX as usize + 1].get("left_out").is_none());
    let mut state = audit.state.lock().unwrap();
    assert!(!state.may_write_denied(Instant::now()));
    assert!(state.may_write_denied(Instant::now() + WINDOW));
}

#[test]
fn without_a_file_nothing_begins_that_the_log_would_not_show() {
    let audit = Audit::open(None).unwrap();
    let silent = tracing::subscriber::NoSubscriber::default();
    tracing::subscriber::with_default(silent, || {
        let error = audit.write(&entry(Outcome::Started, None, "x")).unwrap_err();
        assert!(error.contains("admin.audit_log"), "{error}");
        audit.write(&entry(Outcome::Denied, None, "x")).unwrap();
    });
    let shown = tracing_subscriber::registry();
    tracing::subscriber::with_default(shown, || {
        audit.write(&entry(Outcome::Started, None, "x")).unwrap();
    });
}
