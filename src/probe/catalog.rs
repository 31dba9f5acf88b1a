//! pg_catalog → Catalog: the order of the questions, what is made of a refused one, and what people are told
//! about it. One read-only transaction; each question serves all tables at once.

use std::collections::{BTreeMap, HashMap};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio_postgres::types::{FromSql, ToSql};
use tokio_postgres::{Client, IsolationLevel, Row, Transaction};

use super::{ProbeError, code, columns, details, effects, quoted, tables, times};
use crate::catalog::{
    BODY_MAX, Catalog, FUNCTIONS_MAX, Facts, Function, Language, Oid, Table, Type, TypeKind, Volatility,
};

/// Reads everything that this user may see.
pub(super) async fn read(client: &mut Client) -> Result<Catalog, ProbeError> {
    let snapshot = IsolationLevel::RepeatableRead;
    let transaction = client.build_transaction().isolation_level(snapshot).read_only(true).start().await?;
    let path = transaction.query_one("SELECT pg_catalog.current_schemas(false)::text[]", &[]).await?;
    // From here on, PostgreSQL writes names with their schemas, and nobody's operators stand in for its own.
    transaction.batch_execute("SET LOCAL search_path = pg_catalog").await?;
    let facts = Facts { search_path: get(&path, 0)?, ..facts(&transaction).await? };
    let mut reading = Reading {
        version: facts.server_version,
        transaction: &transaction,
        facts,
        tables: Vec::new(),
        at: HashMap::new(),
        unread: false,
    };
    tables::read(&mut reading).await?;
    columns::read(&mut reading).await?;
    details::read(&mut reading).await?;
    times::read(&mut reading).await?;
    let (functions, builtins) = functions(&mut reading).await?;
    let types = types(&mut reading).await?;
    let hidden = code::read(&mut reading).await?;
    let effects = effects::read(&mut reading, &functions, &builtins).await?;
    let Reading { facts, tables, .. } = reading;
    transaction.rollback().await?;
    let mut catalog = Catalog::new(facts, tables, functions, builtins, types);
    (catalog.hidden, catalog.effects) = (hidden, effects);
    Ok(catalog)
}

/// A catalog in the making.
pub(super) struct Reading<'a> {
    transaction: &'a Transaction<'a>,
    pub(super) version: u32,
    pub(super) facts: Facts,
    pub(super) tables: Vec<Table>,
    /// Where a table is, by its oid.
    pub(super) at: HashMap<Oid, usize>,
    /// A part is missing without which nobody knows all that a statement reaches.
    pub(super) unread: bool,
}

/// Parts that say nothing of what a statement reads or runs.
const HARMLESS: [&str; 5] =
    ["statistics of columns", "keys and foreign keys", "checks", "indexes", "triggers"];

impl Reading<'_> {
    /// Asks for one part. One that is refused for good is missing, and a note says so; the rest is read all
    /// the same.
    ///
    /// # Errors
    /// A later attempt may succeed: a lock, a timeout, a lost connection.
    pub(super) async fn part(
        &mut self,
        what: &str,
        query: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, ProbeError> {
        match self.attempt(query, parameters).await? {
            Ok(rows) => Ok(rows),
            Err(error) if error.sqlstate().is_some_and(|sqlstate| sqlstate.starts_with("42")) => {
                let role = quoted(&self.facts.role);
                let advice = match error.sqlstate() {
                    Some("42501") => format!("; GRANT SELECT on it TO {role}, as PUBLIC has by default"),
                    _ => String::new(),
                };
                self.unread |= !HARMLESS.contains(&what);
                self.note(format!("{what} are not known: {error}{advice}"));
                Ok(Vec::new())
            }
            Err(error) => Err(error),
        }
    }

    /// Asks within a savepoint. The inner error leaves the transaction as it was.
    pub(super) async fn attempt(
        &self,
        query: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Result<Vec<Row>, ProbeError>, ProbeError> {
        self.transaction.batch_execute("SAVEPOINT part").await?;
        let outcome = self.transaction.query(query, parameters).await.map_err(ProbeError::from);
        match &outcome {
            Ok(_) => self.transaction.batch_execute("RELEASE SAVEPOINT part").await?,
            Err(ProbeError::Refused { .. }) => {
                self.transaction.batch_execute("ROLLBACK TO SAVEPOINT part; RELEASE SAVEPOINT part").await?;
            }
            Err(error) => return Err(error.clone()),
        }
        Ok(outcome)
    }

    pub(super) fn note(&mut self, note: String) {
        self.facts.notes.push(note);
    }

    pub(super) fn oids(&self) -> Vec<Oid> {
        self.tables.iter().map(|table| table.oid).collect()
    }

    /// The table with this oid; none if it came into being after the tables were read, or was left out.
    pub(super) fn table(&mut self, oid: Oid) -> Option<&mut Table> {
        self.at.get(&oid).map(|&at| &mut self.tables[at])
    }
}

/// A column of a row.
pub(super) fn get<'a, T: FromSql<'a>>(row: &'a Row, at: usize) -> Result<T, ProbeError> {
    row.try_get(at).map_err(|error| {
        let cause =
            std::error::Error::source(&error).map_or_else(String::new, |source| format!(": {source}"));
        ProbeError::Unfit(format!("the catalog is not as expected: {error}{cause}"))
    })
}

const FACTS: &str = "SELECT current_database()::text, current_setting('server_version_num')::int4, \
    current_user::text, ARRAY(SELECT nspname::text FROM pg_namespace \
        WHERE nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema' ORDER BY nspname), \
    ARRAY(SELECT extname::text FROM pg_extension ORDER BY extname), \
    ARRAY(SELECT extversion FROM pg_extension ORDER BY extname), current_setting('TimeZone')";

async fn facts(transaction: &Transaction<'_>) -> Result<Facts, ProbeError> {
    let row = transaction.query_one(FACTS, &[]).await?;
    let (names, versions): (Vec<String>, Vec<String>) = (get(&row, 4)?, get(&row, 5)?);
    Ok(Facts {
        database: get(&row, 0)?,
        server_version: u32::try_from(get::<i32>(&row, 1)?).unwrap_or_default(),
        role: get(&row, 2)?,
        search_path: Vec::new(),
        schemas: get(&row, 3)?,
        extensions: names.into_iter().zip(versions).collect(),
        read_at_s: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        time_zone: get(&row, 6)?,
        zones: BTreeMap::new(),
        own_time_operators: false,
        cut: false,
        notes: Vec::new(),
    })
}

/// An aggregate is as volatile, and as compiled, as its functions. `{body}` depends on the version.
const FUNCTIONS: &str = "SELECT n.nspname::text, p.proname::text, \
        greatest(p.provolatile::text, parts.provolatile), p.prokind = 'p', p.proretset, \
        ARRAY(SELECT format_type(a.type, NULL) FROM unnest(p.proargtypes) WITH ORDINALITY a(type, place) \
            ORDER BY a.place)::text[], \
        CASE WHEN l.lanname = 'sql' THEN 's' \
            WHEN l.lanname IN ('internal', 'c') AND coalesce(parts.compiled, true) THEN 'c' END, \
        CASE WHEN l.lanname = 'sql' AND length({body}) <= $2 THEN {body} END, p.proconfig IS NOT NULL, \
        format_type(p.prorettype, NULL) \
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang \
    LEFT JOIN LATERAL (SELECT max(f.provolatile::text) AS provolatile, \
            bool_and(fl.lanname IN ('internal', 'c')) AS compiled \
        FROM pg_aggregate a JOIN pg_proc f ON f.oid IN (a.aggtransfn, a.aggfinalfn, a.aggcombinefn, \
            a.aggserialfn, a.aggdeserialfn, a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn) \
        JOIN pg_language fl ON fl.oid = f.prolang WHERE a.aggfnoid = p.oid) parts ON true \
    WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') ORDER BY p.oid LIMIT $1";

/// From 14 on, a function's text may be kept as what it means.
const SQL_BODY_SINCE: u32 = 140_000;

/// Of overloads the most volatile: 'i' < 's' < 'v'.
const BUILTINS: &str = "SELECT proname::text, max(provolatile::text) FROM pg_proc \
    WHERE pronamespace = 'pg_catalog'::regnamespace GROUP BY proname";

type Functions = (Vec<Function>, BTreeMap<String, Volatility>);

async fn functions(reading: &mut Reading<'_>) -> Result<Functions, ProbeError> {
    let limit = FUNCTIONS_MAX as i64;
    let body = match reading.version {
        SQL_BODY_SINCE.. => "coalesce(pg_get_function_sqlbody(p.oid), p.prosrc)",
        _ => "p.prosrc",
    };
    let query = FUNCTIONS.replace("{body}", body);
    let rows = reading.part("functions", &query, &[&(limit + 1), &(BODY_MAX as i32)]).await?;
    reading.facts.cut |= rows.len() > FUNCTIONS_MAX;
    let mut functions = Vec::with_capacity(rows.len());
    for row in rows.iter().take(FUNCTIONS_MAX) {
        functions.push(Function {
            schema: get(row, 0)?,
            name: get(row, 1)?,
            volatility: volatility(get(row, 2)?),
            procedure: get(row, 3)?,
            returns_set: get(row, 4)?,
            arguments: get(row, 5)?,
            language: match get::<Option<&str>>(row, 6)? {
                Some("s") => Language::Sql,
                Some(_) => Language::Compiled,
                None => Language::Other,
            },
            body: get(row, 7)?,
            configured: get(row, 8)?,
            returns: get(row, 9)?,
        });
    }
    let mut builtins = BTreeMap::new();
    for row in &reading.part("PostgreSQL's own functions", BUILTINS, &[]).await? {
        builtins.insert(get(row, 0)?, volatility(get(row, 1)?));
    }
    Ok((functions, builtins))
}

fn volatility(letter: &str) -> Volatility {
    match letter {
        "i" => Volatility::Immutable,
        "s" => Volatility::Stable,
        _ => Volatility::Volatile,
    }
}

/// User-defined types, without those that only describe a table's row.
const TYPES: &str = "SELECT t.oid, n.nspname::text, t.typname::text, t.typtype::text, \
        nullif(t.typbasetype, 0), CASE WHEN t.typcategory = 'A' THEN nullif(t.typelem, 0) END, \
        ARRAY(SELECT e.enumlabel::text FROM pg_enum e WHERE e.enumtypid = t.oid ORDER BY e.enumsortorder), \
        t.typdelim::text \
    FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace \
    LEFT JOIN pg_class c ON c.oid = t.typrelid \
    LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A' \
    LEFT JOIN pg_class ec ON ec.oid = e.typrelid \
    WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' \
        AND coalesce(c.relkind, 'c') = 'c' AND coalesce(ec.relkind, 'c') = 'c' \
    ORDER BY t.oid LIMIT $1";

async fn types(reading: &mut Reading<'_>) -> Result<BTreeMap<Oid, Type>, ProbeError> {
    let limit = FUNCTIONS_MAX as i64;
    let rows = reading.part("types", TYPES, &[&(limit + 1)]).await?;
    reading.facts.cut |= rows.len() > FUNCTIONS_MAX;
    let mut types = BTreeMap::new();
    for row in rows.iter().take(FUNCTIONS_MAX) {
        let element: Option<Oid> = get(row, 5)?;
        let kind = match get(row, 3)? {
            "b" if element.is_some() => TypeKind::Array,
            "c" => TypeKind::Composite,
            "d" => TypeKind::Domain,
            "e" => TypeKind::Enum,
            "r" => TypeKind::Range,
            "m" => TypeKind::Multirange,
            _ => TypeKind::Base,
        };
        let known = Type {
            schema: get(row, 1)?,
            name: get(row, 2)?,
            kind,
            base: get(row, 4)?,
            element,
            labels: get(row, 6)?,
            delimiter: get::<&str>(row, 7)?.bytes().next().unwrap_or(b','),
        };
        types.insert(get(row, 0)?, known);
    }
    Ok(types)
}
