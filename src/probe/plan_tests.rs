//! Volatile functions are found in plans, and large plans are cut.

use std::collections::BTreeMap;

use super::*;
use crate::catalog::{Facts, Function};

fn catalog() -> Catalog {
    let builtins = [
        ("lower", Volatility::Immutable),
        ("now", Volatility::Stable),
        ("random", Volatility::Volatile),
        ("count", Volatility::Immutable),
    ];
    let own = |schema: &str, name: &str, volatility| Function {
        schema: schema.to_owned(),
        name: name.to_owned(),
        volatility,
        ..Function::default()
    };
    let functions =
        vec![own("app", "calm", Volatility::Stable), own("app", "Wild One", Volatility::Volatile)];
    let facts = Facts { search_path: vec!["app".to_owned()], ..Facts::default() };
    let builtins = builtins.map(|(name, volatility)| (name.to_owned(), volatility));
    Catalog::new(facts, Vec::new(), functions, BTreeMap::from(builtins), BTreeMap::new())
}

fn found(expression: &str) -> Option<String> {
    let plan = serde_json::json!([{"Plan": {"Node Type": "Seq Scan", "Filter": expression}}]).to_string();
    volatile_function(&plan, &[], &catalog())
}

#[test]
fn calm_expressions_pass() {
    for expression in [
        "(lower((t.name)::text) = 'x'::text)",
        "(t.at < now())",
        "(t.at < pg_catalog.now())",
        "app.calm(t.id)",
        "(COALESCE(t.a, 1) = ANY ('{1,2}'::integer[]))",
        "((t.name)::character varying(10) = 'random()'::text)",
        "(t.note = 'it''s random()'::text)",
        "count(*) FILTER (WHERE (t.a > 1))",
        "(t.a IN (1, 2))",
    ] {
        assert_eq!(found(expression), None, "{expression}");
    }
}

#[test]
fn volatile_and_unknown_functions_are_found() {
    for (expression, function) in [
        ("(t.a > random())", "random"),
        ("app.\"Wild One\"(t.id)", "app.Wild One"),
        ("(t.note = 'x'::text) AND (random() > 0.5)", "random"),
        ("other.calm(1)", "other.calm"),
        ("unheard_of(1)", "unheard_of"),
        ("lower(pg_catalog.random())", "pg_catalog.random"),
    ] {
        assert_eq!(found(expression).as_deref(), Some(function), "{expression}");
    }
    let locking = r#"[{"Plan": {"Node Type": "LockRows"}}]"#;
    assert!(volatile_function(locking, &[], &catalog()).is_some());
    assert!(volatile_function("no plan", &[], &catalog()).is_some());
}

#[test]
fn large_plans_are_cut_to_their_first_parts() {
    let part =
        |n: usize| serde_json::json!({"Node Type": "Seq Scan", "Relation Name": format!("part_{n:0100}")});
    let parts: Vec<Value> = (0..2000).map(part).collect();
    let plan = serde_json::json!([{"Plan": {"Node Type": "Append", "Plans": parts}}]);
    let cut: Value = serde_json::from_str(&bounded(&plan.to_string()).unwrap()).unwrap();
    assert_eq!(cut[0]["Plan"]["Plans"].as_array().unwrap().len(), 32);
    assert_eq!(cut[0]["Plan"]["Plans Omitted"], 1968);
    let small = r#"[ {"Plan": {"Node Type": "Result"}} ]"#;
    assert_eq!(bounded(small).unwrap(), r#"[{"Plan":{"Node Type":"Result"}}]"#);
    let hopeless = serde_json::json!([{"Plan": {"Filter": "x".repeat(PLAN_MAX)}}]);
    assert!(bounded(&hopeless.to_string()).is_err());
}
