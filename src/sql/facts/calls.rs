//! What is true of a statement wherever it stands: functions, aggregates, windows; and the tables of
//! statements that are no queries. Pure.

use std::ops::ControlFlow;

use sqlparser::ast::{CopySource, Expr, Function, ObjectName, Statement, TableFactor, Visit, Visitor};

use super::select::function_name;
use super::walk::{push_new, table};
use super::{Facts, Role, TableRef};
use crate::sql::class::Class;
use crate::sql::token::{Kind, pieces};

/// PostgreSQL's own aggregates.
const AGGREGATES: [&str; 26] = [
    "any_value",
    "array_agg",
    "avg",
    "bit_and",
    "bit_or",
    "bit_xor",
    "bool_and",
    "bool_or",
    "corr",
    "count",
    "every",
    "json_agg",
    "json_object_agg",
    "jsonb_agg",
    "jsonb_object_agg",
    "max",
    "min",
    "mode",
    "percentile_cont",
    "percentile_disc",
    "range_agg",
    "stddev",
    "string_agg",
    "sum",
    "variance",
    "xmlagg",
];

/// One of PostgreSQL's own aggregates has this name.
pub fn is_aggregate(name: &str) -> bool {
    AGGREGATES.contains(&name)
}

/// The statement's first word, in lower case.
pub fn first_word(canonical: &str) -> String {
    let word = pieces(canonical).into_iter().find(|piece| piece.kind == Kind::Word);
    word.map(|word| String::from_utf8_lossy(word.text).to_lowercase()).unwrap_or_default()
}

/// Adds what a look at the whole statement shows.
pub fn add(facts: &mut Facts, statement: &Statement) {
    let mut whole = Whole { facts, queries: 0, relations: false };
    match statement {
        Statement::Query(_)
        | Statement::Insert(_)
        | Statement::Update(_)
        | Statement::Delete(_)
        | Statement::Merge(_)
        | Statement::Explain { .. } => {}
        Statement::Drop { names, .. } => names.iter().for_each(|name| whole.relation(name)),
        Statement::Copy { source: CopySource::Table { table_name, .. }, .. } => whole.relation(table_name),
        Statement::Call(function) => whole.function(function),
        _ => whole.relations = true,
    }
    let _ = statement.visit(&mut whole);
}

struct Whole<'a> {
    facts: &'a mut Facts,
    queries: usize,
    /// Whether tables are to be collected; queries have told theirs.
    relations: bool,
}

impl Whole<'_> {
    fn relation(&mut self, name: &ObjectName) {
        let written = matches!(self.facts.class, Class::Write | Class::Ddl);
        let role = if written { Role::Written } else { Role::Read };
        if let Some(found) = table(name, None, role) {
            push_new(&mut self.facts.tables, &mut self.facts.cut, found);
        }
    }

    /// A relation of a query, which should be known by now. Whoever relies on all tables being there must not be
    /// wrong because a clause was overlooked.
    fn overlooked(&mut self, name: &ObjectName) {
        let Some(found) = table(name, None, Role::Read) else {
            return;
        };
        let same = |known: &TableRef| known.name == found.name && known.schema == found.schema;
        let other = found.schema.is_none() && self.facts.ctes.contains(&found.name)
            || self.facts.functions.contains(&found.full_name());
        if !other && !self.facts.tables.iter().any(same) {
            push_new(&mut self.facts.tables, &mut self.facts.cut, found);
        }
    }

    fn called(&mut self, name: String) {
        push_new(&mut self.facts.functions, &mut self.facts.cut, name);
    }

    fn function(&mut self, function: &Function) {
        let name = function_name(&function.name);
        let own = name.strip_prefix("pg_catalog.").unwrap_or(&name);
        let aggregates = AGGREGATES.contains(&own) && function.over.is_none();
        // Those of queries within are not the main query's.
        self.facts.aggregate |= aggregates && self.queries <= 1;
        self.facts.window |= function.over.is_some();
        self.called(name);
    }
}

impl Visitor for Whole<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, _: &sqlparser::ast::Query) -> ControlFlow<()> {
        self.queries += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &sqlparser::ast::Query) -> ControlFlow<()> {
        self.queries -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, name: &ObjectName) -> ControlFlow<()> {
        match self.relations {
            true => self.relation(name),
            false => self.overlooked(name),
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        match factor {
            TableFactor::Table { name, args: Some(_), .. } | TableFactor::Function { name, .. } => {
                self.called(function_name(name));
            }
            TableFactor::UNNEST { .. } => self.called("unnest".to_owned()),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        let own = match expr {
            Expr::Function(function) => {
                self.function(function);
                return ControlFlow::Continue(());
            }
            // These have a syntax of their own and are functions all the same.
            Expr::Extract { .. } => "extract",
            Expr::Ceil { .. } => "ceil",
            Expr::Floor { .. } => "floor",
            Expr::Position { .. } => "position",
            Expr::Substring { .. } => "substring",
            Expr::Trim { .. } => "trim",
            Expr::Overlay { .. } => "overlay",
            Expr::AtTimeZone { .. } => "timezone",
            _ => return ControlFlow::Continue(()),
        };
        self.called(own.to_owned());
        ControlFlow::Continue(())
    }
}
