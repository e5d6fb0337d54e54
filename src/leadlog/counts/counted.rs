//! Counting: which score of a lead counts, what became of it, and the sketches that both add up to.
//!
//! Of each lead and version the last score counts that came before anything had become of the lead; a score given to a lead that
//! was closed tells nothing of a version. What became of it is told by `labels.rs`. A
//! lead whose id nobody saw cannot be followed and is not counted.
//!
//! `counted` holds each lead's place in the sketches. A slice of the log is counted in one transaction: the old places are taken
//! out, the new ones added, and how far it came is written with them, so that a crash loses nothing and doubles nothing. The
//! database itself notes in `recount` whose outcomes have changed. A sketch that cannot be read is made again from the places
//! of its day. A new horizon gives every place its label anew, a slice at a time.
//!
//! A lead that is forgotten, or whose place has expired, stays in the sketches as a number; it cannot be taken out any more.

use std::{collections::BTreeMap, rc::Rc};

use rusqlite::{
    CachedStatement, Connection, OptionalExtension, Row, TransactionBehavior, params,
    types::{FromSql, FromSqlResult, ValueRef},
};

use super::{
    labels,
    store::{Store, StoreError},
    tally::{Place, Tally},
};
use crate::lead::Grade;

/// A day in milliseconds.
pub(in crate::leadlog) const DAY_MS: i64 = 86_400_000;

/// Scores of one lead that are looked through, newest first, for the one that counts. A record that a machine saves every
/// minute must not hold up the rest.
const MOST_SCORES: usize = 1_000;

/// What counting came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Scores and leads that were looked at.
    pub steps: usize,
    /// Nothing is left to count.
    pub done: bool,
}

impl Store {
    /// Counts the next `most` scores, or leads whose outcomes changed, in one transaction. `horizon_ms` is how long a lead has
    /// to convert.
    pub fn count(&mut self, most: usize, horizon_ms: i64) -> Result<Counted, StoreError> {
        // Another process may count too; whoever begins has the turn until the slice is done.
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut reached =
            Reached::read(&transaction)?.unwrap_or(Reached { seq: 0, horizon_ms, relabelled: None });
        if reached.horizon_ms != horizon_ms {
            (reached.horizon_ms, reached.relabelled) = (horizon_ms, Some(String::new()));
        }
        let each = Each::new(&transaction)?;
        let mut slice = Slice { connection: &transaction, horizon_ms, tallies: BTreeMap::new(), each };
        let mut steps = slice.recount(most, reached.seq)?;
        steps += slice.relabel(most - steps, &mut reached.relabelled)?;
        steps += slice.go_on(most - steps, &mut reached.seq)?;
        slice.write()?;
        reached.write(&transaction)?;
        transaction.commit()?;
        Ok(Counted { steps, done: steps < most })
    }

    /// Scores and leads that wait to be counted, about.
    pub fn uncounted(&self) -> Result<u64, StoreError> {
        let sql = "SELECT (SELECT coalesce(max(seq), 0) FROM scores) - coalesce((SELECT seq FROM counted_to), 0)
            + (SELECT count(*) FROM recount)
            + CASE WHEN (SELECT relabelled FROM counted_to) IS NULL THEN 0 ELSE (SELECT count(*) FROM counted) END";
        let count: i64 = self.connection.query_row(sql, [], |row| row.get(0))?;
        Ok(u64::try_from(count).unwrap_or_default())
    }

    /// How long a lead had to convert when it was last counted, in milliseconds. `None` before anything was.
    pub fn counted_horizon(&self) -> Result<Option<i64>, StoreError> {
        Ok(Reached::read(&self.connection)?.map(|reached| reached.horizon_ms))
    }
}

/// How far counting has come.
struct Reached {
    seq: i64,
    horizon_ms: i64,
    relabelled: Option<String>,
}

impl Reached {
    fn read(connection: &Connection) -> Result<Option<Self>, StoreError> {
        let mut statement =
            connection.prepare_cached("SELECT seq, horizon_ms, relabelled FROM counted_to")?;
        let read =
            |row: &Row<'_>| Ok(Self { seq: row.get(0)?, horizon_ms: row.get(1)?, relabelled: row.get(2)? });
        Ok(statement.query_row([], read).optional()?)
    }

    fn write(&self, connection: &Connection) -> Result<(), StoreError> {
        let sql =
            "INSERT OR REPLACE INTO counted_to (one, seq, horizon_ms, relabelled) VALUES (1, ?1, ?2, ?3)";
        connection.prepare_cached(sql)?.execute(params![self.seq, self.horizon_ms, self.relabelled])?;
        Ok(())
    }
}

/// A version that scored.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Scorer {
    model: Rc<str>,
    version: Rc<str>,
}

/// A version's leads of one day, in days since 1970.
type Cohort = (Scorer, i64);

/// A score that may count.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Given {
    time_ms: i64,
    score: f64,
    grade: Grade,
}

/// What one transaction counts.
struct Slice<'c> {
    connection: &'c Connection,
    horizon_ms: i64,
    tallies: BTreeMap<Cohort, Tally>,
    each: Each<'c>,
}

/// What is asked of nearly every lead: to look for a statement takes as long as to run it.
struct Each<'c> {
    enter: CachedStatement<'c>,
    /// Whose version is bound to `enter`: neighbours mostly share theirs, and to bind is to copy.
    bound: Option<Scorer>,
    place: CachedStatement<'c>,
    write: CachedStatement<'c>,
}

impl<'c> Each<'c> {
    fn new(connection: &'c Connection) -> rusqlite::Result<Self> {
        // A lead of which something became is null here, so that it is ignored as one is that has its place already.
        let enter = connection.prepare_cached(
            "INSERT OR IGNORE INTO counted (lead, model, version, time_ms, score, grade)
             VALUES ((SELECT ?1 WHERE NOT EXISTS (SELECT 1 FROM outcomes WHERE lead = ?1)), ?2, ?3, ?4, ?5, ?6)",
        )?;
        let place = connection.prepare_cached(
            "SELECT model, version, time_ms, score, grade, won, revenue FROM counted
             WHERE lead = ?1 AND model = ?2 AND version = ?3",
        )?;
        let write = connection.prepare_cached(
            "INSERT OR REPLACE INTO counted (lead, model, version, time_ms, score, grade, won, revenue)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?;
        Ok(Self { enter, bound: None, place, write })
    }

    /// Gives a lead its place, unless it has one or something has become of it; says whether it did.
    fn enter(&mut self, lead: &str, scorer: &Scorer, given: Given) -> rusqlite::Result<bool> {
        if self.bound.as_ref() != Some(scorer) {
            // Not before all of it is bound.
            self.bound = None;
            self.enter.raw_bind_parameter(2, &*scorer.model)?;
            self.enter.raw_bind_parameter(3, &*scorer.version)?;
            self.bound = Some(scorer.clone());
        }
        self.enter.raw_bind_parameter(1, lead)?;
        self.enter.raw_bind_parameter(4, given.time_ms)?;
        self.enter.raw_bind_parameter(5, given.score)?;
        self.enter.raw_bind_parameter(6, given.grade.as_str())?;
        Ok(self.enter.raw_execute()? > 0)
    }
}

impl Slice<'_> {
    /// Leads whose outcomes changed.
    fn recount(&mut self, most: usize, seq: i64) -> Result<usize, StoreError> {
        let leads = self.leads("SELECT lead FROM recount ORDER BY lead LIMIT ?1", params![limit(most)])?;
        for lead in &leads {
            self.settle(lead, seq)?;
            self.connection.prepare_cached("DELETE FROM recount WHERE lead = ?1")?.execute([lead])?;
        }
        Ok(leads.len())
    }

    /// Leads that were labelled under another horizon.
    fn relabel(&mut self, most: usize, after: &mut Option<String>) -> Result<usize, StoreError> {
        let Some(last) = after.clone() else { return Ok(0) };
        let sql = "SELECT DISTINCT lead FROM counted WHERE lead > ?1 ORDER BY lead LIMIT ?2";
        let leads = self.leads(sql, params![last, limit(most)])?;
        for lead in &leads {
            let closed_ms = self.closed_ms(lead)?;
            for (scorer, place) in self.places(lead)? {
                self.move_to(lead, &scorer, Some((place.into(), closed_ms)))?;
            }
        }
        if leads.len() < most {
            *after = None;
        } else if let Some(last) = leads.last() {
            *after = Some(last.clone());
        }
        Ok(leads.len())
    }

    /// Scores that were not seen yet, in the order in which they were written.
    fn go_on(&mut self, most: usize, seq: &mut i64) -> Result<usize, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT model, version, time_ms, score, grade, seq, lead FROM scores WHERE seq > ?1 ORDER BY seq LIMIT ?2",
        )?;
        let mut rows = statement.query(params![*seq, limit(most)])?;
        let (mut steps, mut last) = (0, None);
        while let Some(row) = rows.next()? {
            (steps, *seq) = (steps + 1, row.get(5)?);
            let lead = row.get_ref(6)?.as_str_or_null().map_err(rusqlite::Error::from)?;
            if let (Some(lead), Some(given)) = (lead, given(row)?) {
                self.follow(lead, &scorer(row, &mut last)?, given)?;
            }
        }
        Ok(steps)
    }

    /// Moves a lead to its next score. Mostly it is the first, and nothing has become of the lead.
    fn follow(&mut self, lead: &str, scorer: &Scorer, given: Given) -> Result<(), StoreError> {
        // Read before there is a place more, in case it is made again from the places.
        self.tally(scorer, given.time_ms)?;
        if self.each.enter(lead, scorer, given)? {
            let Given { time_ms, score, grade } = given;
            let place = Place { time_ms, score, grade, won: None, revenue: None };
            self.tally(scorer, time_ms)?.add(&place);
            return Ok(());
        }
        let closed_ms = self.closed_ms(lead)?;
        if given.time_ms < closed_ms {
            self.move_to(lead, scorer, Some((given, closed_ms)))?;
        }
        Ok(())
    }

    fn leads(&self, sql: &str, range: &[&dyn rusqlite::ToSql]) -> Result<Vec<String>, StoreError> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let leads = statement.query_map(range, |row| row.get(0))?;
        Ok(leads.collect::<Result<_, _>>()?)
    }

    /// Finds the scores of a lead that count, and moves it there. One whose row has expired counts for as long as nothing
    /// speaks against it.
    fn settle(&mut self, lead: &str, seq: i64) -> Result<(), StoreError> {
        let closed_ms = self.closed_ms(lead)?;
        let mut last = self.last_open(lead, (closed_ms, seq))?;
        for (scorer, place) in self.places(lead)? {
            if place.time_ms < closed_ms {
                last.entry(scorer).or_insert_with(|| place.into());
            } else if !last.contains_key(&scorer) {
                self.move_to(lead, &scorer, None)?;
            }
        }
        for (scorer, given) in last {
            self.move_to(lead, &scorer, Some((given, closed_ms)))?;
        }
        Ok(())
    }

    /// The last score of each version before `closed_ms`, of those that have been counted.
    fn last_open(
        &self,
        lead: &str,
        (closed_ms, seq): (i64, i64),
    ) -> Result<BTreeMap<Scorer, Given>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT model, version, time_ms, score, grade FROM scores WHERE lead = ?1 AND seq <= ?2
             ORDER BY seq DESC LIMIT ?3",
        )?;
        let mut rows = statement.query(params![lead, seq, limit(MOST_SCORES)])?;
        let (mut found, mut last) = (BTreeMap::new(), None);
        while let Some(row) = rows.next()? {
            if let Some(given) = given(row)?.filter(|given| given.time_ms < closed_ms) {
                found.entry(scorer(row, &mut last)?).or_insert(given);
            }
        }
        Ok(found)
    }

    /// The lead's places in the sketches.
    fn places(&self, lead: &str) -> Result<Vec<(Scorer, Place)>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT model, version, time_ms, score, grade, won, revenue FROM counted WHERE lead = ?1",
        )?;
        let mut rows = statement.query([lead])?;
        let (mut places, mut last) = (Vec::new(), None);
        while let Some(row) = rows.next()? {
            let scorer = scorer(row, &mut last)?;
            places.extend(place(row)?.map(|place| (scorer, place)));
        }
        Ok(places)
    }

    /// The lead's place in the sketches of one version.
    fn place_of(
        &mut self,
        lead: &str,
        Scorer { model, version }: &Scorer,
    ) -> Result<Option<Place>, StoreError> {
        let mut rows = self.each.place.query(params![lead, model, version])?;
        rows.next()?.map_or(Ok(None), place)
    }

    /// When anything first became of a lead.
    fn closed_ms(&self, lead: &str) -> Result<i64, StoreError> {
        labels::closed_ms(self.connection, lead)
    }

    /// Gives the lead its place by a score and when the lead was closed, or none.
    fn move_to(&mut self, lead: &str, scorer: &Scorer, to: Option<(Given, i64)>) -> Result<(), StoreError> {
        let old = self.place_of(lead, scorer)?;
        let new = to.map(|(given, closed_ms)| self.labelled(lead, given, closed_ms)).transpose()?;
        if old == new {
            return Ok(());
        }
        if let Some(old) = &old {
            self.tally(scorer, old.time_ms)?.remove(old);
        }
        if let Some(new) = &new {
            self.tally(scorer, new.time_ms)?.add(new);
        }
        self.write_place(lead, scorer, new.as_ref())
    }

    fn labelled(&self, lead: &str, given: Given, closed_ms: i64) -> Result<Place, StoreError> {
        let Given { time_ms, score, grade } = given;
        let until_ms = time_ms.saturating_add(self.horizon_ms);
        // Of most leads nothing has become, and nothing is looked for.
        let label = match closed_ms > until_ms {
            true => None,
            false => labels::label(self.connection, lead, (time_ms, self.horizon_ms))?,
        };
        let (won, revenue) = label.map(|label| (label.won, label.revenue)).unzip();
        let revenue = revenue.flatten().filter(|_| won == Some(true));
        Ok(Place { time_ms, score, grade, won, revenue })
    }

    fn write_place(&mut self, lead: &str, scorer: &Scorer, place: Option<&Place>) -> Result<(), StoreError> {
        let Scorer { model, version } = scorer;
        let Some(Place { time_ms, score, grade, won, revenue }) = place else {
            let sql = "DELETE FROM counted WHERE lead = ?1 AND model = ?2 AND version = ?3";
            self.connection.prepare_cached(sql)?.execute(params![lead, model, version])?;
            return Ok(());
        };
        let row = params![lead, model, version, time_ms, score, grade.as_str(), won, revenue];
        self.each.write.execute(row)?;
        Ok(())
    }

    /// The tally of a version's day, before any of its places moves in this transaction.
    fn tally(&mut self, scorer: &Scorer, time_ms: i64) -> Result<&mut Tally, StoreError> {
        let cohort = (scorer.clone(), time_ms.div_euclid(DAY_MS));
        if !self.tallies.contains_key(&cohort) {
            let tally = self.read_tally(&cohort)?;
            self.tallies.insert(cohort.clone(), tally);
        }
        Ok(self.tallies.entry(cohort).or_default())
    }

    fn read_tally(&self, cohort: &Cohort) -> Result<Tally, StoreError> {
        let (Scorer { model, version }, day) = cohort;
        let sql = "SELECT scored, known FROM sketches WHERE model = ?1 AND version = ?2 AND day = ?3";
        let mut statement = self.connection.prepare_cached(sql)?;
        let stored = statement.query_row(params![model, version, day], |row| {
            Ok(Tally::read(row.get_ref(0)?.as_blob()?, row.get_ref(1)?.as_blob()?))
        });
        match stored.optional()? {
            None => Ok(Tally::default()),
            Some(Some(tally)) => Ok(tally),
            Some(None) => self.count_again(cohort),
        }
    }

    /// A day's tally from the places of its leads.
    fn count_again(&self, cohort: &Cohort) -> Result<Tally, StoreError> {
        let (Scorer { model, version }, day) = cohort;
        tracing::warn!(%model, %version, day, "a sketch in the lead log cannot be read; it is counted again");
        let mut statement = self.connection.prepare_cached(
            "SELECT model, version, time_ms, score, grade, won, revenue FROM counted
             WHERE model = ?1 AND version = ?2 AND time_ms >= ?3 AND time_ms < ?4",
        )?;
        let from_ms = day.saturating_mul(DAY_MS);
        let mut rows = statement.query(params![model, version, from_ms, from_ms.saturating_add(DAY_MS)])?;
        let mut tally = Tally::default();
        while let Some(row) = rows.next()? {
            place(row)?.iter().for_each(|place| tally.add(place));
        }
        Ok(tally)
    }

    fn write(self) -> Result<(), StoreError> {
        let mut remove = self
            .connection
            .prepare_cached("DELETE FROM sketches WHERE model = ?1 AND version = ?2 AND day = ?3")?;
        let mut write = self.connection.prepare_cached(
            "INSERT INTO sketches (model, version, day, scored, known) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (model, version, day) DO UPDATE SET scored = excluded.scored, known = excluded.known",
        )?;
        for ((Scorer { model, version }, day), tally) in &self.tallies {
            match tally.is_empty() {
                true => remove.execute(params![model, version, day])?,
                false => {
                    let (scored, known) = (tally.scored_bytes(), tally.known_bytes());
                    write.execute(params![model, version, day, scored, known])?
                }
            };
        }
        Ok(())
    }
}

impl From<Place> for Given {
    fn from(Place { time_ms, score, grade, .. }: Place) -> Self {
        Self { time_ms, score, grade }
    }
}

fn limit(most: usize) -> i64 {
    i64::try_from(most).unwrap_or(i64::MAX)
}

/// `model, version`. Neighbours mostly share theirs.
fn scorer(row: &Row<'_>, last: &mut Option<Scorer>) -> Result<Scorer, StoreError> {
    let (model, version) = (text(row.get_ref(0)?)?, text(row.get_ref(1)?)?);
    if let Some(last) = last.as_ref().filter(|last| *last.model == *model && *last.version == *version) {
        return Ok(last.clone());
    }
    let scorer = Scorer { model: model.into(), version: version.into() };
    *last = Some(scorer.clone());
    Ok(scorer)
}

fn text(value: ValueRef<'_>) -> Result<&str, StoreError> {
    Ok(value.as_str().map_err(rusqlite::Error::from)?)
}

/// `.., .., time_ms, score, grade`. A row that somebody edited is passed over.
fn given(row: &Row<'_>) -> Result<Option<Given>, StoreError> {
    let (time_ms, score, GradeText(grade)) = (row.get(2)?, row.get(3)?, row.get(4)?);
    let is_score = (0.0..=1.0).contains(&score);
    Ok(grade.filter(|_| is_score).map(|grade| Given { time_ms, score, grade }))
}

/// `.., .., time_ms, score, grade, won, revenue`
fn place(row: &Row<'_>) -> Result<Option<Place>, StoreError> {
    let (won, revenue) = (row.get(5)?, row.get(6)?);
    let place = |Given { time_ms, score, grade }| Place { time_ms, score, grade, won, revenue };
    Ok(given(row)?.map(place))
}

/// A grade as the log has it.
struct GradeText(Option<Grade>);

impl FromSql for GradeText {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Ok(Self(Grade::parse(value.as_str()?)))
    }
}

#[cfg(test)]
mod tests;
