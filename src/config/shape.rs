//! Holds a document against the JSON Schema: unknown and missing keys, wrong types, words that are not allowed.
//!
//! Unknown keys are left out and what does not fit is replaced by an empty value, so that the rest still deserialises
//! and all its other mistakes are found in the same run.

use std::collections::HashSet;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json};

use super::{
    document::{Key, Mark, Node, Value},
    findings::{Findings, KeyPath},
    problem::nearest_or_all,
};

/// The JSON Schema of a raw type.
pub(super) fn schema<T: JsonSchema>() -> Json {
    schemars::schema_for!(T).to_value()
}

/// The document as `T`, without what does not fit; every misfit is in `findings`.
pub(super) fn fit<T: JsonSchema + DeserializeOwned>(root: &Node, findings: &mut Findings) -> Option<T> {
    let schema = schema::<T>();
    let value = Shape { schema: &schema, findings }.node(root, &schema, &KeyPath::default());
    match serde_json::from_value(value) {
        Ok(raw) => Some(raw),
        Err(error) => {
            // Reached only where the schema says less than the type does.
            findings.spoil(&KeyPath::default(), root.mark, error.to_string(), None);
            None
        }
    }
}

struct Shape<'a> {
    schema: &'a Json,
    findings: &'a mut Findings,
}

impl<'a> Shape<'a> {
    /// The node as JSON, or an empty value once it has been reported.
    fn node(&mut self, node: &Node, schema: &'a Json, path: &KeyPath) -> Json {
        self.findings.mark(path, node.mark);
        if matches!(node.value, Value::Null) && schema.get("anyOf").is_some() {
            return Json::Null;
        }
        let schema = self.resolve(schema);
        self.fitting(node, schema, path).unwrap_or_else(|| self.empty(schema))
    }

    fn fitting(&mut self, node: &Node, schema: &'a Json, path: &KeyPath) -> Option<Json> {
        if let Some(words) = words(schema) {
            return self.word(node, &words, path);
        }
        let types = types(schema);
        if !types.is_empty() && !types.iter().any(|kind| is(&node.value, kind)) {
            let message = format!("expected {}, found {}", expected(&types), name(&node.value));
            let quotes = types.contains(&"string") && matches!(node.value, Value::Number(_) | Value::Bool(_));
            let hint = quotes.then(|| "put it in quotes".to_owned());
            self.findings.spoil(path, node.mark, message, hint);
            return None;
        }
        match &node.value {
            Value::Null => Some(Json::Null),
            Value::Bool(yes) => Some(Json::Bool(*yes)),
            Value::Number(number) => self.number(number, node.mark, schema, path),
            Value::Text(text) => Some(Json::String(text.clone())),
            Value::List(items) => self.list(items, node.mark, schema, path),
            Value::Map(entries) => Some(self.map(entries, node.mark, schema, path)),
        }
    }

    fn word(&mut self, node: &Node, words: &[&str], path: &KeyPath) -> Option<Json> {
        match &node.value {
            Value::Text(text) if words.contains(&text.as_str()) => Some(Json::String(text.clone())),
            Value::Text(text) => {
                let hint = nearest_or_all(text, words.iter().copied());
                self.findings.spoil(path, node.mark, format!("{text:?} is not known here"), hint);
                None
            }
            other => {
                let message = format!("expected one of {}, found {}", words.join(", "), name(other));
                self.findings.spoil(path, node.mark, message, None);
                None
            }
        }
    }

    fn number(
        &mut self,
        number: &serde_json::Number,
        mark: Mark,
        schema: &Json,
        path: &KeyPath,
    ) -> Option<Json> {
        let bound = |key: &str| schema.get(key).and_then(Json::as_f64);
        let value = number.as_f64().unwrap_or(f64::NAN);
        let low = bound("minimum").filter(|low| value < *low).map(|low| format!("less than {low}"));
        let high = bound("maximum").filter(|high| value > *high).map(|high| format!("more than {high}"));
        match low.or(high) {
            Some(off) => {
                self.findings.spoil(path, mark, format!("{number} is {off}"), None);
                None
            }
            None => Some(Json::Number(number.clone())),
        }
    }

    fn list(&mut self, items: &[Node], mark: Mark, schema: &'a Json, path: &KeyPath) -> Option<Json> {
        let length = |key: &str| schema.get(key).and_then(Json::as_u64).and_then(|n| usize::try_from(n).ok());
        let few =
            length("minItems").filter(|least| items.len() < *least).map(|least| format!("at least {least}"));
        let many =
            length("maxItems").filter(|most| items.len() > *most).map(|most| format!("at most {most}"));
        if let Some(bound) = few.or(many) {
            self.findings.spoil(path, mark, format!("expected {bound} values, found {}", items.len()), None);
            return None;
        }
        let of = schema.get("items").unwrap_or(&Json::Bool(true));
        let item = |(index, item)| self.node(item, of, &path.item(index));
        Some(Json::Array(items.iter().enumerate().map(item).collect()))
    }

    fn map(&mut self, entries: &[(Key, Node)], mark: Mark, schema: &'a Json, path: &KeyPath) -> Json {
        let known = schema.get("properties").and_then(Json::as_object);
        let other = schema.get("additionalProperties").filter(|other| !other.is_boolean());
        let mut seen = HashSet::new();
        let mut map = Map::new();
        for (key, node) in entries {
            let below = path.key(&key.name);
            if !seen.insert(key.name.as_str()) {
                self.findings.spoil(&below, key.mark, "the same key stands above", None);
                continue;
            }
            match known.and_then(|known| known.get(&key.name)).or(other) {
                Some(schema) => {
                    let value = self.node(node, schema, &below);
                    map.insert(key.name.clone(), value);
                }
                None => {
                    let names = known.into_iter().flat_map(Map::keys).map(String::as_str);
                    let hint = nearest_or_all(&key.name, names);
                    self.findings.spoil(&below, key.mark, "unknown key", hint);
                }
            }
        }
        self.require(&mut map, &seen, schema, (mark, path));
        Json::Object(map)
    }

    /// Reports required keys that are not there, and fills them in.
    fn require(
        &mut self,
        map: &mut Map<String, Json>,
        seen: &HashSet<&str>,
        schema: &'a Json,
        (mark, path): (Mark, &KeyPath),
    ) {
        let required = schema.get("required").and_then(Json::as_array).into_iter().flatten();
        for name in required.filter_map(Json::as_str).filter(|name| !seen.contains(name)) {
            self.findings.spoil(&path.key(name), mark, "required key is missing", None);
            if let Some(of) = schema.get("properties").and_then(|known| known.get(name)) {
                map.insert(name.to_owned(), self.empty(of));
            }
        }
    }

    /// What stands in for a value that is missing or does not fit.
    fn empty(&self, schema: &'a Json) -> Json {
        let schema = self.resolve(schema);
        if let Some(word) = words(schema).and_then(|words| words.first().map(|&word| word.to_owned())) {
            return Json::String(word);
        }
        match types(schema).first().copied() {
            Some("string") => Json::String(String::new()),
            Some("integer" | "number") => Json::from(0),
            Some("boolean") => Json::Bool(false),
            Some("array") => {
                let item = schema.get("items").map_or(Json::Null, |of| self.empty(of));
                let least =
                    schema.get("minItems").and_then(Json::as_u64).and_then(|n| usize::try_from(n).ok());
                Json::Array(vec![item; least.unwrap_or(0)])
            }
            Some("object") => {
                let known = schema.get("properties").and_then(Json::as_object);
                let required = schema.get("required").and_then(Json::as_array).into_iter().flatten();
                let entry = |name: &'a str| Some((name.to_owned(), self.empty(known?.get(name)?)));
                Json::Object(required.filter_map(Json::as_str).filter_map(entry).collect())
            }
            _ => Json::Null,
        }
    }

    /// Follows `$ref`, and takes the branch that is not `null` where a value is optional.
    fn resolve(&self, schema: &'a Json) -> &'a Json {
        let branch = schema.get("anyOf").and_then(Json::as_array).and_then(|branches| branches.first());
        let schema = branch.unwrap_or(schema);
        let target = schema.get("$ref").and_then(Json::as_str).and_then(|name| name.strip_prefix('#'));
        target.and_then(|name| self.schema.pointer(name)).unwrap_or(schema)
    }
}

/// The words of an enumeration.
fn words(schema: &Json) -> Option<Vec<&str>> {
    if let Some(words) = schema.get("enum").and_then(Json::as_array) {
        return Some(words.iter().filter_map(Json::as_str).collect());
    }
    let branches = schema.get("oneOf").and_then(Json::as_array)?;
    Some(branches.iter().filter_map(|branch| branch.get("const").and_then(Json::as_str)).collect())
}

fn types(schema: &Json) -> Vec<&str> {
    match schema.get("type") {
        Some(Json::String(one)) => vec![one],
        Some(Json::Array(several)) => several.iter().filter_map(Json::as_str).collect(),
        _ => Vec::new(),
    }
}

fn is(value: &Value, kind: &str) -> bool {
    match (value, kind) {
        (Value::Null, "null")
        | (Value::Bool(_), "boolean")
        | (Value::Number(_), "number")
        | (Value::Text(_), "string")
        | (Value::List(_), "array")
        | (Value::Map(_), "object") => true,
        (Value::Number(number), "integer") => !number.is_f64(),
        _ => false,
    }
}

/// How people call what the schema asks for.
fn expected(types: &[&str]) -> String {
    let call = |kind: &&str| match *kind {
        "string" => "text",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        "array" => "a list",
        "object" => "a mapping",
        _ => "nothing",
    };
    types.iter().filter(|kind| **kind != "null").map(call).collect::<Vec<_>>().join(" or ")
}

/// How people call what is there.
fn name(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::Text(_) => "text",
        Value::List(_) => "a list",
        Value::Map(_) => "a mapping",
    }
}
