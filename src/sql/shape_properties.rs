//! What must hold for the shape of any text, and what makes two statements one shape. The fuzz target runs
//! `any_text` with coverage to guide it, and the tests below a bounded number of times. Pure.

use super::shape::{Hole, Shaper};

/// Whatever the bytes: values are told in order and within the text, and the canonical text is its own.
pub fn any_text(text: &[u8], standard_strings: bool) {
    let (mut shaper, mut found) = (Shaper::default(), Vec::new());
    let mut end = 0;
    shaper.shapes(text, standard_strings, |shape| {
        assert_ne!(shape.fingerprint, 0);
        end = holes_follow(shape.holes, end, text.len());
        found.push((shape.fingerprint, shape.canonical.to_vec()));
    });
    for (start, end) in [shaper.first_comment, shaper.last_comment].into_iter().flatten() {
        assert!(text[start as usize..end as usize].starts_with(b"/*"));
    }
    for (fingerprint, canonical) in found {
        let mut count = 0;
        shaper.shapes(&canonical, true, |again| {
            let shown = || String::from_utf8_lossy(again.canonical).into_owned();
            assert_eq!(
                again.canonical,
                canonical,
                "{} again: {}",
                String::from_utf8_lossy(&canonical),
                shown()
            );
            assert_eq!(again.fingerprint, fingerprint);
            count += 1;
        });
        assert_eq!(count, 1, "{}", String::from_utf8_lossy(&canonical));
    }
}

/// Returns the end of the last hole.
fn holes_follow(holes: &[Hole], mut end: u32, length: usize) -> u32 {
    let mut highest = 0;
    for hole in holes {
        assert!(hole.start >= end && hole.end > hole.start && hole.end as usize <= length, "{hole:?}");
        assert!(hole.number > 0 && hole.number <= highest + 1, "{hole:?} after {highest}");
        highest = highest.max(hole.number);
        end = hole.end;
    }
    end
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use crate::sql::shape_spellings::{Condition, NAMES, OPERATORS, Writer, statement};

    use super::*;

    fn canonical(text: &str) -> String {
        let mut found = Vec::new();
        Shaper::default().shapes(text.as_bytes(), true, |shape| {
            found.push(String::from_utf8_lossy(shape.canonical).into_owned());
        });
        found.join(" ; ")
    }

    const SECRET: &str = "geheim4711";

    /// Pieces that mean something to the lexer, and some that do not.
    #[rustfmt::skip]
    const PIECES: &[&str] = &[
        "'", "''", "\"", "$", "$$", "$a$", "$1", "1", "1.5", "0x1", "1e", ".", "..", "::", ":", ":=", "(",
        ")", "[", "]", ",", ";", "-", "+", "--", "/*", "*/", "*", "=", "!=", "<", "@", "\\", "e'", "b'",
        "x'", "n'", "u&'", "u&\"", "uescape '!'", "\n", "\r", " ", "\x0b", "\0", "a", "A", "e", "u", "&",
        "_a$1", "in", "in (", "values", "values (", "array[", "null", "true", "between", "and", "or",
        "case", "end", "order by", "group by", "where", "date", "timestamp", "with time zone",
        "at time zone", "varchar(", "numeric", "as", "select", "create function", "begin atomic", "limit",
        "default", "alter", "is", "not", "from", "\"order\"", "\"a b\"", "\u{e9}", "id", "int", "{", "}",
        "?", "on", "when", "by", "desc",
    ];

    fn soup() -> impl Strategy<Value = Vec<u8>> {
        let piece = (prop::sample::select(PIECES), prop::sample::select(&["", " "][..]));
        vec(piece, 0..40)
            .prop_map(|pieces| pieces.into_iter().flat_map(|(a, b)| [a, b].concat().into_bytes()).collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn any_bytes_have_shapes(text: Vec<u8>, standard: bool) {
            any_text(&text, standard);
        }

        #[test]
        fn any_mixture_of_pieces_has_shapes(text in soup(), standard: bool) {
            any_text(&text, standard);
        }

        #[test]
        fn the_spelling_of_a_statement_makes_no_difference(
            statement in statement(), one: u64, other: u64,
        ) {
            let (one, other) =
                (Writer::new(one, SECRET).statement(&statement), Writer::new(other, "x").statement(&statement));
            let shape = canonical(&one);
            prop_assert_eq!(&shape, &canonical(&other), "{}\n{}", one, other);
            prop_assert!(!shape.contains(SECRET), "{}", shape);
            any_text(one.as_bytes(), true);
        }

        #[test]
        fn what_a_statement_says_makes_a_difference(
            one in statement(), other in statement(), seed: u64,
        ) {
            let texts = [&one, &other].map(|statement| canonical(&Writer::new(seed, SECRET).statement(statement)));
            prop_assert_eq!(one == other, texts[0] == texts[1], "{:?}", texts);
        }

        #[test]
        fn one_change_makes_a_difference(statement in statement(), seed: u64, change in 0..6, to in 0..NAMES.len()) {
            let mut other = statement.clone();
            match (change, other.conditions.last_mut(), &mut other.order) {
                (0, ..) => other.table = to,
                (1, ..) => other.columns[0] = to,
                (2, ..) => other.limit = !other.limit,
                (3, Some(Condition::Compare(_, operator)), _) => *operator = to % OPERATORS.len(),
                (4, _, Some((_, descending))) => *descending = !*descending,
                _ => other.lock = !other.lock,
            }
            let texts = [&statement, &other].map(|text| canonical(&Writer::new(seed, SECRET).statement(text)));
            prop_assert_eq!(statement == other, texts[0] == texts[1], "{:?}", texts);
        }

        #[test]
        fn no_byte_of_a_secret_is_left(secret in "[a-z0-9\u{e9}%_-]{8,16}", kind in 0..6, place in 0..8) {
            let literal = match kind {
                0 => format!("'{secret}'"),
                1 => format!("e'\\'{secret}'"),
                2 => format!("$${secret}$$"),
                3 => format!("$b${secret}$b$"),
                4 => format!("U&'{secret}'"),
                _ => format!("n'{secret}''{secret}'"),
            };
            let text = match place {
                0 => format!("ALTER USER x WITH PASSWORD {literal}"),
                1 => format!("create user x password {literal} valid until {literal}"),
                2 => format!("do {literal}"),
                3 => format!("insert into t values (1, {literal}), (2, {literal})"),
                4 => format!("create server s options (host {literal}, password {literal})"),
                5 => format!("comment on table t is {literal}; select {literal}"),
                6 => format!("set x.y to {literal}"),
                _ => format!("select json {literal}, interval(3) {literal} where a in ({literal}, b, {literal})"),
            };
            let canonical = canonical(&text);
            let (whole, parts) = (canonical.to_lowercase(), secret.as_bytes().windows(6));
            for part in parts {
                let found = memchr::memmem::find(whole.as_bytes(), part);
                prop_assert!(found.is_none(), "{}", canonical);
            }
        }
    }
}
