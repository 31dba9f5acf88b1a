//! The ends of a conversion: finished, with the old table gone; reverted, with the old table back in its place
//! and every change carried to it; cancelled, before anything was switched.

use super::fill::forth;
use super::meet::{Act, meet};
use super::source::Source;
use super::state::{self, Conversion, step};
use super::switch::{DROP, back, sequences_back};
use crate::maintain::actor::Actor;
use crate::maintain::sql::name;
use crate::maintain::work::Work;
use crate::maintain::{Trouble, halt, unfit};

/// Drops the old table and what kept it in step.
pub(super) async fn finish(
    work: &Work,
    actor: &Actor,
    conversion: &mut Conversion,
    source: &Source,
) -> Result<(), Trouble> {
    let link = back(work, conversion, source);
    let mut statements = link.without_triggers();
    statements.extend(link.remove());
    statements.push(format!("DROP TABLE IF EXISTS {}", conversion.old().sql()));
    end(work, actor, conversion, step::FINISHED, statements).await
}

/// Removes the shadow and what kept it in step.
pub(super) async fn cancel(
    work: &Work,
    actor: &Actor,
    conversion: &mut Conversion,
    source: &Source,
) -> Result<(), Trouble> {
    let mut statements = Vec::new();
    for link in [forth(work, conversion, source), back(work, conversion, source)] {
        statements.extend(link.without_triggers());
        statements.extend(link.remove());
    }
    statements.push(format!("DROP TABLE IF EXISTS {}", conversion.shadow().sql()));
    end(work, actor, conversion, step::CANCELLED, statements).await
}

async fn end(
    work: &Work,
    actor: &Actor,
    conversion: &mut Conversion,
    state: &str,
    statements: Vec<String>,
) -> Result<(), Trouble> {
    let noted = Conversion { state: state.to_owned(), ..conversion.clone() };
    let statements = statements.join("; ");
    actor
        .atomically(async || {
            actor.ddl(&statements).await?;
            state::note(actor, &work.settings.schema, &noted).await?;
            halt::at("convert.end");
            Ok(())
        })
        .await?;
    *conversion = noted;
    Ok(())
}

/// Puts the old table back in its place.
pub(super) async fn revert(
    work: &Work,
    actor: &Actor,
    conversion: &mut Conversion,
    source: &Source,
) -> Result<(), Trouble> {
    let link = back(work, conversion, source);
    let (table, shadow, old) = (&conversion.table, conversion.shadow(), conversion.old());
    let mut parts = conversion.undo.splitn_at(DROP);
    let after = parts.pop().unwrap_or_default();
    let mut statements = link.without_triggers();
    statements.push(format!("ALTER TABLE {} RENAME TO {}", table.sql(), name(&shadow.name)));
    statements.push(format!("ALTER TABLE {} RENAME TO {}", old.sql(), name(&table.name)));
    statements.extend(parts.pop().unwrap_or_default());
    let noted = Conversion { state: step::REVERTED.to_owned(), ..conversion.clone() };
    let (sequences, before) = sequences_back(actor, source).await?;
    statements.push(format!("DROP TABLE {}", shadow.sql()));
    statements.extend(sequences);
    statements.extend(after);
    statements.extend(link.remove());
    statements.extend(forth(work, conversion, source).remove());
    let note = async || {
        state::note(actor, &work.settings.schema, &noted).await?;
        halt::at("convert.revert");
        Ok(())
    };
    let act = Act { before: &before, statements: &statements.join("; ") };
    if !meet(work, actor, &link, &act, &note).await? {
        return Err(unfit(format!("{table} was emptied just now, and so is the old table; try again")));
    }
    validate(actor, conversion).await?;
    *conversion = noted;
    Ok(())
}

/// Foreign keys that came back hold for the rows that were there too.
async fn validate(actor: &Actor, conversion: &Conversion) -> Result<(), Trouble> {
    let table = conversion.table.sql();
    let query = "SELECT conname::text FROM pg_constraint WHERE contype = 'f' AND NOT convalidated \
        AND conrelid = to_regclass($1)::oid";
    for row in &actor.rows(query, &[&table]).await? {
        let constraint: String = crate::maintain::actor::get(row, 0)?;
        actor.ddl_alone(&format!("ALTER TABLE {table} VALIDATE CONSTRAINT {}", name(&constraint))).await?;
    }
    Ok(())
}

/// Two halves of a list.
trait Halves {
    fn splitn_at(&self, mark: &str) -> Vec<Vec<String>>;
}

impl Halves for Vec<String> {
    fn splitn_at(&self, mark: &str) -> Vec<Vec<String>> {
        let at = self.iter().position(|one| one == mark).unwrap_or(self.len());
        vec![self[..at].to_vec(), self.get(at + 1..).unwrap_or_default().to_vec()]
    }
}
