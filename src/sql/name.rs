//! The statement name in `DEALLOCATE` and `EXECUTE`: clients use SQL to close statements that they prepared
//! by protocol (PDO, ODBC and ActiveRecord do), and there the names differ. Pure.

use std::ops::Range;

use super::{skip_blank, word};

/// A prepared statement named in SQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub verb: Verb,
    /// The name as PostgreSQL understands it: unquoted, folded to lower case unless it was quoted.
    pub name: Vec<u8>,
    /// Where the name stands in the text, quotes included.
    pub at: Range<usize>,
    /// Nothing but white space, comments and one semicolon follow the name.
    pub alone: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Deallocate,
    DeallocateAll,
    Execute,
}

/// Reads the verb and name at the start of `text`; `None` when the text does not begin that way.
pub fn of(text: &[u8]) -> Option<Named> {
    let (verb, rest) = word(skip_blank(text));
    let mut verb = if verb.eq_ignore_ascii_case(b"deallocate") {
        Verb::Deallocate
    } else if verb.eq_ignore_ascii_case(b"execute") {
        Verb::Execute
    } else {
        return None;
    };
    let mut rest = skip_blank(rest);
    if verb == Verb::Deallocate {
        let (second, tail) = word(rest);
        let tail = skip_blank(tail);
        if second.eq_ignore_ascii_case(b"prepare") && !tail.is_empty() && !tail.starts_with(b";") {
            rest = tail;
        }
    }
    let start = text.len() - rest.len();
    let (name, length) = identifier(rest)?;
    if verb == Verb::Deallocate && !rest.starts_with(b"\"") && name == b"all" {
        verb = Verb::DeallocateAll;
    }
    let tail = skip_blank(&rest[length..]);
    let tail = tail.strip_prefix(b";").unwrap_or(tail);
    Some(Named { verb, name, at: start..start + length, alone: skip_blank(tail).is_empty() })
}

/// The identifier at the front, as PostgreSQL reads it, and its length in the text.
fn identifier(text: &[u8]) -> Option<(Vec<u8>, usize)> {
    let Some(quoted) = text.strip_prefix(b"\"") else {
        let (plain, _) = word(text);
        return (!plain.is_empty()).then(|| (plain.to_ascii_lowercase(), plain.len()));
    };
    let (mut name, mut at) = (Vec::new(), 0);
    loop {
        let end = at + memchr::memchr(b'"', &quoted[at..])?;
        name.extend_from_slice(&quoted[at..end]);
        if quoted.get(end + 1) != Some(&b'"') {
            return Some((name, end + 2));
        }
        name.push(b'"');
        at = end + 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, verb: Verb, name: &str, cut: &str, alone: bool) {
        let named = of(text.as_bytes()).expect(text);
        assert_eq!((named.verb, named.alone), (verb, alone), "{text}");
        assert_eq!(String::from_utf8_lossy(&named.name), name, "{text}");
        assert_eq!(&text[named.at], cut, "{text}");
    }

    #[test]
    fn names_in_sql() {
        check("DEALLOCATE a1", Verb::Deallocate, "a1", "a1", true);
        check("deallocate prepare \"Pdo\"\"1\" ; -- x", Verb::Deallocate, "Pdo\"1", "\"Pdo\"\"1\"", true);
        check("DEALLOCATE ALL;", Verb::DeallocateAll, "all", "ALL", true);
        check("deallocate \"all\"", Verb::Deallocate, "all", "\"all\"", true);
        check("deallocate prepare", Verb::Deallocate, "prepare", "prepare", true);
        check("execute P1(1, 2)", Verb::Execute, "p1", "P1", false);
        check("DEALLOCATE a; select 1", Verb::Deallocate, "a", "a", false);
        assert_eq!(of(b"select 1"), None);
        assert_eq!(of(b"execute \"x"), None);
    }
}
