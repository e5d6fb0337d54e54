//! What the file means: texts become addresses, patterns and pointers, presets are merged in, and what contradicts
//! itself is told.

mod text; // one text, one value: addresses, sizes, times, header names
mod template; // path templates
mod condition; // predicates and the places they look at
mod masking; // what secrets.mask hides
mod merge; // the file and its presets together
mod routes; // routes, and what two of them may not share
mod features; // what a model may know of a lead
mod identity; // who a lead is before it has an id
mod rules; // outcomes and aliases
mod feedback; // what people say of scores
mod tls; // certificates and keys
mod mirror; // where copies go
mod egress; // for which hosts Leadwire stands in
mod rollout; // what a new version must show

use std::{net::SocketAddr, path::PathBuf};

use super::{
    egress::Egress,
    findings::{Complaint, Findings, KeyPath},
    mirror::Mirror,
    preset,
    raw::{RawConfig, RawLimits, RawLog, RawSize},
    rollout::Rollout,
    settings::{Config, Feature, Limits, Log, Mask, ModelKey, Upstream},
    tls::Tls,
};

pub(crate) use self::text::time;

/// Reads an environment variable.
pub(super) type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The configuration, whole if nothing was reported.
pub(super) fn config(raw: &RawConfig, env: Env<'_>, findings: &mut Findings) -> Option<Config> {
    let mut merged = merge::merge(raw, &preset::read, findings);
    let always = Mask::always().into_iter().filter(|mask| !merged.masks.contains(mask)).collect::<Vec<_>>();
    merged.masks.extend(always);
    let masks = &merged.masks;
    let routes = routes::read(&merged.routes, findings);
    routes::masked(&routes, masks, findings);
    let features = merged.features.iter();
    let features = features.filter_map(|(name, source)| features::feature(name, source, masks, findings));
    let features: Vec<Feature> = features.collect();
    let identity = identity::identity(&merged.identity, masks, findings);
    let outcomes = rules::outcomes(&merged, findings);
    let aliases = rules::aliases(&merged, findings);
    let feedback = feedback::rules(&raw.feedback, &merged, &features, findings);
    let log = log(&raw.log, findings);
    let limits = limits(&raw.limits, findings);
    let rollout = rollout::rollout(&raw.rollout, findings);
    check_keep(log.as_ref(), rollout.as_ref(), findings);
    let model_keys = model_keys(&raw.model_keys, findings);
    let network = network(raw, env, findings);
    let Network { listen, tls, upstream, mirror, egress, admin, admin_token } = network?;
    Some(Config {
        listen,
        tls,
        upstream,
        mirror,
        egress,
        admin,
        admin_token,
        models: folder(&raw.models, ("models", "LEADWIRE_MODELS"), env, findings)?,
        model_keys,
        state: folder(&raw.state, ("state", "LEADWIRE_STATE"), env, findings)?,
        log: log?,
        limits: limits?,
        rollout: rollout?,
        routes: routes.into_iter().map(|(_, route)| route).collect(),
        features,
        identity,
        outcomes,
        aliases,
        feedback,
        masks: merged.masks,
    })
}

struct Network {
    listen: SocketAddr,
    tls: Option<Tls>,
    upstream: Upstream,
    mirror: Option<Mirror>,
    egress: Option<Egress>,
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
    let upstream = upstream.and_then(|found| tls::upstream(raw, found, &upstream_path, findings));
    let tls = raw.tls.as_ref().and_then(|raw| tls::listen(raw, findings));
    let mirror = raw.mirror.as_ref();
    let mirror =
        mirror.and_then(|mirror| mirror::mirror(mirror, raw.upstream_tls.as_ref(), listen, findings));
    let egress = raw.egress.as_ref();
    let egress =
        egress.and_then(|egress| egress::egress(egress, raw.upstream_tls.as_ref(), listen, findings));

    let token_path = KeyPath::default().key("admin_token");
    let admin_token = raw.admin_token.as_deref();
    let admin_token = admin_token.and_then(|file| findings.take(&token_path, text::file(file)));
    if let Some(admin) = admin
        && !admin.ip().to_canonical().is_loopback()
        && raw.admin_token.is_none()
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
        && text::is_own(listen, upstream)
    {
        findings.wrong(&upstream_path, "is Leadwire's own listen address");
    }
    Some(Network { listen: listen?, tls, upstream: upstream?, mirror, egress, admin: admin?, admin_token })
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

fn log(raw: &RawLog, findings: &mut Findings) -> Option<Log> {
    let at = KeyPath::default().key("log");
    let keep = findings.take(&at.key("keep"), text::duration(&raw.keep, ("1d", "3650d")));
    let size = findings.take(&at.key("size"), text::size(&raw.size, ("64MiB", "1024GiB")));
    let spill = match &raw.spill {
        RawSize::Bytes(0) => Some(0),
        spill => findings.take(&at.key("spill"), text::size(spill, ("16MiB", "64GiB"))),
    };
    Some(Log { keep: keep?, size: size? as u64, spill: spill? as u64 })
}

/// A lead that is removed before it had its time would count as lost.
fn check_keep(log: Option<&Log>, rollout: Option<&Rollout>, findings: &mut Findings) {
    if let (Some(log), Some(rollout)) = (log, rollout)
        && log.keep < rollout.horizon
    {
        let keep = KeyPath::default().key("log").key("keep");
        findings.wrong(
            &keep,
            "shorter than rollout.horizon: leads would be removed before it is known what became of them",
        );
    }
}

fn limits(raw: &RawLimits, findings: &mut Findings) -> Option<Limits> {
    let at = KeyPath::default().key("limits");
    let body = findings.take(&at.key("body"), text::size(&raw.body, ("1KiB", "64MiB")));
    let head_size = findings.take(&at.key("head_size"), text::size(&raw.head_size, ("8KiB", "1MiB")));
    let mut time = |key, text, range| findings.take(&at.key(key), text::duration(text, range));
    let deadline = time("deadline", &raw.deadline, ("100us", "1s"));
    let connect = time("connect", &raw.connect, ("10ms", "2m"));
    let resolve = time("resolve", &raw.resolve, ("1s", "1h"));
    let answer = time("answer", &raw.answer, ("100ms", "1h"));
    let head = time("head", &raw.head, ("1s", "10m"));
    let idle = time("idle", &raw.idle, ("1s", "1d"));
    let read = time("read", &raw.read, ("100ms", "10m"));
    let stall = time("stall", &raw.stall, ("1s", "1d"));
    let total = time("total", &raw.total, ("1s", "30d"));
    let drain = time("drain", &raw.drain, ("0s", "10m"));
    let pause = time("pause", &raw.pause, ("1s", "1d"));
    let known_age = time("known_age", &raw.known_age, ("1m", "3650d"));
    Some(Limits {
        body: body?,
        deadline: deadline?,
        connect: connect?,
        upstream: usize::try_from(raw.upstream).unwrap_or(usize::MAX),
        resolve: resolve?,
        answer: answer?,
        connections: usize::try_from(raw.connections).unwrap_or(usize::MAX),
        in_flight: usize::try_from(raw.in_flight).unwrap_or(usize::MAX),
        head: head?,
        idle: idle?,
        headers: usize::try_from(raw.headers).unwrap_or(usize::MAX),
        head_size: head_size?,
        read: read?,
        stall: stall?,
        total: total?,
        drain: drain?,
        pause: pause?,
        refusals: raw.refusals,
        known: usize::try_from(raw.known).unwrap_or(usize::MAX),
        known_age: known_age?,
    })
}

fn model_keys(raw: &[String], findings: &mut Findings) -> Vec<ModelKey> {
    let at = KeyPath::default().key("model_keys");
    for (index, _) in raw.iter().enumerate().filter(|(_, key)| key.trim().is_empty()) {
        findings.wrong(&at.item(index), "expected a public key in hex, or the name of a file that holds one");
    }
    raw.iter().map(|key| ModelKey::parse(key)).collect()
}
