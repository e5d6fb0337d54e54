//! Boosted trees: the made-up model, one lead after another and all at once.
#![expect(clippy::indexing_slicing, reason = "indices are made here")]

use std::hint::black_box;

use leadwire::{
    lead::{Cutoffs, Value},
    score::{
        Calibration, Encoding, FeatureSpec, Kind, Model, Schema, Scratch, Spec,
        trees::{TreeScratch, Trees},
    },
};

use super::{Case, forest};

/// Features of many values; they come first.
const NUMBERS: usize = 9;

pub fn cases() -> Vec<Case> {
    let single = Case::new("trees: 100 of 31 leaves over 19 features, a lead", 1, || {
        let (trees, mut scratch) = (model(), TreeScratch::default());
        let mut leads = InTurn { rows: forest::leads(), at: 0 };
        let mut out = [0.0];
        // What is reused is as large as it gets.
        trees.predict(leads.next(), &mut scratch, &mut out).expect("a row of the model's width");
        move || {
            trees.predict(leads.next(), &mut scratch, &mut out).expect("a row of the model's width");
            black_box(&out);
        }
    });
    let batch = Case::new("trees: the same, batch 2000", 2000, || {
        let (trees, mut scratch, rows) = (model(), TreeScratch::default(), forest::leads().concat());
        let mut out = vec![0.0; rows.len() / forest::FEATURES];
        trees.raw_batch(&rows, &mut scratch, &mut out).expect("rows of the model's width");
        move || {
            trees.raw_batch(&rows, &mut scratch, &mut out).expect("rows of the model's width");
            black_box(&out);
        }
    });
    let served = Case::new("score: trees, 100 of 31 leaves over 19 features, a lead", 1, || {
        let ((model, _), mut scratch, leads) = (served(), Scratch::default(), leads());
        let mut at = 0;
        move || {
            at = (at + 1) % leads.len();
            let lead = &leads[at];
            black_box(model.score(|i| &lead[i], &mut scratch).expect("a finite score"));
        }
    });
    vec![single, batch, served]
}

/// The same as a version serves it, and its file: the features of a few values are words.
pub fn served() -> (Model, Vec<u8>) {
    let encoding = |i| match i {
        ..NUMBERS => Encoding::Number { median: 25.0, mean: 25.0, sd: 10.0 },
        _ => Encoding::Category { vocabulary: (0..8).map(|word| word.to_string()).collect() },
    };
    let feature = |i| FeatureSpec::new(format!("f{i}"), false, encoding(i));
    let schema = Schema { features: (0..forest::FEATURES).map(feature).collect() };
    let (calibration, cutoffs) =
        (Calibration::Platt { a: 1.1, b: 0.1 }, Cutoffs { a: 0.75, b: 0.5, c: 0.25 });
    let (spec, file) = (
        Spec { kind: Kind::Lightgbm, objective: None, schema, calibration, cutoffs },
        forest::text().into_bytes(),
    );
    (Model::new(spec, &file).expect("trees that fit their schema"), file)
}

/// The leads as such a version reads them.
pub fn leads() -> Vec<Vec<Value<'static>>> {
    forest::leads().iter().map(|row| lead(row)).collect()
}

fn lead(row: &[f64]) -> Vec<Value<'static>> {
    let value = |(i, x): (usize, &f64)| match i {
        _ if x.is_nan() => Value::Missing,
        ..NUMBERS => Value::Number(*x),
        _ => Value::Text(x.to_string().into()),
    };
    row.iter().enumerate().map(value).collect()
}

fn model() -> Trees {
    Trees::read(forest::text().as_bytes()).expect("a model")
}

/// Rows in turn, so that no predictor learns one by heart.
struct InTurn {
    rows: Vec<Vec<f64>>,
    at: usize,
}

impl InTurn {
    fn next(&mut self) -> &[f64] {
        self.at = (self.at + 1) % self.rows.len();
        &self.rows[self.at]
    }
}
