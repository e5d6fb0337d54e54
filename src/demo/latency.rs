//! Percentiles, asked of the admin listener as anybody would.

use std::{net::SocketAddr, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::api;

/// How often to ask.
const PERIOD: Duration = Duration::from_millis(500);

/// One stage's latency, in microseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageLatency {
    /// `recognise`, `score`, `enrich`, `upstream` or `total`.
    pub stage: String,
    /// How many were measured. A worker hands its measurements over with the next request, so the last few may lack.
    pub count: u64,
    /// Half were faster.
    pub p50_us: f64,
    /// 99 of 100 were faster.
    pub p99_us: f64,
    /// The slowest.
    pub max_us: f64,
}

#[derive(Deserialize)]
struct Answer {
    stages: Vec<StageLatency>,
}

/// Asks again and again, on the current runtime, until the receiver is gone.
pub(super) fn follow(admin: SocketAddr) -> watch::Receiver<Vec<StageLatency>> {
    let (told, heard) = watch::channel(Vec::new());
    tokio::spawn(async move {
        while !told.is_closed() {
            if let Some(stages) = ask(admin).await {
                told.send_replace(stages);
            }
            tokio::time::sleep(PERIOD).await;
        }
    });
    heard
}

/// Asks once; `None` without an answer.
pub(super) async fn ask(admin: SocketAddr) -> Option<Vec<StageLatency>> {
    Some(api::get::<Answer>(admin, "/api/latency").await?.stages)
}
