//! The sections `partitions` and `maintenance` of the rules: the mirror, its defaults, and what becomes of it.
//! The comments are what editors show.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Rules;
use super::resolve::not_zero;
use crate::config::human::Human;
use crate::config::resolve::Context;
use crate::maintain::period::{FORM, Interval};
use crate::maintain::settings::{Archive, Retention};
use crate::maintain::{MaintenanceSettings, TableName, TableRule, request};
use crate::route::{self, RouteSettings};

/// How pgweir acts on the databases by itself. Every act is audited.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Maintenance {
    /// false: nothing happens by itself; what an operator asks for does.
    pub enabled: bool,
    /// How often each table is looked at. Not 0.
    pub every: Human,
    /// How long a change waits for a lock before it steps back and tries again. Not 0.
    pub lock_timeout: Human,
    /// Holds what pgweir has to remember of archives and conversions.
    pub schema: String,
}

impl Default for Maintenance {
    fn default() -> Self {
        let room = MaintenanceSettings::default();
        Maintenance {
            enabled: room.enabled,
            every: Human(room.every),
            lock_timeout: Human(room.lock_timeout),
            schema: room.schema,
        }
    }
}

/// A table that is divided by time.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PartitionedTable {
    /// One of the databases of pgweir.yaml. Default: the only one.
    pub database: Option<String>,
    /// Who acts; one of the users of pgweir.yaml, and the owner of the table. Default: who asks pgweir's own
    /// questions.
    pub user: Option<String>,
    /// As schema.name.
    pub table: String,
    /// The column that it is divided by.
    pub column: String,
    /// How long a period is: day, week, month, quarter, year, or several of them such as 2 weeks.
    pub interval: Span,
    /// Periods after the present one that have their partitions already.
    #[serde(default = "premake")]
    #[schemars(range(min = 0, max = 1000))]
    pub premake: u32,
    /// Whose midnights are the boundaries, as PostgreSQL names time zones.
    #[serde(default = "time_zone")]
    pub time_zone: String,
    /// What the numbers or texts of the column mean. Default: by the type of the column.
    pub format: Option<Format>,
    /// What happens to old partitions. Default: they stay.
    pub retention: Option<Keep>,
    /// Whether statements may be narrowed to the partitions that they need.
    #[serde(default = "on")]
    pub route: Switch,
    /// Whether a row of a sane time that finds no partition gets one, and is sent again.
    #[serde(default = "on")]
    pub create_missing: Switch,
    /// Columns of whole numbers that grow with the key, such as an id: closed partitions get checks of which values
    /// they hold, and look-ups by the column leave the others out.
    #[serde(default)]
    pub zone_maps: Vec<String>,
}

/// Three periods ahead: a month of silence does no harm to a monthly table, nor a weekend to a daily one.
fn premake() -> u32 {
    3
}

fn time_zone() -> String {
    "UTC".to_owned()
}

fn on() -> Switch {
    Switch::On
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Switch {
    /// Yes.
    On,
    /// No.
    Off,
}

/// What the numbers or texts of a column mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Seconds since 1970.
    EpochS,
    /// Milliseconds since 1970.
    EpochMs,
    /// Microseconds since 1970.
    EpochUs,
    /// Nanoseconds since 1970.
    EpochNs,
    /// A uuid of version 7.
    Uuidv7,
    /// A text that begins with the time as a ULID does.
    Ulid,
}

impl Format {
    fn word(self) -> &'static str {
        match self {
            Format::EpochS => "epoch_s",
            Format::EpochMs => "epoch_ms",
            Format::EpochUs => "epoch_us",
            Format::EpochNs => "epoch_ns",
            Format::Uuidv7 => "uuidv7",
            Format::Ulid => "ulid",
        }
    }
}

/// What happens to old partitions.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Keep {
    /// Partitions that are wholly older are taken out of the table.
    pub keep: Span,
    /// Where they go.
    pub archive: ArchiveTo,
}

/// Where old partitions go; one of these.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ArchiveTo {
    /// Another schema, as tables of their own.
    pub schema: Option<String>,
    /// Another tablespace, as tables of their own.
    pub tablespace: Option<String>,
    /// Parquet files.
    pub parquet: Option<ParquetTo>,
    /// true: nowhere, they are dropped.
    pub drop: bool,
}

/// Parquet files. A partition is dropped when what was written has been read back and compared.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ParquetTo {
    /// A folder, which is made if it is missing.
    pub path: String,
}

/// An interval of the calendar: `day`, `2 weeks`, `36 months`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Interval);

impl Span {
    /// Reads the text form. `Err` says what is expected.
    pub fn parse(text: &str) -> Result<Span, String> {
        Interval::parse(text).map(Span)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        Span::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Interval".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": FORM,
            "type": "string",
            "pattern": "^([0-9]+ )?(hour|day|week|month|quarter|year)s?$",
        })
    }
}

/// The settings of the section `maintenance`.
pub(super) fn maintenance(context: &mut Context<'_>, file: &Maintenance) -> MaintenanceSettings {
    not_zero(context, &["maintenance", "every"], file.every);
    not_zero(context, &["maintenance", "lock_timeout"], file.lock_timeout);
    if file.schema.is_empty() {
        context.wrong(&["maintenance", "schema"], "the name is empty; give one");
    }
    MaintenanceSettings {
        enabled: file.enabled,
        every: file.every.0,
        lock_timeout: file.lock_timeout.0,
        schema: file.schema.clone(),
    }
}

/// The settings of the section `partitions`.
pub(super) fn tables(context: &mut Context<'_>, file: &[PartitionedTable]) -> Vec<TableRule> {
    let mut rules: Vec<TableRule> = Vec::with_capacity(file.len());
    for (at, entry) in file.iter().enumerate() {
        let rule = rule(context, at, entry);
        if rules.iter().any(|other| other.database == rule.database && other.table == rule.table) {
            let at = at.to_string();
            context.wrong(&["partitions", &at, "table"], "the table has an entry already; keep one");
        }
        rules.push(rule);
    }
    rules
}

fn rule(context: &mut Context<'_>, at: usize, entry: &PartitionedTable) -> TableRule {
    let at = at.to_string();
    let table = TableName::parse(&entry.table).unwrap_or_else(|| {
        context.wrong(&["partitions", &at, "table"], "expected the name of a table, as schema.name");
        TableName::new("", "")
    });
    for (key, name) in [("column", &entry.column), ("time_zone", &entry.time_zone)] {
        if name.is_empty() {
            context.wrong(&["partitions", &at, key], "the name is empty; give one");
        }
    }
    if let Err(reason) = entry.interval.0.divides() {
        context.wrong(&["partitions", &at, "interval"], reason);
    }
    let retention = entry
        .retention
        .as_ref()
        .map(|keep| Retention { keep: keep.keep.0, archive: archive(context, &at, &keep.archive) });
    TableRule {
        database: entry.database.clone(),
        user: entry.user.clone(),
        table,
        column: entry.column.clone(),
        interval: entry.interval.0,
        premake: entry.premake,
        time_zone: entry.time_zone.clone(),
        format: entry.format.and_then(|format| request::format(format.word())),
        retention,
        route: entry.route == Switch::On,
        create_missing: entry.create_missing == Switch::On,
        zone_maps: entry.zone_maps.clone(),
    }
}

/// The tables whose statements are left as they are.
pub(super) fn routes(entries: &[PartitionedTable]) -> RouteSettings {
    let off = entries.iter().filter(|entry| entry.route == Switch::Off);
    let named = off.filter_map(|entry| TableName::parse(&entry.table));
    let off = named.map(|table| route::TableName { schema: Some(table.schema), name: table.name }).collect();
    RouteSettings { off, ..RouteSettings::default() }
}

fn archive(context: &mut Context<'_>, at: &str, to: &ArchiveTo) -> Archive {
    let place = ["partitions", at, "retention", "archive"];
    match (&to.schema, &to.tablespace, &to.parquet, to.drop) {
        (Some(name), None, None, false) if !name.is_empty() => Archive::Schema(name.clone()),
        (None, Some(name), None, false) if !name.is_empty() => Archive::Tablespace(name.clone()),
        (None, None, Some(parquet), false) if !parquet.path.is_empty() => {
            Archive::Parquet(context.path(&parquet.path))
        }
        (None, None, None, true) => Archive::Drop,
        _ => {
            context.wrong(&place, "expected exactly one of schema, tablespace, parquet and drop: true");
            Archive::Drop
        }
    }
}

/// Where it stands, what is wrong, the name, and whether it is one of a user.
type Wrong = (Vec<String>, &'static str, String, bool);

/// Names that pgweir.yaml does not have, and tables of which nobody knows where they are.
pub(super) fn names(rules: &Rules, users: &[&str], databases: &[&str]) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    for (at, rule) in rules.partitions.iter().enumerate() {
        let path = |key: &str| vec!["partitions".to_owned(), at.to_string(), key.to_owned()];
        if let Some(user) = rule.user.as_deref().filter(|user| !users.contains(user)) {
            let message = "the user is not listed in pgweir.yaml, so pgweir has no password for it";
            wrong.push((path("user"), message, user.to_owned(), true));
        }
        match rule.database.as_deref() {
            Some(database) if !databases.contains(&database) && !databases.contains(&"*") => {
                let message = "the database is not listed in pgweir.yaml";
                wrong.push((path("database"), message, database.to_owned(), false));
            }
            None if databases.iter().filter(|name| **name != "*").count() != 1 => {
                let message =
                    "pgweir.yaml does not list exactly one database by name: say by `database` which one";
                wrong.push((path("table"), message, String::new(), false));
            }
            _ => {}
        }
    }
    wrong
}
