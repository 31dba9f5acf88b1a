//! A plan of PostgreSQL as an indented tree, from its JSON. Knows nothing of where it comes from.

use serde_json::Value;

/// One line per node. What is no plan is shown as it is.
pub fn tree(plan: &str) -> String {
    let parsed: Value = serde_json::from_str(plan).unwrap_or_default();
    let root = &parsed[0]["Plan"];
    if !root.is_object() {
        return plan.trim_end().to_owned();
    }
    let mut lines = Vec::new();
    node(root, 0, &mut lines);
    for key in ["Planning Time", "Execution Time"] {
        if let Some(ms) = parsed[0][key].as_f64() {
            lines.push(format!("{key}: {ms:.3} ms"));
        }
    }
    lines.join("\n")
}

/// What stands below a node, in this order.
const DETAILS: [&str; 8] = [
    "Index Cond",
    "Recheck Cond",
    "Hash Cond",
    "Merge Cond",
    "Join Filter",
    "Filter",
    "Sort Key",
    "Group Key",
];

/// serde_json reads to a depth of 128, so that this ends.
fn node(node: &Value, depth: usize, lines: &mut Vec<String>) {
    let text = |key: &str| node[key].as_str().unwrap_or_default();
    let number = |key: &str| node[key].as_f64().unwrap_or_default();
    let pad = "  ".repeat(depth);
    let mut line = format!("{pad}{}", text("Node Type"));
    if !text("Operation").is_empty() {
        line.push_str(&format!(" ({})", text("Operation").to_lowercase()));
    }
    if !text("Index Name").is_empty() {
        line.push_str(&format!(" using {}", text("Index Name")));
    }
    let on = [text("Relation Name"), text("Function Name"), text("CTE Name")];
    on.into_iter().find(|name| !name.is_empty()).into_iter().for_each(|name| {
        line.push_str(&format!(" on {name}"));
    });
    line.push_str(&format!("  cost {:.2}, rows {}", number("Total Cost"), number("Plan Rows")));
    if node["Actual Rows"].is_number() {
        let (rows, loops) = (number("Actual Rows"), number("Actual Loops"));
        line.push_str(&format!("; took {:.3} ms, rows {rows}, loops {loops}", number("Actual Total Time")));
    }
    lines.push(line);
    for key in DETAILS {
        let said = match &node[key] {
            Value::String(text) => text.clone(),
            Value::Array(all) => all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
            _ => continue,
        };
        lines.push(format!("{pad}    {}: {said}", key.to_lowercase()));
    }
    node["Plans"].as_array().into_iter().flatten().for_each(|below| self::node(below, depth + 1, lines));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_indented_lines() {
        let plan = r#"[{"Plan":{"Node Type":"Sort","Total Cost":9.5,"Plan Rows":3,"Sort Key":["a","b"],
            "Actual Rows":2,"Actual Loops":1,"Actual Total Time":0.25,
            "Plans":[{"Node Type":"Index Scan","Index Name":"i","Relation Name":"t","Total Cost":8,
            "Plan Rows":3,"Index Cond":"(a = $1)"}]},"Execution Time":0.5}]"#;
        let expected = "Sort  cost 9.50, rows 3; took 0.250 ms, rows 2, loops 1\n    sort key: a, b\n  \
            Index Scan using i on t  cost 8.00, rows 3\n      index cond: (a = $1)\n\
            Execution Time: 0.500 ms";
        assert_eq!(tree(plan), expected);
        assert_eq!(tree("Result\n"), "Result");
    }
}
