//! The records in the answer to a read.

use super::{Notes, heard::MAX_ITEMS};
use crate::{
    config::{Action, IdSource},
    lead::LeadId,
    recognise::{
        answer::Answer,
        doc::At,
        place::{Hidden, Message},
        request::MAX_LEADS,
        routes::Route,
        scan::{Kind, Tape},
        select::Selected,
    },
};

/// A record in the answer to a route that reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where the record is.
    pub at: At,
    /// Its index in the answer's array; `None` where it stands alone.
    pub item: Option<usize>,
    /// Its id.
    pub id: LeadId,
}

impl Route {
    /// The records in the answer to a read, those that say their id: 1,000 at most. None on any other route, nor where the
    /// CRM refused.
    pub fn records(&self, notes: &Notes, answer: Answer<'_, '_>) -> Vec<Record> {
        let empty = Tape::default();
        let mut hidden = Hidden::default();
        let reads = self.action == Action::Read && self.id.is_some();
        match self.heard(answer, &empty, &mut hidden) {
            Some(message) if reads && self.accepted(answer, None) => self
                .objects(message)
                .filter_map(|found| self.record(notes, message, found))
                .take(MAX_LEADS)
                .collect(),
            _ => Vec::new(),
        }
    }

    /// The objects that `leads` finds in an answer; a list counts as its items.
    fn objects<'m>(&self, message: Message<'m, 'm>) -> impl Iterator<Item = Selected> + use<'m> {
        let Message { doc, hidden, .. } = message;
        let mut selected = Vec::new();
        // Where a key stands twice there is no telling which records are meant.
        if self.leads.select(doc, &mut selected).is_err() {
            selected.clear();
        }
        let objects = selected.into_iter().flat_map(move |found| {
            let items = doc.elements(found.at).enumerate();
            let items = items.map(|(index, at)| Selected { at, item: Some(index) });
            std::iter::once(found).chain(items)
        });
        let is_record =
            move |found: &Selected| doc.kind(found.at) == Some(Kind::Object) && !hidden.holds(found.at);
        objects.filter(is_record).take(MAX_ITEMS)
    }

    fn record(&self, notes: &Notes, message: Message<'_, '_>, found: Selected) -> Option<Record> {
        let id = match &self.id.as_ref()?.from {
            IdSource::Response(pointer) => {
                let at = message.doc.resolve(found.at, pointer, found.item).ok()??;
                self.id_of(&message.doc.string(message.doc.node(at)?))
            }
            // A path names one record, not each of a list.
            _ if found.item.is_none() => notes.path_id.clone(),
            _ => None,
        };
        Some(Record { at: found.at, item: found.item, id: id? })
    }
}
