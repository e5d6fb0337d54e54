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

/// The slot that answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arm {
    /// The version that serves by default.
    Champion,
}

impl Arm {
    /// The label in metrics and the lead log.
    pub fn as_str(self) -> &'static str {
        match self {
            Arm::Champion => "champion",
        }
    }
}
