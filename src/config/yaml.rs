//! YAML text to a tree in which every key and value knows its line and column.
//! The only place that names the YAML crate; knows nothing of what the keys mean.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::{Location, Spanned};

/// A place in a file, both counted from 1, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub line: u64,
    pub column: u64,
}

impl Position {
    pub const START: Position = Position { line: 1, column: 1 };
}

/// A value and where it starts.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub at: Position,
    pub value: Value,
}

/// What a node holds. `Debug` shows the content, so it must not be logged.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    /// A number, in the form that JSON has for it.
    Number(serde_json::Number),
    Text(String),
    List(Vec<Node>),
    /// In the order of the file; no key occurs twice.
    Map(Vec<(Key, Node)>),
}

/// The key of a mapping and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    pub at: Position,
    pub name: String,
}

/// Text that is not YAML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    pub at: Position,
    pub message: String,
}

/// Reads one document. Anchors, aliases and merge keys are resolved, within the crate's own bounds on
/// depth and expansion; a key that occurs twice is an error. An empty document is `Null`.
pub fn parse(text: &str) -> Result<Node, SyntaxError> {
    // The snippet would repeat lines of the file, and a line may hold a password.
    let options = serde_yaml::options! {
        with_snippet: false,
        strict_booleans: true,
        // Far more than any settings file repeats; the crate's own million takes seconds to refuse.
        alias_limits: serde_yaml::alias_limits! { max_total_replayed_events: 20_000 },
    };
    match serde_yaml::from_str_with_options::<Option<Spanned<Value>>>(text, options) {
        Ok(Some(spanned)) => Ok(node(spanned)),
        Ok(None) => Ok(Node { at: Position::START, value: Value::Null }),
        Err(error) => {
            let at = error.location().map_or(Position::START, position);
            let message = error.without_snippet().to_string();
            // The crate ends its messages with the place, which the caller prints in front.
            let end = message.find(" at line ").unwrap_or(message.len());
            Err(SyntaxError { at, message: message[..end].to_owned() })
        }
    }
}

impl Node {
    /// The value under `key` of a mapping.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|(_, node)| node)
    }

    /// The key and the value under `key` of a mapping.
    pub fn entry(&self, key: &str) -> Option<(&Key, &Node)> {
        match &self.value {
            Value::Map(entries) => {
                entries.iter().find(|(name, _)| name.name == key).map(|(name, node)| (name, node))
            }
            _ => None,
        }
    }

    /// Where `path` leads. Numbers count list entries from 0. A path that ends early gives the place of
    /// its last part that exists, so that a missing key is reported at what should hold it.
    pub fn find(&self, path: &[&str]) -> Position {
        let mut node = self;
        let mut at = self.at;
        for part in path {
            let next = match &node.value {
                Value::Map(_) => node.entry(part).map(|(key, value)| (key.at, value)),
                Value::List(items) => {
                    part.parse::<usize>().ok().and_then(|index| items.get(index)).map(|item| (item.at, item))
                }
                _ => None,
            };
            let Some((place, value)) = next else {
                return at;
            };
            at = match value.value {
                // A block's own start is its first key; the key that holds it says more.
                Value::Map(_) | Value::List(_) | Value::Null => place,
                _ => value.at,
            };
            node = value;
        }
        at
    }

    /// What a mistake calls this value; never its content, which may be a secret.
    pub fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }
}

impl From<&Node> for serde_json::Value {
    fn from(node: &Node) -> serde_json::Value {
        match &node.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Number(value) => serde_json::Value::Number(value.clone()),
            Value::Text(value) => value.as_str().into(),
            Value::List(items) => items.iter().map(serde_json::Value::from).collect(),
            Value::Map(entries) => entries
                .iter()
                .map(|(key, value)| (key.name.clone(), serde_json::Value::from(value)))
                .collect(),
        }
    }
}

fn position(location: Location) -> Position {
    Position { line: location.line().max(1), column: location.column().max(1) }
}

fn node(spanned: Spanned<Value>) -> Node {
    Node { at: position(spanned.referenced), value: spanned.value }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        serde_json::Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element::<Spanned<Value>>()? {
            list.push(node(item));
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some(key) = entries.next_key::<Spanned<String>>()? {
            let value = entries.next_value::<Spanned<Value>>()?;
            let key = Key { at: position(key.referenced), name: key.value };
            map.push((key, node(value)));
        }
        Ok(Value::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: u64, column: u64) -> Position {
        Position { line, column }
    }

    #[test]
    fn every_key_and_value_knows_its_place() {
        let tree = parse("a:\n  b: 5\n  c: [x, {d: 1.5}]\n# more\ne:\n").unwrap();
        assert_eq!(tree.find(&["a"]), at(1, 1));
        assert_eq!(tree.find(&["a", "b"]), at(2, 6));
        assert_eq!(tree.get("a").unwrap().entry("b").unwrap().0.at, at(2, 3));
        assert_eq!(tree.find(&["a", "c", "0"]), at(3, 7));
        assert_eq!(tree.find(&["a", "c", "1", "d"]), at(3, 14));
        assert_eq!(tree.find(&["e"]), at(5, 1));
        assert_eq!(tree.find(&["a", "zzz"]), at(1, 1));
        let json = serde_json::Value::from(&tree);
        assert_eq!(json, serde_json::json!({"a": {"b": 5, "c": ["x", {"d": 1.5}]}, "e": null}));
    }

    #[test]
    fn scalars_keep_the_types_of_yaml_1_2() {
        let tree = parse("a: yes\nb: true\nc: '12'\nd: 30s\ne: -3\nf: md5abc\ng: ~\n18: x\n").unwrap();
        let json = serde_json::Value::from(&tree);
        assert_eq!(
            json,
            serde_json::json!({"a": "yes", "b": true, "c": "12", "d": "30s", "e": -3,
                "f": "md5abc", "g": null, "18": "x"})
        );
    }

    #[test]
    fn anchors_and_merges_are_resolved() {
        let tree = parse("a: &x {n: 1}\nb: *x\nc: {<<: *x, m: 2}\n").unwrap();
        let json = serde_json::Value::from(&tree);
        assert_eq!(json["b"], serde_json::json!({"n": 1}));
        assert_eq!(json["c"], serde_json::json!({"n": 1, "m": 2}));
    }

    #[test]
    fn broken_text_is_an_error_with_its_place() {
        for (text, line) in
            [("a: [1, 2\nb: 3", 2), ("a: 1\na: 2\n", 2), ("a:\n\tb: 2\n", 2), ("a: *nowhere\n", 1)]
        {
            let error = parse(text).unwrap_err();
            assert_eq!(error.at.line, line, "{text:?}: {error:?}");
            assert!(!error.message.is_empty());
        }
        assert!(parse("---\na: 1\n---\nb: 2\n").is_err());
        assert_eq!(parse("# nothing\n").unwrap().value, Value::Null);
    }

    #[test]
    fn an_error_never_repeats_a_line_of_the_file() {
        let error = parse("users: {app: {password: hunter2}\nx: [").unwrap_err();
        assert!(!error.message.contains("hunter2"), "{error:?}");
    }

    #[test]
    fn deep_nesting_and_alias_bombs_are_refused() {
        assert!(parse(&"[".repeat(100_000)).is_err());
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for i in 1..9 {
            let refs = vec![format!("*a{}", i - 1); 10].join(", ");
            bomb.push_str(&format!("a{i}: &a{i} [{refs}]\n"));
        }
        assert!(parse(&bomb).is_err());
    }
}
