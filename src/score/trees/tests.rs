//! Every golden of the two libraries, models of every other form, and files that lie.

use std::path::Path;

use serde_json::Value;

use super::*;
use crate::goldens;

/// A golden and the bytes of its model's files.
struct Golden {
    name: String,
    files: Vec<(String, Vec<u8>)>,
    json: Value,
}

/// The reference goldens where they are, and the small models beside the tests.
fn all() -> Vec<Golden> {
    let mut all = Vec::new();
    if let Some(folder) = goldens::path("goldens") {
        all.extend(read(&folder, ".json", |path| goldens::json(&format!("goldens/{path}")).unwrap()));
        assert_eq!(all.len(), 16);
    }
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/trees");
    all.extend(read(&own, ".golden.json", |path| {
        serde_json::from_slice(&std::fs::read(own.join(path)).unwrap()).unwrap()
    }));
    assert!(all.len() >= 30);
    all
}

fn read(folder: &Path, end: &str, json: impl Fn(&str) -> Value) -> Vec<Golden> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        let Some(name) = file.strip_suffix(end) else { continue };
        if !(name.starts_with("lgb_") || name.starts_with("xgb_")) {
            continue;
        }
        let json = json(&file);
        let models = match &json["model"] {
            Value::String(one) => vec![one.clone()],
            many => serde_json::from_value(many.clone()).unwrap(),
        };
        let files =
            models.into_iter().map(|model| (model.clone(), std::fs::read(folder.join(model)).unwrap()));
        found.push(Golden { name: name.to_owned(), files: files.collect(), json });
    }
    found
}

impl Golden {
    fn load(&self, bytes: &[u8]) -> Trees {
        let trees = match &self.json["note"] {
            Value::String(note) if note == "identity" => Trees::lightgbm(bytes, NoObjective::Identity),
            _ => Trees::read(bytes),
        };
        trees.unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    fn rows(&self) -> Vec<Vec<f64>> {
        self.json["inputs"].as_array().unwrap().iter().map(numbers).collect()
    }

    /// Compares each row's result with the golden's, allowing `tolerance`.
    fn check(&self, key: &str, tolerance: f64, mut score: impl FnMut(&[f64]) -> Vec<f64>) {
        let Some(expected) = self.json[key].as_array() else { return };
        for (i, (row, expected)) in self.rows().iter().zip(expected).enumerate() {
            let (got, expected) = (score(row), numbers(expected));
            let close = |(a, b): (&f64, &f64)| {
                a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= tolerance * b.abs().max(1.0)
            };
            let same = got.len() == expected.len() && got.iter().zip(&expected).all(close);
            assert!(same, "{} {key} row {i} {row:?}: {got:?}, expected {expected:?}", self.name);
        }
    }
}

fn numbers(value: &Value) -> Vec<f64> {
    let number = |value: &Value| match value {
        Value::Null => f64::NAN,
        Value::String(text) => text.parse().unwrap(),
        other => other.as_f64().unwrap(),
    };
    value.as_array().map_or_else(|| vec![number(value)], |list| list.iter().map(number).collect())
}

#[test]
fn agrees_with_the_libraries() {
    for golden in all() {
        for (_, bytes) in &golden.files {
            check_against(&golden, &golden.load(bytes));
        }
    }
}

fn check_against(golden: &Golden, trees: &Trees) {
    let mut scratch = TreeScratch::default();
    let classes = trees.classes();
    let mut scored = |row: &[f64], part: Part<'_>, raw: bool| {
        let mut out = vec![0.0; classes];
        if raw { part.raw(row, &mut scratch, &mut out) } else { part.predict(row, &mut scratch, &mut out) }
            .unwrap();
        out
    };
    let linear = trees.trees() == 0;
    let (exact, close) =
        if trees.is_single() { (if linear { 2e-7 } else { 0.0 }, 1e-7) } else { (0.0, 1e-15) };
    golden.check("raw", exact, |row| scored(row, trees.part(0..usize::MAX), true));
    golden.check("pred", close, |row| scored(row, trees.part(0..usize::MAX), false));
    golden.check("pred_first5", close, |row| scored(row, trees.part(0..5), false));
    golden.check("pred_start1_n3", close, |row| scored(row, trees.part(1..4), false));
    golden.check("raw_start3_n4", exact, |row| scored(row, trees.part(3..7), true));
    golden.check("leaf", 0.0, |row| {
        let mut out = vec![0; trees.trees()];
        trees.leaves(row, &mut TreeScratch::default(), &mut out).unwrap();
        out.into_iter().map(f64::from).collect()
    });
    let rows = golden.rows().concat();
    let mut batch = vec![0.0; golden.rows().len() * classes];
    trees.raw_batch(&rows, &mut scratch, &mut batch).unwrap();
    let mut each = batch.chunks(classes);
    golden.check("raw", exact, |_| each.next().unwrap().to_vec());
}
