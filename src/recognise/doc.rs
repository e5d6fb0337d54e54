//! A scanned body, to walk in.

use std::borrow::Cow;

use super::scan::{Kind, Node, Tape};
use crate::{
    config::{Pointer, Step},
    lead::Spot,
};

/// A body and its tape. Positions are indexes of nodes.
#[derive(Clone, Copy, Debug)]
pub struct Doc<'a, 't> {
    text: &'a str,
    nodes: &'t [Node],
    /// Whether offsets in the text are offsets in the body.
    in_place: bool,
    shape: u64,
}

/// The index of a value's node.
pub type At = usize;

/// A key that was asked for stands twice in its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Duplicate;

impl<'a, 't> Doc<'a, 't> {
    /// `tape` holds the scan of `text`, or the doc is empty.
    pub fn new(text: &'a str, tape: &'t Tape) -> Self {
        Self { text, nodes: tape.nodes(), in_place: true, shape: tape.shape() }
    }

    /// The same for text that was made of a body: it is read, and has no place to write to.
    pub fn made(text: &'a str, tape: &'t Tape) -> Self {
        Self { in_place: false, ..Self::new(text, tape) }
    }

    /// The number of its shape; `None` where that is not known.
    pub(super) fn shape(&self) -> Option<u64> {
        Some(self.shape).filter(|shape| *shape != 0)
    }

    /// The whole body, after its byte order mark.
    pub fn text(&self) -> &'a str {
        self.text.trim_start_matches('\u{feff}')
    }

    /// The outermost value.
    pub const ROOT: At = 0;

    /// The node at `at`.
    pub fn node(&self, at: At) -> Option<&'t Node> {
        self.nodes.get(at)
    }

    /// What the value is; `None` off the tape.
    pub fn kind(&self, at: At) -> Option<Kind> {
        self.node(at).map(|node| node.kind)
    }

    /// The members of an object: the key's node and the value's index. Nothing for any other value.
    pub fn members(&self, at: At) -> impl Iterator<Item = (&'t Node, At)> + use<'a, 't> {
        let last = self.last_inside(at, Kind::Object);
        let inside = self.nodes.get(..last).unwrap_or_default();
        let mut key = at + 1;
        std::iter::from_fn(move || {
            let value = key + 1;
            let pair = (inside.get(key)?, value);
            key = inside.get(value)?.next as usize;
            Some(pair)
        })
    }

    /// How many nodes it has.
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The elements of an array. Nothing for any other value.
    pub fn elements(&self, at: At) -> impl Iterator<Item = At> + use<'a, 't> {
        let nodes = self.nodes;
        let last = self.last_inside(at, Kind::Array);
        let mut next = at + 1;
        std::iter::from_fn(move || {
            let element = next;
            let node = nodes.get(element).filter(|_| element < last)?;
            next = node.next as usize;
            Some(element)
        })
    }

    /// Whether the value is the one element of an array.
    pub fn is_only_element(&self, at: At) -> bool {
        let before = at.checked_sub(1).and_then(|before| self.node(before));
        let list = before.filter(|node| node.kind == Kind::Array);
        // The first element's node follows its array's, and the last one ends where the array does.
        list.zip(self.node(at)).is_some_and(|(list, node)| list.next == node.next)
    }

    fn last_inside(&self, at: At, kind: Kind) -> usize {
        self.node(at).filter(|node| node.kind == kind).map_or(0, |node| node.next as usize)
    }

    /// The value of the member called `name`.
    pub fn member(&self, object: At, name: &str) -> Result<Option<At>, Duplicate> {
        let mut found = None;
        for (key, value) in self.members(object) {
            // Most are of another length, and need not be looked at.
            let may_be = key.escaped || (key.end - key.start) as usize == name.len();
            if may_be && self.is_text(key, name) && found.replace(value).is_some() {
                return Err(Duplicate);
            }
        }
        Ok(found)
    }

    /// The value a pointer leads to from `from`; `item` stands in for `{i}`.
    pub fn resolve(&self, from: At, pointer: &Pointer, item: Option<usize>) -> Result<Option<At>, Duplicate> {
        self.walk(from, &pointer.steps, item)
    }

    /// As [`Doc::resolve`], by steps.
    pub fn walk(&self, from: At, steps: &[Step], item: Option<usize>) -> Result<Option<At>, Duplicate> {
        let mut at = from;
        for step in steps {
            let next = match (step, self.kind(at)) {
                (Step::Key(key), Some(Kind::Object)) => self.member(at, key)?,
                (Step::Key(key), Some(Kind::Array)) => {
                    array_index(key).and_then(|i| self.elements(at).nth(i))
                }
                (Step::Item, Some(Kind::Array)) if item.is_some() => {
                    item.and_then(|i| self.elements(at).nth(i))
                }
                // A request that held a single object where a list is usual gets a single item back.
                (Step::Item, _) if item.is_none() => Some(at),
                _ => None,
            };
            match next {
                Some(next) => at = next,
                None => return Ok(None),
            }
        }
        Ok((!self.nodes.is_empty()).then_some(at))
    }

    /// The place of the member a pointer names, seen from `from`; `None` where its parent is not an object, and wherever
    /// the text is not the body itself.
    pub fn spot(&self, from: At, pointer: &Pointer, item: Option<usize>) -> Result<Option<Spot>, Duplicate> {
        let Some((Step::Key(name), path)) = pointer.steps.split_last() else { return Ok(None) };
        let parent = self.walk(from, path, item)?;
        let Some((parent, object)) = parent.and_then(|at| Some((at, self.node(at)?))) else {
            return Ok(None);
        };
        if object.kind != Kind::Object || !self.in_place {
            return Ok(None);
        }
        Ok(Some(match self.member(parent, name)?.and_then(|at| self.node(at)) {
            Some(value) => Spot::Replace(value.span()),
            None => Spot::Add { at: object.end as usize - 1, empty: self.members(parent).next().is_none() },
        }))
    }

    /// The bytes of a node as they stand: of strings and keys, what is between the quotes.
    pub fn raw(&self, node: &Node) -> &'a str {
        self.text.get(node.start as usize..node.end as usize).unwrap_or_default()
    }

    /// The same as bytes, for comparing. Cutting text costs a look at both ends for half a character, which came to 1,650
    /// of the 27,400 instructions from a lead's body to its patched body.
    pub(super) fn bytes(&self, node: &Node) -> &'a [u8] {
        self.text.as_bytes().get(node.start as usize..node.end as usize).unwrap_or_default()
    }

    /// The body up to the end of a node, and the node's own bytes.
    #[inline(always)]
    pub(super) fn split_bytes(&self, node: &Node) -> Option<(&'a [u8], &'a [u8])> {
        let body = self.text.as_bytes().get(..node.end as usize)?;
        Some((body, body.get(node.start as usize..)?))
    }

    /// The text of a string or key, unescaped; of any other value its bytes.
    pub fn string(&self, node: &Node) -> Cow<'a, str> {
        let raw = self.raw(node);
        if !node.escaped {
            return Cow::Borrowed(raw);
        }
        let quoted = self.text.get(node.start as usize - 1..node.end as usize + 1).unwrap_or_default();
        // The scanner accepted it, so serde_json does; if it ever did not, the raw text is still the client's own.
        serde_json::from_str(quoted).map_or(Cow::Borrowed(raw), Cow::Owned)
    }

    /// Whether a string's or key's text is `text`, escapes undone.
    pub fn is_text(&self, node: &Node, text: &str) -> bool {
        if node.escaped { self.string(node) == text } else { self.bytes(node) == text.as_bytes() }
    }
}

/// An array index in a pointer has no leading zero (RFC 6901).
pub(super) fn array_index(key: &str) -> Option<usize> {
    if key.len() > 1 && key.starts_with('0') || key.starts_with('+') {
        return None;
    }
    key.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(text: &str, pointer: &str, item: Option<usize>) -> Result<Option<String>, Duplicate> {
        let mut tape = Tape::default();
        tape.scan(text).unwrap();
        let doc = Doc::new(text, &tape);
        let found = doc.resolve(Doc::ROOT, &Pointer::parse(pointer).unwrap(), item)?;
        Ok(found.and_then(|at| doc.node(at)).map(|node| doc.string(node).into_owned()))
    }

    #[test]
    fn pointers_find_what_they_name() {
        let text = r#" {"a":{"b":[10,{"c":"x\ny"}]},"am\u006funt":7,"":1} "#;
        let found = |pointer: &str| find(text, pointer, None).unwrap();
        assert_eq!(found("/a/b/1/c").as_deref(), Some("x\ny"));
        assert_eq!(found("/a/b/0").as_deref(), Some("10"));
        assert_eq!(found("/amount").as_deref(), Some("7"));
        assert_eq!(found("/").as_deref(), Some("1"));
        assert_eq!(found("/a/b/2"), None);
        assert_eq!(found("/a/b/01"), None);
        assert_eq!(found("/a/x/y"), None);
        assert_eq!(find("[[1,2],[3]]", "/{i}/0", Some(1)).unwrap().as_deref(), Some("3"));
        assert_eq!(find(r#"{"result":7}"#, "/result/{i}", None).unwrap().as_deref(), Some("7"));
        assert_eq!(find(r#"{"result":7}"#, "/result/{i}", Some(0)).unwrap(), None);
    }

    #[test]
    fn a_key_that_stands_twice_is_an_error_only_where_it_is_asked_for() {
        let text = r#"{"a":1,"b":2,"\u0061":3}"#;
        assert_eq!(find(text, "/a", None), Err(Duplicate));
        assert_eq!(find(text, "/b", None).unwrap().as_deref(), Some("2"));
    }

    #[test]
    fn an_only_element_is_told_from_one_of_several() {
        let check = |text: &str, pointer: &str, expected: bool| {
            let mut tape = Tape::default();
            tape.scan(text).unwrap();
            let doc = Doc::new(text, &tape);
            let at = doc.resolve(Doc::ROOT, &Pointer::parse(pointer).unwrap(), None).unwrap().unwrap();
            assert_eq!(doc.is_only_element(at), expected, "{text} {pointer}");
        };
        check(r#"[{"a":1}]"#, "/0", true);
        check(r#"{"b":[[ {"a":[1]} ],{}]}"#, "/b/0/0", true);
        check(r#"[{"a":1},{}]"#, "/0", false);
        check(r#"[{},{"a":1}]"#, "/1", false);
        check(r#"[[],{"a":1}]"#, "/1", false);
        check(r#"[{"a":{"b":1}}]"#, "/0/a", false);
        check(r#"{"a":1}"#, "", false);
    }
}
