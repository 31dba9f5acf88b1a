//! The log of changed keys: triggers on one table write it, and pgweir brings the other one in step from it.
//! What is read is always the present row of the first, so a key that is applied twice does no harm.

use super::source::{KeyColumn, Source};
use super::state::Conversion;
use crate::maintain::actor::{Actor, get};
use crate::maintain::sql::{list, name};
use crate::maintain::{TableName, Trouble};

/// Keys of one round. A round takes some ten milliseconds.
pub(super) const ROUND: i64 = 2_000;

/// With fewer entries left than this it is worth to take a lock; what comes meanwhile is taken under it.
pub(super) const FEW: i64 = 100;

/// A few keys are looked for in large tables that nobody has analysed: by their indexes, whatever the planner thinks. A
/// hash over all partitions would take seconds, some of them under a lock. For the transaction that is open.
pub(super) const BY_INDEX: &str =
    "SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off";

/// From where to where changes are carried.
pub(super) struct Link<'a> {
    pub(super) conversion: &'a Conversion,
    pub(super) source: &'a Source,
    pub(super) log: TableName,
    /// Where the triggers are.
    pub(super) from: TableName,
    /// What is kept in step.
    pub(super) to: TableName,
    /// The second one is partitioned: rows are found by the old value of its column too.
    pub(super) partitioned: bool,
}

/// What a round came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Round {
    /// So many entries were taken from the log.
    Took(i64),
    /// The first table was emptied: the second one is empty now, and to be filled from the begin.
    Emptied,
}

impl Link<'_> {
    fn keys(&self) -> &[KeyColumn] {
        &self.source.primary
    }

    fn key(&self) -> String {
        name(&self.conversion.rule.column)
    }

    fn function(&self) -> String {
        TableName::new(&self.log.schema, &format!("note_{}", self.log.name)).sql()
    }

    /// Makes the log and the function that writes it. Nothing fires yet.
    pub(super) async fn prepare(&self, actor: &Actor) -> Result<(), Trouble> {
        let names: Vec<String> = (1..=self.keys().len()).map(|at| format!("k{at}")).collect();
        let typed = |(alias, column): (&String, &KeyColumn)| format!("{alias} {}", column.type_name);
        let columns: Vec<String> = names.iter().zip(self.keys()).map(typed).collect();
        let was = format!("(SELECT {} FROM {} LIMIT 0)", self.key(), self.from.sql());
        let log = self.log.sql();
        // The old value of the partitioning column has whatever type that column has.
        let was_type: String =
            actor.value(&format!("SELECT format_type(pg_typeof({was}), NULL)"), &[]).await?;
        actor
            .ddl(&format!(
                "CREATE TABLE {log} (seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, emptied bool, was {was_type}, {})",
                columns.join(", ")
            ))
            .await?;
        self.write_function(actor, false).await
    }

    /// The function that the triggers call. It logs changed keys, and with `direct` carries each change to the second
    /// table in the same transaction too, so that every snapshot sees the same rows in both. What it cannot carry, it
    /// leaves to the log: the application's statement never fails by it.
    pub(super) async fn write_function(&self, actor: &Actor, direct: bool) -> Result<(), Trouble> {
        actor.ddl(&self.function_text(direct)).await
    }

    /// The statement that makes the function.
    pub(super) fn function_text(&self, direct: bool) -> String {
        let log = self.log.sql();
        let aliases: Vec<String> = (1..=self.keys().len()).map(|at| format!("k{at}")).collect();
        let (aliases, key) = (aliases.join(", "), self.key());
        let values = |row: &str| {
            let columns: Vec<String> =
                self.keys().iter().map(|column| format!("{row}.{}", name(&column.name))).collect();
            columns.join(", ")
        };
        let (new, old) = (values("NEW"), values("OLD"));
        let (put, take) = match direct {
            true => (self.put(), self.take()),
            false => (String::new(), String::new()),
        };
        let tried = |statements: &str| match direct {
            true => format!("BEGIN {statements} EXCEPTION WHEN OTHERS THEN NULL; END; "),
            false => String::new(),
        };
        // It runs with the rights of pgweir's user, whoever writes; nobody's operators stand in for PostgreSQL's own.
        let body = format!(
            "BEGIN IF TG_OP = 'INSERT' THEN INSERT INTO {log} ({aliases}) VALUES ({new}); {} \
             ELSIF TG_OP = 'UPDATE' THEN INSERT INTO {log} (was, {aliases}) VALUES (OLD.{key}, {old}); \
             IF ROW({new}) IS DISTINCT FROM ROW({old}) THEN INSERT INTO {log} ({aliases}) VALUES ({new}); END IF; {} \
             ELSIF TG_OP = 'DELETE' THEN INSERT INTO {log} (was, {aliases}) VALUES (OLD.{key}, {old}); {} \
             ELSE INSERT INTO {log} (emptied) VALUES (true); END IF; RETURN NULL; END",
            tried(&put),
            tried(&format!("{take}{put}")),
            tried(&take)
        );
        format!(
            "CREATE OR REPLACE FUNCTION {}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER \
             SET search_path = pg_catalog AS $pgweir${body}$pgweir$",
            self.function()
        )
    }

    fn put(&self) -> String {
        let values: Vec<String> =
            self.source.columns.iter().map(|column| format!("NEW.{}", name(column))).collect();
        format!(
            "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE VALUES ({}) ON CONFLICT DO NOTHING; ",
            self.to.sql(),
            list(&self.source.columns),
            values.join(", ")
        )
    }

    fn take(&self) -> String {
        let mut found: Vec<String> =
            self.keys().iter().map(|column| format!("t.{0} = OLD.{0}", name(&column.name))).collect();
        found.extend(self.partitioned.then(|| format!("t.{0} = OLD.{0}", self.key())));
        format!("DELETE FROM {} t WHERE {}; ", self.to.sql(), found.join(" AND "))
    }

    /// Statements that make the triggers.
    pub(super) fn triggers(&self) -> Vec<String> {
        let (trigger, table, function) = (self.conversion.trigger(), self.from.sql(), self.function());
        let emptied = format!("{trigger}_t");
        let mut statements = vec![
            format!(
                "CREATE TRIGGER {} AFTER INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION {function}()",
                name(&trigger)
            ),
            format!(
                "CREATE TRIGGER {} AFTER TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION {function}()",
                name(&emptied)
            ),
        ];
        if self.partitioned {
            // Sessions that replicate write the table too. On a partitioned table this does not reach every partition
            // in every version, so there it is left as it is.
            for trigger in [&trigger, &emptied] {
                statements.push(format!("ALTER TABLE {table} ENABLE ALWAYS TRIGGER {}", name(trigger)));
            }
        }
        statements
    }

    pub(super) fn without_triggers(&self) -> Vec<String> {
        let trigger = self.conversion.trigger();
        let drop = |name: String| {
            format!("DROP TRIGGER IF EXISTS {} ON {}", crate::maintain::sql::name(&name), self.from.sql())
        };
        vec![drop(format!("{trigger}_t")), drop(trigger)]
    }

    /// Statements that remove log and function; the triggers have to be gone.
    pub(super) fn remove(&self) -> Vec<String> {
        vec![
            format!("DROP FUNCTION IF EXISTS {}()", self.function()),
            format!("DROP TABLE IF EXISTS {}", self.log.sql()),
        ]
    }

    /// Takes the oldest entries of the log and brings their rows in step, within the transaction that is open.
    pub(super) async fn round(&self, actor: &Actor) -> Result<Round, Trouble> {
        actor.run(BY_INDEX).await?;
        let log = self.log.sql();
        if let Some(seq) = self.emptied(actor).await? {
            actor.write(&format!("DELETE FROM {log} WHERE seq <= $1"), &[&seq]).await?;
            // Copies of rows, which nobody reads yet.
            actor.run(&format!("TRUNCATE {}", self.to.sql())).await?;
            return Ok(Round::Emptied);
        }
        let aliases: Vec<String> = (1..=self.keys().len()).map(|at| format!("k{at}")).collect();
        let texts: Vec<String> = aliases.iter().map(|alias| format!("{alias}::text")).collect();
        let take = format!(
            "DELETE FROM {log} WHERE seq IN (SELECT seq FROM {log} ORDER BY seq LIMIT {ROUND}) \
             RETURNING ARRAY[{}], was::text",
            texts.join(", ")
        );
        let rows = actor.rows(&take, &[]).await?;
        if rows.is_empty() {
            return Ok(Round::Took(0));
        }
        let mut taken = Taken::new(aliases.len());
        for row in &rows {
            taken.add(get(row, 0)?, get(row, 1)?);
        }
        self.delete(actor, &taken).await?;
        self.insert(actor, &taken).await?;
        Ok(Round::Took(i64::try_from(rows.len()).unwrap_or(i64::MAX)))
    }

    pub(super) async fn emptied(&self, actor: &Actor) -> Result<Option<i64>, Trouble> {
        actor.value(&format!("SELECT max(seq) FROM {} WHERE emptied", self.log.sql()), &[]).await
    }

    /// Rows of the log are compared as what they are; `x.k1` to the column's type.
    fn matching(&self) -> String {
        let equal = |(at, column): (usize, &KeyColumn)| {
            format!("t.{} = x.k{}::{}", name(&column.name), at + 1, column.type_name)
        };
        self.keys().iter().enumerate().map(equal).collect::<Vec<_>>().join(" AND ")
    }

    async fn delete(&self, actor: &Actor, taken: &Taken) -> Result<(), Trouble> {
        let (mut condition, to) = (self.matching(), self.to.sql());
        let arrays = self.arrays(taken.keys.len());
        let aliases: Vec<String> = (1..=taken.keys.len()).map(|at| format!("k{at}")).collect();
        let mut parameters: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> = Vec::new();
        let (mut from, mut named) = (arrays, aliases);
        if self.partitioned {
            // With the old value of its column, each row is looked for in one partition only. Rows that were only
            // inserted are not there yet, or are there as they are.
            let kind = &taken.was;
            let key = self.key();
            let column_type = self.column_type(actor).await?;
            condition.push_str(&format!(" AND t.{key} = x.was::{column_type}"));
            from.push(format!("${}::text[]", taken.keys.len() + 1));
            named.push("was".to_owned());
            parameters.extend(
                taken.changed.iter().map(|array| array as &(dyn tokio_postgres::types::ToSql + Sync)),
            );
            parameters.push(kind);
            if taken.was.is_empty() {
                return Ok(());
            }
        } else {
            parameters
                .extend(taken.keys.iter().map(|array| array as &(dyn tokio_postgres::types::ToSql + Sync)));
        }
        let statement = format!(
            "DELETE FROM {to} t USING unnest({}) x({}) WHERE {condition}",
            from.join(", "),
            named.join(", ")
        );
        actor.write(&statement, &parameters).await.map(drop)
    }

    async fn insert(&self, actor: &Actor, taken: &Taken) -> Result<(), Trouble> {
        let columns = list(&self.source.columns);
        let read: Vec<String> =
            self.source.columns.iter().map(|column| format!("t.{}", name(column))).collect();
        let aliases: Vec<String> = (1..=taken.keys.len()).map(|at| format!("k{at}")).collect();
        let statement = format!(
            "INSERT INTO {} ({columns}) OVERRIDING SYSTEM VALUE SELECT {} FROM {} t \
             JOIN (SELECT DISTINCT * FROM unnest({}) u({})) x ON {} ON CONFLICT DO NOTHING",
            self.to.sql(),
            read.join(", "),
            self.from.sql(),
            self.arrays(taken.keys.len()).join(", "),
            aliases.join(", "),
            self.matching()
        );
        let parameters: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> =
            taken.keys.iter().map(|array| array as &(dyn tokio_postgres::types::ToSql + Sync)).collect();
        actor.write(&statement, &parameters).await.map(drop)
    }

    fn arrays(&self, count: usize) -> Vec<String> {
        (1..=count).map(|at| format!("${at}::text[]")).collect()
    }

    async fn column_type(&self, actor: &Actor) -> Result<String, Trouble> {
        let query = "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = to_regclass($1)::oid \
            AND attname = $2";
        actor.value(query, &[&self.to.sql(), &self.conversion.rule.column]).await
    }

    /// Whether the rows of an entry `l` of the log are the same in both tables.
    fn same(&self) -> String {
        let rows = |table: &TableName| {
            let equal =
                |(at, column): (usize, &KeyColumn)| format!("t.{} = l.k{}", name(&column.name), at + 1);
            let equal: Vec<String> = self.keys().iter().enumerate().map(equal).collect();
            let columns: Vec<String> =
                self.source.columns.iter().map(|column| format!("t.{}", name(column))).collect();
            format!(
                "(SELECT array_agg(ROW({0})::text ORDER BY ROW({0})::text) FROM {1} t WHERE {2})",
                columns.join(", "),
                table.sql(),
                equal.join(" AND ")
            )
        };
        format!("l.emptied IS NULL AND {} IS NOT DISTINCT FROM {}", rows(&self.from), rows(&self.to))
    }

    /// Forgets entries whose rows are the same in both tables already; how many it looked at.
    pub(super) async fn prune(&self, actor: &Actor) -> Result<i64, Trouble> {
        let log = self.log.sql();
        let statement = format!(
            "WITH seen AS (SELECT l.seq, {} AS same FROM (SELECT * FROM {log} ORDER BY seq LIMIT {ROUND}) l), \
             gone AS (DELETE FROM {log} d USING seen WHERE d.seq = seen.seq AND seen.same RETURNING d.seq) \
             SELECT count(*) FROM gone",
            self.same()
        );
        actor.value(&statement, &[]).await
    }

    /// Whether the log has an entry whose rows differ.
    pub(super) async fn differs(&self, actor: &Actor) -> Result<bool, Trouble> {
        let query = format!("SELECT EXISTS (SELECT FROM {} l WHERE NOT ({}))", self.log.sql(), self.same());
        actor.value(&query, &[]).await
    }

    /// A condition on rows `r` that have no entry in the log.
    pub(super) fn unchanged(&self) -> String {
        let equal = |(at, column): (usize, &KeyColumn)| format!("l.k{} = r.{}", at + 1, name(&column.name));
        let equal: Vec<String> = self.keys().iter().enumerate().map(equal).collect();
        format!("WHERE NOT EXISTS (SELECT FROM {} l WHERE {})", self.log.sql(), equal.join(" AND "))
    }
}

/// Entries of the log, column by column, as texts.
struct Taken {
    keys: Vec<Vec<String>>,
    /// Those of rows that were there before, with the old value of the partitioning column.
    changed: Vec<Vec<String>>,
    was: Vec<String>,
}

impl Taken {
    fn new(columns: usize) -> Taken {
        Taken { keys: vec![Vec::new(); columns], changed: vec![Vec::new(); columns], was: Vec::new() }
    }

    fn add(&mut self, key: Vec<String>, was: Option<String>) {
        for (column, value) in self.keys.iter_mut().zip(&key) {
            column.push(value.clone());
        }
        if let Some(was) = was {
            for (column, value) in self.changed.iter_mut().zip(key) {
                column.push(value);
            }
            self.was.push(was);
        }
    }
}
