//! For the properties of shapes: statements as data, and the many ways to write each. Tests only.

use proptest::collection::vec;
use proptest::prelude::*;

/// A statement without its spelling and its values.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    pub columns: Vec<usize>,
    pub table: usize,
    pub conditions: Vec<Condition>,
    /// Column, descending.
    pub order: Option<(usize, bool)>,
    pub limit: bool,
    pub lock: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
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
pub const NAMES: [&str; 8] = ["id", "name", "author_id", "t", "a1", "title", "order", "Book"];
pub const OPERATORS: [(&str, &str); 6] =
    [("=", "="), ("<>", "<>"), ("<", ">"), (">", "<"), ("<=", ">="), (">=", "<=")];

pub fn statement() -> impl Strategy<Value = Statement> {
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
pub struct Writer {
    seed: u64,
    text: String,
    parameter: usize,
    secret: &'static str,
}

impl Writer {
    pub fn new(seed: u64, secret: &'static str) -> Writer {
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

    pub fn statement(mut self, statement: &Statement) -> String {
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
