//! From which time on a statement is slow: rules meet a shape. Runs off the data path; what it decides is kept
//! with the shape as one number. Knows no clock and no file.

use std::sync::Arc;
use std::time::Duration;

use super::settings::{Limit, Rule, SlowLogSettings};
use crate::observe::facts::Known;
use crate::observe::ledger::{Key, Totals};

/// The threshold of what is never slow, µs.
pub const NEVER: u64 = u64::MAX;

/// A shape has a 99th percentile of its own from so many calls on.
const CALLS_MIN: u64 = 100;

/// Rules, ready to be asked.
#[derive(Debug, Clone)]
pub struct Judge {
    settings: Arc<SlowLogSettings>,
    /// Places in `settings.rules`, the most specific first.
    order: Vec<usize>,
    /// Some rule looks at what a shape took until now.
    relative: bool,
    /// Some rule names a table.
    tables: bool,
}

/// What was decided for a shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Slow is what takes longer, µs.
    pub over_us: u64,
    /// The rule that decided, by its place in the file; `None`: none matched.
    pub rule: Option<usize>,
}

impl Default for Judge {
    fn default() -> Self {
        Judge::new(Arc::default())
    }
}

impl Judge {
    pub fn new(settings: Arc<SlowLogSettings>) -> Self {
        let mut order: Vec<usize> = (0..settings.rules.len()).collect();
        // Stable: of two that are equally specific the first in the file wins.
        order.sort_by_key(|&at| std::cmp::Reverse(specificity(&settings.rules[at])));
        let relative = settings.rules.iter().any(|rule| matches!(rule.limit, Limit::P99 { .. }));
        let tables = settings.rules.iter().any(|rule| rule.table.is_some());
        Judge { settings, order, relative, tables }
    }

    /// Whether a verdict may change while the rules stay.
    pub fn is_relative(&self) -> bool {
        self.relative && self.settings.enabled
    }

    /// Whether a verdict may change when the facts of a shape become known.
    pub fn asks_facts(&self) -> bool {
        self.tables && self.settings.enabled
    }

    /// The threshold of a shape, with what is known of it so far. `totals` is asked only when a rule needs it.
    pub fn verdict(
        &self,
        key: &Key,
        (text, known): (&str, Option<&Known>),
        totals: impl FnOnce() -> Totals,
    ) -> Verdict {
        if !self.settings.enabled {
            return Verdict { over_us: NEVER, rule: None };
        }
        let general = us(self.settings.over);
        let Some((at, rule)) = self.find(key, text, known) else {
            return Verdict { over_us: general, rule: None };
        };
        let over_us = match rule.limit {
            Limit::Never => NEVER,
            Limit::Over(over) => us(over),
            Limit::P99 { times, floor } => {
                let totals = totals();
                let known = (totals.calls >= CALLS_MIN).then(|| totals.latency.percentile(0.99));
                let beyond = known.map(|p99| p99.saturating_mul(times.into()));
                beyond.map_or(floor.map_or(general, us), |beyond| beyond.max(floor.map_or(0, us)))
            }
        };
        Verdict { over_us, rule: Some(at) }
    }

    fn find(&self, key: &Key, text: &str, known: Option<&Known>) -> Option<(usize, &Rule)> {
        let mut rules = self.order.iter().map(|&at| (at, &self.settings.rules[at]));
        rules.find(|(_, rule)| matches(rule, key, text, known))
    }
}

/// A shape says more than a table, a table more than a user, a user more than a database.
fn specificity(rule: &Rule) -> (bool, bool, bool, bool) {
    (rule.shape.is_some(), rule.table.is_some(), rule.user.is_some(), rule.database.is_some())
}

fn matches(rule: &Rule, key: &Key, text: &str, known: Option<&Known>) -> bool {
    let same = |wanted: &Option<String>, name: &str| wanted.as_ref().is_none_or(|wanted| wanted == name);
    same(&rule.database, &key.database)
        && same(&rule.user, &key.user)
        && rule.shape.is_none_or(|shape| shape == key.fingerprint)
        && rule.table.as_ref().is_none_or(|table| names_table(text, known, table))
}

/// Whether a statement is about the table: `name`, in whatever schema, or `schema.name`, where the statement
/// writes the schema. The facts tell; of a statement without facts, whether a word of its text is the name.
pub fn names_table(text: &str, known: Option<&Known>, table: &str) -> bool {
    let (schema, name) = match table.rsplit_once('.') {
        Some((schema, name)) => (Some(schema), name),
        None => (None, table),
    };
    match known.and_then(Known::facts) {
        // Of a list that was cut, the rest is in the text.
        Some(facts) if !facts.cut => facts
            .tables
            .iter()
            .any(|table| table.name == name && (schema.is_none() || table.schema.as_deref() == schema)),
        _ => has_word(text, schema, name),
    }
}

fn has_word(text: &str, schema: Option<&str>, name: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    text.match_indices(name).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + name.len()..]);
        let whole = !before.ends_with(is_word) && !after.starts_with(is_word);
        let Some(schema) = schema else {
            return whole;
        };
        let trimmed = |text: &'_ str| text.trim_end_matches([' ', '"']).len();
        let dot = before[..trimmed(before)].strip_suffix('.');
        whole
            && dot.is_some_and(|before| {
                let rest = before[..trimmed(before)].strip_suffix(schema);
                rest.is_some_and(|rest| !rest.ends_with(is_word))
            })
    })
}

fn us(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(NEVER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::latency::{Distribution, Latency};

    fn rule(limit: Limit) -> Rule {
        Rule { database: None, user: None, table: None, shape: None, limit, explain: None }
    }

    fn over(ms: u64) -> Limit {
        Limit::Over(Duration::from_millis(ms))
    }

    fn judge(rules: Vec<Rule>) -> Judge {
        Judge::new(Arc::new(SlowLogSettings { rules, ..SlowLogSettings::default() }))
    }

    fn ask(judge: &Judge, totals: Totals) -> (u64, Option<usize>) {
        let key = Key { database: "app".into(), user: "me".into(), fingerprint: 7 };
        let verdict = judge.verdict(&key, ("select * from orders where id = $1", None), || totals);
        (verdict.over_us, verdict.rule)
    }

    fn totals(calls: u64, us: u64) -> Totals {
        let (latency, mut all) = (Latency::default(), Distribution::default());
        (0..calls).for_each(|_| latency.observe_us(us));
        latency.add_to(&mut all);
        Totals { calls, latency: all, ..Totals::default() }
    }

    #[test]
    fn the_most_specific_rule_wins() {
        let some = |text: &str| Some(text.to_owned());
        let mut rules = vec![rule(over(1))];
        assert_eq!(ask(&judge(vec![]), Totals::default()), (1_000_000, None));
        assert_eq!(ask(&judge(rules.clone()), Totals::default()), (1_000, Some(0)));
        rules.push(Rule { database: some("app"), ..rule(over(2)) });
        assert_eq!(ask(&judge(rules.clone()), Totals::default()), (2_000, Some(1)));
        rules.push(Rule { database: some("app"), ..rule(over(3)) });
        assert_eq!(ask(&judge(rules.clone()), Totals::default()), (2_000, Some(1)), "the first of equals");
        rules.push(Rule { user: some("me"), ..rule(over(4)) });
        assert_eq!(ask(&judge(rules.clone()), Totals::default()), (4_000, Some(3)));
        rules.push(Rule { table: some("orders"), ..rule(over(5)) });
        assert_eq!(ask(&judge(rules.clone()), Totals::default()), (5_000, Some(4)));
        rules.push(Rule { shape: Some(7), ..rule(Limit::Never) });
        assert_eq!(ask(&judge(rules.clone()), Totals::default()), (NEVER, Some(5)));
        let other =
            vec![Rule { user: some("you"), ..rule(over(4)) }, Rule { shape: Some(8), ..rule(over(4)) }];
        assert_eq!(ask(&judge(other), Totals::default()), (1_000_000, None));
        let off = SlowLogSettings { enabled: false, rules, ..SlowLogSettings::default() };
        assert_eq!(ask(&Judge::new(Arc::new(off)), Totals::default()), (NEVER, None));
    }

    #[test]
    fn a_shape_is_held_against_itself() {
        let relative = |floor| vec![rule(Limit::P99 { times: 3, floor })];
        let plain = judge(relative(None));
        assert!(plain.is_relative() && !judge(vec![rule(over(1))]).is_relative());
        assert_eq!(ask(&plain, totals(99, 1_000)), (1_000_000, Some(0)), "too few calls");
        let (us, _) = ask(&plain, totals(100, 1_000));
        assert!((3_000..=3_750).contains(&us), "{us}");
        let floored = judge(relative(Some(Duration::from_millis(200))));
        assert_eq!(ask(&floored, totals(5, 1_000)).0, 200_000);
        assert_eq!(ask(&floored, totals(500, 1_000)).0, 200_000);
        let (us, _) = ask(&floored, totals(500, 100_000));
        assert!((300_000..=375_000).contains(&us), "{us}");
    }

    #[test]
    fn a_table_is_a_word_of_its_own() {
        let text = "select o.id from orders o join public.\"Item\" i on true";
        for (table, named) in [
            ("orders", true),
            ("order", false),
            ("rders", false),
            ("Item", true),
            ("public.Item", true),
            ("other.Item", false),
            ("blic.Item", false),
            ("public.orders", false),
        ] {
            assert_eq!(names_table(text, None, table), named, "{table}");
        }
        assert!(names_table("select * from public . orders", None, "public.orders"));
    }

    #[test]
    fn facts_tell_a_table_from_other_words() {
        let text = "select orders, noise.id from shop.items noise join parts on true";
        let known = crate::observe::facts::read_apart(text);
        for (table, by_facts, by_words) in [
            ("items", true, true),
            ("shop.items", true, true),
            ("parts", true, true),
            ("orders", false, true),
            ("noise", false, true),
            ("public.parts", false, false),
        ] {
            assert_eq!(names_table(text, Some(&known), table), by_facts, "{table}");
            assert_eq!(names_table(text, None, table), by_words, "{table}");
        }
    }
}
