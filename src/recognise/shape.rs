//! Shapes: which names stood where in an earlier body.
//!
//! Who sends leads writes the same members in the same order from one to the next. So the name that comes next is guessed
//! and compared, which takes less than to find its end and to look it up. A guess is no more than that: a body is read to
//! the same nodes with or without.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use wide::u8x16;

use super::scan::{Kind, Node};

/// Bytes that are guessed at most: of names of up to 42, with what stands around them.
pub(super) const GUESSED: usize = 48;

/// Larger bodies have no shape.
const MAX_NODES: usize = 512;

/// Bodies of other shapes in a row that it takes to learn anew. Were it one, senders that take turns would teach at every
/// turn.
const PATIENCE: u32 = 4;

/// The most that it comes to: it doubles while no shape comes again, as where white space or long names leave nothing to
/// guess, so that learning costs next to nothing.
const MOST_PATIENCE: u32 = 1_024;

/// The shape of an earlier body. Bodies of one shape have the same names and containers at the same places.
#[derive(Debug, Default)]
pub(super) struct Shape {
    /// One for each node.
    guesses: Vec<Guess>,
    containers: usize,
    /// What it is told by, from 1; never that of another.
    number: u64,
    /// Bodies of other shapes since the last that had it.
    misses: u32,
    /// As many of them as it takes to learn anew.
    patience: u32,
}

/// What is expected of a node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guess {
    /// Of a name what stands there from the comma or the brace before it up to its value; of anything else what stands in
    /// no text.
    text: [u8; GUESSED],
    /// A bit for each byte of the text that counts.
    counts: u64,
    /// Of a container the node after it, and which of the two sorts it is.
    next: u32,
    kind: Kind,
    /// Where in the text the name starts.
    pub(super) start: u8,
    /// Where it ends.
    pub(super) end: u8,
    /// Bytes of the text that count.
    pub(super) length: u8,
}

impl Shape {
    /// For each node what is expected of it.
    pub(super) fn guesses(&self) -> &[Guess] {
        &self.guesses
    }

    /// The number of the shape that a body with these nodes has, 0 where it has another than this; `guessed` of its containers
    /// ended where they were expected to, and all names are right, if it is given.
    pub(super) fn judge(&mut self, guessed: Option<usize>, nodes: &[Node], body: &[u8]) -> u64 {
        if guessed == Some(self.containers) && !self.guesses.is_empty() {
            (self.misses, self.patience) = (0, PATIENCE);
            return self.number;
        }
        self.misses = self.misses.saturating_add(1);
        if nodes.len() <= MAX_NODES && self.misses >= self.patience {
            self.learn(nodes, body);
        }
        0
    }

    #[cold]
    fn learn(&mut self, nodes: &[Node], body: &[u8]) {
        self.guesses.clear();
        self.guesses.extend(nodes.iter().map(|node| Guess::new(node, body)));
        self.containers = nodes.iter().filter(|node| is_container(node)).count();
        (self.number, self.misses) = (number(), 0);
        self.patience = (self.patience * 2).clamp(PATIENCE, MOST_PATIENCE);
    }
}

impl Guess {
    /// What stands in no text.
    const NEVER: Self =
        Self { text: [0xff; GUESSED], counts: 1, next: 0, kind: Kind::Null, start: 0, end: 0, length: 0 };

    fn new(node: &Node, body: &[u8]) -> Self {
        let next = if is_container(node) { node.next } else { 0 };
        Self::name(node, body).unwrap_or(Self { next, kind: node.kind, ..Self::NEVER })
    }

    /// A name that is short enough, with nothing around it but what JSON needs and single spaces.
    fn name(node: &Node, body: &[u8]) -> Option<Self> {
        let (before, behind) = (body.get(..node.start as usize)?, body.get(node.end as usize..)?);
        let before = [b"{\"".as_slice(), b",\"", b", \""].into_iter().find(|form| before.ends_with(form))?;
        let behind = [b"\": ".as_slice(), b"\":"].into_iter().find(|form| behind.starts_with(form))?;
        let name = body.get(node.start as usize..node.end as usize)?;
        let length = before.len() + name.len() + behind.len();
        if node.kind != Kind::Key || node.escaped || length > GUESSED {
            return None;
        }
        let text = [before, name, behind].concat();
        let (start, end) = (before.len() as u8, (before.len() + name.len()) as u8);
        let counts = u64::MAX >> (64 - text.len());
        let mut guess = Self { counts, start, end, length: text.len() as u8, ..Self::NEVER };
        guess.text.iter_mut().zip(text).for_each(|(to, from)| *to = from);
        Some(guess)
    }

    /// Whether a text begins with it.
    #[inline(always)]
    pub(super) fn is_in(&self, text: &[u8; GUESSED]) -> bool {
        let ([low, high, far], [own_low, own_high, own_far]) = (text.as_chunks().0, self.text.as_chunks().0)
        else {
            return false;
        };
        let same = |a: &[u8; 16], b: &[u8; 16]| u8x16::new(*a).simd_eq(u8x16::new(*b)).to_bitmask();
        let is_near = !(same(low, own_low) | same(high, own_high) << 16) & self.counts as u32 == 0;
        // Few names are so long.
        is_near && (self.length <= 32 || !same(far, own_far) & (self.counts >> 32) as u32 == 0)
    }

    /// Whether its text has this first byte.
    #[inline(always)]
    pub(super) fn begins_with(&self, first: u8) -> bool {
        self.text.first() == Some(&first)
    }

    /// Whether a container of this sort is expected that ends before the node at `next`.
    #[inline(always)]
    pub(super) fn is_of(&self, kind: Kind, next: usize) -> bool {
        self.next as usize == next && self.kind == kind
    }
}

fn is_container(node: &Node) -> bool {
    matches!(node.kind, Kind::Object | Kind::Array)
}

/// A number that nothing else has, from 1.
pub(super) fn number() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Relaxed) + 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        config::{Feature, Logged, Pointer},
        lead::{FeatureType, Value},
        recognise::{
            doc::{Doc, Duplicate},
            fields::{FieldScratch, Fields},
            scan::Tape,
        },
    };

    fn fields() -> Fields {
        let feature = |(index, from): (usize, &&str)| {
            let from = from.split(' ').map(|from| Pointer::parse(from).unwrap()).collect();
            let kind = if index % 2 == 0 { FeatureType::Number } else { FeatureType::Category };
            let (missing, oov, derive, log) = (None, None, None, Logged::Keep);
            Feature { name: from_name(index), from, kind, missing, oov, derive, log }
        };
        let all = ["/a /b", "/b /a", "/a/a", "/b/b/a", "/a/0", "/a/1", "/a/0/0", "/a/1/a /c", "/c/1"];
        Fields::new(&all.iter().enumerate().map(feature).collect::<Vec<_>>())
    }

    fn from_name(index: usize) -> std::sync::Arc<str> {
        index.to_string().into()
    }

    fn read<'a>(
        fields: &Fields,
        doc: Doc<'a, '_>,
        scratch: &mut FieldScratch,
    ) -> Result<Vec<Value<'a>>, Duplicate> {
        let mut values = Vec::new();
        fields.read(doc, Doc::ROOT, scratch, &mut values).map(|()| values)
    }

    /// Reads bodies one after another; how many had the shape that was known.
    fn known(bodies: &[String]) -> usize {
        let (fields, mut shape, mut scratch) = (fields(), Shape::default(), FieldScratch::default());
        let mut tape = Tape::default();
        let mut known = 0;
        for body in bodies {
            let mut plain = Tape::default();
            assert_eq!(tape.scan_like(&mut shape, body), plain.scan(body), "{body}");
            assert_eq!(tape.nodes(), plain.nodes(), "{body} in {bodies:?}");
            let read = |tape, scratch: &mut FieldScratch| read(&fields, Doc::new(body, tape), scratch);
            assert_eq!(read(&tape, &mut scratch), read(&plain, &mut FieldScratch::default()), "{bodies:?}");
            known += usize::from(tape.shape() != 0);
        }
        known
    }

    fn check(bodies: &[&str], expected: usize) {
        let bodies: Vec<String> = bodies.iter().map(|body| (*body).to_owned()).collect();
        assert_eq!(known(&bodies), expected, "{bodies:?}");
    }

    #[test]
    fn bodies_with_the_same_names_at_the_same_places_have_one_shape() {
        check(&[r#"{"a": 1, "b": {"c":"x"}}"#, r#"{"a": null, "b": {"c":"long, long text"}}"#], 1);
        check(&[r#"{"a":1,"b":[2,3]}"#, r#"{"a":"\"","b":[4,5]}"#, r#"{"a":1,"b":[2]}"#], 1);
        check(&["{}", "{}", "[]", "1"], 1);
        for other in [
            r#"{"a":1,"c":2}"#,
            r#"{"a":1, "b":2}"#,
            r#"{"a" :1,"b":2}"#,
            r#"{"a":1,"\u0062":2}"#,
            r#"{"a":1}"#,
            r#"{"a":1,"b":2,"c":3}"#,
            r#"{"a":1,"b":[]}"#,
            r#"{"a":1,"b""#,
            "",
        ] {
            check(&[r#"{"a":1,"b":2}"#, other], 0);
        }
        let (long, longer) = ("n".repeat(44), "n".repeat(45));
        check(&[&format!(r#"{{"a":1,"{long}":2}}"#), &format!(r#"{{"a":1,"{long}":3}}"#)], 1);
        check(&[&format!(r#"{{"a":1,"{longer}":2}}"#), &format!(r#"{{"a":1,"{longer}":3}}"#)], 0);
    }

    #[test]
    fn another_shape_is_learnt_once_it_has_come_some_times_in_a_row() {
        let (old, new) = (r#"{"a":1}"#, r#"{"b":1}"#);
        check(&[old, new, new, new, new, new, new, old], 2);
        check(&[old, new, new, new, old, new, new, new, old], 2);
    }

    #[test]
    fn where_nothing_can_be_guessed_learning_becomes_rare() {
        let (mut tape, mut shape) = (Tape::default(), Shape::default());
        let mut patience = |body: &str| {
            (0..200).for_each(|_| tape.scan_like(&mut shape, body).unwrap());
            shape.patience
        };
        assert_eq!(patience("{\n  \"a\": 1\n}"), 128);
        assert_eq!(patience("{\"a\": 1}"), PATIENCE);
    }

    #[test]
    fn containers_tell_shapes_apart() {
        check(&[r#"{"a":[[1],2]}"#, r#"{"a":[7,8,9]}"#], 0);
        check(&[r#"{"a":[7,8,9]}"#, r#"{"a":[[1],2]}"#], 0);
        check(&[r#"{"a":{"x":1},"b":2}"#, r#"{"a":{"x":1,"b":2}}"#], 0);
        check(&[r#"{"a":[[],2]}"#, r#"{"a":[1,2]}"#], 0);
        check(&[r#"{"a":{"a":1}}"#, r#"{"a":[7,8]}"#], 0);
        check(&[r#"{"a":[7,8]}"#, r#"{"a":{"a":1}}"#], 0);
        check(&[r#"{"a":{}}"#, r#"{"a":[]}"#], 0);
    }

    #[test]
    fn a_name_is_guessed_only_where_one_may_stand() {
        for other in [r#"{"a":1{"b":2}"#, r#"{"a":"x"{"b":2}"#, r#"{"a":[]{"b":2}"#, r#"{"a":{,"b":2}}"#] {
            check(&[r#"{"a":{"b":2}}"#, other], 0);
            check(&[r#"{"a":1,"b":2}"#, other], 0);
        }
    }

    fn value() -> impl Strategy<Value = &'static str> {
        let all = vec![
            "1",
            "-2.5",
            "\"x\"",
            "\"\\n\"",
            "null",
            "[]",
            "{}",
            "[1,2]",
            "[[1],2]",
            "[[],2]",
            "[1,2,3]",
            "{\"a\":1}",
            "{\"a\": 1, \"b\":2}",
            "{\"b\":{\"a\":2}}",
            "[{\"a\":1}]",
            "[3,{\"a\":1}]",
            " 7 ",
            "x",
        ];
        prop::sample::select(all)
    }

    fn body() -> impl Strategy<Value = String> {
        let name = prop::sample::select(vec![
            "a",
            "b",
            "c",
            "\\u0061",
            "aa",
            "a_name_of_more_than_thirty_two_bytes",
        ]);
        let between = prop::sample::select(vec!["\":", "\": ", "\" : "]);
        let member =
            (name, between, value()).prop_map(|(name, between, value)| ["\"", name, between, value].concat());
        let separator = prop::sample::select(vec![",", ", ", " , "]);
        (prop::collection::vec(member, 0..6), separator)
            .prop_map(|(members, separator)| format!("{{{}}}", members.join(separator)))
    }

    proptest! {
        #[test]
        fn a_body_is_read_alike_whatever_came_before(
            pool in prop::collection::vec(body(), 1..4),
            order in prop::collection::vec(0usize..4, 1..24),
        ) {
            let bodies: Vec<String> = order.iter().map(|place| pool[place % pool.len()].clone()).collect();
            known(&bodies);
        }

        #[test]
        fn a_body_is_read_alike_whatever_was_changed_in_it(
            body in body(),
            changes in prop::collection::vec((0usize..64, 0usize..2, "[\\[\\]{},:\" 1a]?"), 1..8),
        ) {
            let changed = |(at, removed, put): &(usize, usize, String)| {
                let at = at % (body.len() + 1);
                let (before, behind) = (&body[..at], &body[(at + removed).min(body.len())..]);
                [before, put, behind].concat()
            };
            // Each comes behind the one that all were made from, and before it.
            let bodies: Vec<String> =
                changes.iter().flat_map(|change| [body.clone(), body.clone(), changed(change)]).collect();
            known(&bodies);
        }
    }
}
