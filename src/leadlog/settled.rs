//! What became of the leads of a trial. It changes for as long as anything becomes of them, and is counted whole each time.
//!
//! A label settles with time: of what happened to a lead within the horizon the last counts, and a lead is lost only once the
//! horizon is over. A lead that was closed when it came has nothing to tell of a version, and is not labelled.

use rusqlite::{Row, params};

use super::{
    evidence::{Horizon, OnCanary, OnStep, OnTrial},
    folds::{side, sides},
    labels::{LABEL, WAS_OPEN},
    store::{Store, StoreError},
};
use crate::{
    lead::{AucDifference, Cohort, Labelled, Sides},
    stats::{self, Delong},
};

/// Two versions of a model.
#[derive(Clone, Copy, Debug)]
pub(super) struct Versus<'s> {
    /// The model's name.
    pub(super) model: &'s str,
    /// The version that serves.
    pub(super) champion: &'s str,
    /// The version on trial.
    pub(super) challenger: &'s str,
    /// Earlier scores do not count, in milliseconds since 1970.
    pub(super) since_ms: i64,
}

/// Of all trials of a model.
#[derive(Clone, Debug, Default)]
pub(super) struct Settled {
    /// Of each pair of versions.
    pub(super) labelled: Vec<(Labelled, Option<AucDifference>)>,
    /// Of each step of the canary.
    pub(super) cohorts: Vec<Sides<Cohort>>,
}

impl Settled {
    pub(super) fn count(store: &Store, of: &OnTrial, horizon: Horizon) -> Result<Self, StoreError> {
        let labelled = of.pairs().map(|pair| store.labelled(&pair, horizon));
        let steps = of.canary.iter().flat_map(|canary| canary.steps.iter().map(move |step| (canary, step)));
        let cohorts = steps.map(|(canary, step)| store.cohorts((&of.model, canary), step, horizon));
        Ok(Self {
            labelled: labelled.collect::<Result<_, _>>()?,
            cohorts: cohorts.collect::<Result<_, _>>()?,
        })
    }
}

impl Store {
    /// The leads that were first exposed in a step, and those of them that converted.
    fn cohorts(
        &self,
        (model, canary): (&str, &OnCanary),
        step: &OnStep,
        horizon: Horizon,
    ) -> Result<Sides<Cohort>, StoreError> {
        let mut statement = self.connection.prepare_cached(&format!(
            "SELECT arm, count(*), count(won), total(won) FROM (
                 SELECT arm, CASE WHEN met.time_ms <= ?5 AND {WAS_OPEN} THEN coalesce({LABEL}, 0) END AS won
                 FROM exposures AS met
                 WHERE model = ?1 AND experiment = ?2 AND met.time_ms >= ?3 AND met.time_ms < ?4
                     AND key <> 'request')
             GROUP BY 1"
        ))?;
        let (from_ms, to_ms) = (step.from_ms, step.to_ms.unwrap_or(i64::MAX));
        let settled = horizon.settled_ms();
        let mut rows =
            statement.query(params![model, canary.version, from_ms, to_ms, settled, horizon.ms])?;
        let mut arms = Sides::default();
        while let Some(row) = rows.next()? {
            if let Some(arm) = side(&mut arms, &row.get::<_, String>(0)?) {
                *arm = Cohort { leads: count(row, 1)?, matured: count(row, 2)?, conversions: count(row, 3)? };
            }
        }
        Ok(arms)
    }

    /// The first pair of each lead whose label is settled. What is younger is not even looked at: in a trial's first weeks
    /// that is all.
    fn labelled(
        &self,
        of: &Versus<'_>,
        horizon: Horizon,
    ) -> Result<(Labelled, Option<AucDifference>), StoreError> {
        let Versus { model, champion, challenger, since_ms } = *of;
        let mut statement = self.connection.prepare_cached(&format!(
            "SELECT version = ?3, live_score, score, coalesce({LABEL}, 0) FROM shadow_scores AS met
             WHERE seq IN (
                 SELECT min(seq) FROM shadow_scores WHERE {BOTH} AND score IS NOT NULL AND lead IS NOT NULL GROUP BY lead)
             AND {WAS_OPEN}
             ORDER BY seq"
        ))?;
        let settled = horizon.settled_ms();
        let mut rows =
            statement.query(params![model, champion, challenger, since_ms, settled, horizon.ms])?;
        let (mut labelled, mut labels) = (Labelled::default(), Vec::new());
        let mut scores: Sides<Vec<f64>> = Sides::default();
        while let Some(row) = rows.next()? {
            let (pair, won) = (sides(row.get(0)?, (row.get(1)?, row.get(2)?)), row.get(3)?);
            let loss = |score: f64| stats::log_loss(&[score], &[won]);
            labelled.count(won, loss(pair.champion) - loss(pair.challenger), &pair);
            scores.champion.push(pair.champion);
            scores.challenger.push(pair.challenger);
            labels.push(won);
        }
        let delong = Delong::new(&scores.champion, &scores.challenger, &labels);
        let auc = delong.map(|delong| {
            let [_, upper] = delong.interval();
            AucDifference { difference: delong.delta(), upper }
        });
        Ok((labelled, auc))
    }
}

/// Rows of the challenger where the champion answered, and the other way round, that have had their time.
const BOTH: &str = "model = ?1 AND version IN (?2, ?3) AND time_ms >= ?4 AND time_ms <= ?5
    AND live_version IN (?2, ?3) AND live_version <> version";

/// A count; `total()` gives them as floats.
fn count(row: &Row<'_>, column: usize) -> Result<u64, StoreError> {
    // The cast saturates; nothing that is counted is below zero.
    Ok(row.get::<_, f64>(column)? as u64)
}
