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

    use super::*;

    /// A statement without its spelling and its values.
    #[derive(Debug, Clone, PartialEq)]
    struct Statement {
        columns: Vec<usize>,
        table: usize,
        conditions: Vec<Condition>,
        /// Column, descending.
        order: Option<(usize, bool)>,
        limit: bool,
        lock: bool,
    }

    #[derive(Debug, Clone, PartialEq)]
    enum Condition {
        Compare(usize, usize),
        In(usize),
        Between(usize),
        Like(usize),
        IsNull(usize),
        Any(usize),
        Date(usize),
        Cast(usize),
    }

    /// The last ones need their quotes.
    const NAMES: [&str; 8] = ["id", "name", "author_id", "t", "a1", "title", "order", "Book"];
    const OPERATORS: [(&str, &str); 6] =
        [("=", "="), ("<>", "<>"), ("<", ">"), (">", "<"), ("<=", ">="), (">=", "<=")];

    fn statement() -> impl Strategy<Value = Statement> {
        let name = || 0..NAMES.len();
        let condition = prop_oneof![
            3 => (name(), 0..OPERATORS.len()).prop_map(|(name, operator)| Condition::Compare(name, operator)),
            1 => name().prop_map(Condition::In),
            1 => name().prop_map(Condition::Between),
            1 => name().prop_map(Condition::Like),
            1 => name().prop_map(Condition::IsNull),
            1 => name().prop_map(Condition::Any),
            1 => name().prop_map(Condition::Date),
            1 => name().prop_map(Condition::Cast),
        ];
        (
            vec(name(), 1..4),
            name(),
            vec(condition, 0..4),
            proptest::option::of((name(), any::<bool>())),
            any::<bool>(),
            any::<bool>(),
        )
            .prop_map(|(columns, table, conditions, order, limit, lock)| Statement {
                columns,
                table,
                conditions,
                order,
                limit,
                lock,
            })
    }

    /// One of the many ways to write the same.
    struct Writer {
        seed: u64,
        text: String,
        parameter: usize,
        secret: &'static str,
    }

    impl Writer {
        fn new(seed: u64, secret: &'static str) -> Writer {
            Writer { seed, text: String::new(), parameter: 0, secret }
        }

        fn pick(&mut self, choices: u64) -> u64 {
            self.seed = self.seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            (self.seed >> 33) % choices
        }

        fn blank(&mut self) {
            let blank = match self.pick(8) {
                0 => "\n",
                1 => "\t  ",
                2 => " /* 'x' /* 1 */ $1 */ ",
                3 => " -- it's\n",
                4 => "\r\n",
                5 => "/**/",
                _ => " ",
            };
            self.text.push_str(blank);
        }

        /// White space that may be missing.
        fn gap(&mut self) {
            if self.pick(2) == 0 {
                self.blank();
            }
        }

        fn word(&mut self, word: &str) {
            self.blank();
            let upper = self.pick(3);
            let cased = word.chars().map(|sign| match upper {
                0 => sign.to_ascii_uppercase(),
                1 => sign,
                _ if self.pick(2) == 0 => sign.to_ascii_uppercase(),
                _ => sign,
            });
            let cased: String = cased.collect();
            self.text.push_str(&cased);
        }

        fn sign(&mut self, sign: &str) {
            self.gap();
            self.text.push_str(sign);
            self.gap();
        }

        fn name(&mut self, name: usize) {
            let name = NAMES[name];
            if name == "order" || name == "Book" || self.pick(2) == 0 {
                self.blank();
                self.text.push_str(&format!("\"{name}\""));
            } else {
                self.word(name);
            }
        }

        fn string(&mut self) {
            let secret = self.secret;
            let text = match self.pick(9) {
                0 => format!("'{secret}'"),
                1 => format!("E'\\'{secret}'"),
                2 => format!("'{secret}'''"),
                3 => format!("$${secret}'$$"),
                4 => format!("$q${secret}$$ $q$"),
                5 => format!("n'{secret}'"),
                6 => format!("U&'{secret}' uescape '!'"),
                7 => format!("'a' -- x\n '{secret}'"),
                _ => format!("' /* {secret}'"),
            };
            self.blank();
            self.text.push_str(&text);
        }

        fn value(&mut self) {
            self.blank();
            let number = self.pick(1000);
            match self.pick(10) {
                0 => {
                    self.parameter += 1;
                    self.text.push_str(&format!("${}", self.parameter));
                }
                1 => self.text.push_str(&number.to_string()),
                2 => self.text.push_str(&format!("- {number}")),
                3 => self.text.push_str(&format!("{number}.5e-3")),
                4 => self.text.push_str(&format!("0x{number:X}")),
                5 => self.text.push_str("B'101'"),
                6 => self.text.push_str(".5"),
                _ => self.string(),
            }
        }

        fn list(&mut self, open: &str, close: &str) {
            self.sign(open);
            for at in 0..=self.pick(4) {
                if at > 0 {
                    self.sign(",");
                }
                match self.pick(6) {
                    0 => self.word("null"),
                    1 => self.word("true"),
                    _ => self.value(),
                }
            }
            self.sign(close);
        }

        fn condition(&mut self, condition: &Condition) {
            match *condition {
                Condition::Compare(name, operator) => {
                    let (mut plain, turned) = OPERATORS[operator];
                    if self.pick(3) == 0 {
                        self.value();
                        self.blank();
                        self.sign(turned);
                        self.name(name);
                    } else {
                        self.name(name);
                        if plain == "<>" && self.pick(2) == 0 {
                            plain = "!=";
                        }
                        self.sign(plain);
                        self.value();
                    }
                }
                Condition::In(name) => {
                    self.name(name);
                    self.word("in");
                    self.list("(", ")");
                }
                Condition::Between(name) => {
                    self.name(name);
                    self.word("between");
                    self.value();
                    self.word("and");
                    self.value();
                }
                Condition::Like(name) => {
                    self.name(name);
                    self.word("not");
                    self.word("like");
                    self.string();
                }
                Condition::IsNull(name) => {
                    self.name(name);
                    self.word("is");
                    self.word("null");
                }
                Condition::Any(name) => {
                    self.name(name);
                    self.sign("=");
                    self.word("any");
                    self.sign("(");
                    self.word("array");
                    self.list("[", "]");
                    self.sign(")");
                }
                Condition::Date(name) => {
                    self.word("date");
                    self.string();
                    self.sign(">");
                    self.name(name);
                }
                Condition::Cast(name) => {
                    self.value();
                    self.sign("::");
                    self.word("numeric");
                    self.sign("(");
                    self.text.push_str("10,2");
                    self.sign(")");
                    self.sign("=");
                    self.name(name);
                }
            }
        }

        fn statement(mut self, statement: &Statement) -> String {
            self.word("select");
            for (at, &name) in statement.columns.iter().enumerate() {
                if at > 0 {
                    self.sign(",");
                }
                self.name(name);
            }
            self.word("from");
            self.name(statement.table);
            for (at, condition) in statement.conditions.iter().enumerate() {
                self.word(if at == 0 { "where" } else { "and" });
                self.condition(condition);
            }
            if let Some((name, descending)) = statement.order {
                self.word("order");
                self.word("by");
                self.name(name);
                if descending {
                    self.word("desc");
                }
            }
            if statement.limit {
                self.word("limit");
                self.value();
            }
            if statement.lock {
                self.word("for");
                self.word("update");
            }
            self.gap();
            if self.pick(3) == 0 {
                self.text.push(';');
            }
            self.text
        }
    }

    fn canonical(text: &str) -> String {
        let mut found = Vec::new();
        Shaper::default().shapes(text.as_bytes(), true, |shape| {
            found.push(String::from_utf8_lossy(shape.canonical).into_owned());
        });
        found.join(" ; ")
    }

    const SECRET: &str = "geheim4711";

    /// Bytes that mean something to the lexer, and some that do not.
    fn soup() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop::sample::select(vec![
            "'",
            "''",
            "\"",
            "$",
            "$$",
            "$a$",
            "$1",
            "1",
            "1.5",
            "0x1",
            "1e",
            ".",
            "..",
            "::",
            ":",
            ":=",
            "(",
            ")",
            "[",
            "]",
            ",",
            ";",
            "-",
            "+",
            "--",
            "/*",
            "*/",
            "*",
            "=",
            "!=",
            "<",
            "@",
            "\\",
            "e'",
            "b'",
            "x'",
            "n'",
            "u&'",
            "u&\"",
            "uescape '!'",
            "\n",
            "\r",
            " ",
            "\x0b",
            "\0",
            "a",
            "A",
            "e",
            "u",
            "&",
            "_a$1",
            "in",
            "in (",
            "values",
            "values (",
            "array[",
            "null",
            "true",
            "between",
            "and",
            "or",
            "case",
            "end",
            "order by",
            "group by",
            "where",
            "date",
            "timestamp",
            "with time zone",
            "at time zone",
            "varchar(",
            "numeric",
            "as",
            "select",
            "create function",
            "begin atomic",
            "limit",
            "default",
            "alter",
            "is",
            "not",
            "from",
            "\"order\"",
            "\"a b\"",
            "\u{e9}",
            "id",
            "int",
            "{",
            "}",
            "?",
            "on",
            "when",
            "by",
            "desc",
        ]);
        vec((piece, prop::sample::select(vec!["", " "])), 0..40)
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
