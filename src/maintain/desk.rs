//! Where acts on the databases are asked for, and the loop that does them: each table of the rules when it is
//! due, and what operators ask for, as commands whose outcome stands on the board. Must not know HTTP.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{Notify, mpsc};

use super::missing::{self, Gaps, Missing};
use super::request::{Action, Request, conversion, works};
use super::work::{Means, Work};
use super::{TableName, TableRule, Trouble, convert, unfit, upkeep};
use crate::observe::partitions::{Board, Job};
use crate::observe::process::now_s;

/// How often it looks whether a table is due.
const TICK: Duration = Duration::from_secs(1);

/// Commands that wait. Operators send a few a day.
const COMMANDS_MAX: usize = 64;

/// A clock that jumps by more than this changes what is due.
const JUMP: Duration = Duration::from_secs(60);

/// Where commands are left.
pub struct Desk {
    sender: mpsc::Sender<(u64, Request)>,
    receiver: Mutex<Option<mpsc::Receiver<(u64, Request)>>>,
    rows: mpsc::Sender<Missing>,
    rows_receiver: Mutex<Option<mpsc::Receiver<Missing>>>,
    ending: Notify,
}

impl Default for Desk {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(COMMANDS_MAX);
        let (rows, rows_receiver) = mpsc::channel(missing::WAITING_MAX);
        Desk {
            sender,
            receiver: Mutex::new(Some(receiver)),
            rows,
            rows_receiver: Mutex::new(Some(rows_receiver)),
            ending: Notify::new(),
        }
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

    /// A row has no partition. Too many wait: it is forgotten, and whoever waits is told so.
    pub fn lacks(&self, missing: Missing) {
        // What is not taken is dropped, which tells.
        let _ = self.rows.try_send(missing);
    }

    /// Ends the loop. What is under way breaks off, as it would in a crash.
    pub fn end(&self) {
        self.ending.notify_one();
    }
}
/// Works until the desk is told to end. Runs within a `LocalSet`.
pub async fn run(means: Arc<dyn Means>, desk: &Desk) {
    let commands = desk.receiver.lock().unwrap_or_else(PoisonError::into_inner).take();
    let rows = desk.rows_receiver.lock().unwrap_or_else(PoisonError::into_inner).take();
    let (Some(mut commands), Some(mut rows)) = (commands, rows) else {
        return;
    };
    let gaps = Rc::new(Gaps::default());
    let mut calendar = Calendar::default();
    loop {
        tokio::select! {
            () = desk.ending.notified() => return,
            Some((id, request)) = commands.recv() => {
                tokio::task::spawn_local(serve(means.clone(), id, request));
            }
            Some(row) = rows.recv() => {
                tokio::task::spawn_local(missing::serve(means.clone(), gaps.clone(), row));
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
