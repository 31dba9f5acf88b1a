//! Where a query's text begins and ends, and what stands in it that matters to whoever puts the text into a
//! larger query: a limit of its own, a row lock, places where a number is no value. Pure. Knows no value and
//! no catalog; what PostgreSQL's parser refuses anyway is not looked for.

use super::lex::Lexer;
use super::token::{Kind, Token};

/// A text of exactly one statement that is a query: SELECT, WITH, VALUES, TABLE, or a parenthesis before them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    /// Byte offsets of the statement, without the comments and semicolons around it.
    pub start: usize,
    pub end: usize,
    /// It has a LIMIT, OFFSET or FETCH outside of all parentheses.
    pub limited: bool,
    /// FOR UPDATE, FOR SHARE or one of their kin, anywhere.
    pub locking: bool,
    /// GROUPING SETS, ROLLUP or CUBE, anywhere.
    pub grouping_sets: bool,
    /// Offsets of numbers that may be the place of a column, in ORDER BY, GROUP BY and DISTINCT ON.
    places: Vec<u32>,
    /// Offsets of numbers that `::` follows, which binds tighter than a sign.
    cast: Vec<u32>,
    /// Offsets of values that are cast in a way that may fail although the value is one of its type: to a type with a
    /// length or precision, or from a number to another type.
    coerced: Vec<u32>,
    /// Offsets of values that are a part of something that gives its result no name, or is no result at all.
    operands: Vec<u32>,
}

impl Outline {
    /// `None`: the text is no query, or more than one statement. `standard_strings`: the server reads
    /// backslashes in plain strings as themselves.
    pub fn of(text: &[u8], standard_strings: bool) -> Option<Outline> {
        let (mut lexer, mut tokens, mut others) =
            (Lexer::new(text, standard_strings), Vec::new(), Vec::new());
        if !lexer.statement(&mut tokens) || lexer.statement(&mut others) || !is_reading(text, &tokens) {
            return None;
        }
        let (first, last) = (tokens.first()?, tokens.last()?);
        let mut end = last.end as usize;
        // A name that needs no quotes has left them outside of its token.
        if last.kind == Kind::Word && text.get(end) == Some(&b'"') {
            end += 1;
        }
        let mut outline = Outline {
            start: first.start as usize,
            end,
            limited: false,
            locking: false,
            grouping_sets: false,
            places: Vec::new(),
            cast: Vec::new(),
            operands: Vec::new(),
            coerced: Vec::new(),
        };
        outline.look(text, &tokens);
        Some(outline)
    }

    /// Whether the whole number that starts at this offset is a value and not the place of a column.
    pub fn is_value(&self, start: u32) -> bool {
        !self.places.contains(&start)
    }

    /// Whether the whole number that starts at this offset may have a sign and still be one value with it.
    pub fn may_have_sign(&self, start: u32) -> bool {
        !self.cast.contains(&start)
    }

    /// Whether a cast of the value that starts at this offset may fail. With a value that it knows, PostgreSQL does it
    /// while planning, and fails although no row may need it; with one that comes from a row it does not.
    pub fn is_coerced(&self, start: u32) -> bool {
        self.coerced.contains(&start)
    }

    /// Whether no column can get its name from the value that starts at this offset. A parameter gives none; a column
    /// in its place would give its own, also through a cast.
    pub fn is_operand(&self, start: u32) -> bool {
        self.operands.contains(&start)
    }

    fn look(&mut self, text: &[u8], tokens: &[Token]) {
        // For each parenthesis, whether its content is in a list of places from its start, and is now.
        let mut levels = vec![(false, false)];
        for (at, token) in tokens.iter().enumerate() {
            let word = |distance: usize, keyword: &str| {
                at.checked_sub(distance).is_some_and(|at| is_word(text, &tokens[at], keyword))
            };
            let here = levels.last().is_some_and(|level| level.1);
            if matches!(token.kind, Kind::Integer | Kind::String | Kind::Parameter) {
                self.operands.extend(is_operand(text, &tokens[..at]).then_some(token.start));
                let coerced = is_coerced(text, token.kind, &tokens[at + 1..]);
                self.coerced.extend(coerced.then_some(token.start));
            }
            match token.kind {
                Kind::Open | Kind::OpenBracket => {
                    let within = here || (word(1, "on") && word(2, "distinct"));
                    levels.push((within, within));
                }
                Kind::Close | Kind::CloseBracket if levels.len() > 1 => {
                    levels.pop();
                }
                Kind::Integer if here => self.places.push(token.start),
                Kind::Integer => {
                    let cast = tokens.get(at + 1).is_some_and(|next| next.kind == Kind::Cast);
                    self.cast.extend(cast.then_some(token.start));
                }
                Kind::Word if is_label(text, tokens, at) => {}
                Kind::Word => {
                    let is = |keyword: &str| word(0, keyword);
                    if is("by") && (word(1, "order") || word(1, "group")) {
                        set(&mut levels, |_| true);
                    } else if CLAUSES.iter().any(|clause| is(clause)) {
                        set(&mut levels, |from_start| from_start);
                    }
                    self.grouping_sets |= is("grouping") || is("rollup") || is("cube");
                    self.limited |= levels.len() == 1 && (is("limit") || is("offset") || is("fetch"));
                    self.locking |= word(1, "for") && (is("update") || is("share") || is("no") || is("key"));
                }
                _ => {}
            }
        }
    }
}

/// Words behind which a value is a part of a condition, or counts rows.
const BEFORE_OPERANDS: [&str; 17] = [
    "where",
    "and",
    "or",
    "not",
    "on",
    "having",
    "between",
    "symmetric",
    "like",
    "ilike",
    "to",
    "limit",
    "offset",
    "first",
    "next",
    "when",
    "in",
];

/// Whether a value behind these tokens is an operand.
fn is_operand(text: &[u8], before: &[Token]) -> bool {
    let mut rest = before;
    while let Some((token, more)) = rest.split_last() {
        match token.kind {
            Kind::Open => rest = more,
            Kind::Operator => return true,
            Kind::Comma => return is_in_list(text, more),
            _ => return BEFORE_OPERANDS.iter().any(|word| is_word(text, token, word)),
        }
    }
    false
}

/// Whether these, which follow a value, cast it to a type with a length or precision; a number, to any.
fn is_coerced(text: &[u8], kind: Kind, after: &[Token]) -> bool {
    let Some((first, rest)) = after.split_first() else {
        return false;
    };
    let operator = first.kind == Kind::Cast;
    if !operator && !is_word(text, first, "as") {
        return false;
    }
    // The name, perhaps with its schema, and what may stand between the words of one.
    let mut rest = rest.get(1..).unwrap_or_default();
    while let [dot, _, more @ ..] = rest
        && dot.kind == Kind::Dot
    {
        rest = more;
    }
    let more = |token: &&Token| {
        !["varying", "character", "char", "day", "hour", "minute", "to", "second"]
            .iter()
            .any(|word| is_word(text, token, word))
    };
    let end = rest.iter().find(more).map(|token| token.kind);
    (operator && kind == Kind::Integer) || end == Some(Kind::Open)
}

/// Whether the innermost parenthesis that is open is that of a list behind IN, of values only.
fn is_in_list(text: &[u8], before: &[Token]) -> bool {
    for (at, token) in before.iter().enumerate().rev() {
        match token.kind {
            Kind::Integer | Kind::String | Kind::Parameter | Kind::Comma => {}
            Kind::Open => return at.checked_sub(1).is_some_and(|at| is_word(text, &before[at], "in")),
            _ => return false,
        }
    }
    false
}

const READING: [&str; 4] = ["select", "with", "values", "table"];

/// What ends a list of ORDER BY or GROUP BY.
const CLAUSES: [&str; 12] = [
    "having",
    "window",
    "union",
    "intersect",
    "except",
    "limit",
    "offset",
    "fetch",
    "for",
    "rows",
    "range",
    "groups",
];

fn is_reading(text: &[u8], tokens: &[Token]) -> bool {
    let first = tokens.iter().find(|token| token.kind != Kind::Open);
    first.is_some_and(|first| READING.iter().any(|word| is_word(text, first, word)))
}

/// Sets whether the innermost parenthesis is in a list of places, from whether it was at its start.
fn set(levels: &mut [(bool, bool)], now: impl Fn(bool) -> bool) {
    if let Some(level) = levels.last_mut() {
        level.1 = now(level.0);
    }
}

fn is_word(text: &[u8], token: &Token, keyword: &str) -> bool {
    token.kind == Kind::Word && token.text(text).eq_ignore_ascii_case(keyword.as_bytes())
}

/// Whether the word at this place names something: behind AS or a point, or in quotes.
fn is_label(text: &[u8], tokens: &[Token], at: usize) -> bool {
    let quoted = tokens[at].start.checked_sub(1).is_some_and(|before| text[before as usize] == b'"');
    let before = at.checked_sub(1).map(|before| &tokens[before]);
    quoted || before.is_some_and(|before| before.kind == Kind::Dot || is_word(text, before, "as"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Outline {
        Outline::of(text.as_bytes(), true).expect(text)
    }

    #[test]
    fn the_statement_is_cut_out_of_what_is_around_it() {
        for (text, statement) in [
            ("/* a */ select 1 ; -- end", "select 1"),
            ("select a from \"t\" ;", "select a from \"t\""),
            ("select a from \"T\"\n--x", "select a from \"T\""),
            ("(select 1) union (select 2)", "(select 1) union (select 2)"),
            (";;values ('a;')", "values ('a;')"),
            ("select a as \"b\"/* */", "select a as \"b\""),
        ] {
            let outline = of(text);
            assert_eq!(&text[outline.start..outline.end], statement);
        }
        for text in ["", "--", "select 1; select 2", "show all", "explain select 1", "begin"] {
            assert_eq!(Outline::of(text.as_bytes(), true), None, "{text}");
        }
    }

    #[test]
    fn a_limit_of_its_own() {
        for text in ["select 1 limit 1", "select 1 Offset 2", "select 1 fetch first row only"] {
            assert!(of(text).limited, "{text}");
        }
        for text in [
            "select (select 1 limit 1)",
            "select a as limit from t",
            "select a.offset from a",
            "select \"limit\" from t",
            "select 'limit'",
            "select 1 -- limit",
        ] {
            assert!(!of(text).limited, "{text}");
        }
    }

    #[test]
    fn row_locks_are_seen_wherever_they_stand() {
        for text in [
            "select 1 from t for update",
            "select (select a from t for no key update)",
            "select 1 from t for /* */ key share",
            "with x as (select a from t for share) select a from x",
        ] {
            assert!(of(text).locking, "{text}");
        }
        assert!(!of("select substring(a for 2) from t").locking);
    }

    #[test]
    fn numbers_that_are_no_values() {
        // `@` stands before a number that is none, `#` before one that is.
        for text in [
            "select a from t where b = #5 order by @1",
            "select a from t order by b, (@1) desc limit #5",
            "select a, count(*) from t group by @1 having count(*) > #5",
            "select distinct on (@1) a from t where b = #5",
            "select a from t group by rollup(b, @1)",
            "select a from (select b from t order by @2) as a where b = #1",
        ] {
            let plain: String = text.chars().filter(|char| !matches!(char, '@' | '#')).collect();
            let outline = of(&plain);
            for (seen, (at, mark)) in text.match_indices(['@', '#']).enumerate() {
                assert_eq!(outline.is_value((at - seen) as u32), mark == "#", "{text} at {at}");
            }
        }
    }

    #[test]
    fn casts_that_may_fail() {
        for (text, coerced) in [
            ("select a from t where b = $1::numeric(10, 2)", true),
            ("select a from t where b = cast('x' as pg_catalog.varbit(3))", true),
            ("select a from t where b = 5::int2", true),
            ("select a from t where b = $1::numeric and c in (1)", false),
            ("select a from t where b = '2024-01-01'::date", false),
            ("select $1 as b, f(a) from t", false),
        ] {
            let at = text.find(['$', '\'', '5']).expect(text) as u32;
            assert_eq!(of(text).is_coerced(at), coerced, "{text}");
        }
    }

    #[test]
    fn a_cast_binds_tighter_than_a_sign() {
        let outline = of("select a from t where b = -5::int2 and c = -5 and d = 5 ::int2");
        assert_eq!([26, 43, 54].map(|at| outline.may_have_sign(at)), [false, true, false]);
    }

    #[test]
    fn values_that_name_no_column() {
        // `@` stands before one that may, `#` before one that does not.
        for text in [
            "select @$1, @$2::text, f(@$3), a = #$4, (@$5) from t",
            "select a from t where #$1 = a and (#$2 < b or c in (#$3, #4, 'x')) limit #$5",
            "select case when #$1 = a then @$2 else @$3 end",
            "select coalesce(a, @$1) from t where a between #1 and #2",
        ] {
            let plain: String = text.chars().filter(|char| !matches!(char, '@' | '#')).collect();
            let outline = of(&plain);
            for (seen, (at, mark)) in text.match_indices(['@', '#']).enumerate() {
                assert_eq!(outline.is_operand((at - seen) as u32), mark == "#", "{text} at {at}");
            }
        }
    }
}
