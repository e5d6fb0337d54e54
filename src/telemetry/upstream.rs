//! Counters of connections to upstreams. None of them is touched by a request that finds a connection and gets its
//! answer.

use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};

/// What became of an attempt to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dial {
    /// There is a connection.
    Connected,
    /// The upstream refused it, or cannot be reached.
    Failed,
    /// It took too long.
    Timeout,
    /// A connection without TLS: mostly, the upstream is not who it should be.
    Tls,
    /// The upstream's name has no address.
    Unresolved,
    /// As many as may be are open, and none became free in time.
    Full,
}

impl Dial {
    const ALL: [Dial; 6] =
        [Dial::Connected, Dial::Failed, Dial::Timeout, Dial::Tls, Dial::Unresolved, Dial::Full];

    fn as_str(self) -> &'static str {
        match self {
            Dial::Connected => "connected",
            Dial::Failed => "failed",
            Dial::Timeout => "timeout",
            Dial::Tls => "tls",
            Dial::Unresolved => "unresolved",
            Dial::Full => "full",
        }
    }
}

/// Why a request was sent once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The connection was closed before anything of it was written.
    Unsent,
    /// The upstream said that it has not looked at it.
    Refused,
    /// The connection broke before an answer, and the request changes nothing.
    Broken,
}

impl Retry {
    const ALL: [Retry; 3] = [Retry::Unsent, Retry::Refused, Retry::Broken];

    fn as_str(self) -> &'static str {
        match self {
            Retry::Unsent => "unsent",
            Retry::Refused => "refused",
            Retry::Broken => "broken",
        }
    }
}

/// Counts connections to upstreams, of all workers.
#[derive(Clone, Debug)]
pub struct UpstreamMetrics {
    /// Open connections, those that are being made included.
    pub open: Gauge,
    /// Of them, those that no request uses. Told every half second.
    pub idle: Gauge,
    /// Requests that wait for a connection.
    pub waiting: Gauge,
    /// Addresses that get no new requests for a while; each worker judges for itself.
    pub ejected: Gauge,
    /// How often one was left out.
    pub ejections: Counter,
    connects: [Counter; Dial::ALL.len()],
    retries: [Counter; Retry::ALL.len()],
}

impl UpstreamMetrics {
    pub(super) fn new() -> Self {
        Self {
            open: gauge!("leadwire_upstream_connections"),
            idle: gauge!("leadwire_upstream_connections_idle"),
            waiting: gauge!("leadwire_upstream_waiting"),
            ejected: gauge!("leadwire_upstream_ejected"),
            ejections: counter!("leadwire_upstream_ejections_total"),
            connects: Dial::ALL
                .map(|end| counter!("leadwire_upstream_connects_total", "result" => end.as_str())),
            retries: Retry::ALL
                .map(|why| counter!("leadwire_upstream_retries_total", "reason" => why.as_str())),
        }
    }

    pub(super) fn describe() {
        describe_gauge!("leadwire_upstream_connections", "Open connections to upstreams.");
        describe_gauge!(
            "leadwire_upstream_connections_idle",
            "Open connections to upstreams that no request uses."
        );
        describe_gauge!("leadwire_upstream_waiting", "Requests that wait for a connection to an upstream.");
        describe_gauge!(
            "leadwire_upstream_ejected",
            "Addresses of upstreams that are left out after failures, by each worker for itself."
        );
        describe_counter!("leadwire_upstream_ejections_total", "How often an address was left out.");
        describe_counter!(
            "leadwire_upstream_connects_total",
            "Attempts to connect to upstreams, by what became of them."
        );
        describe_counter!(
            "leadwire_upstream_retries_total",
            "Requests that were sent once more, by why that was safe."
        );
    }

    /// Counts an attempt to connect.
    pub fn dialled(&self, end: Dial) {
        if let Some(counter) = self.connects.get(end as usize) {
            counter.increment(1);
        }
    }

    /// Counts a request that is sent once more.
    pub fn retried(&self, why: Retry) {
        if let Some(counter) = self.retries.get(why as usize) {
            counter.increment(1);
        }
    }
}
