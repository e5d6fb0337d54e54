//! The walk down, for trees of any size.
//!
//! - A node is 16 bytes and its children stand side by side, so a step is a load, a comparison and an addition.
//! - What a missing value does is decided before the walk: every feature is written into *slots*, once as a value that is
//!   above any threshold where missing, once as one below, and so on; a node names the slot that does as it wants. No
//!   step asks whether anything is missing.
//! - A leaf is a node that leads to itself: its slot holds NaN, which is not above anything. Trees of unequal depth can
//!   so be walked side by side, and eight at a time hide the latency of the loads.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use super::{
    TreeError,
    draft::{Child, Test},
    forest::{ReadCategory, Sapling, ZERO},
};

/// Trees walked side by side.
const LANES: usize = 8;
/// Steps between two looks at whether all of them have reached their leaves.
const STRIDE: u32 = 4;

/// Nodes of all trees.
#[derive(Clone, Debug)]
pub(super) struct Walk {
    nodes: Vec<Node>,
    /// By node, for leaves.
    leaves: Vec<u32>,
    trees: Vec<Tree>,
    /// The same in order of depth, so that lanes end together.
    by_depth: Vec<Tree>,
    /// What each slot but the first, which is the leaves', holds.
    slots: Vec<(View, u32)>,
    category: ReadCategory,
    sets: Vec<Set>,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    /// Of a number; or the set's index.
    threshold: f64,
    /// The first child; the second follows. A leaf's is itself.
    left: u32,
    slot: u16,
    categorical: bool,
}

#[derive(Clone, Debug)]
struct Set {
    codes: Vec<u32>,
    missing_in: bool,
}

/// A tree's root, and its number in the model.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tree {
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
    /// The category's number.
    Code,
}

/// The node every lane without a tree walks.
const NOWHERE: Node = Node { threshold: 0.0, left: 0, slot: 0, categorical: false };

impl Walk {
    pub(super) fn new(saplings: &[Sapling], category: ReadCategory) -> Result<Self, TreeError> {
        let splits = saplings.iter().flat_map(|sapling| &sapling.draft.splits);
        let slots: BTreeSet<(View, u32)> = splits.map(|split| (view(&split.test), split.feature)).collect();
        if slots.len() >= usize::from(u16::MAX) {
            return Err(TreeError::TooMany("features in use"));
        }
        let index = slots.iter().copied().zip(1u16..).collect();
        let mut walk = Self {
            nodes: vec![NOWHERE],
            leaves: vec![0],
            trees: Vec::new(),
            by_depth: Vec::new(),
            slots: slots.into_iter().collect(),
            category,
            sets: Vec::new(),
        };
        for (tree, sapling) in saplings.iter().enumerate() {
            walk.plant(tree, sapling, &index)?;
        }
        walk.by_depth = walk.trees.clone();
        walk.by_depth.sort_by_key(|tree| tree.depth);
        Ok(walk)
    }

    /// Trees to walk side by side, of those in `from..to`.
    pub(super) fn groups(&self, (from, to): (usize, usize)) -> impl Iterator<Item = &[Tree]> {
        let all = from == 0 && to == self.trees.len();
        let trees = if all { &self.by_depth } else { self.trees.get(from..to).unwrap_or_default() };
        trees.chunks(LANES)
    }

    /// Writes a lead's slots.
    pub(super) fn fill(&self, row: &[f64], slots: &mut Vec<f64>) {
        slots.clear();
        slots.push(f64::NAN);
        let missing = |x: f64, instead: f64| if x.is_nan() { instead } else { x };
        let zero = |x: f64, instead: f64| if x.is_nan() || x.abs() <= ZERO { instead } else { x };
        slots.extend(self.slots.iter().map(|(view, feature)| {
            let x = row.get(*feature as usize).copied().unwrap_or(f64::NAN);
            match view {
                View::Above => missing(x, f64::INFINITY),
                View::Below => missing(x, f64::NEG_INFINITY),
                View::ZeroAbove => zero(x, f64::INFINITY),
                View::ZeroBelow => zero(x, f64::NEG_INFINITY),
                View::Code => (self.category)(x),
            }
        }));
    }

    /// Takes a lead down a group; the leaves go to `ends`, of which the first is tree `from`'s.
    pub(super) fn descend(&self, group: &[Tree], from: usize, slots: &[f64], ends: &mut [u32]) {
        let mut at = [0u32; LANES];
        let mut depth = 0;
        for (at, tree) in at.iter_mut().zip(group) {
            *at = tree.root;
            depth = depth.max(tree.depth);
        }
        if self.sets.is_empty() {
            self.steps(&mut at, depth, slots, |node, x| x > node.threshold);
        } else {
            self.steps(&mut at, depth, slots, |node, x| self.second(node, x));
        }
        for (at, tree) in at.iter().zip(group) {
            if let Some(end) = ends.get_mut((tree.index as usize).wrapping_sub(from)) {
                *end = self.leaves.get(*at as usize).copied().unwrap_or_default();
            }
        }
    }

    #[inline(always)]
    fn steps(&self, at: &mut [u32; LANES], depth: u32, slots: &[f64], second: impl Fn(&Node, f64) -> bool) {
        let nodes = self.nodes.as_slice();
        let step = |at: u32| {
            let node = nodes.get(at as usize).unwrap_or(&NOWHERE);
            let x = slots.get(usize::from(node.slot)).copied().unwrap_or(f64::NAN);
            node.left + u32::from(second(node, x))
        };
        let mut left = depth;
        while left > 0 {
            for _ in 0..left.min(STRIDE) {
                *at = at.map(step);
            }
            left = left.saturating_sub(STRIDE);
            let next = at.map(step);
            if next == *at {
                return;
            }
            *at = next;
        }
    }

    /// Whether the second child is next, for any kind of node.
    fn second(&self, node: &Node, x: f64) -> bool {
        if !node.categorical {
            return x > node.threshold;
        }
        let set = self.sets.get(node.threshold as usize);
        !set.is_some_and(|set| {
            if x.is_nan() { set.missing_in } else { x >= 0.0 && set.codes.binary_search(&(x as u32)).is_ok() }
        })
    }

    /// Adds one tree, level by level: the levels every lead passes share cache lines.
    fn plant(
        &mut self,
        tree: usize,
        sapling: &Sapling,
        index: &BTreeMap<(View, u32), u16>,
    ) -> Result<(), TreeError> {
        let Sapling { draft, drawing, first_leaf } = sapling;
        let mut places = vec![0u32; draft.leaves.len()];
        for (leaf, place) in drawing.leaves.iter().zip(*first_leaf..) {
            places.get_mut(*leaf as usize).into_iter().for_each(|at| *at = place);
        }
        let root = self.room(1)?.start;
        let mut queue = vec![(if draft.splits.is_empty() { Child::Leaf(0) } else { Child::Split(0) }, root)];
        let mut done = 0;
        while let Some((child, at)) = queue.get(done).copied() {
            done += 1;
            let mut node = Node { left: at, ..NOWHERE };
            match child {
                Child::Leaf(i) => {
                    let place = places.get(i as usize).copied().unwrap_or_default();
                    self.leaves.get_mut(at as usize).into_iter().for_each(|leaf| *leaf = place);
                }
                Child::Split(i) => {
                    let Some(split) = draft.splits.get(i as usize) else { continue };
                    let room = self.room(2)?;
                    node.left = room.start;
                    queue.extend(split.children.into_iter().zip(room));
                    node.slot = index.get(&(view(&split.test), split.feature)).copied().unwrap_or_default();
                    (node.threshold, node.categorical) = self.test(&split.test);
                }
            }
            self.nodes.get_mut(at as usize).into_iter().for_each(|place| *place = node);
        }
        let index = u32::try_from(tree).map_err(|_| TreeError::TooMany("trees"))?;
        self.trees.push(Tree { index, root, depth: drawing.depth });
        Ok(())
    }

    /// Adds nodes.
    fn room(&mut self, count: u32) -> Result<Range<u32>, TreeError> {
        let start = u32::try_from(self.nodes.len()).ok().filter(|at| *at < u32::MAX / 2);
        let start = start.ok_or(TreeError::TooMany("nodes"))?;
        self.nodes.resize((start + count) as usize, NOWHERE);
        self.leaves.resize(self.nodes.len(), 0);
        Ok(start..start + count)
    }

    fn test(&mut self, test: &Test) -> (f64, bool) {
        match test {
            Test::AtMost { threshold, .. } => (*threshold, false),
            Test::In { codes, missing_in } => {
                self.sets.push(Set { codes: codes.clone(), missing_in: *missing_in });
                ((self.sets.len() - 1) as f64, true)
            }
        }
    }
}

fn view(test: &Test) -> View {
    match test {
        Test::AtMost { missing_first: false, zero_missing: false, .. } => View::Above,
        Test::AtMost { missing_first: true, zero_missing: false, .. } => View::Below,
        Test::AtMost { missing_first: false, zero_missing: true, .. } => View::ZeroAbove,
        Test::AtMost { missing_first: true, zero_missing: true, .. } => View::ZeroBelow,
        Test::In { .. } => View::Code,
    }
}
