//! Where grades begin: by shares of the leads, or by how many of them can be called.

use std::time::Duration;

use clap::Args;

use crate::{lead::Cutoffs, stats};

const DAY: u64 = 24 * 60 * 60;

/// Options on grades.
#[derive(Clone, Debug, Default, Args)]
pub struct GradeOptions {
    /// How many leads can be called, such as 50/day, 10/hour or 200/week: A is given to about as many. Without it to the top
    /// tenth.
    #[arg(long, value_name = "LEADS/TIME", value_parser = capacity, requires = "over")]
    pub capacity: Option<Capacity>,
    /// The time in which the leads came that the version is calibrated on, such as 30d, 12h or 4w.
    #[arg(long, value_name = "TIME", value_parser = time, requires = "capacity")]
    pub over: Option<Duration>,
}

/// So many leads in such a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Capacity {
    /// Leads, more than 0.
    pub leads: f64,
    /// The time, more than 0.
    pub per: Duration,
}

/// Cut-offs over the scores of leads as they come.
pub(super) fn cutoffs(scores: &[f64], grades: &GradeOptions) -> Result<Cutoffs, String> {
    match (grades.capacity, grades.over) {
        (Some(capacity), Some(over)) => by_capacity(scores, capacity, over),
        _ => Ok(by_shares(scores)),
    }
}

/// A is the top tenth, B the next fifth, C the three tenths after.
fn by_shares(scores: &[f64]) -> Cutoffs {
    let sorted = stats::sorted(scores.to_vec());
    let at = |q| stats::quantile(&sorted, q).unwrap_or_default() as f32;
    Cutoffs { a: at(0.9), b: at(0.7), c: at(0.4) }
}

/// A is as many as can be called. The rest is B, C and D in the same proportion as by shares: two to three to four.
fn by_capacity(scores: &[f64], capacity: Capacity, over: Duration) -> Result<Cutoffs, String> {
    let wanted = capacity.leads * over.as_secs_f64() / capacity.per.as_secs_f64();
    let leads = scores.len() as f64;
    if wanted >= leads {
        return Err(format!(
            "--capacity: {wanted:.0} leads could be called in the time, and {leads} came: all would be A"
        ));
    }
    if wanted < 1.0 {
        return Err(format!("--capacity: {wanted:.2} leads could be called in the time, which is none"));
    }
    // Grades compare what is scored, which has the precision of f32.
    let mut falling: Vec<f32> = scores.iter().map(|score| *score as f32).collect();
    falling.sort_by(|a, b| b.total_cmp(a));
    let at = |rank: f64| nearest(&falling, rank.round() as usize);
    let rest = (leads - wanted) / 9.0;
    let (a, b, c) = (at(wanted), at(wanted + 2.0 * rest), at(wanted + 5.0 * rest));
    Ok(Cutoffs { a, b: b.min(a), c: c.min(b).min(a) })
}

/// The score that as near as possible to `rank` leads reach: leads of one score are not to be parted.
fn nearest(falling: &[f32], rank: usize) -> f32 {
    let Some(score) = falling.get(rank.saturating_sub(1)).copied() else { return 0.0 };
    let (above, reach) =
        (falling.partition_point(|other| *other > score), falling.partition_point(|other| *other >= score));
    match above.checked_sub(1).and_then(|last| falling.get(last)) {
        Some(higher) if rank - above < reach - rank => *higher,
        _ => score,
    }
}

/// `50/day`
fn capacity(text: &str) -> Result<Capacity, String> {
    let wrong = || "expected LEADS/TIME, such as 50/day".to_owned();
    let (leads, unit) = text.split_once('/').ok_or_else(wrong)?;
    let leads =
        leads.parse::<f64>().ok().filter(|leads| leads.is_finite() && *leads > 0.0).ok_or_else(wrong)?;
    let seconds = match unit {
        "hour" => 3600,
        "day" => DAY,
        "week" => 7 * DAY,
        _ => return Err(wrong()),
    };
    Ok(Capacity { leads, per: Duration::from_secs(seconds) })
}

/// `30d`
pub(super) fn time(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a time such as 30d, 12h or 4w".to_owned();
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let seconds = match unit {
        "h" => 3600,
        "d" => DAY,
        "w" => 7 * DAY,
        _ => return Err(wrong()),
    };
    let number = number.parse::<u32>().ok().filter(|number| *number > 0).ok_or_else(wrong)?;
    Ok(Duration::from_secs(u64::from(number) * seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graded(scores: &[f64], grades: &GradeOptions) -> Result<[usize; 4], String> {
        let Cutoffs { a, b, c } = cutoffs(scores, grades)?;
        let reach = |cutoff| scores.iter().filter(|score| **score as f32 >= cutoff).count();
        let (a, b, c) = (reach(a), reach(b), reach(c));
        Ok([a, b - a, c - b, scores.len() - c])
    }

    fn options(leads: &str, over: &str) -> GradeOptions {
        GradeOptions { capacity: Some(capacity(leads).unwrap()), over: Some(time(over).unwrap()) }
    }

    #[test]
    fn grades_go_to_shares_or_to_as_many_as_can_be_called() {
        let scores: Vec<f64> = (0..1000u32).map(|i| f64::from(i * 7919 % 1000) / 1000.0).collect();
        assert_eq!(graded(&scores, &GradeOptions::default()), Ok([100, 200, 300, 400]));
        for (leads, over, expected) in [
            ("50/day", "10d", [500, 111, 167, 222]),
            ("1/hour", "2d", [48, 212, 317, 423]),
            ("70/week", "4w", [280, 160, 240, 320]),
            ("0.5/day", "10d", [5, 221, 332, 442]),
        ] {
            assert_eq!(graded(&scores, &options(leads, over)), Ok(expected), "{leads} over {over}");
        }
        for (leads, over, expected) in [
            ("100/day", "10d", "all would be A"),
            ("0.01/day", "10d", "which is none"),
            ("1/day", "1h", "none"),
        ] {
            assert!(graded(&scores, &options(leads, over)).unwrap_err().ends_with(expected), "{leads}");
        }
    }

    #[test]
    fn leads_of_one_score_are_not_parted() {
        let scores: Vec<f64> = [vec![0.9; 30], vec![0.5; 50], vec![0.1; 20]].concat();
        for (leads, expected) in [("3/day", 30), ("4/day", 30), ("6/day", 80), ("7.9/day", 80)] {
            assert_eq!(graded(&scores, &options(leads, "10d")).unwrap()[0], expected, "{leads}");
        }
        let flat = [0.5; 100];
        assert_eq!(graded(&flat, &options("3/day", "10d")), Ok([100, 0, 0, 0]));
    }

    #[test]
    fn what_is_no_capacity_or_time_is_told() {
        for wrong in ["50", "/day", "-1/day", "0/day", "NaN/day", "50/month", "50/", "inf/day"] {
            assert!(capacity(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "d", "0d", "3", "3m", "-1d", "3é"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }
}
