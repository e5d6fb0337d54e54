//! Telemetry: what the process does, as numbers and log lines.
//!
//! The request path only touches handles it already holds: an HDR recorder per worker and stage, and counters. Text for
//! Prometheus is made when somebody asks for it.

mod clock; // the time of day
mod latency; // HDR histograms per stage
mod scores; // scores of each version, in buckets
mod metrics; // counters and their names
mod upstream; // those of connections to upstreams
mod exposition; // what /metrics shows beside the counters
mod logging; // tracing set-up
mod progress; // how far a long command is

pub use self::{
    clock::now_ms,
    exposition::{Levels, ModelInfo, render},
    latency::{Latency, Stage, StageRecorder, StageReport},
    logging::{LogFormat, init as init_logging},
    metrics::{
        Connect, ConnectMetrics, ConnectionMetrics, Cut, FeedbackMetrics, Handshake, HandshakeMetrics,
        HttpVersion, LeadLogMetrics, Metrics, MirrorMetrics, Mirrored, RequestOutcome, RouteMetrics,
        ShadowMetrics, TrialMetrics, UNMATCHED,
    },
    progress::Progress,
    scores::ScoreBuckets,
    upstream::{Dial, Retry, UpstreamMetrics},
};
