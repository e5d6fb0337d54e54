//! Verdicts: what counts say about a version under trial.
//!
//! Each is computed from counts alone, so anyone can compute it again from what the ledger keeps. Those on conversion and
//! on pairs hold at every look; nothing here is a test for one fixed look but [`shift`] and the windows, which ask for
//! their sample first. `told()` says a verdict in a sentence with its numbers; that is what costs.

use super::told::{Told, chance, e6, grouped, micros, percent, whole};
use crate::{
    config::{Conversion, Paired, Rollout},
    lead::{Cohort, Histogram, Labelled, Pairs, Sides, StepCounts, Traffic, Window},
    stats::{Difference, Mixture, Proportion, Psi, TwoProportions, log_bayes_factor, stratified},
};

/// Total concentration of the prior on shares: it takes a real mismatch, not a draw, to leave them.
const CONCENTRATION: f64 = 10_000.0;
/// ln of the Bayes factor above which shares are off: 100.
const MISMATCH: f64 = 4.605_170_185_988_092;
/// Leads that either arm needs before scores are compared.
const SHIFT_LEADS: u64 = 1000;
/// Shift of the scores that is no longer the same model behaving alike.
const SHIFT: f64 = 0.5;
/// A share of errors that exceeds the champion's by this fails a window...
const MARGIN: f64 = 0.01;
/// ...if chance does that more seldom than this...
const RARE: f64 = 0.001;
/// ...and the challenger got so many leads in the step.
const MARGIN_LEADS: u64 = 500;
/// A share of errors that fails a window by itself...
const EXCESS: f64 = 0.05;
/// ...once so many leads came in the step.
const EXCESS_LEADS: u64 = 200;
/// How much slower than the champion a canary may score.
const CANARY_SLOWDOWN: f64 = 1.5;
/// How much slower a shadow may.
const SHADOW_SLOWDOWN: f64 = 1.2;
/// Share of errors that nobody's objective allows.
const ABSOLUTE_ERRORS: f64 = 0.01;
/// Leads beyond which "how many more" is not worth saying.
const FAR: u64 = 10_000_000;

/// One version against another on the same leads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairedVerdict {
    /// What it comes to.
    pub ruling: Quality,
    /// Mean of log-loss(champion) - log-loss(challenger), and its variance.
    pub seen: Difference,
    /// Leads with a label that were won.
    pub positives: u64,
    /// Always valid.
    pub p: f64,
    test: Mixture,
    alpha: f64,
}

/// Which of two versions is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quality {
    /// The one under trial.
    Better,
    /// The champion.
    Worse,
    /// That cannot be told yet.
    Undecided,
    /// Too few leads were won to even ask.
    Insufficient,
}

/// The verdict on pairs with a settled label.
pub fn paired(labelled: &Labelled, policy: &Paired) -> PairedVerdict {
    let variance = labelled.variance() / labelled.leads as f64;
    let seen = Difference { value: labelled.mean, variance, leads: labelled.leads };
    let test = Mixture::new(policy.alpha, policy.leads);
    let (p, positives) = (test.p(&seen), labelled.positives);
    let ruling = match p < policy.alpha {
        true if seen.value > 0.0 && positives >= policy.promote => Quality::Better,
        true if seen.value < 0.0 && positives >= policy.reject => Quality::Worse,
        _ if positives < policy.reject.min(policy.promote) => Quality::Insufficient,
        _ => Quality::Undecided,
    };
    PairedVerdict { ruling, seen, positives, p, test, alpha: policy.alpha }
}

impl PairedVerdict {
    /// How many more leads it takes until p is small enough, should the difference stay what it is; `None` where that is
    /// out of reach.
    pub fn missing(&self) -> Option<u64> {
        let leads = self.seen.leads;
        let enough = |all: u64| {
            let variance = self.seen.variance * leads as f64 / all as f64;
            self.test.p(&Difference { variance, leads: all, ..self.seen }) < self.alpha
        };
        let (mut low, mut high) = (leads, leads.max(1));
        while !enough(high) {
            (low, high) = (high, high * 2);
            if high > FAR {
                return None;
            }
        }
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if enough(middle) { high = middle } else { low = middle }
        }
        Some(high - leads)
    }

    /// In words.
    pub fn told(&self) -> Told {
        let (leads, won) = (grouped(self.seen.leads), grouped(self.positives));
        let size = format!("{:.4} a lead", self.seen.value.abs());
        let p = chance(self.p);
        let said = match self.ruling {
            Quality::Better => format!(
                "better on the same {leads} leads, {won} of them won: log-loss is lower by {size} (p {p})"
            ),
            Quality::Worse => format!(
                "worse on the same {leads} leads, {won} of them won: log-loss is higher by {size} (p {p})"
            ),
            Quality::Undecided => {
                let more = match self.missing() {
                    Some(0) => "more wins are needed".to_owned(),
                    Some(more) => format!("about {} more leads are needed if that stays", grouped(more)),
                    None => "no number of leads in sight would tell them apart".to_owned(),
                };
                let way = if self.seen.value > 0.0 { "lower" } else { "higher" };
                format!(
                    "neither better nor worse on {leads} leads, {won} of them won: log-loss is {way} by {size} (p {p}); {more}"
                )
            }
            Quality::Insufficient => {
                format!("only {won} wins among {leads} leads with a label, too few for a verdict")
            }
        };
        Told::new(
            said,
            [
                ("leads", whole(self.seen.leads)),
                ("positives", whole(self.positives)),
                ("difference_e6", e6(self.seen.value)),
                ("variance_e12", e6(self.seen.variance * 1e6)),
                ("p_e6", e6(self.p)),
            ],
        )
    }
}

/// Whether a shadow runs as it should.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// It does.
    Pass(Told),
    /// It has not seen enough.
    Waiting(Told),
    /// It does not.
    Fail(Told),
}

/// The operational verdict on a shadow.
pub fn operation(pairs: &Pairs, policy: &Rollout) -> Operation {
    let shift = shift(&pairs.scores);
    let p99 = &pairs.p99_ns;
    let limit = latency_limit(p99.champion, SHADOW_SLOWDOWN, policy);
    let numbers = [
        ("mirrored", whole(pairs.mirrored)),
        ("labelled", whole(pairs.labelled.leads)),
        ("errors", whole(pairs.errors)),
        ("non_finite", whole(pairs.non_finite)),
        ("missing", whole(pairs.missing)),
        ("p99_ns", whole(p99.challenger)),
        ("champion_p99_ns", whole(p99.champion)),
        ("psi_e6", e6(shift.unwrap_or(0.0))),
    ];
    let mirrored = grouped(pairs.mirrored);
    let wrong = if pairs.errors > 0 {
        Some(format!("{} of {mirrored} leads were not scored", grouped(pairs.errors)))
    } else if pairs.missing > 0 {
        Some(format!("{} of {mirrored} leads lack a feature that it requires", grouped(pairs.missing)))
    } else if p99.challenger > limit {
        Some(format!("scoring takes {} at p99, and {} are allowed", micros(p99.challenger), micros(limit)))
    } else {
        shift
            .filter(|psi| *psi >= SHIFT)
            .map(|psi| format!("its scores are spread differently: PSI {psi:.2}"))
    };
    if let Some(said) = wrong {
        return Operation::Fail(Told::new(said, numbers));
    }
    let shadow = &policy.shadow;
    if pairs.labelled.leads < shadow.matured && pairs.mirrored < shadow.mirrored {
        let (labelled, matured) = (grouped(pairs.labelled.leads), grouped(shadow.matured));
        let said = format!(
            "{labelled} of {matured} leads with a label so far, and {mirrored} of {} leads",
            grouped(shadow.mirrored)
        );
        return Operation::Waiting(Told::new(said, numbers));
    }
    Operation::Pass(Told::new(format!("{mirrored} leads scored along without fault"), numbers))
}

/// The time that scoring may take: so much more than the champion's, or what is fast enough anyway.
pub(super) fn latency_limit(champion_ns: u64, slowdown: f64, policy: &Rollout) -> u64 {
    let enough = u64::try_from(policy.p99.as_nanos()).unwrap_or(u64::MAX);
    // The cast saturates.
    enough.max((champion_ns as f64 * slowdown) as u64)
}

/// Whether a shadow may take so long.
pub(super) fn is_fast(p99: &Sides<u64>, policy: &Rollout) -> bool {
    p99.challenger <= latency_limit(p99.champion, SHADOW_SLOWDOWN, policy)
}

/// PSI of the challenger's scores against the champion's in the champion's ten parts of equal count and outside them, natural log, empty
/// parts as 1e-4, less the bias that equal scores would show. `None` below 1,000 leads on either side.
pub fn shift(scores: &Sides<Histogram>) -> Option<f64> {
    let (reference, current) = (scores.champion.bins(), scores.challenger.bins());
    let (m, n) = (scores.champion.total(), scores.challenger.total());
    if m < SHIFT_LEADS || n < SHIFT_LEADS {
        return None;
    }
    let lowest = reference.iter().position(|count| *count > 0).unwrap_or(0);
    let highest = reference.iter().rposition(|count| *count > 0).unwrap_or(0);
    let (mut parts, mut cut, mut held) = ((Vec::new(), Vec::new()), 0, 0_u64);
    let (mut p, mut q) = (0, 0);
    for (bin, (a, b)) in reference.iter().zip(current).enumerate() {
        (held, p, q) = (held + a, p + a, q + b);
        // A part ends where the next tenth of the champion's scores does. What lies below or above them all is a part of
        // its own: without these, scores that were all alike would hide any shift.
        let is_end = bin + 1 == lowest || bin == highest || bin + 1 == reference.len();
        if is_end || held < m && held * 10 >= (cut + 1) * m {
            parts.0.push(std::mem::take(&mut p));
            parts.1.push(std::mem::take(&mut q));
            cut = held * 10 / m;
        }
    }
    Psi::new(&parts.0, &parts.1).map(|psi| psi.value)
}

/// Whether a shift of scores is one.
pub(super) fn is_shifted(psi: f64) -> bool {
    psi > SHIFT
}

/// A canary's conversion against the champion's, step by step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConversionVerdict {
    /// What it comes to.
    pub ruling: ConversionRuling,
    /// Conversion of the challenger less that of the champion.
    pub seen: Difference,
    /// Matured leads and wins of the champion, over all steps.
    pub champion: Proportion,
    /// Those of the challenger.
    pub challenger: Proportion,
    /// Always valid.
    pub p: f64,
    /// Holds the true difference at all looks together; all numbers where nothing can be told yet.
    pub interval: (f64, f64),
}

/// Which way conversion goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConversionRuling {
    /// The challenger converts more.
    Higher,
    /// The challenger converts less.
    Lower,
    /// That cannot be told yet.
    Undecided,
    /// Too few leads were won to even ask.
    Insufficient,
}

/// The verdict on conversion, of matured cohorts only. Steps whose leads did not arrive as they should are left out by
/// whoever calls.
pub fn conversion<'s>(
    steps: impl Iterator<Item = &'s StepCounts> + Clone,
    policy: &Conversion,
) -> ConversionVerdict {
    let rate = |cohort: &Cohort| Proportion { leads: cohort.matured, conversions: cohort.conversions };
    let strata = steps.map(|step| (rate(&step.cohorts.champion), rate(&step.cohorts.challenger)));
    let (mut champion, mut challenger) = (Proportion::default(), Proportion::default());
    for (a, b) in strata.clone() {
        (champion.leads, champion.conversions) =
            (champion.leads + a.leads, champion.conversions + a.conversions);
        (challenger.leads, challenger.conversions) =
            (challenger.leads + b.leads, challenger.conversions + b.conversions);
    }
    let seen = stratified(strata);
    let test = Mixture::new(policy.alpha, policy.leads);
    let (p, interval) = (test.p(&seen), test.interval(&seen));
    let ruling = match champion.conversions.min(challenger.conversions) >= policy.conversions {
        false => ConversionRuling::Insufficient,
        true if p < policy.alpha && seen.value > 0.0 => ConversionRuling::Higher,
        true if p < policy.alpha => ConversionRuling::Lower,
        true => ConversionRuling::Undecided,
    };
    ConversionVerdict { ruling, seen, champion, challenger, p, interval }
}

impl ConversionVerdict {
    /// In words.
    pub fn told(&self) -> Told {
        let share = |rate: &Proportion| percent(rate.conversions as f64 / rate.leads.max(1) as f64);
        let way = match self.ruling {
            ConversionRuling::Higher => "converts more",
            ConversionRuling::Lower => "converts less",
            ConversionRuling::Undecided => "converts neither more nor less for sure",
            ConversionRuling::Insufficient => "has too few wins for a verdict",
        };
        let said = format!(
            "the canary {way}: {} of {} matured leads against the champion's {} of {} (p {})",
            share(&self.challenger),
            grouped(self.challenger.leads),
            share(&self.champion),
            grouped(self.champion.leads),
            chance(self.p)
        );
        let names =
            ["leads", "conversions", "champion_leads", "champion_conversions", "difference_e6", "p_e6"];
        Told::new(said, names.into_iter().zip(self.numbers()))
    }

    /// In words with its interval; its numbers go beside those of a gate, so they have names of their own.
    pub fn benefit(&self) -> Told {
        let names = [
            "benefit_leads",
            "benefit_conversions",
            "benefit_champion_leads",
            "benefit_champion_conversions",
            "benefit_difference_e6",
            "benefit_p_e6",
        ];
        let mut told = Told::new(self.told().said, names.into_iter().zip(self.numbers()));
        let (low, high) = self.interval;
        if low.is_finite() && high.is_finite() {
            let (from, to) = (100.0 * low, 100.0 * high);
            told.said.push_str(&format!(", a difference of {from:+.2} to {to:+.2} points"));
            told.numbers.extend([("benefit_low_e6", e6(low)), ("benefit_high_e6", e6(high))]);
        }
        told
    }

    fn numbers(&self) -> [i64; 6] {
        let Self { champion, challenger, .. } = self;
        let counts =
            [challenger.leads, challenger.conversions, champion.leads, champion.conversions].map(whole);
        let [leads, conversions, champion_leads, champion_conversions] = counts;
        [leads, conversions, champion_leads, champion_conversions, e6(self.seen.value), e6(self.p)]
    }
}

/// Whether leads came to the arms in the shares they should.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ShareVerdict {
    /// They did not.
    pub is_off: bool,
    /// ln of the Bayes factor against the shares.
    pub log_bayes_factor: f64,
    /// Unique leads of the champion's arm.
    pub champion: u64,
    /// Those of the challenger's.
    pub challenger: u64,
    percent: u32,
}

/// The verdict on the shares of one step.
pub fn shares(step: &StepCounts) -> ShareVerdict {
    let (champion, challenger) = (step.cohorts.champion.leads, step.cohorts.challenger.leads);
    let share = f64::from(step.percent) / 100.0;
    let log_bayes_factor = match share > 0.0 && share < 1.0 {
        true => log_bayes_factor(&[champion, challenger], &[1.0 - share, share], CONCENTRATION),
        false => 0.0,
    };
    let is_off = log_bayes_factor > MISMATCH;
    ShareVerdict { is_off, log_bayes_factor, champion, challenger, percent: step.percent }
}

impl ShareVerdict {
    /// In words.
    pub fn told(&self) -> Told {
        let all = self.champion + self.challenger;
        let share = percent(self.challenger as f64 / all.max(1) as f64);
        let so = if self.is_off { "which chance does not explain" } else { "as it should" };
        Told::new(
            format!("the canary got {share} of {} leads at {}%, {so}", grouped(all), self.percent),
            [
                ("champion_leads", whole(self.champion)),
                ("leads", whole(self.challenger)),
                ("percent", i64::from(self.percent)),
                ("log_bayes_factor_e6", e6(self.log_bayes_factor)),
            ],
        )
    }
}

/// What a window of a canary's traffic shows.
#[derive(Clone, Debug, PartialEq)]
pub enum WindowVerdict {
    /// Nothing is wrong.
    Pass,
    /// Too few leads to say.
    NoData(Told),
    /// An objective is missed, by the champion too or by too little to tell: no reason to move either way.
    Breach(Told),
    /// The canary does worse than the champion.
    Fail(Told),
}

/// The verdict on a window; `step_leads` is what the challenger's arm got since the step began.
pub fn window(window: &Window, step_leads: u64, policy: &Rollout) -> WindowVerdict {
    let Sides { champion, challenger } = &window.arms;
    if challenger.leads < policy.window {
        let (so_far, wanted) = (grouped(challenger.leads), grouped(policy.window));
        let numbers = [("leads", whole(challenger.leads))];
        return WindowVerdict::NoData(Told::new(
            format!("{so_far} of {wanted} leads since the last look"),
            numbers,
        ));
    }
    let numbers = || {
        [
            ("leads", whole(challenger.leads)),
            ("errors", whole(challenger.errors)),
            ("late", whole(challenger.late)),
            ("p99_ns", whole(challenger.p99_ns)),
            ("champion_leads", whole(champion.leads)),
            ("champion_errors", whole(champion.errors)),
            ("champion_late", whole(champion.late)),
            ("champion_p99_ns", whole(champion.p99_ns)),
        ]
    };
    if let Some(said) = failing(&window.arms, step_leads, policy) {
        return WindowVerdict::Fail(Told::new(said, numbers()));
    }
    match breach(&window.arms) {
        Some(said) => WindowVerdict::Breach(Told::new(said, numbers())),
        None => WindowVerdict::Pass,
    }
}

/// What the canary does worse than the champion.
fn failing(arms: &Sides<Traffic>, step_leads: u64, policy: &Rollout) -> Option<String> {
    let Sides { champion, challenger } = arms;
    let of = |part: u64, traffic: &Traffic| part as f64 / traffic.leads.max(1) as f64;
    let ratios = [
        ("were not scored", challenger.errors, champion.errors),
        ("missed the deadline", challenger.late, champion.late),
    ];
    let by_chance = |ours: u64, theirs: u64| {
        let control = Proportion { conversions: theirs, leads: champion.leads };
        let treatment = Proportion { conversions: ours, leads: challenger.leads };
        TwoProportions { control, treatment }.p_two_sided()
    };
    for (what, ours, theirs) in ratios {
        let (here, there) = (of(ours, challenger), of(theirs, champion));
        let exceeds = here - there > MARGIN
            && step_leads >= MARGIN_LEADS
            && champion.leads > 0
            && by_chance(ours, theirs) < RARE;
        let is_excess = here > EXCESS && step_leads >= EXCESS_LEADS && there <= EXCESS;
        if exceeds || is_excess {
            return Some(format!(
                "{} of the canary's leads {what}, and {} of the champion's",
                percent(here),
                percent(there)
            ));
        }
    }
    let limit = latency_limit(champion.p99_ns, CANARY_SLOWDOWN, policy);
    (challenger.p99_ns > limit).then(|| {
        let (here, there) = (micros(challenger.p99_ns), micros(champion.p99_ns));
        format!(
            "the canary scores in {here} at p99, the champion in {there}, and {} are allowed",
            micros(limit)
        )
    })
}

/// An objective that the canary misses.
fn breach(arms: &Sides<Traffic>) -> Option<String> {
    let errors = |traffic: &Traffic| {
        (traffic.errors + traffic.late) as f64 / traffic.leads.max(1) as f64 >= ABSOLUTE_ERRORS
    };
    let lost = "1% or more of the canary's leads got no score of its own";
    errors(&arms.challenger).then(|| match errors(&arms.champion) {
        true => format!("{lost}, in the champion's arm too: this is not the canary's fault"),
        false => format!("{lost}, but not so many more than in the champion's arm that it is sure"),
    })
}

#[cfg(test)]
mod tests;
