//! Which model version gave a score.

use std::{fmt, sync::Arc};

/// One trained artifact: a model's name, its version, and the digest of its manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelId {
    /// The model's name, the folder under `models/`.
    pub model: Arc<str>,
    /// The version, the folder under the model's.
    pub version: Arc<str>,
    /// SHA-256 of the manifest in hex. The manifest holds the digest of every other file, so it stands for the whole.
    pub digest: Arc<str>,
}

/// `lead/3`.
impl fmt::Display for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.model, self.version)
    }
}

/// The slot that answered, or that a lead was assigned to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arm {
    /// The version that serves by default.
    Champion,
    /// The version that answers a share of the leads.
    Challenger,
}

impl Arm {
    /// Both, in the order of the variants.
    pub const ALL: [Arm; 2] = [Arm::Champion, Arm::Challenger];

    /// The label in metrics and the lead log.
    pub fn as_str(self) -> &'static str {
        match self {
            Arm::Champion => "champion",
            Arm::Challenger => "challenger",
        }
    }

    /// The one that did not answer.
    pub fn other(self) -> Self {
        match self {
            Arm::Champion => Arm::Challenger,
            Arm::Challenger => Arm::Champion,
        }
    }
}

/// A place that a version can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Answers by default.
    Champion,
    /// Answers a share of the leads.
    Challenger,
    /// Scores along without answering.
    Shadow,
    /// Was the champion before; kept loaded for the way back.
    Previous,
}

impl Slot {
    /// The label in metrics and the lead log.
    pub fn as_str(self) -> &'static str {
        match self {
            Slot::Champion => Arm::Champion.as_str(),
            Slot::Challenger => Arm::Challenger.as_str(),
            Slot::Shadow => "shadow",
            Slot::Previous => "previous",
        }
    }
}

impl From<Arm> for Slot {
    fn from(arm: Arm) -> Self {
        match arm {
            Arm::Champion => Slot::Champion,
            Arm::Challenger => Slot::Challenger,
        }
    }
}
