//! How a statement's queries look at tables: names become tables and columns of the catalog, conditions become
//! parts that an index may be made of. Knows no index.

use super::constant::{self, Constant};
use super::index::{Key, quoted};
use super::{Statement, Surroundings};
use crate::catalog::{Attnum, Catalog, Column as Known, Oid, Table, TableKind};
use crate::sql::scans::{Column, Expression, Operator, Query, Term};

/// All looks of one statement.
#[derive(Debug, Default)]
pub struct Resolved<'a> {
    pub looks: Vec<Look<'a>>,
    columns: Vec<((Oid, Attnum), &'a Term)>,
    /// What kept an index from being considered, and of which table.
    pub notes: Vec<(Oid, String)>,
}

impl<'a> Resolved<'a> {
    /// Plain columns, and the conditions on them.
    pub fn columns(&self) -> impl Iterator<Item = ((Oid, Attnum), &'a Term)> {
        self.columns.iter().copied()
    }
}

/// One query's look at one table.
#[derive(Debug)]
pub struct Look<'a> {
    pub table: &'a Table,
    /// Looked up by values that are known before.
    pub points: Vec<Part>,
    /// Looked up by values of another table's row.
    pub joins: Vec<Part>,
    pub ranges: Vec<Part>,
    /// Of a row comparison, in order; the last says whether it goes downwards.
    pub rows: Option<(Vec<Part>, bool)>,
    /// All that it is sorted by, where all of it is this table's.
    pub order: Vec<Key>,
    pub limited: bool,
    pub group: Vec<Key>,
    pub distinct_on: usize,
    pub extremes: Vec<Key>,
    /// Points that are alternatives of each other.
    pub alternatives: Vec<Vec<Part>>,
    /// Conditions that no B-tree in the column's own order serves.
    pub special: Vec<&'a Term>,
    pub constants: Vec<Constant>,
    /// `None`: the whole row.
    pub used: Option<Vec<Attnum>>,
    /// It is the only table of its query.
    pub sole: bool,
    /// Rows are changed or removed, so they have to be visited.
    pub written: bool,
}

/// Something of a row that is compared.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    pub key: Key,
    /// The part of the table's rows that one value has, 0 to 1.
    pub selectivity: f64,
    /// Several values may be looked up.
    pub many: bool,
}

/// Resolves every query of a statement. `catalog`'s own search path stands in where none is written.
pub fn resolve<'a>(
    statement: &'a Statement,
    catalog: &'a Catalog,
    surroundings: &Surroundings,
) -> Resolved<'a> {
    let scans = &statement.scans;
    let tables: Vec<Vec<Option<&Table>>> = scans
        .queries
        .iter()
        .map(|query| query.relations.iter().map(|of| find(of, catalog)).collect())
        .collect();
    let mut out = Resolved::default();
    for (at, query) in scans.queries.iter().enumerate() {
        let names = Names { queries: &scans.queries, tables: &tables, at };
        for (relation, table) in tables[at].iter().enumerate() {
            let Some(table) = table else {
                continue;
            };
            let reader = Reader {
                statement,
                surroundings,
                catalog,
                names: &names,
                query,
                relation,
                table,
                out: &mut out,
            };
            let mut look = reader.look();
            look.written = at == 0
                && relation == 0
                && scans.writes.iter().any(|write| write.relation.name == query.relations[0].name);
            out.looks.push(look);
        }
    }
    out
}

/// The table that an index would be made on: of a partition, the table that it is a part of.
fn find<'a>(relation: &crate::sql::scans::Relation, catalog: &'a Catalog) -> Option<&'a Table> {
    if relation.derived {
        return None;
    }
    let mut table = catalog.table(&catalog.facts.search_path, relation.schema.as_deref(), &relation.name)?;
    while let Some(parent) = table.partition_of.as_ref().and_then(|of| catalog.table_by_oid(of.parent)) {
        table = parent;
    }
    matches!(table.kind, TableKind::Table | TableKind::Partitioned | TableKind::MaterializedView)
        .then_some(table)
}

/// Who owns a column: a query and one of its relations.
type Place = (usize, usize);

struct Names<'a> {
    queries: &'a [Query],
    tables: &'a [Vec<Option<&'a Table>>],
    at: usize,
}

impl Names<'_> {
    fn place(&self, column: &Column) -> Option<Place> {
        let mut at = Some(self.at);
        while let Some(query) = at {
            let relations = &self.queries[query].relations;
            let has = |relation: usize| {
                self.tables[query][relation].is_some_and(|table| table.column(&column.name).is_some())
            };
            let found = match &column.qualifier {
                Some(qualifier) => relations.iter().position(|of| of.alias == *qualifier),
                None => {
                    let mut all = (0..relations.len()).filter(|&relation| has(relation));
                    all.next().filter(|_| all.next().is_none())
                }
            };
            if let Some(relation) = found {
                return Some((query, relation));
            }
            at = self.queries[query].parent;
        }
        None
    }
}

struct Reader<'a, 'b> {
    statement: &'a Statement,
    surroundings: &'b Surroundings,
    catalog: &'a Catalog,
    names: &'b Names<'b>,
    query: &'a Query,
    relation: usize,
    table: &'a Table,
    out: &'b mut Resolved<'a>,
}

impl<'a> Reader<'a, '_> {
    fn look(mut self) -> Look<'a> {
        let query = self.query;
        let mut look = Look {
            table: self.table,
            points: Vec::new(),
            joins: Vec::new(),
            ranges: Vec::new(),
            rows: None,
            order: self.sorted(query.order.iter().map(|sort| (&sort.by, sort.descending, sort.nulls_first))),
            limited: query.limited,
            group: Vec::new(),
            distinct_on: 0,
            extremes: self
                .sorted(query.extremes.iter().map(|sort| (&sort.by, sort.descending, sort.nulls_first))),
            alternatives: Vec::new(),
            special: Vec::new(),
            constants: Vec::new(),
            used: self.used(),
            sole: query.relations.len() == 1,
            written: false,
        };
        if !query.group.is_empty() {
            look.group = self.sorted(query.group.iter().map(|by| (by, false, false)));
        } else if query.distinct {
            look.group = self.sorted(query.outputs.iter().map(|by| (by, false, false)));
        }
        if !self.sorted(query.distinct_on.iter().map(|by| (by, false, false))).is_empty() {
            look.distinct_on = query.distinct_on.len();
        }
        for term in &query.terms {
            self.term(term, &mut look);
        }
        for group in &query.alternatives {
            let parts: Vec<Option<Part>> = group.iter().map(|term| self.alternative(term)).collect();
            if let Some(parts) = parts.into_iter().collect::<Option<Vec<_>>>() {
                look.alternatives.push(parts);
            }
        }
        look
    }

    /// All columns are this table's.
    fn own(&self, expression: &Expression) -> bool {
        !expression.columns.is_empty()
            && !expression.query
            && expression.columns.iter().all(|column| self.is_own(column))
    }

    fn is_own(&self, column: &Column) -> bool {
        self.names.place(column) == Some((self.names.at, self.relation))
            && self.table.column(&column.name).is_some()
    }

    fn known(&self, expression: &Expression) -> Option<&'a Known> {
        self.table.column(&expression.column()?.name)
    }

    /// Keys, if every expression is this table's and can be one.
    fn sorted<'e>(&mut self, by: impl Iterator<Item = (&'e Expression, bool, bool)>) -> Vec<Key> {
        let mut keys = Vec::new();
        for (by, descending, nulls_first) in by {
            // What depends on no column sorts nothing.
            if by.columns.is_empty() && !by.query {
                continue;
            }
            let Some(key) = self.own(by).then(|| self.key(by)).flatten() else {
                return Vec::new();
            };
            keys.push(Key { descending, nulls_first, ..key });
        }
        keys
    }

    fn key(&mut self, expression: &Expression) -> Option<Key> {
        let plain =
            Key { column: None, sql: String::new(), descending: false, nulls_first: false, class: None };
        if expression.plain {
            let column = self.known(expression)?;
            if !constant::sortable(&column.type_name) {
                return None;
            }
            return Some(Key { column: Some(column.number), sql: quoted(&column.name), ..plain });
        }
        match constant::expression(expression, self.statement, self.table, self.catalog) {
            Ok(sql) => Some(Key { sql, ..plain }),
            Err(reason) => {
                self.out.notes.push((self.table.oid, reason));
                None
            }
        }
    }

    fn part(&mut self, term: &Term) -> Option<Part> {
        let key = self.key(&term.left)?;
        let selectivity = constant::selectivity(term, self.table, self.surroundings, self.statement);
        Some(Part { key, selectivity, many: matches!(term.operator, Operator::In) })
    }

    fn term(&mut self, term: &'a Term, look: &mut Look<'a>) {
        if let Some(right) = &term.right
            && term.operator == Operator::Equal
            && self.own(right)
            && !self.own(&term.left)
        {
            // The same condition seen from the other table.
            return look.joins.extend(self.key(right).map(|key| self.joined(key, right)));
        }
        if !self.own(&term.left) {
            return;
        }
        let right_own = term.right.iter().flat_map(|right| &right.columns).any(|column| self.is_own(column));
        if right_own {
            let reason = "two columns of the same row are compared, which no index looks up".to_owned();
            return self.out.notes.push((self.table.oid, reason));
        }
        if let Some(column) = self.known(&term.left) {
            self.out.columns.push(((self.table.oid, column.number), term));
        }
        if let Some(found) = constant::of(term, self.statement, self.table, self.surroundings) {
            look.constants.push(found);
        }
        let foreign = term.right.as_ref().is_some_and(|right| !right.columns.is_empty() || right.query);
        match &term.operator {
            Operator::Equal | Operator::In if foreign => {
                look.joins.extend(self.key(&term.left).map(|key| self.joined(key, &term.left)))
            }
            Operator::Equal | Operator::In | Operator::IsNull | Operator::IsTrue | Operator::IsFalse => {
                look.points.extend(self.part(term));
            }
            Operator::Less | Operator::Greater if !term.more.is_empty() => {
                let all = std::iter::once(&term.left).chain(&term.more);
                let parts: Option<Vec<Part>> = all
                    .map(|one| {
                        self.own(one).then(|| self.key(one)).flatten().map(|key| Part {
                            key,
                            selectivity: 0.3,
                            many: false,
                        })
                    })
                    .collect();
                look.rows = parts.map(|parts| (parts, term.operator == Operator::Less)).or(look.rows.take());
            }
            Operator::Less | Operator::Greater | Operator::Between => {
                if let Some(part) = self.part(term)
                    && !look.ranges.iter().any(|known| known.key == part.key)
                {
                    look.ranges.push(part);
                }
            }
            Operator::IsNotNull => {}
            _ => look.special.push(term),
        }
    }

    fn joined(&self, key: Key, expression: &Expression) -> Part {
        let distinct = self.known(expression).map_or(200.0, |column| constant::distinct(self.table, column));
        Part { key, selectivity: 1.0 / distinct.max(1.0), many: true }
    }

    fn alternative(&mut self, term: &Term) -> Option<Part> {
        let foreign = term.right.iter().flat_map(|right| &right.columns).any(|column| self.is_own(column));
        let looked_up = matches!(term.operator, Operator::Equal | Operator::In | Operator::IsNull)
            || term.operator.is_range() && term.more.is_empty();
        (looked_up && !foreign && self.own(&term.left)).then(|| self.part(term)).flatten()
    }

    /// Columns that the statement reads of this table; none where it reads all.
    fn used(&self) -> Option<Vec<Attnum>> {
        let alias = &self.query.relations[self.relation].alias;
        if self.query.whole.iter().any(|of| of.as_ref().is_none_or(|of| of == alias)) {
            return None;
        }
        let mut used: Vec<Attnum> = Vec::new();
        for (at, query) in self.names.queries.iter().enumerate() {
            let names = Names { at, ..*self.names };
            for column in &query.used {
                let here = names.place(column) == Some((self.names.at, self.relation));
                let number = self.table.column(&column.name).filter(|_| here).map(|column| column.number);
                used.extend(number.filter(|number| !used.contains(number)));
                // The whole row by its alias.
                if column.qualifier.is_none() && column.name == *alias && at == self.names.at {
                    return None;
                }
            }
        }
        used.sort_unstable();
        Some(used)
    }
}
