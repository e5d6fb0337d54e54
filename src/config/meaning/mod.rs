//! What the file means: texts become addresses, patterns and pointers, presets are merged in, and what contradicts
//! itself is told.

mod text; // one text, one value: addresses, sizes, times, header names
mod template; // path templates
mod condition; // predicates and the places they look at
mod routes; // routes, and what two of them may not share

use std::{net::SocketAddr, path::PathBuf};

use self::{
    condition::{Scope, predicates},
    routes::Source,
};
use super::{
    at::{Pointer, Step},
    findings::{Complaint, Findings, KeyPath},
    problem::nearest_or_all,
    raw::{RawConfig, RawFeature, RawLimits, RawOutcome},
    settings::{Config, Feature, Limits, Mask, OutcomeRule, Upstream},
};

pub(crate) use self::text::time;

/// Reads an environment variable.
pub(super) type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The configuration, whole if nothing was reported.
pub(super) fn config(raw: &RawConfig, env: Env<'_>, findings: &mut Findings) -> Option<Config> {
    let masks = masks(&raw.secrets.mask, findings);
    let sources = routes::sources(raw, findings);
    let routes = routes::read(&sources, findings);
    routes::masked(&routes, &masks, findings);
    let features =
        raw.features.iter().filter_map(|(name, feature)| read_feature(name, feature, &masks, findings));
    let features = features.collect();
    let outcomes = raw.outcomes.iter().enumerate();
    let outcomes = outcomes.filter_map(|(index, rule)| {
        let path = KeyPath::default().key("outcomes").item(index);
        outcome(rule, &path, (&sources, &masks), findings)
    });
    let outcomes = outcomes.collect();
    let limits = limits(&raw.limits, findings);
    let network = network(raw, env, findings);
    let Network { listen, upstream, admin, admin_token } = network?;
    Some(Config {
        listen,
        upstream,
        admin,
        admin_token,
        models: folder(&raw.models, ("models", "LEADWIRE_MODELS"), env, findings)?,
        state: folder(&raw.state, ("state", "LEADWIRE_STATE"), env, findings)?,
        limits: limits?,
        routes: routes.into_iter().map(|(_, route)| route).collect(),
        features,
        outcomes,
        masks,
    })
}

struct Network {
    listen: SocketAddr,
    upstream: Upstream,
    admin: SocketAddr,
    admin_token: Option<PathBuf>,
}

fn network(raw: &RawConfig, env: Env<'_>, findings: &mut Findings) -> Option<Network> {
    let (listen, listen_path) = setting(Some(&raw.listen), ("listen", "LEADWIRE_LISTEN"), env);
    let (admin, admin_path) = setting(Some(&raw.admin), ("admin", "LEADWIRE_ADMIN"), env);
    let (upstream, upstream_path) = setting(raw.upstream.as_deref(), ("upstream", "LEADWIRE_UPSTREAM"), env);
    let listen = findings.take(&listen_path, text::address(listen.as_deref().unwrap_or_default()));
    let admin = findings.take(&admin_path, text::address(admin.as_deref().unwrap_or_default()));
    let missing = || Complaint::from("required key is missing");
    let upstream = upstream.ok_or_else(missing).and_then(|url| text::upstream(&url));
    let upstream = findings.take(&upstream_path, upstream);

    let admin_token = raw.admin_token.as_ref().map(PathBuf::from);
    if admin_token.as_ref().is_some_and(|file| file.as_os_str().is_empty()) {
        findings.wrong(&KeyPath::default().key("admin_token"), "expected the name of a file");
    }
    if let Some(admin) = admin
        && !admin.ip().to_canonical().is_loopback()
        && admin_token.is_none()
    {
        let hint = "set admin_token, or bind to 127.0.0.1".to_owned();
        let message = format!("{admin} is open to the network without a token");
        findings.wrong(&admin_path, Complaint::new(message, Some(hint)));
    }
    if let (Some(listen), Some(admin)) = (listen, admin)
        && text::clash(listen, admin)
    {
        findings.wrong(&admin_path, format!("{admin} is taken by listen"));
    }
    if let (Some(listen), Some(upstream)) = (listen, &upstream)
        && let Ok(ip) = upstream.authority.host().trim_matches(['[', ']']).parse()
        && text::clash(listen, SocketAddr::new(ip, upstream.port))
    {
        findings.wrong(&upstream_path, "is Leadwire's own listen address");
    }
    Some(Network { listen: listen?, upstream: upstream?, admin: admin?, admin_token })
}

/// What the variable says, or else the file; and where that stands.
fn setting(file: Option<&str>, (key, variable): (&str, &str), env: Env<'_>) -> (Option<String>, KeyPath) {
    // An empty variable is how a deployment says "not set".
    match env(variable).filter(|text| !text.is_empty()) {
        Some(text) => (Some(text), KeyPath::variable(variable)),
        None => (file.map(str::to_owned), KeyPath::default().key(key)),
    }
}

fn folder(file: &str, names: (&str, &str), env: Env<'_>, findings: &mut Findings) -> Option<PathBuf> {
    let (text, path) = setting(Some(file), names, env);
    let text = text.filter(|text| !text.is_empty()).ok_or("expected the name of a directory");
    findings.take(&path, text).map(PathBuf::from)
}

fn limits(raw: &RawLimits, findings: &mut Findings) -> Option<Limits> {
    let at = KeyPath::default().key("limits");
    let body = findings.take(&at.key("body"), text::size(&raw.body, ("1KiB", "64MiB")));
    let mut time = |key, text, range| findings.take(&at.key(key), text::duration(text, range));
    let deadline = time("deadline", &raw.deadline, ("100us", "1s"));
    let connect = time("connect", &raw.connect, ("10ms", "2m"));
    let answer = time("answer", &raw.answer, ("100ms", "1h"));
    let drain = time("drain", &raw.drain, ("0s", "10m"));
    Some(Limits { body: body?, deadline: deadline?, connect: connect?, answer: answer?, drain: drain? })
}

fn masks(raw: &[String], findings: &mut Findings) -> Vec<Mask> {
    let at = KeyPath::default().key("secrets").key("mask");
    let mask = |(index, text): (usize, &String)| findings.take(&at.item(index), text::mask(text));
    raw.iter().enumerate().filter_map(mask).collect()
}

fn read_feature(name: &str, raw: &RawFeature, masks: &[Mask], findings: &mut Findings) -> Option<Feature> {
    let path = KeyPath::default().key("features").key(name);
    if name.is_empty() {
        findings.wrong(&path, "a feature needs a name");
    }
    let from_path = path.key("from");
    if raw.from.is_empty() {
        findings.wrong(&from_path, "names no pointer to read from");
    }
    let from = raw.from.iter().enumerate();
    let from = from.map(|(index, text)| lead_pointer(text, &from_path.item(index), masks, findings));
    // Collected in two steps so that each bad pointer is told, not only the first.
    let from: Vec<_> = from.collect();
    Some(Feature { name: name.into(), from: from.into_iter().collect::<Option<_>>()?, kind: raw.kind })
}

/// A pointer that is relative to the lead object and may be recorded.
fn lead_pointer(text: &str, path: &KeyPath, masks: &[Mask], findings: &mut Findings) -> Option<Pointer> {
    let pointer = findings.take(path, text::pointer(text, false))?;
    if masks.iter().any(|mask| matches!(mask, Mask::Body(mask) if covers(mask, &pointer))) {
        findings.wrong(path, "is masked by secrets.mask");
        return None;
    }
    Some(pointer)
}

/// Whether a mask hides what the pointer points at. `{i}` may be any index.
fn covers(mask: &Pointer, pointer: &Pointer) -> bool {
    let same = |(mask, step): (&Step, &Step)| match (mask, step) {
        (Step::Key(mask), Step::Item) => mask.bytes().all(|digit| digit.is_ascii_digit()),
        (mask, step) => mask == step,
    };
    mask.steps.len() <= pointer.steps.len() && mask.steps.iter().zip(&pointer.steps).all(same)
}

fn outcome(
    raw: &RawOutcome,
    path: &KeyPath,
    (routes, masks): (&[Source], &[Mask]),
    findings: &mut Findings,
) -> Option<OutcomeRule> {
    let route_path = path.key("route");
    let route = routes.iter().find(|source| source.raw.name == raw.route);
    match route {
        None => {
            let hint = nearest_or_all(&raw.route, routes.iter().map(|source| source.raw.name.as_str()));
            findings.wrong(&route_path, Complaint::new(format!("no route is called {:?}", raw.route), hint));
        }
        Some(source) if source.raw.id.is_none() => {
            let message = format!("route {:?} has no id, so nothing says whose outcome this is", raw.route);
            findings.wrong(&route_path, message);
        }
        Some(_) => {}
    }
    let names = route.map(Source::path_names).unwrap_or_default();
    let when = predicates(&raw.when, &path.key("when"), &Scope::when(&names), findings);
    let revenue = raw.revenue.as_ref();
    let revenue = revenue.map(|text| lead_pointer(text, &path.key("revenue"), masks, findings));
    let revenue = match revenue {
        Some(pointer) => Some(pointer?),
        None => None,
    };
    Some(OutcomeRule { route: raw.route.as_str().into(), when: when?, won: raw.label == 1, revenue })
}
