//! Look-ups in a catalog: by name as PostgreSQL resolves it, and along keys, partitions and views.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{
    ArrayType, Attnum, Catalog, Column, Facts, ForeignKey, Function, Index, Key, Oid, Table, TableKind, Type,
    TypeKind, Volatility,
};

/// Views read views; PostgreSQL knows no bound, people do.
const VIEW_DEPTH_MAX: usize = 100;

/// Domains over domains.
const DOMAIN_DEPTH_MAX: usize = 32;

impl Catalog {
    /// Sorts what was read and makes the look-ups.
    pub fn new(
        facts: Facts,
        mut tables: Vec<Table>,
        mut functions: Vec<Function>,
        builtins: BTreeMap<String, Volatility>,
        types: BTreeMap<Oid, Type>,
    ) -> Catalog {
        tables.sort_by_key(|table| table.oid);
        functions.sort_by(|a, b| (&a.schema, &a.name).cmp(&(&b.schema, &b.name)));
        let mut by_name: HashMap<String, Vec<usize>> = HashMap::new();
        let mut children: HashMap<Oid, Vec<usize>> = HashMap::new();
        let mut referenced: HashMap<Oid, Vec<(usize, usize)>> = HashMap::new();
        for (at, table) in tables.iter().enumerate() {
            by_name.entry(table.name.clone()).or_default().push(at);
            let parents = table.partition_of.iter().map(|of| of.parent).chain(table.inherits.iter().copied());
            parents.for_each(|parent| children.entry(parent).or_default().push(at));
            for (number, key) in table.foreign_keys.iter().enumerate() {
                referenced.entry(key.to).or_default().push((at, number));
            }
        }
        let arrays =
            types.iter().filter_map(|(&oid, array)| array.element.map(|element| (element, oid))).collect();
        let (hidden, effects) = Default::default();
        Catalog {
            facts,
            tables,
            functions,
            builtins,
            types,
            hidden,
            effects,
            by_name,
            children,
            referenced,
            arrays,
        }
    }

    /// The table or view that a name means. Without a schema, the first of the search path that has it; names
    /// of PostgreSQL's own catalog and of temporary tables are not known here.
    pub fn table<S: AsRef<str>>(
        &self,
        search_path: &[S],
        schema: Option<&str>,
        name: &str,
    ) -> Option<&Table> {
        let same_name = self.by_name.get(name)?;
        let within =
            |schema: &str| same_name.iter().map(|&at| &self.tables[at]).find(|table| table.schema == schema);
        match schema {
            Some(schema) => within(schema),
            None => search_path.iter().find_map(|schema| within(schema.as_ref())),
        }
    }

    pub fn table_by_oid(&self, oid: Oid) -> Option<&Table> {
        let at = self.tables.binary_search_by_key(&oid, |table| table.oid).ok()?;
        self.tables.get(at)
    }

    /// The table's indexes that queries may use.
    pub fn indexes_of(&self, table: Oid) -> impl Iterator<Item = &Index> {
        self.table_by_oid(table).into_iter().flat_map(|table| &table.indexes).filter(|index| index.valid)
    }

    /// The foreign keys that this table has.
    pub fn foreign_keys_from(&self, table: Oid) -> &[ForeignKey] {
        self.table_by_oid(table).map_or(&[], |table| &table.foreign_keys)
    }

    /// The foreign keys of others, and of itself, that point here.
    pub fn foreign_keys_to(&self, table: Oid) -> impl Iterator<Item = (&Table, &ForeignKey)> {
        let places = self.referenced.get(&table).into_iter().flatten();
        places.map(|&(at, number)| (&self.tables[at], &self.tables[at].foreign_keys[number]))
    }

    /// Partitions of a table, or tables that inherit from it: one level.
    pub fn children_of(&self, table: Oid) -> impl Iterator<Item = &Table> {
        self.children.get(&table).into_iter().flatten().map(|&at| &self.tables[at])
    }

    /// What holds a table's rows: its partitions, down to those that are not divided again; or itself.
    pub fn leaves_of<'a>(&'a self, table: &'a Table) -> Vec<&'a Table> {
        match table.partitioning {
            None => vec![table],
            Some(_) => self.children_of(table.oid).flat_map(|part| self.leaves_of(part)).collect(),
        }
    }

    /// The tables that a view reads in the end, through other views; for a table, itself. `None` when one of
    /// them is not known.
    pub fn base_tables(&self, oid: Oid) -> Option<Vec<&Table>> {
        let (mut found, mut seen, mut next) = (Vec::new(), HashSet::new(), vec![(oid, 0)]);
        while let Some((oid, depth)) = next.pop() {
            if !seen.insert(oid) {
                continue;
            }
            let table = self.table_by_oid(oid).filter(|_| depth <= VIEW_DEPTH_MAX)?;
            match table.kind {
                TableKind::View => next.extend(table.reads.iter().map(|&read| (read, depth + 1))),
                // A materialized view is read as a table; what it was made of matters to who refreshes it.
                _ => found.push(table),
            }
        }
        found.sort_by_key(|table| table.oid);
        Some(found)
    }

    /// The views, materialized ones too, whose own query names this table or view.
    pub fn views_on(&self, oid: Oid) -> impl Iterator<Item = &Table> {
        self.tables.iter().filter(move |table| table.reads.contains(&oid))
    }

    /// The most volatile function that a call by this name may reach: without a schema, in any schema of the
    /// search path or among PostgreSQL's own. `None`: no function of the name is known.
    pub fn volatility<S: AsRef<str>>(
        &self,
        search_path: &[S],
        schema: Option<&str>,
        name: &str,
    ) -> Option<Volatility> {
        let own = |schema: &str| self.functions_named(schema, name).map(|function| function.volatility).max();
        match schema {
            Some("pg_catalog") => self.builtins.get(name).copied(),
            Some(schema) => own(schema),
            None => {
                let found = search_path.iter().filter_map(|schema| own(schema.as_ref())).max();
                found.max(self.builtins.get(name).copied())
            }
        }
    }

    /// The overloads of one user-defined function.
    pub fn functions_named(&self, schema: &str, name: &str) -> impl Iterator<Item = &Function> {
        let key =
            |function: &Function| (function.schema.as_str(), function.name.as_str()).cmp(&(schema, name));
        let from = self.functions.partition_point(|function| key(function).is_lt());
        let to = self.functions.partition_point(|function| key(function).is_le());
        self.functions[from..to].iter()
    }

    /// What a domain is in the end; any other type is itself.
    pub fn base_type(&self, oid: Oid) -> Oid {
        let mut oid = oid;
        for _ in 0..DOMAIN_DEPTH_MAX {
            match self.types.get(&oid).and_then(|known| known.base) {
                Some(base) => oid = base,
                None => break,
            }
        }
        oid
    }

    /// The array of a user-defined type.
    pub fn array_of(&self, element: Oid) -> Option<ArrayType> {
        let oid = *self.arrays.get(&element)?;
        let known = self.types.get(&element)?;
        let base = self.types.get(&self.base_type(element));
        let composite = base.is_some_and(|base| base.kind == TypeKind::Composite);
        Some(ArrayType { oid, delimiter: known.delimiter, composite })
    }

    /// The user-defined functions of a name in any schema.
    pub fn functions_anywhere(&self, name: &str) -> impl Iterator<Item = &Function> {
        self.functions.iter().filter(move |function| function.name == name)
    }

    pub fn columns(&self) -> usize {
        self.tables.iter().map(|table| table.columns.len()).sum()
    }
}

impl Table {
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    pub fn column_by_number(&self, number: Attnum) -> Option<&Column> {
        let at = self.columns.binary_search_by_key(&number, |column| column.number).ok()?;
        self.columns.get(at)
    }

    pub fn primary_key(&self) -> Option<&Key> {
        self.keys.iter().find(|key| key.primary)
    }

    /// Whether at most one row has given values in these columns: a primary key, a unique constraint or a
    /// unique index over some of them holds for every row, and is checked at once. NULLs are not values.
    pub fn is_unique(&self, columns: &[Attnum]) -> bool {
        self.indexes.iter().any(|index| {
            index.unique
                && index.valid
                && index.immediate
                && index.predicate.is_none()
                && index
                    .columns
                    .iter()
                    .all(|part| part.column.is_some_and(|number| columns.contains(&number)))
        })
    }

    /// Of all its indexes.
    pub fn index_bytes(&self) -> u64 {
        self.indexes.iter().map(|index| index.bytes).sum()
    }

    pub fn is_partition(&self) -> bool {
        self.partition_of.is_some()
    }
}
