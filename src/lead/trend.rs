//! Whether a lead's score moved since it was last scored.

use super::score::Score;

/// A lead's score against the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trend {
    /// Higher by five points or more.
    Improving,
    /// Less than five points away.
    Steady,
    /// Lower by five points or more.
    Declining,
}

/// Points that make a trend. A calibrated score near 0.3 that rests on 400 past leads is uncertain by 2.3 points (one
/// standard error), so a smaller step is as likely noise as news.
const STEP: i16 = 5;

impl Trend {
    /// Compares in points, as people see them: 40 to 45 is a trend wherever the fractions lie.
    pub fn between(previous: Score, now: Score) -> Self {
        match i16::from(now.points()) - i16::from(previous.points()) {
            up if up >= STEP => Trend::Improving,
            down if down <= -STEP => Trend::Declining,
            _ => Trend::Steady,
        }
    }

    /// `"improving"`, `"steady"` or `"declining"`.
    pub fn as_str(self) -> &'static str {
        match self {
            Trend::Improving => "improving",
            Trend::Steady => "steady",
            Trend::Declining => "declining",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_points_are_a_trend() {
        for (previous, now, expected) in [
            (0.40, 0.45, Trend::Improving),
            (0.40, 0.444, Trend::Steady),
            (0.404, 0.446, Trend::Improving),
            (0.40, 0.40, Trend::Steady),
            (0.40, 0.36, Trend::Steady),
            (0.40, 0.35, Trend::Declining),
            (0.0, 1.0, Trend::Improving),
            (1.0, 0.0, Trend::Declining),
        ] {
            let score = |p: f32| Score::new(p).unwrap();
            assert_eq!(Trend::between(score(previous), score(now)), expected, "{previous} {now}");
        }
    }
}
