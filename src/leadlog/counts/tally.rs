//! The tally of one version's day: its leads by bin of score and by grade, and what became of them.
//!
//! Sums are whole numbers, so a lead that is taken out again leaves no trace, and tallies that are merged are to the bit what
//! they would be had they been counted as one: scores and their squares in 2^-40, money in 1/10,000. In the lead log a tally
//! takes a byte or two for each bin that has leads.

use std::collections::BTreeMap;

use crate::{lead::Grade, stats::Sketch};

/// Bins of equal width from 0 to 1.
const BINS: u16 = 1024;

/// The first byte of what is stored.
const FORMAT: u8 = 1;

/// Parts of a score.
const SCORE: f64 = (1u64 << 40) as f64;

/// Parts of a unit of money.
const MONEY: f64 = 10_000.0;

/// One lead as it counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::leadlog) struct Place {
    /// When it was scored, in milliseconds since 1970.
    pub time_ms: i64,
    /// The score, 0..=1.
    pub score: f64,
    /// The grade.
    pub grade: Grade,
    /// What became of it; `None` while it is open.
    pub won: Option<bool>,
    /// What it brought.
    pub revenue: Option<f64>,
}

/// Leads of one kind.
#[derive(Clone, Debug, Default, PartialEq)]
struct Side {
    bins: BTreeMap<u16, i128>,
    grades: [i128; 4],
    sum: i128,
    squares: i128,
}

/// What conversions brought.
#[derive(Clone, Debug, Default, PartialEq)]
struct Money {
    bins: BTreeMap<u16, i128>,
    grades: [i128; 4],
}

/// Scored leads of one version, and what became of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    scored: Side,
    won: Side,
    lost: Side,
    revenue: Money,
}

/// Leads of neighbouring scores, or of one grade.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Group {
    /// All that were scored.
    pub scored: u64,
    /// Those that converted within the horizon.
    pub won: u64,
    /// Those that are known not to have.
    pub lost: u64,
    /// What the conversions brought, in the currency of the outcomes.
    pub revenue: f64,
}

impl Tally {
    /// Counts a lead.
    pub(in crate::leadlog) fn add(&mut self, place: &Place) {
        self.count(place, 1);
    }

    /// Takes a lead out that was counted.
    pub(in crate::leadlog) fn remove(&mut self, place: &Place) {
        self.count(place, -1);
    }

    fn count(&mut self, place: &Place, leads: i128) {
        self.scored.count(place, leads);
        match place.won {
            Some(true) => {
                self.won.count(place, leads);
                // The cast saturates.
                let money = place.revenue.map_or(0, |revenue| (revenue * MONEY).round() as i64);
                self.revenue.count(place, leads * i128::from(money));
            }
            Some(false) => self.lost.count(place, leads),
            None => {}
        }
    }

    /// Adds another day's or replica's.
    pub fn merge(&mut self, other: &Self) {
        self.scored.merge(&other.scored);
        self.won.merge(&other.won);
        self.lost.merge(&other.lost);
        self.revenue.merge(&other.revenue);
    }

    /// Whether it counts no lead.
    pub fn is_empty(&self) -> bool {
        self.scored.bins.is_empty()
    }

    /// All leads.
    pub fn total(&self) -> Group {
        let total = |bins: &BTreeMap<u16, i128>| bins.values().fold(0, |a: i128, b| a.saturating_add(*b));
        let [scored, won, lost] = [&self.scored, &self.won, &self.lost].map(|side| whole(total(&side.bins)));
        Group { scored, won, lost, revenue: money(total(&self.revenue.bins)) }
    }

    /// The leads of a grade.
    pub fn grade(&self, grade: Grade) -> Group {
        let at = |grades: &[i128; 4]| grades.get(grade as usize).copied().unwrap_or_default();
        let [scored, won, lost] = [&self.scored, &self.won, &self.lost].map(|side| whole(at(&side.grades)));
        Group { scored, won, lost, revenue: money(at(&self.revenue.grades)) }
    }

    /// The leads by bin, with the bin's least score, the highest first; empty bins are left out.
    pub fn bins(&self) -> impl Iterator<Item = (f64, Group)> {
        self.scored.bins.iter().rev().map(|(bin, scored)| {
            let at = |bins: &BTreeMap<u16, i128>| bins.get(bin).copied().unwrap_or_default();
            let [won, lost] = [&self.won, &self.lost].map(|side| whole(at(&side.bins)));
            let revenue = money(at(&self.revenue.bins));
            (f64::from(*bin) / f64::from(BINS), Group { scored: whole(*scored), won, lost, revenue })
        })
    }

    /// The sketch of leads that have had their time: who has not converted did not.
    pub fn settled(&self) -> Sketch {
        let mut rest = self.scored.clone();
        rest.add(&self.won, -1);
        self.sketch(&rest)
    }

    /// The sketch of the leads whose outcome is known.
    pub fn known(&self) -> Sketch {
        self.sketch(&self.lost)
    }

    fn sketch(&self, others: &Side) -> Sketch {
        let mut sketch = Sketch::with_bins(usize::from(BINS));
        for (counts, side) in [(&mut sketch.positives, &self.won), (&mut sketch.negatives, others)] {
            for (bin, leads) in &side.bins {
                if let Some(count) = counts.get_mut(usize::from(*bin)) {
                    *count = whole(*leads);
                }
            }
        }
        sketch.positive_sum = self.won.sum as f64 / SCORE;
        sketch.negative_sum = others.sum as f64 / SCORE;
        sketch.squares = self.won.squares.saturating_add(others.squares) as f64 / SCORE;
        sketch.revenue = self.total().revenue;
        sketch
    }

    /// What is stored of the scores.
    pub(in crate::leadlog) fn scored_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![FORMAT];
        self.scored.write(&mut bytes);
        bytes
    }

    /// What is stored of the outcomes.
    pub(in crate::leadlog) fn known_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![FORMAT];
        self.won.write(&mut bytes);
        self.lost.write(&mut bytes);
        self.revenue.write(&mut bytes);
        bytes
    }

    /// Reads both back. `None` where they are not what was written.
    pub(in crate::leadlog) fn read(scored: &[u8], known: &[u8]) -> Option<Self> {
        let (mut scored, mut known) = (strip(scored)?, strip(known)?);
        let tally = Self {
            scored: Side::read(&mut scored)?,
            won: Side::read(&mut known)?,
            lost: Side::read(&mut known)?,
            revenue: Money::read(&mut known)?,
        };
        (scored.is_empty() && known.is_empty()).then_some(tally)
    }
}

impl Side {
    fn count(&mut self, place: &Place, leads: i128) {
        add(&mut self.bins, bin(place.score), leads);
        add_at(&mut self.grades, place.grade as usize, leads);
        let parts = |value: f64| i128::from((value * SCORE).round() as i64);
        self.sum = self.sum.saturating_add(leads * parts(place.score));
        self.squares = self.squares.saturating_add(leads * parts(place.score * place.score));
    }

    fn merge(&mut self, other: &Self) {
        self.add(other, 1);
    }

    fn add(&mut self, other: &Self, times: i128) {
        other.bins.iter().for_each(|(bin, leads)| add(&mut self.bins, *bin, leads.saturating_mul(times)));
        let grades = other.grades.iter().enumerate();
        grades.for_each(|(grade, leads)| add_at(&mut self.grades, grade, leads.saturating_mul(times)));
        self.sum = self.sum.saturating_add(other.sum.saturating_mul(times));
        self.squares = self.squares.saturating_add(other.squares.saturating_mul(times));
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        write_bins(&self.bins, bytes);
        self.grades.iter().chain([&self.sum, &self.squares]).for_each(|number| write(*number, bytes));
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        let bins = read_bins(bytes)?;
        let grades = read_grades(bytes)?;
        let side = Self { bins, grades, sum: read(bytes)?, squares: read(bytes)? };
        let mut counts = side.bins.values().chain(&side.grades);
        // Nobody has so many leads; sums of what is below stay far from overflow.
        let are_counts = counts.all(|count| (0..1 << 50).contains(count));
        let are_sums = [side.sum, side.squares].iter().all(|sum| (0..1 << 100).contains(sum));
        (are_counts && are_sums).then_some(side)
    }
}

impl Money {
    fn count(&mut self, place: &Place, money: i128) {
        add(&mut self.bins, bin(place.score), money);
        add_at(&mut self.grades, place.grade as usize, money);
    }

    fn merge(&mut self, other: &Self) {
        other.bins.iter().for_each(|(bin, money)| add(&mut self.bins, *bin, *money));
        other.grades.iter().enumerate().for_each(|(grade, money)| add_at(&mut self.grades, grade, *money));
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        write_bins(&self.bins, bytes);
        self.grades.iter().for_each(|number| write(*number, bytes));
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        Some(Self { bins: read_bins(bytes)?, grades: read_grades(bytes)? })
    }
}

/// The same as [`Sketch::add`] finds.
fn bin(score: f64) -> u16 {
    ((score * f64::from(BINS)) as u16).min(BINS - 1)
}

/// A bin that adds up to nothing is none.
fn add(bins: &mut BTreeMap<u16, i128>, bin: u16, number: i128) {
    let sum = bins.get(&bin).copied().unwrap_or_default().saturating_add(number);
    if sum == 0 {
        bins.remove(&bin);
    } else {
        bins.insert(bin, sum);
    }
}

fn add_at(grades: &mut [i128; 4], grade: usize, number: i128) {
    if let Some(sum) = grades.get_mut(grade) {
        *sum = sum.saturating_add(number);
    }
}

fn whole(count: i128) -> u64 {
    u64::try_from(count.max(0)).unwrap_or(u64::MAX)
}

fn money(parts: i128) -> f64 {
    parts as f64 / MONEY
}

fn strip(bytes: &[u8]) -> Option<&[u8]> {
    let (format, rest) = bytes.split_first()?;
    (*format == FORMAT).then_some(rest)
}

/// How many bins, and of each how far it is from the one before and what it holds.
fn write_bins(bins: &BTreeMap<u16, i128>, bytes: &mut Vec<u8>) {
    write(bins.len() as i128, bytes);
    let mut next = 0;
    for (bin, number) in bins {
        write(i128::from(*bin) - next, bytes);
        write(*number, bytes);
        next = i128::from(*bin) + 1;
    }
}

fn read_bins(bytes: &mut &[u8]) -> Option<BTreeMap<u16, i128>> {
    let (mut bins, mut next) = (BTreeMap::new(), 0);
    for _ in 0..read(bytes)? {
        let gap = read(bytes).filter(|gap| *gap >= 0)?;
        let bin = i128::checked_add(next, gap).filter(|bin| *bin < i128::from(BINS))?;
        bins.insert(u16::try_from(bin).ok()?, read(bytes).filter(|number| *number != 0)?);
        next = bin + 1;
    }
    Some(bins)
}

fn read_grades(bytes: &mut &[u8]) -> Option<[i128; 4]> {
    Some([read(bytes)?, read(bytes)?, read(bytes)?, read(bytes)?])
}

/// LEB128 of the zigzag number, so that small ones of either sign are short.
fn write(number: i128, bytes: &mut Vec<u8>) {
    let mut rest = ((number << 1) ^ (number >> 127)) as u128;
    while rest >= 0x80 {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
}

fn read(bytes: &mut &[u8]) -> Option<i128> {
    let mut number = 0u128;
    for shift in (0..126).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u128::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((number >> 1) as i128 ^ -((number & 1) as i128));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place(score: f64, grade: Grade, won: Option<bool>, revenue: Option<f64>) -> Place {
        Place { time_ms: 0, score, grade, won, revenue }
    }

    fn any_place() -> impl Strategy<Value = Place> {
        let grade = prop::sample::select(vec![Grade::A, Grade::B, Grade::C, Grade::D]);
        let score = prop_oneof![0.0..=1.0f64, Just(0.0), Just(1.0)];
        (score, grade, any::<Option<bool>>(), prop::option::of(-1e6..1e12f64))
            .prop_map(|(score, grade, won, revenue)| place(score, grade, won, revenue))
    }

    fn tally(places: &[Place]) -> Tally {
        let mut tally = Tally::default();
        places.iter().for_each(|place| tally.add(place));
        tally
    }

    proptest! {
        #[test]
        fn merging_is_counting_together_and_what_is_taken_out_leaves_no_trace(
            a in prop::collection::vec(any_place(), 0..40), b in prop::collection::vec(any_place(), 0..40),
        ) {
            let both = tally(&[a.clone(), b.clone()].concat());
            let mut merged = tally(&b);
            merged.merge(&tally(&a));
            prop_assert_eq!(&merged, &both);
            b.iter().rev().for_each(|place| merged.remove(place));
            prop_assert_eq!(merged, tally(&a));
            let again = Tally::read(&both.scored_bytes(), &both.known_bytes());
            prop_assert_eq!(again, Some(both));
        }

        #[test]
        fn hostile_bytes_are_refused_or_are_a_tally(
            scored in prop::collection::vec(any::<u8>(), 0..80), known in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            let with = |bytes: &[u8]| [&[FORMAT], bytes].concat();
            if let Some(tally) = Tally::read(&with(&scored), &with(&known)) {
                let mut twice = tally.clone();
                twice.merge(&tally);
                prop_assert!(twice.settled().leads() >= twice.known().positives.iter().sum());
                _ = (twice.total(), twice.grade(Grade::A), twice.bins().count());
            }
        }
    }

    #[test]
    fn a_cut_or_lengthened_or_newer_tally_is_none() {
        let whole =
            tally(&[place(0.5, Grade::B, Some(true), Some(9.5)), place(0.1, Grade::D, Some(false), None)]);
        let (scored, known) = (whole.scored_bytes(), whole.known_bytes());
        assert_eq!(Tally::read(&scored, &known), Some(whole));
        assert!(scored.len() + known.len() < 120, "{} {}", scored.len(), known.len());
        (0..scored.len()).for_each(|end| assert_eq!(Tally::read(&scored[..end], &known), None));
        (0..known.len()).for_each(|end| assert_eq!(Tally::read(&scored, &known[..end]), None));
        assert_eq!(Tally::read(&[&scored[..], &[0]].concat(), &known), None);
        assert_eq!(Tally::read(&[&[2], &scored[1..]].concat(), &known), None);
        // A number without an end, more bins than there are, a bin beyond the last, and fewer than no leads.
        for bytes in [&[0xff; 40][..], &[0xfe, 0xff, 0x7f], &[2, 0x80, 0x10, 2], &[2, 0, 1, 0, 0, 0, 0, 0, 0]]
        {
            assert_eq!(Tally::read(&[&[FORMAT], bytes].concat(), &known), None, "{bytes:?}");
        }
    }

    #[test]
    fn a_tally_gives_the_sketch_of_its_leads() {
        let places = [
            place(0.25, Grade::C, Some(true), Some(100.0)),
            place(0.75, Grade::A, Some(true), Some(0.5)),
            place(0.5, Grade::B, Some(false), Some(7.0)),
            place(1.0, Grade::A, None, None),
        ];
        let (mut settled, mut known) = (Sketch::default(), Sketch::default());
        for Place { score, won, revenue, .. } in places {
            let revenue = revenue.filter(|_| won == Some(true)).unwrap_or_default();
            settled.add(score, won == Some(true), revenue);
            won.into_iter().for_each(|won| known.add(score, won, revenue));
        }
        let tally = tally(&places);
        assert_eq!((tally.settled(), tally.known()), (settled, known));
        assert_eq!(tally.total(), Group { scored: 4, won: 2, lost: 1, revenue: 100.5 });
        assert_eq!(tally.grade(Grade::A), Group { scored: 2, won: 1, lost: 0, revenue: 0.5 });
        let bins: Vec<_> = tally.bins().map(|(from, group)| (from, group.scored, group.won)).collect();
        assert_eq!(bins, [(1023.0 / 1024.0, 1, 0), (0.75, 1, 1), (0.5, 1, 0), (0.25, 1, 1)]);
        let odd = place(0.5, Grade::A, Some(true), Some(f64::INFINITY));
        let mut tally = Tally::default();
        (0..3).for_each(|_| tally.add(&odd));
        (0..3).for_each(|_| tally.remove(&odd));
        assert_eq!(tally, Tally::default());
    }
}
