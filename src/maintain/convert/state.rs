//! Where a conversion stands, in a table of pgweir's own schema: what was asked for, the last step that is done,
//! how far the filling has come. Must not know what the steps do.

use crate::maintain::actor::{Actor, get};
use crate::maintain::book;
use crate::maintain::period::Interval;
use crate::maintain::sql::{joined, qualified};
use crate::maintain::{TableName, TableRule, Trouble, request, unfit};

/// The table's columns. A new version adds columns and changes none.
const CONVERSIONS: &str = "id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, \
    table_schema text NOT NULL, table_name text NOT NULL, table_oid oid NOT NULL, column_name text NOT NULL, \
    period text NOT NULL, time_zone text NOT NULL, premake int NOT NULL, format text, \
    state text NOT NULL, position text[], filled bigint NOT NULL DEFAULT 0, total bigint NOT NULL DEFAULT 0, \
    undo text[] NOT NULL DEFAULT '{}', \
    begun timestamptz NOT NULL DEFAULT now(), changed timestamptz NOT NULL DEFAULT now()";

/// The steps, each named after what is done when it is noted.
pub(super) mod step {
    pub const PLANNED: &str = "planned";
    /// The log and its triggers are there.
    pub const LOGGED: &str = "logged";
    pub const FILLED: &str = "filled";
    pub const INDEXED: &str = "indexed";
    pub const VERIFIED: &str = "verified";
    pub const SWITCHED: &str = "switched";
    /// Foreign keys hold for the whole table, and the planner knows it.
    pub const SETTLED: &str = "settled";
    pub const FINISHED: &str = "finished";
    pub const REVERTED: &str = "reverted";
    pub const CANCELLED: &str = "cancelled";
}

/// One conversion.
#[derive(Debug, Clone)]
pub(in crate::maintain) struct Conversion {
    pub(super) id: i64,
    pub(super) table: TableName,
    /// Of the plain table.
    pub(super) oid: u32,
    pub(super) rule: TableRule,
    pub(super) format: Option<String>,
    pub(super) state: String,
    /// The key of the last row that was filled, as texts.
    pub(super) position: Option<Vec<String>>,
    pub(super) filled: i64,
    pub(super) total: i64,
    /// Statements that give the plain table back what the switch took.
    pub(super) undo: Vec<String>,
}

impl Conversion {
    pub(super) fn is_over(&self) -> bool {
        matches!(self.state.as_str(), step::FINISHED | step::REVERTED | step::CANCELLED)
    }

    /// The table has been replaced.
    pub(super) fn is_switched(&self) -> bool {
        matches!(self.state.as_str(), step::SWITCHED | step::SETTLED)
    }

    /// What takes the table's place, until it does.
    pub(super) fn shadow(&self) -> TableName {
        TableName::new(&self.table.schema, &joined(&self.table.name, "_pgweir_new"))
    }

    /// What the plain table is called afterwards.
    pub(super) fn old(&self) -> TableName {
        TableName::new(&self.table.schema, &joined(&self.table.name, "_pgweir_old"))
    }

    /// The log of changed keys of the plain table, or of the one that took its place.
    pub(super) fn log(&self, schema: &str, back: bool) -> TableName {
        TableName::new(schema, &format!("{}_{}", if back { "back" } else { "log" }, self.id))
    }

    /// The name of an index of the shadow until the switch, from the plain table's index.
    pub(super) fn index(&self, oid: u32) -> String {
        format!("pgweir_{}_{oid}", self.id)
    }

    /// The name of the triggers that write the log.
    pub(super) fn trigger(&self) -> String {
        format!("pgweir_note_{}", self.id)
    }
}

pub(super) async fn open(actor: &Actor, schema: &str) -> Result<(), Trouble> {
    book::schema(actor, schema).await?;
    book::table(actor, schema, "conversions", CONVERSIONS).await
}

/// The newest conversion of a table, over or not.
pub(super) async fn newest(
    actor: &Actor,
    schema: &str,
    table: &TableName,
) -> Result<Option<Conversion>, Trouble> {
    let whole = qualified(schema, "conversions");
    let exists: bool = actor.value("SELECT to_regclass($1) IS NOT NULL", &[&whole]).await?;
    if !exists {
        return Ok(None);
    }
    let query = format!(
        "SELECT id, table_oid, column_name, period, time_zone, premake, format, state, position, filled, total, undo \
         FROM {whole} WHERE table_schema = $1 AND table_name = $2 ORDER BY id DESC LIMIT 1"
    );
    let rows = actor.rows(&query, &[&table.schema, &table.name]).await?;
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    let (period, format): (String, Option<String>) = (get(row, 3)?, get(row, 6)?);
    let rule = TableRule {
        database: None,
        user: None,
        table: table.clone(),
        column: get(row, 2)?,
        interval: Interval::parse(&period).map_err(unfit)?,
        premake: u32::try_from(get::<i32>(row, 5)?).unwrap_or_default(),
        time_zone: get(row, 4)?,
        format: format.as_deref().and_then(request::format),
        retention: None,
        route: true,
        create_missing: true,
        zone_maps: Vec::new(),
    };
    Ok(Some(Conversion {
        id: get(row, 0)?,
        table: table.clone(),
        oid: get(row, 1)?,
        rule,
        format,
        state: get(row, 7)?,
        position: get(row, 8)?,
        filled: get(row, 9)?,
        total: get(row, 10)?,
        undo: get(row, 11)?,
    }))
}

pub(super) async fn begin(actor: &Actor, schema: &str, conversion: &Conversion) -> Result<i64, Trouble> {
    let insert = format!(
        "INSERT INTO {} (table_schema, table_name, table_oid, column_name, period, time_zone, premake, format, state, \
         total) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) RETURNING id",
        qualified(schema, "conversions")
    );
    let Conversion { table, rule, .. } = conversion;
    let premake = i32::try_from(rule.premake).unwrap_or(i32::MAX);
    actor
        .value(
            &insert,
            &[
                &table.schema,
                &table.name,
                &conversion.oid,
                &rule.column,
                &rule.interval.to_string(),
                &rule.time_zone,
                &premake,
                &conversion.format,
                &conversion.state,
                &conversion.total,
            ],
        )
        .await
}

/// Notes where it stands; within the transaction that made the step where there is one.
pub(super) async fn note(actor: &Actor, schema: &str, conversion: &Conversion) -> Result<(), Trouble> {
    let update = format!(
        "UPDATE {} SET state = $2, position = $3, filled = $4, undo = $5, changed = now() WHERE id = $1",
        qualified(schema, "conversions")
    );
    let Conversion { id, state, position, filled, undo, .. } = conversion;
    actor.write(&update, &[id, state, position, filled, undo]).await.map(drop)
}
