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
    use std::{
        io::{Read, Write},
        net::TcpListener,
        thread,
    };

    use super::*;

    /// Somebody who answers one request with `answer`, or hangs up where that is empty.
    fn answering(answer: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            assert!(stream.read(&mut request).unwrap() > 0);
            stream.write_all(answer.as_bytes()).unwrap();
        });
        address
    }

    #[tokio::test]
    async fn an_order_that_is_not_taken_says_why() {
        for (answer, expected) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", None),
            ("HTTP/1.1 409 Conflict\r\nContent-Length: 17\r\n\r\n{\"error\":\"early\"}", Some("early")),
            ("HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n[]", Some("without a reason")),
            ("", Some("no answer")),
        ] {
            let taken = order(answering(answer), "shadow", &Value::Null).await;
            let expected =
                expected.map(|why| format!("the sidecar did not take the order \"shadow\": {why}"));
            assert_eq!(taken.err().map(|error| error.to_string()), expected, "{answer}");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_no_answer() {
        for (answer, expected) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n[12]", Some([12])),
            ("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnone", None),
            ("HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n[12]", None),
            ("", None),
        ] {
            assert_eq!(get::<[u32; 1]>(answering(answer), "/api/ledger").await, expected, "{answer}");
        }
    }
}
