//! Buckets by score: does more promise bring more conversions and more money.

use std::ops::Range;

use super::{
    proportions::Proportion,
    ranking::{falling, split},
};

/// Leads with neighbouring scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// Conversions out of leads; its Wilson interval says how sure the rate is.
    pub outcome: Proportion,
    /// What the conversions brought, in the currency given.
    pub revenue: f64,
}

/// The leads by falling score, earlier first at equal scores, in `parts` whose sizes differ by one at most: the first bucket
/// holds the highest scores. What lacks an outcome or a revenue has none.
pub fn buckets(scores: &[f64], converted: &[bool], revenue: &[f64], parts: usize) -> Vec<Bucket> {
    let order = falling(scores);
    let bucket = |range: Range<usize>| {
        let rows = order.get(range).unwrap_or_default();
        let conversions = rows.iter().filter(|row| converted.get(**row) == Some(&true)).count() as u64;
        Bucket {
            outcome: Proportion { conversions, leads: rows.len() as u64 },
            revenue: rows.iter().filter_map(|row| revenue.get(*row)).sum(),
        }
    };
    split(order.len(), parts).map(bucket).collect()
}

/// The share of all conversions that the first `top` buckets hold, 0..=1. NaN when nothing converts.
pub fn gain(buckets: &[Bucket], top: usize) -> f64 {
    let conversions = |buckets: &[Bucket]| {
        buckets.iter().map(|bucket| bucket.outcome.conversions).fold(0, u64::saturating_add) as f64
    };
    conversions(buckets.get(..top).unwrap_or(buckets)) / conversions(buckets)
}

/// z of the Cochran-Armitage trend (1955) of conversion over buckets, far below 0 where it falls from bucket to bucket as it
/// should. NaN where nothing or everything converts, and with fewer than two filled buckets.
pub fn cochran_armitage(buckets: &[Bucket]) -> f64 {
    let rows = || {
        let outcomes = buckets.iter().map(|bucket| bucket.outcome).enumerate();
        outcomes.map(|(i, outcome)| (i as f64, outcome.conversions as f64, outcome.leads as f64))
    };
    let leads: f64 = rows().map(|(_, _, n)| n).sum();
    let rate = rows().map(|(_, k, _)| k).sum::<f64>() / leads;
    let trend: f64 = rows().map(|(i, k, n)| i * (k - n * rate)).sum();
    let (first, second) = rows().fold((0.0, 0.0), |(a, b), (i, _, n)| (a + n * i, b + n * i * i));
    let variance = rate * (1.0 - rate) * (second - first * first / leads);
    if variance > 0.0 { trend / variance.sqrt() } else { f64::NAN }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        goldens,
        stats::{
            check::{close, labels, numbers},
            lift,
        },
    };

    #[test]
    fn agrees_with_the_golden() {
        let Some(golden) = goldens::json("goldens/mlops/buckets.json") else { return };
        let (inputs, expected) = (&golden["inputs"], &golden["expected"]);
        let (scores, converted) = (numbers(&inputs["score"]), labels(&inputs["converted"]));
        let revenue = numbers(&inputs["revenue"]);
        let buckets = buckets(&scores, &converted, &revenue, 10);
        for (bucket, row) in buckets.iter().zip(expected["deciles"].as_array().unwrap()) {
            let Proportion { conversions, leads } = bucket.outcome;
            assert_eq!((Some(leads), Some(conversions)), (row[1].as_u64(), row[2].as_u64()));
            close(bucket.revenue, &row[3]);
            let [low, high] = bucket.outcome.wilson();
            close(low, &row[4]);
            close(high, &row[5]);
        }
        close(lift(&scores, &converted, 10).unwrap(), &expected["lift_decile1"]);
        close(gain(&buckets, 3), &expected["gain_top_30pct"]);
        close(cochran_armitage(&buckets), &expected["cochran_armitage_z"]);
        let total: f64 = buckets.iter().map(|bucket| bucket.revenue).sum();
        close(total / scores.len() as f64, &expected["revenue_per_lead"]);
    }

    #[test]
    fn empty_and_one_sided_tables_have_no_trend() {
        for table in [buckets(&[], &[], &[], 10), buckets(&[0.1, 0.9], &[true, true], &[], 2), Vec::new()] {
            assert!(cochran_armitage(&table).is_nan(), "{table:?}");
        }
        assert!(gain(&buckets(&[0.5], &[false], &[1.0], 1), 1).is_nan());
        assert_eq!(gain(&buckets(&[0.1, 0.9], &[false, true], &[], 2), 9), 1.0);
        assert!(buckets(&[0.5], &[true], &[1.0], 0).is_empty());
        assert_eq!(
            buckets(&[0.5, f64::NAN], &[true], &[], 1)[0].outcome,
            Proportion { conversions: 1, leads: 2 }
        );
    }
}
