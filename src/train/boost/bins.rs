//! Values become bins: 0 is missing, the others rise with the number, or stand for a word each.

use std::cmp::Reverse;

use crate::{
    score::{Encoding, Schema},
    stats,
};

/// Bins beside the one for missing values.
const MOST: usize = 254;

/// Rows that a bin of numbers holds at the least, where there are more numbers than bins.
const LEAST: usize = 3;

/// Rows of one table as bins.
#[derive(Clone, Debug)]
pub(in super::super) struct Binned {
    pub(super) rows: usize,
    pub(super) columns: Vec<Column>,
}

/// One feature of every row.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) bins: Vec<u8>,
    pub(super) form: Form,
}

/// What bins stand for.
#[derive(Clone, Debug)]
pub(super) enum Form {
    /// A number x lies in the first bin whose bound it does not exceed; the last bin has none.
    Numbers {
        /// Bounds between bins 1, 2, ..., rising.
        bounds: Vec<f64>,
        /// Least and greatest number seen; `None` where there was none.
        range: Option<(f64, f64)>,
    },
    /// Bin i + 1 is the word at place `codes[i]` of the vocabulary.
    Words {
        codes: Vec<u32>,
        /// The whole vocabulary.
        vocabulary: Vec<String>,
    },
}

impl Binned {
    /// Bins of rows as [`crate::score::Encoder::encode_plain`] writes them, one after another.
    pub(in super::super) fn new(schema: &Schema, rows: &[f64]) -> Self {
        let width = schema.features.len();
        let columns = schema.features.iter().enumerate().map(|(i, feature)| {
            let values = || rows.iter().skip(i).step_by(width.max(1)).copied();
            let form = match &feature.encoding {
                Encoding::Category { vocabulary } => words(values(), vocabulary),
                _ => numbers(values()),
            };
            Column { name: feature.name.clone(), bins: values().map(|x| form.bin(x)).collect(), form }
        });
        Self { rows: rows.len() / width.max(1), columns: columns.collect() }
    }

    /// The bins of other rows of the same schema.
    pub(in super::super) fn alike(&self, rows: &[f64]) -> Self {
        let width = self.columns.len().max(1);
        let columns = self.columns.iter().enumerate().map(|(i, column)| Column {
            bins: rows.iter().skip(i).step_by(width).map(|x| column.form.bin(*x)).collect(),
            ..column.clone()
        });
        Self { rows: rows.len() / width, columns: columns.collect() }
    }

    /// The bin of a row's feature.
    pub(super) fn bin(&self, feature: usize, row: usize) -> u8 {
        self.columns.get(feature).and_then(|column| column.bins.get(row)).copied().unwrap_or_default()
    }
}

impl Column {
    /// One more than the last bin.
    pub(super) fn count(&self) -> usize {
        match &self.form {
            Form::Numbers { bounds, range } => bounds.len() + 1 + usize::from(range.is_some()),
            Form::Words { codes, .. } => codes.len() + 1,
        }
    }
}

impl Form {
    fn bin(&self, x: f64) -> u8 {
        let bin = match self {
            _ if x.is_nan() => 0,
            Form::Numbers { bounds, .. } => bounds.partition_point(|bound| *bound < x) + 1,
            // Few words, and only once for each row.
            Form::Words { codes, .. } => {
                codes.iter().position(|code| f64::from(*code) == x).map_or(0, |i| i + 1)
            }
        };
        // There are no more than 255.
        u8::try_from(bin).unwrap_or(u8::MAX)
    }
}

/// Words by how often they occur; those beyond the last bin are as if missing, as unseen ones will be.
fn words(values: impl Iterator<Item = f64>, vocabulary: &[String]) -> Form {
    let mut counts: Vec<(usize, u32)> = (0..vocabulary.len()).map(|code| (0, code as u32)).collect();
    for value in values.filter(|value| !value.is_nan()) {
        if let Some((count, _)) = counts.get_mut(value as usize) {
            *count += 1;
        }
    }
    counts.sort_by_key(|(count, code)| (Reverse(*count), *code));
    counts.truncate(MOST);
    let codes = counts.into_iter().filter(|(count, _)| *count > 0).map(|(_, code)| code).collect();
    Form::Words { codes, vocabulary: vocabulary.to_vec() }
}

/// A bin for each number where there are few, bins of about equally many rows where there are many.
fn numbers(values: impl Iterator<Item = f64>) -> Form {
    let sorted = stats::sorted(values.filter(|value| !value.is_nan()).collect());
    let range = sorted.first().copied().zip(sorted.last().copied());
    let distinct: Vec<(f64, usize)> =
        sorted.chunk_by(|a, b| a == b).filter_map(|same| Some((*same.first()?, same.len()))).collect();
    let few = distinct.len() <= MOST;
    let (mut bounds, mut left, mut held) = (Vec::new(), sorted.len(), 0);
    for pair in distinct.windows(2) {
        let [(low, count), (high, _)] = pair else { continue };
        held += count;
        let room = MOST.saturating_sub(bounds.len());
        // What is left, spread evenly over the bins that are left.
        let full = few || (held >= LEAST && held * room >= left && room > 1);
        if full {
            bounds.push(between(*low, *high));
            left -= held;
            held = 0;
        }
    }
    Form::Numbers { bounds, range }
}

/// A number that is not below `low` and below `high`, halfway where that can be.
fn between(low: f64, high: f64) -> f64 {
    let middle = low + (high - low) / 2.0;
    if middle.is_finite() && middle < high { middle } else { low }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::FeatureSpec;

    fn schema(encodings: Vec<Encoding>) -> Schema {
        let spec = |(i, encoding)| FeatureSpec::new(format!("f{i}"), false, encoding);
        Schema { features: encodings.into_iter().enumerate().map(spec).collect() }
    }

    const NUMBER: Encoding = Encoding::Number { median: 0.0, mean: 0.0, sd: 1.0 };

    #[test]
    fn few_numbers_have_a_bin_each_and_missing_ones_the_first() {
        let rows = [3.0, f64::NAN, 1.0, 3.0, 2.0];
        let binned = Binned::new(&schema(vec![NUMBER]), &rows);
        assert_eq!(binned.columns[0].bins, [3, 0, 1, 3, 2]);
        assert_eq!(binned.columns[0].count(), 4);
        let other = binned.alike(&[-9.0, 1.5, 1.6, 99.0, f64::NAN]);
        assert_eq!(other.columns[0].bins, [1, 1, 2, 3, 0]);
        let nothing = Binned::new(&schema(vec![NUMBER]), &[f64::NAN]);
        assert_eq!((nothing.columns[0].count(), nothing.alike(&[1.0]).columns[0].bins[0]), (1, 1));
    }

    #[test]
    fn many_numbers_share_bins_evenly() {
        let rows: Vec<f64> = (0..100_000).map(f64::from).collect();
        let binned = Binned::new(&schema(vec![NUMBER]), &rows);
        let column = &binned.columns[0];
        assert_eq!((column.count(), column.bins[0], column.bins[99_999]), (255, 1, 254));
        let mut sizes = [0; 256];
        column.bins.iter().for_each(|bin| sizes[usize::from(*bin)] += 1);
        assert!(sizes[1..255].iter().all(|size| (390..=400).contains(size)), "{sizes:?}");
        // One number that most rows have does not take the bins of the others.
        let heavy: Vec<f64> = (0..2_000).map(|i| f64::from(if i < 1_000 { 7 } else { i })).collect();
        let column = &Binned::new(&schema(vec![NUMBER]), &heavy).columns[0];
        assert!(column.count() > 200, "{}", column.count());
    }

    #[test]
    fn rare_words_beyond_the_last_bin_are_as_if_missing() {
        let vocabulary: Vec<String> = (0..300).map(|i| format!("w{i}")).collect();
        let rows: Vec<f64> =
            (0..300).flat_map(|i| std::iter::repeat_n(f64::from(i), 300 - i as usize)).collect();
        let column = &Binned::new(&schema(vec![Encoding::Category { vocabulary }]), &rows).columns[0];
        assert_eq!((column.bins[0], column.count()), (1, 255));
        assert_eq!(column.bins.last(), Some(&0));
    }

    #[test]
    fn a_bound_lies_between_its_numbers() {
        for (low, high) in [(1.0, 2.0), (0.0, 5e-324), (f64::MIN, f64::MAX), (1.0, 1.0 + f64::EPSILON)] {
            let bound = between(low, high);
            assert!(low <= bound && bound < high, "{low} {bound} {high}");
        }
    }
}
