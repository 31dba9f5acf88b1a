//! The moment at which one table takes another's place. Whoever waits for the lock then may have taken its
//! snapshot before, so nothing may be carried over under that lock: both tables have to be the same in every
//! snapshot that is in use. Therefore each change is first carried in its own transaction, and then all
//! transactions from before that are waited for. Must not know what is done under the lock.

use std::time::{Duration, Instant};

use super::fill;
use super::sync::{BY_INDEX, FEW, Link, Round};
use crate::maintain::actor::{Actor, get};
use crate::maintain::work::Work;
use crate::maintain::{Trouble, halt, unfit};

/// How long a lock is waited for with the application's statements behind it.
const LOCK: Duration = Duration::from_millis(200);

/// After so long every statement that was let through before is known to the server.
const ARRIVED: Duration = Duration::from_millis(10);

/// Rounds of the log under a lock; more would stop the application for too long.
const ROUNDS: usize = 3;

/// How often it is tried; with the pauses about ten minutes.
const TRIES: u32 = 150;

const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_LAST: Duration = Duration::from_secs(5);

/// How long old transactions are waited for. Nobody is held up by it.
const OLD_MAX: Duration = Duration::from_secs(600);

/// What is done under the lock.
pub(super) struct Act<'a> {
    /// Questions that change no schema, such as `setval`.
    pub(super) before: &'a [String],
    /// Statements that do.
    pub(super) statements: &'a str,
}

/// Does the act under the lock when both tables are the same to everybody, and `noted` in the same transaction.
/// `false`: the first table was emptied meanwhile.
pub(super) async fn meet(
    work: &Work,
    actor: &Actor,
    link: &Link<'_>,
    act: &Act<'_>,
    noted: &impl AsyncFn() -> Result<(), Trouble>,
) -> Result<bool, Trouble> {
    let Act { before, statements } = act;
    // A crash may have left it carrying changes, which must not be while the log is applied.
    actor.atomically(async || link.write_function(actor, false).await).await?;
    if !carry(work, actor, link).await? {
        return Ok(false);
    }
    halt::at("convert.direct");
    let (mut pause, mut settled) = (PAUSE_FIRST, false);
    for _ in 0..TRIES {
        if !settled {
            old_transactions(work, actor).await?;
        }
        match even(actor, link).await? {
            Even::Yes => settled = true,
            // What was corrected is not seen by everybody yet.
            Even::Corrected => {
                settled = false;
                continue;
            }
            Even::Emptied => {
                actor.atomically(async || link.write_function(actor, false).await).await?;
                return Ok(false);
            }
        }
        // On the disk of the audit log before anybody waits.
        let announced = actor.announce((*statements).to_owned())?;
        let begun = Instant::now();
        // Statements through pgweir do not queue behind the lock, and what was on its way to the server has arrived.
        let held = work.means.hold(&work.database, &link.from);
        tokio::time::sleep(ARRIVED).await;
        let outcome = locked(actor, link, "ACCESS EXCLUSIVE", async || {
            if link.differs(actor).await? {
                return Err(Trouble::Stopped);
            }
            for query in *before {
                actor.rows(query, &[]).await?;
            }
            actor.announced(&announced).await?;
            noted().await
        });
        let outcome = outcome.await;
        drop(held);
        actor.withdraw(&announced);
        match outcome {
            Ok(()) => {
                let ms = begun.elapsed().as_millis();
                work.say(format!("{} was held for {ms} ms, the wait for its lock included", link.from));
                return Ok(true);
            }
            Err(error) if error.contends() || matches!(error, Trouble::Stopped) => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_LAST);
            }
            Err(error) => return Err(error),
        }
    }
    Err(never(link))
}

fn never(link: &Link<'_>) -> Trouble {
    unfit(format!(
        "{} was never free for a moment: a transaction that uses it stays open. End it, and give the same command again",
        link.from
    ))
}

/// Work in a transaction that holds the first table, tried once.
async fn locked<T>(
    actor: &Actor,
    link: &Link<'_>,
    mode: &str,
    work: impl AsyncFn() -> Result<T, Trouble>,
) -> Result<T, Trouble> {
    actor
        .transaction(&async || {
            actor.run(&format!("SET LOCAL lock_timeout = {}; {BY_INDEX}", LOCK.as_millis())).await?;
            actor.run(&format!("LOCK TABLE {} IN {mode} MODE", link.from.sql())).await?;
            work().await
        })
        .await
}

/// From here on each change is carried in its own transaction. Writers wait for some milliseconds, readers do not.
async fn carry(work: &Work, actor: &Actor, link: &Link<'_>) -> Result<bool, Trouble> {
    let mut pause = PAUSE_FIRST;
    for _ in 0..TRIES {
        if fill::catch_up(work, actor, link).await? == Round::Emptied {
            return Ok(false);
        }
        let direct = actor.announce(link.function_text(true))?;
        let outcome = locked(actor, link, "SHARE ROW EXCLUSIVE", async || {
            for _ in 0..ROUNDS {
                match link.round(actor).await? {
                    Round::Took(0) => return actor.announced(&direct).await,
                    Round::Took(_) => {}
                    Round::Emptied => return Err(Trouble::Stopped),
                }
            }
            Err(Trouble::Stopped)
        });
        let outcome = outcome.await;
        actor.withdraw(&direct);
        match outcome {
            Ok(()) => return Ok(true),
            // A row without a partition gets it in the next round, which is not under a lock.
            Err(error) if error.contends() || error.sqlstate() == Some("23514") => {}
            Err(Trouble::Stopped) => {}
            Err(error) => return Err(error),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_LAST);
    }
    Err(never(link))
}

/// Whether both tables are the same.
enum Even {
    Yes,
    Corrected,
    Emptied,
}

/// Forgets what was carried well, and carries what was not: changes of transactions whose snapshots were older, and
/// rows for which there was no partition.
async fn even(actor: &Actor, link: &Link<'_>) -> Result<Even, Trouble> {
    // Writers go on meanwhile, so a little is always left.
    while actor.transaction(&async || prune(actor, link).await).await? >= FEW {}
    if link.emptied(actor).await?.is_some() {
        return Ok(Even::Emptied);
    }
    let differs = async || {
        actor.run(BY_INDEX).await?;
        link.differs(actor).await
    };
    if !actor.transaction(&differs).await? {
        return Ok(Even::Yes);
    }
    let corrected = locked(actor, link, "SHARE ROW EXCLUSIVE", async || {
        link.prune(actor).await?;
        link.round(actor).await.map(drop)
    });
    match corrected.await {
        Err(error) if error.contends() => Ok(Even::Corrected),
        outcome => outcome.map(|()| Even::Corrected),
    }
}

async fn prune(actor: &Actor, link: &Link<'_>) -> Result<i64, Trouble> {
    actor.run(BY_INDEX).await?;
    link.prune(actor).await
}

const RUNNING: &str = "SELECT l.virtualtransaction FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid \
    WHERE l.locktype = 'virtualxid' AND l.granted AND a.pid <> pg_backend_pid() AND a.usename IS NOT NULL \
    AND a.datname = current_database()";

/// Waits until every transaction of now has ended.
async fn old_transactions(work: &Work, actor: &Actor) -> Result<(), Trouble> {
    let running = async || -> Result<Vec<String>, Trouble> {
        actor.rows(RUNNING, &[]).await?.iter().map(|row| get(row, 0)).collect()
    };
    let mut old = running().await?;
    let (begun, mut pause) = (Instant::now(), Duration::from_millis(2));
    let mut told = false;
    while !old.is_empty() {
        if begun.elapsed() > OLD_MAX {
            return Err(unfit("a transaction stays open; end it, and give the same command again"));
        }
        if !told && begun.elapsed() > Duration::from_secs(5) {
            work.say(format!("waiting for {} old transactions to end", old.len()));
            told = true;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(200));
        let now = running().await?;
        old.retain(|one| now.contains(one));
    }
    Ok(())
}
