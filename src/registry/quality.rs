//! How good a version was shown to be, beside its metrics: leads of one kind, and the gate that it came through.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Leads that have one word in one feature.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Segment {
    /// The feature.
    pub feature: String,
    /// Its word; `true` or `false` of a boolean.
    pub word: String,
    /// Leads.
    pub rows: u64,
    /// Of them converted.
    pub positives: u64,
    /// Area under the ROC curve within; `None` where all or none converted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auc: Option<f64>,
}

/// What the training gate asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GateMode {
    /// Better by a margin, and not by chance.
    Gain,
    /// Not worse, in which a person believes.
    NotWorse,
}

impl GateMode {
    /// `"gain"` or `"not-worse"`.
    pub fn as_str(self) -> &'static str {
        match self {
            GateMode::Gain => "gain",
            GateMode::NotWorse => "not-worse",
        }
    }
}

/// How a version did against the champion of its day, on leads that neither had seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateVerdict {
    /// What was asked for.
    pub mode: GateMode,
    /// Whether every check was passed.
    pub passed: bool,
    /// The champion's version.
    pub champion: String,
    /// Leads that both scored.
    pub rows: u64,
    /// Of them converted.
    pub positives: u64,
    /// In the order they were made.
    pub checks: Vec<GateCheck>,
    /// What else is to be known of the leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holdout: Option<Holdout>,
}

/// The leads that a verdict rests on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holdout {
    /// SHA-256 in hex over all newest leads that were at hand, whichever of their columns were used.
    pub digest: String,
    /// Leads among those compared on that the champion may have been fitted or calibrated on; `None` where that cannot be
    /// told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<u64>,
    /// Versions that were compared on these very leads, this one among them.
    pub comparisons: u64,
    /// What a person should know of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// One check of the gate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateCheck {
    /// Such as `quality`.
    pub name: String,
    /// Whether it stands in the way.
    pub passed: bool,
    /// What was found, in a sentence.
    pub said: String,
    /// What that rests on. Times are not among them: no two runs measure the same.
    pub numbers: BTreeMap<String, f64>,
}

impl GateVerdict {
    /// What stands in the way.
    pub fn failed(&self) -> impl Iterator<Item = &GateCheck> {
        self.checks.iter().filter(|check| !check.passed)
    }
}
