//! Answers: was the write accepted, refused, and under which id?

use std::collections::HashMap;

use http::StatusCode;

use super::{
    doc::Doc,
    headers::{Headers, ascii},
    place::{Head, Hidden, LONGEST, Message, taken},
    predicate::Predicate,
    routes::{Captures, Route},
    rules::Notes,
    scan::{Kind, Tape},
};
use crate::{
    config::{IdSource, Pairing, Step},
    lead::LeadId,
};

/// The upstream's answer, as far as routes look at it.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a, 't> {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: &'a dyn Headers,
    /// The body; `None` where there is none or it could not be read.
    pub doc: Option<Doc<'a, 't>>,
}

impl Route {
    /// Whether the CRM accepted the lead at `item`: status 2xx, and whatever `ok` asks of the answer.
    pub fn accepted(&self, answer: Answer<'_, '_>, item: Option<usize>) -> bool {
        let head = Head { headers: answer.headers, captures: Captures::NONE, query: None };
        let empty = Tape::default();
        let doc = answer.doc.unwrap_or_else(|| Doc::new("", &empty));
        let message = Message { head, doc, hidden: Hidden::NONE, from: Doc::ROOT, item };
        // What cannot be read proves nothing, not even that an `error` is absent.
        let known = |predicate: &Predicate| answer.doc.is_some() || !predicate.reads_body();
        answer.status.is_success()
            && self.ok.iter().all(|predicate| known(predicate) && predicate.holds(message) == Ok(true))
    }

    /// Whether the CRM refused what was written for the lead at `item`, and stored none of it: a client error that is not
    /// about who asks or how often, a status that the route names, or a success that `ok` does not take for one.
    pub fn is_refused(&self, answer: Answer<'_, '_>, item: Option<usize>) -> bool {
        let status = answer.status;
        let other_reason = matches!(status.as_u16(), 401 | 408 | 425 | 429);
        if status.is_success() {
            // A success whose body could not be read may have stored the lead.
            let known = answer.doc.is_some() || !self.ok.iter().any(Predicate::reads_body);
            return known && !self.accepted(answer, item);
        }
        self.refused.contains(&status) || status.is_client_error() && !other_reason
    }

    /// The id the answer gives the lead at `item`.
    pub fn answered_id(&self, answer: Answer<'_, '_>, item: Option<usize>) -> Option<LeadId> {
        match &self.id.as_ref()?.from {
            IdSource::Response(pointer) => {
                let doc = answer.doc?;
                let node = doc.resolve(Doc::ROOT, pointer, item).ok()?.and_then(|at| doc.node(at))?;
                let written = matches!(node.kind, Kind::String | Kind::Number);
                if written { self.id_of(&doc.string(node)) } else { None }
            }
            IdSource::Header(name) => self.id_of(ascii(answer.headers.first(name)?)?),
            IdSource::Request(_) | IdSource::Each(_) | IdSource::Path(_) => None,
        }
    }

    /// The id in what stands at its place: all of it, or what the route's pattern takes of it.
    pub(super) fn id_of(&self, text: &str) -> Option<LeadId> {
        taken(text, self.id.as_ref().and_then(|id| id.regex.as_ref()))
    }

    /// Which item of the answer belongs to which lead. Made once for all leads of a request.
    pub fn pairs(&self, notes: &Notes, answer: Answer<'_, '_>) -> Pairs {
        let messages = |doc: Doc<'_, '_>| doc.elements(Doc::ROOT).count();
        match (&self.pairing, notes.messages.zip(answer.doc)) {
            (Some(pairing), _) => Pairs::ByValue(items_by_value(pairing, answer).unwrap_or_default()),
            // A changeset that fails has one answer for all that is in it, so those behind it stand elsewhere.
            (None, Some((asked, doc))) if messages(doc) != asked => Pairs::Unknown,
            (None, _) => Pairs::ByPlace,
        }
    }
}

/// Which item of an answer belongs to which lead.
#[derive(Debug)]
pub enum Pairs {
    /// The one at the same index.
    ByPlace,
    /// The one with the same value; `None` where several have it.
    ByValue(HashMap<String, Option<usize>>),
    /// Nobody can say.
    Unknown,
}

/// The answer has nothing that belongs to a lead: it has no id, and nothing is written for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no item of the answer belongs to the lead")]
pub struct Unpaired;

impl Pairs {
    /// What `{i}` stands for in the answer, for the lead that stands at `item` in the request and has this `key`.
    pub fn of(&self, item: Option<usize>, key: Option<&str>) -> Result<Option<usize>, Unpaired> {
        match self {
            Pairs::ByPlace => Ok(item),
            Pairs::Unknown => Err(Unpaired),
            Pairs::ByValue(items) => {
                let found = key.and_then(|key| items.get(key)).copied().flatten();
                found.map(Some).ok_or(Unpaired)
            }
        }
    }
}

/// How two values are compared that tell which item belongs to which lead; `None` for what is no such value.
pub(super) fn pairing_key(doc: Doc<'_, '_>, at: super::doc::At) -> Option<Box<str>> {
    let node = doc.node(at).filter(|node| matches!(node.kind, Kind::String | Kind::Number))?;
    let text = doc.string(node);
    let text = text.trim();
    // Lower case may be longer than upper, so the length is looked at first.
    if text.is_empty() || text.len() > LONGEST { None } else { Some(text.to_lowercase().into()) }
}

/// The answer's items by their values; none of those whose value stands in several.
fn items_by_value(pairing: &Pairing, answer: Answer<'_, '_>) -> Option<HashMap<String, Option<usize>>> {
    let doc = answer.doc?;
    let position = pairing.response.steps.iter().position(|step| *step == Step::Item)?;
    let (list, below) = pairing.response.steps.split_at_checked(position)?;
    let list = doc.walk(Doc::ROOT, list, None).ok()??;
    let mut items = HashMap::new();
    for (index, at) in doc.elements(list).enumerate() {
        // An item in which the key stands twice has no value to go by.
        let value = doc.walk(at, below.get(1..)?, None).unwrap_or(None);
        if let Some(key) = value.and_then(|at| pairing_key(doc, at)) {
            items.entry(key.into()).and_modify(|known| *known = None).or_insert(Some(index));
        }
    }
    Some(items)
}
