//! What people and other programs tell of leads: `POST /api/feedback`, a verdict on a score, and `POST /api/outcomes`, what
//! became of a lead whose closing passes no route. Both wait in the queue of the lead log like what passes in traffic, so a
//! log that cannot be written delays nobody. What is told after the stop is refused, since nobody would write it down.

use std::sync::atomic::Ordering;

use axum::{
    Json,
    extract::{State, rejection::JsonRejection},
    http::StatusCode,
};
use serde::Deserialize;
use serde_json::{Value as Json_, json};

use super::routes::Admin;
use crate::{
    lead::{Feedback, FeedbackReason, LeadId, Outcome, Verdict},
    leadlog::{Entry, FeedbackRecord, OutcomeRecord},
    recognise::time_ms,
    telemetry::now_ms,
};

/// Greatest body: a note, every character of it escaped, and what stands around it.
pub(super) const MAX_BODY: usize = 16 * 1024;

/// Earlier or later, seconds were told instead of milliseconds, or something else went wrong.
const EARLIEST_MS: i64 = 946_684_800_000;
const LATEST_MS: i64 = 4_102_444_800_000;

/// Bytes of an id, as in traffic.
const MAX_ID: usize = 255;

type Answer = (StatusCode, Json<Json_>);

/// Why something told is not taken.
type Refused = (StatusCode, String);

/// A verdict, as it is told.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SaidFeedback {
    lead: String,
    verdict: String,
    reason: Option<String>,
    who: Option<String>,
    note: Option<String>,
}

/// An outcome, as it is told.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SaidOutcome {
    lead: String,
    won: bool,
    revenue: Option<f64>,
    event: Option<String>,
    revision: Option<i64>,
    time: Option<SaidTime>,
}

/// RFC 3339, or milliseconds since 1970.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum SaidTime {
    Millis(i64),
    Text(String),
}

/// Records a person's verdict.
pub(super) async fn feedback(
    State(admin): State<Admin>,
    body: Result<Json<SaidFeedback>, JsonRejection>,
) -> Answer {
    answer(&admin, body, |said, time_ms| {
        let feedback = said.feedback()?;
        let told = json!({
            "lead": &*feedback.lead,
            "verdict": feedback.verdict.as_str(),
            "reason": feedback.reason.map(FeedbackReason::as_str),
            "who": feedback.who.as_deref(),
            "note": feedback.note.as_deref(),
            "time_ms": time_ms,
        });
        admin.metrics.feedback.count(&feedback);
        let record = FeedbackRecord { time_ms, source: FeedbackRecord::API.into(), feedback };
        Ok((Entry::Feedback(Box::new(record)), told))
    })
}

/// Records what became of a lead.
pub(super) async fn outcome(
    State(admin): State<Admin>,
    body: Result<Json<SaidOutcome>, JsonRejection>,
) -> Answer {
    answer(&admin, body, |said, time_ms| {
        let outcome = said.outcome()?;
        let told = json!({
            "lead": &*outcome.lead,
            "won": outcome.won,
            "revenue": outcome.revenue,
            "event": outcome.event.as_deref(),
            "revision": outcome.revision,
            "occurred_ms": outcome.time_ms,
            "time_ms": time_ms,
        });
        let record = OutcomeRecord { time_ms, route: FeedbackRecord::API.into(), outcome };
        Ok((Entry::Outcome(record), told))
    })
}

/// Sends what was told to the lead log, and says what was recorded.
fn answer<T>(
    admin: &Admin,
    body: Result<Json<T>, JsonRejection>,
    read: impl FnOnce(T, i64) -> Result<(Entry, Json_), Refused>,
) -> Answer {
    let read = match body {
        _ if admin.draining.load(Ordering::Acquire) => {
            Err((StatusCode::SERVICE_UNAVAILABLE, "the sidecar is about to end".to_owned()))
        }
        Ok(Json(said)) => read(said, now_ms()),
        Err(rejection) => Err((rejection.status(), rejection.body_text())),
    };
    match read {
        Ok((entry, told)) => {
            admin.queue.aside().send(entry);
            (StatusCode::ACCEPTED, Json(json!({"recorded": told})))
        }
        Err((status, error)) => (status, Json(json!({"error": error}))),
    }
}

impl SaidFeedback {
    fn feedback(&self) -> Result<Feedback, Refused> {
        let verdict = word("verdict", &self.verdict, &Verdict::ALL.map(Verdict::as_str), Verdict::parse)?;
        let words = FeedbackReason::ALL.map(FeedbackReason::as_str);
        let reason = self.reason.as_deref();
        let reason = reason.map(|text| word("reason", text, &words, FeedbackReason::parse)).transpose()?;
        let feedback = Feedback::new(id("lead", &self.lead)?, verdict);
        Ok(Feedback { reason, ..feedback.by(self.who.as_deref()).noted(self.note.as_deref()) })
    }
}

impl SaidOutcome {
    fn outcome(&self) -> Result<Outcome, Refused> {
        let time_ms = match &self.time {
            None => None,
            Some(SaidTime::Millis(ms)) if (EARLIEST_MS..LATEST_MS).contains(ms) => Some(*ms),
            Some(SaidTime::Millis(_)) => {
                return Err(refused(
                    "time",
                    "is no time between 2000 and 2100; it is counted in milliseconds",
                ));
            }
            Some(SaidTime::Text(text)) => {
                let wanted = || refused("time", "is neither RFC 3339 nor milliseconds since 1970");
                Some(time_ms(text).ok_or_else(wanted)?)
            }
        };
        Ok(Outcome {
            revenue: self.revenue,
            event: self.event.as_deref().map(|event| id("event", event)).transpose()?,
            revision: self.revision,
            time_ms,
            ..Outcome::new(id("lead", &self.lead)?, self.won)
        })
    }
}

/// A word of a closed set.
fn word<T>(key: &str, text: &str, words: &[&str], parse: impl Fn(&str) -> Option<T>) -> Result<T, Refused> {
    parse(text).ok_or_else(|| refused(key, &format!("is none of {}", words.join(", "))))
}

/// An id as traffic would have it.
fn id(key: &str, text: &str) -> Result<LeadId, Refused> {
    match text {
        "" => Err(refused(key, "is empty")),
        long if long.len() > MAX_ID => Err(refused(key, "is longer than 255 bytes")),
        odd if odd.chars().any(char::is_control) => Err(refused(key, "holds a control character")),
        id => Ok(id.into()),
    }
}

fn refused(key: &str, why: &str) -> Refused {
    (StatusCode::UNPROCESSABLE_ENTITY, format!("{key}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is recorded of a body, or why it is not.
    fn read<T: serde::de::DeserializeOwned, R>(
        body: Json_,
        read: impl Fn(&T) -> Result<R, Refused>,
    ) -> Result<R, String> {
        let said: T = serde_json::from_value(body).map_err(|error| error.to_string())?;
        read(&said).map_err(|(_, why)| why)
    }

    #[test]
    fn a_verdict_is_of_words_that_are_known() {
        let check = |body: Json_, expected: Result<Feedback, &str>| {
            let found = read(body.clone(), SaidFeedback::feedback);
            match (&found, &expected) {
                (Err(found), Err(expected)) => assert!(found.starts_with(expected), "{found}"),
                _ => assert_eq!(found, expected.map_err(str::to_owned), "{body}"),
            }
        };
        let up = Feedback::new("a", Verdict::Up);
        check(json!({"lead": "a", "verdict": "up"}), Ok(up.clone()));
        check(json!({"lead": "a", "verdict": "up", "reason": null, "who": " ", "note": ""}), Ok(up.clone()));
        let full = Feedback { reason: Some(FeedbackReason::Duplicate), ..up };
        check(
            json!({"lead": "a", "verdict": "up", "reason": "duplicate", "who": "ada\n", "note": "\u{1b}[1mhm"}),
            Ok(full.by(Some("ada")).noted(Some("[1mhm"))),
        );
        check(json!({"lead": "", "verdict": "up"}), Err("lead: is empty"));
        check(json!({"lead": "x".repeat(256), "verdict": "up"}), Err("lead: is longer than 255 bytes"));
        check(json!({"lead": "a\nb", "verdict": "up"}), Err("lead: holds a control character"));
        check(json!({"lead": "a", "verdict": "Up"}), Err("verdict: is none of up, down"));
        check(
            json!({"lead": "a", "verdict": "up", "reason": "mood"}),
            Err("reason: is none of wrong_score_high, "),
        );
        check(json!({"lead": "a", "verdict": "up", "why": "x"}), Err("unknown field `why`"));
        check(json!({"lead": "a"}), Err("missing field `verdict`"));
    }

    #[test]
    fn an_outcome_has_a_time_that_can_be_read() {
        let check = |body: Json_, expected: Result<Outcome, &str>| {
            let found = read(body.clone(), SaidOutcome::outcome);
            match (&found, &expected) {
                (Err(found), Err(expected)) => assert!(found.starts_with(expected), "{found}"),
                _ => assert_eq!(found, expected.map_err(str::to_owned), "{body}"),
            }
        };
        let won = Outcome::new("a", true);
        let at = |time_ms| Outcome { time_ms: Some(time_ms), ..Outcome::new("a", true) };
        check(json!({"lead": "a", "won": true}), Ok(won.clone()));
        check(json!({"lead": "a", "won": true, "time": 1_763_800_000_000_i64}), Ok(at(1_763_800_000_000)));
        check(json!({"lead": "a", "won": true, "time": "1970-01-01T00:00:01Z"}), Ok(at(1000)));
        check(
            json!({"lead": "a", "won": true, "revenue": 12.5, "event": "e1", "revision": 3}),
            Ok(Outcome { revenue: Some(12.5), event: Some("e1".into()), revision: Some(3), ..won }),
        );
        check(json!({"lead": "a", "won": true, "time": "soon"}), Err("time: is neither RFC 3339 nor"));
        check(json!({"lead": "a", "won": true, "event": ""}), Err("event: is empty"));
        check(json!({"lead": "a", "won": 1}), Err("invalid type"));
        check(json!({"lead": "a", "won": true, "deal": "x"}), Err("unknown field `deal`"));
    }
}
