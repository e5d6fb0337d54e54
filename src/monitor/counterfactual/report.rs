//! What pairs of scores say.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    options::ReplayOptions,
    quality::Quality,
    tally::{Fate, Pair, Tally},
};
use crate::{
    lead::{Grade, ModelId},
    leadlog::Scan,
};

pub(super) const GRADES: [Grade; 4] = [Grade::A, Grade::B, Grade::C, Grade::D];

/// Bars of the scores' histogram.
const BARS: usize = 10;

/// Of all leads, one in so many can be called where nothing else was said.
const CALLED: u64 = 10;

/// The leads of the log with another version. Of each pair the scores as given come first, the version's second.
#[derive(Clone, Debug, Serialize)]
pub struct Replay {
    /// The version, as `lead/7`.
    pub version: String,
    /// SHA-256 of its manifest.
    pub digest: String,
    /// The model whose scores were read.
    pub model: String,
    /// From then on, in milliseconds since 1970.
    pub from_ms: i64,
    /// Before then.
    pub to_ms: i64,
    /// How long a lead has to convert, in milliseconds.
    pub horizon_ms: i64,
    /// Each score, and not the last of each lead.
    pub all: bool,
    /// Scores of the model in that time.
    pub scores: u64,
    /// Those that were compared.
    pub leads: u64,
    /// The others.
    pub skipped: Skipped,
    /// Leads by the version that scored them.
    pub given_by: BTreeMap<String, u64>,
    /// Scores that the very version had given.
    pub own: u64,
    /// Those of them that it gives again to the bit.
    pub own_same: u64,
    /// Features that the version reads and none of the newest leads has.
    pub absent: Vec<String>,
    /// Leads whose score differs.
    pub changed_scores: u64,
    /// Leads whose grade differs.
    pub changed_grades: u64,
    /// Leads by their grade as given (row) and with the version (column), A to D.
    pub grade_changes: [[u64; 4]; 4],
    /// Mean score.
    pub mean: [f64; 2],
    /// Mean distance of a lead's two scores.
    pub mean_distance: f64,
    /// Sum of the scores: conversions to be expected.
    pub expected: [f64; 2],
    /// Leads in each tenth of the scores.
    pub histogram: Vec<[u64; 2]>,
    /// Grade by grade.
    pub grades: Vec<GradeRow>,
    /// Leads that get a better grade.
    pub up: Moved,
    /// Leads that get a worse one.
    pub down: Moved,
    /// What a conversion brings.
    pub revenue: Option<Revenue>,
    /// Leads whose scores move most, the farthest first.
    pub movers: Vec<Mover>,
    /// The leads with the highest scores.
    pub calls: Calls,
    /// Over leads that have had their time.
    pub matured: Quality,
    /// Over the others, as far as their end is known.
    pub provisional: Quality,
}

/// Scores that were not compared, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// Given when the lead was won or lost already.
    pub after: u64,
    /// A later one of the same lead counts.
    pub earlier: u64,
    /// Of a lead whose id the traffic did not show.
    pub nameless: u64,
    /// Without a feature that the version requires.
    pub required: u64,
    /// With a feature that the version reads and the log may not keep.
    pub withheld: u64,
    /// The row was edited.
    pub unreadable: u64,
    /// The version gives no score.
    pub not_finite: u64,
}

/// Leads of one grade.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct GradeRow {
    /// The grade.
    pub grade: Grade,
    /// Leads that have it.
    pub leads: [u64; 2],
    /// Conversions to be expected of them, by the score that gave it.
    pub expected: [f64; 2],
    /// Those of them that are known to be won.
    pub won: [u64; 2],
}

/// Leads that move to another grade.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Moved {
    /// How many.
    pub leads: u64,
    /// Conversions to be expected of them.
    pub expected: [f64; 2],
    /// Those that are known to be won.
    pub won: u64,
}

/// What won leads brought.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Revenue {
    /// Won leads of which it was told.
    pub deals: u64,
    /// Their mean.
    pub mean: f64,
    /// That mean for every conversion to be expected.
    pub expected: [f64; 2],
}

/// A lead whose score moves.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Mover {
    /// The CRM's record id; empty where the traffic did not show it.
    pub lead: String,
    /// When it was scored, in milliseconds since 1970.
    pub time_ms: i64,
    /// The version that scored it.
    pub version: String,
    /// Its scores.
    pub scores: [f32; 2],
    /// Its grades.
    pub grades: [Grade; 2],
}

impl Mover {
    /// How far.
    pub(super) fn way(&self) -> f32 {
        let [given, with] = self.scores;
        (with - given).abs()
    }
}

/// The leads with the highest scores, as many as can be called; at equal scores the earlier come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Calls {
    /// How many are called.
    pub capacity: u64,
    /// Called by either.
    pub both: Called,
    /// Called by the scores as given, and no more.
    pub dropped: Called,
    /// Called by the version, and not before.
    pub gained: Called,
}

/// Leads that are called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Called {
    /// How many.
    pub leads: u64,
    /// Those whose end is known.
    pub known: u64,
    /// Those of them that were won.
    pub won: u64,
}

impl Replay {
    pub(super) fn new(
        id: &ModelId,
        span: Scan<'_>,
        (options, horizon_ms): (&ReplayOptions, i64),
        tally: Tally,
    ) -> Self {
        let Tally { read, skipped, pairs, given_by, own: [own, own_same], revenue, movers, .. } = tally;
        let expected = sums(&pairs, |_| true);
        let leads = pairs.len() as u64;
        let distance = |pair: &Pair| f64::from((pair.scores[1] - pair.scores[0]).abs());
        let [up, down] = moved(&pairs);
        let (money, deals) = revenue;
        Self {
            version: id.to_string(),
            digest: id.digest.to_string(),
            model: span.model.to_owned(),
            from_ms: span.from_ms,
            to_ms: span.to_ms,
            horizon_ms,
            all: options.all,
            scores: read,
            leads,
            skipped,
            given_by,
            own,
            own_same,
            absent: Vec::new(),
            changed_scores: pairs.iter().filter(|pair| pair.scores[0] != pair.scores[1]).count() as u64,
            changed_grades: up.leads + down.leads,
            grade_changes: changes(&pairs),
            mean: expected.map(|sum| sum / leads.max(1) as f64),
            mean_distance: pairs.iter().map(distance).sum::<f64>() / leads.max(1) as f64,
            expected,
            histogram: histogram(&pairs),
            grades: GRADES.map(|grade| GradeRow::of(grade, &pairs)).into(),
            up,
            down,
            revenue: (deals > 0).then(|| {
                let mean = money / deals as f64;
                Revenue { deals, mean, expected: expected.map(|conversions| conversions * mean) }
            }),
            movers,
            calls: Calls::of(&pairs, options.capacity.unwrap_or(leads.div_ceil(CALLED))),
            matured: Quality::of(&pairs, true),
            provisional: Quality::of(&pairs, false),
        }
    }
}

/// The sums of both scores over some of the pairs.
fn sums(pairs: &[Pair], which: impl Fn(&Pair) -> bool) -> [f64; 2] {
    let some = pairs.iter().filter(|pair| which(pair)).map(|pair| pair.scores.map(f64::from));
    some.fold([0.0; 2], |[a, b], [given, with]| [a + given, b + with])
}

fn histogram(pairs: &[Pair]) -> Vec<[u64; 2]> {
    let mut bars = vec![[0; 2]; BARS];
    for (side, score) in pairs.iter().flat_map(|pair| pair.scores.into_iter().enumerate()) {
        let bar = ((f64::from(score) * BARS as f64) as usize).min(BARS - 1);
        let count = bars.get_mut(bar).and_then(|bar| bar.get_mut(side));
        count.into_iter().for_each(|count| *count += 1);
    }
    bars
}

fn changes(pairs: &[Pair]) -> [[u64; 4]; 4] {
    let mut table = [[0; 4]; 4];
    for Pair { grades: [given, with], .. } in pairs {
        let cell = table.get_mut(*given as usize).and_then(|row| row.get_mut(*with as usize));
        cell.into_iter().for_each(|count| *count += 1);
    }
    table
}

/// Up, and down.
fn moved(pairs: &[Pair]) -> [Moved; 2] {
    let mut moved = [Moved::default(); 2];
    for Pair { scores: [given, with], grades, fate, .. } in pairs {
        let way = match grades[0].cmp(&grades[1]) {
            std::cmp::Ordering::Equal => continue,
            // A is the best, and the least.
            std::cmp::Ordering::Greater => &mut moved[0],
            std::cmp::Ordering::Less => &mut moved[1],
        };
        way.leads += 1;
        way.expected = [way.expected[0] + f64::from(*given), way.expected[1] + f64::from(*with)];
        way.won += u64::from(*fate == Fate::Won);
    }
    moved
}

impl GradeRow {
    fn of(grade: Grade, pairs: &[Pair]) -> Self {
        let of = |side: usize| move |pair: &&Pair| pair.grades.get(side) == Some(&grade);
        let leads = [0, 1].map(|side| pairs.iter().filter(of(side)).count() as u64);
        let won = |pair: &&Pair| pair.fate == Fate::Won;
        let won = [0, 1].map(|side| pairs.iter().filter(of(side)).filter(won).count() as u64);
        let [given, _] = sums(pairs, |pair| of(0)(&pair));
        let [_, with] = sums(pairs, |pair| of(1)(&pair));
        Self { grade, leads, expected: [given, with], won }
    }
}

impl Calls {
    fn of(pairs: &[Pair], capacity: u64) -> Self {
        let [given, with] = [0, 1].map(|side| called(pairs, side, capacity));
        let mut calls = Self { capacity: capacity.min(pairs.len() as u64), ..Self::default() };
        for (pair, is_called) in pairs.iter().zip(given.iter().zip(&with)) {
            let part = match is_called {
                (true, true) => &mut calls.both,
                (true, false) => &mut calls.dropped,
                (false, true) => &mut calls.gained,
                (false, false) => continue,
            };
            part.leads += 1;
            part.known += u64::from(pair.fate != Fate::Open);
            part.won += u64::from(pair.fate == Fate::Won);
        }
        calls
    }
}

/// Whether each lead is called by the scores of one side. The newest stand first among the pairs.
fn called(pairs: &[Pair], side: usize, capacity: u64) -> Vec<bool> {
    let capacity = usize::try_from(capacity).unwrap_or(usize::MAX).min(pairs.len());
    let score =
        |place: usize| pairs.get(place).and_then(|pair| pair.scores.get(side)).copied().unwrap_or(0.0);
    let mut order: Vec<(f32, usize)> = (0..pairs.len()).map(|place| (score(place), place)).collect();
    let falling = |a: &(f32, usize), b: &(f32, usize)| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1));
    if capacity < order.len() {
        order.select_nth_unstable_by(capacity, falling);
    }
    let mut called = vec![false; pairs.len()];
    for (_, place) in order.into_iter().take(capacity) {
        called.get_mut(place).into_iter().for_each(|called| *called = true);
    }
    called
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(scores: [f32; 2], grades: [Grade; 2], fate: Fate) -> Pair {
        Pair { scores, grades, fate, matured: true }
    }

    fn pairs() -> Vec<Pair> {
        use Grade::{A, B, D};
        vec![
            pair([0.75, 0.25], [A, B], Fate::Lost),
            pair([0.5, 0.5], [B, B], Fate::Won),
            pair([0.125, 1.0], [D, A], Fate::Won),
            pair([0.5, 0.75], [B, A], Fate::Open),
        ]
    }

    #[test]
    fn leads_that_change_grade_are_counted_both_ways() {
        let pairs = pairs();
        let table = changes(&pairs);
        assert_eq!((table[0][1], table[1][1], table[3][0], table[1][0]), (1, 1, 1, 1));
        assert_eq!(table.as_flattened().iter().sum::<u64>(), 4);
        let bars = histogram(&pairs);
        assert_eq!((bars[1], bars[2], bars[5], bars[7], bars[9]), ([1, 0], [0, 1], [2, 1], [1, 1], [0, 1]));
        let [up, down] = moved(&pairs);
        assert_eq!(up, Moved { leads: 2, expected: [0.625, 1.75], won: 1 });
        assert_eq!(down, Moved { leads: 1, expected: [0.75, 0.25], won: 0 });
        let row = GradeRow::of(Grade::A, &pairs);
        assert_eq!((row.leads, row.expected, row.won), ([1, 2], [0.75, 1.75], [0, 1]));
        let row = GradeRow::of(Grade::C, &pairs);
        assert_eq!((row.leads, row.expected, row.won), ([0, 0], [0.0, 0.0], [0, 0]));
    }

    #[test]
    fn the_highest_are_called_and_at_equal_scores_the_earlier() {
        let check = |capacity, expected: [[u64; 3]; 3], all: u64| {
            let Calls { capacity, both, dropped, gained } = Calls::of(&pairs(), capacity);
            let parts = [both, dropped, gained].map(|part| [part.leads, part.known, part.won]);
            assert_eq!((parts, capacity), (expected, all));
        };
        check(0, [[0; 3]; 3], 0);
        check(1, [[0; 3], [1, 1, 0], [1, 1, 1]], 1);
        // Of the two with a half the earlier stands behind.
        check(2, [[1, 0, 0], [1, 1, 0], [1, 1, 1]], 2);
        check(3, [[2, 1, 1], [1, 1, 0], [1, 1, 1]], 3);
        check(u64::MAX, [[4, 3, 2], [0; 3], [0; 3]], 4);
        assert_eq!(Calls::of(&[], 7), Calls::default());
    }
}
