//! Trees that serve: a model of LightGBM or XGBoost whose raw score is, by a factor, the logit of a probability.
//!
//! The file's columns are the schema's features in the schema's order. A file that names them otherwise, that lists other
//! words for a category, or that predicts anything but a probability is refused: it would score, plausibly and wrongly.

use super::{
    Encoding, Kind, ModelError, Objective, Schema,
    trees::{NoObjective, TreeScratch, Trees, is_alike},
};

/// Trees and the factor from their raw score to a logit.
#[derive(Clone, Debug)]
pub(super) struct Boosted {
    trees: Trees,
    scale: f64,
}

impl Boosted {
    /// Reads the file of a kind of trees; the bytes may be hostile. An objective counts only where the file names none.
    pub(super) fn read(
        (kind, objective): (Kind, Option<Objective>),
        bytes: &[u8],
        schema: &Schema,
    ) -> Result<Self, ModelError> {
        let without = objective.map_or(NoObjective::Refuse, |Objective::Binary| NoObjective::Logit);
        let trees = Trees::read_as(bytes, without).map_err(|error| ModelError::Trees(error.to_string()))?;
        let library = if trees.is_single() { Kind::Xgboost } else { Kind::Lightgbm };
        if library != kind {
            return Err(ModelError::Trees(format!("a file of {library:?}, the kind is {kind:?}")));
        }
        check_columns(&trees, schema)?;
        let scale = trees.logit_scale().ok_or_else(|| {
            ModelError::Trees(format!(
                "`{}` predicts {}, not a probability",
                trees.objective(),
                trees.predicts()
            ))
        })?;
        Ok(Self { trees, scale })
    }

    /// The logit of a row of [`super::Encoder::encode_plain`]; NaN for a row of another length.
    pub(super) fn logit(&self, row: &[f64], scratch: &mut TreeScratch) -> f64 {
        let mut raw = [f64::NAN];
        match self.trees.raw(row, scratch, &mut raw) {
            Ok(()) => self.to_logit(raw[0]),
            Err(_) => f64::NAN,
        }
    }

    /// The raw scores of such rows, one after another.
    pub(super) fn raw_batch(&self, rows: &[f64], scratch: &mut TreeScratch, raw: &mut Vec<f64>) {
        raw.clear();
        raw.resize(rows.len() / self.trees.features().max(1), f64::NAN);
        // Whole rows and a place for each, so it does not fail; if it did, there would be no score.
        if self.trees.raw_batch(rows, scratch, raw).is_err() {
            raw.fill(f64::NAN);
        }
    }

    /// The logit of a raw score. An f32 would be too coarse: a logit of 3 cut to it moves the probability's last digit.
    pub(super) fn to_logit(&self, raw: f64) -> f64 {
        raw * self.scale
    }
}

/// The file's columns must be the schema's features, in order, but for the spaces in their names, and with the same words.
fn check_columns(trees: &Trees, schema: &Schema) -> Result<(), ModelError> {
    for (i, (name, feature)) in trees.names().iter().zip(&schema.features).enumerate() {
        if !is_alike(name, &feature.name) {
            let name: String = name.chars().take(64).collect();
            let reason = format!("column {i} is `{name}`, the schema's feature is `{}`", feature.name);
            return Err(ModelError::Trees(reason));
        }
    }
    let (columns, features) = (trees.features(), schema.features.len());
    if columns != features {
        return Err(ModelError::Trees(format!("{columns} columns, the schema has {features} features")));
    }
    for (i, feature) in schema.features.iter().enumerate() {
        let refuse = |reason| Err(ModelError::Schema { feature: feature.name.clone(), reason });
        match (&feature.encoding, trees.categories(i)) {
            (Encoding::Piecewise { .. }, _) => {
                return refuse("trees take numbers as they are, not piecewise");
            }
            (Encoding::Category { vocabulary }, Some(words)) if words == vocabulary => {}
            (_, Some(_)) => return refuse("the words are not those of the trees' file, in its order"),
            (_, None) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{goldens, score::FeatureSpec};

    fn schema(encoding: &Encoding, names: impl Iterator<Item = String>) -> Schema {
        Schema { features: names.map(|name| FeatureSpec::new(name, false, encoding.clone())).collect() }
    }

    fn refused(kind: Kind, file: &str, schema: &Schema, expected: &str) {
        let Some(bytes) = goldens::bytes(&format!("goldens/models/{file}")) else { return };
        let error = Boosted::read((kind, None), &bytes, schema).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    fn named(count: usize) -> impl Iterator<Item = String> {
        (0..count).map(|i| format!("f{i}"))
    }

    const NUMBER: Encoding = Encoding::Number { median: 0.0, mean: 0.0, sd: 1.0 };

    #[test]
    fn columns_must_be_the_schemas_features() {
        let renamed = named(19).map(|name| name.replace("f7", "rate"));
        let renamed = schema(&NUMBER, renamed);
        refused(
            Kind::Lightgbm,
            "lgb_bank_cat.txt",
            &renamed,
            "column 7 is `f7`, the schema's feature is `rate`",
        );
        refused(
            Kind::Lightgbm,
            "lgb_bank_cat.txt",
            &schema(&NUMBER, named(18)),
            "19 columns, the schema has 18",
        );
        refused(
            Kind::Xgboost,
            "xgb_bank_num.ubj",
            &schema(&NUMBER, named(20)),
            "19 columns, the schema has 20",
        );
        let piecewise = Encoding::Piecewise { median: 0.0, mean: 0.0, edges: vec![0.0, 1.0] };
        refused(
            Kind::Xgboost,
            "xgb_bank_num.json",
            &schema(&piecewise, named(19)),
            "`f0`: trees take numbers",
        );
    }

    #[test]
    fn only_probabilities_serve() {
        let bank = schema(&NUMBER, named(19));
        let refuse = |kind, file, expected| {
            let Some(bytes) = goldens::bytes(&format!("goldens/models/{file}")) else { return };
            let trees = Trees::read(&bytes).unwrap();
            let names = trees.names().to_vec().into_iter();
            let schema = if names.len() > 0 {
                schema(&NUMBER, names)
            } else {
                schema(&NUMBER, named(trees.features()))
            };
            refused(kind, file, &schema, expected);
        };
        refuse(Kind::Lightgbm, "lgb_bank_multiclass.txt", "predicts classes, not a probability");
        refuse(Kind::Xgboost, "xgb_bank_multi.ubj", "`multi:softprob` predicts classes, not a probability");
        refuse(Kind::Lightgbm, "lgb_maven_l2.txt", "`regression` predicts an amount, not a probability");
        refuse(Kind::Xgboost, "xgb_maven_sq.json", "`reg:squarederror` predicts an amount");
        refuse(Kind::Xgboost, "xgb_maven_poisson.json", "`count:poisson` predicts an amount");
        refused(Kind::Xgboost, "lgb_bank_cat.txt", &bank, "a file of Lightgbm, the kind is Xgboost");
        refused(Kind::Lightgbm, "xgb_bank_num.ubj", &bank, "a file of Xgboost, the kind is Lightgbm");
    }
}
