//! What a rollout asks for.

use super::text;
use crate::config::{
    findings::{Complaint, Findings, KeyPath},
    raw::{RawConversion, RawPaired, RawRollout, RawShadow, RawTraining},
    rollout::{Conversion, Paired, Rollout, Shadow, Training},
};

/// Canary steps, tests and waiting times.
pub(super) fn rollout(raw: &RawRollout, findings: &mut Findings) -> Option<Rollout> {
    let at = KeyPath::default().key("rollout");
    let steps = findings.take(&at.key("steps"), steps(&raw.steps));
    let shadow = shadow(&raw.shadow, &at.key("shadow"), findings);
    let benefit = conversion(&raw.benefit, &at.key("benefit"), findings);
    let harm = conversion(&raw.harm, &at.key("harm"), findings);
    let paired = paired(&raw.paired, &at.key("paired"), findings);
    let training = training(&raw.training, &at.key("training"), findings);
    let mut time = |key, text, range| findings.take(&at.key(key), text::duration(text, range));
    let interval = time("interval", &raw.interval, ("1s", "1h"));
    let dwell = time("dwell", &raw.dwell, ("1s", "90d"));
    let p99 = time("p99", &raw.p99, ("1us", "1s"));
    let horizon = time("horizon", &raw.horizon, ("1h", "730d"));
    let approval_expiry = time("approval_expiry", &raw.approval_expiry, ("1m", "90d"));
    let cooldown = time("cooldown", &raw.cooldown, ("0s", "30d"));
    let redigest = time("redigest", &raw.redigest, ("0s", "365d"));
    let standby = time("standby", &raw.standby, ("1h", "3650d"));
    let mut approvals = raw.approvals.clone();
    approvals.sort_unstable();
    approvals.dedup();
    Some(Rollout {
        act: raw.act,
        steps: steps?,
        interval: interval?,
        dwell: dwell?,
        samples: raw.samples.into(),
        window: raw.window.into(),
        p99: p99?,
        horizon: horizon?,
        approvals,
        four_eyes: raw.four_eyes,
        approval_expiry: approval_expiry?,
        cooldown: cooldown?,
        redigest: redigest?,
        standby: standby?,
        shadow: shadow?,
        benefit: benefit?,
        harm: harm?,
        paired: paired?,
        training: training?,
    })
}

/// Shares that rise to 100.
fn steps(raw: &[u32]) -> Result<Vec<u32>, Complaint> {
    match raw.is_sorted_by(|a, b| a < b) && raw.last() == Some(&100) {
        true => Ok(raw.to_vec()),
        false => Err("must rise and end with 100, such as [10, 50, 100]".into()),
    }
}

fn shadow(raw: &RawShadow, at: &KeyPath, findings: &mut Findings) -> Option<Shadow> {
    let min = findings.take(&at.key("min"), text::duration(&raw.min, ("0s", "365d")));
    let max = findings.take(&at.key("max"), text::duration(&raw.max, ("1s", "365d")));
    if let (Some(min), Some(max)) = (min, max)
        && max <= min
    {
        findings.wrong(&at.key("max"), "must be more than min");
    }
    let (share, matured, mirrored) = (raw.share, raw.matured.into(), raw.mirrored.into());
    Some(Shadow { share, min: min?, max: max?, matured, mirrored })
}

fn conversion(raw: &RawConversion, at: &KeyPath, findings: &mut Findings) -> Option<Conversion> {
    let alpha = findings.take(&at.key("alpha"), alpha(raw.alpha))?;
    Some(Conversion { alpha, leads: raw.leads.into(), conversions: raw.conversions.into() })
}

fn paired(raw: &RawPaired, at: &KeyPath, findings: &mut Findings) -> Option<Paired> {
    let alpha = findings.take(&at.key("alpha"), alpha(raw.alpha))?;
    let (leads, promote, reject) = (raw.leads.into(), raw.promote.into(), raw.reject.into());
    Some(Paired { alpha, leads, promote, reject })
}

fn training(raw: &RawTraining, at: &KeyPath, findings: &mut Findings) -> Option<Training> {
    let mut take = |key, value| findings.take(&at.key(key), value);
    let (gain, alpha) = (take("gain", difference(raw.gain)), take("alpha", alpha(raw.alpha)));
    let (margin, ece) = (take("margin", difference(raw.margin)), take("ece", difference(raw.ece)));
    let segment = take("segment", difference(raw.segment));
    let slowdown = take("slowdown", times(raw.slowdown));
    Some(Training {
        gain: gain?,
        alpha: alpha?,
        margin: margin?,
        positives: raw.positives.into(),
        ece: ece?,
        segment: segment?,
        slowdown: slowdown?,
    })
}

/// A difference between two shares or areas.
fn difference(raw: f64) -> Result<f64, Complaint> {
    match (0.0..=0.5).contains(&raw) {
        true => Ok(raw),
        false => Err("must be from 0 to 0.5".into()),
    }
}

/// How many times as much something may be.
fn times(raw: f64) -> Result<f64, Complaint> {
    match (1.0..=100.0).contains(&raw) {
        true => Ok(raw),
        false => Err("must be from 1 to 100".into()),
    }
}

/// A chance of error that is one.
fn alpha(raw: f64) -> Result<f64, Complaint> {
    match raw > 0.0 && raw <= 0.2 {
        true => Ok(raw),
        false => Err("must be more than 0 and at most 0.2".into()),
    }
}
