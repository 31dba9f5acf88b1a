//! One partition: created beside the table as its siblings are, then attached; detached without stopping
//! anybody. Each act is one transaction or one statement. Must not know when or why.

use std::collections::BTreeSet;
use std::time::Duration;

use super::actor::{Actor, get};
use super::layout::Piece;
use super::sql::{joined, literal, name, qualified};
use super::tree::Tree;
use super::{TableName, Trouble, unfit};

/// Names that are tried when a partition's own is taken.
const NAMES_MAX: usize = 9;

/// A detach waits for every transaction that began before it, and holds up nobody meanwhile.
const DETACH_MAX: Duration = Duration::from_secs(600);

/// A default partition is scanned under a lock when a partition is attached beside it; one that is larger would
/// stop its writers for too long.
const DEFAULT_BYTES_MAX: i64 = 64 << 20;

/// What a new partition takes over from the one it is made after.
pub(super) struct Model {
    unlogged: bool,
    method: Option<String>,
    tablespace: Option<String>,
    options: Vec<String>,
    replica_identity: String,
    row_security: bool,
    owner: String,
    pub(super) oid: u32,
}

const MODEL: &str = "SELECT c.relpersistence = 'u', m.amname::text, s.spcname::text, \
        coalesce(c.reloptions, '{}')::text[] || ARRAY(SELECT 'toast.' || o FROM unnest(t.reloptions) o), \
        c.relreplident::text, c.relrowsecurity OR coalesce(p.relrowsecurity, false), \
        pg_get_userbyid(coalesce(p.relowner, c.relowner))::text \
    FROM pg_class c LEFT JOIN pg_am m ON m.oid = c.relam LEFT JOIN pg_tablespace s ON s.oid = c.reltablespace \
    LEFT JOIN pg_class t ON t.oid = c.reltoastrelid LEFT JOIN pg_class p ON p.oid = $2 WHERE c.oid = $1";

/// Reads the one to follow: the newest plain partition, else the table itself.
pub(super) async fn model(actor: &Actor, tree: &Tree) -> Result<Model, Trouble> {
    let newest = tree.leaves.iter().rev().find(|leaf| leaf.plain);
    model_of(actor, newest.map_or(tree.oid, |leaf| leaf.oid), tree.oid).await
}

/// The model that `oid` is, for partitions of `parent`.
pub(super) async fn model_of(actor: &Actor, oid: u32, parent: u32) -> Result<Model, Trouble> {
    let rows = actor.rows(MODEL, &[&oid, &parent]).await?;
    let row = rows.first().ok_or_else(|| unfit("the newest partition has just gone; try again"))?;
    Ok(Model {
        unlogged: get(row, 0)?,
        method: get(row, 1)?,
        tablespace: get(row, 2)?,
        options: get(row, 3)?,
        replica_identity: get(row, 4)?,
        row_security: get(row, 5)?,
        owner: get(row, 6)?,
        oid,
    })
}

/// The first of a few names that nobody has.
pub(super) async fn free_name(actor: &Actor, table: &TableName, suffix: &str) -> Result<TableName, Trouble> {
    let more = (2..=NAMES_MAX).map(|number| joined(&table.name, &format!("_{suffix}_{number}")));
    let tried: Vec<String> =
        std::iter::once(joined(&table.name, &format!("_{suffix}"))).chain(more).collect();
    let query = "SELECT relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
        WHERE n.nspname = $1 AND c.relname = ANY($2)";
    let mut taken = BTreeSet::new();
    for row in &actor.rows(query, &[&table.schema, &tried]).await? {
        taken.insert(get::<String>(row, 0)?);
    }
    let free = tried.into_iter().find(|one| !taken.contains(one));
    let free = free.ok_or_else(|| unfit(format!("all names like {}_{suffix} are taken", table.name)))?;
    Ok(TableName { schema: table.schema.clone(), name: free })
}

/// Creates a partition of `parent` and attaches it, within the transaction that is open. It is named after the
/// tree's table, which is `parent`, or what that becomes.
pub(super) async fn create(
    actor: &Actor,
    tree: &Tree,
    parent: &TableName,
    model: &Model,
    piece: &Piece,
) -> Result<TableName, Trouble> {
    if let Some(default) = &tree.default {
        default_is_clear(actor, tree, default, piece).await?;
    }
    let new = free_name(actor, &tree.table, &piece.suffix).await?;
    stand(actor, parent, model, &new).await?;
    attach(actor, parent, &new, &piece.lower.sql, &piece.upper.sql).await?;
    finish(actor, model, &new).await?;
    Ok(new)
}

/// Creates a table like the parent that is not attached yet.
pub(super) async fn stand(
    actor: &Actor,
    parent: &TableName,
    model: &Model,
    new: &TableName,
) -> Result<(), Trouble> {
    // The parent gives its identity to what is inserted through it; PostgreSQL 17 refuses a second one.
    let mut statement = format!(
        "CREATE {}TABLE {} (LIKE {} INCLUDING ALL EXCLUDING IDENTITY)",
        if model.unlogged { "UNLOGGED " } else { "" },
        new.sql(),
        parent.sql()
    );
    if let Some(method) = model.method.as_deref().filter(|method| *method != "heap") {
        statement.push_str(&format!(" USING {}", name(method)));
    }
    if !model.options.is_empty() {
        let option = |option: &String| {
            let (key, value) = option.split_once('=').unwrap_or((option, ""));
            format!("{key} = {}", literal(value))
        };
        let options: Vec<String> = model.options.iter().map(option).collect();
        statement.push_str(&format!(" WITH ({})", options.join(", ")));
    }
    if let Some(tablespace) = &model.tablespace {
        statement.push_str(&format!(" TABLESPACE {}", name(tablespace)));
    }
    actor.ddl(&statement).await
}

pub(super) async fn attach(
    actor: &Actor,
    parent: &TableName,
    partition: &TableName,
    lower: &str,
    upper: &str,
) -> Result<(), Trouble> {
    let statement = format!(
        "ALTER TABLE {} ATTACH PARTITION {} FOR VALUES FROM ({lower}) TO ({upper})",
        parent.sql(),
        partition.sql()
    );
    actor.ddl(&statement).await
}

const TARGETS: &str = "SELECT attname::text, coalesce(attstattarget, -1)::int4, coalesce(attoptions, '{}')::text[] \
    FROM pg_attribute WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped \
    AND (coalesce(attstattarget, -1) <> -1 OR attoptions IS NOT NULL) ORDER BY attnum";

/// Takes over what `LIKE` does not: statistics targets, replica identity, owner, privileges, row security.
pub(super) async fn finish(actor: &Actor, model: &Model, new: &TableName) -> Result<(), Trouble> {
    let table = new.sql();
    for row in &actor.rows(TARGETS, &[&model.oid]).await? {
        let (column, target, options): (String, i32, Vec<String>) =
            (get(row, 0)?, get(row, 1)?, get(row, 2)?);
        let column = name(&column);
        if target != -1 {
            actor.ddl(&format!("ALTER TABLE {table} ALTER COLUMN {column} SET STATISTICS {target}")).await?;
        }
        if !options.is_empty() {
            let options = options.join(", ");
            actor.ddl(&format!("ALTER TABLE {table} ALTER COLUMN {column} SET ({options})")).await?;
        }
    }
    replica_identity(actor, model, new).await?;
    if model.row_security {
        // Whoever goes around the parent goes around its policies; without policies of its own, a partition
        // shows nothing to anybody but its owner.
        actor.ddl(&format!("ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")).await?;
    }
    let oid: u32 = actor.value("SELECT to_regclass($1)::oid", &[&table]).await?;
    privileges(actor, model.oid, oid, &table).await?;
    // Last: a role that may give a table away may no longer change it.
    let owner: String =
        actor.value("SELECT pg_get_userbyid(relowner)::text FROM pg_class WHERE oid = $1", &[&oid]).await?;
    if owner != model.owner {
        actor.ddl(&format!("ALTER TABLE {table} OWNER TO {}", name(&model.owner))).await?;
    }
    Ok(())
}

const IDENTITY: &str = "SELECT c.relname::text FROM pg_index mine \
    JOIN pg_inherits up ON up.inhrelid = mine.indexrelid JOIN pg_inherits down ON down.inhparent = up.inhparent \
    JOIN pg_index its ON its.indexrelid = down.inhrelid JOIN pg_class c ON c.oid = its.indexrelid \
    WHERE mine.indrelid = $1 AND mine.indisreplident AND its.indrelid = to_regclass($2)::oid";

async fn replica_identity(actor: &Actor, model: &Model, new: &TableName) -> Result<(), Trouble> {
    let table = new.sql();
    let identity = match model.replica_identity.as_str() {
        "f" => "FULL".to_owned(),
        "n" => "NOTHING".to_owned(),
        "i" => match actor.rows(IDENTITY, &[&model.oid, &table]).await?.first() {
            Some(row) => format!("USING INDEX {}", name(&get::<String>(row, 0)?)),
            // It is an index that the table as a whole does not have.
            None => return Ok(()),
        },
        _ => return Ok(()),
    };
    actor.ddl(&format!("ALTER TABLE {table} REPLICA IDENTITY {identity}")).await
}

/// Who may do what: the grantee as SQL writes it, the privilege, whether it may be passed on, the column.
type Grant = (String, String, bool, Option<String>);

const GRANTS: &str = "WITH acl(acl, col) AS (\
        SELECT coalesce(relacl, acldefault('r', relowner)), NULL::text FROM pg_class WHERE oid = $1 \
        UNION ALL SELECT attacl, attname::text FROM pg_attribute \
            WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped AND attacl IS NOT NULL) \
    SELECT r.rolname::text, x.privilege_type, x.is_grantable, acl.col FROM acl, aclexplode(acl.acl) x \
    LEFT JOIN pg_roles r ON r.oid = x.grantee \
    WHERE x.grantee <> (SELECT relowner FROM pg_class WHERE oid = $1)";

async fn grants(actor: &Actor, oid: u32) -> Result<BTreeSet<Grant>, Trouble> {
    let mut grants = BTreeSet::new();
    for row in &actor.rows(GRANTS, &[&oid]).await? {
        let grantee: Option<String> = get(row, 0)?;
        let grantee = grantee.map_or_else(|| "PUBLIC".to_owned(), |role| name(&role));
        grants.insert((grantee, get(row, 1)?, get(row, 2)?, get(row, 3)?));
    }
    Ok(grants)
}

/// Gives everybody but the owner the rights that they have on `from`, and takes what default privileges gave.
pub(super) async fn privileges(actor: &Actor, from: u32, to: u32, table: &str) -> Result<(), Trouble> {
    let (wanted, given) = (grants(actor, from).await?, grants(actor, to).await?);
    let what = |(_, privilege, _, column): &Grant| match column {
        Some(column) => format!("{privilege} ({})", name(column)),
        None => privilege.clone(),
    };
    for grant in given.difference(&wanted) {
        actor.ddl(&format!("REVOKE {} ON {table} FROM {}", what(grant), grant.0)).await?;
    }
    for grant in wanted.difference(&given) {
        let option = if grant.2 { " WITH GRANT OPTION" } else { "" };
        actor.ddl(&format!("GRANT {} ON {table} TO {}{option}", what(grant), grant.0)).await?;
    }
    Ok(())
}

/// A default partition must hold no row of the new range, and be small enough to be scanned under a lock.
async fn default_is_clear(
    actor: &Actor,
    tree: &Tree,
    default: &TableName,
    piece: &Piece,
) -> Result<(), Trouble> {
    let column: String = actor
        .value(
            "SELECT a.attname::text FROM pg_partitioned_table p JOIN pg_attribute a \
             ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0] WHERE p.partrelid = $1",
            &[&tree.oid],
        )
        .await?;
    let bytes: i64 = actor.value("SELECT pg_relation_size(to_regclass($1))", &[&default.sql()]).await?;
    if bytes > DEFAULT_BYTES_MAX {
        return Err(unfit(format!(
            "the default partition {default} has {} MiB, which would be scanned under a lock: move its rows into \
             partitions of their own, or detach it",
            bytes >> 20
        )));
    }
    let (column, lower, upper) = (name(&column), &piece.lower.sql, &piece.upper.sql);
    let strays = format!(
        "SELECT EXISTS (SELECT FROM {} WHERE {column} >= {lower} AND {column} < {upper})",
        default.sql()
    );
    match actor.value(&strays, &[]).await? {
        false => Ok(()),
        true => Err(unfit(format!(
            "the default partition {default} holds rows from {lower} to {upper}, so no partition can be made for \
             them: move them away first"
        ))),
    }
}

/// Takes a partition out, without stopping anybody where PostgreSQL can.
pub(super) async fn detach(actor: &Actor, tree: &Tree, partition: &TableName) -> Result<(), Trouble> {
    let (parent, child) = (tree.table.sql(), partition.sql());
    let plain = format!("ALTER TABLE {parent} DETACH PARTITION {child}");
    // It came with version 14, and a default partition rules it out.
    if actor.version < 140_000 || tree.default.is_some() {
        return actor.ddl_alone(&plain).await;
    }
    let concurrently = format!("{plain} CONCURRENTLY");
    // It waits for old transactions with nobody behind it: its lock lets readers and writers pass.
    match actor.patiently(DETACH_MAX, async || actor.ddl(&concurrently).await).await {
        // One was begun and interrupted before; it is taken to its end.
        Err(error) if error.sqlstate() == Some("55000") => {
            finalize(actor, &tree.table, partition).await.map_err(|_| error)
        }
        outcome => outcome,
    }
}

/// Ends a detach that was interrupted.
pub(super) async fn finalize(
    actor: &Actor,
    parent: &TableName,
    partition: &TableName,
) -> Result<(), Trouble> {
    let statement = format!("ALTER TABLE {} DETACH PARTITION {} FINALIZE", parent.sql(), partition.sql());
    actor.patiently(DETACH_MAX, async || actor.ddl(&statement).await).await
}

/// The table's oid; `None`: there is no such table.
pub(super) async fn oid(actor: &Actor, table: &TableName) -> Result<Option<u32>, Trouble> {
    actor.value("SELECT to_regclass($1)::oid", &[&qualified(&table.schema, &table.name)]).await
}
