//! What people said of scores. It stands beside outcomes and is never one of them.

use rusqlite::{Connection, params};

use super::{
    record::FeedbackRecord,
    store::{Store, StoreError},
};
use crate::lead::FeedbackReason;

pub(in crate::leadlog) fn insert_feedback(
    connection: &Connection,
    record: &FeedbackRecord,
) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO feedback (time_ms, lead, source, verdict, reason, who, note)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    let FeedbackRecord { time_ms, source, feedback } = record;
    let (verdict, reason) = (feedback.verdict.as_str(), feedback.reason.map(FeedbackReason::as_str));
    let (who, note) = (feedback.who.as_deref(), feedback.note.as_deref());
    statement.execute(params![time_ms, &*feedback.lead, &**source, verdict, reason, who, note])?;
    Ok(())
}

/// A person's verdict, read back.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the columns of the schema, which describes them")]
pub struct StoredFeedback {
    pub time_ms: i64,
    pub source: String,
    pub verdict: String,
    pub reason: Option<String>,
    pub who: Option<String>,
    pub note: Option<String>,
}

/// Verdicts on the scores of one version and grade.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedbackCount {
    /// The model's name.
    pub model: String,
    /// The version that gave the scores.
    pub version: String,
    /// Their grade.
    pub grade: String,
    /// Verdicts that say the score helped.
    pub up: u64,
    /// Complaints.
    pub down: u64,
}

impl Store {
    /// What was said of a lead's scores, oldest first.
    pub fn feedback_of(&self, lead: &str) -> Result<Vec<StoredFeedback>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT time_ms, source, verdict, reason, who, note FROM feedback WHERE lead = ?1 ORDER BY time_ms, seq",
        )?;
        let rows = statement.query_map([lead], |row| {
            Ok(StoredFeedback {
                time_ms: row.get(0)?,
                source: row.get(1)?,
                verdict: row.get(2)?,
                reason: row.get(3)?,
                who: row.get(4)?,
                note: row.get(5)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Verdicts that came in a span of time (milliseconds since 1970, its end left out), each counted for the last score
    /// that its lead had been given by then. Those of leads without a score are in no count.
    pub fn feedback_counts(&self, from_ms: i64, to_ms: i64) -> Result<Vec<FeedbackCount>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT model, version, grade, sum(verdict = 'up'), sum(verdict = 'down')
             FROM feedback JOIN scores ON scores.seq = (
                 SELECT seq FROM scores WHERE scores.lead = feedback.lead AND scores.time_ms <= feedback.time_ms
                 ORDER BY scores.time_ms DESC, seq DESC LIMIT 1)
             WHERE feedback.time_ms >= ?1 AND feedback.time_ms < ?2
             GROUP BY model, version, grade ORDER BY model, version, grade",
        )?;
        let rows = statement.query_map([from_ms, to_ms], |row| {
            Ok(FeedbackCount {
                model: row.get(0)?,
                version: row.get(1)?,
                grade: row.get(2)?,
                up: row.get::<_, i64>(3)?.unsigned_abs(),
                down: row.get::<_, i64>(4)?.unsigned_abs(),
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        lead::{Feedback, Grade, Outcome, Verdict},
        leadlog::{Entry, OutcomeRecord, ScoreRecord},
    };

    fn said(time_ms: i64, feedback: Feedback) -> Entry {
        Entry::Feedback(Box::new(FeedbackRecord { time_ms, source: FeedbackRecord::API.into(), feedback }))
    }

    fn open() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        (folder, store)
    }

    #[test]
    fn what_was_said_is_read_back_in_order() {
        let (_folder, mut store) = open();
        let full = Feedback { reason: Some(FeedbackReason::BadData), ..Feedback::new("a", Verdict::Down) };
        let full = full.by(Some("ada")).noted(Some("the phone number\nis wrong"));
        store.write(&[said(5, full), said(4, Feedback::new("a", Verdict::Up))]).unwrap();
        let row = |time_ms, verdict: &str| StoredFeedback {
            time_ms,
            source: "api".into(),
            verdict: verdict.into(),
            reason: None,
            who: None,
            note: None,
        };
        let down = StoredFeedback {
            reason: Some("bad_data".into()),
            who: Some("ada".into()),
            note: Some("the phone number is wrong".into()),
            ..row(5, "down")
        };
        assert_eq!(store.feedback_of("a").unwrap(), [row(4, "up"), down]);
        assert_eq!(store.feedback_of("b").unwrap(), []);
    }

    #[test]
    fn a_verdict_is_no_label() {
        let (_folder, mut store) = open();
        store.write(&[said(1, Feedback::new("a", Verdict::Down))]).unwrap();
        assert_eq!(store.outcome_of("a").unwrap(), None);
        let (route, outcome) = ("lead.update".into(), Outcome::new("a", true));
        store.write(&[Entry::Outcome(OutcomeRecord { time_ms: 2, route, outcome })]).unwrap();
        let before = store.outcome_of("a").unwrap();
        store.write(&[said(3, Feedback::new("a", Verdict::Down))]).unwrap();
        assert_eq!(store.outcome_of("a").unwrap(), before);
    }

    #[test]
    fn a_verdict_counts_for_the_last_score_before_it() {
        let (_folder, mut store) = open();
        let score = |time_ms, lead: &str, version: &str, grade| {
            Entry::Score(ScoreRecord { grade, ..crate::leadlog::fixture::score(time_ms, lead, version) })
        };
        store
            .write(&[
                score(10, "a", "1", Grade::A),
                score(20, "a", "2", Grade::B),
                score(20, "b", "1", Grade::A),
                said(9, Feedback::new("a", Verdict::Down)),
                said(10, Feedback::new("a", Verdict::Down)),
                said(19, Feedback::new("a", Verdict::Up)),
                said(20, Feedback::new("a", Verdict::Down)),
                said(25, Feedback::new("b", Verdict::Down)),
                said(25, Feedback::new("nobody", Verdict::Down)),
                said(30, Feedback::new("b", Verdict::Down)),
            ])
            .unwrap();
        let counted = |from, to| -> Vec<(String, u64, u64)> {
            let rows = store.feedback_counts(from, to).unwrap();
            rows.into_iter()
                .map(|c| (format!("{}/{}{}", c.model, c.version, c.grade), c.up, c.down))
                .collect()
        };
        assert_eq!(counted(0, 30), [("lead/1A".into(), 1, 2), ("lead/2B".into(), 0, 1)]);
        assert_eq!(counted(20, 25), [("lead/2B".into(), 0, 1)]);
        assert_eq!(counted(0, 10), []);
    }
}
