//! What is on trial: versions, and the times for which they count; and how the log names both sides.

use rusqlite::Row;

use super::store::StoreError;
use crate::lead::Sides;

/// What is on trial of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnTrial {
    /// The model's name.
    pub model: String,
    /// The version that serves: pairs are made with it and no other.
    pub champion: String,
    /// The canary, if one runs.
    pub canary: Option<OnCanary>,
    /// Each shadow, and since when its pairs count, in milliseconds since 1970.
    pub shadows: Vec<(Box<str>, i64)>,
}

/// A version that answers a share of the leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnCanary {
    /// The challenger's version.
    pub version: String,
    /// Since when its pairs count, in milliseconds since 1970.
    pub pairs_ms: i64,
    /// Its steps.
    pub steps: Vec<OnStep>,
}

/// A stretch of time with one share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnStep {
    /// The ledger's record that began it.
    pub seq: u64,
    /// The challenger's share.
    pub percent: u32,
    /// Its first moment, in milliseconds since 1970.
    pub from_ms: i64,
    /// The moment after its last; `None` while it runs.
    pub to_ms: Option<i64>,
}

impl OnTrial {
    /// Each pair of versions.
    pub(in crate::leadlog) fn pairs(&self) -> impl Iterator<Item = Versus<'_>> {
        let Self { model, champion, canary, shadows } = self;
        let canary = canary.iter().map(|canary| (canary.version.as_str(), canary.pairs_ms));
        let shadows = shadows.iter().map(|(version, since_ms)| (&**version, *since_ms));
        canary.chain(shadows).map(move |(challenger, since_ms)| Versus {
            model,
            champion,
            challenger,
            since_ms,
        })
    }

    /// Earlier rows are not read.
    pub(in crate::leadlog) fn since_ms(&self, window_ms: i64) -> i64 {
        let steps = self.canary.iter().flat_map(|canary| &canary.steps).map(|step| step.from_ms);
        let window = self.canary.iter().map(|_| window_ms);
        self.pairs().map(|pair| pair.since_ms).chain(steps).chain(window).min().unwrap_or(i64::MAX)
    }
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

/// Two versions of a model.
#[derive(Clone, Copy, Debug)]
pub(in crate::leadlog) struct Versus<'s> {
    /// The model's name.
    pub(in crate::leadlog) model: &'s str,
    /// The version that serves.
    pub(in crate::leadlog) champion: &'s str,
    /// The version on trial.
    pub(in crate::leadlog) challenger: &'s str,
    /// Earlier scores do not count, in milliseconds since 1970.
    pub(in crate::leadlog) since_ms: i64,
}

/// The champion answered where the row is the challenger's.
pub(in crate::leadlog) fn sides<T>(is_challengers: bool, (live, other): (T, T)) -> Sides<T> {
    match is_challengers {
        true => Sides { champion: live, challenger: other },
        false => Sides { champion: other, challenger: live },
    }
}

/// An arm by its name in the log.
pub(in crate::leadlog) fn side<'s, T>(sides: &'s mut Sides<T>, arm: &str) -> Option<&'s mut T> {
    match arm {
        "champion" => Some(&mut sides.champion),
        "challenger" => Some(&mut sides.challenger),
        _ => None,
    }
}

/// A text; none is empty.
pub(in crate::leadlog) fn text<'r>(row: &'r Row<'_>, column: usize) -> Result<&'r str, StoreError> {
    Ok(row.get_ref(column)?.as_str().unwrap_or_default())
}
