//! Deciles and grades: does more promise bring more conversions.
//!
//! A decile is made of whole bins of the sketch, each in the tenth that its middle lead falls into, so deciles differ a little in
//! size; the share of leads beside each says by how much. A version that gives many leads one score has fewer than ten.

use serde::Serialize;

use crate::{
    lead::Grade,
    leadlog::{Group, Tally},
    stats::{self, Bucket, Proportion},
};

const DECILES: u64 = 10;

/// One-sided 5% of the normal distribution: conversion falls from part to part beyond doubt.
const FALLS: f64 = -1.645;

/// Leads by score and by grade.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Parts {
    /// The days are matured; else only leads count whose outcome is known.
    pub matured: bool,
    /// Tenths of the leads by falling score.
    pub deciles: Vec<Part>,
    /// By grade, A first.
    pub grades: Vec<Part>,
    /// How often the first tenth converts, over how often all do.
    pub lift: f64,
    /// The share of all leads in the first three tenths.
    pub top_leads: f64,
    /// The share of all conversions in them.
    pub top_conversions: f64,
    /// z of the Cochran-Armitage trend over the tenths: far below 0 where conversion falls from tenth to tenth as it should.
    pub trend_z: f64,
    /// Neighbours of which the lower one converts more.
    pub inversions: Vec<Inversion>,
}

/// Some of the leads.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Part {
    /// `1` for the highest tenth, or the grade.
    pub name: String,
    /// The least score in it.
    pub from_score: Option<f64>,
    /// Leads in it.
    pub leads: u64,
    /// Their share of all.
    pub share: f64,
    /// Those of them that converted.
    pub conversions: u64,
    /// Conversions per lead.
    pub rate: f64,
    /// Its 95% interval (Wilson).
    pub wilson95: [f64; 2],
    /// What they brought.
    pub revenue: f64,
}

/// Two neighbours in the wrong order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Inversion {
    /// The part with the higher scores.
    pub higher: String,
    /// The one with the lower scores, which converts more.
    pub lower: String,
    /// Their intervals do not overlap, so chance is no excuse.
    pub clear: bool,
}

impl Parts {
    /// Of leads that have had their time. `None` where there are none.
    pub(super) fn settled(tally: &Tally) -> Option<Self> {
        Self::new(tally, true)
    }

    /// Of leads whose outcome is known. `None` where there are none.
    pub(super) fn known(tally: &Tally) -> Option<Self> {
        Self::new(tally, false)
    }

    fn new(tally: &Tally, matured: bool) -> Option<Self> {
        let bucket = |group: &Group| {
            let leads = if matured { group.scored } else { group.won.saturating_add(group.lost) };
            let outcome = Proportion { conversions: group.won, leads };
            Bucket { outcome, revenue: group.revenue }
        };
        let all = bucket(&tally.total());
        let tenths = tenths(tally.bins().map(|(from, group)| (from, bucket(&group))), all.outcome.leads);
        let deciles: Vec<Part> = tenths
            .iter()
            .map(|tenth| Part::new(tenth.name(), Some(tenth.from_score), &tenth.bucket, &all))
            .collect();
        let grades = [Grade::A, Grade::B, Grade::C, Grade::D];
        let grade = |grade: Grade| Part::new(grade.to_string(), None, &bucket(&tally.grade(grade)), &all);
        let buckets: Vec<Bucket> = tenths.iter().map(|tenth| tenth.bucket).collect();
        // The first part is the top even where one score is so common that it is larger.
        let top = tenths.iter().filter(|tenth| tenth.index < 3).count().max(1);
        (all.outcome.leads > 0).then(|| Self {
            matured,
            lift: deciles.first().map_or(f64::NAN, |first| first.rate) / all.outcome.rate(),
            top_leads: deciles.iter().take(top).map(|part| part.share).sum(),
            top_conversions: stats::gain(&buckets, top),
            trend_z: stats::cochran_armitage(&buckets),
            inversions: inversions(&deciles),
            grades: grades.into_iter().map(grade).filter(|part| part.leads > 0).collect(),
            deciles,
        })
    }

    /// What is wrong with the order of the deciles. Too few leads to see an order in are no fault of a model.
    pub(super) fn warning(&self) -> Option<String> {
        if let Some(Inversion { higher, lower, .. }) = self.inversions.iter().find(|pair| pair.clear) {
            return Some(format!(
                "The scores are out of order: decile {lower} converts more often than decile {higher}, and not by chance."
            ));
        }
        let conversions: u64 = self.deciles.iter().map(|part| part.conversions).fold(0, u64::saturating_add);
        let is_flat = self.trend_z.is_nan() || self.trend_z > FALLS;
        (is_flat && conversions >= 20)
            .then(|| "Higher scores do not convert more often than lower ones.".to_owned())
    }
}

/// Whole bins, in the tenth of the leads that their middle falls into.
struct Tenth {
    index: u64,
    from_score: f64,
    bucket: Bucket,
}

impl Tenth {
    fn name(&self) -> String {
        (self.index + 1).to_string()
    }
}

fn tenths(bins: impl Iterator<Item = (f64, Bucket)>, leads: u64) -> Vec<Tenth> {
    let (mut tenths, mut seen): (Vec<Tenth>, u64) = (Vec::new(), 0);
    for (from_score, bucket) in bins.filter(|(_, bucket)| bucket.outcome.leads > 0) {
        let middle = u128::from(seen) * 2 + u128::from(bucket.outcome.leads);
        let index = (middle * u128::from(DECILES) / (u128::from(leads) * 2).max(1)) as u64;
        seen = seen.saturating_add(bucket.outcome.leads);
        match tenths.last_mut().filter(|tenth| tenth.index == index) {
            Some(tenth) => {
                tenth.from_score = from_score;
                tenth.bucket.revenue += bucket.revenue;
                tenth.bucket.outcome.leads += bucket.outcome.leads;
                tenth.bucket.outcome.conversions += bucket.outcome.conversions;
            }
            None => tenths.push(Tenth { index, from_score, bucket }),
        }
    }
    tenths
}

impl Part {
    fn new(name: String, from_score: Option<f64>, bucket: &Bucket, all: &Bucket) -> Self {
        let Bucket { outcome, revenue } = *bucket;
        Self {
            name,
            from_score,
            leads: outcome.leads,
            share: outcome.leads as f64 / all.outcome.leads as f64,
            conversions: outcome.conversions,
            rate: outcome.rate(),
            wilson95: outcome.wilson(),
            revenue,
        }
    }
}

fn inversions(parts: &[Part]) -> Vec<Inversion> {
    let pairs = parts.iter().zip(parts.iter().skip(1)).filter(|(higher, lower)| lower.rate > higher.rate);
    let inversion = |(higher, lower): (&Part, &Part)| {
        let ([_, most], [least, _]) = (higher.wilson95, lower.wilson95);
        Inversion { higher: higher.name.clone(), lower: lower.name.clone(), clear: least > most }
    };
    pairs.map(inversion).collect()
}
