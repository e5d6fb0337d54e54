//! What became of the leads, `GET /api/report`: the report of `leadwire report` as JSON. It reads the lead log's sketches on a
//! thread of its own and writes nothing.

use axum::{
    Json,
    extract::{Query, State},
    http::StatusCode,
};
use serde::Deserialize;
use serde_json::{Value as Json_, json};

use super::routes::{Admin, BUSY, READING};
use crate::{
    leadlog::{Horizon, Store, StoreError},
    monitor::report::{Asked, By, Report, Since, report},
    telemetry::now_ms,
};

/// Which leads are asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Only this model.
    model: Option<String>,
    /// The first day: `2026-08-24`, or `90d`.
    since: Option<String>,
    /// The last day.
    until: Option<String>,
    /// What the table over time goes by.
    #[serde(default)]
    by: By,
}

/// The first day where none is asked.
const SINCE: Since = Since::Ago(90);

type Answer = (StatusCode, Json<Json_>);

/// Makes the report.
pub(super) async fn of_leads(State(admin): State<Admin>, Query(wanted): Query<Wanted>) -> Answer {
    let day = |text: &Option<String>| text.as_deref().map(str::parse::<Since>).transpose();
    let (since, until) = match (day(&wanted.since), day(&wanted.until)) {
        (Ok(since), Ok(until)) => (since.unwrap_or(SINCE), until),
        (Err(wrong), _) | (_, Err(wrong)) => return (StatusCode::BAD_REQUEST, Json(json!({"error": wrong}))),
    };
    let ms = i64::try_from(admin.config.load().rollout.horizon.as_millis()).unwrap_or(i64::MAX);
    let horizon = Horizon { ms, now_ms: now_ms() };
    let Ok(_one) = READING.try_acquire() else {
        return (StatusCode::TOO_MANY_REQUESTS, Json(json!({"error": BUSY})));
    };
    let read = tokio::task::spawn_blocking(move || {
        let store = Store::open_read_only(&admin.desk.state)?;
        report(&store, &Asked::new(wanted.model.as_deref(), (since, until), wanted.by, horizon))
    });
    answer(read.await.ok())
}

fn answer(read: Option<Result<Report, StoreError>>) -> Answer {
    let failed = |error: String| (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({"error": error})));
    match read {
        Some(Ok(report)) => (StatusCode::OK, Json(json!(report))),
        Some(Err(error)) => failed(format!("{:#}", anyhow::Error::from(error))),
        None => failed("the report was not made".into()),
    }
}
