//! Version folders of trees: written, loaded and scored as the library that trained them scores.

use std::{fs, path::Path};

use serde_json::Value as Json;

use super::{Background, Golden, Histogram, MANIFEST, Manifest, Plain, Version, fixture, sha256, write};
use crate::{
    goldens,
    lead::Value,
    score::{Encoding, FeatureSpec, Kind, ReasonScratch, Schema, Scratch},
};

/// A model file of the goldens and what it scores.
struct Case {
    kind: Kind,
    /// The file's name in a version.
    name: &'static str,
    bytes: Vec<u8>,
    features: Vec<FeatureSpec>,
    /// Leads as rows of plain values, and their scores; without those whose words have no code.
    leads: Vec<(Vec<Option<Plain>>, f64)>,
}

impl Case {
    /// Columns are called as in the file, `f0` to `f18`; their words are the encoder's.
    fn read(kind: Kind, golden: &str, model: &str, name: &'static str) -> Option<Self> {
        let (bytes, golden) = (
            goldens::bytes(&format!("goldens/models/{model}"))?,
            goldens::json(&format!("goldens/{golden}"))?,
        );
        let bank = &goldens::json("goldens/encoders.json")?["bank"];
        let columns = bank["features"].as_array().unwrap().iter().enumerate();
        let features: Vec<FeatureSpec> = columns
            .map(|(i, column)| {
                let words = bank["categorical_vocab"].get(column.as_str().unwrap());
                let encoding = match words {
                    Some(words) => {
                        Encoding::Category { vocabulary: serde_json::from_value(words.clone()).unwrap() }
                    }
                    None => Encoding::Number { median: 1.0, mean: 2.0, sd: 3.0 },
                };
                FeatureSpec::new(format!("f{i}"), false, encoding)
            })
            .collect();
        let rows = golden["inputs"].as_array().unwrap().iter().zip(golden["pred"].as_array().unwrap());
        let leads =
            rows.filter_map(|(row, score)| Some((lead(&features, row)?, score.as_f64().unwrap()))).collect();
        Some(Self { kind, name, bytes, features, leads })
    }

    fn both() -> impl Iterator<Item = Self> {
        let lightgbm = Self::read(Kind::Lightgbm, "lgb_bank_cat.json", "lgb_bank_cat.txt", "model.txt");
        let xgboost = Self::read(Kind::Xgboost, "xgb_bank_num.json", "xgb_bank_num.ubj", "model.ubj");
        lightgbm.into_iter().chain(xgboost)
    }

    fn manifest(&self) -> Manifest {
        let histogram = |feature: &FeatureSpec| match feature.encoding {
            Encoding::Category { .. } => Histogram::Category { counts: [].into(), missing: 0, unseen: 0 },
            _ => Histogram::Number { edges: vec![0.0, 1.0], counts: vec![1], missing: 0 },
        };
        let background = |feature: &FeatureSpec| match &feature.encoding {
            Encoding::Category { vocabulary } => {
                Background::Category { shares: [(vocabulary[0].clone(), 1.0)].into() }
            }
            _ => Background::Number { median: 1.0 },
        };
        let named = |feature: &FeatureSpec| feature.name.clone();
        let golden = |(lead, score): &(Vec<Option<Plain>>, f64)| Golden {
            features: self
                .features
                .iter()
                .zip(lead)
                .filter_map(|(f, v)| Some((named(f), v.clone()?)))
                .collect(),
            score: *score as f32,
        };
        let base = fixture::manifest("lead", "1", 0.5);
        Manifest {
            kind: self.kind,
            files: [(self.name.to_owned(), sha256(&self.bytes))].into(),
            schema: Schema { features: self.features.clone() },
            baseline: super::Baseline {
                features: self.features.iter().map(|f| (named(f), histogram(f))).collect(),
                ..base.baseline
            },
            background: self.features.iter().map(|f| (named(f), background(f))).collect(),
            golden: self.leads.iter().take(8).map(golden).collect(),
            ..base
        }
    }

    fn refused(&self, manifest: &Manifest, expected: &str) {
        let root = tempfile::tempdir().unwrap();
        let error = write(&root.path().join("lead/1"), manifest, &[(self.name, &self.bytes)]).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

fn lead(features: &[FeatureSpec], row: &Json) -> Option<Vec<Option<Plain>>> {
    let value = |(feature, json): (&FeatureSpec, &Json)| match (&feature.encoding, json) {
        (_, Json::Null) => Some(None),
        (Encoding::Category { vocabulary }, json) => {
            let code = json.as_f64().filter(|code| code.fract() == 0.0 && *code >= 0.0)?;
            Some(Some(Plain::Text(vocabulary.get(code as usize)?.clone())))
        }
        (_, Json::String(infinite)) => Some(Some(Plain::Number(infinite.parse().unwrap()))),
        (_, json) => Some(Some(Plain::Number(json.as_f64().unwrap()))),
    };
    features.iter().zip(row.as_array().unwrap()).map(value).collect()
}

fn values(lead: &[Option<Plain>]) -> Vec<Value<'_>> {
    lead.iter().map(|value| value.as_ref().map_or(Value::Missing, Plain::value)).collect()
}

#[test]
fn a_folder_of_trees_scores_as_its_library_does() {
    for case in Case::both() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("lead/1");
        write(&folder, &case.manifest(), &[(case.name, &case.bytes)]).unwrap();
        let version = Version::load(&folder).unwrap();
        assert!(version.model.op().is_none());
        assert!(case.leads.len() > 150, "{:?}: {}", case.kind, case.leads.len());
        let (mut scratch, mut reasons) = (Scratch::default(), ReasonScratch::default());
        for (i, (lead, expected)) in case.leads.iter().enumerate() {
            let values = values(lead);
            let score = version.model.score(|i| &values[i], &mut scratch).unwrap().score.probability();
            assert!(
                (f64::from(score) - expected).abs() < 1e-7,
                "{:?} lead {i}: {score}, {expected}",
                case.kind
            );
            assert!(version.explainer.explain(&version.model, |i| &values[i], &mut reasons).is_some());
        }
    }
}

#[test]
fn trees_that_do_not_fit_are_refused() {
    for case in Case::both() {
        let manifest = case.manifest();
        let files = |names: &[&str]| {
            let files = names.iter().map(|name| ((*name).to_owned(), sha256(&case.bytes))).collect();
            Manifest { files, ..manifest.clone() }
        };
        case.refused(&files(&[]), "is missing");
        let other = if case.kind == Kind::Xgboost { Kind::Lightgbm } else { Kind::Xgboost };
        case.refused(&Manifest { kind: other, ..manifest.clone() }, "is missing");
        case.refused(&Manifest { kind: Kind::Mlp, ..manifest.clone() }, "`weights.safetensors` is missing");
    }
    let Some(mut case) = Case::both().next() else { return };
    case.features[2].name = "pdays".into();
    case.refused(&case.manifest(), "column 2 is `f2`, the schema's feature is `pdays`");
    let Some(bytes) = goldens::bytes("goldens/models/lgb_bank_multiclass.txt") else { return };
    (case.bytes, case.features[2].name) = (bytes, "f2".into());
    case.refused(&case.manifest(), "predicts classes, not a probability");
}

#[test]
fn two_model_files_are_one_too_many() {
    let Some(case) = Case::both().last() else { return };
    let mut manifest = case.manifest();
    manifest.files.insert("model.json".into(), sha256(&case.bytes));
    let bytes = manifest.to_bytes().unwrap();
    let load = |bytes: &[u8]| Version::from_parts(Path::new("lead/1"), bytes, |_| Ok(case.bytes.clone()));
    let error = load(&bytes).unwrap_err().to_string();
    assert!(error.contains(MANIFEST) && error.contains("only one of `model.json` or `model.ubj`"), "{error}");
}

#[test]
fn a_model_file_that_was_changed_is_refused() {
    for case in Case::both() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("lead/1");
        write(&folder, &case.manifest(), &[(case.name, &case.bytes)]).unwrap();
        fs::write(folder.join(case.name), "tree").unwrap();
        assert_eq!(Version::load(&folder).unwrap_err().kind(), "digest");
    }
}
