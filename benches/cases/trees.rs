//! Boosted trees: the made-up model, one lead after another and all at once.
#![expect(clippy::indexing_slicing, reason = "indices are made here")]

use std::hint::black_box;

use leadwire::score::trees::{TreeScratch, Trees};

use super::{Case, forest};

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
    vec![single, batch]
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
