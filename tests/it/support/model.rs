//! A model of two features that every CRM's leads can have.

use std::path::Path;

use leadwire::{
    lead::Cutoffs,
    registry::{Background, Baseline, Golden, Histogram, Lineage, Manifest, Plain, WEIGHTS, sha256, write},
    score::{Calibration, Encoding, FeatureSpec, Kind, Schema},
};
use safetensors::{Dtype, tensor::TensorView};

/// Writes `lead/1`: `person` (a word) is required, `amount` (a number) is not, and the score is the logistic function of
/// `amount / 10,000 - 1`, so that 10,000 scores 0.5 and 20,007 scores 0.7312.
pub fn write_small_model(models: &Path) {
    // Columns: the amount, whether it is missing, one word, every other word.
    let weights = weights(&[1.0, 0.0, 0.0, 0.0]);
    let person = Histogram::Category { counts: [("K".to_owned(), 10)].into(), missing: 0 };
    let number = |edges: [f64; 3]| Histogram::Number { edges: edges.into(), counts: vec![5, 5], missing: 0 };
    let manifest = Manifest {
        format: 1,
        model: "lead".into(),
        version: "1".into(),
        kind: Kind::Linear,
        objective: None,
        files: [(WEIGHTS.to_owned(), sha256(&weights))].into(),
        schema: schema(),
        calibration: Calibration::None,
        cutoffs: Cutoffs { a: 0.75, b: 0.5, c: 0.25 },
        baseline: Baseline {
            rows: 10,
            features: [("person".into(), person), ("amount".into(), number([0.0, 1e4, 2e4]))].into(),
            score: number([0.0, 0.5, 1.0]),
        },
        background: [
            ("person".into(), Background::Category { shares: [("K".to_owned(), 1.0)].into() }),
            ("amount".into(), Background::Number { median: 1e4 }),
        ]
        .into(),
        golden: (0..8).map(|i| golden(f64::from(i) * 5_000.0)).collect(),
        metrics: None,
        judged_on: None,
        segments: Vec::new(),
        gate: None,
        lineage: Lineage {
            imported: None,
            dataset: "leads.csv".into(),
            digest: sha256(b""),
            rows: 10,
            validation: None,
            seed: None,
            commit: None,
            target: None,
            dropped: Vec::new(),
            source: None,
            snapshot: None,
            left_out: Vec::new(),
            program: None,
            search: None,
        },
    };
    write(&models.join("lead/1"), &manifest, &[(WEIGHTS, &weights)]).unwrap();
}

fn schema() -> Schema {
    let amount = Encoding::Number { median: 1e4, mean: 1e4, sd: 1e4 };
    Schema {
        features: vec![
            FeatureSpec::new("person", true, Encoding::Category { vocabulary: vec!["K".into()] }),
            FeatureSpec::new("amount", false, amount),
        ],
    }
}

fn golden(amount: f64) -> Golden {
    let features =
        [("person".into(), Plain::Text("K".into())), ("amount".into(), Plain::Number(amount))].into();
    Golden { features, score: (1.0 / (1.0 + (1.0 - amount / 1e4).exp())) as f32 }
}

fn weights(columns: &[f32]) -> Vec<u8> {
    let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let (weight, bias) = (bytes(columns), bytes(&[0.0]));
    let view = |shape: &[usize], data| TensorView::new(Dtype::F32, shape.into(), data).unwrap();
    let views = [("linear.weight", view(&[1, columns.len()], &weight)), ("linear.bias", view(&[1], &bias))];
    safetensors::serialize(views, None).unwrap()
}
