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

/// An unquoted word as one number, the same in lower and upper case: its first fifteen bytes, and its length. Longer
/// words may share one, which whoever looks for one of them has to reckon with. 0 stands for no word.
pub type Packed = u128;

/// The bit that tells the cases of a letter apart, in each of sixteen bytes. It is set in all of them: no digit is
/// changed by that, and `_` becomes what no word contains.
const CASE: u128 = u128::from_le_bytes([0x20; 16]);

/// How many bytes of a word are looked at.
const LOOKED_AT: usize = 15;

pub const fn pack(word: &str) -> Packed {
    pack_bytes(word.as_bytes())
}

pub const fn pack_bytes(bytes: &[u8]) -> Packed {
    let (mut packed, mut at) = (0, 0);
    while at < bytes.len() && at < LOOKED_AT {
        packed |= (bytes[at] as Packed) << (8 * at);
        at += 1;
    }
    finish(packed, bytes.len())
}

/// The word between two places of a text, by sixteen bytes at once where there are as many.
#[inline(always)]
pub fn pack_at(text: &[u8], start: usize, end: usize) -> Packed {
    match text.get(start..).and_then(|text| text.first_chunk()) {
        Some(bytes) => finish(u128::from_le_bytes(*bytes), end - start),
        None => pack_bytes(&text[start..end]),
    }
}

const fn finish(bytes: u128, length: usize) -> Packed {
    let looked_at = if length < LOOKED_AT { length } else { LOOKED_AT };
    let mask = (1 << (8 * looked_at)) - 1;
    let length = if length < 255 { length } else { 255 };
    ((bytes | CASE) & mask) | (length as Packed) << 120
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_packed_alike_wherever_they_stand() {
        let words =
            ["a", "on", "where", "current_date", "materialized", "current_timesta", "current_timestamp"];
        for word in words {
            for (before, after) in [("", ""), ("x ", ""), ("", " and some more text behind it"), ("(", ")")] {
                let text = format!("{before}{}{after}", word.to_ascii_uppercase());
                let (start, end) = (before.len(), before.len() + word.len());
                assert_eq!(pack_at(text.as_bytes(), start, end), pack(word), "{text}");
            }
        }
        for (at, one) in words.iter().enumerate() {
            assert!(words[..at].iter().all(|other| pack(other) != pack(one)), "{one}");
        }
        assert_ne!(pack("ab"), pack("abc"));
    }
}
