//! Requests to leads.

use std::sync::Arc;

use super::{
    content::View,
    doc::{At, Doc, Duplicate},
    fields::{FieldScratch, Fields},
    predicate::{Head, Message},
    routes::{Candidates, Captures, Outcome, RequestHead, Route, Router},
    scan::{Kind, Tape},
    select::Selected,
};
use crate::{
    config::{Action, Config, IdSource, Pointer},
    lead::{FeatureType, LeadId, Skip, Value},
};

/// Routes and feature map of one configuration, compiled.
#[derive(Debug)]
pub struct Recogniser {
    router: Router,
    fields: Fields,
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
    /// What the request tells of the lead's fate: won or lost, and the revenue.
    pub outcome: Option<(bool, Option<f64>)>,
}

/// What reading needs beside the body, reused from request to request. After a [`Recogniser::read`] it holds the tape
/// and the leads of that body.
#[derive(Debug, Default)]
pub struct Scratch {
    /// The body's nodes.
    pub tape: Tape,
    /// The leads in the order the selector gave them.
    pub leads: Vec<Found>,
    selected: Vec<Selected>,
    fields: FieldScratch,
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
        if self.tape.nodes().len() > 65_536 {
            *self = Self::default();
        }
    }
}

impl Recogniser {
    /// Compiles a configuration's routes and features.
    pub fn new(config: &Config) -> Self {
        Self { router: Router::new(&config.routes, &config.outcomes), fields: Fields::new(&config.features) }
    }

    /// The number of values that [`Recogniser::read`] yields for each lead: one for each configured feature.
    pub fn width(&self) -> usize {
        self.fields.len()
    }

    /// The routes that may take a request, or `None` where no body could make it ours.
    pub fn candidates<'r>(&'r self, head: RequestHead<'r>) -> Option<Candidates<'r>> {
        let candidates = self.router.at(head)?;
        let any = candidates.open().any(|route| route.action != Action::Read);
        any.then_some(candidates)
    }

    /// Reads the leads of a body, for the routes that read it as `view` does: `Ok(None)` where no route's predicates hold.
    /// On `Ok(Some)` the leads stand in `scratch`, and `values` holds [`Recogniser::width`] values for each, one lead after
    /// another.
    pub fn read<'a>(
        &self,
        candidates: &Candidates<'_>,
        view: View<'a>,
        scratch: &mut Scratch,
        values: &mut Vec<Value<'a>>,
    ) -> Result<Option<Arc<Route>>, Skipped> {
        let readers = || candidates.open().filter(|route| view.is_for(&route.content));
        let Some(first) = readers().next() else { return Ok(None) };
        let skipped = |route: &Arc<Route>, reason| Skipped { route: route.clone(), reason };
        scratch.tape.scan(view.text()).map_err(|_| skipped(first, Skip::Parse))?;
        let doc = view.doc(&scratch.tape);
        for route in readers() {
            match candidates.allows(route, Some(doc)) {
                Err(Duplicate) => return Err(skipped(route, Skip::Duplicate)),
                Ok(false) => {}
                Ok(true) => {
                    let captures = candidates.captures(route);
                    let head = candidates.message_head(&captures);
                    let reader = Reader { route, fields: &self.fields, doc, head };
                    let Scratch { leads, selected, fields, .. } = scratch;
                    let read = reader.leads(leads, selected, fields, values);
                    return read.map(|()| Some(route.clone())).map_err(|reason| skipped(route, reason));
                }
            }
        }
        Ok(None)
    }
}

impl<'r> Candidates<'r> {
    /// The route that the request is counted under while its body is unread.
    pub fn likely(&self) -> Option<Arc<Route>> {
        self.open().next().cloned()
    }

    /// The routes that the head alone does not rule out.
    pub(super) fn open(&self) -> impl Iterator<Item = &'r Arc<Route>> {
        self.routes.iter().filter(|route| self.allows(route, None) == Ok(true))
    }

    /// Whether a route takes the request. Without a body its predicates on the body are taken as holding.
    fn allows(&self, route: &Route, body: Option<Doc<'_, '_>>) -> Result<bool, Duplicate> {
        if route.when.is_empty() {
            return Ok(true);
        }
        let captures = self.captures(route);
        let head = self.message_head(&captures);
        let empty = Tape::default();
        let doc = body.unwrap_or_else(|| Doc::new("", &empty));
        for predicate in route.when.iter().filter(|predicate| body.is_some() || !predicate.reads_body()) {
            if !predicate.holds(Message { head, doc, from: Doc::ROOT, item: None })? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn message_head<'c>(&'c self, captures: &'c Captures<'c>) -> Head<'c> {
        Head { headers: self.head.headers, captures, query: self.head.query }
    }
}

/// Leads of one request at most; CRMs take 100 or 200. A body of a million empty objects must not hold up a worker.
const MAX_LEADS: usize = 1_000;

/// Reads the leads of one body.
struct Reader<'r, 'a, 't> {
    route: &'r Route,
    fields: &'r Fields,
    doc: Doc<'a, 't>,
    head: Head<'r>,
}

impl<'a> Reader<'_, 'a, '_> {
    fn leads(
        &self,
        leads: &mut Vec<Found>,
        selected: &mut Vec<Selected>,
        scratch: &mut FieldScratch,
        values: &mut Vec<Value<'a>>,
    ) -> Result<(), Skip> {
        leads.clear();
        selected.clear();
        self.route.leads.select(self.doc, selected).map_err(|_| Skip::Duplicate)?;
        for found in selected.drain(..) {
            match self.doc.kind(found.at) {
                Some(Kind::Object) => self.push(leads, found)?,
                // A list where the route expects an object counts as its items.
                Some(Kind::Array) => {
                    for (index, at) in self.doc.elements(found.at).enumerate() {
                        if self.doc.kind(at) == Some(Kind::Object) {
                            self.push(leads, Selected { at, item: Some(index) })?;
                        }
                    }
                }
                _ => {}
            }
        }
        for lead in leads.iter() {
            self.fields.read(self.doc, lead.at, scratch, values).map_err(|_| Skip::Duplicate)?;
        }
        if leads.is_empty() { Err(Skip::NoLead) } else { Ok(()) }
    }

    fn push(&self, leads: &mut Vec<Found>, selected: Selected) -> Result<(), Skip> {
        if leads.len() == MAX_LEADS {
            return Err(Skip::TooMany);
        }
        leads.push(self.lead(selected)?);
        Ok(())
    }

    fn lead(&self, selected: Selected) -> Result<Found, Skip> {
        let Selected { at, item } = selected;
        let id = match self.route.id.as_ref().map(|id| &id.from) {
            Some(IdSource::Path(name)) => {
                self.head.captures.named(name).filter(|id| !id.is_empty()).map(LeadId::from)
            }
            Some(IdSource::Request(pointer)) => {
                id_at(self.doc, pointer, item).map_err(|_| Skip::Duplicate)?
            }
            Some(IdSource::Response(_) | IdSource::Header(_) | IdSource::Each(_)) | None => None,
        };
        Ok(Found { at, item, id, outcome: self.outcome(selected).map_err(|_| Skip::Duplicate)? })
    }

    /// The first outcome rule whose predicates all hold.
    fn outcome(&self, lead: Selected) -> Result<Option<(bool, Option<f64>)>, Duplicate> {
        let message = Message { head: self.head, doc: self.doc, from: lead.at, item: lead.item };
        'rules: for rule in &self.route.outcomes {
            for predicate in &rule.when {
                if !predicate.holds(message)? {
                    continue 'rules;
                }
            }
            return Ok(Some((rule.won, self.revenue(rule, lead)?)));
        }
        Ok(None)
    }

    fn revenue(&self, rule: &Outcome, lead: Selected) -> Result<Option<f64>, Duplicate> {
        let Some(pointer) = &rule.revenue else { return Ok(None) };
        let Some(at) = self.doc.resolve(lead.at, pointer, lead.item)? else { return Ok(None) };
        Ok(match super::coerce::read(self.doc, at, FeatureType::Number)? {
            Value::Number(revenue) => Some(revenue),
            _ => None,
        })
    }
}

/// The id a pointer leads to from the body's root: text or a number, never empty.
pub(super) fn id_at(
    doc: Doc<'_, '_>,
    pointer: &Pointer,
    item: Option<usize>,
) -> Result<Option<LeadId>, Duplicate> {
    let node = doc.resolve(Doc::ROOT, pointer, item)?.and_then(|at| doc.node(at));
    let id =
        node.filter(|node| matches!(node.kind, Kind::String | Kind::Number)).map(|node| doc.string(node));
    Ok(id.filter(|id| !id.is_empty()).map(|id| id.into_owned().into_boxed_str()))
}
