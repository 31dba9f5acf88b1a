//! Whatever a condition says and whatever is bound: nothing panics, and what is added can be put in.

use super::literal::Value;
use super::narrow::Work;
use super::tests::router;
use super::zone::Zone;
use crate::sql::edit;

proptest::proptest! {
    /// Whatever stands in a condition, and whatever is bound.
    #[test]
    fn no_condition_makes_it_panic(
        words in proptest::collection::vec(proptest::sample::select(vec![
            "ts", "e.ts", "id", "=", "<", ">", "<=", ">=", "and", "or", "(", ")", ",", "+", "-", "*", "/", "::", "date",
            "timestamptz", "interval", "'1 day'", "'999999999 years'", "'2024-02-29'", "'9999-12-31 23:59:59.999999'",
            "'0001-01-01'", "now()", "date_trunc('year', ts)", "extract(year from ts)", "extract(epoch from ts)",
            "999999999999999", "-999999999999999", "age(ts)", "in", "between", "row", "$1", "$2", "to_timestamp",
            "make_date", "at time zone", "'UTC'", "tstzrange(", "@>", "to_char(ts, 'YYYY')", "'9998'", "null",
        ]), 1..14),
        one: i64,
        other: [u8; 16],
    ) {
        let router = router();
        let text = format!("select 1 from e where {}", words.join(" "));
        let moment = router.moment(Zone::ANY, one, Some(one));
        if let Some(splices) = router.narrow(&text, &moment, &mut Work::default()) {
            assert!(edit::apply(&text, &splices).is_some());
        }
        for types in [&[][..], &[1184, 1186], &[1082, 20], &[1114, 1186]] {
            if let Some(prepared) = router.prepare(&text, types, &moment) {
                let number = one.to_be_bytes();
                for bound in prepared.bounds(&router, &[Value::Binary(&number), Value::Binary(&other)], &moment) {
                    assert!(!bound.text().is_empty() && !bound.binary().is_empty());
                }
            }
        }
    }

    #[test]
    fn simple_conditions_on_any_numbers(number in -999_999_999_999_999_i64..999_999_999_999_999, op in 0..5_usize) {
        let router = router();
        let moment = router.moment(Zone::UTC, 0, None);
        let op = ["=", "<", "<=", ">", ">="][op];
        for form in [
            "extract(year from ts) {op} {n}",
            "extract(epoch from ts) {op} {n}",
            "to_timestamp({n}) {op} ts",
            "ts {op} current_date - {n}",
            "ts - interval '1 month' * {n} {op} now()",
            "ts + interval '1 day' * {n} {op} '2024-01-01'",
            "age(ts) {op} interval '1 hour' * {n}",
            "extract(epoch from now() - ts) / 3600 {op} {n}",
        ] {
            let condition = form.replace("{op}", op).replace("{n}", &number.to_string());
            let text = format!("select 1 from e where {condition}");
            let _ = router.narrow(&text, &moment, &mut Work::default());
        }
    }
}
