//! The JSON Schemas of pgweir.yaml and of the rules, for editors and for `strict`. Made from the mirrors.

use schemars::Schema;
use schemars::transform::{RecursiveTransform, Transform};
use serde_json::{Map, Value};

use super::file::File;
use super::rules::RuleFile;

/// The schema of pgweir.yaml as a value.
pub fn schema() -> Value {
    finish(schemars::schema_for!(File))
}

/// The schema of rule files as a value.
pub fn rules() -> Value {
    finish(schemars::schema_for!(RuleFile))
}

fn finish(mut schema: Schema) -> Value {
    RecursiveTransform(without_null).transform(&mut schema);
    schema.to_value()
}

/// The schema of rule files as `pgweir schema --rules` prints it.
pub fn rules_schema_text() -> String {
    format!("{:#}\n", rules())
}

/// The schema as `pgweir schema` prints it: indented, with a line end.
pub fn schema_text() -> String {
    format!("{:#}\n", schema())
}

/// An optional key is left out, not set to null: "password:" with nothing behind it is a mistake, not a
/// user without a password. Defaults that are whole sections only repeat the keys inside them.
fn without_null(schema: &mut Schema) {
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|name| name != "null");
        if let [one] = types.as_slice() {
            let one = one.clone();
            object.insert("type".to_owned(), one);
        }
    }
    if let Some(Value::Array(branches)) = object.get_mut("anyOf") {
        branches.retain(|branch| branch.get("type") != Some(&Value::from("null")));
        if let [Value::Object(one)] = branches.as_slice() {
            let one: Map<String, Value> = one.clone();
            object.remove("anyOf");
            object.extend(one);
        }
    }
    if matches!(object.get("default"), Some(Value::Null | Value::Object(_) | Value::Array(_))) {
        object.remove("default");
    }
}
