//! What operators may ask for, in words, and which tables they mean by it. Does nothing.

use std::sync::Arc;

use serde::Deserialize;

use super::bound::Kind;
use super::period::Interval;
use super::work::{Means, Work};
use super::{TableName, TableRule, Trouble, unfit};

/// What may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Look after one table of the rules, or all of them.
    Maintain,
    /// Take one partition out, to where the rule says.
    Archive,
    /// Bring one back.
    Restore,
    /// Turn a plain table into a partitioned one, or go on with that.
    Convert,
    /// Drop the old table of a conversion.
    Finish,
    /// Put the old table of a conversion back.
    Revert,
    /// Remove what a conversion has made, before it switched.
    Cancel,
}

impl Action {
    pub(super) fn word(self) -> &'static str {
        match self {
            Action::Maintain => "maintain",
            Action::Archive => "archive",
            Action::Restore => "restore",
            Action::Convert => "convert",
            Action::Finish => "finish",
            Action::Revert => "revert",
            Action::Cancel => "cancel",
        }
    }
}

/// A command.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    pub action: Action,
    /// As clients name it. Default: the only one.
    #[serde(default)]
    pub database: Option<String>,
    /// `schema.name`. Default: every table of the rules, where that makes sense.
    #[serde(default)]
    pub table: Option<String>,
    /// The partition to archive or to restore.
    #[serde(default)]
    pub partition: Option<String>,
    /// Of a table that is not in the rules: the column that it is to be divided by, and how.
    #[serde(default)]
    pub column: Option<String>,
    #[serde(default)]
    pub interval: Option<String>,
    #[serde(default)]
    pub time_zone: Option<String>,
    #[serde(default)]
    pub premake: Option<u32>,
    #[serde(default)]
    pub format: Option<String>,
    /// Who acts. Default: whoever asks pgweir's own questions.
    #[serde(default)]
    pub user: Option<String>,
    /// Rows a second that a conversion copies at most.
    #[serde(default)]
    pub rate: Option<u32>,
    /// Say what would be done, and do nothing.
    #[serde(default)]
    pub dry_run: bool,
}
/// The tables of the rules that a command means.
pub(super) fn works(means: &Arc<dyn Means>, id: u64, request: &Request) -> Result<Vec<Work>, Trouble> {
    let (settings, rules) = means.rules();
    let table = table(request)?;
    let meant = |rule: &&TableRule| {
        request.database.as_ref().is_none_or(|database| rule.database.as_ref() == Some(database))
            && table.as_ref().is_none_or(|table| *table == rule.table)
    };
    let mut works = Vec::new();
    for rule in rules.iter().filter(meant) {
        let database = rule.database.clone().ok_or_else(|| {
            unfit(format!("{}: name its `database` in the rules, there are several", rule.table))
        })?;
        let (means, settings, rule) = (means.clone(), settings.clone(), rule.clone());
        works.push(Work { means, settings, database, rule, job: Some(id) });
    }
    if works.is_empty() {
        return Err(unfit(match table {
            Some(table) => format!("{table} is not in the section `partitions` of the rules"),
            None => "the section `partitions` of the rules names no such table".to_owned(),
        }));
    }
    Ok(works)
}

/// The table that a conversion is about: of the rules, or as the command describes it.
pub(super) fn conversion(means: &Arc<dyn Means>, id: u64, request: &Request) -> Result<Work, Trouble> {
    let (settings, rules) = means.rules();
    let table = table(request)?.ok_or_else(|| unfit("name the table, as schema.name"))?;
    let named = |rule: &&TableRule| {
        rule.table == table
            && request.database.as_ref().is_none_or(|database| rule.database.as_ref() == Some(database))
    };
    let known = rules.iter().find(named).cloned();
    let database = request.database.clone().or_else(|| known.as_ref()?.database.clone());
    let database = database.or_else(|| means.only_database());
    let database = database.ok_or_else(|| unfit("name the database, there are several"))?;
    let format = match request.format.as_deref() {
        None => None,
        Some(word) => Some(format(word).ok_or_else(|| unfit(format!("there is no format {word}")))?),
    };
    let rule = match (known, &request.column) {
        (Some(rule), None) => rule,
        (Some(rule), Some(column)) if *column == rule.column && request.interval.is_none() => rule,
        (Some(_), Some(_)) => {
            return Err(unfit(format!("{table} is in the rules already; give no column and interval")));
        }
        (None, column) => TableRule {
            database: Some(database.clone()),
            user: request.user.clone(),
            table,
            // A command about a conversion that is under way needs none: the book has it.
            column: column.clone().unwrap_or_default(),
            interval: interval(request.interval.as_deref())?,
            premake: request.premake.unwrap_or(3),
            time_zone: request.time_zone.clone().unwrap_or_else(|| "UTC".to_owned()),
            format,
            retention: None,
            route: true,
            create_missing: true,
            zone_maps: Vec::new(),
        },
    };
    Ok(Work { means: means.clone(), settings, database, rule, job: Some(id) })
}

fn table(request: &Request) -> Result<Option<TableName>, Trouble> {
    let wrong = |text: &String| unfit(format!("{text} is not the name of a table, as schema.name"));
    let read = |text: &String| TableName::parse(text).ok_or_else(|| wrong(text));
    request.table.as_ref().map(read).transpose()
}

/// What a format of the rules means; `None`: no such one.
pub fn format(word: &str) -> Option<Kind> {
    let unit = |unit_ns| Some(Kind::Epoch { unit_ns });
    match word {
        "epoch_s" => unit(1_000_000_000),
        "epoch_ms" => unit(1_000_000),
        "epoch_us" => unit(1_000),
        "epoch_ns" => unit(1),
        "uuidv7" => Some(Kind::UuidV7),
        "ulid" => Some(Kind::Ulid),
        _ => None,
    }
}

/// The word of a format; `None`: the type of the column says it.
pub(super) fn format_word(kind: Kind) -> Option<&'static str> {
    let words = ["epoch_s", "epoch_ms", "epoch_us", "epoch_ns", "uuidv7", "ulid"];
    words.into_iter().find(|word| format(word) == Some(kind))
}

/// An interval as a command writes it.
fn interval(text: Option<&str>) -> Result<Interval, Trouble> {
    let text = text.unwrap_or("month");
    let read = Interval::parse(text).and_then(|interval| interval.divides().map(|()| interval));
    read.map_err(|reason| unfit(format!("--interval {text}: {reason}")))
}
