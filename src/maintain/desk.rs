//! Where acts on the databases are asked for, and the loop that does them: each table of the rules when it is
//! due, and what operators ask for, as commands whose outcome stands on the board. Must not know HTTP.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde::Deserialize;
use tokio::sync::{Notify, mpsc};

use super::actor::{Actor, Audit};
use super::bound::Kind;
use super::period::Interval;
use super::{MaintenanceSettings, TableName, TableRule, Trouble, convert, unfit, upkeep};
use crate::observe::counters::Registry;
use crate::observe::partitions::{Board, Job, Progress, TableView};
use crate::observe::process::now_s;
use crate::probe::{ProbeError, Target};

/// How often it looks whether a table is due.
const TICK: Duration = Duration::from_secs(1);

/// Commands that wait. Operators send a few a day.
const COMMANDS_MAX: usize = 64;

/// A clock that jumps by more than this changes what is due.
const JUMP: Duration = Duration::from_secs(60);

/// What the room needs of the process around it.
pub trait Means: Send + Sync {
    /// The rules of now; each entry names its database.
    fn rules(&self) -> (MaintenanceSettings, Vec<TableRule>);

    /// How to reach a database by the name that clients use. `None` of user: whoever asks pgweir's own questions.
    ///
    /// # Errors
    /// It is not known, or no user has a password.
    fn target(&self, database: &str, user: Option<&str>) -> Result<Target, ProbeError>;

    /// The only database of the settings, if there is one.
    fn only_database(&self) -> Option<String>;

    fn audit(&self) -> Arc<dyn Audit>;

    fn registry(&self) -> &Registry;
}

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
    fn word(self) -> &'static str {
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

/// Where commands are left.
pub struct Desk {
    sender: mpsc::Sender<(u64, Request)>,
    receiver: Mutex<Option<mpsc::Receiver<(u64, Request)>>>,
    ending: Notify,
}

impl Default for Desk {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(COMMANDS_MAX);
        Desk { sender, receiver: Mutex::new(Some(receiver)), ending: Notify::new() }
    }
}

impl Desk {
    /// Takes a command; its number on the board.
    ///
    /// # Errors
    /// Too many wait, or the process ends.
    pub fn leave(&self, board: &Board, request: Request) -> Result<u64, String> {
        let (database, table) = (request.database.clone(), request.table.clone());
        let (database, table) = (database.unwrap_or_default(), table.unwrap_or_default());
        let id = board.begin(request.action.word(), &database, &table, now_s());
        match self.sender.try_send((id, request)) {
            Ok(()) => Ok(id),
            Err(_) => {
                let message = "too many commands wait, or pgweir is ending";
                end(board, id, Err(&unfit(message)));
                Err(message.to_owned())
            }
        }
    }

    /// Ends the loop. What is under way breaks off, as it would in a crash.
    pub fn end(&self) {
        self.ending.notify_one();
    }
}

/// One table, a connection to be made, and whom to tell.
#[derive(Clone)]
pub(super) struct Work {
    means: Arc<dyn Means>,
    pub(super) settings: MaintenanceSettings,
    pub(super) database: String,
    pub(super) rule: TableRule,
    /// `None`: nobody waits for it.
    job: Option<u64>,
}

impl Work {
    pub(super) async fn actor(&self) -> Result<Actor, Trouble> {
        let target = self.means.target(&self.database, self.rule.user.as_deref())?;
        Actor::connect(target, &self.database, &self.settings, self.means.audit()).await
    }

    pub(super) fn board(&self) -> &Board {
        &self.means.registry().partitions
    }

    /// A line for whoever asked, and for the log.
    pub(super) fn say(&self, line: String) {
        match self.job {
            Some(id) => self.board().tell(id, |job| job.lines.push(line)),
            None => tracing::info!(database = self.database, table = %self.rule.table, "{line}"),
        }
    }

    pub(super) fn registry(&self) -> &Registry {
        self.means.registry()
    }

    /// The same for another rule.
    pub(super) fn with(&self, rule: TableRule) -> Work {
        Work { rule, ..self.clone() }
    }

    pub(super) fn progress(&self, progress: Progress) {
        if let Some(id) = self.job {
            self.board().tell(id, |job| job.progress = Some(progress));
        }
    }

    pub(super) fn view(&self, change: impl FnOnce(&mut TableView)) {
        self.board().update(&self.database, &self.rule.table.to_string(), change);
    }
}

/// Works until the desk is told to end. Runs within a `LocalSet`.
pub async fn run(means: Arc<dyn Means>, desk: &Desk) {
    let commands = desk.receiver.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(mut commands) = commands else {
        return;
    };
    let mut calendar = Calendar::default();
    loop {
        tokio::select! {
            () = desk.ending.notified() => return,
            Some((id, request)) = commands.recv() => {
                tokio::task::spawn_local(serve(means.clone(), id, request));
            }
            () = tokio::time::sleep(TICK) => calendar.look(&means),
        }
    }
}

/// When each table is looked at next.
#[derive(Default)]
struct Calendar {
    rules: Vec<TableRule>,
    due: BTreeMap<(String, TableName), Instant>,
    under_way: Rc<RefCell<BTreeSet<(String, TableName)>>>,
    clocks: Option<(Instant, SystemTime)>,
}

impl Calendar {
    fn look(&mut self, means: &Arc<dyn Means>) {
        let (settings, rules) = means.rules();
        let now = Instant::now();
        if self.jumped(now) || rules != self.rules {
            self.due.clear();
            self.rules = rules;
            let board = &means.registry().partitions;
            let known = |database: &str, table: &str| {
                let named = |rule: &TableRule| rule.database.as_deref() == Some(database);
                self.rules.iter().any(|rule| named(rule) && rule.table.to_string() == table)
            };
            board.keep(known);
        }
        if !settings.enabled {
            return;
        }
        for rule in &self.rules {
            let Some(database) = rule.database.clone() else {
                continue;
            };
            let key = (database.clone(), rule.table.clone());
            let due = self.due.get(&key).is_none_or(|due| *due <= now);
            if !due || !self.under_way.borrow_mut().insert(key.clone()) {
                continue;
            }
            self.due.insert(key.clone(), now + settings.every);
            let work = Work {
                means: means.clone(),
                settings: settings.clone(),
                database,
                rule: rule.clone(),
                job: None,
            };
            let under_way = self.under_way.clone();
            tokio::task::spawn_local(async move {
                let next = now_s() + settings.every.as_secs();
                look_after(&work, false).await.unwrap_or_default();
                work.view(|view| view.next_s = next);
                under_way.borrow_mut().remove(&key);
            });
        }
    }

    /// Wall clock and process clock have parted: the machine slept, or somebody set the time.
    fn jumped(&mut self, now: Instant) -> bool {
        let wall = SystemTime::now();
        let before = self.clocks.replace((now, wall));
        before.is_some_and(|(then, wall_then)| {
            let passed = now.duration_since(then);
            let by_wall = wall.duration_since(wall_then).unwrap_or_default();
            by_wall.abs_diff(passed) > JUMP
        })
    }
}

async fn look_after(work: &Work, dry_run: bool) -> Result<(), Trouble> {
    // A conversion that a crash has ended is gone on with first.
    let converted = if dry_run { Ok(()) } else { convert::sync_back(work).await };
    let outcome = match converted {
        Ok(()) => upkeep::table(work, dry_run).await,
        Err(error) => Err(error),
    };
    match &outcome {
        Ok(()) if dry_run => {}
        Ok(()) => work.view(|view| (view.error, view.error_kind) = (None, None)),
        Err(error) => upkeep::failed(work, error),
    }
    outcome
}

/// Carries out a command and writes its end on the board.
async fn serve(means: Arc<dyn Means>, id: u64, request: Request) {
    let outcome = obey(&means, id, &request).await;
    end(&means.registry().partitions, id, outcome.as_ref().map(|_| ()));
}

fn end(board: &Board, id: u64, outcome: Result<(), &Trouble>) {
    board.tell(id, |job: &mut Job| {
        job.ended_s = Some(now_s());
        match outcome {
            Ok(()) => job.state = "done",
            Err(error) => (job.state, job.error) = ("failed", Some(error.to_string())),
        }
    });
}

async fn obey(means: &Arc<dyn Means>, id: u64, request: &Request) -> Result<(), Trouble> {
    match request.action {
        Action::Maintain => {
            let works = works(means, id, request)?;
            let mut outcome = Ok(());
            for work in &works {
                if works.len() > 1 {
                    work.say(format!("{}, {}:", work.database, work.rule.table));
                }
                let lines = |board: &Board| board.job(id).map_or(0, |job| job.lines.len());
                let before = lines(work.board());
                match look_after(work, request.dry_run).await {
                    Ok(()) if lines(work.board()) == before => work.say("nothing to do".to_owned()),
                    Ok(()) => {}
                    Err(error) => {
                        if works.len() > 1 {
                            work.say(error.to_string());
                        }
                        outcome = Err(error);
                    }
                }
            }
            outcome
        }
        Action::Convert => {
            let work = conversion(means, id, request)?;
            convert::convert(&work, request.dry_run, request.rate).await
        }
        Action::Finish => convert::finish(&conversion(means, id, request)?).await,
        Action::Revert => convert::revert(&conversion(means, id, request)?).await,
        Action::Cancel => convert::cancel(&conversion(means, id, request)?).await,
        Action::Archive | Action::Restore => {
            let works = works(means, id, request)?;
            let ([work], Some(partition)) = (&works[..], &request.partition) else {
                return Err(unfit("name one table and one of its partitions"));
            };
            match request.action {
                Action::Archive => upkeep::archive_one(work, partition, request.dry_run).await,
                _ => upkeep::restore_one(work, partition, request.dry_run).await,
            }
        }
    }
}

/// The tables of the rules that a command means.
fn works(means: &Arc<dyn Means>, id: u64, request: &Request) -> Result<Vec<Work>, Trouble> {
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
fn conversion(means: &Arc<dyn Means>, id: u64, request: &Request) -> Result<Work, Trouble> {
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
pub(super) fn interval(text: Option<&str>) -> Result<Interval, Trouble> {
    let text = text.unwrap_or("month");
    let read = Interval::parse(text).and_then(|interval| interval.divides().map(|()| interval));
    read.map_err(|reason| unfit(format!("--interval {text}: {reason}")))
}
