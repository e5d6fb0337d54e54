//! What became of the leads of a trial. It changes for as long as anything becomes of them, and is counted whole each time.
//!
//! A label settles with time: of what happened to a lead within the horizon the last counts, and a lead is lost only once the
//! horizon is over. A lead that was closed when it came has nothing to tell of a version, and is not labelled.

use rusqlite::params;

use super::{
    evidence::{Horizon, OnCanary, OnStep, OnTrial},
    folds::{side, sides, text},
    labels::{LABEL, WAS_OPEN},
    store::{Store, StoreError},
};
use crate::{
    lead::{AucDifference, Cohort, Labelled, Sides},
    stats::{self, Delong},
};

/// Two versions of a model.
#[derive(Clone, Copy, Debug)]
pub(in crate::leadlog) struct Versus<'s> {
    /// The model's name.
    pub(in crate::leadlog) model: &'s str,
    /// The version that serves.
    pub(in crate::leadlog) champion: &'s str,
    /// The version on trial.
    pub(in crate::leadlog) challenger: &'s str,
    /// Earlier scores do not count, in milliseconds since 1970.
    pub(in crate::leadlog) since_ms: i64,
}

/// Of all trials of a model.
#[derive(Clone, Debug, Default)]
pub(in crate::leadlog) struct Settled {
    /// Of each pair of versions.
    pub(in crate::leadlog) labelled: Vec<(Labelled, Option<AucDifference>)>,
    /// Of each step of the canary.
    pub(in crate::leadlog) cohorts: Vec<Sides<Cohort>>,
}

impl Settled {
    pub(in crate::leadlog) fn count(
        store: &Store,
        of: &OnTrial,
        horizon: Horizon,
    ) -> Result<Self, StoreError> {
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
            "SELECT arm, CASE WHEN met.time_ms <= ?5 AND {WAS_OPEN} THEN coalesce({LABEL}, 0) END
             FROM exposures AS met
             WHERE model = ?1 AND experiment = ?2 AND met.time_ms >= ?3 AND met.time_ms < ?4 AND key <> 'request'"
        ))?;
        let (from_ms, to_ms) = (step.from_ms, step.to_ms.unwrap_or(i64::MAX));
        let settled = horizon.settled_ms();
        let mut rows =
            statement.query(params![model, canary.version, from_ms, to_ms, settled, horizon.ms])?;
        let mut arms: Sides<Cohort> = Sides::default();
        // Row by row: SQLite would keep all of them to add them up by arm.
        while let Some(row) = rows.next()? {
            if let Some(arm) = side(&mut arms, text(row, 0)?) {
                let won: Option<bool> = row.get(1)?;
                arm.leads += 1;
                arm.matured += u64::from(won.is_some());
                arm.conversions += u64::from(won.unwrap_or_default());
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
        let both = |row| {
            format!(
                "{row}.model = ?1 AND {row}.version IN (?2, ?3) AND {row}.time_ms >= ?4 AND {row}.time_ms <= ?5
                 AND {row}.live_version IN (?2, ?3) AND {row}.live_version <> {row}.version AND {row}.score IS NOT NULL"
            )
        };
        let (met, before) = (both("met"), both("before"));
        let mut statement = self.connection.prepare_cached(&format!(
            "SELECT version = ?3, live_score, score, coalesce({LABEL}, 0) FROM shadow_scores AS met
             WHERE {met} AND met.lead IS NOT NULL AND NOT EXISTS (
                 SELECT 1 FROM shadow_scores AS before INDEXED BY shadow_scores_lead
                 WHERE before.lead = met.lead AND before.seq < met.seq AND before.seq >= ({FIRST}) AND {before})
             AND {WAS_OPEN}"
        ))?;
        let settled = horizon.settled_ms();
        let mut rows =
            statement.query(params![model, champion, challenger, since_ms, settled, horizon.ms])?;
        let (mut labelled, mut ranked) = (Labelled::default(), Ranked::default());
        while let Some(row) = rows.next()? {
            let (pair, won) = (sides(row.get(0)?, (row.get(1)?, row.get(2)?)), row.get(3)?);
            let loss = |score: f64| stats::log_loss(&[score], &[won]);
            labelled.count(won, loss(pair.champion) - loss(pair.challenger), &pair);
            ranked.count(pair, won);
        }
        Ok((labelled, ranked.auc()))
    }
}

/// The first row of a trial's versions: a lead may have very many of earlier trials.
const FIRST: &str =
    "SELECT min(seq) FROM shadow_scores WHERE model = ?1 AND version IN (?2, ?3) AND time_ms >= ?4";

/// Leads that are ranked at most, which takes some 20 MiB for a moment: an area is known well enough by then.
const MOST_RANKED: usize = 1 << 18;

/// Leads to rank: all, or every second, fourth, and so on where they are too many.
struct Ranked {
    scores: Sides<Vec<f64>>,
    labels: Vec<bool>,
    seen: usize,
    every: usize,
}

impl Default for Ranked {
    fn default() -> Self {
        Self { scores: Sides::default(), labels: Vec::new(), seen: 0, every: 1 }
    }
}

impl Ranked {
    fn count(&mut self, scores: Sides<f64>, won: bool) {
        if self.seen.is_multiple_of(self.every) {
            self.scores.champion.push(scores.champion);
            self.scores.challenger.push(scores.challenger);
            self.labels.push(won);
        }
        self.seen += 1;
        if self.labels.len() >= MOST_RANKED {
            halve(&mut self.scores.champion);
            halve(&mut self.scores.challenger);
            halve(&mut self.labels);
            self.every *= 2;
        }
    }

    fn auc(&self) -> Option<AucDifference> {
        let Self { scores, labels, .. } = self;
        let delong = Delong::new(&scores.champion, &scores.challenger, labels)?;
        let [_, upper] = delong.interval();
        Some(AucDifference { difference: delong.delta(), upper })
    }
}

/// Keeps every second.
fn halve<T>(all: &mut Vec<T>) {
    let mut place = 0_usize;
    all.retain(|_| {
        place += 1;
        !place.is_multiple_of(2)
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_very_many_leads_some_of_all_times_are_ranked() {
        let mut ranked = Ranked::default();
        let check = |ranked: &Ranked, every: usize, leads: usize| {
            let Sides { champion, challenger } = &ranked.scores;
            assert_eq!((ranked.every, champion.len(), challenger.len()), (every, leads, leads));
            let expected = champion.iter().enumerate().all(|(n, score)| *score == (n * every) as f64);
            assert!(expected && ranked.labels.len() == leads, "each at the same distance from the next");
        };
        for n in 0..3 * MOST_RANKED {
            if n == MOST_RANKED - 1 {
                check(&ranked, 1, n);
            }
            ranked.count(Sides { champion: n as f64, challenger: -(n as f64) }, n % 8 == 0);
        }
        check(&ranked, 4, 3 * MOST_RANKED / 4);
        let auc = ranked.auc().unwrap();
        assert!(auc.difference.abs() < 1e-4 && auc.upper < 0.01, "{auc:?}");
    }
}
