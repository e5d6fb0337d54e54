//! What the log tells of versions on trial, as counts that a rollout can judge.
//!
//! Leads count by the arm they were assigned to, whoever answered; those that only a request told are left out. A label
//! settles with time: of what happened to a lead within the horizon the last counts, and a lead is lost only once the
//! horizon is over. A lead that was closed when it came has nothing to tell of a version, and is not labelled.

use hdrhistogram::Histogram as Latencies;
use rusqlite::{Row, params};

use super::{
    labels::{LABEL, WAS_OPEN},
    store::{Store, StoreError},
};
use crate::{
    lead::{
        AucDifference, Cohort, Grade, Histogram, Labelled, Pairs, ShadowError, Sides, StepCounts, Traffic,
        Window,
    },
    stats::{self, Delong},
};

/// A stretch of one experiment.
#[derive(Clone, Copy, Debug)]
pub struct Stretch<'s> {
    /// The model's name.
    pub model: &'s str,
    /// The challenger's version.
    pub experiment: &'s str,
    /// Its first moment, in milliseconds since 1970.
    pub from_ms: i64,
    /// The moment after its last.
    pub to_ms: i64,
}

/// Two versions of a model.
#[derive(Clone, Copy, Debug)]
pub struct Versus<'s> {
    /// The model's name.
    pub model: &'s str,
    /// The version that serves.
    pub champion: &'s str,
    /// The version on trial.
    pub challenger: &'s str,
    /// Earlier scores do not count, in milliseconds since 1970.
    pub since_ms: i64,
}

/// When a label is settled.
#[derive(Clone, Copy, Debug)]
pub struct Horizon {
    /// How long a lead has to convert, in milliseconds.
    pub ms: i64,
    /// The time, in milliseconds since 1970.
    pub now_ms: i64,
}

impl Horizon {
    /// What is older than this has had its time.
    pub fn settled_ms(self) -> i64 {
        self.now_ms.saturating_sub(self.ms)
    }
}

impl Store {
    /// A stretch of a canary's traffic.
    pub fn window(&self, of: &Stretch<'_>) -> Result<Window, StoreError> {
        Ok(Window { from_ms: of.from_ms, to_ms: of.to_ms, arms: self.traffic(of)? })
    }

    /// A step of a canary, which the ledger's record `seq` began.
    pub fn step(
        &self,
        of: &Stretch<'_>,
        (seq, percent): (u64, u32),
        horizon: Horizon,
    ) -> Result<StepCounts, StoreError> {
        let (arms, cohorts) = (self.traffic(of)?, self.cohorts(of, horizon)?);
        Ok(StepCounts { seq, percent, arms, cohorts, scores: self.answers(of)? })
    }

    /// What either arm was asked and what it answered. The time of a whole request is not in the log.
    pub fn traffic(&self, of: &Stretch<'_>) -> Result<Sides<Traffic>, StoreError> {
        let mut arms: Sides<Traffic> = Sides::default();
        let Stretch { model, experiment, from_ms, to_ms } = *of;
        let range = params![model, experiment, from_ms, to_ms];
        let scored = "SELECT assigned, count(*), total(arm = assigned), total(fell = 'failed'), 0 FROM scores
            WHERE model = ?1 AND experiment = ?2 AND time_ms >= ?3 AND time_ms < ?4 AND key <> 'request' GROUP BY 1";
        let missed = "SELECT arm, count(*), 0, total(outcome = 'failed'), total(outcome = 'late') FROM misses
            WHERE model = ?1 AND experiment = ?2 AND time_ms >= ?3 AND time_ms < ?4 GROUP BY 1";
        for sql in [scored, missed] {
            let mut statement = self.connection.prepare_cached(sql)?;
            let mut rows = statement.query(range)?;
            while let Some(row) = rows.next()? {
                if let Some(arm) = side(&mut arms, &row.get::<_, String>(0)?) {
                    arm.leads += count(row, 1)?;
                    arm.scored += count(row, 2)?;
                    arm.errors += count(row, 3)?;
                    arm.late += count(row, 4)?;
                }
            }
        }
        (arms.champion.p99_ns, arms.challenger.p99_ns) = self.p99_ns(of)?;
        Ok(arms)
    }

    /// The 99th percentiles of the time that the champion and the challenger took for the same leads, on the same thread.
    /// The time of a request would be one for all leads of a batch, whichever version scored them.
    fn p99_ns(&self, of: &Stretch<'_>) -> Result<(u64, u64), StoreError> {
        let mut statement = self.connection.prepare_cached(TIMES)?;
        let Stretch { model, experiment, from_ms, to_ms } = *of;
        let mut rows = statement.query(params![model, experiment, from_ms, to_ms])?;
        let (mut champion, mut challenger) = (latencies(), latencies());
        while let Some(row) = rows.next()? {
            let ns = sides(row.get(0)?, count(row, 1)?, count(row, 2)?);
            champion.saturating_record(ns.champion);
            challenger.saturating_record(ns.challenger);
        }
        Ok((p99(&champion), p99(&challenger)))
    }

    /// The leads that were first exposed in a stretch, and those of them that converted.
    pub fn cohorts(&self, of: &Stretch<'_>, horizon: Horizon) -> Result<Sides<Cohort>, StoreError> {
        let mut statement = self.connection.prepare_cached(&format!(
            "SELECT arm, count(*), count(won), total(won) FROM (
                 SELECT arm, CASE WHEN met.time_ms <= ?5 AND {WAS_OPEN} THEN coalesce({LABEL}, 0) END AS won
                 FROM exposures AS met
                 WHERE model = ?1 AND experiment = ?2 AND met.time_ms >= ?3 AND met.time_ms < ?4
                     AND key <> 'request')
             GROUP BY 1"
        ))?;
        let Stretch { model, experiment, from_ms, to_ms } = *of;
        let settled = horizon.settled_ms();
        let mut rows = statement.query(params![model, experiment, from_ms, to_ms, settled, horizon.ms])?;
        let mut arms = Sides::default();
        while let Some(row) = rows.next()? {
            if let Some(arm) = side(&mut arms, &row.get::<_, String>(0)?) {
                *arm = Cohort { leads: count(row, 1)?, matured: count(row, 2)?, conversions: count(row, 3)? };
            }
        }
        Ok(arms)
    }

    /// The scores that either arm's own version gave.
    pub fn answers(&self, of: &Stretch<'_>) -> Result<Sides<Histogram>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT arm, score FROM scores
             WHERE model = ?1 AND experiment = ?2 AND time_ms >= ?3 AND time_ms < ?4
                 AND key <> 'request' AND arm = assigned",
        )?;
        let Stretch { model, experiment, from_ms, to_ms } = *of;
        let mut rows = statement.query(params![model, experiment, from_ms, to_ms])?;
        let mut arms: Sides<Histogram> = Sides::default();
        while let Some(row) = rows.next()? {
            if let Some(arm) = side(&mut arms, row.get_ref(0)?.as_str().unwrap_or_default()) {
                arm.count(row.get(1)?);
            }
        }
        Ok(arms)
    }

    /// Both versions on the same leads, whichever of them answered.
    pub fn pairs(&self, of: &Versus<'_>, horizon: Horizon) -> Result<Pairs, StoreError> {
        let Versus { model, champion, challenger, since_ms } = *of;
        let mut statement = self.connection.prepare_cached(&format!(
            "SELECT version = ?3, live_score, score, live_grade, grade, live_ns, latency_ns, error FROM shadow_scores
             WHERE {BOTH}"
        ))?;
        let mut rows = statement.query(params![model, champion, challenger, since_ms])?;
        let mut gathered = Gathered::default();
        while let Some(row) = rows.next()? {
            gathered.count(row)?;
        }
        let mut pairs = gathered.pairs();
        (pairs.labelled, pairs.auc) = self.labelled(of, horizon)?;
        Ok(pairs)
    }

    /// The first pair of each lead whose label is settled.
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
             AND met.time_ms <= ?5 AND {WAS_OPEN}
             ORDER BY seq"
        ))?;
        let settled = horizon.settled_ms();
        let mut rows =
            statement.query(params![model, champion, challenger, since_ms, settled, horizon.ms])?;
        let (mut labelled, mut labels) = (Labelled::default(), Vec::new());
        let mut scores: Sides<Vec<f64>> = Sides::default();
        while let Some(row) = rows.next()? {
            let (pair, won) = (pair(row)?, row.get(3)?);
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

/// Rows of the challenger where the champion answered, and the other way round.
const BOTH: &str = "model = ?1 AND version IN (?2, ?3) AND time_ms >= ?4
    AND live_version IN (?2, ?3) AND live_version <> version";

/// What the experiment and the version beside it took for each lead that both scored. The index begins with the version,
/// and the few that there are stand in it: each is found from the one before.
const TIMES: &str = "
    WITH RECURSIVE versions (version) AS (
        SELECT min(version) FROM shadow_scores WHERE model = ?1
        UNION ALL
        SELECT (SELECT min(version) FROM shadow_scores WHERE model = ?1 AND version > versions.version)
        FROM versions WHERE versions.version IS NOT NULL)
    SELECT version = ?2, live_ns, latency_ns FROM shadow_scores
    WHERE model = ?1 AND version IN (SELECT version FROM versions) AND time_ms >= ?3 AND time_ms < ?4
        AND ?2 IN (version, live_version) AND slot <> 'shadow' AND error IS NULL";

/// What pairs add up to.
struct Gathered {
    pairs: Pairs,
    latencies: Sides<Latencies<u64>>,
}

impl Default for Gathered {
    fn default() -> Self {
        let latencies = Sides { champion: latencies(), challenger: latencies() };
        Self { pairs: Pairs::default(), latencies }
    }
}

impl Gathered {
    /// `version = challenger, live_score, score, live_grade, grade, live_ns, latency_ns, error`
    fn count(&mut self, row: &Row<'_>) -> Result<(), StoreError> {
        let (is_challengers, error): (bool, Option<String>) = (row.get(0)?, row.get(7)?);
        let pairs = &mut self.pairs;
        if let Some(error) = error {
            // Where the champion fails beside a challenger that answered, nothing is to be told of the challenger.
            if is_challengers {
                pairs.mirrored += 1;
                pairs.missing += u64::from(error == ShadowError::Features.as_str());
                pairs.errors += u64::from(error != ShadowError::Features.as_str());
                pairs.non_finite += u64::from(error == ShadowError::Score.as_str());
            }
            return Ok(());
        }
        pairs.mirrored += 1;
        let scores = pair(row)?;
        pairs.scores.champion.count(scores.champion);
        pairs.scores.challenger.count(scores.challenger);
        let (live, other) = (count(row, 5)?, count(row, 6)?);
        let ns = sides(is_challengers, live, other);
        self.latencies.champion.saturating_record(ns.champion);
        self.latencies.challenger.saturating_record(ns.challenger);
        let grade = |column| Ok::<_, StoreError>(Grade::parse(&row.get::<_, String>(column)?));
        if let (Some(live), Some(other)) = (grade(3)?, grade(4)?) {
            let grades = sides(is_challengers, live as usize, other as usize);
            let row = pairs.grades.get_mut(grades.champion);
            let cell = row.and_then(|row| row.get_mut(grades.challenger));
            cell.into_iter().for_each(|cell| *cell += 1);
        }
        Ok(())
    }

    fn pairs(self) -> Pairs {
        let Sides { champion, challenger } = &self.latencies;
        let p99_ns = Sides { champion: p99(champion), challenger: p99(challenger) };
        Pairs { p99_ns, ..self.pairs }
    }
}

/// `version = challenger, live_score, score`
fn pair(row: &Row<'_>) -> Result<Sides<f64>, StoreError> {
    Ok(sides(row.get(0)?, row.get(1)?, row.get(2)?))
}

/// The champion answered where the row is the challenger's.
fn sides<T>(is_challengers: bool, live: T, other: T) -> Sides<T> {
    match is_challengers {
        true => Sides { champion: live, challenger: other },
        false => Sides { champion: other, challenger: live },
    }
}

/// An arm by its name in the log.
fn side<'s, T>(sides: &'s mut Sides<T>, arm: &str) -> Option<&'s mut T> {
    match arm {
        "champion" => Some(&mut sides.champion),
        "challenger" => Some(&mut sides.challenger),
        _ => None,
    }
}

/// A count; `total()` gives them as floats.
fn count(row: &Row<'_>, column: usize) -> Result<u64, StoreError> {
    // The cast saturates; nothing that is counted is below zero.
    Ok(row.get::<_, f64>(column)? as u64)
}

/// Up to a minute, to two digits.
fn latencies() -> Latencies<u64> {
    #[expect(clippy::expect_used, reason = "the bounds are constants that fit each other")]
    Latencies::new_with_bounds(1, 60_000_000_000, 2).expect("bounds fit")
}

fn p99(latencies: &Latencies<u64>) -> u64 {
    if latencies.is_empty() { 0 } else { latencies.value_at_quantile(0.99) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        lead::{Arm, ArmOutcome, Assignment, Exposure, KeyKind, ModelId, Outcome, Score, Slot},
        leadlog::{
            Decision, Entry, ExposureRecord, LiveScore, OutcomeRecord, Packed, ScoreRecord, ShadowRecord,
        },
    };

    const HORIZON: Horizon = Horizon { ms: 100, now_ms: 1_000 };

    fn stretch(from_ms: i64, to_ms: i64) -> Stretch<'static> {
        Stretch { model: "lead", experiment: "2", from_ms, to_ms }
    }

    fn id(version: &str) -> Arc<ModelId> {
        Arc::new(ModelId { model: "lead".into(), version: version.into(), digest: "ab".into() })
    }

    fn exposure(arm: Arm, key: KeyKind) -> Box<Exposure> {
        let assignment = Assignment { experiment: "2".into(), bucket: 7, key };
        Box::new(Exposure { assignment, arm, propensity: 0.5 })
    }

    /// A lead that was assigned to one arm and answered by another.
    fn score(time_ms: i64, lead: &str, (assigned, arm): (Arm, Arm), score: f32) -> ScoreRecord {
        ScoreRecord {
            time_ms,
            route: "r".into(),
            lead: Some(lead.into()),
            arm,
            model: id(if arm == Arm::Champion { "1" } else { "2" }),
            names: [].into(),
            features: Packed::new(&[]),
            score: Score::new(score).unwrap(),
            grade: Grade::B,
            latency_ns: 1_000,
            decision: Decision::Headers,
            exposure: Some(exposure(assigned, KeyKind::Email)),
            fell: (assigned != arm).then_some(ArmOutcome::Failed),
        }
    }

    fn unscored(time_ms: i64, lead: Option<&str>, arm: Arm, outcome: ArmOutcome) -> Entry {
        let (lead, exposure) = (lead.map(Into::into), exposure(arm, KeyKind::Id));
        Entry::Exposure(ExposureRecord { time_ms, lead, model: "lead".into(), exposure, outcome })
    }

    fn won(time_ms: i64, lead: &str, won: bool) -> Entry {
        Entry::Outcome(OutcomeRecord { time_ms, route: "r".into(), outcome: Outcome::new(lead, won) })
    }

    fn log(entries: &[Entry]) -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(folder.path()).unwrap();
        store.write(entries).unwrap();
        (folder, store)
    }

    const OLD: (Arm, Arm) = (Arm::Champion, Arm::Champion);
    const NEW: (Arm, Arm) = (Arm::Challenger, Arm::Challenger);
    const FELL: (Arm, Arm) = (Arm::Challenger, Arm::Champion);

    #[test]
    fn leads_count_by_the_arm_that_they_were_assigned_to() {
        let stranger = ScoreRecord {
            exposure: Some(exposure(Arm::Challenger, KeyKind::Request)),
            ..score(4, "s", NEW, 0.9)
        };
        let other = ScoreRecord { exposure: None, ..score(4, "o", OLD, 0.9) };
        let (_folder, store) = log(&[
            Entry::Score(score(1, "a", OLD, 0.25)),
            Entry::Score(score(2, "b", NEW, 0.5)),
            Entry::Score(score(3, "c", FELL, 0.75)),
            Entry::Score(stranger),
            Entry::Score(other),
            unscored(5, Some("d"), Arm::Challenger, ArmOutcome::Late),
            unscored(6, None, Arm::Champion, ArmOutcome::Failed),
            unscored(7, Some("e"), Arm::Champion, ArmOutcome::Features),
            Entry::Score(score(8, "b", NEW, 1.0)),
            Entry::Score(score(90, "z", NEW, 0.5)),
        ]);
        let Sides { champion, challenger } = store.traffic(&stretch(0, 90)).unwrap();
        let counts = |of: &Traffic| (of.leads, of.scored, of.errors, of.late);
        assert_eq!((counts(&champion), counts(&challenger)), ((2, 1, 1, 0), (4, 2, 1, 1)));
        assert_eq!((champion.p99_ns, challenger.p99_ns), (0, 0), "the time of a request is no version's");
        let answers = store.answers(&stretch(0, 90)).unwrap();
        assert_eq!((answers.champion.total(), answers.challenger.total()), (1, 2));
        assert_eq!((answers.champion.bins()[256], answers.challenger.bins()[1023]), (1, 1));
        assert_eq!(store.traffic(&stretch(9, 10)).unwrap(), Sides::default());
        let cohorts = store.cohorts(&stretch(0, 90), HORIZON).unwrap();
        assert_eq!((cohorts.champion.leads, cohorts.challenger.leads), (2, 3), "scored or not, each once");
        let step = store.step(&stretch(0, 90), (7, 10), HORIZON).unwrap();
        assert_eq!((step.seq, step.percent, &step.cohorts, &step.scores), (7, 10, &cohorts, &answers));
        let window = store.window(&stretch(0, 90)).unwrap();
        assert_eq!((window.from_ms, window.to_ms, window.arms), (0, 90, step.arms));
    }

    #[test]
    fn a_conversion_counts_once_it_is_settled_and_only_within_the_horizon() {
        let check = |exposed: i64, outcomes: &[(i64, bool)], expected: (u64, u64)| {
            let mut entries = vec![Entry::Score(score(exposed, "a", NEW, 0.5))];
            entries.extend(outcomes.iter().map(|(time, is_won)| won(*time, "a", *is_won)));
            entries.push(Entry::Score(score(exposed + 1, "a", NEW, 0.5)));
            let (_folder, store) = log(&entries);
            let cohort = store.cohorts(&stretch(0, 1_000), HORIZON).unwrap().challenger;
            assert_eq!(cohort.leads, 1);
            assert_eq!((cohort.matured, cohort.conversions), expected, "{exposed} {outcomes:?}");
        };
        check(500, &[], (1, 0));
        check(500, &[(550, true)], (1, 1));
        check(500, &[(600, true)], (1, 1));
        check(500, &[(601, true)], (1, 0));
        check(500, &[(501, true)], (1, 1));
        check(500, &[(550, true), (700, true)], (1, 1));
        check(500, &[(550, true), (700, false)], (1, 1));
        check(500, &[(550, false), (590, true), (601, false)], (1, 1));
        // Closed before anybody scored it, or as it was scored.
        check(500, &[(499, true)], (0, 0));
        check(500, &[(500, true)], (0, 0));
        check(500, &[(499, false), (550, true)], (0, 0));
        check(500, &[(550, false)], (1, 0));
        check(500, &[(550, true), (560, false)], (1, 0));
        check(900, &[(950, true)], (1, 1));
        check(901, &[(950, true)], (0, 0));
    }

    #[test]
    fn a_label_goes_by_when_it_happened_and_by_the_highest_revision() {
        let told = |time_ms: i64, occurred_ms: i64, revision: Option<i64>, won: bool| {
            let outcome = Outcome { time_ms: Some(occurred_ms), revision, ..Outcome::new("a", won) };
            Entry::Outcome(OutcomeRecord { time_ms, route: "r".into(), outcome })
        };
        let check = |outcomes: Vec<Entry>, expected: (u64, u64)| {
            let met = [
                Entry::Score(score(500, "a", NEW, 0.5)),
                shadow(500, "a", Slot::Champion, (0.5, Grade::B), Ok((0.25, Grade::C))),
            ];
            let (_folder, store) = log(&met.into_iter().chain(outcomes).collect::<Vec<_>>());
            let cohort = store.cohorts(&stretch(0, 1_000), HORIZON).unwrap().challenger;
            assert_eq!((cohort.leads, cohort.matured, cohort.conversions), (1, expected.0, expected.1));
            let of = Versus { model: "lead", champion: "1", challenger: "2", since_ms: 0 };
            let labelled = store.pairs(&of, HORIZON).unwrap().labelled;
            assert_eq!((labelled.leads, labelled.positives), expected, "pairs go by the same");
        };
        check(vec![told(800, 550, None, true)], (1, 1));
        check(vec![told(800, 550, None, true), told(801, 700, Some(9), false)], (1, 1));
        check(vec![told(550, 550, Some(2), true), told(560, 560, Some(1), false)], (1, 1));
        check(vec![told(550, 450, None, true)], (0, 0));
        check(vec![told(499, 550, None, true)], (0, 0));
        check(vec![told(800, 601, None, true)], (1, 0));
    }

    #[test]
    fn each_arm_takes_the_time_of_its_version_whoever_answered() {
        use Grade::B;
        let timed = |time_ms, slot, live_ns, latency_ns| {
            let Entry::Shadow(mut record) = shadow(time_ms, "a", slot, (0.5, B), Ok((0.5, B))) else {
                panic!("a shadow's record")
            };
            (record.live.latency_ns, record.latency_ns) = (live_ns, latency_ns);
            Entry::Shadow(record)
        };
        let failed = shadow(12, "a", Slot::Challenger, (0.5, B), Err(ShadowError::Features));
        let check = |entries: &[Entry], expected: (u64, u64)| {
            let (_folder, store) = log(entries);
            let arms = store.traffic(&stretch(10, 20)).unwrap();
            assert_eq!((arms.champion.p99_ns, arms.challenger.p99_ns), expected);
        };
        check(&[timed(10, Slot::Challenger, 30, 50)], (30, 50));
        check(&[timed(10, Slot::Champion, 50, 30)], (30, 50));
        check(&[timed(10, Slot::Challenger, 30, 50), timed(11, Slot::Champion, 90, 20), failed], (30, 90));
        // Before and after it, and of a version that is no arm.
        check(&[timed(9, Slot::Champion, 1, 1), timed(20, Slot::Champion, 1, 1)], (0, 0));
        check(&[timed(10, Slot::Shadow, 30, 50)], (0, 0));
    }

    #[test]
    fn only_the_first_exposure_counts() {
        let (_folder, mut store) = log(&[unscored(10, Some("a"), Arm::Champion, ArmOutcome::Features)]);
        store.write(&[Entry::Score(score(20, "a", NEW, 0.5))]).unwrap();
        let cohorts = store.cohorts(&stretch(0, 15), HORIZON).unwrap();
        assert_eq!((cohorts.champion.leads, cohorts.challenger.leads), (1, 0));
        assert_eq!(store.cohorts(&stretch(15, 90), HORIZON).unwrap(), Sides::default());
    }

    /// The champion said `live` and the challenger `other`, or the other way round where `slot` is the champion's.
    fn shadow(
        time_ms: i64,
        lead: &str,
        slot: Slot,
        live: (f32, Grade),
        other: Result<(f32, Grade), ShadowError>,
    ) -> Entry {
        let probability = |score: f32| Score::new(score).unwrap();
        let (model, answered) = if slot == Slot::Champion { ("1", "2") } else { ("2", "1") };
        Entry::Shadow(Box::new(ShadowRecord {
            time_ms,
            lead: Some(lead.into()),
            model: id(model),
            slot,
            live: LiveScore {
                model: id(answered),
                score: probability(live.0),
                grade: live.1,
                latency_ns: 500,
            },
            score: other.map(|(score, grade)| (probability(score), grade)),
            latency_ns: 1_000,
        }))
    }

    #[test]
    fn pairs_are_of_both_versions_whichever_answered() {
        use Grade::{A, B, C, D};
        let (old, new) = ((0.25, C), (0.5, B));
        let (_folder, store) = log(&[
            shadow(1, "early", Slot::Shadow, old, Ok(new)),
            shadow(10, "a", Slot::Shadow, old, Ok(new)),
            shadow(11, "b", Slot::Champion, (0.5, B), Ok((0.5, B))),
            shadow(12, "c", Slot::Challenger, (0.125, D), Ok((0.75, A))),
            shadow(13, "a", Slot::Shadow, old, Ok((0.125, D))),
            shadow(14, "d", Slot::Shadow, old, Err(ShadowError::Score)),
            shadow(15, "d", Slot::Shadow, old, Err(ShadowError::Panic)),
            shadow(16, "d", Slot::Shadow, old, Err(ShadowError::Features)),
            shadow(17, "d", Slot::Champion, old, Err(ShadowError::Panic)),
            shadow(950, "e", Slot::Shadow, old, Ok(new)),
            won(60, "a", true),
            won(61, "b", true),
            won(960, "e", true),
        ]);
        let of = Versus { model: "lead", champion: "1", challenger: "2", since_ms: 10 };
        let pairs = store.pairs(&of, HORIZON).unwrap();
        let counts = (pairs.mirrored, pairs.errors, pairs.non_finite, pairs.missing);
        assert_eq!(counts, (8, 2, 1, 1));
        assert_eq!((pairs.graded(), pairs.changed(), pairs.grades[2][1], pairs.grades[3][0]), (5, 4, 2, 1));
        assert_eq!((pairs.scores.champion.bins()[128], pairs.scores.challenger.bins()[768]), (1, 1));
        // The time of each version, whoever answered: four rows are the challenger's, one the champion's.
        assert!(pairs.p99_ns.champion >= 990 && pairs.p99_ns.challenger >= 990);
        let Labelled { leads, positives, mean, expected, .. } = &pairs.labelled;
        assert_eq!((*leads, *positives, expected.champion, expected.challenger), (3, 2, 0.875, 1.75));
        let c = (1.0f64 - 0.125).ln() - (1.0f64 - 0.75).ln();
        let expected = (0.5f64.ln() - 0.25f64.ln() - c) / 3.0;
        assert!((mean - expected).abs() < 1e-12, "{mean} {expected}");
        assert_eq!(pairs.auc, None, "one that lost is too few");
        let none = Versus { challenger: "3", ..of };
        assert_eq!(store.pairs(&none, HORIZON).unwrap(), Pairs::default());
    }
}
