//! Whole settings files: what they become, that the shipped ones are true, and what a reload explains.

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::auth::{AuthMethod, Secret};
use crate::pool::settings::{PoolSettings, ServerAddress};
use crate::tls::SslMode;

pub(super) const SMALL: &str =
    "databases: {app: {servers: [{host: db}]}}\nusers: {app: {password: secret}}\n";

/// A folder with the files that settings may name.
pub(super) fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("rules")).unwrap();
    std::fs::write(folder.path().join("password.txt"), "from file\n").unwrap();
    std::fs::write(folder.path().join("userlist.txt"), "\"old\" \"x\"\n\"app\" \"y\"\n").unwrap();
    for name in [
        "server.crt",
        "server.key",
        "clients-ca.crt",
        "servers-ca.crt",
        "pgweir.crt",
        "pgweir.key",
        "admin.crt",
        "admin.key",
    ] {
        std::fs::write(folder.path().join(name), "PEM").unwrap();
    }
    folder
}

pub(super) fn load_in(folder: &Path, text: &str) -> Result<Settings, Vec<String>> {
    let path = folder.join("pgweir.yaml");
    std::fs::write(&path, text).unwrap();
    load(&path).map_err(|mistakes| {
        let prefix = format!("{}/", folder.display());
        mistakes.iter().map(|mistake| mistake.to_string().replace(&prefix, "")).collect()
    })
}

pub(super) fn good(text: &str) -> Settings {
    let folder = folder();
    load_in(folder.path(), text).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"))
}

#[test]
fn the_contract_parses() {
    let folder = folder();
    let text = format!(
        r#"listen: {{address: 127.0.0.1, port: 6432, unix_socket_dir: {}}}   # socket optional
admin: {{address: 127.0.0.1, port: 6433}}
workers: auto
databases:
  app:                                  # "*" matches any other name
    servers: [{{host: 127.0.0.1, port: 5432}}]     # host may be a socket directory
    database: app                       # on the server; default: the same name
    pool: {{mode: transaction, max_size: 20, min_size: 0}}
users:
  app: {{password: secret}}               # or password_file, or environment variable
rules: rules                            # folder of rule files, watched
"#,
        folder.path().display()
    );
    let settings = load_in(folder.path(), &text).unwrap();
    assert_eq!(settings.listen.port, 6432);
    assert_eq!(settings.listen.unix_socket_dir.as_deref(), Some(folder.path()));
    assert_eq!(settings.admin.port, 6433);
    assert!((1..=8).contains(&settings.workers));
    let app = &settings.databases["app"];
    let server = ServerAddress::Tcp { host: "127.0.0.1".to_owned(), port: 5432 };
    assert_eq!(app.servers, [server]);
    assert_eq!(app.database.as_deref(), Some("app"));
    assert_eq!(app.pool, PoolSettings::default());
    let secret = settings.auth.users["app"].secret.as_ref();
    assert!(secret == Some(&Secret::Plain("secret".to_owned())));
    assert_eq!(settings.rules_folder, Some(folder.path().join("rules")));
    assert_eq!(settings.rules, Rules::default());
}

#[test]
fn what_is_left_out_has_the_defaults_of_the_rooms() {
    let settings = good(SMALL);
    assert_eq!(settings.listen.address.to_string(), "127.0.0.1");
    assert_eq!((settings.listen.port, settings.admin.port), (6432, 6433));
    assert_eq!(settings.databases["app"].pool, PoolSettings::default());
    assert_eq!(settings.databases["app"].tls.mode, SslMode::Prefer);
    assert_eq!(settings.timeouts, Timeouts::default());
    assert_eq!(settings.limits, Limits::default());
    assert_eq!(settings.log, LogSettings::default());
    assert_eq!(settings.auth.method, AuthMethod::Scram);
    assert_eq!((&settings.rules, &settings.rules_folder), (&Rules::default(), &None));
    // A section whose keys are all commented out is an empty one.
    assert_eq!(good(&format!("{SMALL}timeouts:\nlog:\n")), settings);
}

/// The shipped example, once as it is and once with every commented key in force.
#[test]
fn the_shipped_example_is_true() {
    let text = include_str!("../../deploy/pgweir.yaml");
    let folder = folder();
    let path = |text: &str| text.replace("/etc/pgweir", &folder.path().display().to_string());
    let plain = load_in(folder.path(), &path(text)).unwrap_or_else(|m| panic!("{m:#?}"));
    let defaults =
        good("databases: {app: {servers: [{host: 127.0.0.1}]}}\nusers: {app: {password: secret}}\n");
    assert_eq!(plain, defaults, "an active line of the example differs from the default");

    // `#key: value` is a key that is off; `# Words` are words.
    let lines = text.lines().map(|line| match line.trim_start() {
        rest if rest.starts_with('#') && !rest.starts_with("# ") => line.replacen('#', "", 1),
        _ => line.to_owned(),
    });
    let full = path(&lines.collect::<Vec<_>>().join("\n"));
    let settings = load_in(folder.path(), &full).unwrap_or_else(|m| panic!("{m:#?}"));
    assert_eq!(settings.timeouts, Timeouts::default());
    assert_eq!(settings.databases["app"].pool, PoolSettings::default());
    assert_eq!(settings.limits.clients, Limits::default().clients);
    assert_eq!(settings.log, LogSettings::default());

    // Every key of the schema is in the example.
    let schema = schema::schema();
    let tree = yaml::parse(&full).unwrap();
    let mut missing = Vec::new();
    missing_keys(&schema, &schema, &tree, "", &mut missing);
    let alternatives = ["password_file", "password_env"];
    missing.retain(|key| !alternatives.iter().any(|end| key.ends_with(end)));
    assert!(missing.is_empty(), "not in deploy/pgweir.yaml: {missing:?}");
}

pub(super) fn missing_keys(
    root: &serde_json::Value,
    schema: &serde_json::Value,
    tree: &yaml::Node,
    path: &str,
    missing: &mut Vec<String>,
) {
    let schema = match schema["$ref"].as_str() {
        Some(name) => &root["$defs"][name.trim_start_matches("#/$defs/")],
        None => schema,
    };
    for (key, inner) in schema["properties"].as_object().into_iter().flatten() {
        match tree.get(key) {
            Some(node) => missing_keys(root, inner, node, &format!("{path}.{key}"), missing),
            None => missing.push(format!("{path}.{key}")),
        }
    }
    let (inner, first) = match &tree.value {
        yaml::Value::List(items) => (&schema["items"], items.first()),
        yaml::Value::Map(entries) => (&schema["additionalProperties"], entries.first().map(|(_, node)| node)),
        _ => return,
    };
    if let (true, Some(node)) = (inner.is_object(), first) {
        missing_keys(root, inner, node, &format!("{path}.*"), missing);
    }
}

#[test]
fn the_shipped_schema_is_the_generated_one() {
    let shipped = include_str!("../../deploy/pgweir.schema.json");
    assert!(
        shipped == schema_text(),
        "deploy/pgweir.schema.json is out of date; run `pgweir schema > deploy/pgweir.schema.json`"
    );
}

#[test]
fn a_reload_says_what_it_changes_and_what_waits_for_a_restart() {
    let old = good(SMALL);
    assert_eq!(explain_changes(&old, &old), [""; 0]);
    let new = good(
        "listen: {port: 7000}\nworkers: 7\ndatabases: {app: {servers: [{host: db2}]}, web: {servers: [{host: db}]}}\n\
         users: {new: {password: hunter2}}\ntimeouts: {query: 1s}\n",
    );
    let lines = explain_changes(&old, &new);
    assert_eq!(lines[0], "listen.port: 6432 → 7000; needs a restart");
    assert!(lines[1].starts_with("workers: ") && lines[1].ends_with("→ 7; needs a restart"));
    assert_eq!(
        lines[2..6],
        ["databases.app: changed", "databases.web: added", "users.new: added", "users.app: removed"]
    );
    assert!(lines[6].starts_with("timeouts: "));
    assert_eq!(lines.len(), 7);
    let all = format!("{lines:?}{old:?}{new:?}");
    assert!(!all.contains("hunter2") && !all.contains("secret\""));
}

proptest! {
    #[test]
    fn no_text_panics(text in "[a-z:{}\\[\\], \n&*<0-9'\"-]*") {
        properties::judge(&text);
    }

    /// Values of every kind in every place: never a panic, and never settings beside mistakes.
    #[test]
    fn no_tree_panics(
        key in "(listen|admin|databases|users|auth|limits|log|workers|rules|timeouts)",
        inner in "(tls|servers|pool|query|tokens|address|port|app)",
        value in "(~|1|-1|1.5|true|text|\\[\\]|\\[~\\]|\\{\\}|\\{a: 1\\}|\\{host: 1\\}|\\{pool: \\[\\]\\})",
    ) {
        for text in [format!("{key}: {value}"), format!("{key}: {{{inner}: {value}}}")] {
            properties::judge(&text);
        }
    }
}
