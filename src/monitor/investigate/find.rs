//! The lead, under whichever id, and its scores.

use super::{Ask, InvestigateError, shown};
use crate::{
    lead::id_forms,
    leadlog::{Scoring, Store},
};

/// Scores that are looked at, the last ones.
pub(super) const MOST: usize = 100;

/// Bytes of an id that is looked for.
const MOST_ID: usize = 256;

/// A lead and its scores.
#[derive(Debug)]
pub(super) struct Found {
    /// Its ids in the log, that of the last score first.
    pub(super) ids: Vec<String>,
    pub(super) via_deal: Option<String>,
    pub(super) model: String,
    pub(super) other_models: Vec<String>,
    /// Oldest first; never empty.
    pub(super) rows: Vec<Scoring>,
    pub(super) has_older: bool,
    /// The row that is asked about.
    pub(super) at: usize,
    /// The row it is compared with.
    pub(super) against: Option<usize>,
}

impl Found {
    pub(super) fn of(store: &Store, ask: &Ask) -> Result<Self, InvestigateError> {
        let unknown = |near| InvestigateError::Unknown { lead: shown::line(&ask.lead), near };
        if ask.lead.is_empty() || ask.lead.len() > MOST_ID {
            return Err(unknown(Vec::new()));
        }
        let (ids, via_deal) = ids(store, &ask.lead)?;
        if ids.is_empty() {
            let near = store.near(&ask.lead)?;
            return Err(unknown(near.iter().map(|id| shown::line(id)).collect()));
        }
        let mut models: Vec<String> = Vec::new();
        for row in merged(store, &ids, None, i64::MAX)?.into_iter().rev() {
            if !models.contains(&row.given.model) {
                models.push(row.given.model);
            }
        }
        let model = ask.model.clone().or_else(|| models.first().cloned()).unwrap_or_default();
        let mut rows = merged(store, &ids, Some(&model), i64::MAX)?;
        if rows.is_empty() {
            return Err(InvestigateError::Model { lead: shown::line(&ask.lead), model, known: models });
        }
        let has_older = rows.len() > MOST;
        rows.drain(..rows.len().saturating_sub(MOST));
        models.retain(|known| *known != model);
        let last = rows.len() - 1;
        let mut found =
            Self { ids, via_deal, model, other_models: models, rows, has_older, at: last, against: None };
        found.choose(store, ask)?;
        Ok(found)
    }

    /// Finds the two scores that are asked about, those too that were given before the last hundred.
    fn choose(&mut self, store: &Store, ask: &Ask) -> Result<(), InvestigateError> {
        for time_ms in [ask.at_ms, ask.against_ms].into_iter().flatten() {
            let is_before = self.rows.first().is_some_and(|first| first.given.time_ms > time_ms);
            if self.has_older && is_before {
                let mut earlier = merged(store, &self.ids, Some(&self.model), time_ms)?;
                earlier.drain(..earlier.len().saturating_sub(2));
                self.rows.extend(earlier);
            }
        }
        self.rows.sort_by_key(order);
        self.rows.dedup_by_key(|row| row.seq);
        self.at = self.place(ask, ask.at_ms)?;
        self.against = match ask.against_ms {
            Some(_) => Some(self.place(ask, ask.against_ms)?).filter(|against| *against != self.at),
            None => self.at.checked_sub(1),
        };
        Ok(())
    }

    /// The score that was current at a time.
    fn place(&self, ask: &Ask, time_ms: Option<i64>) -> Result<usize, InvestigateError> {
        let until = time_ms.unwrap_or(i64::MAX);
        let place = self.rows.iter().rposition(|row| row.given.time_ms <= until);
        place.ok_or_else(|| InvestigateError::Early { lead: shown::line(&ask.lead), at: shown::time(until) })
    }
}

/// The forms of an id that have scores, and the deal that led to them.
fn ids(store: &Store, asked: &str) -> Result<(Vec<String>, Option<String>), InvestigateError> {
    let ids = scored(store, asked)?;
    if !ids.is_empty() {
        return Ok((ids, None));
    }
    for deal in id_forms(asked) {
        if let Some(lead) = store.lead_of(&deal)? {
            return Ok((scored(store, &lead)?, Some(deal)));
        }
    }
    Ok((Vec::new(), None))
}

/// The form that was scored last comes first.
fn scored(store: &Store, id: &str) -> Result<Vec<String>, InvestigateError> {
    let mut found = Vec::new();
    for id in id_forms(id) {
        if let Some(last) = store.history_of(&id, None, i64::MAX, 1)?.last() {
            found.push((order(last), id));
        }
    }
    found.sort_by(|a, b| b.cmp(a));
    Ok(found.into_iter().map(|(_, id)| id).collect())
}

fn merged(
    store: &Store,
    ids: &[String],
    model: Option<&str>,
    until_ms: i64,
) -> Result<Vec<Scoring>, InvestigateError> {
    let mut rows = Vec::new();
    for id in ids {
        rows.extend(store.history_of(id, model, until_ms, MOST + 1)?);
    }
    rows.sort_by_key(order);
    Ok(rows)
}

fn order(row: &Scoring) -> (i64, i64) {
    (row.given.time_ms, row.seq)
}
