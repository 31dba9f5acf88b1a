//! Where the parts of a plain INSERT of one row stand in its text: its table, its columns, its values, and the
//! parameters within them. What may stand for a value is told word by word, so that whatever is not known here is
//! refused. Pure. Knows no catalog and no value.

use std::fmt;
use std::ops::Range;

use super::lex::Lexer;
use super::token::{Kind, Token};

/// `INSERT INTO table [(columns)] VALUES (values)`, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Insert {
    /// As it is written, with its schema and quotes.
    pub table: Range<usize>,
    /// The same of each column; none: all columns of the table, in its order.
    pub columns: Vec<Range<usize>>,
    pub values: Vec<Value>,
    /// Functions that are called, in lower case. They have no arguments.
    pub functions: Vec<String>,
}

/// What one column gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    pub at: Range<usize>,
    /// It is the word DEFAULT.
    pub default: bool,
    /// Where its parameters stand, and their numbers, from 1.
    pub parameters: Vec<(Range<usize>, u16)>,
}

/// Why a text is no such INSERT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    NoInsert,
    SeveralStatements,
    SeveralRows,
    /// VALUES is missing: rows of a query, or DEFAULT VALUES.
    NoValues,
    Alias,
    Overriding,
    OnConflict,
    Returning,
    /// A column with a field or subscript.
    Column,
    /// More or fewer values than columns.
    Count,
    /// The value at this offset is no parameter, constant or cast of one.
    Value(usize),
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Refusal::NoInsert => "it is no INSERT",
            Refusal::SeveralStatements => "it is more than one statement",
            Refusal::SeveralRows => "it inserts several rows itself",
            Refusal::NoValues => "it has no list of values",
            Refusal::Alias => "its table has another name in it",
            Refusal::Overriding => "it overrides identity columns",
            Refusal::OnConflict => {
                "it has ON CONFLICT, so that how many rows it inserts depends on what is there"
            }
            Refusal::Returning => "it has RETURNING, whose rows no order is promised for",
            Refusal::Column => "one of its columns has a field or a subscript",
            Refusal::Count => "it has not as many values as columns",
            Refusal::Value(at) => {
                return write!(formatter, "the value at byte {at} is no parameter, constant, or cast of one");
            }
        })
    }
}

impl Insert {
    /// Reads a text under `standard_conforming_strings`.
    ///
    /// # Errors
    /// Why it is another kind of statement.
    pub fn read(text: &[u8]) -> Result<Insert, Refusal> {
        let (mut lexer, mut tokens, mut others) = (Lexer::new(text, true), Vec::new(), Vec::new());
        if !lexer.statement(&mut tokens) {
            return Err(Refusal::NoInsert);
        }
        if lexer.statement(&mut others) {
            return Err(Refusal::SeveralStatements);
        }
        let mut reader = Reader { text, tokens: &tokens, at: 0 };
        let insert = reader.insert()?;
        let given = insert.columns.len();
        let wrong = insert.values.is_empty() || (given != 0 && given != insert.values.len());
        if wrong { Err(Refusal::Count) } else { Ok(insert) }
    }
}

/// PostgreSQL's functions that are written without parentheses, or with a precision behind them. None of them says
/// anything else in the second statement of a transaction than in the first.
const PLAIN_WORDS: [&str; 13] = [
    "null",
    "true",
    "false",
    "current_timestamp",
    "current_date",
    "current_time",
    "localtimestamp",
    "localtime",
    "current_user",
    "session_user",
    "current_role",
    "current_catalog",
    "user",
];

/// Functions without arguments that see and change no table.
const FUNCTIONS: [&str; 4] = ["now", "transaction_timestamp", "clock_timestamp", "gen_random_uuid"];

/// The further words of types whose names have several.
const TYPE_WORDS: [&str; 6] = ["precision", "varying", "with", "without", "time", "zone"];

struct Reader<'a> {
    text: &'a [u8],
    tokens: &'a [Token],
    at: usize,
}

impl Reader<'_> {
    fn insert(&mut self) -> Result<Insert, Refusal> {
        if !self.take_word("insert") || !self.take_word("into") {
            return Err(Refusal::NoInsert);
        }
        let table = self.name().ok_or(Refusal::NoInsert)?;
        let mut columns = Vec::new();
        if self.take(Kind::Open) {
            loop {
                columns.push(self.single_name().ok_or(Refusal::Column)?);
                if self.take(Kind::Close) {
                    break;
                }
                if !self.take(Kind::Comma) {
                    return Err(Refusal::Column);
                }
            }
        }
        if !self.take_word("values") {
            return Err(match () {
                () if self.is_word("overriding") => Refusal::Overriding,
                () if self.is_word("as") => Refusal::Alias,
                () => Refusal::NoValues,
            });
        }
        if !self.take(Kind::Open) {
            return Err(Refusal::NoValues);
        }
        let (mut values, mut functions) = (Vec::new(), Vec::new());
        loop {
            values.push(self.value(&mut functions)?);
            if self.take(Kind::Close) {
                break;
            }
            if !self.take(Kind::Comma) {
                return Err(self.bad_value());
            }
        }
        match () {
            () if self.at == self.tokens.len() => Ok(Insert { table, columns, values, functions }),
            () if self.is_word("on") => Err(Refusal::OnConflict),
            () if self.is_word("returning") => Err(Refusal::Returning),
            () => Err(Refusal::SeveralRows),
        }
    }

    fn value(&mut self, functions: &mut Vec<String>) -> Result<Value, Refusal> {
        let (first, mut parameters) = (self.at, Vec::new());
        let default = self.take_word("default");
        if !default {
            self.term(&mut parameters, functions, 0)?;
        }
        let at = self.span(first).start..self.span(self.at - 1).end;
        Ok(Value { at, default, parameters })
    }

    /// A parameter, constant or function, with casts behind it.
    fn term(
        &mut self,
        parameters: &mut Vec<(Range<usize>, u16)>,
        functions: &mut Vec<String>,
        depth: u32,
    ) -> Result<(), Refusal> {
        // Nobody writes more parentheses around a value.
        if depth > 8 {
            return Err(self.bad_value());
        }
        let token = *self.tokens.get(self.at).ok_or_else(|| self.bad_value())?;
        match token.kind {
            Kind::Parameter => {
                let digits = std::str::from_utf8(&token.text(self.text)[1..]).unwrap_or_default();
                let number = digits.parse().ok().filter(|&number| number > 0);
                parameters.push((self.span(self.at), number.ok_or_else(|| self.bad_value())?));
                self.at += 1;
            }
            Kind::Integer | Kind::Number | Kind::String | Kind::Bits => self.at += 1,
            Kind::Open => {
                self.at += 1;
                self.term(parameters, functions, depth + 1)?;
                self.close()?;
            }
            Kind::Word if self.take_word("cast") => {
                if !self.take(Kind::Open) {
                    return Err(self.bad_value());
                }
                self.term(parameters, functions, depth + 1)?;
                if !self.take_word("as") {
                    return Err(self.bad_value());
                }
                self.type_name()?;
                self.close()?;
            }
            Kind::Word => self.word(functions)?,
            _ => return Err(self.bad_value()),
        }
        while self.take(Kind::Cast) {
            self.type_name()?;
        }
        Ok(())
    }

    /// A word that stands for a value, a call, or a constant with its type before it.
    fn word(&mut self, functions: &mut Vec<String>) -> Result<(), Refusal> {
        if PLAIN_WORDS.iter().any(|word| self.take_word(word)) {
            if self.take(Kind::Open) {
                self.take(Kind::Integer);
                return self.close();
            }
            return Ok(());
        }
        let next = self.tokens.get(self.at + 1).map(|token| token.kind);
        if next == Some(Kind::String) && !self.is_quoted(self.at) {
            self.at += 2;
            return Ok(());
        }
        let called = FUNCTIONS.iter().find(|name| self.is_word(name)).ok_or_else(|| self.bad_value())?;
        self.at += 1;
        functions.push((*called).to_owned());
        if !self.take(Kind::Open) {
            return Err(self.bad_value());
        }
        self.close()
    }

    fn type_name(&mut self) -> Result<(), Refusal> {
        self.name().ok_or_else(|| self.bad_value())?;
        loop {
            if self.take(Kind::Open) {
                while self.take(Kind::Integer) || self.take(Kind::Comma) {}
                self.close()?;
            } else if self.take(Kind::OpenBracket) {
                self.take(Kind::Integer);
                if !self.take(Kind::CloseBracket) {
                    return Err(self.bad_value());
                }
            } else if !TYPE_WORDS.iter().any(|word| self.take_word(word)) {
                return Ok(());
            }
        }
    }

    /// A name, perhaps with others before it.
    fn name(&mut self) -> Option<Range<usize>> {
        let mut name = self.single_name()?;
        while self.take(Kind::Dot) {
            name.end = self.single_name()?.end;
        }
        Some(name)
    }

    fn single_name(&mut self) -> Option<Range<usize>> {
        let token = self.tokens.get(self.at)?;
        matches!(token.kind, Kind::Word | Kind::Quoted).then(|| {
            self.at += 1;
            self.span(self.at - 1)
        })
    }

    fn close(&mut self) -> Result<(), Refusal> {
        if self.take(Kind::Close) { Ok(()) } else { Err(self.bad_value()) }
    }

    fn take(&mut self, kind: Kind) -> bool {
        let is = self.tokens.get(self.at).is_some_and(|token| token.kind == kind);
        self.at += usize::from(is);
        is
    }

    fn take_word(&mut self, keyword: &str) -> bool {
        let is = self.is_word(keyword);
        self.at += usize::from(is);
        is
    }

    fn is_word(&self, keyword: &str) -> bool {
        let is = |token: &Token| {
            token.kind == Kind::Word && token.text(self.text).eq_ignore_ascii_case(keyword.as_bytes())
        };
        self.tokens.get(self.at).is_some_and(is) && !self.is_quoted(self.at)
    }

    /// A name that needs no quotes has left them outside of its token.
    fn is_quoted(&self, at: usize) -> bool {
        let token = &self.tokens[at];
        token.kind == Kind::Word && token.start > 0 && self.text[token.start as usize - 1] == b'"'
    }

    fn span(&self, at: usize) -> Range<usize> {
        let Some(token) = self.tokens.get(at) else {
            return 0..0;
        };
        let quote = usize::from(self.is_quoted(at));
        token.start as usize - quote..token.end as usize + quote
    }

    fn bad_value(&self) -> Refusal {
        Refusal::Value(self.span(self.at.min(self.tokens.len() - 1)).start)
    }
}
