//! A version over leads whose ends are known: what the gate and the model card are made of.

use std::{
    collections::BTreeMap,
    hint::black_box,
    path::Path,
    time::{Duration, Instant},
};

use super::{
    TrainError,
    dataset::{Cells, Column, Dataset},
    table::{Table, Texts},
};
use crate::{
    lead::Value,
    registry::{Segment, Version},
    score::{Encoding, FeatureSpec, Model, ReasonScratch, Schema, Scratch},
    stats,
};

/// Features of more words have segments too small to say anything.
const MOST_WORDS: usize = 20;
/// Leads that the effects of features are averaged over, at even distances.
const EXPLAINED: usize = 2000;
/// Each lead is timed so often, and its shortest time counts: what lasts longer was the machine's doing.
const PASSES: usize = 5;

/// A model's view of leads: its features, wherever they stand in there. What the leads do not have is missing.
pub(super) struct View<'a> {
    model: &'a Model,
    leads: Leads<'a>,
}

enum Leads<'a> {
    /// Columns that the model was made of, and their places.
    Columns(&'a Dataset, Vec<Option<usize>>),
    /// Texts, which are read by the model's own schema.
    Texts(&'a Table, Vec<Option<&'a Texts>>),
}

impl<'a> View<'a> {
    pub(super) fn new(model: &'a Model, data: &'a Dataset) -> Self {
        let place = |spec: &FeatureSpec| data.columns.iter().position(|column| column.name == spec.name);
        let places = model.features().iter().map(place).collect();
        Self { model, leads: Leads::Columns(data, places) }
    }

    /// The view of a model that other columns were made for: each text is read by its schema, as from a lead.
    pub(super) fn of_texts(model: &'a Model, table: &'a Table) -> Self {
        let texts = model.features().iter().map(|spec| table.feature(&spec.name)).collect();
        Self { model, leads: Leads::Texts(table, texts) }
    }

    fn rows(&self) -> usize {
        match &self.leads {
            Leads::Columns(data, _) => data.rows(),
            Leads::Texts(table, _) => table.rows(),
        }
    }

    fn path(&self) -> &'a Path {
        match self.leads {
            Leads::Columns(data, _) => data.path(),
            Leads::Texts(table, _) => table.path(),
        }
    }

    fn lead(&self, row: usize) -> Vec<Value<'a>> {
        match &self.leads {
            Leads::Columns(data, places) => {
                let lead = data.lead(row);
                let value = |place: &Option<usize>| place.and_then(|place| lead.get(place)).cloned();
                places.iter().map(|place| value(place).unwrap_or_default()).collect()
            }
            Leads::Texts(_, texts) => {
                let value = |(spec, texts): (&FeatureSpec, &Option<&'a Texts>)| {
                    texts.map(|texts| texts.value(row, spec.feature_type())).unwrap_or_default()
                };
                self.model.features().iter().zip(texts).map(value).collect()
            }
        }
    }

    /// The score of every lead, as it would be served.
    pub(super) fn scores(&self) -> Result<Vec<f64>, TrainError> {
        let mut scratch = Scratch::default();
        let score = |row| {
            let lead = self.lead(row);
            let scored = self.model.score(|i| lead.get(i).unwrap_or(&Value::Missing), &mut scratch);
            let refuse = |error| TrainError::data(self.path(), format!("row {}: {error}", row + 1));
            Ok(scored.map_err(refuse)?.score.probability().into())
        };
        (0..self.rows()).map(score).collect()
    }

    /// The 99th percentile of scoring a lead, warm.
    pub(super) fn p99(&self) -> Duration {
        let mut scratch = Scratch::default();
        let mut time = |lead: &[Value<'_>]| {
            let mut once = |_| {
                let begun = Instant::now();
                let _ = black_box(self.model.score(|i| lead.get(i).unwrap_or(&Value::Missing), &mut scratch));
                begun.elapsed()
            };
            (0..PASSES).map(&mut once).min().unwrap_or_default().as_secs_f64()
        };
        let times = (0..self.rows()).map(|row| time(&self.lead(row))).collect();
        Duration::from_secs_f64(stats::nearest_rank(&stats::sorted(times), 0.99).unwrap_or_default())
    }

    /// The mean absolute effect of each feature in logits, the strongest first.
    pub(super) fn effects(&self, version: &Version) -> Vec<(String, f64)> {
        let step = self.rows().div_ceil(EXPLAINED).max(1);
        let (mut scratch, mut sums, mut leads) =
            (ReasonScratch::default(), vec![0.0; self.model.features().len()], 0u32);
        for row in (0..self.rows()).step_by(step) {
            let lead = self.lead(row);
            let feature = |i: usize| lead.get(i).unwrap_or(&Value::Missing);
            let Some(explained) = version.explainer.explain(self.model, feature, &mut scratch) else {
                continue;
            };
            sums.iter_mut().zip(explained.phi).for_each(|(sum, phi)| *sum += f64::from(phi.abs()));
            leads += 1;
        }
        let named = self.model.features().iter().map(|spec| spec.name.clone());
        let mut effects: Vec<_> = named.zip(sums.iter().map(|sum| sum / f64::from(leads.max(1)))).collect();
        effects.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        effects
    }
}

/// Rows of the leads of one kind, by feature and word, where a feature has two to twenty words. Words that the schema does
/// not know, and missing ones, are no kind of their own.
pub(super) fn kinds(schema: &Schema, data: &Dataset) -> Vec<(String, String, Vec<usize>)> {
    let columns = data.columns.iter().filter_map(|column| {
        let spec = schema.features.iter().find(|spec| spec.name == column.name)?;
        match &spec.encoding {
            Encoding::Category { vocabulary } if (2..=MOST_WORDS).contains(&vocabulary.len()) => {
                Some((column, vocabulary.clone()))
            }
            Encoding::Boolean { .. } => Some((column, vec!["false".to_owned(), "true".to_owned()])),
            _ => None,
        }
    });
    let kinds = |(column, words): (&Column, Vec<String>)| {
        let mut rows: BTreeMap<String, Vec<usize>> =
            words.into_iter().map(|word| (word, Vec::new())).collect();
        for (row, word) in words_of(&column.cells).into_iter().enumerate() {
            if let Some(rows) = word.and_then(|word| rows.get_mut(&word)) {
                rows.push(row);
            }
        }
        let named = rows.into_iter().map(|(word, rows)| (column.name.clone(), word, rows));
        named.filter(|(.., rows)| !rows.is_empty()).collect::<Vec<_>>()
    };
    columns.flat_map(kinds).collect()
}

fn words_of(cells: &Cells) -> Vec<Option<String>> {
    match cells {
        Cells::Words(words) => words.clone(),
        Cells::Booleans(all) => all.iter().map(|yes| yes.map(|yes| yes.to_string())).collect(),
        Cells::Numbers(all) => all.iter().map(|number| number.map(|number| number.to_string())).collect(),
    }
}

/// How good the scores are within each kind.
pub(super) fn segments(
    kinds: &[(String, String, Vec<usize>)],
    scores: &[f64],
    labels: &[bool],
) -> Vec<Segment> {
    let segment = |(feature, word, rows): &(String, String, Vec<usize>)| {
        let own: Vec<f64> = rows.iter().filter_map(|row| scores.get(*row).copied()).collect();
        let labels: Vec<bool> = rows.iter().filter_map(|row| labels.get(*row).copied()).collect();
        Segment {
            feature: feature.clone(),
            word: word.clone(),
            rows: rows.len() as u64,
            positives: labels.iter().filter(|label| **label).count() as u64,
            auc: stats::auc(&own, &labels),
        }
    };
    kinds.iter().map(segment).collect()
}
