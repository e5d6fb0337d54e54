//! What was found, in words for people and in numbers for the ledger.

use std::{collections::BTreeMap, time::Duration};

use super::orders::span;
use crate::ledger::Fields;

/// Numbers by name. The ledger knows integers only: a name that ends in `_e6` is a million times the value.
pub type Numbers = BTreeMap<&'static str, i64>;

/// One sentence, and what it rests on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    /// Plain English, without a full stop.
    pub said: String,
    /// The numbers it rests on.
    pub numbers: Numbers,
}

impl Told {
    /// A sentence with its numbers.
    pub fn new(said: impl Into<String>, numbers: impl IntoIterator<Item = (&'static str, i64)>) -> Self {
        Self { said: said.into(), numbers: numbers.into_iter().collect() }
    }

    /// The numbers as a record holds them.
    pub fn fields(&self) -> Fields {
        self.numbers.iter().map(|(name, number)| ((*name).to_owned(), (*number).into())).collect()
    }
}

/// The greatest number that the ledger takes: every reader of JSON has it exactly.
const MOST: i64 = (1 << 53) - 1;

/// A value times a million, as the ledger keeps it; what is not a number is 0, what does not fit the nearest that does.
pub(super) fn e6(value: f64) -> i64 {
    // The cast saturates and takes NaN to 0.
    ((value * 1e6).round() as i64).clamp(-MOST, MOST)
}

/// A count as the ledger keeps it.
pub(super) fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(MOST).min(MOST)
}

/// `10,984`
pub(super) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `7.42%`
pub(super) fn percent(share: f64) -> String {
    format!("{:.2}%", share * 100.0)
}

/// `0.0031`, or that it is less than what four places show.
pub(super) fn chance(p: f64) -> String {
    if p < 0.0001 { "below 0.0001".into() } else { format!("{p:.4}") }
}

/// `12 µs`
pub(super) fn micros(ns: u64) -> String {
    format!("{} µs", grouped(ns.div_ceil(1000)))
}

/// `3 days`
pub(super) fn long(time: Duration) -> String {
    span(i64::try_from(time.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        for (count, expected) in
            [(0, "0"), (412, "412"), (1000, "1,000"), (10_984, "10,984"), (1_234_567, "1,234,567")]
        {
            assert_eq!(grouped(count), expected);
        }
        assert_eq!(long(Duration::from_secs(604_800)), "7 days");
        assert_eq!(
            (percent(0.0742), chance(0.00001), chance(0.0312)),
            ("7.42%".into(), "below 0.0001".into(), "0.0312".into())
        );
        assert_eq!((e6(0.0812), e6(f64::NAN), e6(f64::INFINITY), e6(-1.0)), (81_200, 0, MOST, -1_000_000));
        assert_eq!(micros(12_400), "13 µs");
    }
}
