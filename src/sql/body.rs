//! Whether the body of a function, in SQL or PL/pgSQL, is seen to write no table. Pure. Yes is certain, as far
//! as what it calls is calm; any doubt is a no. Knows no catalog: the caller says which functions are calm.

use super::token::{Kind, Piece, pieces};

/// Words of statements that change something, or run what is not written here, or read a relation, which may
/// be a view that calls anything.
const LOUD: [&str; 40] = [
    "alter", "analyze", "call", "cluster", "comment", "commit", "copy", "create", "delete", "discard", "do",
    "drop", "execute", "explain", "fetch", "grant", "import", "insert", "join", "listen", "load", "lock",
    "merge", "move", "open", "prepare", "reassign", "refresh", "reindex", "reset", "revoke", "rollback",
    "security", "select", "set", "table", "truncate", "update", "vacuum", "values",
];

/// Words that stand before a parenthesis and call nothing.
const NO_CALLS: [&str; 31] = [
    "all", "and", "any", "array", "as", "between", "case", "cast", "coalesce", "distinct", "else", "elsif",
    "greatest", "if", "in", "is", "least", "like", "not", "null", "nullif", "or", "raise", "return", "row",
    "some", "then", "using", "when", "while", "ilike",
];

/// `calm` says of a call, by schema and name, that it writes no table.
pub fn writes_nothing(body: &str, calm: &dyn Fn(Option<&str>, &str) -> bool) -> bool {
    let pieces = pieces(body);
    !pieces.is_empty() && (0..pieces.len()).all(|at| is_harmless(&pieces, at, calm))
}

fn is_harmless(pieces: &[Piece<'_>], at: usize, calm: &dyn Fn(Option<&str>, &str) -> bool) -> bool {
    let piece = &pieces[at];
    if !matches!(piece.kind, Kind::Word | Kind::Quoted) {
        return true;
    }
    let before = |back: usize| at.checked_sub(back).map(|at| &pieces[at]);
    // `a is distinct from b` names no relation.
    let is_distinct = before(1).is_some_and(|piece| piece.is("distinct"));
    if piece.is("from") && !is_distinct {
        return false;
    }
    // Behind a dot it is a column or a function, whatever the word.
    let qualified = before(1).is_some_and(|piece| piece.kind == Kind::Dot);
    if !qualified && piece.is_one_of(&LOUD) {
        return false;
    }
    if pieces.get(at + 1).is_none_or(|next| next.kind != Kind::Open) {
        return true;
    }
    if !qualified {
        return piece.is_one_of(&NO_CALLS) || calm(None, &name(piece));
    }
    match (before(2), before(3)) {
        (Some(_), Some(dot)) if dot.kind == Kind::Dot => false,
        (Some(schema), _) => calm(Some(&name(schema)), &name(piece)),
        (None, _) => false,
    }
}

fn name(piece: &Piece<'_>) -> String {
    let text = String::from_utf8_lossy(piece.text);
    match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        Some(quoted) => quoted.replace("\"\"", "\""),
        None => text.to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_quiet(body: &str) -> bool {
        writes_nothing(body, &|schema, name| {
            schema.is_none_or(|schema| schema == "pg_catalog")
                && ["now", "lower", "nextval", "Odd"].contains(&name)
        })
    }

    #[test]
    fn what_only_computes_is_quiet() {
        for body in [
            "BEGIN NEW.updated_at := now(); RETURN NEW; END",
            "begin new.\"update\" = lower(new.name); return new; end;",
            "DECLARE n bigint := nextval('s'); BEGIN IF (NEW.a IS DISTINCT FROM OLD.a) THEN NEW.n := n; END IF; \
                RETURN NEW; END",
            "BEGIN IF TG_OP = 'DELETE' THEN RETURN OLD; END IF; NEW.v := coalesce(NEW.v, 0) + 1; RETURN NEW; END",
            "BEGIN NEW.at = pg_catalog.now(); /* insert into t */ -- delete from t\n RETURN NEW; END",
            "BEGIN NEW.a := \"Odd\"(1); RAISE NOTICE 'insert'; RETURN NEW; END",
            "BEGIN RETURN NULL; END",
        ] {
            assert!(is_quiet(body), "{body}");
        }
    }

    #[test]
    fn doubt_is_restless() {
        for body in [
            "",
            "-- nothing",
            "BEGIN INSERT INTO audit VALUES (1); RETURN NEW; END",
            "BEGIN EXECUTE 'delete ' || 'from t'; RETURN NEW; END",
            "BEGIN PERFORM other(); RETURN NEW; END",
            "BEGIN NEW.a := my.now(); RETURN NEW; END",
            "BEGIN NEW.a := db.pg_catalog.now(); RETURN NEW; END",
            "BEGIN NEW.a := (SELECT count(*) FROM a_view); RETURN NEW; END",
            "BEGIN FOR r IN EXECUTE NEW.q LOOP END LOOP; RETURN NEW; END",
            "BEGIN SET LOCAL session_replication_role = replica; RETURN NEW; END",
            "BEGIN NEW.a := OTHER (1); RETURN NEW; END",
            "BEGIN NEW.a := \"odd\"(1); RETURN NEW; END",
            "BEGIN CALL p(); END",
        ] {
            assert!(!is_quiet(body), "{body}");
        }
    }
}
