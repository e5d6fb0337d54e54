//! Trees without a walk.
//!
//! A tree's leaves, from left to right, are the bits of a word. A split that a lead passes on the second side rules out the
//! leaves under its first child; when all splits have had their say, the lowest bit left is the lead's leaf (Lucchese
//! et al. 2015, QuickScorer). Which splits of one feature rule out what depends only on where its value stands between
//! their thresholds, or on its category. So for every such place the words of all trees are kept ready, one row of a
//! table, and a lead takes one search and one row per feature: no walk, no branch that could be guessed wrong. 100 trees
//! of 31 leaves over 19 features take a quarter of the walk's time.

use std::collections::BTreeMap;

use super::{
    draft::{Split, Test},
    forest::{ReadCategory, Sapling, ZERO},
};

/// Words that are combined together.
const LANES: usize = 8;
/// The table's words at most, 8 MiB: beyond, it would not stay in a cache.
const MAX_WORDS: usize = 1 << 20;
/// Pairs of a split and a category at most: bounds the time a hostile file takes to load.
const MAX_PAIRS: usize = 1 << 24;

/// The table.
#[derive(Clone, Debug)]
pub(super) struct Masks {
    columns: Vec<Column>,
    category: ReadCategory,
    /// Thresholds and categories, column by column.
    cuts: Vec<f64>,
    /// Row by row, a word per tree, padded to whole lanes.
    words: Vec<u64>,
    width: usize,
    /// By tree.
    first_leaf: Vec<u32>,
}

/// One feature's rows: one for each part between its cuts, or one for each category and one for the others; and the last
/// for missing.
#[derive(Clone, Debug)]
struct Column {
    feature: usize,
    kind: Kind,
    from: usize,
    to: usize,
    first_word: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Number,
    /// Zero is missing.
    NoZero,
    Category,
}

/// A split, and the leaves that are left when it sends a lead to the second child.
struct Rule<'a> {
    tree: usize,
    left: u64,
    test: &'a Test,
}

impl Masks {
    /// `None` for trees that do not fit.
    pub(super) fn new(saplings: &[Sapling], category: ReadCategory) -> Option<Self> {
        if saplings.is_empty() || saplings.iter().any(|sapling| sapling.drawing.leaves.len() > 64) {
            return None;
        }
        let width = saplings.len().next_multiple_of(LANES);
        let first_leaf = saplings.iter().map(|sapling| sapling.first_leaf).collect();
        let mut masks =
            Self { columns: Vec::new(), category, cuts: Vec::new(), words: Vec::new(), width, first_leaf };
        let mut rules: BTreeMap<(u32, Kind), Vec<Rule<'_>>> = BTreeMap::new();
        for (tree, sapling) in saplings.iter().enumerate() {
            for (split, span) in sapling.draft.splits.iter().zip(&sapling.drawing.spans) {
                let Some(span) = span else { continue };
                let ruled_out = below(span.middle) & !below(span.start);
                let rule = Rule { tree, left: !ruled_out, test: &split.test };
                rules.entry((split.feature, kind(split))).or_default().push(rule);
            }
        }
        for ((feature, kind), rules) in rules {
            masks.add(feature as usize, kind, rules)?;
        }
        Some(masks)
    }

    fn add(&mut self, feature: usize, kind: Kind, mut rules: Vec<Rule<'_>>) -> Option<()> {
        rules.sort_by(|a, b| threshold(a).total_cmp(&threshold(b)));
        let mut cuts: Vec<f64> = rules.iter().flat_map(|rule| cuts(rule.test)).collect();
        cuts.sort_by(f64::total_cmp);
        cuts.dedup();
        let rows = cuts.len() + 2;
        let pairs = if kind == Kind::Category { rows * rules.len() } else { 0 };
        let first_word = self.words.len();
        if rows.checked_mul(self.width)? > MAX_WORDS - first_word || pairs > MAX_PAIRS {
            return None;
        }
        if kind == Kind::Category {
            for cut in cuts.iter().map(Some).chain([None]) {
                let outside = |rule: &&Rule<'_>| !cut.is_some_and(|code| is_in(rule.test, *code as u32));
                self.push_row(None, rules.iter().filter(outside));
            }
        } else {
            let mut rising = rules.iter().peekable();
            self.push_row(None, [].into_iter());
            for cut in &cuts {
                let before = self.words.len() - self.width;
                let passed = std::iter::from_fn(|| rising.next_if(|rule| threshold(rule) <= *cut));
                self.push_row(Some(before), passed);
            }
        }
        self.push_row(None, rules.iter().filter(|rule| !missing_first(rule.test)));
        let from = self.cuts.len();
        self.cuts.append(&mut cuts);
        self.columns.push(Column { feature, kind, from, to: self.cuts.len(), first_word });
        Some(())
    }

    /// Adds a row: what an earlier one leaves, less what the rules rule out.
    fn push_row<'a, 'b: 'a>(&mut self, earlier: Option<usize>, rules: impl Iterator<Item = &'a Rule<'b>>) {
        let start = self.words.len();
        match earlier {
            Some(earlier) => self.words.extend_from_within(earlier..earlier + self.width),
            None => self.words.resize(start + self.width, u64::MAX),
        }
        for rule in rules {
            if let Some(word) = self.words.get_mut(start + rule.tree) {
                *word &= rule.left;
            }
        }
    }

    /// Where in the table the rows of a lead start.
    pub(super) fn rows(&self, row: &[f64], rows: &mut Vec<usize>) {
        rows.clear();
        rows.extend(self.columns.iter().map(|column| {
            let x = row.get(column.feature).copied().unwrap_or(f64::NAN);
            let cuts = self.cuts.get(column.from..column.to).unwrap_or_default();
            column.first_word + self.width * column.row(x, cuts, self.category)
        }));
    }

    /// The leaves that are left, for the trees `from..to`.
    pub(super) fn ends(&self, rows: &[usize], (from, to): (usize, usize), ends: &mut Vec<u32>) {
        let first = from / LANES * LANES;
        let trees = self.first_leaf.get(first..to).unwrap_or_default();
        for (trees, start) in trees.chunks(LANES).zip((first..).step_by(LANES)) {
            let mut left = [u64::MAX; LANES];
            for row in rows {
                let words = self.words.get(row + start..).and_then(<[u64]>::first_chunk::<LANES>);
                for (left, word) in left.iter_mut().zip(words.unwrap_or(&[u64::MAX; LANES])) {
                    *left &= word;
                }
            }
            let lanes = trees.iter().zip(&left).skip(from.saturating_sub(start));
            ends.extend(lanes.map(|(first, left)| first + left.trailing_zeros()));
        }
    }
}

impl Column {
    #[inline]
    fn row(&self, x: f64, cuts: &[f64], category: ReadCategory) -> usize {
        let missing = cuts.len() + 1;
        let part = |x: f64| if x.is_nan() { missing } else { cuts.partition_point(|cut| *cut < x) };
        match self.kind {
            Kind::Number => part(x),
            Kind::NoZero if x.abs() <= ZERO => missing,
            Kind::NoZero => part(x),
            Kind::Category => {
                let code = category(x);
                let place = part(code);
                if code.is_nan() || cuts.get(place) == Some(&code) { place } else { cuts.len() }
            }
        }
    }
}

/// The lowest bits.
fn below(count: u32) -> u64 {
    1u64.checked_shl(count).map_or(u64::MAX, |bit| bit - 1)
}

fn kind(split: &Split) -> Kind {
    match split.test {
        Test::AtMost { zero_missing: false, .. } => Kind::Number,
        Test::AtMost { zero_missing: true, .. } => Kind::NoZero,
        Test::In { .. } => Kind::Category,
    }
}

fn threshold(rule: &Rule<'_>) -> f64 {
    match rule.test {
        Test::AtMost { threshold, .. } => *threshold,
        Test::In { .. } => 0.0,
    }
}

fn cuts(test: &Test) -> Vec<f64> {
    match test {
        Test::AtMost { threshold, .. } => vec![*threshold],
        Test::In { codes, .. } => codes.iter().map(|code| f64::from(*code)).collect(),
    }
}

fn is_in(test: &Test, code: u32) -> bool {
    matches!(test, Test::In { codes, .. } if codes.binary_search(&code).is_ok())
}

fn missing_first(test: &Test) -> bool {
    match test {
        Test::AtMost { missing_first, .. } => *missing_first,
        Test::In { missing_in, .. } => *missing_in,
    }
}
