//! What WHERE and ON say, with the places in the text where more could be said: the sources of each query, its
//! conditions as trees of what is understood, and `Other` for all else. Read from PostgreSQL's tokens of one
//! statement, so that places are those of the user's own text. Pure. Knows no catalog, no type and no value.
//!
//! `clauses` finds queries and their clauses, `condition` and `expression` read what they say, `page` reads the end
//! of a SELECT that asks for its first rows.

mod clauses;
mod condition;
mod expression;
mod names;
mod page;
#[cfg(test)]
mod tests;

pub use names::Func;
pub use page::Page;

use super::lex::Lexer;
use super::token::Token;

/// A part of the text, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    pub start: u32,
    pub end: u32,
}

impl Span {
    pub fn of(self, text: &str) -> &str {
        text.get(self.start as usize..self.end as usize).unwrap_or_default()
    }

    /// Whether the name that stands here is this one, as PostgreSQL reads it.
    pub fn is_name(self, text: &str, name: &str) -> bool {
        let written = self.of(text);
        match written.strip_prefix('"') {
            // A quote within a name is doubled; such names are not met.
            Some(inner) => inner.strip_suffix('"') == Some(name) && !name.contains('"'),
            None => written.eq_ignore_ascii_case(name) && name.bytes().all(|byte| !byte.is_ascii_uppercase()),
        }
    }
}

/// A node's place in [`Filter::nodes`].
pub type Id = u32;

/// Neighbours in [`Filter::lists`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct List {
    from: u32,
    count: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    Date,
    Timestamp,
    Timestamptz,
    Interval,
    Integer,
    Number,
    Text,
    /// `tstzrange`, `tsrange`, `daterange`.
    Range,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    Less,
    LessEqual,
    Equal,
    GreaterEqual,
    Greater,
}

impl Relation {
    /// Seen from its right side.
    pub fn flipped(self) -> Relation {
        match self {
            Relation::Less => Relation::Greater,
            Relation::LessEqual => Relation::GreaterEqual,
            Relation::Equal => Relation::Equal,
            Relation::GreaterEqual => Relation::LessEqual,
            Relation::Greater => Relation::Less,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node {
    Column {
        schema: Option<Span>,
        qualifier: Option<Span>,
        name: Span,
    },
    /// Quotes and all.
    String,
    Number,
    Parameter(u16),
    Null,
    /// `date '…'`, `interval '…' unit`; the spans are of the literal and the unit.
    Typed {
        of: Type,
        value: Span,
        unit: Option<Span>,
    },
    Cast {
        inner: Id,
        to: Type,
    },
    Call {
        func: Func,
        args: List,
    },
    Extract {
        field: Span,
        from: Id,
    },
    AtZone {
        inner: Id,
        zone: Id,
    },
    Binary {
        op: Arithmetic,
        left: Id,
        right: Id,
    },
    Row(List),
    And(List),
    Or(List),
    Compare {
        op: Relation,
        left: Id,
        right: Id,
    },
    In {
        left: Id,
        list: List,
    },
    /// `range @> element`.
    Contains {
        range: Id,
        element: Id,
    },
    /// Anything.
    Other,
}

/// What FROM names. Of what is no plain table there is no `table`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    pub schema: Option<Span>,
    pub table: Option<Span>,
    pub alias: Option<Span>,
}

/// One WHERE or ON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clause {
    pub root: Id,
    /// Where the condition begins and ends.
    pub span: Span,
    /// It has an OR that brackets would have to hold together.
    pub loose: bool,
    /// False for WHERE.
    pub on: bool,
    /// The WHERE is not there; `span` is the end of FROM.
    pub missing: bool,
}

/// One SELECT, UPDATE or DELETE: its sources and clauses are ranges of the lists of [`Filter`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scope {
    sources: (u32, u32),
    clauses: (u32, u32),
    /// A row of the result needs no row of some source.
    pub outer_join: bool,
    /// One of these joins is a RIGHT or FULL one.
    pub right_join: bool,
    /// A column without a qualifier may be one of several: USING, NATURAL, or a join that was not understood.
    pub merged: bool,
}

/// A call in a condition, at any depth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    pub schema: Option<Span>,
    pub name: Span,
}

#[derive(Debug, Default)]
pub struct Filter {
    nodes: Vec<Node>,
    spans: Vec<Span>,
    lists: Vec<Id>,
    sources: Vec<Source>,
    clauses: Vec<Clause>,
    pub scopes: Vec<Scope>,
    pub calls: Vec<Call>,
    /// Names of WITH queries, and what else is written like one.
    pub ctes: Vec<Span>,
    /// The highest `$n`.
    pub parameters: u16,
    /// The statement asks for the first rows of an order.
    pub page: Option<Page>,
    /// All calls and operators of such a statement, wherever they stand.
    pub page_calls: Vec<Call>,
    pub page_operators: Vec<Span>,
}

/// Entries of each list at most; a statement with more is left alone.
const ENTRIES_MAX: usize = 4_096;

/// Brackets within brackets.
const DEPTH_MAX: u32 = 50;

impl Filter {
    /// The text's only statement. `None`: there are several, it is none that has conditions to be added to (INSERT
    /// and MERGE among them), or it exceeds a bound. `standard_strings`: a backslash in a plain string is itself.
    pub fn read(text: &str, standard_strings: bool) -> Option<Filter> {
        let mut filter = Filter::default();
        filter.again(text, standard_strings, &mut Scratch::default()).then_some(filter)
    }

    /// The same into buffers that are there. False stands for `None`.
    pub fn again(&mut self, text: &str, standard_strings: bool, scratch: &mut Scratch) -> bool {
        self.clear();
        let mut lexer = Lexer::new(text.as_bytes(), standard_strings);
        if !lexer.statement(&mut scratch.tokens) {
            return false;
        }
        let Scratch { tokens, more, closes, words } = scratch;
        // What follows must be nothing but semicolons.
        if lexer.statement(more) || tokens.len() > ENTRIES_MAX {
            return false;
        }
        clauses::read(text, tokens, (closes, words), self).is_some()
    }

    fn clear(&mut self) {
        self.nodes.clear();
        self.spans.clear();
        self.lists.clear();
        self.sources.clear();
        self.clauses.clear();
        self.scopes.clear();
        self.calls.clear();
        self.ctes.clear();
        self.parameters = 0;
        self.page = None;
        self.page_calls.clear();
        self.page_operators.clear();
    }

    pub fn node(&self, id: Id) -> Node {
        self.nodes.get(id as usize).copied().unwrap_or(Node::Other)
    }

    /// Where a node stands in the text.
    pub fn span(&self, id: Id) -> Span {
        self.spans.get(id as usize).copied().unwrap_or_default()
    }

    pub fn list(&self, list: List) -> &[Id] {
        let from = list.from as usize;
        self.lists.get(from..from + list.count as usize).unwrap_or_default()
    }

    pub fn sources(&self, scope: &Scope) -> &[Source] {
        self.sources.get(scope.sources.0 as usize..scope.sources.1 as usize).unwrap_or_default()
    }

    pub fn clauses(&self, scope: &Scope) -> &[Clause] {
        self.clauses.get(scope.clauses.0 as usize..scope.clauses.1 as usize).unwrap_or_default()
    }

    fn add(&mut self, node: Node, span: Span) -> Id {
        self.nodes.push(node);
        self.spans.push(span);
        (self.nodes.len() - 1) as Id
    }

    fn add_list(&mut self, ids: &[Id]) -> List {
        let from = self.lists.len() as u32;
        self.lists.extend_from_slice(ids);
        List { from, count: ids.len() as u32 }
    }
}

/// Buffers that serve one statement after another.
#[derive(Default)]
pub struct Scratch {
    tokens: Vec<Token>,
    more: Vec<Token>,
    closes: Vec<u32>,
    words: Vec<names::Packed>,
}
