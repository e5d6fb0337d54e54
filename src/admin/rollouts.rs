//! Orders over the network, `POST /api/models/{model}/{verb}`, and what there is to know before: `GET /api/rollouts` and
//! `GET /api/models/{model}/verdict`. The same desk as on the command line.

use std::{fmt, net::IpAddr, sync::Arc};

use axum::{
    Json,
    extract::{Path, State, rejection::JsonRejection},
    http::{HeaderMap, StatusCode, header},
};
use serde_json::{Value as Json_, json};

use super::routes::Admin;
use crate::{
    monitor,
    rollout::{Asked, Desk, OrderError, statuses},
    telemetry::now_ms,
};

/// Makes the sidecar look at its files now, so that an order does not wait for the watch.
#[derive(Clone)]
pub struct Look(Arc<dyn Fn() + Send + Sync>);

impl Look {
    /// Whatever makes it look.
    pub fn new(look: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(look))
    }
}

impl fmt::Debug for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Look")
    }
}

type Answer = (StatusCode, Json<Json_>);

/// Every model's slots, states and approvals.
pub(super) async fn rollouts(State(admin): State<Admin>) -> Answer {
    let now_ms = now_ms();
    at_desk(admin, move |desk| Ok(json!({"rollouts": statuses(desk, None, now_ms)?}))).await
}

/// What the evidence says of a model's trials.
pub(super) async fn verdict(State(admin): State<Admin>, Path(model): Path<String>) -> Answer {
    let now_ms = now_ms();
    at_desk(admin, move |desk| Ok(json!(monitor::verdict(desk, &model, now_ms)?))).await
}

/// Carries out an order. JSON only, which no other site's page may send here unasked.
pub(super) async fn order(
    State(admin): State<Admin>,
    Path((model, verb)): Path<(String, String)>,
    body: Result<Json<Asked>, JsonRejection>,
) -> Answer {
    let asked = match body {
        Ok(Json(asked)) => asked,
        Err(rejection) => return (rejection.status(), Json(json!({"error": rejection.body_text()}))),
    };
    let order = match asked.order(&model, &verb) {
        Ok(order) => order,
        Err(refused) => return (StatusCode::BAD_REQUEST, Json(json!({"error": refused.to_string()}))),
    };
    let (look, live, now_ms) = (admin.look.clone(), admin.live.clone(), now_ms());
    at_desk(admin, move |desk| {
        let done = desk.carry_out(&order, &monitor::grounds(desk, &order, now_ms), now_ms)?;
        if let (Some(_), true, Some(deployment)) =
            (&done.unwritten, order.action.is_rollback(), &done.deployment)
        {
            live.obey(&order.model, deployment.clone());
        }
        (look.0)();
        Ok(done.to_json())
    })
    .await
}

/// Does what takes a disk, elsewhere.
async fn at_desk(
    admin: Admin,
    work: impl FnOnce(&Desk) -> Result<Json_, OrderError> + Send + 'static,
) -> Answer {
    let work = tokio::task::spawn_blocking(move || {
        let desk = admin.desk.under(&admin.config.load())?;
        work(&desk)
    });
    match work.await {
        Ok(Ok(told)) => (StatusCode::OK, Json(told)),
        Ok(Err(error)) => {
            let status = status(&error);
            (status, Json(json!({"error": format!("{:#}", anyhow::Error::from(error))})))
        }
        Err(_) => {
            (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({"error": "the order was not carried out"})))
        }
    }
}

fn status(error: &OrderError) -> StatusCode {
    match error {
        OrderError::Refused(_) | OrderError::Admission { .. } => StatusCode::CONFLICT,
        OrderError::Unknown { .. } => StatusCode::NOT_FOUND,
        OrderError::Ledger(_) | OrderError::Deployment(_) | OrderError::Key(_) => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

/// Whether a request names this machine as itself. A page of another site can make its own name lead here; its requests
/// still carry that name.
pub(super) fn is_direct(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name == "localhost" || address.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_leads_here_is_not_this_machine() {
        for (host, expected) in [
            (Some("127.0.0.1:9901"), true),
            (Some("127.0.0.1"), true),
            (Some("localhost:9901"), true),
            (Some("localhost"), true),
            (Some("[::1]:9901"), true),
            (Some("[::1]"), true),
            (Some("10.0.0.7:9901"), true),
            (Some("rebound.example.com:9901"), false),
            (Some("localhost.example.com"), false),
            (Some("127.0.0.1.example.com"), false),
            (Some(""), false),
            (None, false),
        ] {
            let headers = host.map(|host| (header::HOST, host.parse().unwrap()));
            assert_eq!(is_direct(&headers.into_iter().collect()), expected, "{host:?}");
        }
    }
}
