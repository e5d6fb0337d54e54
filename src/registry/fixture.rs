//! A small version for tests: `budget` (number, required) and `channel` (web or phone).

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{
    Background, Baseline, Golden, Histogram, Lineage, MANIFEST, Manifest, Metrics, Plain, WEIGHTS, sha256,
};
use crate::{
    lead::Cutoffs,
    score::{Calibration, Encoding, FeatureSpec, Kind, Schema},
};

/// Writes `root/<model>/<version>` and returns its folder. Versions of different weights score differently.
pub(crate) fn write(root: &Path, model: &str, version: &str, weight: f32) -> PathBuf {
    let folder = root.join(model).join(version);
    super::write(&folder, &manifest(model, version, weight), &[(WEIGHTS, &weights(weight))]).unwrap();
    assert!(folder.join(MANIFEST).exists());
    folder
}

/// A linear network: five columns and the bias, all of one weight.
pub(crate) fn weights(weight: f32) -> Vec<u8> {
    crate::score::fixture::weights(&[("linear", 1, 5)], weight)
}

/// The manifest that fits the weights.
pub(crate) fn manifest(model: &str, version: &str, weight: f32) -> Manifest {
    let map = |pairs: [(&str, u64); 2]| pairs.map(|(word, count)| (word.to_owned(), count)).into();
    let number =
        |edges: [f64; 3]| Histogram::Number { edges: edges.into(), counts: vec![50, 50], missing: 0 };
    let channel = Histogram::Category { counts: map([("web", 60), ("phone", 40)]), missing: 0 };
    let shares = [("web".to_owned(), 0.6), ("phone".to_owned(), 0.4)].into();
    Manifest {
        format: 1,
        model: model.into(),
        version: version.into(),
        kind: Kind::Linear,
        objective: None,
        files: [(WEIGHTS.to_owned(), sha256(&weights(weight)))].into(),
        schema: schema(),
        calibration: Calibration::None,
        cutoffs: Cutoffs { a: 0.75, b: 0.5, c: 0.25 },
        baseline: Baseline {
            rows: 100,
            features: [("budget".into(), number([0.0, 10.0, 20.0])), ("channel".into(), channel)].into(),
            score: number([0.0, 0.5, 1.0]),
        },
        background: [
            ("budget".into(), Background::Number { median: 10.0 }),
            ("channel".into(), Background::Category { shares }),
        ]
        .into(),
        golden: (0..8).map(|i| golden(weight, f64::from(i))).collect(),
        judged_on: None,
        metrics: Some(Metrics { auc: 0.75, log_loss: 0.5, brier: 0.25, rows: 100, positives: 50 }),
        segments: Vec::new(),
        gate: None,
        lineage: Lineage {
            imported: None,
            dataset: "leads.csv".into(),
            digest: sha256(b""),
            rows: 100,
            validation: None,
            seed: Some(7),
            commit: None,
            target: Some("won".into()),
            dropped: vec!["id".into()],
            source: None,
            snapshot: None,
            left_out: Vec::new(),
            program: None,
            search: None,
        },
    }
}

fn schema() -> Schema {
    let vocabulary = vec!["phone".into(), "web".into()];
    let number = Encoding::Number { median: 10.0, mean: 10.0, sd: 5.0 };
    let feature = |name: &str, required, encoding| FeatureSpec::new(name, required, encoding);
    Schema {
        features: vec![
            feature("budget", true, number),
            feature("channel", false, Encoding::Category { vocabulary }),
        ],
    }
}

/// The bias, the standardised budget and one channel column: three terms of one weight.
fn golden(weight: f32, budget: f64) -> Golden {
    let features = BTreeMap::from([
        ("budget".into(), Plain::Number(budget)),
        ("channel".into(), Plain::Text("web".into())),
    ]);
    let logit = f64::from(weight) * ((budget - 10.0) / 5.0 + 2.0);
    Golden { features, score: (1.0 / (1.0 + (-logit).exp())) as f32 }
}
