//! The business report: what became of the leads, for the people who work with them.
//!
//! Everything is read from the sketches that the lead log keeps by version and day, so a report over years costs no more than
//! one over a week; how far a number may be off for that is said beside it. The rows are asked for what sketches do not hold:
//! how long leads take to convert, and how much the revenue of single leads varies. Nothing is written.
//!
//! Days whose leads have all had the horizon to convert are matured, and their numbers official. Of the rest only what is known
//! so far is told, apart, and never as a conversion rate of all leads.

mod dates; // days as people write them
mod asked; // what a report is of
mod figures; // how well a version ranks and how true it is
mod parts; // deciles, their trend, the grades
mod late; // how long wins take, and what is still to come
mod money; // revenue per lead
mod periods; // the same by week, month or version
mod chart; // bars and lines as SVG
mod text; // for a terminal
mod html; // for a browser
mod command; // `leadwire report`

use serde::Serialize;

pub use self::{
    asked::{Asked, By, ReportOptions, Since},
    command::{ReportError, run},
    figures::Figures,
    late::{Delays, Estimate},
    money::Money,
    parts::{Inversion, Part, Parts},
    periods::Period,
};
use crate::leadlog::{CohortDay, Days, FeedbackCount, Horizon, Store, StoreError, Tally};

/// What became of the leads that were scored in some days.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The first day, UTC.
    pub from: String,
    /// The last day.
    pub to: String,
    /// How long a lead has to convert, in days.
    pub horizon_days: f64,
    /// Scores and changed leads that are in the log and not in here yet.
    pub uncounted: u64,
    /// Each model's own.
    pub models: Vec<ModelReport>,
}

/// What became of the leads of one model. A lead that two versions scored counts for each.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelReport {
    /// The model's name.
    pub model: String,
    /// What to know before reading on.
    pub notices: Vec<String>,
    /// The days that are matured.
    pub matured: Option<Figures>,
    /// The days that are not, as far as is known.
    pub provisional: Option<Figures>,
    /// What the days that are not matured may come to.
    pub estimate: Option<Estimate>,
    /// By week, month, day or version.
    pub periods: Vec<Period>,
    /// By score and by grade; of the matured days where there are any.
    pub parts: Option<Parts>,
    /// What leads of matured days brought; `None` where no revenue was told.
    pub revenue: Option<Money>,
    /// Each version's own.
    pub versions: Vec<VersionReport>,
    /// How long leads took that were won, of all matured days in the log.
    pub delays: Option<Delays>,
    /// What people said of the scores in these days.
    pub feedback: Vec<Feedback>,
}

/// One version.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VersionReport {
    /// The version.
    pub version: String,
    /// Its days that are matured.
    pub matured: Option<Figures>,
    /// Those that are not.
    pub provisional: Option<Figures>,
}

/// Verdicts on the scores of one version and grade.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "each is what it is called")]
pub struct Feedback {
    pub version: String,
    pub grade: String,
    pub up: u64,
    pub down: u64,
}

/// What is said where no day is matured.
const IMMATURE: &str = "No day has matured yet: every lead scored here can still convert. What is shown is provisional; it \
    counts only leads whose outcome is known, and early outcomes are not like late ones. Do not judge a model's conversion or \
    calibration by it.";

/// Makes a report of what the log has counted, under the horizon it was counted with: a new one takes effect in the counts first.
pub fn report(store: &Store, asked: &Asked<'_>) -> Result<Report, StoreError> {
    let known = store.counted_models()?;
    let ms = store.counted_horizon()?.unwrap_or(asked.horizon.ms);
    let asked = &Asked { horizon: Horizon { ms, ..asked.horizon }, ..*asked };
    let models = known.iter().filter(|model| asked.model.is_none_or(|asked| asked == **model));
    Ok(Report {
        from: dates::day(asked.from),
        to: dates::day(asked.to.saturating_sub(1)),
        horizon_days: asked.horizon.ms as f64 / dates::DAY_MS as f64,
        uncounted: store.uncounted()?,
        models: models.map(|model| model_report(store, model, asked)).collect::<Result<_, _>>()?,
    })
}

fn model_report(store: &Store, model: &str, asked: &Asked<'_>) -> Result<ModelReport, StoreError> {
    let days = Days { model, version: None, from: asked.from, to: asked.to };
    let cohorts = store.cohorts_of(&days, asked.horizon)?;
    let last = matured_until(asked.horizon).min(asked.to).max(asked.from);
    // How leads come to be won is better known from all days than from these.
    let wins = store.wins(&Days { from: i64::MIN, to: matured_until(asked.horizon), ..days })?;
    let delays = Delays::new(&wins, asked.horizon.ms);
    let matured = merged(cohorts.iter().filter(|day| day.matured));
    let open = merged(cohorts.iter().filter(|day| !day.matured));
    let parts = if matured.is_empty() { Parts::known(&open) } else { Parts::settled(&matured) };
    let feedback = store
        .feedback_counts(asked.from.saturating_mul(dates::DAY_MS), asked.to.saturating_mul(dates::DAY_MS))?;
    Ok(ModelReport {
        notices: notices(&matured, &open, parts.as_ref()),
        matured: Figures::settled(&matured),
        provisional: Figures::known(&open),
        estimate: Estimate::new(&cohorts, &wins, asked.horizon),
        periods: periods::periods(&cohorts, asked.by),
        parts,
        revenue: Money::new(&matured, &store.revenues(&Days { to: last, ..days })?),
        versions: versions(&cohorts),
        delays,
        feedback: feedback.into_iter().filter(|count| count.model == model).map(Feedback::from).collect(),
        model: model.to_owned(),
    })
}

impl From<FeedbackCount> for Feedback {
    fn from(FeedbackCount { version, grade, up, down, .. }: FeedbackCount) -> Self {
        Self { version, grade, up, down }
    }
}

fn versions(cohorts: &[CohortDay]) -> Vec<VersionReport> {
    let mut names: Vec<&str> = cohorts.iter().map(|day| &*day.version).collect();
    names.sort_unstable();
    names.dedup();
    let of = |version: &str| {
        let tally =
            |matured| merged(cohorts.iter().filter(|day| day.version == version && day.matured == matured));
        let (matured, provisional) = (Figures::settled(&tally(true)), Figures::known(&tally(false)));
        VersionReport { version: version.to_owned(), matured, provisional }
    };
    names.into_iter().map(of).collect()
}

/// What a reader must not miss.
fn notices(matured: &Tally, open: &Tally, parts: Option<&Parts>) -> Vec<String> {
    let mut notices = Vec::new();
    if matured.is_empty() && !open.is_empty() {
        notices.push(IMMATURE.to_owned());
    }
    if matured.is_empty() && open.is_empty() {
        notices.push("No lead was scored in these days.".to_owned());
    }
    notices.extend(parts.and_then(Parts::warning));
    notices
}

fn merged<'d>(days: impl Iterator<Item = &'d CohortDay>) -> Tally {
    let mut tally = Tally::default();
    days.for_each(|day| tally.merge(&day.tally));
    tally
}

/// The day after the last that is matured.
fn matured_until(horizon: Horizon) -> i64 {
    horizon.now_ms.saturating_sub(horizon.ms).div_euclid(dates::DAY_MS)
}

#[cfg(test)]
mod tests;
