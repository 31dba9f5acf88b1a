//! The functions that have a meaning here, and words that stand in front of a bracket without being one. Pure.

/// PostgreSQL's own functions on times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Func {
    DateTrunc,
    DatePart,
    ToChar,
    Date,
    Timezone,
    Now,
    CurrentDate,
    LocalTimestamp,
    ClockTimestamp,
    Age,
    ToTimestamp,
    ToDate,
    MakeDate,
    MakeTimestamptz,
    TstzRange,
    TsRange,
    DateRange,
    /// Any other.
    Other,
}

impl Func {
    /// By its name, in any case.
    pub fn named(name: &[u8]) -> Func {
        const NAMES: [(&str, Func); 21] = [
            ("date_trunc", Func::DateTrunc),
            ("date_part", Func::DatePart),
            ("to_char", Func::ToChar),
            ("date", Func::Date),
            ("timezone", Func::Timezone),
            ("now", Func::Now),
            ("current_timestamp", Func::Now),
            ("transaction_timestamp", Func::Now),
            ("current_date", Func::CurrentDate),
            ("localtimestamp", Func::LocalTimestamp),
            ("clock_timestamp", Func::ClockTimestamp),
            // The statement began after its transaction.
            ("statement_timestamp", Func::ClockTimestamp),
            ("age", Func::Age),
            ("to_timestamp", Func::ToTimestamp),
            ("to_date", Func::ToDate),
            ("make_date", Func::MakeDate),
            ("make_timestamptz", Func::MakeTimestamptz),
            ("tstzrange", Func::TstzRange),
            ("tsrange", Func::TsRange),
            ("daterange", Func::DateRange),
            ("timestamptz", Func::Other),
        ];
        let found = NAMES.iter().find(|(known, _)| name.eq_ignore_ascii_case(known.as_bytes()));
        found.map_or(Func::Other, |(_, func)| *func)
    }
}

/// Whether a bracket behind this word makes no call: keywords, and functions of the grammar, which nobody can
/// define anew and which are immutable.
pub fn is_no_call(word: &[u8]) -> bool {
    const WORDS: [&str; 52] = [
        "and",
        "or",
        "not",
        "in",
        "any",
        "all",
        "some",
        "exists",
        "values",
        "select",
        "where",
        "on",
        "from",
        "as",
        "case",
        "when",
        "then",
        "else",
        "by",
        "using",
        "over",
        "filter",
        "with",
        "join",
        "row",
        "cast",
        "extract",
        "between",
        "like",
        "ilike",
        "similar",
        "to",
        "union",
        "intersect",
        "except",
        "distinct",
        "coalesce",
        "nullif",
        "greatest",
        "least",
        "substring",
        "trim",
        "position",
        "overlay",
        "is",
        "array",
        "lateral",
        "limit",
        "offset",
        "having",
        "recursive",
        "materialized",
    ];
    WORDS.iter().any(|known| word.eq_ignore_ascii_case(known.as_bytes()))
}
