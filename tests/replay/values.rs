//! Types and values: every built-in type that has an array, and types of a user's own. Values are present in the
//! tables or absent, equal in other words (1 and 1.00), and such as trip over quotes, brackets and bytes.

/// Name for its tables, how SQL writes the type, values in text form.
pub struct Kind {
    pub name: &'static str,
    pub sql: &'static str,
    pub values: &'static [&'static str],
}

const fn kind(name: &'static str, sql: &'static str, values: &'static [&'static str]) -> Kind {
    Kind { name, sql, values }
}

const TEXTS: &[&str] = &[
    "a",
    "",
    "NULL",
    "null",
    "it's",
    "say \"x\"",
    "back\\slash",
    "{a,b}",
    "a,b",
    " lead",
    "trail ",
    "new\nline",
    "tab\t",
    "é ß 漢字",
    "🐘",
    "\\\\\"",
    "(1,2)",
    "A",
    "a ",
    "%a_",
    "$1",
    "--x",
    "/*",
    "';drop",
    "\u{1}",
];

const RANGES: &[&str] = &["empty", "[1,2)", "[1,1]", "(,5)", "[3,)", "(,)", "[1,10)"];
const MULTIRANGES: &[&str] = &["{}", "{[1,2)}", "{[1,2),[5,9)}", "{(,1)}", "{(,)}"];
const TIMES: &[&str] =
    &["2024-01-02 03:04:05.678901", "infinity", "-infinity", "0001-01-01 00:00:00 BC", "2024-02-29"];
const FLOATS: &[&str] = &["0", "-0", "1", "1.5", "NaN", "Infinity", "-Infinity", "1e-30", "3.4e30", "0.1"];

#[rustfmt::skip]
pub const KINDS: &[Kind] = &[
    kind("bool", "bool", &["t", "f"]),
    kind("bytea", "bytea", &["\\x", "\\x00", "\\xdeadbeef", "\\x5c22", "abc"]),
    kind("onechar", "\"char\"", &["a", "", "\\", "\"", "z"]),
    kind("name", "name", TEXTS),
    kind("int8", "int8", &["0", "1", "-1", "9223372036854775807", "-9223372036854775808", "42"]),
    kind("int2", "int2", &["0", "1", "-1", "32767", "-32768"]),
    kind("int4", "int4", &["0", "1", "-1", "2147483647", "-2147483648", "7"]),
    kind("regproc", "regproc", &["pg_catalog.now", "-", "pg_catalog.pi", "12345"]),
    kind("text", "text", TEXTS),
    kind("oid", "oid", &["0", "1", "4294967295"]),
    kind("tid", "tid", &["(0,1)", "(4294967295,65535)", "(1,2)"]),
    kind("xid", "xid", &["0", "3", "4294967295"]),
    kind("cid", "cid", &["0", "3"]),
    kind("json", "json", &["{}", "{\"a\": \"\\\\ \\\" \"}", "[1, 2]", " null ", "\"x\""]),
    kind("xml", "xml", &["<a/>", "<a b=\"c\">'\\ {}</a>", "x"]),
    kind("point", "point", &["(0,0)", "(1.5,-2)", "(NaN,1)"]),
    kind("lseg", "lseg", &["[(0,0),(1,1)]", "[(1,2),(3,4)]"]),
    kind("path", "path", &["((0,0),(1,1))", "[(0,0),(1,1)]"]),
    kind("box", "box", &["(1,1),(0,0)", "(4,3),(2,1)"]),
    kind("polygon", "polygon", &["((0,0),(1,1),(2,0))", "((0,0))"]),
    kind("line", "line", &["{1,2,3}", "{0,-1,5}"]),
    kind("cidr", "cidr", &["10.0.0.0/8", "::1/128", "192.168.1.0/24"]),
    kind("float4", "float4", FLOATS),
    kind("float8", "float8", FLOATS),
    kind("circle", "circle", &["<(0,0),1>", "<(1,2),3.5>"]),
    kind("macaddr8", "macaddr8", &["08:00:2b:01:02:03:04:05"]),
    kind("money", "money", &["$1.00", "-$2.50", "0"]),
    kind("macaddr", "macaddr", &["08:00:2b:01:02:03", "ff:ff:ff:ff:ff:ff"]),
    kind("inet", "inet", &["10.0.0.1", "10.0.0.1/8", "::1", "10.0.0.1/32"]),
    kind("aclitem", "aclitem", &["postgres=r/postgres", "=w/postgres"]),
    kind("bpchar", "bpchar", &["a", "a  ", "", "ab", "abcdefgh", "é"]),
    kind("char5", "character(5)", &["a", "a    ", "", "ab", "abcde", "é"]),
    kind("varchar", "varchar", TEXTS),
    kind("varchar9", "varchar(9)", &["a", "", "abcdefghi", "a ", "it's", "{,}"]),
    kind("date", "date", &["2024-02-29", "infinity", "-infinity", "0044-03-15 BC", "5874897-12-31"]),
    kind("time", "time", &["00:00", "24:00:00", "12:34:56.789"]),
    kind("timestamp", "timestamp", TIMES),
    kind("timestamp0", "timestamp(0)", TIMES),
    kind("timestamptz", "timestamptz", &["2024-01-02 03:04:05+02", "2024-01-02 01:04:05Z", "infinity", "0001-01-01 BC"]),
    kind("interval", "interval", &["1 day", "24:00:00", "1 mon", "30 days", "-1 year 2 mons", "0"]),
    kind("intervalday", "interval day", &["1 day", "3 days", "0"]),
    kind("timetz", "timetz", &["12:00+00", "14:00+02", "24:00:00-15:59"]),
    kind("bit3", "bit(3)", &["101", "000", "111"]),
    kind("varbit", "varbit", &["", "1", "10101", "000"]),
    kind("numeric", "numeric", &["1", "1.0", "1.00", "NaN", "0", "-0.0", "12345678901234567890.123456789", "Infinity"]),
    kind("numeric102", "numeric(10,2)", &["1", "1.00", "12345678.90", "-0.01"]),
    kind("refcursor", "refcursor", TEXTS),
    kind("regprocedure", "regprocedure", &["pg_catalog.now()", "-"]),
    kind("regoper", "regoper", &["0", "15"]),
    kind("regoperator", "regoperator", &["pg_catalog.+(integer,integer)", "0"]),
    kind("regclass", "regclass", &["pg_catalog.pg_class", "-", "pg_catalog.pg_type", "99999"]),
    kind("regtype", "regtype", &["integer", "-", "\"char\"", "character varying"]),
    kind("uuid", "uuid", &["00000000-0000-0000-0000-000000000000", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "{A0EEBC999C0B4EF8BB6D6BB9BD380A11}"]),
    kind("txid_snapshot", "txid_snapshot", &["10:20:10,14,15", "1:1:"]),
    kind("pg_snapshot", "pg_snapshot", &["10:20:10,14,15", "1:1:"]),
    kind("pg_lsn", "pg_lsn", &["0/0", "16/B374D848"]),
    kind("tsvector", "tsvector", &["", "a:1 b:2A", "'it''s':3", "'back\\\\slash'"]),
    kind("tsquery", "tsquery", &["a", "a & !b", "'x y':*"]),
    kind("regconfig", "regconfig", &["simple", "english"]),
    kind("regdictionary", "regdictionary", &["simple"]),
    kind("jsonb", "jsonb", &["{}", "{\"a\": [1, \"\\\" \\\\\"]}", "null", "1", "1.0", "\"x\""]),
    kind("int4range", "int4range", RANGES),
    kind("numrange", "numrange", RANGES),
    kind("int8range", "int8range", RANGES),
    kind("tsrange", "tsrange", &["empty", "[2024-01-01,2024-02-01)", "(,)"]),
    kind("tstzrange", "tstzrange", &["empty", "[2024-01-01 00:00+00,2024-02-01 00:00+00)"]),
    kind("daterange", "daterange", &["empty", "[2024-01-01,2024-02-01)", "[2024-01-01,2024-01-31]"]),
    kind("jsonpath", "jsonpath", &["$", "$.a[*]?(@ > 1)", "$.\"x y\""]),
    kind("regnamespace", "regnamespace", &["pg_catalog", "public"]),
    kind("regrole", "regrole", &["postgres", "-"]),
    kind("regcollation", "regcollation", &["\"C\"", "\"default\""]),
    kind("int4multirange", "int4multirange", MULTIRANGES),
    kind("nummultirange", "nummultirange", MULTIRANGES),
    kind("int8multirange", "int8multirange", MULTIRANGES),
    kind("datemultirange", "datemultirange", &["{}", "{[2024-01-01,2024-02-01)}"]),
    kind("tsmultirange", "tsmultirange", &["{}", "{[2024-01-01,2024-02-01)}"]),
    kind("tstzmultirange", "tstzmultirange", &["{}", "{[2024-01-01 00:00+00,2024-02-01 00:00+00)}"]),
    kind("xid8", "xid8", &["0", "18446744073709551615"]),
    // A user's own.
    kind("mood", "mood", &["sad", "ok", "it's \"{\\,\""]),
    kind("dtext", "dtext", TEXTS),
    kind("dint", "dint", &["1", "2", "300"]),
    kind("comp", "comp", &["(1,a)", "(,)", "(2,\"it's \"\"x\"\" {\\\\}, ()\")", "(1,\"\")"]),
    kind("dcomp", "dcomp", &["(1,a)", "(2,\"b,c\")"]),
    kind("floatrange", "floatrange", &["empty", "[0.5,1.5)", "(,)"]),
    kind("ndtext", "text collate nd", &["a", "A", "é", "e\u{301}", "É", "ß", "SS", "", "it's"]),
    kind("ctext", "text collate \"C\"", TEXTS),
    // Of extensions, where they are installed.
    kind("citext", "citext", &["a", "A", "É", "é", "it's", "", "{A}", "\\\""]),
    kind("hstore", "hstore", &["", "a=>1", "\"a b\"=>\"c\\\"d\"", "x=>NULL"]),
    kind("ltree", "ltree", &["a", "a.b.c", ""]),
];

/// What the types of a user's own need; one that fails leaves its type out.
pub const SETUP: &[&str] = &[
    "CREATE EXTENSION citext",
    "CREATE EXTENSION hstore",
    "CREATE EXTENSION ltree",
    "CREATE TYPE mood AS ENUM ('sad', 'ok', 'it''s \"{\\,\"')",
    "CREATE DOMAIN dtext AS text CHECK (length(VALUE) < 100000)",
    "CREATE DOMAIN dint AS int NOT NULL CHECK (VALUE > 0)",
    "CREATE TYPE comp AS (a int, b text)",
    "CREATE DOMAIN dcomp AS comp CHECK ((VALUE).a > 0)",
    "CREATE TYPE floatrange AS RANGE (SUBTYPE = float8)",
    "CREATE COLLATION nd (PROVIDER = icu, LOCALE = 'und-u-ks-level2', DETERMINISTIC = false)",
];

/// Bytes of the value that is meant to be long.
pub const HUGE: usize = 10_000;

/// Whether a value of any length fits.
pub fn takes_huge(sql: &str) -> bool {
    matches!(
        sql,
        "text" | "varchar" | "dtext" | "citext" | "refcursor" | "text collate nd" | "text collate \"C\""
    )
}
