//! Conditions: which column, which operator, fed by which hole; and which of them must all hold. Pure.
//!
//! `$1 = x` is read as `x = $1`. A condition that is no comparison of one column (OR, EXISTS, a function's
//! value) gives what it has, and takes `plain` from the facts.

use std::ops::ControlFlow;

use sqlparser::ast::{BinaryOperator, Expr, Function, UnaryOperator, Value, Visitor};

use super::select::function_name;
use super::walk::{Walker, push, push_new};
use super::{Clause, ColumnRef, JoinPair, Operand, Operator, Predicate};

/// Where conditions stand.
#[derive(Debug, Clone, Copy)]
struct Place {
    clause: Clause,
    /// All of them must hold.
    top: bool,
    /// They decide on rows of the main query.
    main: bool,
}

impl Walker {
    /// Reads a WHERE, ON or HAVING. `main`: a row of the main query needs it.
    pub fn conditions(&mut self, condition: &Expr, clause: Clause, main: bool) {
        self.expression(condition);
        let place = Place { clause, top: main, main };
        // A list and not recursion, as chains of AND and OR are long.
        let mut open = vec![(condition, place.top)];
        while let Some((expr, top)) = open.pop() {
            match expr {
                Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
                    open.push((right, top));
                    open.push((left, top));
                }
                Expr::BinaryOp { left, op: BinaryOperator::Or, right } => {
                    self.complex(place);
                    open.push((right, false));
                    open.push((left, false));
                }
                Expr::Nested(inner) => open.push((inner, top)),
                Expr::UnaryOp { op: UnaryOperator::Not, expr } if self.subject(expr).is_none() => {
                    self.complex(place);
                    open.push((expr, false));
                }
                _ => self.condition(expr, Place { top, ..place }),
            }
        }
    }

    /// There is more to the condition than the facts hold.
    fn complex(&mut self, place: Place) {
        self.facts.plain &= !place.main;
    }

    fn condition(&mut self, expr: &Expr, place: Place) {
        let (subject, operator, operand) = match expr {
            Expr::BinaryOp { left, op, right } => return self.comparison(left, op, right, place),
            Expr::Between { expr, negated: false, low, high } => {
                let (low, high) = (self.operand(low), self.operand(high));
                self.predicate(expr, Operator::GreaterEqual, low, place);
                return self.predicate(expr, Operator::LessEqual, high, place);
            }
            Expr::Between { expr: subject, .. } => {
                (&**subject, Operator::Other("not between".to_owned()), self.expression_of(expr))
            }
            Expr::InList { expr, list, negated } => return self.in_list(expr, list, *negated, place),
            Expr::InSubquery { expr, negated, .. } => (&**expr, within(*negated), Operand::Query),
            Expr::AnyOp { left, compare_op, right, .. } => {
                let operator = match compare_op {
                    BinaryOperator::Eq => Operator::Any,
                    other => Operator::Other(format!("{other} any")),
                };
                (&**left, operator, self.operand(right))
            }
            Expr::AllOp { left, compare_op, right } => {
                (&**left, Operator::Other(format!("{compare_op} all")), self.operand(right))
            }
            Expr::Like { negated, expr, pattern, any: false, .. } => {
                (&**expr, matching(Operator::Like, "not like", *negated), self.operand(pattern))
            }
            Expr::ILike { negated, expr, pattern, any: false, .. } => {
                (&**expr, matching(Operator::ILike, "not ilike", *negated), self.operand(pattern))
            }
            Expr::IsNull(expr) => (&**expr, Operator::IsNull, Operand::None),
            Expr::IsNotNull(expr) => (&**expr, Operator::IsNotNull, Operand::None),
            Expr::IsTrue(expr) => (&**expr, Operator::IsTrue, Operand::None),
            Expr::IsNotTrue(expr) => (&**expr, Operator::IsNotTrue, Operand::None),
            Expr::IsFalse(expr) => (&**expr, Operator::Other("is false".to_owned()), Operand::None),
            Expr::UnaryOp { op: UnaryOperator::Not, expr } if self.named(expr).is_some() => {
                (&**expr, Operator::Other("is false".to_owned()), Operand::None)
            }
            Expr::IsDistinctFrom(left, right) => {
                let operator = Operator::Other("is distinct from".to_owned());
                (&**left, operator, self.operand(right))
            }
            Expr::IsNotDistinctFrom(left, right) => {
                let operator = Operator::Other("is not distinct from".to_owned());
                (&**left, operator, self.operand(right))
            }
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) => (expr, Operator::IsTrue, Operand::None),
            _ => return self.complex(place),
        };
        self.predicate(subject, operator, operand, place);
    }

    fn predicate(&mut self, subject: &Expr, operator: Operator, operand: Operand, place: Place) {
        let Some((column, wrapped)) = self.subject(subject) else {
            return self.complex(place);
        };
        let Place { clause, top, .. } = place;
        let query = self.query;
        let found = Predicate { column, wrapped, operator, operand, clause, query, top };
        push(&mut self.facts.predicates, &mut self.facts.cut, found);
        // What was cut may be what matters.
        self.facts.plain &= !self.facts.cut;
    }

    fn comparison(&mut self, left: &Expr, op: &BinaryOperator, right: &Expr, place: Place) {
        if let (Expr::Tuple(lefts), Expr::Tuple(rights)) = (left, right)
            && lefts.len() == rights.len()
        {
            return self.row(lefts, op, rights, place);
        }
        if *op == BinaryOperator::Eq
            && let (Some(one), Some(other)) = (self.bare(left), self.bare(right))
            && (&one.table, &one.alias) != (&other.table, &other.alias)
        {
            let pair = JoinPair { left: one, right: other, query: self.query };
            push_new(&mut self.facts.joins, &mut self.facts.cut, pair);
        }
        match self.subject(left).is_some() {
            true => self.predicate(left, operator(op), self.operand(right), place),
            false => self.predicate(right, flipped(op), self.operand(left), place),
        }
    }

    /// `(a, b) = ($1, $2)` is a condition on each; `(a, b) > ($1, $2)` is one on all of them together.
    fn row(&mut self, lefts: &[Expr], op: &BinaryOperator, rights: &[Expr], place: Place) {
        if *op == BinaryOperator::Eq {
            return lefts
                .iter()
                .zip(rights)
                .for_each(|(left, right)| self.comparison(left, op, right, place));
        }
        for (left, right) in lefts.iter().zip(rights) {
            let operand = self.operand(right);
            self.predicate(left, Operator::Other(format!("row {op}")), operand, place);
        }
        self.complex(place);
    }

    fn in_list(&mut self, expr: &Expr, list: &[Expr], negated: bool, place: Place) {
        let operator = within(negated);
        let Expr::Tuple(columns) = expr else {
            let operand = self.list(list);
            return self.predicate(expr, operator, operand, place);
        };
        // Each column is in its own list, which is implied and not all that is said.
        for (at, column) in columns.iter().enumerate() {
            let mut own = Holes::default();
            for row in list {
                if let Expr::Tuple(values) = row {
                    values.get(at).into_iter().for_each(|value| own.read(value));
                }
            }
            self.predicate(
                column,
                operator.clone(),
                Operand::Holes(own.holes),
                Place { top: place.top && !negated, ..place },
            );
        }
        self.complex(place);
    }

    fn list(&self, list: &[Expr]) -> Operand {
        let mut holes = Vec::new();
        for value in list {
            match self.operand(value) {
                Operand::Hole { number, .. } => holes.push(number),
                Operand::Constant => {}
                _ => return expression(list.iter()),
            }
        }
        holes.truncate(super::LIST_MAX);
        Operand::Holes(holes)
    }

    /// An expression as the side that a column is compared with.
    pub fn operand(&self, expr: &Expr) -> Operand {
        match expr {
            Expr::Nested(inner) => self.operand(inner),
            Expr::Value(value) => hole(&value.value).map_or(Operand::Constant, plain_hole),
            Expr::TypedString(typed) => cast_hole(hole(&typed.value.value), typed.data_type.to_string()),
            Expr::Interval(interval) => match &*interval.value {
                Expr::Value(value) => cast_hole(hole(&value.value), "interval".to_owned()),
                _ => self.expression_of(expr),
            },
            Expr::Cast { expr: inner, data_type, .. } => match self.operand(inner) {
                Operand::Hole { number, cast: None } => cast_hole(Some(number), data_type.to_string()),
                // SQLAlchemy casts what its driver has cast to the same type.
                Operand::Hole { number, cast: Some(cast) }
                    if cast == data_type.to_string().to_lowercase() =>
                {
                    cast_hole(Some(number), cast)
                }
                Operand::Constant => Operand::Constant,
                _ => self.expression_of(expr),
            },
            Expr::Array(array) => self.list(&array.elem),
            Expr::Subquery(_) => Operand::Query,
            _ => self.named(expr).map_or_else(|| self.expression_of(expr), Operand::Column),
        }
    }

    fn expression_of(&self, expr: &Expr) -> Operand {
        expression(std::iter::once(expr))
    }

    fn bare(&self, expr: &Expr) -> Option<ColumnRef> {
        match expr {
            Expr::Nested(inner) => self.bare(inner),
            _ => self.named(expr),
        }
    }

    /// The one column in an expression, and what is done to it.
    fn subject(&self, expr: &Expr) -> Option<(ColumnRef, Option<String>)> {
        if let Expr::Nested(inner) = expr {
            return self.subject(inner);
        }
        if let Some(column) = self.named(expr) {
            return Some((column, None));
        }
        let wrapper = match expr {
            Expr::Function(Function { name, .. }) => function_name(name),
            Expr::Cast { data_type, .. } => format!("::{}", data_type.to_string().to_lowercase()),
            Expr::Extract { .. } => "extract".to_owned(),
            Expr::Collate { .. } => "collate".to_owned(),
            Expr::AtTimeZone { .. } => "at time zone".to_owned(),
            Expr::BinaryOp { op, .. } if is_logic(op) => return None,
            Expr::BinaryOp { op, .. } => op.to_string(),
            Expr::UnaryOp { op: UnaryOperator::Minus, .. } => "-".to_owned(),
            Expr::Substring { .. } => "substring".to_owned(),
            Expr::Trim { .. } => "trim".to_owned(),
            Expr::CompoundFieldAccess { .. } => "[]".to_owned(),
            Expr::Case { .. } => "case".to_owned(),
            _ => return None,
        };
        let mut columns = Columns { walker: self, found: Vec::new(), queries: 0 };
        let _ = sqlparser::ast::Visit::visit(expr, &mut columns);
        match (columns.found.pop(), columns.found.is_empty(), columns.queries) {
            (Some(column), true, 0) => Some((column, Some(wrapper))),
            _ => None,
        }
    }
}

/// A condition that is made of conditions.
fn is_logic(op: &BinaryOperator) -> bool {
    use BinaryOperator::{And, Eq, Gt, GtEq, Lt, LtEq, NotEq, Or, Xor};
    matches!(op, And | Or | Xor | Eq | NotEq | Lt | LtEq | Gt | GtEq)
}

fn within(negated: bool) -> Operator {
    if negated { Operator::NotIn } else { Operator::In }
}

fn matching(operator: Operator, not: &str, negated: bool) -> Operator {
    if negated { Operator::Other(not.to_owned()) } else { operator }
}

fn operator(op: &BinaryOperator) -> Operator {
    match op {
        BinaryOperator::Eq => Operator::Equal,
        BinaryOperator::NotEq => Operator::NotEqual,
        BinaryOperator::Lt => Operator::Less,
        BinaryOperator::LtEq => Operator::LessEqual,
        BinaryOperator::Gt => Operator::Greater,
        BinaryOperator::GtEq => Operator::GreaterEqual,
        other => Operator::Other(other.to_string()),
    }
}

/// The operator seen from its right side.
fn flipped(op: &BinaryOperator) -> Operator {
    match operator(op) {
        Operator::Less => Operator::Greater,
        Operator::LessEqual => Operator::GreaterEqual,
        Operator::Greater => Operator::Less,
        Operator::GreaterEqual => Operator::LessEqual,
        same @ (Operator::Equal | Operator::NotEqual) => same,
        other => Operator::Other(format!("{other}, from its right")),
    }
}

/// The number of the hole that a value is: `$1`, or the text `'$1'` of a typed literal.
fn hole(value: &Value) -> Option<u16> {
    match value {
        Value::Placeholder(text) | Value::SingleQuotedString(text) => text.strip_prefix('$')?.parse().ok(),
        _ => None,
    }
}

fn plain_hole(number: u16) -> Operand {
    Operand::Hole { number, cast: None }
}

fn cast_hole(hole: Option<u16>, cast: String) -> Operand {
    match hole {
        Some(number) => Operand::Hole { number, cast: Some(cast.to_lowercase()) },
        None => Operand::Constant,
    }
}

fn expression<'a>(parts: impl Iterator<Item = &'a Expr>) -> Operand {
    let mut found = Holes::default();
    parts.for_each(|part| found.read(part));
    Operand::Expression { holes: found.holes, columns: found.columns }
}

/// Holes in an expression, and whether there are columns.
#[derive(Default)]
struct Holes {
    holes: Vec<u16>,
    columns: bool,
}

impl Holes {
    fn read(&mut self, expr: &Expr) {
        let _ = sqlparser::ast::Visit::visit(expr, self);
    }
}

impl Visitor for Holes {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        self.columns |= matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
        ControlFlow::Continue(())
    }

    fn pre_visit_value(&mut self, value: &sqlparser::ast::ValueWithSpan) -> ControlFlow<()> {
        if let Some(hole) = hole(&value.value)
            && self.holes.len() < super::LIST_MAX
            && !self.holes.contains(&hole)
        {
            self.holes.push(hole);
        }
        ControlFlow::Continue(())
    }
}

/// Different columns in an expression.
struct Columns<'a> {
    walker: &'a Walker,
    found: Vec<ColumnRef>,
    queries: usize,
}

impl Visitor for Columns<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, _: &sqlparser::ast::Query) -> ControlFlow<()> {
        self.queries += 1;
        ControlFlow::Break(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Some(column) = self.walker.named(expr)
            && !self.found.contains(&column)
        {
            self.found.push(column);
        }
        // Two are as good as many.
        if self.found.len() > 1 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}
