//! What statements may do beyond their words: which volatile functions are known to write no table, and where
//! the others run without being named. Must not know what it is needed for.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tokio_postgres::types::ToSql;

use super::ProbeError;
use super::catalog::{Reading, get};
use crate::catalog::effects::{Effects, is_quiet_builtin, is_quiet_in_c, quiet_builtins};
use crate::catalog::{FUNCTIONS_MAX, Function, Oid, Volatility};
use crate::sql::body;

/// Procedures are run by CALL alone. A longer body than this is not looked at: it is no small one that keeps a
/// column up to date. One that is empty here is C, or SQL that was parsed when it was made. Extensions may put theirs
/// into pg_catalog; what PostgreSQL made itself has an oid below 16384.
const VOLATILE: &str = "SELECT p.oid, n.nspname::text, p.proname::text, l.lanname::text, \
        CASE WHEN length(p.prosrc) <= 4096 THEN p.prosrc ELSE '' END, \
        p.pronargs - p.pronargdefaults <= 1 AND coalesce(t.typtype = 'c', false) \
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang \
    LEFT JOIN pg_type t ON t.oid = p.proargtypes[0] AND p.pronargs > 0 \
    WHERE (n.nspname NOT IN ('pg_catalog', 'information_schema') OR p.oid >= 16384) AND p.provolatile = 'v' \
        AND p.prokind IN ('f', 'w') ORDER BY p.oid LIMIT $1";

/// Where these functions run for a table or view: in a view's query or a rule, and in a policy; and, for
/// writes alone, in a default, a check, or the condition of a trigger.
const RUN_BY: &str = "SELECT r.ev_class, d.refobjid, true FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid \
        WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_proc'::regclass \
            AND d.refobjid = ANY($1::oid[]) \
    UNION SELECT p.polrelid, d.refobjid, true FROM pg_depend d JOIN pg_policy p ON p.oid = d.objid \
        WHERE d.classid = 'pg_policy'::regclass AND d.refclassid = 'pg_proc'::regclass \
            AND d.refobjid = ANY($1::oid[]) \
    UNION SELECT a.adrelid, d.refobjid, false FROM pg_depend d JOIN pg_attrdef a ON a.oid = d.objid \
        WHERE d.classid = 'pg_attrdef'::regclass AND d.refclassid = 'pg_proc'::regclass \
            AND d.refobjid = ANY($1::oid[]) \
    UNION SELECT c.conrelid, d.refobjid, false FROM pg_depend d JOIN pg_constraint c ON c.oid = d.objid \
        WHERE d.classid = 'pg_constraint'::regclass AND d.refclassid = 'pg_proc'::regclass \
            AND d.refobjid = ANY($1::oid[]) AND c.conrelid <> 0 \
    UNION SELECT t.tgrelid, d.refobjid, false FROM pg_depend d JOIN pg_trigger t ON t.oid = d.objid \
        WHERE d.classid = 'pg_trigger'::regclass AND d.refclassid = 'pg_proc'::regclass \
            AND d.refobjid = ANY($1::oid[]) AND d.refobjid <> t.tgfoid";

/// Where any expression may run them.
const RUN_ANYWHERE: &str = "SELECT oprcode::oid FROM pg_operator WHERE oprcode::oid = ANY($1::oid[]) \
    UNION SELECT castfunc FROM pg_cast WHERE castfunc = ANY($1::oid[]) \
    UNION SELECT amproc::oid FROM pg_amproc WHERE amproc::oid = ANY($1::oid[]) \
    UNION SELECT f FROM pg_range, unnest(ARRAY[rngcanonical::oid, rngsubdiff::oid]) f WHERE f = ANY($1::oid[]) \
    UNION SELECT f FROM pg_aggregate, unnest(ARRAY[aggtransfn::oid, aggfinalfn::oid, aggcombinefn::oid, \
        aggserialfn::oid, aggdeserialfn::oid, aggmtransfn::oid, aggminvtransfn::oid, aggmfinalfn::oid]) f \
        WHERE f = ANY($1::oid[]) \
    UNION SELECT d.refobjid FROM pg_depend d JOIN pg_constraint c ON c.oid = d.objid \
        WHERE d.classid = 'pg_constraint'::regclass AND d.refclassid = 'pg_proc'::regclass \
            AND d.refobjid = ANY($1::oid[]) AND c.contypid <> 0 \
    UNION SELECT d.refobjid FROM pg_depend d WHERE d.classid = 'pg_type'::regclass \
        AND d.refclassid = 'pg_proc'::regclass AND d.refobjid = ANY($1::oid[])";

/// PostgreSQL's own volatile functions that are not known to be quiet.
const LOUD_BUILTINS: &str = "SELECT p.oid, p.proname::text FROM pg_proc p \
    WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.provolatile = 'v' AND p.oid < 16384 \
        AND p.prokind IN ('f', 'w') AND p.proname <> ALL($1::text[])";

/// Where these run: pg_depend does not tell of PostgreSQL's own functions, but the trees of expressions do.
const RUN_BUILTINS: &str = "SELECT o.relation, (regexp_match(o.tree, $1))[1]::oid, o.reads FROM ( \
        SELECT ev_class, true, ev_action::text FROM pg_rewrite WHERE ev_class >= 16384 \
        UNION ALL SELECT polrelid, true, concat(polqual::text, polwithcheck::text) FROM pg_policy \
        UNION ALL SELECT adrelid, false, adbin::text FROM pg_attrdef WHERE adrelid >= 16384 \
        UNION ALL SELECT conrelid, false, conbin::text FROM pg_constraint WHERE conbin IS NOT NULL \
        UNION ALL SELECT tgrelid, false, tgqual::text FROM pg_trigger WHERE tgqual IS NOT NULL \
    ) o (relation, reads, tree) WHERE o.tree ~ $1";

/// # Errors
/// A later attempt may succeed. What is refused for good makes the effects unknown, and a note says so.
pub(super) async fn read(
    reading: &mut Reading<'_>,
    functions: &[Function],
    builtins: &BTreeMap<String, Volatility>,
) -> Result<Effects, ProbeError> {
    let limit = FUNCTIONS_MAX as i64;
    let Some(rows) = asked(reading, VOLATILE, &[&(limit + 1)]).await? else {
        return Ok(Effects::default());
    };
    let (mut restless, mut loud) = (BTreeMap::new(), BTreeSet::new());
    let (mut quiet, mut anywhere) = (BTreeSet::new(), BTreeSet::new());
    let mut by_name: Named<'_> = HashMap::new();
    functions.iter().for_each(|function| by_name.entry(&function.name).or_default().push(function));
    let calm = |schema: Option<&str>, name: &str| is_calm(&by_name, builtins, schema, name);
    for row in &rows {
        let (oid, language, text): (Oid, &str, &str) = (get(row, 0)?, get(row, 3)?, get(row, 4)?);
        let own: (String, String) = (get(row, 1)?, get(row, 2)?);
        let is_quiet = match language {
            "c" => is_quiet_in_c(&own.1),
            "sql" | "plpgsql" => body::writes_nothing(text, &calm),
            _ => false,
        };
        if is_quiet {
            quiet.insert(own);
            continue;
        }
        let name = format!("{}.{}", own.0, own.1);
        if get(row, 5)? {
            anywhere.insert(name.clone());
        }
        loud.insert(own);
        restless.insert(oid, name);
    }
    // Of a name with several functions, all have to be quiet.
    quiet.retain(|own| !loud.contains(own));
    let known = rows.len() <= FUNCTIONS_MAX;
    let effects = Effects { known, quiet, ..Effects::default() };
    places(reading, &restless, anywhere, effects).await
}

/// Where the restless ones run without being named.
async fn places(
    reading: &mut Reading<'_>,
    restless: &BTreeMap<Oid, String>,
    mut anywhere: BTreeSet<String>,
    mut effects: Effects,
) -> Result<Effects, ProbeError> {
    let oids: Vec<Oid> = restless.keys().copied().collect();
    if !oids.is_empty() {
        let (Some(run_by), Some(run_anywhere)) =
            (asked(reading, RUN_BY, &[&oids]).await?, asked(reading, RUN_ANYWHERE, &[&oids]).await?)
        else {
            return Ok(Effects::default());
        };
        note(&mut effects, &mut anywhere, &run_by, restless)?;
        for row in &run_anywhere {
            anywhere.extend(restless.get(&get::<Oid>(row, 0)?).cloned());
        }
    }
    let Some(rows) = asked(reading, LOUD_BUILTINS, &[&quiet_builtins()]).await? else {
        return Ok(Effects::default());
    };
    let mut loud: BTreeMap<Oid, String> = BTreeMap::new();
    for row in &rows {
        loud.insert(get(row, 0)?, get(row, 1)?);
    }
    let oids: Vec<String> = loud.keys().map(Oid::to_string).collect();
    let calls = format!(":funcid ({}) ", oids.join("|"));
    let Some(run) = asked(reading, RUN_BUILTINS, &[&calls]).await? else {
        return Ok(Effects::default());
    };
    note(&mut effects, &mut anywhere, &run, &loud)?;
    effects.anywhere = anywhere.into_iter().collect();
    Ok(effects)
}

/// Rows of relation, function, and whether reads run it too. Relation 0: that of a domain.
fn note(
    effects: &mut Effects,
    anywhere: &mut BTreeSet<String>,
    rows: &[tokio_postgres::Row],
    names: &BTreeMap<Oid, String>,
) -> Result<(), ProbeError> {
    for row in rows {
        let (relation, function, reads): (Oid, Oid, bool) = (get(row, 0)?, get(row, 1)?, get(row, 2)?);
        let name = names.get(&function).cloned().unwrap_or_default();
        match (relation, reads) {
            (0, _) => drop(anywhere.insert(name)),
            (relation, true) => effects.on_read.entry(relation).or_default().push(name),
            (relation, false) => effects.on_write.entry(relation).or_default().push(name),
        }
    }
    Ok(())
}

/// `None`: it is refused, and always will be.
async fn asked(
    reading: &mut Reading<'_>,
    query: &str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<Option<Vec<tokio_postgres::Row>>, ProbeError> {
    match reading.attempt(query, parameters).await? {
        Ok(rows) => Ok(Some(rows)),
        Err(error @ ProbeError::Refused { .. }) => {
            reading.note(format!("what statements do beyond their words is not known: {error}"));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// User-defined functions by name.
type Named<'a> = HashMap<&'a str, Vec<&'a Function>>;

/// What a body may call and be quiet. Other volatile functions of users count as restless here, quiet or not.
fn is_calm(
    by_name: &Named<'_>,
    builtins: &BTreeMap<String, Volatility>,
    schema: Option<&str>,
    name: &str,
) -> bool {
    let builtin = || {
        let volatility = *builtins.get(name)?;
        Some(volatility < Volatility::Volatile || is_quiet_builtin(name))
    };
    let within = |function: &&&Function| schema.is_none_or(|schema| schema == function.schema);
    let own = by_name.get(name).into_iter().flatten();
    let worst = own.filter(within).map(|function| function.volatility).max();
    match (schema, builtin(), worst) {
        (Some("pg_catalog"), calm, _) => calm == Some(true),
        (Some(_), _, worst) => worst.is_some_and(|worst| worst < Volatility::Volatile),
        (None, calm, worst) => {
            (calm.is_some() || worst.is_some())
                && calm != Some(false)
                && worst.is_none_or(|worst| worst < Volatility::Volatile)
        }
    }
}
