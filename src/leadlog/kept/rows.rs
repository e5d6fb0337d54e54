//! Scores become rows, a batch at a time.

use std::sync::Arc;

use rusqlite::{
    CachedStatement, Connection, Error,
    types::{ToSqlOutput, ValueRef},
};

use super::{json::FeatureJson, record::ScoreRecord};
use crate::lead::ArmOutcome;

/// The statement that writes one batch's scores. SQLite keeps what is bound from row to row, so what neighbours share is
/// bound once: binding copies, and the route, the version and its digest are longer than all the rest.
pub(in crate::leadlog) struct ScoreRows<'c, 'b> {
    insert: CachedStatement<'c>,
    json: &'b mut FeatureJson,
    last: Option<&'b ScoreRecord>,
}

impl<'c, 'b> ScoreRows<'c, 'b> {
    pub(in crate::leadlog) fn new(
        connection: &'c Connection,
        json: &'b mut FeatureJson,
    ) -> Result<Self, Error> {
        let insert = connection.prepare_cached(
            "INSERT INTO scores
             (time_ms, route, lead, arm, model, version, digest, features, score, grade, latency_ns, decision,
             experiment, assigned, bucket, key, propensity, fell)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)",
        )?;
        Ok(Self { insert, json, last: None })
    }

    pub(in crate::leadlog) fn insert(&mut self, record: &'b ScoreRecord) -> Result<(), Error> {
        if !self.last.is_some_and(|last| is_alike(last, record)) {
            // Not before all of it is bound.
            self.last = None;
            self.bind_shared(record)?;
            self.last = Some(record);
        }
        let Self { insert, json, .. } = self;
        insert.raw_bind_parameter(1, record.time_ms)?;
        insert.raw_bind_parameter(3, record.lead.as_deref())?;
        let features = ValueRef::Text(json.write(&record.names, &record.features));
        insert.raw_bind_parameter(8, ToSqlOutput::Borrowed(features))?;
        // Every f32 is an f64, so it reads back exactly.
        insert.raw_bind_parameter(9, f64::from(record.score.probability()))?;
        insert.raw_bind_parameter(10, record.grade.as_str())?;
        insert.raw_bind_parameter(11, i64::try_from(record.latency_ns).unwrap_or(i64::MAX))?;
        insert.raw_execute()?;
        Ok(())
    }

    fn bind_shared(&mut self, record: &ScoreRecord) -> Result<(), Error> {
        let insert = &mut self.insert;
        insert.raw_bind_parameter(2, &*record.route)?;
        insert.raw_bind_parameter(4, record.arm.as_str())?;
        insert.raw_bind_parameter(5, &*record.model.model)?;
        insert.raw_bind_parameter(6, &*record.model.version)?;
        insert.raw_bind_parameter(7, &*record.model.digest)?;
        insert.raw_bind_parameter(12, record.decision.as_str())?;
        let exposure = record.exposure.as_ref();
        let assignment = exposure.map(|exposure| &exposure.assignment);
        insert.raw_bind_parameter(13, assignment.map(|assignment| &*assignment.experiment))?;
        insert.raw_bind_parameter(14, exposure.map(|exposure| exposure.arm.as_str()))?;
        insert.raw_bind_parameter(15, assignment.map(|assignment| assignment.bucket))?;
        insert.raw_bind_parameter(16, assignment.map(|assignment| assignment.key.as_str()))?;
        insert.raw_bind_parameter(17, exposure.map(|exposure| exposure.propensity))?;
        insert.raw_bind_parameter(18, record.fell.map(ArmOutcome::as_str))
    }
}

/// Whether two records have the same in every column that `bind_shared` binds. While an experiment runs, none do.
fn is_alike(a: &ScoreRecord, b: &ScoreRecord) -> bool {
    if a.exposure.is_some() || b.exposure.is_some() {
        return false;
    }
    let versions = (Arc::ptr_eq(&a.route, &b.route), Arc::ptr_eq(&a.model, &b.model));
    versions == (true, true) && (a.arm, a.decision) == (b.arm, b.decision)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        lead::{Arm, Grade, ModelId, Score, Value},
        leadlog::{Decision, Entry, Packed, Store, StoredScore},
    };

    fn record(time_ms: i64, route: &str, version: &Arc<ModelId>, decision: Decision) -> ScoreRecord {
        ScoreRecord {
            time_ms,
            route: route.into(),
            lead: Some("a".into()),
            arm: Arm::Champion,
            model: Arc::clone(version),
            names: ["age".into()].into(),
            features: features(time_ms),
            score: Score::new(0.5).unwrap(),
            grade: Grade::B,
            latency_ns: u64::MAX,
            decision,
            exposure: None,
            fell: None,
        }
    }

    fn features(time_ms: i64) -> Packed {
        Packed::new(&[Value::Number(time_ms as f64)])
    }

    fn stored(record: &ScoreRecord) -> StoredScore {
        StoredScore {
            time_ms: record.time_ms,
            route: record.route.to_string(),
            arm: "champion".into(),
            model: "lead".into(),
            version: record.model.version.to_string(),
            digest: record.model.digest.to_string(),
            features: format!(r#"{{"age":{}.0}}"#, record.time_ms),
            score: 0.5,
            grade: "B".into(),
            latency_ns: i64::MAX,
            decision: record.decision.as_str().into(),
            experiment: None,
            assigned: None,
            bucket: None,
            key: None,
            propensity: None,
            fell: None,
        }
    }

    #[test]
    fn what_differs_from_the_row_before_is_written_and_so_is_what_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(folder.path()).unwrap();
        let version = |version: &str, digest: &str| {
            Arc::new(ModelId { model: "lead".into(), version: version.into(), digest: digest.into() })
        };
        let (one, two) = (version("1", "aa"), version("2", "bb"));
        let again =
            |time_ms, of: &ScoreRecord| ScoreRecord { time_ms, features: features(time_ms), ..of.clone() };
        let first = record(1, "create", &one, Decision::Request);
        let records = [
            again(2, &first),
            record(3, "update", &one, Decision::Request),
            record(4, "update", &two, Decision::Request),
            ScoreRecord { decision: Decision::Headers, ..again(5, &first) },
            again(6, &first),
        ];
        let batch: Vec<Entry> = std::iter::once(&first).chain(&records).cloned().map(Entry::Score).collect();
        // Neither does a batch leave anything to the next.
        for part in [&batch[..2], &batch[2..]] {
            store.write(part).unwrap();
        }
        let unknown = ScoreRecord { lead: None, ..again(7, &first) };
        store.write(&[Entry::Score(unknown), Entry::Score(again(8, &first))]).unwrap();
        let last = again(8, &first);
        let expected: Vec<_> = std::iter::once(&first).chain(&records).chain([&last]).map(stored).collect();
        assert_eq!(store.scores_of("a").unwrap(), expected);
        assert_eq!(store.score_count().unwrap(), 8);
    }
}
