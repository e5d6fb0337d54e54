//! All trees of a model, and where a row ends in each.
//!
//! Two ways lead there. Trees of up to 64 leaves are a few words of bits a feature (`masks.rs`), which takes a fraction of
//! the time; others, or so many that the words would not stay in a cache, are walked down (`walk.rs`).

use super::{
    TreeError,
    draft::{Draft, Drawing, Plane},
    masks::Masks,
    walk::Walk,
};

/// Rows that a batch takes down a group of trees before the next group.
const ROWS: usize = 64;
/// LightGBM's zero: what is at most this, the double of 1e-35f.
pub(super) const ZERO: f64 = 1e-35_f32 as f64;

/// Every tree of a model.
#[derive(Clone, Debug)]
pub(super) struct Forest {
    leaves: Leaves,
    way: Way,
    trees: usize,
}

#[derive(Clone, Debug)]
enum Way {
    Masks(Masks),
    Walk(Walk),
}

/// How trees are laid out: by what is fastest, or in the way that takes all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    Fastest,
    #[cfg_attr(not(test), expect(dead_code, reason = "only tests ask for it; files get it by their size"))]
    Walk,
}

/// The leaves of all trees, tree by tree and from left to right.
#[derive(Clone, Debug, Default)]
struct Leaves {
    values: Vec<f64>,
    /// Numbers in the file.
    ids: Vec<u32>,
    /// Empty where no leaf has one.
    planes: Vec<Option<Plane>>,
}

/// A tree on its way into a forest.
#[derive(Debug)]
pub(super) struct Sapling {
    pub(super) draft: Draft,
    pub(super) drawing: Drawing,
    /// Its leftmost leaf among the forest's.
    pub(super) first_leaf: u32,
}

/// What scoring one row needs; reused, it stops allocating. Fits any model.
#[derive(Clone, Debug, Default)]
pub struct TreeScratch {
    pub(super) slots: Vec<f64>,
    pub(super) rows: Vec<usize>,
    /// The leaf each tree ended at, row by row.
    pub(super) ends: Vec<u32>,
}

/// A library's way from a value to a category's number: -1 for none, NaN for missing.
pub(super) type ReadCategory = fn(f64) -> f64;

impl Forest {
    /// Lays out trees whose parts were checked.
    pub(super) fn new(drafts: Vec<Draft>, category: ReadCategory, layout: Layout) -> Result<Self, TreeError> {
        let (mut leaves, mut saplings) = (Leaves::default(), Vec::with_capacity(drafts.len()));
        for (tree, mut draft) in drafts.into_iter().enumerate() {
            let drawing = draft.draw(tree)?;
            let first_leaf = leaves.add(&mut draft, &drawing)?;
            saplings.push(Sapling { draft, drawing, first_leaf });
        }
        let masks = match layout {
            Layout::Fastest => Masks::new(&saplings, category),
            Layout::Walk => None,
        };
        let way = match masks {
            Some(masks) => Way::Masks(masks),
            None => Way::Walk(Walk::new(&saplings, category)?),
        };
        if leaves.planes.iter().all(Option::is_none) {
            leaves.planes = Vec::new();
        }
        Ok(Self { leaves, way, trees: saplings.len() })
    }

    /// Finds where a row ends in the trees `from..to`.
    pub(super) fn find(&self, row: &[f64], (from, to): (usize, usize), scratch: &mut TreeScratch) {
        let TreeScratch { slots, rows, ends } = scratch;
        ends.clear();
        match &self.way {
            Way::Masks(masks) => {
                masks.rows(row, rows);
                masks.ends(rows, (from, to), ends);
            }
            Way::Walk(walk) => {
                walk.fill(row, slots);
                ends.resize(to.saturating_sub(from), 0);
                for group in walk.groups((from, to)) {
                    walk.descend(group, from, slots, ends);
                }
            }
        }
    }

    /// The same for rows of `width` values. `each` is told each row's number, the row, and where it ended.
    pub(super) fn find_batch(
        &self,
        rows: &[f64],
        width: usize,
        scratch: &mut TreeScratch,
        mut each: impl FnMut(usize, &[f64], &[u32]),
    ) {
        let (all, width) = ((0, self.trees), width.max(1));
        let Way::Walk(walk) = &self.way else {
            for (i, row) in rows.chunks_exact(width).enumerate() {
                self.find(row, all, scratch);
                each(i, row, &scratch.ends);
            }
            return;
        };
        // A block of rows goes down a few trees before the next few, so that the nodes stay in the nearest cache.
        let mut filled = Vec::new();
        for (block, rows) in rows.chunks(ROWS * width).enumerate() {
            scratch.slots.clear();
            for row in rows.chunks_exact(width) {
                walk.fill(row, &mut filled);
                scratch.slots.extend_from_slice(&filled);
            }
            scratch.ends.resize(rows.len() / width * self.trees, 0);
            for group in walk.groups(all) {
                let ends = scratch.ends.chunks_exact_mut(self.trees.max(1));
                for (slots, ends) in scratch.slots.chunks_exact(filled.len().max(1)).zip(ends) {
                    walk.descend(group, 0, slots, ends);
                }
            }
            for (i, row) in rows.chunks_exact(width).enumerate() {
                let ends = scratch.ends.get(i * self.trees..(i + 1) * self.trees).unwrap_or_default();
                each(block * ROWS + i, row, ends);
            }
        }
    }

    /// Leaves' numbers in the file.
    pub(super) fn ids<'a>(&'a self, ends: &'a [u32]) -> impl Iterator<Item = u32> + 'a {
        ends.iter().map(|end| self.leaves.ids.get(*end as usize).copied().unwrap_or_default())
    }

    /// Leaves' values for a row.
    pub(super) fn values<'a>(&'a self, row: &'a [f64], ends: &'a [u32]) -> impl Iterator<Item = f64> + 'a {
        ends.iter().map(|end| {
            let value = self.leaves.values.get(*end as usize).copied().unwrap_or_default();
            match self.leaves.planes.get(*end as usize) {
                Some(Some(plane)) => plane.at(row, value),
                _ => value,
            }
        })
    }
}

impl Leaves {
    /// Adds a tree's; says where they start.
    fn add(&mut self, draft: &mut Draft, drawing: &Drawing) -> Result<u32, TreeError> {
        let start = u32::try_from(self.values.len()).map_err(|_| TreeError::TooMany("leaves"))?;
        for leaf in &drawing.leaves {
            let Some(leaf) = draft.leaves.get_mut(*leaf as usize) else { continue };
            self.values.push(leaf.value);
            self.ids.push(leaf.id);
            self.planes.push(leaf.plane.take());
        }
        Ok(start)
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
