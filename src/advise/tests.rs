//! What can be said without a server; the golden cases in `tests/it/advice.rs` ask PostgreSQL.

use super::values::{Value, filled, quoted};
use super::{candidate, index};

#[test]
fn holes_are_filled_and_strings_left_alone() {
    let sample =
        vec![Some(Value::parameter(Some("it's"))), None, Some(Value { sql: "-5".to_owned(), literal: true })];
    let text = "select '$1', \"$1\" from t where a = $1 and b = $2 and c = $3 limit $12";
    let question = filled(text, &sample);
    assert_eq!(
        question.text,
        "select '$1', \"$1\" from t where a = 'it''s' and b = $2 and c = (-5) limit $12"
    );
    assert!(question.generic);
    assert_eq!(quoted("a\\b'"), "E'a\\\\b'''");
}

#[test]
fn patterns_of_tables() {
    assert!(candidate::matches("public.tmp_*", "public.tmp_1"));
    assert!(candidate::matches("*_log", "public.a_log"));
    assert!(!candidate::matches("public.tmp_*", "public.orders"));
}

#[test]
fn names_are_quoted_where_they_must_be() {
    assert_eq!(index::quoted("order"), "\"order\"");
    assert_eq!(index::quoted("Id"), "\"Id\"");
    assert_eq!(index::quoted("created_at"), "created_at");
}
