//! FROM: which relations a query names, which of them see their neighbours, and what joins them. Pure.

use sqlparser::ast::{JoinConstraint, JoinOperator, TableFactor, TableWithJoins};

use super::walk::{Source, Walker, name, parts, push_new, source_of, table};
use super::{Clause, ColumnRef, JoinPair, Role};

impl Walker {
    /// Names what FROM names, and reads queries in it that cannot see their neighbours.
    pub fn before_from(&mut self, from: &[TableWithJoins], scope: &mut Vec<Source>) {
        for item in from {
            self.factor(&item.relation, scope);
            item.joins.iter().for_each(|join| self.factor(&join.relation, scope));
        }
    }

    /// Reads what can see all of FROM: LATERAL queries, functions and join conditions.
    pub fn with_from(&mut self, from: &[TableWithJoins], main: bool) {
        for item in from {
            self.lateral(&item.relation, main);
            for (at, join) in item.joins.iter().enumerate() {
                self.lateral(&join.relation, main);
                self.join(&join.join_operator, item, at, main);
            }
        }
    }

    pub fn factor(&mut self, factor: &TableFactor, scope: &mut Vec<Source>) {
        match factor {
            TableFactor::Table { name: object, alias, args: None, .. } => {
                let alias = alias.as_ref().map(|alias| &alias.name);
                let Some(found) = table(object, alias, Role::Read) else {
                    return;
                };
                scope.push(source_of(&found));
                if found.schema.is_some() || !self.ctes.contains(&found.name) {
                    self.table(found);
                }
            }
            TableFactor::NestedJoin { table_with_joins, .. } => {
                self.before_from(std::slice::from_ref(table_with_joins), scope);
            }
            TableFactor::Derived { lateral, subquery, alias, .. } => {
                if !lateral {
                    self.facts.subqueries = self.facts.subqueries.saturating_add(1);
                    self.query(subquery, false);
                }
                let name = alias.as_ref().map(|alias| name(&alias.name)).unwrap_or_default();
                scope.push(Source { name, table: None });
            }
            TableFactor::Table { name: object, alias, .. }
            | TableFactor::Function { name: object, alias, .. } => {
                let own = parts(object).pop().unwrap_or_default();
                scope.push(Source {
                    name: alias.as_ref().map_or(own, |alias| name(&alias.name)),
                    table: None,
                });
            }
            // Whatever it is, it may have any column.
            _ => scope.push(Source { name: String::new(), table: None }),
        }
    }

    fn lateral(&mut self, factor: &TableFactor, main: bool) {
        match factor {
            TableFactor::Table { args: None, sample, .. } => self.facts.plain &= !main || sample.is_none(),
            TableFactor::Derived { lateral: false, .. } => {}
            TableFactor::Derived { subquery, .. } => {
                self.facts.subqueries = self.facts.subqueries.saturating_add(1);
                self.query(subquery, false);
            }
            TableFactor::NestedJoin { table_with_joins, .. } => {
                self.with_from(std::slice::from_ref(table_with_joins), main);
            }
            TableFactor::Table { args: Some(args), .. } => self.expressions(args),
            TableFactor::Function { args, .. } => args.iter().for_each(|arg| self.expressions(arg)),
            other => self.expressions(other),
        }
    }

    fn join(&mut self, operator: &JoinOperator, item: &TableWithJoins, at: usize, main: bool) {
        use JoinOperator::{CrossJoin, FullOuter, Inner, Join, Left, LeftOuter, Right, RightOuter};
        let inner = matches!(operator, Join(_) | Inner(_) | CrossJoin(_));
        self.facts.plain &= inner || !main;
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
            JoinConstraint::On(condition) => self.conditions(condition, Clause::On, main && inner),
            JoinConstraint::Using(columns) => {
                let left = if at == 0 { source_name(&item.relation) } else { None };
                let right = item.joins.get(at).and_then(|join| source_name(&join.relation));
                for column in columns {
                    let column = parts(column).pop().unwrap_or_default();
                    let (left, right) =
                        (self.of(left.as_deref(), &column), self.of(right.as_deref(), &column));
                    let pair = JoinPair { left, right, query: self.query };
                    push_new(&mut self.facts.joins, &mut self.facts.cut, pair);
                }
            }
            JoinConstraint::Natural | JoinConstraint::None => {}
        }
    }

    fn of(&self, source: Option<&str>, column: &str) -> ColumnRef {
        match source {
            Some(source) => self.column(&[source.to_owned(), column.to_owned()]),
            None => ColumnRef { table: None, alias: None, column: column.to_owned() },
        }
    }
}

fn source_name(factor: &TableFactor) -> Option<String> {
    match factor {
        TableFactor::Table { name: object, alias, .. } => match alias {
            Some(alias) => Some(name(&alias.name)),
            None => parts(object).pop(),
        },
        _ => None,
    }
}
