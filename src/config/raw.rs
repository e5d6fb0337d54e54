//! What the file says, before it is known to make sense. The doc comment of a key is its comment in the shipped file
//! and its description in the JSON Schema, so it speaks to the person who writes the file.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    at::JsonType,
    egress::Others,
    rollout::Stage,
    route::{Action, Field, Mode, OnRefused, Per, WriteAs},
    settings::{Derive, Logged, Phase},
};
use crate::lead::FeatureType;

/// The configuration of Leadwire.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Config")]
pub(super) struct RawConfig {
    /// Where the CRM's clients connect. LEADWIRE_LISTEN overrides it.
    pub(super) listen: String,
    /// TLS for the clients: listen then speaks https only. Files that change are taken without a restart.
    pub(super) tls: Option<RawTls>,
    /// The CRM, as http://host:port or https://host:port, or as h2c://host:port where it speaks HTTP/2 in the clear. Required, here or as LEADWIRE_UPSTREAM.
    pub(super) upstream: Option<String>,
    /// How an https upstream is spoken to; without it, its certificate is checked against the system's CAs.
    pub(super) upstream_tls: Option<RawUpstreamTls>,
    /// A second upstream, such as a staging CRM, that gets copies of requests on routes as the client sent them: with its authorization, cookies and personal data.
    pub(super) mirror: Option<RawMirror>,
    /// For clients that insist on https and take listen for their proxy (HTTPS_PROXY): whose https is read. Without it CONNECT is refused.
    pub(super) egress: Option<RawEgress>,
    /// Health, metrics and rollouts: never on the CRM's port. LEADWIRE_ADMIN overrides it.
    pub(super) admin: String,
    /// File that holds the admin listener's bearer token; without one, admin stays on a loopback address.
    pub(super) admin_token: Option<String>,
    /// Watched directory of models. LEADWIRE_MODELS overrides it.
    pub(super) models: String,
    /// Who may sign versions: ed25519 public keys in hex, or files of them. Once set, others are not loaded any more.
    pub(super) model_keys: Vec<String>,
    /// Lead log and ledger; created if missing. LEADWIRE_STATE overrides it.
    pub(super) state: String,
    /// Built-in rules for one CRM each: salesforce, hubspot, dynamics and others. What stands below is added; a route of the same name replaces theirs.
    pub(super) presets: Vec<String>,
    /// How long the lead log remembers, and how large it grows. Sizes are bytes or KiB, MiB and GiB.
    pub(super) log: RawLog,
    /// Bounds on memory and time. Sizes are bytes or KiB and MiB; times are us, ms, s, m, h or d.
    pub(super) limits: RawLimits,
    /// What a new version must show before it serves, and what takes it back.
    pub(super) rollout: RawRollout,
    /// Rules that recognise leads. Of several that match, the one with more literal path goes first, then more conditions.
    #[schemars(length(max = 1000))]
    pub(super) routes: Vec<RawRoute>,
    /// What models may know of a lead, by the name in the model's schema; mapped once for all routes.
    pub(super) features: BTreeMap<String, RawFeature>,
    /// Who a lead is before the CRM gives it an id, so that a canary treats it alike each time. Read only while one runs, and kept nowhere.
    pub(super) identity: RawIdentity,
    /// When a request or an answer tells what became of leads; for one lead the first rule that holds counts.
    pub(super) outcomes: Vec<RawOutcome>,
    /// When an answer tells which deal a lead became, so that an outcome of the deal is one of the lead.
    pub(super) aliases: Vec<RawAlias>,
    /// What people say of a score, in fields of the CRM. It is kept for people to read, and never taken for an outcome.
    pub(super) feedback: Vec<RawFeedback>,
    /// What never leaves the request.
    pub(super) secrets: RawSecrets,
}

impl Default for RawConfig {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".into(),
            tls: None,
            upstream: None,
            upstream_tls: None,
            mirror: None,
            egress: None,
            admin: "127.0.0.1:9901".into(),
            admin_token: None,
            models: "models".into(),
            model_keys: Vec::new(),
            state: "state".into(),
            presets: Vec::new(),
            log: RawLog::default(),
            limits: RawLimits::default(),
            rollout: RawRollout::default(),
            routes: Vec::new(),
            features: BTreeMap::new(),
            identity: RawIdentity::default(),
            outcomes: Vec::new(),
            aliases: Vec::new(),
            feedback: Vec::new(),
            secrets: RawSecrets::default(),
        }
    }
}

/// TLS for the clients.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Tls")]
pub(super) struct RawTls {
    /// Certificate in PEM, followed by those between it and its CA.
    pub(super) cert: String,
    /// Its private key in PEM.
    pub(super) key: String,
    /// Further certificates, each for the names it holds; the one above answers all other names.
    #[serde(default)]
    #[schemars(length(max = 100))]
    pub(super) others: Vec<RawPair>,
    /// CAs in PEM; clients then show a certificate that comes from one of them.
    #[serde(default)]
    pub(super) client_ca: Option<String>,
    /// Whether a client may do without a certificate: required or optional.
    #[serde(default)]
    pub(super) client_auth: Option<ClientAuth>,
    /// Oldest TLS that is spoken, 1.2 or 1.3.
    #[serde(default)]
    #[schemars(schema_with = "version_schema")]
    pub(super) min_version: Option<serde_json::Value>,
}

/// A certificate and its private key.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Pair")]
pub(super) struct RawPair {
    /// Certificate in PEM, followed by those between it and its CA.
    pub(super) cert: String,
    /// Its private key in PEM.
    pub(super) key: String,
}

/// Whether a client may do without a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum ClientAuth {
    Required,
    Optional,
}

/// How an https upstream is spoken to.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "UpstreamTls")]
pub(super) struct RawUpstreamTls {
    /// CAs in PEM that are trusted instead of the system's.
    pub(super) ca: Option<String>,
    /// Certificate in PEM that is shown to the upstream.
    pub(super) cert: Option<String>,
    /// Its private key in PEM.
    pub(super) key: Option<String>,
    /// Name that is asked for and that the certificate must hold; without it, the host in upstream.
    pub(super) server_name: Option<String>,
    /// Oldest TLS that is spoken, 1.2 or 1.3.
    #[schemars(schema_with = "version_schema")]
    pub(super) min_version: Option<serde_json::Value>,
}

/// A second upstream that gets copies of requests on routes.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Mirror")]
pub(super) struct RawMirror {
    /// Who gets the copies, as http://host:port or https://host:port.
    pub(super) upstream: String,
    /// CAs in PEM that are trusted for an https mirror; without it, those of upstream_tls, or the system's.
    #[serde(default)]
    pub(super) ca: Option<String>,
    /// Of a hundred requests that routes take, how many are copied, 0 to 100.
    #[serde(default = "all_percent")]
    #[schemars(range(max = 100))]
    pub(super) percent: u32,
    /// Longest time for one copy and its answer, 100ms to 10m.
    #[serde(default = "mirror_timeout")]
    pub(super) timeout: String,
    /// Copies on their way at most, 1MiB to 1GiB; what does not fit is dropped. Each counts as 16KiB more than it has.
    #[serde(default = "mirror_bytes")]
    #[schemars(schema_with = "size_schema")]
    pub(super) bytes: RawSize,
}

/// Whose https is read, on its way from clients that take Leadwire for their proxy.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Egress")]
pub(super) struct RawEgress {
    /// Hosts whose https is read: a name, or *. for any one label before it; port 443 unless one is written.
    #[schemars(length(max = 1000))]
    pub(super) hosts: Vec<String>,
    /// The CA that signs certificates for them. Clients must trust it, and it must be nobody else's.
    pub(super) ca: RawEgressCa,
    /// What becomes of all other hosts: tunnel (bytes pass unread) or refuse. Must be said where listen is no loopback address.
    #[serde(default)]
    pub(super) others: Option<Others>,
}

/// The CA for egress.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "EgressCa")]
pub(super) struct RawEgressCa {
    /// Its certificate in PEM. Where neither file exists, both are made at the start.
    pub(super) cert: String,
    /// Its private key in PEM.
    pub(super) key: String,
}

fn all_percent() -> u32 {
    100
}

fn mirror_timeout() -> String {
    "5s".into()
}

fn mirror_bytes() -> RawSize {
    RawSize::Text("16MiB".into())
}

fn version_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": ["string", "number"]})
}

/// How long the lead log remembers, and how large it grows.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Log")]
pub(super) struct RawLog {
    /// Older scores, outcomes and all else are removed, 1d to 3650d. The outcomes of a lead stay as long as its last score.
    pub(super) keep: String,
    /// Largest size of the lead log, 64MiB to 1024GiB; past it the oldest goes, however young.
    #[schemars(schema_with = "size_schema")]
    pub(super) size: RawSize,
    /// Largest size of the files that records wait in while the lead log is locked or its disk stalls, 16MiB to 64GiB; 0 for no files.
    #[schemars(schema_with = "size_schema")]
    pub(super) spill: RawSize,
}

impl Default for RawLog {
    fn default() -> Self {
        let size = |text: &str| RawSize::Text(text.into());
        Self { keep: "400d".into(), size: size("10GiB"), spill: size("1GiB") }
    }
}

/// Bounds on memory and time.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Limits")]
pub(super) struct RawLimits {
    /// Greatest body that is read for leads, 1KiB to 64MiB; larger ones stream through unscored.
    #[schemars(schema_with = "size_schema")]
    pub(super) body: RawSize,
    /// Longest time for recognising, scoring and writing together, 100us to 1s; past it the request goes on unscored.
    pub(super) deadline: String,
    /// Longest wait for a connection to the upstream, 10ms to 2m.
    pub(super) connect: String,
    /// Connections to the upstream at most, 1 to 1000000; beyond that a request waits for one, as long as for a new one.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(super) upstream: u32,
    /// How long the addresses of the upstream's name are used before it is resolved again, 1s to 1h.
    pub(super) resolve: String,
    /// Longest wait for the head of the upstream's answer, 100ms to 1h.
    pub(super) answer: String,
    /// Clients' open connections at most, 1 to 1000000; further ones wait to be accepted.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(super) connections: u32,
    /// Requests on routes at once at most, 1 to 1000000; beyond that they go on unscored.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(super) in_flight: u32,
    /// Longest wait for the head of a request that has begun, 1s to 10m; past it the connection is cut.
    pub(super) head: String,
    /// Longest time that a connection may be open without a request, 1s to 1d; past it the connection is cut.
    pub(super) idle: String,
    /// Headers of one request at most, 16 to 10000; one with more is answered with 431.
    #[schemars(range(min = 16, max = 10_000))]
    pub(super) headers: u32,
    /// Longest head of a request, 8KiB to 1MiB; a longer one is answered with 431.
    #[schemars(schema_with = "size_schema")]
    pub(super) head_size: RawSize,
    /// Longest wait for a body that is read for leads, 100ms to 10m; past it the request goes on unscored.
    pub(super) read: String,
    /// Longest time that nothing of a body or a tunnel moves, 1s to 1d; past it the connection is cut.
    pub(super) stall: String,
    /// Longest time from a request's head to the end of its answer, 1s to 30d; past it the connection is cut.
    pub(super) total: String,
    /// Longest wait for open requests when the process is told to stop, 0s to 10m.
    pub(super) drain: String,
    /// How long an injection rests after refusals, 1s to 1d; twice as long each time in a row.
    pub(super) pause: String,
    /// How many refusals in a row before it rests, 1 to 1000.
    #[schemars(range(min = 1, max = 1000))]
    pub(super) refusals: u32,
    /// Leads whose last score and values are remembered, up to 10000000; 0 for none. Each takes 208 bytes of memory: there is
    /// room for fewer where they have many features, or are scored again and again.
    #[schemars(range(max = 10_000_000))]
    pub(super) known: u32,
    /// How long they are remembered, 1m to 3650d.
    pub(super) known_age: String,
}

impl Default for RawLimits {
    fn default() -> Self {
        Self {
            body: RawSize::Text("1MiB".into()),
            deadline: "10ms".into(),
            connect: "5s".into(),
            upstream: 1_024,
            resolve: "30s".into(),
            answer: "60s".into(),
            connections: 10_000,
            in_flight: 1_000,
            head: "30s".into(),
            idle: "10m".into(),
            headers: 512,
            head_size: RawSize::Text("128KiB".into()),
            read: "5s".into(),
            stall: "5m".into(),
            total: "1d".into(),
            drain: "30s".into(),
            pause: "10m".into(),
            refusals: 1,
            known: 50_000,
            known_age: "30d".into(),
        }
    }
}

/// What a new version must show before it serves, and what takes it back.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Rollout")]
pub(super) struct RawRollout {
    /// true: versions move up and back on evidence alone; false: Leadwire only says what it would do.
    pub(super) act: bool,
    /// Percent of the leads that a canary answers, step by step up to 100.
    #[schemars(length(min = 2, max = 20), inner(range(min = 1, max = 100)))]
    pub(super) steps: Vec<u32>,
    /// Time between two looks at a canary, 1s to 1h.
    pub(super) interval: String,
    /// Least time that a step lasts, 1s to 90d.
    pub(super) dwell: String,
    /// Least leads that the canary scores in a step, 500 to 1000000000; with fewer, rare errors stay unseen.
    #[schemars(range(min = 500, max = 1_000_000_000))]
    pub(super) samples: u32,
    /// A look waits until the canary got so many leads, 20 to 1000000: no data is neither good nor bad news.
    #[schemars(range(min = 20, max = 1_000_000))]
    pub(super) window: u32,
    /// The 99th percentile of scoring that is fast enough however fast the champion is, 1us to 1s.
    pub(super) p99: String,
    /// How long after its score a lead that has not converted counts as lost, 1h to 730d. Most wins should come sooner.
    pub(super) horizon: String,
    /// What waits for a person: canary (its first step), ramp (each further one), production.
    #[schemars(length(max = 10))]
    pub(super) approvals: Vec<Stage>,
    /// true: who trained a version may not approve it.
    pub(super) four_eyes: bool,
    /// How long an approval holds, 1m to 90d.
    pub(super) approval_expiry: String,
    /// Least time between two automatic rollbacks of a model, 0s to 30d.
    pub(super) cooldown: String,
    /// How long what was rolled back may not canary again, under whatever version's name, 0s to 365d.
    pub(super) redigest: String,
    /// How long a former champion stays at hand before it is archived, 1h to 3650d.
    pub(super) standby: String,
    /// What a shadow must show before it may canary.
    pub(super) shadow: RawShadow,
    /// When more conversions count as a benefit.
    pub(super) benefit: RawConversion,
    /// When fewer conversions count as harm, which rolls back.
    pub(super) harm: RawConversion,
    /// When log-loss on the same leads counts as better or worse.
    pub(super) paired: RawPaired,
    /// What a retrained version must show, on leads that neither it nor the champion was trained on, before it is tried.
    pub(super) training: RawTraining,
}

impl Default for RawRollout {
    fn default() -> Self {
        Self {
            act: true,
            steps: vec![10, 50, 100],
            interval: "60s".into(),
            dwell: "24h".into(),
            samples: 2000,
            window: 100,
            p99: "1ms".into(),
            horizon: "30d".into(),
            approvals: vec![Stage::Canary],
            four_eyes: true,
            approval_expiry: "72h".into(),
            cooldown: "1h".into(),
            redigest: "24h".into(),
            standby: "30d".into(),
            shadow: RawShadow::default(),
            benefit: RawConversion { alpha: 0.05, leads: 5000, conversions: 50 },
            harm: RawConversion { alpha: 0.01, leads: 5000, conversions: 20 },
            paired: RawPaired::default(),
            training: RawTraining::default(),
        }
    }
}

/// What a shadow must show before it may canary.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Shadow")]
pub(super) struct RawShadow {
    /// Percent of the leads that it scores, 1 to 100.
    #[schemars(range(min = 1, max = 100))]
    pub(super) share: u32,
    /// Least time, 0s to 365d; a week sees every day of the week.
    pub(super) min: String,
    /// After this time an open verdict is told, 1s to 365d.
    pub(super) max: String,
    /// So many leads with a known end are enough,
    #[schemars(range(max = 1_000_000_000))]
    pub(super) matured: u32,
    /// or so many leads of any kind.
    #[schemars(range(max = 1_000_000_000))]
    pub(super) mirrored: u32,
}

impl Default for RawShadow {
    fn default() -> Self {
        Self { share: 100, min: "7d".into(), max: "14d".into(), matured: 1000, mirrored: 20_000 }
    }
}

/// When a difference in conversion counts.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Conversion")]
pub(super) struct RawConversion {
    /// Chance of a false alarm over all looks together, up to 0.2.
    pub(super) alpha: f64,
    /// Leads of both arms at which the test is sharpest.
    #[schemars(range(min = 100, max = 1_000_000_000))]
    pub(super) leads: u32,
    /// Least conversions in either arm.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub(super) conversions: u32,
}

/// When a difference on the same leads counts.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Paired")]
pub(super) struct RawPaired {
    /// Chance of a false alarm over all looks together, up to 0.2.
    pub(super) alpha: f64,
    /// Leads at which the test is sharpest.
    #[schemars(range(min = 100, max = 1_000_000_000))]
    pub(super) leads: u32,
    /// Least conversions before a version is called better; production asks for that.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub(super) promote: u32,
    /// Least conversions before a version is called worse, which rejects it.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub(super) reject: u32,
}

impl Default for RawPaired {
    fn default() -> Self {
        Self { alpha: 0.05, leads: 2000, promote: 50, reject: 20 }
    }
}

/// What a retrained version must show, on leads that neither it nor the champion was trained on, before it is tried.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Training")]
pub(super) struct RawTraining {
    /// By how much its AUC must be higher, absolute, 0 to 0.5; chance must not explain it either.
    pub(super) gain: f64,
    /// How often chance may pass one that is no better, above 0 and at most 0.2.
    pub(super) alpha: f64,
    /// With --mode not-worse: by how much its AUC may be lower at the lower end of the 95% interval, 0 to 0.5.
    pub(super) margin: f64,
    /// Least conversions among those leads.
    #[schemars(range(min = 20, max = 1_000_000_000))]
    pub(super) positives: u32,
    /// By how much its calibration error may be higher, 0 to 0.5.
    pub(super) ece: f64,
    /// By how much its AUC may be lower for leads of one kind, 0 to 0.5.
    pub(super) segment: f64,
    /// How many times the champion's time scoring a lead may take at p99, 1 to 100; up to rollout.p99 it may anyway.
    pub(super) slowdown: f64,
}

impl Default for RawTraining {
    fn default() -> Self {
        Self {
            gain: 0.02,
            alpha: 0.05,
            margin: 0.005,
            positives: 150,
            ece: 0.01,
            segment: 0.03,
            slowdown: 1.2,
        }
    }
}

/// Bytes, as a number or as text with a unit.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum RawSize {
    Bytes(u64),
    Text(String),
}

fn size_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": ["integer", "string"], "minimum": 0})
}

/// A rule that recognises leads in requests to one path.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Route")]
pub(super) struct RawRoute {
    /// Unique; the label in metrics and the lead log.
    pub(super) name: String,
    /// HTTP methods: GET, POST, PUT, PATCH, DELETE.
    pub(super) method: Vec<String>,
    /// Template over the percent-encoded path, without the query; a {name} may stand inside a segment: /leads({id}).
    pub(super) path: String,
    /// How the body is read: auto (by Content-Type), json, form, form-json:FIELD, csv, multipart-batch, xmlrpc or xml.
    #[serde(default = "auto")]
    pub(super) content: String,
    /// What must hold in the request for this route to take it, such as {at: /method, eq: crm.lead.create}.
    #[serde(default)]
    pub(super) when: Vec<RawPredicate>,
    /// Query (RFC 9535) that finds the lead objects in the body; $ is the body itself. With action read: in the answer's.
    #[serde(default = "whole_body")]
    pub(super) leads: String,
    /// What must hold in the answer for the CRM to have accepted the lead; without it, status 2xx.
    #[serde(default)]
    pub(super) ok: Vec<RawPredicate>,
    /// Where the record's id stands.
    #[serde(default)]
    pub(super) id: Option<RawId>,
    /// For an answer whose order is not promised: equal values tell which of its items belongs to which lead.
    #[serde(default, rename = "match")]
    pub(super) pairing: Option<RawPairing>,
    /// What else than a client error says that the CRM refused what was written.
    #[serde(default)]
    pub(super) refused: RawRefused,
    /// What the request does to the record: create, update, upsert, read or outcome.
    pub(super) action: Action,
    /// The model that scores: a folder under models.
    #[serde(default = "lead")]
    pub(super) model: String,
    /// What is written where; without it, scores are only recorded.
    #[serde(default)]
    pub(super) inject: RawInject,
    /// The header that signs the body; where it is present, only headers are written.
    #[serde(default)]
    pub(super) signed_by: Option<String>,
}

fn auto() -> String {
    "auto".into()
}

fn whole_body() -> String {
    "$".into()
}

fn lead() -> String {
    "lead".into()
}

/// A condition on one value. Besides `at` it takes exactly one test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Predicate")]
pub(super) struct RawPredicate {
    /// /json/pointer, $.query, header:NAME, path:NAME or query:NAME; req: or resp: in front names the message.
    pub(super) at: String,
    /// Equal to this value.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "scalar_schema")]
    pub(super) eq: Option<serde_json::Value>,
    /// Equal to one of these.
    #[serde(default, rename = "in", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "scalars_schema")]
    pub(super) one_of: Option<Vec<serde_json::Value>>,
    /// Text or a number that matches this pattern somewhere; ^ and $ anchor it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) matches: Option<String>,
    /// true: there is a value, null included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) exists: Option<bool>,
    /// true: there is no value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) absent: Option<bool>,
    /// Of this type: string, number, boolean, object, array or null.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub(super) kind: Option<JsonType>,
}

/// A key that is there counts, even where it says `null`.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<serde_json::Value>, D::Error> {
    serde_json::Value::deserialize(deserializer).map(Some)
}

fn scalar_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": ["string", "number", "boolean", "null"]})
}

fn scalars_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "array", "items": {"type": ["string", "number", "boolean", "null"]}})
}

/// Where the record's id stands.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Id")]
pub(super) struct RawId {
    /// response, request, path:NAME or header:NAME (of the answer).
    pub(super) from: String,
    /// JSON Pointer in the body; {i} is the lead's index in the request's array. In a request also a query ($...).
    #[serde(default)]
    pub(super) at: Option<String>,
    /// Pattern whose first group is the id.
    #[serde(default)]
    pub(super) regex: Option<String>,
}

/// Equal values tell which item of an answer belongs to which lead; capitals make no difference.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Match")]
pub(super) struct RawPairing {
    /// JSON Pointer, relative to the lead object.
    pub(super) request: String,
    /// JSON Pointer in the answer, with one {i}, which then is the answer's own index.
    pub(super) response: String,
}

/// What says that the CRM refused what was written.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Refused")]
pub(super) struct RawRefused {
    /// Statuses, 400 to 599.
    #[schemars(inner(range(min = 400, max = 599)))]
    pub(super) status: Vec<u16>,
}

/// What is written where.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Inject")]
pub(super) struct RawInject {
    /// Headers of the answer: score (0..1), points (0..100), grade (A..D), model (lead/3), reasons (job: services +), trend.
    pub(super) headers: BTreeMap<String, Field>,
    /// Headers are written for at most so many scored leads, 1 to 100; several are separated by commas.
    #[schemars(range(min = 1, max = 100))]
    pub(super) max_items: u32,
    /// Members of the answer's body, from its root.
    pub(super) response: Vec<RawTarget>,
    /// Members of the lead object in the request's body. Opt-in: a CRM may refuse a field it does not know.
    pub(super) request: Vec<RawTarget>,
}

impl Default for RawInject {
    fn default() -> Self {
        Self { headers: BTreeMap::new(), max_items: 10, response: Vec::new(), request: Vec::new() }
    }
}

/// A member of a JSON body that is replaced, or added where it is absent.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Target")]
pub(super) struct RawTarget {
    /// JSON Pointer to the member; in an answer, {i} is the lead's index in the request's array.
    pub(super) at: String,
    /// score, points, grade, model, reasons or trend (improving, steady or declining since the lead's last score).
    pub(super) value: Field,
    /// How score and points are written.
    #[serde(default)]
    pub(super) format: RawFormat,
    /// Written once for each lead: item.
    #[serde(default)]
    pub(super) per: Per,
    /// What happens to a member that is there: replace-or-add.
    #[serde(default)]
    pub(super) mode: Mode,
    /// What happens when the CRM refuses the request: replay-original.
    #[serde(default)]
    pub(super) on_refused: OnRefused,
}

/// How a number is written: clamped, then scaled, then rounded.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Format")]
pub(super) struct RawFormat {
    /// Least and greatest value.
    pub(super) clamp: Option<[f64; 2]>,
    /// Factor, after clamping.
    pub(super) scale: Option<f64>,
    /// Digits after the point at most, 0 to 9; without it, as many as it takes.
    #[schemars(range(max = 9))]
    pub(super) decimals: Option<u8>,
    /// The JSON type: number, integer or string.
    #[serde(rename = "type")]
    pub(super) write_as: WriteAs,
}

/// A feature, mapped once for all routes.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Feature")]
pub(super) struct RawFeature {
    /// JSON Pointers, relative to the lead object; the first that is not missing counts.
    pub(super) from: Vec<String>,
    /// number, category or boolean.
    #[serde(rename = "type")]
    pub(super) kind: FeatureType,
    /// What stands in for a missing value: median, nan or a number; a word; true or false. The model's manifest wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "fill_schema")]
    pub(super) missing: Option<serde_json::Value>,
    /// The category that stands in for one the model does not know. The model's manifest wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) oov: Option<String>,
    /// What is made of the text: email-domain is what follows the last @.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) derive: Option<Derive>,
    /// What the lead log keeps of it: keep (the value), hash (a keyed hash; equal values stay equal) or drop (that there was one).
    #[serde(default)]
    pub(super) log: Logged,
}

fn fill_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": ["string", "number", "boolean"]})
}

/// When a request or an answer tells what became of leads.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Outcome")]
pub(super) struct RawOutcome {
    /// Name of a route, from this file or a preset.
    pub(super) route: String,
    /// The message that tells: request, for each lead object in it, or response, for each item of it.
    #[serde(default)]
    pub(super) phase: Phase,
    /// Query for the items of the answer, in phase response; without it, the answer itself.
    #[serde(default)]
    pub(super) each: Option<String>,
    /// Query for the ids of all leads the rule applies to, in the request.
    #[serde(default)]
    pub(super) ids: Option<String>,
    /// What must hold; pointers start at the lead object or item, with req: or resp: in front at the root.
    #[serde(default)]
    pub(super) when: Vec<RawPredicate>,
    /// Whose outcome it is, as a place or as {from: PLACE, regex: .., via: alias}; without it, that of the route's own id.
    #[serde(default)]
    #[schemars(schema_with = "outcome_id_schema")]
    pub(super) id: Option<RawOutcomeId>,
    /// Place of the outcome's own id, by which one that comes twice counts once, and a higher revision of it instead.
    #[serde(default)]
    pub(super) event: Option<String>,
    /// Place of a number; of two outcomes of a lead the one with the higher revision holds.
    #[serde(default)]
    pub(super) revision: Option<String>,
    /// Place of the time it happened: RFC 3339, or milliseconds since 1970.
    #[serde(default)]
    pub(super) time: Option<String>,
    /// 1 for won, 0 for lost.
    #[schemars(range(max = 1))]
    pub(super) label: u8,
    /// Place of what the deal is worth.
    #[serde(default)]
    pub(super) revenue: Option<String>,
}

/// Whose outcome it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum RawOutcomeId {
    Place(String),
    Of { from: String, regex: Option<String>, via: Option<RawVia> },
}

/// The way from an id to a lead's.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawVia {
    Alias,
}

fn outcome_id_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": ["string", "object"],
        "properties": {
            "from": {"type": "string", "description": "Place of the id."},
            "regex": {"type": "string", "description": "Pattern whose first group is the id."},
            "via": {"enum": ["alias"], "description": "alias: the id is a deal's, and a rule of aliases says which lead became it."},
        },
        "required": ["from"],
        "additionalProperties": false,
    })
}

/// Who a lead is before the CRM gives it an id.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Identity")]
pub(super) struct RawIdentity {
    /// JSON Pointers to e-mail addresses, relative to the lead object; the first that is not missing counts. Without this, the presets'.
    pub(super) email: Option<Vec<String>>,
    /// The same for phone numbers.
    pub(super) phone: Option<Vec<String>>,
}

/// When an exchange tells which deal a lead became.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Alias")]
pub(super) struct RawAlias {
    /// Name of the route of the conversion.
    pub(super) route: String,
    /// What must hold; pointers start at the lead object, with req: or resp: in front at the root.
    #[serde(default)]
    pub(super) when: Vec<RawPredicate>,
    /// Place of the lead's id.
    pub(super) lead: String,
    /// Place of the deal's id.
    pub(super) deal: String,
}

/// When a request tells what a person says of a score.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Feedback")]
pub(super) struct RawFeedback {
    /// Name of a route, from this file or a preset.
    pub(super) route: String,
    /// What must hold in the request; pointers start at the lead object, with req: in front at the root.
    #[serde(default)]
    pub(super) when: Vec<RawPredicate>,
    /// Place of the lead's id; without it, the route's own id.
    #[serde(default)]
    pub(super) id: Option<String>,
    /// The field that holds the verdict. No field named here may be read into a feature.
    pub(super) verdict: RawVerdict,
    /// The field that holds the reason. What is none of its values counts as other.
    #[serde(default)]
    pub(super) reason: Option<RawReason>,
    /// Place of who says it.
    #[serde(default)]
    pub(super) who: Option<String>,
    /// Pointer to what they say in their own words; 1 KiB of it is kept.
    #[serde(default)]
    pub(super) note: Option<String>,
}

/// The field of a verdict, and what its values mean.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Verdict")]
pub(super) struct RawVerdict {
    /// JSON Pointer from the lead object.
    pub(super) at: String,
    /// Values that say the score helped.
    #[serde(default)]
    #[schemars(schema_with = "scalars_schema")]
    pub(super) up: Vec<serde_json::Value>,
    /// Values that say it did not.
    #[serde(default)]
    #[schemars(schema_with = "scalars_schema")]
    pub(super) down: Vec<serde_json::Value>,
}

/// The field of a reason, and what its values mean.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "FeedbackReason")]
pub(super) struct RawReason {
    /// JSON Pointer from the lead object.
    pub(super) at: String,
    /// Values for: the score is too high.
    #[serde(default)]
    #[schemars(schema_with = "scalars_schema")]
    pub(super) wrong_score_high: Vec<serde_json::Value>,
    /// The score is too low.
    #[serde(default)]
    #[schemars(schema_with = "scalars_schema")]
    pub(super) wrong_score_low: Vec<serde_json::Value>,
    /// What the CRM knows of the lead is wrong.
    #[serde(default)]
    #[schemars(schema_with = "scalars_schema")]
    pub(super) bad_data: Vec<serde_json::Value>,
    /// The lead is there twice.
    #[serde(default)]
    #[schemars(schema_with = "scalars_schema")]
    pub(super) duplicate: Vec<serde_json::Value>,
    /// It is no lead: spam, an applicant, a supplier.
    #[serde(default)]
    #[schemars(schema_with = "scalars_schema")]
    pub(super) not_a_lead: Vec<serde_json::Value>,
    /// They buy already.
    #[serde(default)]
    #[schemars(schema_with = "scalars_schema")]
    pub(super) already_customer: Vec<serde_json::Value>,
}

/// What never leaves the request.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Secrets")]
pub(super) struct RawSecrets {
    /// header:NAME, query:NAME or a JSON Pointer from the body's root; never read into a feature, an id or a log.
    /// Authorization, cookies and what else is secret with every CRM need not be named.
    pub(super) mask: Vec<String>,
}

/// What a preset's file says.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Preset")]
pub(super) struct RawPreset {
    /// Rules that recognise leads.
    pub(super) routes: Vec<RawRoute>,
    /// What models may know of a lead.
    #[serde(default)]
    pub(super) features: BTreeMap<String, RawFeature>,
    /// Who a lead is before it has an id.
    #[serde(default)]
    pub(super) identity: RawIdentity,
    /// What became of leads.
    #[serde(default)]
    pub(super) outcomes: Vec<RawOutcome>,
    /// Which deal a lead became.
    #[serde(default)]
    pub(super) aliases: Vec<RawAlias>,
    /// What never leaves the request.
    #[serde(default)]
    pub(super) secrets: RawSecrets,
}
