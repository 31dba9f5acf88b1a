//! Conditions and expressions for [`super::Scans`]. Pure.

use std::ops::ControlFlow;

use sqlparser::ast::{
    BinaryOperator, Expr, Ident, Query as Tree, UnaryOperator, Value, ValueWithSpan, Visit, VisitMut,
    Visitor, VisitorMut,
};

use super::read::Reader;
use super::{Column, Expression, LIST_MAX, Operator, Term};

/// An identifier as PostgreSQL knows it.
pub(super) fn ident(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

/// The column that an expression is.
pub(super) fn column(expr: &Expr) -> Option<Column> {
    match expr {
        Expr::Identifier(name) if name.quote_style.is_none() && is_word(&name.value) => None,
        Expr::Identifier(name) => Some(Column { qualifier: None, name: ident(name) }),
        Expr::CompoundIdentifier(path) => {
            let name = ident(path.last()?);
            let qualifier = path.len().checked_sub(2).and_then(|at| path.get(at)).map(ident);
            Some(Column { qualifier, name })
        }
        _ => None,
    }
}

/// DEFAULT stands where a value could, and these are values of the session.
fn is_word(value: &str) -> bool {
    const WORDS: [&str; 6] =
        ["default", "current_date", "current_timestamp", "current_user", "localtimestamp", "session_user"];
    WORDS.iter().any(|word| value.eq_ignore_ascii_case(word))
}

/// What an expression is, with the qualifiers taken off.
pub(super) fn expression(expr: &Expr) -> Expression {
    let expr = bare(expr);
    let mut seen = Seen::default();
    let _ = expr.visit(&mut seen);
    Expression {
        text: unqualified(expr),
        plain: column(expr).is_some(),
        columns: seen.columns,
        holes: seen.holes,
        query: seen.queries > 0,
    }
}

fn bare(expr: &Expr) -> &Expr {
    match expr {
        Expr::Nested(inner) => bare(inner),
        other => other,
    }
}

/// Its text, where columns have no qualifiers.
fn unqualified(expr: &Expr) -> String {
    let mut copy = expr.clone();
    let _ = VisitMut::visit(&mut copy, &mut Strip);
    copy.to_string()
}

struct Strip;

impl VisitorMut for Strip {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::CompoundIdentifier(path) = expr
            && let Some(last) = path.pop()
        {
            *expr = Expr::Identifier(last);
        }
        ControlFlow::Continue(())
    }
}

#[derive(Default)]
struct Seen {
    columns: Vec<Column>,
    holes: Vec<u16>,
    queries: usize,
}

impl Visitor for Seen {
    type Break = ();

    fn pre_visit_query(&mut self, _: &Tree) -> ControlFlow<()> {
        self.queries += 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Some(column) = column(expr)
            && self.columns.len() < LIST_MAX
            && !self.columns.contains(&column)
        {
            self.columns.push(column);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_value(&mut self, value: &ValueWithSpan) -> ControlFlow<()> {
        if let Value::Placeholder(text) | Value::SingleQuotedString(text) = &value.value
            && let Some(Ok(hole)) = text.strip_prefix('$').map(str::parse)
            && self.holes.len() < LIST_MAX
            && !self.holes.contains(&hole)
        {
            self.holes.push(hole);
        }
        ControlFlow::Continue(())
    }
}

impl Reader {
    /// Reads a WHERE or ON.
    pub(super) fn condition(&mut self, condition: &Expr) {
        self.uses(condition);
        let mut open = vec![condition];
        while let Some(expr) = open.pop() {
            match bare(expr) {
                Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
                    open.push(right);
                    open.push(left);
                }
                Expr::BinaryOp { op: BinaryOperator::Or, .. } => {
                    let mut group = Vec::new();
                    alternatives(bare(expr), &mut group);
                    self.here().alternatives.push(group);
                }
                other => terms(other).into_iter().for_each(|term| {
                    if self.here().terms.len() < LIST_MAX {
                        self.here().terms.push(term);
                    }
                }),
            }
        }
    }
}

/// One term for each branch of an OR. One without a term stands as a condition that no index serves.
fn alternatives(expr: &Expr, group: &mut Vec<Term>) {
    let mut open = vec![expr];
    while let Some(expr) = open.pop() {
        match bare(expr) {
            Expr::BinaryOp { left, op: BinaryOperator::Or, right } => {
                open.push(right);
                open.push(left);
            }
            // Of a branch with several conditions the first that can be looked up counts.
            Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
                let mut all = Vec::new();
                conjuncts(left, &mut all);
                conjuncts(right, &mut all);
                let best = all.iter().position(|term| term.operator.is_point()).unwrap_or(0);
                if best < all.len() {
                    group.push(all.swap_remove(best));
                }
            }
            other => group.extend(terms(other).into_iter().next()),
        }
        if group.len() > LIST_MAX {
            return;
        }
    }
}

fn conjuncts(expr: &Expr, all: &mut Vec<Term>) {
    let mut open = vec![expr];
    while let Some(expr) = open.pop() {
        match bare(expr) {
            Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
                open.push(right);
                open.push(left);
            }
            other => all.extend(terms(other)),
        }
    }
}

/// The conditions that one expression stands for: one, or one for each column of `(a, b) = ($1, $2)`.
fn terms(expr: &Expr) -> Vec<Term> {
    if let Expr::BinaryOp { left, op, right } = expr
        && let (Expr::Tuple(lefts), Expr::Tuple(rights)) = (bare(left), bare(right))
        && lefts.len() == rights.len()
    {
        return match operator(op) {
            Operator::Equal => lefts
                .iter()
                .zip(rights)
                .map(|(left, right)| {
                    let text = format!("{} = {}", unqualified(left), unqualified(right));
                    term(left, Operator::Equal, Some(right), text)
                })
                .collect(),
            operator if operator.is_range() => {
                let mut all = lefts.iter().map(expression);
                let (Some(left), right) = (all.next(), rights.first().map(expression)) else {
                    return Vec::new();
                };
                vec![Term { left, operator, right, more: all.collect(), text: unqualified(expr) }]
            }
            _ => Vec::new(),
        };
    }
    single(expr).into_iter().collect()
}

fn term(left: &Expr, operator: Operator, right: Option<&Expr>, text: String) -> Term {
    Term { left: expression(left), operator, right: right.map(expression), more: Vec::new(), text }
}

fn single(expr: &Expr) -> Option<Term> {
    let text = unqualified(expr);
    let unless = |negated: bool, operator: Operator, name: &str| match negated {
        false => operator,
        true => Operator::Other(name.to_owned()),
    };
    let (left, operator, right): (&Expr, Operator, Option<&Expr>) = match expr {
        Expr::BinaryOp { left, op, right } => return Some(compared(left, op, right, text)),
        Expr::Between { expr, negated, low, high } => {
            let mut found = term(expr, unless(*negated, Operator::Between, "not between"), Some(low), text);
            found.more.push(expression(high));
            return Some(found);
        }
        Expr::InList { expr, list, negated } => {
            (expr, unless(*negated, Operator::In, "not in"), list.first())
        }
        Expr::InSubquery { expr, negated, .. } => {
            let mut found = term(expr, unless(*negated, Operator::In, "not in"), None, text);
            // It is known when the rows of the query are.
            found.right = Some(Expression {
                text: String::new(),
                plain: false,
                columns: Vec::new(),
                holes: Vec::new(),
                query: true,
            });
            return Some(found);
        }
        Expr::AnyOp { left, compare_op: BinaryOperator::Eq, right, .. } => match column(bare(right)) {
            Some(_) => (right, Operator::ArrayHolds, Some(left)),
            None => (left, Operator::In, Some(right)),
        },
        Expr::Like { negated, expr, pattern, any: false, .. } => {
            (expr, unless(*negated, Operator::Like, "not like"), Some(pattern))
        }
        Expr::ILike { negated, expr, pattern, any: false, .. } => {
            (expr, unless(*negated, Operator::ILike, "not ilike"), Some(pattern))
        }
        Expr::IsNull(expr) => (expr, Operator::IsNull, None),
        Expr::IsNotNull(expr) => (expr, Operator::IsNotNull, None),
        Expr::IsTrue(expr) => (expr, Operator::IsTrue, None),
        Expr::IsFalse(expr) => (expr, Operator::IsFalse, None),
        Expr::UnaryOp { op: UnaryOperator::Not, expr } if column(bare(expr)).is_some() => {
            (expr, Operator::IsFalse, None)
        }
        Expr::IsNotDistinctFrom(left, right) => {
            (left, Operator::Other("is not distinct from".to_owned()), Some(right))
        }
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) => (expr, Operator::IsTrue, None),
        _ => return None,
    };
    Some(term(left, operator, right, text))
}

/// The side that has columns, or else the plain column, comes to the left.
fn compared(left: &Expr, op: &BinaryOperator, right: &Expr, text: String) -> Term {
    let (one, other) = (expression(left), expression(right));
    let turned = one.columns.is_empty() && !other.columns.is_empty();
    let operator = operator(op);
    let (left, right, operator) = match turned {
        false => (one, other, operator),
        true => (other, one, flipped(operator)),
    };
    let operator = match (&operator, right.text.as_str()) {
        (Operator::Equal, "true" | "TRUE") => Operator::IsTrue,
        (Operator::Equal, "false" | "FALSE") => Operator::IsFalse,
        _ => operator,
    };
    Term { left, operator, right: Some(right), more: Vec::new(), text }
}

fn operator(op: &BinaryOperator) -> Operator {
    match op {
        BinaryOperator::Eq => Operator::Equal,
        BinaryOperator::Lt | BinaryOperator::LtEq => Operator::Less,
        BinaryOperator::Gt | BinaryOperator::GtEq => Operator::Greater,
        BinaryOperator::PGRegexMatch | BinaryOperator::PGRegexIMatch => Operator::Regex,
        BinaryOperator::PGLikeMatch => Operator::Like,
        BinaryOperator::PGILikeMatch => Operator::ILike,
        other => Operator::Other(other.to_string()),
    }
}

fn flipped(operator: Operator) -> Operator {
    match operator {
        Operator::Less => Operator::Greater,
        Operator::Greater => Operator::Less,
        Operator::Other(text) if text == "<@" => Operator::Other("@>".to_owned()),
        Operator::Other(text) if text == "@>" => Operator::Other("<@".to_owned()),
        other => other,
    }
}
