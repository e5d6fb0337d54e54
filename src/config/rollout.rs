//! How versions come to serve, and how they leave.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a rollout asks for before it moves, and before it moves back.
#[derive(Clone, Debug, PartialEq)]
pub struct Rollout {
    /// Whether Leadwire carries out what it decides, or only says it.
    pub act: bool,
    /// Shares of the leads, in percent, that the challenger answers in turn: at least two, rising, the last one 100.
    pub steps: Vec<u32>,
    /// Time between two looks at a canary.
    pub interval: Duration,
    /// Least time that a step lasts.
    pub dwell: Duration,
    /// Least leads that the challenger scores in a step; at least 500.
    pub samples: u64,
    /// Fewer leads than these in the challenger's arm are no window.
    pub window: u64,
    /// The 99th percentile of scoring that is fast enough, whatever the champion takes.
    pub p99: Duration,
    /// How old a score is before a lead that has not converted counts as lost.
    pub horizon: Duration,
    /// Transitions that a person approves.
    pub approvals: Vec<Stage>,
    /// Whether whoever trained a version may not approve it.
    pub four_eyes: bool,
    /// How long an approval holds.
    pub approval_expiry: Duration,
    /// Least time between two automatic rollbacks of a model.
    pub cooldown: Duration,
    /// How long a version that was rolled back may not canary again, under whatever name.
    pub redigest: Duration,
    /// How long a former champion stays at hand.
    pub standby: Duration,
    /// What a shadow must show.
    pub shadow: Shadow,
    /// When the challenger converts more.
    pub benefit: Conversion,
    /// When it converts less.
    pub harm: Conversion,
    /// When one version is better than another on the same leads.
    pub paired: Paired,
    /// What a retrained version must show before it is tried.
    pub training: Training,
}

/// A transition that may need an approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// From shadow to the first step of a canary.
    Canary,
    /// From one step to the next.
    Ramp,
    /// From the last step to serving all.
    Production,
}

impl Stage {
    /// `"canary"`, `"ramp"` or `"production"`.
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Canary => "canary",
            Stage::Ramp => "ramp",
            Stage::Production => "production",
        }
    }

    /// Reads what [`Stage::as_str`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        [Stage::Canary, Stage::Ramp, Stage::Production].into_iter().find(|stage| stage.as_str() == text)
    }
}

/// What a shadow must show before it may canary.
#[derive(Clone, Debug, PartialEq)]
pub struct Shadow {
    /// Share of the leads that it scores, in percent, 1..=100.
    pub share: u32,
    /// Least time.
    pub min: Duration,
    /// When it is told that the verdict is still open; more than `min`.
    pub max: Duration,
    /// Leads with a label that are enough...
    pub matured: u64,
    /// ...or else leads of any kind.
    pub mirrored: u64,
}

/// When a difference in conversion counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Conversion {
    /// Chance of a false alarm, over all looks together; above 0 and at most 0.2.
    pub alpha: f64,
    /// Leads, of both arms, at which the test is sharpest.
    pub leads: u64,
    /// Least conversions in either arm.
    pub conversions: u64,
}

/// When a difference on the same leads counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Paired {
    /// Chance of a false alarm, over all looks together; above 0 and at most 0.2.
    pub alpha: f64,
    /// Leads at which the test is sharpest.
    pub leads: u64,
    /// Least conversions for "better".
    pub promote: u64,
    /// Least conversions for "worse".
    pub reject: u64,
}

/// What a retrained version must show, on leads that neither it nor the champion was trained on, before it is tried.
/// Differences from the champion are 0..=0.5.
#[derive(Clone, Debug, PartialEq)]
pub struct Training {
    /// By how much its AUC must be higher.
    pub gain: f64,
    /// How often chance may pass one that is no better; above 0 and at most 0.2.
    pub alpha: f64,
    /// Where it must only not be worse: by how much its AUC may be lower at the lower end of the 95% interval.
    pub margin: f64,
    /// Least conversions among those leads.
    pub positives: u64,
    /// By how much its calibration error may be higher.
    pub ece: f64,
    /// By how much its AUC may be lower for leads of one kind.
    pub segment: f64,
    /// How many times the champion's time scoring a lead may take at p99, 1..=100; up to [`Rollout::p99`] it may anyway.
    pub slowdown: f64,
}

impl Default for Rollout {
    fn default() -> Self {
        let hour = Duration::from_secs(3600);
        Self {
            act: true,
            steps: vec![10, 50, 100],
            interval: Duration::from_secs(60),
            dwell: 24 * hour,
            samples: 2000,
            window: 100,
            p99: Duration::from_millis(1),
            horizon: 30 * 24 * hour,
            approvals: vec![Stage::Canary],
            four_eyes: true,
            approval_expiry: 72 * hour,
            cooldown: hour,
            redigest: 24 * hour,
            standby: 30 * 24 * hour,
            shadow: Shadow {
                share: 100,
                min: 7 * 24 * hour,
                max: 14 * 24 * hour,
                matured: 1000,
                mirrored: 20_000,
            },
            benefit: Conversion { alpha: 0.05, leads: 5000, conversions: 50 },
            harm: Conversion { alpha: 0.01, leads: 5000, conversions: 20 },
            paired: Paired { alpha: 0.05, leads: 2000, promote: 50, reject: 20 },
            training: Training {
                gain: 0.02,
                alpha: 0.05,
                margin: 0.005,
                positives: 150,
                ece: 0.01,
                segment: 0.03,
                slowdown: 1.2,
            },
        }
    }
}
