//! Whether a version was still being asked about leads like those it was trained on, on the day it scored this one.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::{super::rescore::Rescorer, shown, versions::Guard};
use crate::{
    lead::Value,
    leadlog::{Scan, Store, StoreError, StoredScore},
    registry::Histogram,
    score::{Encoder, FeatureSpec},
    stats::{Psi, counts_with_outside},
};

/// How far back the window goes.
const WINDOW_MS: i64 = 7 * 86_400_000;

/// Rows that are read, the newest first.
const MOST_ROWS: u64 = 5_000;

/// Fewer rows say nothing.
const LEAST_ROWS: u64 = 200;

/// Fewer rows are shown, and raise nothing.
const ALARM_ROWS: u64 = 500;

/// Where drift begins to matter, and where it is critical.
const LEVELS: [f64; 2] = [0.25, 0.5];

/// Words of a feature that are told apart; more count together.
const MOST_WORDS: usize = 1_000;

/// How far the features of a version had moved since training.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Drift {
    /// The window's first moment, in milliseconds since 1970.
    pub from_ms: i64,
    /// The score's time, its last.
    pub to_ms: i64,
    /// Scores of the model in it that were read, at most 5,000.
    pub rows: u64,
    /// Whether those are enough to say anything.
    pub is_enough: bool,
    /// By feature, the furthest first.
    pub features: Vec<Moved>,
    /// Why nothing is told.
    pub note: Option<String>,
}

/// One feature.
#[derive(Clone, Debug, Serialize)]
pub struct Moved {
    /// Its name.
    pub feature: String,
    /// How people call it.
    pub label: String,
    /// Population stability index less what chance alone gives; above 1 the values have been replaced.
    pub psi: f64,
    /// With it.
    pub raw: f64,
    /// What chance alone stays below in 95 of 100 windows.
    pub null_p95: f64,
    /// `steady`, `warning`, `critical`, or `unclear` where there are too many words for so few rows.
    pub level: &'static str,
}

/// What a window holds of one feature.
#[derive(Default)]
struct Counted {
    numbers: Vec<f64>,
    words: BTreeMap<String, u64>,
    missing: u64,
}

/// The week before a score, as the version that gave it sees it.
pub(super) fn drift(
    store: &Store,
    version: &Rescorer,
    guard: &Guard,
    score: &StoredScore,
) -> Result<Drift, StoreError> {
    let from_ms = score.time_ms.saturating_sub(WINDOW_MS);
    let span = Scan { model: &score.model, from_ms, to_ms: score.time_ms.saturating_add(1) };
    let features = version.version().model.features();
    let (mut rows, mut counted) = (0, HashMap::new());
    let mut reading = store.reading(span)?;
    let each = |given: &crate::leadlog::GivenScore<'_>| {
        if rows < MOST_ROWS
            && let Ok(row) = version.row(given.features)
        {
            rows += 1;
            for (place, value) in row.values.iter().enumerate().filter(|(i, _)| !row.withheld.contains(i)) {
                counted.entry(place).or_insert_with(Counted::default).count(value);
            }
        }
        Ok::<_, StoreError>(())
    };
    let mut each = each;
    while reading.slice(&mut each)? && reading.rows() - reading.left() < MOST_ROWS {}
    let is_enough = rows >= LEAST_ROWS;
    let moved = features.iter().enumerate().filter(|(_, spec)| is_enough && !guard.hides(&spec.name));
    let moved = moved.filter_map(|(place, spec)| {
        let histogram = version.version().manifest.baseline.features.get(&spec.name)?;
        Some(Moved::of(spec, counted.get(&place)?.psi(histogram)?, rows))
    });
    let mut features: Vec<Moved> = moved.collect();
    features.sort_by(|a, b| b.psi.total_cmp(&a.psi));
    Ok(Drift { from_ms, to_ms: score.time_ms, rows, is_enough, features, note: None })
}

impl Drift {
    /// What moved, as far as so many leads tell.
    pub(super) fn moved(&self) -> impl Iterator<Item = &Moved> {
        self.features.iter().filter(|moved| moved.is_alarm())
    }

    /// What raises an alarm, the furthest first.
    pub(super) fn alarms(&self) -> impl Iterator<Item = &Moved> {
        self.moved().filter(|_| self.rows >= ALARM_ROWS)
    }
}

impl Moved {
    fn of(spec: &FeatureSpec, psi: Psi, rows: u64) -> Self {
        let [warning, critical] = LEVELS;
        let level = match psi.value {
            _ if psi.null_p95 >= warning / 2.0 => "unclear",
            value if value >= critical && rows >= ALARM_ROWS => "critical",
            value if value >= warning => "warning",
            _ => "steady",
        };
        let Psi { value: psi, raw, null_p95, .. } = psi;
        Self { feature: spec.name.clone(), label: shown::line(&spec.label()), psi, raw, null_p95, level }
    }

    fn is_alarm(&self) -> bool {
        matches!(self.level, "warning" | "critical")
    }

    /// `0.31`, and what is too far for a number.
    pub(super) fn words(&self) -> String {
        if self.psi > 1.0 { "replaced (above 1)".into() } else { format!("{:.2}", self.psi) }
    }
}

impl Counted {
    fn count(&mut self, value: &Value<'_>) {
        match value {
            Value::Missing | Value::Cleared => self.missing += 1,
            Value::Number(number) => self.numbers.push(*number),
            Value::Text(text) => self.word(text),
            Value::Boolean(yes) => self.word(if *yes { "true" } else { "false" }),
        }
    }

    fn word(&mut self, word: &str) {
        let known = self.words.len();
        match self.words.get_mut(word) {
            Some(count) => *count += 1,
            None if known < MOST_WORDS => _ = self.words.insert(word.to_owned(), 1),
            None => *self.words.entry(String::new()).or_default() += 1,
        }
    }

    /// Against the training data: numbers with bins outside of what was seen, words each with its own, and missing.
    fn psi(&self, histogram: &Histogram) -> Option<Psi> {
        match histogram {
            Histogram::Number { edges, counts, missing } => {
                // What is no number was read as missing.
                let absent = self.missing + self.words.values().sum::<u64>();
                let (mut reference, mut current) = (vec![0], counts_with_outside(&self.numbers, edges));
                reference.extend_from_slice(counts);
                reference.extend_from_slice(&[0, *missing]);
                current.push(absent);
                Psi::new(&reference, &current)
            }
            Histogram::Category { counts, missing, unseen } => {
                // Which words training had too rarely to know is not told, so a word is new only where it had no such.
                let bin = |word: &str| {
                    let word = word_of(word, counts);
                    (counts.contains_key(word) || *unseen == 0).then(|| word.to_owned())
                };
                let mut bins: BTreeMap<Option<String>, [u64; 2]> = [(None, [*unseen, 0])].into();
                counts.iter().for_each(|(word, count)| bins.entry(bin(word)).or_default()[0] += count);
                self.words.iter().for_each(|(word, count)| bins.entry(bin(word)).or_default()[1] += count);
                let codes = self.numbers.iter().map(ToString::to_string);
                codes.for_each(|code| bins.entry(bin(&code)).or_default()[1] += 1);
                let mut sides: [Vec<u64>; 2] = [Vec::new(), Vec::new()];
                for [reference, current] in bins.values().chain([&[*missing, self.missing]]) {
                    sides[0].push(*reference);
                    sides[1].push(*current);
                }
                Psi::new(&sides[0], &sides[1])
            }
        }
    }
}

/// The training data's word for a value: codes come as numbers, and yes and no under other names.
fn word_of<'w>(word: &'w str, known: &'w BTreeMap<String, u64>) -> &'w str {
    let same = [("true", "yes"), ("false", "no"), ("true", "1"), ("false", "0")];
    let other = || {
        let others = same.iter().flat_map(|(a, b)| [(*a, *b), (*b, *a)]);
        others.filter(|(from, _)| *from == word).map(|(_, to)| to).find(|to| known.contains_key(*to))
    };
    if known.contains_key(word) { word } else { other().unwrap_or(word) }
}

/// Of a word that cannot have been among those too rare to know.
const NEVER: &str = "training never had this word";

/// How a value stands to what a version was trained on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Seen {
    /// `usual`, `missing`, `mistyped`, `below`, `above` or `unseen`.
    pub state: &'static str,
    /// In words; empty for what is usual.
    pub text: String,
    /// Share of the training rows that lacked a value.
    pub missing_in_training: f64,
}

impl Seen {
    /// Nothing can be said of it.
    pub(super) fn unknown(state: &'static str, why: &str) -> Self {
        Self { state, text: why.into(), missing_in_training: 0.0 }
    }

    /// Whether training never had such a value.
    pub(super) fn is_new(&self) -> bool {
        matches!(self.state, "mistyped" | "below" | "above" | "unseen")
    }

    /// Whether a value is missing that at least four of five leads in training had.
    pub(super) fn is_gap(&self) -> bool {
        self.state == "missing" && self.missing_in_training <= 0.2
    }
}

/// How the value of the `place`-th feature stands to the training data.
pub(super) fn seen(
    encoder: &Encoder,
    place: usize,
    value: &Value<'_>,
    histogram: Option<&Histogram>,
) -> Seen {
    let (rows, missing) = match histogram {
        Some(Histogram::Number { counts, missing, .. }) => (counts.iter().sum::<u64>() + missing, *missing),
        Some(Histogram::Category { counts, missing, unseen }) => {
            (counts.values().sum::<u64>() + missing + unseen, *missing)
        }
        None => (0, 0),
    };
    let missing_in_training = if rows == 0 { 0.0 } else { missing as f64 / rows as f64 };
    let (state, text) = match (value, histogram) {
        (value, _) if value.is_missing() => {
            ("missing", format!("missing; so were {} in training", shown::percent(missing_in_training)))
        }
        (value, _) if encoder.is_missing(place, value) => ("mistyped", "not of the feature's type".into()),
        (value, histogram) if encoder.is_unseen(place, value) => {
            let is_rare = matches!(histogram, Some(Histogram::Category { unseen: 1.., .. }));
            let text = if is_rare { "training had this word too rarely, or never" } else { NEVER };
            ("unseen", text.into())
        }
        (Value::Number(number), Some(Histogram::Number { edges, .. })) => beyond(*number, edges),
        _ => ("usual", String::new()),
    };
    Seen { state, text, missing_in_training }
}

fn beyond(number: f64, edges: &[f64]) -> (&'static str, String) {
    match (edges.first(), edges.last()) {
        (Some(least), _) if number < *least => ("below", format!("below the least in training, {least}")),
        (_, Some(most)) if number > *most => ("above", format!("above the most in training, {most}")),
        _ => ("usual", String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::fixture;

    fn numbers(values: &[f64], missing: u64) -> Counted {
        Counted { numbers: values.to_vec(), missing, ..Counted::default() }
    }

    #[test]
    fn bins_are_those_of_training_and_what_lies_outside() {
        let histogram = |edges: &[f64], counts: &[u64]| Histogram::Number {
            edges: edges.to_vec(),
            counts: counts.to_vec(),
            missing: 0,
        };
        let same: Vec<f64> = (0..100).map(|i| if i < 50 { 5.0 } else { 15.0 }).collect();
        let check = |counted: Counted, histogram: Histogram, expected: Option<f64>| {
            let psi = counted.psi(&histogram).map(|psi| (psi.value * 100.0).round() / 100.0);
            assert_eq!(psi, expected);
        };
        check(numbers(&same, 0), histogram(&[0.0, 10.0, 20.0], &[50, 50]), Some(0.0));
        // All above what was seen: two bins emptied, one filled.
        check(numbers(&[25.0; 100], 0), histogram(&[0.0, 10.0, 20.0], &[50, 50]), Some(17.68));
        check(numbers(&[], 100), histogram(&[0.0, 10.0, 20.0], &[50, 50]), Some(17.68));
        // A constant has three bins.
        check(numbers(&[7.0; 100], 0), histogram(&[7.0], &[100]), Some(0.0));
        check(numbers(&[8.0; 100], 0), histogram(&[7.0], &[100]), Some(18.4));
        check(numbers(&[], 0), histogram(&[7.0], &[100]), None);
    }

    #[test]
    fn words_are_told_apart_as_training_wrote_them() {
        let known = |words: &[&str]| words.iter().map(|word| ((*word).to_owned(), 50)).collect();
        let check = |values: &[Value<'_>], words: &[&str], expected: bool| {
            let mut counted = Counted::default();
            (0..50).for_each(|_| values.iter().for_each(|value| counted.count(value)));
            let psi =
                counted.psi(&Histogram::Category { counts: known(words), missing: 0, unseen: 0 }).unwrap();
            assert_eq!(psi.value == 0.0, expected, "{values:?} {words:?} {psi:?}");
        };
        let text = |text: &'static str| Value::Text(text.into());
        check(&[text("web"), text("phone")], &["phone", "web"], true);
        check(&[text("web"), text("mail")], &["phone", "web"], false);
        check(&[Value::Number(3.0), text("4")], &["3", "4"], true);
        check(&[Value::Boolean(true), Value::Boolean(false)], &["no", "yes"], true);
        check(&[Value::Number(1.0), Value::Number(0.0)], &["false", "true"], true);
        check(&[Value::Boolean(true), Value::Missing], &["true", "false"], false);
    }

    #[test]
    fn words_that_training_had_too_rarely_are_one_bin() {
        let check = |unseen: u64, missing: u64, live: &[(&str, u64)], expected: f64| {
            let histogram = Histogram::Category { counts: [("web".to_owned(), 900)].into(), missing, unseen };
            let words = live.iter().filter(|(word, _)| !word.is_empty());
            let words = words.map(|(word, count)| ((*word).to_owned(), *count)).collect();
            let missing = live.iter().find(|(word, _)| word.is_empty()).map_or(0, |(_, count)| *count);
            let psi = Counted { words, missing, ..Counted::default() }.psi(&histogram).unwrap();
            assert_eq!((psi.raw * 100.0).round() / 100.0, expected, "{live:?} {psi:?}");
        };
        check(100, 0, &[("web", 90), ("rare", 6), ("rarer", 4)], 0.0);
        check(60, 40, &[("web", 90), ("rare", 3), ("rarer", 3), ("", 4)], 0.0);
        // The same as missing, which it was not.
        check(100, 0, &[("web", 90), ("", 10)], 1.38);
        // Where training knew all its words, each that is new has a bin of its own.
        check(0, 100, &[("web", 90), ("", 10)], 0.0);
        check(0, 0, &[("web", 90), ("new", 5), ("newer", 5)], 0.63);
    }

    #[test]
    fn more_words_than_are_told_apart_count_together() {
        let mut counted = Counted::default();
        (0..5_000).for_each(|n| counted.count(&Value::Text(n.to_string().into())));
        assert_eq!((counted.words.len(), counted.words[""]), (MOST_WORDS + 1, 4_000));
    }

    #[test]
    fn a_value_is_held_against_training() {
        let manifest = fixture::manifest("lead", "1", 0.5);
        let encoder = Encoder::new(&manifest.schema).unwrap();
        let check = |place: usize, value: Value<'_>, expected: (&str, &str)| {
            let name = &manifest.schema.features[place].name;
            let seen = seen(&encoder, place, &value, manifest.baseline.features.get(name));
            assert_eq!((seen.state, &*seen.text), expected);
        };
        check(0, Value::Number(20.0), ("usual", ""));
        check(0, Value::Number(-1.0), ("below", "below the least in training, 0"));
        check(0, Value::Number(20.5), ("above", "above the most in training, 20"));
        check(0, Value::Text("x".into()), ("mistyped", "not of the feature's type"));
        check(0, Value::Missing, ("missing", "missing; so were 0.0% in training"));
        check(1, Value::Text("web".into()), ("usual", ""));
        check(1, Value::Text("mail".into()), ("unseen", "training never had this word"));
    }
}
