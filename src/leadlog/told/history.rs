//! All that the log tells of one lead: its scores, what other versions said, what became of it, and who is called much the
//! same. Every question finds its rows through an index, and its answer has a size.

use rusqlite::{OptionalExtension, Row, params};

use super::{
    labels,
    store::{Store, StoreError, StoredScore},
};

/// A score and its place in the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Scoring {
    /// Its place: later scores have higher ones.
    pub seq: i64,
    /// The score.
    pub given: StoredScore,
}

/// What a version said that did not answer, read back.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the columns of the schema, which describes them")]
pub struct GivenShadow {
    pub version: String,
    pub digest: String,
    pub slot: String,
    pub score: Option<f64>,
    pub grade: Option<String>,
    pub error: Option<String>,
}

/// An outcome as it was told, read back.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the columns of the schema, which describes them")]
pub struct ToldOutcome {
    pub time_ms: i64,
    pub route: String,
    pub deal: Option<String>,
    pub revision: Option<i64>,
    pub occurred_ms: Option<i64>,
    pub won: bool,
    pub revenue: Option<f64>,
}

/// Outcomes that are read of one lead.
const MOST_OUTCOMES: i64 = 100;

/// Ids that are offered for one that nobody knows, on either side of where it would stand.
const MOST_NEAR: i64 = 3;

impl Store {
    /// The last scores of a lead up to `until_ms`, at most `most`, oldest first; of one model, or of all.
    pub fn history_of(
        &self,
        lead: &str,
        model: Option<&str>,
        until_ms: i64,
        most: usize,
    ) -> Result<Vec<Scoring>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT seq, time_ms, route, arm, model, version, digest, features, score, grade, latency_ns, decision,
             experiment, assigned, bucket, key, propensity, fell
             FROM scores WHERE lead = ?1 AND (?2 IS NULL OR model = ?2) AND time_ms <= ?3 ORDER BY seq DESC LIMIT ?4",
        )?;
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let rows = statement.query_map(params![lead, model, until_ms, most], scoring)?;
        let mut found: Vec<Scoring> = rows.collect::<Result<_, _>>()?;
        found.reverse();
        Ok(found)
    }

    /// What other versions said of a lead when it was given a score of `model` at `time_ms`.
    pub fn shadows_of(&self, lead: &str, model: &str, time_ms: i64) -> Result<Vec<GivenShadow>, StoreError> {
        let mut statement = self.connection.prepare_cached(SHADOWS)?;
        let rows = statement.query_map(params![model, time_ms, lead], |row| {
            Ok(GivenShadow {
                version: row.get(0)?,
                digest: row.get(1)?,
                slot: row.get(2)?,
                score: row.get(3)?,
                grade: row.get(4)?,
                error: row.get(5)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// What became of a lead, the hundred that matter most: the first one counts.
    pub fn outcomes_of(&self, lead: &str) -> Result<Vec<ToldOutcome>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT time_ms, route, deal, revision, occurred_ms, won, revenue FROM outcomes WHERE lead = ?1
             ORDER BY coalesce(revision, 0) DESC, coalesce(occurred_ms, time_ms) DESC, seq DESC LIMIT ?2",
        )?;
        let rows = statement.query_map(params![lead, MOST_OUTCOMES], |row| {
            Ok(ToldOutcome {
                time_ms: row.get(0)?,
                route: row.get(1)?,
                deal: row.get(2)?,
                revision: row.get(3)?,
                occurred_ms: row.get(4)?,
                won: row.get(5)?,
                revenue: row.get(6)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Whether a lead that was scored at `scored_ms` had converted `horizon_ms` later; `None` where it was closed before it
    /// was scored, which tells nothing of the score. The same labels as those that rollouts are judged by.
    pub fn settled(&self, lead: &str, scored_ms: i64, horizon_ms: i64) -> Result<Option<bool>, StoreError> {
        if labels::closed_ms(&self.connection, lead)? <= scored_ms {
            return Ok(None);
        }
        let label = labels::label(&self.connection, lead, (scored_ms, horizon_ms))?;
        Ok(Some(label.is_some_and(|label| label.won)))
    }

    /// The lead that became a deal.
    pub fn lead_of(&self, deal: &str) -> Result<Option<String>, StoreError> {
        let mut statement = self.connection.prepare_cached("SELECT lead FROM aliases WHERE deal = ?1")?;
        Ok(statement.query_row([deal], |row| row.get(0)).optional()?)
    }

    /// Leads whose ids begin as this one does, those first that are nearest in order. Nothing where they would share no more
    /// than half of it.
    pub fn near(&self, lead: &str) -> Result<Vec<String>, StoreError> {
        let half: String = lead.chars().take(lead.chars().count().div_ceil(2)).collect();
        let mut near = Vec::new();
        for sql in [
            "SELECT DISTINCT lead FROM scores WHERE lead > ?1 ORDER BY lead LIMIT ?2",
            "SELECT DISTINCT lead FROM scores WHERE lead < ?1 ORDER BY lead DESC LIMIT ?2",
        ] {
            let mut statement = self.connection.prepare_cached(sql)?;
            let rows = statement.query_map(params![lead, MOST_NEAR], |row| row.get::<_, String>(0))?;
            for found in rows {
                near.extend(Some(found?).filter(|found| found.starts_with(&half)));
            }
        }
        Ok(near)
    }
}

/// The index begins with the version, and the few that there are stand in it: each is found from the one before.
const SHADOWS: &str = "
    WITH RECURSIVE versions (version) AS (
        SELECT min(version) FROM shadow_scores WHERE model = ?1
        UNION ALL
        SELECT (SELECT min(version) FROM shadow_scores WHERE model = ?1 AND version > versions.version)
        FROM versions WHERE versions.version IS NOT NULL)
    SELECT version, digest, slot, score, grade, error FROM shadow_scores
    WHERE model = ?1 AND version IN (SELECT version FROM versions) AND time_ms = ?2 AND lead = ?3
    ORDER BY version LIMIT 20";

fn scoring(row: &Row<'_>) -> rusqlite::Result<Scoring> {
    let given = StoredScore {
        time_ms: row.get(1)?,
        route: row.get(2)?,
        arm: row.get(3)?,
        model: row.get(4)?,
        version: row.get(5)?,
        digest: row.get(6)?,
        features: row.get(7)?,
        score: row.get(8)?,
        grade: row.get(9)?,
        latency_ns: row.get(10)?,
        decision: row.get(11)?,
        experiment: row.get(12)?,
        assigned: row.get(13)?,
        bucket: row.get(14)?,
        key: row.get(15)?,
        propensity: row.get(16)?,
        fell: row.get(17)?,
    };
    Ok(Scoring { seq: row.get(0)?, given })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        lead::{Alias, Grade, Outcome, Score, Slot},
        leadlog::{AliasRecord, Entry, LiveScore, OutcomeRecord, ShadowRecord, fixture::score},
    };

    fn log(entries: &[Entry]) -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(folder.path()).unwrap();
        store.write(entries).unwrap();
        (folder, store)
    }

    fn scores(rows: &[(i64, &str, &str)]) -> Vec<Entry> {
        rows.iter().map(|(time, lead, version)| Entry::Score(score(*time, lead, version))).collect()
    }

    #[test]
    fn the_last_scores_of_a_lead_are_found() {
        let (_folder, store) =
            log(&scores(&[(1, "a", "1"), (2, "b", "1"), (3, "a", "1"), (4, "a", "2"), (9, "a", "2")]));
        let check = |model: Option<&str>, until, most, expected: &[i64]| {
            let found = store.history_of("a", model, until, most).unwrap();
            assert_eq!(found.iter().map(|row| row.given.time_ms).collect::<Vec<_>>(), expected);
            assert!(found.iter().all(|row| store.scores_of("a").unwrap().contains(&row.given)));
        };
        check(None, i64::MAX, 9, &[1, 3, 4, 9]);
        check(Some("lead"), 8, 2, &[3, 4]);
        check(Some("deal"), 8, 2, &[]);
        check(None, 0, 2, &[]);
    }

    #[test]
    fn what_other_versions_said_stands_beside_the_score_it_was_said_of() {
        let shadow = |time_ms, lead: &str, version: &str, given: Option<f32>| {
            let record = score(time_ms, lead, version);
            let live = LiveScore {
                model: record.model.clone(),
                score: record.score,
                grade: Grade::B,
                latency_ns: 1,
            };
            Entry::Shadow(Box::new(ShadowRecord {
                time_ms,
                lead: record.lead,
                model: record.model,
                slot: Slot::Shadow,
                live,
                score: given
                    .map(|given| (Score::new(given).unwrap(), Grade::C))
                    .ok_or(crate::lead::ShadowError::Features),
                latency_ns: 1,
            }))
        };
        let (_folder, store) = log(&[
            shadow(5, "a", "3", None),
            shadow(5, "a", "2", Some(0.25)),
            shadow(6, "a", "2", Some(0.75)),
            shadow(5, "b", "2", Some(0.75)),
        ]);
        let found = store.shadows_of("a", "lead", 5).unwrap();
        let told: Vec<_> = found.iter().map(|s| (&*s.version, s.score, s.error.as_deref())).collect();
        assert_eq!(told, [("2", Some(0.25), None), ("3", None, Some("features"))]);
        assert_eq!(store.shadows_of("a", "deal", 5).unwrap(), []);
    }

    #[test]
    fn the_outcome_that_counts_comes_first_and_settles_with_time() {
        let told = |time_ms, revision, won| {
            let outcome = Outcome { revision, ..Outcome::new("a", won) };
            Entry::Outcome(OutcomeRecord { time_ms, route: "r".into(), outcome })
        };
        let (_folder, store) = log(&[told(5, Some(2), true), told(7, Some(1), false)]);
        let found = store.outcomes_of("a").unwrap();
        let found: Vec<_> = found.iter().map(|told| (told.time_ms, told.won)).collect();
        assert_eq!(found, [(5, true), (7, false)]);
        for (scored, horizon, expected) in
            [(4, 9, Some(true)), (4, 1, Some(true)), (3, 1, Some(false)), (5, 9, None), (6, 9, None)]
        {
            assert_eq!(store.settled("a", scored, horizon).unwrap(), expected, "{scored} {horizon}");
        }
        assert_eq!(store.settled("b", 4, 9).unwrap(), Some(false));
    }

    #[test]
    fn deals_and_ids_nearby_lead_to_leads() {
        let alias = Alias { lead: "a".into(), deal: "d".into() };
        let mut entries = vec![Entry::Alias(AliasRecord { time_ms: 1, alias })];
        entries.extend(scores(&[
            (1, "lead-10", "1"),
            (2, "lead-12", "1"),
            (3, "lead-12", "1"),
            (4, "x", "1"),
        ]));
        let (_folder, store) = log(&entries);
        assert_eq!(store.lead_of("d").unwrap().as_deref(), Some("a"));
        assert_eq!(store.lead_of("a").unwrap(), None);
        assert_eq!(store.near("lead-11").unwrap(), ["lead-12", "lead-10"]);
        assert_eq!(store.near("leap").unwrap(), ["lead-12", "lead-10"]);
        assert_eq!(store.near("zebra").unwrap(), Vec::<String>::new());
    }

    #[test]
    fn each_question_goes_by_an_index() {
        let (_folder, store) = log(&[]);
        let plan = |sql: &str| {
            let mut statement = store.connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let rows = statement.query_map([], |row| row.get::<_, String>(3)).unwrap();
            rows.map(Result::unwrap).collect::<Vec<_>>().join("; ")
        };
        for (sql, expected) in [
            (
                "SELECT * FROM scores WHERE lead = 'a' AND time_ms <= 9 ORDER BY seq DESC LIMIT 5",
                "scores_lead",
            ),
            ("SELECT DISTINCT lead FROM scores WHERE lead > 'a' ORDER BY lead LIMIT 3", "scores_lead"),
            (SHADOWS, "shadow_scores_version"),
        ] {
            let plan = plan(&sql.replace("?1", "'a'").replace("?2", "1").replace("?3", "'b'"));
            assert!(plan.contains("SEARCH") && plan.contains(expected), "{plan}");
            assert!(!plan.contains("SCAN s") && !plan.contains("B-TREE"), "{plan}");
        }
    }
}
