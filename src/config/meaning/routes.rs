//! Routes: the file's and the presets', and what two of them may not share.

use std::collections::{HashMap, HashSet};

use http::{HeaderName, Method, StatusCode};

use super::{
    condition::{Scope, path_name, predicates},
    masking,
    template::{Template, template},
    text,
};
use crate::config::{
    at::{Pointer, Step},
    findings::{Complaint, Findings, KeyPath},
    problem::nearest_or_all,
    raw::{RawFormat, RawId, RawInject, RawPairing, RawPredicate, RawRoute, RawTarget},
    route::{Action, BodyTarget, Content, Field, Format, HeaderTarget, Id, IdSource, Inject, Pairing, Route},
    settings::Mask,
};

/// A route as it was written, and where.
pub(super) struct Source {
    pub(super) raw: RawRoute,
    path: KeyPath,
    /// The preset it is from; `None` for the file.
    pub(super) preset: Option<String>,
    template: Result<Template, String>,
}

impl Source {
    pub(super) fn new(raw: RawRoute, path: KeyPath, preset: Option<String>) -> Self {
        let template = template(&raw.path);
        Self { raw, path, preset, template }
    }

    /// The `{name}`s of its path; none where that is malformed.
    pub(super) fn path_names(&self) -> Vec<String> {
        self.template.as_ref().map(|template| template.names.clone()).unwrap_or_default()
    }
}

/// The routes that make sense, each with where it stands.
pub(super) fn read(sources: &[Source], findings: &mut Findings) -> Vec<(KeyPath, Route)> {
    let routes = sources.iter().filter_map(|source| Some((source.path.clone(), route(source, findings)?)));
    let routes = routes.collect();
    ties(sources, findings);
    routes
}

fn route(source: &Source, findings: &mut Findings) -> Option<Route> {
    let Source { raw, path, template, preset: _ } = source;
    let name = findings.take(&path.key("name"), text::name(&raw.name));
    let model = findings.take(&path.key("model"), text::name(&raw.model));
    let content = findings.take(&path.key("content"), text::content(&raw.content));
    let template = findings.take(&path.key("path"), template.as_ref().map_err(String::as_str));
    let leads = findings.take(&path.key("leads"), text::query(&raw.leads));
    let signed_by = raw.signed_by.as_ref();
    let signed_by = signed_by.map(|name| findings.take(&path.key("signed_by"), text::header(name)));
    let methods = methods(&raw.method, &path.key("method"), findings);
    let inject = inject(&raw.inject, raw.action, &path.key("inject"), findings);
    if let Some(content) = &content
        && !raw.inject.request.is_empty()
        && !content.is_written_to()
    {
        let message = format!("a body of content {} is only read; nothing is written into it", raw.content);
        findings.wrong(&path.key("inject").key("request"), message);
    }
    // Without the path's names, whatever asks for one would be told off wrongly.
    let names = &template?.names;
    let when = predicates(&raw.when, &path.key("when"), &Scope::when(names), findings);
    let ok = predicates(&raw.ok, &path.key("ok"), &Scope::ok(names), findings);
    let id = raw.id.as_ref().map(|id| self::id(id, (names, raw.action), &path.key("id"), findings));
    let pairing = raw.pairing.as_ref().map(|pairing| self::pairing(pairing, &path.key("match"), findings));
    Some(Route {
        name: name?.into(),
        methods: methods?,
        path: raw.path.as_str().into(),
        content: content?,
        when: when?,
        leads: leads?,
        ok: ok?,
        id: match id {
            Some(id) => Some(id?),
            None => None,
        },
        pairing: match pairing {
            Some(pairing) => Some(pairing?),
            None => None,
        },
        // The schema has seen to the range, so none is lost.
        refused: raw.refused.status.iter().filter_map(|code| StatusCode::from_u16(*code).ok()).collect(),
        action: raw.action,
        model: model?.into(),
        inject: inject?,
        signed_by: match signed_by {
            Some(name) => Some(name?),
            None => None,
        },
    })
}

fn methods(raw: &[String], path: &KeyPath, findings: &mut Findings) -> Option<Vec<Method>> {
    const KNOWN: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];
    if raw.is_empty() {
        findings.wrong(path, "names no method");
        return None;
    }
    let mut methods = Vec::new();
    for (index, text) in raw.iter().enumerate() {
        let method = Method::from_bytes(text.as_bytes()).ok().filter(|_| KNOWN.contains(&text.as_str()));
        match method {
            Some(method) if methods.contains(&method) => {
                findings.wrong(&path.item(index), format!("{text} stands twice"));
            }
            Some(method) => methods.push(method),
            None => {
                let complaint =
                    Complaint::new(format!("{text:?} is not a method"), nearest_or_all(text, KNOWN));
                findings.wrong(&path.item(index), complaint);
            }
        }
    }
    Some(methods)
}

fn id(
    raw: &RawId,
    (names, action): (&[String], Action),
    path: &KeyPath,
    findings: &mut Findings,
) -> Option<Id> {
    let in_body = matches!(raw.from.as_str(), "response" | "request");
    match (&raw.at, in_body) {
        (Some(_), false) => findings.wrong(&path.key("at"), "only the body of response or request has an at"),
        (None, true) => findings.wrong(path, format!("from: {} needs an at", raw.from)),
        _ => {}
    }
    let regex = match raw.regex.as_ref().map(|text| findings.take(&path.key("regex"), text::pattern(text))) {
        Some(regex) => Some(regex?),
        None => None,
    };
    let from = if in_body {
        findings.take(&path.key("at"), id_in_body(raw.at.as_deref()?, raw.from == "response", action))?
    } else {
        findings.take(&path.key("from"), id_in_head(&raw.from, names))?
    };
    if action == Action::Read && !matches!(from, IdSource::Response(_) | IdSource::Path(_)) {
        findings.wrong(&path.key("from"), "what is read has its id in the answer's record or the path");
    }
    Some(Id { from, regex })
}

fn id_in_body(at: &str, response: bool, action: Action) -> Result<IdSource, Complaint> {
    match (response, at.starts_with('$')) {
        // A record that is read says its own id, whichever it is of several.
        (true, _) => text::pointer(at, action != Action::Read).map(IdSource::Response),
        (false, true) => text::query(at).map(IdSource::Each),
        (false, false) => text::pointer(at, true).map(IdSource::Request),
    }
}

fn id_in_head(from: &str, names: &[String]) -> Result<IdSource, Complaint> {
    match from.split_once(':') {
        Some(("path", name)) => path_name(name, names).map(IdSource::Path),
        Some(("header", name)) => text::header(name).map(IdSource::Header),
        _ => {
            let known = ["response", "request", "path:NAME", "header:NAME"];
            Err(Complaint::new(format!("{from:?} is not known here"), nearest_or_all(from, known)))
        }
    }
}

fn pairing(raw: &RawPairing, path: &KeyPath, findings: &mut Findings) -> Option<Pairing> {
    let request = findings.take(&path.key("request"), text::pointer(&raw.request, false));
    let response = findings.take(&path.key("response"), text::pointer(&raw.response, true));
    let response = response.filter(|pointer| {
        let items = pointer.steps.iter().filter(|step| **step == Step::Item).count();
        if items != 1 {
            findings.wrong(&path.key("response"), format!("needs one {{i}}, {items} found"));
        }
        items == 1
    });
    Some(Pairing { request: request?, response: response? })
}

fn inject(raw: &RawInject, action: Action, path: &KeyPath, findings: &mut Findings) -> Option<Inject> {
    let RawInject { headers, max_items, response, request } = raw;
    let given =
        [("headers", headers.is_empty()), ("response", response.is_empty()), ("request", request.is_empty())];
    for (key, _) in given.into_iter().filter(|(_, empty)| !empty) {
        match action {
            Action::Outcome => findings.wrong(&path.key(key), "an outcome route scores nothing to write"),
            Action::Read if key == "request" => {
                findings.wrong(&path.key(key), "a read route sends no lead to write into");
            }
            _ => {}
        }
    }
    let mut seen = HashSet::new();
    let headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| {
            let path = path.key("headers").key(name);
            let name = findings.take(&path, target_header(name))?;
            if !seen.insert(name.clone()) {
                findings.wrong(&path, "the same header stands above; capitals make no difference");
            }
            Some(HeaderTarget { name, value: *value })
        })
        .collect();
    let response = targets(response, true, &path.key("response"), findings);
    let request = targets(request, false, &path.key("request"), findings);
    Some(Inject {
        headers: headers.into_iter().collect::<Option<_>>()?,
        max_items: usize::try_from(*max_items).unwrap_or(usize::MAX),
        request: request?,
        response: response?,
    })
}

/// A header that may be written without breaking the message or the connection.
fn target_header(text: &str) -> Result<HeaderName, Complaint> {
    let name = text::header(text)?;
    match name.as_str() {
        "connection"
        | "keep-alive"
        | "proxy-connection"
        | "proxy-authenticate"
        | "proxy-authorization"
        | "te"
        | "trailer"
        | "upgrade" => Err(format!("{name} belongs to one connection and cannot be written").into()),
        "content-length" | "transfer-encoding" | "content-encoding" | "content-type" | "content-range"
        | "host" => Err(format!("{name} frames the message and cannot be written").into()),
        "leadwire" => Err("leadwire already tells whether the lead was scored".into()),
        _ => Ok(name),
    }
}

fn targets(
    raw: &[RawTarget],
    item: bool,
    path: &KeyPath,
    findings: &mut Findings,
) -> Option<Vec<BodyTarget>> {
    let read = |(index, raw): (usize, &RawTarget)| {
        let path = path.item(index);
        let at = findings.take(&path.key("at"), text::pointer(&raw.at, item));
        let at = at.filter(|pointer| {
            let named = matches!(pointer.steps.last(), Some(Step::Key(_)));
            if !named {
                findings.wrong(&path.key("at"), "the last step must name a member");
            }
            named
        });
        let format = format(&raw.format, raw.value, &path.key("format"), findings);
        Some(BodyTarget { at: at?, value: raw.value, format: format? })
    };
    let all: Vec<_> = raw.iter().enumerate().map(read).collect();
    let all: Vec<BodyTarget> = all.into_iter().collect::<Option<_>>()?;
    for (index, target) in all.iter().enumerate() {
        let before = all.get(..index).unwrap_or_default();
        if before.iter().any(|before| nested(&before.at, &target.at)) {
            findings.wrong(&path.item(index).key("at"), "lies in or around a target above it");
        }
    }
    Some(all)
}

/// Whether one pointer is the other or leads into it, so that both cannot be written.
fn nested(a: &Pointer, b: &Pointer) -> bool {
    a.steps.iter().zip(&b.steps).all(|(a, b)| a == b)
}

/// Far beyond what any field takes, and what is written stays a number.
const LARGEST: f64 = 1e9;

fn format(raw: &RawFormat, value: Field, path: &KeyPath, findings: &mut Findings) -> Option<Format> {
    let number = matches!(value, Field::Score | Field::Points);
    if !number && *raw != RawFormat::default() {
        findings.wrong(path, "grade, model, reasons and trend are always text");
    }
    if let Some([least, greatest]) = raw.clamp
        && least > greatest
    {
        findings.wrong(&path.key("clamp"), format!("{least} is more than {greatest}"));
    }
    if let Some([least, greatest]) = raw.clamp
        && [least, greatest].iter().any(|bound| bound.is_nan() || bound.abs() > LARGEST)
    {
        findings.wrong(&path.key("clamp"), "must be from -1e9 to 1e9");
    }
    if raw.scale.is_some_and(|scale| scale == 0.0 || scale.is_nan() || scale.abs() > LARGEST) {
        findings.wrong(&path.key("scale"), "must be from -1e9 to 1e9, and not 0");
    }
    let clamp = raw.clamp.map(|[least, greatest]| (least, greatest));
    Some(Format { clamp, scale: raw.scale, decimals: raw.decimals, write_as: raw.write_as })
}

/// Two routes that would take the same request.
fn ties(sources: &[Source], findings: &mut Findings) {
    let mut by_shape: HashMap<&str, Vec<&Source>> = HashMap::new();
    for source in sources {
        let Ok(template) = &source.template else { continue };
        let rivals = by_shape.entry(&template.shape).or_default();
        if let Some(rival) = rivals.iter().find(|rival| tie(&rival.raw, &source.raw)) {
            // Presets come last and cannot be changed, so the file's route is told.
            let (told, other) = if source.preset.is_some() { (*rival, source) } else { (source, *rival) };
            let place = match (&other.preset, findings.line(&other.path)) {
                (None, Some(line)) => format!("in line {line}"),
                (preset, _) => format!("of preset {:?}", preset.as_deref().unwrap_or_default()),
            };
            let message = format!("takes the same requests as route {:?} {place}", other.raw.name);
            findings.wrong(&told.path.key("path"), message);
        }
        rivals.push(source);
    }
}

fn tie(a: &RawRoute, b: &RawRoute) -> bool {
    let methods = a.method.iter().any(|method| b.method.contains(method));
    let content = |raw: &RawRoute| text::content(&raw.content).unwrap_or(Content::Auto);
    let (left, right) = (content(a), content(b));
    let contents = left == right || left == Content::Auto || right == Content::Auto;
    let within = |some: &[RawPredicate], all: &[RawPredicate]| some.iter().all(|one| all.contains(one));
    methods && contents && within(&a.when, &b.when) && within(&b.when, &a.when)
}

/// Ids that stand where nothing may be read.
pub(super) fn masked(routes: &[(KeyPath, Route)], masks: &[Mask], findings: &mut Findings) {
    for (path, route) in routes {
        let Some(Id { from, .. }) = &route.id else { continue };
        let hidden = |mask: &Mask| match (from, mask) {
            (IdSource::Response(id), mask) if route.action == Action::Read => {
                masking::hides_relative(mask, id)
            }
            (IdSource::Response(id) | IdSource::Request(id), mask) => masking::hides(mask, id),
            (IdSource::Header(id), Mask::Header(mask)) => id == mask,
            _ => false,
        };
        if masks.iter().any(hidden) {
            let message = format!("the id of route {:?} {}", route.name, masking::MASKED);
            findings.wrong(&path.key("id"), message);
        }
    }
}
