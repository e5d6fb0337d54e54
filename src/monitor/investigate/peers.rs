//! What became of leads like this one, and of this one.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
};

use serde::Serialize;

use crate::{
    leadlog::{GivenScore, Scan, Store, StoreError, StoredScore, ToldOutcome},
    stats::Proportion,
};

/// How far a score may lie from this one's.
const BAND: f64 = 0.05;

/// Rows that are gone through, the newest first.
const MOST_ROWS: u64 = 100_000;

/// Leads like this one that are asked after.
const MOST_PEERS: u64 = 20_000;

/// Leads that were scored long enough ago to know what became of them.
#[derive(Clone, Debug, Serialize)]
pub struct Peers {
    /// Scored from then on, in milliseconds since 1970.
    pub from_ms: i64,
    /// And before.
    pub to_ms: i64,
    /// How long each had to convert, in milliseconds.
    pub horizon_ms: i64,
    /// Those of the same grade.
    pub grade: Converted,
    /// Those within five points.
    pub band: Converted,
    /// Whether there were more than are gone through: then the newest were.
    pub is_cut: bool,
}

/// How many of them converted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Converted {
    /// Leads, each once, by its last score before it was closed.
    pub leads: u64,
    /// Those that converted within their time.
    pub conversions: u64,
    /// Conversions per lead; `None` without leads.
    pub rate: Option<f64>,
    /// Wilson's 95% interval of the rate.
    pub interval: Option<[f64; 2]>,
}

impl Converted {
    fn of(tally: [u64; 2]) -> Self {
        let [leads, conversions] = tally;
        let proportion = Proportion { conversions, leads };
        let known = leads > 0;
        Self {
            leads,
            conversions,
            rate: known.then(|| proportion.rate()),
            interval: known.then(|| proportion.wilson()),
        }
    }
}

/// Whose peers are asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    /// The lead itself, which is no peer of its own.
    pub(super) ids: &'a [String],
    pub(super) days: u32,
    pub(super) horizon_ms: i64,
    pub(super) now_ms: i64,
}

/// The leads of a model that had their time within the last days, beside one score.
pub(super) fn peers(store: &Store, score: &StoredScore, asked: Asked<'_>) -> Result<Peers, StoreError> {
    let to_ms = asked.now_ms.saturating_sub(asked.horizon_ms);
    let from_ms = to_ms.saturating_sub(i64::from(asked.days) * 86_400_000);
    let mut reading = store.reading(Scan { model: &score.model, from_ms, to_ms })?;
    let mut gathered = Gathered::new(store, score, asked);
    while reading.slice(|given| gathered.count(given))? && !gathered.is_full(reading.rows() - reading.left())
    {
    }
    let is_cut = reading.left() > 0 || gathered.asked >= MOST_PEERS;
    Ok(Peers {
        from_ms,
        to_ms,
        horizon_ms: asked.horizon_ms,
        grade: Converted::of(gathered.grade),
        band: Converted::of(gathered.band),
        is_cut,
    })
}

struct Gathered<'g> {
    store: &'g Store,
    score: &'g StoredScore,
    of: Asked<'g>,
    hasher: RandomState,
    met: HashSet<u64>,
    asked: u64,
    /// Leads, and those of them that converted.
    grade: [u64; 2],
    band: [u64; 2],
}

impl<'g> Gathered<'g> {
    fn new(store: &'g Store, score: &'g StoredScore, of: Asked<'g>) -> Self {
        let (hasher, met) = (RandomState::new(), HashSet::new());
        Self { store, score, of, hasher, met, asked: 0, grade: [0; 2], band: [0; 2] }
    }

    fn is_full(&self, rows: u64) -> bool {
        rows >= MOST_ROWS || self.asked >= MOST_PEERS
    }

    /// Rows come newest first, so the first that is met of a lead is its last score. One that was given to a lead that was
    /// closed by then tells nothing, and the one before it is taken.
    fn count(&mut self, given: &GivenScore<'_>) -> Result<(), StoreError> {
        let Some(lead) = given.lead.filter(|_| self.asked < MOST_PEERS) else { return Ok(()) };
        let key = self.hasher.hash_one(lead);
        if self.met.contains(&key) || self.of.ids.iter().any(|id| id == lead) {
            return Ok(());
        }
        let Some(won) = self.store.settled(lead, given.time_ms, self.of.horizon_ms)? else { return Ok(()) };
        self.met.insert(key);
        let add = |tally: &mut [u64; 2]| *tally = [tally[0] + 1, tally[1] + u64::from(won)];
        let (is_grade, is_near) =
            (given.grade == self.score.grade, (given.score - self.score.score).abs() <= BAND);
        if is_grade {
            add(&mut self.grade);
        }
        if is_near {
            add(&mut self.band);
        }
        self.asked += u64::from(is_grade || is_near);
        Ok(())
    }
}

/// What became of a lead.
#[derive(Clone, Debug, Serialize)]
pub struct Became {
    /// `won`, `lost` or `open`.
    pub state: &'static str,
    /// What it brought.
    pub revenue: Option<f64>,
    /// When it happened, in milliseconds since 1970.
    pub occurred_ms: Option<i64>,
    /// When it passed.
    pub told_ms: Option<i64>,
    /// The route that it passed on.
    pub route: Option<String>,
    /// How long after the score that is looked into, in milliseconds; below zero where it was closed before.
    pub after_ms: Option<i64>,
    /// Until when an open lead has its time.
    pub due_ms: i64,
    /// Outcomes that were told of it, corrections among them.
    pub told: usize,
}

/// What became of the lead with this score. The first of the outcomes counts.
pub(super) fn became(outcomes: &[ToldOutcome], score: &StoredScore, horizon_ms: i64) -> Became {
    let counts = outcomes.first();
    let occurred_ms = counts.map(|outcome| outcome.occurred_ms.unwrap_or(outcome.time_ms));
    Became {
        state: match counts {
            Some(outcome) if outcome.won => "won",
            Some(_) => "lost",
            None => "open",
        },
        revenue: counts.and_then(|outcome| outcome.revenue),
        occurred_ms,
        told_ms: counts.map(|outcome| outcome.time_ms),
        route: counts.map(|outcome| outcome.route.clone()),
        after_ms: occurred_ms.map(|occurred| occurred.saturating_sub(score.time_ms)),
        due_ms: score.time_ms.saturating_add(horizon_ms),
        told: outcomes.len(),
    }
}
