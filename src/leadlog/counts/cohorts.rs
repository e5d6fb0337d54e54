//! What counting has found, by the day on which leads were scored.
//!
//! A day is matured once all of its leads have had the horizon to convert; then who has not converted did not, and its numbers
//! are official. Before that only what is known can be told, and it flatters or damns a version by what comes late.

use rusqlite::{Row, params};

use super::{
    counted::DAY_MS,
    store::{Store, StoreError},
    tally::{Group, Tally},
    trial::Horizon,
};

/// Days of a model.
#[derive(Clone, Copy, Debug)]
pub struct Days<'s> {
    /// The model's name.
    pub model: &'s str,
    /// One version of it; all without it.
    pub version: Option<&'s str>,
    /// The first day, in days since 1970, UTC.
    pub from: i64,
    /// The day after the last.
    pub to: i64,
}

/// The leads that a version scored on one day, and what became of them.
#[derive(Clone, Debug, PartialEq)]
pub struct CohortDay {
    /// The model's name.
    pub model: String,
    /// The version.
    pub version: String,
    /// The day, in days since 1970, UTC.
    pub day: i64,
    /// All of them have had their time.
    pub matured: bool,
    /// Leads, each once.
    pub scored: u64,
    /// Those that converted within the horizon.
    pub positives: u64,
    /// Those that did not: of a matured day all others, else those that are known to be lost.
    pub negatives: u64,
    /// The same by score and grade.
    pub tally: Tally,
}

/// A lead that was won, at whatever time after its score.
#[derive(Clone, Debug, PartialEq)]
pub struct Win {
    /// When the lead was scored, in milliseconds since 1970.
    pub scored_ms: i64,
    /// How long after that it was won, in milliseconds.
    pub delay_ms: i64,
}

/// A lead that converted within the horizon.
#[derive(Clone, Debug, PartialEq)]
pub struct Revenue {
    /// The version that scored it.
    pub version: String,
    /// When, in milliseconds since 1970.
    pub scored_ms: i64,
    /// What it brought, where that was told.
    pub revenue: Option<f64>,
}

impl CohortDay {
    /// When all leads of a day have had their time, in milliseconds since 1970.
    pub fn matures_ms(day: i64, horizon_ms: i64) -> i64 {
        day.saturating_add(1).saturating_mul(DAY_MS).saturating_add(horizon_ms)
    }
}

impl Days<'_> {
    /// The first moment, and that after the last, in milliseconds since 1970.
    fn span(&self) -> (i64, i64) {
        (self.from.saturating_mul(DAY_MS), self.to.saturating_mul(DAY_MS))
    }
}

impl Store {
    /// The models that have been counted, in the order of their names.
    pub fn counted_models(&self) -> Result<Vec<String>, StoreError> {
        let mut statement =
            self.connection.prepare_cached("SELECT DISTINCT model FROM sketches ORDER BY model")?;
        let models = statement.query_map([], |row| row.get(0))?;
        Ok(models.collect::<Result<_, _>>()?)
    }

    /// The days of a model on which leads were scored, the first first. A sketch that cannot be read is left out; counting mends it.
    pub fn cohorts_of(&self, days: &Days<'_>, horizon: Horizon) -> Result<Vec<CohortDay>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT version, day, scored, known FROM sketches
             WHERE model = ?1 AND (?2 IS NULL OR version = ?2) AND day >= ?3 AND day < ?4 ORDER BY day, version",
        )?;
        let mut rows = statement.query(params![days.model, days.version, days.from, days.to])?;
        let mut cohorts = Vec::new();
        while let Some(row) = rows.next()? {
            cohorts.extend(cohort(row, days.model, horizon)?);
        }
        Ok(cohorts)
    }

    /// The leads of some days that were won, by when they first were. One that was corrected later to be lost is none of them.
    /// Those won after the horizon are among them: they tell whether it is long enough.
    pub fn wins(&self, days: &Days<'_>) -> Result<Vec<Win>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT met.time_ms, min(coalesce(won.occurred_ms, won.time_ms)) FROM outcomes AS won
             JOIN counted AS met ON met.lead = won.lead
             WHERE won.won = 1 AND met.model = ?1 AND (?2 IS NULL OR met.version = ?2)
                 AND met.time_ms >= ?3 AND met.time_ms < ?4
             GROUP BY met.lead, met.version
             HAVING (SELECT told.won FROM outcomes AS told WHERE told.lead = met.lead
                 ORDER BY coalesce(told.revision, 0) DESC, coalesce(told.occurred_ms, told.time_ms) DESC, told.seq DESC
                 LIMIT 1) = 1",
        )?;
        let (from_ms, to_ms) = days.span();
        let range = params![days.model, days.version, from_ms, to_ms];
        let wins = statement.query_map(range, |row| {
            let (scored_ms, won_ms): (i64, i64) = (row.get(0)?, row.get(1)?);
            Ok(Win { scored_ms, delay_ms: won_ms.saturating_sub(scored_ms).max(0) })
        })?;
        Ok(wins.collect::<Result<_, _>>()?)
    }

    /// What each lead brought that converted within the horizon.
    pub fn revenues(&self, days: &Days<'_>) -> Result<Vec<Revenue>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT version, time_ms, revenue FROM counted
             WHERE won = 1 AND model = ?1 AND (?2 IS NULL OR version = ?2) AND time_ms >= ?3 AND time_ms < ?4",
        )?;
        let (from_ms, to_ms) = days.span();
        let range = params![days.model, days.version, from_ms, to_ms];
        let revenues = statement.query_map(range, |row| {
            Ok(Revenue { version: row.get(0)?, scored_ms: row.get(1)?, revenue: row.get(2)? })
        })?;
        Ok(revenues.collect::<Result<_, _>>()?)
    }
}

/// `version, day, scored, known`
fn cohort(row: &Row<'_>, model: &str, horizon: Horizon) -> Result<Option<CohortDay>, StoreError> {
    let blob = |column| Ok::<_, StoreError>(row.get_ref(column)?.as_blob().map_err(rusqlite::Error::from)?);
    let Some(tally) = Tally::read(blob(2)?, blob(3)?) else { return Ok(None) };
    let day = row.get(1)?;
    let matured = CohortDay::matures_ms(day, horizon.ms) <= horizon.now_ms;
    let Group { scored, won, lost, .. } = tally.total();
    let negatives = if matured { scored.saturating_sub(won) } else { lost };
    let (model, version) = (model.to_owned(), row.get(0)?);
    Ok(Some(CohortDay { model, version, day, matured, scored, positives: won, negatives, tally }))
}
