//! Routes, compiled: method and path template to candidates, most specific first.

use std::sync::Arc;

use http::{Method, header};

use super::{
    headers::{Headers, content_type},
    paths::{Paths, Template},
    predicate::Predicate,
    rules::{AliasProgram, FeedbackProgram, OutcomeProgram},
    select::Program,
};
use crate::config::{self, Action, Config, Content, IdSource, Inject, Mask, Pairing, Place, Pointer, Side};

/// A compiled [`config::Route`], with the rules about it.
#[derive(Debug)]
pub struct Route {
    /// Its place in the configuration.
    pub index: usize,
    /// The label in metrics and the lead log.
    pub name: Arc<str>,
    /// The template of its path, as it was written.
    pub path: Box<str>,
    /// How the body is read.
    pub content: Content,
    /// What the request does to the record.
    pub action: Action,
    /// The model that scores.
    pub model: Arc<str>,
    /// What is written where.
    pub inject: Inject,
    /// The header that signs the body.
    pub signed_by: Option<http::HeaderName>,
    pub(super) refused: Vec<http::StatusCode>,
    pub(super) template: Template,
    pub(super) when: Vec<Predicate>,
    pub(super) leads: Program,
    pub(super) ok: Vec<Predicate>,
    pub(super) id: Option<config::Id>,
    /// The query for ids, compiled, where [`IdSource::Each`] says so.
    pub(super) ids: Option<Program>,
    pub(super) pairing: Option<Pairing>,
    pub(super) outcomes: Vec<OutcomeProgram>,
    pub(super) aliases: Vec<AliasProgram>,
    pub(super) feedback: Vec<FeedbackProgram>,
    /// What must not be read of a body, the request's or the answer's.
    pub(super) masks: Arc<[Pointer]>,
    needs_answer: bool,
    needs_body: bool,
}

impl Route {
    fn new(index: usize, route: &config::Route, config: &Config, masks: &Masks) -> Self {
        let compiled =
            |predicates: &[config::Predicate]| predicates.iter().map(Predicate::new).collect::<Vec<_>>();
        let outcomes = config.outcomes.iter().filter(|rule| rule.route == route.name);
        let outcomes: Vec<_> = outcomes.map(OutcomeProgram::new).collect();
        let aliases = config.aliases.iter().filter(|rule| rule.route == route.name);
        let aliases: Vec<_> = aliases.map(AliasProgram::new).collect();
        let feedback = config.feedback.iter().filter(|rule| rule.route == route.name);
        let feedback: Vec<_> = feedback.map(FeedbackProgram::new).collect();
        let read_by_rules = |side| {
            outcomes.iter().any(|rule| rule.reads_body(side))
                || aliases.iter().any(|rule| rule.reads_body(side))
        };
        Self {
            index,
            name: route.name.clone(),
            path: route.path.clone(),
            content: route.content.clone(),
            action: route.action,
            model: route.model.clone(),
            inject: route.inject.clone(),
            signed_by: route.signed_by.clone(),
            refused: route.refused.clone(),
            template: Template::new(&route.path),
            when: compiled(&route.when),
            leads: Program::new(&route.leads),
            ok: compiled(&route.ok),
            id: route.id.clone(),
            ids: match route.id.as_ref().map(|id| &id.from) {
                Some(IdSource::Each(query)) => Some(Program::new(query)),
                _ => None,
            },
            pairing: route.pairing.clone(),
            masks: masks.of(route, !outcomes.is_empty() || !aliases.is_empty() || !feedback.is_empty()),
            needs_answer: reads_answer(route) || read_by_rules(Side::Response),
            needs_body: reads_request(route) || read_by_rules(Side::Request) || !feedback.is_empty(),
            outcomes,
            aliases,
            feedback,
        }
    }

    /// Whether the answer's body must be read: for ids, for acceptance, for what rules read there, or because a score goes
    /// into it.
    pub fn needs_answer(&self) -> bool {
        self.needs_answer
    }

    /// Whether the request's body must be read. Of one that only reads, or says all in its path, it need not.
    pub fn needs_body(&self) -> bool {
        self.needs_body
    }

    /// Whether anything is done with a request that carries no lead.
    fn listens(&self) -> bool {
        let writes = !self.inject.response.is_empty() || !self.inject.headers.is_empty();
        let rules = !self.outcomes.is_empty() || !self.aliases.is_empty() || !self.feedback.is_empty();
        self.action != Action::Read || writes || rules
    }
}

/// What must not be read of bodies.
struct Masks {
    /// All of it.
    all: Arc<[Pointer]>,
    /// All of it, and the password of an XML-RPC call to Odoo.
    calls: Arc<[Pointer]>,
}

impl Masks {
    fn new(config: &Config) -> Self {
        let pointer = |mask: &Mask| match mask {
            Mask::Body(pointer) => Some(pointer.clone()),
            Mask::Header(_) | Mask::Query(_) => None,
        };
        let all: Vec<Pointer> = config.masks.iter().filter_map(pointer).collect();
        let calls = all.iter().cloned().chain([Pointer::of(&["params", "2"])]).collect();
        Self { all: all.into(), calls }
    }

    /// Those that a route looks for. A configuration in which a pointer leads to one is refused, so only what searches a
    /// body has to look for them.
    fn of(&self, route: &config::Route, has_rules: bool) -> Arc<[Pointer]> {
        match &route.content {
            _ if !has_rules && !searches(route) => Arc::default(),
            Content::XmlRpc => self.calls.clone(),
            _ => self.all.clone(),
        }
    }
}

/// Whether a query looks for a route's leads or ids, which may find anything.
fn searches(route: &config::Route) -> bool {
    let ids = matches!(&route.id, Some(id) if matches!(id.from, IdSource::Each(_)));
    ids || *route.leads.text != *"$"
}

fn reads_answer(route: &config::Route) -> bool {
    let in_body = |predicate: &config::Predicate| {
        predicate.at.side == Side::Response && matches!(predicate.at.place, Place::Body(_) | Place::Select(_))
    };
    // What a read answers is looked at only where a score is written for it.
    let reads = route.action == Action::Read;
    let writes = !route.inject.response.is_empty() || reads && !route.inject.headers.is_empty();
    let id = matches!(&route.id, Some(id) if matches!(id.from, IdSource::Response(_)));
    writes || id && !reads || route.pairing.is_some() || route.ok.iter().any(in_body)
}

fn reads_request(route: &config::Route) -> bool {
    let in_body =
        |predicate: &config::Predicate| matches!(predicate.at.place, Place::Body(_) | Place::Select(_));
    let scores = !matches!(route.action, Action::Read | Action::Outcome);
    let id = matches!(&route.id, Some(id) if matches!(id.from, IdSource::Request(_) | IdSource::Each(_)));
    scores || id || route.when.iter().any(in_body)
}

/// What the `{name}`s of a path stood for, still percent-encoded. Found when asked for, as most requests ask for none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Captures<'a>(Option<(&'a Template, &'a str)>);

impl<'a> Captures<'a> {
    /// For messages without a path: answers.
    pub(super) const NONE: &'static Captures<'static> = &Captures(None);

    /// The text that `{name}` stood for.
    pub fn named(&self, name: &str) -> Option<&'a str> {
        let (template, path) = self.0?;
        let position = template.names.iter().position(|known| **known == *name)?;
        template.values(path).nth(position)
    }
}

/// Templates of one path that fit it at once; further ones, the least specific, are left out.
const MAX_OVERLAP: usize = 8;

/// The routes of the templates that a path fits.
#[derive(Clone, Copy, Debug)]
pub struct Fits<'r> {
    /// Those of each template, most specific first, each with its number of literal segments.
    groups: [(&'r [Arc<Route>], usize); MAX_OVERLAP],
    count: usize,
}

/// The routes for a request's path.
#[derive(Clone, Copy, Debug)]
pub struct Candidates<'r> {
    fits: Fits<'r>,
    pub(super) head: RequestHead<'r>,
    needs_body: bool,
    /// What the head says of the body, where somebody looks at that.
    pub(super) content_type: Option<&'r str>,
    pub(super) is_coded: bool,
}

/// A request's head, as far as routes look at it.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    /// The method.
    pub method: &'a Method,
    /// The URL's path, still percent-encoded.
    pub path: &'a str,
    /// The URL's query, without `?`.
    pub query: Option<&'a str>,
    /// The headers.
    pub headers: &'a dyn Headers,
}

impl<'r> Candidates<'r> {
    /// Those of `fits`, which is of the path in `head`; `None` where no body could make the request ours.
    pub fn of(fits: Fits<'r>, head: RequestHead<'r>) -> Option<Self> {
        let mut candidates = Candidates::all(fits, head);
        candidates.open().next()?;
        let needs_body = candidates.open().any(|route| route.needs_body());
        if needs_body {
            candidates.needs_body = true;
            candidates.content_type = content_type(head.headers);
            candidates.is_coded = head.headers.has(&header::CONTENT_ENCODING);
        }
        Some(candidates)
    }

    /// The same, whether or not the request can be ours; nobody looks at its body.
    pub(super) fn all(fits: Fits<'r>, head: RequestHead<'r>) -> Self {
        Self { fits, head, needs_body: false, content_type: None, is_coded: false }
    }

    /// Whether a route that may take the request looks at its body.
    pub fn needs_body(&self) -> bool {
        self.needs_body
    }

    /// The path's parts under the names that `route` gives them.
    pub(super) fn captures(&self, route: &'r Route) -> Captures<'r> {
        Captures(Some((&route.template, self.head.path)))
    }

    /// The routes whose path fits, most specific first: by literal segments, then by predicates.
    pub(super) fn routes(&self) -> impl Iterator<Item = &'r Arc<Route>> + '_ {
        self.fits.routes()
    }
}

impl<'r> Fits<'r> {
    fn routes(&self) -> impl Iterator<Item = &'r Arc<Route>> + '_ {
        let groups = self.groups.get(..self.count).unwrap_or_default();
        let mut taken = [0; MAX_OVERLAP];
        std::iter::from_fn(move || {
            // Mostly it is one template.
            if let ([(routes, _)], [taken, ..]) = (groups, &mut taken) {
                *taken += 1;
                return routes.get(*taken - 1);
            }
            let heads = groups.iter().zip(&mut taken);
            let heads = heads.filter_map(|((routes, literals), taken)| {
                routes.get(*taken).map(|route| (route, (*literals, route.when.len()), taken))
            });
            // Of equals the one that was found first.
            let first = heads.reduce(|best, head| if head.1 > best.1 { head } else { best });
            first.map(|(route, _, taken)| {
                *taken += 1;
                route
            })
        })
    }

    /// Puts a template's routes behind those with as many literal segments, before those with fewer.
    fn add(&mut self, routes: &'r [Arc<Route>], literals: usize) {
        let known = self.groups.get(..self.count).unwrap_or_default();
        let place = known.partition_point(|(_, of_known)| *of_known >= literals);
        if let Some(rest) = self.groups.get_mut(place..)
            && !rest.is_empty()
        {
            rest.rotate_right(1);
            if let Some(slot) = rest.first_mut() {
                *slot = (routes, literals);
            }
            self.count = MAX_OVERLAP.min(self.count + 1);
        }
    }
}

/// All routes, by method and path.
#[derive(Debug, Default)]
pub struct Router {
    methods: Vec<(Method, Paths<Arc<Route>>)>,
}

impl Router {
    /// Compiles all routes of a configuration.
    pub fn new(config: &Config) -> Self {
        let masks = Masks::new(config);
        let mut compiled: Vec<(&config::Route, Arc<Route>)> = Vec::new();
        for (index, route) in config.routes.iter().enumerate() {
            compiled.push((route, Arc::new(Route::new(index, route, config, &masks))));
        }
        // Of routes under one template those with more predicates go first.
        compiled.sort_by_key(|(route, _)| std::cmp::Reverse(route.when.len()));
        let mut router = Router::default();
        for (route, compiled) in compiled.iter().filter(|(_, compiled)| compiled.listens()) {
            for method in &route.methods {
                router.of_method(method).insert(&compiled.template, compiled.clone());
            }
        }
        router.methods.iter_mut().for_each(|(_, paths)| paths.seal());
        router
    }

    fn of_method(&mut self, method: &Method) -> &mut Paths<Arc<Route>> {
        let known = self.methods.iter().position(|(known, _)| known == method);
        let index = known.unwrap_or_else(|| {
            self.methods.push((method.clone(), Paths::default()));
            self.methods.len() - 1
        });
        #[expect(clippy::indexing_slicing, reason = "found or pushed there")]
        &mut self.methods[index].1
    }

    /// The routes for a method and a path, or `None` where there are none.
    pub fn at<'r>(&'r self, method: &str, path: &str) -> Option<Fits<'r>> {
        let (_, paths) = self.methods.iter().find(|(known, _)| known.as_str() == method)?;
        let mut fits = Fits { groups: [(&[], 0); MAX_OVERLAP], count: 0 };
        paths.each(path, &mut |routes, literals| fits.add(routes, literals));
        (fits.count > 0).then_some(fits)
    }
}
