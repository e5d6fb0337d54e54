//! The checklist of an investigation: what was done, when, and how long it took.

use std::time::Instant;

use serde::Serialize;

use super::shown;

/// One step.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// `received`, `history`, `recomputed`, `compared`, `drift` or `answered`.
    pub step: &'static str,
    /// Whether it could be done.
    pub done: bool,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// The same for people and scripts.
    pub at: String,
    /// How long it took, in milliseconds.
    pub took_ms: f64,
    /// What came of it, or why it could not be done.
    pub note: String,
}

/// The steps so far.
#[derive(Debug)]
pub(super) struct Steps {
    pub(super) steps: Vec<Step>,
    now_ms: i64,
    began: Instant,
    last: Instant,
}

impl Steps {
    /// Begins at `now_ms`.
    pub(super) fn new(now_ms: i64) -> Self {
        let now = Instant::now();
        Self { steps: Vec::new(), now_ms, began: now, last: now }
    }

    /// Somebody complained, or asks now.
    pub(super) fn received(&mut self, at_ms: i64, note: String) {
        let step =
            Step { step: "received", done: true, at_ms, at: shown::rfc3339(at_ms), took_ms: 0.0, note };
        self.steps.insert(0, step);
    }

    /// What came of a step, or why it could not be done.
    pub(super) fn push(&mut self, step: &'static str, came: Result<String, String>) {
        let (done, note) = match came {
            Ok(note) => (true, note),
            Err(why) => (false, why),
        };
        let took_ms = (self.last.elapsed().as_secs_f64() * 1e5).round() / 100.0;
        self.last = Instant::now();
        let passed = i64::try_from((self.last - self.began).as_millis()).unwrap_or(i64::MAX);
        let at_ms = self.now_ms.saturating_add(passed);
        self.steps.push(Step { step, done, at_ms, at: shown::rfc3339(at_ms), took_ms, note });
    }
}
