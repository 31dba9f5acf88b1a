//! What a statement does, roughly, from its words alone, so that statements which the parser does not know
//! have a class too. Pure. Where it is in doubt it says that the statement may write. What a function does
//! that a SELECT calls is not seen here.

use std::slice::Iter;

use serde::Serialize;

use super::token::{Kind, Piece, pieces};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Returns rows and changes none, functions that it calls aside.
    Read,
    /// Changes rows.
    Write,
    /// Changes the schema or rights.
    Ddl,
    TransactionControl,
    /// Belongs to the session: settings, cursors, prepared statements, listeners.
    Session,
    /// All else.
    #[default]
    Utility,
}

impl Class {
    pub fn label(self) -> &'static str {
        match self {
            Class::Read => "read",
            Class::Write => "write",
            Class::Ddl => "ddl",
            Class::TransactionControl => "transaction_control",
            Class::Session => "session",
            Class::Utility => "utility",
        }
    }
}

/// A statement's class, and whether it may change rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Classified {
    pub class: Class,
    /// True for every Write and Ddl, and for statements that can do anything: CALL, DO, EXECUTE.
    pub may_write: bool,
    /// Locks the rows that it reads: SELECT … FOR UPDATE and its kin.
    pub locks: bool,
}

impl From<Class> for Classified {
    fn from(class: Class) -> Self {
        let may_write = matches!(class, Class::Write | Class::Ddl);
        Classified { class, may_write, locks: false }
    }
}

const UNKNOWN: Classified = Classified { class: Class::Utility, may_write: true, locks: false };

/// Of one statement.
pub fn of(text: &str) -> Classified {
    let pieces = pieces(text);
    let mut rest = pieces.iter();
    match rest.find(|piece| piece.kind != Kind::Open) {
        Some(first) if first.kind == Kind::Word => by_first_word(first, rest),
        Some(_) => UNKNOWN,
        None => Class::Utility.into(),
    }
}

/// The first words of a text, at most three, in lower case.
pub fn first_words(text: &str) -> Vec<String> {
    let pieces = pieces(text);
    let words = pieces.iter().filter(|piece| piece.kind == Kind::Word).take(3);
    words.map(|word| String::from_utf8_lossy(word.text).to_lowercase()).collect()
}

fn by_first_word(first: &Piece<'_>, rest: Iter<'_, Piece<'_>>) -> Classified {
    // Neither may stand in the other, so that there is no recursion into a long text.
    if first.is("explain") {
        return explain(rest);
    }
    if first.is("copy") {
        return copy(rest);
    }
    plain(first, rest)
}

fn plain(first: &Piece<'_>, mut rest: Iter<'_, Piece<'_>>) -> Classified {
    if first.is_one_of(&["select", "with", "values", "table"]) {
        return query(rest);
    }
    if first.is_one_of(&["insert", "update", "delete", "merge", "truncate"]) {
        return Class::Write.into();
    }
    let ddl = ["create", "alter", "drop", "comment", "grant", "revoke", "import", "security", "reassign"];
    if first.is_one_of(&ddl) {
        return Class::Ddl.into();
    }
    let transaction =
        ["begin", "start", "commit", "end", "rollback", "abort", "savepoint", "release", "lock"];
    if first.is_one_of(&transaction) {
        return Class::TransactionControl.into();
    }
    if first.is("set") || first.is("prepare") {
        let transaction = rest.next().is_some_and(|second| second.is_one_of(&["transaction", "constraints"]));
        return if transaction { Class::TransactionControl } else { Class::Session }.into();
    }
    let session = [
        "reset",
        "discard",
        "show",
        "listen",
        "unlisten",
        "notify",
        "deallocate",
        "declare",
        "fetch",
        "move",
        "close",
        "load",
    ];
    if first.is_one_of(&session) { Class::Session.into() } else { UNKNOWN }
}

/// A query; with a data-modifying WITH it writes, with INTO it makes a table.
fn query(rest: Iter<'_, Piece<'_>>) -> Classified {
    let mut found = Classified::from(Class::Read);
    let (mut before, mut two_before): (Option<&Piece<'_>>, Option<&Piece<'_>>) = (None, None);
    for piece in rest {
        let follows_bracket = before.is_some_and(|before| matches!(before.kind, Kind::Open | Kind::Close));
        if follows_bracket && piece.is_one_of(&["insert", "update", "delete", "merge"]) {
            (found.class, found.may_write) = (Class::Write, true);
        }
        if piece.is("into") && found.class == Class::Read {
            (found.class, found.may_write) = (Class::Ddl, true);
        }
        if piece.is_one_of(&["update", "share"]) {
            let key = before.is_some_and(|before| before.is("key"));
            let key_lock = key && two_before.is_some_and(|piece| piece.is_one_of(&["no", "for"]));
            found.locks |= key_lock || before.is_some_and(|before| before.is("for"));
        }
        (two_before, before) = (before, Some(piece));
    }
    found
}

/// EXPLAIN reads; with ANALYZE it does what the statement does.
fn explain(mut rest: Iter<'_, Piece<'_>>) -> Classified {
    let (mut analyzes, mut depth) = (false, 0);
    while let Some(piece) = rest.next() {
        match piece.kind {
            Kind::Open => depth += 1,
            Kind::Close => depth -= 1,
            _ if piece.is_one_of(&["analyze", "analyse"]) => analyzes = true,
            _ if depth > 0 || piece.is("verbose") => {}
            _ if analyzes => return plain(piece, rest),
            _ => return Class::Read.into(),
        }
        // `explain (select …)`: what follows is the statement in brackets.
        let mut ahead = rest.clone();
        if depth == 1
            && piece.kind == Kind::Open
            && let Some(next) = ahead.next()
            && next.is_one_of(&["select", "with", "values", "table"])
        {
            return if analyzes { plain(next, ahead) } else { Class::Read.into() };
        }
    }
    UNKNOWN
}

/// COPY … FROM writes, COPY … TO reads; a query in brackets is a statement of its own.
fn copy(mut rest: Iter<'_, Piece<'_>>) -> Classified {
    let mut ahead = rest.clone();
    if ahead.next().is_some_and(|piece| piece.kind == Kind::Open) {
        return ahead.next().map_or(UNKNOWN, |first| plain(first, ahead));
    }
    match rest.find(|piece| piece.is_one_of(&["from", "to"])) {
        Some(piece) if piece.is("to") => Class::Read.into(),
        Some(_) => Class::Write.into(),
        None => UNKNOWN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_of_statements() {
        for (text, class) in [
            ("select a from t where id = $1", Class::Read),
            ("((select $1) union select $2)", Class::Read),
            ("with x as (select $1) select * from x", Class::Read),
            ("with x as (delete from t returning *) select * from x", Class::Write),
            ("with x as (select $1) insert into t select * from x", Class::Write),
            ("select * into t2 from t", Class::Ddl),
            ("values ($1)", Class::Read),
            ("table t", Class::Read),
            ("MERGE INTO t", Class::Write),
            ("truncate t", Class::Write),
            ("create table t (a int)", Class::Ddl),
            ("savepoint a", Class::TransactionControl),
            ("prepare transaction $1", Class::TransactionControl),
            ("set transaction read only", Class::TransactionControl),
            ("set local a = $1", Class::Session),
            ("prepare p as select $1", Class::Session),
            ("show all", Class::Session),
            ("declare c cursor for select $1", Class::Session),
            ("explain delete from t", Class::Read),
            ("explain analyze delete from t", Class::Write),
            ("explain (analyze, buffers) delete from t", Class::Write),
            ("explain (costs off) delete from t", Class::Read),
            ("explain (select $1)", Class::Read),
            ("explain analyze (select $1)", Class::Read),
            ("copy t from stdin", Class::Write),
            ("copy t (\"from\") to stdout", Class::Read),
            ("copy (insert into t values ($1) returning a) to stdout", Class::Write),
            ("copy (select a from t) to stdout", Class::Read),
            ("call p()", Class::Utility),
            ("vacuum t", Class::Utility),
            ("", Class::Utility),
        ] {
            assert_eq!(of(text).class, class, "{text}");
        }
    }

    #[test]
    fn doubt_means_that_it_may_write() {
        let may_write = ["call p()", "do $1", "execute p", "vacuum", "gibberish", "%", "copy", "explain"];
        may_write.iter().for_each(|text| assert!(of(text).may_write, "{text}"));
        ["select f($1)", "begin", "set a = $1", "explain delete from t", ""]
            .iter()
            .for_each(|text| assert!(!of(text).may_write, "{text}"));
    }

    #[test]
    fn a_long_text_is_no_deep_one() {
        for part in ["copy (", "explain analyze ", "explain (", "("] {
            assert_eq!(of(&part.repeat(100_000)).class, Class::Utility, "{part}");
        }
    }

    #[test]
    fn row_locks_are_seen() {
        for lock in ["for update", "for no key update", "for share", "for key share of t nowait"] {
            let found = of(&format!("select a from t where id = $1 {lock}"));
            assert_eq!((found.class, found.locks), (Class::Read, true), "{lock}");
        }
        assert!(!of("select \"update\", share from t").locks);
    }
}
