//! What a database runs without being asked by name: read from the trees in which PostgreSQL keeps views, policies
//! and conditions, whose numbers say which functions they call, exactly. What cannot be read is left unknown.

use super::ProbeError;
use super::catalog::{Reading, get};
use crate::catalog::{Expression, FunctionName, Hidden, Oid, TableKind};

/// Everything that runs unseen.
///
/// # Errors
/// A later attempt may succeed.
pub(super) async fn read(reading: &mut Reading<'_>) -> Result<Hidden, ProbeError> {
    let oids = reading.oids();
    views(reading, &oids).await?;
    policies(reading, &oids).await?;
    let hidden = hidden(reading).await?;
    if !hidden.known {
        reading.note("what operators, casts and types run is not known".to_owned());
    }
    Ok(hidden)
}

/// Of each tree: functions (by their own numbers, and by those of operators), relations, user-defined types, row
/// locks, samples. Of immutable functions, aggregates that depend on the order of rows. CURRENT_TIMESTAMP and its kin are no functions there, and count as now().
const EXPRESSIONS: &str = "SELECT t.oid, t.name, called.schemas, called.names, \
        ARRAY(SELECT DISTINCT m[1]::oid FROM regexp_matches(t.tree, ':relid ([1-9][0-9]*)', 'g') m)::oid[], \
        ARRAY(SELECT DISTINCT m[1]::oid FROM regexp_matches(t.tree, \
            ':(?:resulttype|vartype|funcresulttype|consttype|opresulttype) ([1-9][0-9]{4,})', 'g') m)::oid[], \
        t.tree ~ 'ROWMARKCLAUSE|:hasForUpdate true', t.tree ~ 'TABLESAMPLECLAUSE' \
    FROM ({trees}) t(oid, name, tree) CROSS JOIN LATERAL ( \
        SELECT coalesce(array_agg(f.nspname::text), '{}')::text[] AS schemas, \
            coalesce(array_agg(f.proname::text), '{}')::text[] AS names \
        FROM (SELECT DISTINCT n.nspname, p.proname FROM ( \
                SELECT m[1]::oid FROM regexp_matches(t.tree, \
                    ':(?:funcid|opfuncid|aggfnoid|winfnoid) ([1-9][0-9]*)', 'g') m \
                UNION SELECT o.oprcode::oid FROM regexp_matches(t.tree, \
                    ':(?:opno|eqop|sortop) ([1-9][0-9]*)', 'g') m JOIN pg_operator o ON o.oid = m[1]::oid \
                UNION SELECT 'pg_catalog.now()'::regprocedure WHERE t.tree ~ 'SQLVALUEFUNCTION :op [0-8] ' \
            ) c(oid) JOIN pg_proc p ON p.oid = c.oid JOIN pg_namespace n ON n.oid = p.pronamespace \
            WHERE NOT (n.nspname = 'pg_catalog' AND p.provolatile = 'i') OR p.prokind = 'a' AND \
                (p.proargtypes::oid[] && '{700,701}' OR p.proname ~ '_agg|agg$')) f) called";

const VIEWS: &str = "SELECT r.ev_class, ''::text, r.ev_action::text FROM pg_rewrite r \
    WHERE r.rulename = '_RETURN' AND r.ev_class = ANY($1::oid[])";

const POLICIES: &str = "SELECT p.polrelid, p.polname::text, \
        coalesce(p.polqual::text, '') || coalesce(p.polwithcheck::text, '') \
    FROM pg_policy p WHERE p.polrelid = ANY($1::oid[])";

/// One table's oid, a name, and what its tree says.
type Found = (Oid, String, Expression);

async fn expressions(
    reading: &mut Reading<'_>,
    what: &str,
    trees: &str,
    oids: &[Oid],
) -> Result<Vec<Found>, ProbeError> {
    let query = EXPRESSIONS.replace("{trees}", trees);
    let rows = match reading.attempt(&query, &[&oids]).await? {
        Ok(rows) => rows,
        Err(error) => {
            reading.note(format!("what {what} call is not known: {error}"));
            return Ok(Vec::new());
        }
    };
    let mut found = Vec::with_capacity(rows.len());
    for row in &rows {
        let (schemas, names): (Vec<String>, Vec<String>) = (get(row, 2)?, get(row, 3)?);
        let calls = schemas.into_iter().zip(names).map(|(schema, name)| FunctionName { schema, name });
        let expression = Expression {
            calls: calls.collect(),
            reads: get(row, 4)?,
            types: get(row, 5)?,
            locks_rows: get(row, 6)?,
            samples: get(row, 7)?,
        };
        found.push((get(row, 0)?, get(row, 1)?, expression));
    }
    Ok(found)
}

async fn views(reading: &mut Reading<'_>, oids: &[Oid]) -> Result<(), ProbeError> {
    for (oid, _, query) in expressions(reading, "views", VIEWS, oids).await? {
        if let Some(table) = reading.table(oid).filter(|table| table.kind == TableKind::View) {
            table.query = Some(query);
        }
    }
    Ok(())
}

async fn policies(reading: &mut Reading<'_>, oids: &[Oid]) -> Result<(), ProbeError> {
    for (oid, name, condition) in expressions(reading, "policies", POLICIES, oids).await? {
        let table = reading.table(oid);
        let policies = table.into_iter().flat_map(|table| &mut table.policies);
        if let Some(policy) = { policies }.find(|policy| policy.name == name) {
            policy.condition = Some(condition);
        }
    }
    Ok(())
}

/// What is not known to be harmless. `{of}` stands for a function's oid.
const DOUBTFUL: &str = "JOIN pg_proc p ON p.oid = {of} JOIN pg_language l ON l.oid = p.prolang \
    JOIN pg_namespace n ON n.oid = p.pronamespace \
    WHERE (p.provolatile = 'v' OR l.lanname NOT IN ('internal', 'c'))";

/// Whose: its kind, the operator's name or the type's oid. What came with PostgreSQL has an oid below 16,384 and
/// is harmless.
const HIDDEN: [&str; 6] = [
    "SELECT 'o', o.oprname::text, 0::oid, n.nspname::text, p.proname::text FROM pg_operator o {doubtful} \
        AND o.oid >= 16384",
    "SELECT 't', '', c.castsource, n.nspname::text, p.proname::text FROM pg_cast c {doubtful} \
        AND c.oid >= 16384 AND (c.castsource >= 16384 OR c.casttarget < 16384)",
    "SELECT 't', '', c.casttarget, n.nspname::text, p.proname::text FROM pg_cast c {doubtful} \
        AND c.oid >= 16384 AND (c.casttarget >= 16384 OR c.castsource < 16384)",
    "SELECT 't', '', t.oid, n.nspname::text, p.proname::text FROM pg_type t CROSS JOIN LATERAL \
        unnest(ARRAY[t.typinput, t.typoutput, t.typreceive, t.typsend]::oid[]) f(oid) {doubtful} \
        AND p.oid >= 16384",
    "SELECT 't', '', t, n.nspname::text, p.proname::text FROM pg_amproc a CROSS JOIN LATERAL \
        unnest(ARRAY[a.amproclefttype, a.amprocrighttype]) t {doubtful} AND p.oid >= 16384 AND t >= 16384",
    "SELECT 'd', '', c.contypid, n.nspname::text, p.proname::text FROM pg_constraint c CROSS JOIN LATERAL ( \
            SELECT m[1]::oid AS oid FROM regexp_matches(c.conbin::text, ':(?:funcid|opfuncid) ([1-9][0-9]*)', 'g') m \
        ) f {doubtful} AND c.contypid >= 16384",
];

const FUNCTION_OF: [&str; 6] = ["o.oprcode", "c.castfunc", "c.castfunc", "f.oid", "a.amproc", "f.oid"];

async fn hidden(reading: &mut Reading<'_>) -> Result<Hidden, ProbeError> {
    let parts: Vec<String> = HIDDEN
        .iter()
        .zip(FUNCTION_OF)
        .map(|(part, function)| part.replace("{doubtful}", &DOUBTFUL.replace("{of}", function)))
        .collect();
    let mut hidden = Hidden::default();
    let Ok(rows) = reading.attempt(&parts.join(" UNION "), &[]).await? else {
        return Ok(hidden);
    };
    for row in &rows {
        let (kind, name, oid): (&str, String, Oid) = (get(row, 0)?, get(row, 1)?, get(row, 2)?);
        let function = FunctionName { schema: get(row, 3)?, name: get(row, 4)? };
        match kind {
            "o" => hidden.operators.entry(name).or_default().push(function),
            "d" => drop(hidden.domains.insert(oid, function)),
            _ => drop(hidden.types.insert(oid, function)),
        }
    }
    hidden.known = !reading.unread;
    Ok(hidden)
}
