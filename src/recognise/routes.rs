//! Routes, compiled: method and path template to candidates, most specific first.

use std::{collections::BTreeMap, sync::Arc};

use http::{HeaderMap, Method};

use super::{predicate::Predicate, select::Program};
use crate::config::{self, Action, Content, IdSource, Inject, OutcomeRule, Place, Side};

/// A compiled [`config::Route`].
#[derive(Debug)]
pub struct Route {
    /// Its place in the configuration.
    pub index: usize,
    /// The label in metrics and the lead log.
    pub name: Arc<str>,
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
    /// Names of the path's templates, in the order they stand.
    pub(super) names: Vec<Box<str>>,
    pub(super) when: Vec<Predicate>,
    pub(super) leads: Program,
    pub(super) ok: Vec<Predicate>,
    pub(super) id: Option<config::Id>,
    pub(super) outcomes: Vec<Outcome>,
    needs_answer: bool,
}

/// A compiled [`OutcomeRule`].
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) when: Vec<Predicate>,
    pub(super) won: bool,
    pub(super) revenue: Option<config::Pointer>,
}

impl Route {
    fn new(index: usize, route: &config::Route, outcomes: &[OutcomeRule]) -> Self {
        let compiled =
            |predicates: &[config::Predicate]| predicates.iter().map(Predicate::new).collect::<Vec<_>>();
        let of_route = outcomes.iter().filter(|rule| rule.route == route.name);
        let answer_body = |predicate: &config::Predicate| {
            predicate.at.side == Side::Response
                && matches!(predicate.at.place, Place::Body(_) | Place::Select(_))
        };
        Self {
            index,
            name: route.name.clone(),
            content: route.content.clone(),
            action: route.action,
            model: route.model.clone(),
            inject: route.inject.clone(),
            signed_by: route.signed_by.clone(),
            names: template_names(&route.path),
            when: compiled(&route.when),
            leads: Program::new(&route.leads),
            ok: compiled(&route.ok),
            id: route.id.clone(),
            outcomes: of_route
                .map(|rule| Outcome {
                    when: compiled(&rule.when),
                    won: rule.won,
                    revenue: match &rule.revenue {
                        Some(config::Lookup { place: Place::Body(pointer), .. }) => Some(pointer.clone()),
                        _ => None,
                    },
                })
                .collect(),
            needs_answer: matches!(&route.id, Some(id) if matches!(id.from, IdSource::Response(_)))
                || !route.inject.response.is_empty()
                || route.ok.iter().any(answer_body),
        }
    }

    /// Whether the answer's body must be read: for the id, for acceptance, or because a score goes into it.
    pub fn needs_answer(&self) -> bool {
        self.needs_answer
    }
}

/// What the `{name}`s of a path stood for, still percent-encoded.
#[derive(Clone, Debug, Default)]
pub struct Captures<'a> {
    names: &'a [Box<str>],
    values: [&'a str; MAX_CAPTURES],
}

/// No CRM's path has more templates than this; further ones are matched but cannot be named.
const MAX_CAPTURES: usize = 8;

impl<'a> Captures<'a> {
    /// For messages without a path: answers.
    pub(super) const NONE: &'static Captures<'static> = &Captures { names: &[], values: [""; MAX_CAPTURES] };

    /// The text that `{name}` stood for.
    pub fn named(&self, name: &str) -> Option<&'a str> {
        let position = self.names.iter().position(|known| **known == *name)?;
        self.values.get(position).copied()
    }
}

/// The routes for a request's path.
#[derive(Debug)]
pub struct Candidates<'r> {
    pub(super) routes: &'r [Arc<Route>],
    pub(super) head: RequestHead<'r>,
    values: [&'r str; MAX_CAPTURES],
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
    pub headers: &'a HeaderMap,
}

impl<'r> Candidates<'r> {
    /// The path's parts under the names that `route` gives them.
    pub(super) fn captures(&self, route: &'r Route) -> Captures<'r> {
        Captures { names: &route.names, values: self.values }
    }
}

/// All routes, by method and path. A router for each method, so that a path that is literal for one does not hide a
/// template for another.
#[derive(Debug, Default)]
pub struct Router {
    methods: Vec<(Method, matchit::Router<Vec<Arc<Route>>>)>,
}

impl Router {
    /// Compiles all routes. A template that cannot be matched has been refused with the configuration.
    pub fn new(routes: &[config::Route], outcomes: &[OutcomeRule]) -> Self {
        let mut methods: Vec<(Method, matchit::Router<_>)> = Vec::new();
        let compiled: Vec<Arc<Route>> = routes
            .iter()
            .enumerate()
            .map(|(index, route)| Arc::new(Route::new(index, route, outcomes)))
            .collect();
        for method in routes.iter().flat_map(|route| &route.methods) {
            if methods.iter().all(|(known, _)| known != method) {
                let of_method =
                    routes.iter().zip(&compiled).filter(|(route, _)| route.methods.contains(method));
                methods.push((method.clone(), by_path(of_method)));
            }
        }
        Self { methods }
    }

    /// The routes for a request's path, or `None` where it is not ours.
    pub fn at<'r>(&'r self, head: RequestHead<'r>) -> Option<Candidates<'r>> {
        let (_, paths) = self.methods.iter().find(|(method, _)| method == head.method)?;
        let found = paths.at(head.path).ok()?;
        let mut values = [""; MAX_CAPTURES];
        for (slot, (_, value)) in values.iter_mut().zip(found.params.iter()) {
            *slot = value;
        }
        Some(Candidates { routes: found.value, head, values })
    }
}

/// The routes of one method by path, those with more predicates first. A final slash is tolerated.
fn by_path<'a>(
    routes: impl Iterator<Item = (&'a config::Route, &'a Arc<Route>)>,
) -> matchit::Router<Vec<Arc<Route>>> {
    let mut by_path: BTreeMap<String, Vec<Arc<Route>>> = BTreeMap::new();
    for (route, compiled) in routes {
        let path = numbered(&route.path);
        let other = path.strip_suffix('/').map_or_else(|| format!("{path}/"), str::to_owned);
        by_path.entry(path).or_default().push(compiled.clone());
        by_path.entry(other).or_default().push(compiled.clone());
    }
    let mut paths = matchit::Router::new();
    for (path, mut routes) in by_path {
        routes.sort_by_key(|route| std::cmp::Reverse(route.when.len()));
        // A template that cannot be matched was refused with the configuration.
        _ = paths.insert(path, routes);
    }
    paths
}

/// The template with its names replaced by their position, so that two routes may name one place differently.
fn numbered(path: &str) -> String {
    let mut numbered = String::with_capacity(path.len());
    let mut rest = path;
    let mut position = 0;
    while let Some((before, after)) = rest.split_once('{') {
        let (_, tail) = after.split_once('}').unwrap_or((after, ""));
        numbered.push_str(&format!("{before}{{p{position}}}"));
        position += 1;
        rest = tail;
    }
    numbered + rest
}

fn template_names(path: &str) -> Vec<Box<str>> {
    let parts = path.split('{').skip(1);
    parts.filter_map(|part| part.split_once('}').map(|(name, _)| name.into())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_numbered_and_kept() {
        assert_eq!(numbered("/api/{v}/leads({id})/x"), "/api/{p0}/leads({p1})/x");
        assert_eq!(template_names("/api/{v}/leads({id})"), ["v".into(), "id".into()]);
    }
}
