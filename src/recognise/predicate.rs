//! Predicates: conditions on a message's head and body.

use std::borrow::Cow;

use http::HeaderMap;

use super::{
    doc::{At, Doc, Duplicate},
    routes::Captures,
    scan::Kind,
    select::Program,
};
use crate::config::{self, JsonType, Scalar, Side, Test};

/// A compiled [`config::Predicate`].
#[derive(Clone, Debug)]
pub struct Predicate {
    side: Side,
    place: Place,
    test: Test,
}

#[derive(Clone, Debug)]
enum Place {
    Body(config::Pointer),
    Select(Program),
    Header(http::HeaderName),
    Path(Box<str>),
    Query(Box<str>),
}

/// A message's head, as far as predicates and ids look at it.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// The headers.
    pub headers: &'a HeaderMap,
    /// What the route's `{name}`s stood for.
    pub captures: &'a Captures<'a>,
    /// The URL's query, without `?`.
    pub query: Option<&'a str>,
}

/// What a predicate looks at: one message and, in batches, one of its items.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a, 't> {
    /// Its head.
    pub head: Head<'a>,
    /// Its body; empty where there is none or it could not be read.
    pub doc: Doc<'a, 't>,
    /// Where body pointers start.
    pub from: At,
    /// What `{i}` stands for.
    pub item: Option<usize>,
}

impl Predicate {
    /// Compiles the selectors in it.
    pub fn new(predicate: &config::Predicate) -> Self {
        let place = match &predicate.at.place {
            config::Place::Body(pointer) => Place::Body(pointer.clone()),
            config::Place::Select(selector) => Place::Select(Program::new(selector)),
            config::Place::Header(name) => Place::Header(name.clone()),
            config::Place::Path(name) => Place::Path(name.clone()),
            config::Place::Query(key) => Place::Query(key.clone()),
        };
        Self { side: predicate.at.side, place, test: predicate.test.clone() }
    }

    /// The message it looks at.
    pub fn side(&self) -> Side {
        self.side
    }

    /// Whether it needs the message's body.
    pub fn reads_body(&self) -> bool {
        matches!(self.place, Place::Body(_) | Place::Select(_))
    }

    /// Whether it holds.
    pub fn holds(&self, message: Message<'_, '_>) -> Result<bool, Duplicate> {
        let Message { head, doc, from, item } = message;
        Ok(match &self.place {
            Place::Body(pointer) => self.holds_at(doc, doc.resolve(from, pointer, item)?),
            Place::Select(program) => {
                let mut found = Vec::new();
                program.select(doc, &mut found)?;
                match found.as_slice() {
                    [] => self.holds_at(doc, None),
                    some => some.iter().any(|selected| self.holds_at(doc, Some(selected.at))),
                }
            }
            Place::Header(name) => {
                let value = head.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
                self.holds_for_text(value)
            }
            Place::Path(name) => self.holds_for_text(head.captures.named(name).map(Cow::Borrowed)),
            Place::Query(key) => self.holds_for_text(head.query.and_then(|query| query_value(query, key))),
        })
    }

    fn holds_at(&self, doc: Doc<'_, '_>, at: Option<At>) -> bool {
        match (&self.test, at) {
            (Test::Exists, at) => at.is_some(),
            (Test::Absent, at) => at.is_none(),
            (_, None) => false,
            (Test::Eq(scalar), Some(at)) => equals(doc, at, scalar),
            (Test::In(scalars), Some(at)) => scalars.iter().any(|scalar| equals(doc, at, scalar)),
            (Test::Matches(regex), Some(at)) => {
                let written = doc.node(at).filter(|node| matches!(node.kind, Kind::String | Kind::Number));
                written.is_some_and(|node| regex.is_match(&doc.string(node)))
            }
            (Test::Type(kind), Some(at)) => doc.kind(at).is_some_and(|found| is(found, *kind)),
        }
    }

    fn holds_for_text(&self, value: Option<Cow<'_, str>>) -> bool {
        let is =
            |scalar: &Scalar, text: &str| matches!(scalar, Scalar::Text(expected) if **expected == *text);
        match (&self.test, value) {
            (Test::Exists, value) => value.is_some(),
            (Test::Absent, value) => value.is_none(),
            (_, None) => false,
            (Test::Eq(scalar), Some(text)) => is(scalar, &text),
            (Test::In(scalars), Some(text)) => scalars.iter().any(|scalar| is(scalar, &text)),
            (Test::Matches(regex), Some(text)) => regex.is_match(&text),
            // Configuration refuses the question.
            (Test::Type(_), Some(_)) => false,
        }
    }
}

fn is(found: Kind, kind: JsonType) -> bool {
    match kind {
        JsonType::String => found == Kind::String,
        JsonType::Number => found == Kind::Number,
        JsonType::Boolean => matches!(found, Kind::True | Kind::False),
        JsonType::Object => found == Kind::Object,
        JsonType::Array => found == Kind::Array,
        JsonType::Null => found == Kind::Null,
    }
}

/// Whether the value at `at` is `scalar`. Numbers compare by value.
pub(super) fn equals(doc: Doc<'_, '_>, at: At, scalar: &Scalar) -> bool {
    let Some(node) = doc.node(at) else { return false };
    match (scalar, node.kind) {
        (Scalar::Null, Kind::Null) => true,
        (Scalar::Bool(expected), Kind::True | Kind::False) => *expected == (node.kind == Kind::True),
        (Scalar::Number(expected), Kind::Number) => doc.raw(node).parse() == Ok(*expected),
        (Scalar::Text(expected), Kind::String) => doc.is_text(node, expected),
        _ => false,
    }
}

/// The percent-decoded value of the first `key=value` in a URL's query.
fn query_value<'q>(query: &'q str, key: &str) -> Option<Cow<'q, str>> {
    let decoded = |text: &'q str| percent_encoding::percent_decode_str(text).decode_utf8_lossy();
    let mut pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.find(|(name, _)| decoded(name) == key).map(|(_, value)| decoded(value))
}
