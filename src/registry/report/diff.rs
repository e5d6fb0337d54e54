//! Two versions on the same leads: how far scores move, and who changes grade.

use std::{fmt, path::Path};

use serde::Serialize;

use super::{
    ReportError,
    sample::{Fields, Sample},
    table::{Table, short, thousands},
};
use crate::{
    lead::{Grade, Value},
    registry::{Plain, Trust, Version},
    score::{Scored, Scratch},
};

const GRADES: [Grade; 4] = [Grade::A, Grade::B, Grade::C, Grade::D];

/// Bars of the scores' histogram, a tenth each.
const BARS: usize = 10;

/// What changes from one version to another.
#[derive(Debug, Serialize)]
pub struct Diff {
    /// The versions, as `lead/1`.
    pub versions: [String; 2],
    /// AUC of each on its own validation data.
    pub auc: [Option<f64>; 2],
    /// Features that only one of them reads.
    pub only: [Vec<String>; 2],
    /// Leads that both scored.
    pub leads: u64,
    /// Leads that one of them could not score.
    pub unscored: u64,
    /// Mean score of each.
    pub mean: [f64; 2],
    /// Greatest distance between a lead's two scores.
    pub max_difference: f64,
    /// Mean distance.
    pub mean_difference: f64,
    /// Leads in each tenth of the scores, by either.
    pub histogram: Vec<[u64; 2]>,
    /// Leads by their grade before (row) and after (column), A to D.
    pub churn: [[u64; 4]; 4],
    /// Leads whose grade changes.
    pub changed: u64,
}

/// Scores the golden samples of both versions, and the leads of a file, with both.
pub fn diff(folders: [&Path; 2], sample: Option<&Path>, trust: &Trust) -> Result<Diff, ReportError> {
    let [a, b] = folders.map(|folder| Version::load_trusted(folder, trust));
    let versions = [a?, b?];
    let [a, b] = versions.each_ref();
    let mut leads: Vec<Sample> = Vec::new();
    for version in &versions {
        leads.extend(version.manifest.golden.iter().map(|golden| golden.features.clone()));
    }
    if let Some(path) = sample {
        leads.extend(Fields::of([&a.manifest, &b.manifest]).read(path)?);
    }
    let mut diff = Diff::new(&versions);
    let mut scratch = Scratch::default();
    for lead in &leads {
        diff.add([score(a, lead, &mut scratch), score(b, lead, &mut scratch)]);
    }
    diff.finish();
    Ok(diff)
}

fn score(version: &Version, lead: &Sample, scratch: &mut Scratch) -> Option<Scored> {
    let features = version.model.features();
    let values: Vec<Value<'_>> =
        features.iter().map(|spec| lead.get(&spec.name).map(Plain::value).unwrap_or_default()).collect();
    version.model.score(|i| values.get(i).unwrap_or(&Value::Missing), scratch).ok()
}

impl Diff {
    fn new(versions: &[Version; 2]) -> Self {
        let names = versions
            .each_ref()
            .map(|version| version.model.features().iter().map(|spec| spec.name.clone()).collect::<Vec<_>>());
        let [a, b] = &names;
        let missing = |from: &[String], of: &[String]| -> Vec<String> {
            of.iter().filter(|name| !from.contains(name)).cloned().collect()
        };
        Self {
            only: [missing(b, a), missing(a, b)],
            versions: versions.each_ref().map(|version| version.id.to_string()),
            auc: versions.each_ref().map(|version| version.manifest.metrics.map(|metrics| metrics.auc)),
            leads: 0,
            unscored: 0,
            mean: [0.0; 2],
            max_difference: 0.0,
            mean_difference: 0.0,
            histogram: vec![[0; 2]; BARS],
            churn: [[0; 4]; 4],
            changed: 0,
        }
    }

    /// Until [`Diff::finish`], the means are sums.
    fn add(&mut self, scored: [Option<Scored>; 2]) {
        let [Some(a), Some(b)] = scored else {
            self.unscored += 1;
            return;
        };
        self.leads += 1;
        let scores = [a, b].map(|scored| f64::from(scored.score.probability()));
        let distance = (scores[0] - scores[1]).abs();
        self.max_difference = self.max_difference.max(distance);
        self.mean_difference += distance;
        for (side, score) in scores.into_iter().enumerate() {
            if let Some(mean) = self.mean.get_mut(side) {
                *mean += score;
            }
            let bar = ((score * BARS as f64) as usize).min(BARS - 1);
            if let Some(count) = self.histogram.get_mut(bar).and_then(|bar| bar.get_mut(side)) {
                *count += 1;
            }
        }
        if let Some(count) =
            self.churn.get_mut(a.grade as usize).and_then(|row| row.get_mut(b.grade as usize))
        {
            *count += 1;
        }
        self.changed += u64::from(a.grade != b.grade);
    }

    fn finish(&mut self) {
        let leads = self.leads.max(1) as f64;
        self.mean_difference /= leads;
        self.mean = self.mean.map(|sum| sum / leads);
    }
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b] = &self.versions;
        let mut facts = Table::new(&["", a, b]);
        let pair = |name: &str, pair: [f64; 2]| vec![name.to_owned(), short(pair[0]), short(pair[1])];
        let [auc_a, auc_b] = self.auc.map(|auc| auc.map_or_else(|| "-".to_owned(), short));
        facts.push(vec!["auc".to_owned(), auc_a, auc_b]);
        facts.push(pair("mean score", self.mean));
        for (i, [of_a, of_b]) in self.histogram.iter().enumerate() {
            let at = |i: usize| i as f64 / BARS as f64;
            let bar = format!("scores {:.1} to {:.1}", at(i), at(i + 1));
            facts.push(vec![bar, thousands(*of_a), thousands(*of_b)]);
        }
        writeln!(f, "{facts}")?;
        for (version, only) in self.versions.iter().zip(&self.only).filter(|(_, only)| !only.is_empty()) {
            writeln!(f, "only {version} reads {}", only.join(", "))?;
        }
        let (most, mean) = (short(self.max_difference), short(self.mean_difference));
        writeln!(f, "scores differ by {mean} on average, by {most} at most")?;
        if self.unscored > 0 {
            writeln!(f, "{} leads could not be scored by both", thousands(self.unscored))?;
        }
        let (changed, leads) = (thousands(self.changed), thousands(self.leads));
        writeln!(f, "{changed} of {leads} leads change grade\n")?;
        let mut churn = Table::new(&["from \\ to", "A", "B", "C", "D"]);
        for (grade, row) in GRADES.iter().zip(&self.churn) {
            churn.push([grade.to_string()].into_iter().chain(row.iter().map(|n| thousands(*n))).collect());
        }
        write!(f, "{churn}")
    }
}
