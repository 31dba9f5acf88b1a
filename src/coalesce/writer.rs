//! One server connection's writes: what its transaction has written so far, and when the fence has to be opened
//! and closed because of it. Pure: what is forwarded and what is received comes in, what the fence must be told
//! comes out. Must not know the fence itself.

use super::writes::WriteSet;
use crate::sql::class::first_words;

/// How many statements of a pipeline there may be is the client's affair; this holds two sets, whatever it does.
#[derive(Debug, Clone, Default)]
pub struct Writer {
    /// Forwarded since the connection was last known to be outside of a transaction.
    transaction: WriteSet,
    /// What the fence was opened for and not yet closed; together, the sets that were returned.
    open: WriteSet,
    /// The last ReadyForQuery said that a transaction block is open.
    inside: bool,
    /// Something that may end the block was forwarded since.
    may_have_ended: bool,
}

impl Writer {
    /// It is in the middle of a transaction of which nothing is known.
    pub fn begun_unseen(&mut self) {
        (self.transaction, self.inside, self.may_have_ended) = (WriteSet::All, true, true);
    }

    /// A statement is about to be forwarded: a Query, or an Execute. `writes`: what it may write; `ends`: whether
    /// its text may end a transaction block, see [`ends_transaction`].
    ///
    /// `Some`: the fence has to be opened for this set before a byte of the statement is sent.
    #[must_use]
    pub fn forward(&mut self, writes: &WriteSet, ends: bool) -> Option<WriteSet> {
        self.transaction.add(writes);
        self.may_have_ended |= ends;
        // What may do anything may commit on a connection of its own, as dblink does.
        if self.inside && !self.may_have_ended && *writes != WriteSet::All {
            return None;
        }
        if self.open.covers(&self.transaction) {
            return None;
        }
        let more = match (&self.transaction, &self.open) {
            (WriteSet::Tables(all), WriteSet::Tables(open)) => {
                WriteSet::Tables(all.iter().filter(|table| !open.contains(table)).copied().collect())
            }
            (all, _) => all.clone(),
        };
        self.open.add(&more);
        Some(more)
    }

    /// ReadyForQuery was received. `inside`: it says that a transaction block is open, failed or not; `owed`: more
    /// answers are to come. True: everything that the fence was opened for has to be closed, before the client
    /// is told.
    #[must_use]
    pub fn ready(&mut self, inside: bool, owed: bool) -> bool {
        if owed {
            // What was forwarded behind it may have begun already.
            self.may_have_ended = true;
            return false;
        }
        (self.inside, self.may_have_ended) = (inside, false);
        if !inside {
            self.transaction.clear();
        }
        let opened = !self.open.is_empty();
        self.open.clear();
        opened
    }

    /// What its transaction may have written, as nobody else sees it yet; the session's own rows of these tables
    /// must not be served.
    pub fn transaction(&self) -> &WriteSet {
        &self.transaction
    }
}

/// Whether a text of one or more statements may end a transaction block. Found once per text; ROLLBACK TO, with which
/// object mappers undo part of a transaction, does not.
pub fn ends_transaction(text: &str) -> bool {
    let may = |word| crate::sql::has_statement(text.as_bytes(), word);
    let undoes_a_part = || {
        let words = first_words(text);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let single = !text.trim_end_matches(|c: char| c == ';' || c.is_whitespace()).contains(';');
        single && matches!(words[..], ["rollback", "to", ..] | ["rollback", "work" | "transaction", "to"])
    };
    ["commit", "end", "abort", "prepare"].into_iter().any(may) || (may("rollback") && !undoes_a_part())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(oids: &[u32]) -> WriteSet {
        WriteSet::Tables(oids.to_vec())
    }

    const NOTHING: WriteSet = WriteSet::Tables(Vec::new());

    #[test]
    fn outside_of_a_transaction_every_write_opens() {
        let mut writer = Writer::default();
        assert_eq!(writer.forward(&NOTHING, false), None);
        assert!(!writer.ready(false, false));
        assert_eq!(writer.forward(&tables(&[1]), false), Some(tables(&[1])));
        assert_eq!(writer.forward(&tables(&[1]), false), None, "it is open already");
        assert_eq!(writer.forward(&tables(&[1, 2]), false), Some(tables(&[2])));
        assert!(!writer.ready(false, true), "one more answer is owed");
        assert!(writer.ready(false, false));
        assert!(writer.transaction().is_empty());
    }

    #[test]
    fn within_one_the_commit_opens_for_all_of_it() {
        let mut writer = Writer::default();
        assert_eq!(writer.forward(&NOTHING, false), None, "begin");
        assert!(!writer.ready(true, false));
        assert_eq!(writer.forward(&tables(&[1]), false), None);
        assert!(!writer.ready(true, false));
        assert_eq!(writer.forward(&tables(&[2]), false), None);
        assert!(!writer.ready(true, false));
        assert_eq!(writer.transaction(), &tables(&[1, 2]));
        assert_eq!(writer.forward(&NOTHING, true), Some(tables(&[1, 2])), "commit");
        assert!(writer.ready(false, false));
        assert_eq!(writer.forward(&NOTHING, true), None, "nothing is left to commit");
    }

    #[test]
    fn what_begins_in_a_pipeline_is_not_known_to_be_inside() {
        let mut writer = Writer::default();
        assert_eq!(writer.forward(&NOTHING, false), None, "begin, not answered");
        assert_eq!(writer.forward(&tables(&[1]), false), Some(tables(&[1])));
        assert!(!writer.ready(true, true));
        assert!(writer.ready(true, false));
        assert_eq!(writer.forward(&NOTHING, true), Some(tables(&[1])), "commit");
        assert_eq!(writer.forward(&tables(&[3]), false), Some(tables(&[3])), "behind the commit");
        assert!(!writer.ready(false, true));
        assert!(writer.ready(false, false));
    }

    #[test]
    fn what_may_do_anything_opens_everywhere() {
        let mut writer = Writer::default();
        assert!(!writer.ready(true, false));
        assert_eq!(writer.forward(&WriteSet::All, false), Some(WriteSet::All));
        assert_eq!(writer.forward(&WriteSet::All, false), None);
        assert!(writer.ready(true, false));
        assert_eq!(writer.forward(&NOTHING, true), Some(WriteSet::All), "the commit opens once more");
        assert!(writer.ready(false, false));
    }

    #[test]
    fn texts_that_may_end_a_transaction() {
        for text in [
            "commit",
            " END;",
            "select 1; rollback",
            "rollback",
            "ROLLBACK work",
            "rollback to a; commit",
            "rollback; insert into \"to\" values (1)",
            "prepare transaction 'x'",
            "abort",
        ] {
            assert!(ends_transaction(text), "{text}");
        }
        for text in [
            "begin",
            "select 'commit'",
            "savepoint a",
            "release a",
            "insert into t values (1)",
            "ROLLBACK TO a;",
            "rollback transaction to savepoint a",
        ] {
            assert!(!ends_transaction(text), "{text}");
        }
    }
}
