//! Answers: was the write accepted, and under which id?

use http::{HeaderMap, StatusCode};

use super::{
    doc::Doc,
    predicate::{Head, Message, Predicate},
    request::id_at,
    routes::{Captures, Route},
    scan::Tape,
};
use crate::{
    config::{IdSource, Side},
    lead::LeadId,
};

/// The upstream's answer, as far as routes look at it.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a, 't> {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The body; `None` where there is none or it could not be read.
    pub doc: Option<Doc<'a, 't>>,
}

impl Route {
    /// Whether the CRM accepted the lead at `item`: status 2xx, and whatever `ok` asks of the answer.
    pub fn accepted(&self, answer: Answer<'_, '_>, item: Option<usize>) -> bool {
        let head = Head { headers: answer.headers, captures: Captures::NONE, query: None };
        let empty = Tape::default();
        let doc = answer.doc.unwrap_or_else(|| Doc::new("", &empty));
        let message = Message { head, doc, from: Doc::ROOT, item };
        let mut asked = self.ok.iter().filter(|predicate| predicate.side() == Side::Response);
        // What cannot be read proves nothing, not even that an `error` is absent.
        let known = |predicate: &Predicate| answer.doc.is_some() || !predicate.reads_body();
        answer.status.is_success()
            && asked.all(|predicate| known(predicate) && predicate.holds(message) == Ok(true))
    }

    /// The id the answer gives the lead at `item`.
    pub fn answered_id(&self, answer: Answer<'_, '_>, item: Option<usize>) -> Option<LeadId> {
        let id = self.id.as_ref()?;
        match &id.from {
            IdSource::Response(pointer) => id_at(answer.doc?, pointer, item).unwrap_or(None),
            IdSource::Header(name) => {
                let value = answer.headers.get(name)?.to_str().ok()?;
                let id = match &id.regex {
                    Some(pattern) => pattern.captures(value)?.iter().flatten().last()?.as_str(),
                    None => value,
                };
                (!id.is_empty()).then(|| id.into())
            }
            IdSource::Request(_) | IdSource::Each(_) | IdSource::Path(_) => None,
        }
    }
}
