//! A canonical statement as PostgreSQL can plan it: with a parameter in each hole. What cannot be planned gets
//! a reason. Pure. Knows nothing of values.

/// Statements that have a plan, by their first word.
const PLANNED: [&str; 8] = ["select", "with", "values", "table", "insert", "update", "delete", "merge"];

/// Types that are written before a literal, the longest first where one ends like another.
const TYPES: [&str; 41] = [
    "timestamp with time zone",
    "timestamp without time zone",
    "time with time zone",
    "time without time zone",
    "double precision",
    "character varying",
    "bit varying",
    "timestamptz",
    "timestamp",
    "timetz",
    "time",
    "date",
    "interval",
    "json",
    "jsonb",
    "uuid",
    "inet",
    "cidr",
    "macaddr",
    "numeric",
    "decimal",
    "text",
    "varchar",
    "char",
    "bpchar",
    "bytea",
    "boolean",
    "bool",
    "bigint",
    "integer",
    "smallint",
    "int",
    "int2",
    "int4",
    "int8",
    "real",
    "float",
    "float4",
    "float8",
    "money",
    "xml",
];

/// The statement with `$1::date` for each `date '$1'`.
///
/// # Errors
/// Why PostgreSQL cannot plan it, as a clause.
pub fn of(canonical: &str) -> Result<String, &'static str> {
    is_planned(canonical)?;
    if canonical.ends_with('…') {
        return Err("its text is too long to be kept whole");
    }
    let (mut out, mut rest) = (String::with_capacity(canonical.len() + 16), canonical);
    while let Some(at) = rest.find(['"', '\'']) {
        let (before, quoted) = rest.split_at(at);
        out.push_str(before);
        // The closing quote; a doubled one closes and opens again, which comes to the same.
        let end = quoted[1..].find(&quoted[..1]).map_or(quoted.len(), |end| end + 2);
        let (token, behind) = quoted.split_at(end);
        match token.strip_prefix("'$").and_then(|token| token.strip_suffix('\'')) {
            Some(number) => cast(&mut out, number)?,
            None => out.push_str(token),
        }
        rest = behind;
    }
    out.push_str(rest);
    Ok(out)
}

/// # Errors
/// The statement's first word says that it has no plan.
pub fn is_planned(canonical: &str) -> Result<(), &'static str> {
    let first = canonical.split([' ', '(']).find(|word| !word.is_empty()).unwrap_or_default();
    match PLANNED.contains(&first) {
        true => Ok(()),
        false => Err("PostgreSQL has no plan for a statement of this kind"),
    }
}

/// Takes the type from the end of `out` and puts it behind the hole.
fn cast(out: &mut String, number: &str) -> Result<(), &'static str> {
    let before = out.trim_end();
    let named = TYPES.iter().find(|name| {
        before.strip_suffix(**name).is_some_and(|rest| {
            !rest.ends_with(|char: char| char.is_alphanumeric() || matches!(char, '_' | '$' | '.' | '"'))
        })
    });
    let Some(name) = named else {
        return Err("a literal stands in it where no parameter may, behind a type that is not known here");
    };
    out.truncate(before.len() - name.len());
    out.push_str(&format!("${number}::{name}"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typed_literals_become_casts() {
        for (canonical, planned) in [
            ("select a from t where b = $1", "select a from t where b = $1"),
            ("select a from t where b < date '$1'", "select a from t where b < $1::date"),
            ("select timestamp '$1' - interval '$2' day", "select $1::timestamp - $2::interval day"),
            (
                "select a from t where at > timestamp with time zone '$1' and b in ($2)",
                "select a from t where at > $1::timestamp with time zone and b in ($2)",
            ),
            ("select \"date '$1'\" from t", "select \"date '$1'\" from t"),
            ("(select -interval '$1')", "(select -$1::interval)"),
            ("select u&\"d!0061t\" uescape '!' from t", "select u&\"d!0061t\" uescape '!' from t"),
        ] {
            assert_eq!(of(canonical).as_deref(), Ok(planned));
        }
    }

    #[test]
    fn what_has_no_plan_says_why() {
        for (canonical, reason) in [
            ("set a to '$1'", "no plan"),
            ("begin", "no plan"),
            ("explain select $1", "no plan"),
            ("", "no plan"),
            ("select a, b …", "too long"),
            ("select my.date '$1'", "no parameter may"),
            ("select mydate '$1'", "no parameter may"),
            ("select interval(3) '$1'", "no parameter may"),
        ] {
            let refused = of(canonical).expect_err(canonical);
            assert!(refused.contains(reason), "{canonical}: {refused}");
        }
    }
}
