//! One lead's values become a compact row.
//!
//! The row holds the standardised numbers, the places of piecewise numbers, one is-missing flag for each of both, then one
//! code per category: the one-hot columns the network was trained on are never written out, because all but one of each
//! are 0, and neither are the ramps, because all but one of each are 0 or 1. A code is a whole number far below 2^24, so
//! an f32 holds it exactly and a row can be a row of a tensor.

use std::fmt::{self, Write};

use super::{Encoding, ModelError, Schema};
use crate::lead::Value;

/// A schema compiled for encoding.
#[derive(Clone, Debug)]
pub struct Encoder {
    features: Vec<Feature>,
    /// Places in the schema of what has a value and a flag, as they stand in a row, piecewise numbers last.
    values: Vec<usize>,
    /// Places in the schema of the categories.
    codes: Vec<usize>,
    /// Standardised numbers and booleans.
    plain: usize,
    /// Parts of every piecewise number.
    ramps: Vec<usize>,
    categories: Vec<usize>,
}

impl Encoder {
    /// Compiles a schema; refuses one that would give wrong or infinite columns.
    pub fn new(schema: &Schema) -> Result<Self, ModelError> {
        schema.check()?;
        let features: Vec<Feature> =
            schema.features.iter().map(|spec| Feature::new(&spec.encoding)).collect();
        let categories: Vec<usize> = features.iter().filter_map(Feature::codes).collect();
        let ramps: Vec<usize> = features.iter().filter_map(Feature::parts).collect();
        let places = |column| {
            let all = features.iter().enumerate().filter(move |(_, feature)| feature.column() == column);
            all.map(|(place, _)| place)
        };
        let values = places(Column::Plain).chain(places(Column::Ramps)).collect();
        let (plain, codes) = (places(Column::Plain).count(), places(Column::Codes).collect());
        Ok(Self { values, codes, plain, ramps, categories, features })
    }

    /// Numbers and booleans, each of which has a value and a flag.
    pub fn dense(&self) -> usize {
        (self.plain + self.ramps.len()) * 2
    }

    /// Ramps of each piecewise number. Their places stand last among the values.
    pub fn ramps(&self) -> &[usize] {
        &self.ramps
    }

    /// Columns each category would take as a one-hot: its vocabulary and one for missing or unseen.
    pub fn categories(&self) -> &[usize] {
        &self.categories
    }

    /// The same rows for a network that has one more column behind each category's.
    pub(super) fn with_average_words(&self) -> Self {
        let categories = self.categories.iter().map(|columns| columns + 1).collect();
        Self { categories, ..self.clone() }
    }

    /// The code of the `i`-th feature's value, if it is a category.
    pub(super) fn code(&self, i: usize, value: &Value<'_>) -> Option<usize> {
        match self.features.get(i) {
            Some(Feature::Category(vocabulary)) => usize::try_from(vocabulary.code(value)).ok(),
            _ => None,
        }
    }

    /// Length of a compact row.
    pub fn row_width(&self) -> usize {
        self.dense() + self.categories.len()
    }

    /// Writes the compact row of the lead whose `i`-th feature is `feature(i)`. `false` when a number is too large for
    /// the network; the row is of no use then.
    pub fn encode<'v, 'f: 'v>(&self, feature: impl Fn(usize) -> &'v Value<'f>, row: &mut Vec<f32>) -> bool {
        row.clear();
        row.resize(self.row_width(), 0.0);
        self.write(feature, row)
    }

    /// The same into a row of [`Encoder::row_width`].
    pub(super) fn write<'v, 'f: 'v>(
        &self,
        feature: impl Fn(usize) -> &'v Value<'f>,
        row: &mut [f32],
    ) -> bool {
        let (dense, codes) = row.split_at_mut(self.dense().min(row.len()));
        let (values, flags) = dense.split_at_mut(dense.len() / 2);
        let mut finite = true;
        for ((value, flag), place) in values.iter_mut().zip(flags).zip(&self.values) {
            let Some(encoding) = self.features.get(*place) else { continue };
            let (number, missing) = encoding.number(feature(*place));
            *value = number;
            *flag = if missing { 1.0 } else { 0.0 };
            finite &= number.is_finite();
        }
        for (code, place) in codes.iter_mut().zip(&self.codes) {
            if let Some(Feature::Category(vocabulary)) = self.features.get(*place) {
                *code = vocabulary.code(feature(*place)) as f32;
            }
        }
        finite
    }

    /// Writes the row trees take of the lead whose `i`-th feature is `feature(i)`: numbers as they are, booleans as 0 or 1,
    /// categories as the place of their word in the vocabulary; NaN for what is missing or unseen.
    pub fn encode_plain<'v, 'f: 'v>(&self, feature: impl Fn(usize) -> &'v Value<'f>, row: &mut Vec<f64>) {
        row.clear();
        self.append_plain(feature, row);
    }

    /// The same behind the rows that are there.
    pub(super) fn append_plain<'v, 'f: 'v>(
        &self,
        feature: impl Fn(usize) -> &'v Value<'f>,
        rows: &mut Vec<f64>,
    ) {
        rows.extend(self.features.iter().enumerate().map(|(i, encoding)| encoding.plain(feature(i))));
    }

    /// Appends the input columns a compact row stands for, ramps and one-hots written out, for graphs that know neither
    /// places nor codes.
    pub fn expand(&self, row: &[f32], columns: &mut Vec<f32>) {
        let (dense, codes) = row.split_at_checked(self.dense()).unwrap_or_default();
        let (values, flags) = dense.split_at(dense.len() / 2);
        let (values, places) = values.split_at_checked(self.plain).unwrap_or_default();
        columns.extend(values);
        for (place, parts) in places.iter().zip(&self.ramps) {
            columns.extend((0..*parts).map(|part| (place - part as f32).clamp(0.0, 1.0)));
        }
        columns.extend(flags);
        for (code, width) in codes.iter().zip(&self.categories) {
            columns.extend((0..*width).map(|column| f32::from(column == *code as usize)));
        }
    }

    /// Whether the `i`-th feature is a category and this is a word that its vocabulary does not hold.
    pub fn is_unseen(&self, i: usize, value: &Value<'_>) -> bool {
        match self.features.get(i) {
            Some(Feature::Category(vocabulary)) => {
                !value.is_missing() && vocabulary.code(value) == vocabulary.unseen()
            }
            _ => false,
        }
    }

    /// Whether the `i`-th feature would be read as missing: absent, or not of its type.
    pub fn is_missing(&self, i: usize, value: &Value<'_>) -> bool {
        match self.features.get(i) {
            Some(Feature::Category(_)) | None => value.is_missing(),
            Some(encoding) => encoding.number(value).1,
        }
    }
}

/// One feature's encoding, ready to apply.
#[derive(Clone, Debug)]
enum Feature {
    Number { median: f64, mean: f64, scale: f64 },
    Piecewise(Places),
    Boolean { imputation: bool },
    Category(Vocabulary),
}

/// What of a row a feature writes.
#[derive(Clone, Copy, PartialEq)]
enum Column {
    Plain,
    Ramps,
    Codes,
}

impl Feature {
    fn column(&self) -> Column {
        match self {
            Feature::Number { .. } | Feature::Boolean { .. } => Column::Plain,
            Feature::Piecewise(_) => Column::Ramps,
            Feature::Category(_) => Column::Codes,
        }
    }

    fn new(encoding: &Encoding) -> Self {
        match encoding {
            Encoding::Number { median, mean, sd } => Feature::Number {
                median: *median,
                mean: *mean,
                scale: if *sd == 0.0 { 1.0 } else { 1.0 / sd },
            },
            Encoding::Piecewise { median, edges, .. } => Feature::Piecewise(Places::new(*median, edges)),
            Encoding::Boolean { imputation } => Feature::Boolean { imputation: *imputation },
            Encoding::Category { vocabulary } => Feature::Category(Vocabulary::new(vocabulary)),
        }
    }

    fn parts(&self) -> Option<usize> {
        match self {
            Feature::Piecewise(places) => Some(places.parts.len()),
            _ => None,
        }
    }

    fn codes(&self) -> Option<usize> {
        match self {
            Feature::Category(vocabulary) => Some(vocabulary.words.len() + 1),
            _ => None,
        }
    }

    /// The column's value, and whether it was imputed. Most columns are plain numbers, and a call would cost as much as one.
    #[inline(always)]
    fn number(&self, value: &Value<'_>) -> (f32, bool) {
        match (self, value) {
            (Feature::Number { mean, scale, .. }, Value::Number(number)) => {
                (((number - mean) * scale) as f32, false)
            }
            (Feature::Number { median, mean, scale }, _) => (((median - mean) * scale) as f32, true),
            _ => self.other_number(value),
        }
    }

    fn other_number(&self, value: &Value<'_>) -> (f32, bool) {
        match self {
            Feature::Piecewise(places) => match value {
                Value::Number(number) => (places.of(*number), false),
                _ => (places.median, true),
            },
            Feature::Boolean { imputation } => {
                let known = boolean(value);
                (f32::from(known.unwrap_or(*imputation)), known.is_none())
            }
            Feature::Number { .. } | Feature::Category(_) => (0.0, true),
        }
    }

    /// The value as trees take it; NaN where it is missing.
    fn plain(&self, value: &Value<'_>) -> f64 {
        let known = match (self, value) {
            (Feature::Number { .. } | Feature::Piecewise(_), Value::Number(number)) => Some(*number),
            (Feature::Number { .. } | Feature::Piecewise(_), _) => None,
            (Feature::Boolean { .. }, value) => boolean(value).map(f64::from),
            (Feature::Category(vocabulary), value) => {
                let code = vocabulary.code(value);
                (code != vocabulary.unseen()).then(|| f64::from(code))
            }
        };
        known.unwrap_or(f64::NAN)
    }
}

fn boolean(value: &Value<'_>) -> Option<bool> {
    match value {
        Value::Boolean(yes) => Some(*yes),
        Value::Number(number) if *number == 0.0 || *number == 1.0 => Some(*number == 1.0),
        _ => None,
    }
}

/// Where numbers stand among edges: a place of 2.25 is a quarter into the third part.
#[derive(Clone, Debug)]
struct Places {
    /// First edge of each part, and the reciprocal of its width.
    parts: Vec<(f64, f64)>,
    /// The place of what stands in for a missing value.
    median: f32,
}

impl Places {
    fn new(median: f64, edges: &[f64]) -> Self {
        let parts = edges.array_windows().map(|[a, b]| (*a, 1.0 / (b - a))).collect();
        let mut this = Self { parts, median: 0.0 };
        this.median = this.of(median);
        this
    }

    /// From 0, at or below the first edge, to the number of parts. NaN for a NaN.
    fn of(&self, number: f64) -> f32 {
        let part = self.parts.partition_point(|(first, _)| *first <= number).saturating_sub(1);
        let (first, per_width) = self.parts.get(part).copied().unwrap_or_default();
        (part as f64 + ((number - first) * per_width).clamp(0.0, 1.0)) as f32
    }
}

/// A category's words and codes, found by hash: a slot, a whole number to compare, and one comparison of text to settle
/// it. Searching sorted hashes took a row of 20 numbers and 10 words 130 ns, sorted words 385; this takes two thirds of the
/// former.
#[derive(Clone, Debug)]
struct Vocabulary {
    words: Vec<Word>,
    /// For each of the highest bits a hash may have: the word that starts there, or behind one that was first, from 1;
    /// 0 ends the search. Less than half of them are taken.
    slots: Vec<u32>,
    shift: u32,
    /// Codes of a boolean: spreadsheets export check boxes as either pair of words.
    no: u32,
    yes: u32,
}

/// A word; its code is its place.
#[derive(Clone, Debug)]
struct Word {
    hash: u64,
    text: Box<str>,
}

impl Vocabulary {
    fn new(vocabulary: &[String]) -> Self {
        let bits = (vocabulary.len() * 2 + 1).next_power_of_two().ilog2().max(1);
        let words = vocabulary.iter().map(|word| Word { hash: hash(word), text: word.as_str().into() });
        let mut this = Self {
            words: words.collect(),
            slots: vec![0; 1 << bits],
            shift: u64::BITS - bits,
            no: 0,
            yes: 0,
        };
        for (word, number) in this.words.iter().zip(1..) {
            let mut at = (word.hash >> this.shift) as usize;
            while this.slots.get(at).is_some_and(|slot| *slot != 0) {
                at = (at + 1) & (this.slots.len() - 1);
            }
            this.slots.get_mut(at).into_iter().for_each(|slot| *slot = number);
        }
        let either = |a, b| this.find(a).or_else(|| this.find(b)).unwrap_or_else(|| this.unseen());
        (this.no, this.yes) = (either("false", "no"), either("true", "yes"));
        this
    }

    fn code(&self, value: &Value<'_>) -> u32 {
        match value {
            Value::Text(text) => {
                self.find(text).or_else(|| self.number(code(text)?)).unwrap_or_else(|| self.unseen())
            }
            // CRMs send the codes of option sets as numbers; training data holds them as text.
            Value::Number(number) => self.number(*number).unwrap_or_else(|| self.unseen()),
            Value::Boolean(true) => self.yes,
            Value::Boolean(false) => self.no,
            Value::Missing | Value::Cleared => self.unseen(),
        }
    }

    fn number(&self, number: f64) -> Option<u32> {
        let mut text = ShortText::default();
        write!(text, "{number}").ok()?;
        self.find(text.as_str())
    }

    #[inline(always)]
    fn find(&self, text: &str) -> Option<u32> {
        let hash = hash(text);
        let mut at = (hash >> self.shift) as usize;
        loop {
            let code = self.slots.get(at)?.checked_sub(1)?;
            let word = self.words.get(code as usize)?;
            // The hash of seven bytes or fewer is of no other text of their length, as each of its steps can be undone.
            let same = || text.len() < 8 || *word.text == *text;
            if word.hash == hash && word.text.len() == text.len() && same() {
                return Some(code);
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }

    fn unseen(&self) -> u32 {
        self.words.len() as u32
    }
}

/// The number a word stands for: some CRMs write the code 3 as `3.0`.
fn code(word: &str) -> Option<f64> {
    word.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.').then(|| word.parse().ok()).flatten()
}

/// Rotate, xor, multiply over eight bytes at a time, as rustc hashes its own names; the last eight may overlap those
/// before. The words in the table are the manifest's; a lead's word is only looked up, so nobody on the wire can make it
/// slow.
fn hash(word: &str) -> u64 {
    const FACTOR: u64 = 0x517c_c1b7_2722_0a95;
    let bytes = word.as_bytes();
    let mix = |hash: u64, part: u64| (hash.rotate_left(5) ^ part).wrapping_mul(FACTOR);
    let four = |four: &[u8; 4]| u64::from(u32::from_le_bytes(*four));
    let hash = match (bytes.last_chunk::<8>(), bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        (Some(last), ..) => {
            let eights = bytes.as_chunks::<8>().0;
            let hash = eights.iter().fold(0, |hash, eight| mix(hash, u64::from_le_bytes(*eight)));
            mix(hash, u64::from_le_bytes(*last))
        }
        (None, Some(first), Some(last)) => mix(0, four(first) | four(last) << 32),
        _ => mix(0, bytes.iter().fold(0, |rest, byte| rest << 8 | u64::from(*byte))),
    };
    // The highest bits, which the table goes by, have heard of all the others.
    mix(hash, bytes.len() as u64)
}

/// A number's text on the stack. One too long for it is no option code.
#[derive(Default)]
struct ShortText {
    bytes: [u8; 24],
    len: usize,
}

impl ShortText {
    fn as_str(&self) -> &str {
        self.bytes.get(..self.len).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    }
}

impl Write for ShortText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len + text.len();
        self.bytes.get_mut(self.len..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::FeatureSpec;

    fn encoder(encoding: Encoding) -> Encoder {
        let feature = FeatureSpec::new("f", true, encoding);
        Encoder::new(&Schema { features: vec![feature] }).unwrap()
    }

    fn check(encoding: &Encoding, value: &Value<'_>, expected: &[f32]) {
        let encoder = encoder(encoding.clone());
        let mut row = Vec::new();
        assert!(encoder.encode(|_| value, &mut row));
        assert_eq!(row, expected, "{value:?}");
    }

    fn text(word: &str) -> Value<'_> {
        Value::Text(word.into())
    }

    #[test]
    fn numbers_are_standardised_and_imputed() {
        let number = || Encoding::Number { median: 38.0, mean: 40.0, sd: 10.0 };
        check(&number(), &Value::Number(55.0), &[1.5, 0.0]);
        check(&number(), &Value::Missing, &[-0.2, 1.0]);
        check(&number(), &text("55"), &[-0.2, 1.0]);
        check(&number(), &Value::Boolean(true), &[-0.2, 1.0]);
        check(&Encoding::Number { median: 3.0, mean: 3.0, sd: 0.0 }, &Value::Number(5.0), &[2.0, 0.0]);
    }

    #[test]
    fn piecewise_numbers_are_places() {
        let piecewise = || Encoding::Piecewise { median: 2.0, mean: 2.0, edges: vec![0.0, 1.0, 3.0, 3.5] };
        for (number, place) in
            [(0.25, 0.25), (1.0, 1.0), (2.0, 1.5), (3.5, 3.0), (-9.0, 0.0), (1e300, 3.0), (-1e300, 0.0)]
        {
            check(&piecewise(), &Value::Number(number), &[place, 0.0]);
        }
        check(&piecewise(), &Value::Missing, &[1.5, 1.0]);
        check(&piecewise(), &text("2"), &[1.5, 1.0]);
        let (encoder, mut columns) = (encoder(piecewise()), Vec::new());
        encoder.expand(&[1.5, 1.0], &mut columns);
        assert_eq!(columns, [1.0, 0.5, 0.0, 1.0]);
        assert!(!encoder.encode(|_| &Value::Number(f64::NAN), &mut Vec::new()));
    }

    #[test]
    fn booleans_are_zero_or_one() {
        let boolean = || Encoding::Boolean { imputation: true };
        check(&boolean(), &Value::Boolean(false), &[0.0, 0.0]);
        check(&boolean(), &Value::Boolean(true), &[1.0, 0.0]);
        check(&boolean(), &Value::Number(0.0), &[0.0, 0.0]);
        check(&boolean(), &Value::Number(2.0), &[1.0, 1.0]);
        check(&boolean(), &Value::Missing, &[1.0, 1.0]);
        check(&boolean(), &text("no"), &[1.0, 1.0]);
    }

    #[test]
    fn categories_are_codes_and_the_last_is_unseen() {
        let words =
            |words: &[&str]| Encoding::Category { vocabulary: words.iter().map(|w| (*w).into()).collect() };
        let status = || words(&["web", "advert", "3", "0.5"]);
        check(&status(), &text("web"), &[0.0]);
        check(&status(), &text("advert"), &[1.0]);
        check(&status(), &Value::Number(3.0), &[2.0]);
        check(&status(), &Value::Number(0.5), &[3.0]);
        for (number, code) in [("3.0", 2.0), ("3", 2.0), ("0.50", 3.0), ("3.0.0", 4.0), ("", 4.0)] {
            check(&status(), &text(number), &[code]);
        }
        check(&status(), &text("phone"), &[4.0]);
        check(&status(), &Value::Missing, &[4.0]);
        check(&status(), &Value::Number(1e300), &[4.0]);
        check(&status(), &Value::Boolean(true), &[4.0]);
        check(&words(&["no", "yes"]), &Value::Boolean(true), &[1.0]);
        check(&words(&["false", "true"]), &Value::Boolean(false), &[0.0]);
        check(&words(&[]), &text("x"), &[0.0]);
    }

    #[test]
    fn trees_take_values_as_they_are() {
        let check = |encoding: Encoding, value: Value<'_>, expected: Option<f64>| {
            let mut row = vec![7.0];
            encoder(encoding).encode_plain(|_| &value, &mut row);
            assert_eq!(row.iter().map(|x| (!x.is_nan()).then_some(*x)).collect::<Vec<_>>(), [expected]);
        };
        let number = || Encoding::Number { median: 38.0, mean: 40.0, sd: 10.0 };
        check(number(), Value::Number(1e300), Some(1e300));
        check(number(), Value::Missing, None);
        check(number(), text("55"), None);
        let boolean = || Encoding::Boolean { imputation: true };
        check(boolean(), Value::Boolean(false), Some(0.0));
        check(boolean(), Value::Number(1.0), Some(1.0));
        check(boolean(), Value::Missing, None);
        let words = || Encoding::Category { vocabulary: vec!["web".into(), "advert".into()] };
        check(words(), text("advert"), Some(1.0));
        check(words(), text("phone"), None);
        check(words(), Value::Missing, None);
    }

    #[test]
    fn a_number_beyond_f32_is_refused() {
        let encoder = encoder(Encoding::Number { median: 0.0, mean: 0.0, sd: 1e-3 });
        assert!(!encoder.encode(|_| &Value::Number(1e300), &mut Vec::new()));
    }

    #[test]
    fn words_of_any_length_are_found_and_no_others() {
        let words: Vec<String> = (0..400).map(|i| format!("{}{}", "ab ".repeat(i % 7), i * i)).collect();
        for count in [0, 1, 2, 3, words.len()] {
            let vocabulary = Vocabulary::new(&words[..count]);
            for (i, word) in words.iter().enumerate() {
                let expected = if i < count { i as u32 } else { count as u32 };
                assert_eq!(vocabulary.code(&text(word)), expected, "{word} of {count}");
            }
            for other in ["", "x", "ab 2", "ab ab ab", "2b 1", "ab ab ab ab 159202", "é"] {
                assert_eq!(vocabulary.code(&text(other)), count as u32, "{other}");
            }
        }
    }

    #[test]
    fn missing_means_absent_or_of_another_type() {
        let number = encoder(Encoding::Number { median: 0.0, mean: 0.0, sd: 1.0 });
        assert!(number.is_missing(0, &text("x")) && number.is_missing(0, &Value::Missing));
        assert!(!number.is_missing(0, &Value::Number(1.0)));
        let category = encoder(Encoding::Category { vocabulary: vec!["a".into()] });
        assert!(category.is_missing(0, &Value::Missing) && !category.is_missing(0, &text("unseen")));
    }
}
