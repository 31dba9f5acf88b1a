//! Queries: WITH, SELECT, set operations, order, limit, locks. Pure.

use sqlparser::ast::{
    Distinct, Expr, GroupByExpr, LimitClause, LockClause, LockType, NonBlock, ObjectName, OrderByExpr,
    OrderByKind, Query, Select, SelectItem, SetExpr, Value,
};

use super::walk::{Walker, name, parts, push, push_new, table};
use super::{Clause, ColumnRef, LockOtherwise, LockStrength, Locking, Operand, Order, Role};

impl Walker {
    pub fn query(&mut self, query: &Query, main: bool) {
        let number = self.enter_query(main);
        let own = self.query;
        let visible = self.ctes.len();
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            let cte_name = name(&cte.alias.name);
            push_new(&mut self.facts.ctes, &mut self.facts.cut, cte_name.clone());
            let recursive = query.with.as_ref().is_some_and(|with| with.recursive);
            if recursive {
                self.ctes.push(cte_name.clone());
            }
            self.query(&cte.query, false);
            if !recursive {
                self.ctes.push(cte_name);
            }
        }
        self.query = own;
        self.body(&query.body, Some(query), main);
        for lock in &query.locks {
            self.lock(lock);
        }
        self.ctes.truncate(visible);
        self.query = number;
    }

    fn body(&mut self, body: &SetExpr, whole: Option<&Query>, main: bool) {
        match body {
            SetExpr::Select(select) => return self.select(select, whole, main),
            SetExpr::Query(query) => self.query(query, main),
            SetExpr::SetOperation { left, right, .. } => {
                self.facts.set_operations = self.facts.set_operations.saturating_add(1);
                self.facts.plain &= !main;
                for branch in [left, right] {
                    let number = self.enter_query(false);
                    self.body(branch, None, false);
                    self.query = number;
                }
            }
            SetExpr::Values(values) => {
                values.rows.iter().flat_map(|row| &row.content).for_each(|value| self.expression(value));
            }
            SetExpr::Insert(statement)
            | SetExpr::Update(statement)
            | SetExpr::Delete(statement)
            | SetExpr::Merge(statement) => self.statement(statement, main),
            SetExpr::Table(object) => {
                let (schema, name) = (object.schema_name.clone(), object.table_name.clone());
                let name = name.unwrap_or_default().to_lowercase();
                if !self.ctes.contains(&name) {
                    let schema = schema.map(|schema| schema.to_lowercase());
                    let found = super::TableRef { schema, name, alias: None, role: Role::Read };
                    push_new(&mut self.facts.tables, &mut self.facts.cut, found);
                }
            }
        }
        if let Some(query) = whole {
            self.tail(query, &[], main);
        }
    }

    fn select(&mut self, select: &Select, whole: Option<&Query>, main: bool) {
        let mut scope = Vec::new();
        self.before_from(&select.from, &mut scope);
        self.scopes.push(scope);
        self.with_from(&select.from, main);
        if let Some(into) = &select.into {
            // INTO has names of tables where the parser has expressions.
            for target in &into.targets {
                let path = match target {
                    Expr::Identifier(ident) => ObjectName::from(vec![ident.clone()]),
                    Expr::CompoundIdentifier(path) => ObjectName::from(path.clone()),
                    _ => continue,
                };
                self.facts.tables.extend(table(&path, None, Role::Written));
            }
        }
        let mut aliases = Vec::new();
        for item in &select.projection {
            if let SelectItem::ExprWithAlias { alias, .. } = item {
                aliases.push(name(alias));
            }
            self.expressions(item);
        }
        if let Some(selection) = &select.selection {
            self.conditions(selection, Clause::Where, main);
        }
        self.grouping(&select.group_by, &aliases, main);
        if let Some(having) = &select.having {
            self.facts.plain &= !main;
            self.facts.aggregate |= main;
            self.conditions(having, Clause::Having, false);
        }
        if let Some(distinct) = &select.distinct {
            if let Distinct::On(by) = distinct {
                by.iter().for_each(|by| self.expression(by));
            }
            self.facts.distinct |= main && !matches!(distinct, Distinct::All);
        }
        self.expressions(&select.named_window);
        if let Some(query) = whole {
            self.tail(query, &aliases, main);
        }
        self.scopes.pop();
    }

    fn grouping(&mut self, group_by: &GroupByExpr, aliases: &[String], main: bool) {
        let GroupByExpr::Expressions(by, _) = group_by else {
            return;
        };
        for by in by {
            self.expression(by);
            if main {
                self.facts.aggregate = true;
                let by = self.by(by, aliases);
                push(&mut self.facts.group_by, &mut self.facts.cut, by);
            }
        }
    }

    /// What a query says after its body.
    fn tail(&mut self, query: &Query, aliases: &[String], main: bool) {
        if let Some(order) = &query.order_by
            && let OrderByKind::Expressions(all) = &order.kind
        {
            all.iter().for_each(|order| self.order(order, aliases, main));
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
        let fetch = query.fetch.as_ref();
        // Each may be a query of its own.
        let counts = [limit, offset, fetch.and_then(|fetch| fetch.quantity.as_ref())];
        counts.into_iter().flatten().for_each(|count| self.expression(count));
        // FETCH FIRST ROW ONLY has no number and means one.
        let fetch = fetch.map(|fetch| fetch.quantity.as_ref().map_or(Operand::Constant, |n| self.operand(n)));
        let limit = limit.map(|limit| self.operand(limit)).or(fetch);
        let offset = offset.map(|offset| self.operand(offset));
        if main {
            (self.facts.limit, self.facts.offset) = (limit, offset);
        }
    }

    fn order(&mut self, order: &OrderByExpr, aliases: &[String], main: bool) {
        use sqlparser::ast::OrderBySort::{Asc, Desc, Using};
        if !is_alias(&order.expr, aliases) {
            self.expression(&order.expr);
        }
        if !main {
            return;
        }
        let by = self.by(&order.expr, aliases);
        let (descending, by) = match &order.options.sort {
            Some(Desc) => (true, by),
            Some(Using(_)) => (false, Operand::Expression { holes: Vec::new(), columns: true }),
            Some(Asc) | None => (false, by),
        };
        let order = Order { by, descending, nulls_first: order.options.nulls_first };
        push(&mut self.facts.order, &mut self.facts.cut, order);
    }

    /// What is sorted or grouped by: an output's name comes before a column's.
    fn by(&self, expr: &Expr, aliases: &[String]) -> Operand {
        let output =
            is_alias(expr, aliases) || matches!(expr, Expr::Value(value) if is_literal(&value.value));
        match output {
            true => Operand::Expression { holes: Vec::new(), columns: true },
            false => self.operand(expr),
        }
    }

    fn lock(&mut self, lock: &LockClause) {
        let strength = match lock.lock_type {
            LockType::Share => LockStrength::Share,
            LockType::Update => LockStrength::Update,
        };
        let otherwise = lock.nonblock.as_ref().map(|nonblock| match nonblock {
            NonBlock::Nowait => LockOtherwise::Nowait,
            NonBlock::SkipLocked => LockOtherwise::SkipLocked,
        });
        self.facts.locking.get_or_insert(Locking { strength, otherwise });
    }

    /// The column that an expression is, if it is one.
    pub fn named(&self, expr: &Expr) -> Option<ColumnRef> {
        match expr {
            Expr::Identifier(ident) if ident.quote_style.is_none() && is_word(&ident.value) => None,
            Expr::Identifier(ident) => Some(self.column(&[name(ident)])),
            Expr::CompoundIdentifier(path) => Some(self.column(&path.iter().map(name).collect::<Vec<_>>())),
            _ => None,
        }
    }
}

/// DEFAULT stands where a value could.
fn is_word(value: &str) -> bool {
    value.eq_ignore_ascii_case("default")
}

/// `order by 2` names an output by its place; a hole there is a value, which sorts nothing.
fn is_literal(value: &Value) -> bool {
    !matches!(value, Value::Placeholder(_))
}

fn is_alias(expr: &Expr, aliases: &[String]) -> bool {
    matches!(expr, Expr::Identifier(ident) if aliases.contains(&name(ident)))
}

/// The name of a function, with its schema if it was written.
pub(super) fn function_name(object: &sqlparser::ast::ObjectName) -> String {
    parts(object).join(".")
}
