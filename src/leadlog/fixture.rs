//! Records for tests.

use std::sync::Arc;

use super::{
    packed::Packed,
    record::{Decision, ScoreRecord},
};
use crate::lead::{Arm, Grade, ModelId, Score, Value};

/// A score of model `lead` with one feature, `age`.
pub(super) fn score(time_ms: i64, lead: &str, version: &str) -> ScoreRecord {
    let model = ModelId { model: "lead".into(), version: version.into(), digest: "ab".into() };
    ScoreRecord {
        time_ms,
        route: "lead.create".into(),
        lead: Some(lead.into()),
        arm: Arm::Champion,
        model: Arc::new(model),
        names: ["age".into()].into(),
        features: Packed::new(&[Value::Number(56.0)]),
        score: Score::new(0.5).unwrap(),
        grade: Grade::B,
        latency_ns: 900,
        decision: Decision::Headers,
        exposure: None,
        fell: None,
    }
}
