//! Names and values as SQL writes them. Knows no statement.

/// The bytes of a name that PostgreSQL keeps.
pub const NAME_MAX: usize = 63;

/// A name in quotes.
pub fn name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A schema and a name in it.
pub fn qualified(schema: &str, table: &str) -> String {
    format!("{}.{}", name(schema), name(table))
}

/// A text as a literal.
pub fn literal(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    match doubled.contains('\\') {
        true => format!(" E'{}'", doubled.replace('\\', "\\\\")),
        false => format!("'{doubled}'"),
    }
}

/// Names in quotes, with commas between them.
pub fn list<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    names.into_iter().map(|one| name(one)).collect::<Vec<_>>().join(", ")
}

/// `base` and `suffix` in the length of a name; what is too long is cut from the base.
pub fn joined(base: &str, suffix: &str) -> String {
    let mut end = base.len().min(NAME_MAX.saturating_sub(suffix.len()));
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{suffix}", &base[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_doubled_and_names_cut_between_letters() {
        assert_eq!(name("a\"b"), "\"a\"\"b\"");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\b"), " E'a\\\\b'");
        assert_eq!(joined("events", "_2026_03"), "events_2026_03");
        let long = joined(&"é".repeat(40), "_2026_03");
        assert!(long.len() <= NAME_MAX && long.ends_with("é_2026_03"), "{long}");
    }
}
