//! What became of the leads of a trial. It changes for as long as anything becomes of them, and is counted whole each time.
//!
//! A label settles with time: of what happened to a lead within the horizon the last counts, and a lead is lost only once the
//! horizon is over. A lead that was closed when it came has nothing to tell of a version, and is not labelled.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
};

use rusqlite::{OptionalExtension, params};

use super::{
    labels::{LABEL, WAS_OPEN},
    store::{Store, StoreError},
    trial::{Horizon, OnCanary, OnStep, OnTrial, Versus, side, sides, text},
};
use crate::{
    lead::{AucDifference, Cohort, Labelled, Sides},
    stats::{self, Delong},
};

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
    /// The leads that were first exposed in a step, and those of them that converted. A step that runs ends now: leads of a
    /// clock that jumped ahead wait until their time has come.
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
        let (from_ms, to_ms) = (step.from_ms, step.to_ms.unwrap_or(horizon.now_ms));
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

    /// The first pair of each lead, where its label is settled.
    fn labelled(
        &self,
        of: &Versus<'_>,
        horizon: Horizon,
    ) -> Result<(Labelled, Option<AucDifference>), StoreError> {
        let Versus { model, champion, challenger, since_ms } = *of;
        let (settled, (mut labelled, mut ranked)) =
            (horizon.settled_ms(), (Labelled::default(), Ranked::default()));
        // Each row is asked whether it is a pair again: it may have gone meanwhile, and another taken its number.
        let mut statement = self.connection.prepare_cached(&format!(
            "SELECT version = ?3, live_score, score, coalesce({LABEL}, 0) FROM shadow_scores AS met
             WHERE seq = ?7 AND {PAIR} AND time_ms <= ?5 AND {WAS_OPEN}"
        ))?;
        for seq in self.first_pairs(of, settled)? {
            let pair = params![model, champion, challenger, since_ms, settled, horizon.ms, seq];
            let pair = statement
                .query_row(pair, |row| Ok((sides(row.get(0)?, (row.get(1)?, row.get(2)?)), row.get(3)?)));
            if let Some((pair, won)) = pair.optional()? {
                let loss = |score: f64| stats::log_loss(&[score], &[won]);
                labelled.count(won, loss(pair.champion) - loss(pair.challenger), &pair);
                ranked.count(pair, won);
            }
        }
        Ok((labelled, ranked.auc()))
    }

    /// The numbers of the leads' first pairs. Each row of the two versions is looked at once, whatever came before it; some 60 bytes
    /// for each lead are taken for a moment, and none for its further rows.
    fn first_pairs(&self, of: &Versus<'_>, settled: i64) -> Result<Vec<i64>, StoreError> {
        let Versus { model, champion, challenger, since_ms } = *of;
        let mut statement = self.connection.prepare_cached(&pairs())?;
        let mut rows = statement.query(params![model, champion, challenger, since_ms, settled])?;
        let (hasher, mut firsts) = (RandomState::new(), HashMap::new());
        while let Some(row) = rows.next()? {
            let (seq, lead): (i64, _) = (row.get(0)?, hasher.hash_one(text(row, 1)?));
            // Rows come by version and time.
            firsts.entry(lead).and_modify(|first| *first = seq.min(*first)).or_insert(seq);
        }
        let mut firsts: Vec<i64> = firsts.into_values().collect();
        firsts.sort_unstable();
        Ok(firsts)
    }
}

/// Whether a row is a pair of the versions `?2` and `?3` of the model `?1`, and not before `?4`.
const PAIR: &str = "model = ?1 AND version IN (?2, ?3) AND time_ms >= ?4 AND live_version IN (?2, ?3)
    AND live_version <> version AND score IS NOT NULL AND lead IS NOT NULL";

/// Pairs up to the last row that is settled, which is not after `?5`. What was written later the index alone tells: in a
/// trial's first weeks that is all.
fn pairs() -> String {
    format!(
        "SELECT seq, lead FROM shadow_scores INDEXED BY shadow_scores_version
         WHERE {PAIR} AND seq <= (
             SELECT max(seq) FROM shadow_scores
             WHERE model = ?1 AND version IN (?2, ?3) AND time_ms >= ?4 AND time_ms <= ?5)"
    )
}

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
    use rusqlite::StatementStatus;

    use super::*;

    /// A log with rows of model `lead`: time, lead, version, the version that answered, and the score.
    fn log(rows: &[(i64, &str, &str, &str, Option<f64>)]) -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        store.connection.execute_batch("BEGIN").unwrap();
        for (time_ms, lead, version, live, score) in rows {
            let row = "INSERT INTO shadow_scores (time_ms, lead, model, version, digest, slot, live_version,
                       live_score, live_grade, live_ns, score, latency_ns)
                       VALUES (?1, ?2, 'lead', ?3, 'ab', 'shadow', ?4, 0.5, 'B', 1, ?5, 1)";
            let mut row = store.connection.prepare_cached(row).unwrap();
            row.execute(params![time_ms, lead, version, live, score]).unwrap();
        }
        store.connection.execute_batch("COMMIT").unwrap();
        (folder, store)
    }

    const OF: Versus<'static> = Versus { model: "lead", champion: "1", challenger: "2", since_ms: 10 };

    const HORIZON: Horizon = Horizon { ms: 100, now_ms: 1_000 };

    #[test]
    fn the_first_pair_of_a_lead_counts_once_it_is_settled() {
        let check = |rows: &[(i64, &'static str, f64)], expected: (u64, f64)| {
            let pair =
                |(time_ms, lead, score): &(i64, &'static str, f64)| (*time_ms, *lead, "2", "1", Some(*score));
            let (_folder, store) = log(&rows.iter().map(pair).collect::<Vec<_>>());
            let (labelled, _) = store.labelled(&OF, HORIZON).unwrap();
            assert_eq!((labelled.leads, labelled.expected.challenger), expected, "{rows:?}");
        };
        check(&[(500, "a", 0.25), (600, "a", 0.5), (600, "b", 0.5)], (2, 0.75));
        check(&[(900, "a", 0.25), (901, "b", 0.25)], (1, 0.25));
        check(&[(9, "a", 0.5), (500, "a", 0.25)], (1, 0.25));
        // The clock was set back: what was written first counts, and is not settled yet in the one case.
        check(&[(500, "a", 0.25), (400, "a", 0.5)], (1, 0.25));
        check(&[(950, "a", 0.25), (500, "a", 0.5), (500, "b", 0.5)], (1, 0.5));
    }

    #[test]
    fn rows_that_are_no_pairs_are_looked_at_once() {
        // The champion was another one, it was rolled back, or the shadow failed: always of one lead.
        let early = (0..3_000).map(|n| match n % 3 {
            0 => (n + 10, "a", "2", "0", Some(0.5)),
            1 => (n + 10, "a", "1", "0", Some(0.5)),
            _ => (n + 10, "a", "2", "1", None),
        });
        let pairs_of = (3_010..6_010).map(|n| (n, "a", "2", "1", Some(0.25)));
        let (_folder, store) = log(&early.chain(pairs_of).collect::<Vec<_>>());
        let (labelled, _) = store.labelled(&OF, Horizon { ms: 100, now_ms: 9_000 }).unwrap();
        assert_eq!((labelled.leads, labelled.expected.challenger), (1, 0.25));
        let steps = store.connection.prepare_cached(&pairs()).unwrap().get_status(StatementStatus::VmStep);
        assert!((6_000..200_000).contains(&steps), "{steps} for 6,000 rows");
    }

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
