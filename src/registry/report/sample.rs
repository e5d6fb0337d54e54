//! Leads from a file: CSV with a header, or JSON Lines, by the features' names.

use std::{collections::BTreeMap, fs::File, io::BufRead, io::BufReader, path::Path};

use super::ReportError;
use crate::{
    lead::{FeatureType, Value, read_text},
    registry::{Manifest, Plain},
};

/// One lead's values by feature; one that is left out is missing.
pub(super) type Sample = BTreeMap<String, Plain>;

/// The features that either of two manifests reads, by name.
pub(super) struct Fields(BTreeMap<String, FeatureType>);

impl Fields {
    pub(super) fn of(manifests: [&Manifest; 2]) -> Self {
        let specs = manifests.into_iter().flat_map(|manifest| &manifest.schema.features);
        Self(specs.map(|spec| (spec.name.clone(), spec.feature_type())).collect())
    }

    /// Reads a file whose name ends in `.csv`, or else JSON Lines. Columns that no model reads are passed over.
    pub(super) fn read(&self, path: &Path) -> Result<Vec<Sample>, ReportError> {
        let refuse = |reason: String| ReportError::Sample { path: path.into(), reason };
        let file = File::open(path).map_err(|error| refuse(error.to_string()))?;
        let is_csv = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
        let samples = if is_csv { self.csv(file) } else { self.json_lines(file) }.map_err(refuse)?;
        match samples.iter().any(|sample| !sample.is_empty()) {
            true => Ok(samples),
            false => Err(refuse("holds no feature of either version".to_owned())),
        }
    }

    fn csv(&self, file: File) -> Result<Vec<Sample>, String> {
        let mut reader = csv::Reader::from_reader(file);
        let head = reader.headers().map_err(|error| error.to_string())?.clone();
        let sample = |row: Result<csv::StringRecord, csv::Error>| {
            let row = row.map_err(|error| error.to_string())?;
            let cells = head.iter().zip(&row).map(|(name, cell)| (name, Plain::Text(cell.to_owned())));
            Ok(self.sample(cells))
        };
        reader.records().map(sample).collect()
    }

    fn json_lines(&self, file: File) -> Result<Vec<Sample>, String> {
        let mut samples = Vec::new();
        for (number, line) in BufReader::new(file).lines().enumerate() {
            let line = line.map_err(|error| error.to_string())?;
            if line.trim().is_empty() {
                continue;
            }
            let object: BTreeMap<String, serde_json::Value> =
                serde_json::from_str(&line).map_err(|error| format!("line {}: {error}", number + 1))?;
            let plain = object
                .iter()
                .filter_map(|(name, json)| Some((name.as_str(), serde_json::from_value(json.clone()).ok()?)));
            samples.push(self.sample(plain));
        }
        Ok(samples)
    }

    fn sample<'a>(&self, values: impl Iterator<Item = (&'a str, Plain)>) -> Sample {
        let read = |(name, value): (&str, Plain)| {
            let value = typed(*self.0.get(name)?, value)?;
            Some((name.to_owned(), value))
        };
        values.filter_map(read).collect()
    }
}

/// Text as the feature's type; `None` is missing.
fn typed(kind: FeatureType, value: Plain) -> Option<Plain> {
    let Plain::Text(text) = value else { return Some(value) };
    match read_text(text.trim().into(), kind) {
        Value::Number(number) => Some(Plain::Number(number)),
        Value::Text(text) => Some(Plain::Text(text.into_owned())),
        Value::Boolean(yes) => Some(Plain::Boolean(yes)),
        Value::Missing | Value::Cleared => None,
    }
}
