//! The version the binary carries, so that the demo runs in any directory, and the one that replaces it.

use std::{fs, path::Path};

use super::DemoError;
use crate::{
    lead::{Cutoffs, Value},
    registry::{self, Golden, Histogram, MANIFEST, Manifest, Plain, WEIGHTS},
    score::{Calibration, Model, Scratch},
};

const FIRST: &[u8] = include_bytes!("../../models/lead/1/manifest.json");
const NETWORK: &[u8] = include_bytes!("../../models/lead/1/weights.safetensors");

/// Added to every calibrated logit: odds four and a half times as high, which moves the histogram for all to see.
const SHIFT: f64 = 1.5;

/// What the first version says of itself.
pub(super) fn first() -> Result<Manifest, DemoError> {
    Manifest::parse(FIRST).map_err(DemoError::Manifest)
}

/// Puts the first version into the models' folder, byte for byte.
pub(super) fn write_first(models: &Path) -> Result<(), DemoError> {
    let manifest = first()?;
    let folder = models.join(&manifest.model).join(&manifest.version);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join(WEIGHTS), NETWORK)?;
    Ok(fs::write(folder.join(MANIFEST), FIRST)?)
}

/// Writes its successor beside it, as a training run would.
pub(super) fn write_second(models: &Path) -> Result<(), DemoError> {
    let manifest = second(first()?)?;
    let folder = models.join(&manifest.model).join(&manifest.version);
    registry::write(&folder, &manifest, &[(WEIGHTS, NETWORK)])?;
    Ok(())
}

/// The same network, calibrated higher. The order of leads stays, so cut-offs and baseline move with the scores and every
/// lead keeps its grade. Log-loss and Brier are still the first version's: its validation rows are not at hand.
fn second(first: Manifest) -> Result<Manifest, DemoError> {
    let Calibration::Platt { a, b } = first.calibration else {
        return Err(DemoError::Manifest("calibration: the demo shifts Platt's only".into()));
    };
    let Cutoffs { a: best, b: good, c: fair } = first.cutoffs;
    let mut second = Manifest {
        version: "2".into(),
        calibration: Calibration::Platt { a, b: b + SHIFT },
        cutoffs: Cutoffs { a: shifted(best), b: shifted(good), c: shifted(fair) },
        ..first
    };
    if let Histogram::Number { edges, .. } = &mut second.baseline.score {
        edges.iter_mut().for_each(|edge| *edge = shift(*edge));
    }
    let model = Model::new(second.spec(), NETWORK)?;
    for golden in &mut second.golden {
        golden.score = score(&model, golden)?;
    }
    Ok(second)
}

fn score(model: &Model, golden: &Golden) -> Result<f32, DemoError> {
    let value = |name: &String| golden.features.get(name).map(Plain::value).unwrap_or_default();
    let values: Vec<Value<'_>> = model.features().iter().map(|feature| value(&feature.name)).collect();
    let scored = model.score(|i| values.get(i).unwrap_or(&Value::Missing), &mut Scratch::default())?;
    Ok(scored.score.probability())
}

/// Where the second version puts a probability of the first.
fn shift(probability: f64) -> f64 {
    let odds = probability / (1.0 - probability) * SHIFT.exp();
    odds / (1.0 + odds)
}

fn shifted(probability: f32) -> f32 {
    shift(f64::from(probability)) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Version;

    #[test]
    fn both_versions_load_and_the_second_scores_higher() {
        let root = tempfile::tempdir().unwrap();
        write_first(root.path()).unwrap();
        write_second(root.path()).unwrap();
        let [one, two] =
            ["1", "2"].map(|version| Version::load(&root.path().join("lead").join(version)).unwrap());
        assert_eq!(*one.id.digest, registry::sha256(FIRST), "the shipped version, unchanged");
        for (one, two) in one.manifest.golden.iter().zip(&two.manifest.golden) {
            assert!((f64::from(two.score) - shift(f64::from(one.score))).abs() < 1e-5);
        }
    }
}
