//! What holds for the facts of any text. Shared by the tests and the fuzz target.

use super::{Facts, LIST_MAX, read};
use crate::sql::class;

/// Reads the text and panics if something does not hold. Needs a stack of [`crate::sql::guard::STACK`].
pub fn judge(text: &str) {
    let by_words = class::of(text);
    let Ok(facts) = read(text) else {
        return;
    };
    assert!(facts.may_write || !by_words.may_write, "the parser knows less than the words: {text}");
    assert!(facts.locking.is_none() || by_words.locks || by_words.may_write, "a lock unseen: {text}");
    for predicate in &facts.predicates {
        assert!(!predicate.top || predicate.query == 0, "an inner query's condition decides: {text}");
    }
    bounded(&facts);
}

fn bounded(facts: &Facts) {
    let lists = [facts.tables.len(), facts.columns.len(), facts.predicates.len(), facts.joins.len()];
    let more = [facts.functions.len(), facts.ctes.len(), facts.order.len(), facts.group_by.len()];
    assert!(lists.iter().chain(&more).all(|&length| length <= LIST_MAX));
}
