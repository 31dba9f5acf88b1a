//! Builds one index, or takes it away, beside the application's work: CONCURRENTLY, with a short wait for locks,
//! again after a pause, and without leaving an invalid one behind. Knows what is to be run; whether it may be is
//! decided by whoever calls.

use std::time::Duration;

use crate::advise::Suggestion;
use crate::advise::index::quoted;
use crate::probe::act::{Act, Progress};
use crate::probe::{Probe, ProbeError};

/// Pauses before another try, when somebody holds a lock.
const PAUSES: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(15), Duration::from_secs(60)];

/// Between looks at how far it is.
const LOOK: Duration = Duration::from_millis(500);

/// What is to be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    pub schema: String,
    pub name: String,
    pub ddl: String,
    /// Run behind it, if it fails it is only told.
    pub then: Vec<String>,
}

impl Build {
    /// The index of a suggestion. What would take an older index away is left out: that is for later, when this
    /// one is proved.
    pub fn of(suggestion: &Suggestion) -> Build {
        let schema = suggestion.table.split('.').next().unwrap_or_default().to_owned();
        let then = suggestion.then.iter().filter(|sql| sql.starts_with("ANALYZE")).cloned().collect();
        Build { schema, name: suggestion.name.clone(), ddl: suggestion.ddl.clone(), then }
    }

    fn drop_sql(&self) -> String {
        format!("DROP INDEX CONCURRENTLY IF EXISTS {}.{}", quoted(&self.schema), quoted(&self.name))
    }
}

/// Builds it. `tell` hears how far it is and what happens.
///
/// # Errors
/// A sentence; nothing is left behind, or the sentence says so.
pub async fn build(probe: &Probe, build: &Build, mut tell: impl FnMut(String)) -> Result<(), String> {
    let act = probe.act().await.map_err(|error| error.to_string())?;
    let mut pauses = PAUSES.iter();
    loop {
        // An earlier attempt, perhaps of an earlier process, may have left one that nobody can use.
        match act.index(&build.schema, &build.name).await.map_err(|error| error.to_string())? {
            Some(true) => return Err(format!("there is an index {} already", build.name)),
            Some(false) => {
                tell("taking away what an earlier attempt has left".to_owned());
                clean(&act, build).await?;
            }
            None => {}
        }
        let error = match watched(probe, &act, &build.ddl, &mut tell).await {
            Ok(()) => break,
            Err(error) => error,
        };
        // Whatever it was, an invalid index costs writes and serves nobody.
        clean(&act, build).await?;
        let locked = matches!(&error, ProbeError::Refused { sqlstate, .. } if sqlstate == "55P03" || sqlstate == "40P01");
        match pauses.next().filter(|_| locked) {
            Some(pause) => {
                tell(format!("somebody holds a lock on the table; again in {} s", pause.as_secs()));
                tokio::time::sleep(*pause).await;
            }
            None => return Err(error.to_string()),
        }
    }
    for sql in &build.then {
        if let Err(error) = act.execute(sql).await {
            tell(format!("{sql}: {error}"));
        }
    }
    Ok(())
}

/// Takes it away.
///
/// # Errors
/// A sentence.
pub async fn remove(probe: &Probe, build: &Build) -> Result<(), String> {
    let act = probe.act().await.map_err(|error| error.to_string())?;
    act.execute(&build.drop_sql()).await.map_err(|error| error.to_string())
}

/// The statement that [`remove`] runs.
pub fn remove_sql(build: &Build) -> String {
    build.drop_sql()
}

async fn clean(act: &Act, build: &Build) -> Result<(), String> {
    if matches!(act.index(&build.schema, &build.name).await, Ok(Some(false))) {
        let sql = build.drop_sql();
        act.execute(&sql).await.map_err(|error| {
            format!("an invalid index {} is left and could not be taken away: {error}; run {sql}", build.name)
        })?;
    }
    Ok(())
}

/// Runs the build and tells how far it is.
async fn watched(
    probe: &Probe,
    act: &Act,
    ddl: &str,
    tell: &mut impl FnMut(String),
) -> Result<(), ProbeError> {
    let building = act.execute(ddl);
    tokio::pin!(building);
    loop {
        tokio::select! {
            done = &mut building => return done,
            () = tokio::time::sleep(LOOK) => {
                if let Ok(Some(Progress { phase, done, total })) = probe.progress(act.pid()).await {
                    let percent = if total > 0 { format!(", {} %", done * 100 / total) } else { String::new() };
                    tell(format!("{phase}{percent}"));
                }
            }
        }
    }
}
