//! The whole configuration, as it is used.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use http::{HeaderName, uri::Authority};
use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    at::{Lookup, Pointer, Predicate, Selector},
    egress::Egress,
    mirror::Mirror,
    rollout::Rollout,
    route::Route,
    tls::{Tls, UpstreamTls},
};
use crate::lead::{FeatureType, FeedbackReason, Verdict};

/// Everything the file and its presets say, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the CRM's clients connect.
    pub listen: SocketAddr,
    /// TLS for them; plain HTTP without it.
    pub tls: Option<Tls>,
    /// The CRM.
    pub upstream: Upstream,
    /// Who gets copies of what routes take.
    pub mirror: Option<Mirror>,
    /// How `CONNECT` is answered; refused without it.
    pub egress: Option<Egress>,
    /// Health and metrics. On a loopback address unless `admin_token` is set.
    pub admin: SocketAddr,
    /// File that holds the bearer token of the admin listener.
    pub admin_token: Option<PathBuf>,
    /// The watched directory of models.
    pub models: PathBuf,
    /// The keys that may sign versions; without any, versions need no signature.
    pub model_keys: Vec<ModelKey>,
    /// Lead log and ledger; created if missing.
    pub state: PathBuf,
    /// How long the lead log remembers, and how large it grows.
    pub log: Log,
    /// What is refused or cut short.
    pub limits: Limits,
    /// What a new version must show, and what takes it back.
    pub rollout: Rollout,
    /// Unique by name; a file's route replaces the preset's of the same name.
    pub routes: Vec<Route>,
    /// Unique by name.
    pub features: Vec<Feature>,
    /// Who a lead is before it has an id.
    pub identity: Identity,
    /// What counts as won or lost: the file's, then the presets'.
    pub outcomes: Vec<OutcomeRule>,
    /// What tells which deal a lead became.
    pub aliases: Vec<AliasRule>,
    /// What people say of scores.
    pub feedback: Vec<FeedbackRule>,
    /// What must never be read into a feature, an id or a log: what `secrets.mask` names, then [`Mask::always`].
    pub masks: Vec<Mask>,
}

/// An ed25519 public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelKey {
    /// The key itself.
    Inline([u8; 32]),
    /// A file that holds it, in hex or PEM.
    File(PathBuf),
}

impl ModelKey {
    /// 64 hex digits are a key, anything else names a file.
    pub fn parse(text: &str) -> Self {
        Self::hex(text).map_or_else(|| ModelKey::File(text.into()), ModelKey::Inline)
    }

    /// `N` bytes in hex, with space around them or not.
    pub fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
        let (pairs, odd) = text.trim().as_bytes().as_chunks::<2>();
        let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let byte = |[high, low]: &[u8; 2]| Some(nibble(*high)? << 4 | nibble(*low)?);
        let bytes: Vec<u8> = pairs.iter().map(byte).collect::<Option<_>>()?;
        if odd.is_empty() { bytes.try_into().ok() } else { None }
    }
}

/// The CRM's address: `http://host:port`, `https://host:port` or `h2c://host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Host and port as written, without user information.
    pub authority: Authority,
    /// The port, 80 or 443 where none is written.
    pub port: u16,
    /// How https is spoken; plain HTTP without it.
    pub tls: Option<UpstreamTls>,
    /// HTTP/2 in the clear, without asking whether the other side speaks it. Never together with `tls`.
    pub h2c: bool,
}

impl Upstream {
    /// The host's name or address, an IPv6 one without its brackets.
    pub fn host(&self) -> &str {
        self.authority.host().trim_start_matches('[').trim_end_matches(']')
    }
}

/// How long the lead log remembers, and how large it grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// What is older is removed.
    pub keep: Duration,
    /// Bytes of the lead log at most; past it the oldest goes, however young.
    pub size: u64,
    /// Bytes of the files at most that records wait in while the lead log cannot be written; 0 for no files.
    pub spill: u64,
}

impl Default for Log {
    fn default() -> Self {
        Self { keep: Duration::from_secs(400 * 86_400), size: 10 << 30, spill: 1 << 30 }
    }
}

/// What the lead log keeps of a feature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Logged {
    /// Its value.
    #[default]
    Keep,
    /// A keyed hash of it: equal values stay equal.
    Hash,
    /// That there was one.
    Drop,
}

/// Bounds on memory and time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Greatest body, in bytes, that is read for leads, of requests and of answers alike. Larger ones stream through.
    pub body: usize,
    /// Longest time that recognising, scoring and writing may take together before the request goes on unscored.
    pub deadline: Duration,
    /// Longest wait for a connection to the upstream.
    pub connect: Duration,
    /// Connections to the upstream at most; at least 1.
    pub upstream: usize,
    /// How long what the upstream's name resolved to is taken for granted.
    pub resolve: Duration,
    /// Longest wait for the head of the upstream's answer.
    pub answer: Duration,
    /// Clients' open connections at most; at least 1.
    pub connections: usize,
    /// Requests on routes at once at most; at least 1.
    pub in_flight: usize,
    /// Longest wait for the head of a request that has begun.
    pub head: Duration,
    /// Longest time that a connection may be open without a request.
    pub idle: Duration,
    /// Headers of one request at most; at least 16.
    pub headers: usize,
    /// Longest head of a request, in bytes; at least 8 KiB.
    pub head_size: usize,
    /// Longest wait for a body that is read for leads, of requests and of answers alike.
    pub read: Duration,
    /// Longest time that nothing of a request's body, of an answer's or of a tunnel moves.
    pub stall: Duration,
    /// Longest time from a request's head to the end of its answer. Tunnels have no such end.
    pub total: Duration,
    /// Longest wait for open requests when the process is told to stop.
    pub drain: Duration,
    /// How long an injection rests after the CRM refused what it wrote.
    pub pause: Duration,
    /// How many refusals in a row it takes for that; at least 1.
    pub refusals: u32,
    /// Leads whose last score and values are remembered; 0 for none.
    pub known: usize,
    /// How long they are.
    pub known_age: Duration,
}

/// A feature, mapped once for all routes.
#[derive(Clone, Debug)]
pub struct Feature {
    /// As the model's schema calls it.
    pub name: Arc<str>,
    /// Relative to the lead object; the first that is not missing counts. Never empty, never with `{i}`.
    pub from: Vec<Pointer>,
    /// What its values are.
    pub kind: FeatureType,
    /// What stands in for a missing value where the model's manifest leaves that open; fits `kind`.
    pub missing: Option<Fill>,
    /// The word that stands in for one the model does not know, where the manifest leaves that open. Categories only.
    pub oov: Option<Box<str>>,
    /// What is made of the text that was read. Categories only.
    pub derive: Option<Derive>,
    /// What the lead log keeps of it.
    pub log: Logged,
}

/// Where addresses stand that tell a lead, relative to its object and never with `{i}`; the first that is not missing counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// E-mail addresses.
    pub email: Vec<Pointer>,
    /// Phone numbers.
    pub phone: Vec<Pointer>,
}

/// What stands in for a missing value.
#[derive(Clone, Debug, PartialEq)]
pub enum Fill {
    /// The median that training saw.
    Median,
    /// Not a number, as trees take it.
    Nan,
    /// This number.
    Number(f64),
    /// This category. Never empty.
    Word(Box<str>),
    /// Yes or no.
    Boolean(bool),
}

/// What is made of a text that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Derive {
    /// What follows the last @, in lower case; missing where there is none.
    EmailDomain,
}

/// When an exchange on a route tells what became of leads. It counts once the CRM's answer meets the route's `ok`.
#[derive(Clone, Debug)]
pub struct OutcomeRule {
    /// The name of an existing route. It has an id, or the rule says whose outcome this is.
    pub route: Arc<str>,
    /// The message that tells.
    pub phase: Phase,
    /// The items of the answer; without it, the answer is the item. In phase response only.
    pub each: Option<Selector>,
    /// The ids of the leads, in the request: the rule is then about all of them and no lead object.
    pub ids: Option<Selector>,
    /// All must hold.
    pub when: Vec<Predicate>,
    /// The lead's id; without it, the route's.
    pub id: Option<Lookup>,
    /// The id is what this takes of it, as for [`Id`](super::Id).
    pub id_regex: Option<Regex>,
    /// The id is that of a deal, which an alias leads back to its lead.
    pub via_alias: bool,
    /// The outcome's own id.
    pub event: Option<Lookup>,
    /// A number; of two outcomes the one with the higher revision holds.
    pub revision: Option<Lookup>,
    /// When it happened: RFC 3339, or milliseconds since 1970.
    pub time: Option<Lookup>,
    /// True for won.
    pub won: bool,
    /// What the deal was worth.
    pub revenue: Option<Lookup>,
}

/// The message that an outcome rule reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// The request, for each lead object in it.
    #[default]
    Request,
    /// The answer, for each item in it.
    Response,
}

/// When an exchange on a route tells which deal a lead became. Pointers start at the lead object.
#[derive(Clone, Debug)]
pub struct AliasRule {
    /// The name of an existing route.
    pub route: Arc<str>,
    /// All must hold.
    pub when: Vec<Predicate>,
    /// The lead's id.
    pub lead: Lookup,
    /// The deal's.
    pub deal: Lookup,
}

/// When a request on a route tells what a person says of a score. Everything is read of the request, and counts once the
/// CRM's answer meets the route's `ok`.
#[derive(Clone, Debug)]
pub struct FeedbackRule {
    /// The name of an existing route. It has an id, or the rule has.
    pub route: Arc<str>,
    /// All must hold.
    pub when: Vec<Predicate>,
    /// The lead's id; without it, the route's.
    pub id: Option<Lookup>,
    /// What is said where which condition holds; the first counts. Never empty.
    pub verdicts: Vec<(Verdict, Predicate)>,
    /// The reason; where there is one and no condition of `reasons` holds, it is [`FeedbackReason::Other`].
    pub reason: Option<Lookup>,
    /// Which reason it is where which condition holds; the first counts.
    pub reasons: Vec<(FeedbackReason, Predicate)>,
    /// Who says it.
    pub who: Option<Lookup>,
    /// In their own words.
    pub note: Option<Lookup>,
}

/// A place whose value never leaves the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mask {
    /// In a JSON body, from its root.
    Body(Pointer),
    /// A header.
    Header(HeaderName),
    /// A key of the URL's query.
    Query(Box<str>),
}

/// Headers in which every CRM's secrets travel.
const SECRET_HEADERS: [&str; 9] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    "x-api-key",
    "x-api-token",
    "x-hmac-authorization",
    "espo-authorization",
    "x-frappe-csrf-token",
];

/// Keys of a URL's query that hold tokens: Pipedrive's, OAuth's, HubSpot's of old.
const SECRET_QUERIES: [&str; 3] = ["api_token", "access_token", "hapikey"];

/// Passwords and tokens in bodies: of Odoo's calls and logins, Tryton's logins, Google Ads' webhooks and SOAP sessions. The
/// third parameter of an XML-RPC call is one too, but elsewhere that place may hold anything.
const SECRET_PLACES: [&[&str]; 5] = [
    &["params", "args", "2"],
    &["params", "password"],
    &["params", "1", "password"],
    &["google_key"],
    &["Envelope", "Header", "SessionHeader", "sessionId"],
];

impl Mask {
    /// What is hidden whatever `secrets.mask` says.
    pub fn always() -> Vec<Self> {
        let headers = SECRET_HEADERS.map(|name| Mask::Header(HeaderName::from_static(name)));
        let queries = SECRET_QUERIES.map(|key| Mask::Query(key.into()));
        let places = SECRET_PLACES.map(|keys| Mask::Body(Pointer::of(keys)));
        headers.into_iter().chain(queries).chain(places).collect()
    }
}
