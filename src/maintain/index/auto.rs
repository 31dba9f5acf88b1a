//! Which suggestion is built next without being told. Decides by what is advised and what was done; asks nobody.

use super::settings::AutoSettings;
use crate::advise::candidate::matches;
use crate::advise::{Confidence, Suggestion};
use crate::observe::indexes::{Act, By, State};

/// After a failure the same index is tried again after this, then after twice as long, and so on.
const AGAIN_S: u64 = 600;
const AGAIN_MAX_S: u64 = 24 * 3600;

/// The one to build, if there is room for one. `acts`: the oldest first.
pub fn next<'a>(
    suggestions: impl Iterator<Item = &'a Suggestion>,
    acts: &[Act],
    settings: &AutoSettings,
    now_s: u64,
) -> Option<&'a Suggestion> {
    let own = || acts.iter().filter(|act| act.by == By::Auto);
    if !settings.enabled || own().filter(|act| act.state.is_open()).count() >= settings.at_once {
        return None;
    }
    // One that is about to be taken back is still there.
    let spent: u64 =
        own().filter(|act| act.state.stands() || act.state.is_open()).map(|act| act.size_bytes).sum();
    suggestions
        .filter(|one| is_sure(one, settings.confidence))
        .filter(|one| settings.tables.iter().any(|pattern| matches(pattern, &one.table)))
        .filter(|one| spent + one.size_bytes <= settings.budget_bytes)
        // The effects of two on one table could not be told apart.
        .filter(|one| {
            !acts
                .iter()
                .any(|act| act.state.is_open() && act.database == one.database && act.table == one.table)
        })
        .find(|one| is_open(one, acts, now_s))
}

fn is_sure(one: &Suggestion, wanted: Confidence) -> bool {
    match one.confidence {
        Confidence::High => true,
        Confidence::Medium => wanted == Confidence::Medium,
        Confidence::Low => false,
    }
}

/// It was not tried yet, or has only failed, and long enough ago. What was taken away once, by whomever, is not
/// built again without being told, nor is another that begins with the same column.
fn is_open(one: &Suggestion, acts: &[Act], now_s: u64) -> bool {
    let alike =
        |act: &&Act| act.table == one.table && first_key(&act.definition) == first_key(&one.definition);
    let own = acts.iter().filter(|act| act.database == one.database);
    if own.filter(alike).any(|act| act.state == State::Removed) {
        return false;
    }
    let before = || acts.iter().filter(|act| act.id == one.id && act.database == one.database);
    if before().any(|act| act.state != State::Failed) {
        return false;
    }
    let own = || before().filter(|act| act.by == By::Auto);
    let failures = own().count() as u32;
    let pause = AGAIN_S.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(AGAIN_MAX_S);
    own().next_back().is_none_or(|last| now_s >= last.ended_s + pause)
}

fn first_key(definition: &str) -> &str {
    definition.split([',', ')']).next().unwrap_or_default()
}

/// Suggestions that were built by itself and did not keep their promise: others may take their place.
pub fn taken_back(acts: &[Act]) -> impl Iterator<Item = &str> {
    acts.iter().filter(|act| act.taken_back).map(|act| act.id.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maintain::index::history::{Counts, begin};

    fn suggestion(id: &str, table: &str, confidence: &str, size: u64) -> Suggestion {
        let value = serde_json::json!({"id": id, "table": table, "name": "i", "definition": "(a)", "ddl": "x",
            "then": [], "size_bytes": size, "build_s": 0.1, "gain_percent": 90.0, "gain_ms": 1.0,
            "confidence": confidence, "judged_by": "planner", "writes": 0, "write_ms": 0.0, "why": [],
            "alternatives": [], "shapes": []});
        serde_json::from_value(value).unwrap()
    }

    fn act(suggestion: &Suggestion, by: By, state: State, ended_s: u64) -> Act {
        let now = Default::default();
        let mut act = begin(suggestion, by, 1, Counts { now: &now, earlier: None }, &[]);
        (act.state, act.ended_s) = (state, ended_s);
        act
    }

    fn chosen(suggestions: &[Suggestion], acts: &[Act], settings: &AutoSettings, now_s: u64) -> String {
        next(suggestions.iter(), acts, settings, now_s).map_or_else(String::new, |one| one.id.clone())
    }

    #[test]
    fn only_what_is_sure_and_allowed_is_built() {
        let settings = AutoSettings {
            enabled: true,
            tables: vec!["public.a*".to_owned()],
            budget_bytes: 100,
            ..AutoSettings::default()
        };
        let all = [
            suggestion("low", "public.a", "low", 1),
            suggestion("medium", "public.a", "medium", 1),
            suggestion("other", "public.b", "high", 1),
            suggestion("large", "public.a", "high", 101),
            suggestion("good", "public.ab", "high", 60),
            suggestion("next", "public.a", "high", 60),
        ];
        assert_eq!(chosen(&all, &[], &settings, 1), "good");
        assert_eq!(chosen(&all, &[], &AutoSettings { enabled: false, ..settings.clone() }, 1), "");
        let lax = AutoSettings { confidence: Confidence::Medium, ..settings.clone() };
        assert_eq!(chosen(&all, &[], &lax, 1), "medium");
        let verifying = act(&all[4], By::Auto, State::Verifying, 1);
        assert_eq!(chosen(&all, std::slice::from_ref(&verifying), &settings, 1), "", "one at once");
        let two = AutoSettings { at_once: 2, ..settings.clone() };
        assert_eq!(chosen(&all, std::slice::from_ref(&verifying), &two, 1), "", "the budget");
        let proved = act(&all[4], By::Auto, State::Proved, 1);
        assert_eq!(chosen(&all, &[proved], &settings, 1), "", "the budget");
        let removed = act(&all[4], By::Auto, State::Removed, 1);
        assert_eq!(chosen(&all, &[removed], &settings, 1), "next", "not a second time");
        let old = suggestion("old", "public.a", "high", 1);
        let mut alike = act(&old, By::Command, State::Removed, 1);
        alike.definition = "(a, b)".to_owned();
        assert_eq!(chosen(&all[5..], std::slice::from_ref(&alike), &settings, 1), "", "nor another like it");
        alike.definition = "(b, a)".to_owned();
        assert_eq!(chosen(&all[5..], &[alike], &settings, 1), "next");
        let ordered = act(&all[4], By::Command, State::Verifying, 1);
        assert_eq!(chosen(&all, &[ordered], &settings, 1), "next");
    }

    #[test]
    fn what_has_failed_is_tried_again_later() {
        let settings = AutoSettings { enabled: true, ..AutoSettings::default() };
        let all = [suggestion("one", "public.a", "high", 1)];
        let failed = act(&all[0], By::Auto, State::Failed, 1_000);
        assert_eq!(chosen(&all, std::slice::from_ref(&failed), &settings, 1_599), "");
        assert_eq!(chosen(&all, std::slice::from_ref(&failed), &settings, 1_600), "one");
        let again = [failed.clone(), failed];
        assert_eq!(chosen(&all, &again, &settings, 1_600), "");
        assert_eq!(chosen(&all, &again, &settings, 2_200), "one");
    }
}
