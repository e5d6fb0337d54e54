//! Why a lead has the score it has.

use std::sync::Arc;

use serde::{Serialize, Serializer};

/// One feature's part in a score, in words.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reason {
    /// The feature's name in the model's schema.
    #[serde(serialize_with = "text")]
    pub feature: Arc<str>,
    /// How people call it.
    #[serde(serialize_with = "text")]
    pub label: Arc<str>,
    /// Whether it raised or lowered the score, compared with a typical lead.
    pub direction: Direction,
    /// Its share of all features' effects, up and down alike, 0..=1.
    pub strength: f32,
    /// Label and value, the value as a word or a band: `job: services`, `campaign: high`.
    pub text: Box<str>,
}

/// Which way a feature moved a score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Direction {
    /// Raised it.
    #[serde(rename = "+")]
    Up,
    /// Lowered it.
    #[serde(rename = "-")]
    Down,
}

impl Direction {
    /// `"+"` or `"-"`.
    pub fn as_str(self) -> &'static str {
        match self {
            Direction::Up => "+",
            Direction::Down => "-",
        }
    }
}

fn text<S: Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}
