//! Clients: a few keep-alive connections that together keep to a schedule, whether answers are quick or not.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, sync::watch, task::JoinSet};

use super::{
    draw::Draw,
    tally::{Answer, ScoredLead, Tally},
};
use crate::lead::Grade;

/// Connections. More would not be faster against two workers, fewer would leave one of them idle too often.
pub(super) const CONNECTIONS: u32 = 8;
/// Wait before the next try after a request failed.
const PAUSE: Duration = Duration::from_millis(50);
/// Longest wait for open requests at the end.
const LAST_ANSWERS: Duration = Duration::from_secs(10);

const PATH: &str = "/services/data/v60.0/sobjects/Lead";

/// What went wrong on a connection; nobody tells kinds apart.
type Broken = Box<dyn std::error::Error + Send + Sync>;

/// The running clients.
pub(super) struct Traffic {
    stop: watch::Sender<bool>,
    clients: JoinSet<()>,
}

impl Traffic {
    /// Sends what `draw`, by client, yields: `rate` leads a second in all, or as fast as it goes at 0. Runs on the current
    /// runtime.
    pub(super) fn start(
        to: SocketAddr,
        rate: u32,
        tally: &Arc<Mutex<Tally>>,
        draw: impl Fn(u32) -> Draw,
    ) -> Self {
        let (stop, stopped) = watch::channel(false);
        let mut clients = JoinSet::new();
        let started = Instant::now();
        for index in 0..CONNECTIONS {
            let schedule = Schedule { started, rate, index };
            let client = Client { to, draw: draw(index), connection: None };
            clients.spawn(run(client, schedule, tally.clone(), stopped.clone()));
        }
        Self { stop, clients }
    }

    /// Sends nothing more and waits for the open requests' answers.
    pub(super) async fn stop(mut self) {
        // Without receivers there is nobody left to stop.
        _ = self.stop.send(true);
        let all_ended = async { while self.clients.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST_ANSWERS, all_ended).await.is_err() {
            tracing::warn!("requests still wait for an answer and are given up");
        }
    }
}

/// When a client's leads are due. Lateness is made up for, so slow answers do not slow the stream.
struct Schedule {
    started: Instant,
    rate: u32,
    index: u32,
}

impl Schedule {
    /// When the client's lead number `turn` is due; `None` for at once.
    fn due(&self, turn: u64) -> Option<Instant> {
        let place = (turn * u64::from(CONNECTIONS) + u64::from(self.index)) as f64;
        (self.rate > 0).then(|| self.started + Duration::from_secs_f64(place / f64::from(self.rate)))
    }
}

async fn run(
    mut client: Client,
    schedule: Schedule,
    tally: Arc<Mutex<Tally>>,
    mut stopped: watch::Receiver<bool>,
) {
    for turn in 0.. {
        if let Some(due) = schedule.due(turn) {
            let stop = stopped.wait_for(|stopped| *stopped);
            tokio::select! {
                _ = stop => return,
                () = tokio::time::sleep_until(due.into()) => {}
            }
        }
        if *stopped.borrow() {
            return;
        }
        let answer = client.send().await;
        let failed = matches!(answer, Answer::Failed);
        tally.lock().unwrap_or_else(PoisonError::into_inner).count(answer, Instant::now());
        if failed {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

struct Client {
    to: SocketAddr,
    draw: Draw,
    connection: Option<http1::SendRequest<Full<Bytes>>>,
}

impl Client {
    /// Sends the next lead. A connection that broke is opened anew for the one after.
    async fn send(&mut self) -> Answer {
        match self.try_send().await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::warn!(%error, "a request failed");
                self.connection = None;
                Answer::Failed
            }
        }
    }

    async fn try_send(&mut self) -> Result<Answer, Broken> {
        let body = serde_json::to_vec(&self.draw.lead())?;
        let request = Request::post(PATH)
            .header(header::HOST, self.to.to_string())
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::from(body))?;
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => connect(self.to).await?,
        };
        connection.ready().await?;
        let (head, body) = connection.send_request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        self.connection = Some(connection);
        if head.status != StatusCode::CREATED {
            tracing::warn!(status = head.status.as_u16(), "a lead was not created");
            return Ok(Answer::Failed);
        }
        Ok(scored(&head.headers, &body).map_or(Answer::Unscored, Answer::Scored))
    }
}

/// A connection for one request after the other, driven by a task of its own.
pub(super) async fn connect(to: SocketAddr) -> Result<http1::SendRequest<Full<Bytes>>, Broken> {
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection ended");
        }
    });
    Ok(sender)
}

/// What the shipped configuration writes into an answer's headers.
fn scored(headers: &HeaderMap, body: &[u8]) -> Option<ScoredLead> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let grades = [Grade::A, Grade::B, Grade::C, Grade::D];
    let grade = text("x-lead-grade")?;
    let created: serde_json::Value = serde_json::from_slice(body).ok()?;
    Some(ScoredLead {
        id: created.get("id")?.as_str()?.to_owned(),
        points: text("x-lead-score")?.parse().ok()?,
        grade: grades.into_iter().find(|known| known.as_str() == grade)?,
        model: text("x-lead-model")?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_take_turns() {
        let started = Instant::now();
        let due = |rate, index, turn| Schedule { started, rate, index }.due(turn);
        let after = |ms| Some(started + Duration::from_millis(ms));
        assert_eq!([due(1000, 0, 0), due(1000, 1, 0), due(1000, 0, 1)], [after(0), after(1), after(8)]);
        assert_eq!(due(0, 3, 9), None);
    }
}
