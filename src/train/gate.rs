//! The training gate: what a version must show against the champion before it may score along.
//!
//! Both have scored the same leads, which neither was fitted on and whose ends are known. Pure: scores go in, a verdict
//! with its numbers comes out. Golden samples are no part of it: a version whose samples are off cannot even be loaded.
//!
//! The gate before production (`rollout::gate`) is another one: it judges what happened on the wire. This one earns a
//! version the state `validated`, and keeps what is no better from being tried at all.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    lead::Sides,
    registry::{GateCheck, GateMode, GateVerdict},
    stats::{self, Delong},
};

/// Draws of the bootstrap, and its seed: the reference's, so that it can be done again elsewhere.
const DRAWS: usize = 2000;
const SEED: u64 = 42;
/// Parts of equal width in the calibration error, and of equal count in the gains.
const PARTS: usize = 10;

/// What the gate asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct GatePolicy {
    /// Better, or not worse.
    pub mode: GateMode,
    /// By how much the AUC must be higher, absolute.
    pub min_gain: f64,
    /// The chance that equal models pass the test of it.
    pub alpha: f64,
    /// Least conversions among the leads, for [`GateMode::Gain`].
    pub positives: u64,
    /// Below this many the bootstrap must agree with DeLong's test.
    pub few: u64,
    /// [`GateMode::NotWorse`]: the AUC may be so much lower at the lower end of the 95% interval of the difference.
    pub margin: f64,
    /// By how much the expected calibration error may be higher.
    pub ece: f64,
    /// Segments of fewer leads are not judged.
    pub segment_rows: u64,
    /// By how much the AUC of a segment may be lower.
    pub segment_loss: f64,
    /// The chance that some segment of equal models is held against one of them, over all segments together; at 1 a loss
    /// counts whatever chance says.
    pub segment_alpha: f64,
    /// How many times the champion's time scoring may take at p99...
    pub slowdown: f64,
    /// ...or else this long.
    pub fast: Duration,
}

impl Default for GatePolicy {
    fn default() -> Self {
        Self {
            mode: GateMode::Gain,
            min_gain: 0.02,
            alpha: 0.05,
            positives: 150,
            few: 100,
            margin: 0.005,
            ece: 0.01,
            segment_rows: 200,
            segment_loss: 0.03,
            segment_alpha: 0.05,
            slowdown: 1.2,
            fast: Duration::from_millis(1),
        }
    }
}

/// What the gate looks at.
#[derive(Clone, Copy, Debug)]
pub struct Exam<'a> {
    /// The champion's version.
    pub champion: &'a str,
    /// Whether each lead converted.
    pub labels: &'a [bool],
    /// Its calibrated score by either.
    pub scores: Sides<&'a [f64]>,
    /// Rows of the leads of one kind, by what they are called.
    pub segments: &'a [(String, Vec<usize>)],
    /// Features of the new version that live leads never have.
    pub unmapped: &'a [String],
}

/// Judges a version. Lengths must agree; where they do not, the quality is not known, and that fails.
pub fn gate(exam: &Exam<'_>, policy: &GatePolicy) -> GateVerdict {
    let labels = exam.labels;
    let positives = labels.iter().filter(|label| **label).count() as u64;
    let mut checks = vec![enough(positives, policy), quality(exam, policy)];
    if positives < policy.few {
        checks.push(bootstrap(exam, policy));
    }
    checks.extend([
        calibration(exam, policy),
        segments(exam, policy),
        top_tenth(exam, policy),
        schema(exam.unmapped),
    ]);
    GateVerdict {
        mode: policy.mode,
        passed: checks.iter().all(|check| check.passed),
        champion: exam.champion.to_owned(),
        rows: labels.len() as u64,
        positives,
        checks,
        holdout: None,
    }
}

/// Numbers that are none are left out: JSON has no word for them.
fn check<const N: usize>(name: &str, passed: bool, said: String, numbers: [(&str, f64); N]) -> GateCheck {
    let finite = numbers.into_iter().filter(|(_, number)| number.is_finite());
    let numbers: BTreeMap<_, _> = finite.map(|(name, number)| (name.to_owned(), number)).collect();
    GateCheck { name: name.to_owned(), passed, said, numbers }
}

/// Where "not worse" is enough, the interval's width says by itself whether there is enough to go by.
fn enough(positives: u64, policy: &GatePolicy) -> GateCheck {
    let least = if policy.mode == GateMode::Gain { policy.positives } else { 0 };
    let passed = positives >= least;
    let said = match passed {
        true => format!("{positives} conversions"),
        false => format!("{positives} conversions, at least {least} are needed: widen the window"),
    };
    check("positives", passed, said, [("positives", positives as f64), ("least", least as f64)])
}

fn quality(exam: &Exam<'_>, policy: &GatePolicy) -> GateCheck {
    let Sides { champion, challenger } = exam.scores;
    let Some(test) = Delong::new(champion, challenger, exam.labels) else {
        let said =
            "nothing can be compared: a score is missing, or fewer than two leads converted or did not";
        return check("quality", false, said.into(), []);
    };
    let ([low, high], p, gain) = (test.interval(), test.p_second_better(), test.delta());
    let passed = match policy.mode {
        GateMode::Gain => gain >= policy.min_gain && p < policy.alpha,
        GateMode::NotWorse => low > -policy.margin,
    };
    let asked = match policy.mode {
        GateMode::Gain => format!("at least {:+.3} with p below {}", policy.min_gain, policy.alpha),
        GateMode::NotWorse => format!("the interval above {:+.3}", -policy.margin),
    };
    let [before, now] = test.auc;
    let said = format!(
        "AUC {now:.4}, the champion's {before:.4}: {gain:+.4} (95% interval {low:+.4} to {high:+.4}, one-sided p {}); \
         asked for is {asked}",
        chance(p)
    );
    let numbers = [
        ("champion_auc", before),
        ("auc", now),
        ("gain", gain),
        ("standard_error", test.standard_error()),
        ("low", low),
        ("high", high),
        ("p", p),
    ];
    check("quality", passed, said, numbers)
}

/// `0.0031`, or that it is less than what four places show.
fn chance(p: f64) -> String {
    if p < 0.0001 { "below 0.0001".to_owned() } else { format!("{p:.4}") }
}

/// With few conversions DeLong's normal approximation is not to be trusted alone.
fn bootstrap(exam: &Exam<'_>, policy: &GatePolicy) -> GateCheck {
    let Sides { champion, challenger } = exam.scores;
    let Some(gains) = stats::bootstrap_auc(champion, challenger, exam.labels, DRAWS, SEED) else {
        return check("bootstrap", false, "nothing can be drawn from".into(), []);
    };
    let p = gains.iter().filter(|gain| **gain <= 0.0).count() as f64 / gains.len() as f64;
    let gains = stats::sorted(gains);
    let low = stats::quantile(&gains, 0.025).unwrap_or(f64::NAN);
    let passed = match policy.mode {
        GateMode::Gain => p < policy.alpha,
        GateMode::NotWorse => low > -policy.margin,
    };
    let said = format!("drawn again {DRAWS} times, {p:.4} of them no better; the lower end is {low:+.4}");
    check("bootstrap", passed, said, [("p", p), ("low", low)])
}

fn calibration(exam: &Exam<'_>, policy: &GatePolicy) -> GateCheck {
    let ece = |scores| stats::ece(&stats::reliability(scores, exam.labels, PARTS));
    let (before, now) = (ece(exam.scores.champion), ece(exam.scores.challenger));
    let said = format!("calibration error {now:.4}, the champion's {before:.4}");
    check("calibration", now <= before + policy.ece, said, [("champion_ece", before), ("ece", now)])
}

/// One kind of leads: how its AUC changed, and how often chance alone takes that much away.
struct Part<'a> {
    name: &'a str,
    loss: f64,
    p: f64,
}

/// Kinds of leads must not pay for the rest. There are dozens of them and each has few conversions, so that some loss is
/// found between equal models nearly always; it counts where chance does not explain it.
fn segments(exam: &Exam<'_>, policy: &GatePolicy) -> GateCheck {
    let large = exam.segments.iter().filter(|(_, rows)| rows.len() as u64 >= policy.segment_rows);
    let parts: Vec<Part<'_>> = large.filter_map(|(name, rows)| part(exam, name, rows)).collect();
    let alpha =
        if policy.segment_alpha >= 1.0 { 1.0 } else { policy.segment_alpha / parts.len().max(1) as f64 };
    let lower = parts.iter().filter(|part| part.loss > policy.segment_loss);
    let mut worse: Vec<&Part<'_>> = lower.clone().filter(|part| part.p <= alpha).collect();
    worse.sort_by(|a, b| b.loss.total_cmp(&a.loss));
    let (judged, lower) = (parts.len(), lower.count());
    let mut said = format!("{judged} segments of {} leads or more", policy.segment_rows);
    if lower > 0 {
        said += &format!(", {lower} of them lower by more than {}", policy.segment_loss);
    }
    said += match (worse.is_empty(), lower) {
        (true, 0) => ", none of them worse",
        (true, _) => ", which chance explains",
        (false, _) => ", and not by chance: ",
    };
    let named = worse.iter().map(|part| format!("{} by {:.3} (p {})", part.name, part.loss, chance(part.p)));
    said += &named.collect::<Vec<_>>().join(", ");
    let most = parts.iter().map(|part| part.loss).fold(f64::NAN, f64::max);
    let numbers = [
        ("judged", judged as f64),
        ("lower", lower as f64),
        ("worse", worse.len() as f64),
        ("greatest_loss", most),
    ];
    check("segments", worse.is_empty(), said, numbers)
}

fn part<'a>(exam: &Exam<'_>, name: &'a str, rows: &[usize]) -> Option<Part<'a>> {
    let of =
        |scores: &[f64]| -> Vec<f64> { rows.iter().filter_map(|row| scores.get(*row).copied()).collect() };
    let labels: Vec<bool> = rows.iter().filter_map(|row| exam.labels.get(*row).copied()).collect();
    // The champion second: how likely is it that it is no better.
    let test = Delong::new(&of(exam.scores.challenger), &of(exam.scores.champion), &labels)?;
    Some(Part { name, loss: test.delta(), p: test.p_second_better() })
}

/// Conversions among the tenth that is called first.
fn top_tenth(exam: &Exam<'_>, policy: &GatePolicy) -> GateCheck {
    let (before, now) = (top(exam.scores.champion), top(exam.scores.challenger));
    let converted = |rows: &[usize]| rows.iter().filter(|row| exam.labels.get(**row) == Some(&true)).count();
    let (k, champion_k, n) = (converted(&now), converted(&before), now.len());
    // Only leads that one calls and the other does not can tell them apart: a sign test over their conversions.
    let gained = converted(&without(&now, &before)) as f64;
    let lost = converted(&without(&before, &now)) as f64;
    let z = if gained + lost > 0.0 { (lost - gained) / (gained + lost).sqrt() } else { 0.0 };
    let p = stats::normal_sf(z);
    let passed = match policy.mode {
        GateMode::Gain => k >= champion_k,
        GateMode::NotWorse => k >= champion_k || p >= policy.alpha,
    };
    let said = format!("{k} of the {n} leads that it puts first convert, of the champion's {champion_k}");
    let numbers = [
        ("leads", n as f64),
        ("conversions", k as f64),
        ("champion_conversions", champion_k as f64),
        ("p", p),
    ];
    check("top_tenth", passed, said, numbers)
}

/// The rows of the highest tenth, rounded up, earlier first at equal scores; in the order of rows.
fn top(scores: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    let score = |row: &usize| scores.get(*row).copied().unwrap_or(f64::NEG_INFINITY);
    order.sort_by(|a, b| score(b).total_cmp(&score(a)));
    order.truncate(scores.len().div_ceil(PARTS));
    order.sort_unstable();
    order
}

fn without(rows: &[usize], others: &[usize]) -> Vec<usize> {
    rows.iter().copied().filter(|row| others.binary_search(row).is_err()).collect()
}

/// Whether scoring a lead takes no longer than it may, by the 99th percentile of either. It is no part of the verdict, which
/// is the same whenever it is reached: no two runs measure the same, and this may go either way on a busy machine.
pub fn latency(p99: Sides<Duration>, policy: &GatePolicy) -> GateCheck {
    let Sides { champion, challenger } = p99;
    let passed = challenger <= champion.mul_f64(policy.slowdown).max(policy.fast);
    let said = format!(
        "{challenger:?} a lead at p99, the champion {champion:?}; allowed are {} times as long, or {:?}",
        policy.slowdown, policy.fast
    );
    let nanos = |time: Duration| time.as_nanos() as f64;
    check("latency", passed, said, [("champion_p99_ns", nanos(champion)), ("p99_ns", nanos(challenger))])
}

fn schema(unmapped: &[String]) -> GateCheck {
    let said = match unmapped {
        [] => "live leads have every feature".to_owned(),
        names => format!("live leads never have {}", names.join(", ")),
    };
    check("schema", unmapped.is_empty(), said, [("missing", unmapped.len() as f64)])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Leads of which every tenth converts, and scores that find so many of a hundred conversions.
    struct Leads {
        labels: Vec<bool>,
    }

    impl Leads {
        fn new(rows: usize) -> Self {
            Self { labels: (0..rows).map(|row| row % 10 == 0).collect() }
        }

        /// The greater the skill, the further apart conversions and the rest; the noise is the same for all.
        fn scores(&self, skill: f64) -> Vec<f64> {
            let noise = |row: usize| ((row as u32).wrapping_mul(2_654_435_761) >> 16) % 1000;
            let score = |(row, label): (usize, &bool)| {
                let raw = f64::from(noise(row)) / 1000.0 + skill * f64::from(*label);
                // About a tenth on average, whatever the skill: the calibration is not at stake.
                0.2 * raw / (1.0 + skill * 0.2)
            };
            self.labels.iter().enumerate().map(score).collect()
        }

        fn exam<'a>(&'a self, champion: &'a [f64], challenger: &'a [f64]) -> Exam<'a> {
            Exam {
                champion: "3",
                labels: &self.labels,
                scores: Sides { champion, challenger },
                segments: &[],
                unmapped: &[],
            }
        }
    }

    /// Scores are no probabilities in most tests.
    fn policy() -> GatePolicy {
        GatePolicy { ece: 1.0, ..GatePolicy::default() }
    }

    fn failed(verdict: &GateVerdict) -> String {
        assert_eq!(verdict.passed, verdict.failed().next().is_none());
        verdict.failed().map(|check| check.name.as_str()).collect::<Vec<_>>().join(" ")
    }

    fn named<'v>(verdict: &'v GateVerdict, name: &str) -> &'v GateCheck {
        verdict.checks.iter().find(|check| check.name == name).unwrap()
    }

    #[test]
    fn only_what_is_better_by_the_margin_and_not_by_chance_passes() {
        let check = |rows, skills: [f64; 2], mode, expected: &str| {
            let leads = Leads::new(rows);
            let [champion, challenger] = skills.map(|skill| leads.scores(skill));
            let policy = GatePolicy { mode, ..policy() };
            let verdict = gate(&leads.exam(&champion, &challenger), &policy);
            assert_eq!(failed(&verdict), expected, "{rows} {skills:?} {verdict:#?}");
        };
        use GateMode::{Gain, NotWorse};
        check(4000, [0.3, 0.5], Gain, "");
        check(4000, [0.5, 0.5], Gain, "quality");
        check(4000, [0.5, 0.5], NotWorse, "");
        check(4000, [0.5, 0.505], Gain, "quality");
        check(4000, [0.5, 0.3], Gain, "quality top_tenth");
        check(4000, [0.5, 0.3], NotWorse, "quality top_tenth");
        // 100 conversions are too few for a gain, however great.
        check(1000, [0.1, 0.9], Gain, "positives");
        check(1000, [0.1, 0.9], NotWorse, "");
        check(0, [0.1, 0.9], Gain, "positives quality bootstrap calibration");
        // One conversion: nothing can be said.
        check(10, [0.1, 0.9], NotWorse, "quality");
    }

    #[test]
    fn few_conversions_are_drawn_again() {
        let leads = Leads::new(990);
        let (champion, challenger) = (leads.scores(0.5), leads.scores(0.55));
        let policy = GatePolicy { min_gain: 0.0, positives: 50, ..policy() };
        let verdict = gate(&leads.exam(&champion, &challenger), &policy);
        assert_eq!(failed(&verdict), "");
        let p = named(&verdict, "bootstrap").numbers["p"];
        assert!(p < 0.05 && (p - named(&verdict, "quality").numbers["p"]).abs() < 0.02, "{verdict:#?}");
        let same = gate(&leads.exam(&champion, &champion), &policy);
        assert_eq!(failed(&same), "quality bootstrap");
        let many = Leads::new(1000);
        let scores = many.scores(0.5);
        let verdict = gate(&many.exam(&scores, &scores), &policy);
        assert!(verdict.checks.iter().all(|check| check.name != "bootstrap"), "100 are not few");
    }

    #[test]
    fn each_guardrail_stands_in_the_way() {
        let leads = Leads::new(4000);
        let (champion, challenger) = (leads.scores(0.3), leads.scores(0.5));
        let exam = leads.exam(&champion, &challenger);
        let policy = policy();
        let check = |exam: &Exam<'_>, expected: &str| {
            assert_eq!(failed(&gate(exam, &policy)), expected, "{:#?}", gate(exam, &policy));
        };
        for (shift, expected) in [(0.005, true), (0.2, false)] {
            let off: Vec<f64> = champion.iter().map(|score| score + shift).collect();
            let exam = Exam { scores: Sides { champion: &champion, challenger: &off }, ..exam };
            assert_eq!(
                named(&gate(&exam, &GatePolicy::default()), "calibration").passed,
                expected,
                "{shift}"
            );
        }
        check(&Exam { unmapped: &["age".to_owned()], ..exam }, "schema");
        // The first tenth: the conversions that it held are put last.
        let mut last = challenger.clone();
        top(&challenger).iter().for_each(|row| last[*row] = -last[*row]);
        let verdict =
            gate(&Exam { scores: Sides { champion: &champion, challenger: &last }, ..exam }, &policy);
        assert!(failed(&verdict).contains("top_tenth"), "{verdict:#?}");
    }

    #[test]
    fn slower_is_too_slow_by_the_share_and_the_bound_at_once() {
        let check = |champion: u64, challenger: u64, expected: bool| {
            let [champion, challenger] = [champion, challenger].map(Duration::from_micros);
            let found = latency(Sides { champion, challenger }, &policy());
            assert_eq!((found.passed, found.name.as_str()), (expected, "latency"), "{}", found.said);
        };
        check(2, 3, true);
        check(2, 1000, true);
        check(2, 1001, false);
        check(10_000, 12_000, true);
        check(10_000, 12_001, false);
        check(0, 0, true);
    }

    #[test]
    fn a_segment_that_pays_for_the_rest_is_named() {
        let leads = Leads::new(8000);
        let (champion, mut challenger) = (leads.scores(0.3), leads.scores(0.6));
        let rows = |from, to| -> Vec<usize> { (from..to).collect() };
        // Within the first 600 leads conversions score lowest now.
        (0..600).filter(|row| row % 10 == 0).for_each(|row| challenger[row] = 0.0);
        let segments = [
            ("job=clerk".to_owned(), rows(0, 600)),
            ("job=chef".to_owned(), rows(600, 8000)),
            ("job=few".to_owned(), rows(0, 199)),
        ];
        let exam = Exam { segments: &segments, ..leads.exam(&champion, &challenger) };
        let verdict = gate(&exam, &GatePolicy::default());
        let check = named(&verdict, "segments");
        assert!(!check.passed && check.said.contains("not by chance: job=clerk by 0."), "{}", check.said);
        assert_eq!((check.numbers["judged"], check.numbers["worse"]), (2.0, 1.0));
        // A handful of leads lost to noise is told and not held against it.
        let (champion, challenger) = (leads.scores(0.5), leads.scores(0.8));
        let mut unlucky = challenger.clone();
        (0..200).filter(|row| row % 100 == 0).for_each(|row| unlucky[row] = 0.0);
        let segments = [("job=clerk".to_owned(), rows(0, 200))];
        let exam = Exam { segments: &segments, ..leads.exam(&champion, &unlucky) };
        let lost = |segment_alpha| {
            let policy = GatePolicy { segment_alpha, segment_loss: -1.0, ..GatePolicy::default() };
            named(&gate(&exam, &policy), "segments").clone()
        };
        let lenient = lost(0.05);
        assert!(lenient.passed && lenient.said.ends_with("which chance explains"), "{}", lenient.said);
        assert!(!lost(1.0).passed);
    }

    #[test]
    fn a_verdict_is_read_as_it_is_written() {
        let leads = Leads::new(2000);
        let scores = leads.scores(0.5);
        let verdict = gate(&leads.exam(&scores, &leads.scores(0.9)), &policy());
        let json = serde_json::to_string(&verdict).unwrap();
        assert_eq!(serde_json::from_str::<GateVerdict>(&json).unwrap(), verdict);
        assert!(
            json.starts_with(r#"{"mode":"gain","passed":true,"champion":"3","rows":2000,"positives":200,"#),
            "{json}"
        );
    }
}
