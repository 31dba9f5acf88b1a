//! What has to be known of a table before many INSERTs into it may be one: asked of the database itself, in the
//! session's own search path and as its own role, since only there the name means what it means to the client. The
//! answer is a list of reasons against it. Pure: the texts of queries, and how their rows are read.
//!
//! One statement differs from many in what runs once per statement, and in what the later ones see of the earlier:
//! triggers, rules, policies; functions that read tables in defaults, checks, indexes, domains and casts; a foreign
//! key to the table itself. Of functions, those in C are taken to be what they say they are; all others are refused.

use crate::catalog::Oid;

/// A row of an answer, as text; `None` for NULL.
pub type Row = Vec<Option<Vec<u8>>>;

/// The query for a table's number, and for the settings that values and notices depend on. `table` is its name as
/// the statement has it.
pub fn named(table: &[u8]) -> Vec<u8> {
    let mut query = b"select pg_catalog.to_regclass('".to_vec();
    table.iter().for_each(|&byte| match byte {
        b'\'' => query.extend_from_slice(b"''"),
        _ => query.push(byte),
    });
    query.extend_from_slice(
        b"')::pg_catalog.oid, pg_catalog.current_setting('array_nulls'), \
          pg_catalog.current_setting('client_min_messages'), pg_catalog.current_setting('client_encoding')",
    );
    query
}

/// What [`named`] brought.
///
/// # Errors
/// A reason not to go on.
pub fn read_named(rows: &[Row]) -> Result<Oid, String> {
    let column = |at: usize| {
        let value = rows.first().and_then(|row| row.get(at)).and_then(Option::as_deref);
        value.map(String::from_utf8_lossy).unwrap_or_default()
    };
    let oid = column(0).parse().map_err(|_| "its table is not there".to_owned())?;
    if column(1) != "on" {
        return Err("array_nulls is off in the session".to_owned());
    }
    if !matches!(&*column(2), "notice" | "warning" | "error") {
        return Err("client_min_messages tells the client of each statement".to_owned());
    }
    if !crate::coalesce::replay::types::is_safe_encoding(&column(3)) {
        return Err("letters of the client's encoding may contain a quote or backslash".to_owned());
    }
    Ok(oid)
}

/// Functions in C that are volatile, and neither see nor change a table.
const QUIET: &str = "'nextval', 'gen_random_uuid', 'clock_timestamp', 'random', 'timeofday', 'uuidv4', 'uuidv7', \
    'uuid_generate_v1', 'uuid_generate_v1mc', 'uuid_generate_v4', 'gen_random_bytes'";

/// Stable ones that say something else in each statement, or read tables.
const RESTLESS: &str = "'statement_timestamp', 'table_to_xml', 'schema_to_xml', 'database_to_xml', \
    'table_to_xml_and_xmlschema', 'schema_to_xml_and_xmlschema', 'database_to_xml_and_xmlschema', \
    'table_to_xmlschema', 'cursor_to_xml', 'cursor_to_xmlschema'";

/// The table with all of its partitions; the types of its columns and what they are made of; expressions that run
/// for a row, as PostgreSQL keeps them; the functions in them that are not known to be harmless.
const PARTS: &str = "with recursive \
    tree as (select {table}::oid as oid union select relid::oid from pg_partition_tree({table})), \
    above as (select oid from tree union select relid::oid from pg_partition_ancestors({table})), \
    made as (select atttypid as oid from pg_attribute join tree on attrelid = tree.oid \
            where attnum > 0 and not attisdropped \
        union select x.oid from made join pg_type t on t.oid = made.oid cross join lateral \
            (select t.typbasetype as oid union all select t.typelem union all select a.atttypid \
             from pg_attribute a where a.attrelid = t.typrelid and t.typrelid <> 0 and a.attnum > 0 \
             and not a.attisdropped) x where x.oid <> 0), \
    code(place, tree) as (select 'a default or generated column', adbin::text from pg_attrdef \
            join tree on adrelid = tree.oid \
        union all select 'a check', conbin::text from pg_constraint join tree on conrelid = tree.oid \
        union all select 'a domain''s check', conbin::text from pg_constraint join made on contypid = made.oid \
        union all select 'an index', indexprs::text from pg_index join tree on indrelid = tree.oid \
        union all select 'an index''s condition', indpred::text from pg_index join tree on indrelid = tree.oid \
        union all select 'the partition key', partexprs::text from pg_partitioned_table \
            join above on partrelid = above.oid \
        union all select 'a trigger''s condition', tgqual::text from pg_trigger join tree on tgrelid = tree.oid), \
    called as (select place, (regexp_matches(tree, ':(?:op)?funcid (\\d+)', 'g'))[1]::oid as oid from code \
            where tree is not null \
        union select place, oprcode::oid from (select place, \
            (regexp_matches(tree, ':opno (\\d+)', 'g'))[1]::oid as opno from code where tree is not null) o \
            join pg_operator on pg_operator.oid = opno \
        union select 'an exclusion constraint', oprcode::oid from pg_constraint join tree on conrelid = tree.oid \
            cross join unnest(conexclop) as x(opno) join pg_operator on pg_operator.oid = opno \
        union select 'an index', amproc::oid from pg_index join tree on indrelid = tree.oid \
            cross join unnest(indclass::oid[]) as x(class) join pg_opclass c on c.oid = class \
            join pg_amproc on amprocfamily = opcfamily), \
    bad as (select place, proname::text as name from called join pg_proc p on p.oid = called.oid \
        join pg_language l on l.oid = p.prolang where not ( \
            (l.lanname in ('internal', 'c') \
                or (pronamespace = 'pg_catalog'::regnamespace and p.oid < 16384)) \
            and (proname in ({quiet}) or (provolatile <> 'v' and proname not in ({restless})))))";

const REASONS: &str = " select 'it is inserted into something else than a table' from pg_class join tree using (oid) \
        where relkind not in ('r', 'p') \
    union all select 'its table is temporary' from pg_class join tree using (oid) where relpersistence = 't' \
    union all select 'its table has rules' from pg_class join tree using (oid) where relhasrules \
    union all select 'policies of row security hold for it' from tree where row_security_active(oid) \
    union all select 'the trigger ' || tgname || case when tgtype & 1 = 0 then ' runs once per statement' \
            when tgnewtable is not null then ' sees all rows of a statement' \
            else ' runs a function that may see or do anything' end \
        from pg_trigger join tree on tgrelid = tree.oid join pg_proc p on p.oid = tgfoid \
            join pg_language l on l.oid = p.prolang \
        where not tgisinternal and tgenabled <> 'D' and tgtype & 4 <> 0 and not (tgtype & 1 = 1 \
            and tgnewtable is null and l.lanname = 'internal' \
            and proname in ('tsvector_update_trigger', 'tsvector_update_trigger_column')) \
    union all select 'the foreign key ' || conname || ' points to the table itself' from pg_constraint \
            join tree on conrelid = tree.oid where contype = 'f' and confrelid in (select oid from above) \
    union all select place || ' calls ' || name || '(), which may see or do anything' from bad \
    union all select 'a cast to or from one of its types runs ' || proname || '()' from pg_cast \
            join pg_proc p on p.oid = castfunc join pg_language l on l.oid = p.prolang \
        where pg_cast.oid >= 16384 and l.lanname not in ('internal', 'c') \
    union all select 'a function of its own stands for ' || proname || '()' from pg_proc \
        where proname in ({functions}) and pronamespace <> 'pg_catalog'::regnamespace limit 20";

/// The query for the reasons against merging INSERTs into a table that call these functions. Its rows have one
/// column, a reason each; none means that there is none. It ends the transaction that it begins.
pub fn reasons(table: Oid, functions: &[String]) -> Vec<u8> {
    let names: Vec<String> = functions.iter().map(|name| format!("'{name}'")).collect();
    let names = if names.is_empty() { "''".to_owned() } else { names.join(", ") };
    let query = [PARTS, REASONS].concat().replace("{table}", &table.to_string());
    let query =
        query.replace("{quiet}", QUIET).replace("{restless}", RESTLESS).replace("{functions}", &names);
    // Nobody's operators and functions stand in for PostgreSQL's own; to compile it takes longer than to run it.
    format!("begin read only; set local search_path = pg_catalog; set local jit = off; {query}; commit")
        .into_bytes()
}

/// The reasons that the database gave.
pub fn read_reasons(rows: &[Row]) -> Vec<String> {
    let text = |row: &Row| {
        let reason = row.first().and_then(Option::as_deref).unwrap_or_default();
        String::from_utf8_lossy(reason).into_owned()
    };
    let mut reasons: Vec<String> = rows.iter().map(text).collect();
    reasons.sort();
    reasons.dedup();
    reasons
}

/// The query for the array types of some types, and how [`read_arrays`] reads it: number of the element, of the
/// array, and what stands between elements. Only types whose values are one whole: `unnest` takes others apart.
pub fn arrays(elements: &[Oid]) -> Vec<u8> {
    let list: Vec<String> = elements.iter().map(Oid::to_string).collect();
    format!(
        "select t.oid, t.typarray, t.typdelim from pg_catalog.pg_type t where t.typarray operator(pg_catalog.<>) 0 \
         and t.typtype operator(pg_catalog.=) any ('{{b,e,r,m}}'::pg_catalog.\"char\"[]) \
         and t.oid operator(pg_catalog.=) any ('{{{}}}'::pg_catalog.oid[])",
        list.join(",")
    )
    .into_bytes()
}

/// Element, array, delimiter.
pub fn read_arrays(rows: &[Row]) -> Vec<(Oid, crate::coalesce::replay::types::ArrayType)> {
    let read = |row: &Row| {
        let number = |at: usize| {
            let text = row.get(at)?.as_deref()?;
            str::from_utf8(text).ok()?.parse::<Oid>().ok()
        };
        let delimiter = *row.get(2)?.as_deref()?.first()?;
        let array =
            crate::coalesce::replay::types::ArrayType { oid: number(1)?, delimiter, composite: false };
        Some((number(0)?, array))
    };
    rows.iter().filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(values: &[&str]) -> Row {
        values.iter().map(|value| Some(value.as_bytes().to_vec())).collect()
    }

    #[test]
    fn answers_are_read() {
        let settings = |nulls, messages, encoding| read_named(&[row(&["16400", nulls, messages, encoding])]);
        assert_eq!(settings("on", "notice", "UTF8"), Ok(16_400));
        for (nulls, messages, encoding) in
            [("off", "notice", "UTF8"), ("on", "log", "UTF8"), ("on", "notice", "SJIS")]
        {
            assert!(settings(nulls, messages, encoding).is_err());
        }
        assert!(read_named(&[vec![None, Some(b"on".to_vec())]]).is_err());
        assert!(read_named(&[]).is_err());
        assert_eq!(read_reasons(&[row(&["b"]), row(&["a"]), row(&["b"])]), ["a", "b"]);
        let arrays = read_arrays(&[row(&["16500", "16499", ","]), row(&["x", "1", ","])]);
        assert_eq!(
            arrays.iter().map(|(oid, array)| (*oid, array.oid)).collect::<Vec<_>>(),
            [(16_500, 16_499)]
        );
    }

    #[test]
    fn a_name_stays_one_string() {
        let query = String::from_utf8(named(b"\"it's\".t")).expect("text");
        assert!(query.starts_with("select pg_catalog.to_regclass('\"it''s\".t')::pg_catalog.oid,"));
        let query = String::from_utf8(reasons(7, &["now".to_owned()])).expect("text");
        assert!(!query.contains('{') && query.contains("proname in ('now')"));
    }
}
