//! The endpoints: `/live /ready /metrics /version /api/latency /api/models /api/ledger /api/rollouts`, orders, and what
//! people tell.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Query, Request, State},
    http::{HeaderValue, Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::{Value as Json_, json};
use tokio::sync::{Semaphore, oneshot};

use super::{
    leads, report,
    rollouts::{self, Look},
    token::Token,
    told,
};
use crate::{
    config::Config,
    lead::Slot,
    leadlog::{Known, Queue},
    ledger::{self, LedgerError, Record},
    registry::{Live, Refusal, Version},
    rollout::{Desk, Guards},
    telemetry::{Latency, Levels, Metrics, ModelInfo, render},
};

/// What the endpoints read from.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Histograms.
    pub latency: Arc<Latency>,
    /// The way to the lead log.
    pub queue: Queue,
    /// The last score of each lead.
    pub known: Arc<Known>,
    /// The versions that serve.
    pub live: Live<Version>,
    /// What takes challengers out of service at once.
    pub guards: Arc<Guards>,
    /// What is on disk and does not serve, and why.
    pub refusals: Arc<ArcSwap<Vec<Refusal>>>,
    /// Where orders are carried out, and the ledger is.
    pub desk: Desk,
    /// What they are judged by.
    pub config: Arc<ArcSwap<Config>>,
    /// Makes what changed take effect at once.
    pub look: Look,
    /// Set when the process is told to stop.
    pub draining: Arc<AtomicBool>,
    /// Who may call; anybody without one.
    pub token: Option<Token>,
}

/// Open requests get this long after the stop. Without a bound, whoever holds half a request head open holds the process.
const PATIENCE: Duration = Duration::from_secs(1);

/// Serves the endpoints until `stop` resolves, and a second longer where a connection is busy.
pub async fn serve(
    listener: tokio::net::TcpListener,
    admin: Admin,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let guarded = Router::new()
        .route("/metrics", get(metrics))
        .route("/version", get(version))
        .route("/api/latency", get(latency))
        .route("/api/models", get(models))
        .route("/api/ledger", get(ledger))
        .route("/api/rollouts", get(rollouts::rollouts))
        .route("/api/report", get(report::of_leads))
        .route("/api/leads/{id}", get(leads::lead))
        .route("/api/models/{model}/verdict", get(rollouts::verdict))
        .route("/api/models/{model}/{verb}", post(rollouts::order))
        .route("/api/feedback", post(told::feedback).layer(DefaultBodyLimit::max(told::MAX_BODY)))
        .route("/api/outcomes", post(told::outcome).layer(DefaultBodyLimit::max(told::MAX_BODY)))
        .layer(middleware::from_fn_with_state(admin.clone(), admit));
    // The kubelet's probes carry no token, and tell nothing but yes or no.
    let open = Router::new().route("/live", get(live)).route("/ready", get(ready));
    let (tell, told) = oneshot::channel::<Infallible>();
    let stop = async move {
        stop.await;
        drop(tell);
    };
    let patience = async {
        // Ends with an error when the other end is dropped, which is what it is for.
        _ = told.await;
        tokio::time::sleep(PATIENCE).await;
    };
    let app = open.merge(guarded).with_state(admin);
    tokio::select! {
        served = axum::serve(listener, app).with_graceful_shutdown(stop) => served,
        () = patience => Ok(()),
    }
}

async fn admit(State(admin): State<Admin>, request: Request, next: Next) -> Response {
    let authorization = request.headers().get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
    match &admin.token {
        Some(token) if !token.admits(authorization) => {
            let body = Json(json!({"error": "a bearer token is required"}));
            (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], body).into_response()
        }
        // Without a token, being on this machine is the only leave there is; a browser lends that to any page.
        None if is_personal(&request) && !rollouts::is_direct(request.headers()) => {
            let body = Json(
                json!({"error": "without a token, orders are taken under an address or localhost only"}),
            );
            (StatusCode::FORBIDDEN, body).into_response()
        }
        _ => next.run(request).await,
    }
}

/// Answers that read much of the lead log are made one or two at a time: the memory and the processor are the traffic's.
pub(super) static READING: Semaphore = Semaphore::const_new(2);

/// What the others are told.
pub(super) const BUSY: &str = "two answers are being read from the lead log already; ask again";

/// Whether a request changes something, or is answered with a person's data.
fn is_personal(request: &Request) -> bool {
    request.method() == Method::POST || request.uri().path().starts_with("/api/leads/")
}

/// The process runs.
async fn live() -> Json<Json_> {
    Json(json!({"live": true}))
}

/// Traffic may come. A missing model is no reason to be unready: requests pass without it, and taking the sidecar out of
/// service would take the CRM with it.
async fn ready(State(admin): State<Admin>) -> (StatusCode, Json<Json_>) {
    let ready = !admin.draining.load(Ordering::Acquire);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({"ready": ready})))
}

async fn metrics(State(admin): State<Admin>) -> impl IntoResponse {
    let Admin { queue, known, .. } = &admin;
    let levels =
        Levels { queue_depth: queue.depth(), queue_bytes: queue.bytes(), leads_known: known.count() };
    let text = render(&admin.metrics, &admin.latency, &loaded(&admin), levels);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}

async fn version() -> Json<Json_> {
    Json(json!({"name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION")}))
}

/// Percentiles per stage, in microseconds.
async fn latency(State(admin): State<Admin>) -> Json<Json_> {
    Json(json!({"stages": admin.latency.report()}))
}

/// The versions in every slot, and what was refused. Of challengers also their share, and what took them out of service.
async fn models(State(admin): State<Admin>) -> Json<Json_> {
    let (live, tripped) = (admin.live.models(), admin.guards.tripped());
    let told = |info: ModelInfo| {
        let mut told = json!({"model": info.model, "version": info.version, "slot": info.slot, "digest": info.digest, "poisoned": info.poisoned});
        let deployed = live.get(info.model.as_str()).and_then(|served| served.deployment.challenger.as_ref());
        let deployed = deployed.filter(|_| info.slot == Slot::Challenger.as_str());
        if let (Some(deployed), Some(told)) = (deployed, told.as_object_mut()) {
            let mut trips = tripped.iter();
            let trip = trips.find(|(model, version, _)| **model == info.model && **version == info.version);
            told.insert("percent".into(), deployed.percent.into());
            told.insert("tripped".into(), trip.map(|(_, _, trip)| trip.reason.as_str()).into());
        }
        told
    };
    let models: Vec<_> = loaded(&admin).into_iter().map(told).collect();
    let refused: Vec<_> = admin
        .refusals
        .load()
        .iter()
        .map(|refusal| {
            json!({
                "model": &*refusal.model,
                "version": refusal.version.as_deref(),
                "kind": refusal.kind.as_str(),
                "reason": refusal.reason,
            })
        })
        .collect();
    Json(json!({"models": models, "refused": refused}))
}

/// Which records are asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// Only those about this model.
    model: Option<String>,
    /// Only those behind this one.
    after: Option<u64>,
    /// How many at most; fewer where it is more than an answer holds.
    limit: Option<usize>,
}

impl Wanted {
    /// Records in an answer where nothing is asked, and at most.
    const LIMITS: (usize, usize) = (100, 1000);

    fn of(&self, records: &[Record]) -> Vec<Json_> {
        let (usual, most) = Self::LIMITS;
        let wanted = |record: &&Record| {
            self.model.as_ref().is_none_or(|model| record.model.as_ref() == Some(model))
                && self.after.is_none_or(|after| record.seq > after)
        };
        let limit = self.limit.unwrap_or(usual).min(most);
        let json = |record: &Record| serde_json::from_str(record.line()).ok();
        records.iter().filter(wanted).take(limit).filter_map(json).collect()
    }
}

/// Who changed what, the oldest first. The file is read each time: a person asks for it, and seldom.
async fn ledger(State(admin): State<Admin>, Query(wanted): Query<Wanted>) -> (StatusCode, Json<Json_>) {
    let read = tokio::task::spawn_blocking(move || {
        let records = ledger::read(&admin.desk.state)?;
        Ok::<_, LedgerError>(json!({"size": records.len(), "records": wanted.of(&records)}))
    });
    match read.await {
        Ok(Ok(told)) => (StatusCode::OK, Json(told)),
        Ok(Err(error)) => {
            let told = json!({"error": format!("{:#}", anyhow::Error::from(error))});
            (StatusCode::INTERNAL_SERVER_ERROR, Json(told))
        }
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({"error": "the ledger was not read"}))),
    }
}

/// The versions in every slot.
fn loaded(admin: &Admin) -> Vec<ModelInfo> {
    let info = |(slot, version): (Slot, &Arc<Version>)| {
        let id = &version.id;
        let [model, version_name, digest] = [&id.model, &id.version, &id.digest].map(ToString::to_string);
        let (version, slot, poisoned) = (version_name, slot.as_str(), version.poison.is_out());
        ModelInfo { model, version, slot, digest, poisoned }
    };
    let models = admin.live.models();
    models.values().flat_map(|served| served.slots().map(info).collect::<Vec<_>>()).collect()
}
