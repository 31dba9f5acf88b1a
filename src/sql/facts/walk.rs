//! From the syntax tree to [`Facts`]: which tables a statement names, and in which of its queries what is
//! said. Conditions are read in `predicate`. Pure. It never clones or compares a tree, and is called on the
//! parser's thread, where recursion is safe.

use std::ops::ControlFlow;

use sqlparser::ast::{
    Delete, Expr, FromTable, Ident, Insert, Merge, ObjectName, ObjectNamePart, OnConflictAction, OnInsert,
    Query, SelectItem, Statement, TableFactor, TableObject, TableWithJoins, Update, UpdateTableFromKind,
    Visit, Visitor,
};

use super::{Clause, ColumnRef, Facts, LIST_MAX, OnConflict, Role, TableRef, calls};
use crate::sql::class::{self, Class};

/// The facts of a statement that was parsed from this text.
pub fn facts(canonical: &str, statement: &Statement) -> Facts {
    let classified = class::of(canonical);
    let mut walker = Walker::default();
    walker.facts.class = classified.class;
    walker.facts.may_write = classified.may_write;
    walker.facts.statement = calls::first_word(canonical);
    walker.facts.plain = true;
    walker.statement(statement, true);
    walker.facts.plain &=
        matches!(statement, Statement::Query(_) | Statement::Update(_) | Statement::Delete(_));
    calls::add(&mut walker.facts, statement);
    walker.facts
}

/// A relation that the columns of a query may belong to.
#[derive(Debug)]
pub(super) struct Source {
    /// What it goes by.
    pub name: String,
    /// The table, or the WITH query; none for a query in brackets or a function.
    pub table: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct Walker {
    pub facts: Facts,
    /// Of the query at hand and those around it, the innermost last.
    pub scopes: Vec<Vec<Source>>,
    /// WITH queries in sight.
    pub ctes: Vec<String>,
    /// The number of the query at hand, and how many there were.
    pub query: u16,
    pub queries: u16,
    /// Queries around the part of an expression that is visited and that were read already.
    inside: usize,
}

/// Adds to a list of bounded length.
pub(super) fn push<T: PartialEq>(list: &mut Vec<T>, cut: &mut bool, item: T) {
    match list.len() < LIST_MAX {
        true => list.push(item),
        false => *cut = true,
    }
}

pub(super) fn push_new<T: PartialEq>(list: &mut Vec<T>, cut: &mut bool, item: T) {
    if !list.contains(&item) {
        push(list, cut, item);
    }
}

/// An identifier as PostgreSQL knows it.
pub(super) fn name(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

/// The parts of `a.b.c`.
pub(super) fn parts(object: &ObjectName) -> Vec<String> {
    let part = |part: &ObjectNamePart| match part {
        ObjectNamePart::Identifier(ident) => name(ident),
        ObjectNamePart::Function(function) => name(&function.name),
    };
    object.0.iter().map(part).collect()
}

pub(super) fn table(object: &ObjectName, alias: Option<&Ident>, role: Role) -> Option<TableRef> {
    let mut parts = parts(object);
    let own = parts.pop()?;
    Some(TableRef { name: own, schema: parts.pop(), alias: alias.map(name), role })
}

impl Walker {
    /// `main`: what it says is said of the statement as a whole.
    pub fn statement(&mut self, statement: &Statement, main: bool) {
        match statement {
            Statement::Query(query) => self.query(query, main),
            Statement::Insert(insert) => self.insert(insert, main),
            Statement::Update(update) => self.update(update, main),
            Statement::Delete(delete) => self.delete(delete, main),
            Statement::Merge(merge) => self.merge(merge),
            Statement::Explain { statement, .. } => self.statement(statement, main),
            _ => {}
        }
    }

    pub fn table(&mut self, found: TableRef) {
        push_new(&mut self.facts.tables, &mut self.facts.cut, found);
    }

    /// A table that is written, and what its columns go by.
    fn target(&mut self, object: &ObjectName, alias: Option<&Ident>) -> Vec<Source> {
        if self.facts.class == Class::Read {
            // A WITH query that `class` did not see.
            (self.facts.class, self.facts.may_write) = (Class::Write, true);
        }
        let Some(found) = table(object, alias, Role::Written) else {
            return Vec::new();
        };
        let source = source_of(&found);
        self.table(found);
        vec![source]
    }

    fn insert(&mut self, insert: &Insert, main: bool) {
        let alias = insert.table_alias.as_ref().map(|alias| &alias.alias);
        let scope = match &insert.table {
            TableObject::TableName(object) => self.target(object, alias),
            _ => Vec::new(),
        };
        for column in &insert.columns {
            self.assign(column);
        }
        if let Some(source) = &insert.source {
            self.query(source, main);
        }
        self.scopes.push(scope);
        if let Some(OnInsert::OnConflict(conflict)) = &insert.on {
            self.facts.on_conflict = Some(match &conflict.action {
                OnConflictAction::DoNothing => OnConflict::Nothing,
                OnConflictAction::DoUpdate(update) => {
                    update.assignments.iter().for_each(|assignment| self.expression(&assignment.value));
                    update.selection.iter().for_each(|selection| self.expression(selection));
                    OnConflict::Update
                }
            });
        }
        self.returning(insert.returning.as_deref());
        self.scopes.pop();
    }

    fn update(&mut self, update: &Update, main: bool) {
        let number = self.enter_query(main);
        let mut scope = self.written(std::slice::from_ref(&update.table));
        let from = match &update.from {
            Some(UpdateTableFromKind::BeforeSet(from) | UpdateTableFromKind::AfterSet(from)) => &from[..],
            None => &[],
        };
        self.before_from(from, &mut scope);
        self.scopes.push(scope);
        self.with_from(from, main);
        for assignment in &update.assignments {
            self.assignment(assignment);
        }
        if let Some(selection) = &update.selection {
            self.conditions(selection, Clause::Where, main);
        }
        self.returning(update.returning.as_deref());
        self.scopes.pop();
        self.query = number;
    }

    fn delete(&mut self, delete: &Delete, main: bool) {
        let number = self.enter_query(main);
        let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &delete.from;
        let mut scope = self.written(from);
        let using = delete.using.as_deref().unwrap_or_default();
        self.before_from(using, &mut scope);
        self.scopes.push(scope);
        self.with_from(using, main);
        if let Some(selection) = &delete.selection {
            self.conditions(selection, Clause::Where, main);
        }
        self.returning(delete.returning.as_deref());
        self.scopes.pop();
        self.query = number;
    }

    /// The tables that UPDATE and DELETE change.
    fn written(&mut self, tables: &[TableWithJoins]) -> Vec<Source> {
        let mut scope = Vec::new();
        for table in tables {
            if let TableFactor::Table { name, alias, .. } = &table.relation {
                scope.extend(self.target(name, alias.as_ref().map(|alias| &alias.name)));
            }
        }
        scope
    }

    fn merge(&mut self, merge: &Merge) {
        let number = self.enter_query(true);
        let mut scope = Vec::new();
        if let TableFactor::Table { name, alias, .. } = &merge.table {
            scope = self.target(name, alias.as_ref().map(|alias| &alias.name));
        }
        self.factor(&merge.source, &mut scope);
        self.scopes.push(scope);
        self.conditions(&merge.on, Clause::On, false);
        for clause in &merge.clauses {
            clause.predicate.iter().for_each(|predicate| self.expression(predicate));
            self.expressions(&clause.action);
        }
        self.scopes.pop();
        self.query = number;
    }

    fn assignment(&mut self, assignment: &sqlparser::ast::Assignment) {
        use sqlparser::ast::AssignmentTarget::{ColumnName, Tuple};
        match &assignment.target {
            ColumnName(column) => self.assign(column),
            Tuple(columns) => columns.iter().for_each(|column| self.assign(column)),
        }
        self.expression(&assignment.value);
    }

    fn assign(&mut self, column: &ObjectName) {
        let last = parts(column).pop().unwrap_or_default();
        push_new(&mut self.facts.assigned, &mut self.facts.cut, last);
    }

    fn returning(&mut self, items: Option<&[SelectItem]>) {
        for item in items.unwrap_or_default() {
            self.facts.returning = true;
            self.expressions(item);
        }
    }

    /// A query of its own begins; returns the number to go back to.
    pub fn enter_query(&mut self, main: bool) -> u16 {
        let number = self.query;
        if main && self.queries == 0 {
            self.queries = 1;
            self.query = 0;
        } else {
            self.queries = self.queries.max(1).saturating_add(1);
            self.query = self.queries - 1;
        }
        number
    }

    // --- expressions ---

    /// Columns and queries in an expression.
    pub fn expression(&mut self, expr: &Expr) {
        self.expressions(expr);
    }

    pub fn expressions(&mut self, node: &impl Visit) {
        let _ = node.visit(self);
    }

    /// Which column a name means, by the relations in sight.
    pub fn column(&self, path: &[String]) -> ColumnRef {
        let (column, qualifiers) = path.split_last().map_or((String::new(), path), |(c, q)| (c.clone(), q));
        let source = match qualifiers {
            [] => {
                let mut all = self.scopes.iter().flatten();
                all.next().filter(|_| all.next().is_none())
            }
            [.., name] => {
                let inner_first = self.scopes.iter().rev().flatten();
                let full = qualifiers.join(".");
                inner_first.into_iter().find(|source| {
                    source.name == *name && (qualifiers.len() == 1 || source.table.as_ref() == Some(&full))
                })
            }
        };
        match source {
            Some(source) => {
                let short = source.table.as_ref().and_then(|table| table.rsplit('.').next());
                let alias =
                    (short != Some(&source.name) && !source.name.is_empty()).then(|| source.name.clone());
                ColumnRef { table: source.table.clone(), alias, column }
            }
            None => ColumnRef { table: None, alias: qualifiers.last().cloned(), column },
        }
    }
}

pub(super) fn source_of(found: &TableRef) -> Source {
    let name = found.alias.clone().unwrap_or_else(|| found.name.clone());
    Source { name, table: Some(found.full_name()) }
}

impl Visitor for Walker {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        if self.inside == 0 {
            self.facts.subqueries = self.facts.subqueries.saturating_add(1);
            self.query(query, false);
        }
        self.inside += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.inside -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if self.inside == 0
            && let Some(column) = self.named(expr)
        {
            push_new(&mut self.facts.columns, &mut self.facts.cut, column);
        }
        ControlFlow::Continue(())
    }
}
