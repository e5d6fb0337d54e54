//! The admin listener's client: the same endpoints as for anybody.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode, header, request::Builder};
use http_body_util::{BodyExt, Full, Limited};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{DemoError, traffic};

/// Longest wait for an answer. An order waits for the disk.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest answer in bytes.
const MAX_BODY: usize = 1 << 20;

/// What a path answers; `None` where it does not.
pub(super) async fn get<T: DeserializeOwned>(admin: SocketAddr, path: &str) -> Option<T> {
    let (_, body) = exchange(admin, Request::get(path), Bytes::new()).await?;
    serde_json::from_slice(&body).ok()
}

/// Gives an order about the demo's model.
pub(super) async fn order(admin: SocketAddr, verb: &str, body: &Value) -> Result<(), DemoError> {
    let request =
        Request::post(format!("/api/models/lead/{verb}")).header(header::CONTENT_TYPE, "application/json");
    match exchange(admin, request, body.to_string().into()).await {
        Some((StatusCode::OK, _)) => Ok(()),
        Some((_, answer)) => {
            let told: Value = serde_json::from_slice(&answer).unwrap_or_default();
            let why = told.get("error").and_then(Value::as_str).unwrap_or("without a reason");
            Err(DemoError::Order { verb: verb.to_owned(), why: why.to_owned() })
        }
        None => Err(DemoError::Order { verb: verb.to_owned(), why: "no answer".to_owned() }),
    }
}

async fn exchange(admin: SocketAddr, request: Builder, body: Bytes) -> Option<(StatusCode, Bytes)> {
    let answer = async {
        let mut connection = traffic::connect(admin).await.ok()?;
        let request = request.header(header::HOST, admin.to_string()).body(Full::from(body)).ok()?;
        let (head, body) = connection.send_request(request).await.ok()?.into_parts();
        Some((head.status, Limited::new(body, MAX_BODY).collect().await.ok()?.to_bytes()))
    };
    tokio::time::timeout(PATIENCE, answer).await.ok()?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_there_is_no_answer() {
        // Bound and closed again: nobody listens.
        let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(get::<Value>(gone, "/api/ledger").await, None);
        let refused = order(gone, "shadow", &Value::Null).await.unwrap_err();
        assert_eq!(refused.to_string(), "the sidecar did not take the order \"shadow\": no answer");
    }
}
