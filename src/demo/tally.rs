//! What the answers said.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use super::report::Service;
use crate::lead::Grade;

/// Bars of a score histogram, each of ten points; the last takes 100 too.
pub(super) const BARS: usize = 10;
/// Scored leads remembered.
const LAST: usize = 5;

/// One request's end.
pub(super) enum Answer {
    /// Created, and scored.
    Scored(ScoredLead),
    /// Created, without a score.
    Unscored,
    /// Anything else.
    Failed,
}

/// A lead's score as its answer tells it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ScoredLead {
    /// The CRM's id.
    pub(super) id: String,
    /// 0..=100.
    pub(super) points: u8,
    /// A to D.
    pub(super) grade: Grade,
    /// `lead/1`.
    pub(super) model: String,
}

/// Counts since the start.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    /// Scored answers.
    pub(super) leads: u64,
    /// Requests that created no record.
    pub(super) failed: u64,
    /// Records created without a score.
    pub(super) unscored: u64,
    /// Scored leads by grade.
    pub(super) grades: BTreeMap<Grade, u64>,
    /// Histogram of the points by version.
    pub(super) scores: BTreeMap<String, [u64; BARS]>,
    /// The last scored leads, newest first.
    pub(super) last: VecDeque<ScoredLead>,
    /// What each version answered.
    pub(super) served: BTreeMap<String, Served>,
    /// The version that answered first.
    first: Option<String>,
    /// Leads that others answered until the first version's last answer.
    pub(super) beside: u64,
}

/// One version's answers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Served {
    leads: u64,
    first: Instant,
    last: Instant,
    /// Requests that had failed before its first.
    failed_before: u64,
}

impl Default for Tally {
    fn default() -> Self {
        let grades = [Grade::A, Grade::B, Grade::C, Grade::D].map(|grade| (grade, 0)).into();
        let (scores, served, last) = (BTreeMap::new(), BTreeMap::new(), VecDeque::new());
        Self { leads: 0, failed: 0, unscored: 0, grades, scores, last, served, first: None, beside: 0 }
    }
}

impl Tally {
    /// Counts an answer that came at `now`.
    pub(super) fn count(&mut self, answer: Answer, now: Instant) {
        let lead = match answer {
            Answer::Scored(lead) => lead,
            Answer::Unscored => return self.unscored += 1,
            Answer::Failed => return self.failed += 1,
        };
        self.leads += 1;
        *self.grades.entry(lead.grade).or_default() += 1;
        if !self.scores.contains_key(&lead.model) {
            self.scores.insert(lead.model.clone(), [0; BARS]);
        }
        if let Some(bars) = self.scores.get_mut(&lead.model)
            && let Some(bar) = bars.get_mut(usize::from(lead.points / 10).min(BARS - 1))
        {
            *bar += 1;
        }
        self.note_version(&lead.model, now);
        self.last.truncate(LAST - 1);
        self.last.push_front(lead);
    }

    fn note_version(&mut self, model: &str, now: Instant) {
        let first = self.first.get_or_insert_with(|| model.to_owned());
        let is_first = first == model;
        if !self.served.contains_key(model) {
            let served = Served { leads: 0, first: now, last: now, failed_before: self.failed };
            self.served.insert(model.to_owned(), served);
        }
        let Some(served) = self.served.get_mut(model) else { return };
        (served.leads, served.last) = (served.leads + 1, now);
        if is_first {
            self.beside = self.leads - served.leads;
        }
    }

    /// A version's service as clients saw it; `None` where it answered nobody.
    pub(super) fn service(&self, model: &str) -> Option<Service> {
        let Served { leads, first, last, failed_before } = *self.served.get(model)?;
        Some(Service {
            version: model.to_owned(),
            leads,
            milliseconds: millis(last.saturating_duration_since(first)),
            failed: self.failed - failed_before,
        })
    }

    /// Histogram of the points over all versions.
    pub(super) fn all_scores(&self) -> [u64; BARS] {
        let mut all = [0; BARS];
        for bars in self.scores.values() {
            all.iter_mut().zip(bars).for_each(|(all, bar)| *all += bar);
        }
        all
    }
}

/// To a tenth.
fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e4).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scored(points: u8, model: &str) -> Answer {
        Answer::Scored(ScoredLead {
            id: format!("00Q{points}"),
            points,
            grade: Grade::B,
            model: model.into(),
        })
    }

    #[test]
    fn counts_by_grade_version_and_ten_points() {
        let (mut tally, now) = (Tally::default(), Instant::now());
        for (points, model) in [(0, "lead/1"), (9, "lead/1"), (10, "lead/1"), (99, "lead/2"), (100, "lead/2")]
        {
            tally.count(scored(points, model), now);
        }
        tally.count(Answer::Failed, now);
        tally.count(Answer::Unscored, now);
        assert_eq!((tally.leads, tally.failed, tally.unscored, tally.grades[&Grade::B]), (5, 1, 1, 5));
        assert_eq!(tally.scores["lead/1"], [2, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(tally.all_scores(), [2, 1, 0, 0, 0, 0, 0, 0, 0, 2]);
        tally.count(scored(50, "lead/2"), now);
        let last: Vec<u8> = tally.last.iter().map(|lead| lead.points).collect();
        assert_eq!(last, [50, 100, 99, 10, 9]);
    }

    #[test]
    fn each_versions_service_is_known() {
        let (mut tally, start) = (Tally::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        tally.count(Answer::Failed, at(0));
        for (ms, model) in [(1, "lead/1"), (2, "lead/2"), (5, "lead/2"), (6, "lead/1"), (7, "lead/2")] {
            tally.count(scored(1, model), at(ms));
        }
        assert_eq!(tally.beside, 2, "the last answer came after the first version's last");
        tally.count(scored(1, "lead/3"), at(100));
        tally.count(Answer::Failed, at(110));
        tally.count(scored(1, "lead/3"), at(120));
        let service = tally.service("lead/3").unwrap();
        assert_eq!((service.leads, service.milliseconds, service.failed), (2, 20.0, 1));
        assert_eq!(tally.service("lead/4"), None);
        assert_eq!(tally.beside, 2);
    }
}
