//! Leads to learn from: as they were scored, with what became of them.
//!
//! Of each lead the last score counts that is older than the horizon and came before anything had become of the lead; what
//! happened within the horizon of that score is its label, by the rule of `labels.rs`. A younger score is not looked at,
//! also where the lead has converted since: of the young only the quick ones are known, and they would make all look good.

use rusqlite::{params, types::Null};

use super::{
    labels::{CLOSED, LABEL, WAS_OPEN},
    private::is_hash,
    store::{Store, StoreError},
    trial::Horizon,
};

/// Which leads.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'w> {
    /// The model's name; whichever version scored.
    pub model: &'w str,
    /// Earlier scores do not count, in milliseconds since 1970.
    pub since_ms: i64,
    /// When a label is final.
    pub horizon: Horizon,
}

/// A lead with its label.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored<'r> {
    /// When it was scored, in milliseconds since 1970.
    pub time_ms: i64,
    /// JSON object, as scored; missing features left out.
    pub features: &'r str,
    /// It converted within the horizon.
    pub won: bool,
}

impl Store {
    /// Hands out the leads one by one, oldest first, until `each` returns `false`. One statement reads one state of the log,
    /// whatever is written meanwhile.
    pub fn training(
        &self,
        wanted: &Wanted<'_>,
        mut each: impl FnMut(Scored<'_>) -> bool,
    ) -> Result<(), StoreError> {
        let mut statement = self.connection.prepare_cached(&format!(
            "SELECT time_ms, features, coalesce({LABEL}, 0) FROM scores AS met
             WHERE seq >= ?4 AND model = ?1 AND lead IS NOT NULL AND time_ms >= ?2 AND time_ms <= ?3 AND {WAS_OPEN}
                 AND NOT EXISTS (
                     SELECT 1 FROM scores AS later
                     WHERE later.lead = met.lead AND later.model = met.model AND later.seq > met.seq
                         AND later.time_ms <= ?3 AND later.time_ms < {CLOSED})
             ORDER BY seq"
        ))?;
        let Wanted { model, since_ms, horizon } = *wanted;
        let (first, _) = self.seqs_of(since_ms, horizon.settled_ms())?;
        // The label's own parameter is the sixth; the one before has no meaning here.
        let mut rows =
            statement.query(params![model, since_ms, horizon.settled_ms(), first, Null, horizon.ms])?;
        while let Some(row) = rows.next()? {
            // A row that somebody edited is passed over.
            let Ok(features) = row.get_ref(1)?.as_str() else { continue };
            if !each(Scored { time_ms: row.get(0)?, features, won: row.get(2)? }) {
                break;
            }
        }
        Ok(())
    }

    /// Leads whose first score is younger than the horizon.
    pub fn young(&self, wanted: &Wanted<'_>) -> Result<u64, StoreError> {
        let count = "SELECT count(DISTINCT lead) FROM scores AS met
            WHERE seq >= ?3 AND model = ?1 AND lead IS NOT NULL AND time_ms > ?2 AND NOT EXISTS (
                SELECT 1 FROM scores AS old
                WHERE old.lead = met.lead AND old.model = met.model AND old.time_ms <= ?2)";
        let Wanted { model, horizon, .. } = *wanted;
        let (first, _) = self.seqs_of(horizon.settled_ms(), i64::MAX)?;
        let range = params![model, horizon.settled_ms(), first];
        let count: i64 = self.connection.query_row(count, range, |row| row.get(0))?;
        Ok(count.unsigned_abs())
    }
}

/// Whether a logged value stands for one that the log may not keep: a null, or a hash such as `hash:0123456789abcdef`.
pub fn is_withheld(value: &serde_json::Value) -> bool {
    value.is_null() || value.as_str().is_some_and(is_hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        lead::{Arm, Grade, ModelId, Outcome, Score, Value},
        leadlog::{Decision, Entry, OutcomeRecord, Packed, ScoreRecord},
    };

    const HORIZON: Horizon = Horizon { ms: 100, now_ms: 1_000 };

    /// A score of model `lead`, whose feature says when.
    fn score(time_ms: i64, lead: &str) -> ScoreRecord {
        let id = ModelId { model: "lead".into(), version: "1".into(), digest: "ab".into() };
        ScoreRecord {
            time_ms,
            route: "r".into(),
            lead: Some(lead.into()),
            arm: Arm::Champion,
            model: id.into(),
            names: ["at".into()].into(),
            features: Packed::new(&[Value::Number(time_ms as f64)]),
            score: Score::new(0.5).unwrap(),
            grade: Grade::B,
            latency_ns: 900,
            decision: Decision::Headers,
            exposure: None,
            fell: None,
        }
    }

    fn told(time_ms: i64, occurred_ms: Option<i64>, won: bool) -> Entry {
        let outcome = Outcome { time_ms: occurred_ms, ..Outcome::new("a", won) };
        Entry::Outcome(OutcomeRecord { time_ms, route: "r".into(), outcome })
    }

    fn rows(entries: &[Entry], since_ms: i64) -> (Vec<(i64, bool)>, u64) {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(folder.path()).unwrap();
        store.write(entries).unwrap();
        let wanted = Wanted { model: "lead", since_ms, horizon: HORIZON };
        let mut rows = Vec::new();
        let each = |Scored { time_ms, features, won }: Scored<'_>| {
            assert_eq!(features, format!("{{\"at\":{time_ms}.0}}"));
            rows.push((time_ms, won));
            true
        };
        store.training(&wanted, each).unwrap();
        (rows, store.young(&wanted).unwrap())
    }

    #[test]
    fn the_last_score_counts_that_is_old_enough_and_before_the_outcome() {
        let check = |scores: &[i64], outcomes: Vec<Entry>, expected: &[(i64, bool)]| {
            let scores = scores.iter().map(|time| Entry::Score(score(*time, "a")));
            let entries: Vec<Entry> = scores.chain(outcomes).collect();
            assert_eq!(rows(&entries, 100).0, expected, "{entries:?}");
        };
        check(&[500], vec![], &[(500, false)]);
        check(&[500, 600, 700], vec![], &[(700, false)]);
        check(&[500, 600, 700], vec![told(650, None, true)], &[(600, true)]);
        check(&[500], vec![told(600, None, true)], &[(500, true)]);
        check(&[500], vec![told(601, None, true)], &[(500, false)]);
        check(&[500], vec![told(550, None, true), told(560, None, false)], &[(500, false)]);
        check(&[500], vec![told(550, None, true), told(700, None, false)], &[(500, true)]);
        // It happened before it was told of.
        check(&[500, 600], vec![told(650, Some(550), true)], &[(500, true)]);
        // Closed when it came.
        check(&[500], vec![told(500, None, true)], &[]);
        check(&[500, 600], vec![told(400, None, false), told(650, None, true)], &[]);
        // Too young, converted or not; an older score of the lead still counts.
        check(&[901], vec![], &[]);
        check(&[901], vec![told(950, None, true)], &[]);
        check(&[900], vec![told(950, None, true)], &[(900, true)]);
        check(&[500, 950], vec![told(960, None, true)], &[(500, false)]);
        // Too old.
        check(&[99], vec![told(150, None, true)], &[]);
    }

    #[test]
    fn rows_come_oldest_first_and_stop_when_told() {
        let other = ModelId { model: "other".into(), version: "1".into(), digest: "ab".into() };
        let entries = [
            Entry::Score(score(300, "b")),
            Entry::Score(score(400, "a")),
            Entry::Score(ScoreRecord { lead: None, ..score(450, "x") }),
            Entry::Score(ScoreRecord { model: other.into(), ..score(500, "b") }),
            Entry::Score(score(950, "c")),
            Entry::Score(score(960, "a")),
        ];
        assert_eq!(rows(&entries, 0), (vec![(300, false), (400, false)], 1));
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(folder.path()).unwrap();
        store.write(&entries).unwrap();
        let mut count = 0;
        let wanted = Wanted { model: "lead", since_ms: 0, horizon: HORIZON };
        store
            .training(&wanted, |_| {
                count += 1;
                false
            })
            .unwrap();
        assert_eq!(count, 1);
    }
}
