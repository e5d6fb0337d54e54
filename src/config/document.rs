//! YAML text to a tree that knows where each key and value stands.
//!
//! The text may come from anywhere, so what it can make us hold is bounded: bytes, depth, and nodes after aliases have
//! been replaced by what they stand for.

use std::{borrow::Cow, collections::HashMap};

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, Tag};

use super::problem::Problem;

/// Longest text in bytes. A mapping of a thousand features is a tenth of it.
pub(super) const MAX_BYTES: usize = 1 << 20;
/// Deepest nesting. The schema itself goes nine levels down.
const MAX_DEPTH: usize = 32;
/// Longest key in bytes, since keys are repeated in messages.
const MAX_KEY: usize = 256;
/// Bytes held by nodes and their text, aliases counted as often as they are used.
const BUDGET: usize = 4 << 20;

/// Where a node stands: line and column, counted from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) line: usize,
    pub(super) column: usize,
}

impl Mark {
    /// The first character of the file.
    pub(super) const START: Self = Self { line: 1, column: 1 };

    /// A problem of the file as a whole that shows here.
    fn problem(self, message: impl Into<String>) -> Problem {
        let Self { line, column } = self;
        Problem { line, column, key: String::new(), message: message.into(), hint: None }
    }
}

impl From<Marker> for Mark {
    fn from(marker: Marker) -> Self {
        Self { line: marker.line(), column: marker.col() + 1 }
    }
}

/// A value and its place.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) mark: Mark,
}

/// What a node holds, by the YAML 1.2 core schema: `off` and `no` are text.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Number(serde_json::Number),
    Text(String),
    List(Vec<Node>),
    /// In the file's order; a key may occur twice.
    Map(Vec<(Key, Node)>),
}

/// A mapping's key. Always text, whatever it looks like.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) mark: Mark,
}

/// Reads one document. A file without one counts as an empty mapping.
pub(super) fn read(text: &str) -> Result<Node, Problem> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.len() > MAX_BYTES {
        return Err(Mark::START.problem(format!("longer than {MAX_BYTES} bytes")));
    }
    refuse_control(text)?;
    let mut builder = Builder::default();
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| syntax(&error))?;
        builder.take(event, span)?;
    }
    Ok(match builder.root {
        Some(Node { value: Value::Null, mark }) => Node { value: Value::Map(Vec::new()), mark },
        Some(root) => root,
        None => Node { value: Value::Map(Vec::new()), mark: Mark::START },
    })
}

/// Reads one document of another tool as JSON, within the same bounds. Of a key that occurs twice the last counts.
pub(crate) fn json(text: &str) -> Result<serde_json::Value, Problem> {
    Ok(read(text)?.into())
}

impl From<Node> for serde_json::Value {
    fn from(node: Node) -> Self {
        match node.value {
            Value::Null => Self::Null,
            Value::Bool(yes) => Self::Bool(yes),
            Value::Number(number) => Self::Number(number),
            Value::Text(text) => Self::String(text),
            Value::List(items) => Self::Array(items.into_iter().map(Into::into).collect()),
            Value::Map(entries) => {
                Self::Object(entries.into_iter().map(|(key, node)| (key.name, node.into())).collect())
            }
        }
    }
}

/// YAML forbids control characters, and the scanner takes NUL for the end of the file.
fn refuse_control(text: &str) -> Result<(), Problem> {
    let mut mark = Mark::START;
    for c in text.chars() {
        if c.is_control() && !matches!(c, '\t' | '\n' | '\r') {
            return Err(mark.problem(format!("control character {}", c.escape_unicode())));
        }
        mark = match c {
            '\n' => Mark { line: mark.line + 1, column: 1 },
            _ => Mark { column: mark.column + 1, ..mark },
        };
    }
    Ok(())
}

fn syntax(error: &ScanError) -> Problem {
    Mark::from(*error.marker()).problem(format!("not YAML: {}", error.info()))
}

/// The tree under construction.
#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    spent: usize,
    root: Option<Node>,
}

/// A list or mapping whose end has not come yet.
struct Open {
    node: Node,
    anchor: usize,
    /// In a mapping, the key that waits for its value.
    key: Option<Key>,
}

impl Open {
    fn wants_key(&self) -> bool {
        self.key.is_none() && matches!(self.node.value, Value::Map(_))
    }
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Problem> {
        let mark = Mark::from(span.start);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                if self.wants_key() {
                    return self.key(&text, mark);
                }
                let value = scalar(text, style, tag.as_deref()).map_err(|message| mark.problem(message))?;
                self.close(Node { value, mark }, anchor)
            }
            Event::SequenceStart(anchor, tag) => self.start(Value::List(Vec::new()), (anchor, tag), mark),
            Event::MappingStart(anchor, tag) => self.start(Value::Map(Vec::new()), (anchor, tag), mark),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(open) => self.close(open.node, open.anchor),
                None => Ok(()),
            },
            Event::Alias(anchor) => self.alias(anchor, mark),
            Event::DocumentStart(_) if self.root.is_some() => {
                Err(mark.problem("a second document; the file holds one configuration"))
            }
            _ => Ok(()),
        }
    }

    fn wants_key(&self) -> bool {
        self.open.last().is_some_and(Open::wants_key)
    }

    fn key(&mut self, name: &str, mark: Mark) -> Result<(), Problem> {
        if name.len() > MAX_KEY {
            return Err(mark.problem(format!("a key longer than {MAX_KEY} bytes")));
        }
        self.spend(name.len(), mark)?;
        if let Some(open) = self.open.last_mut() {
            open.key = Some(Key { name: name.to_owned(), mark });
        }
        Ok(())
    }

    fn start(
        &mut self,
        value: Value,
        (anchor, tag): (usize, Option<Cow<'_, Tag>>),
        mark: Mark,
    ) -> Result<(), Problem> {
        if let Some(tag) = tag {
            return Err(mark.problem(format!("tag {tag} has no meaning here")));
        }
        if self.wants_key() {
            return Err(mark.problem("a key must be text"));
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(mark.problem(format!("nested deeper than {MAX_DEPTH}")));
        }
        self.open.push(Open { node: Node { value, mark }, anchor, key: None });
        Ok(())
    }

    /// A copy of what the anchor stands for, at the alias's own place so that problems name where it is used.
    fn alias(&mut self, anchor: usize, mark: Mark) -> Result<(), Problem> {
        if self.wants_key() {
            return Err(mark.problem("a key must be text"));
        }
        let Some(node) = self.anchors.get(&anchor) else {
            return Err(mark.problem("an alias of a key, or inside of what it stands for"));
        };
        let (weight, depth) = measure(node);
        let copy = Node { value: node.value.clone(), mark };
        self.spend(weight, mark)?;
        if self.open.len() + depth > MAX_DEPTH {
            return Err(mark.problem(format!("nested deeper than {MAX_DEPTH}")));
        }
        self.attach(copy);
        Ok(())
    }

    /// A node is complete: remember it if it has an anchor, and hand it to what it stands in.
    fn close(&mut self, node: Node, anchor: usize) -> Result<(), Problem> {
        let own = match &node.value {
            Value::Text(text) => text.len(),
            _ => 0,
        };
        self.spend(size_of::<(Key, Node)>() + own, node.mark)?;
        if anchor > 0 {
            self.spend(measure(&node).0, node.mark)?;
            self.anchors.insert(anchor, node.clone());
        }
        self.attach(node);
        Ok(())
    }

    fn attach(&mut self, node: Node) {
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return;
        };
        match (&mut open.node.value, open.key.take()) {
            (Value::Map(entries), Some(key)) => entries.push((key, node)),
            (Value::List(items), _) => items.push(node),
            _ => {}
        }
    }

    fn spend(&mut self, bytes: usize, mark: Mark) -> Result<(), Problem> {
        self.spent = self.spent.saturating_add(bytes);
        if self.spent > BUDGET {
            return Err(mark.problem("too many values"));
        }
        Ok(())
    }
}

/// Bytes held below and including this node, and how many levels of lists and mappings it has.
fn measure(node: &Node) -> (usize, usize) {
    let own = size_of::<(Key, Node)>();
    let add =
        |(weight, depth): (usize, usize), (more, deeper): (usize, usize)| (weight + more, depth.max(deeper));
    match &node.value {
        Value::Text(text) => (own + text.len(), 0),
        Value::List(items) => {
            let (weight, depth) = items.iter().map(measure).fold((own, 0), add);
            (weight, depth + 1)
        }
        Value::Map(entries) => {
            let entry = |(key, node): &(Key, Node)| add((key.name.len(), 0), measure(node));
            let (weight, depth) = entries.iter().map(entry).fold((own, 0), add);
            (weight, depth + 1)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => (own, 0),
    }
}

fn scalar(text: Cow<'_, str>, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, String> {
    match tag {
        Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => Ok(Value::Text(text.into_owned())),
        Some(tag) => Err(format!("tag {tag} has no meaning here")),
        None if style == ScalarStyle::Plain => Ok(plain(text)),
        None => Ok(Value::Text(text.into_owned())),
    }
}

/// What an unquoted word means. `.inf` and `.nan` stay text, since no setting takes them.
fn plain(text: Cow<'_, str>) -> Value {
    match &*text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        word => match number(word) {
            Some(number) => Value::Number(number),
            None => Value::Text(text.into_owned()),
        },
    }
}

fn number(word: &str) -> Option<serde_json::Number> {
    let radix = |digits: &str, radix| u64::from_str_radix(digits, radix).ok().map(Into::into);
    if let Some(digits) = word.strip_prefix("0x").filter(|digits| !digits.starts_with('+')) {
        return radix(digits, 16);
    }
    if let Some(digits) = word.strip_prefix("0o").filter(|digits| !digits.starts_with('+')) {
        return radix(digits, 8);
    }
    if let Ok(whole) = word.parse::<i64>() {
        return Some(whole.into());
    }
    // Rust reads `inf` and `nan` too; YAML does not.
    let digits = word.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E'));
    digits.then(|| word.parse().ok().and_then(serde_json::Number::from_f64)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_mean_what_yaml_1_2_says() {
        let show = |text: &str| match read(&format!("k: {text}\n")).unwrap().value {
            Value::Map(entries) => match &entries[0].1.value {
                Value::Null => "null".to_owned(),
                Value::Bool(yes) => format!("bool {yes}"),
                Value::Number(number) => format!("number {number}"),
                Value::Text(text) => format!("text {text}"),
                Value::List(_) | Value::Map(_) => "more".to_owned(),
            },
            _ => "no map".to_owned(),
        };
        for (text, expected) in [
            ("", "null"),
            ("~", "null"),
            ("off", "text off"),
            ("no", "text no"),
            ("True", "bool true"),
            ("007", "number 7"),
            ("0x1F", "number 31"),
            ("0o17", "number 15"),
            ("-1.5e3", "number -1500.0"),
            (".5", "number 0.5"),
            ("1_000", "text 1_000"),
            (".nan", "text .nan"),
            ("inf", "text inf"),
            ("127.0.0.1", "text 127.0.0.1"),
            ("2024-01-01", "text 2024-01-01"),
            ("'1'", "text 1"),
            ("!!str 1", "text 1"),
        ] {
            assert_eq!(show(text), expected, "{text}");
        }
    }

    #[test]
    fn a_document_of_another_tool_is_json() {
        let json = json("a: [1, x, ~]\nb: {c: yes, d: True}\n'e': '2'\na: 0.5\n").unwrap();
        assert_eq!(json, serde_json::json!({"a": 0.5, "b": {"c": "yes", "d": true}, "e": "2"}));
        assert!(super::json("a: !!python/object x\n").is_err());
    }

    #[test]
    fn keys_and_values_know_their_place() {
        let root = read("a: 1\nb:\n  - c: x\n    d: {e: y}\n").unwrap();
        let Value::Map(entries) = root.value else { panic!("no map") };
        let place = |mark: Mark| (mark.line, mark.column);
        assert_eq!((place(entries[0].0.mark), place(entries[0].1.mark)), ((1, 1), (1, 4)));
        let Value::List(items) = &entries[1].1.value else { panic!("no list") };
        assert_eq!((place(entries[1].0.mark), place(items[0].mark)), ((2, 1), (3, 5)));
        let Value::Map(inner) = &items[0].value else { panic!("no map") };
        assert_eq!((place(inner[1].0.mark), place(inner[1].1.mark)), ((4, 5), (4, 8)));
    }
}
