//! `pgweir partitions`: the partitioned tables of a running pgweir, and commands to it. Asks and prints; the
//! running pgweir does the work.

use std::time::Duration;

use clap::{Args, Subcommand};
use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use serde_json::{Value, json};

use super::ask::Ask;

const PATH: &str = "/api/database/partitions";

/// Between two looks at a command that runs.
const PAUSE: Duration = Duration::from_millis(500);

/// Tables that are divided by time: what there is, and what to do about it.
///
/// The running pgweir does the work; `--admin` says where it is. Acts need a token of role operator.
#[derive(Subcommand)]
pub enum Partitions {
    /// The tables of the rules with their partitions.
    List(List),
    /// Create what lacks and retire what is past its time, now.
    Maintain(Maintain),
    /// Take a past partition out, to where its table's rule says.
    Archive(One),
    /// Bring an archived partition back, and prove that it is the same.
    Restore(One),
    Convert(Convert),
    /// Drop the old table of a conversion; there is no way back then.
    Finish(Ended),
    /// Put the old table of a conversion back, with every change since.
    Revert(Ended),
    /// End a conversion before it has switched, and remove what it has made.
    Cancel(Ended),
}

/// Turn a plain table into a partitioned one while it is used, or go on with that.
///
/// The plan comes first. A shadow table is filled in batches and kept in step, compared, and then takes the
/// table's place in a short transaction. The old table is kept in step until `finish` drops it or `revert` puts it
/// back. After a crash the same command goes on.
#[derive(Args)]
pub struct Convert {
    /// The table, as schema.name.
    table: String,
    #[command(flatten)]
    which: Which,
    /// The column to divide it by. Default: as the rules say.
    #[arg(long)]
    column: Option<String>,
    /// How long a period is: day, week, month, …; or several, such as "2 weeks".
    #[arg(long)]
    interval: Option<String>,
    /// Whose midnights are the boundaries. Default: UTC.
    #[arg(long)]
    time_zone: Option<String>,
    /// Periods ahead that get their partitions at once. Default: 3.
    #[arg(long)]
    premake: Option<u32>,
    /// What numbers and texts mean: epoch_s, epoch_ms, epoch_us, epoch_ns, uuidv7 or ulid.
    #[arg(long)]
    format: Option<String>,
    /// Who acts: a user of pgweir.yaml that owns the table. Default: who asks pgweir's own questions.
    #[arg(long)]
    user: Option<String>,
    /// Rows a second that are copied at most.
    #[arg(long)]
    rate: Option<u32>,
    /// Show the plan and do nothing.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args)]
pub struct Ended {
    /// The table, as schema.name.
    table: String,
    #[command(flatten)]
    which: Which,
}

#[derive(Args)]
pub struct One {
    /// The table, as schema.name.
    table: String,
    /// The partition's name.
    partition: String,
    #[command(flatten)]
    which: Which,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args)]
pub struct List {
    #[command(flatten)]
    ask: Ask,
    /// Only this database, as clients name it.
    #[arg(long)]
    database: Option<String>,
    /// Only this table, as schema.name.
    #[arg(long)]
    table: Option<String>,
}

#[derive(Args)]
pub struct Maintain {
    #[command(flatten)]
    which: Which,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// The table, as schema.name. Default: every table of the rules.
    #[arg(long)]
    table: Option<String>,
}

/// Whom to ask, and about which database.
#[derive(Args)]
struct Which {
    #[command(flatten)]
    ask: Ask,
    /// The database, as clients name it. Default: the only one.
    #[arg(long)]
    database: Option<String>,
}

/// Prints a part of the output.
type Print = fn(&str) -> Result<(), String>;

impl Partitions {
    /// # Errors
    /// A sentence that says what is wrong and what to do.
    pub fn run(self, print: Print) -> Result<(), String> {
        match self {
            Partitions::List(list) => list.run().and_then(|text| print(&text)),
            Partitions::Maintain(Maintain { which, dry_run, table }) => {
                which.act(json!({"action": "maintain", "table": table, "dry_run": dry_run}), print)
            }
            Partitions::Archive(one) => one.run("archive", print),
            Partitions::Restore(one) => one.run("restore", print),
            Partitions::Convert(convert) => {
                let command = json!({
                    "action": "convert",
                    "table": convert.table,
                    "column": convert.column,
                    "interval": convert.interval,
                    "time_zone": convert.time_zone,
                    "premake": convert.premake,
                    "format": convert.format,
                    "user": convert.user,
                    "rate": convert.rate,
                    "dry_run": convert.dry_run,
                });
                convert.which.act(command, print)
            }
            Partitions::Finish(Ended { table, which }) => {
                which.act(json!({"action": "finish", "table": table}), print)
            }
            Partitions::Revert(Ended { table, which }) => {
                which.act(json!({"action": "revert", "table": table}), print)
            }
            Partitions::Cancel(Ended { table, which }) => {
                which.act(json!({"action": "cancel", "table": table}), print)
            }
        }
    }
}

impl One {
    fn run(self, action: &str, print: Print) -> Result<(), String> {
        let (table, partition) = (self.table, self.partition);
        let command =
            json!({"action": action, "table": table, "partition": partition, "dry_run": self.dry_run});
        self.which.act(command, print)
    }
}

impl Which {
    /// Sends a command and prints what it says until it ends.
    fn act(self, mut command: Value, print: Print) -> Result<(), String> {
        if let Some(database) = self.database {
            command["database"] = json!(database);
        }
        let mut job = self.ask.post(PATH, &command)?;
        let mut shown = 0;
        let mut progress = String::new();
        loop {
            if !self.ask.json {
                let lines = job["lines"].as_array().map(Vec::as_slice).unwrap_or_default();
                for line in lines.iter().skip(shown).filter_map(Value::as_str) {
                    print(&format!("{line}\n"))?;
                }
                shown = lines.len();
                let now = progress_of(&job["progress"]);
                if now != progress {
                    print(&now)?;
                    progress = now;
                }
            }
            match job["state"].as_str() {
                Some("running") => std::thread::sleep(PAUSE),
                Some("failed") => return Err(job["error"].as_str().unwrap_or_default().to_owned()),
                _ if self.ask.json => return print(&format!("{job:#}\n")),
                _ => return Ok(()),
            }
            let id = job["id"].as_u64().unwrap_or_default();
            job = self.ask.get(PATH, &[("job", id.to_string())])?;
        }
    }
}

fn progress_of(progress: &Value) -> String {
    let number = |key: &str| progress[key].as_f64().unwrap_or(0.0);
    match progress["step"].as_str() {
        None => String::new(),
        Some(step) => {
            let left = progress["left_s"].as_f64();
            let left = left.map_or_else(String::new, |s| format!(", {s:.0} s left"));
            let (rows, of, rate) = (number("rows"), number("of"), number("rows_per_s"));
            format!("{step}: {rows:.0} of about {of:.0} rows, {rate:.0} rows/s{left}\n")
        }
    }
}

impl List {
    fn run(self) -> Result<String, String> {
        let mut parameters = Vec::new();
        parameters.extend(self.database.map(|database| ("database", database)));
        parameters.extend(self.table.map(|table| ("table", table)));
        let answer = self.ask.get(PATH, &parameters)?;
        match self.ask.json {
            true => Ok(format!("{answer:#}\n")),
            false => Ok(shown(&answer)),
        }
    }
}

fn shown(answer: &Value) -> String {
    let mut text = String::new();
    let of = |value: &Value, key: &str| -> String {
        match &value[key] {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        }
    };
    let list = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
    for table in list(answer, "tables") {
        let keep = table["keep"].as_str().map_or_else(String::new, |keep| format!(", kept for {keep}"));
        text.push_str(&format!(
            "{}, {}: by {} of {} ({}){keep}\n",
            of(&table, "database"),
            of(&table, "table"),
            of(&table, "interval"),
            of(&table, "column"),
            of(&table, "time_zone"),
        ));
        let mut rows = Table::new();
        rows.load_style(UTF8_FULL_CONDENSED);
        rows.set_header(["partition", "from", "to", "rows", "MiB", "state"]);
        for partition in list(&table, "partitions") {
            let bytes = partition["bytes"].as_f64().unwrap_or(0.0) / f64::from(1 << 20);
            let names = ["name", "lower", "upper", "rows"].map(|key| of(&partition, key));
            rows.add_row(names.into_iter().chain([format!("{bytes:.1}"), of(&partition, "state")]));
        }
        text.push_str(&format!("{}\n", rows.trim_fmt()));
        for archived in list(&table, "archives") {
            let names = ["partition", "lower", "upper", "kind", "place", "state"];
            let [partition, lower, upper, kind, place, state] = names.map(|key| of(&archived, key));
            text.push_str(&format!(
                "  archived: {partition} [{lower}, {upper}) to {kind} {place}: {state}\n"
            ));
        }
        for note in list(&table, "notes") {
            text.push_str(&format!("  note: {}\n", note.as_str().unwrap_or_default()));
        }
        if let Some(error) = table["error"].as_str() {
            text.push_str(&format!("  error: {error}\n"));
        }
    }
    for job in list(answer, "jobs").iter().filter(|job| job["state"] == "running") {
        let (kind, table) = (of(job, "kind"), of(job, "table"));
        text.push_str(&format!("under way: {kind} {table}\n{}", progress_of(&job["progress"])));
    }
    if text.is_empty() {
        text.push_str("no table of the rules has been looked at; the section `partitions` names them\n");
    }
    for one in list(answer, "suggestions") {
        let [table, column, ranges, calls] = ["table", "column", "ranges", "calls"].map(|key| of(&one, key));
        let deletes = match one["deletes"].as_u64() {
            Some(1..) => ", and old rows are deleted",
            _ => "",
        };
        let million = one["rows"].as_f64().unwrap_or_default() / 1e6;
        text.push_str(&format!(
            "{table} has {million:.1} million rows and would gain: {ranges} of {calls} calls ask by {column}{deletes}\n  {}\n",
            of(&one, "command")
        ));
    }
    text
}
