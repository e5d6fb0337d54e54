//! What a run counted.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::Serialize;

use super::error::RowError;
use crate::{
    lead::{Grade, ModelId},
    score::Scored,
};

/// Rows counted, of a block or of all.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) rows: u64,
    scored: u64,
    sum: f64,
    /// A to D.
    grades: [u64; 4],
    /// By kind.
    errors: [u64; RowError::KINDS.len()],
}

impl Tally {
    pub(super) fn count(&mut self, outcome: &Result<Scored, RowError>) {
        self.rows += 1;
        match outcome {
            Ok(scored) => {
                self.scored += 1;
                self.sum += f64::from(scored.score.probability());
                bump(&mut self.grades, scored.grade as usize, 1);
            }
            Err(error) => bump(&mut self.errors, error.kind(), 1),
        }
    }

    pub(super) fn add(&mut self, more: &Tally) {
        self.rows += more.rows;
        self.scored += more.scored;
        self.sum += more.sum;
        more.grades.iter().enumerate().for_each(|(i, by)| bump(&mut self.grades, i, *by));
        more.errors.iter().enumerate().for_each(|(i, by)| bump(&mut self.errors, i, *by));
    }
}

fn bump(counts: &mut [u64], at: usize, by: u64) {
    counts.get_mut(at).into_iter().for_each(|count| *count += by);
}

/// What a run did.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// `model/version`.
    pub model: String,
    /// SHA-256 of its manifest.
    pub digest: String,
    /// Rows of the input.
    pub rows: u64,
    /// Those with a score.
    pub scored: u64,
    /// Those without, by what is wrong with them.
    pub errors: BTreeMap<&'static str, u64>,
    /// Of the scores; none where there is no score.
    pub mean_score: Option<f64>,
    /// Share of each grade among the scored rows.
    pub grades: BTreeMap<Grade, f64>,
    /// Features that no column holds: they were imputed, or taken as missing, in every row.
    pub absent: Vec<String>,
    /// Versions that would have come first, and why they were passed over.
    pub refused: Vec<String>,
    /// From the first byte read to the last written.
    pub seconds: f64,
    /// Of all threads in that time.
    pub cpu_seconds: f64,
    /// Rows for each second.
    pub rows_per_second: f64,
    /// Rows for each second of a processor.
    pub rows_per_cpu_second: f64,
}

impl Summary {
    pub(super) fn new(id: &ModelId, tally: &Tally, (wall, cpu): (Duration, Duration)) -> Self {
        let Tally { rows, scored, sum, grades, errors } = tally;
        let share = |(grade, count): (Grade, &u64)| (grade, ratio(*count, *scored as f64));
        let errors = RowError::KINDS.into_iter().zip(errors.iter().copied());
        let (seconds, cpu_seconds) = (wall.as_secs_f64(), cpu.as_secs_f64());
        Self {
            model: id.to_string(),
            digest: id.digest.to_string(),
            rows: *rows,
            scored: *scored,
            errors: errors.filter(|(_, count)| *count > 0).collect(),
            mean_score: (*scored > 0).then(|| sum / *scored as f64),
            grades: [Grade::A, Grade::B, Grade::C, Grade::D].into_iter().zip(grades).map(share).collect(),
            absent: Vec::new(),
            refused: Vec::new(),
            seconds,
            cpu_seconds,
            rows_per_second: ratio(*rows, seconds),
            rows_per_cpu_second: ratio(*rows, cpu_seconds),
        }
    }
}

/// 0 for nothing of nothing.
fn ratio(count: u64, of: f64) -> f64 {
    if of > 0.0 { count as f64 / of } else { 0.0 }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for refused in &self.refused {
            writeln!(f, "warning: passed over {refused}")?;
        }
        if !self.absent.is_empty() {
            writeln!(
                f,
                "warning: without a column, and so missing in every row: {}",
                self.absent.join(", ")
            )?;
        }
        let Self { rows, scored, seconds, cpu_seconds, .. } = self;
        writeln!(f, "{}: {scored} of {rows} rows scored, manifest {}", self.model, self.digest)?;
        for (kind, count) in &self.errors {
            writeln!(f, "  {count} without a score: {kind}")?;
        }
        if let Some(mean) = self.mean_score {
            write!(f, "mean score {mean:.4}; grades")?;
            self.grades.iter().try_for_each(|(grade, share)| write!(f, " {grade} {:.1}%", share * 100.0))?;
            writeln!(f)?;
        }
        let (wall, cpu) = (self.rows_per_second, self.rows_per_cpu_second);
        write!(f, "{seconds:.2} s, {wall:.0} rows/s; {cpu_seconds:.2} CPU s, {cpu:.0} rows per CPU second")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lead::Score;

    fn scored(score: f32, grade: Grade) -> Result<Scored, RowError> {
        Ok(Scored { score: Score::new(score).unwrap(), grade, logit: 0.0 })
    }

    fn summary(outcomes: &[Result<Scored, RowError>]) -> Summary {
        let id = ModelId { model: "lead".into(), version: "3".into(), digest: "abc".into() };
        let mut all = Tally::default();
        for outcomes in outcomes.chunks(2) {
            let mut tally = Tally::default();
            outcomes.iter().for_each(|outcome| tally.count(outcome));
            all.add(&tally);
        }
        Summary::new(&id, &all, (Duration::from_secs(2), Duration::from_secs(4)))
    }

    #[test]
    fn rows_are_counted_over_blocks() {
        let errors = [RowError::Quote, RowError::Required { feature: 3 }, RowError::Required { feature: 5 }];
        let mut outcomes = vec![scored(0.75, Grade::A), scored(0.25, Grade::C), scored(0.25, Grade::C)];
        outcomes.extend(errors.map(Err));
        let summary = summary(&outcomes);
        assert_eq!((summary.rows, summary.scored), (6, 3));
        assert_eq!(summary.errors, [("quote", 1), ("required", 2)].into());
        assert!((summary.mean_score.unwrap() - 1.25 / 3.0).abs() < 1e-12);
        assert_eq!((summary.grades[&Grade::B], summary.grades[&Grade::C]), (0.0, 2.0 / 3.0));
        assert_eq!((summary.rows_per_second, summary.rows_per_cpu_second), (3.0, 1.5));
        assert_eq!(
            summary.to_string(),
            "lead/3: 3 of 6 rows scored, manifest abc\n  1 without a score: quote\n  2 without a score: required\n\
             mean score 0.4167; grades A 33.3% B 0.0% C 66.7% D 0.0%\n\
             2.00 s, 3 rows/s; 4.00 CPU s, 2 rows per CPU second"
        );
    }

    #[test]
    fn nothing_has_no_mean() {
        let summary = summary(&[]);
        assert_eq!((summary.mean_score, summary.grades[&Grade::A]), (None, 0.0));
        let json = serde_json::to_value(&summary).unwrap();
        assert_eq!(json["grades"]["D"], 0.0);
    }
}
