//! Places: one value of a message's head or body, and the forms it is read in.

use std::{borrow::Cow, ops::Range};

use http::HeaderName;
use regex::Regex;

use super::{
    coerce,
    doc::{At, Doc, Duplicate},
    headers::Headers,
    routes::Captures,
    scan::Kind,
    select::{Program, Selected},
    time,
};
use crate::{
    config::{self, Base, Pointer, Side},
    lead::{FeatureType, LeadId, Value},
};

/// Longest id, event or value to match by, in bytes; a longer one counts as missing. No CRM's comes near, and a megabyte of
/// text must not be kept once for each of a thousand leads.
pub(super) const LONGEST: usize = 255;

/// A compiled [`config::Lookup`].
#[derive(Clone, Debug)]
pub(super) struct Lookup {
    pub(super) side: Side,
    pub(super) base: Base,
    pub(super) place: Place,
}

#[derive(Clone, Debug)]
pub(super) enum Place {
    Body(Pointer),
    Select(Program),
    Header(HeaderName),
    Path(Box<str>),
    Query(Box<str>),
}

/// A message's head, as far as predicates and ids look at it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head<'a> {
    /// The headers.
    pub(super) headers: &'a dyn Headers,
    /// What the route's `{name}`s stood for.
    pub(super) captures: &'a Captures<'a>,
    /// The URL's query, without `?`.
    pub(super) query: Option<&'a str>,
}

/// What is looked at: one message and, in batches, one of its items.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a, 't> {
    /// Its head.
    pub(super) head: Head<'a>,
    /// Its body; empty where there is none or it could not be read.
    pub(super) doc: Doc<'a, 't>,
    /// What must not be read of it.
    pub(super) hidden: &'t Hidden,
    /// Where pointers of [`Base::Item`] start.
    pub(super) from: At,
    /// What `{i}` stands for.
    pub(super) item: Option<usize>,
}

/// Nodes of one body that `secrets.mask` hides.
#[derive(Debug, Default)]
pub(super) struct Hidden(Vec<Range<At>>);

impl Hidden {
    /// Nothing.
    pub(super) const NONE: &'static Hidden = &Hidden(Vec::new());

    /// Finds what the masks hide in this body.
    pub(super) fn find(&mut self, masks: &[Pointer], doc: Doc<'_, '_>) -> Result<(), Duplicate> {
        self.0.clear();
        for mask in masks {
            if let Some(at) = doc.resolve(Doc::ROOT, mask, None)? {
                self.0.push(at..doc.node(at).map_or(at, |node| node.next as usize));
            }
        }
        Ok(())
    }

    /// Whether the value at `at` is, or lies in, a masked one.
    pub(super) fn holds(&self, at: At) -> bool {
        self.0.iter().any(|range| range.contains(&at))
    }
}

impl Lookup {
    /// Compiles the query in it.
    pub(super) fn new(lookup: &config::Lookup) -> Self {
        let place = match &lookup.place {
            config::Place::Body(pointer) => Place::Body(pointer.clone()),
            config::Place::Select(selector) => Place::Select(Program::new(selector)),
            config::Place::Header(name) => Place::Header(name.clone()),
            config::Place::Path(name) => Place::Path(name.clone()),
            config::Place::Query(key) => Place::Query(key.clone()),
        };
        Self { side: lookup.side, base: lookup.base, place }
    }

    /// Whether it needs the message's body.
    pub(super) fn reads_body(&self) -> bool {
        matches!(self.place, Place::Body(_) | Place::Select(_))
    }

    /// Whether the value is the same for every item of the message, so that it is looked up once.
    pub(super) fn is_shared(&self) -> bool {
        match &self.place {
            Place::Body(pointer) => self.base == Base::Root && !pointer.has_item(),
            _ => true,
        }
    }

    /// Where a pointer leads.
    pub(super) fn follow(
        &self,
        pointer: &Pointer,
        message: Message<'_, '_>,
    ) -> Result<Option<At>, Duplicate> {
        let from = match self.base {
            Base::Root => Doc::ROOT,
            Base::Item => message.from,
        };
        message.doc.resolve(from, pointer, message.item)
    }

    /// The value, where it is text or a number; of a query the first.
    fn read<'a>(&self, message: Message<'a, '_>) -> Result<Option<Read<'a>>, Duplicate> {
        let Message { head, doc, hidden, .. } = message;
        let at = match &self.place {
            Place::Body(pointer) => self.follow(pointer, message)?,
            Place::Select(program) => {
                let mut found: Vec<Selected> = Vec::new();
                program.select(doc, &mut found)?;
                found.first().map(|selected| selected.at)
            }
            _ => return Ok(head.text(&self.place).map(|text| Read { text, number: None })),
        };
        let Some(at) = at.filter(|at| !hidden.holds(*at)) else { return Ok(None) };
        let number = match coerce::read(doc, at, FeatureType::Number)? {
            Value::Number(number) => Some(number),
            _ => None,
        };
        let node = doc.node(at).filter(|node| matches!(node.kind, Kind::String | Kind::Number));
        Ok(node.map(|node| Read { text: doc.string(node), number }))
    }

    /// The value as an id.
    pub(super) fn id(&self, message: Message<'_, '_>) -> Result<Option<LeadId>, Duplicate> {
        Ok(self.read(message)?.and_then(|read| short(&read.text)))
    }

    /// The value as it is written.
    pub(super) fn text<'a>(&self, message: Message<'a, '_>) -> Result<Option<Cow<'a, str>>, Duplicate> {
        Ok(self.read(message)?.map(|read| read.text))
    }

    /// The value as a finite number.
    pub(super) fn number(&self, message: Message<'_, '_>) -> Result<Option<f64>, Duplicate> {
        Ok(self.read(message)?.and_then(|read| read.number.or_else(|| coerce::number_in(&read.text))))
    }

    /// The value as a whole number; a fraction is cut off.
    pub(super) fn whole(&self, message: Message<'_, '_>) -> Result<Option<i64>, Duplicate> {
        let Some(read) = self.read(message)? else { return Ok(None) };
        // Digits beyond 2^53 are kept.
        let exact = read.text.trim().parse().ok();
        Ok(exact
            .or_else(|| read.number.or_else(|| coerce::number_in(&read.text)).map(|number| number as i64)))
    }

    /// The value as a time, in milliseconds since 1970.
    pub(super) fn time(&self, message: Message<'_, '_>) -> Result<Option<i64>, Duplicate> {
        Ok(self.read(message)?.and_then(|read| time::millis(&read.text)))
    }
}

struct Read<'a> {
    text: Cow<'a, str>,
    number: Option<f64>,
}

impl<'a> Head<'a> {
    /// What stands at a place of the head.
    pub(super) fn text(&self, place: &Place) -> Option<Cow<'a, str>> {
        match place {
            Place::Header(name) => self.headers.first(name).map(String::from_utf8_lossy),
            Place::Path(name) => self.captures.named(name).map(decoded),
            Place::Query(key) => query_value(self.query?, key),
            Place::Body(_) | Place::Select(_) => None,
        }
    }
}

/// A text that may be kept: neither empty nor longer than anything that is an id.
pub(super) fn short(text: &str) -> Option<Box<str>> {
    (!text.is_empty() && text.len() <= LONGEST).then(|| text.into())
}

/// The id in a text: what the pattern's group takes of it, or without a pattern all of it.
pub(super) fn taken(text: &str, pattern: Option<&Regex>) -> Option<LeadId> {
    match pattern {
        // Of alternatives the group that took part; group 0 is the whole match.
        Some(pattern) => short(pattern.captures(text)?.iter().flatten().last()?.as_str()),
        None => short(text),
    }
}

/// The id at a node: text or a number.
pub(super) fn id_at(doc: Doc<'_, '_>, at: At) -> Option<LeadId> {
    let node = doc.node(at).filter(|node| matches!(node.kind, Kind::String | Kind::Number))?;
    short(&doc.string(node))
}

/// The percent-decoded value of the first `key=value` in a URL's query.
fn query_value<'q>(query: &'q str, key: &str) -> Option<Cow<'q, str>> {
    let mut pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.find(|(name, _)| decoded(name) == key).map(|(_, value)| decoded(value))
}

/// A text of a URL, percent-decoded.
pub(super) fn decoded(text: &str) -> Cow<'_, str> {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy()
}
