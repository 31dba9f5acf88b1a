//! Rule files: what they become, every mistake with its place, and that the shipped ones are the defaults.

use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::mistakes::MISTAKES;
use super::*;
use crate::coalesce::prefetch::level::Level;
use crate::coalesce::settings::Insert;
use crate::config::tests::{SMALL, load_in};
use crate::config::{rules_schema_text, yaml};
use crate::maintain::bound::Kind;
use crate::maintain::settings::Archive;
use crate::observe::StatePlace;
use crate::observe::slow_log::settings::{FileSettings, Limit};

fn load(files: &[(&str, &str)]) -> Result<Rules, Vec<String>> {
    let base = tempfile::tempdir().unwrap();
    let folder = base.path().join("rules");
    std::fs::create_dir(&folder).unwrap();
    for (name, text) in files {
        std::fs::write(folder.join(name), text).unwrap();
    }
    load_rules(&folder, base.path()).map_err(|mistakes| {
        let prefix = format!("{}/", folder.display());
        let outer = format!("{}/", base.path().display());
        mistakes.iter().map(|found| found.to_string().replace(&prefix, "").replace(&outer, "")).collect()
    })
}

fn good(text: &str) -> Rules {
    load(&[("a.yaml", text)]).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"))
}

#[test]
fn every_mistake_has_its_place() {
    for &(text, expected) in MISTAKES {
        let mistakes = load(&[("a.yaml", text)]).expect_err(text);
        assert_eq!(mistakes.len(), 1, "{text}: {mistakes:#?}");
        assert!(mistakes[0].starts_with(expected), "{text}\n{}\nshould start {expected}", mistakes[0]);
    }
}

proptest! {
    /// Values of every kind in every place: never a panic, and never rules beside mistakes.
    #[test]
    fn no_tree_panics(
        section in "(observe|slow_log|nplus1|coalesce|partitions|maintenance|x)",
        key in "(state|probe|rules|explain|file|silence|lines_per_minute|over|gap|enabled|shapes|default|tables|insert|every|table)",
        inner in "(file|every|user|path|max_size|mode|shape|table|finding|p99|never|level)",
        value in "(~|1|-1|1\\.5|true|text|''|\\[\\]|\\[~\\]|\\{\\}|\\[\\{shape: 1\\}\\]|\\{a: 1\\}|5s|1MB)",
    ) {
        for text in [
            format!("{section}: {value}"),
            format!("{section}: {{{key}: {value}}}"),
            format!("{section}: {{{key}: {{{inner}: {value}}}}}"),
            format!("{section}: {{{key}: [{{{inner}: {value}}}]}}"),
        ] {
            if let Err(mistakes) = load(&[("a.yaml", &text)]) {
                prop_assert!(!mistakes.is_empty());
                prop_assert!(mistakes.iter().all(|mistake| mistake.starts_with("a.yaml:1:")), "{mistakes:?}");
            }
        }
    }
}

#[test]
fn a_section_stands_in_one_file() {
    let files =
        [("a.yaml", "observe: {shapes: 200}\n"), ("b.yaml", "nplus1: {gap: 1s}\nobserve: {shapes: 300}\n")];
    let mistakes = load(&files).unwrap_err();
    assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    assert!(
        mistakes[0].starts_with("b.yaml:2:1: observe: the section stands in a.yaml already"),
        "{mistakes:?}"
    );
    let rules = load(&[files[0], ("b.yaml", "nplus1: {gap: 1s}\n"), ("c.txt", "x: y"), (".d.yaml", "x: y")]);
    let rules = rules.unwrap();
    assert_eq!((rules.observe.shapes, rules.nplus1.thresholds.gap_us), (200, 1_000_000));
    let two = load(&[("a.yaml", "x: 1\n"), ("b.yaml", "y: 1\n")]).unwrap_err();
    assert!(
        two.len() == 2 && two[0].starts_with("a.yaml:1:1") && two[1].starts_with("b.yaml:1:1"),
        "{two:?}"
    );
    let named = load(&[("a.yml", "")]).unwrap_err();
    assert!(named[0].starts_with("a.yml:1:1: a rule file ends in .yaml"), "{named:?}");
    assert_eq!(load(&[]).unwrap(), Rules::default());
    assert_eq!(load(&[("a.yaml", "# nothing\n"), ("b.yaml", "observe:\n")]).unwrap(), Rules::default());
    assert!(
        load_rules(Path::new("no/such"), Path::new("")).unwrap_err()[0].message.contains("cannot be read")
    );
}

#[test]
fn rules_become_the_rooms_settings() {
    let rules = good(
        "observe: {enabled: false, parameters: true, state: {file: kept, every: 5s}}\n\
         slow_log:\n  over: 200ms\n  parameters: true\n  stdout: true\n  lines_per_minute: {per_shape: 2}\n  \
         rules:\n    - {shape: 00000000000000ff, never: true}\n    - {database: app, user: me, p99: 3, over: 10ms}\n    \
         - {table: a.b, over: 0, explain: off}\n  file: {path: slow.log, max_size: 1GB}\n\
         nplus1: {enabled: false, silence: [{finding: np-0123abcd, reason: x}, {shape: 00000000000000ff}, {table: t}]}\n",
    );
    assert!(!rules.observe.enabled && !rules.wants_values() && rules.thresholds().is_none());
    let StatePlace::File(path) = &rules.observe.state.place else { panic!("a file") };
    assert!(path.ends_with("kept") && path.is_absolute(), "{path:?}");
    assert_eq!(rules.observe.state.every, Duration::from_secs(5));
    let slow = &rules.slow_log;
    assert_eq!(
        (slow.over, slow.lines_per_minute.per_shape, slow.lines_per_minute.all),
        (Duration::from_millis(200), 2, 100)
    );
    assert_eq!((slow.rules[0].shape, slow.rules[0].limit), (Some(255), Limit::Never));
    assert_eq!(slow.rules[1].limit, Limit::P99 { times: 3, floor: Some(Duration::from_millis(10)) });
    assert_eq!(slow.rules[2].limit, Limit::Over(Duration::ZERO));
    let file = slow.file.as_ref().unwrap();
    assert!(file.path.ends_with("slow.log"));
    assert_eq!(*file, FileSettings { path: file.path.clone(), max_size: 1 << 30, keep: 5 });
    assert_eq!(
        rules.nplus1.silence,
        [Silence::Finding("np-0123abcd".to_owned()), Silence::Shape(255), Silence::Table("t".to_owned())]
    );
    let coalesce = good(
        "coalesce: {insert: deferred, serializable: true, default: {level: off}, tables: {public.a: {level: fenced}, \
         b: {level: {bounded: {max_staleness_ms: 200}}}}, shapes: {00000000000000ff: {level: strict}}}\n",
    )
    .coalesce;
    let expected = CoalesceSettings {
        enabled: true,
        default: None,
        serializable: true,
        insert: Insert::Deferred,
        tables: BTreeMap::from([
            ("public.a".to_owned(), Some(Level::Fenced)),
            ("b".to_owned(), Some(Level::Bounded { max_staleness_ms: 200 })),
        ]),
        shapes: BTreeMap::from([(255, Some(Level::Strict))]),
    };
    assert_eq!(coalesce, expected);
    let on = good("observe: {parameters: true}\n");
    assert!(on.wants_values() && on.thresholds() == Some(Thresholds::default()));
    assert!(good("slow_log: {parameters: true}\n").wants_values());
    assert!(!good("slow_log: {parameters: true, enabled: false}\n").wants_values());
}

#[test]
fn tables_become_what_maintenance_obeys() {
    let rules = good(
        "partitions:\n  - {table: public.emissions_data, column: recorded_at, interval: month, premake: 3, \
         time_zone: UTC, retention: {keep: 36 months, archive: {schema: archive}}}\n  \
         - {table: log, column: id, interval: 2 weeks, format: uuidv7, route: off, create_missing: off, zone_maps: [n], database: app, user: me, \
         retention: {keep: 1 year, archive: {parquet: {path: cold}}}}\nmaintenance: {every: 5s}\n",
    );
    let [first, second] = &rules.partitions[..] else { panic!("two") };
    assert_eq!(
        (first.table.to_string(), first.premake, first.route),
        ("public.emissions_data".into(), 3, true)
    );
    assert_eq!(first.retention.as_ref().unwrap().archive, Archive::Schema("archive".to_owned()));
    assert_eq!(second.interval.to_string(), "2 weeks");
    assert_eq!(
        (second.format, second.route, second.create_missing, first.create_missing),
        (Some(Kind::UuidV7), false, false, true)
    );
    let Archive::Parquet(path) = &second.retention.as_ref().unwrap().archive else { panic!("files") };
    assert!(path.ends_with("cold") && path.is_absolute());
    assert_eq!(rules.maintenance.every, Duration::from_secs(5));
}

/// The shipped files, once as they are and once with every commented key in force.
#[test]
fn the_shipped_rules_are_the_defaults() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules");
    let rules = load_rules(&shipped, Path::new("")).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
    assert_eq!(rules, Rules::default());
    assert_eq!(files(&shipped).len(), 6);

    let mut full = String::new();
    for file in files(&shipped) {
        let text = std::fs::read_to_string(file).unwrap();
        // An empty list makes way for the example of one.
        let lines = text.lines().filter(|line| !line.ends_with(": []") && !line.ends_with(": {}"));
        for line in lines {
            let off = line.trim_start();
            let line = if off.starts_with('#') && !off.starts_with("# ") {
                line.replacen('#', "", 1)
            } else {
                line.to_owned()
            };
            full.push_str(&line);
            full.push('\n');
        }
    }
    let rules = good(&full);
    assert_eq!((rules.slow_log.rules.len(), rules.nplus1.silence.len()), (3, 2 + 1));
    assert_eq!((rules.coalesce.tables.len(), rules.coalesce.shapes.len()), (2, 1));
    let file = rules.slow_log.file.unwrap();
    assert_eq!((file.max_size, file.keep), (64 << 20, 5));

    let tree = yaml::parse(&full).unwrap();
    let mut missing = Vec::new();
    crate::config::tests::missing_keys(&schema::rules(), &schema::rules(), &tree, "", &mut missing);
    // They stand in a list of examples, or are not available yet.
    let others = [
        "postgres",
        ".rules.*.never",
        ".rules.*.shape",
        ".rules.*.table",
        ".rules.*.p99",
        ".rules.*.explain",
        ".silence.*.shape",
        ".silence.*.table",
        ".archive.tablespace",
        ".archive.drop",
        ".partitions.*.format",
        ".archive.parquet",
        ".archive.parquet.path",
    ];
    missing.retain(|key| !others.iter().any(|end| key.ends_with(end)));
    assert!(missing.is_empty(), "not in rules/*.yaml: {missing:?}");
}

#[test]
fn the_shipped_schema_is_the_generated_one() {
    let shipped = include_str!("../../../deploy/pgweir-rules.schema.json");
    assert!(
        shipped == rules_schema_text(),
        "deploy/pgweir-rules.schema.json is out of date; run \
         `pgweir schema --rules > deploy/pgweir-rules.schema.json`"
    );
}

#[test]
fn every_key_is_in_the_handbook() {
    let handbook = include_str!("../../../rules/README.md");
    for (section, schema) in [
        ("Observe", "observe"),
        ("SlowLog", "slow_log"),
        ("NPlusOne", "nplus1"),
        ("Coalesce", "coalesce"),
        ("Indexes", "indexes"),
        ("PartitionedTable", "partitions"),
        ("Maintenance", "maintenance"),
    ] {
        let keys = schema::rules()["$defs"][section]["properties"].clone();
        for key in keys.as_object().unwrap().keys() {
            assert!(handbook.contains(&format!("`{key}")), "{schema}.{key} is not in rules/README.md");
        }
    }
}

#[test]
fn the_settings_file_brings_its_rules() {
    let folder = crate::config::tests::folder();
    let write = |text: &str| std::fs::write(folder.path().join("rules/a.yaml"), text).unwrap();
    let text = format!("{SMALL}rules: rules\n");
    write("observe: {shapes: 777, state: {file: kept}}\n");
    let settings = load_in(folder.path(), &text).unwrap();
    assert_eq!(settings.rules.observe.shapes, 777);
    assert_eq!(settings.rules.observe.state.place, StatePlace::File(folder.path().join("kept")));
    write("observe: {shape: 777}\n");
    let mistakes = load_in(folder.path(), &format!("{text}lisen: {{}}\n")).unwrap_err();
    assert_eq!(
        mistakes,
        [
            "pgweir.yaml:4:1: lisen: unknown key; did you mean listen?",
            "rules/a.yaml:1:11: observe.shape: unknown key; did you mean shapes?"
        ]
    );
    write("observe:\n  probe: {user: ap}\n");
    let mistakes = load_in(folder.path(), &text).unwrap_err();
    assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    assert!(
        mistakes[0].starts_with("rules/a.yaml:2:17: observe.probe.user: the user is not listed"),
        "{mistakes:?}"
    );
    assert!(mistakes[0].ends_with("did you mean app?"), "{mistakes:?}");
    write("partitions:\n  - {table: t, column: a, interval: day, user: ap}\n");
    let mistakes = load_in(folder.path(), &text).unwrap_err();
    assert!(
        mistakes[0].starts_with("rules/a.yaml:2:48: partitions.0.user: the user is not listed"),
        "{mistakes:?}"
    );
    write("observe:\n  state: {postgres: {database: ap}}\n");
    let mistakes = load_in(folder.path(), &text).unwrap_err();
    let expected = "rules/a.yaml:2:32: observe.state.postgres.database: the database is not listed in \
                    pgweir.yaml; did you mean app?";
    assert_eq!(mistakes, [expected]);
}
