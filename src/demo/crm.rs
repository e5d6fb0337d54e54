//! A stand-in CRM, shaped like Salesforce's REST API for leads. It keeps the last records only.

use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque},
    convert::Infallible,
    io,
    net::SocketAddr,
    rc::Rc,
    thread::JoinHandle,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value, json};
use tokio::{
    net::TcpListener,
    sync::oneshot,
    task::{LocalSet, spawn_local},
};

/// Records kept: a few megabytes.
const MOST: usize = 10_000;
/// Longest body in bytes.
const MAX_BODY: usize = 1 << 20;

/// The running stand-in, on a thread of its own. Dropping it stops it.
pub(super) struct Crm {
    /// Where it listens.
    pub(super) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Crm {
    /// Listens on loopback, on a port of the system's choice.
    pub(super) fn start() -> io::Result<Self> {
        let socket = std::net::TcpListener::bind("127.0.0.1:0")?;
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name("crm".into()).spawn(move || {
            let tasks = LocalSet::new();
            let serving = tasks.run_until(async {
                tokio::select! {
                    ended = serve(socket) => if let Err(error) = ended {
                        tracing::error!(%error, "the stand-in CRM ended");
                    },
                    _ = stopped => {}
                }
            });
            runtime.block_on(serving);
        })?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Crm {
    fn drop(&mut self) {
        // A closed channel says stop as well as a message.
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
    }
}

async fn serve(socket: std::net::TcpListener) -> io::Result<()> {
    let listener = TcpListener::from_std(socket)?;
    let records: Rc<RefCell<Records>> = Rc::default();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let records = records.clone();
        let service = service_fn(move |request| {
            let records = records.clone();
            async move { Ok::<_, Infallible>(answer(request, &records).await) }
        });
        spawn_local(async move {
            if let Err(error) = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await {
                tracing::debug!(%error, "connection to the stand-in CRM ended");
            }
        });
    }
}

async fn answer(request: Request<Incoming>, records: &RefCell<Records>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, MAX_BODY).collect().await else {
        return error(StatusCode::BAD_REQUEST, "JSON_PARSE_ERROR", "the body could not be read");
    };
    records.borrow_mut().answer(&head.method, head.uri.path(), &body.to_bytes())
}

/// The leads by id.
#[derive(Default)]
struct Records {
    leads: HashMap<String, Map<String, Value>>,
    /// Ids, oldest first.
    order: VecDeque<String>,
    created: u64,
}

impl Records {
    fn answer(&mut self, method: &Method, path: &str, body: &[u8]) -> Response<Full<Bytes>> {
        let steps: Vec<&str> = path.split('/').skip(1).collect();
        let id = match steps.as_slice() {
            ["services", "data", _, "sobjects", "Lead"] => None,
            ["services", "data", _, "sobjects", "Lead", id] => Some(*id),
            _ => return error(StatusCode::NOT_FOUND, "NOT_FOUND", "The requested resource does not exist"),
        };
        match (method, id) {
            (&Method::POST, None) => fields(body).map_or_else(not_json, |fields| self.create(fields)),
            (&Method::PATCH, Some(id)) => {
                fields(body).map_or_else(not_json, |fields| self.update(id, fields))
            }
            (&Method::GET, Some(id)) => self.read(id),
            _ => error(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", "not a method of this resource"),
        }
    }

    fn create(&mut self, fields: Map<String, Value>) -> Response<Full<Bytes>> {
        self.created += 1;
        let id = format!("00Q{:015}", self.created);
        if self.order.len() >= MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.leads.remove(&oldest);
        }
        self.order.push_back(id.clone());
        let answer = json!({"id": id, "success": true, "errors": []});
        self.leads.insert(id, fields);
        json_answer(StatusCode::CREATED, &answer)
    }

    fn update(&mut self, id: &str, fields: Map<String, Value>) -> Response<Full<Bytes>> {
        let Some(lead) = self.leads.get_mut(id) else { return unknown() };
        lead.extend(fields);
        let mut answer = Response::new(Full::default());
        *answer.status_mut() = StatusCode::NO_CONTENT;
        answer
    }

    fn read(&self, id: &str) -> Response<Full<Bytes>> {
        let Some(lead) = self.leads.get(id) else { return unknown() };
        let mut lead = lead.clone();
        lead.insert("Id".into(), json!(id));
        json_answer(StatusCode::OK, &lead.into())
    }
}

fn fields(body: &[u8]) -> Option<Map<String, Value>> {
    serde_json::from_slice(body).ok()
}

fn not_json() -> Response<Full<Bytes>> {
    error(StatusCode::BAD_REQUEST, "JSON_PARSE_ERROR", "the body is not a JSON object")
}

fn unknown() -> Response<Full<Bytes>> {
    error(
        StatusCode::NOT_FOUND,
        "NOT_FOUND",
        "Provided external ID field does not exist or is not accessible",
    )
}

fn error(status: StatusCode, code: &str, message: &str) -> Response<Full<Bytes>> {
    json_answer(status, &json!([{"message": message, "errorCode": code}]))
}

fn json_answer(status: StatusCode, value: &Value) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::from(value.to_string()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEADS: &str = "/services/data/v60.0/sobjects/Lead";

    async fn ask(records: &mut Records, method: Method, path: &str, body: &str) -> (u16, Value) {
        let answer = records.answer(&method, path, body.as_bytes());
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    #[tokio::test]
    async fn answers_as_salesforce_does() {
        let mut records = Records::default();
        let (status, created) = ask(&mut records, Method::POST, LEADS, r#"{"LastName":"A","x":1}"#).await;
        assert_eq!((status, &created["success"], &created["errors"]), (201, &json!(true), &json!([])));
        let id = created["id"].as_str().unwrap();
        assert!(id.starts_with("00Q") && id.len() == 18);
        let lead = format!("{LEADS}/{id}");
        assert_eq!(ask(&mut records, Method::PATCH, &lead, r#"{"x":2}"#).await, (204, Value::Null));
        let (status, read) = ask(&mut records, Method::GET, &lead, "").await;
        assert_eq!((status, read), (200, json!({"Id": id, "LastName": "A", "x": 2})));
        for (method, path, body, expected) in [
            (Method::POST, LEADS, "[]", 400),
            (Method::GET, "/services/data/v60.0/sobjects/Lead/00Q", "", 404),
            (Method::PATCH, "/services/data/v60.0/sobjects/Lead/00Q", "{}", 404),
            (Method::GET, "/", "", 404),
            (Method::PUT, LEADS, "{}", 405),
        ] {
            assert_eq!(ask(&mut records, method, path, body).await.0, expected, "{path}");
        }
    }

    #[test]
    fn keeps_a_bounded_number() {
        let mut records = Records::default();
        for _ in 0..=MOST {
            records.create(Map::new());
        }
        assert_eq!((records.leads.len(), records.order.len()), (MOST, MOST));
        assert_eq!(records.read("00Q000000000000001").status(), StatusCode::NOT_FOUND);
    }
}
