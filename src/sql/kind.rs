//! What kind of statement a canonical text is, as far as repetition is concerned. Pure. Never says that a
//! statement reads which `class` says may write.

use super::class;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    Read,
    /// A read of one page among many: its place in the whole is a value.
    Page,
    Write,
    /// A question to the session or a ping: an application's pool takes the connection back, or tries it.
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
                (false, _) => Kind::Marker,
                (true, true) => Kind::Page,
                (true, false) => Kind::Read,
            }
        }
        "insert" | "update" | "delete" | "merge" => Kind::Write,
        "discard" | "reset" | "show" => Kind::Marker,
        _ => Kind::Other,
    }
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
            ("insert into t values ($1)", Kind::Write),
            ("discard all", Kind::Marker),
            ("begin", Kind::Other),
            ("", Kind::Other),
        ] {
            assert_eq!(of(text), expected, "{text}");
        }
    }
}
