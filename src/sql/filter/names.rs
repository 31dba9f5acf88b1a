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

/// An unquoted word in lower case as one number: its first fifteen bytes, and its length. Longer words may share one,
/// which whoever looks for one of them has to reckon with. 0 stands for no word.
pub type Packed = u128;

/// `word` is in lower case.
#[inline(always)]
pub const fn pack(word: &str) -> Packed {
    pack_bytes(word.as_bytes())
}

#[inline(always)]
pub const fn pack_bytes(bytes: &[u8]) -> Packed {
    let (mut packed, mut at) = (0, 0);
    while at < bytes.len() && at < 15 {
        packed |= (bytes[at].to_ascii_lowercase() as Packed) << (8 * at);
        at += 1;
    }
    let length = if bytes.len() < 255 { bytes.len() } else { 255 };
    packed | (length as Packed) << 120
}

/// Several words.
pub const fn pack_all<const N: usize>(words: [&str; N]) -> [Packed; N] {
    let (mut packed, mut at) = ([0; N], 0);
    while at < N {
        packed[at] = pack(words[at]);
        at += 1;
    }
    packed
}

/// Whether a bracket behind this word makes no call: keywords, and functions of the grammar, which nobody can
/// define anew and which are immutable.
pub fn is_no_call(word: Packed) -> bool {
    const WORDS: [Packed; 52] = pack_all([
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
    ]);
    WORDS.contains(&word)
}
