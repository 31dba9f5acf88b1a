//! Every mistake of a settings file, with its place.

use std::path::Path;
use std::time::Duration;

use super::tests::{SMALL, folder, good, load_in};
use super::*;
use crate::admin::Role;
use crate::auth::Secret;
use crate::observe::LogFormat;
use crate::pool::settings::{PoolMode, ServerAddress};

fn wrong(text: &str) -> Vec<String> {
    let folder = folder();
    load_in(folder.path(), text).expect_err(text)
}

/// `text` has exactly one mistake, and its line starts and ends like this.
fn assert_wrong(text: &str, start: &str, part: &str) {
    let mistakes = wrong(text);
    assert_eq!(mistakes.len(), 1, "{mistakes:#?}");
    let mistake = &mistakes[0];
    assert!(mistake.starts_with(&format!("pgweir.yaml:{start}")), "{mistake}");
    assert!(mistake.contains(part), "{mistake}");
}

#[test]
fn every_mistake_is_reported_in_one_round() {
    let text = "\
lisen: {port: 6432}
workers: many
databases:
  app:
    servers: [{host: db, port: 0}, {host: db}]
    pool:
      max_sise: 30
      min_size: 50
      mode: transactions
      connect: 15
  web: {servers: [], max_size: 5}
users:
  app: {password: 12345, password_file: missing.txt}
log: {level: chatty}
rules: nowhere
";
    let mistakes = wrong(text);
    let expected = [
        "pgweir.yaml:1:1: lisen: unknown key; did you mean listen?",
        "pgweir.yaml:2:10: workers: expected auto or a number from 1 to 256",
        "pgweir.yaml:5:32: databases.app.servers.0.port: expected a whole number from 1 to 65535; found 0",
        "pgweir.yaml:7:7: databases.app.pool.max_sise: unknown key; did you mean max_size?",
        "pgweir.yaml:8:17: databases.app.pool.min_size: min_size 50 is larger than max_size 20",
        "pgweir.yaml:9:13: databases.app.pool.mode: expected one of session, transaction, statement; did you mean transaction?",
        "pgweir.yaml:10:16: databases.app.pool.connect: expected a duration",
        "pgweir.yaml:11:9: databases.web.servers: the list is empty",
        "pgweir.yaml:11:22: databases.web.max_size: unknown key; did you mean pool.max_size?",
        "pgweir.yaml:13:19: users.app.password: expected text, found a number; put it in quotes",
        "pgweir.yaml:13:41: users.app.password_file: missing.txt cannot be read",
        "pgweir.yaml:14:14: log.level: \"chatty\" is not a level",
        "pgweir.yaml:15:8: rules: nowhere cannot be used",
    ];
    for (mistake, start) in mistakes.iter().zip(expected) {
        assert!(mistake.starts_with(start), "{mistake}\nshould start {start}");
    }
    assert_eq!(mistakes.len(), expected.len(), "{mistakes:#?}");
    assert!(!mistakes.concat().contains("12345"));
}

#[test]
fn broken_yaml_and_missing_files_have_a_place_too() {
    assert_wrong("databases: {app: [\n", "1:18", "unclosed bracket");
    assert_wrong("users:\n  a: {}\n  a: {}\n", "3:3", "duplicate");
    let mistakes = load(Path::new("no/such/pgweir.yaml")).unwrap_err();
    assert!(mistakes[0].to_string().starts_with("no/such/pgweir.yaml:1:1: "));
    assert!(mistakes[0].message.contains("cannot be read"));
    let empty = wrong("");
    assert!(empty[0].ends_with("the key databases is missing"), "{empty:?}");
    assert!(empty[1].contains("nobody could log in"), "{empty:?}");
    assert_wrong("- 1\n", "1:1", "expected a mapping");
    assert_wrong("users: {a: {password: x}}\n", "1:1", "databases is missing");
}

#[test]
fn servers_are_checked() {
    let servers =
        |list: &str| format!("users: {{app: {{password: x}}}}\ndatabases:\n  app:\n    servers: {list}\n");
    assert_wrong(&servers("[{host: a}, {host: a, port: 5432}]"), "4:33", "in the list already");
    assert_wrong(&servers("[{host: ''}]"), "4:22", "empty");
    assert_wrong(&servers("[{host: 'postgres://a'}]"), "4:22", "--upstream");
    assert_wrong(&servers("[{port: 5432}]"), "4:15", "the key host is missing");
    assert_wrong(&servers("a"), "4:14", "expected a list");
    assert_wrong("databases: {}\nusers: {a: {password: x}}\n", "1:1", "at least one entry");
    let settings = good(&servers("[{host: /run/postgresql}, {host: '[::1]', port: 1}]"));
    let expected = [
        ServerAddress::Unix { directory: "/run/postgresql".into(), port: 5432 },
        ServerAddress::Tcp { host: "::1".to_owned(), port: 1 },
    ];
    assert_eq!(settings.databases["app"].servers, expected);
}

#[test]
fn the_admin_surface_is_closed_by_default() {
    let token = format!("{{name: ci, role: operator, hash: 'sha256:{}'}}", "0a".repeat(32));
    let with = |admin: &str| format!("{SMALL}admin: {admin}\n");
    for open in [
        "{address: 0.0.0.0}".to_owned(),
        "{address: '::', tls: {cert: admin.crt, key: admin.key}}".to_owned(),
        format!("{{address: 10.0.0.1, tokens: [{token}]}}"),
    ] {
        assert_wrong(&with(&open), "3:18: admin.address", "needs admin.tls");
    }
    let both = format!("{{address: 0.0.0.0, tls: {{cert: admin.crt, key: admin.key}}, tokens: [{token}]}}");
    let settings = good(&with(&both));
    assert_eq!(settings.admin.tokens[0].role, Role::Operator);
    assert_wrong(&with("{port: 6432}"), "3:15: admin.port", "same address");
    assert_wrong(&with("{address: localhost}"), "3:18", "IP address");
    assert_wrong(&with("{audit_log: no/such/log}"), "3:20", "its folder must exist");
    let raw = "{tokens: [{name: a, role: admin, hash: pgweir_abc}]}";
    assert_wrong(&with(raw), "3:47: admin.tokens.0.hash", "64 hexadecimal");
    let twice = format!("{{tokens: [{token}, {token}]}}");
    assert_eq!(wrong(&with(&twice)).len(), 2);
}

#[test]
fn passwords_come_from_three_places() {
    let with =
        |user: &str| format!("databases: {{app: {{servers: [{{host: db}}]}}}}\nusers: {{app: {user}}}\n");
    let secret = |user: &str| good(&with(user)).auth.users["app"].secret.clone();
    let plain = |text: &str| Some(Secret::Plain(text.to_owned()));
    assert!(secret("{password_file: password.txt}") == plain("from file"));
    // Cargo sets this one for every test.
    assert!(secret("{password_env: CARGO_PKG_NAME}") == plain("pgweir"));
    assert_wrong(&with("{password_env: NO_SUCH_VARIABLE_HERE}"), "2:29", "is not set");
    assert_wrong(&with("{password_file: rules}"), "2:30", "cannot be read");
    assert_wrong(&with("{password: ''}"), "2:25", "empty");
    assert_wrong(&with("{password: }"), "2:15", "give it a value");
    assert_wrong(&with("{password: a, password_env: CARGO_PKG_NAME}"), "2:42", "keep one");
    assert_wrong(&with("{}"), "2:9: users.app", "no password");
    assert_wrong(&with("{password: 'SCRAM-SHA-256$4096:x'}"), "2:25", "not a whole one");
    assert_wrong(&with("{password: md5a6343a68d964ca596d9752250d54bb8a}"), "2:9", "auth.method scram");
}

#[test]
fn the_userlist_adds_users_and_the_settings_win() {
    let with = |auth: &str| format!("{SMALL}  \nauth: {auth}\n");
    let users = good(&with("{userlist_file: userlist.txt}")).auth.users;
    assert!(users["old"].secret == Some(Secret::Plain("x".to_owned())));
    assert!(users["app"].secret == Some(Secret::Plain("secret".to_owned())));
    assert_wrong(&with("{userlist_file: missing.txt}"), "4:23: auth.userlist_file", "missing.txt");
    let folder = folder();
    std::fs::write(folder.path().join("userlist.txt"), "\n\"a\"\n").unwrap();
    let mistakes = load_in(folder.path(), &with("{userlist_file: userlist.txt}")).unwrap_err();
    assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    assert!(mistakes[0].starts_with("userlist.txt:2:1: expected a password"));
}

#[test]
fn the_auth_method_has_its_needs() {
    let with = |rest: &str| format!("databases: {{app: {{servers: [{{host: db}}]}}}}\n{rest}\n");
    assert_wrong(&with("auth: {method: scram}"), "1:1: users", "nobody could log in");
    assert_wrong(&with("auth: {method: cert}"), "2:16", "client_ca");
    assert_wrong(&with("users: {a: {password: x}}\nauth: {method: cleartext}"), "3:16", "TLS");
    good(&with("auth: {method: trust}"));
    good(&with(
        "auth: {method: cert}\nlisten: {tls: {cert: server.crt, key: server.key, client_ca: clients-ca.crt}}",
    ));
    assert_wrong(&with("auth: {query: {user: q}}"), "2:22: auth.query.user", "not listed");
    let query = "users: {reader: {password: x}}\nauth: {query: {user: raeder}}";
    assert_wrong(&with(query), "3:22: auth.query.user", "did you mean reader?");
    let query =
        "users: {q: {password: md5a6343a68d964ca596d9752250d54bb8a}}\nauth: {method: md5, query: {user: q}}";
    assert_wrong(&with(query), "3:35: auth.query.user", "must be plain");
    let settings = good(&with("users: {q: {password: x}}\nauth: {query: {user: q}}"));
    assert!(settings.auth.query.unwrap().query.contains("pg_authid"));
    let query = "users: {q: {password: x}}\nauth: {query: {user: q, query: SELECT 1}}";
    assert_wrong(&with(query), "3:32: auth.query.query", "$1");
}

#[test]
fn tls_files_must_exist_and_go_together() {
    let tls = |tls: &str| {
        format!(
            "databases: {{app: {{servers: [{{host: db}}], tls: {tls}}}}}\nusers: {{a: {{password: x}}}}\n"
        )
    };
    assert_wrong(&tls("{mode: verify-full}"), "1:54: databases.app.tls.mode", "tls.ca");
    assert_wrong(&tls("{cert: pgweir.crt}"), "1:42: databases.app.tls", "go together");
    assert_wrong(&tls("{ca: missing.crt}"), "1:52", "missing.crt cannot be read");
    assert_wrong(&tls("{mode: verify_full}"), "1:54", "did you mean verify-full?");
    let listen = format!("{SMALL}listen: {{tls: {{cert: server.crt}}}}\n");
    assert_wrong(&listen, "3:10: listen.tls", "the key key is missing");
}

#[test]
fn other_values_are_checked() {
    let with = |text: &str| format!("{SMALL}{text}\n");
    assert_wrong(&with("limits: {clients: 0}"), "3:19", "from 1 to 1000000");
    assert_wrong(&with("limits: {clients: 1.5}"), "3:19", "found 1.5");
    assert_wrong(&with("timeouts: {query: 30}"), "3:19", "30s");
    assert_wrong(&with("timeouts: {qery: 30s}"), "3:12", "did you mean query?");
    assert_wrong(&with("log: {format: xml}"), "3:15", "text, json");
    assert_wrong(&with("log: {colour: red}"), "3:7", "the keys here are format, level");
    assert_wrong(&with("listen: {tls: true}"), "3:15", "expected a mapping");
    let settings = good(&with(
        "timeouts: {query: 30s, client_idle: 0}\nlog: {level: 'warn,pgweir::pool=debug', format: json}\nworkers: 3",
    ));
    assert_eq!(settings.timeouts.query, Duration::from_secs(30));
    assert_eq!(settings.log.format, LogFormat::Json);
    assert_eq!(settings.workers, 3);
    let pool = "databases: {'*': {servers: [{host: db}], pool: {mode: session, queue_wait: 0}}}\nusers: {a: {password: x}}\n";
    assert_wrong(pool, "1:76: databases.*.pool.queue_wait", "0 would wait");
    assert_eq!(
        good(&pool.replace("queue_wait: 0", "queue_wait: 1s")).databases["*"].pool.mode,
        PoolMode::Session
    );
}
