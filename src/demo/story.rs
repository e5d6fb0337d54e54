//! The rollout, act by act: lead/2 scores along, answers a share, then all; lead/3 fails and is taken back.
//!
//! Orders go over the admin API, as anybody's would, and what became of them is read from the ledger there. An act begins
//! at its time, or when the one before has come to its end if that is later. Where leads are too few for an act, the run
//! ends without it.

use std::{
    collections::BTreeMap,
    fmt, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::sync::watch;

use super::{DemoError, api, model};

/// How often the ledger is read.
const PERIOD: Duration = Duration::from_millis(200);
/// Every record of a demo, many times over.
const LEDGER: &str = "/api/ledger?model=lead&limit=1000";
/// Who brings a version in may not let it rise (`rollout.four_eyes`), so there are two.
const TRAINER: &str = "demo";
const REVIEWER: &str = "demo-reviewer";
/// States in which a version scores.
const LIVE: [&str; 3] = ["production", "canary", "shadow"];
/// When each act begins, as a share of the run.
const SHADOW: f64 = 0.1;
const CANARY: f64 = 0.3;
const PROMOTION: f64 = 0.45;
const TRIAL: f64 = 0.7;
/// What each act is called, and the move that it comes to.
const ENDS: [(&str, &str, &str); 4] = [
    ("the shadow", "lead/2", "shadow"),
    ("the canary", "lead/2", "canary"),
    ("the promotion", "lead/2", "production"),
    ("the rollback", "lead/3", "quarantined"),
];

/// A version came from one state to another.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Move {
    /// Since the start.
    pub seconds: f64,
    /// `lead/2`.
    pub version: String,
    /// Where it was.
    pub from: String,
    /// Where it is.
    pub to: String,
    /// Of a canary: its share of the leads.
    pub percent: Option<u64>,
    /// Who did it: a person, `leadwire`, or `file` for a file that was edited by hand.
    pub actor: String,
}

impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Move { version, from, to, percent, actor, .. } = self;
        let share = percent.map(|percent| format!(" {percent}%")).unwrap_or_default();
        write!(f, "{version} {from} -> {to}{share} by {actor}")
    }
}

/// What the ledger has told so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Plot {
    /// In order.
    pub(super) moves: Vec<Move>,
    /// Somebody's leave is asked for.
    pub(super) is_asked: bool,
    /// What made the sidecar take a version back, by itself.
    pub(super) trigger: Option<String>,
}

#[derive(Deserialize)]
struct Ledger {
    records: Vec<Value>,
}

impl Plot {
    fn new(records: &[Value], began_ms: i64) -> Self {
        let mut plot = Self::default();
        for record in records {
            let text = |name: &str| record.get(name)?.as_str().map(str::to_owned);
            match record.get("type").and_then(Value::as_str) {
                Some("state.changed") => plot.moves.extend(moved(record, began_ms)),
                Some("approval.requested") => plot.is_asked = true,
                Some("rollback.auto") => plot.trigger = text("trigger"),
                _ => {}
            }
        }
        plot
    }

    /// The versions that score, with their states: `lead/1 production, lead/2 canary 25%`.
    pub(super) fn slots(&self) -> String {
        let mut states = BTreeMap::new();
        for Move { version, to, percent, .. } in &self.moves {
            states.insert(version.as_str(), (to.as_str(), *percent));
        }
        let live = states.iter().filter(|(_, (state, _))| LIVE.contains(state));
        let said = live.map(|(version, (state, percent))| match percent {
            Some(percent) => format!("{version} {state} {percent}%"),
            None => format!("{version} {state}"),
        });
        said.collect::<Vec<_>>().join(", ")
    }

    /// The acts that did not come to their end.
    pub(super) fn unreached(&self) -> Vec<&'static str> {
        let open = ENDS.iter().filter(|(_, version, state)| !self.came(version, state));
        open.map(|(act, ..)| *act).collect()
    }

    fn came(&self, version: &str, state: &str) -> bool {
        self.moves.iter().any(|moved| moved.version == version && moved.to == state)
    }
}

fn moved(record: &Value, began_ms: i64) -> Option<Move> {
    let text = |name: &str| record.get(name)?.as_str();
    let at = OffsetDateTime::parse(text("ts")?, &Rfc3339).ok()?;
    let at_ms = i64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok()?;
    Some(Move {
        // The first is older than the first lead.
        seconds: at_ms.saturating_sub(began_ms).max(0) as f64 / 1e3,
        version: format!("{}/{}", text("model")?, text("version")?),
        from: text("from")?.to_owned(),
        to: text("to")?.to_owned(),
        percent: record.get("pct").and_then(Value::as_u64),
        actor: text("actor")?.to_owned(),
    })
}

/// Where the story plays.
pub(super) struct Story {
    /// The sidecar's admin listener.
    pub(super) admin: SocketAddr,
    /// Its watched folder.
    pub(super) models: PathBuf,
    /// How long the acts take.
    pub(super) length: Duration,
    /// Percent of the leads that a version on trial answers.
    pub(super) share: u32,
    /// When it began, in milliseconds since 1970.
    pub(super) began_ms: i64,
}

impl Story {
    /// Reads the ledger again and again, on the current runtime, until the receiver is gone.
    pub(super) fn follow(&self) -> watch::Receiver<Plot> {
        let (admin, began_ms) = (self.admin, self.began_ms);
        let (told, heard) = watch::channel(Plot::default());
        tokio::spawn(async move {
            while !told.is_closed() {
                if let Some(plot) = read(admin, began_ms).await {
                    told.send_replace(plot);
                }
                tokio::time::sleep(PERIOD).await;
            }
        });
        heard
    }

    /// Reads the ledger once; `None` without an answer.
    pub(super) async fn now(&self) -> Option<Plot> {
        read(self.admin, self.began_ms).await
    }

    /// Plays every act that the leads suffice for.
    pub(super) async fn play(&self, mut plot: watch::Receiver<Plot>) -> Result<(), DemoError> {
        let started = Instant::now();
        let at = |share| tokio::time::sleep_until((started + self.length.mul_f64(share)).into());
        at(SHADOW).await;
        self.written(model::write_second).await?;
        self.order("shadow", json!({"version": "2", "actor": TRAINER})).await?;
        // Once it has scored enough leads along, the sidecar asks.
        until(&mut plot, |plot| plot.is_asked).await;
        at(CANARY).await;
        let why = "it scored along without a fault";
        let leave = json!({"version": "2", "step": "canary", "actor": REVIEWER, "why": why});
        self.order("approve", leave).await?;
        until(&mut plot, |plot| plot.came("lead/2", "canary")).await;
        at(PROMOTION).await;
        let why = "a demo has no outcomes to wait for";
        let leave =
            json!({"version": "2", "step": "production", "override": true, "actor": REVIEWER, "why": why});
        self.order("approve", leave).await?;
        until(&mut plot, |plot| plot.came("lead/2", "production")).await;
        at(TRIAL).await;
        let share = self.share;
        self.written(move |models| {
            model::write_third(models)?;
            Ok(model::try_third(models, share)?)
        })
        .await
    }

    async fn order(&self, verb: &str, body: Value) -> Result<(), DemoError> {
        api::order(self.admin, verb, &body).await
    }

    /// Writes files, elsewhere than where leads are sent.
    async fn written(
        &self,
        write: impl FnOnce(&Path) -> Result<(), DemoError> + Send + 'static,
    ) -> Result<(), DemoError> {
        let models = self.models.clone();
        tokio::task::spawn_blocking(move || write(&models)).await.map_err(io::Error::from)?
    }
}

async fn read(admin: SocketAddr, began_ms: i64) -> Option<Plot> {
    let Ledger { records } = api::get(admin, LEDGER).await?;
    Some(Plot::new(&records, began_ms))
}

/// Waits until the ledger tells it. Whoever tells has ended only when the run has.
async fn until(plot: &mut watch::Receiver<Plot>, is_so: impl FnMut(&Plot) -> bool) {
    if plot.wait_for(is_so).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Milliseconds since 1970, as the ledger counts.
pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(second: u32, version: &str, from: &str, to: &str) -> Value {
        json!({
            "type": "state.changed", "ts": format!("2026-11-22T08:00:{second:02}.500Z"), "model": "lead",
            "version": version, "from": from, "to": to, "actor": "leadwire"
        })
    }

    /// 2026-11-22T08:00:01Z.
    const BEGAN_MS: i64 = 1_795_334_401_000;

    #[test]
    fn the_ledger_tells_the_story() {
        let mut canary = changed(9, "2", "shadow", "canary");
        canary["pct"] = json!(25);
        let records = [
            changed(0, "1", "trained", "production"),
            json!({"type": "model.registered", "version": "2"}),
            changed(3, "2", "validated", "shadow"),
            json!({"type": "approval.requested"}),
            canary,
            json!({"type": "state.changed", "ts": "yesterday", "model": "lead"}),
        ];
        let check = |records: &[Value], slots: &str, unreached: &[&str]| {
            let plot = Plot::new(records, BEGAN_MS);
            assert_eq!((plot.slots().as_str(), plot.unreached().as_slice()), (slots, unreached));
            plot
        };
        let all = ["the shadow", "the canary", "the promotion", "the rollback"];
        check(&[], "", &all);
        check(&records[..2], "lead/1 production", &all);
        let plot = check(&records[..3], "lead/1 production, lead/2 shadow", &all[1..]);
        assert!(!plot.is_asked);
        let plot = check(&records, "lead/1 production, lead/2 canary 25%", &all[2..]);
        assert!(plot.is_asked);
        let said: Vec<_> = plot.moves.iter().map(|moved| format!("{} {moved}", moved.seconds)).collect();
        assert_eq!(
            said,
            [
                "0 lead/1 trained -> production by leadwire",
                "2.5 lead/2 validated -> shadow by leadwire",
                "8.5 lead/2 shadow -> canary 25% by leadwire",
            ]
        );
        let last = [
            changed(20, "2", "canary", "production"),
            changed(20, "1", "production", "standby"),
            json!({"type": "rollback.auto", "trigger": "score"}),
            changed(30, "3", "canary", "quarantined"),
        ];
        let plot = check(&[&records[..], &last[..]].concat(), "lead/2 production", &[]);
        assert_eq!(plot.trigger.as_deref(), Some("score"));
    }
}
