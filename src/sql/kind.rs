//! What kind of statement a canonical text is, as far as repetition is concerned. Pure. Never says that a
//! statement reads which `class` says may write.

use super::class;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    Read,
    /// A read of one page among many: its place in the whole is a value.
    Page,
    /// Adds rows.
    Insert,
    /// Changes or removes rows.
    Write,
    /// A ping, or what cleans a session up: an application's pool tries the connection, or takes it back.
    Marker,
    /// Opens or closes a transaction, or something that no loop is made of.
    #[default]
    Other,
}

/// The kind, from the words of a statement without its values.
pub fn of(canonical: &str) -> Kind {
    let first = canonical.split([' ', '(']).find(|word| !word.is_empty()).unwrap_or_default();
    match first {
        "select" | "with" | "values" | "table" => {
            if class::of(canonical).may_write {
                return if first == "with" { Kind::Write } else { Kind::Other };
            }
            let has = |word: &str| canonical.split(' ').any(|part| part == word);
            match (has("from"), has("offset")) {
                // What libraries ask of the catalog is not the application's to change.
                (true, _) if is_of_catalog(canonical) => Kind::Other,
                // A function may do anything, and no one value is looked up with it.
                (false, _) if canonical.contains('(') => Kind::Other,
                (false, _) => Kind::Marker,
                (true, true) => Kind::Page,
                (true, false) => Kind::Read,
            }
        }
        "insert" => Kind::Insert,
        "update" | "delete" | "merge" => Kind::Write,
        "discard" | "reset" => Kind::Marker,
        // A pool cleans up with it what it takes back. To a savepoint is another matter.
        "rollback" if canonical == first => Kind::Marker,
        _ => Kind::Other,
    }
}

/// It reads system tables.
fn is_of_catalog(canonical: &str) -> bool {
    let words: Vec<&str> = canonical.split([' ', '(', ',']).filter(|word| !word.is_empty()).collect();
    words.windows(2).any(|pair| {
        matches!(pair[0], "from" | "join")
            && (pair[1].starts_with("pg_") || pair[1].starts_with("information_schema."))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_statements() {
        for (text, expected) in [
            ("select a from t where id = $1", Kind::Read),
            ("(select a from t)", Kind::Read),
            ("select a from t limit $1 offset $2", Kind::Page),
            ("select $1", Kind::Marker),
            ("with x as (delete from t returning a) select a from x", Kind::Write),
            ("select a into u from t", Kind::Other),
            ("select nextval($1)", Kind::Other),
            ("select a.attname from (select indrelid from pg_index) i", Kind::Other),
            ("select typname from pg_catalog.pg_type where oid = $1", Kind::Other),
            ("select exists (select * from t where a = $1)", Kind::Read),
            ("insert into t values ($1)", Kind::Insert),
            ("update t set a = $1", Kind::Write),
            ("discard all", Kind::Marker),
            ("begin", Kind::Other),
            ("rollback", Kind::Marker),
            ("rollback to savepoint a", Kind::Other),
            ("", Kind::Other),
        ] {
            assert_eq!(of(text), expected, "{text}");
        }
    }
}
