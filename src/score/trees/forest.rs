//! All trees as one flat array of nodes, and the walk down.
//!
//! - A node is 16 bytes and its children stand side by side, so a step is a load, a comparison and an addition.
//! - What a missing value does is decided before the walk: every feature is written into *slots*, once as a value that is
//!   above any threshold where missing, once as one below, and so on; a node names the slot that does as it wants. No
//!   step asks whether anything is missing.
//! - A leaf is a node that leads to itself: its slot holds NaN, which is not above anything, and its threshold is the leaf's
//!   value. Trees of unequal depth can so be walked side by side, and eight at a time hide the latency of the loads.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    TreeError,
    draft::{Child, Draft, Leaf, Plane, Test},
};

/// Trees walked side by side.
const LANES: usize = 8;
/// Steps between two looks at whether all of them have reached their leaves.
const STRIDE: u32 = 4;
/// Rows that a batch takes down a group of trees before the next group.
const ROWS: usize = 64;
/// LightGBM's zero: what is at most this, the double of 1e-35f.
const ZERO: f64 = 1e-35_f32 as f64;
/// The category test takes sets below this within the node; the last bit stands for missing.
const SMALL: usize = 63;
const MISSING: u64 = 1 << SMALL;

/// Every tree of a model.
#[derive(Clone, Debug)]
pub(super) struct Forest {
    nodes: Vec<Node>,
    /// The leaf's number in the file, by node.
    ids: Vec<u32>,
    /// By node, 0 for none; empty where no leaf has one.
    planes: Vec<u32>,
    linear: Vec<Plane>,
    trees: Vec<Tree>,
    /// The same in order of depth, so that lanes end together.
    by_depth: Vec<Tree>,
    slots: Slots,
    /// Bits of the sets that do not fit a node.
    words: Vec<u64>,
    categorical: bool,
}

/// What scoring one row needs; reused, it stops allocating. Fits any model.
#[derive(Clone, Debug, Default)]
pub struct TreeScratch {
    slots: Vec<f64>,
    /// The node each tree ended at, row by row.
    at: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    /// Of a number; a leaf's value; bits of a small set; where a large set stands.
    threshold: f64,
    /// The first child; the second follows. A leaf's is itself.
    left: u32,
    slot: u16,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
enum Kind {
    Number,
    Small,
    Large,
}

#[derive(Clone, Copy, Debug)]
struct Tree {
    index: u32,
    root: u32,
    depth: u32,
}

/// What a slot makes of its feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum View {
    /// Missing is above any threshold, or below.
    Above,
    Below,
    /// Zero is missing too.
    ZeroAbove,
    ZeroBelow,
    /// The category as one bit, as bits of a double.
    Bit,
    /// The category's number; -1 for none, NaN for missing.
    Code,
}

/// Which features go into which slots; slot 0 is the leaves'.
#[derive(Clone, Debug)]
struct Slots {
    order: Vec<(View, u32)>,
    category: ReadCategory,
}

/// A library's way from a value to a category's number: -1 for none.
pub(super) type ReadCategory = fn(f64) -> f64;

/// The node every lane without a tree walks.
const NOWHERE: Node = Node { threshold: 0.0, left: 0, slot: 0, kind: Kind::Number };

impl TreeScratch {
    /// Where the last walk ended, tree by tree.
    pub(super) fn ends(&self) -> &[u32] {
        &self.at
    }
}

impl Forest {
    /// Lays out trees whose parts were checked.
    pub(super) fn new(drafts: Vec<Draft>, category: ReadCategory) -> Result<Self, TreeError> {
        let slots = Slots::of(&drafts, category)?;
        let index = slots.order.iter().copied().zip(1u16..).collect();
        let mut forest = Self {
            nodes: vec![NOWHERE],
            ids: vec![0],
            planes: Vec::new(),
            linear: Vec::new(),
            trees: Vec::new(),
            by_depth: Vec::new(),
            words: Vec::new(),
            categorical: slots.order.iter().any(|(view, _)| *view >= View::Bit),
            slots,
        };
        for (tree, draft) in drafts.into_iter().enumerate() {
            forest.plant(tree, draft, &index)?;
        }
        if !forest.linear.is_empty() {
            forest.planes.resize(forest.nodes.len(), 0);
        }
        forest.by_depth = forest.trees.clone();
        forest.by_depth.sort_by_key(|tree| tree.depth);
        Ok(forest)
    }

    /// Walks a row down the trees `from..to`; [`Forest::value`] and [`Forest::leaf`] then tell where it ended.
    pub(super) fn walk(&self, row: &[f64], (from, to): (usize, usize), scratch: &mut TreeScratch) {
        self.slots.fill(row, &mut scratch.slots);
        scratch.at.resize(to.saturating_sub(from), 0);
        let all = from == 0 && to == self.trees.len();
        let trees = if all { &self.by_depth } else { self.trees.get(from..to).unwrap_or_default() };
        for group in trees.chunks(LANES) {
            self.walk_group(group, from, &scratch.slots, &mut scratch.at);
        }
    }

    /// The same for rows of `width` values, a block of them a group of trees at a time, so that the nodes stay in the
    /// nearest cache. `each` is told each row's number, the row, and where it ended.
    pub(super) fn walk_batch(
        &self,
        rows: &[f64],
        width: usize,
        scratch: &mut TreeScratch,
        mut each: impl FnMut(usize, &[f64], &[u32]),
    ) {
        let (slots, trees) = (self.slots.order.len() + 1, self.trees.len());
        for (block, rows) in rows.chunks(ROWS * width.max(1)).enumerate() {
            let mut filled = Vec::new();
            let count = rows.len() / width.max(1);
            scratch.slots.clear();
            for row in rows.chunks_exact(width.max(1)) {
                self.slots.fill(row, &mut filled);
                scratch.slots.extend_from_slice(&filled);
            }
            scratch.at.resize(count * trees, 0);
            for group in self.by_depth.chunks(LANES) {
                let ends = scratch.at.chunks_exact_mut(trees.max(1));
                for (slots, at) in scratch.slots.chunks_exact(slots).zip(ends) {
                    self.walk_group(group, 0, slots, at);
                }
            }
            for (i, row) in rows.chunks_exact(width.max(1)).enumerate() {
                each(block * ROWS + i, row, scratch.at.get(i * trees..(i + 1) * trees).unwrap_or_default());
            }
        }
    }

    /// The leaf's number in the file, for each tree of the last walk.
    pub(super) fn leaves<'a>(&'a self, scratch: &'a TreeScratch) -> impl Iterator<Item = u32> + 'a {
        scratch.at.iter().map(|at| self.ids.get(*at as usize).copied().unwrap_or_default())
    }

    /// The values of the leaves a walk ended at, in tree order.
    pub(super) fn values<'a>(&'a self, row: &'a [f64], at: &'a [u32]) -> impl Iterator<Item = f64> + 'a {
        at.iter().map(|at| {
            let value = self.nodes.get(*at as usize).map_or(0.0, |node| node.threshold);
            match self.planes.get(*at as usize) {
                None | Some(0) => value,
                Some(plane) => {
                    self.linear.get(*plane as usize - 1).map_or(value, |plane| plane.at(row, value))
                }
            }
        })
    }

    fn walk_group(&self, group: &[Tree], from: usize, slots: &[f64], ends: &mut [u32]) {
        let mut at = [0u32; LANES];
        let mut depth = 0;
        for (at, tree) in at.iter_mut().zip(group) {
            *at = tree.root;
            depth = depth.max(tree.depth);
        }
        if self.categorical {
            self.descend(&mut at, depth, |node, x| self.second(node, x), slots);
        } else {
            self.descend(&mut at, depth, |node, x| x > node.threshold, slots);
        }
        for (at, tree) in at.iter().zip(group) {
            if let Some(end) = ends.get_mut((tree.index as usize).wrapping_sub(from)) {
                *end = *at;
            }
        }
    }

    #[inline(always)]
    fn descend(&self, at: &mut [u32; LANES], depth: u32, second: impl Fn(&Node, f64) -> bool, slots: &[f64]) {
        let nodes = self.nodes.as_slice();
        let step = |at: u32| {
            let node = nodes.get(at as usize).unwrap_or(&NOWHERE);
            let x = slots.get(usize::from(node.slot)).copied().unwrap_or(f64::NAN);
            node.left + u32::from(second(node, x))
        };
        let mut left = depth;
        loop {
            for _ in 0..left.min(STRIDE) {
                *at = at.map(step);
            }
            left = left.saturating_sub(STRIDE);
            if left == 0 || at.map(step) == *at {
                return;
            }
        }
    }

    /// Whether the second child is next, for any kind of node; small sets and numbers without a branch.
    #[inline(always)]
    fn second(&self, node: &Node, x: f64) -> bool {
        if node.kind == Kind::Large {
            return !self.in_large_set(node.threshold.to_bits(), x);
        }
        let outside = x.to_bits() & node.threshold.to_bits() == 0;
        let small = node.kind == Kind::Small;
        (small & outside) | (!small & (x > node.threshold))
    }

    /// A span is the first word's index, then how many words, then whether missing is in the set.
    fn in_large_set(&self, span: u64, code: f64) -> bool {
        if code.is_nan() {
            return span & 1 == 1;
        }
        let (first, count) = ((span >> 32) as usize, (span >> 1 & 0x7fff_ffff) as usize);
        let word = code as usize / 64;
        if code < 0.0 || word >= count {
            return false;
        }
        self.words.get(first + word).is_some_and(|bits| bits >> (code as usize % 64) & 1 == 1)
    }

    /// Adds one tree, level by level: the levels every lead passes share cache lines.
    fn plant(
        &mut self,
        tree: usize,
        draft: Draft,
        index: &BTreeMap<(View, u32), u16>,
    ) -> Result<(), TreeError> {
        let twice = |what, i| TreeError::tree(tree, format!("{what} {i} is missing or has two parents"));
        let mut splits: Vec<_> = draft.splits.into_iter().map(Some).collect();
        let mut leaves: Vec<_> = draft.leaves.into_iter().map(Some).collect();
        let root = self.room(1)?;
        let first = if splits.is_empty() { Child::Leaf(0) } else { Child::Split(0) };
        let (mut queue, mut done, mut deepest) = (vec![(first, root, 0)], 0, 0);
        while let Some((child, at, depth)) = queue.get(done).copied() {
            done += 1;
            let node = match child {
                Child::Leaf(i) => {
                    let leaf =
                        leaves.get_mut(i as usize).and_then(Option::take).ok_or_else(|| twice("leaf", i))?;
                    deepest = deepest.max(depth);
                    self.leaf(leaf, at)
                }
                Child::Split(i) => {
                    let split =
                        splits.get_mut(i as usize).and_then(Option::take).ok_or_else(|| twice("split", i))?;
                    let left = self.room(2)?;
                    let [first, second] = split.children;
                    queue.extend([(first, left, depth + 1), (second, left + 1, depth + 1)]);
                    let slot = |view| index.get(&(view, split.feature)).copied().unwrap_or_default();
                    let (view, kind, threshold) = self.test(split.test)?;
                    Node { threshold, left, slot: slot(view), kind }
                }
            };
            if let Some(place) = self.nodes.get_mut(at as usize) {
                *place = node;
            }
        }
        let index = u32::try_from(tree).map_err(|_| TreeError::TooMany("trees"))?;
        self.trees.push(Tree { index, root, depth: deepest });
        Ok(())
    }

    /// Adds nodes, and says where the first of them stands.
    fn room(&mut self, count: usize) -> Result<u32, TreeError> {
        let at = u32::try_from(self.nodes.len()).ok().filter(|at| *at < u32::MAX / 2);
        self.nodes.extend(std::iter::repeat_n(NOWHERE, count));
        self.ids.resize(self.nodes.len(), 0);
        at.ok_or(TreeError::TooMany("nodes"))
    }

    fn leaf(&mut self, leaf: Leaf, at: u32) -> Node {
        if let Some(id) = self.ids.get_mut(at as usize) {
            *id = leaf.id;
        }
        if let Some(plane) = leaf.plane {
            self.linear.push(plane);
            self.planes.resize(at as usize, 0);
            self.planes.push(self.linear.len() as u32);
        }
        Node { threshold: leaf.value, left: at, slot: 0, kind: Kind::Number }
    }

    fn test(&mut self, test: Test) -> Result<(View, Kind, f64), TreeError> {
        let view = test.view();
        Ok(match test {
            Test::AtMost { threshold, .. } => (view, Kind::Number, threshold),
            Test::In { words, missing_in } if view == View::Bit => {
                let bits = words.first().copied().unwrap_or_default() | if missing_in { MISSING } else { 0 };
                (view, Kind::Small, f64::from_bits(bits))
            }
            Test::In { words, missing_in } => {
                let first = u32::try_from(self.words.len()).map_err(|_| TreeError::TooMany("categories"))?;
                let span = u64::from(first) << 32 | (words.len() as u64) << 1 | u64::from(missing_in);
                self.words.extend(words);
                (view, Kind::Large, f64::from_bits(span))
            }
        })
    }
}

impl Test {
    fn view(&self) -> View {
        match self {
            Test::AtMost { missing_first: false, zero_missing: false, .. } => View::Above,
            Test::AtMost { missing_first: true, zero_missing: false, .. } => View::Below,
            Test::AtMost { missing_first: false, zero_missing: true, .. } => View::ZeroAbove,
            Test::AtMost { missing_first: true, zero_missing: true, .. } => View::ZeroBelow,
            Test::In { words, .. } => {
                let beyond = words.iter().skip(1).any(|word| *word != 0);
                let last = words.first().is_some_and(|word| word & MISSING != 0);
                if beyond || last { View::Code } else { View::Bit }
            }
        }
    }
}

impl Slots {
    fn of(drafts: &[Draft], category: ReadCategory) -> Result<Self, TreeError> {
        let splits = drafts.iter().flat_map(|draft| &draft.splits);
        let seen: BTreeSet<(View, u32)> = splits.map(|split| (split.test.view(), split.feature)).collect();
        if seen.len() >= usize::from(u16::MAX) {
            return Err(TreeError::TooMany("features in use"));
        }
        Ok(Self { order: seen.into_iter().collect(), category })
    }

    fn fill(&self, row: &[f64], slots: &mut Vec<f64>) {
        slots.clear();
        slots.push(f64::NAN);
        let category = self.category;
        let missing = |x: f64, instead: f64| if x.is_nan() { instead } else { x };
        let zero = |x: f64, instead: f64| if x.is_nan() || x.abs() <= ZERO { instead } else { x };
        slots.extend(self.order.iter().map(|(view, feature)| {
            let x = row.get(*feature as usize).copied().unwrap_or(f64::NAN);
            match view {
                View::Above => missing(x, f64::INFINITY),
                View::Below => missing(x, f64::NEG_INFINITY),
                View::ZeroAbove => zero(x, f64::INFINITY),
                View::ZeroBelow => zero(x, f64::NEG_INFINITY),
                View::Code => category(x),
                View::Bit => f64::from_bits(bit(x, category(x))),
            }
        }));
    }
}

/// The bit of a category in a small set; none for a category beyond it.
fn bit(x: f64, code: f64) -> u64 {
    match code {
        _ if x.is_nan() => MISSING,
        code if (0.0..SMALL as f64).contains(&code) => 1 << code as u32,
        _ => 0,
    }
}

impl Plane {
    /// The leaf's linear model; the plain value where a feature is missing. Infinities count, as in the library.
    fn at(&self, row: &[f64], value: f64) -> f64 {
        let mut sum = self.constant;
        for (feature, coefficient) in &self.terms {
            match row.get(*feature as usize) {
                Some(x) if !x.is_nan() => sum += coefficient * x,
                _ => return value,
            }
        }
        sum
    }
}
