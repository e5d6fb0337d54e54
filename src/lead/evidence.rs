//! What is known, at one moment, of a version under trial: counts, from which every verdict can be recomputed.
//!
//! The lead log gathers it, the rollout judges it, and neither knows the other. Replicas that each know a part add up:
//! [`Evidence::add`] and its kind lose nothing but the shape of latencies, where the slower replica counts. A lead is
//! counted by its assignment (intent to treat), whether it was scored or not. Leads without a stable key are nowhere in
//! here.

/// How many bins a [`Histogram`] has: a score differs from its bin by less than a thousandth.
const BINS: u16 = 1024;

/// One of a kind for either side of a comparison.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sides<T> {
    /// Of the version that serves.
    pub champion: T,
    /// Of the version under trial.
    pub challenger: T,
}

/// What is known of a model's versions on trial.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    /// The canary's traffic since the last look that saw enough of it.
    pub window: Window,
    /// What each step of the canary showed, the first step first.
    pub steps: Vec<StepCounts>,
    /// The challenger against the champion on the same leads, since the challenger was first a shadow.
    pub pairs: Pairs,
    /// The same for each shadow, by its version.
    pub shadows: Vec<(Box<str>, Pairs)>,
}

/// A stretch of the canary's traffic.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Window {
    /// Its first moment, in milliseconds since 1970.
    pub from_ms: i64,
    /// The moment after its last.
    pub to_ms: i64,
    /// What either arm saw.
    pub arms: Sides<Traffic>,
}

/// Requests for scores.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Leads assigned to the arm, each as often as it came.
    pub leads: u64,
    /// Of those, scored by the arm's own version.
    pub scored: u64,
    /// Not scored, because the version failed.
    pub errors: u64,
    /// Not scored, because `limits.deadline` had passed.
    pub late: u64,
    /// The 99th percentile of the time one score of the arm's version took, in nanoseconds; 0 where none was timed.
    pub p99_ns: u64,
}

/// What one step of a canary showed, from its first lead to its last.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepCounts {
    /// The sequence number of the ledger record that began the step.
    pub seq: u64,
    /// The challenger's share while it lasted, 1..=99.
    pub percent: u32,
    /// What either arm saw.
    pub arms: Sides<Traffic>,
    /// The leads that were first exposed in this step.
    pub cohorts: Sides<Cohort>,
    /// The scores that either arm gave in this step.
    pub scores: Sides<Histogram>,
}

/// Unique leads by first exposure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cohort {
    /// All of them.
    pub leads: u64,
    /// Of those, first exposed at least the horizon ago.
    pub matured: u64,
    /// Of the matured, won within the horizon after their exposure. A win of a lead that is not matured does not count
    /// yet: it would show the quick wins only.
    pub conversions: u64,
}

/// Two versions on the same leads.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pairs {
    /// Leads that both were to score.
    pub mirrored: u64,
    /// Of those, not scored by the version under trial because it failed.
    pub errors: u64,
    /// Of those errors, scores that are no number or outside 0..=1.
    pub non_finite: u64,
    /// Leads that lacked a feature which the version under trial requires and the champion does not.
    pub missing: u64,
    /// The 99th percentile of the time a score took, in nanoseconds.
    pub p99_ns: Sides<u64>,
    /// Scores of leads that both scored.
    pub scores: Sides<Histogram>,
    /// How many leads have which grade: `grades[champion's][challenger's]`, A first.
    pub grades: [[u64; 4]; 4],
    /// Those with a matured label.
    pub labelled: Labelled,
    /// AUC on the labelled leads, where both classes are there.
    pub auc: Option<AucDifference>,
}

/// Pairs whose label is settled: the score is at least the horizon old; a win counts when it came within the horizon.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Labelled {
    /// How many.
    pub leads: u64,
    /// Of those, won.
    pub positives: u64,
    /// Mean of log-loss(champion) - log-loss(challenger), natural log: above 0, the challenger is better.
    pub mean: f64,
    /// Sum of the squared distances of those differences from their mean.
    pub squares: f64,
    /// Sum of the scores, which is how many wins either version expects.
    pub expected: Sides<f64>,
}

/// How much better or worse a version ranks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AucDifference {
    /// AUC of the version under trial less that of the champion.
    pub difference: f64,
    /// Upper end of its 95% interval (DeLong).
    pub upper: f64,
}

/// How many scores fall in each of 1,024 bins of equal width; empty until something is added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram(Vec<u64>);

impl Histogram {
    /// Counts a score, 0..=1; what is not a number is not counted.
    pub fn count(&mut self, score: f64) {
        if score.is_nan() {
            return;
        }
        // The cast saturates: whatever is outside falls into the first or the last bin.
        self.add_bin((score * f64::from(BINS)) as usize, 1);
    }

    /// Adds `leads` to the bin `[bin / 1024, (bin + 1) / 1024)`; the last bin takes what lies beyond.
    pub fn add_bin(&mut self, bin: usize, leads: u64) {
        self.0.resize(usize::from(BINS), 0);
        if let Some(count) = self.0.get_mut(bin.min(usize::from(BINS) - 1)) {
            *count = count.saturating_add(leads);
        }
    }

    /// The counts, the lowest scores first: 1,024 or none.
    pub fn bins(&self) -> &[u64] {
        &self.0
    }

    /// All scores.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Adds what another counted.
    pub fn add(&mut self, other: &Self) {
        for (bin, leads) in other.0.iter().enumerate().filter(|(_, leads)| **leads > 0) {
            self.add_bin(bin, *leads);
        }
    }
}

impl Labelled {
    /// One more lead: `difference` is log-loss(champion) - log-loss(challenger). Welford's way, so that nothing cancels.
    pub fn count(&mut self, won: bool, difference: f64, scores: &Sides<f64>) {
        let one =
            Self { leads: 1, positives: u64::from(won), mean: difference, squares: 0.0, expected: *scores };
        self.add(&one);
    }

    /// Adds what another replica knows (Chan, Golub and LeVeque 1979).
    pub fn add(&mut self, other: &Self) {
        let (here, there) = (self.leads as f64, other.leads as f64);
        let all = here + there;
        if other.leads > 0 {
            let gap = other.mean - self.mean;
            self.mean += gap * there / all;
            self.squares += other.squares + gap * gap * here * there / all;
        }
        self.leads += other.leads;
        self.positives += other.positives;
        self.expected.champion += other.expected.champion;
        self.expected.challenger += other.expected.challenger;
    }

    /// Population variance of the differences; NaN without leads.
    pub fn variance(&self) -> f64 {
        self.squares / self.leads as f64
    }
}

impl Traffic {
    /// Adds what another replica saw.
    pub fn add(&mut self, other: &Self) {
        self.leads += other.leads;
        self.scored += other.scored;
        self.errors += other.errors;
        self.late += other.late;
        self.p99_ns = self.p99_ns.max(other.p99_ns);
    }
}

impl Cohort {
    /// Adds what another replica saw. A lead that came to both is one too many, in either arm alike.
    pub fn add(&mut self, other: &Self) {
        self.leads += other.leads;
        self.matured += other.matured;
        self.conversions += other.conversions;
    }
}

impl<T> Sides<T> {
    /// Adds either side to its own.
    pub fn add(&mut self, other: &Self, add: impl Fn(&mut T, &T)) {
        add(&mut self.champion, &other.champion);
        add(&mut self.challenger, &other.challenger);
    }
}

impl StepCounts {
    /// Adds what another replica saw in the same step.
    pub fn add(&mut self, other: &Self) {
        self.arms.add(&other.arms, Traffic::add);
        self.cohorts.add(&other.cohorts, Cohort::add);
        self.scores.add(&other.scores, Histogram::add);
    }
}

impl Pairs {
    /// Adds what another replica saw. The AUC of the replica with more leads stands, for areas do not add up.
    pub fn add(&mut self, other: &Self) {
        if self.auc.is_none() || other.labelled.leads > self.labelled.leads {
            self.auc = other.auc.or(self.auc);
        }
        self.mirrored += other.mirrored;
        self.errors += other.errors;
        self.non_finite += other.non_finite;
        self.missing += other.missing;
        self.p99_ns.add(&other.p99_ns, |here, there| *here = (*here).max(*there));
        self.scores.add(&other.scores, Histogram::add);
        let cells = self.grades.iter_mut().flatten().zip(other.grades.iter().flatten());
        cells.for_each(|(here, there)| *here += there);
        self.labelled.add(&other.labelled);
    }

    /// Leads that both scored and gave a grade.
    pub fn graded(&self) -> u64 {
        self.grades.iter().flatten().sum()
    }

    /// Of those, how many would change grade.
    pub fn changed(&self) -> u64 {
        let kept: u64 = self.grades.iter().enumerate().filter_map(|(grade, row)| row.get(grade)).sum();
        self.graded() - kept
    }
}

impl Evidence {
    /// Adds what another replica knows: the window reaches as far as both do.
    pub fn add(&mut self, other: &Self) {
        self.window.from_ms = self.window.from_ms.max(other.window.from_ms);
        self.window.to_ms = self.window.to_ms.max(other.window.to_ms);
        self.window.arms.add(&other.window.arms, Traffic::add);
        for step in &other.steps {
            match self.steps.iter_mut().find(|own| own.seq == step.seq) {
                Some(own) => own.add(step),
                None => self.steps.push(step.clone()),
            }
        }
        self.pairs.add(&other.pairs);
        for (version, pairs) in &other.shadows {
            match self.shadows.iter_mut().find(|(own, _)| own == version) {
                Some((_, own)) => own.add(pairs),
                None => self.shadows.push((version.clone(), pairs.clone())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_fall_into_their_bins() {
        let mut histogram = Histogram::default();
        assert_eq!((histogram.total(), histogram.bins().len()), (0, 0));
        for (score, bin) in [(0.0, 0), (0.5, 512), (0.49999, 511), (1.0, 1023), (7.0, 1023), (-1.0, 0)] {
            let before = histogram.bins().get(bin).copied().unwrap_or(0);
            histogram.count(score);
            assert_eq!(histogram.bins()[bin], before + 1, "{score}");
        }
        histogram.count(f64::NAN);
        assert_eq!(histogram.total(), 6);
        let mut twice = histogram.clone();
        twice.add(&histogram);
        assert_eq!((twice.total(), twice.bins()[1023]), (12, 4));
    }

    #[test]
    fn parts_add_up_to_the_whole() {
        let differences = [0.3, -0.2, 0.05, 1.7, -0.9, 0.0, 0.4];
        let count = |values: &[f64]| {
            let mut labelled = Labelled::default();
            for value in values {
                let scores = Sides { champion: 0.5, challenger: 0.25 };
                labelled.count(*value > 0.0, *value, &scores);
            }
            labelled
        };
        let whole = count(&differences);
        for cut in 0..=differences.len() {
            let (left, right) = differences.split_at(cut);
            let mut sum = count(left);
            sum.add(&count(right));
            assert_eq!((sum.leads, sum.positives), (7, 4));
            assert!((sum.mean - whole.mean).abs() < 1e-12 && (sum.squares - whole.squares).abs() < 1e-12);
            assert_eq!((sum.expected.champion, sum.expected.challenger), (3.5, 1.75));
        }
        let mean = differences.iter().sum::<f64>() / 7.0;
        let variance = differences.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / 7.0;
        assert!((whole.variance() - variance).abs() < 1e-12);
        assert!(Labelled::default().variance().is_nan());
    }

    #[test]
    fn replicas_add_up() {
        let step = |seq, leads| {
            let cohort = Cohort { leads, matured: leads / 2, conversions: 1 };
            let traffic = Traffic { leads, scored: leads, p99_ns: leads, ..Traffic::default() };
            let arms = Sides { champion: traffic.clone(), challenger: traffic };
            StepCounts {
                seq,
                percent: 10,
                arms,
                cohorts: Sides { champion: cohort, challenger: cohort },
                ..StepCounts::default()
            }
        };
        let pairs = Pairs {
            mirrored: 10,
            grades: [[4, 1, 0, 0], [0, 3, 0, 0], [0, 0, 0, 2], [0; 4]],
            ..Pairs::default()
        };
        assert_eq!((pairs.graded(), pairs.changed()), (10, 3));
        let one = Evidence {
            steps: vec![step(1, 10)],
            shadows: vec![("4".into(), pairs.clone())],
            pairs: pairs.clone(),
            ..Evidence::default()
        };
        let other = Evidence {
            steps: vec![step(1, 30), step(2, 6)],
            shadows: vec![("5".into(), pairs)],
            ..one.clone()
        };
        let mut all = one;
        all.add(&other);
        let of = |step: &StepCounts| (step.seq, step.arms.champion.leads, step.cohorts.challenger.matured);
        assert_eq!(all.steps.iter().map(of).collect::<Vec<_>>(), [(1, 40, 20), (2, 6, 3)]);
        assert_eq!(all.steps[0].arms.challenger.p99_ns, 30);
        assert_eq!((all.shadows.len(), all.pairs.changed(), all.pairs.mirrored), (2, 6, 20));
    }
}
