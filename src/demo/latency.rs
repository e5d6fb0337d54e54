//! Percentiles, asked of the admin listener as anybody would.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Full, Limited};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::traffic;

/// How often to ask.
const PERIOD: Duration = Duration::from_millis(500);
/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longest answer in bytes.
const MAX_BODY: usize = 1 << 20;

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
    let answer = async {
        let mut connection = traffic::connect(admin).await.ok()?;
        let request = Request::get("/api/latency").header(header::HOST, admin.to_string());
        let answer = connection.send_request(request.body(Full::<Bytes>::default()).ok()?).await.ok()?;
        let body = Limited::new(answer.into_body(), MAX_BODY).collect().await.ok()?.to_bytes();
        serde_json::from_slice::<Answer>(&body).ok()
    };
    Some(tokio::time::timeout(PATIENCE, answer).await.ok()??.stages)
}
