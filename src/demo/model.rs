//! The version the binary carries, so that the demo runs in any directory; the one that replaces it, and one that fails.

use std::{fs, io, path::Path};

use serde_json::json;

use super::DemoError;
use crate::{
    lead::{Cutoffs, Value},
    registry::{self, Golden, Histogram, MANIFEST, Manifest, Plain, WEIGHTS},
    score::{Calibration, Encoding, Model, Scratch},
};

const FIRST: &[u8] = include_bytes!("../../models/lead/1/manifest.json");
const NETWORK: &[u8] = include_bytes!("../../models/lead/1/weights.safetensors");

/// Added to every calibrated logit: odds half as high again and more. It moves the scores by a PSI of about 0.25; from 0.5
/// on they would be held back.
const SHIFT: f64 = 0.5;

/// Days since the last contact; [`NEVER`] for nearly everybody.
const CONTACT: &str = "pdays";
const NEVER: f64 = 999.0;
/// The scaling that the third version got wrong: days below 183 are further from [`NEVER`] than `f32::MAX` of these. That
/// is of one lead in eighty.
const TINY: f64 = 2.4e-36;

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
    write(models, &second(first()?)?)
}

/// Writes the version that fails.
pub(super) fn write_third(models: &Path) -> Result<(), DemoError> {
    write(models, &third(second(first()?)?)?)
}

fn write(models: &Path, manifest: &Manifest) -> Result<(), DemoError> {
    let folder = models.join(&manifest.model).join(&manifest.version);
    registry::write(&folder, manifest, &[(WEIGHTS, NETWORK)])?;
    Ok(())
}

/// Has the first version answer, whatever others come.
pub(super) fn serve_first(models: &Path) -> io::Result<()> {
    write_slots(models, &json!({"champion": "1"}))
}

/// Puts the third version on trial by hand, past every gate.
pub(super) fn try_third(models: &Path, percent: u32) -> io::Result<()> {
    let challenger = json!({"version": "3", "percent": percent});
    write_slots(models, &json!({"champion": "2", "challenger": challenger, "previous": "1"}))
}

/// As an editor saves a file: beside it, then in its place.
fn write_slots(models: &Path, slots: &serde_json::Value) -> io::Result<()> {
    let model = models.join("lead");
    let beside = model.join(".deployment.json.new");
    fs::write(&beside, slots.to_string())?;
    fs::rename(beside, model.join("deployment.json"))
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
    rescore(&mut second)?;
    Ok(second)
}

/// The second version with a scaling that went wrong. Its golden samples are of leads that were never contacted, so it passes
/// them.
fn third(second: Manifest) -> Result<Manifest, DemoError> {
    let mut third = Manifest { version: "3".into(), ..second };
    let contact = third.schema.features.iter_mut().find(|feature| feature.name == CONTACT);
    if let Some(Encoding::Number { mean, sd, .. }) = contact.map(|feature| &mut feature.encoding) {
        (*mean, *sd) = (NEVER, TINY);
    }
    let was_contacted = |golden: &Golden| match golden.features.get(CONTACT).map(Plain::value) {
        Some(Value::Number(days)) => days != NEVER,
        _ => false,
    };
    third.golden.retain(|golden| !was_contacted(golden));
    rescore(&mut third)?;
    Ok(third)
}

/// Golden samples as the version itself scores them.
fn rescore(manifest: &mut Manifest) -> Result<(), DemoError> {
    let model = Model::new(manifest.spec(), NETWORK)?;
    for golden in &mut manifest.golden {
        golden.score = score(&model, golden)?;
    }
    Ok(())
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
    use crate::{
        demo::{draw::Draw, scene},
        registry::Version,
    };

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

    #[test]
    fn the_third_loads_and_fails_a_lead_in_a_hundred_or_so() {
        const LEADS: u32 = 10_000;
        let root = tempfile::tempdir().unwrap();
        write_third(root.path()).unwrap();
        let third = Version::load(&root.path().join("lead/3")).unwrap();
        let model = Model::new(third.manifest.spec(), NETWORK).unwrap();
        let mut draw = Draw::new(&first().unwrap(), &scene::shipped_config().features, 7);
        let failed = (0..LEADS).filter(|_| {
            let lead = draw.lead();
            let features = third.manifest.schema.features.iter().map(|feature| {
                let member = format!("{}__c", feature.name.replace('.', "_"));
                (feature.name.clone(), serde_json::from_value(lead[&member].clone()).unwrap())
            });
            let sample = Golden { features: features.collect(), score: 0.0 };
            score(&model, &sample).is_err()
        });
        let failed = failed.count();
        assert!((50..300).contains(&failed), "{failed} of {LEADS}");
    }

    #[test]
    fn slots_are_replaced_whole() {
        let root = tempfile::tempdir().unwrap();
        assert!(serve_first(root.path()).is_err(), "there is no such model");
        write_first(root.path()).unwrap();
        serve_first(root.path()).unwrap();
        try_third(root.path(), 25).unwrap();
        let text = fs::read_to_string(root.path().join("lead/deployment.json")).unwrap();
        let slots: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            slots,
            json!({"champion": "2", "challenger": {"version": "3", "percent": 25}, "previous": "1"})
        );
    }
}
