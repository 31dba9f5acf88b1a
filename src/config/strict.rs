//! Holds a settings tree against the JSON Schema and reports every mistake, each with its place.
//! What passes is handed on without the parts that are wrong, so that the checks of meaning in `resolve`
//! can run in the same round. Knows the words of JSON Schema that our schema uses, and no setting by name.

use serde_json::{Map, Value as Json};

use super::human::{Human, Size, Workers};
use super::mistake::{Mistake, nearest};
use super::rules::Span;
use super::yaml::{Key, Node, Position, Value};

/// The mistakes found so far in one file.
#[derive(Debug)]
pub struct Report {
    file: String,
    pub mistakes: Vec<Mistake>,
}

impl Report {
    /// `file` is the name that the mistakes show.
    pub fn new(file: impl Into<String>) -> Report {
        Report { file: file.into(), mistakes: Vec::new() }
    }

    /// `path` is joined by dots, as the mistake shows it.
    pub fn add(&mut self, at: Position, path: &str, message: impl Into<String>) {
        self.add_nearest(at, path, message, None);
    }

    fn add_nearest(&mut self, at: Position, path: &str, message: impl Into<String>, nearest: Option<String>) {
        self.mistakes.push(Mistake {
            file: self.file.clone(),
            at,
            path: path.to_owned(),
            message: message.into(),
            nearest,
        });
    }

    /// Whether something at, above or below `path` is reported already; another mistake there would most
    /// likely be a consequence of it.
    pub fn touches(&self, path: &str) -> bool {
        let leads = |short: &str, long: &str| {
            long.strip_prefix(short).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.mistakes.iter().any(|other| leads(&other.path, path) || leads(path, &other.path))
    }
}

/// Checks `tree` against `schema` and returns what is right of it. `None`: nothing is.
pub fn check(schema: &Json, tree: &Node, report: &mut Report) -> Option<Json> {
    let mut checker = Checker { root: schema, report, path: Vec::new() };
    checker.value(schema, tree, tree.at)
}

struct Checker<'a> {
    root: &'a Json,
    report: &'a mut Report,
    path: Vec<String>,
}

impl<'a> Checker<'a> {
    /// One value. `place` is where to point when the value itself has no place of its own.
    fn value(&mut self, schema: &'a Json, node: &'a Node, place: Position) -> Option<Json> {
        let own_form = schema.get("$ref").and_then(|name| match name.as_str()? {
            "#/$defs/Duration" => Some((|text| Human::parse(text).map(drop)) as OwnForm),
            "#/$defs/Interval" => Some((|text| Span::parse(text).map(drop)) as OwnForm),
            "#/$defs/Size" => Some((|text| Size::parse(text).map(drop)) as OwnForm),
            "#/$defs/Workers" => Some((|text| Workers::parse(text).map(drop)) as OwnForm),
            _ => None,
        });
        let schema = self.target(schema);
        let at = match node.value {
            Value::Null => place,
            _ => node.at,
        };
        if let Some(parse) = own_form {
            return self.own_form(parse, node, at);
        }
        if let Some(Json::Array(choices)) = schema.get("oneOf") {
            return self.choice(choices, node, at);
        }
        let kind = schema.get("type").and_then(Json::as_str).unwrap_or("");
        match (kind, &node.value) {
            ("object", Value::Map(entries)) => self.mapping(schema, entries, place),
            // A section whose keys are all commented out.
            ("object", Value::Null) => self.mapping(schema, &[], place),
            ("array", Value::List(items)) => self.list(schema, items, place),
            ("string", Value::Text(text)) => self.text(schema, text, at),
            ("boolean", Value::Bool(value)) => Some((*value).into()),
            ("integer", Value::Number(number)) => self.integer(schema, number, at),
            _ => self.wrong(at, wrong_kind(kind, node)),
        }
    }

    fn target(&self, schema: &'a Json) -> &'a Json {
        schema
            .get("$ref")
            .and_then(Json::as_str)
            .and_then(|name| name.strip_prefix('#'))
            .and_then(|pointer| self.root.pointer(pointer))
            .unwrap_or(schema)
    }

    fn wrong(&mut self, at: Position, message: impl Into<String>) -> Option<Json> {
        self.report.add(at, &self.path.join("."), message);
        None
    }

    fn own_form(&mut self, parse: OwnForm, node: &Node, at: Position) -> Option<Json> {
        let text = match &node.value {
            Value::Text(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            // Never a valid form, so the error says what is.
            _ => String::new(),
        };
        match parse(&text) {
            Ok(()) => Some(Json::from(node)),
            Err(message) => self.wrong(at, message),
        }
    }

    fn choice(&mut self, choices: &'a [Json], node: &'a Node, at: Position) -> Option<Json> {
        let names: Vec<&str> = choices.iter().filter_map(|choice| choice.get("const")?.as_str()).collect();
        // A choice with settings of its own is a mapping with one key.
        let own = choices.iter().find(|choice| choice.get("properties").is_some());
        if let (Some(own), Value::Map(entries)) = (own, &node.value) {
            return self.mapping(own, entries, at);
        }
        let keys = own.and_then(|own| own.get("properties")?.as_object()).into_iter().flat_map(Map::keys);
        let keys = keys.map(|key| format!(", {key}: {{…}}")).collect::<String>();
        let expected = format!("expected one of {}{keys}", names.join(", "));
        let Value::Text(text) = &node.value else {
            return self.wrong(at, format!("{expected}; found {}", node.kind()));
        };
        if names.contains(&text.as_str()) {
            return Some(text.as_str().into());
        }
        let meant = nearest(text, names);
        let path = self.path.join(".");
        self.report.add_nearest(at, &path, expected, meant);
        None
    }

    fn text(&mut self, schema: &Json, text: &str, at: Position) -> Option<Json> {
        let is_address = schema.get("format").and_then(Json::as_str) == Some("ip");
        if is_address && text.parse::<std::net::IpAddr>().is_err() {
            return self.wrong(at, "expected an IP address such as 127.0.0.1, 0.0.0.0 or \"::\"");
        }
        Some(text.into())
    }

    fn integer(&mut self, schema: &Json, number: &serde_json::Number, at: Position) -> Option<Json> {
        let bound = |name| schema.get(name).and_then(Json::as_u64);
        let (low, high) = (bound("minimum").unwrap_or(0), bound("maximum").unwrap_or(u64::from(u32::MAX)));
        match number.as_u64() {
            Some(value) if (low..=high).contains(&value) => Some(value.into()),
            _ => self.wrong(at, format!("expected a whole number from {low} to {high}; found {number}")),
        }
    }

    fn list(&mut self, schema: &'a Json, items: &'a [Node], place: Position) -> Option<Json> {
        let least = schema.get("minItems").and_then(Json::as_u64).unwrap_or(0);
        if (items.len() as u64) < least {
            return self.wrong(place, "the list is empty; at least one entry is needed");
        }
        let entry = schema.get("items").unwrap_or(&Json::Null);
        let mut good = Vec::new();
        for (index, item) in items.iter().enumerate() {
            self.path.push(index.to_string());
            good.extend(self.value(entry, item, item.at));
            self.path.pop();
        }
        // What is left of a list of wrong entries must not look like an empty list.
        (good.len() as u64 >= least).then_some(Json::Array(good))
    }

    fn mapping(&mut self, schema: &'a Json, entries: &'a [(Key, Node)], place: Position) -> Option<Json> {
        let properties = schema.get("properties").and_then(Json::as_object);
        let others = schema.get("additionalProperties").filter(|s| s.is_object());
        let mut good = Map::new();
        for (key, node) in entries {
            let known = properties.and_then(|p| p.get(&key.name)).or(others);
            self.path.push(key.name.clone());
            match known {
                Some(inner) => {
                    if let Some(value) = self.value(inner, node, key.at) {
                        good.insert(key.name.clone(), value);
                    }
                }
                None => self.unknown(key, properties),
            }
            self.path.pop();
        }
        let mut complete = true;
        for name in strings(schema.get("required")) {
            let present = entries.iter().any(|(key, _)| key.name == name);
            if !present {
                self.wrong(place, format!("the key {name} is missing"));
            }
            complete &= good.contains_key(name);
        }
        let least = schema.get("minProperties").and_then(Json::as_u64);
        if (entries.len() as u64) < least.unwrap_or(0) {
            self.wrong(place, "empty; at least one entry is needed");
        }
        // Every key of the whole file has a default, so the rest can still be checked without it.
        (complete || self.path.is_empty()).then_some(Json::Object(good))
    }

    fn unknown(&mut self, key: &Key, properties: Option<&'a Map<String, Json>>) {
        let mut valid: Vec<String> = Vec::new();
        let mut deeper: Vec<String> = Vec::new();
        for (name, schema) in properties.into_iter().flatten() {
            valid.push(name.clone());
            let inner = self.target(schema).get("properties");
            for below in inner.and_then(Json::as_object).into_iter().flatten() {
                deeper.push(format!("{name}.{}", below.0));
            }
        }
        // A key of this level is more likely what was meant than one that belongs one level deeper.
        let meant = nearest(&key.name, valid.iter().map(String::as_str))
            .or_else(|| nearest(&key.name, deeper.iter().map(String::as_str)));
        let message = match meant {
            Some(_) => "unknown key".to_owned(),
            None => format!("unknown key; the keys here are {}", valid.join(", ")),
        };
        let path = self.path.join(".");
        self.report.add_nearest(key.at, &path, message, meant);
    }
}

/// Checks a value that has a text form of its own. `Err` says what is expected.
type OwnForm = fn(&str) -> Result<(), String>;

fn strings(value: Option<&Json>) -> impl Iterator<Item = &str> {
    value.and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str)
}

/// The value is not repeated: it may be a password.
fn wrong_kind(kind: &str, node: &Node) -> String {
    let expected = match kind {
        "object" => "expected a mapping (key: value)",
        "array" => "expected a list ([a, b] or lines that start with -)",
        "string" => "expected text",
        "boolean" => "expected true or false",
        "integer" => "expected a whole number",
        _ => "expected another kind of value",
    };
    let advice = match (kind, &node.value) {
        (_, Value::Null) => "; give it a value or remove the key",
        ("string", Value::Number(_) | Value::Bool(_)) => "; put it in quotes",
        _ => "",
    };
    format!("{expected}, found {}{advice}", node.kind())
}
