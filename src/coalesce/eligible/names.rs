//! PostgreSQL's own functions that matter by their names.

use crate::catalog::Oid;

/// The first oid that PostgreSQL gives to what it did not come with.
pub(super) const FIRST_OWN: Oid = 16_384;

/// `float4` and `float8`.
pub(super) const FLOATS: [Oid; 2] = [700, 701];

pub(super) const FLOAT_WORDS: [&str; 6] = ["float", "float4", "float8", "real", "double", "precision"];

/// Not volatile by their declaration, and yet no two connections or moments agree about them; or they run SQL
/// that their arguments name.
const CONNECTION: [&str; 15] = [
    "current_query",
    "currtid2",
    "cursor_to_xml",
    "cursor_to_xmlschema",
    "database_to_xml",
    "database_to_xml_and_xmlschema",
    "database_to_xmlschema",
    "query_to_xml",
    "query_to_xml_and_xmlschema",
    "query_to_xmlschema",
    "schema_to_xml",
    "schema_to_xml_and_xmlschema",
    "schema_to_xmlschema",
    "table_to_xml",
    "ts_stat",
];

/// Families of functions that look at the server or at the connection: `pg_backend_pid`, `txid_current`,
/// `pg_current_xact_id`, `pg_stat_get_…`, `inet_client_addr`, `lo_get`.
const FAMILIES: [&str; 5] = ["pg_", "txid_", "inet_client_", "inet_server_", "lo_"];

/// Of those families, what looks at its arguments only.
const HARMLESS: [&str; 3] = ["pg_typeof", "pg_column_size", "pg_collation_for"];

pub(super) fn is_of_connection(name: &str) -> bool {
    let family = FAMILIES.iter().any(|family| name.starts_with(family)) && !HARMLESS.contains(&name);
    family || CONNECTION.contains(&name) || name.starts_with("table_to_xml")
}

/// Functions of extensions that run SQL which their arguments name.
pub(super) fn runs_its_arguments(name: &str) -> bool {
    ["crosstab", "connectby", "xpath_table", "dblink"].iter().any(|family| name.starts_with(family))
}

const TIME: [&str; 9] = [
    "age",
    "current_date",
    "current_time",
    "current_timestamp",
    "localtime",
    "localtimestamp",
    "now",
    "statement_timestamp",
    "transaction_timestamp",
];

/// `age` with one argument counts from today.
pub(super) fn is_time(name: &str) -> bool {
    TIME.contains(&name)
}

pub(super) fn reads_settings(name: &str) -> bool {
    name == "current_setting"
}

/// Written like a function, and none: constructs of the grammar, which run nothing but what they are given.
const GRAMMAR: [&str; 62] = [
    "all",
    "and",
    "any",
    "array",
    "as",
    "between",
    "by",
    "case",
    "cast",
    "ceil",
    "coalesce",
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "distinct",
    "else",
    "except",
    "exists",
    "extract",
    "filter",
    "floor",
    "from",
    "greatest",
    "group",
    "grouping",
    "having",
    "in",
    "intersect",
    "is",
    "join",
    "lateral",
    "least",
    "like",
    "limit",
    "localtime",
    "localtimestamp",
    "materialized",
    "not",
    "nullif",
    "offset",
    "on",
    "or",
    "over",
    "overlay",
    "partition",
    "position",
    "row",
    "select",
    "session_user",
    "some",
    "substring",
    "then",
    "trim",
    "union",
    "user",
    "using",
    "values",
    "when",
];

pub(super) fn is_grammar(name: &str) -> bool {
    GRAMMAR.contains(&name)
        || matches!(name, "where" | "with" | "within" | "ilike" | "cube" | "rollup" | "sets")
}

/// Aggregates that put their rows in the order in which they come.
pub(super) fn depends_on_order(name: &str) -> bool {
    matches!(
        name,
        "array_agg"
            | "string_agg"
            | "json_agg"
            | "json_agg_strict"
            | "json_arrayagg"
            | "jsonb_agg"
            | "jsonb_agg_strict"
            | "json_object_agg"
            | "json_objectagg"
            | "xmlagg"
            | "json_object_agg_strict"
            | "json_object_agg_unique"
            | "jsonb_object_agg"
            | "jsonb_object_agg_strict"
            | "jsonb_object_agg_unique"
    )
}

/// Aggregates that round as they go, if their rows are floats.
pub(super) fn sums(name: &str) -> bool {
    matches!(name, "sum" | "avg" | "corr")
        || ["stddev", "var", "covar_", "regr_"]
            .iter()
            .any(|family| name.starts_with(family) && name != "varchar")
}

/// Makes no float of what is none.
pub(super) fn keeps_type(name: &str) -> bool {
    ["coalesce", "nullif", "greatest", "least", "abs", "round", "count", "min", "max", "bool_and", "bool_or"]
        .contains(&name)
}
