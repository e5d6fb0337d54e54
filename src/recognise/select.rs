//! Selectors: RFC 9535 queries over a scanned body.
//!
//! What routes really use (names, indexes, `[*]`, equality filters) is compiled to steps that run on the tape without
//! allocating. Everything else that RFC 9535 allows goes through serde_json_path on a parsed tree, which is slower but
//! finds the same places.

use std::collections::HashMap;

use super::doc::{At, Doc, Duplicate};
use crate::config::{Scalar, Selector};

/// A compiled selector.
#[derive(Clone, Debug)]
pub enum Program {
    /// Runs on the tape.
    Steps(Vec<Segment>),
    /// Runs on a parsed tree.
    General(serde_json_path::JsonPath),
    /// The same, with a pattern in it, which is compiled anew for every value that it is asked of.
    Patterns(serde_json_path::JsonPath),
}

/// A query with a pattern is asked of no longer list: thousands of values would hold up a worker for seconds.
const MAX_MATCHED: usize = 1_000;

/// One segment of a query.
#[derive(Clone, Debug, PartialEq)]
pub enum Segment {
    /// `.name`
    Name(Box<str>),
    /// `[2]`
    Index(usize),
    /// `[*]`
    Every,
    /// `[?@.a.b=='x']`
    Where(Vec<Box<str>>, Scalar),
}

/// A value that was selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selected {
    /// Where it is.
    pub at: At,
    /// What `{i}` stands for: the index in the array whose items were selected, `[*]` or by a filter. `None` where the
    /// query names every index itself, as in `$.params.args[5]`.
    pub item: Option<usize>,
}

impl Program {
    /// Compiles what has a short form and keeps the rest as it is.
    pub fn new(selector: &Selector) -> Self {
        let has_pattern = ["match(", "search("].iter().any(|function| selector.text.contains(function));
        match segments(&selector.text) {
            Some(segments) => Program::Steps(segments),
            None if has_pattern => Program::Patterns(selector.query.clone()),
            None => Program::General(selector.query.clone()),
        }
    }

    /// Whether a body holds a list that is too long for the query.
    pub fn is_too_much(&self, doc: Doc<'_, '_>) -> bool {
        let is_long =
            |at| doc.elements(at).nth(MAX_MATCHED).is_some() || doc.members(at).nth(MAX_MATCHED).is_some();
        matches!(self, Program::Patterns(_)) && (0..doc.len()).any(is_long)
    }

    /// Appends what the query selects in `doc` to `found`, in the query's order. What is too much for it is not told from a
    /// key that stands twice: nobody can say what is meant.
    pub fn select(&self, doc: Doc<'_, '_>, found: &mut Vec<Selected>) -> Result<(), Duplicate> {
        match self {
            Program::Steps(segments) => descend(doc, segments, Selected { at: Doc::ROOT, item: None }, found),
            Program::Patterns(_) if self.is_too_much(doc) => Err(Duplicate),
            Program::General(query) | Program::Patterns(query) => general(doc, query, found),
        }
    }
}

fn descend(
    doc: Doc<'_, '_>,
    segments: &[Segment],
    from: Selected,
    found: &mut Vec<Selected>,
) -> Result<(), Duplicate> {
    let Some((segment, rest)) = segments.split_first() else {
        if doc.node(from.at).is_some() {
            found.push(from);
        }
        return Ok(());
    };
    match segment {
        Segment::Name(name) => match doc.member(from.at, name)? {
            Some(at) => descend(doc, rest, Selected { at, ..from }, found),
            None => Ok(()),
        },
        Segment::Index(index) => match doc.elements(from.at).nth(*index) {
            Some(at) => descend(doc, rest, Selected { at, ..from }, found),
            None => Ok(()),
        },
        Segment::Every | Segment::Where(..) => {
            for child in children(doc, from) {
                if keeps(doc, segment, child.at)? {
                    descend(doc, rest, child, found)?;
                }
            }
            Ok(())
        }
    }
}

fn children<'a>(doc: Doc<'a, 'a>, from: Selected) -> impl Iterator<Item = Selected> + 'a {
    let elements = doc.elements(from.at).enumerate().map(|(index, at)| Selected { at, item: Some(index) });
    elements.chain(doc.members(from.at).map(move |(_, at)| Selected { at, ..from }))
}

fn keeps(doc: Doc<'_, '_>, segment: &Segment, child: At) -> Result<bool, Duplicate> {
    let Segment::Where(path, scalar) = segment else { return Ok(true) };
    let mut at = child;
    for name in path {
        match doc.member(at, name)? {
            Some(next) => at = next,
            None => return Ok(false),
        }
    }
    Ok(super::predicate::equals(doc, at, scalar))
}

/// The slow way, for queries without a short form.
fn general(
    doc: Doc<'_, '_>,
    query: &serde_json_path::JsonPath,
    found: &mut Vec<Selected>,
) -> Result<(), Duplicate> {
    let text = doc.text().trim_start_matches('\u{feff}');
    // The scanner took the text, so this fails only on numbers beyond f64; then nothing is selected.
    let Ok(tree) = serde_json::from_str::<serde_json::Value>(text) else { return Ok(()) };
    // Elements are found by walking past those before them; once for each array is enough.
    let mut arrays: HashMap<At, Vec<At>> = HashMap::new();
    for located in query.query_located(&tree).iter() {
        let mut selected = Selected { at: Doc::ROOT, item: None };
        for element in located.location().iter() {
            let next = match (element.as_name(), element.as_index()) {
                (Some(name), _) => doc.member(selected.at, name)?,
                (_, index) => index.and_then(|index| {
                    let elements =
                        arrays.entry(selected.at).or_insert_with(|| doc.elements(selected.at).collect());
                    elements.get(index).copied()
                }),
            };
            let Some(at) = next else { return Ok(()) };
            selected = Selected { at, item: element.as_index().or(selected.item) };
        }
        found.push(selected);
    }
    Ok(())
}

/// The short form of a query, where it has one. The syntax has been checked before.
fn segments(query: &str) -> Option<Vec<Segment>> {
    let mut rest = query.trim().strip_prefix('$')?;
    let mut segments = Vec::new();
    while !rest.is_empty() {
        let (segment, after) = match rest.strip_prefix('.') {
            Some(dotted) => name(dotted).map(|(name, after)| (Segment::Name(name), after))?,
            None => bracket(rest.strip_prefix('[')?)?,
        };
        segments.push(segment);
        rest = after;
    }
    Some(segments)
}

/// A member name in shorthand: letters, digits and `_`.
fn name(text: &str) -> Option<(Box<str>, &str)> {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len());
    let (name, rest) = text.split_at_checked(end)?;
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_').then(|| (name.into(), rest))
}

/// What follows `[`, and what is left after its `]`.
fn bracket(text: &str) -> Option<(Segment, &str)> {
    if let Some(filter) = text.strip_prefix("?@") {
        return filter_segment(filter);
    }
    if let Some((quoted, rest)) = quoted(text) {
        return Some((Segment::Name(quoted), rest.strip_prefix(']')?));
    }
    let (inside, rest) = text.split_once(']')?;
    match inside {
        "*" => Some((Segment::Every, rest)),
        index => Some((Segment::Index(super::doc::array_index(index)?), rest)),
    }
}

/// `.a.b == 'x'` and its closing bracket.
fn filter_segment(text: &str) -> Option<(Segment, &str)> {
    let mut path = Vec::new();
    let mut rest = text;
    while let Some(dotted) = rest.strip_prefix('.') {
        let (part, after) = name(dotted)?;
        path.push(part);
        rest = after;
    }
    let literal = rest.trim_start().strip_prefix("==")?.trim_start();
    let (scalar, rest) = match quoted(literal) {
        Some((text, rest)) => (Scalar::Text(text), rest.trim_start().strip_prefix(']')?),
        None => {
            let (word, rest) = literal.split_once(']')?;
            (plain(word.trim())?, rest)
        }
    };
    (!path.is_empty()).then_some((Segment::Where(path, scalar), rest))
}

/// A quoted string without escapes.
fn quoted(text: &str) -> Option<(Box<str>, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let (inside, rest) = text.get(1..)?.split_once(quote)?;
    (!inside.contains('\\')).then(|| (inside.into(), rest))
}

fn plain(word: &str) -> Option<Scalar> {
    match word {
        "true" => Some(Scalar::Bool(true)),
        "false" => Some(Scalar::Bool(false)),
        "null" => Some(Scalar::Null),
        number => number.parse().ok().map(Scalar::Number),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::scan::Tape, *};

    const BODY: &str = r#"{"records":[
        {"attributes":{"type":"Account"},"n":1},
        {"attributes":{"type":"Lead"},"n":2},
        {"n":3},
        {"attributes":{"type":"Lead"},"n":4}],
        "one":{"two":[[5],[6,7]]},"odd key":8}"#;

    /// Whether the short form exists, and what the query selects: (bytes, item).
    fn check(query: &str) -> (bool, Vec<(String, Option<usize>)>) {
        let mut tape = Tape::default();
        tape.scan(BODY).unwrap();
        let doc = Doc::new(BODY, &tape);
        let selector = Selector::parse(query).unwrap();
        let program = Program::new(&selector);
        let texts = |program: &Program| {
            let mut found = Vec::new();
            program.select(doc, &mut found).unwrap();
            let text = |s: &Selected| doc.node(s.at).map(|node| doc.raw(node).to_owned()).unwrap();
            found.iter().map(|s| (text(s), s.item)).collect::<Vec<_>>()
        };
        let found = texts(&program);
        let bytes = |found: &[(String, Option<usize>)]| {
            found.iter().map(|(text, _)| text.clone()).collect::<Vec<_>>()
        };
        let general = texts(&Program::General(selector.query));
        assert_eq!(bytes(&found), bytes(&general), "short and general form of {query}");
        (matches!(program, Program::Steps(_)), found)
    }

    #[test]
    fn the_short_form_selects_what_the_general_one_does() {
        let items = |query: &str| check(query).1.into_iter().map(|(_, item)| item).collect::<Vec<_>>();
        assert_eq!(items("$"), [None]);
        assert_eq!(items("$.records[*]"), [Some(0), Some(1), Some(2), Some(3)]);
        assert_eq!(items("$.records[?@.attributes.type=='Lead']"), [Some(1), Some(3)]);
        assert_eq!(items("$.records[?@.n == 3]"), [Some(2)]);
        assert_eq!(items("$['records'][1].attributes"), [None]);
        assert_eq!(check("$.one.two[1][0]").1, [("6".to_owned(), None)]);
        assert_eq!(items("$.one.two[*][0]"), [Some(0), Some(1)]);
        assert_eq!(check("$['odd key']").1, [("8".to_owned(), None)]);
        assert_eq!(check("$.absent.more").1, []);
        for query in ["$", "$.records[*]", "$.records[?@.attributes.type=='Lead']", "$['odd key']"] {
            assert!(check(query).0, "{query} has a short form");
        }
    }

    #[test]
    fn everything_else_of_rfc_9535_works_too() {
        let items = |query: &str| check(query).1.into_iter().map(|(_, item)| item).collect::<Vec<_>>();
        assert_eq!(items("$.records[1::2]"), [Some(1), Some(3)]);
        assert_eq!(items("$.records[-1]"), [Some(3)]);
        assert_eq!(items("$.records[?match(@.attributes.type,'L.*')]"), [Some(1), Some(3)]);
        assert_eq!(items("$..two[0][0]"), [Some(0)]);
        assert!(!check("$.records[1::2]").0);
    }

    #[test]
    fn a_pattern_is_asked_of_no_long_list_and_a_byte_order_mark_makes_no_difference() {
        let check = |body: &str, expected: Option<usize>| {
            let mut tape = Tape::default();
            tape.scan(body).unwrap();
            let doc = Doc::new(body, &tape);
            let program = Program::new(&Selector::parse("$.a[?match(@.u, 'x+')]").unwrap());
            let mut found = Vec::new();
            let selected = program.select(doc, &mut found).is_ok();
            assert_eq!((selected, program.is_too_much(doc)), (expected.is_some(), expected.is_none()));
            assert_eq!(found.len(), expected.unwrap_or(0));
        };
        let list = |count: usize| format!(r#"{{"a":[{}]}}"#, vec![r#"{"u":"x"}"#; count].join(","));
        check(&list(20), Some(20));
        check(&format!("\u{feff}{}", list(20)), Some(20));
        check(&list(1_001), None);
        let members: Vec<String> = (0..1_001).map(|n| format!(r#""{n}":{{}}"#)).collect();
        check(&format!(r#"{{"a":{{{}}}}}"#, members.join(",")), None);
    }
}
