//! Answers what the slow-query log wants to know of PostgreSQL: the plans of slow statements, one after the
//! other, on the probe's thread. A statement is executed for its plan only if it is known to be a pure read;
//! whatever is in doubt is planned and not executed. Knows no session.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::hub::Hub;
use crate::catalog::Volatility;
use crate::observe::process::now_s;
use crate::observe::slow_log::explain::{Answer, ExplainWanted, Plan};
use crate::probe::ProbeError;
use crate::probe::explain::{Analyze, Explain};
use crate::sql::class::Class;
use crate::sql::plannable;

/// How often it looks for questions. They are few, and nobody waits.
const TICK: Duration = Duration::from_millis(500);

/// So many ticks are waited for what has to be known of a statement before it may be executed: 5 s.
const READY_TICKS: u32 = 10;

/// Asks for what is wanted until its runtime ends.
pub(super) async fn run(hub: Arc<Hub>) {
    let explains = &hub.registry.slow_log.explains;
    loop {
        tokio::time::sleep(TICK).await;
        while !hub.draining.load(Relaxed)
            && let Some(wanted) = explains.next()
        {
            let answer = answer(&hub, &wanted).await;
            if let Some(note) = &answer.note {
                let (shape, made) = (format!("{:016x}", wanted.key.fingerprint), answer.plan.is_some());
                tracing::debug!(shape, made, "the plan of a slow statement: {note}");
            }
            explains.keep(wanted.key, now_s(), answer);
        }
    }
}

async fn answer(hub: &Hub, wanted: &ExplainWanted) -> Answer {
    let mut note = None;
    if wanted.analyze {
        get_ready(hub, wanted).await;
        match measured(hub, wanted).await {
            Ok(plan) => return Answer { plan: Some(plan), note: None },
            Err(reason) => note = Some(format!("it was not executed: {reason}")),
        }
    }
    match planned(hub, wanted).await {
        Ok(plan) => Answer { plan: Some(plan), note },
        Err(reason) => Answer { plan: None, note: Some(reason) },
    }
}

/// A shape that has just been met is parsed soon, and a database's catalog is read soon after its first use.
async fn get_ready(hub: &Hub, wanted: &ExplainWanted) {
    let ready = || {
        let catalogs = &hub.registry.catalogs;
        let off = !hub.live().settings.rules.probe.enabled;
        hub.registry.facts.get(wanted.key.fingerprint).is_some()
            && (off || catalogs.known(&wanted.key.database).is_some())
    };
    for _ in 0..READY_TICKS {
        if ready() || hub.draining.load(Relaxed) {
            return;
        }
        tokio::time::sleep(TICK).await;
    }
}

/// The plan with the times that it took.
async fn measured(hub: &Hub, wanted: &ExplainWanted) -> Result<Plan, String> {
    let analyze = Some(pure_read(hub, wanted)?);
    let mut question = match &wanted.call {
        Some(call) => {
            let values = values(&call.parameters);
            let values = values.ok_or("its parameters came in binary form, or were too long to be kept")?;
            question(wanted, call.text.to_string(), Some(values))
        }
        None => question(wanted, plannable::of(&wanted.statement)?, None),
    };
    question.analyze = analyze;
    ask(hub, wanted, question).await.map_err(|error| error.to_string())
}

/// The plan for this call where values may be shown, and else for any values.
async fn planned(hub: &Hub, wanted: &ExplainWanted) -> Result<Plan, String> {
    if let Some(call) = &wanted.call {
        let question = question(wanted, call.text.to_string(), values(&call.parameters));
        if let Ok(plan) = ask(hub, wanted, question).await {
            return Ok(plan);
        }
    }
    let question = question(wanted, plannable::of(&wanted.statement)?, None);
    ask(hub, wanted, question).await.map_err(|error| error.to_string())
}

/// What has to be known before a statement is executed a second time.
fn pure_read(hub: &Hub, wanted: &ExplainWanted) -> Result<Analyze, String> {
    let key = &wanted.key;
    let known = hub.registry.facts.get(key.fingerprint);
    let facts = known.as_ref().and_then(|known| known.facts()).ok_or("nothing is known of its shape")?;
    if facts.class != Class::Read || facts.may_write || facts.locking.is_some() || facts.cut {
        return Err("it is no pure read".to_owned());
    }
    let catalog = hub.registry.catalogs.catalog(&key.database);
    let catalog = catalog.ok_or("the catalog of its database is not known")?;
    let own = schemas(wanted);
    let path: Vec<&String> = own.iter().chain(&catalog.facts.search_path).collect();
    let volatile = facts.functions.iter().find(|function| {
        let (schema, name) = match function.rsplit_once('.') {
            Some((schema, name)) => (Some(schema), name),
            None => (None, function.as_str()),
        };
        // What is not known here is looked for in the plan, where every function has its schema.
        catalog.volatility(&path, schema, name) == Some(Volatility::Volatile)
    });
    match volatile {
        Some(function) => Err(format!("it calls {function}, which is volatile")),
        None => Ok(Analyze { pure_read: true, catalog }),
    }
}

fn question(wanted: &ExplainWanted, statement: String, values: Option<Vec<Option<String>>>) -> Explain {
    Explain {
        statement,
        values,
        search_path: schemas(wanted),
        timeout: Some(wanted.timeout),
        ..Explain::default()
    }
}

async fn ask(hub: &Hub, wanted: &ExplainWanted, question: Explain) -> Result<Plan, ProbeError> {
    let has_values = wanted.call.as_ref().is_some_and(|call| *call.text == *question.statement);
    let answer = hub.probing.explain(&wanted.key.database, &wanted.key.user, question).await;
    let text = answer.unwrap_or(Err(ProbeError::Busy))?;
    Ok(Plan { text, at_s: now_s(), has_values })
}

/// Values as PostgreSQL reads them; `None` if one of them is not there as it was sent.
fn values(parameters: &[Option<Box<str>>]) -> Option<Vec<Option<String>>> {
    let value = |value: &Option<Box<str>>| match value {
        None => Some(None),
        Some(value) if value.starts_with("\\x") || value.ends_with('…') => None,
        Some(value) => Some(Some(value.to_string())),
    };
    parameters.iter().map(value).collect()
}

/// The names in the session's search path.
fn schemas(wanted: &ExplainWanted) -> Vec<String> {
    let (mut names, mut name, mut quoted) = (Vec::new(), String::new(), false);
    for char in wanted.search_path.as_deref().unwrap_or_default().chars() {
        match char {
            // A doubled quote within a name closes and opens again; names with quotes in them lose those.
            '"' => quoted = !quoted,
            ',' if !quoted => names.push(std::mem::take(&mut name)),
            ' ' if !quoted => {}
            char => name.push(char),
        }
    }
    names.push(name);
    names.retain(|name| !name.is_empty());
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::ledger::Key;

    #[test]
    fn a_search_path_is_a_list_of_names() {
        let wanted = |search_path: &str| ExplainWanted {
            key: Key { database: "a".into(), user: "a".into(), fingerprint: 1 },
            statement: "select $1".into(),
            analyze: false,
            timeout: TICK,
            search_path: Some(search_path.into()),
            call: None,
        };
        assert_eq!(schemas(&wanted("\"$user\", public,\"a, b\"")), ["$user", "public", "a, b"]);
        assert!(schemas(&wanted("")).is_empty() && schemas(&wanted("\"\"")).is_empty());
    }

    #[test]
    fn values_are_whole_or_none() {
        let text = |text: &str| Some(Box::from(text));
        let as_sent = values(&[text("a"), None]);
        assert_eq!(as_sent, Some(vec![Some("a".to_owned()), None]));
        assert_eq!(values(&[text("a"), text("\\x0001")]), None);
        assert_eq!(values(&[text("aaaa…")]), None);
    }
}
