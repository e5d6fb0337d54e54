//! Columns become a schema, a baseline and a background: what the encoder, drift and reasons need to know of them.

use std::collections::BTreeMap;

use super::dataset::{Cells, Column, Dataset};
use crate::{
    registry::{Background, Histogram},
    score::{Encoding, FeatureSpec, Schema},
    stats,
};

/// Parts of a histogram. Drift is judged on ten (20 would warn of noise in nine windows of ten).
const BINS: usize = 10;

/// The schema of the training columns, numbers piecewise in at most so many `parts` if any.
pub(super) fn schema(dataset: &Dataset, parts: usize) -> Schema {
    let feature = |column: &Column| {
        FeatureSpec::new(&column.name, column.is_complete(), encoding(&column.cells, parts))
    };
    Schema { features: dataset.columns.iter().map(feature).collect() }
}

/// What the column looked like in training.
pub(super) fn histogram(column: &Column) -> Histogram {
    match &column.cells {
        Cells::Numbers(numbers) => {
            let known: Vec<f64> = numbers.iter().flatten().copied().collect();
            let missing = (numbers.len() - known.len()) as u64;
            number_histogram(known, missing)
        }
        Cells::Words(words) => category_histogram(words.iter().map(|word| word.as_ref()), column.unseen),
        Cells::Booleans(all) => category_histogram(all.iter().copied(), column.unseen),
    }
}

fn category_histogram<T: ToString>(
    cells: impl Iterator<Item = Option<T>> + Clone,
    unseen: usize,
) -> Histogram {
    let gaps = cells.clone().filter(Option::is_none).count();
    let [missing, unseen] = [gaps.saturating_sub(unseen), unseen].map(|rows| rows as u64);
    Histogram::Category { counts: counts(cells), missing, unseen }
}

/// A histogram over the values' own quantiles.
pub(super) fn number_histogram(values: Vec<f64>, missing: u64) -> Histogram {
    let values = stats::sorted(values);
    let edges = stats::edges(&values, BINS);
    Histogram::Number { counts: stats::counts(&values, &edges), edges, missing }
}

/// The typical lead's value.
pub(super) fn background(cells: &Cells) -> Background {
    match cells {
        Cells::Numbers(numbers) => Background::Number { median: median(numbers) },
        Cells::Words(words) => shares(counts(words.iter().map(|word| word.as_ref()))),
        Cells::Booleans(all) => shares(counts(all.iter().copied())),
    }
}

fn shares(counts: BTreeMap<String, u64>) -> Background {
    let known: u64 = counts.values().sum();
    let share = |(word, count)| (word, count as f64 / known as f64);
    Background::Category { shares: counts.into_iter().map(share).collect() }
}

/// What a column's values become.
pub(super) fn encoding(cells: &Cells, parts: usize) -> Encoding {
    match cells {
        Cells::Numbers(numbers) => {
            let median = median(numbers);
            let filled: Vec<f64> = numbers.iter().map(|number| number.unwrap_or(median)).collect();
            let rows = filled.len().max(1) as f64;
            let mean = filled.iter().sum::<f64>() / rows;
            let variance = filled.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / rows;
            // A constant's spread is the rounding error of its mean; dividing by that would blow up every other value.
            let sd = variance.sqrt();
            let sd = if sd <= mean.abs() * 1e-9 { 0.0 } else { sd };
            match edges(numbers, parts) {
                edges if edges.len() >= 2 => Encoding::Piecewise { median, mean, edges },
                _ => Encoding::Number { median, mean, sd },
            }
        }
        Cells::Words(words) => {
            let counts = counts(words.iter().map(|word| word.as_ref()));
            Encoding::Category { vocabulary: counts.into_keys().collect() }
        }
        Cells::Booleans(all) => {
            let yes = all.iter().flatten().filter(|yes| **yes).count();
            Encoding::Boolean { imputation: yes * 2 > all.iter().flatten().count() }
        }
    }
}

/// Every value where there are few, quantiles where there are many.
fn edges(numbers: &[Option<f64>], parts: usize) -> Vec<f64> {
    if parts == 0 {
        return Vec::new();
    }
    let sorted = stats::sorted(numbers.iter().flatten().copied().collect());
    let mut values = sorted.clone();
    values.dedup();
    if values.len() <= parts { values } else { stats::edges(&sorted, parts) }
}

fn median(numbers: &[Option<f64>]) -> f64 {
    stats::quantile(&stats::sorted(numbers.iter().flatten().copied().collect()), 0.5).unwrap_or_default()
}

fn counts<T: ToString>(words: impl Iterator<Item = Option<T>>) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for word in words.flatten() {
        *counts.entry(word.to_string()).or_default() += 1;
    }
    counts
}
