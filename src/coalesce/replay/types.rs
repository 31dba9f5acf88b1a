//! Which array holds values of a type. Of PostgreSQL's own types a table, which no version has ever changed;
//! of others whoever knows the catalog has to say. Knows no value.

use crate::catalog::Oid;

pub use crate::catalog::ArrayType;

pub const INT4: Oid = 23;
pub const INT8: Oid = 20;
pub const NUMERIC: Oid = 1700;
pub const TEXT: Oid = 25;
pub const INTERVAL: Oid = 1186;

/// Element and array, by element: `select oid, typarray from pg_type`. Left out are pseudo-types, which no
/// value has, and `int2vector` and `oidvector`, which are arrays by themselves.
#[rustfmt::skip]
const ARRAYS: [(Oid, Oid); 70] = [
    (16, 1000), (17, 1001), (18, 1002), (19, 1003), (20, 1016), (21, 1005), (23, 1007), (24, 1008), (25, 1009),
    (26, 1028), (27, 1010), (28, 1011), (29, 1012), (114, 199), (142, 143), (600, 1017), (601, 1018),
    (602, 1019), (603, 1020), (604, 1027), (628, 629), (650, 651), (700, 1021), (701, 1022), (718, 719),
    (774, 775), (790, 791), (829, 1040), (869, 1041), (1033, 1034), (1042, 1014), (1043, 1015), (1082, 1182),
    (1083, 1183), (1114, 1115), (1184, 1185), (1186, 1187), (1266, 1270), (1560, 1561), (1562, 1563),
    (1700, 1231), (1790, 2201), (2202, 2207), (2203, 2208), (2204, 2209), (2205, 2210), (2206, 2211),
    (2950, 2951), (2970, 2949), (3220, 3221), (3614, 3643), (3615, 3645), (3734, 3735), (3769, 3770),
    (3802, 3807), (3904, 3905), (3906, 3907), (3908, 3909), (3910, 3911), (3912, 3913), (3926, 3927),
    (4072, 4073), (4089, 4090), (4096, 4097), (4191, 4192), (4451, 6150), (4532, 6151), (4533, 6152),
    (4534, 6153), (4535, 6155),
];

/// Those that came later, or stand out of order.
const LATER: [(Oid, Oid); 3] = [(4536, 6157), (5038, 5039), (5069, 271)];

/// `box`, the only type of PostgreSQL's own with another delimiter.
const BOX: Oid = 603;

/// The array type of one of PostgreSQL's own types.
pub fn builtin(element: Oid) -> Option<ArrayType> {
    let array = match ARRAYS.binary_search_by_key(&element, |pair| pair.0) {
        Ok(at) => ARRAYS[at].1,
        Err(_) => LATER.iter().find(|pair| pair.0 == element)?.1,
    };
    let delimiter = if element == BOX { b';' } else { b',' };
    Some(ArrayType { oid: array, delimiter, composite: false })
}

/// The type that PostgreSQL gives to a whole number without quotes: the smallest of `int4`, `int8` and
/// `numeric` that holds it. `None`: not written as digits with at most a minus sign right before them.
pub fn of_integer(literal: &[u8]) -> Option<Oid> {
    let (negative, digits) = match literal {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |number: i128, digit: &u8| number.checked_mul(10)?.checked_add(i128::from(digit - b'0'));
    let Some(number) = digits.iter().try_fold(0_i128, add) else {
        return Some(NUMERIC);
    };
    let number = if negative { -number } else { number };
    Some(match (i32::try_from(number), i64::try_from(number)) {
        (Ok(_), _) => INT4,
        (_, Ok(_)) => INT8,
        _ => NUMERIC,
    })
}

/// Whether in texts of this client encoding a byte below 128 is always a character of its own. In the others
/// a quote or backslash may be the second half of a letter, so that nothing may be put in front of it.
pub fn is_safe_encoding(name: &str) -> bool {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    let unsafe_ones = [
        "big5",
        "win950",
        "windows950",
        "gb18030",
        "gbk",
        "win936",
        "windows936",
        "johab",
        "sjis",
        "mskanji",
        "shiftjis",
        "win932",
        "windows932",
        "shiftjis2004",
        "uhc",
        "win949",
        "windows949",
    ];
    !unsafe_ones.iter().any(|other| plain.eq_ignore_ascii_case(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_of_built_in_types() {
        assert!(ARRAYS.is_sorted());
        assert_eq!(builtin(1042).map(|array| array.oid), Some(1014));
        assert_eq!(builtin(5069).map(|array| array.oid), Some(271));
        assert_eq!(builtin(603).map(|array| array.delimiter), Some(b';'));
        for none in [0, 22, 30, 705, 1007, 2249, 2275, 16_384] {
            assert_eq!(builtin(none), None);
        }
    }

    #[test]
    fn whole_numbers_have_the_type_of_their_size() {
        for (literal, oid) in [
            ("0", INT4),
            ("2147483647", INT4),
            ("2147483648", INT8),
            ("-2147483648", INT4),
            ("-2147483649", INT8),
            ("9223372036854775807", INT8),
            ("-9223372036854775808", INT8),
            ("9223372036854775808", NUMERIC),
            ("000000000000000000000000000000000000000000000000000001", INT4),
            ("99999999999999999999999999999999999999999999999999999", NUMERIC),
        ] {
            assert_eq!(of_integer(literal.as_bytes()), Some(oid), "{literal}");
        }
        for none in ["", "-", "- 1", "+1", "0x1f", "1_000", "1.0", "--1"] {
            assert_eq!(of_integer(none.as_bytes()), None, "{none}");
        }
    }

    #[test]
    fn encodings_whose_letters_may_end_with_a_backslash() {
        for name in ["SJIS", "Shift_JIS_2004", "gbk", "GB18030", "BIG5", "UHC", "johab", "windows-949"] {
            assert!(!is_safe_encoding(name), "{name}");
        }
        for name in ["UTF8", "SQL_ASCII", "LATIN1", "EUC_JP", "WIN1252"] {
            assert!(is_safe_encoding(name), "{name}");
        }
    }
}
