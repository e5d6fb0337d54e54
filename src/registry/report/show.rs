//! One version: what it reads, how good it is, where it came from.

use std::{fmt, path::Path};

use serde_json::{Value as Json, json};

use super::{
    ReportError,
    table::{Table, short, thousands},
};
use crate::{
    registry::{
        Background, Histogram, Imported, JudgedOn, Lineage, Manifest, Metrics, SIGNATURE, Trust, Version,
    },
    score::{Encoding, FeatureSpec},
};

/// One version, for people and scripts.
#[derive(Debug)]
pub struct Shown {
    version: Version,
    signed: bool,
}

/// Loads a version's folder.
pub fn show(folder: &Path, trust: &Trust) -> Result<Shown, ReportError> {
    let version = Version::load_trusted(folder, trust)?;
    Ok(Shown { version, signed: folder.join(SIGNATURE).exists() })
}

impl Shown {
    /// The manifest without its golden samples, which are leads, and what is known besides.
    pub fn to_json(&self) -> Result<Json, ReportError> {
        let manifest = &self.version.manifest;
        let mut json = serde_json::to_value(manifest)?;
        if let Json::Object(keys) = &mut json {
            keys.insert("digest".to_owned(), json!(&*self.version.id.digest));
            keys.insert("signed".to_owned(), json!(self.signed));
            keys.insert("golden".to_owned(), json!(manifest.golden.len()));
        }
        Ok(json)
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let manifest = &self.version.manifest;
        let (lineage, cutoffs) = (&manifest.lineage, &manifest.cutoffs);
        let grades = [cutoffs.a, cutoffs.b, cutoffs.c].map(|least| short(f64::from(least)));
        let mut facts = Table::new(&[&self.version.id.to_string(), &super::kind(manifest)]);
        let mut fact = |name: &str, value: String| facts.push(vec![name.to_owned(), value]);
        fact("digest", self.version.id.digest.to_string());
        fact("signature", if self.signed { "present" } else { "none" }.to_owned());
        fact("grades", format!("A from {}, B from {}, C from {}", grades[0], grades[1], grades[2]));
        match &manifest.metrics {
            Some(metrics) => quality(metrics, manifest.judged_on.as_ref(), &mut fact),
            None => fact("auc", "not known".to_owned()),
        }
        origin(lineage, &mut fact);
        for (name, digest) in &manifest.files {
            fact("file", format!("{name} {digest}"));
        }
        fact("golden", format!("{} samples, all as expected", manifest.golden.len()));
        writeln!(f, "{facts}\n{}", features(manifest))
    }
}

fn quality(metrics: &Metrics, on: Option<&JudgedOn>, fact: &mut impl FnMut(&str, String)) {
    let rows = on.map_or("rows", |on| &on.metrics);
    let of = format!("{} {rows}, {} converted", thousands(metrics.rows), thousands(metrics.positives));
    fact("auc", format!("{}, on {of}", short(metrics.auc)));
    fact("log-loss", short(metrics.log_loss));
    fact("brier", short(metrics.brier));
}

fn origin(lineage: &Lineage, fact: &mut impl FnMut(&str, String)) {
    let unknown = || "unknown".to_owned();
    if let Some(Imported { file, sha256 }) = &lineage.imported {
        fact("imported from", format!("{file} {sha256}"));
    }
    let data = if lineage.imported.is_some() { "described by" } else { "trained on" };
    fact(data, format!("{}, {} rows", lineage.dataset, thousands(lineage.rows)));
    fact("data digest", lineage.digest.clone());
    fact("target", lineage.target.clone().unwrap_or_else(unknown));
    fact("left out", lineage.dropped.join(", "));
    if let Some(seed) = lineage.seed {
        fact("seed", seed.to_string());
    }
    fact("commit", lineage.commit.clone().unwrap_or_else(unknown));
}

fn features(manifest: &Manifest) -> Table {
    let mut table = Table::new(&["feature", "type", "required", "words", "typical", "missing", "label"]);
    for spec in &manifest.schema.features {
        let words = match &spec.encoding {
            Encoding::Category { vocabulary } => vocabulary.len().to_string(),
            _ => "-".to_owned(),
        };
        let protected = if spec.protected { " (protected)" } else { "" };
        table.push(vec![
            spec.name.clone(),
            spec.feature_type().as_str().to_owned(),
            if spec.required { "yes" } else { "no" }.to_owned(),
            words,
            typical(manifest, spec),
            missing(manifest, spec),
            format!("{}{protected}", spec.label()),
        ]);
    }
    table
}

/// The median, or the most frequent word with its share.
fn typical(manifest: &Manifest, spec: &FeatureSpec) -> String {
    match manifest.background.get(&spec.name) {
        Some(Background::Number { median }) => short(*median),
        Some(Background::Category { shares }) => {
            let most = shares.iter().max_by(|a, b| a.1.total_cmp(b.1));
            most.map_or("-".to_owned(), |(word, share)| format!("{word} {:.0}%", share * 100.0))
        }
        None => "-".to_owned(),
    }
}

/// The share of training rows without a value.
fn missing(manifest: &Manifest, spec: &FeatureSpec) -> String {
    let missing = match manifest.baseline.features.get(&spec.name) {
        Some(Histogram::Number { missing, .. } | Histogram::Category { missing, .. }) => *missing,
        None => 0,
    };
    format!("{:.1}%", missing as f64 / manifest.baseline.rows.max(1) as f64 * 100.0)
}
