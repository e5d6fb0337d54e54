//! `GET /api/leads/{id}`: why a lead got the score it got. It shows a person's data, so it asks of callers what orders do.

use axum::{
    Json,
    extract::{Path, Query, State},
    http::StatusCode,
};
use serde::Deserialize;
use serde_json::{Value as Json_, json};

use super::routes::{Admin, BUSY, READING};
use crate::{
    monitor::investigate::{Ask, InvestigateError, investigate, parse_time},
    telemetry::now_ms,
};

/// Which of its scores, as on the command line.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    model: Option<String>,
    at: Option<String>,
    against: Option<String>,
    days: Option<u32>,
}

impl Wanted {
    fn ask(self, lead: String) -> Result<Ask, String> {
        let time = |text: Option<String>| text.map(|text| parse_time(&text)).transpose();
        let days = self.days.unwrap_or(Ask::DAYS);
        if !Ask::MOST_DAYS.contains(&days) {
            return Err(format!("days: {days} is not in 1..=3650"));
        }
        let (at_ms, against_ms) = (time(self.at)?, time(self.against)?);
        Ok(Ask { lead, model: self.model, at_ms, against_ms, days })
    }
}

/// Reads the lead log and the versions, which takes a disk.
pub(super) async fn lead(
    State(admin): State<Admin>,
    Path(lead): Path<String>,
    Query(wanted): Query<Wanted>,
) -> (StatusCode, Json<Json_>) {
    let refused = |status, why: String| (status, Json(json!({"error": why})));
    let ask = match wanted.ask(lead) {
        Ok(ask) => ask,
        Err(why) => return refused(StatusCode::BAD_REQUEST, why),
    };
    let Ok(_one) = READING.try_acquire() else {
        return refused(StatusCode::TOO_MANY_REQUESTS, BUSY.into());
    };
    let work = tokio::task::spawn_blocking(move || {
        let desk = admin.desk.under(&admin.config.load())?;
        anyhow::Ok(investigate(&desk, &ask, now_ms()).map(|told| json!(told)))
    });
    match work.await {
        Ok(Ok(Ok(told))) => (StatusCode::OK, Json(told)),
        Ok(Ok(Err(error))) => refused(status(&error), format!("{:#}", anyhow::Error::from(error))),
        Ok(Err(error)) => refused(StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")),
        Err(_) => refused(StatusCode::INTERNAL_SERVER_ERROR, "the lead was not looked into".into()),
    }
}

fn status(error: &InvestigateError) -> StatusCode {
    match error {
        InvestigateError::Unknown { .. }
        | InvestigateError::Model { .. }
        | InvestigateError::Early { .. } => StatusCode::NOT_FOUND,
        InvestigateError::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
