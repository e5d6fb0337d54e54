//! Families of models: how each is fitted, what of that may be varied, and the forms in which they take leads.

use std::{
    borrow::Cow,
    collections::{BTreeMap, btree_map::Entry},
    ops::ControlFlow,
};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::{
    ColumnOptions, Epoch, TrainError, boost,
    dataset::Dataset,
    fit::{self, Fitted, Matrix},
    publish::{self, Artefact},
    schema,
    search::{Distribution, Space},
};
use crate::{
    lead::Value,
    registry::WEIGHTS,
    score::{Encoder, Kind, Schema},
};

/// Logistic regression.
const LINEAR: fit::Recipe = fit::Recipe {
    kind: Kind::Linear,
    name: "linear",
    parts: 0,
    centred: false,
    members: 1,
    layers: 0,
    hidden: 0,
    rate: 5e-3,
    decay: 1e-3,
    input_dropout: 0.0,
    dropout: 0.0,
    batch: 256,
    epochs: 20,
    patience: 5,
};

/// One small layer: on the bank data 32 units over standardised numbers rank better than 64-32, and take 45 ns a lead
/// instead of 115. Dropout earns .001.
const MLP: fit::Recipe = fit::Recipe {
    kind: Kind::Mlp,
    name: "mlp",
    layers: 1,
    hidden: 32,
    rate: 2e-3,
    decay: 1e-2,
    dropout: 0.3,
    epochs: 30,
    patience: 8,
    ..LINEAR
};

/// Four networks over piecewise numbers. What each part earns on the bank data stands in `docs/training.md`.
const ENSEMBLE: fit::Recipe = fit::Recipe {
    name: "ensemble",
    parts: 48,
    centred: true,
    members: 4,
    layers: 2,
    rate: 8e-3,
    input_dropout: 0.4,
    dropout: 0.0,
    epochs: 15,
    patience: 5,
    ..MLP
};

/// Boosted trees. Their columns and rows are drawn anew for each, which is worth .003 on the bank data.
const TREES: boost::Recipe = boost::Recipe {
    rate: 0.05,
    leaves: 15,
    depth: 8,
    least_rows: 20,
    l2: 1.0,
    features: 0.5,
    rows: 0.8,
    trees: 1000,
    patience: 60,
};

/// The trees' file in a version's folder.
pub(super) const TREES_FILE: &str = "model.txt";

/// Rounds between two that are reported.
const REPORTED: usize = 10;

/// What to train.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KindChoice {
    /// All, and keep the best.
    Best,
    /// Logistic regression only.
    Linear,
    /// One small MLP only.
    Mlp,
    /// Four MLPs over piecewise numbers, their mean: costs most.
    Ensemble,
    /// Boosted trees, as a LightGBM file.
    Trees,
}

impl KindChoice {
    /// The families, the simplest first.
    pub(super) fn families(self) -> &'static [Family] {
        const ALL: [Family; 4] = [Family::Linear, Family::Mlp, Family::Ensemble, Family::Trees];
        let [linear, mlp, ensemble, trees] = ALL.each_ref().map(std::slice::from_ref);
        match self {
            Self::Best => &ALL,
            Self::Linear => linear,
            Self::Mlp => mlp,
            Self::Ensemble => ensemble,
            Self::Trees => trees,
        }
    }
}

/// A way to make a model of leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Linear,
    Mlp,
    Ensemble,
    Trees,
}

/// Everything that a fit needs to know beside the leads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Recipe {
    Network(fit::Recipe),
    Trees(boost::Recipe),
}

/// A model that was trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Candidate {
    /// Its family.
    pub network: Cow<'static, str>,
    /// Validation AUC of its best epoch.
    pub auc: f64,
    /// The best epoch.
    pub epoch: usize,
}

/// What came of a fit.
#[derive(Debug)]
pub(super) struct Tried {
    pub(super) candidate: Candidate,
    pub(super) kind: Kind,
    pub(super) schema: Schema,
    /// The file's name.
    pub(super) name: &'static str,
    pub(super) bytes: Vec<u8>,
}

impl Tried {
    pub(super) fn artefact(&self) -> Artefact<'_> {
        let schema = self.schema.clone();
        Artefact { kind: self.kind, objective: None, schema, name: self.name, bytes: &self.bytes }
    }
}

impl Family {
    /// What reports and studies call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Linear => LINEAR.name,
            Self::Mlp => MLP.name,
            Self::Ensemble => ENSEMBLE.name,
            Self::Trees => "trees",
        }
    }

    /// What it is fitted with where nothing is varied.
    pub(super) fn own(self) -> Recipe {
        match self {
            Self::Linear => Recipe::Network(LINEAR),
            Self::Mlp => Recipe::Network(MLP),
            Self::Ensemble => Recipe::Network(ENSEMBLE),
            Self::Trees => Recipe::Trees(TREES),
        }
    }

    /// What may be varied, between which ends.
    pub(super) fn space(self) -> Space {
        let (float, log) = (Distribution::float, Distribution::int_log);
        let varied = match self {
            Self::Linear => vec![("rate", float(1e-3, 5e-2, true)), ("decay", float(1e-5, 0.1, true))],
            Self::Mlp => vec![
                ("layers", Distribution::int(1, 2, 1)),
                ("hidden", log(8, 128)),
                ("rate", float(5e-4, 2e-2, true)),
                ("decay", float(1e-4, 0.1, true)),
                ("dropout", float(0.0, 0.5, false)),
            ],
            Self::Ensemble => vec![
                ("hidden", log(16, 64)),
                ("rate", float(1e-3, 3e-2, true)),
                ("decay", float(1e-4, 0.1, true)),
                ("input_dropout", float(0.0, 0.6, false)),
            ],
            Self::Trees => vec![
                ("rate", float(0.01, 0.3, true)),
                ("leaves", log(4, 128)),
                ("least_rows", log(5, 200)),
                ("l2", float(1e-3, 100.0, true)),
                ("features", float(0.3, 1.0, false)),
                ("rows", float(0.4, 1.0, false)),
            ],
        };
        varied.into_iter().map(|(name, values)| (name.to_owned(), values)).collect()
    }

    /// The values of its own recipe, as people write them.
    pub(super) fn settings(self) -> BTreeMap<String, Json> {
        let mut own = self.own();
        let value = |(name, values): (String, Distribution)| {
            let value = own.slot(&name)?.get();
            Some((name, values.external(value)))
        };
        self.space().into_iter().filter_map(value).collect()
    }

    /// Its own recipe with other values.
    pub(super) fn varied(self, values: &[(String, f64)]) -> Recipe {
        let mut recipe = self.own();
        for (name, value) in values {
            if let Some(mut slot) = recipe.slot(name) {
                slot.set(*value);
            }
        }
        recipe
    }
}

/// Where a value of a recipe stands.
enum Slot<'r> {
    Real(&'r mut f64),
    Share(&'r mut f32),
    Count(&'r mut usize),
}

impl Slot<'_> {
    fn get(&self) -> f64 {
        match self {
            Self::Real(real) => **real,
            // By its digits: 0.4 stays 0.4.
            Self::Share(share) => share.to_string().parse().unwrap_or_default(),
            Self::Count(count) => **count as f64,
        }
    }

    /// A count takes the whole part.
    fn set(&mut self, value: f64) {
        match self {
            Self::Real(real) => **real = value,
            Self::Share(share) => **share = value as f32,
            Self::Count(count) => **count = value as usize,
        }
    }
}

impl Recipe {
    fn slot(&mut self, name: &str) -> Option<Slot<'_>> {
        Some(match (self, name) {
            (Self::Network(recipe), "layers") => Slot::Count(&mut recipe.layers),
            (Self::Network(recipe), "hidden") => Slot::Count(&mut recipe.hidden),
            (Self::Network(recipe), "rate") => Slot::Real(&mut recipe.rate),
            (Self::Network(recipe), "decay") => Slot::Real(&mut recipe.decay),
            (Self::Network(recipe), "dropout") => Slot::Share(&mut recipe.dropout),
            (Self::Network(recipe), "input_dropout") => Slot::Share(&mut recipe.input_dropout),
            (Self::Trees(recipe), "rate") => Slot::Real(&mut recipe.rate),
            (Self::Trees(recipe), "leaves") => Slot::Count(&mut recipe.leaves),
            (Self::Trees(recipe), "least_rows") => Slot::Count(&mut recipe.least_rows),
            (Self::Trees(recipe), "l2") => Slot::Real(&mut recipe.l2),
            (Self::Trees(recipe), "features") => Slot::Real(&mut recipe.features),
            (Self::Trees(recipe), "rows") => Slot::Real(&mut recipe.rows),
            _ => return None,
        })
    }

    fn form(&self) -> Form {
        match self {
            Self::Network(recipe) => Form::Columns { parts: recipe.parts },
            Self::Trees(_) => Form::Bins,
        }
    }
}

/// How a family takes leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Form {
    /// As the encoder that serves writes them, numbers cut into so many parts.
    Columns {
        parts: usize,
    },
    Bins,
}

/// Leads in one form.
struct Ready {
    schema: Schema,
    rows: Rows,
}

enum Rows {
    Columns { train: Matrix, valid: Matrix },
    Bins { train: boost::Binned, valid: boost::Binned },
}

/// Leads in every form that is asked for, made once for all fits.
pub(super) struct Forms<'d> {
    train: &'d Dataset,
    valid: &'d Dataset,
    ready: BTreeMap<Form, Ready>,
}

impl<'d> Forms<'d> {
    pub(super) fn new(
        families: &[Family],
        columns: &ColumnOptions,
        [train, valid]: [&'d Dataset; 2],
    ) -> Result<Self, TrainError> {
        let mut ready = BTreeMap::new();
        for form in families.iter().map(|family| family.own().form()) {
            if let Entry::Vacant(place) = ready.entry(form) {
                place.insert(form.ready(columns, [train, valid])?);
            }
        }
        Ok(Self { train, valid, ready })
    }

    /// Fits one model. Deterministic for a seed. `each` hears of epochs and may end it.
    pub(super) fn fit(
        &self,
        recipe: &Recipe,
        seed: u64,
        each: &mut dyn FnMut(Epoch) -> ControlFlow<()>,
    ) -> Result<Tried, TrainError> {
        let lacks = || TrainError::Fit("the leads are not there in this form".into());
        let Ready { schema, rows } = self.ready.get(&recipe.form()).ok_or_else(lacks)?;
        let schema = schema.clone();
        match (recipe, rows) {
            (Recipe::Network(recipe), Rows::Columns { train, valid }) => {
                let Fitted { network, auc, epoch } = fit::fit(recipe, train, valid, seed, each)?;
                let candidate = Candidate { network: recipe.name.into(), auc, epoch };
                Ok(Tried { candidate, kind: recipe.kind, schema, name: WEIGHTS, bytes: network.to_bytes()? })
            }
            (Recipe::Trees(recipe), Rows::Bins { train: rows, valid: judged }) => {
                let labelled = |rows, labels| boost::Labelled { rows, labels };
                let (train, valid) =
                    (labelled(rows, &self.train.labels), labelled(judged, &self.valid.labels));
                let boosted = boost::fit(recipe, train, valid, seed, &mut |round| {
                    let is_told = round.trees % REPORTED == 0;
                    if is_told { each(recipe.epoch(round)) } else { ControlFlow::Continue(()) }
                });
                let bytes = boost::to_text(&boosted, rows).into_bytes();
                let (network, kind) = (Family::Trees.name(), Kind::Lightgbm);
                let candidate =
                    Candidate { network: network.into(), auc: boosted.auc, epoch: boosted.rounds() };
                Ok(Tried { candidate, kind, schema, name: TREES_FILE, bytes })
            }
            _ => Err(lacks()),
        }
    }
}

impl Form {
    fn ready(self, columns: &ColumnOptions, [train, valid]: [&Dataset; 2]) -> Result<Ready, TrainError> {
        let parts = match self {
            Form::Columns { parts } => parts,
            Form::Bins => 0,
        };
        let mut schema = schema::schema(train, parts);
        columns.apply(&mut schema).map_err(|reason| TrainError::data(train.path(), reason))?;
        let encoder = Encoder::new(&schema)?;
        let rows = match self {
            Form::Columns { .. } => {
                Rows::Columns { train: matrix(&encoder, train)?, valid: matrix(&encoder, valid)? }
            }
            Form::Bins => {
                let train = boost::Binned::new(&schema, &plain(&encoder, train));
                let valid = train.alike(&plain(&encoder, valid));
                Rows::Bins { train, valid }
            }
        };
        Ok(Ready { schema, rows })
    }
}

impl boost::Recipe {
    fn epoch(&self, round: boost::Round) -> Epoch {
        let boost::Round { trees, loss, auc } = round;
        Epoch { network: Family::Trees.name(), epoch: trees, epochs: self.trees, loss, auc }
    }
}

/// Rows as trees take them.
fn plain(encoder: &Encoder, dataset: &Dataset) -> Vec<f64> {
    let (mut row, mut rows) = (Vec::new(), Vec::new());
    for i in 0..dataset.rows() {
        let lead = dataset.lead(i);
        encoder.encode_plain(|i| lead.get(i).unwrap_or(&Value::Missing), &mut row);
        rows.extend_from_slice(&row);
    }
    rows
}

/// The input columns of every row, through the encoder that serves.
fn matrix(encoder: &Encoder, dataset: &Dataset) -> Result<Matrix, TrainError> {
    let (mut row, mut columns) = (Vec::new(), Vec::new());
    for i in 0..dataset.rows() {
        publish::encode(encoder, dataset, i, &mut row)?;
        encoder.expand(&row, &mut columns);
    }
    Ok(Matrix::new(columns, dataset.labels.clone())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_varied_is_of_the_recipe_and_its_own_values_are_among_them() {
        for family in KindChoice::Best.families() {
            let (space, settings) = (family.space(), family.settings());
            assert_eq!(space.keys().collect::<Vec<_>>(), settings.keys().collect::<Vec<_>>(), "{family:?}");
            for (name, values) in &space {
                assert!(values.is_sound(), "{name}");
                let own = values.internal(&settings[name]);
                assert!(own.is_some(), "{name}: {}", settings[name]);
                // Some value in the range makes another recipe, so the name reaches the recipe.
                let other =
                    [2.0, 0.02, 0.2].into_iter().find(|other| values.contains(*other) && own != Some(*other));
                let other = other.unwrap_or(16.0);
                assert_ne!(family.varied(&[(name.clone(), other)]), family.own(), "{name}");
            }
            let own: Vec<(String, f64)> =
                settings.iter().filter_map(|(name, value)| Some((name.clone(), value.as_f64()?))).collect();
            assert_eq!(family.varied(&own), family.own(), "{family:?}");
            assert_eq!(family.varied(&[("age".into(), 7.0)]), family.own());
        }
    }
}
