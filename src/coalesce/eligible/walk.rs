//! Everything that a statement reaches: tables behind views, policies and functions, and what these run. Each thing
//! is visited once; the walk is bounded.

use std::collections::{BTreeMap, BTreeSet};

use super::{Closure, Level, ReadFacts, Reason, Session, Sharing, names};
use crate::catalog::{
    Catalog, Expression, Function, FunctionName, Language, Oid, Table, TableKind, Type, TypeKind, Volatility,
};
use crate::sql::facts::{Facts, TableRef};
use crate::sql::words::{self, Place, Word};

/// Tables of one closure. A partitioned table of ten years of days has fewer.
const TABLES_MAX: usize = 5_000;

/// Functions in SQL that call each other, and how many in all.
const DEPTH_MAX: usize = 8;
const BODIES_MAX: usize = 100;

pub(super) struct Walk<'a> {
    catalog: &'a Catalog,
    session: Session<'a>,
    level: Level,
    sharing: Sharing,
    read: ReadFacts<'a>,
    tables: BTreeSet<Oid>,
    /// Bodies that were read, or are being read.
    bodies: BTreeSet<(FunctionName, Vec<String>)>,
    /// Names of types that run something, and what.
    types: BTreeMap<&'a str, &'a FunctionName>,
    closure: Closure,
}

impl<'a> Walk<'a> {
    pub fn new(
        catalog: &'a Catalog,
        session: Session<'a>,
        (level, sharing): (Level, Sharing),
        read: ReadFacts<'a>,
    ) -> Walk<'a> {
        let hidden = catalog.hidden.types.iter().chain(&catalog.hidden.domains);
        let named = hidden.filter_map(|(oid, of)| Some((catalog.types.get(oid)?.name.as_str(), of)));
        Walk {
            catalog,
            session,
            level,
            sharing,
            read,
            tables: BTreeSet::new(),
            bodies: BTreeSet::new(),
            types: named.collect(),
            closure: Closure::default(),
        }
    }

    pub fn finish(self) -> Closure {
        Closure { tables: self.tables.into_iter().collect(), ..self.closure }
    }

    /// A statement, or the body of a function at this depth.
    pub fn statement(&mut self, facts: &Facts, canonical: &str, depth: usize) -> Result<(), Reason> {
        // A cast between types that every statement uses.
        let hidden = &self.catalog.hidden.types;
        if let Some((oid, of)) = hidden.iter().next().filter(|(oid, _)| **oid < names::FIRST_OWN) {
            return Err(Reason::Type(self.type_name(*oid), of.clone()));
        }
        for table in &facts.tables {
            let oid = self.resolve(table)?;
            self.table(oid)?;
        }
        for name in &facts.functions {
            let (schema, name) = split(name);
            self.call(schema, name, depth)?;
        }
        self.words(canonical, depth)
    }

    /// What the parser may not have told: every name that could be that of a function, and every operator.
    fn words(&mut self, canonical: &str, depth: usize) -> Result<(), Reason> {
        for word in words::of(canonical) {
            if let Some((name, of)) = self.types.get_key_value(word.text.as_str()) {
                return Err(Reason::Type((*name).to_owned(), (*of).clone()));
            }
            self.made_of_parts(&word)?;
            match word.place {
                Place::Operator => self.operator(&word.text)?,
                Place::Called | Place::Member
                    if word.place == Place::Called || !self.is_column(&word.text) =>
                {
                    let catalog = self.catalog;
                    let own: Vec<&Function> = catalog.functions_anywhere(&word.text).collect();
                    for function in own {
                        self.own_function(function, depth)?;
                    }
                    if catalog.builtins.contains_key(&word.text) {
                        self.builtin(&word.text)?;
                    }
                }
                _ => match word.text.as_str() {
                    "like" => ["~~", "!~~"].iter().try_for_each(|name| self.operator(name))?,
                    "ilike" => ["~~*", "!~~*"].iter().try_for_each(|name| self.operator(name))?,
                    "similar" => ["~", "!~"].iter().try_for_each(|name| self.operator(name))?,
                    time if names::is_time(time) => self.closure.reads_time = true,
                    _ => {}
                },
            }
        }
        // IN, BETWEEN, CASE, JOIN USING, DISTINCT and GROUP BY compare without a sign.
        ["=", "<>", "<", "<=", ">", ">="].iter().try_for_each(|name| self.operator(name))
    }

    /// What becomes a row or a composite value becomes a value of each of its columns' types, domains too.
    fn made_of_parts(&self, word: &Word) -> Result<(), Reason> {
        let Some((_, of)) = self.catalog.hidden.domains.iter().chain(&self.catalog.hidden.types).next()
        else {
            return Ok(());
        };
        let is_row = |name: &str| {
            let composite = |known: &Type| known.kind == TypeKind::Composite && known.name == name;
            self.catalog.types.values().any(composite)
                || self.catalog.tables.iter().any(|table| table.name == name && self.has_hidden(table))
        };
        let makes_records =
            word.place == Place::Called && word.text.starts_with("json") && word.text.contains("record");
        if makes_records || word.cast && is_row(&word.text) {
            return Err(Reason::Type(word.text.clone(), of.clone()));
        }
        Ok(())
    }

    fn has_hidden(&self, table: &Table) -> bool {
        let hidden = &self.catalog.hidden;
        table.columns.iter().any(|column| {
            hidden.domains.contains_key(&column.type_oid) || hidden.types.contains_key(&column.type_oid)
        })
    }

    fn operator(&self, name: &str) -> Result<(), Reason> {
        match self.catalog.hidden.operators.get(name).and_then(|functions| functions.first()) {
            Some(of) => Err(Reason::Operator(name.to_owned(), of.clone())),
            None => Ok(()),
        }
    }

    fn is_column(&self, name: &str) -> bool {
        let tables = self.tables.iter().filter_map(|&oid| self.catalog.table_by_oid(oid));
        { tables }.any(|table| table.column(name).is_some())
    }

    // --- tables ---

    fn resolve(&self, named: &TableRef) -> Result<Oid, Reason> {
        let unknown = || Reason::UnknownTable(named.full_name());
        let temporary = |schema: &str| schema.starts_with("pg_temp");
        match &named.schema {
            Some(schema) if temporary(schema) => return Err(Reason::Temporary(named.full_name())),
            Some(_) => {}
            None if self.session.temporary || self.session.search_path.iter().any(|name| temporary(name)) => {
                return Err(Reason::Temporary(named.name.clone()));
            }
            // PostgreSQL looks into its own catalog first.
            None if named.name.starts_with("pg_") => return Err(unknown()),
            None => {}
        }
        let table = self.catalog.table(self.session.search_path, named.schema.as_deref(), &named.name);
        table.map(|table| table.oid).ok_or_else(unknown)
    }

    fn table(&mut self, oid: Oid) -> Result<(), Reason> {
        let mut next = vec![oid];
        while let Some(oid) = next.pop() {
            if !self.tables.insert(oid) {
                continue;
            }
            if self.tables.len() > TABLES_MAX {
                return Err(Reason::TooWide);
            }
            let catalog = self.catalog;
            let table =
                catalog.table_by_oid(oid).ok_or_else(|| Reason::UnknownTable(format!("relation {oid}")))?;
            next.extend(self.one_table(table)?);
            next.extend(catalog.children_of(oid).map(|child| child.oid));
        }
        Ok(())
    }

    /// Returns what it reads.
    fn one_table(&mut self, table: &'a Table) -> Result<Vec<Oid>, Reason> {
        let name = || format!("{}.{}", table.schema, table.name);
        if table.kind == TableKind::Foreign {
            return Err(Reason::Foreign(name()));
        }
        for column in &table.columns {
            self.known_type(column.type_oid)?;
        }
        let mut reads = Vec::new();
        if table.kind == TableKind::View {
            let query = table.query.as_ref().ok_or_else(|| Reason::UnknownCode(name()))?;
            reads.extend(table.reads.iter().chain(&query.reads).filter(|&&oid| oid != table.oid));
            self.expression(query, &name)?;
        }
        if table.row_security {
            // Without any, nobody but the owner sees rows; more likely they could not be read.
            if table.policies.is_empty() {
                return Err(Reason::UnknownCode(format!("row security of {}", name())));
            }
            for policy in &table.policies {
                let policy_name = || format!("policy {} of {}", policy.name, name());
                let condition =
                    policy.condition.as_ref().ok_or_else(|| Reason::UnknownCode(policy_name()))?;
                reads.extend(condition.reads.iter().filter(|&&oid| oid != table.oid));
                self.expression(condition, &policy_name)?;
            }
        }
        Ok(reads)
    }

    /// A value of the type is looked at; what conditions a domain has matters only where one is made.
    fn known_type(&self, oid: Oid) -> Result<(), Reason> {
        let element = self.catalog.types.get(&oid).and_then(|known| known.element);
        let base = self.catalog.base_type(element.unwrap_or(oid));
        match self.catalog.hidden.types.get(&base) {
            Some(of) => Err(Reason::Type(self.type_name(base), of.clone())),
            None => Ok(()),
        }
    }

    fn type_name(&self, oid: Oid) -> String {
        self.catalog.types.get(&oid).map_or_else(|| oid.to_string(), |known| known.name.clone())
    }

    fn expression(&mut self, expression: &Expression, whose: &dyn Fn() -> String) -> Result<(), Reason> {
        if expression.locks_rows {
            return Err(Reason::LocksIn(whose()));
        }
        if expression.samples {
            return Err(Reason::SamplesIn(whose()));
        }
        for &oid in &expression.types {
            self.known_type(oid)?;
            if let Some(of) = self.catalog.hidden.domains.get(&oid) {
                return Err(Reason::Type(self.type_name(oid), of.clone()));
            }
        }
        for function in &expression.calls {
            let builtin = function.schema == "pg_catalog";
            // Sums are among the calls only if they are of floats.
            let by_order = names::depends_on_order(&function.name) || names::sums(&function.name);
            if builtin && by_order && self.level == Level::Strict {
                return Err(Reason::OrderOf(format!("in {}, {}", whose(), function.name)));
            }
            self.call(Some(&function.schema), &function.name, 0)?;
        }
        Ok(())
    }

    // --- functions ---

    fn call(&mut self, schema: Option<&str>, name: &str, depth: usize) -> Result<(), Reason> {
        let catalog = self.catalog;
        let mut known = false;
        if matches!(schema, None | Some("pg_catalog")) && catalog.builtins.contains_key(name) {
            self.builtin(name)?;
            known = true;
        }
        let path = self.session.search_path;
        let schemas: Vec<&str> = match schema {
            Some(schema) => vec![schema],
            None => path.iter().map(String::as_str).collect(),
        };
        for schema in schemas {
            let own: Vec<&Function> = catalog.functions_named(schema, name).collect();
            for function in own {
                self.own_function(function, depth)?;
                known = true;
            }
        }
        if schema.is_none() && names::is_grammar(name) {
            self.closure.reads_time |= names::is_time(name);
            known = true;
        }
        if known { Ok(()) } else { Err(Reason::UnknownFunction(name.to_owned())) }
    }

    fn builtin(&mut self, name: &str) -> Result<(), Reason> {
        if self.catalog.builtins.get(name) == Some(&Volatility::Volatile) {
            return Err(Reason::Volatile(name.to_owned()));
        }
        if names::is_of_connection(name) {
            return Err(Reason::Connection(name.to_owned()));
        }
        // The time of a transaction stays the same within it, that of a statement does not.
        if name == "statement_timestamp" && self.sharing != Sharing::Together {
            return Err(Reason::Time);
        }
        self.closure.reads_time |= names::is_time(name);
        self.closure.reads_settings |= names::reads_settings(name);
        Ok(())
    }

    fn own_function(&mut self, function: &Function, depth: usize) -> Result<(), Reason> {
        if function.procedure {
            return Ok(());
        }
        let name = FunctionName { schema: function.schema.clone(), name: function.name.clone() };
        let full = format!("{}.{}", name.schema, name.name);
        if function.volatility == Volatility::Volatile {
            return Err(Reason::Volatile(full));
        }
        for of in function.arguments.iter().chain([&function.returns]) {
            let (_, last) = split(of);
            if let Some((name, of)) = self.types.get_key_value(last.trim_matches('"')) {
                return Err(Reason::Type((*name).to_owned(), (*of).clone()));
            }
        }
        match function.language {
            Language::Compiled if names::runs_its_arguments(&function.name) => Err(Reason::Opaque(full)),
            Language::Compiled => {
                let reads_nothing = function.volatility == Volatility::Immutable;
                if self.sharing == Sharing::Together || reads_nothing {
                    Ok(())
                } else {
                    Err(Reason::UnknownReads(full))
                }
            }
            Language::Sql if !function.configured => self.body(function, name, &full, depth),
            _ => Err(Reason::Opaque(full)),
        }
    }

    fn body(
        &mut self,
        function: &Function,
        name: FunctionName,
        full: &str,
        depth: usize,
    ) -> Result<(), Reason> {
        if !self.bodies.insert((name, function.arguments.clone())) {
            return Ok(());
        }
        if depth >= DEPTH_MAX || self.bodies.len() > BODIES_MAX {
            return Err(Reason::TooWide);
        }
        let opaque = || Reason::Opaque(full.to_owned());
        let text = function.body.as_deref().ok_or_else(opaque)?;
        let (canonical, facts) = (self.read)(&query_of(text)).ok_or_else(opaque)?;
        let statement = super::Statement { facts: &facts, canonical: &canonical };
        super::by_text(statement, self.level)?;
        self.statement(&facts, &canonical, depth + 1)
    }
}

/// `RETURN x`, which PostgreSQL writes for a body in standard SQL, is `SELECT x`.
fn query_of(body: &str) -> String {
    let body = body.trim();
    match body.get(..7) {
        Some(first) if first.eq_ignore_ascii_case("return ") => format!("select {}", &body[7..]),
        _ => body.to_owned(),
    }
}

/// Schema and name of `schema.name`.
fn split(name: &str) -> (Option<&str>, &str) {
    match name.rsplit_once('.') {
        Some((schema, name)) => (Some(schema), name),
        None => (None, name),
    }
}
