//! What a check says of one column of whole numbers. Pure.

use serde::Serialize;

use super::Attnum;

/// Checks that pgweir makes on partitions, and may take away, have names that begin so.
pub const OWN_CHECK: &str = "pgweir_zone_";

/// All values of a column lie between these, both included, or are NULL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Span {
    pub column: Attnum,
    pub least: i64,
    pub most: i64,
}

impl Span {
    /// A check as PostgreSQL writes it: `((id >= 1) AND (id <= '5000000000'::bigint))`. `None`: it says more, or
    /// something else.
    pub fn read(column: Attnum, check: &str) -> Option<Span> {
        let mut span = Span { column, least: i64::MIN, most: i64::MAX };
        let mut names = Vec::new();
        for part in check.split(" AND ") {
            let part = part.trim_start_matches('(').trim_end_matches(')');
            let (rest, value) = part.rsplit_once(' ')?;
            let (name, op) = rest.rsplit_once(' ')?;
            names.push(name);
            let value = match value.strip_prefix('\'') {
                Some(quoted) => quoted.split_once("'::").filter(|(_, of)| INTEGERS.contains(of))?.0,
                None => value,
            };
            let value: i64 = value.parse().ok()?;
            match op {
                ">=" => span.least = span.least.max(value),
                ">" => span.least = span.least.max(value.checked_add(1)?),
                "<=" => span.most = span.most.min(value),
                "<" => span.most = span.most.min(value.checked_sub(1)?),
                "=" => (span.least, span.most) = (span.least.max(value), span.most.min(value)),
                _ => return None,
            }
        }
        let one = names.iter().all(|name| *name == names[0] && !name.contains(['(', ')']));
        one.then_some(span)
    }
}

const INTEGERS: [&str; 3] = ["smallint", "integer", "bigint"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_read_as_postgresql_writes_them() {
        let read = |check: &str| Span::read(3, check).map(|span| (span.least, span.most));
        for (check, expected) in [
            ("((id >= 1) AND (id <= 500))", Some((1, 500))),
            ("((id >= '-5'::integer) AND (id < '5000000000'::bigint))", Some((-5, 4_999_999_999))),
            ("(id > 9)", Some((10, i64::MAX))),
            ("((1 <= id) AND (id <= 500))", None),
            ("((id >= 1) OR (id <= 500))", None),
            ("((id >= 1) AND (other <= 500))", None),
            ("((id % 10) >= 1)", None),
            ("(NOT (id >= 1))", None),
            ("(id <> 1)", None),
            ("((id)::numeric >= 1.5)", None),
            ("(name >= '1'::text)", None),
            ("", None),
        ] {
            assert_eq!(read(check), expected, "{check}");
        }
    }
}
