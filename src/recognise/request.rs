//! Requests to leads.

use std::sync::Arc;

use super::{
    answer::pairing_key,
    content::{Mode, View},
    doc::{At, Doc, Duplicate},
    fields::{FieldScratch, Fields},
    place::{Head, Hidden, Message, decoded, id_at},
    predicate::Predicate,
    routes::{Candidates, Captures, Fits, RequestHead, Route, Router},
    rules::{Notes, Witness},
    scan::{Kind, Tape},
    select::Selected,
    shape::Shape,
};
use crate::{
    config::{Action, Config, Feature, IdSource, Identity, Logged, Pointer},
    lead::{FeatureType, LeadId, Skip, Value},
};

/// Routes and feature map of one configuration, compiled.
#[derive(Debug)]
pub struct Recogniser {
    router: Router,
    fields: Fields,
    /// What tells who a lead is, each read for itself: one that stands twice is no address, and hinders nothing.
    identity: Vec<Fields>,
}

/// One lead object of a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// Where the object is.
    pub at: At,
    /// Its index in the request's array; `None` where it stands alone.
    pub item: Option<usize>,
    /// The record's id, where the request holds it.
    pub id: Option<LeadId>,
    /// Further records that are all as this object says.
    pub more_ids: Vec<LeadId>,
    /// What [`Pairs::of`](super::Pairs::of) goes by, where the route's `match` asks for it.
    pub key: Option<Box<str>>,
}

/// What reading needs beside the body, reused from request to request. After a [`Recogniser::read`] it holds the tape,
/// the leads and the notes of that body.
#[derive(Debug, Default)]
pub struct Scratch {
    /// The body's nodes.
    pub tape: Tape,
    /// The leads in the order the selector gave them.
    pub leads: Vec<Found>,
    /// What the route's rules read of it.
    pub notes: Notes,
    selected: Vec<Selected>,
    hidden: Hidden,
    /// By the index of the first route that may take a body.
    learnt: Vec<Learnt>,
}

/// What tells who a lead is, beside its id: an e-mail address and a phone number.
const ADDRESSES: usize = 2;

/// What was learnt of a route's bodies: mostly they are alike.
#[derive(Debug, Default)]
struct Learnt {
    shape: Shape,
    fields: FieldScratch,
    identity: [FieldScratch; ADDRESSES],
}

/// A request of a route that is not read, and why.
#[derive(Clone, Debug)]
pub struct Skipped {
    /// The route that would have taken it.
    pub route: Arc<Route>,
    /// Why not.
    pub reason: Skip,
}

impl Scratch {
    /// Gives memory back that only an unusually large body needs.
    pub fn trim(&mut self) {
        if self.tape.is_large() {
            *self = Self::default();
        }
    }
}

impl Recogniser {
    /// Compiles a configuration's routes and features.
    pub fn new(config: &Config) -> Self {
        Self { router: Router::new(config), fields: Fields::new(&config.features), identity: Vec::new() }
    }

    /// The same, but behind each lead's features stand two values more, which are no features: its e-mail address and its
    /// phone number, as texts, each missing where it stands twice.
    pub fn with_identity(config: &Config) -> Self {
        let Identity { email, phone } = &config.identity;
        let identity: [Fields; ADDRESSES] = [email, phone].map(|from| Fields::new(&[address(from)]));
        Self { identity: identity.into(), ..Self::new(config) }
    }

    /// The number of values that [`Recogniser::read`] yields for each lead: one for each configured feature, and what tells
    /// who it is.
    pub fn width(&self) -> usize {
        self.fields.len() + self.identity.len()
    }

    /// The routes for a method and a path, whatever else they ask for; `None` where there are none.
    pub fn fits(&self, method: &str, path: &str) -> Option<Fits<'_>> {
        self.router.at(method, path)
    }

    /// The routes that may take a request, or `None` where no body could make it ours.
    pub fn candidates<'r>(&'r self, head: RequestHead<'r>) -> Option<Candidates<'r>> {
        Candidates::of(self.fits(head.method.as_str(), head.path)?, head)
    }

    /// The routes of a request's method and path, most specific first, each with the place among its predicates of the
    /// first that does not hold. Without a body, those on the body hold.
    pub fn considered(
        &self,
        head: RequestHead<'_>,
        body: Option<Doc<'_, '_>>,
    ) -> Vec<(Arc<Route>, Option<usize>)> {
        let Some(fits) = self.fits(head.method.as_str(), head.path) else { return Vec::new() };
        let candidates = Candidates::all(fits, head);
        // A key that stands twice is told as the reason to skip.
        let denied = |route| candidates.denied(route, body).unwrap_or(None);
        candidates.routes().map(|route| (route.clone(), denied(route))).collect()
    }

    /// Reads the leads of a body, for the routes that read it as `view` does: `Ok(None)` where no route's predicates hold.
    /// Where no candidate needs the body the view is not looked at. On `Ok(Some)` the leads stand in `scratch`, and `values`
    /// holds [`Recogniser::width`] values for each, one lead after another.
    pub fn read<'a>(
        &self,
        candidates: &Candidates<'_>,
        view: View<'a>,
        scratch: &mut Scratch,
        values: &mut Vec<Value<'a>>,
    ) -> Result<Option<Arc<Route>>, Skipped> {
        let reads = |route: &Route| !route.needs_body() || view.is_for(&route.content);
        let readers = || candidates.open().filter(|route| reads(route));
        let Some(first) = readers().next() else { return Ok(None) };
        let skipped = |route: &Arc<Route>, reason| Skipped { route: route.clone(), reason };
        let Scratch { tape, leads, notes, selected, hidden, learnt } = scratch;
        if learnt.len() <= first.index {
            learnt.resize_with(first.index + 1, Learnt::default);
        }
        let Some(learnt) = learnt.get_mut(first.index) else { return Ok(None) };
        match candidates.needs_body() {
            true => {
                let scanned = tape.scan_like(&mut learnt.shape, view.text());
                scanned.map_err(|_| skipped(first, Skip::Parse))?;
            }
            false => tape.clear(),
        }
        let doc = view.doc(tape);
        for route in readers() {
            match candidates.allows(route, Some(doc)) {
                Err(Duplicate) => return Err(skipped(route, Skip::Duplicate)),
                Ok(false) => {}
                Ok(true) => {
                    let captures = candidates.captures(route);
                    let head = candidates.message_head(&captures);
                    let duplicate = |_| skipped(route, Skip::Duplicate);
                    hidden.find(&route.masks, doc).map_err(duplicate)?;
                    let message = Message { head, doc, hidden, from: Doc::ROOT, item: None };
                    let (fields_of, identity) = (&self.fields, self.identity.as_slice());
                    let reader = Reader { route, fields: fields_of, identity, doc, message };
                    reader.leads(leads, selected, learnt, values).map_err(|reason| skipped(route, reason))?;
                    *notes = reader.notes(leads).map_err(duplicate)?;
                    let is_batch = view.mode() == Mode::Batch;
                    notes.messages = is_batch.then(|| doc.elements(Doc::ROOT).count());
                    return Ok(Some(route.clone()));
                }
            }
        }
        Ok(None)
    }
}

/// An address is read as a word is.
fn address(from: &[Pointer]) -> Feature {
    let (kind, missing, oov, derive, log) = (FeatureType::Category, None, None, None, Logged::Keep);
    Feature { name: "".into(), from: from.to_vec(), kind, missing, oov, derive, log }
}

impl<'r> Candidates<'r> {
    /// The route that the request is counted under while its body is unread.
    pub fn likely(&self) -> Option<Arc<Route>> {
        self.open().next().cloned()
    }

    /// The routes that the head alone does not rule out.
    pub(super) fn open(&self) -> impl Iterator<Item = &'r Arc<Route>> + '_ {
        self.routes().filter(|route| self.allows(route, None) == Ok(true))
    }

    /// Whether a route takes the request. Without a body its predicates on the body are taken as holding.
    fn allows(&self, route: &'r Route, body: Option<Doc<'_, '_>>) -> Result<bool, Duplicate> {
        Ok(self.denied(route, body)?.is_none())
    }

    /// Which of a route's predicates is the first that does not hold.
    fn denied(&self, route: &'r Route, body: Option<Doc<'_, '_>>) -> Result<Option<usize>, Duplicate> {
        if route.when.is_empty() {
            return Ok(None);
        }
        let captures = self.captures(route);
        let head = self.message_head(&captures);
        let empty = Tape::default();
        let doc = body.unwrap_or_else(|| Doc::new("", &empty));
        let asked = |predicate: &Predicate| body.is_some() || !predicate.reads_body();
        for (index, predicate) in route.when.iter().enumerate().filter(|(_, predicate)| asked(predicate)) {
            let hidden = Hidden::NONE;
            if !predicate.holds(Message { head, doc, hidden, from: Doc::ROOT, item: None })? {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    fn message_head<'c>(&'c self, captures: &'c Captures<'c>) -> Head<'c> {
        Head { headers: self.head.headers, captures, query: self.head.query }
    }
}

/// Leads of one request at most; CRMs take 100 or 200. A body of a million empty objects must not hold up a worker.
pub(super) const MAX_LEADS: usize = 1_000;

/// Elements are found by walking past those before them, so an index is bounded as well.
const MAX_INDEX: usize = 10_000;

/// Reads the leads of one body.
struct Reader<'r, 'a, 't> {
    route: &'r Route,
    fields: &'r Fields,
    identity: &'r [Fields],
    /// The body, which features borrow from.
    doc: Doc<'a, 't>,
    message: Message<'r, 't>,
}

impl<'a> Reader<'_, 'a, '_> {
    fn leads(
        &self,
        leads: &mut Vec<Found>,
        selected: &mut Vec<Selected>,
        learnt: &mut Learnt,
        values: &mut Vec<Value<'a>>,
    ) -> Result<(), Skip> {
        leads.clear();
        // The records of a read stand in the answer.
        if self.route.action == Action::Read {
            return Ok(());
        }
        self.objects(leads, selected)?;
        self.ids(leads, selected)?;
        // Only now, since ids are counted along with all of them.
        leads.retain(|lead| !self.message.hidden.holds(lead.at));
        for lead in leads.iter() {
            let Learnt { fields, identity, .. } = &mut *learnt;
            self.fields.read(self.doc, lead.at, fields, values).map_err(|_| Skip::Duplicate)?;
            for (address, scratch) in self.identity.iter().zip(identity) {
                let place = values.len();
                _ = address.read(self.doc, lead.at, scratch, values);
                values.resize(place + 1, Value::Missing);
            }
        }
        // An outcome may be told by the path alone.
        if leads.is_empty() && self.route.action != Action::Outcome { Err(Skip::NoLead) } else { Ok(()) }
    }

    fn objects(&self, leads: &mut Vec<Found>, selected: &mut Vec<Selected>) -> Result<(), Skip> {
        let doc = self.message.doc;
        selected.clear();
        if self.route.leads.is_too_much(doc) {
            return Err(Skip::TooMany);
        }
        self.route.leads.select(doc, selected).map_err(|_| Skip::Duplicate)?;
        for found in selected.drain(..) {
            match doc.kind(found.at) {
                Some(Kind::Object) => self.push(leads, found)?,
                // A list where the route expects an object counts as its items.
                Some(Kind::Array) => {
                    for (index, at) in doc.elements(found.at).enumerate() {
                        if doc.kind(at) == Some(Kind::Object) {
                            self.push(leads, Selected { at, item: Some(index) })?;
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn push(&self, leads: &mut Vec<Found>, selected: Selected) -> Result<(), Skip> {
        let far = selected.item.is_some_and(|index| index >= MAX_INDEX);
        if leads.len() == MAX_LEADS || far {
            return Err(Skip::TooMany);
        }
        leads.push(self.lead(selected).map_err(|Duplicate| Skip::Duplicate)?);
        Ok(())
    }

    fn lead(&self, selected: Selected) -> Result<Found, Duplicate> {
        let Selected { at, item } = selected;
        let doc = self.message.doc;
        let id = match self.route.id.as_ref().map(|id| &id.from) {
            Some(IdSource::Path(_)) => self.path_id(),
            Some(IdSource::Request(pointer)) => doc
                .resolve(Doc::ROOT, pointer, item)?
                .and_then(|at| id_at(doc, at))
                .and_then(|id| self.route.id_of(&id)),
            Some(IdSource::Response(_) | IdSource::Header(_) | IdSource::Each(_)) | None => None,
        };
        let key = match &self.route.pairing {
            Some(pairing) => doc.resolve(at, &pairing.request, item)?.and_then(|at| pairing_key(doc, at)),
            None => None,
        };
        Ok(Found { at, item, id, more_ids: Vec::new(), key })
    }

    /// The id where the path holds it.
    fn path_id(&self) -> Option<LeadId> {
        match &self.route.id.as_ref()?.from {
            IdSource::Path(name) => self.route.id_of(&decoded(self.message.head.captures.named(name)?)),
            _ => None,
        }
    }

    /// The ids that a query finds: the k-th result is that of the k-th lead, and a list holds those of several records.
    fn ids(&self, leads: &mut [Found], selected: &mut Vec<Selected>) -> Result<(), Skip> {
        let Some(program) = &self.route.ids else { return Ok(()) };
        let Message { doc, hidden, .. } = self.message;
        selected.clear();
        program.select(doc, selected).map_err(|_| Skip::Duplicate)?;
        let mut count = 0;
        for (lead, found) in leads.iter_mut().zip(selected.drain(..)) {
            let itself = (doc.kind(found.at) != Some(Kind::Array)).then_some(found.at);
            let seen = itself.into_iter().chain(doc.elements(found.at)).filter(|at| !hidden.holds(*at));
            for id in seen.filter_map(|at| id_at(doc, at)).filter_map(|id| self.route.id_of(&id)) {
                count += 1;
                match &lead.id {
                    _ if count > MAX_LEADS => return Err(Skip::TooMany),
                    None => lead.id = Some(id),
                    Some(_) => lead.more_ids.push(id),
                }
            }
        }
        Ok(())
    }

    fn notes(&self, leads: &[Found]) -> Result<Notes, Duplicate> {
        let mut notes = Witness { route: self.route, message: self.message }.notes(leads)?;
        if self.route.action == Action::Read {
            notes.path_id = self.path_id();
        }
        Ok(notes)
    }
}
