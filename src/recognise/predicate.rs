//! Predicates: conditions on a message's head and body.

use std::borrow::Cow;

use super::{
    doc::{At, Doc, Duplicate},
    place::{Lookup, Message, Place},
    scan::Kind,
};
use crate::config::{self, JsonType, Scalar, Side, Test};

/// A compiled [`config::Predicate`].
#[derive(Clone, Debug)]
pub(super) struct Predicate {
    at: Lookup,
    test: Test,
}

impl Predicate {
    /// Compiles the selectors in it.
    pub(super) fn new(predicate: &config::Predicate) -> Self {
        Self { at: Lookup::new(&predicate.at), test: predicate.test.clone() }
    }

    /// The message it looks at.
    pub(super) fn side(&self) -> Side {
        self.at.side
    }

    /// Whether it needs the message's body.
    pub(super) fn reads_body(&self) -> bool {
        self.at.reads_body()
    }

    /// Whether it holds for all items of a message or for none.
    pub(super) fn is_shared(&self) -> bool {
        self.at.is_shared()
    }

    /// Whether it holds.
    pub(super) fn holds(&self, message: Message<'_, '_>) -> Result<bool, Duplicate> {
        let Message { head, doc, .. } = message;
        Ok(match &self.at.place {
            Place::Body(pointer) => self.holds_at(doc, self.at.follow(pointer, message)?),
            Place::Select(program) => {
                let mut found = Vec::new();
                program.select(doc, &mut found)?;
                match found.as_slice() {
                    [] => self.holds_at(doc, None),
                    some => some.iter().any(|selected| self.holds_at(doc, Some(selected.at))),
                }
            }
            of_head => self.holds_for_text(head.text(of_head)),
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
