//! Leads to learn from: as they were scored, with what became of them.
//!
//! Of each lead the last score counts that is older than the horizon and came before anything had become of the lead; what
//! happened within the horizon of that score is its label, by the rule of `evidence.rs`. A younger score is not looked at,
//! also where the lead has converted since: of the young only the quick ones are known, and they would make all look good.

use rusqlite::{params, types::Null};

use super::{
    evidence::{Horizon, LABEL, WAS_OPEN},
    store::{Store, StoreError},
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
             WHERE model = ?1 AND lead IS NOT NULL AND time_ms >= ?2 AND time_ms <= ?3 AND {WAS_OPEN}
                 AND NOT EXISTS (
                     SELECT 1 FROM scores AS later
                     WHERE later.lead = met.lead AND later.model = met.model AND later.seq > met.seq
                         AND later.time_ms <= ?3 AND later.time_ms < {CLOSED})
             ORDER BY seq"
        ))?;
        let Wanted { model, since_ms, horizon } = *wanted;
        // The label's own parameter is the sixth; those between have no meaning here.
        let mut rows =
            statement.query(params![model, since_ms, horizon.settled_ms(), Null, Null, horizon.ms])?;
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
        let count = "SELECT count(*) FROM (
            SELECT 1 FROM scores WHERE model = ?1 AND lead IS NOT NULL GROUP BY lead HAVING min(time_ms) > ?2)";
        let Wanted { model, horizon, .. } = *wanted;
        let count: i64 =
            self.connection.query_row(count, params![model, horizon.settled_ms()], |row| row.get(0))?;
        Ok(count.unsigned_abs())
    }
}

/// When the first thing became of the lead.
const CLOSED: &str = "coalesce((SELECT min(min(told.time_ms, coalesce(told.occurred_ms, told.time_ms)))
    FROM outcomes AS told WHERE told.lead = met.lead), 9223372036854775807)";
