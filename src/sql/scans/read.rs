//! From the syntax tree to [`Scans`]: queries within queries, relations, outputs, order. Pure. It is called
//! where recursion is safe, as `facts` is.

use std::ops::ControlFlow;

use sqlparser::ast::{
    Distinct, Expr, FromTable, GroupByExpr, JoinConstraint, JoinOperator, LimitClause, ObjectName,
    OrderByKind, Query as Tree, Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, Statement,
    TableFactor, TableObject, TableWithJoins, UpdateTableFromKind, Visit, Visitor,
};

use super::name::{assigned, extreme, meant, parts, relation, sort};
use super::term::{expression, ident};
use super::{Column, Expression, LIST_MAX, Operator, Query, Relation, Scans, Term, Write, WriteKind};

pub(super) fn scans(statement: &Statement) -> Scans {
    let mut reader = Reader { scans: Scans::default(), ctes: Vec::new(), at: None, inside: 0 };
    reader.statement(statement);
    reader.scans
}

pub(super) struct Reader {
    pub scans: Scans,
    ctes: Vec<String>,
    /// The query at hand.
    pub at: Option<usize>,
    /// Queries around what is visited that were read already.
    inside: usize,
}

impl Reader {
    fn statement(&mut self, statement: &Statement) {
        match statement {
            Statement::Query(query) => self.query(query),
            Statement::Insert(insert) => {
                if let TableObject::TableName(name) = &insert.table {
                    self.write(name, WriteKind::Insert, Vec::new());
                }
                if let Some(source) = &insert.source {
                    self.query(source);
                }
            }
            Statement::Update(update) => {
                let columns = update.assignments.iter().flat_map(|one| assigned(&one.target)).collect();
                self.writes_of(&update.table, WriteKind::Update, columns);
                let before = self.enter();
                self.factors(std::slice::from_ref(&update.table));
                if let Some(UpdateTableFromKind::BeforeSet(from) | UpdateTableFromKind::AfterSet(from)) =
                    &update.from
                {
                    self.factors(from);
                }
                update.assignments.iter().for_each(|one| self.uses(&one.value));
                self.changed(update.selection.as_ref());
                self.at = before;
            }
            Statement::Delete(delete) => {
                let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &delete.from;
                from.iter().for_each(|table| self.writes_of(table, WriteKind::Delete, Vec::new()));
                let before = self.enter();
                self.factors(from);
                self.factors(delete.using.as_deref().unwrap_or_default());
                self.changed(delete.selection.as_ref());
                self.at = before;
            }
            Statement::Merge(merge) => {
                if let TableFactor::Table { name, .. } = &merge.table {
                    self.write(name, WriteKind::Merge, Vec::new());
                }
                let before = self.enter();
                self.factor(&merge.table);
                self.factor(&merge.source);
                self.condition(&merge.on);
                self.at = before;
            }
            Statement::Explain { statement, .. } => self.statement(statement),
            _ => {}
        }
    }

    /// UPDATE and DELETE read whole rows.
    fn changed(&mut self, selection: Option<&Expr>) {
        self.here().whole.push(None);
        selection.into_iter().for_each(|selection| self.condition(selection));
    }

    fn writes_of(&mut self, table: &TableWithJoins, kind: WriteKind, columns: Vec<String>) {
        if let TableFactor::Table { name, .. } = &table.relation {
            self.write(name, kind, columns);
        }
    }

    fn write(&mut self, name: &ObjectName, kind: WriteKind, columns: Vec<String>) {
        if let Some(relation) = relation(name, None) {
            self.scans.writes.push(Write { relation, kind, columns });
        }
    }

    /// A query of its own begins; returns the one to go back to.
    fn enter(&mut self) -> Option<usize> {
        let parent = self.at;
        self.scans.queries.push(Query { parent, ..Query::default() });
        self.at = Some(self.scans.queries.len() - 1);
        parent
    }

    pub(super) fn here(&mut self) -> &mut Query {
        if self.at.is_none() {
            self.enter();
        }
        let at = self.at.unwrap_or_default();
        &mut self.scans.queries[at]
    }

    fn query(&mut self, query: &Tree) {
        if self.scans.queries.len() >= LIST_MAX {
            return;
        }
        let visible = self.ctes.len();
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            let recursive = query.with.as_ref().is_some_and(|with| with.recursive);
            if recursive {
                self.ctes.push(ident(&cte.alias.name));
            }
            self.query(&cte.query);
            if !recursive {
                self.ctes.push(ident(&cte.alias.name));
            }
        }
        self.body(&query.body, Some(query));
        self.ctes.truncate(visible);
    }

    fn body(&mut self, body: &SetExpr, whole: Option<&Tree>) {
        match body {
            SetExpr::Select(select) => {
                let before = self.enter();
                self.select(select, whole);
                self.at = before;
            }
            SetExpr::Query(query) => self.query(query),
            // What sorts or cuts a UNION is not in the order of one of its tables.
            SetExpr::SetOperation { left, right, .. } => {
                self.body(left, None);
                self.body(right, None);
            }
            SetExpr::Insert(statement)
            | SetExpr::Update(statement)
            | SetExpr::Delete(statement)
            | SetExpr::Merge(statement) => self.statement(statement),
            SetExpr::Values(_) | SetExpr::Table(_) => {}
        }
    }

    fn select(&mut self, select: &Select, whole: Option<&Tree>) {
        self.factors(&select.from);
        let mut named: Vec<(String, &Expr)> = Vec::new();
        for item in &select.projection {
            match item {
                SelectItem::Wildcard(_) => self.here().whole.push(None),
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
                    let last = parts(name).pop();
                    self.here().whole.push(last);
                }
                SelectItem::ExprWithAlias { expr, alias } => {
                    named.push((ident(alias), expr));
                    self.output(expr);
                }
                SelectItem::UnnamedExpr(expr) => {
                    named.push((String::new(), expr));
                    self.output(expr);
                }
                _ => self.here().whole.push(None),
            }
        }
        self.extremes(select);
        select.selection.iter().for_each(|selection| self.condition(selection));
        if let GroupByExpr::Expressions(by, _) = &select.group_by {
            for by in by {
                let by = meant(by, &named);
                self.uses(by);
                let by = expression(by);
                self.here().group.push(by);
            }
        }
        select.having.iter().for_each(|having| self.uses(having));
        match &select.distinct {
            Some(Distinct::Distinct) => self.here().distinct = true,
            Some(Distinct::On(by)) => {
                let by = by.iter().map(|by| expression(meant(by, &named))).collect();
                self.here().distinct_on = by;
            }
            _ => {}
        }
        if let Some(query) = whole {
            self.tail(query, &named);
        }
    }

    fn output(&mut self, expr: &Expr) {
        self.uses(expr);
        let output = expression(expr);
        self.here().outputs.push(output);
    }

    /// `select max(a) from …` finds its row at an end of an index.
    fn extremes(&mut self, select: &Select) {
        let grouped = matches!(&select.group_by, GroupByExpr::Expressions(by, _) if !by.is_empty());
        let mut found = Vec::new();
        for item in &select.projection {
            let (SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) = item else {
                return;
            };
            match extreme(expr) {
                Some(sort) => found.push(sort),
                None => return,
            }
        }
        if !grouped {
            self.here().extremes = found;
        }
    }

    fn tail(&mut self, query: &Tree, named: &[(String, &Expr)]) {
        if let Some(order) = &query.order_by
            && let OrderByKind::Expressions(all) = &order.kind
        {
            for order in all {
                let by = meant(&order.expr, named);
                self.uses(by);
                let sort = sort(order, by);
                self.here().order.push(sort);
            }
        }
        let (mut limit, mut offset) = (None, None);
        match &query.limit_clause {
            Some(LimitClause::LimitOffset { limit: l, offset: o, .. }) => {
                (limit, offset) = (l.as_ref(), o.as_ref().map(|offset| &offset.value));
            }
            Some(LimitClause::OffsetCommaLimit { offset: o, limit: l }) => {
                (limit, offset) = (Some(l), Some(o));
            }
            None => {}
        }
        limit = limit.or(query.fetch.as_ref().and_then(|fetch| fetch.quantity.as_ref()));
        let here = self.here();
        here.limited |= limit.is_some() || query.fetch.is_some();
        here.limit.extend(limit.map(expression).into_iter().flat_map(|limit| limit.holes));
        here.offset.extend(offset.map(expression).into_iter().flat_map(|offset| offset.holes));
    }

    fn factors(&mut self, from: &[TableWithJoins]) {
        for item in from {
            self.factor(&item.relation);
            for join in &item.joins {
                let left = self.here().relations.len();
                self.factor(&join.relation);
                self.join(&join.join_operator, left);
            }
        }
    }

    fn factor(&mut self, factor: &TableFactor) {
        match factor {
            TableFactor::Table { name, alias, args: None, .. } => {
                let alias = alias.as_ref().map(|alias| ident(&alias.name));
                if let Some(mut found) = relation(name, alias) {
                    found.derived = found.schema.is_none() && self.ctes.contains(&found.name);
                    self.here().relations.push(found);
                }
            }
            TableFactor::NestedJoin { table_with_joins, .. } => {
                self.factors(std::slice::from_ref(table_with_joins));
            }
            TableFactor::Derived { subquery, alias, .. } => {
                self.query(subquery);
                let alias = alias.as_ref().map(|alias| ident(&alias.name)).unwrap_or_default();
                self.derived(alias);
            }
            TableFactor::Table { alias, .. } | TableFactor::Function { alias, .. } => {
                self.derived(alias.as_ref().map(|alias| ident(&alias.name)).unwrap_or_default());
            }
            _ => self.derived(String::new()),
        }
    }

    fn derived(&mut self, alias: String) {
        let relation = Relation { schema: None, name: alias.clone(), alias, derived: true };
        self.here().relations.push(relation);
    }

    fn join(&mut self, operator: &JoinOperator, right: usize) {
        use JoinOperator::{CrossJoin, FullOuter, Inner, Join, Left, LeftOuter, Right, RightOuter};
        let (Join(constraint)
        | Inner(constraint)
        | CrossJoin(constraint)
        | Left(constraint)
        | LeftOuter(constraint)
        | Right(constraint)
        | RightOuter(constraint)
        | FullOuter(constraint)) = operator
        else {
            return;
        };
        match constraint {
            JoinConstraint::On(condition) => self.condition(condition),
            JoinConstraint::Using(columns) => {
                for column in columns {
                    let name = parts(column).pop().unwrap_or_default();
                    self.using(&name, right);
                }
            }
            JoinConstraint::Natural | JoinConstraint::None => {}
        }
    }

    fn using(&mut self, name: &str, right: usize) {
        let relations = &self.here().relations;
        let side = |at: usize| {
            let qualifier = relations.get(at).map(|relation| relation.alias.clone());
            let column = Column { qualifier, name: name.to_owned() };
            Expression {
                text: name.to_owned(),
                plain: true,
                columns: vec![column],
                holes: vec![],
                query: false,
            }
        };
        let (left, right) = (side(right.saturating_sub(1)), side(right));
        let used = [left.columns[0].clone(), right.columns[0].clone()];
        self.here().used.extend(used);
        let text = String::new();
        let term = Term { left, operator: Operator::Equal, right: Some(right), more: Vec::new(), text };
        self.here().terms.push(term);
    }

    /// Notes columns, and reads queries within.
    pub(super) fn uses(&mut self, node: &impl Visit) {
        let _ = node.visit(self);
    }
}

impl Visitor for Reader {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Tree) -> ControlFlow<()> {
        if self.inside == 0 {
            let before = self.at;
            self.query(query);
            self.at = before;
        }
        self.inside += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Tree) -> ControlFlow<()> {
        self.inside -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if self.inside == 0
            && let Some(column) = super::term::column(expr)
            && self.here().used.len() < LIST_MAX
            && !self.here().used.contains(&column)
        {
            self.here().used.push(column);
        }
        ControlFlow::Continue(())
    }
}
