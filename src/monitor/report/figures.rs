//! How many leads converted, how well their scores ranked them, and how true the scores were.

use serde::Serialize;

use crate::{
    leadlog::Tally,
    stats::{self, Proportion, Sketch},
};

/// Parts of equal width that calibration is looked at in.
const CALIBRATION: usize = 10;

/// Numbers of some leads. What cannot be told is null.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// Leads that were scored, each once for each version.
    pub leads: u64,
    /// Those whose outcome is known: of matured days all.
    pub known: u64,
    /// Those that converted within the horizon.
    pub conversions: u64,
    /// Conversions per known lead.
    pub rate: f64,
    /// Its 95% interval (Wilson).
    pub wilson95: [f64; 2],
    /// What the conversions brought.
    pub revenue: f64,
    /// How often a lead that converted had the higher score of a pair with one that did not.
    pub auc: Option<f64>,
    /// How far that may be off, because scores are kept to a thousandth.
    pub auc_error: Option<f64>,
    /// Mean squared distance of score and outcome; 0 is best.
    pub brier: f64,
    /// How far promise and outcome are apart over ten parts, on the mean; off by 0.0005 at most.
    pub ece: f64,
    /// Conversions over the sum of the scores: 1 where the scores are right on the whole.
    pub observed_over_expected: f64,
    /// Promise and outcome by tenths of the score; empty tenths are left out.
    pub calibration: Vec<Tenth>,
}

/// Leads of one tenth of the score.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Tenth {
    /// Leads in it.
    pub leads: u64,
    /// What the scores promised.
    pub mean_score: f64,
    /// The share that converted.
    pub rate: f64,
    /// Its 95% interval (Wilson).
    pub wilson95: [f64; 2],
}

impl Figures {
    /// Of leads that have had their time. `None` where there are none.
    pub(super) fn settled(tally: &Tally) -> Option<Self> {
        Self::new(tally, &tally.settled())
    }

    /// Of leads whose outcome is known. `None` where no lead was scored.
    pub(super) fn known(tally: &Tally) -> Option<Self> {
        Self::new(tally, &tally.known())
    }

    fn new(tally: &Tally, sketch: &Sketch) -> Option<Self> {
        let total = tally.total();
        let outcome = Proportion { conversions: total.won, leads: sketch.leads() };
        let auc = sketch.auc();
        let table = sketch.reliability(CALIBRATION);
        let tenth = |part: &stats::Reliability| {
            let conversions = (part.mean_label * part.n as f64).round() as u64;
            let wilson95 = Proportion { conversions, leads: part.n }.wilson();
            Tenth { leads: part.n, mean_score: part.mean_score, rate: part.mean_label, wilson95 }
        };
        (total.scored > 0).then(|| Self {
            leads: total.scored,
            known: outcome.leads,
            conversions: total.won,
            rate: outcome.rate(),
            wilson95: outcome.wilson(),
            revenue: total.revenue,
            auc: auc.map(|(auc, _)| auc),
            auc_error: auc.map(|(_, error)| error),
            brier: sketch.brier(),
            ece: stats::ece(&table),
            observed_over_expected: sketch.observed_over_expected(),
            calibration: table.iter().filter(|part| part.n > 0).map(tenth).collect(),
        })
    }
}
