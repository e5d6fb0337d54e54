//! Scores again what the lead log keeps: the very model, from the very features.
//!
//! Reading a row's features takes about as long as scoring them, and nothing is allocated for a row but words that hold
//! escapes. Which version scored a lead is told by its digest: a folder of the same name that holds another manifest is
//! another model, and is never taken for it.

use std::{path::Path, sync::Arc};

use crate::{
    lead::{Reason, Value},
    leadlog::{FlatError, read_features},
    registry::{MANIFEST, Trust, Version, VersionError, is_name},
    score::{Batch, ReasonScratch, ScoreError, Scored, Scratch},
};

/// Scores features as the log keeps them, with one version.
#[derive(Debug)]
pub struct Rescorer {
    version: Arc<Version>,
    /// The features of its schema and their places, by name.
    names: Box<[(Box<str>, usize)]>,
    /// Empty between rows; the memory stays.
    row: Row<'static>,
    scratch: Scratch,
    batch: Batch,
    reasons: ReasonScratch,
}

/// Why a row has no score.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RescoreError {
    /// It was edited.
    #[error(transparent)]
    Features(#[from] FlatError),
    /// A feature that the version reads was known of the lead, and the log may not keep it.
    #[error("feature `{feature}` is not kept in the log")]
    Withheld {
        /// Its name in the version's schema.
        feature: Box<str>,
    },
    /// A feature that the version requires was not known of the lead.
    #[error("required feature `{feature}` is missing")]
    Required {
        /// Its name in the version's schema.
        feature: Box<str>,
    },
    /// The version gives none.
    #[error(transparent)]
    Score(#[from] ScoreError),
}

/// A row, read for one version.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row<'j> {
    /// The values of its features, in schema order. What the log may not keep is missing.
    pub values: Vec<Value<'j>>,
    /// Places of those, in the order they stand in the row.
    pub withheld: Vec<usize>,
}

/// How a score came about.
#[derive(Clone, Debug, PartialEq)]
pub struct Explained {
    /// In words, as the CRM was given them.
    pub reasons: Vec<Reason>,
    /// Each feature's effect in logits, in schema order, scaled to sum to the distance between lead and background where
    /// that is sensible; empty where the score is not finite.
    pub phi: Vec<f32>,
    /// The lead's logit.
    pub lead: f32,
    /// The typical lead's.
    pub background: f32,
}

impl Rescorer {
    /// For one version.
    pub fn new(version: Arc<Version>) -> Self {
        let features = version.model.features().iter().enumerate();
        let mut names: Vec<(Box<str>, usize)> =
            features.map(|(place, spec)| (spec.name.as_str().into(), place)).collect();
        names.sort_unstable();
        Self {
            version,
            names: names.into(),
            row: Row::default(),
            scratch: Scratch::default(),
            batch: Batch::default(),
            reasons: ReasonScratch::default(),
        }
    }

    /// The version.
    pub fn version(&self) -> &Arc<Version> {
        &self.version
    }

    /// The score of `{"age":56.0,"job":"services"}`; features that the version does not know are passed over.
    pub fn score(&mut self, features: &str) -> Result<Scored, RescoreError> {
        self.with(features, Self::score_values)
    }

    /// The score of a lead whose features, in schema order, are `values`.
    pub fn score_values(&mut self, values: &[Value<'_>]) -> Result<Scored, RescoreError> {
        self.check(values)?;
        let value = |i| values.get(i).unwrap_or(&Value::Missing);
        Ok(self.version.model.score(value, &mut self.scratch)?)
    }

    /// Adds a row to the batch, unless something is wrong with it: then the batch is as it was.
    pub fn push(&mut self, features: &str) -> Result<(), RescoreError> {
        self.with(features, |this, values| {
            this.check(values)?;
            this.version.model.push(|i| values.get(i).unwrap_or(&Value::Missing), &mut this.batch);
            Ok(())
        })
    }

    /// Scores the rows that were pushed, in order, and empties the batch. To the bit what [`Rescorer::score`] gives.
    pub fn flush(&mut self, each: impl FnMut(Result<Scored, ScoreError>)) {
        self.version.model.score_batch(&mut self.batch, each);
    }

    /// What made the score what it is.
    pub fn explain(&mut self, features: &str) -> Result<Explained, RescoreError> {
        self.with(features, |this, values| {
            this.check(values)?;
            let value = |i| values.get(i).unwrap_or(&Value::Missing);
            let Self { version, reasons: scratch, .. } = this;
            let reasons = version.explainer.reasons(&version.model, value, scratch);
            let explained = version.explainer.explain(&version.model, value, scratch);
            let explained = explained.ok_or(ScoreError::NotFinite)?;
            let phi = explained.scaled().collect();
            Ok(Explained { reasons, phi, lead: explained.ends.lead, background: explained.ends.background })
        })
    }

    /// A row's values.
    pub fn row<'j>(&self, features: &'j str) -> Result<Row<'j>, RescoreError> {
        let mut row = Row::default();
        read(&self.names, features, &mut row)?;
        Ok(row)
    }

    fn with<'j, R>(
        &mut self,
        features: &'j str,
        work: impl FnOnce(&mut Self, &[Value<'j>]) -> Result<R, RescoreError>,
    ) -> Result<R, RescoreError> {
        let mut row = lent(std::mem::take(&mut self.row));
        let done = match read(&self.names, features, &mut row) {
            Ok(()) => self.check_whole(&row).and_then(|()| work(self, &row.values)),
            Err(error) => Err(error.into()),
        };
        self.row = lent(row);
        done
    }

    /// Refuses a row of which the log may not keep all that the version reads.
    pub fn check_whole(&self, row: &Row<'_>) -> Result<(), RescoreError> {
        match row.withheld.first().and_then(|place| self.version.model.features().get(*place)) {
            Some(spec) => Err(RescoreError::Withheld { feature: spec.name.as_str().into() }),
            None => Ok(()),
        }
    }

    fn check(&self, values: &[Value<'_>]) -> Result<(), RescoreError> {
        let model = &self.version.model;
        let missing = model.missing_required(|i| values.get(i).unwrap_or(&Value::Missing));
        match missing.and_then(|place| model.features().get(place)) {
            Some(spec) => Err(RescoreError::Required { feature: spec.name.as_str().into() }),
            None => Ok(()),
        }
    }
}

/// The same memory for values that borrow from elsewhere. An empty vector is collected in place.
fn lent<'v>(Row { mut values, mut withheld }: Row<'_>) -> Row<'v> {
    values.clear();
    withheld.clear();
    Row { values: values.into_iter().map(|_| Value::Missing).collect(), withheld }
}

/// Both sides are in the order of the names, mostly, and so the next one is where it is looked for first.
fn read<'j>(
    names: &[(Box<str>, usize)],
    features: &'j str,
    Row { values, withheld }: &mut Row<'j>,
) -> Result<(), FlatError> {
    values.resize(names.len(), Value::Missing);
    let mut next = 0;
    read_features(features, |name, value| {
        let found = match names.get(next) {
            Some((known, _)) if **known == *name => Ok(next),
            _ => names.binary_search_by(|(known, _)| (**known).cmp(&name)),
        };
        next = found.map_or_else(|after| after, |found| found + 1);
        let Some((_, place)) = found.ok().and_then(|found| names.get(found)) else { return };
        match (values.get_mut(*place), value) {
            (Some(known), Some(value)) => *known = value,
            _ => withheld.push(*place),
        }
    })
}

/// Why the version that gave a score cannot be asked again.
#[derive(Debug, thiserror::Error)]
pub enum Unfound {
    /// Its folder is gone, or never was one.
    #[error("{model}/{version} is not among the models any more")]
    Gone {
        /// The model.
        model: String,
        /// The version.
        version: String,
    },
    /// The folder holds another version by now.
    #[error("{model}/{version} has digest {found} now, the score was given by {recorded}")]
    Other {
        /// The model.
        model: String,
        /// The version.
        version: String,
        /// The digest on disk, its beginning.
        found: String,
        /// The digest in the log, its beginning.
        recorded: String,
    },
    /// It does not load.
    #[error(transparent)]
    Refused(#[from] VersionError),
}

/// The version that gave a score, from the directory of models: its manifest must have the digest that was recorded.
pub fn recorded(
    models: &Path,
    trust: &Trust,
    [model, version, digest]: [&str; 3],
) -> Result<Version, Unfound> {
    let folder = models.join(model).join(version);
    // The names come from a file that anybody may have edited, and must not lead elsewhere.
    if !is_name(model) || !is_name(version) || !folder.join(MANIFEST).exists() {
        return Err(Unfound::Gone { model: model.into(), version: version.into() });
    }
    let found = Version::load_trusted(&folder, trust)?;
    if *found.id.digest != *digest {
        let (found, recorded) = (short(&found.id.digest), short(digest));
        return Err(Unfound::Other { model: model.into(), version: version.into(), found, recorded });
    }
    Ok(found)
}

/// Enough of a digest to tell it from others.
pub(super) fn short(digest: &str) -> String {
    digest.chars().take(12).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::fixture;

    fn rescorer() -> (tempfile::TempDir, Rescorer) {
        let root = tempfile::tempdir().unwrap();
        let folder = fixture::write(root.path(), "lead", "1", 0.5);
        let version = Version::load(&folder).unwrap();
        (root, Rescorer::new(Arc::new(version)))
    }

    #[test]
    fn a_row_scores_as_its_values_do_alone_and_in_a_batch() {
        let (_root, mut rescorer) = rescorer();
        let check = |rescorer: &mut Rescorer, json: &str, values: [Value<'_>; 2]| {
            let model = &rescorer.version().model.clone();
            let expected = model.score(|i| &values[i], &mut Scratch::default()).unwrap();
            assert_eq!(rescorer.score(json), Ok(expected), "{json}");
            rescorer.push(json).unwrap();
            expected
        };
        let web = || Value::Text("web".into());
        let expected = [
            check(&mut rescorer, r#"{"budget":12.5,"channel":"web"}"#, [Value::Number(12.5), web()]),
            check(&mut rescorer, r#"{"channel":"web","budget":12.5}"#, [Value::Number(12.5), web()]),
            check(&mut rescorer, r#"{"a":1,"budget":3.0,"city":"x"}"#, [Value::Number(3.0), Value::Missing]),
            check(&mut rescorer, r#"{"budget":3.0,"channel":"\u0077eb"}"#, [Value::Number(3.0), web()]),
        ];
        let mut scored = Vec::new();
        rescorer.flush(|one| scored.push(one.unwrap()));
        assert_eq!(scored, expected);
        rescorer.flush(|_| panic!("the batch is empty"));
    }

    #[test]
    fn a_row_that_cannot_be_scored_says_why_and_leaves_the_batch_alone() {
        let (_root, mut rescorer) = rescorer();
        for (json, expected) in [
            (r#"{"channel":"web"}"#, "required feature `budget` is missing"),
            (r#"{"budget":"9f3c"}"#, "required feature `budget` is missing"),
            (r#"{"budget":"hash:0123456789abcdef"}"#, "feature `budget` is not kept in the log"),
            (r#"{"budget":1.0,"channel":null}"#, "feature `channel` is not kept in the log"),
            (r#"{"budget":[1]}"#, "features: column 11: not an object of numbers, words, true and false"),
            (r#"{"budget":1e300}"#, "the score is not finite"),
        ] {
            assert_eq!(rescorer.score(json).unwrap_err().to_string(), expected);
            assert_eq!(rescorer.push(json).is_ok(), expected.starts_with("the score"));
        }
        let mut scored = Vec::new();
        rescorer.push(r#"{"budget":1.0}"#).unwrap();
        rescorer.flush(|one| scored.push(one.is_ok()));
        assert_eq!(scored, [false, true]);
    }

    #[test]
    fn a_score_is_explained() {
        let (_root, mut rescorer) = rescorer();
        let explained = rescorer.explain(r#"{"budget":30.0,"channel":"web"}"#).unwrap();
        assert_eq!(explained.reasons[0].text.as_ref(), "budget: high");
        let sum: f32 = explained.phi.iter().sum();
        assert!((sum - (explained.lead - explained.background)).abs() < 1e-5);
        assert!(rescorer.explain("{}").is_err());
        let row = rescorer.row(r#"{"budget":null,"channel":"x","city":null}"#).unwrap();
        assert_eq!(row, Row { values: vec![Value::Missing, Value::Text("x".into())], withheld: vec![0] });
    }

    #[test]
    fn the_version_that_gave_a_score_is_told_by_its_digest() {
        let root = tempfile::tempdir().unwrap();
        let folder = fixture::write(root.path(), "lead", "1", 0.5);
        let digest = Version::load(&folder).unwrap().id.digest;
        let find = |version: &str, digest: &str| {
            recorded(root.path(), &Trust::default(), ["lead", version, digest]).map(|found| found.id.digest)
        };
        assert_eq!(find("1", &digest).unwrap(), digest);
        let told = |version: &str, digest: &str| find(version, digest).unwrap_err().to_string();
        assert_eq!(told("2", &digest), "lead/2 is not among the models any more");
        assert_eq!(told("../lead/1", &digest), "lead/../lead/1 is not among the models any more");
        let expected = format!("lead/1 has digest {} now, the score was given by abcdef", &digest[..12]);
        assert_eq!(told("1", "abcdef"), expected);
        std::fs::write(folder.join(crate::registry::WEIGHTS), "other").unwrap();
        assert!(matches!(find("1", &digest), Err(Unfound::Refused(_))));
    }
}
