//! Counters: their names, descriptions and handles. Labels come from closed sets: route names of the configuration,
//! reasons, model versions.

use std::sync::Arc;

use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge, with_local_recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use super::{
    scores::{ScoreBuckets, Scores},
    upstream::UpstreamMetrics,
};
use crate::lead::{
    Arm, ArmOutcome, Feedback, FeedbackReason, ModelId, ShadowError, Skip, Slot, TripReason, Verdict,
};

/// The route label of requests that no route matches.
pub const UNMATCHED: &str = "unmatched";

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestOutcome {
    /// At least one lead got a score.
    Scored,
    /// A route matched, and there was no score.
    Skipped,
    /// Nothing to score in it.
    Passed,
    /// The upstream did not answer.
    Failed,
}

impl RequestOutcome {
    const ALL: [RequestOutcome; 4] =
        [RequestOutcome::Scored, RequestOutcome::Skipped, RequestOutcome::Passed, RequestOutcome::Failed];

    fn as_str(self) -> &'static str {
        match self {
            RequestOutcome::Scored => "scored",
            RequestOutcome::Skipped => "skipped",
            RequestOutcome::Passed => "passed",
            RequestOutcome::Failed => "failed",
        }
    }
}

/// The process's counters. Not global, so that several sidecars can live in one process.
pub struct Metrics {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    /// Records on their way to the lead log.
    pub leadlog: LeadLogMetrics,
    /// Leads that shadows did not score, because too many waited or the process ended.
    pub shadow_dropped: Counter,
    /// Outcomes of deals that no conversion has linked to a lead yet.
    pub outcomes_unmatched: Gauge,
    /// What people say of scores.
    pub feedback: FeedbackMetrics,
    /// Clients' connections.
    pub connections: ConnectionMetrics,
    /// Their TLS handshakes.
    pub handshakes: HandshakeMetrics,
    /// Connections to upstreams.
    pub upstream: UpstreamMetrics,
    /// Clients' wishes to be connected to a host.
    pub connects: ConnectMetrics,
    /// Copies of requests for the mirror.
    pub mirror: MirrorMetrics,
    /// Changes of certificates and keys that were taken.
    pub tls_reloads: Counter,
    /// Changes of certificates and keys that were refused.
    pub tls_refused: Counter,
    /// Changes of the configuration file that were taken.
    pub config_reloads: Counter,
    /// Changes of the configuration file that were refused.
    pub config_refused: Counter,
    scores: Scores,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        let counters = with_local_recorder(&recorder, || {
            describe();
            [
                counter!("leadwire_config_reloads_total", "result" => "taken"),
                counter!("leadwire_config_reloads_total", "result" => "refused"),
                counter!("leadwire_tls_reloads_total", "result" => "taken"),
                counter!("leadwire_tls_reloads_total", "result" => "refused"),
                counter!("leadwire_shadow_dropped_total"),
            ]
        });
        let [config_reloads, config_refused, tls_reloads, tls_refused, shadow_dropped] = counters;
        let leadlog = with_local_recorder(&recorder, LeadLogMetrics::new);
        let outcomes_unmatched = with_local_recorder(&recorder, || gauge!("leadwire_outcomes_unmatched"));
        let feedback = with_local_recorder(&recorder, FeedbackMetrics::new);
        let connections = with_local_recorder(&recorder, ConnectionMetrics::new);
        let handshakes = with_local_recorder(&recorder, HandshakeMetrics::new);
        let upstream = with_local_recorder(&recorder, UpstreamMetrics::new);
        let connects = with_local_recorder(&recorder, ConnectMetrics::new);
        let mirror = with_local_recorder(&recorder, MirrorMetrics::new);
        Self {
            recorder,
            handle,
            leadlog,
            shadow_dropped,
            outcomes_unmatched,
            feedback,
            connections,
            handshakes,
            upstream,
            connects,
            mirror,
            tls_reloads,
            tls_refused,
            config_reloads,
            config_refused,
            scores: Scores::default(),
        }
    }
}

impl Metrics {
    /// The counters of one route, made once and kept.
    pub fn route(&self, route: &str) -> RouteMetrics {
        with_local_recorder(&self.recorder, || {
            RouteMetrics {
            requests: RequestOutcome::ALL.map(|outcome| {
                counter!("leadwire_requests_total", "route" => route.to_owned(), "outcome" => outcome.as_str())
            }),
            skipped: Skip::ALL.map(|reason| {
                counter!("leadwire_skipped_total", "route" => route.to_owned(), "reason" => reason.as_str())
            }),
            injection_refused: counter!("leadwire_injection_refused_total", "route" => route.to_owned()),
            injection_skipped: counter!("leadwire_injection_skipped_total", "route" => route.to_owned()),
        }
        })
    }

    /// The distribution of a version's scores in the slot that it holds.
    pub fn scores(&self, id: &ModelId, slot: Slot) -> Arc<ScoreBuckets> {
        self.scores.of(id, slot)
    }

    /// The counters of a model with a challenger.
    pub fn trial(&self, model: &str) -> TrialMetrics {
        with_local_recorder(&self.recorder, || TrialMetrics::new(model))
    }

    /// The counters of a model with versions that score along.
    pub fn shadows(&self, model: &str) -> ShadowMetrics {
        with_local_recorder(&self.recorder, || ShadowMetrics::new(model))
    }

    /// Counts an order that Leadwire gave and carried out by itself.
    pub fn rollout_done(&self, model: &str, order: &'static str) {
        with_local_recorder(&self.recorder, || {
            counter!("leadwire_rollout_orders_total", "model" => model.to_owned(), "order" => order)
                .increment(1);
        });
    }

    /// Counts a version that was refused, by the kind of reason.
    pub fn model_refused(&self, model: &str, kind: &'static str) {
        with_local_recorder(&self.recorder, || {
            counter!("leadwire_model_refused_total", "model" => model.to_owned(), "kind" => kind)
                .increment(1);
        });
    }

    /// The counters and scores as Prometheus text.
    pub(super) fn render(&self) -> String {
        let mut text = self.handle.render();
        self.scores.render(&mut text);
        text
    }
}

fn describe() {
    describe_counter!("leadwire_requests_total", "Requests by route and by what became of them.");
    describe_counter!(
        "leadwire_skipped_total",
        "Requests of a route that went on without a score, by reason."
    );
    LeadLogMetrics::describe();
    describe_gauge!("leadwire_connections", "Clients' open connections.");
    describe_counter!(
        "leadwire_connections_total",
        "Clients' connections that have begun to speak, by what they speak."
    );
    describe_counter!(
        "leadwire_connections_cut_total",
        "Clients' connections, tunnels and single streams of HTTP/2 that were cut, by the limit that was over."
    );
    describe_counter!(
        "leadwire_heads_refused_total",
        "Requests answered with 431: too many headers, or too long ones."
    );
    describe_counter!("leadwire_tls_handshakes_total", "Clients' TLS handshakes, by what became of them.");
    describe_counter!(
        "leadwire_connect_total",
        "CONNECT requests where egress is set, by what came of them."
    );
    describe_counter!("leadwire_mirror_total", "Copies of requests for the mirror, by what became of them.");
    describe_counter!(
        "leadwire_tls_reloads_total",
        "Changes of certificate and key files, taken or refused."
    );
    describe_gauge!(
        "leadwire_outcomes_unmatched",
        "Outcomes of deals that no conversion has linked to a lead yet."
    );
    describe_counter!("leadwire_feedback_total", "Verdicts of people on scores, by what is wrong with them.");
    describe_counter!(
        "leadwire_config_reloads_total",
        "Changes of the configuration file, taken or refused."
    );
    describe_counter!("leadwire_model_refused_total", "Model versions refused, by kind of reason.");
    describe_counter!(
        "leadwire_injection_refused_total",
        "Injected fields that the CRM refused; the injection paused."
    );
    describe_counter!(
        "leadwire_injection_skipped_total",
        "Scores that were to go into a body that is not changed: a form or XML, or one in which the field stands twice."
    );
    describe_trials();
    UpstreamMetrics::describe();
}

fn describe_trials() {
    describe_counter!(
        "leadwire_arm_total",
        "Leads of a model with a challenger, by the arm they were assigned to and by what became of them."
    );
    describe_counter!(
        "leadwire_rollout_orders_total",
        "Orders that Leadwire gave by itself and that were carried out, such as canary and rollback."
    );
    describe_counter!(
        "leadwire_guard_trips_total",
        "Challengers taken out of service at once, by the reason; the champion answers all."
    );
    describe_counter!(
        "leadwire_shadow_total",
        "Leads scored without answering, by the slot of the version and by what became of them."
    );
    describe_counter!(
        "leadwire_shadow_dropped_total",
        "Leads that shadows did not score, because too many waited or the process ended."
    );
}

/// Counts records on their way to the lead log. What was recorded is written, dropped or waiting.
#[derive(Clone, Debug)]
pub struct LeadLogMetrics {
    /// In the lead log.
    pub written: Counter,
    /// Put into files to wait there. They are written or dropped later.
    pub spilled: Counter,
    /// Lost.
    pub dropped: Counter,
    /// Rows that were removed because of their age or the log's size.
    pub expired: Counter,
    /// Records that wait in files.
    pub spill_records: Gauge,
    /// Bytes of those files.
    pub spill_bytes: Gauge,
}

impl LeadLogMetrics {
    fn new() -> Self {
        Self {
            written: counter!("leadwire_leadlog_written_total"),
            spilled: counter!("leadwire_leadlog_spilled_total"),
            dropped: counter!("leadwire_leadlog_dropped_total"),
            expired: counter!("leadwire_leadlog_expired_total"),
            spill_records: gauge!("leadwire_leadlog_spill_records"),
            spill_bytes: gauge!("leadwire_leadlog_spill_bytes"),
        }
    }

    /// Counters that nobody reads.
    pub fn noop() -> Self {
        let (counter, gauge) = (Counter::noop, Gauge::noop);
        Self {
            written: counter(),
            spilled: counter(),
            dropped: counter(),
            expired: counter(),
            spill_records: gauge(),
            spill_bytes: gauge(),
        }
    }

    fn describe() {
        describe_counter!("leadwire_leadlog_written_total", "Records written into the lead log.");
        describe_counter!(
            "leadwire_leadlog_spilled_total",
            "Records put into files because the lead log could not take them; they are written later."
        );
        describe_counter!("leadwire_leadlog_dropped_total", "Records lost before they reached the lead log.");
        describe_counter!(
            "leadwire_leadlog_expired_total",
            "Rows of the lead log removed because of their age or its size."
        );
        describe_gauge!("leadwire_leadlog_spill_records", "Records that wait in files for the lead log.");
        describe_gauge!("leadwire_leadlog_spill_bytes", "Bytes of the files that records wait in.");
    }
}

/// Why a client's connection was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The head of a request took too long to come.
    Head,
    /// No request for too long.
    Idle,
    /// Nothing of a body or a tunnel moved for too long.
    Stall,
    /// A request took too long as a whole.
    Total,
}

impl Cut {
    /// Every reason, in the order of the variants.
    const ALL: [Cut; 4] = [Cut::Head, Cut::Idle, Cut::Stall, Cut::Total];

    fn as_str(self) -> &'static str {
        match self {
            Cut::Head => "head",
            Cut::Idle => "idle",
            Cut::Stall => "stall",
            Cut::Total => "total",
        }
    }
}

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpVersion {
    /// HTTP/1.1, or 1.0.
    Http1,
    /// HTTP/2.
    Http2,
}

impl HttpVersion {
    /// Both, in the order of the variants.
    const ALL: [HttpVersion; 2] = [HttpVersion::Http1, HttpVersion::Http2];

    fn as_str(self) -> &'static str {
        match self {
            HttpVersion::Http1 => "http1",
            HttpVersion::Http2 => "http2",
        }
    }
}

/// Counts clients' connections.
#[derive(Clone, Debug)]
pub struct ConnectionMetrics {
    open: Gauge,
    made: [Counter; HttpVersion::ALL.len()],
    cut: [Counter; Cut::ALL.len()],
    heads_refused: [Counter; HttpVersion::ALL.len()],
}

impl ConnectionMetrics {
    fn new() -> Self {
        let versions = |name: &'static str| {
            HttpVersion::ALL.map(|version| counter!(name, "protocol" => version.as_str()))
        };
        Self {
            open: gauge!("leadwire_connections"),
            made: versions("leadwire_connections_total"),
            cut: Cut::ALL.map(|cut| counter!("leadwire_connections_cut_total", "reason" => cut.as_str())),
            heads_refused: versions("leadwire_heads_refused_total"),
        }
    }

    /// One has begun to speak.
    pub fn speaks(&self, version: HttpVersion) {
        if let Some(counter) = self.made.get(version as usize) {
            counter.increment(1);
        }
    }

    /// A head was answered with 431.
    pub fn head_refused(&self, version: HttpVersion) {
        if let Some(counter) = self.heads_refused.get(version as usize) {
            counter.increment(1);
        }
    }

    /// One more.
    pub fn opened(&self) {
        self.open.increment(1.0);
    }

    /// One less.
    pub fn closed(&self) {
        self.open.decrement(1.0);
    }

    /// One is cut; it is counted as closed later.
    pub fn cut(&self, reason: Cut) {
        if let Some(counter) = self.cut.get(reason as usize) {
            counter.increment(1);
        }
    }
}

/// What became of a client's TLS handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// Certificates and keys were exchanged.
    Full,
    /// An earlier session goes on.
    Resumed,
    /// It took longer than a head may.
    Timeout,
    /// The client left before the end.
    Closed,
    /// The client speaks something else, mostly plain HTTP.
    NotTls,
    /// No version or cipher that both sides speak.
    Incompatible,
    /// The client's certificate is missing, or not one that counts.
    ClientCertificate,
    /// The client does not accept ours, or something else of the handshake.
    Refused,
    /// Anything else.
    Failed,
}

impl Handshake {
    /// Every one, in the order of the variants.
    pub const ALL: [Handshake; 9] = [
        Handshake::Full,
        Handshake::Resumed,
        Handshake::Timeout,
        Handshake::Closed,
        Handshake::NotTls,
        Handshake::Incompatible,
        Handshake::ClientCertificate,
        Handshake::Refused,
        Handshake::Failed,
    ];

    /// As metrics and logs call it.
    pub fn as_str(self) -> &'static str {
        match self {
            Handshake::Full => "full",
            Handshake::Resumed => "resumed",
            Handshake::Timeout => "timeout",
            Handshake::Closed => "closed",
            Handshake::NotTls => "not_tls",
            Handshake::Incompatible => "incompatible",
            Handshake::ClientCertificate => "client_certificate",
            Handshake::Refused => "refused",
            Handshake::Failed => "failed",
        }
    }
}

/// Counts clients' TLS handshakes.
#[derive(Clone, Debug)]
pub struct HandshakeMetrics([Counter; Handshake::ALL.len()]);

impl HandshakeMetrics {
    fn new() -> Self {
        Self(Handshake::ALL.map(|end| counter!("leadwire_tls_handshakes_total", "result" => end.as_str())))
    }

    /// Counts one.
    pub fn count(&self, end: Handshake) {
        if let Some(counter) = self.0.get(end as usize) {
            counter.increment(1);
        }
    }
}

/// What came of a client's wish to be connected to a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connect {
    /// Its requests are read.
    Read,
    /// Its bytes pass unread.
    Tunnel,
    /// The configuration does not allow it, or nobody could understand it.
    Refused,
    /// The host cannot be reached, or not stood in for.
    Failed,
}

impl Connect {
    /// Every one, in the order of the variants.
    pub const ALL: [Connect; 4] = [Connect::Read, Connect::Tunnel, Connect::Refused, Connect::Failed];

    fn as_str(self) -> &'static str {
        match self {
            Connect::Read => "read",
            Connect::Tunnel => "tunnel",
            Connect::Refused => "refused",
            Connect::Failed => "failed",
        }
    }
}

/// Counts clients' wishes to be connected.
#[derive(Clone, Debug)]
pub struct ConnectMetrics([Counter; Connect::ALL.len()]);

impl ConnectMetrics {
    fn new() -> Self {
        Self(Connect::ALL.map(|end| counter!("leadwire_connect_total", "result" => end.as_str())))
    }

    /// Counts one.
    pub fn count(&self, end: Connect) {
        if let Some(counter) = self.0.get(end as usize) {
            counter.increment(1);
        }
    }
}

/// What became of a copy for the mirror.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mirrored {
    /// It was answered, with whatever status.
    Sent,
    /// There was no connection, or it broke.
    Failed,
    /// It took too long.
    Timeout,
    /// It was not sent: too many were on their way, or its body was not read whole.
    Dropped,
}

impl Mirrored {
    /// Every one, in the order of the variants.
    pub const ALL: [Mirrored; 4] = [Mirrored::Sent, Mirrored::Failed, Mirrored::Timeout, Mirrored::Dropped];

    fn as_str(self) -> &'static str {
        match self {
            Mirrored::Sent => "sent",
            Mirrored::Failed => "failed",
            Mirrored::Timeout => "timeout",
            Mirrored::Dropped => "dropped",
        }
    }
}

/// Counts copies for the mirror.
#[derive(Clone, Debug)]
pub struct MirrorMetrics([Counter; Mirrored::ALL.len()]);

impl MirrorMetrics {
    fn new() -> Self {
        Self(Mirrored::ALL.map(|end| counter!("leadwire_mirror_total", "result" => end.as_str())))
    }

    /// Counts one.
    pub fn count(&self, end: Mirrored) {
        if let Some(counter) = self.0.get(end as usize) {
            counter.increment(1);
        }
    }
}

/// Counts what people say of scores. The last of a verdict's counters is of those without a reason.
#[derive(Clone, Debug)]
pub struct FeedbackMetrics([[Counter; FeedbackReason::ALL.len() + 1]; Verdict::ALL.len()]);

impl FeedbackMetrics {
    fn new() -> Self {
        let counters = |verdict: Verdict| {
            let mut reasons = FeedbackReason::ALL.into_iter().map(FeedbackReason::as_str);
            std::array::from_fn(|_| {
                let reason = reasons.next().unwrap_or("none");
                counter!("leadwire_feedback_total", "verdict" => verdict.as_str(), "reason" => reason)
            })
        };
        Self(Verdict::ALL.map(counters))
    }

    /// Counts one.
    pub fn count(&self, feedback: &Feedback) {
        let reason = feedback.reason.map_or(FeedbackReason::ALL.len(), |reason| reason as usize);
        let counters = self.0.get(feedback.verdict as usize);
        if let Some(counter) = counters.and_then(|reasons| reasons.get(reason)) {
            counter.increment(1);
        }
    }
}

/// Counts what becomes of leads while a model has a challenger.
#[derive(Clone, Debug)]
pub struct TrialMetrics {
    arms: [[Counter; ArmOutcome::ALL.len()]; Arm::ALL.len()],
    trips: [Counter; TripReason::ALL.len()],
}

impl TrialMetrics {
    fn new(model: &str) -> Self {
        let lead = |arm: Arm, outcome: ArmOutcome| counter!("leadwire_arm_total", "model" => model.to_owned(), "arm" => arm.as_str(), "outcome" => outcome.as_str());
        let trip = |reason: TripReason| counter!("leadwire_guard_trips_total", "model" => model.to_owned(), "reason" => reason.as_str());
        let arms = Arm::ALL.map(|arm| ArmOutcome::ALL.map(|outcome| lead(arm, outcome)));
        Self { arms, trips: TripReason::ALL.map(trip) }
    }

    /// Counts a lead by the arm that it was assigned to.
    pub fn count(&self, arm: Arm, outcome: ArmOutcome) {
        if let Some(counter) = self.arms.get(arm as usize).and_then(|arm| arm.get(outcome as usize)) {
            counter.increment(1);
        }
    }

    /// The challenger is out of service.
    pub fn tripped(&self, reason: TripReason) {
        if let Some(counter) = self.trips.get(reason as usize) {
            counter.increment(1);
        }
    }
}

/// The slots whose versions score along.
const ALONG: [Slot; 3] = [Slot::Champion, Slot::Challenger, Slot::Shadow];

/// Counts scores that answer nobody.
#[derive(Clone, Debug)]
pub struct ShadowMetrics([SlotMetrics; ALONG.len()]);

#[derive(Clone, Debug)]
struct SlotMetrics {
    scored: Counter,
    failed: [Counter; ShadowError::ALL.len()],
}

impl ShadowMetrics {
    fn new(model: &str) -> Self {
        let of_slot = |slot: Slot| {
            let counter = |outcome: &'static str| counter!("leadwire_shadow_total", "model" => model.to_owned(), "slot" => slot.as_str(), "outcome" => outcome);
            let failed = ShadowError::ALL.map(|error| counter(error.as_str()));
            SlotMetrics { scored: counter("scored"), failed }
        };
        Self(ALONG.map(of_slot))
    }

    /// Counts a score, or why there is none.
    pub fn count(&self, slot: Slot, failed: Option<ShadowError>) {
        let slot = ALONG.iter().position(|known| *known == slot).and_then(|slot| self.0.get(slot));
        let counter = slot.and_then(|slot| match failed {
            Some(error) => slot.failed.get(error as usize),
            None => Some(&slot.scored),
        });
        counter.into_iter().for_each(|counter| counter.increment(1));
    }
}

/// The counters of one route.
#[derive(Clone, Debug)]
pub struct RouteMetrics {
    requests: [Counter; 4],
    skipped: [Counter; Skip::ALL.len()],
    injection_refused: Counter,
    injection_skipped: Counter,
}

impl RouteMetrics {
    /// Counts a request.
    pub fn count(&self, outcome: RequestOutcome) {
        if let Some(counter) = self.requests.get(outcome as usize) {
            counter.increment(1);
        }
    }

    /// Counts an injected field that the CRM refused.
    pub fn injection_refused(&self) {
        self.injection_refused.increment(1);
    }

    /// Counts a score that was to go into a body that cannot be changed.
    pub fn injection_skipped(&self) {
        self.injection_skipped.increment(1);
    }

    /// Counts a request that went on without a score.
    pub fn skip(&self, reason: Skip) {
        self.count(RequestOutcome::Skipped);
        if let Some(counter) = self.skipped.get(reason as usize) {
            counter.increment(1);
        }
    }
}
