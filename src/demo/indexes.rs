//! A chapter of the tour: a slow query, what pgweir advises, the index, and what came of it.

use serde_json::Value;
use tokio_postgres::Config;

use super::command::Shell;
use super::timing::{Timing, connect};

/// The latest actions of a user; the sample has no index for it.
const SLOW: &str = "SELECT action, address, created_at FROM security_audit_logs WHERE user_id = {} \
                    ORDER BY created_at DESC LIMIT 20";
const TABLE: &str = "public.security_audit_logs";

/// Enough that the advice and the later comparison rest on more than chance.
const CALLS: usize = 100;

/// Users have the numbers up to 5,000.
const USERS_APART: usize = 37;

/// Asks, has it advised, built, compared and taken away again; returns the chapter's text.
///
/// # Errors
/// A sentence when a query or a command fails.
pub async fn chapter(pooled: &Config, shell: &Shell) -> Result<String, String> {
    let client = connect(pooled, "demo-audit").await?;
    let before = Timing::of(&client, CALLS, statement).await?;
    let advice = shell.shown(&["advise"]).await?;
    let all: Value = serde_json::from_str(&shell.run(&["advise", "--last", "--json"]).await?)
        .map_err(|error| format!("pgweir advise --json: {error}"))?;
    let suggestions = all["suggestions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let id = suggestions.iter().find(|one| one["table"] == TABLE).and_then(|one| one["id"].as_str());
    let Some(id) = id else {
        return Err(format!("pgweir advises no index for {TABLE}; please tell its authors\n{advice}"));
    };
    let applied = shell.shown(&["indexes", "apply", id]).await?;
    let after = Timing::of(&client, CALLS, statement).await?;
    let history = shell.shown(&["indexes", "history"]).await?;
    let dropped = shell.shown(&["indexes", "drop", id]).await?;
    Ok(format!(
        "A page of a user's latest actions, {CALLS} times: {before}.\n\n{advice}\n{applied}\n\
         The same page: {after} ({}).\n\n{history}\n{dropped}",
        after.beside(&before)
    ))
}

fn statement(number: usize) -> String {
    SLOW.replace("{}", &(1 + number * USERS_APART).to_string())
}
