//! Trees that were written are read by the code that serves, to the bit, and learn what there is to learn.

use std::ops::ControlFlow;

use super::{Binned, Labelled, Recipe, fit, fit::Boosted, to_text};
use crate::{
    score::{
        Encoding, FeatureSpec, Schema,
        trees::{TreeScratch, Trees},
    },
    stats,
};

const RECIPE: Recipe = Recipe {
    rate: 0.1,
    leaves: 8,
    depth: 6,
    least_rows: 5,
    l2: 1.0,
    features: 1.0,
    rows: 1.0,
    trees: 30,
    patience: 30,
};

/// Numbers with gaps, a number that tells by being absent, words of which some never occur.
fn table(rows: u32) -> (Schema, Vec<f64>, Vec<bool>) {
    let number = Encoding::Number { median: 0.0, mean: 0.0, sd: 1.0 };
    let vocabulary: Vec<String> = (0..40).map(|i| format!("w \"{i}\"")).collect();
    let schema = Schema {
        features: vec![
            FeatureSpec::new("the number", false, number.clone()),
            FeatureSpec::new("gaps", false, number.clone()),
            FeatureSpec::new("words", false, Encoding::Category { vocabulary }),
            FeatureSpec::new("yes", false, Encoding::Boolean { imputation: false }),
            FeatureSpec::new("constant", false, number),
        ],
    };
    let (mut values, mut labels) = (Vec::new(), Vec::new());
    for i in 0..rows {
        let noise = |salt| noise(i, salt);
        let (x, word, yes) =
            (noise(1) * 10.0, (noise(2) * 37.0).floor(), f64::from(u8::from(noise(3) > 0.5)));
        let is_absent = noise(4) > 0.7;
        let gaps = if is_absent { f64::NAN } else { noise(5) };
        values.extend([x, gaps, if noise(6) > 0.95 { f64::NAN } else { word }, yes, 7.0]);
        let logit = (x - 5.0) / 2.0
            + if is_absent { 1.5 } else { -0.5 }
            + if word as u32 % 5 < 2 { 1.0 } else { -1.0 };
        labels.push(noise(7) < 1.0 / (1.0 + (-logit).exp()));
    }
    (schema, values, labels)
}

/// A number from 0 to 1 (the finaliser of splitmix64).
fn noise(i: u32, salt: u32) -> f64 {
    let mut z = (u64::from(i) << 8 | u64::from(salt)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

fn fitted(recipe: &Recipe, seed: u64) -> (Boosted, Binned, String) {
    let (schema, values, labels) = table(3_000);
    let split = 2_000;
    let rows = Binned::new(&schema, &values[..split * 5]);
    let valid = rows.alike(&values[split * 5..]);
    let train = Labelled { rows: &rows, labels: &labels[..split] };
    let valid = Labelled { rows: &valid, labels: &labels[split..] };
    let boosted = fit(recipe, train, valid, seed, &mut |_| ControlFlow::Continue(()));
    let text = to_text(&boosted, &rows);
    (boosted, rows, text)
}

#[test]
fn what_is_written_scores_as_what_was_fitted() {
    let (boosted, rows, text) = fitted(&RECIPE, 1);
    let trees = Trees::read(text.as_bytes()).unwrap();
    let (_, values, labels) = table(3_000);
    let others = rows.alike(&values);
    let (mut scratch, mut logits) = (TreeScratch::default(), Vec::new());
    for (row, plain) in values.chunks_exact(5).enumerate() {
        let mut raw = [0.0];
        trees.raw(plain, &mut scratch, &mut raw).unwrap();
        let expected: f64 = boosted.trees.iter().map(|tree| tree.value(&others, row)).sum();
        assert_eq!(raw[0].to_bits(), expected.to_bits(), "row {row}");
        logits.push(raw[0]);
    }
    let auc = stats::auc(&logits[2_000..], &labels[2_000..]).unwrap();
    assert!((auc - boosted.auc).abs() < 1e-12 && auc > 0.8, "{auc} {}", boosted.auc);
    for word in ["feature_names=the_number gaps", "categorical_feature: 2]", r#"[["w \"0\"","w \"1\""#] {
        assert!(text.contains(word), "{word}");
    }
    let size: usize = text
        .lines()
        .find_map(|line| line.strip_prefix("tree_sizes="))
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let start = text.find("Tree=0").unwrap();
    assert!(text[start + size..].starts_with("Tree=1\n"));
}

#[test]
fn missing_values_part_rows_though_no_bound_does() {
    let number = Encoding::Number { median: 0.0, mean: 0.0, sd: 1.0 };
    let schema = Schema { features: vec![FeatureSpec::new("a", false, number)] };
    let values: Vec<f64> = (0..400).map(|i| if i % 2 == 0 { f64::NAN } else { 3.0 }).collect();
    let labels: Vec<bool> = (0..400).map(|i| i % 2 == 0 && i % 10 != 0).collect();
    let rows = Binned::new(&schema, &values);
    let both = Labelled { rows: &rows, labels: &labels };
    let boosted = fit(&RECIPE, both, both, 0, &mut |_| ControlFlow::Continue(()));
    let trees = Trees::read(to_text(&boosted, &rows).as_bytes()).unwrap();
    let score = |x: f64| {
        let mut raw = [0.0];
        trees.raw(&[x], &mut TreeScratch::default(), &mut raw).unwrap();
        raw[0]
    };
    assert!(score(f64::NAN) > 0.0 && score(3.0) < -1.0, "{} {}", score(f64::NAN), score(3.0));
    assert_eq!(score(1e300).to_bits(), score(3.0).to_bits(), "a greater number is a number");
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let recipe = Recipe { features: 0.6, rows: 0.7, ..RECIPE };
    let text = |seed| fitted(&recipe, seed).2;
    assert!(text(3) == text(3));
    assert!(text(3) != text(4));
}

#[test]
fn a_round_may_be_the_last_and_the_best_is_kept() {
    let (schema, values, labels) = table(600);
    let rows = Binned::new(&schema, &values);
    let both = Labelled { rows: &rows, labels: &labels };
    let mut rounds = 0;
    let boosted = fit(&RECIPE, both, both, 0, &mut |round| {
        rounds = round.trees;
        if round.trees == 4 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!((rounds, boosted.rounds()), (4, 4), "trained and judged on the same rows it only gets better");
    // Labels that nothing tells: validation soon falls, and what came after its best is dropped.
    let noise: Vec<bool> = (0..600).map(|i| noise(i, 9) > 0.5).collect();
    let valid = Labelled { rows: &rows, labels: &noise };
    let impatient = Recipe { patience: 3, ..RECIPE };
    let boosted = fit(&impatient, both, valid, 0, &mut |_| ControlFlow::Continue(()));
    assert!(boosted.rounds() < 30);
}

#[test]
fn a_table_without_anything_to_learn_gives_its_share() {
    let number = Encoding::Number { median: 0.0, mean: 0.0, sd: 1.0 };
    let schema = Schema { features: vec![FeatureSpec::new("constant", false, number)] };
    let labels: Vec<bool> = (0..100).map(|i| i % 4 == 0).collect();
    let rows = Binned::new(&schema, &[1.0; 100]);
    let both = Labelled { rows: &rows, labels: &labels };
    let boosted = fit(&RECIPE, both, both, 0, &mut |_| ControlFlow::Continue(()));
    let trees = Trees::read(to_text(&boosted, &rows).as_bytes()).unwrap();
    let mut raw = [0.0];
    trees.raw(&[1.0], &mut TreeScratch::default(), &mut raw).unwrap();
    assert!((raw[0] - (0.25f64 / 0.75).ln()).abs() < 1e-9, "{}", raw[0]);
}
