//! The plain table as it is: what its successor needs, and what stands in the way. Asks and changes nothing.

use crate::maintain::actor::{Actor, get};
use crate::maintain::bound::Kind;
use crate::maintain::sql::name;
use crate::maintain::{TableName, TableRule, Trouble, unfit};

/// A column of the primary key.
#[derive(Debug, Clone)]
pub(super) struct KeyColumn {
    pub(super) name: String,
    /// As SQL writes it.
    pub(super) type_name: String,
}

/// An index, or a constraint that is one.
#[derive(Debug, Clone)]
pub(super) struct Index {
    pub(super) oid: u32,
    pub(super) name: String,
    pub(super) unique: bool,
    pub(super) primary: bool,
    /// `UNIQUE (a, b)`, where it is a constraint.
    pub(super) constraint: Option<String>,
    /// From `USING` on.
    pub(super) rest: String,
}

/// A plain table.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) oid: u32,
    pub(super) table: TableName,
    pub(super) kind: Kind,
    /// Whether the column may be NULL.
    pub(super) nullable: bool,
    pub(super) rows: i64,
    pub(super) bytes: i64,
    pub(super) primary: Vec<KeyColumn>,
    /// All that are not generated.
    pub(super) columns: Vec<String>,
    pub(super) indexes: Vec<Index>,
    /// Name and definition.
    pub(super) foreign_keys: Vec<(String, String)>,
    /// Definition, and the statement that sets whether it fires.
    pub(super) triggers: Vec<(String, Option<String>)>,
    pub(super) has_triggers: bool,
    /// Statements that make the policies and switch row security on.
    pub(super) policies: Vec<String>,
    /// Statements that make the views anew.
    pub(super) views: Vec<String>,
    /// Column, `ALWAYS` or `BY DEFAULT`, sequence.
    pub(super) identities: Vec<(String, String, String)>,
    /// Sequence and the column that owns it.
    pub(super) serials: Vec<(String, String)>,
    /// What stands in the way.
    pub(super) obstacles: Vec<String>,
}

const TABLE: &str = "SELECT c.oid, c.relkind::text, c.relpersistence::text, c.relispartition, \
        c.reltuples::int8, pg_total_relation_size(c.oid), \
        format_type(a.atttypid, NULL), NOT a.attnotnull, c.relrowsecurity, c.relforcerowsecurity, \
        pg_has_role(c.relowner, 'USAGE'), has_schema_privilege(n.oid, 'CREATE'), \
        coalesce(o.collname IN ('C', 'POSIX', 'ucs_basic'), true) \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
    LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = $3 AND a.attnum > 0 AND NOT a.attisdropped \
    LEFT JOIN pg_collation o ON o.oid = a.attcollation \
    WHERE n.nspname = $1 AND c.relname = $2";

/// Reads the table of a rule, whatever stands in the way.
///
/// # Errors
/// It is not there, or is no table with such a column.
pub(super) async fn read(actor: &Actor, rule: &TableRule) -> Result<Source, Trouble> {
    let table = &rule.table;
    let rows = actor.rows(TABLE, &[&table.schema, &table.name, &rule.column]).await?;
    let row = rows.first().ok_or_else(|| unfit(format!("there is no table {table}")))?;
    let (relkind, persistence): (String, String) = (get(row, 1)?, get(row, 2)?);
    match relkind.as_str() {
        "r" => {}
        "p" => return Err(unfit(format!("{table} is partitioned already"))),
        _ => return Err(unfit(format!("{table} is not a table"))),
    }
    let type_name: Option<String> = get(row, 6)?;
    let type_name = type_name.ok_or_else(|| unfit(format!("{table} has no column {}", rule.column)))?;
    let kind = Kind::of(&type_name, rule.format)
        .map_err(|reason| unfit(format!("{table}.{}: {reason}", rule.column)))?;
    let mut source = Source {
        oid: get(row, 0)?,
        table: table.clone(),
        kind,
        nullable: get(row, 7)?,
        rows: get(row, 4)?,
        bytes: get(row, 5)?,
        primary: Vec::new(),
        columns: Vec::new(),
        indexes: Vec::new(),
        foreign_keys: Vec::new(),
        triggers: Vec::new(),
        has_triggers: false,
        policies: Vec::new(),
        views: Vec::new(),
        identities: Vec::new(),
        serials: Vec::new(),
        obstacles: Vec::new(),
    };
    let mut obstacle = |there: bool, text: &str| {
        if there {
            source.obstacles.push(text.to_owned());
        }
    };
    obstacle(persistence == "t", "it is temporary");
    obstacle(get(row, 3)?, "it is a partition of another table");
    obstacle(!get::<bool>(row, 10)?, "pgweir's user does not own it: set `user` to its owner");
    obstacle(
        !get::<bool>(row, 11)?,
        "pgweir's user may not create tables in its schema: GRANT CREATE ON SCHEMA",
    );
    obstacle(kind == Kind::Ulid && !get::<bool>(row, 12)?, "ids sort by time only under COLLATE \"C\"");
    if source.nullable {
        let (table, column) = (table.sql(), name(&rule.column));
        source.obstacles.push(format!(
            "{} may be NULL: ALTER TABLE {table} ADD CHECK ({column} IS NOT NULL) NOT VALID, VALIDATE it, then ALTER COLUMN \
             {column} SET NOT NULL, which scans nothing then",
            rule.column
        ));
    }
    let (row_security, forced): (bool, bool) = (get(row, 8)?, get(row, 9)?);
    keys(actor, &mut source, &rule.column).await?;
    relations(actor, &mut source).await?;
    policies(actor, &mut source, row_security, forced).await?;
    views(actor, &mut source).await?;
    sequences(actor, &mut source).await?;
    others(actor, &mut source).await?;
    Ok(source)
}

const INDEXES: &str = "SELECT x.indexrelid, i.relname::text, x.indisunique, x.indisprimary, \
        CASE WHEN k.contype IN ('p', 'u') THEN pg_get_constraintdef(k.oid) END, k.contype = 'x', \
        substr(pg_get_indexdef(x.indexrelid), position(' USING ' IN pg_get_indexdef(x.indexrelid)) + 1), \
        ARRAY(SELECT a.attname::text FROM unnest(x.indkey[0:x.indnkeyatts - 1]) WITH ORDINALITY u(n, at) \
            JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = u.n ORDER BY u.at), \
        ARRAY(SELECT format_type(a.atttypid, a.atttypmod) FROM unnest(x.indkey[0:x.indnkeyatts - 1]) \
            WITH ORDINALITY u(n, at) JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = u.n ORDER BY u.at), \
        coalesce(k.condeferrable, false) \
    FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid \
    LEFT JOIN pg_constraint k ON k.conindid = x.indexrelid AND k.conrelid = x.indrelid AND k.contype IN ('p', 'u', 'x') \
    WHERE x.indrelid = $1 AND x.indisvalid ORDER BY x.indexrelid";

async fn keys(actor: &Actor, source: &mut Source, key: &str) -> Result<(), Trouble> {
    for row in &actor.rows(INDEXES, &[&source.oid]).await? {
        let (columns, types): (Vec<String>, Vec<String>) = (get(row, 7)?, get(row, 8)?);
        let index = Index {
            oid: get(row, 0)?,
            name: get(row, 1)?,
            unique: get(row, 2)?,
            primary: get(row, 3)?,
            constraint: get(row, 4)?,
            rest: get(row, 6)?,
        };
        if get::<Option<bool>>(row, 5)? == Some(true) {
            source.obstacles.push(format!("{} is an exclusion constraint", index.name));
            continue;
        }
        if get::<bool>(row, 9)? {
            source.obstacles.push(format!(
                "{} can be deferred, which a partitioned table does not offer for all its keys",
                index.name
            ));
        }
        if index.primary {
            let pairs = columns.into_iter().zip(types);
            source.primary = pairs.map(|(name, type_name)| KeyColumn { name, type_name }).collect();
        } else if index.unique && !columns.iter().any(|column| column == key) {
            source.obstacles.push(format!(
                "{} is unique without {key}: PostgreSQL keeps nothing unique over all partitions without the column that they \
                 are divided by. Drop it, or make it unique together with {key}",
                index.name
            ));
        }
        source.indexes.push(index);
    }
    if source.primary.is_empty() {
        source.obstacles.push("it has no primary key, by which changed rows could be told apart".to_owned());
    }
    let query = "SELECT attname::text FROM pg_attribute WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped \
        AND attgenerated = '' ORDER BY attnum";
    for row in &actor.rows(query, &[&source.oid]).await? {
        source.columns.push(get(row, 0)?);
    }
    if !source.columns.iter().any(|column| column == key) {
        source.obstacles.push(format!("{key} is a generated column"));
    }
    Ok(())
}

const TRIGGERS: &str = "SELECT tgname::text, pg_get_triggerdef(oid), tgenabled::text, tgtype, \
    tgoldtable IS NOT NULL OR tgnewtable IS NOT NULL FROM pg_trigger WHERE tgrelid = $1 AND NOT tgisinternal \
    AND tgname NOT LIKE 'pgweir\\_note\\_%' ORDER BY tgname";

/// Bits of `pg_trigger.tgtype`.
const ROW: i16 = 1;

async fn relations(actor: &Actor, source: &mut Source) -> Result<(), Trouble> {
    let out = "SELECT conname::text, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = $1 AND contype = 'f' \
        ORDER BY conname";
    for row in &actor.rows(out, &[&source.oid]).await? {
        source.foreign_keys.push((get(row, 0)?, get(row, 1)?));
    }
    let into = "SELECT conname::text, conrelid::regclass::text FROM pg_constraint WHERE confrelid = $1 AND contype = 'f' \
        ORDER BY conname";
    for row in &actor.rows(into, &[&source.oid]).await? {
        let (constraint, table): (String, String) = (get(row, 0)?, get(row, 1)?);
        source.obstacles.push(format!(
            "{constraint} of {table} refers to it: the key would have to hold the partitioning column too. Drop the foreign key, \
             or give {table} that column"
        ));
    }
    let table = source.table.sql();
    for row in &actor.rows(TRIGGERS, &[&source.oid]).await? {
        let (trigger, definition, enabled): (String, String, String) =
            (get(row, 0)?, get(row, 1)?, get(row, 2)?);
        let (kind, transitions): (i16, bool) = (get(row, 3)?, get(row, 4)?);
        if kind & ROW != 0 && transitions {
            source.obstacles.push(format!("{trigger} is a row trigger with transition tables"));
        }
        let state = match enabled.as_str() {
            "D" => Some("DISABLE"),
            "R" => Some("ENABLE REPLICA"),
            "A" => Some("ENABLE ALWAYS"),
            _ => None,
        };
        let state = state.map(|state| format!("ALTER TABLE {table} {state} TRIGGER {}", name(&trigger)));
        source.triggers.push((definition, state));
    }
    source.has_triggers = !source.triggers.is_empty();
    Ok(())
}

const POLICIES: &str = "SELECT format('CREATE POLICY %I ON %s AS %s FOR %s TO %s', polname, $2::text, \
        CASE WHEN polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END, \
        CASE polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' ELSE 'ALL' END, \
        (SELECT string_agg(CASE r WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(r)) END, ', ') FROM unnest(polroles) r)) \
        || coalesce(' USING (' || pg_get_expr(polqual, polrelid) || ')', '') \
        || coalesce(' WITH CHECK (' || pg_get_expr(polwithcheck, polrelid) || ')', '') \
    FROM pg_policy WHERE polrelid = $1 ORDER BY polname";

async fn policies(actor: &Actor, source: &mut Source, enabled: bool, forced: bool) -> Result<(), Trouble> {
    let table = source.table.sql();
    for row in &actor.rows(POLICIES, &[&source.oid, &table]).await? {
        source.policies.push(get(row, 0)?);
    }
    if enabled {
        source.policies.push(format!("ALTER TABLE {table} ENABLE ROW LEVEL SECURITY"));
    }
    if forced {
        source.policies.push(format!("ALTER TABLE {table} FORCE ROW LEVEL SECURITY"));
    }
    Ok(())
}

const VIEWS: &str = "SELECT DISTINCT v.oid, v.oid::regclass::text, v.relkind::text, \
        CASE WHEN v.relkind = 'v' THEN pg_get_viewdef(v.oid) END, coalesce(v.reloptions, '{}')::text[], \
        pg_has_role(v.relowner, 'USAGE'), v.oid = $1 \
    FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid AND d.classid = 'pg_rewrite'::regclass \
    JOIN pg_class v ON v.oid = r.ev_class \
    WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = $1 ORDER BY v.oid";

async fn views(actor: &Actor, source: &mut Source) -> Result<(), Trouble> {
    for row in &actor.rows(VIEWS, &[&source.oid]).await? {
        let (view, kind, owned, own): (String, String, bool, bool) =
            (get(row, 1)?, get(row, 2)?, get(row, 5)?, get(row, 6)?);
        let definition: Option<String> = get(row, 3)?;
        match definition {
            _ if own => source.obstacles.push("it has rules".to_owned()),
            Some(_) if !owned => source.obstacles.push(format!("pgweir's user does not own the view {view}")),
            Some(definition) => {
                let options: Vec<String> = get(row, 4)?;
                let with = if options.is_empty() {
                    String::new()
                } else {
                    format!(" WITH ({})", options.join(", "))
                };
                source.views.push(format!("CREATE OR REPLACE VIEW {view}{with} AS {definition}"));
            }
            None => source
                .obstacles
                .push(format!("{view} (kind {kind}) reads it and would go on reading the old one")),
        }
    }
    Ok(())
}

const SEQUENCES: &str = "SELECT a.attname::text, a.attidentity::text, d.objid::regclass::text \
    FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S' \
    JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid \
    WHERE d.classid = 'pg_class'::regclass AND d.refobjid = $1 AND d.deptype IN ('a', 'i') ORDER BY 1";

async fn sequences(actor: &Actor, source: &mut Source) -> Result<(), Trouble> {
    for row in &actor.rows(SEQUENCES, &[&source.oid]).await? {
        let (column, identity, sequence): (String, String, String) =
            (get(row, 0)?, get(row, 1)?, get(row, 2)?);
        match identity.as_str() {
            "a" => source.identities.push((column, "ALWAYS".to_owned(), sequence)),
            "d" => source.identities.push((column, "BY DEFAULT".to_owned(), sequence)),
            _ => source.serials.push((sequence, column)),
        }
    }
    Ok(())
}

/// What else hangs on a table.
const OTHERS: &str = "\
    SELECT 'it is in the publication ' || p.pubname || ': take it out, and put the partitioned table in afterwards' \
        FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid WHERE r.prrelid = $1 \
    UNION ALL SELECT 'it inherits from ' || inhparent::regclass FROM pg_inherits WHERE inhrelid = $1 \
    UNION ALL SELECT inhrelid::regclass || ' inherits from it' FROM pg_inherits WHERE inhparent = $1 \
    UNION ALL SELECT 'the function ' || d.objid::regprocedure || ' is bound to it' FROM pg_depend d \
        WHERE d.classid = 'pg_proc'::regclass AND d.deptype = 'n' AND \
        ((d.refclassid = 'pg_class'::regclass AND d.refobjid = $1) OR (d.refclassid = 'pg_type'::regclass AND \
        d.refobjid = (SELECT reltype FROM pg_class WHERE oid = $1))) \
    UNION ALL SELECT 'a column of ' || d.objid::regclass || ' has its row type' FROM pg_depend d \
        WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_type'::regclass AND d.deptype = 'n' \
        AND d.refobjid = (SELECT reltype FROM pg_class WHERE oid = $1)";

async fn others(actor: &Actor, source: &mut Source) -> Result<(), Trouble> {
    for row in &actor.rows(OTHERS, &[&source.oid]).await? {
        source.obstacles.push(get(row, 0)?);
    }
    Ok(())
}
