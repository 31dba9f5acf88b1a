//! Mistakes in rule files, and what is said of each.

/// A file with one mistake, and how its line starts.
pub const MISTAKES: &[(&str, &str)] = &[
    ("slow_logs: {}\n", "a.yaml:1:1: slow_logs: unknown key; did you mean slow_log?"),
    (
        "colour: {}\n",
        "a.yaml:1:1: colour: unknown key; the keys here are coalesce, indexes, maintenance, nplus1, observe",
    ),
    ("observe:\n  enable: true\n", "a.yaml:2:3: observe.enable: unknown key; did you mean enabled?"),
    ("observe: {enabled: 1}\n", "a.yaml:1:20: observe.enabled: expected true or false, found a number"),
    ("observe: {shapes: 5}\n", "a.yaml:1:19: observe.shapes: expected a whole number from 100"),
    ("observe: {state: {every: 0}}\n", "a.yaml:1:26: observe.state.every: give a duration of 1s"),
    ("observe: {state: {every: 5}}\n", "a.yaml:1:26: observe.state.every: expected a duration"),
    ("observe: {state: {file: no/such/x}}\n", "a.yaml:1:25: observe.state.file: no/such/x cannot be"),
    (
        "observe: {state: {postgres: {schema: x}}}\n",
        "a.yaml:1:19: observe.state.postgres: the key database is missing",
    ),
    (
        "observe:\n  state:\n    file: x\n    postgres: {database: app}\n",
        "a.yaml:2:3: observe.state: file and postgres are both set; keep one",
    ),
    (
        "observe:\n  state:\n    postgres: {database: app, schema: ''}\n",
        "a.yaml:3:39: observe.state.postgres.schema: the name is empty",
    ),
    ("observe: {probe: {refresh: 0}}\n", "a.yaml:1:28: observe.probe.refresh: 0 would"),
    ("slow_log: {over: 1}\n", "a.yaml:1:18: slow_log.over: expected a duration"),
    ("slow_log:\n  rules:\n    - {table: t}\n", "a.yaml:3:7: slow_log.rules.0: says of nothing when"),
    ("slow_log: {rules: [{never: true, p99: 2}]}\n", "a.yaml:1:20: slow_log.rules.0: never goes with"),
    ("indexes: {auto: {hours: night}}\n", "a.yaml:1:25: indexes.auto.hours: expected two different times"),
    ("indexes: {auto: {verify_within: 0}}\n", "a.yaml:1:33: indexes.auto.verify_within: 0 would mean"),
    ("indexes: {auto: {tables: [users]}}\n", "a.yaml:1:27: indexes.auto.tables.0: expected schema.name"),
    ("indexes: {auto: {confidence: low}}\n", "a.yaml:1:30: indexes.auto.confidence: expected"),
    ("indexes: {dismiss: [{id: x}]}\n", "a.yaml:1:26: indexes.dismiss.0.id: expected an id such as ix-"),
    ("slow_log: {rules: [{p99: 0}]}\n", "a.yaml:1:26: slow_log.rules.0.p99: expected a whole number from 1"),
    (
        "slow_log: {rules: [{shape: 12, over: 1s}]}\n",
        "a.yaml:1:28: slow_log.rules.0.shape: expected text, found a number; put it in quotes",
    ),
    ("slow_log: {rules: [{shape: abc, over: 1s}]}\n", "a.yaml:1:28: slow_log.rules.0.shape: expected 16 hex"),
    ("slow_log: {rules: [{user: '', over: 1s}]}\n", "a.yaml:1:27: slow_log.rules.0.user: the name is empty"),
    (
        "slow_log: {rules: [{usr: a, over: 1s}]}\n",
        "a.yaml:1:21: slow_log.rules.0.usr: unknown key; did you mean user?",
    ),
    (
        "slow_log: {explain: {mode: analyse}}\n",
        "a.yaml:1:28: slow_log.explain.mode: expected one of off, plain, analyze; did you mean analyze?",
    ),
    (
        "slow_log: {file: {path: slow.log, max_size: 64}}\n",
        "a.yaml:1:45: slow_log.file.max_size: expected a size such as 64kB",
    ),
    ("slow_log: {file: {path: slow.log, max_size: 1kB}}\n", "a.yaml:1:45: slow_log.file.max_size: too small"),
    ("slow_log: {file: {path: no/such/log}}\n", "a.yaml:1:25: slow_log.file.path: no/such/log cannot be"),
    ("slow_log: {file: {keep: 2}}\n", "a.yaml:1:12: slow_log.file: the key path is missing"),
    (
        "slow_log: {per_shape: 2}\n",
        "a.yaml:1:12: slow_log.per_shape: unknown key; did you mean lines_per_minute.per_shape?",
    ),
    ("nplus1: {distinct: 7}\n", "a.yaml:1:20: nplus1.distinct: distinct 7 is larger than minimum 5"),
    ("nplus1: {gap: 0}\n", "a.yaml:1:15: nplus1.gap: 0 would"),
    ("nplus1: {silence: [{finding: np-1}]}\n", "a.yaml:1:30: nplus1.silence.0.finding: expected an id"),
    ("nplus1: {silence: [{reason: x}]}\n", "a.yaml:1:20: nplus1.silence.0: expected exactly one of"),
    (
        "nplus1: {silence: [{table: a, shape: 00000000000000ff}]}\n",
        "a.yaml:1:20: nplus1.silence.0: expected exactly one of",
    ),
    ("coalesce: {enable: true}\n", "a.yaml:1:12: coalesce.enable: unknown key; did you mean enabled?"),
    (
        "coalesce: {default: {level: fensed}}\n",
        "a.yaml:1:29: coalesce.default.level: expected one of off, strict, fenced, bounded: {…}; did you mean fenced?",
    ),
    ("coalesce: {default: fenced}\n", "a.yaml:1:21: coalesce.default: expected a mapping"),
    ("coalesce: {tables: {a: {}}}\n", "a.yaml:1:21: coalesce.tables.a: the key level is missing"),
    (
        "coalesce: {tables: {a: {level: {bounded: {}}}}}\n",
        "a.yaml:1:33: coalesce.tables.a.level.bounded: the key max_staleness_ms is missing",
    ),
    (
        "coalesce: {tables: {a: {level: {bounded: {max_staleness_ms: 5000}}}}}\n",
        "a.yaml:1:61: coalesce.tables.a.level.bounded.max_staleness_ms: expected a whole number from 1 to 1000",
    ),
    (
        "coalesce: {tables: {a: {level: {}}}}\n",
        "a.yaml:1:32: coalesce.tables.a.level: the key bounded is missing",
    ),
    (
        "coalesce: {tables: {a.b.c: {level: strict}}}\n",
        "a.yaml:1:21: coalesce.tables.a.b.c: expected a table's",
    ),
    ("coalesce: {shapes: {abc: {level: off}}}\n", "a.yaml:1:21: coalesce.shapes.abc: expected 16 hex"),
    (
        "coalesce: {insert: merge}\n",
        "a.yaml:1:20: coalesce.insert: expected one of off, merged, grouped, deferred",
    ),
    ("coalesce: {serializable: 1}\n", "a.yaml:1:26: coalesce.serializable: expected true or false"),
    ("partitions: [{column: at, interval: day}]\n", "a.yaml:1:14: partitions.0: the key table is missing"),
    (
        "partitions:\n  - {table: a.b.c, column: at, interval: day}\n",
        "a.yaml:2:13: partitions.0.table: expected the name of a table",
    ),
    (
        "partitions:\n  - {table: t, column: at, interval: fortnight}\n",
        "a.yaml:2:38: partitions.0.interval: expected hour, day, week",
    ),
    (
        "partitions:\n  - {table: t, column: at, interval: 5 hours}\n",
        "a.yaml:2:38: partitions.0.interval: a day must hold a whole number",
    ),
    (
        "partitions:\n  - {table: t, column: at, interval: day, premake: -1}\n",
        "a.yaml:2:52: partitions.0.premake: expected a whole number from 0 to 1000",
    ),
    (
        "partitions:\n  - {table: t, column: at, interval: day, premke: 1}\n",
        "a.yaml:2:43: partitions.0.premke: unknown key; did you mean premake?",
    ),
    (
        "partitions:\n  - {table: t, column: at, interval: day, route: yes}\n",
        "a.yaml:2:50: partitions.0.route: expected one of on, off",
    ),
    (
        "partitions:\n  - {table: t, column: at, interval: day, retention: {keep: 1 year}}\n",
        "a.yaml:2:43: partitions.0.retention: the key archive is missing",
    ),
    (
        "partitions:\n  - {table: t, column: at, interval: day, retention: {keep: 1 year, archive: {}}}\n",
        "a.yaml:2:69: partitions.0.retention.archive: expected exactly one of schema",
    ),
    (
        "partitions:\n  - {table: t, column: a, interval: day}\n  - {table: public.t, column: b, interval: day}\n",
        "a.yaml:3:13: partitions.1.table: the table has an entry already",
    ),
    ("maintenance: {every: 0}\n", "a.yaml:1:22: maintenance.every: 0 would"),
    ("maintenance: {schema: ''}\n", "a.yaml:1:23: maintenance.schema: the name is empty"),
    ("- 1\n", "a.yaml:1:1: expected a mapping"),
    ("observe: {\n", "a.yaml:1:10: "),
];
