//! The names and operators in a text, with what stands beside them: for whoever must be sure that nothing of a
//! name is called, even where the parser has not seen it. Pure. Knows no catalog.

use super::token::{Kind, Piece, pieces};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A parenthesis follows: a function, a type with a length, a keyword, a list of columns.
    Called,
    /// Behind a point: a column, a table of a schema, a function in the notation of a column.
    Member,
    Alone,
    Operator,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// A name in lower case, or as its quotes keep it; an operator as it is.
    pub text: String,
    pub place: Place,
    /// Behind `::` or AS, with a schema or without: it may be a type that something is made into.
    pub cast: bool,
    /// In the parentheses that follow, or in those of WITHIN GROUP, there is an ORDER BY.
    pub ordered: bool,
}

/// All names, keywords and operators of a text, in its order.
pub fn of(text: &str) -> Vec<Word> {
    let pieces = pieces(text);
    let mut words = Vec::with_capacity(pieces.len());
    for (at, piece) in pieces.iter().enumerate() {
        let Some(text) = name(piece) else {
            continue;
        };
        let is_open = pieces.get(at + 1).is_some_and(|next| next.kind == Kind::Open);
        let before = at.checked_sub(1).map(|before| pieces[before].kind);
        let place = match () {
            () if piece.kind == Kind::Operator => Place::Operator,
            () if is_open => Place::Called,
            () if before == Some(Kind::Dot) => Place::Member,
            () => Place::Alone,
        };
        let ordered = is_open && is_ordered(&pieces[at + 1..]);
        words.push(Word { text, place, cast: is_cast(&pieces[..at]), ordered });
    }
    words
}

fn name(piece: &Piece<'_>) -> Option<String> {
    let text = String::from_utf8_lossy(piece.text);
    match piece.kind {
        Kind::Word => Some(text.to_lowercase()),
        Kind::Quoted => {
            let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
            Some(inner.map_or(text.to_string(), |inner| inner.replace("\"\"", "\"")))
        }
        Kind::Operator => Some(text.into_owned()),
        _ => None,
    }
}

/// Whether a type may follow these.
fn is_cast(mut before: &[Piece<'_>]) -> bool {
    // A schema, and a database before it.
    while let [rest @ .., _, Piece { kind: Kind::Dot, .. }] = before {
        before = rest;
    }
    before.last().is_some_and(|piece| piece.kind == Kind::Cast || piece.is("as"))
}

/// `(… order by …)` or `(…) within group (order by …)`.
fn is_ordered(pieces: &[Piece<'_>]) -> bool {
    let mut depth = 0;
    for (at, piece) in pieces.iter().enumerate() {
        match piece.kind {
            Kind::Open => depth += 1,
            Kind::Close if depth == 1 => {
                let next =
                    |distance: usize, word| pieces.get(at + distance).is_some_and(|next| next.is(word));
                return next(1, "within") && next(2, "group");
            }
            Kind::Close => depth -= 1,
            Kind::Word if depth == 1 && piece.is("order") => return true,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str, place: Place) -> Vec<String> {
        of(text).into_iter().filter(|word| word.place == place).map(|word| word.text).collect()
    }

    #[test]
    fn names_are_seen_where_they_stand() {
        let text = "select F(a.b), \"G h\" (1), x.\"y\" <-> 'f(1)' from s.t -- z(1)";
        assert_eq!(words(text, Place::Called), ["f", "G h"]);
        assert_eq!(words(text, Place::Member), ["b", "y", "t"]);
        assert_eq!(words(text, Place::Operator), ["<->"]);
        assert_eq!(words(text, Place::Alone), ["select", "a", "x", "from", "s"]);
    }

    #[test]
    fn types_are_seen_where_something_is_made_into_them() {
        let words = of("select a::t, cast(b as s.u), c as v, d.e::w[] from x");
        let cast: Vec<&str> = words.iter().filter(|word| word.cast).map(|word| word.text.as_str()).collect();
        assert_eq!(cast, ["t", "s", "u", "v", "w"]);
    }

    #[test]
    fn an_order_within_a_call() {
        let ordered = |text| of(text).into_iter().find(|word| word.text == "f").map(|word| word.ordered);
        assert_eq!(ordered("select f(a order by b)"), Some(true));
        assert_eq!(ordered("select f(0.5) within group (order by b)"), Some(true));
        assert_eq!(ordered("select f((select a from t order by b))"), Some(false));
        assert_eq!(ordered("select f(a) from t order by b"), Some(false));
    }
}
