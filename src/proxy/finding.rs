//! What an episode becomes for people: its statements as texts, who wrote them, what to change and which rule is
//! about it.

use super::worker::Worker;
use crate::coalesce::column;
use crate::coalesce::episode::{Class, Episode};
use crate::coalesce::remedy::{self, From, Looked};
use crate::observe::findings::Met;
use crate::pool::lend::Pool;
use crate::pool::shape::Shape;
use crate::sql::dialect::Library;

impl Worker {
    /// Notes an episode, and says so once for each finding.
    pub(super) fn report(&self, pool: &Pool, application: &str, episode: &Episode) {
        let interner = pool.interner.borrow();
        let shape = |fingerprint| interner.reader.shape(fingerprint).cloned();
        let Some(repeated) = shape(episode.fingerprint) else {
            return;
        };
        let parent = episode.parent.as_ref().and_then(|parent| Some((parent, shape(parent.fingerprint)?)));
        drop(interner);
        let origin = repeated.origin.borrow().clone();
        // A client that asks for a result's description only once leaves the names to the text.
        let column = parent.as_ref().and_then(|(parent, shape)| {
            parent.name.clone().or_else(|| column::name(&shape.text, parent.column))
        });
        let mut met = Met {
            class: episode.class.label(),
            proved: episode.class.is_proved(),
            group: group(episode.class),
            database: pool.database.clone(),
            user: pool.user.clone(),
            application: application.to_owned(),
            origin: origin.and_then(|origin| origin.place()),
            fingerprint: episode.fingerprint,
            statement: repeated.text.to_string(),
            parent: parent.as_ref().map(|(parent, shape)| {
                let column = column.clone().unwrap_or_else(|| format!("column {}", parent.column + 1));
                (parent.fingerprint, shape.text.to_string(), column)
            }),
            n: episode.count.into(),
            time_us: episode.time_us,
            now_s: self.unix_s(),
            library: repeated.library.map(Library::name),
            ..Met::default()
        };
        let from = column.as_deref().zip(parent.as_ref().map(|(_, shape)| &**shape));
        self.advise(&mut met, &repeated, episode.class, from);
        if let Some(new) = self.hub.registry.findings.note(met) {
            tracing::info!(
                id = new.id,
                class = new.class,
                database = new.database,
                n = new.last_n,
                statement = new.statement,
                parent = new.parent.as_deref().unwrap_or_default(),
                column = new.column.as_deref().unwrap_or_default(),
                remedy = new.remedy.as_deref().unwrap_or_default(),
                "N+1: a statement is repeated in a loop; pgweir report nplus1 shows more"
            );
        }
    }

    /// Says what to change, if the parser has read the statement by now.
    fn advise(&self, met: &mut Met, repeated: &Shape, class: Class, parent: Option<(&str, &Shape)>) {
        let book = &self.hub.registry.facts;
        let known = book.get(repeated.fingerprint);
        let Some(facts) = known.as_deref().and_then(|known| known.facts()) else {
            return;
        };
        let parents = parent.and_then(|(_, shape)| book.get(shape.fingerprint));
        let table =
            parents.as_deref().and_then(|known| known.facts()?.tables.first().map(|table| &*table.name));
        let from = parent.map(|(column, _)| From { table: table.unwrap_or_default(), column });
        let Some(looked) = Looked::by(facts, from) else {
            return;
        };
        met.remedy = Some(remedy::of(repeated.library, class, &looked));
        met.rule = facts.tables.first().filter(|_| class != Class::WriteLoop).map(|table| {
            let schema = table.schema.as_deref().unwrap_or("public");
            format!("coalesce: {{tables: {{{schema}.{}: {{level: fenced}}}}}}", table.name)
        });
    }
}

/// Classes that one loop may be of at different times, depending on how much of it was seen.
fn group(class: Class) -> &'static str {
    match class {
        Class::Proved | Class::Nested | Class::Interleaved | Class::Counted => "loop",
        Class::Redundant => "redundant",
        Class::WriteLoop => "write",
        Class::Concurrent => "concurrent",
    }
}
