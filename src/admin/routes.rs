//! The endpoints: `/live /ready /metrics /version /api/latency /api/models`.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use arc_swap::ArcSwap;
use axum::{
    Json, Router,
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value as Json_, json};

use super::token::Token;
use crate::{
    leadlog::Queue,
    registry::{Live, Refusal, Version},
    telemetry::{Latency, Metrics, ModelInfo, render},
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
    /// The versions that serve.
    pub live: Live<Version>,
    /// What is on disk and does not serve, and why.
    pub refusals: Arc<ArcSwap<Vec<Refusal>>>,
    /// Set when the process is told to stop.
    pub draining: Arc<AtomicBool>,
    /// Who may call; anybody without one.
    pub token: Option<Token>,
}

/// Serves the endpoints until `stop` resolves.
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
        .layer(middleware::from_fn_with_state(admin.clone(), admit));
    // The kubelet's probes carry no token, and tell nothing but yes or no.
    let open = Router::new().route("/live", get(live)).route("/ready", get(ready));
    axum::serve(listener, open.merge(guarded).with_state(admin)).with_graceful_shutdown(stop).await
}

async fn admit(State(admin): State<Admin>, request: Request, next: Next) -> Response {
    let authorization = request.headers().get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
    match &admin.token {
        Some(token) if !token.admits(authorization) => {
            let body = Json(json!({"error": "a bearer token is required"}));
            (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], body).into_response()
        }
        _ => next.run(request).await,
    }
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
    let text = render(&admin.metrics, &admin.latency, &loaded(&admin), admin.queue.depth());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}

async fn version() -> Json<Json_> {
    Json(json!({"name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION")}))
}

/// Percentiles per stage, in microseconds.
async fn latency(State(admin): State<Admin>) -> Json<Json_> {
    Json(json!({"stages": admin.latency.report()}))
}

/// The versions in their slots, and what was refused.
async fn models(State(admin): State<Admin>) -> Json<Json_> {
    let models: Vec<_> = loaded(&admin).into_iter().map(|info| {
        json!({"model": info.model, "version": info.version, "slot": info.slot, "digest": info.digest})
    }).collect();
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

fn loaded(admin: &Admin) -> Vec<ModelInfo> {
    let info = |slot| {
        move |version: &Arc<Version>| ModelInfo {
            model: version.id.model.to_string(),
            version: version.id.version.to_string(),
            slot,
            digest: version.id.digest.to_string(),
        }
    };
    let models = admin.live.models();
    let of_model = models.values().flat_map(|served| {
        let champion = [&served.champion].into_iter().map(info("champion"));
        let challenger = served.challenger.iter().map(info("challenger"));
        champion.chain(challenger).chain(served.shadows.iter().map(info("shadow")))
    });
    of_model.collect()
}
