//! Pairs of scores, one after another.

use std::collections::BTreeMap;

use super::report::{Mover, Skipped};
use crate::{
    lead::{Grade, Score},
    score::Scored,
};

/// A lead's two scores and what became of it. The log may hold millions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair {
    pub(super) scores: [f32; 2],
    pub(super) grades: [Grade; 2],
    pub(super) fate: Fate,
    /// Whether it has had its time.
    pub(super) matured: bool,
}

/// What became of a lead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Fate {
    #[default]
    Open,
    Lost,
    Won,
}

/// A score as it was given, while its lead is scored again. Used over and over, it stops allocating.
#[derive(Debug, Default)]
pub(super) struct Given {
    pub(super) lead: String,
    pub(super) version: String,
    pub(super) time_ms: i64,
    /// Whether the very version gave it that scores now.
    pub(super) own: bool,
    pub(super) score: Option<(Score, Grade)>,
    pub(super) fate: Fate,
    pub(super) matured: bool,
    pub(super) revenue: Option<f64>,
}

/// What has been seen so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Scores that were read.
    pub(super) read: u64,
    pub(super) skipped: Skipped,
    /// The newest first.
    pub(super) pairs: Vec<Pair>,
    /// Leads by the version that scored them.
    pub(super) given_by: BTreeMap<String, u64>,
    /// Scores that the very version gave, and those of them that it gives again to the bit.
    pub(super) own: [u64; 2],
    /// What the leads brought that were won and told it, and how many they are.
    pub(super) revenue: (f64, u64),
    /// The farthest first.
    pub(super) movers: Vec<Mover>,
    pub(super) most_movers: usize,
}

impl Tally {
    pub(super) fn of(most_movers: usize) -> Self {
        Self { most_movers, ..Self::default() }
    }

    /// Adds a lead, scored again.
    pub(super) fn add(&mut self, given: &Given, scored: &Scored) {
        let Some((score, grade)) = given.score else { return };
        let fate = given.fate;
        let scores = [score.probability(), scored.score.probability()];
        let grades = [grade, scored.grade];
        self.pairs.push(Pair { scores, grades, fate, matured: given.matured });
        match self.given_by.get_mut(&given.version) {
            Some(count) => *count += 1,
            None => _ = self.given_by.insert(given.version.clone(), 1),
        }
        if given.own {
            let [own, same] = &mut self.own;
            *own += 1;
            *same += u64::from(scores[0].to_bits() == scores[1].to_bits());
        }
        if let (Fate::Won, Some(revenue)) = (fate, given.revenue) {
            self.revenue.0 += revenue;
            self.revenue.1 += 1;
        }
        self.rank(given, scores, grades);
    }

    /// Keeps those that move most; of equal ones the newest.
    fn rank(&mut self, given: &Given, scores: [f32; 2], grades: [Grade; 2]) {
        let way = (scores[1] - scores[0]).abs();
        let is_full = self.movers.len() >= self.most_movers;
        if way == 0.0 || is_full && self.movers.last().is_none_or(|last| last.way() >= way) {
            return;
        }
        if is_full {
            self.movers.pop();
        }
        let place = self.movers.partition_point(|mover| mover.way() >= way);
        let (lead, version) = (given.lead.clone(), given.version.clone());
        self.movers.insert(place, Mover { lead, time_ms: given.time_ms, version, scores, grades });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(tally: &mut Tally, lead: &str, scores: [f32; 2]) {
        let [given, scored] = scores.map(|score| Score::new(score).unwrap());
        let score = Some((given, Grade::B));
        let given = Given { lead: lead.into(), score, own: true, ..Given::default() };
        tally.add(&given, &Scored { score: scored, grade: Grade::A, logit: 0.0 });
    }

    #[test]
    fn those_that_move_most_are_kept() {
        let leads = [
            ("a", [0.5, 0.5]),
            ("b", [0.5, 0.25]),
            ("c", [0.5, 1.0]),
            ("d", [0.25, 0.5]),
            ("e", [0.0, 0.375]),
        ];
        for (most, expected) in [(0, ""), (1, "c"), (2, "ce"), (3, "ceb"), (9, "cebd")] {
            let mut tally = Tally::of(most);
            leads.iter().for_each(|(lead, scores)| add(&mut tally, lead, *scores));
            let movers: String = tally.movers.iter().map(|mover| mover.lead.as_str()).collect();
            assert_eq!(movers, expected);
            assert_eq!((tally.pairs.len(), tally.own), (5, [5, 1]));
        }
    }
}
