//! Score, points and grade.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A calibrated probability that the lead converts, 0..=1, never NaN.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Score(f32);

impl Score {
    /// `None` unless `probability` is a number in 0..=1.
    pub fn new(probability: f32) -> Option<Self> {
        (0.0..=1.0).contains(&probability).then_some(Self(probability))
    }

    /// The probability, 0..=1.
    pub fn probability(self) -> f32 {
        self.0
    }

    /// The score as people read it, 0..=100, rounded to a whole number.
    pub fn points(self) -> u8 {
        // In range by construction, so the cast neither truncates nor wraps.
        (self.0 * 100.0).round() as u8
    }
}

/// The band a score falls in: A is the best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Grade {
    /// Call first.
    A,
    /// Call soon.
    B,
    /// Nurture.
    C,
    /// Leave to automation.
    D,
}

impl Grade {
    /// All of them, the best first.
    pub const ALL: [Grade; 4] = [Grade::A, Grade::B, Grade::C, Grade::D];

    /// `"A"`, `"B"`, `"C"` or `"D"`.
    pub fn as_str(self) -> &'static str {
        match self {
            Grade::A => "A",
            Grade::B => "B",
            Grade::C => "C",
            Grade::D => "D",
        }
    }

    /// Reads what [`Grade::as_str`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        [Grade::A, Grade::B, Grade::C, Grade::D].into_iter().find(|grade| grade.as_str() == text)
    }
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The least score of grades A, B and C, each 0..=1 and falling; below `c` is a D.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cutoffs {
    /// From here up: A.
    pub a: f32,
    /// From here up to `a`: B.
    pub b: f32,
    /// From here up to `b`: C.
    pub c: f32,
}

impl Cutoffs {
    /// The grade of a score.
    pub fn grade(&self, score: Score) -> Grade {
        match score.probability() {
            p if p >= self.a => Grade::A,
            p if p >= self.b => Grade::B,
            p if p >= self.c => Grade::C,
            _ => Grade::D,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_is_a_probability() {
        let accepted = |p: f32| Score::new(p).is_some();
        assert!(accepted(0.0) && accepted(1.0) && accepted(0.5));
        assert!(!accepted(-0.001) && !accepted(1.001) && !accepted(f32::NAN) && !accepted(f32::INFINITY));
    }

    #[test]
    fn points_round_to_the_nearest() {
        let points = |p: f32| Score::new(p).unwrap().points();
        assert_eq!(
            [points(0.0), points(0.004), points(0.006), points(0.7312), points(1.0)],
            [0, 0, 1, 73, 100]
        );
    }

    #[test]
    fn a_score_on_a_cutoff_gets_the_better_grade() {
        let cutoffs = Cutoffs { a: 0.5, b: 0.25, c: 0.125 };
        let grade = |p: f32| cutoffs.grade(Score::new(p).unwrap());
        assert_eq!([grade(0.5), grade(0.49), grade(0.25), grade(0.2), grade(0.125), grade(0.1)], {
            use Grade::{A, B, C, D};
            [A, B, B, C, C, D]
        });
    }
}
